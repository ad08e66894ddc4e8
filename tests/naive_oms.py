"""A slow, obvious OMS: dictionaries and whole numbers, every sum made anew when it is needed.

What is open, worst cases, exposures and rates are never kept: they are summed over all orders,
positions and times whenever somebody asks. ``Naive.judge`` returns all the reasons for which an
intent has to be refused, in no order; the OMS has to give one of them. One account (number 0), net
positions.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from engine.common import OrderType, TimeInForce
from feeds.types import Kind
from gateways.types import Action, OrderStatus, ReportFlag, ReportKind, RequestFlag
from oms.types import LIMIT_NAMES, Deny, IntentAction, OrderState, ScopeKind, TradingState

UNIT = 10**8
MOST = 2**63 - 1
TOO_MUCH = 2**62
MILLION = 10**6
SECOND_NS = 10**9
RECENT = 8
ENDED = {
    OrderState.DENIED,
    OrderState.FILLED,
    OrderState.CANCELED,
    OrderState.EXPIRED,
    OrderState.REJECTED,
}
STANDING = {OrderState.ACKED, OrderState.OPEN, OrderState.PARTIAL, OrderState.TRIGGERED}
UNSURE = {OrderState.NEW, OrderState.SENT, OrderState.UNKNOWN}


def divided(numerator, denominator):
    """Return a quotient rounded to the nearest, halves away from zero, within an int64."""
    quotient = min((abs(numerator) + denominator // 2) // denominator, MOST)
    return -quotient if numerator < 0 else quotient


def rounded(exact):
    """Return a fraction as a whole number: the nearest, halves away from zero."""
    return divided(exact.numerator, exact.denominator)


@dataclass(frozen=True)
class Instrument:
    """The terms of an instrument."""

    kind: int
    tick: int
    lot: int
    minimum: int
    maximum: int
    minimum_notional: int
    price_decimals: int
    quantity_decimals: int
    contract_value: int
    base: bytes
    quote: bytes
    settle: bytes

    @classmethod
    def of(cls, row):
        """Return those of a row of md.instruments."""
        spot = row["kind"] == Kind.SPOT
        return cls(
            *(int(row[name]) for name in ("kind", "tick", "lot", "minimum_quantity")),
            *(int(row[name]) for name in ("maximum_quantity", "minimum_notional")),
            *(int(row[name]) for name in ("price_decimals", "quantity_decimals")),
            UNIT if spot else int(row["contract_value"]),
            *(bytes(row[name]) for name in ("base", "quote")),
            bytes(row["settle"]) or bytes(row["quote"]),
        )

    @property
    def inverse(self):
        return self.kind in (Kind.INVERSE_PERPETUAL, Kind.INVERSE_FUTURE)

    @property
    def spot(self):
        return self.kind == Kind.SPOT

    def exact(self, price, quantity):
        """Return what a quantity is worth, in units of 1e-8 of the quote (inverse: base) asset."""
        worth = Fraction(quantity * self.contract_value, 10**self.quantity_decimals)
        unit = 10**self.price_decimals
        return worth * unit / price if self.inverse else worth * price / unit

    def value(self, price, quantity):
        """Return the same as a whole number."""
        if self.inverse:
            return divided(self.notional(price, quantity) * 10**self.price_decimals, price)
        return self.notional(price, quantity)

    def notional(self, price, quantity):
        """Return what a quantity is worth in the quote currency."""
        worth, scale = quantity * self.contract_value, 10**self.quantity_decimals
        if self.inverse:
            return divided(worth, scale)
        return divided(worth * price, scale * 10**self.price_decimals)


class NaivePosition:
    """Quantity, average cost, and what was realized."""

    def __init__(self, instrument):
        self.instrument = instrument
        self.quantity = self.cost = self.realized = self.fees = self.funding = 0
        self.fills = self.bought = self.sold = 0

    def trade(self, side, price, quantity, fee=0):
        value = self.instrument.value(price, quantity)
        self.fees += fee
        self.fills += 1
        self.bought += quantity if side > 0 else 0
        self.sold += quantity if side < 0 else 0
        closing = min(quantity, abs(self.quantity)) if self.quantity * side < 0 else 0
        if closing:
            out = divided(self.cost * closing, abs(self.quantity))
            back = divided(value * closing, quantity)
            gain = back - out if self.quantity > 0 else out - back
            self.realized += -gain if self.instrument.inverse else gain
            self.cost -= out
            value -= back
        if quantity > closing:
            self.cost += value
        self.quantity += side * quantity

    def unrealized(self, price):
        if self.quantity == 0:
            return 0
        gain = self.instrument.value(price, abs(self.quantity)) - self.cost
        gain = gain if self.quantity > 0 else -gain
        return -gain if self.instrument.inverse else gain


@dataclass
class Order:
    """What is known of an order."""

    client_id: int
    strategy: int
    number: int
    instrument: int
    side: int
    order_type: int
    time_in_force: int
    price: int
    quantity: int
    stop: int
    worst_price: int
    worst_quantity: int
    request: int
    reduce_only: bool = False
    state: OrderState = OrderState.NEW
    filled: int = 0
    traded: int = 0
    value: int = 0
    fills: int = 0
    amend_request: int = 0
    cancel_request: int = 0
    amending: bool = False
    cancelling: bool = False
    exchange_ns: int = 0
    updated_ns: int = 0
    nearest: int = 0
    listed: bool = True
    money: int = 0

    @property
    def ended(self):
        return self.state in ENDED

    @property
    def left(self):
        """Return what may still trade."""
        return max(0, (self.filled if self.ended else self.worst_quantity) - self.traded)

    @property
    def whole(self):
        return 0 < self.quantity <= self.filled


@dataclass
class Scope:
    """Limits and trading state of something."""

    limits: dict = field(default_factory=dict)
    state: TradingState = TradingState.NORMAL
    happened: dict = field(default_factory=lambda: defaultdict(list))
    rejects: int = 0
    sent: int = 0
    denied: int = 0
    fills: int = 0
    day: int = 0
    peak: int = 0
    equity: int = 0


@dataclass
class Market:
    """What is known of an instrument's market."""

    bid: int = 0
    ask: int = 0
    top_ns: int = 0
    mark: int = 0
    mark_ns: int = 0
    reference: int = 0


def after(state, what, filled):
    """Return the state of an order of which something was told."""
    if what == "full":
        return OrderState.FILLED
    live = state not in ENDED
    gone = state is OrderState.REJECTED
    if what in ("canceled", "expired") and (live or gone):
        return OrderState[what.upper()]
    if what == "reject" and live:
        return OrderState.REJECTED
    if what == "part" and (live or gone):
        return OrderState.PARTIAL
    to = state
    if what == "sent" and state is OrderState.NEW:
        to = OrderState.SENT
    elif what == "not sent" and state in (OrderState.NEW, OrderState.SENT):
        to = OrderState.REJECTED
    elif what == "unknown" and state in UNSURE:
        to = OrderState.UNKNOWN
    elif what == "absent" and state in UNSURE:
        to = OrderState.REJECTED
    elif what == "absent" and state in STANDING:
        to = OrderState.LOST
    elif what == "ack" and state in UNSURE:
        to = OrderState.ACKED
    elif what == "ack" and (gone or state is OrderState.LOST):
        to = OrderState.OPEN
    elif what in ("open", "triggered") and (live or gone) and state is not OrderState.PARTIAL:
        to = OrderState[what.upper()]
    if filled and to is not state and to in STANDING:
        return OrderState.PARTIAL
    return to


class Naive:
    """The whole of it."""

    def __init__(self, instruments, rates, balances):
        self.instruments = dict(instruments)
        self.rates = dict(rates)
        self.orders = {}
        self.positions = {}
        self.scopes = defaultdict(Scope)
        self.markets = {number: Market() for number in self.instruments}
        self.balances = {asset: [told, 0] for asset, told in balances.items()}
        self.recent = defaultdict(list)
        self.seen, self.used = set(), set()
        self.now = 0
        self.swept_ns = 0
        self.up = True

    # -- what belongs to what --
    @staticmethod
    @cache
    def scopes_of(strategy, instrument):
        """Return the keys of an order's scopes: those of the account first."""
        keys = (
            (ScopeKind.FIRM, -1, -1),
            (ScopeKind.ACCOUNT, -1, -1),
            (ScopeKind.ACCOUNT_INSTRUMENT, -1, instrument),
        )
        if strategy > 0:
            keys += (
                (ScopeKind.STRATEGY, strategy, -1),
                (ScopeKind.STRATEGY_INSTRUMENT, strategy, instrument),
            )
        return keys

    def belongs(self, order, key):
        return key in self.scopes_of(order.strategy, order.instrument)

    def open_orders(self, key):
        return [order for order in self.orders.values() if self.belongs(order, key)]

    def rows_of(self, key):
        """Return the positions that a scope is the sum of, by (strategy, instrument)."""
        kind, strategy, instrument = key
        mine = kind in (ScopeKind.STRATEGY, ScopeKind.STRATEGY_INSTRUMENT)
        return [
            place
            for place in self.positions
            if (place[0] == strategy if mine else place[0] == 0) and (instrument in (-1, place[1]))
        ]

    def position(self, strategy, instrument):
        place = strategy, instrument
        if place not in self.positions:
            self.positions[place] = NaivePosition(self.instruments[instrument])
        return self.positions[place]

    # -- worth --
    def reporting(self, asset, money):
        rate = self.rates.get(asset, 0)
        return money if abs(money) >= MOST else divided(money * rate, UNIT)

    def exposure(self, instrument, price, quantity):
        terms = self.instruments[instrument]
        return self.reporting(terms.quote, terms.notional(price, quantity))

    def open_quantity(self, place, side):
        strategy, instrument = place
        return sum(
            order.left
            for order in self.orders.values()
            if order.instrument == instrument
            and order.side == side
            and strategy in (0, order.strategy)
        )

    def worst(self, place, buys=0, sells=0):
        """Return the worst quantity, long and short, with so much more open."""
        quantity = self.positions[place].quantity
        return (
            quantity + self.open_quantity(place, 1) + buys,
            quantity - self.open_quantity(place, -1) - sells,
        )

    def monies(self, place, buys=0, sells=0):
        """Return gross, long and short worth of a position at worst."""
        up, down = self.worst(place, buys, sells)
        price = self.markets[place[1]].reference
        largest = max(abs(up), abs(down))
        return tuple(self.exposure(place[1], price, each) for each in (largest, up, down))

    def result(self, place):
        position = self.positions[place]
        money = position.realized + position.unrealized(self.markets[place[1]].reference)
        settled = self.reporting(position.instrument.settle, money)
        return settled - position.fees - position.funding

    def use(self, key):
        """Return what a scope uses of its limits."""
        orders, rows = self.open_orders(key), self.rows_of(key)
        monies = [self.monies(place) for place in rows]
        return {
            "open_orders": sum(not order.ended for order in orders),
            "open_money": sum(order.money for order in orders),
            "gross_money": sum(each[0] for each in monies),
            "long_money": sum(each[1] for each in monies),
            "short_money": sum(each[2] for each in monies),
            "result_money": sum(self.result(place) for place in rows),
            "unknowns": sum(
                order.state in (OrderState.UNKNOWN, OrderState.LOST) for order in orders
            ),
        }

    def note_peaks(self):
        """Take note of the best results so far."""
        for key in list(self.scopes):
            result = sum(self.result(place) for place in self.rows_of(key))
            self.scopes[key].peak = max(self.scopes[key].peak, result)

    def reserved(self, asset):
        """Return what open spot orders take of an asset."""
        total = 0
        for order in self.orders.values():
            terms = self.instruments[order.instrument]
            if not terms.spot or (terms.quote if order.side > 0 else terms.base) != asset:
                continue
            total += self.taken(terms, order.side, order.worst_price, order.left)
        return total

    @staticmethod
    def taken(terms, side, price, quantity):
        if side > 0:
            return terms.value(price, quantity)
        return divided(quantity * UNIT, 10**terms.quantity_decimals)

    # -- the market --
    def top(self, instrument, bid, ask):
        market = self.markets[instrument]
        market.bid, market.ask, market.top_ns = bid, ask, self.now
        if not market.mark or self.instruments[instrument].spot:
            market.reference = (bid + ask) // 2
        self.note_peaks()

    def no_top(self, instrument):
        self.markets[instrument].top_ns = 0

    def mark(self, instrument, price):
        market = self.markets[instrument]
        market.mark, market.mark_ns, market.reference = price, self.now, price
        self.note_peaks()

    # -- deciding --
    def tightest(self, keys, name):
        values = [self.scopes[key].limits.get(name, -1) for key in keys]
        return min((value for value in values if value >= 0), default=None)

    def fresh(self, keys, then_ns):
        age = self.tightest(keys, "market_age")
        return then_ns and (age is None or self.now - then_ns <= age)

    def mark_price(self, keys, instrument):
        market = self.markets[instrument]
        return market.mark if self.fresh(keys, market.mark_ns) else 0

    def market_price(self, keys, instrument):
        market = self.markets[instrument]
        if self.fresh(keys, market.top_ns):
            return (market.bid + market.ask) // 2
        return self.mark_price(keys, instrument)

    def judge_new(self, intent):
        """Return why a new order is refused, and the order that it would be."""
        reasons = self._form(intent)
        if reasons:
            return reasons, None
        strategy, number = intent["strategy"], intent["instrument"]
        keys = self.scopes_of(strategy, number)
        for key in keys:
            self.scopes[key]
        self.position(0, number)
        self.position(strategy, number)
        order = Order(
            client_id=0,
            strategy=strategy,
            number=intent["number"],
            instrument=number,
            side=intent["side"],
            order_type=intent["order_type"],
            time_in_force=intent["time_in_force"],
            price=intent["price"],
            quantity=intent["quantity"],
            stop=intent["stop_price"],
            worst_price=0,
            worst_quantity=intent["quantity"],
            request=0,
            reduce_only=bool(intent["flags"] & RequestFlag.REDUCE_ONLY),
            updated_ns=self.now,
        )
        age = self.tightest(keys, "intent_age")
        if age is not None and self.now - intent["created_ns"] > age:
            reasons.add(Deny.INTENT_AGE)
        if not self._settle_price(keys, order):
            return reasons | {Deny.MARKET_STALE}, None
        reasons |= self._terms(order, order.price, order.quantity)
        reasons |= self._system(keys, order, order.quantity)
        reasons |= self._prices(keys, order, order.price)
        reasons |= self._reducing(order, order.quantity)
        reasons |= self._duplicate(keys, order)
        reasons |= self._sizes(keys, order, order.quantity, order.quantity, None)
        reasons |= self._rate(keys, "order")
        return reasons, order

    def _form(self, intent):
        reasons, now = set(), self.now
        if intent["instrument"] not in self.instruments:
            return {Deny.INSTRUMENT}
        if not self.up:
            reasons.add(Deny.ACCOUNT_DOWN)
        kind, time = intent["order_type"], intent["time_in_force"]
        limited = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        stopped = kind in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
        fits = intent["side"] in (1, -1) and intent["quantity"] > 0 and intent["number"] > 0
        fits = fits and min(intent["price"], intent["stop_price"]) >= 0
        fits = fits and limited == (intent["price"] > 0) and stopped == (intent["stop_price"] > 0)
        fits = fits and (limited or time != TimeInForce.POST_ONLY)
        if kind == OrderType.MARKET:
            fits = fits and time in (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
        if not fits:
            reasons.add(Deny.PARAMETER)
        if (intent["strategy"], intent["number"]) in self.used:
            reasons.add(Deny.DUPLICATE_NUMBER)
        if 0 < intent["deadline_ns"] < now:
            reasons.add(Deny.DEADLINE)
        dated = time == TimeInForce.GTD
        if dated != (intent["expire_ns"] != 0) or (dated and intent["expire_ns"] <= now):
            reasons.add(Deny.EXPIRE_TIME)
        return reasons

    def find(self, strategy, number):
        for order in self.orders.values():
            if order.strategy == strategy and order.number == number:
                return order
        return None

    def _worst_price(self, keys, order, price):
        if order.side > 0:
            return price
        return max(price, order.stop, self.market_price(keys, order.instrument))

    def _settle_price(self, keys, order):
        """Give an order its worst price, and a market order its bound; False without a market."""
        if order.price:
            order.worst_price = self._worst_price(keys, order, order.price)
            return True
        market = self.market_price(keys, order.instrument)
        if market <= 0:
            return False
        order.worst_price = max(market, order.stop)
        slippage = self.tightest(keys, "slippage")
        if slippage is None or order.order_type != OrderType.MARKET:
            return True
        tick = self.instruments[order.instrument].tick
        away = market * slippage // MILLION
        if order.side > 0:
            order.price = (market + away) // tick * tick
        else:
            order.price = -(-(market - away) // tick) * tick
        if order.price <= 0:
            return False
        order.worst_price = max(order.price, market)
        order.order_type = OrderType.LIMIT
        if order.time_in_force != TimeInForce.FOK:
            order.time_in_force = TimeInForce.IOC
        return True

    def _terms(self, order, price, quantity):
        terms, reasons = self.instruments[order.instrument], set()
        if price % terms.tick:
            reasons.add(Deny.PRICE_TICK)
        if quantity % terms.lot:
            reasons.add(Deny.QUANTITY_LOT)
        if quantity < terms.minimum:
            reasons.add(Deny.MINIMUM_QUANTITY)
        if terms.maximum and quantity > terms.maximum:
            reasons.add(Deny.MAXIMUM_QUANTITY)
        counted = price or order.worst_price
        exempt = terms.inverse or order.reduce_only or not counted
        if not exempt and terms.value(counted, quantity) < terms.minimum_notional:
            reasons.add(Deny.MINIMUM_NOTIONAL)
        return reasons

    def _system(self, keys, order, growth):
        states = {key: self.scopes[key].state for key in keys}
        if max(states.values()) >= TradingState.CANCEL_ONLY:
            return {Deny.TRADING_STATE}
        for key, state in states.items():
            if state is TradingState.REDUCE_ONLY:
                mine = key[0] in (ScopeKind.STRATEGY, ScopeKind.STRATEGY_INSTRUMENT)
                strategy = order.strategy if mine else 0
                if not self._reduces(order, strategy, growth):
                    return {Deny.TRADING_STATE}
        return set()

    def _reduces(self, order, strategy, growth):
        place = strategy, order.instrument
        quantity = self.positions[place].quantity
        if quantity * order.side >= 0:
            return False
        closing = self.open_quantity(place, order.side)
        if order.reduce_only and strategy == 0:
            closing = sum(
                other.left
                for other in self.orders.values()
                if other.reduce_only and other.instrument == order.instrument
            )
        return closing + growth <= abs(quantity)

    def _reducing(self, order, growth):
        if not order.reduce_only or self._reduces(order, 0, growth):
            return set()
        return {Deny.REDUCE_ONLY}

    def _prices(self, keys, order, price):
        if price <= 0 or order.order_type == OrderType.STOP_LIMIT:
            return set()
        reasons, side = set(), order.side
        market = self.market_price(keys, order.instrument)
        collar, band = self.tightest(keys, "collar"), self.tightest(keys, "band")
        if collar is not None:
            if market <= 0:
                reasons.add(Deny.MARKET_STALE)
            elif (price - market) * side > market * collar // MILLION:
                reasons.add(Deny.COLLAR)
        if band is not None:
            mark = self.mark_price(keys, order.instrument) or market
            if mark <= 0:
                reasons.add(Deny.MARKET_STALE)
            elif abs(price - mark) > mark * band // MILLION:
                reasons.add(Deny.BAND)
        book = self.markets[order.instrument]
        reaches = (price - (book.ask if side > 0 else book.bid)) * side >= 0
        resting = order.time_in_force == TimeInForce.POST_ONLY and self.fresh(keys, book.top_ns)
        if resting and reaches:
            reasons.add(Deny.POST_ONLY)
        for other in self.orders.values():
            meets = other.instrument == order.instrument and other.side != side
            meets = meets and not other.ended and other.nearest
            if meets and (price - other.nearest) * side >= 0:
                reasons.add(Deny.SELF_TRADE)
        return reasons

    def _duplicate(self, keys, order):
        window = self.tightest(keys, "duplicate_window")
        what = order.side, order.price, order.quantity
        recent = self.recent[order.strategy, order.instrument][-RECENT:]
        if window is None:
            return set()
        again = any(then == what and self.now - at < window for at, then in recent)
        return {Deny.DUPLICATE} if again else set()

    def _sizes(self, keys, order, quantity, left, standing):
        """Check what ``left`` open of an order, now ``standing`` (None: a new one), would do."""
        number, side, reasons = order.instrument, order.side, set()
        price = order.worst_price
        money = self.exposure(number, price, left) - (standing.money if standing else 0)
        notional = self.exposure(number, price, quantity)
        growth = left - (standing.left if standing else 0)
        if max(abs(money), notional, quantity) >= TOO_MUCH:
            reasons.add(Deny.OVERFLOW)
        for key in keys:
            limits = {n: v for n, v in self.scopes[key].limits.items() if v >= 0}
            if not limits:
                continue
            if quantity > limits.get("order_quantity", quantity):
                reasons.add(Deny.ORDER_QUANTITY)
            if notional > limits.get("order_notional", notional):
                reasons.add(Deny.ORDER_NOTIONAL)
            if money > 0 or standing is None:
                reasons |= self._open(key, limits, money, standing is None)
            reasons |= self._exposures(key, limits, number, side, growth)
        return reasons | self._balance(order, left, standing)

    def _open(self, key, limits, money, new):
        reasons, orders = set(), self.open_orders(key)
        if sum(not order.ended for order in orders) + new > limits.get("open_orders", MOST):
            reasons.add(Deny.OPEN_ORDERS)
        if sum(order.money for order in orders) + money > limits.get("open_notional", MOST):
            reasons.add(Deny.OPEN_NOTIONAL)
        unknown = (OrderState.UNKNOWN, OrderState.LOST)
        if sum(order.state in unknown for order in orders) > limits.get("unknowns", MOST):
            reasons.add(Deny.UNKNOWNS)
        return reasons

    def _exposures(self, key, limits, number, side, growth):
        kind, strategy, _ = key
        names = {"position", "gross_notional", "net_notional", "leverage"}
        if not names & limits.keys():
            return set()
        reasons, place = set(), (max(strategy, 0), number)
        buys, sells = (growth, 0) if side > 0 else (0, growth)
        up, down = self.worst(place, buys, sells)
        of_row = kind in (ScopeKind.ACCOUNT_INSTRUMENT, ScopeKind.STRATEGY_INSTRUMENT)
        reach = up if side > 0 else -down
        if of_row and growth > 0 and reach > limits.get("position", MOST):
            reasons.add(Deny.POSITION)
        before, now = self.monies(place), self.monies(place, buys, sells)
        more = [new - old for new, old in zip(now, before, strict=True)]
        rows = [self.monies(each) for each in self.rows_of(key)]
        gross, longs, shorts = (sum(each[i] for each in rows) + more[i] for i in range(3))
        if more[0] > 0:
            if gross > limits.get("gross_notional", MOST):
                reasons.add(Deny.GROSS_NOTIONAL)
            leverage = limits.get("leverage")
            equity = max(self.scopes[key].equity, 0)
            if leverage is not None and gross > divided(equity * leverage, 100):
                reasons.add(Deny.LEVERAGE)
        net = limits.get("net_notional", MOST)
        if (side > 0 and more[1] > 0 and longs > net) or (
            side < 0 and more[2] < 0 and -shorts > net
        ):
            reasons.add(Deny.NET_NOTIONAL)
        return reasons

    def _balance(self, order, left, standing):
        terms = self.instruments[order.instrument]
        if not terms.spot:
            return set()
        asset = terms.quote if order.side > 0 else terms.base
        needed = self.taken(terms, order.side, order.worst_price, left)
        if standing:
            needed -= self.taken(terms, standing.side, standing.worst_price, standing.left)
        told, changed = self.balances[asset]
        short = needed > max(told + changed - self.reserved(asset), 0)
        return {Deny.BALANCE} if needed > 0 and short else set()

    def _rate(self, keys, kind):
        for key in keys:
            limits = self.scopes[key].limits
            most, period = limits.get(f"{kind}_rate", -1), limits.get("rate_period", 0)
            if most >= 0 and self.happened(key, kind, period) >= most:
                return {Deny[f"{kind}_rate".upper()]}
        return set()

    def happened(self, key, kind, period):
        period = period if period > 0 else SECOND_NS
        return sum(self.now - at < period for at in self.scopes[key].happened[kind])

    def judge_cancel(self, strategy, number):
        order = self.find(strategy, number)
        if order is None:
            return {Deny.UNKNOWN_ORDER}, None
        if order.ended:
            return {Deny.ORDER_ENDED}, None
        return self._rate(self.scopes_of(order.strategy, order.instrument), "cancel"), order

    def judge_amend(self, intent):
        order = self.find(intent["strategy"], intent["number"])
        if order is None:
            return {Deny.UNKNOWN_ORDER}, None
        if order.ended:
            return {Deny.ORDER_ENDED}, None
        price, quantity = intent["price"] or order.price, intent["quantity"] or order.quantity
        if min(intent["price"], intent["quantity"]) < 0 or order.state is OrderState.LOST:
            return {Deny.PARAMETER}, None
        if (price, quantity) == (order.price, order.quantity) and not order.amending:
            return {Deny.NOT_CHANGED}, None
        keys, reasons = self.scopes_of(order.strategy, order.instrument), set()
        if not self.up:
            reasons.add(Deny.ACCOUNT_DOWN)
        if 0 < intent["deadline_ns"] < self.now:
            reasons.add(Deny.DEADLINE)
        age = self.tightest(keys, "intent_age")
        if age is not None and self.now - intent["created_ns"] > age:
            reasons.add(Deny.INTENT_AGE)
        wanted = Order(**{n: getattr(order, n) for n in Order.__dataclass_fields__})
        wanted.stop = 0
        wanted.worst_price = max(order.worst_price, self._worst_price(keys, wanted, price))
        wanted.price, wanted.quantity = price, quantity
        left = max(0, max(quantity, order.worst_quantity) - order.traded)
        growth = left - order.left
        reasons |= self._terms(wanted, price, quantity)
        reasons |= self._system(keys, wanted, growth)
        reasons |= self._prices(keys, wanted, price)
        reasons |= self._reducing(wanted, growth)
        reasons |= self._sizes(keys, wanted, quantity, left, order)
        reasons |= self._rate(keys, "amend")
        return reasons, wanted

    # -- doing --
    def count(self, order, kind):
        for key in self.scopes_of(order.strategy, order.instrument):
            self.scopes[key].happened[kind].append(self.now)

    def refuse(self, intent):
        """Count a new order that was refused."""
        for key in self.scopes_of(intent["strategy"], intent["instrument"]):
            self.scopes[key].denied += 1

    def place(self, order, client_id, request):
        order.client_id, order.request = client_id, request
        self.used.add((order.strategy, order.number))
        order.nearest = order.price
        self.orders[client_id] = order
        for key in self.scopes_of(order.strategy, order.instrument):
            self.scopes[key].sent += 1
        what = order.side, order.price, order.quantity
        self.recent[order.strategy, order.instrument].append((self.now, what))
        self.count(order, "order")
        self._hold(order)

    def amend(self, wanted, request):
        order = self.orders[wanted.client_id]
        order.amending, order.amend_request = True, request
        order.worst_price = max(order.worst_price, wanted.worst_price)
        order.worst_quantity = max(order.worst_quantity, wanted.quantity)
        order.updated_ns = self.now
        self._near(order, wanted.price)
        self.count(order, "amend")
        self._hold(order)

    def cancel(self, order, request):
        order.cancelling, order.cancel_request = True, request
        order.updated_ns = self.now
        self.count(order, "cancel")
        self._hold(order)

    @staticmethod
    def _near(order, price):
        if price > 0 and (order.nearest == 0 or (price - order.nearest) * order.side > 0):
            order.nearest = price

    def _hold(self, order):
        order.money = self.exposure(order.instrument, order.worst_price, order.left)
        listed = not order.ended
        if listed and not order.listed:
            order.nearest = order.price
        order.listed = listed

    def swept(self, matches):
        """Return the orders that a sweep over those that match asks to be cancelled."""
        return [
            order
            for order in self.orders.values()
            if matches(order)
            and not order.ended
            and not (order.cancelling and self.now - order.updated_ns < 2 * SECOND_NS)
        ]

    # -- commands --
    def limit(self, key, name, value):
        self.scopes[key].limits[LIMIT_NAMES[name]] = max(value, -1)

    def state(self, key, value, automatic=False):
        """Set a scope's state; return the orders to be cancelled."""
        scope = self.scopes[key]
        if value == scope.state or (automatic and value < scope.state):
            return []
        if not automatic and value < scope.state:
            scope.rejects = 0
        scope.state = TradingState(value)
        return self.swept(lambda order: self.belongs(order, key)) if value >= 3 else []

    def resolve(self, order):
        """Take an order of unknown fate as ended."""
        order.state = OrderState.CANCELED
        order.amending = order.cancelling = False
        order.worst_quantity = max(order.traded, order.quantity)
        order.updated_ns = self.now
        self._hold(order)

    def new_day(self):
        for key, scope in self.scopes.items():
            scope.day = scope.peak = self.use(key)["result_money"]

    def watch(self, keys, traded):
        for key in keys:
            scope = self.scopes[key]
            limits = {n: v for n, v in scope.limits.items() if v >= 0}
            if traded and "fill_rate" in limits:
                room = self.happened(key, "fill", 0) < limits["fill_rate"]
                scope.happened["fill"].append(self.now)
                if not room:
                    self.state(key, TradingState.CANCEL_ONLY, automatic=True)
            if limits.keys() & {"daily_loss", "drawdown"}:
                result = self.use(key)["result_money"]
                if scope.day - result > limits.get("daily_loss", MOST):
                    self.state(key, TradingState.REDUCE_ONLY, automatic=True)
                if scope.peak - result > limits.get("drawdown", MOST):
                    self.state(key, TradingState.REDUCE_ONLY, automatic=True)
            if scope.rejects > limits.get("rejects", MOST):
                self.state(key, TradingState.CANCEL_ONLY, automatic=True)

    def keep_up(self):
        """Do what the clock demands; return the orders to be cancelled again."""
        equity = sum(
            self.reporting(asset, told + changed)
            for asset, (told, changed) in self.balances.items()
        )
        for (strategy, number), position in self.positions.items():
            if strategy == 0 and not position.instrument.spot:
                gain = position.unrealized(self.markets[number].reference)
                equity += self.reporting(position.instrument.settle, gain)
        for kind in (ScopeKind.FIRM, ScopeKind.ACCOUNT):
            self.scopes[kind, -1, -1].equity = equity
        self.watch(list(self.scopes), False)
        halted = [key for key, scope in self.scopes.items() if scope.state >= TradingState.HALT]
        halted = [key for key in halted if self.use(key)["open_orders"]]
        if not halted or self.now - self.swept_ns < 2 * SECOND_NS:
            return []
        self.swept_ns = self.now
        return self.swept(lambda order: any(self.belongs(order, key) for key in halted))

    # -- reports --
    def balance(self, asset, told):
        self.balances[asset] = [told, 0]

    def report(self, report):
        """Take in a report about an order, a dictionary."""
        order = self.orders.get(report["client_id"])
        kind = report["kind"]
        if order is None:
            if self._is_of_no_order(report):
                return
            order = self._adopt(report)
        state, fills, total = order.state, order.fills, order.quantity
        stale = 0 < report["exchange_ns"] < order.exchange_ns
        order.exchange_ns = max(order.exchange_ns, report["exchange_ns"])
        traded = False
        if kind == ReportKind.FILL:
            what = self._fill(order, report, stale)
            traded = order.fills != fills
        else:
            what = self._told(order, report, stale)
        if what:
            order.state = after(order.state, what, order.filled)
        more = order.quantity > max(total, order.filled)
        lives = what in ("part", "open", "ack", "triggered")
        if order.state is OrderState.FILLED and more and lives:
            order.state = OrderState.PARTIAL
        if kind != ReportKind.FILL:
            self._settle_worst(order)
        self._answer(order, report)
        if order.ended:
            order.amending = order.cancelling = False
        order.updated_ns = self.now
        self._hold(order)
        self._count_results(order, what, order.state is not state, order.fills - fills)
        self.note_peaks()
        self.watch(self.scopes_of(order.strategy, order.instrument), traded)

    @staticmethod
    def _is_of_no_order(report):
        kind = report["kind"]
        if kind == ReportKind.STATUS:
            return report["status"] in (
                OrderStatus.FILLED,
                OrderStatus.CANCELED,
                OrderStatus.EXPIRED,
                OrderStatus.REJECTED,
            )
        return kind not in (
            ReportKind.ACCEPTED,
            ReportKind.OPEN,
            ReportKind.FILL,
            ReportKind.AMENDED,
            ReportKind.TRIGGERED,
        )

    def _adopt(self, report):
        number = report["instrument"]
        before = report["filled"]
        if report["kind"] == ReportKind.FILL:
            before = max(0, before - report["last_quantity"])
        order = Order(
            client_id=report["client_id"],
            strategy=0,
            number=report["client_id"],
            instrument=number,
            side=report["side"] or 1,
            order_type=0,
            time_in_force=0,
            price=report["price"],
            quantity=report["quantity"],
            stop=0,
            worst_price=max(report["price"], report["last_price"]),
            worst_quantity=report["quantity"],
            request=0,
            filled=before,
            traded=before,
            listed=False,
        )
        self.position(0, number)
        for key in self.scopes_of(0, number):
            self.scopes[key]
        self.orders[order.client_id] = order
        return order

    def _fill(self, order, report, stale):
        side = report["side"] or order.side
        trade = order.instrument, report["trade_id"], side
        price, quantity = report["last_price"], report["last_quantity"]
        if report["trade_id"] and trade in self.seen:
            return None
        self.seen.add(trade)
        if quantity <= 0:
            return None
        terms, fee = self.instruments[order.instrument], report["fee"]
        for strategy in {0, order.strategy}:
            position = self.position(strategy, order.instrument)
            position.trade(side, price, quantity, self.reporting(b"USDT", fee))
        value = terms.value(price, quantity)
        order.value += value if side == order.side else -value
        if terms.spot:
            self.balances[terms.base][1] += side * self.taken(terms, -1, 0, quantity)
            self.balances[terms.quote][1] -= side * value
            self.balances[b"USDT"][1] -= fee
        order.traded += quantity
        order.fills += 1
        order.filled = max(order.filled, order.traded, report["filled"])
        if report["quantity"] > order.quantity and not stale:
            order.quantity = report["quantity"]
            order.worst_quantity = max(order.worst_quantity, order.quantity)
        return "full" if order.whole else "part"

    def _told(self, order, report, stale):
        """Take in what is no trade; return what it says of the order."""
        kind, own = report["kind"], report["request_id"] in (0, order.request)
        of_new = report["action"] == Action.NEW
        what = {
            ReportKind.SENT: "sent" if of_new else None,
            ReportKind.NOT_SENT: "not sent" if of_new and own else None,
            ReportKind.ACCEPTED: "ack" if report["action"] != Action.AMEND else None,
            ReportKind.OPEN: "open",
            ReportKind.CANCELED: "canceled",
            ReportKind.EXPIRED: "expired",
            ReportKind.REJECTED: "reject" if own else None,
            ReportKind.TRIGGERED: "triggered",
            ReportKind.UNKNOWN: "unknown" if of_new else None,
            ReportKind.NOT_FOUND: "absent",
            ReportKind.AMENDED: "open",
            ReportKind.STATUS: {
                OrderStatus.NONE: None,
                OrderStatus.ACCEPTED: "ack",
                OrderStatus.CANCELED: "canceled",
                OrderStatus.EXPIRED: "expired",
                OrderStatus.REJECTED: "reject",
                OrderStatus.FILLED: "full",
            }.get(report["status"], "open"),
        }.get(kind)
        if report["filled"] > order.filled:
            order.filled = report["filled"]
            if what in (None, "open", "ack", "triggered"):
                what = "part"
        self._terms_told(order, report, stale)
        if order.whole and what in ("part", "open", "ack", "triggered", "canceled", "expired"):
            return "full"
        return what

    def _terms_told(self, order, report, stale):
        kind = report["kind"]
        if kind == ReportKind.AMENDED:
            stale = stale and not order.amending and report["request_id"] < order.amend_request
        tells = (ReportKind.AMENDED, ReportKind.STATUS, ReportKind.OPEN, ReportKind.TRIGGERED)
        if kind in tells and not stale:
            if report["price"] > 0:
                order.price = report["price"]
                if not order.amending:
                    order.nearest = order.price
                self._near(order, order.price)
            if report["quantity"] > 0:
                total = max(report["quantity"], min(order.quantity, order.filled))
                ended = kind == ReportKind.STATUS and self._is_of_no_order(report)
                if total <= order.filled or not (order.state is OrderState.FILLED and ended):
                    order.quantity = total

    @staticmethod
    def _settle_worst(order, answered=False):
        if order.ended and not answered:
            order.worst_quantity = max(order.worst_quantity, order.quantity)
            return
        if order.amending:
            order.worst_quantity = max(order.worst_quantity, order.quantity)
            order.worst_price = max(order.worst_price, order.price)
            return
        order.worst_quantity = order.quantity
        if order.price <= 0:
            return
        order.nearest = order.price
        booked = order.state not in UNSURE and order.state is not OrderState.ACKED
        price = max(order.price, order.stop if order.side < 0 else 0)
        order.worst_price = price if order.side > 0 or booked else max(price, order.worst_price)

    def _answer(self, order, report):
        """Take note of which requests a report answers."""
        kind, action = report["kind"], report["action"]
        request = report["request_id"]
        refused = kind in (ReportKind.NOT_SENT, ReportKind.NOT_FOUND)
        asked = kind == ReportKind.STATUS and report["flags"] & ReportFlag.RECONCILED
        amended = kind in (ReportKind.AMENDED, ReportKind.AMEND_REJECTED)
        amended = amended or (refused and action == Action.AMEND)
        if amended and (request == 0 or request >= order.amend_request):
            order.amending = False
            if kind != ReportKind.AMENDED:
                order.amend_request = 0
            self._settle_worst(order, answered=True)
        kept = kind == ReportKind.CANCEL_REJECTED or (refused and action == Action.CANCEL)
        if kept and (request == 0 or request >= order.cancel_request):
            order.cancelling = False
        if asked and action == Action.AMEND and request >= order.amend_request:
            order.amending = False
            self._settle_worst(order, answered=True)
        if asked and action == Action.CANCEL and request >= order.cancel_request:
            order.cancelling = False

    def _count_results(self, order, what, moved, fills):
        good = what in ("open", "part", "full")
        if fills == 0 and not (moved and (good or what == "reject")):
            return
        for key in self.scopes_of(order.strategy, order.instrument):
            scope = self.scopes[key]
            scope.rejects = scope.rejects + 1 if what == "reject" else 0
            scope.fills += fills


INTENT_DEFAULTS = {
    "action": IntentAction.NEW,
    "number": 0,
    "instrument": 0,
    "strategy": 1,
    "price": 0,
    "quantity": 0,
    "stop_price": 0,
    "expire_ns": 0,
    "deadline_ns": 0,
    "side": 0,
    "order_type": 0,
    "time_in_force": 0,
    "flags": 0,
    "created_ns": 0,
}
REPORT_DEFAULTS = {
    "kind": 0,
    "client_id": 0,
    "instrument": -1,
    "action": 0,
    "status": 0,
    "flags": 0,
    "request_id": 0,
    "price": 0,
    "quantity": 0,
    "filled": 0,
    "last_price": 0,
    "last_quantity": 0,
    "trade_id": 0,
    "fee": 0,
    "side": 0,
    "exchange_ns": 0,
}
