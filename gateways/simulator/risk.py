"""Liquidation and auto-deleveraging: how the venue closes positions that their owner does not."""

from decimal import Decimal
from typing import TYPE_CHECKING

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import ZERO, Account, Order, OrderTerms, Position, Why
from gateways.simulator.margin import profit
from gateways.simulator.matching import Prevention
from gateways.simulator.simulation import SimulatedBook

if TYPE_CHECKING:
    from gateways.simulator.trading import Trading

_FAR = 20
"""A liquidation goes through the book until one part in so many from the mark price."""


def liquidate_all(
    trading: "Trading", account: Account, marks: dict[str, Decimal], now_ms: int
) -> bool:
    """Close what an account's margin does not carry any more; return whether there was anything.

    ``marks`` has the mark prices that have been asked for already; a liquidation moves them.
    """
    held = [position for position in account.positions.values() if position.lots]
    if not held:
        return False
    found = False
    for position in held:
        if position.isolated and _is_bankrupt(trading, [position], position.margin, marks):
            _close(trading, account, [position], now_ms)
            marks.clear()
            found = True
    for asset in dict.fromkeys(position.market.instrument.settle for position in held):
        settled = [p for p in held if p.lots and p.market.instrument.settle == asset]
        cross = [position for position in settled if not position.isolated]
        isolated = sum((p.margin for p in settled if p.isolated), ZERO)
        if cross and _is_bankrupt(trading, cross, account.balances[asset].free - isolated, marks):
            for market in {id(p.market): p.market for p in cross}.values():
                liquidate(trading, account, market, now_ms)
            marks.clear()
            found = True
    return found


def _is_bankrupt(
    trading: "Trading", positions: list[Position], margin: Decimal, marks: dict[str, Decimal]
) -> bool:
    """Whether margin and unrealised profit are below what the positions must keep."""
    needed = ZERO
    for position in positions:
        market, units = position.market, position.market.units
        symbol = market.instrument.symbol
        mark = marks.get(symbol)
        if mark is None:
            mark = marks[symbol] = trading.mark(market)
        needed += units.value_at(mark, abs(position.lots)) * trading.rules.maintenance
        margin += profit(units, position.lots, position.entry, mark)
    return margin < needed


def liquidate(
    trading: "Trading", account: Account, market: SimulatedBook, now_ms: int
) -> list[Order]:
    """Cancel the orders in a contract and close its positions; make up for what is lost beyond."""
    symbol = market.instrument.symbol
    trading.cancel_all(account, now_ms, symbol=symbol, why=Why.LIQUIDATION)
    sides = (account.positions.get((symbol, side)) for side in ("net", "long", "short"))
    return _close(trading, account, [p for p in sides if p is not None and p.lots], now_ms)


def _close(
    trading: "Trading", account: Account, positions: list[Position], now_ms: int
) -> list[Order]:
    """Cancel the orders for some positions of one contract, and close them."""
    orders = []
    for position in positions:
        market, ledger = position.market, trading.ledger
        asset = market.instrument.settle
        balance = ledger.balance(account, asset)
        for order in trading.open_orders(account, market.instrument.symbol):
            if order.terms.position_side == position.side:
                trading.cancel(order, now_ms, Why.LIQUIDATION)
        terms = _closing(trading, position, abs(position.lots), far=True)
        margin, before = position.margin, balance.free
        orders.append(trading.force(account, terms, Why.LIQUIDATION, now_ms, through=1))
        beyond = before - balance.free - margin
        if position.isolated and beyond > 0:
            ledger.transfer(account, asset, beyond, "insurance", now_ms)
        if balance.free < 0 and not _has_positions(account, asset):
            ledger.transfer(account, asset, -balance.free, "insurance", now_ms)
    return orders


def deleverage(
    trading: "Trading", account: Account, market: SimulatedBook, lots: int, now_ms: int
) -> list[Order]:
    """Take lots of the positions in a contract away, outside the book."""
    orders = []
    for side in ("net", "long", "short"):
        position = account.positions.get((market.instrument.symbol, side))
        if position is not None and position.lots and lots > 0:
            closed = min(lots, abs(position.lots))
            lots -= closed
            terms = _closing(trading, position, closed, far=False)
            orders.append(trading.force(account, terms, Why.DELEVERAGING, now_ms, through=0))
    return orders


def _closing(trading: "Trading", position: Position, lots: int, *, far: bool) -> OrderTerms:
    market = position.market
    side = Side.SELL if position.lots > 0 else Side.BUY
    grid = market.instrument.grid
    mark = trading.mark_ticks(market)
    price = mark + side * (mark // _FAR // grid * grid) if far else mark
    return OrderTerms(
        market,
        side,
        OrderType.LIMIT,
        TimeInForce.IOC,
        price=price,
        quantity=lots,
        reduce_only=True,
        position_side=position.side,
        prevention=Prevention.NONE,
    )


def _has_positions(account: Account, asset: str) -> bool:
    return any(
        position.lots and position.market.instrument.settle == asset
        for position in account.positions.values()
    )
