"""OKX's private messages read slowly: dictionaries and Decimals, written apart from the adapter.

``expected_*`` return what a message says; ``view`` shows an update in the same terms.
"""

import json
from decimal import Decimal
from typing import Any

from engine.secrets import Secret
from gateways.adapter import Call, Identity, Query
from gateways.message import Instrument, Update
from gateways.okx import Okx
from gateways.signing import hmac_base64
from gateways.types import Liquidity, MarginMode, OrderStatus, ReportKind

NOW_MS = 1_700_000_000_000
PRICE_DECIMALS, QUANTITY_DECIMALS = 5, 8
NATIVES = (
    "BTC-USDT",
    "ETH-BTC",
    "BTC-USDC",
    "BTC-USDT-SWAP",
    "BTC-USDC-SWAP",
    "ETH-USDT-SWAP",
    "ETH-USD-210430",
)


def instrument(native: str, row: int = 0, price: int = 2, quantity: int = 8, **more: Any) -> Any:
    """Return an instrument of OKX by its symbol."""
    base, quote, *rest = native.split("-")
    inverse = quote == "USD"
    kind = 1 if not rest else {"SWAP": 2}.get(rest[0], 3) + (2 if inverse else 0)
    settle = "" if not rest else base if inverse else quote
    return Instrument(row, native, native, base, quote, settle, kind, price, quantity, 1, 1, **more)


INSTRUMENTS = {
    native: instrument(native, row, PRICE_DECIMALS, QUANTITY_DECIMALS)
    for row, native in enumerate(NATIVES)
}


CODES = {native: 10_000 + row for row, native in enumerate(NATIVES)}
"""What the venue numbers the instruments by."""


def adapter(key="key", secret="secret", passphrase="password", test=False, codes=CODES) -> Okx:
    """Return an adapter with known secrets, to which the instruments' codes have been told."""
    made = Okx(Identity(Secret(key), hmac_base64(Secret(secret)), Secret(passphrase), test=test))
    rows = [{"instId": native, "instIdCode": code} for native, code in codes.items()]
    body = json.dumps({"code": "0", "data": rows}).encode()
    call = Call("GET", "/api/v5/public/instruments")
    assert not made.read_page(Query.INSTRUMENTS, call, body, {})
    return made


def number(text: Any) -> Decimal:
    return Decimal(text or "0")


def view(update: Update) -> dict[str, Any]:
    """Return an update's fields as words and Decimals, those that say nothing left out."""
    shown: dict[str, Any] = {
        "kind": ReportKind(update.kind).name,
        "client": update.client_text,
        "venue": update.venue_id,
        "ms": update.exchange_ns // 1_000_000,
        "status": OrderStatus(update.status).name,
        "side": update.side,
        "position": update.position_side,
        "asset": update.asset,
        "trade": update.trade_id,
        "liquidity": Liquidity(update.liquidity).name,
        "mode": MarginMode(update.margin_mode).name,
        "forced": bool(update.flags & 4),
        "reduce_only": bool(update.flags & 8),
        "fee": Decimal(update.fee).scaleb(-update.decimals),
    }
    if update.instrument >= 0:
        shown["native"] = NATIVES[update.instrument]
    if update.kind == ReportKind.BALANCE:
        shown["quantity"] = Decimal(update.quantity).scaleb(-update.decimals)
        shown["available"] = Decimal(update.available).scaleb(-update.decimals)
    else:
        for name in ("quantity", "filled", "last_quantity"):
            shown[name] = Decimal(getattr(update, name)).scaleb(-QUANTITY_DECIMALS)
    for name in ("price", "last_price", "stop_price"):
        shown[name] = Decimal(getattr(update, name)).scaleb(-PRICE_DECIMALS)
    shown["average"] = Decimal(update.average_price).scaleb(-PRICE_DECIMALS - 6)
    return tidy(shown)


def tidy(shown: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing."""
    return {key: value for key, value in shown.items() if value not in (0, "", "NONE", False)}


_CATEGORIES = {"adl", "full_liquidation", "partial_liquidation", "delivery"}
_SIDES = {"buy": 1, "sell": -1, "long": 1, "short": -1}


def order_fields(row: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return what a row says of the order itself."""
    status = {
        "live": "OPEN",
        "partially_filled": "PARTIALLY_FILLED",
        "filled": "FILLED",
        "canceled": "CANCELED" if row.get("cancelSource") in ("1", "20") else "EXPIRED",
    }[row["state"]]
    fields = {
        "kind": kind,
        "client": row["clOrdId"] or row.get("algoClOrdId"),
        "venue": row["ordId"],
        "native": row["instId"],
        "ms": int(row["uTime"]),
        "price": number(row["px"]),
        "filled": number(row["accFillSz"]),
        "average": number(row["avgPx"]),
        "status": status,
        "side": _SIDES[row["side"]],
        "position": _SIDES.get(row.get("posSide", ""), 0),
        "mode": row["tdMode"].upper(),
        "forced": row["category"] in _CATEGORIES,
        "reduce_only": row.get("reduceOnly") == "true",
    }
    if row.get("tgtCcy") != "quote_ccy":
        fields["quantity"] = number(row["sz"])
    return fields


def expected_orders(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a push of the orders channel says."""
    if row.get("tradeId"):
        fill = order_fields(row, "FILL") | {
            "trade": int(row["tradeId"]),
            "last_price": number(row["fillPx"]),
            "last_quantity": number(row["fillSz"]),
            "liquidity": {"T": "TAKER", "M": "MAKER"}[row["execType"]],
            "ms": int(row["fillTime"]),
        }
        fee, asset = row.get("fillFee"), row.get("fillFeeCcy")
        if fee is None:
            fee, asset = row["fee"], row["feeCcy"]
        return [fill | {"fee": -number(fee), "asset": asset}]
    kinds = {"live": "OPEN", "partially_filled": "OPEN", "filled": "STATUS"}
    fields = order_fields(row, "")
    kind = kinds.get(row["state"]) or fields["status"]
    return [fields | {"kind": kind}]


def expected_status(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a row of an order query says."""
    return [order_fields(row, "STATUS")]


def expected_trade(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a row of the fill details says."""
    return [
        {
            "kind": "FILL",
            "client": row["clOrdId"],
            "venue": row["ordId"],
            "native": row["instId"],
            "ms": int(row.get("fillTime") or row["ts"]),
            "last_price": number(row["fillPx"]),
            "last_quantity": number(row["fillSz"]),
            "trade": int(row["tradeId"]),
            "fee": -number(row["fee"]),
            "asset": row["feeCcy"],
            "side": _SIDES[row["side"]],
            "liquidity": {"T": "TAKER", "M": "MAKER"}[row["execType"]],
        }
    ]


def expected_account(account: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the balances of an account."""
    return [
        {
            "kind": "BALANCE",
            "asset": row["ccy"],
            "ms": int(row["uTime"]),
            "quantity": number(row["cashBal"]),
            "available": number(row["availBal"]),
        }
        for row in account["details"]
    ]


def expected_positions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a position; in hedge mode the venue tells both sides as positive numbers."""
    side = _SIDES.get(row["posSide"], 0)
    held = number(row["pos"])
    return [
        {
            "kind": "POSITION",
            "native": row["instId"],
            "ms": int(row["uTime"]),
            "quantity": held * side if side else held,
            "position": side,
            "average": number(row["avgPx"]),
            "mode": row["mgnMode"].upper(),
        }
    ]


def expected_algo(row: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return what is said of an order with a trigger."""
    status = {"live": "UNTRIGGERED", "effective": "OPEN", "canceled": "CANCELED"}[row["state"]]
    price = row["ordPx"] or row.get("tpOrdPx") or ""
    fields = {
        "kind": kind,
        "client": row["algoClOrdId"] or row["clOrdId"],
        "venue": row["ordId"] if status == "OPEN" else f"algo-{row['algoId']}",
        "native": row["instId"],
        "ms": int(row["uTime"]),
        "status": status,
        "side": _SIDES[row["side"]],
        "position": _SIDES.get(row["posSide"], 0),
        "mode": row["tdMode"].upper(),
        "price": Decimal(0) if price.startswith("-") else number(price),
        "stop_price": number(row["triggerPx"] or row.get("tpTriggerPx")),
    }
    if row.get("tgtCcy") != "quote_ccy":
        fields["quantity"] = number(row["sz"])
    return [fields]
