"""What an account may ask for: orders are checked here, and what must be held for them is found."""

from decimal import Decimal

from engine.common import Side, TimeInForce
from gateways.simulator.account import (
    ZERO,
    Account,
    Order,
    OrderTerms,
    Refused,
    Status,
    Why,
)
from gateways.simulator.ledger import Ledger
from gateways.simulator.rules import check_amount, check_price, check_quantity, check_terms
from gateways.simulator.triggers import is_met, price_for


def reduces(terms: OrderTerms) -> bool:
    """Whether an order can only make a position smaller."""
    if terms.reduce_only or terms.close_position:
        return True
    opening = {"long": Side.BUY, "short": Side.SELL}.get(terms.position_side)
    return opening is not None and terms.side is not opening


def fits(order: Order, symbol: str, algo: bool | None) -> bool:
    """Whether an order is of a symbol (empty: any) and an algo order or not (None: either)."""
    terms = order.terms
    return (not symbol or terms.market.instrument.symbol == symbol) and (
        algo is None or terms.algo is algo
    )


def open_orders(account: Account, symbol: str = "", algo: bool | None = None) -> list[Order]:
    """Return the live orders of an account that fit, oldest first."""
    return [order for order in account.orders.values() if fits(order, symbol, algo)]


def would_take(terms: OrderTerms, price: int) -> bool:
    """Whether a post-only order at ``price`` (ticks) would match at once."""
    if terms.time_in_force is not TimeInForce.POST_ONLY:
        return False
    book = terms.market.book
    other = book.asks if terms.side is Side.BUY else book.bids
    return other.crosses(price)


class Intake:
    """The checks before an order, over one venue's ledger; they change nothing."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.rules = ledger.rules

    def checked(
        self, account: Account, terms: OrderTerms, now_ms: int, *, triggered: bool = False
    ) -> tuple[int, Decimal]:
        """Return an order's quantity in lots and what must be held for it; raise Refused."""
        check_terms(terms, now_ms)
        market = terms.market
        units = self.ledger.units(market)
        if not triggered:
            self._check_count(account, terms)
            self._check_trigger(terms)
        if terms.price:
            reference = self.ledger.mark(market)
            check_price(self.rules, market.instrument, units, terms.price, reference)
        if not units.spot:
            sides = ("long", "short") if account.hedge else ("net",)
            if terms.position_side not in sides:
                raise Refused(Why.POSITION_SIDE)
        shrinks = not units.spot and reduces(terms)
        quantity = self._quantity(account, terms, shrinks=shrinks, triggered=triggered)
        price = terms.price or terms.stop_price or market.stats.last
        waits = bool(terms.stop_price) and not triggered
        if quantity or not waits:
            check_quantity(
                self.rules,
                market.instrument,
                quantity,
                units.notional(price, quantity),
                market=not terms.price,
                reduces=shrinks,
            )
        elif not terms.close_position:
            check_amount(self.rules, market.instrument, terms.quote_quantity)
        if self.rules.post_only_refuses and not terms.stop_price and would_take(terms, terms.price):
            raise Refused(Why.POST_ONLY)
        hold = ZERO
        if not shrinks and (units.spot or not terms.stop_price):
            hold = self._hold_for(account, terms, quantity)
            asset = units.settle or (units.quote if terms.side is Side.BUY else units.base)
            if hold > self.ledger.available(account, asset):
                raise Refused(Why.BALANCE if units.spot else Why.MARGIN)
        return quantity, hold

    def _check_count(self, account: Account, terms: OrderTerms) -> None:
        clients = account.algo_clients if terms.algo else account.clients
        same = clients.get(terms.client_id) if terms.client_id else None
        if same is not None and (self.rules.duplicate_ids == "forever" or same.status.live):
            raise Refused(Why.DUPLICATE)
        if terms.client_id in account.used_clients:
            raise Refused(Why.DUPLICATE)
        rules = self.rules
        most = rules.algo_orders_per_symbol if terms.algo else rules.orders_per_symbol
        symbol = terms.market.instrument.symbol
        if rules.stops_per_symbol and terms.stop_price and not terms.algo:
            found = open_orders(account, symbol, algo=False)
            waiting = sum(order.status is Status.UNTRIGGERED for order in found)
            if waiting >= rules.stops_per_symbol:
                raise Refused(Why.TOO_MANY_STOPS)
        total = len(account.orders)
        if rules.orders_total and total >= rules.orders_total:
            raise Refused(Why.TOO_MANY)
        # Only then can there be so many of this symbol.
        if 0 < most <= total and len(open_orders(account, symbol, terms.algo)) >= most:
            raise Refused(Why.TOO_MANY)

    def _check_trigger(self, terms: OrderTerms) -> None:
        if terms.trigger not in ("last", "mark", "index"):
            raise Refused(Why.PARAMETER, "trigger")
        if terms.stop_price and terms.stop_above is not None:
            units = self.ledger.units(terms.market)
            price = price_for(terms.market, units, terms.trigger)
            met = is_met(units, terms.stop_price, terms.stop_above, price)
            if met and self.rules.would_trigger == "refuse":
                raise Refused(Why.WOULD_TRIGGER)

    def _quantity(
        self, account: Account, terms: OrderTerms, *, shrinks: bool, triggered: bool
    ) -> int:
        quantity = terms.quantity
        waits = terms.stop_price and not triggered
        if terms.quote_quantity and not quantity:
            return 0 if waits else self._lots_for(account, terms)
        if not shrinks or (waits and terms.close_position):
            return quantity
        held = self.ledger.held(account, terms.market, terms.position_side)
        most = max(0, -held * terms.side)
        if terms.close_position:
            quantity = most
        if waits:
            return quantity  # the position may come before the price does
        if not most or (quantity > most and self.rules.reduce_only == "refuse"):
            raise Refused(Why.REDUCE_ONLY)
        return min(quantity, most)

    def _lots_for(self, account: Account, terms: OrderTerms) -> int:
        """Return how many lots a market order gets for its amount of the quote currency."""
        units, amount = self.ledger.units(terms.market), terms.quote_quantity
        lots = 0
        ladder = terms.market.book.ladder(terms.side, account.uid, terms.prevention)
        for price, available in ladder:
            each = units.value(price, 1)
            more = min(available, int(amount // each))
            lots += more
            amount -= each * more
            if more < available:
                break
        return lots

    def _hold_for(
        self, account: Account, terms: OrderTerms, quantity: int, but: Order | None = None
    ) -> Decimal:
        """Return what must be held for an order, whose other open orders are all ``but`` one."""
        market, units = terms.market, self.ledger.units(terms.market)
        if not quantity:
            # By an amount of the quote currency, at its trigger.
            if terms.side is Side.BUY:
                return terms.quote_quantity
            quantity = int(terms.quote_quantity / units.value(terms.stop_price, 1)) + 1
        if units.spot and terms.side is Side.SELL:
            return units.lot * quantity
        if terms.price or terms.stop_price:
            value = units.value(terms.price or terms.stop_price, quantity)
        else:
            found, ticks_lots = market.book.reachable(
                terms.side, None, quantity, account.uid, terms.prevention
            )
            value = ZERO
            if found:
                # An inverse contract's value at the average price is close enough for a margin.
                value = units.value_at(units.tick * ticks_lots / found, found)
            if units.spot:
                return units.tick * ticks_lots * units.worth
        if units.spot:
            return value
        if not self._opening(account, terms, quantity, but):
            return ZERO
        return self.ledger.margin(account, market, value)

    def _opening(
        self, account: Account, terms: OrderTerms, quantity: int, but: Order | None
    ) -> bool:
        """Whether an order may make a position larger: then all of it needs margin."""
        key = (terms.market.instrument.symbol, terms.side, terms.position_side)
        closable = self.ledger.closable(account, key)
        working = account.working.get(key)
        closing = working.lots if working is not None else 0
        if but is not None:
            closing -= but.counted[0]
        return closing + quantity > closable

    def within_position(self, order: Order, quantity: int) -> int:
        """Return the total quantity that an amended order may have if it reduces a position."""
        terms = order.terms
        waits = order.status is Status.UNTRIGGERED
        if waits or self.ledger.units(terms.market).spot or not reduces(terms):
            return quantity
        held = self.ledger.held(order.account, terms.market, terms.position_side)
        most = order.filled + max(0, -held * terms.side)
        if quantity > most and self.rules.reduce_only == "refuse":
            raise Refused(Why.REDUCE_ONLY)
        return min(quantity, most)

    def amendable(self, order: Order, terms: OrderTerms, now_ms: int) -> Decimal:
        """Return what must be held for an amended order; raise Refused."""
        check_terms(terms, now_ms)
        market, units = order.market, self.ledger.units(order.market)
        if terms.price:
            mark = self.ledger.mark(market)
            check_price(self.rules, market.instrument, units, terms.price, mark)
        if terms.stop_price != order.terms.stop_price:
            self._check_trigger(terms)
        notional = units.notional(terms.price or terms.stop_price, terms.quantity)
        shrinks = not units.spot and reduces(terms)
        if terms.quantity:
            check_quantity(
                self.rules,
                market.instrument,
                terms.quantity,
                notional,
                market=not terms.price,
                reduces=shrinks,
            )
        if shrinks or (order.status is Status.UNTRIGGERED and not units.spot):
            return ZERO
        hold = self._hold_for(order.account, terms, terms.quantity - order.filled, order)
        asset = self.ledger.asset_held(order)
        if hold - order.locked > self.ledger.available(order.account, asset):
            raise Refused(Why.BALANCE if units.spot else Why.MARGIN)
        return hold
