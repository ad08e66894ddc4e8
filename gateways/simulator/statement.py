"""An account's books as JSON: what a client must see in the end, in the simulator's own words.

Prices, quantities and money are decimal strings without an exponent and without zeros at the end;
ids are numbers, times Unix ms.
"""

from typing import Any

from gateways.simulator.account import Account, AccountFill, Order
from gateways.simulator.margin import plain
from gateways.simulator.trading import Trading


def statement(trading: Trading, account: Account, past: int | None = None) -> dict[str, Any]:
    """Return orders (open and ended), fills, balances, positions and what came in otherwise.

    ``past`` is how many of the newest ended orders, and of the newest fills; None for all.
    """
    history, fills = list(account.history), list(account.fills)
    if past is not None:
        history, fills = history[max(0, len(history) - past) :], fills[max(0, len(fills) - past) :]
    return {
        "uid": account.uid,
        "hedge": account.hedge,
        "orders": [_order(trading, order) for order in account.orders.values()],
        "history": [_order(trading, order) for order in history],
        "fills": [_fill(trading, fill) for fill in fills],
        "balances": {
            asset: {
                "free": plain(balance.free),
                "locked": plain(balance.locked),
                "total": plain(balance.total),
                "available": plain(trading.available(account, asset)),
            }
            for asset, balance in account.balances.items()
        },
        "positions": [
            {
                "symbol": symbol,
                "side": side,
                "lots": position.lots,
                "quantity": plain(trading.quantity_units(position.market, position.lots)),
                "entry": plain(position.entry),
                "realised": plain(position.realised),
                "unrealised": plain(trading.unrealised(position)),
                "leverage": position.leverage,
                "isolated": position.isolated,
            }
            for (symbol, side), position in account.positions.items()
        ],
        "funding": [
            {
                "symbol": payment.market.instrument.symbol,
                "asset": payment.asset,
                "paid": plain(payment.paid),
                "time_ms": payment.time_ms,
            }
            for payment in account.funding
        ],
        "transfers": [
            {
                "asset": transfer.asset,
                "amount": plain(transfer.amount),
                "why": transfer.why,
                "time_ms": transfer.time_ms,
            }
            for transfer in account.transfers
        ],
    }


def _order(trading: Trading, order: Order) -> dict[str, Any]:
    market = order.market
    return {
        "id": order.id,
        "client_id": order.client_id,
        "symbol": market.instrument.symbol,
        "side": order.terms.side.name.lower(),
        "type": order.terms.type.name.lower(),
        "status": order.status.value,
        "ended": order.ended.name.lower(),
        "price": plain(trading.price_units(market, order.price)),
        "quantity": plain(trading.quantity_units(market, order.quantity)),
        "filled": plain(trading.quantity_units(market, order.filled)),
        "average": plain(order.average),
        "algo": order.terms.algo,
        "forced": order.forced.name.lower(),
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
    }


def _fill(trading: Trading, fill: AccountFill) -> dict[str, Any]:
    market = fill.order.market
    return {
        "id": fill.id,
        "order_id": fill.order.id,
        "client_id": fill.order.client_id,
        "symbol": market.instrument.symbol,
        "side": fill.order.terms.side.name.lower(),
        "price": plain(trading.price_units(market, fill.price)),
        "quantity": plain(trading.quantity_units(market, fill.quantity)),
        "fee": plain(fill.fee),
        "fee_asset": fill.fee_asset,
        "maker": fill.maker,
        "realised": plain(fill.realised),
        "time_ms": fill.time_ms,
    }
