"""The clearing house of one simulated venue: accounts trade against the generated books.

Venue-neutral: a dialect turns requests into ``OrderTerms``, a ``Refused`` into the venue's code,
and the events that ``listeners`` hear into the venue's messages. What an operation does, and the
events that it causes, happen while it runs, in order; the same calls give the same results, always.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from engine.common import OrderType, Side, TimeInForce
from engine.errors import ConfigError
from gateways.simulator.account import (
    HISTORY,
    ZERO,
    Account,
    AccountSettings,
    Change,
    Order,
    OrderEvent,
    OrderTerms,
    Position,
    Refused,
    SettingEvent,
    Status,
    Why,
    Working,
)
from gateways.simulator.instruments import Listing
from gateways.simulator.intake import Intake, fits, open_orders, reduces, would_take
from gateways.simulator.ledger import Ledger
from gateways.simulator.margin import AMOUNT_DECIMALS, AMOUNT_MOST, is_amount
from gateways.simulator.market import next_funding_ms
from gateways.simulator.matching import Fill, Outcome
from gateways.simulator.matching import Order as BookOrder
from gateways.simulator.private import load_public_key
from gateways.simulator.risk import deleverage, liquidate, liquidate_all
from gateways.simulator.rules import MarketLimits, TradingRules
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.triggers import DeadMan, Expiries, Triggers

__all__ = ["MarketLimits", "Trading", "TradingRules", "reduces"]

_FIRST_UID = 10_000_001
_FIRST_ORDER_ID = 1_000_000_000
_RATE_DECIMALS = 8
_EXPIRED = (Why.IMMEDIATE, Why.FILL_OR_KILL, Why.POST_ONLY, Why.SELF_TRADE, Why.TIME)
_PLAIN = {OrderType.STOP_MARKET: OrderType.MARKET, OrderType.STOP_LIMIT: OrderType.LIMIT}

Publish = Callable[[SimulatedBook, Outcome], None]


class Trading:
    """Accounts, orders, balances and positions of one venue.

    ``publish`` says in public what our orders did to a book. All ids are ``ids_used`` higher than
    they would be. An account remembers ``history`` ended orders, and as many fills.
    """

    def __init__(
        self,
        venue: str,
        markets: Iterable[SimulatedBook],
        rules: TradingRules,
        publish: Publish,
        seed: int,
        *,
        ids_used: int = 0,
        history: int = HISTORY,
    ) -> None:
        self.venue = venue
        self.history = history
        self.rules = rules
        self.seed = seed
        self.accounts: list[Account] = []
        self.ledger = Ledger(rules, markets, ids_used)
        self.listeners = self.ledger.listeners
        self._intake = Intake(self.ledger)
        self.dead_man = DeadMan()
        self.opened: Callable[[Account], None] = lambda account: None
        """Called with each new account, before anything is told of it."""
        self._publish = publish
        self._last_id = _FIRST_ORDER_ID + ids_used
        self._triggers = Triggers()
        self._expiries = Expiries()
        self._firing = False
        self._funding_ms = 0
        self._marks: dict[str, int] = {}
        self._keys: dict[str, Account] = {}
        for market in self.ledger.markets.values():
            market.book.room = self._room

    # Accounts.

    def add_account(self, settings: AccountSettings) -> Account:
        """Open an account; raises ConfigError for a taken key, or a balance that is no number."""
        if not settings.key or settings.key in self._keys:
            raise ConfigError(f"accounts: key {settings.key!r} is empty or taken on {self.venue}")
        if settings.public_key:
            load_public_key(settings.public_key)
        uid = _FIRST_UID + len(self.accounts)
        account = Account(
            uid,
            settings.key,
            settings.secret,
            settings.passphrase,
            settings.public_key,
            history=deque(maxlen=self.history),
            fills=deque(maxlen=self.history),
            funding=deque(maxlen=self.history),
        )
        for asset, text in settings.balances.items():
            try:
                amount = Decimal(text)
            except InvalidOperation:
                amount = Decimal("NaN")
            if not (is_amount(amount) and amount >= 0):
                raise ConfigError(f"accounts: balance of {asset} is no amount: {text!r}")
            self.ledger.transfer(account, asset, amount, "deposit", 0)
        self.accounts.append(account)
        self._keys[account.key] = account
        self.opened(account)
        self.ledger.flush("deposit", 0)
        return account

    def by_key(self, key: str) -> Account | None:
        """Return the account of an API key."""
        return self._keys.get(key)

    def deposit(self, account: Account, asset: str, amount: Decimal, now_ms: int) -> None:
        """Put money in (negative: take it out); raises Refused if there is not enough."""
        if not is_amount(amount) or self.ledger.balance(account, asset).free + amount > AMOUNT_MOST:
            raise Refused(Why.PARAMETER, f"amount: up to {AMOUNT_MOST}, {AMOUNT_DECIMALS} decimals")
        if amount < 0 and self.available(account, asset) + amount < 0:
            raise Refused(Why.BALANCE)
        why = "deposit" if amount >= 0 else "withdrawal"
        self.ledger.transfer(account, asset, amount, why, now_ms)
        self.ledger.flush(why, now_ms)

    def available(self, account: Account, asset: str) -> Decimal:
        """Return what of an asset can be spent, or stand behind new orders."""
        return self.ledger.available(account, asset)

    # Markets.

    def market(self, symbol: str) -> SimulatedBook | None:
        """Return a market by the venue's symbol."""
        return self.ledger.markets.get(symbol)

    def mark(self, market: SimulatedBook) -> Decimal:
        """Return the mark price; on spot the last price."""
        return self.ledger.mark(market)

    def mark_ticks(self, market: SimulatedBook) -> int:
        """Return the mark price in ticks, cut off to one at which orders may stand."""
        grid = market.instrument.grid
        return max(grid, int(self.mark(market) / self.price_units(market, 1)) // grid * grid)

    def unrealised(self, position: Position) -> Decimal:
        """Return what a position would gain at the mark price, in its settlement asset."""
        return self.ledger.unrealised(position)

    def price_units(self, market: SimulatedBook, ticks: int) -> Decimal:
        """Return a price in units of the quote currency."""
        return self.ledger.units(market).tick * ticks

    def quantity_units(self, market: SimulatedBook, lots: int) -> Decimal:
        """Return a quantity in units: the base currency, or contracts."""
        return self.ledger.units(market).lot * lots

    # Orders.

    def check(self, account: Account, terms: OrderTerms, now_ms: int) -> None:
        """Refuse what ``place`` would refuse, and change nothing."""
        self._intake.checked(account, terms, now_ms)

    def place(self, account: Account, terms: OrderTerms, now_ms: int) -> Order:
        """Accept an order and match it; raises Refused."""
        quantity, hold = self._intake.checked(account, terms, now_ms)
        order = self._accept(account, terms, quantity, hold, now_ms)
        self._done(order.market, now_ms)
        return order

    def cancel(self, order: Order, now_ms: int, why: Why = Why.USER) -> Order:
        """End a live order; raises Refused for one that has ended."""
        _must_live(order)
        self._withdraw(order)
        self._end(order, why, now_ms)
        self._settle(now_ms)
        self.ledger.flush("order", now_ms)
        return order

    def cancel_all(
        self,
        account: Account,
        now_ms: int,
        *,
        symbol: str = "",
        tag: str = "",
        algo: bool | None = None,
        why: Why = Why.USER,
    ) -> list[Order]:
        """End all orders of an account that fit; return them, oldest first."""
        orders = self.open_orders(account, symbol, algo)
        return [
            self.cancel(order, now_ms, why)
            for order in orders
            if order.status.live and (not tag or order.terms.tag == tag)
        ]

    def find(
        self,
        account: Account,
        *,
        order_id: int = 0,
        client_id: str = "",
        symbol: str = "",
        algo: bool | None = None,
    ) -> Order | None:
        """Return an order: a live one, else the newest ended one; ``algo`` None looks at both."""
        if order_id:
            order = account.known.get(order_id)
            return order if order is not None and fits(order, symbol, algo) else None
        if not client_id:
            return None
        found = (account.clients.get(client_id), account.algo_clients.get(client_id))
        fitting = [order for order in found if order is not None and fits(order, symbol, algo)]
        return max(fitting, key=lambda order: (order.status.live, order.id), default=None)

    def open_orders(
        self, account: Account, symbol: str = "", algo: bool | None = None
    ) -> list[Order]:
        """Return the live orders of an account, oldest first."""
        return open_orders(account, symbol, algo)

    def amend(
        self,
        order: Order,
        now_ms: int,
        *,
        price: int | None = None,
        quantity: int | None = None,
        stop_price: int | None = None,
        client_id: str = "",
        keep_priority: bool = False,
    ) -> Order:
        """Change price (ticks) and total quantity (lots) of a live order; raises Refused.

        ``keep_priority``: a lower quantity at the same price leaves the order's place in the queue.
        """
        _must_live(order)
        price = order.price if price is None else price
        quantity = order.quantity if quantity is None else quantity
        stop_price = order.terms.stop_price if stop_price is None else stop_price
        same = (price, quantity, stop_price) == (
            order.price,
            order.quantity,
            order.terms.stop_price,
        )
        if same and self.rules.amend_unchanged == "refuse":
            raise Refused(Why.NOT_CHANGED)
        if quantity <= order.filled and (quantity or not order.sized_later):
            return self._amend_away(order, now_ms)
        quantity = self._intake.within_position(order, quantity)
        terms = replace(order.terms, price=price, quantity=quantity, stop_price=stop_price)
        if quantity:
            terms.quote_quantity = ZERO
        hold = self._intake.amendable(order, terms, now_ms)
        takes = would_take(terms, terms.price) and order.status is not Status.UNTRIGGERED
        if takes and self.rules.amend_post_only == "refuse":
            raise Refused(Why.POST_ONLY)
        if client_id:
            order.client_id = client_id
            self._clients(order)[client_id] = order
        order.amendments += 1
        if takes:
            return self.cancel(order, now_ms, Why.POST_ONLY)
        self._change(order, terms, hold, now_ms, keep_priority=keep_priority)
        self._done(order.market, now_ms)
        return order

    # Settings of an account.

    def arm(self, account: Account, scope: str, timeout_ms: int, now_ms: int) -> None:
        """Arm a dead-man switch for "" (the account), a symbol or "tag:x"; 0 disarms it."""
        self.dead_man.arm(account, scope, timeout_ms, now_ms)

    def set_leverage(self, account: Account, symbol: str, n: int, now_ms: int) -> bool:
        """Set the leverage of a contract; return whether it was another. Raises Refused."""
        market = self._contract(symbol)
        if not 1 <= n <= self.rules.leverage_max:
            raise Refused(Why.LEVERAGE)
        before = account.leverage.get(symbol, self.rules.leverage)
        if n < before and self._margin_with(account, symbol, n) < 0:
            raise Refused(Why.MARGIN)
        account.leverage[symbol] = n
        self.ledger.set_leverage(account, market, n)
        if n != before:
            self.ledger.emit(SettingEvent(account, symbol, "leverage", now_ms))
        return n != before

    def set_isolated(self, account: Account, symbol: str, isolated: bool, now_ms: int) -> bool:
        """Set the margin mode of a contract; return whether it was another. Raises Refused."""
        self._contract(symbol)
        if account.isolated.get(symbol, False) is isolated:
            return False
        self._must_be_idle(account, symbol)
        account.isolated[symbol] = isolated
        for (name, _), position in account.positions.items():
            if name == symbol:
                position.isolated = isolated
        self.ledger.emit(SettingEvent(account, symbol, "margin", now_ms))
        return True

    def set_hedge(self, account: Account, on: bool, now_ms: int) -> bool:
        """Keep long and short positions apart, or not; return whether that is new."""
        if account.hedge is on:
            return False
        self._must_be_idle(account, "")
        account.hedge = on
        self.ledger.emit(SettingEvent(account, "", "hedge", now_ms))
        return True

    # What the venue does by itself.

    def liquidate(self, account: Account, symbol: str, now_ms: int) -> list[Order]:
        """Close the positions in a contract by force; return the orders that did."""
        orders = liquidate(self, account, self._contract(symbol), now_ms)
        self._done(self._contract(symbol), now_ms, "liquidation")
        return orders

    def deleverage(self, account: Account, symbol: str, lots: int, now_ms: int) -> list[Order]:
        """Take so many lots of a position away at the mark price; return the orders that did."""
        orders = deleverage(self, account, self._contract(symbol), lots, now_ms)
        self._done(self._contract(symbol), now_ms, "deleveraging")
        return orders

    def pay_funding(self, symbol: str, now_ms: int) -> None:
        """Exchange funding in a contract now, at its present rate and mark price."""
        market = self._contract(symbol)
        assert market.reference is not None
        rate = Decimal(market.reference.rate).scaleb(-_RATE_DECIMALS)
        for account in self.accounts:
            for (name, _), position in account.positions.items():
                if name == symbol and position.lots:
                    self.ledger.pay_funding(account, position, rate, now_ms)
        self.ledger.flush("funding", now_ms)

    def observe(self, market: SimulatedBook, outcome: Outcome, now_ms: int) -> None:
        """Take in what the crowd did to our orders, and what its trades trigger."""
        order = self.ledger.live.get(outcome.order.owner)
        if order is not None and not outcome.rested:
            # The venue took it off the book: the tick has changed.
            order.book_id = 0
            self._end(order, Why.DELISTED, now_ms)
        for fill in outcome.fills:
            maker = self.ledger.live.get(fill.maker.owner)
            if maker is not None:
                self._filled(maker, fill, now_ms, maker=True)
        self._outgrown(outcome, now_ms)
        if order is not None or outcome.fills or self._triggers.reached(market):
            self._done(market, now_ms)

    def tick(self, now_ms: int) -> None:
        """Do what the clock asks for: dates, dead-man switches, funding, triggers, liquidations."""
        for order in self._expiries.due(now_ms):
            if order.status.live:
                self.cancel(order, now_ms, Why.TIME)
        for account, scope in self.dead_man.due(now_ms):
            tag = scope.removeprefix("tag:") if scope.startswith("tag:") else ""
            symbol = "" if tag else scope
            self.cancel_all(account, now_ms, symbol=symbol, tag=tag, why=Why.DEAD_MAN)
        for market in self.ledger.markets.values():
            if market.reference is not None:
                market.reference.advance(now_ms)
        if now_ms >= self._funding_ms:
            if self._funding_ms:
                for symbol, market in self.ledger.markets.items():
                    if market.reference is not None:
                        self.pay_funding(symbol, now_ms)
            self._funding_ms = next_funding_ms(now_ms)
        for symbol, market in self.ledger.markets.items():
            if market.instrument.listing is Listing.DELISTED:
                self._delist(symbol, now_ms)
            elif self._triggers.reached(market):
                self._done(market, now_ms)
        marks: dict[str, Decimal] = {}
        for account in self._at_risk():
            if liquidate_all(self, account, marks, now_ms):
                self._settle(now_ms)
                self.ledger.flush("liquidation", now_ms)

    def force(
        self, account: Account, terms: OrderTerms, why: Why, now_ms: int, *, through: int
    ) -> Order:
        """Close a part of a position with an order that nobody sent.

        It trades in the book up to the price of the terms; what is left, or all of it if
        ``through`` is 0, at the mark price with the venue.
        """
        prefix = self.rules.liquidation_id
        if why is Why.DELEVERAGING:
            prefix = self.rules.deleveraging_id
        order = self._register(account, terms, terms.quantity, now_ms)
        order.forced = why
        if prefix:
            order.client_id = f"{prefix}{now_ms}"
            account.clients[order.client_id] = order
        self.ledger.emit(OrderEvent(Change.NEW, order, now_ms))
        if through:
            self._match(order, now_ms)
        else:
            self._trade_with_venue(order, now_ms)
        return order

    # How it is done.

    def _register(self, account: Account, terms: OrderTerms, quantity: int, now_ms: int) -> Order:
        self._last_id += 1
        order = Order(
            self._last_id,
            account,
            terms,
            now_ms,
            terms.price,
            quantity,
            terms.client_id,
            Status.UNTRIGGERED if terms.stop_price else Status.NEW,
            updated_ms=now_ms,
            shrinks=not terms.market.units.spot and reduces(terms),
        )
        self.ledger.count(order)
        account.orders[order.id] = account.known[order.id] = self.ledger.live[order.id] = order
        if order.client_id:
            self._clients(order)[order.client_id] = order
        if terms.time_in_force is TimeInForce.GTD:
            self._expiries.add(order)
        return order

    def _accept(
        self, account: Account, terms: OrderTerms, quantity: int, hold: Decimal, now_ms: int
    ) -> Order:
        order = self._register(account, terms, quantity, now_ms)
        self.ledger.hold(order, hold)
        if terms.stop_price:
            self._triggers.add(order)
            self.ledger.emit(OrderEvent(Change.NEW, order, now_ms))
        else:
            self.ledger.emit(OrderEvent(Change.NEW, order, now_ms))
            self._match(order, now_ms)
        return order

    def _match(self, order: Order, now_ms: int) -> None:
        """Bring an order into its book, and book what that does."""
        terms, market = order.terms, order.market
        if would_take(terms, order.price):
            self._end(order, Why.POST_ONLY, now_ms)
            return
        outcome = market.book.submit(
            terms.side,
            order.price or None,
            order.left,
            terms.time_in_force,
            order.id,
            order.account.uid,
            terms.prevention,
            reduces=order.shrinks,
        )
        outcome.forced = order.forced is Why.LIQUIDATION
        if outcome.forced and outcome.order.remaining:
            self._take_over(market, outcome)
        if outcome.rested:
            order.book_id = outcome.order.id
        if outcome.fills:
            market.stats.observe(outcome)
        if outcome.changes or outcome.fills:
            self._publish(market, outcome)
        for fill in outcome.fills:
            self._filled(order, fill, now_ms, maker=False)
            maker = self.ledger.live.get(fill.maker.owner)
            if maker is not None:
                self._filled(maker, fill, now_ms, maker=True)
        for resting in outcome.prevented:
            self._prevent(self.ledger.live[resting.owner], now_ms)
        self._outgrown(outcome, now_ms)
        if order.forced or not order.status.live or outcome.rested:
            return
        if outcome.stopped:
            self._prevent(order, now_ms)
        elif not outcome.accepted:
            self._end(order, Why.FILL_OR_KILL, now_ms)
        else:
            nobody = not (order.filled or order.price)
            self._end(order, Why.NO_LIQUIDITY if nobody else Why.IMMEDIATE, now_ms)

    def _filled(self, order: Order, fill: Fill, now_ms: int, *, maker: bool) -> None:
        self.ledger.fill(order, fill.price, fill.quantity, fill.trade_id, now_ms, maker=maker)

    def _outgrown(self, outcome: Outcome, now_ms: int) -> None:
        for resting in outcome.outgrown:
            self._end(self.ledger.live[resting.owner], Why.REDUCE_ONLY, now_ms)

    def _room(self, maker: BookOrder, outcome: Outcome) -> int:
        """Return what is left of the position that an order reduces, in the midst of a match."""
        owner = self.ledger.live[maker.owner]
        terms = owner.terms
        held = self.ledger.held(owner.account, terms.market, terms.position_side)
        for fill in outcome.fills:
            for party in (fill.maker, fill.taker):
                if party.account == maker.account:
                    other = self.ledger.live[party.owner].terms
                    if other.position_side == terms.position_side:
                        held += fill.quantity * party.side
        return -held * terms.side

    def _prevent(self, order: Order, now_ms: int) -> None:
        order.prevented += order.left
        self.ledger.finish(order, Status.EXPIRED, Why.SELF_TRADE, Change.PREVENTED, now_ms)
        self.ledger.emit(OrderEvent(Change.EXPIRED, order, now_ms))

    def _end(self, order: Order, why: Why, now_ms: int) -> None:
        expired = why in _EXPIRED or why is Why.NO_LIQUIDITY
        status = Status.EXPIRED if expired else Status.CANCELED
        change = Change.EXPIRED if expired else Change.CANCELED
        self.ledger.finish(order, status, why, change, now_ms)

    def _withdraw(self, order: Order) -> None:
        """Take an order out of its book, or from where it waits."""
        if order.status is Status.UNTRIGGERED:
            self._triggers.remove(order)
        elif order.book_id:
            outcome = order.market.book.cancel(order.book_id)
            order.book_id = 0
            if outcome is not None:
                self._publish(order.market, outcome)

    def _amend_away(self, order: Order, now_ms: int) -> Order:
        """Do what the venue does with an amendment to what is filled already, or below."""
        if self.rules.amend_below_filled == "refuse" or not order.filled:
            raise Refused(Why.AMENDED_AWAY if order.filled else Why.MIN_QUANTITY)
        self._withdraw(order)
        order.amendments += 1
        if self.rules.amend_below_filled == "cancel":
            self._end(order, Why.AMENDED_AWAY, now_ms)
        else:
            order.quantity = order.filled
            self.ledger.finish(order, Status.FILLED, Why.NONE, Change.AMENDED, now_ms)
        self._settle(now_ms)
        self.ledger.flush("order", now_ms)
        return order

    def _change(
        self, order: Order, terms: OrderTerms, hold: Decimal, now_ms: int, *, keep_priority: bool
    ) -> None:
        stays = keep_priority and terms.price == order.price and terms.quantity < order.quantity
        lower = order.quantity - terms.quantity
        waits = order.status is Status.UNTRIGGERED
        if waits:
            self._triggers.remove(order)
        elif stays:
            left = order.left - lower
            outcome = order.market.book.reduce(order.book_id, left)
            assert outcome is not None
            self._publish(order.market, outcome)
        else:
            self._withdraw(order)
        order.price, order.quantity, order.updated_ms = terms.price, terms.quantity, now_ms
        if waits:
            order.terms = replace(
                order.terms, stop_price=terms.stop_price, quote_quantity=terms.quote_quantity
            )
            self._triggers.add(order)
        self.ledger.hold(order, hold)
        self.ledger.count(order)
        self.ledger.emit(OrderEvent(Change.AMENDED, order, now_ms))
        if not waits and not stays:
            self._match(order, now_ms)

    def _trade_with_venue(self, order: Order, now_ms: int) -> None:
        """Fill a forced order at the mark price, outside the book."""
        market, lots = order.market, order.left
        taker = BookOrder(0, order.terms.side, order.price, lots, lots, order.id, order.account.uid)
        outcome = Outcome(taker)
        self._take_over(market, outcome)
        market.stats.observe(outcome)
        self._publish(market, outcome)
        self._filled(order, outcome.fills[0], now_ms, maker=False)

    def _take_over(self, market: SimulatedBook, outcome: Outcome) -> None:
        """Let the venue itself trade what the book leaves of a forced order."""
        taker, price = outcome.order, self.mark_ticks(market)
        lots, taker.remaining = taker.remaining, 0
        # In public too: the trades of an instrument are numbered without a gap.
        market.book.last_trade_id += 1
        maker = BookOrder(0, Side(-taker.side), price, lots, 0)
        outcome.fills.append(Fill(market.book.last_trade_id, price, lots, maker, taker))

    def _done(self, market: SimulatedBook, now_ms: int, why: str = "order") -> None:
        """End an operation: trigger what its trades trigger, and tell what has changed."""
        self._settle(now_ms)
        self.ledger.flush(why, now_ms)
        if self._firing or not self._triggers.reached(market):
            return
        self._firing = True
        try:
            while due := self._triggers.due(market):
                for order in due:
                    if order.status is Status.UNTRIGGERED:
                        self._trigger(order, now_ms)
                        self._done(market, now_ms)
        finally:
            self._firing = False

    def _trigger(self, order: Order, now_ms: int) -> None:
        """Turn a stop order into a plain one, if the account still can."""
        self._triggers.remove(order)
        ledger, terms = self.ledger, order.terms
        plain = replace(
            terms,
            type=_PLAIN[terms.type],
            price=order.price,
            quantity=0 if terms.close_position else order.quantity,
            stop_price=0,
            algo=False,
        )
        order.triggered = True
        ledger.hold(order, ZERO)
        try:
            quantity, hold = self._intake.checked(order.account, plain, now_ms, triggered=True)
        except Refused as refused:
            ledger.finish(order, Status.REJECTED, refused.why, Change.REJECTED, now_ms)
            return
        if terms.algo:
            order.triggered_id = self._last_id + 1
            ledger.finish(order, Status.TRIGGERED, Why.NONE, Change.TRIGGERED, now_ms)
            same = order.account.clients.get(order.client_id)
            if same is not None and same.status.live:
                plain.client_id = ""
            self._accept(order.account, plain, quantity, hold, now_ms)
            return
        order.quantity = quantity
        order.status, order.updated_ms = Status.NEW, now_ms
        ledger.hold(order, hold)
        ledger.count(order)
        ledger.emit(OrderEvent(Change.TRIGGERED, order, now_ms))
        self._match(order, now_ms)

    def _settle(self, now_ms: int) -> None:
        """Fit open orders, and the margin behind them, to the positions that have changed."""
        while unsettled := self.ledger.unsettled():
            for account, key in unsettled:
                most = self.ledger.closable(account, key)
                if account.working[key].shrinking_lots > most:
                    self._trim(account.working[key], most, now_ms)
                self.ledger.cover(account, key)

    def _trim(self, working: Working, most: int, now_ms: int) -> None:
        """Keep resting reduce-only orders within ``most`` lots: the best-priced ones stay."""
        orders = [order for order in working.orders.values() if order.shrinks and order.book_id]
        for order in sorted(orders, key=lambda order: (-order.price * order.terms.side, order.id)):
            if order.left > most:
                if not most or self.rules.reduce_only == "refuse":
                    self._withdraw(order)
                    self._end(order, Why.REDUCE_ONLY, now_ms)
                    continue
                terms = replace(order.terms, price=order.price, quantity=order.filled + most)
                self._change(order, terms, order.locked, now_ms, keep_priority=True)
            most -= order.left

    def _at_risk(self) -> list[Account]:
        """Return whose margin must be looked at: a mark price or something of theirs has moved."""
        found: dict[int, Account] = {}
        for symbol, holders in self.ledger.holders.items():
            reference = self.ledger.markets[symbol].reference
            if not holders or reference is None:
                continue
            mark = reference.mark
            moved = self._marks.get(symbol) != mark
            self._marks[symbol] = mark
            found |= {uid: each for uid, each in holders.items() if moved or each.stale}
        for account in found.values():
            account.stale = False
        return [found[uid] for uid in sorted(found)]

    def _delist(self, symbol: str, now_ms: int) -> None:
        for account in self.accounts:
            if account.orders:
                self.cancel_all(account, now_ms, symbol=symbol, why=Why.DELISTED)

    def _contract(self, symbol: str) -> SimulatedBook:
        market = self.ledger.markets.get(symbol)
        if market is None or market.reference is None:
            raise Refused(Why.SYMBOL)
        return market

    def _must_be_idle(self, account: Account, symbol: str) -> None:
        if any(not self.ledger.units(o.market).spot for o in self.open_orders(account, symbol)):
            raise Refused(Why.OPEN_ORDERS)
        for (name, _), position in account.positions.items():
            if position.lots and symbol in ("", name):
                raise Refused(Why.OPEN_POSITIONS)

    def _margin_with(self, account: Account, symbol: str, leverage: int) -> Decimal:
        """Return what would be available with another leverage."""
        market = self._contract(symbol)
        asset = market.instrument.settle
        before = account.leverage.get(symbol, self.rules.leverage)
        more = ZERO
        for (name, _), position in account.positions.items():
            if name == symbol:
                needed = position.margin - position.added
                more += needed * before / leverage - needed
        for order in self.open_orders(account, symbol):
            more += order.locked * before / leverage - order.locked
        return self.available(account, asset) - more

    def _clients(self, order: Order) -> dict[str, Order]:
        return order.account.algo_clients if order.terms.algo else order.account.clients


def _must_live(order: Order) -> None:
    if order.status is Status.FILLED:
        raise Refused(Why.FILLED_ORDER)
    if not order.status.live:
        raise Refused(Why.CLOSED_ORDER)
