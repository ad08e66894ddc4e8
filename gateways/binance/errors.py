"""Binance's error codes: what each means for a request, and why it was refused.

What matters is whether a request had an effect. Certain: 4xx with a code (the request was read and
refused). Not certain: any 5xx but those that say so, and the codes -1000, -1001, -1006 and -1007.
Texts are read only where one code has several meanings (-1010, -1013, -2010, -2011, -2038, -1111).

Sources: developers.binance.com, spot "Errors" and "General API information" (5xx is unknown),
USDⓈ-M "Error codes" and "General info" (the three texts of 503, 408, -1008).
"""

import re
from collections.abc import Mapping

from gateways.binance.limits import ORDERS_1D, ORDERS_1M, ORDERS_10S
from gateways.message import Verdict
from gateways.types import Action, Reason

Meaning = tuple[Verdict, Reason]

UNSURE = (Verdict.UNKNOWN, Reason.VENUE_UNSURE)
_OTHER = (Verdict.REFUSED, Reason.OTHER)
_BUSY = (Verdict.RETRY, Reason.BUSY)
_CLOCK = (Verdict.RETRY, Reason.TIMESTAMP)
_LIMITED = (Verdict.LIMITED, Reason.RATE_LIMIT)
_BANNED = (Verdict.LIMITED, Reason.BANNED)
_GONE = (Verdict.GONE, Reason.UNKNOWN_ORDER)

THROTTLED = -1008
TOO_MANY_ORDERS = -1015
CANCEL_REPLACE_PARTIAL, CANCEL_REPLACE_FAILED = -2021, -2022
"""On spot; on USDⓈ-M these two codes mean something else."""


def _refused(reasons: dict[Reason, tuple[int, ...]]) -> dict[int, Meaning]:
    return {code: (Verdict.REFUSED, reason) for reason, codes in reasons.items() for code in codes}


_COMMON: dict[int, Meaning] = {
    -1000: UNSURE,
    -1001: UNSURE,
    -1003: _LIMITED,
    -1006: UNSURE,
    -1007: (Verdict.UNKNOWN, Reason.TIMEOUT),
    THROTTLED: _BUSY,
    TOO_MANY_ORDERS: _LIMITED,
    -1016: _BUSY,
    -1021: _CLOCK,
    -1034: _LIMITED,
    -2013: _GONE,
    **_refused(
        {
            Reason.AUTHENTICATION: (-1002, -1022, -1099, -2008, -2014, -2015, -2017),
            Reason.PARAMETER: (
                *(-1023, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1108, -1111),
                *(-1114, -1115, -1117, -1118, -1119, -1120, -1127, -1128, -1130, -1131),
                *(-1134, -1135, -1136, -1145, -1151, -1152, -1153, -1155, -2039),
            ),
            Reason.INSTRUMENT: (-1121,),
            Reason.MARKET_CLOSED: (-1122, -2016),
            Reason.UNSUPPORTED: (-1014, -1020, -1116),
            Reason.IMMEDIATE: (-1112,),
        }
    ),
}

_SPOT: dict[int, Meaning] = {
    -1004: _BUSY,
    -1033: _OTHER,
    -2026: (Verdict.GONE, Reason.ALREADY_CLOSED),
    **_refused({Reason.UNSUPPORTED: (-1158, -1160)}),
}

_USDM: dict[int, Meaning] = {
    -2011: _GONE,
    # The stop order is just being triggered.
    -4117: _GONE,
    -4116: (Verdict.EXISTS, Reason.DUPLICATE_ID),
    -4046: (Verdict.ACCEPTED, Reason.NOT_CHANGED),
    -4059: (Verdict.ACCEPTED, Reason.NOT_CHANGED),
    # The request's time ran out before the matching engine.
    -5028: _CLOCK,
    **_refused(
        {
            Reason.BALANCE: (-2018, -2019, -2028, -4050, -4051, -4118),
            Reason.WOULD_TRIGGER: (-2021, -4142),
            Reason.REDUCE_ONLY: (-2022, -2024, -4062, -4087, -4138, -4400),
            Reason.TOO_MANY_ORDERS: (-2025, -4045, -5026),
            Reason.POSITION_LIMIT: (-2027, -4161, -4208),
            Reason.UNSUPPORTED: (-2026, -4120, -4139, -5025),
            Reason.IMMEDIATE: (-2020,),
            Reason.PRICE_TICK: (-4014, -4029),
            Reason.PRICE_BAND: (-4001, -4002, -4013, -4016, -4024, -4131, -4183, -4184),
            Reason.QUANTITY: (-4003, -4004, -4005, -4023, -4030, -4055),
            Reason.NOTIONAL: (-4164, -5029),
            Reason.PARAMETER: (
                *(-4006, -4007, -4015, -4028, -4031, -4060, -4061, -4063, -4114, -4115, -4135),
                *(-4136, -4137, -4165, -4209, -4210, -4211, -5037, -5038, -5039, -5040),
            ),
            Reason.INSTRUMENT: (-4144,),
            Reason.MARKET_CLOSED: (-4022, -4140, -4141, -5024),
            Reason.NOT_ALLOWED: (
                *(-1005, -1011, -1109, -2023, -4047, -4048, -4067, -4068, -4088, -4109),
                *(-4192, -4202, -4203, -4205, -4206, -4401, -4402, -4403),
            ),
            Reason.FILL_OR_KILL: (-5021,),
            Reason.POST_ONLY: (-5022,),
            Reason.NOT_CHANGED: (-5027,),
            Reason.OTHER: (-1010, -5041),
        }
    ),
}

_TABLES = (_COMMON | _SPOT, _COMMON | _USDM)

_SPOKEN = frozenset({-1010, -1013, -2010, -2011, -2038})
"""Codes of which only the text tells the meaning; on both venues."""
_TEXTS: tuple[tuple[str, Meaning], ...] = (
    ("unknown order", _GONE),
    ("duplicate order", (Verdict.EXISTS, Reason.DUPLICATE_ID)),
    ("insufficient balance", (Verdict.REFUSED, Reason.BALANCE)),
    ("immediately match", (Verdict.REFUSED, Reason.POST_ONLY)),
    ("trigger immediately", (Verdict.REFUSED, Reason.WOULD_TRIGGER)),
    ("immediately trigger", (Verdict.REFUSED, Reason.WOULD_TRIGGER)),
    ("market is closed", (Verdict.REFUSED, Reason.MARKET_CLOSED)),
    # We forbid the replacement of orders that have been filled in part.
    ("cancel restrictions", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    ("action is disabled", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    ("may not place", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    ("not permitted", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    ("restricted for this account", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    ("trading is not enabled", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    ("not support", (Verdict.REFUSED, Reason.UNSUPPORTED)),
    ("unsupported order combination", (Verdict.REFUSED, Reason.UNSUPPORTED)),
    ("percent_price", (Verdict.REFUSED, Reason.PRICE_BAND)),
    ("price_filter", (Verdict.REFUSED, Reason.PRICE_TICK)),
    ("lot_size", (Verdict.REFUSED, Reason.QUANTITY)),
    ("notional", (Verdict.REFUSED, Reason.NOTIONAL)),
    ("max_num_", (Verdict.REFUSED, Reason.TOO_MANY_ORDERS)),
    ("max_position", (Verdict.REFUSED, Reason.POSITION_LIMIT)),
    ("max_asset", (Verdict.REFUSED, Reason.POSITION_LIMIT)),
    ("invalid price", (Verdict.REFUSED, Reason.PRICE_TICK)),
    ("book liquidity", (Verdict.REFUSED, Reason.IMMEDIATE)),
    ("change no state", (Verdict.REFUSED, Reason.NOT_CHANGED)),
    ("zero or less", (Verdict.REFUSED, Reason.QUANTITY)),
    ("quantity", (Verdict.REFUSED, Reason.QUANTITY)),
    ("invalid", (Verdict.REFUSED, Reason.PARAMETER)),
    ("filter failure", (Verdict.REFUSED, Reason.PARAMETER)),
)
_PRECISION = -1111


def classify(code: int, text: str, status: int, action: int, usdm: bool) -> Meaning:
    """Return what a refusal means for a request of ``action``.

    ``status`` is the HTTP status, or the equal ``status`` of a WebSocket answer; ``code`` is 0
    where the answer was no JSON.
    """
    verdict, reason = _meaning(code, text, status, usdm)
    if verdict == Verdict.GONE and action in (Action.NEW, Action.CANCEL_ALL):
        # Nothing to cancel is what CANCEL_ALL asks for.
        verdict = Verdict.ACCEPTED if action == Action.CANCEL_ALL else Verdict.REFUSED
    elif verdict == Verdict.EXISTS and action != Action.NEW:
        verdict = Verdict.REFUSED
    return verdict, reason


def _meaning(code: int, text: str, status: int, usdm: bool) -> Meaning:
    lowered = text.lower()
    if status in (418, 403) or (code == -1003 and "banned" in lowered):
        return _BANNED
    if code == THROTTLED:
        return _BUSY
    if status >= 500:
        if usdm and lowered.startswith("service unavailable"):
            return _BUSY
        return UNSURE
    if status == 408:
        return Verdict.UNKNOWN, Reason.TIMEOUT
    if status == 429:
        return _LIMITED
    if code in _SPOKEN:
        for words, meaning in _TEXTS:
            if words in lowered:
                return meaning
    if code == _PRECISION:
        return Verdict.REFUSED, _imprecise(lowered)
    found = _TABLES[usdm].get(code)
    if found is not None:
        return found
    return _OTHER if status >= 400 else UNSURE


def _imprecise(text: str) -> Reason:
    if "quantity" in text or "qty" in text:
        return Reason.QUANTITY
    return Reason.PRICE_TICK if "price" in text else Reason.PARAMETER


_PER = re.compile(r"per (?:(\d+) )?(second|minute|day)")
_ORDER_LIMITS = {"second": ORDERS_10S, "minute": ORDERS_1M, "day": ORDERS_1D}


def limit_of(code: int, text: str) -> str:
    """Return the limit that a refusal is about; empty if everything must stop.

    Orders that are counted stop only orders: cancellations go on. A used-up weight stops all, for
    whoever goes on is banned.
    """
    if code != TOO_MANY_ORDERS:
        return ""
    found = _PER.search(text.lower())
    return _ORDER_LIMITS[found[2]] if found else ORDERS_10S


_BANNED_UNTIL = re.compile(r"banned until (\d{13})")


def quiet_s(text: str, data: object, headers: Mapping[str, str], now_ms: int) -> float:
    """Return how long the venue wants quiet, in seconds; 0 if it does not say.

    From ``Retry-After`` (seconds), ``error.data.retryAfter`` (Unix ms) or the text of a ban.
    """
    for name, value in headers.items():
        if name.lower() == "retry-after" and value.isdecimal():
            return float(value)
    until, now = 0, now_ms
    if isinstance(data, dict):
        after, server = data.get("retryAfter"), data.get("serverTime")
        until = after if isinstance(after, int) else 0
        now = server if isinstance(server, int) else now_ms
    if not until and (found := _BANNED_UNTIL.search(text)):
        until = int(found[1])
    return max(0.0, (until - now) / 1000) if until and now else 0.0
