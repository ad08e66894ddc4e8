"""The clearing house's books: what is held for orders, what fills, fees and funding change.

Every change of a balance is a fill's, a fee's, a funding payment's or a ``Transfer``'s, exactly.
The listeners hear of orders at once, and of balances and positions once per operation (``flush``).
"""

from collections.abc import Callable, Iterable
from decimal import Decimal

from engine.common import OrderType, Side
from gateways.simulator.account import (
    ZERO,
    Account,
    AccountFill,
    Balance,
    BalanceEvent,
    Change,
    Event,
    FundingEvent,
    FundingPayment,
    Order,
    OrderEvent,
    Position,
    PositionEvent,
    Status,
    Transfer,
    Why,
    Working,
    WorkKey,
)
from gateways.simulator.margin import (
    Units,
    change_position,
    initial_margin,
    money,
    position_margin,
    profit,
)
from gateways.simulator.rules import TradingRules
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.triggers import price_for

_DOLLARS = ("USDT", "USDC", "USD")
_MARKET_TYPES = (OrderType.MARKET, OrderType.STOP_MARKET)


class Ledger:
    """Balances, positions and fills of all accounts of one venue."""

    def __init__(
        self, rules: TradingRules, markets: Iterable[SimulatedBook], ids_used: int = 0
    ) -> None:
        self.rules = rules
        self.markets = {market.instrument.symbol: market for market in markets}
        self.listeners: list[Callable[[Event], None]] = []
        self.live: dict[int, Order] = {}
        """Orders of all accounts by id."""
        self._by_base: dict[str, SimulatedBook] = {}
        for market in sorted(self.markets.values(), key=lambda each: not each.units.spot):
            self._by_base.setdefault(market.instrument.base, market)
        self.holders: dict[str, dict[int, Account]] = {}
        """Who has a position in a contract, by symbol and uid."""
        self._unsettled: dict[tuple[int, WorkKey], tuple[Account, WorkKey]] = {}
        self._sequence = self._payments = ids_used
        self._assets: dict[int, tuple[Account, dict[str, None]]] = {}
        self._positions: dict[tuple[int, str, str], tuple[Account, Position]] = {}

    def units(self, market: SimulatedBook) -> Units:
        """Return what ticks and lots of a market are."""
        return market.units

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        for listener in self.listeners:
            listener(event)

    def touch(self, account: Account, asset: str) -> None:
        """Remember that a balance has changed."""
        self._assets.setdefault(account.uid, (account, {}))[1][asset] = None
        account.stale = True
        for partner in account.partners:
            partner.stale = True

    def touch_position(self, account: Account, position: Position) -> None:
        """Remember that a position has changed."""
        symbol = position.market.instrument.symbol
        self._positions[account.uid, symbol, position.side] = (account, position)
        for side in Side:
            key = (symbol, side, position.side)
            if key in account.working:
                self._unsettled[account.uid, key] = (account, key)
        holders = self.holders.setdefault(symbol, {})
        if position.lots:
            holders[account.uid] = account
        elif not any(self.held(account, position.market, side) for side in ("long", "short")):
            holders.pop(account.uid, None)

    def flush(self, why: str, now_ms: int) -> None:
        """Tell of the balances and positions that an operation has changed."""
        if self._assets:
            touched, self._assets = self._assets, {}
            for account, assets in touched.values():
                self.emit(BalanceEvent(account, tuple(assets), why, now_ms))
        if self._positions:
            changed, self._positions = self._positions, {}
            for account, position in changed.values():
                position.updated_ms = now_ms
                self.emit(PositionEvent(account, position, why, now_ms))

    def balance(self, account: Account, asset: str) -> Balance:
        """Return the balance of an asset, made if there is none."""
        balance = account.balances.get(asset)
        if balance is None:
            balance = account.balances[asset] = Balance(asset)
        return balance

    def position(self, account: Account, market: SimulatedBook, side: str) -> Position:
        """Return a position, made flat if there is none."""
        symbol = market.instrument.symbol
        position = account.positions.get((symbol, side))
        if position is None:
            position = account.positions[symbol, side] = Position(
                market,
                side,
                leverage=account.leverage.get(symbol, self.rules.leverage),
                isolated=account.isolated.get(symbol, False),
            )
        return position

    def held(self, account: Account, market: SimulatedBook, side: str) -> int:
        """Return the lots of a position."""
        position = account.positions.get((market.instrument.symbol, side))
        return position.lots if position is not None else 0

    def mark(self, market: SimulatedBook) -> Decimal:
        """Return the mark price, on spot the last price."""
        return price_for(market, self.units(market), "mark")

    def dollars(self, asset: str, otherwise: Decimal) -> Decimal:
        """Return what a coin is worth in dollars; ``otherwise`` where no market tells."""
        if asset in _DOLLARS:
            return Decimal(1)
        market = self._by_base.get(asset)
        return otherwise if market is None else market.units.tick * market.stats.last

    def unrealised(self, position: Position) -> Decimal:
        """Return what a position would gain if closed at the mark price."""
        if not position.lots:
            return ZERO
        market = position.market
        return profit(self.units(market), position.lots, position.entry, self.mark(market))

    def available(self, account: Account, asset: str) -> Decimal:
        """Return what of an asset can be spent, or stand behind new orders, at mark prices."""
        balance = account.balances.get(asset)
        free = balance.free - balance.reserved if balance is not None else ZERO
        for holder in (account, *account.partners):
            for position in holder.positions.values():
                if position.lots and position.market.instrument.settle == asset:
                    free -= position.margin
                    if not position.isolated:
                        free += self.unrealised(position)
        return free

    # What is open.

    def count(self, order: Order) -> None:
        """Keep the sums of ``Working``; to be called when an order has changed."""
        terms = order.terms
        if terms.market.units.spot:
            return
        left = 0 if order.status is Status.UNTRIGGERED else order.left
        now = (left, left * order.price)
        if now == order.counted:
            return
        account, (before, value_before) = order.account, order.counted
        key = (terms.market.instrument.symbol, terms.side, terms.position_side)
        working = account.working.get(key)
        if working is None:
            working = account.working[key] = Working()
        more, order.counted = left - before, now
        working.lots += more
        working.ticks_lots += now[1] - value_before
        if order.shrinks:
            working.shrinking_lots += more
            working.shrinking += (left > 0) - (before > 0)
        if left:
            working.orders[order.id] = order
        else:
            working.orders.pop(order.id, None)
        self._unsettled[account.uid, key] = (account, key)

    def unsettled(self) -> list[tuple[Account, WorkKey]]:
        """Return whose open orders may not fit their positions any more, and which; once."""
        if not self._unsettled:
            return []
        found, self._unsettled = list(self._unsettled.values()), {}
        return found

    def closable(self, account: Account, key: WorkKey) -> int:
        """Return how many lots orders can trade before they turn the position over."""
        symbol, side, position_side = key
        position = account.positions.get((symbol, position_side))
        return max(0, -position.lots * side) if position is not None else 0

    def cover(self, account: Account, key: WorkKey) -> None:
        """Hold margin for the open orders that would make a position larger, oldest first last.

        An order that closes needs none; once those before it close the whole position, it needs it
        all.
        """
        working, closable = account.working[key], self.closable(account, key)
        if not working.held and working.lots <= closable:
            return
        if not closable and working.held == len(working.orders) - working.shrinking:
            return
        lots = 0
        for order in working.orders.values():
            lots += order.left
            if order.shrinks or not order.book_id:
                continue
            if lots <= closable:
                self.hold(order, ZERO)
            elif not order.locked:
                value = order.market.units.value(order.price, order.left)
                self.hold(order, self.margin(account, order.market, value))

    # What is held for an open order.

    def asset_held(self, order: Order) -> str:
        """Return the asset that stands behind an order."""
        units = self.units(order.market)
        if units.spot:
            return units.quote if order.terms.side is Side.BUY else units.base
        return units.settle

    def hold(self, order: Order, amount: Decimal) -> None:
        """Hold ``amount`` for an order, instead of what was held until now."""
        if amount == order.locked:
            return
        balance = self.balance(order.account, self.asset_held(order))
        more = amount - order.locked
        if self.units(order.market).spot:
            balance.free -= more
            balance.locked += more
            self.touch(order.account, balance.asset)
        else:
            balance.reserved += more
            if bool(amount) is not bool(order.locked):
                terms = order.terms
                key = (terms.market.instrument.symbol, terms.side, terms.position_side)
                working = order.account.working.setdefault(key, Working())
                working.held += 1 if amount else -1
        order.locked = amount

    def needed(self, order: Order) -> Decimal:
        """Return what must be held for what is left of an order whose price is set."""
        units = self.units(order.market)
        if not order.locked:
            return ZERO  # it closes a position, or waits for its trigger
        if not units.spot:
            return self.margin(order.account, order.market, units.value(order.price, order.left))
        if order.terms.side is Side.SELL:
            return units.lot * order.left
        return units.value(order.price, order.left)

    def margin(self, account: Account, market: SimulatedBook, value: Decimal) -> Decimal:
        """Return the initial margin of a value at the account's leverage."""
        leverage = account.leverage.get(market.instrument.symbol, self.rules.leverage)
        return initial_margin(value, leverage)

    # What happens to orders.

    def fill(
        self, order: Order, ticks: int, lots: int, trade_id: int, now_ms: int, *, maker: bool
    ) -> None:
        """Book one trade of an order and tell of it."""
        account, units = order.account, self.units(order.market)
        order.filled += lots
        order.value += units.tick * units.lot * (ticks * lots)
        order.updated_ms = now_ms
        book = self._fill_spot if units.spot else self._fill_contract
        fee, asset, realised = book(order, units, ticks, lots, maker)
        order.realised += realised
        if units.inverse:
            order.settled += units.value(ticks, lots)
        order.fees[asset] = order.fees.get(asset, ZERO) + fee
        self._sequence += 1
        fill = AccountFill(
            id=trade_id,
            sequence=self._sequence,
            order=order,
            price=ticks,
            quantity=lots,
            maker=maker,
            fee=fee,
            fee_asset=asset,
            realised=realised,
            time_ms=now_ms,
            order_filled=order.filled,
        )
        order.fills.append(fill)
        account.fills.append(fill)
        if order.filled < order.quantity:
            order.status = Status.PARTIAL
            self.count(order)
        else:
            self._retire(order, Status.FILLED, Why.NONE, now_ms)
        self.emit(OrderEvent(Change.TRADE, order, now_ms, fill))

    def _fill_spot(
        self, order: Order, units: Units, ticks: int, lots: int, maker: bool
    ) -> tuple[Decimal, str, Decimal]:
        account = order.account
        base = self.balance(account, units.base)
        quote = self.balance(account, units.quote)
        rate = self.rules.fee(spot=True, maker=maker)
        cost, quantity = units.value(ticks, lots), units.lot * lots
        buys = order.terms.side is Side.BUY
        paid, spent = (quote, cost) if buys else (base, quantity)
        got, gain = (base, quantity) if buys else (quote, cost)
        if order.terms.type in _MARKET_TYPES:
            kept = max(ZERO, order.locked - spent)
        else:
            kept = self.needed(order)
        paid.locked -= order.locked - kept
        paid.free += order.locked - kept - spent
        order.locked = kept
        fee = money(gain * rate)
        got.free += gain - fee
        self.touch(account, units.base)
        self.touch(account, units.quote)
        return fee, got.asset, ZERO

    def _fill_contract(
        self, order: Order, units: Units, ticks: int, lots: int, maker: bool
    ) -> tuple[Decimal, str, Decimal]:
        account, terms = order.account, order.terms
        position = self.position(account, terms.market, terms.position_side)
        if not position.lots:
            position.created_ms = order.updated_ms
        realised = change_position(units, position, lots * terms.side, units.tick * ticks)
        position.margin = position_margin(units, position)
        position.sequence += 1
        rate = self.rules.fee(spot=False, maker=maker)
        fee = money(units.value(ticks, lots) * rate)
        balance = self.balance(account, units.settle)
        balance.free += realised - fee
        if order.locked:
            # A market order holds the same for each lot.
            priced = order.price > 0 and order.left > 0
            share = (
                self.needed(order)
                if priced
                else money(order.locked * order.left / (order.left + lots))
            )
            self.hold(order, share)
        self.touch(account, units.settle)
        self.touch_position(account, position)
        return fee, units.settle, realised

    def finish(self, order: Order, status: Status, why: Why, change: Change, now_ms: int) -> None:
        """End an order that is in no book any more, and tell of it."""
        self._retire(order, status, why, now_ms)
        self.emit(OrderEvent(change, order, now_ms))

    def _retire(self, order: Order, status: Status, why: Why, now_ms: int) -> None:
        account = order.account
        order.status, order.ended, order.updated_ms = status, why, now_ms
        order.book_id = 0
        self.hold(order, ZERO)
        self.count(order)
        self.live.pop(order.id, None)
        account.orders.pop(order.id, None)
        history = account.history
        if len(history) == history.maxlen:
            oldest = history.popleft()
            account.known.pop(oldest.id, None)
            clients = account.algo_clients if oldest.terms.algo else account.clients
            if clients.get(oldest.client_id) is oldest:
                del clients[oldest.client_id]
            if oldest.client_id and self.rules.duplicate_ids == "forever":
                account.used_clients.add(oldest.client_id)
        history.append(order)

    # Money that moves without an order.

    def transfer(
        self, account: Account, asset: str, amount: Decimal, why: str, now_ms: int
    ) -> None:
        """Put an amount into an account, or take it out if it is negative."""
        self.balance(account, asset).free += amount
        account.transfers.append(Transfer(asset, amount, why, now_ms))
        self.touch(account, asset)

    def pay_funding(self, account: Account, position: Position, rate: Decimal, now_ms: int) -> None:
        """Book what a position pays, or receives if that is negative."""
        units, mark = self.units(position.market), self.mark(position.market)
        sign = 1 if position.lots > 0 else -1
        paid = money(sign * units.value_at(mark, abs(position.lots)) * rate)
        self.balance(account, units.settle).free -= paid
        self._payments += 1
        payment = FundingPayment(
            id=self._payments,
            market=position.market,
            position_side=position.side,
            asset=units.settle,
            paid=paid,
            rate=rate,
            mark=mark,
            lots=position.lots,
            time_ms=now_ms,
        )
        account.funding.append(payment)
        self.touch(account, units.settle)
        self.emit(FundingEvent(account, payment, now_ms))

    def add_margin(self, account: Account, position: Position, amount: Decimal) -> None:
        """Add to an isolated position's own margin, or take away if it is negative."""
        position.added += amount
        position.margin += amount
        account.stale = True

    def set_leverage(self, account: Account, market: SimulatedBook, leverage: int) -> None:
        """Set the leverage of positions and open orders of a contract."""
        symbol, units = market.instrument.symbol, self.units(market)
        for (name, _), position in account.positions.items():
            if name == symbol:
                position.leverage = leverage
                position.margin = position_margin(units, position)
        account.stale = True
        for order in account.orders.values():
            if order.market is market and order.price:
                self.hold(order, self.needed(order))
