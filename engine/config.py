"""The configuration file: TOML, typed, checked, with errors that name the key.

::

    instance = "ti"                 # prefix of every shared-memory segment
    environment = "simulator"       # which endpoints of a venue the adapters use
    keep_segments = false           # leave the segments behind after a clean end
    [memory]
    lock = false                    # lock segments in memory, so that they are never swapped out
    [logging]
    level = "info"                  # debug | info | warning | error
    format = "text"                 # text | json
    [endpoints.binance_usdm]        # another address than the venue's own
    rest = "http://127.0.0.1:9101"
    websocket = "ws://127.0.0.1:9101"
    [[process]]
    name = "feed-usdm"
    wait = "park"                   # spin | yield | park
    cpus = [2]                      # pinning; empty: wherever the kernel likes
    restart = true
    agents = [{ kind = "feed", venue = "binance_usdm", symbols = ["BTCUSDT"] }]

Several agents of a process share one duty cycle (or one event loop). Every key of an agent's
table except ``kind`` and ``name`` belongs to the agent, which turns it into a type of its own with
``settings`` and says with ``takes`` which type that is.

An environment variable overrides a key: ``TRADE_INFRA__LOGGING__LEVEL=debug``,
``TRADE_INFRA__PROCESS__FEED_USDM__WAIT=spin`` (a member of a list by its name or its number). The
value is read as TOML and, where it is none, as a string.

Secrets are never in here: see ``engine.secrets``.
"""

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args, get_origin

import msgspec

from engine.cli import add_command
from engine.errors import ConfigError, ConfigNotFound

if TYPE_CHECKING:
    from engine.cli import Subparsers

OVERRIDE_PREFIX = "TRADE_INFRA__"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
"""Names of instances, processes and agents: they become parts of segment names."""
RESERVED_NAMES = ("supervisor",)

Wait = Literal["spin", "yield", "park"]
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])


class Logging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How segments are mapped. ``lock`` needs a high enough RLIMIT_MEMLOCK."""

    lock: bool = False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Other base URLs for a venue; ``None`` leaves the venue's own of the environment."""

    rest: str | None = None
    websocket: str | dict[str, str] | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operating-system process and the agents that live in it."""

    name: str
    wait: Wait = "park"
    cpus: tuple[int, ...] = ()
    restart: bool = True
    agents: tuple[dict[str, Any], ...]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration of one instance; ``processes`` in starting order."""

    instance: str = "ti"
    environment: Literal["simulator", "testnet", "demo", "live"] = "simulator"
    keep_segments: bool = False
    memory: Memory = Memory()
    logging: Logging = Logging()
    endpoints: dict[str, Endpoint] = {}
    processes: tuple[Process, ...] = msgspec.field(default=(), name="process")

    def process(self, name: str) -> Process:
        """Return the process of that name.

        Raises
        ------
        ConfigNotFound
            If there is none; the message lists the names.

        """
        for process in self.processes:
            if process.name == name:
                return process
        names = ", ".join(process.name for process in self.processes) or "none"
        raise ConfigNotFound(f"process {name!r} is not in the configuration (there: {names})")


class HasSettings(Protocol):
    """What ``settings`` needs of an ``AgentContext``."""

    @property
    def settings(self) -> dict[str, Any]:
        """Return the agent's own keys."""

    @property
    def where(self) -> str:
        """Return the agent's place in the configuration."""


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read a TOML file (or JSON, if so named), apply overrides, check and return it.

    Parameters
    ----------
    path
        The file.
    environment
        Where overrides are looked for; the process' environment if ``None``.

    Raises
    ------
    ConfigNotFound
        If there is no such file.
    ConfigError
        If the file cannot be read, or a key is unknown or has a wrong type or value. The message
        names file and key, what was found and what is allowed.

    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigNotFound(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid {path.suffix[1:] or 'TOML'}: {error}") from None
    changed = overrides(environment)
    try:
        for name, value in changed.items():
            _override(data, name, value)
        return parse(data)
    except ConfigError as error:
        also = f" (overridden by the environment: {', '.join(changed)})" if changed else ""
        raise ConfigError(f"{path}: {error}{also}") from None


def parse(data: dict[str, Any]) -> Config:
    """Return the checked configuration of plain data, as ``load`` does for a file.

    Raises
    ------
    ConfigError
        As ``load``, without the file's name.

    """
    config = convert(data, Config, "")
    _name(config.instance, "instance")
    seen: set[str] = set()
    for i, process in enumerate(config.processes):
        where = f"process[{i}]"
        _name(process.name, f"{where}.name")
        if process.name in RESERVED_NAMES:
            raise ConfigError(f"{where}.name: {process.name!r} is reserved; choose another")
        if process.name in seen:
            raise ConfigError(f"{where}.name: {process.name!r} is used twice; names are unique")
        seen.add(process.name)
        if not process.agents:
            raise ConfigError(f"{where}.agents: process {process.name!r} has none; name one")
        names = agent_names(process)
        for j, agent in enumerate(process.agents):
            if not isinstance(agent.get("kind"), str):
                raise ConfigError(f"{where}.agents[{j}].kind: missing; which agent is it?")
            _name(names[j], f"{where}.agents[{j}].name")
            if names[j] in names[:j]:
                raise ConfigError(
                    f"{where}.agents[{j}].name: {names[j]!r} is used twice in the process; "
                    'give one of them another name = "…"'
                )
    return config


def agent_names(process: Process) -> list[str]:
    """Return the names of a process' agents: ``name``, or the process', or with the kind."""
    alone = len(process.agents) == 1
    return [
        str(agent.get("name", process.name if alone else f"{process.name}-{agent.get('kind')}"))
        for agent in process.agents
    ]


def save(config: Config, path: str | Path) -> None:
    """Write ``config`` as JSON, which ``load`` reads; ``path`` must end in ``.json``."""
    if Path(path).suffix != ".json":
        raise ValueError(f"a saved configuration is JSON and its name ends in .json: {path}")
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(config)))


def settings(kind: type[S], context: HasSettings) -> S:
    """Return an agent's settings as its own type.

    Parameters
    ----------
    kind
        A ``msgspec.Struct`` with ``forbid_unknown_fields``.
    context
        The agent's context.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or has a wrong type or value.

    """
    return convert(context.settings, kind, context.where)


def takes(kind: type[msgspec.Struct]) -> Callable[[F], F]:
    """Say what settings an agent's factory takes, so that ``config check`` can look at them.

    If ``kind`` has a method ``problems``, it yields what else is wrong with its values: key, colon,
    what was found and what is allowed.

    ::

        @takes(ClockSettings)
        def make(context: AgentContext) -> Clock: ...
    """

    def mark(factory: F) -> F:
        factory.settings = kind  # type: ignore[attr-defined]
        return factory

    return mark


def agent_settings(agent: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of an agent's table that belong to the agent."""
    return {key: value for key, value in agent.items() if key not in ("kind", "name")}


def convert(data: Any, kind: type[S], where: str) -> S:  # noqa: ANN401 - plain parsed data
    """Convert parsed TOML to ``kind``; ``where`` is the path of ``data`` for error messages.

    Raises
    ------
    ConfigError
        With the path of the key, what was found and what is allowed.

    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), data, kind, where)) from None


def _explain(text: str, data: Any, kind: Any, where: str) -> str:  # noqa: ANN401
    """Return msgspec's message with the key first, and what was found and is allowed."""
    message, _, path = text.partition(" - at `")
    for step in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        key, index = step
        kind = _inside(kind, key)
        if index == "...":  # Some key of a mapping: msgspec does not say which.
            where, data = f"{where}.*", None
            continue
        where = f"{where}.{key}" if key else f"{where}[{index}]"
        data = _member(data, key or int(index))
    found = "" if isinstance(data, dict | list | None) else f", found {data!r}"
    if unknown := re.match(r"Object contains unknown field `(.*)`", message):
        allowed = _fields(kind)
        close = difflib.get_close_matches(unknown[1], allowed, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{where}.{unknown[1]}: unknown key{hint} (allowed: {', '.join(allowed)})".lstrip(
            "."
        )
    if missing := re.match(r"Object missing required field `(.*)`", message):
        return f"{where}.{missing[1]}: missing, and it has no default".lstrip(".")
    if choices := _choices(kind):
        message, found = f"found {data!r}, allowed: {', '.join(choices)}", ""
    return f"{where.lstrip('.')}: {message}{found}"


def _member(data: Any, key: str | int) -> Any:  # noqa: ANN401
    try:
        return data[key]
    except (KeyError, IndexError, TypeError):
        return None


def _inside(kind: Any, key: str) -> Any:  # noqa: ANN401
    """Return the type of the member ``key`` of a struct, or of any member of a container."""
    if key:
        try:
            fields = msgspec.structs.fields(kind)
        except TypeError:
            return None
        return next((field.type for field in fields if field.encode_name == key), None)
    arguments = [a for a in get_args(kind) if a is not Ellipsis]
    return arguments[-1] if arguments else None


def _choices(kind: Any) -> list[str]:  # noqa: ANN401
    """Return the values of a literal or an enumeration; none for another type."""
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return []


def _fields(kind: Any) -> list[str]:  # noqa: ANN401
    try:
        return [field.encode_name for field in msgspec.structs.fields(kind)]
    except TypeError:
        return []


def _name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: found {name!r}, allowed: up to 48 lower-case letters, digits, - and _, "
            "starting with a letter or digit"
        )


def overrides(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables that override keys, by name."""
    environment = os.environ if environment is None else environment
    return {k: v for k, v in sorted(environment.items()) if k.startswith(OVERRIDE_PREFIX)}


def _override(data: Any, variable: str, text: str) -> None:  # noqa: ANN401
    """Set one key of parsed data from ``TRADE_INFRA__<PATH>__<KEY>``."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    *steps, key = variable.removeprefix(OVERRIDE_PREFIX).lower().split("__")
    if not key or not all(steps):
        raise ConfigError(f"{variable}: names no key; write {OVERRIDE_PREFIX}<PATH>__<KEY>")
    for step in steps:
        data = _descend(data, step, variable)
    if isinstance(data, list) and key.isdigit() and int(key) < len(data):
        data[int(key)] = value
    elif isinstance(data, dict):
        data[key] = value
    else:
        raise ConfigError(f"{variable}: {key} is not inside a table")


def _descend(data: Any, step: str, variable: str) -> Any:  # noqa: ANN401
    if isinstance(data, dict):
        return data.setdefault(step, {})
    if not isinstance(data, list):
        raise ConfigError(f"{variable}: nothing is inside {step}")
    if step.isdigit() and int(step) < len(data):
        return data[int(step)]
    named = {str(member.get("name")).replace("-", "_"): member for member in data}
    if step not in named:
        raise ConfigError(f"{variable}: no member {step} (there: {', '.join(named) or 'none'})")
    return named[step]


def check(config: Config) -> Iterator[str]:
    """Yield what would keep ``config`` from running on this machine, one sentence each."""
    kinds = {point.name for point in entry_points(group="trade_infra.agents")}
    venues = {point.name for point in entry_points(group="trade_infra.venues")}
    cpus = os.sched_getaffinity(0)
    for venue in sorted(set(config.endpoints) - venues):
        yield f"endpoints.{venue}: unknown venue (known: {', '.join(sorted(venues)) or 'none'})"
    if not config.processes:
        yield "process: none is configured; add a [[process]] table"
    for i, process in enumerate(config.processes):
        for cpu in process.cpus:
            if cpu not in cpus:
                known = ", ".join(map(str, sorted(cpus)))
                yield f"process[{i}].cpus: found {cpu}, this machine gives us {known}"
        for j, agent in enumerate(process.agents):
            where = f"process[{i}].agents[{j}]"
            if agent["kind"] not in kinds:
                known = ", ".join(sorted(kinds)) or "none"
                yield f"{where}.kind: found {agent['kind']!r}, known: {known}"
            if "venue" in agent and agent["venue"] not in venues:
                known = ", ".join(sorted(venues)) or "none"
                yield f"{where}.venue: found {agent['venue']!r}, known: {known}"


def check_settings(config: Config) -> Iterator[str]:
    """Yield what is wrong with the settings of agents whose factories say what they take.

    Imports the agents: with the JIT on that compiles their kernels.
    """
    factories = {point.name: point for point in entry_points(group="trade_infra.agents")}
    for i, process in enumerate(config.processes):
        for j, agent in enumerate(process.agents):
            where = f"process[{i}].agents[{j}]"
            if agent["kind"] not in factories:
                continue
            try:
                kind = getattr(factories[agent["kind"]].load(), "settings", None)
                if kind is not None:
                    made = convert(agent_settings(agent), kind, where)
                    problems = getattr(made, "problems", lambda: ())
                    yield from (f"{where}.{problem}" for problem in problems())
            except ConfigError as error:
                yield str(error)
            except (ImportError, AttributeError) as error:
                yield f"{where}.kind: {agent['kind']!r} cannot be imported: {error}"


def _check_settings_apart(path: str) -> list[str]:
    """Return ``check_settings`` of a file, from a process without the JIT."""
    environment = {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "engine.config", path],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def require_runnable(config: Config, path: str | Path) -> None:
    """Raise ``ConfigError`` with everything that ``check`` finds."""
    if problems := list(check(config)):
        raise ConfigError(f"{path}: {'; '.join(problems)}")


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra config``."""
    parser = add_command(
        subparsers,
        "config",
        "check or show a configuration",
        example="trade-infra config check my.toml",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb, help_, handler in (
        ("check", "say whether this machine can run it", _check_command),
        ("show", "print it with all defaults and overrides, as JSON", _show_command),
    ):
        each = add_command(verbs, verb, help_, example=f"trade-infra config {verb} my.toml")
        each.add_argument("file", metavar="FILE", help="the TOML file")
        each.set_defaults(handler=handler, configured=True)


def _check_command(args: argparse.Namespace) -> int:
    problems = [*check(load(args.file)), *_check_settings_apart(args.file)]
    for problem in problems:
        print(f"error: {args.file}: {problem}", file=sys.stderr)
    if problems:
        return ConfigError.exit_code
    print(f"{args.file}: ok")
    return 0


def _show_command(args: argparse.Namespace) -> None:
    for name, value in overrides().items():
        print(f"override: {name}={value}", file=sys.stderr)
    print(msgspec.json.format(msgspec.json.encode(load(args.file))).decode())


if __name__ == "__main__":
    from engine import config as this  # The agents know it by that name, and its errors.

    for line in this.check_settings(this.load(sys.argv[1])):
        print(line)
