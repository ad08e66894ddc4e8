"""Binance's private messages, decoded slowly and obviously: the twin of gateways.binance.

Written from the venue's pages, not from the gateway: each message becomes a list of dictionaries
with ``kind`` and the fields that count, numbers as ``Decimal``. Nothing is left out on purpose but
what the gateway's documentation says it leaves out.
"""

import json
from decimal import Decimal
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.types import (
    Liquidity,
    MarginMode,
    OrderStatus,
    PositionSide,
    Reason,
    ReportFlag,
    ReportKind,
)

Told = dict[str, Any]

STATUS = {
    "NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "PENDING_CANCEL": OrderStatus.OPEN,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
}
ENDED = {"CANCELED": ReportKind.CANCELED, "EXPIRED": ReportKind.EXPIRED}


def number(value: Any) -> Decimal:
    return Decimal(0) if value in (None, "") else Decimal(value)


def instant(milliseconds: int) -> int:
    return milliseconds * 1_000_000


def type_of(word: str, futures: bool) -> int:
    if word in ("MARKET", "LIQUIDATION"):
        return OrderType.MARKET
    if word in ("LIMIT", "LIMIT_MAKER"):
        return OrderType.LIMIT
    if word in ("STOP_MARKET", "STOP_LOSS", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"):
        return OrderType.STOP_MARKET
    if word == "TAKE_PROFIT":
        return OrderType.STOP_LIMIT if futures else OrderType.STOP_MARKET
    return OrderType.STOP_LIMIT


def is_stop(word: str) -> bool:
    return "STOP" in word or "TAKE" in word


def time_of(word: str, kind: str) -> int:
    if kind == "LIMIT_MAKER" or word == "GTX":
        return TimeInForce.POST_ONLY
    return TimeInForce[word]


def position_side(word: str) -> int:
    return {"LONG": PositionSide.LONG, "SHORT": PositionSide.SHORT}.get(word, PositionSide.NET)


# -- live events -------------------------------------------------------------------------------
def event(text: bytes, futures: bool) -> list[Told]:
    """Decode a live event, wrapped or not."""
    whole = json.loads(text)
    body = whole.get("event") or whole.get("data") or whole
    kind = body["e"]
    if kind == "executionReport":
        return spot_order(body)
    if kind == "ORDER_TRADE_UPDATE":
        return contract_order(body["o"], body["T"])
    if kind == "outboundAccountPosition":
        return [
            {
                "kind": ReportKind.BALANCE,
                "exchange_ns": instant(body["u"]),
                "asset": one["a"],
                "quantity": number(one["f"]) + number(one["l"]),
                "available": number(one["f"]),
            }
            for one in body["B"]
        ]
    if kind == "ACCOUNT_UPDATE":
        return account(body)
    if kind == "ALGO_UPDATE":
        return algo_event(body)
    if kind == "CONDITIONAL_ORDER_TRIGGER_REJECT":
        return [
            {
                "kind": ReportKind.REJECTED,
                "symbol": body["or"]["s"],
                "venue_id": str(body["or"]["i"]),
                "exchange_ns": instant(body["T"]),
                "status": OrderStatus.REJECTED,
                "text": body["or"]["r"],
                "reason": Reason.FILL_OR_KILL,
            }
        ]
    return [{"notice": kind}]


def spot_order(o: dict[str, Any]) -> list[Told]:
    cumulated = number(o["z"])
    told: Told = {
        "symbol": o["s"],
        "client_text": o.get("C") or o["c"],
        "venue_id": str(o["i"]),
        "exchange_ns": instant(o["T"]),
        "price": number(o["p"]),
        "quantity": number(o["q"]),
        "filled": cumulated,
        "stop_price": number(o["P"]),
        "side": Side[o["S"]],
        "order_type": type_of(o["o"], False),
        "time_in_force": time_of(o["f"], o["o"]),
        "status": STATUS[o["X"]],
        "average": number(o["Z"]) / cumulated if cumulated else Decimal(0),
    }
    expired = {
        "IOC": Reason.IMMEDIATE,
        "FOK": Reason.FILL_OR_KILL,
        "GTD": Reason.TIME,
    }.get(o["f"], Reason.SYSTEM)
    trade = o["x"] == "TRADE" and number(o["l"]) > 0
    out: list[Told] = []
    if trade:
        out.append(
            told
            | {
                "kind": ReportKind.FILL,
                "last_price": number(o["L"]) or told["price"],
                "last_quantity": number(o["l"]),
                "trade_id": o["t"],
                "fee": number(o["n"]),
                "asset": o["N"] or "",
                "liquidity": Liquidity.MAKER if o["m"] else Liquidity.TAKER,
            }
        )
    if o["x"] == "TRADE":
        if o["X"] in ENDED:
            reason = expired if o["X"] == "EXPIRED" else Reason.NONE
            out.append(told | {"kind": ENDED[o["X"]], "reason": reason})
        elif not trade:
            out.append(told | {"kind": ReportKind.OPEN})
    elif o["x"] == "NEW":
        # All samples of stop orders are on the book.
        kind = ReportKind.TRIGGERED if is_stop(o["o"]) else ReportKind.OPEN
        out.append(told | {"kind": kind})
    elif o["x"] == "CANCELED":
        waits = o["X"] == "PENDING_CANCEL"
        out.append(told | {"kind": ReportKind.CANCEL_ACCEPTED if waits else ReportKind.CANCELED})
    elif o["x"] == "EXPIRED":
        known = {"INSUFFICIENT_LIQUIDITY": Reason.IMMEDIATE}
        out.append(told | {"kind": ReportKind.EXPIRED, "reason": known.get(o.get("eR"), expired)})
    elif o["x"] == "TRADE_PREVENTION":
        out.append(told | {"kind": ReportKind.EXPIRED, "reason": Reason.SELF_TRADE})
    return out


FORCED = (
    ("autoclose-", Reason.LIQUIDATION),
    ("adl_autoclose", Reason.DELEVERAGING),
    ("settlement_autoclose-", Reason.SETTLEMENT),
    ("delivery_autoclose-", Reason.SETTLEMENT),
)


def contract_order(o: dict[str, Any], time_ms: int) -> list[Told]:
    told: Told = {
        "symbol": o["s"],
        "client_text": o["c"],
        "venue_id": str(o["i"]),
        "exchange_ns": instant(time_ms),
        "price": number(o["p"]),
        "quantity": number(o["q"]),
        "filled": number(o["z"]),
        "stop_price": number(o["sp"]),
        "side": Side[o["S"]],
        "order_type": type_of(o["o"], True),
        "time_in_force": time_of(o["f"], o["o"]),
        "average": number(o["ap"]),
        "position_side": position_side(o["ps"]),
        "flags": ReportFlag.REDUCE_ONLY if o["R"] else 0,
        # The two states that are none come with orders that are filled.
        "status": STATUS.get(o["X"], OrderStatus.FILLED),
    }
    for prefix, reason in FORCED:
        if o["c"].startswith(prefix):
            told["flags"] |= ReportFlag.FORCED
            told["reason"] = reason
    if o["x"] in ("TRADE", "CALCULATED"):
        return [
            told
            | {
                "kind": ReportKind.FILL,
                "last_price": number(o["L"]),
                "last_quantity": number(o["l"]),
                "trade_id": o["t"],
                "fee": number(o.get("n")),
                "asset": o.get("N", ""),
                "liquidity": Liquidity.MAKER if o["m"] else Liquidity.TAKER,
            }
        ]
    if o["x"] == "CANCELED":
        return [told | {"kind": ReportKind.CANCELED, "reason": Reason.REQUESTED}]
    if is_stop(o["o"]):
        return [told | {"kind": ReportKind.ACCEPTED, "status": OrderStatus.UNTRIGGERED}]
    return [told | {"kind": ReportKind.OPEN}]


def account(body: dict[str, Any]) -> list[Told]:
    out: list[Told] = []
    time_ns = instant(body["T"])
    for one in body["a"]["B"]:
        if body["a"]["m"] == "FUNDING_FEE":
            out.append(
                {
                    "kind": ReportKind.FUNDING,
                    "exchange_ns": time_ns,
                    "asset": one["a"],
                    "fee": -number(one["bc"]),
                }
            )
        out.append(
            {
                "kind": ReportKind.BALANCE,
                "exchange_ns": time_ns,
                "asset": one["a"],
                "quantity": number(one["wb"]),
            }
        )
    out += [
        {
            "kind": ReportKind.POSITION,
            "symbol": one["s"],
            "exchange_ns": time_ns,
            "quantity": number(one["pa"]),
            "average": number(one["ep"]),
            "position_side": position_side(one["ps"]),
        }
        for one in body["a"]["P"]
    ]
    return out


def algo_event(body: dict[str, Any]) -> list[Told]:
    o = body["o"]
    canceled = o["X"] == "CANCELED"
    return [
        {
            "kind": ReportKind.CANCELED if canceled else ReportKind.ACCEPTED,
            "status": OrderStatus.CANCELED if canceled else OrderStatus.UNTRIGGERED,
            "reason": Reason.REQUESTED if canceled else Reason.NONE,
            "symbol": o["s"],
            "client_text": o["caid"],
            "venue_id": f"a{o['aid']}",
            "exchange_ns": instant(body["T"]),
            "price": number(o["p"]),
            "quantity": number(o["q"]),
            "stop_price": number(o["tp"]),
            "side": Side[o["S"]],
            "order_type": type_of(o["o"], True),
            "time_in_force": time_of(o["f"], o["o"]),
            "text": o.get("rm", ""),
        }
    ]


# -- answers and results -----------------------------------------------------------------------
def order(o: dict[str, Any], futures: bool) -> Told:
    """Decode an order as REST and the WebSocket API state it."""
    filled = number(o.get("executedQty"))
    if futures:
        average = number(o.get("avgPrice"))
    else:
        cost = number(o.get("cummulativeQuoteQty") or o.get("cumulativeQuoteQty"))
        average = cost / filled if filled else Decimal(0)
    status = STATUS[o["status"]]
    if is_stop(o["type"]) and o["status"] == "NEW" and not o.get("isWorking"):
        status = OrderStatus.UNTRIGGERED
    times = [o.get(name, 0) for name in ("updateTime", "transactTime", "workingTime", "time")]
    return {
        "symbol": o["symbol"],
        "client_text": o.get("origClientOrderId") or o.get("clientOrderId", ""),
        "venue_id": str(o["orderId"]),
        "exchange_ns": instant(next((time for time in times if time > 0), 0)),
        "price": number(o.get("price")),
        "quantity": number(o.get("origQty") or o.get("qty")),
        "filled": filled,
        "average": average,
        "stop_price": number(o.get("stopPrice")),
        "status": status,
        "side": Side[o["side"]],
        "order_type": type_of(o["type"], futures),
        "time_in_force": time_of(o["timeInForce"], o["type"]),
        "position_side": position_side(o.get("positionSide", "")),
        "flags": ReportFlag.REDUCE_ONLY if o.get("reduceOnly") else 0,
    }


def placed(o: dict[str, Any], futures: bool) -> list[Told]:
    """Decode the answer to a new order: its trades, then how it stands."""
    stands = order(o, futures)
    out: list[Told] = []
    filled = Decimal(0)
    for one in o.get("fills", []):
        if "qty" not in one:
            continue
        filled += number(one["qty"])
        out.append(
            {
                "kind": ReportKind.FILL,
                "symbol": o["symbol"],
                "client_text": stands["client_text"],
                "venue_id": stands["venue_id"],
                "exchange_ns": stands["exchange_ns"],
                "filled": filled,
                "last_price": number(one["price"]),
                "last_quantity": number(one["qty"]),
                "trade_id": one["tradeId"],
                "fee": number(one["commission"]),
                "asset": one["commissionAsset"],
                "liquidity": Liquidity.TAKER,
            }
        )
    opened = stands["status"] in (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED)
    return [*out, stands | {"kind": ReportKind.OPEN if opened else ReportKind.ACCEPTED}]


def canceled(o: dict[str, Any], futures: bool) -> Told:
    return order(o, futures) | {"kind": ReportKind.CANCELED, "reason": Reason.REQUESTED}


def replaced(o: dict[str, Any]) -> list[Told]:
    """Decode the answer to a cancel-replace of which both halves succeeded."""
    first, *rest = [
        order(o["newOrderResponse"], False) | {"kind": ReportKind.AMENDED},
        *placed(o["newOrderResponse"], False)[:-1],
    ]
    return [first, *rest]


def algo(o: dict[str, Any], kind: ReportKind) -> Told:
    """Decode a conditional order as an answer states it."""
    waits = o["algoStatus"] == "NEW"
    return {
        "kind": kind,
        "symbol": o["symbol"],
        "client_text": o["clientAlgoId"],
        "venue_id": f"a{o['algoId']}",
        "exchange_ns": instant(o["updateTime"]),
        "price": number(o["price"]),
        "quantity": number(o["quantity"]),
        "stop_price": number(o["triggerPrice"]),
        "status": OrderStatus.UNTRIGGERED if waits else OrderStatus.CANCELED,
        "reason": Reason.NONE if waits else Reason.REQUESTED,
        "side": Side[o["side"]],
        "order_type": type_of(o["orderType"], True),
        "time_in_force": time_of(o["timeInForce"], o["orderType"]),
        "position_side": position_side(o["positionSide"]),
    }


def trade(o: dict[str, Any], futures: bool) -> Told:
    """Decode a trade of the account's history."""
    buys = o["buyer"] if futures else o["isBuyer"]
    makes = o["maker"] if futures else o["isMaker"]
    return {
        "kind": ReportKind.FILL,
        "symbol": o["symbol"],
        "venue_id": str(o["orderId"]),
        "exchange_ns": instant(o["time"]),
        "last_price": number(o["price"]),
        "last_quantity": number(o["qty"]),
        "trade_id": o["id"],
        "fee": number(o["commission"]),
        "asset": o["commissionAsset"],
        "side": Side.BUY if buys else Side.SELL,
        "liquidity": Liquidity.MAKER if makes else Liquidity.TAKER,
        "position_side": position_side(o.get("positionSide", "")),
    }


def balance(o: dict[str, Any]) -> Told:
    """Decode a balance of a query."""
    if "free" in o:
        total, available = number(o["free"]) + number(o["locked"]), number(o["free"])
    else:
        total, available = number(o["balance"]), number(o["availableBalance"])
    return {
        "kind": ReportKind.BALANCE,
        "asset": o["asset"],
        "quantity": total,
        "available": available,
        "flags": ReportFlag.ABSOLUTE,
        "exchange_ns": instant(o.get("updateTime", 0)),
    }


def position(o: dict[str, Any]) -> Told:
    """Decode a position of a query."""
    alone = o.get("marginType") == "isolated" or number(o.get("isolatedWallet")) != 0
    return {
        "kind": ReportKind.POSITION,
        "symbol": o["symbol"],
        "quantity": number(o["positionAmt"]),
        "average": number(o["entryPrice"]),
        "position_side": position_side(o["positionSide"]),
        "margin_mode": MarginMode.ISOLATED if alone else MarginMode.CROSS,
        "flags": ReportFlag.ABSOLUTE,
        "exchange_ns": instant(o["updateTime"]),
    }
