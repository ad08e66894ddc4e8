"""Queries for orders and fills, closing a position, and the dead-man switch."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import Account, Order, OrderTerms, Refused
from gateways.simulator.okx.codes import no_order, parameter, place_error
from gateways.simulator.okx.dialect import TYPES, type_of
from gateways.simulator.okx.orders import OrderDesk, position_side
from gateways.simulator.okx.parameters import CLIENT_ID, TAG, Parameters
from gateways.simulator.okx.shapes import Json, family_of, state_of, stored_fill, stored_order
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook

PAGE = 100
SWITCH_S = (10, 120)
"""The shortest and the longest time of a dead-man switch."""
TAGS_MOST = 20


class TradeRest:
    """Endpoints of ``/api/v5/trade`` that are not order requests of their own."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk
        self._tags: dict[int, set[str]] = {}

    def endpoints(self) -> list[tuple[Any, ...]]:
        """Return method, path, call, limit, whether orders, whether per instrument."""
        trade = "/api/v5/trade"
        return [
            ("GET", f"{trade}/order", self._order, (60, 2.0), False, True),
            ("GET", f"{trade}/orders-pending", self._pending, (60, 2.0)),
            ("GET", f"{trade}/orders-history", self._history, (40, 2.0)),
            ("GET", f"{trade}/orders-history-archive", self._history, (20, 2.0)),
            ("GET", f"{trade}/fills", self._fills, (60, 2.0)),
            ("GET", f"{trade}/fills-history", self._fills, (10, 2.0)),
            ("GET", f"{trade}/account-rate-limit", self._rate_limit, (1, 1.0)),
            ("POST", f"{trade}/close-position", self._close, (20, 2.0), True, True),
            ("POST", f"{trade}/cancel-all-after", self._cancel_all_after, (1, 0.9), True),
        ]

    def _order(self, account: Account, fields: Parameters) -> list[Json]:
        return [stored_order(self._desk.find(account, fields, no_order()))]

    def _pending(self, account: Account, fields: Parameters) -> list[Json]:
        live = self._desk.trading.open_orders(account, fields.text("instId"), algo=False)
        live.reverse()
        return self._page(live, fields)

    def _history(self, account: Account, fields: Parameters) -> list[Json]:
        wanted = fields.one_of("state", ("canceled", "filled", "mmp_canceled", "any"), "any")
        ended = (
            order
            for order in reversed(account.history)
            if not order.terms.algo and wanted in ("any", state_of(order))
        )
        return self._page(ended, fields)

    def _page(self, orders: Iterable[Order], fields: Parameters) -> list[Json]:
        kind = fields.one_of("ordType", ORDER_TYPES, "any")
        fits = fitting(fields)
        begin, end = fields.whole("begin"), fields.whole("end", 1 << 62)
        after, before = fields.whole("after", 1 << 62), fields.whole("before")
        found = (
            stored_order(order)
            for order in orders
            if fits(order.market)
            and before < order.id < after
            and begin <= order.created_ms <= end
            and (kind == "any" or order.terms.extra.get("ordType") in kind.split(","))
        )
        return list(islice(found, page_size(fields)))

    def _fills(self, account: Account, fields: Parameters) -> list[Json]:
        fits = fitting(fields)
        begin, end = fields.whole("begin"), fields.whole("end", 1 << 62)
        after, before = fields.whole("after", 1 << 62), fields.whole("before")
        number = fields.whole("ordId")
        found = (
            stored_fill(fill)
            for fill in reversed(account.fills)
            if fits(fill.order.market)
            and before < fill.sequence < after
            and begin <= fill.time_ms <= end
            and (not number or fill.order.id == number)
        )
        return list(islice(found, page_size(fields)))

    def _rate_limit(self, account: Account, fields: Parameters) -> list[Json]:
        return [
            {
                "accRateLimit": "1000",
                "fillRatio": "",
                "mainFillRatio": "",
                "nextAccRateLimit": "",
                "ts": str(self._desk.now_ms()),
            }
        ]

    def _close(self, account: Account, fields: Parameters) -> list[Json]:
        trading, now_ms = self._desk.trading, self._desk.now_ms()
        market = fields.market(trading)
        symbol = market.instrument.symbol
        if market.reference is None:
            raise parameter("instId")
        fields.one_of("mgnMode", ("cross", "isolated"))
        side = position_side(account, fields, spot=False)
        position = account.positions.get((symbol, side))
        if position is None or not position.lots:
            raise ApiError(51023, "Position doesn't exist.")
        closing = Side.SELL if position.lots > 0 else Side.BUY
        pending = [
            order
            for order in trading.open_orders(account, symbol, algo=False)
            if order.terms.side is closing and order.terms.position_side == side
        ]
        if pending and not fields.flag("autoCxl"):
            raise ApiError(51115, "Cancel all pending close-orders before liquidation.", 429)
        client, tag = fields.matching("clOrdId", CLIENT_ID), fields.matching("tag", TAG)
        for order in pending:
            trading.cancel(order, now_ms)
        terms = OrderTerms(
            market=market,
            side=closing,
            type=OrderType.MARKET,
            time_in_force=TimeInForce.IOC,
            quantity=abs(position.lots),
            reduce_only=True,
            position_side=side,
            client_id=client,
            tag=tag,
            extra={
                "ordType": "market",
                "tdMode": "isolated" if position.isolated else "cross",
            },
        )
        try:
            trading.place(account, terms, now_ms)
        except Refused as refused:
            raise place_error(refused, market, buys=closing is Side.BUY) from None
        return [
            {"clOrdId": client, "instId": symbol, "posSide": side, "tag": tag},
        ]

    def _cancel_all_after(self, account: Account, fields: Parameters) -> list[Json]:
        text = fields.needed("timeOut")
        seconds = fields.whole("timeOut")
        shortest, longest = SWITCH_S
        if seconds and not shortest <= seconds <= longest:
            raise parameter("timeOut")
        tag = fields.matching("tag", TAG)
        tags = self._tags.setdefault(account.uid, set())
        trading, now_ms = self._desk.trading, self._desk.now_ms()
        tags -= {each for each in tags if not trading.dead_man.deadline(account, f"tag:{each}")}
        if tag and seconds:
            if tag not in tags and len(tags) >= TAGS_MOST:
                raise ApiError(51071, "You've reached the maximum limit for tag level cancels.")
            tags.add(tag)
        trading.arm(account, f"tag:{tag}" if tag else "", seconds * 1000, now_ms)
        triggered = str(now_ms + seconds * 1000) if text != "0" else "0"
        return [{"triggerTime": triggered, "tag": tag, "ts": str(now_ms)}]


ORDER_TYPES = ("any", "market", "limit", "post_only", "fok", "ioc", "optimal_limit_ioc")


def page_size(fields: Parameters) -> int:
    """Return how many entries a query asks for: at most a page."""
    return min(fields.whole("limit", PAGE) or PAGE, PAGE)


def fitting(fields: Parameters) -> Callable[[SimulatedBook], bool]:
    """Return what tells whether an instrument is one that a query is about."""
    kind = fields.one_of("instType", ("ANY", *TYPES), "ANY")
    name, family = fields.text("instId"), fields.text("instFamily") or fields.text("uly")

    def fits(market: SimulatedBook) -> bool:
        return (
            kind in ("ANY", type_of(market.instrument))
            and name in ("", market.instrument.symbol)
            and family in ("", family_of(market))
        )

    return fits
