"""The slow, obvious reading of Bybit's public messages: what the scanner must agree with.

``orjson`` decides what JSON is, ``decimal.Decimal`` what a number is, and plain dictionaries hold
the fields. Shares nothing with the scanner but the names of the results.
"""

import re
from typing import Any

import orjson

from feeds.message import Has, ItemKind, Reject
from feeds.types import INDEX_DECIMALS, RATE_DECIMALS, Flag
from tests.naive_scan import (
    INT64_MAX,
    NOTHING,
    SIGNED,
    Instruments,
    Refused,
    get,
    has,
    nanoseconds,
    optional,
    rounded,
    scaled,
    side,
    whole,
)

BOOK_TOPIC = re.compile(r"orderbook\.([0-9]+)\..*", re.S)
SIDES = {"Buy": 1, "Sell": -1}


def identity(text: Any) -> int:
    """Return an id: digits that int64 holds, or a text folded to 63 bits."""
    if not isinstance(text, str):
        raise Refused(Reject.MISSING if text is NOTHING else Reject.TYPE)
    if not text:
        raise Refused(Reject.NUMBER)
    if re.fullmatch("[0-9]+", text) and int(text) <= INT64_MAX:
        return int(text)
    if not all(" " <= each <= "\x7f" for each in text):
        raise Refused(Reject.TYPE)
    raw = text.encode()
    raw += bytes(-len(raw) % 8)
    mixed = 0
    for start in range(0, len(raw), 4):
        piece = int.from_bytes(raw[start : start + 4], "little")
        mixed = (mixed ^ piece) % 2**32 * 2_111_111_111 + (mixed >> 32)
    assert mixed <= INT64_MAX
    return mixed


def direction(value: Any) -> int:
    if value is NOTHING:
        raise Refused(Reject.MISSING)
    if not isinstance(value, str) or value not in SIDES:
        raise Refused(Reject.TYPE)
    return SIDES[value]


def instrument_of(event: dict[str, Any], instruments: Instruments) -> tuple[int, int, int]:
    native = event.get("s", event.get("symbol", NOTHING))
    if not isinstance(native, str):
        raise Refused(Reject.MISSING if native is NOTHING else Reject.TYPE)
    if native not in instruments:
        raise Refused(Reject.SYMBOL)
    return instruments[native]


def either(event: dict[str, Any], key: str, other: str) -> Any:
    return get(event, key) if key in event else get(event, other)


def trade(event: dict[str, Any], instruments: Instruments) -> dict[str, Any]:
    row, pd, qd = instrument_of(event, instruments)
    block = event.get("BT", False)
    if not isinstance(block, bool):
        raise Refused(Reject.TYPE)
    return {
        "kind": ItemKind.TRADE,
        "instrument": row,
        "exchange_ns": nanoseconds(either(event, "T", "updatedTime")),
        "first_id": identity(get(event, "i")),
        "price": scaled(either(event, "p", "price"), pd),
        "quantity": scaled(either(event, "v", "size"), qd),
        "side": direction(either(event, "S", "side")),
        "flags": int(Flag.NOT_MARKET) if block else 0,
    }


def liquidation(event: dict[str, Any], instruments: Instruments) -> dict[str, Any]:
    row, pd, qd = instrument_of(event, instruments)
    return {
        "kind": ItemKind.LIQUIDATION,
        "instrument": row,
        "exchange_ns": nanoseconds(either(event, "T", "updatedTime")),
        "price": rounded(either(event, "p", "price"), pd),
        "quantity": scaled(either(event, "v", "size"), qd),
        "side": -direction(either(event, "S", "side")),
    }


def book(message: dict[str, Any], depth: str, instruments: Instruments) -> dict[str, Any]:
    event = message["data"]
    row, pd, qd = instrument_of(event, instruments)
    bids, asks = side(get(event, "b"), pd, qd), side(get(event, "a"), pd, qd)
    update_id = whole(get(event, "u"))
    kind = get(message, "type")
    if kind not in ("snapshot", "delta"):
        raise Refused(Reject.MISSING if kind is NOTHING else Reject.TYPE)
    snapshot = kind == "snapshot" or update_id == 1
    common = {
        "instrument": row,
        "exchange_ns": nanoseconds(either(message, "cts", "ts")),
        "first_id": update_id,
    }
    if depth != "1":
        kind = ItemKind.BOOK_SNAPSHOT if snapshot else ItemKind.BOOK_UPDATE
        return common | {"kind": kind, "last_id": update_id, "bids": bids, "asks": asks}
    if not snapshot:
        raise Refused(Reject.NOTHING)
    if max(len(bids), len(asks)) > 1:
        raise Refused(Reject.SIZE)
    (bid, bid_size), (ask, ask_size) = (*bids, (0, 0))[0], (*asks, (0, 0))[0]
    best = {"price": bid, "quantity": bid_size, "price_2": ask, "quantity_2": ask_size}
    return common | best | {"kind": ItemKind.TICKER}


FUNDING = {
    "markPrice": Has.MARK,
    "indexPrice": Has.INDEX,
    "fundingRate": Has.RATE,
    "nextFundingTime": Has.NEXT,
    "openInterest": Has.INTEREST,
    "predictedDeliveryPrice": Has.SETTLE,
}
STATS = {
    "lastPrice": Has.LAST,
    "prevPrice24h": Has.OPEN,
    "highPrice24h": Has.HIGH,
    "lowPrice24h": Has.LOW,
    "volume24h": Has.VOLUME,
}


def next_time(event: dict[str, Any]) -> int:
    text = event.get("nextFundingTime", "")
    if text == "":
        return 0
    if not isinstance(text, str):
        raise Refused(Reject.TYPE)
    if not re.fullmatch("[0-9]+", text):
        raise Refused(Reject.NUMBER)
    return nanoseconds(int(text))


def tickers(message: dict[str, Any], instruments: Instruments) -> list[dict[str, Any]]:
    event = message["data"]
    if not event.keys() & (FUNDING.keys() | STATS.keys()):
        raise Refused(Reject.NOTHING)
    row, pd, qd = instrument_of(event, instruments)
    common = {"instrument": row, "exchange_ns": nanoseconds(get(message, "ts"))}
    rate, last = event.get("fundingRate", ""), event.get("lastPrice", "")
    funding = common | {
        "kind": ItemKind.FUNDING,
        "price": optional(event, "markPrice", INDEX_DECIMALS),
        "quantity": optional(event, "indexPrice", INDEX_DECIMALS),
        "price_2": optional(event, "predictedDeliveryPrice", INDEX_DECIMALS),
        "quantity_2": scaled(rate, RATE_DECIMALS, SIGNED) if rate != "" else 0,
        "next_ns": next_time(event),
        "extra": optional(event, "openInterest", qd),
        "mask": has(event, FUNDING),
    }
    if not funding["price_2"]:
        funding["mask"] &= ~Has.SETTLE
    stats = common | {
        "kind": ItemKind.STATS,
        "price": scaled(last, pd) if last != "" else 0,
        "price_2": optional(event, "prevPrice24h", pd),
        "quantity_2": optional(event, "highPrice24h", pd),
        "extra": optional(event, "lowPrice24h", pd),
        "quantity": optional(event, "volume24h", qd),
        "mask": has(event, STATS),
    }
    items = [each for each in (funding, stats) if each["mask"]]
    if not items:
        raise Refused(Reject.NOTHING)
    return items


def each_of(events: Any, reader: Any, instruments: Instruments) -> list[dict[str, Any]]:
    items, reason = [], Reject.NOTHING
    for event in events:
        if not isinstance(event, dict):
            raise Refused(Reject.TYPE)
        try:
            items.append(reader(event, instruments))
        except Refused as refused:
            if refused.reject != Reject.SYMBOL:
                raise
            reason = Reject.SYMBOL
    if not items:
        raise Refused(reason)
    return items


def items_of(message: Any, instruments: Instruments) -> list[dict[str, Any]]:
    topic = message.get("topic") if isinstance(message, dict) else None
    if topic is None and not (isinstance(message, dict) and "topic" in message):
        raise Refused(Reject.NOT_COVERED)
    if not isinstance(topic, str):
        raise Refused(Reject.TYPE)
    depth = BOOK_TOPIC.fullmatch(topic)
    name = topic.partition(".")[0] if "." in topic else ""
    if not depth and name not in ("publicTrade", "tickers", "allLiquidation", "liquidation"):
        raise Refused(Reject.NOT_COVERED)
    data = get(message, "data")
    if data is NOTHING:
        raise Refused(Reject.MISSING)
    expected: tuple[type, ...] = (list,) if name == "publicTrade" else (dict,)
    if name in ("allLiquidation", "liquidation"):
        expected = (list, dict)
    if not isinstance(data, expected):
        raise Refused(Reject.TYPE)
    if isinstance(data, list):
        return each_of(data, trade if name == "publicTrade" else liquidation, instruments)
    if depth:
        return [book(message, depth[1], instruments)]
    if name == "tickers":
        return tickers(message, instruments)
    return [liquidation(data, instruments)]


def naive_bybit(
    frame: bytes, kind: int, instrument: int, instruments: Instruments
) -> list[dict[str, Any]] | Reject:
    """Return the items of a frame as dictionaries (absent: neutral), or why there are none."""
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return Reject.SYNTAX
    try:
        return items_of(message, instruments)
    except Refused as refused:
        return refused.reject
