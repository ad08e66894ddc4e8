"""``trade-infra decode`` in this process, and what it should print, the slow and obvious way."""

import argparse
from decimal import Decimal
from typing import Any

from feeds.cli import register_decode
from feeds.message import Has, ItemKind
from feeds.types import INDEX_DECIMALS, RATE_DECIMALS, Flag

FUNDING = {
    "mark_price": ("price", INDEX_DECIMALS, Has.MARK),
    "index_price": ("quantity", INDEX_DECIMALS, Has.INDEX),
    "settle_price": ("price_2", INDEX_DECIMALS, Has.SETTLE),
    "rate": ("quantity_2", RATE_DECIMALS, Has.RATE),
}
STATS = {
    "last_price": ("price", Has.LAST),
    "open_price": ("price_2", Has.OPEN),
    "high_price": ("quantity_2", Has.HIGH),
    "low_price": ("extra", Has.LOW),
}
DIRECTIONS = {1: "buy", -1: "sell", 0: "unknown"}


def command(*arguments: object) -> int:
    """Run the command in this process; return its exit code."""
    parser = argparse.ArgumentParser()
    register_decode(parser.add_subparsers())
    args = parser.parse_args(["decode", *map(str, arguments)])
    return int(args.handler(args))


def text(mantissa: int, decimals: int) -> str:
    return f"{Decimal(mantissa).scaleb(-decimals):f}"


def names(flags: int) -> list[str]:
    return [flag.name.lower() for flag in Flag if flags & flag and flag.name]


def book_lines(item: dict[str, Any], native: str, pd: int, qd: int) -> list[dict[str, Any]]:
    """Return a line for each level; one that only clears for an empty snapshot."""
    snapshot = item["kind"] == ItemKind.BOOK_SNAPSHOT
    rows = [("bid", *row) for row in item["bids"]] + [("ask", *row) for row in item["asks"]]
    if snapshot and not rows:
        rows = [("none", 0, 0)]
    lines = []
    for place, (side, price, quantity) in enumerate(rows):
        flags = item["flags"]
        flags |= Flag.LAST if place == len(rows) - 1 else 0
        flags |= Flag.SNAPSHOT if snapshot else 0
        flags |= Flag.CLEAR if snapshot and place == 0 else 0
        line = {"type": "book_delta", "symbol": native, "exchange_ns": item["exchange_ns"]}
        line |= {"price": text(price, pd), "quantity": text(quantity, qd), "side": side}
        line |= {"update_id": item["last_id"], "first_id": item["first_id"], "flags": names(flags)}
        if item["previous_id"] != -1:
            line["previous_id"] = item["previous_id"]
        if item["checksum"]:
            line["checksum"] = item["checksum"]
        lines.append(line)
    return lines


def lines_of(item: dict[str, Any], native: str, pd: int, qd: int) -> list[dict[str, Any]]:
    """Return what ``decode`` prints for an item of a reference, without the number of the line."""
    kind = item["kind"]
    if kind in (ItemKind.BOOK_UPDATE, ItemKind.BOOK_SNAPSHOT):
        return book_lines(item, native, pd, qd)
    line = {"symbol": native, "exchange_ns": item["exchange_ns"]}
    line["flags"] = names(item["flags"] | Flag.LAST)
    price, quantity = text(item["price"], pd), text(item["quantity"], qd)
    if kind in (ItemKind.TRADE, ItemKind.LIQUIDATION):
        line |= {"price": price, "quantity": quantity, "side": DIRECTIONS[item["side"]]}
        if kind == ItemKind.TRADE:
            return [line | {"type": "trade", "trade_id": item["first_id"]}]
        return [line | {"type": "liquidation"}]
    if kind == ItemKind.TICKER:
        line |= {"type": "book_top", "bid_price": price, "bid_quantity": quantity}
        line |= {"ask_price": text(item["price_2"], pd), "update_id": item["first_id"]}
        return [line | {"ask_quantity": text(item["quantity_2"], qd)}]
    has = item["mask"]
    if kind == ItemKind.STATS:
        for name, (field, bit) in STATS.items():
            line[name] = text(item[field], pd) if has & bit else None
        return [line | {"type": "stats", "volume": quantity if has & Has.VOLUME else None}]
    for name, (field, decimals, bit) in FUNDING.items():
        line[name] = text(item[field], decimals) if has & bit else None
    line["next_funding_ns"] = item["next_ns"] if has & Has.NEXT else None
    line["open_interest"] = text(item["extra"], qd) if has & Has.INTEREST else None
    return [line | {"type": "funding"}]
