"""Bybit's private messages read slowly: dictionaries and Decimals, written apart from the adapter.

``expected_*`` return what a message says; ``view`` shows an update in the same terms.
"""

from decimal import Decimal
from typing import Any

from engine.secrets import Secret
from gateways.adapter import Identity
from gateways.bybit import Bybit, BybitSpot
from gateways.message import Instrument, Update
from gateways.numbers import hashed
from gateways.signing import hmac_hex
from gateways.types import Liquidity, MarginMode, OrderStatus, ReportKind

NOW_MS = 1_700_000_000_000
PRICE_DECIMALS, QUANTITY_DECIMALS = 6, 6
CONTRACTS = ("BTCUSDT", "ETHUSDT", "XRPUSDT", "LTCUSDT", "ETHPERP", "BTCUSD", "ICPUSDT")
SPOT = ("BTCUSDT", "APEXUSDT", "ETHUSDT")


def instrument(native: str, row: int = 0, price: int = 2, quantity: int = 3, spot=False) -> Any:
    """Return an instrument of Bybit by its symbol."""
    base, quote = native[:3], native[3:]
    if native.startswith("APEX"):
        base, quote = "APEX", "USDT"
    kind = 1 if spot else 4 if quote == "USD" else 2
    settle = "" if spot else base if kind == 4 else "USDC" if quote == "PERP" else quote
    return Instrument(row, native, native, base, quote, settle, kind, price, quantity, 1, 1)


def table(natives, spot):
    return {
        native: instrument(native, row, PRICE_DECIMALS, QUANTITY_DECIMALS, spot)
        for row, native in enumerate(natives)
    }


CONTRACT_TABLE, SPOT_TABLE = table(CONTRACTS, False), table(SPOT, True)


def adapter(spot=False, key="key", secret="secret") -> Bybit:
    """Return an adapter with known secrets."""
    identity = Identity(Secret(key), hmac_hex(Secret(secret)))
    return BybitSpot(identity) if spot else Bybit(identity)


def number(text: Any) -> Decimal:
    return Decimal(text or "0")


def view(update: Update, natives: tuple[str, ...]) -> dict[str, Any]:
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
        "reason": update.reason.name,
        "fee": Decimal(update.fee).scaleb(-update.decimals),
    }
    if update.instrument >= 0:
        shown["native"] = natives[update.instrument]
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


_SIDES = {"Buy": 1, "Sell": -1, "": 0}
_POSITIONS = {0: 0, 1: 1, 2: -1}
_ENDS = {
    ("CancelByUser", ""): ("CANCELED", "REQUESTED"),
    ("CancelByUser", "EC_PerCancelRequest"): ("CANCELED", "REQUESTED"),
    ("UNKNOWN", "EC_PostOnlyWillTakeLiquidity"): ("EXPIRED", "POST_ONLY"),
    ("UNKNOWN", "EC_CancelForNoFullFill"): ("EXPIRED", "IMMEDIATE"),
    # Refused, but for what had been filled before.
    ("UNKNOWN", "UNKNOWN"): ("EXPIRED", "OTHER"),
    ("UNKNOWN", "INSUFFICIENT_MARGIN"): ("EXPIRED", "BALANCE"),
}


def expected_order(row: dict[str, Any], kind: str = "", spot: bool = False) -> dict[str, Any]:
    """Return what a row says of an order; ``kind`` as told by the query, else by the topic."""
    status, reason = {
        "New": ("OPEN", ""),
        "Filled": ("FILLED", ""),
        "Untriggered": ("UNTRIGGERED", ""),
    }.get(row["orderStatus"]) or _ENDS[row["cancelType"], row["rejectReason"]]
    kinds = {"OPEN": "OPEN", "UNTRIGGERED": "OPEN", "FILLED": "STATUS"}
    market = row["orderType"] == "Market"
    fields = {
        "kind": kind or kinds.get(status, status),
        "client": row["orderLinkId"],
        "venue": row["orderId"],
        "native": row["symbol"],
        "ms": int(row["updatedTime"]),
        "price": Decimal(0) if market else number(row["price"]),
        "filled": number(row["cumExecQty"]),
        "stop_price": number(row["triggerPrice"]),
        "status": status,
        "reason": reason,
        "side": _SIDES[row["side"]],
        "position": _POSITIONS[row["positionIdx"]],
        "reduce_only": row["reduceOnly"],
        "average": number(row["avgPrice"]),
    }
    if not (spot and market and row["side"] == "Buy"):
        fields["quantity"] = number(row["qty"])
    return fields


def expected_fill(row: dict[str, Any], settle: str) -> dict[str, Any]:
    """Return what an execution of a contract says."""
    forced = {"AdlTrade": "DELEVERAGING", "Trade": ""}[row["execType"]]
    return {
        "kind": "FILL",
        "client": row["orderLinkId"],
        "venue": row["orderId"],
        "native": row["symbol"],
        "ms": int(row["execTime"]),
        "last_price": number(row["execPrice"]),
        "last_quantity": number(row["execQty"]),
        "quantity": number(row["orderQty"]),
        "filled": number(row["orderQty"]) - number(row["leavesQty"]),
        "trade": hashed(row["execId"]),
        "fee": number(row["execFee"]),
        "asset": settle,
        "side": _SIDES[row["side"]],
        "liquidity": "MAKER" if row["isMaker"] else "TAKER",
        "forced": bool(forced),
        "reason": forced,
    }


def expected_position(row: dict[str, Any]) -> dict[str, Any]:
    """Return a position."""
    return {
        "kind": "POSITION",
        "native": row["symbol"],
        "ms": int(row["updatedTime"]),
        "quantity": number(row["size"]) * _SIDES[row["side"]],
        "position": _POSITIONS[row["positionIdx"]],
        "average": number(row.get("entryPrice") or row.get("avgPrice")),
        "mode": "ISOLATED" if row["tradeMode"] else "CROSS",
    }


def expected_wallet(account: dict[str, Any], ms: int) -> list[dict[str, Any]]:
    """Return the balances of an account."""
    found = []
    for row in account["coin"]:
        total = number(row["walletBalance"])
        free = row.get("availableToWithdraw")
        available = number(free) if free else total - number(row.get("locked"))
        found.append(
            {
                "kind": "BALANCE",
                "asset": row["coin"],
                "ms": ms,
                "quantity": total,
                "available": available,
            }
        )
    return found
