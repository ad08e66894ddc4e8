"""The settings of an OMS, and limits as people write them."""

import os
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from engine.errors import ConfigError
from oms.memory import REQUEST_DEADLINE_NS
from oms.state import NONE
from oms.types import LIMITS, MONEY_DECIMALS

STABLE = ("USDT", "USDC", "USD")
"""Currencies that count as the reporting currency unless the configuration says otherwise."""
UNITS = {name: unit for name, unit, _ in LIMITS}
SCOPE_KEYS = ("account", "strategy", "instrument")

__all__ = ["LimitSettings", "OmsSettings", "check_scope", "limit_text", "limit_value"]


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one scope.

    Without ``account``, ``strategy`` and ``instrument`` they are the firm's. ``instrument``
    (``venue:native`` or ``venue:unified``) with ``strategy`` is the strategy's share of it, without
    it the account's. Values are decimals as texts or whole numbers: money in the reporting
    currency, quantities in the instrument's units, times in seconds, shares in basis points,
    leverage as a factor.
    """

    account: str = ""
    strategy: str = ""
    instrument: str = ""
    limits: dict[str, str | int | float]


class OmsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of an OMS (its table in the configuration)."""

    accounts: dict[str, str]
    """Account -> venue. Each has a gateway of that ``account``."""
    strategies: tuple[str, ...]
    """Who may trade: each writes ``oms.intents.<name>``."""
    journal: str = ""
    """The journal's folder; by default ``~/.local/state/trade-infra/<instance>/journal``."""
    chunk_mb: int = 64
    sync_ms: int = 100
    """How often the journal is written to the disk: what a power cut may take. 0: never by us."""
    currency: str = "USDT"
    """The reporting currency: what money limits are in."""
    equal: tuple[str, ...] = STABLE
    """Currencies that are worth one unit of it."""
    limits: tuple[LimitSettings, ...] = ()
    predict_post_only: bool = True
    """Refuse post-only orders that would cross the book as we see it."""
    check_balance: bool = True
    """Refuse spot orders that the balance does not pay."""
    request_deadline_ms: int = REQUEST_DEADLINE_NS // 1_000_000
    """A request that has not been sent by then is not sent."""
    intents_records: int = 16_384
    updates_records: int = 65_536
    busy_us: int = 200
    """How long the loop looks at its rings without a return to Python (``wait = "spin"``)."""
    drift_s: float = 2.0
    """For so long the venue's position may differ from ours before it is taken over."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        if not self.accounts:
            yield "accounts: found none, allowed: at least one account = venue"
        for place, each in enumerate(self.limits):
            for name, value in each.limits.items():
                try:
                    check_scope(name, bool(each.strategy or each.instrument))
                    limit_value(name, str(value), 0)
                except ConfigError as error:
                    yield f"limits[{place}].limits.{name}: {error}"
        if self.chunk_mb < 1:
            yield f"chunk_mb: found {self.chunk_mb}, allowed: 1 or more"

    def folder(self, instance: str) -> Path:
        """Return the journal's folder."""
        if self.journal:
            return Path(self.journal).expanduser()
        root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(root) / "trade-infra" / instance / "journal"


_OF_ACCOUNTS = ("leverage", "clock_offset")
"""Limits that only the firm and accounts can have: strategies have no equity of their own."""


def check_scope(name: str, narrow: bool) -> None:
    """Raise ConfigError if a scope of a strategy or an instrument cannot have a limit."""
    if narrow and name in _OF_ACCOUNTS:
        raise ConfigError(f"{name}: only the firm and accounts have it")


_SCALES = {
    "money": 10**MONEY_DECIMALS,
    "count": 1,
    "hundredths": 100,
    "ns": 10**9,
    "hundredths of a basis point": 100,
}
"""Unit of a limit -> how many of them are one of what people write."""


def limit_value(name: str, text: str, quantity_decimals: int) -> int:
    """Return a limit as the loop has it; ``none`` is -1.

    Raises
    ------
    ConfigError
        If there is no such limit, or the value cannot be one.

    """
    if name not in UNITS:
        raise ConfigError(f"found {name!r}, allowed: {', '.join(UNITS)}")
    if text.strip().lower() == "none":
        return NONE
    scale = 10**quantity_decimals if UNITS[name] == "quantity" else _SCALES[UNITS[name]]
    try:
        value = Decimal(text) * scale
        whole = int(value)
    except (InvalidOperation, ValueError, OverflowError):
        raise ConfigError(f"{name}: found {text!r}, allowed: a number or none") from None
    if whole != value and UNITS[name] != "quantity":
        raise ConfigError(f"{name}: found {text!r}, finer than can be counted")
    if not 0 <= whole < 2**62:
        raise ConfigError(f"{name}: found {text!r}, allowed: 0 or more")
    return whole


def limit_text(name: str, value: int, quantity_decimals: int) -> str:
    """Return a limit as people write it."""
    if value < 0:
        return "none"
    scale = 10**quantity_decimals if UNITS[name] == "quantity" else _SCALES[UNITS[name]]
    number = (Decimal(value) / scale).normalize()
    return f"{number:f}"
