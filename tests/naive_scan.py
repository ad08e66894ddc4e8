"""The slow, obvious reading of Binance's public messages: what the scanner must agree with.

``orjson`` decides what JSON is, ``decimal.Decimal`` what a number is, and plain dictionaries hold
the fields. Shares nothing with the scanner but the names of the results.
"""

import re
from decimal import Decimal
from typing import Any

import orjson

from feeds.message import Has, ItemKind, Reject
from feeds.types import INDEX_DECIMALS, RATE_DECIMALS, Flag

INT64_MAX = 2**63 - 1
REST_DEPTH = 3
TEXT = re.compile(r"[0-9]+(\.[0-9]+)?")
SIGNED = re.compile(r"-?[0-9]+(\.[0-9]+)?")
NOTHING = object()

Instruments = dict[str, tuple[int, int, int]]
"""Native symbol -> instrument row, price decimals, quantity decimals."""


class Refused(Exception):
    def __init__(self, reject: Reject) -> None:
        super().__init__(reject.name)
        self.reject = reject


def scaled(text: Any, decimals: int, pattern: re.Pattern[str] = TEXT) -> int:
    if text is NOTHING:
        raise Refused(Reject.MISSING)
    if not isinstance(text, str):
        raise Refused(Reject.TYPE)
    if not pattern.fullmatch(text):
        raise Refused(Reject.NUMBER)
    numerator, denominator = (Decimal(text)).as_integer_ratio()
    mantissa, rest = divmod(numerator * 10**decimals, denominator)
    if rest:
        raise Refused(Reject.INEXACT)
    if abs(mantissa) > INT64_MAX:
        raise Refused(Reject.OVERFLOW)
    return mantissa


def rounded(text: Any, decimals: int) -> int:
    """Return a mantissa, half rounded up: for what the venue computes."""
    try:
        return scaled(text, decimals)
    except Refused as refused:
        if refused.reject != Reject.INEXACT:
            raise
    numerator, denominator = Decimal(text).as_integer_ratio()
    mantissa = (2 * numerator * 10**decimals + denominator) // (2 * denominator)
    if mantissa > INT64_MAX:
        raise Refused(Reject.OVERFLOW)
    return mantissa


def whole(value: Any) -> int:
    if value is NOTHING:
        raise Refused(Reject.MISSING)
    if isinstance(value, float):
        raise Refused(Reject.NUMBER)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(Reject.TYPE)
    if value < 0:
        raise Refused(Reject.NUMBER)
    if value > INT64_MAX:
        raise Refused(Reject.OVERFLOW)
    return value


def nanoseconds(value: Any) -> int:
    time = whole(value)
    time *= 1000 if time >= 10**15 else 10**6
    if time > INT64_MAX:
        raise Refused(Reject.OVERFLOW)
    return time


def side(rows: Any, price_decimals: int, quantity_decimals: int) -> list[tuple[int, int]]:
    if rows is NOTHING:
        raise Refused(Reject.MISSING)
    if not isinstance(rows, list):
        raise Refused(Reject.TYPE)
    levels = []
    for row in rows:
        if not isinstance(row, list) or len(row) < 2:
            raise Refused(Reject.TYPE)
        levels.append((scaled(row[0], price_decimals), scaled(row[1], quantity_decimals)))
    return levels


def get(event: dict[str, Any], key: str) -> Any:
    return event.get(key, NOTHING)


def trade(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    aggregate = event["e"] == "aggTrade"
    maker = get(event, "m")
    if not isinstance(maker, bool):
        raise Refused(Reject.MISSING if maker is NOTHING else Reject.TYPE)
    flags = Flag.AGGREGATED if aggregate else Flag(0)
    execution = event.get("X", "MARKET")
    if not isinstance(execution, str):
        raise Refused(Reject.TYPE)
    if execution != "MARKET":
        flags |= Flag.NOT_MARKET
    return {
        "kind": ItemKind.TRADE,
        "instrument": row,
        "exchange_ns": nanoseconds(get(event, "E")),
        "first_id": whole(get(event, "a" if aggregate else "t")),
        "price": scaled(get(event, "p"), pd),
        "quantity": scaled(get(event, "q"), qd),
        "side": -1 if maker else 1,
        "flags": int(flags),
    }


def depth(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    return {
        "kind": ItemKind.BOOK_UPDATE,
        "instrument": row,
        "exchange_ns": nanoseconds(get(event, "E")),
        "first_id": whole(get(event, "U")),
        "last_id": whole(get(event, "u")),
        "previous_id": whole(event["pu"]) if "pu" in event else -1,
        "bids": side(get(event, "b"), pd, qd),
        "asks": side(get(event, "a"), pd, qd),
    }


def ticker(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    return {
        "kind": ItemKind.TICKER,
        "instrument": row,
        "exchange_ns": nanoseconds(event["E"]) if "E" in event else 0,
        "first_id": whole(get(event, "u")),
        "price": scaled(get(event, "b"), pd),
        "quantity": scaled(get(event, "B"), qd),
        "price_2": scaled(get(event, "a"), pd),
        "quantity_2": scaled(get(event, "A"), qd),
    }


def optional(event: dict[str, Any], key: str, decimals: int) -> int:
    return rounded(event[key], decimals) if event.get(key, "") != "" else 0


def has(event: dict[str, Any], keys: dict[str, Has]) -> int:
    return sum(bit for key, bit in keys.items() if event.get(key, "") != "")


def funding(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    rate = get(event, "r")
    absent = rate is NOTHING or rate == ""
    keys = {"p": Has.MARK, "i": Has.INDEX, "P": Has.SETTLE, "r": Has.RATE, "T": Has.NEXT}
    return {
        "kind": ItemKind.FUNDING,
        "instrument": row,
        "exchange_ns": nanoseconds(get(event, "E")),
        "price": rounded(get(event, "p"), INDEX_DECIMALS),
        "quantity": optional(event, "i", INDEX_DECIMALS),
        "price_2": optional(event, "P", INDEX_DECIMALS),
        "quantity_2": 0 if absent else scaled(rate, RATE_DECIMALS, SIGNED),
        "next_ns": nanoseconds(event["T"]) if "T" in event else 0,
        "mask": has(event, keys),
    }


def stats(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    keys = {"c": Has.LAST, "o": Has.OPEN, "h": Has.HIGH, "l": Has.LOW, "v": Has.VOLUME}
    mask = has(event, keys)
    if not mask:
        raise Refused(Reject.MISSING)
    return {
        "kind": ItemKind.STATS,
        "instrument": row,
        "exchange_ns": nanoseconds(get(event, "E")),
        "price": optional(event, "c", pd),
        "price_2": optional(event, "o", pd),
        "quantity_2": optional(event, "h", pd),
        "extra": optional(event, "l", pd),
        "quantity": optional(event, "v", qd),
        "mask": mask,
    }


def liquidation(event: dict[str, Any], instruments: Instruments) -> dict[str, Any]:
    exchange_ns, order = nanoseconds(get(event, "E")), get(event, "o")
    if not isinstance(order, dict):
        raise Refused(Reject.MISSING if order is NOTHING else Reject.TYPE)
    row, pd, qd = instrument_of(order, instruments)
    side = get(order, "S")
    if side not in ("BUY", "SELL"):
        raise Refused(Reject.MISSING if side is NOTHING else Reject.TYPE)
    return {
        "kind": ItemKind.LIQUIDATION,
        "instrument": row,
        "exchange_ns": exchange_ns,
        "price": rounded(get(order, "p"), pd),
        "quantity": scaled(get(order, "q"), qd),
        "side": 1 if side == "BUY" else -1,
    }


def snapshot(body: Any, row: int, pd: int, qd: int) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(Reject.TYPE)
    last_id = whole(get(body, "lastUpdateId"))
    return {
        "kind": ItemKind.BOOK_SNAPSHOT,
        "instrument": row,
        "exchange_ns": nanoseconds(body["E"]) if "E" in body else 0,
        "first_id": last_id,
        "last_id": last_id,
        "bids": side(get(body, "bids"), pd, qd),
        "asks": side(get(body, "asks"), pd, qd),
    }


TICKER_KEYS = {"s", "b", "B", "a", "A", "u"}
READERS = {
    "trade": trade,
    "aggTrade": trade,
    "depthUpdate": depth,
    "bookTicker": ticker,
    "markPriceUpdate": funding,
    "24hrTicker": stats,
    "24hrMiniTicker": stats,
}


def is_interest(message: Any) -> bool:
    names = message.keys() if isinstance(message, dict) else set()
    return "openInterest" in names and "e" not in names and not names >= TICKER_KEYS


def interest(body: dict[str, Any], instruments: Instruments) -> dict[str, Any]:
    row, _, qd = instrument_of(body, instruments, "symbol")
    return {
        "kind": ItemKind.FUNDING,
        "instrument": row,
        "exchange_ns": nanoseconds(get(body, "time")),
        "extra": rounded(get(body, "openInterest"), qd),
        "mask": int(Has.INTEREST),
    }


def instrument_of(
    event: dict[str, Any], instruments: Instruments, key: str = "s"
) -> tuple[int, int, int]:
    native = get(event, key)
    if not isinstance(native, str):
        raise Refused(Reject.MISSING if native is NOTHING else Reject.TYPE)
    if native not in instruments:
        raise Refused(Reject.SYMBOL)
    return instruments[native]


def whole_book(stream: str) -> bool:
    _, at, rest = stream.partition("@")
    return bool(at) and rest.split("@")[0] == "depth"


def one(event: Any, stream: str | None, instruments: Instruments) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise Refused(Reject.NOT_COVERED)
    if "e" in event:
        if not isinstance(event["e"], str):
            raise Refused(Reject.TYPE)
        if event["e"] == "forceOrder":
            return liquidation(event, instruments)
        reader = READERS.get(event["e"])
    else:
        reader = ticker if event.keys() >= TICKER_KEYS else None
    if reader is None or (reader is depth and stream is not None and not whole_book(stream)):
        raise Refused(Reject.NOT_COVERED)
    return reader(event, *instrument_of(event, instruments))


def naive_scan(
    frame: bytes, kind: int, instrument: int, instruments: Instruments
) -> list[dict[str, Any]] | Reject:
    """Return the items of a frame as dictionaries (absent: neutral), or why there are none."""
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return Reject.SYNTAX
    try:
        if kind == REST_DEPTH:
            known = [each for each in instruments.values() if each[0] == instrument]
            if not known:
                raise Refused(Reject.SYMBOL)
            return [snapshot(message, *known[0])]
        stream = None
        if isinstance(message, dict) and "stream" in message and "data" in message:
            stream, message = message["stream"], message["data"]
            if not isinstance(stream, str):
                raise Refused(Reject.TYPE)
        if stream is None and is_interest(message):
            return [interest(message, instruments)]
        if not isinstance(message, list):
            return [one(message, stream, instruments)]
        items, reason = [], Reject.NOT_COVERED
        for event in message:
            try:
                items.append(one(event, stream, instruments))
            except Refused as refused:
                if refused.reject not in (Reject.NOT_COVERED, Reject.SYMBOL):
                    raise
                reason = min(reason, refused.reject)
        return items or reason
    except Refused as refused:
        return refused.reject
