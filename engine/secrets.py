"""Keys and passwords: from the environment or from a file that only its owner can read.

``find("binance_key")`` looks at ``TRADE_INFRA_SECRET_BINANCE_KEY``, then at
``TRADE_INFRA_SECRET_BINANCE_KEY_FILE``, which names a file. Secrets are in no configuration file,
on no command line and in no log: a ``Secret`` shows ``***`` however it is printed, and only
``reveal`` returns the value.
"""

import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from engine.errors import ConfigError

PREFIX = "TRADE_INFRA_SECRET_"
HIDDEN = "***"
_FILE_BYTES_MAX = 64 * 1024
"""A PEM file has a few kilobytes; anything larger is the wrong file."""

__all__ = ["Secret", "find", "from_environment", "from_file"]


class Secret:
    """A string that does not show itself: not in ``repr``, ``str``, ``format`` or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; the caller answers for where it goes."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, specification: str) -> str:
        return HIDDEN

    def __reduce__(self) -> tuple[type["Secret"], tuple[str]]:
        return Secret, (HIDDEN,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)


def from_environment(variable: str, environment: Mapping[str, str] | None = None) -> Secret:
    """Return the secret in an environment variable.

    Raises
    ------
    ConfigError
        If the variable is not set or empty.

    """
    value = (os.environ if environment is None else environment).get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"secret {variable} is not in the environment: set it, or {variable}_FILE"
        )
    return Secret(value)


def from_file(path: str | Path) -> Secret:
    """Return the content of a file, without white space around it.

    Raises
    ------
    ConfigError
        If the file cannot be read, is empty or too large, is not ours, or can be read or written
        by anybody but its owner. The message says what to do.

    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"secret file {path}: {error.strerror}") from None
    try:
        # Of the opened file and not of the path: nobody can exchange it in between.
        _check_private(path, os.fstat(descriptor))
        data = os.read(descriptor, _FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"secret file {path}: more than {_FILE_BYTES_MAX} bytes")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise ConfigError(f"secret file {path}: not UTF-8 text") from None
    if not text:
        raise ConfigError(f"secret file {path}: empty")
    return Secret(text)


def _check_private(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"secret file {path}: not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"secret file {path}: belongs to user {status.st_uid}; chown it")
    if others := status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"secret file {path}: mode {stat.S_IMODE(status.st_mode):04o} lets others in "
            f"(bits {others:04o}); run: chmod 600 {path}"
        )


def find(name: str, environment: Mapping[str, str] | None = None) -> Secret:
    """Return the secret ``name`` from its variable, or from the file that its variable names.

    Raises
    ------
    ConfigError
        If there is neither, or as ``from_file``.

    """
    environment = os.environ if environment is None else environment
    variable = PREFIX + name.upper().replace("-", "_")
    if path := environment.get(f"{variable}_FILE"):
        if environment.get(variable):
            raise ConfigError(f"secret {variable} and {variable}_FILE are both set: unset one")
        return from_file(path)
    return from_environment(variable, environment)
