"""The slow, obvious reading of OKX's public messages: what the scanner must agree with.

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
    rounded,
    scaled,
    whole,
)

REST_DEPTH = 3
BOOKS = ("books", "books-l2-tbt", "books50-l2-tbt")
LEVELED = (*BOOKS, "books5", "bbo-tbt")
WHOLE_KINDS = ("index-tickers", "liquidation-orders")


def text_whole(text: Any) -> int:
    if text is NOTHING:
        raise Refused(Reject.MISSING)
    if not isinstance(text, str):
        raise Refused(Reject.TYPE)
    if not re.fullmatch("[0-9]+", text):
        raise Refused(Reject.NUMBER)
    if int(text) > INT64_MAX:
        raise Refused(Reject.OVERFLOW)
    return int(text)


def text_time(text: Any) -> int:
    time = text_whole(text)
    time *= 1000 if time >= 10**15 else 10**6
    if time > INT64_MAX:
        raise Refused(Reject.OVERFLOW)
    return time


def absent(value: Any) -> bool:
    return value is NOTHING or value == ""


def side(value: Any) -> int:
    if value is NOTHING:
        raise Refused(Reject.MISSING)
    if value not in ("buy", "sell"):
        raise Refused(Reject.TYPE)
    return 1 if value == "buy" else -1


def rows(value: Any, pd: int, qd: int) -> list[tuple[int, int]]:
    if value is NOTHING:
        raise Refused(Reject.MISSING)
    if not isinstance(value, list) or any(not isinstance(r, list) or len(r) < 2 for r in value):
        raise Refused(Reject.TYPE)
    return [(scaled(row[0], pd), scaled(row[1], qd)) for row in value]


def checksum(value: Any) -> int:
    if value is NOTHING:
        return 0
    number = -whole(-value) if isinstance(value, int) and value < 0 else whole(value)
    if not -(2**31) <= number < 2**31:
        raise Refused(Reject.OVERFLOW)
    return number % 2**32


def trade(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    count = text_whole(event["count"]) if "count" in event else 1
    return {
        "kind": ItemKind.TRADE,
        "instrument": row,
        "exchange_ns": text_time(get(event, "ts")),
        "first_id": text_whole(get(event, "tradeId")),
        "price": scaled(get(event, "px"), pd),
        "quantity": scaled(get(event, "sz"), qd),
        "side": side(get(event, "side")),
        "flags": int(Flag.AGGREGATED) if count > 1 else 0,
    }


def quotes(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    bids, asks = rows(get(event, "bids"), pd, qd), rows(get(event, "asks"), pd, qd)
    bid, ask = (bids or [(0, 0)])[0], (asks or [(0, 0)])[0]
    return {
        "kind": ItemKind.TICKER,
        "instrument": row,
        "exchange_ns": text_time(get(event, "ts")),
        "first_id": whole(event["seqId"]) if "seqId" in event else 0,
        "price": bid[0],
        "quantity": bid[1],
        "price_2": ask[0],
        "quantity_2": ask[1],
    }


def is_update(action: Any, link: Any) -> bool:
    if action is NOTHING:
        if link is NOTHING:
            raise Refused(Reject.MISSING)
        return link != -1
    if action not in ("snapshot", "update"):
        raise Refused(Reject.TYPE)
    return action == "update"


def book(
    event: dict[str, Any], channel: str, action: Any, row: int, pd: int, qd: int
) -> dict[str, Any]:
    link = get(event, "prevSeqId")
    update = is_update(action, link) if channel in BOOKS else False
    last_id = whole(event["seqId"]) if "seqId" in event else text_whole(get(event, "ts"))
    previous_id = -1
    if update and ("seqId" in event or "prevSeqId" in event):
        if "seqId" not in event:
            raise Refused(Reject.MISSING)
        previous_id = whole(link)
    elif link is not NOTHING and not (isinstance(link, int) and link == -1):
        whole(link)
    return {
        "kind": ItemKind.BOOK_UPDATE if update else ItemKind.BOOK_SNAPSHOT,
        "instrument": row,
        "exchange_ns": text_time(get(event, "ts")),
        "first_id": last_id,
        "last_id": last_id,
        "previous_id": previous_id,
        "checksum": checksum(get(event, "checksum")),
        "flags": int(Flag.PARTIAL) if channel == "books5" else 0,
        "bids": rows(get(event, "bids"), pd, qd),
        "asks": rows(get(event, "asks"), pd, qd),
    }


def stats(event: dict[str, Any], row: int, pd: int, qd: int) -> dict[str, Any]:
    item = {"kind": ItemKind.STATS, "instrument": row, "exchange_ns": text_time(get(event, "ts"))}
    mask = 0
    for key, field, bit, decimals in (
        ("last", "price", Has.LAST, pd),
        ("open24h", "price_2", Has.OPEN, pd),
        ("high24h", "quantity_2", Has.HIGH, pd),
        ("low24h", "extra", Has.LOW, pd),
        ("vol24h", "quantity", Has.VOLUME, qd),
    ):
        if not absent(get(event, key)):
            item[field] = rounded(event[key], decimals)
            mask |= bit
    if not mask:
        raise Refused(Reject.MISSING)
    return item | {"mask": int(mask)}


def funding(event: dict[str, Any], channel: str, row: int, qd: int) -> dict[str, Any]:
    item = {"kind": ItemKind.FUNDING, "instrument": row}
    time = get(event, "ts")
    if channel == "funding-rate":
        item["exchange_ns"] = 0 if absent(time) else text_time(time)
        mask = 0
        if not absent(get(event, "fundingRate")):
            item["quantity_2"] = scaled(event["fundingRate"], RATE_DECIMALS, SIGNED)
            mask |= Has.RATE
        if not absent(get(event, "fundingTime")):
            item["next_ns"] = text_time(event["fundingTime"])
            mask |= Has.NEXT
        if not mask:
            raise Refused(Reject.MISSING)
        return item | {"mask": int(mask)}
    key, field, mask, decimals = {
        "mark-price": ("markPx", "price", Has.MARK, INDEX_DECIMALS),
        "index-tickers": ("idxPx", "quantity", Has.INDEX, INDEX_DECIMALS),
        "open-interest": ("oi", "extra", Has.INTEREST, qd),
    }[channel]
    item |= {"exchange_ns": text_time(time), "mask": int(mask)}
    return item | {field: rounded(get(event, key), decimals)}


def liquidations(event: dict[str, Any], row: int, pd: int, qd: int) -> list[dict[str, Any]]:
    details = get(event, "details")
    if details is NOTHING:
        raise Refused(Reject.MISSING)
    if not isinstance(details, list) or not all(isinstance(each, dict) for each in details):
        raise Refused(Reject.TYPE)
    return [
        {
            "kind": ItemKind.LIQUIDATION,
            "instrument": row,
            "exchange_ns": text_time(get(each, "ts")),
            "price": rounded(get(each, "bkPx"), pd),
            "quantity": scaled(get(each, "sz"), qd),
            "side": side(get(each, "side")),
        }
        for each in details
    ]


def native_in(holder: dict[str, Any]) -> str:
    native = get(holder, "instId")
    if not isinstance(native, str):
        raise Refused(Reject.MISSING if native is NOTHING else Reject.TYPE)
    return native


def elements(
    event: Any, channel: str, action: Any, arg: dict[str, Any], instruments: Instruments
) -> list[dict[str, Any]]:
    if not isinstance(event, dict):
        raise Refused(Reject.TYPE)
    if channel in LEVELED:
        row, pd, qd = instruments[native_in(arg)]
        if channel == "bbo-tbt":
            return [quotes(event, row, pd, qd)]
        return [book(event, channel, action, row, pd, qd)]
    native = native_in(event if "instId" in event else arg)
    if channel == "index-tickers":
        native += "-SWAP"
    if native not in instruments:
        raise Refused(Reject.NOTHING if channel in WHOLE_KINDS else Reject.SYMBOL)
    row, pd, qd = instruments[native]
    if channel in ("trades", "trades-all"):
        return [trade(event, row, pd, qd)]
    if channel == "tickers":
        return [stats(event, row, pd, qd)]
    if channel == "liquidation-orders":
        return liquidations(event, row, pd, qd)
    return [funding(event, channel, row, qd)]


OTHERS = ("trades", "trades-all", "tickers", "funding-rate", "mark-price", "open-interest")
COVERED = (*LEVELED, *OTHERS, *WHOLE_KINDS)


def message(content: Any, instruments: Instruments) -> list[dict[str, Any]]:
    if not isinstance(content, dict) or "event" in content or not {"arg", "data"} <= content.keys():
        raise Refused(Reject.NOT_COVERED)
    arg = content["arg"]
    if not isinstance(arg, dict):
        raise Refused(Reject.TYPE)
    channel = get(arg, "channel")
    if not isinstance(channel, str):
        raise Refused(Reject.MISSING if channel is NOTHING else Reject.TYPE)
    if channel not in COVERED:
        raise Refused(Reject.NOT_COVERED)
    if "instId" in arg:
        native_in(arg)
    if channel in LEVELED and native_in(arg) not in instruments:
        raise Refused(Reject.SYMBOL)
    if not isinstance(content["data"], list):
        raise Refused(Reject.TYPE)
    items, reason = [], Reject.NOTHING
    for event in content["data"]:
        try:
            items += elements(event, channel, get(content, "action"), arg, instruments)
        except Refused as refused:
            if refused.reject not in (Reject.NOTHING, Reject.SYMBOL):
                raise
            reason = max(reason, refused.reject)
    if not items:
        raise Refused(reason)
    return items


def rest_body(content: Any, known: tuple[int, int, int]) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        raise Refused(Reject.TYPE)
    data = get(content, "data")
    if data is NOTHING or data == []:
        raise Refused(Reject.MISSING)
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise Refused(Reject.TYPE)
    if any("seqId" not in each for each in data):
        raise Refused(Reject.MISSING)
    return [book(each, "rest", NOTHING, *known) for each in data]


def naive_okx(
    frame: bytes, kind: int, instrument: int, instruments: Instruments
) -> list[dict[str, Any]] | Reject:
    """Return the items of a frame as dictionaries (absent: neutral), or why there are none."""
    if frame == b"pong":
        return Reject.NOT_COVERED
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return Reject.SYNTAX
    try:
        if kind != REST_DEPTH:
            return message(content, instruments)
        known = [each for each in instruments.values() if each[0] == instrument]
        if not known:
            raise Refused(Reject.SYMBOL)
        return rest_body(content, known[0])
    except Refused as refused:
        return refused.reject
