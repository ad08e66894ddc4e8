"""A market maker that quotes both sides of every book it is given: the demo's, and an example.

It joins the best prices with small post-only orders, and moves them when the market has moved. What
it may do is not its business: position limits and rates are the OMS', and its denials are part of
the game. It shows the Python way to trade: market data from the rings, orders through ``Trader``.
"""

import contextlib
import time
from typing import Any

import msgspec
import numpy as np

from engine.agent import AgentContext
from engine.common import OrderType, Side, TimeInForce
from engine.config import settings, takes
from engine.errors import RingFull, SegmentError
from engine.ring import RingReader
from engine.table import TableReader
from feeds.types import BOOK_TOP, INSTRUMENT, BookState, Kind
from oms.client import Trader
from oms.types import Deny, IntentAction, OrderState, UpdateKind

WAIT_S = 60.0
UNIT = 10**8


class MakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the sample."""

    strategy: str = "maker"
    venues: tuple[str, ...] = ()
    """Quote only on these; on all that the OMS has accounts for if there is none."""
    notional: int = 200
    """Of each order, about, in the quote currency."""
    requote_ms: int = 1000
    """The least time between two changes of a quote."""
    after_denial_ms: int = 2000
    """How long a side rests after a denial."""


class Quote:
    """One side of one instrument."""

    __slots__ = ("number", "price", "rests_until", "wants_end")

    def __init__(self) -> None:
        self.number = self.price = 0
        self.rests_until = 0.0
        self.wants_end = False


class Market:
    """One instrument: its terms, its best prices, our two quotes."""

    def __init__(self, number: int, row: np.void) -> None:
        self.number = number
        self.kind = int(row["kind"])
        self.tick, self.lot = max(1, int(row["tick"])), max(1, int(row["lot"]))
        self.minimum = max(int(row["minimum_quantity"]), self.lot)
        self._scale = 10 ** (int(row["price_decimals"]) + int(row["quantity_decimals"]))
        self._value = UNIT if self.kind == Kind.SPOT else int(row["contract_value"])
        self._quantity_unit = 10 ** int(row["quantity_decimals"])
        self.bid = self.ask = self.published_ns = 0
        self.quotes = {Side.BUY: Quote(), Side.SELL: Quote()}

    def quantity(self, notional: int) -> int:
        """Return a quantity that is worth about ``notional`` quote units."""
        if self.kind in (Kind.INVERSE_PERPETUAL, Kind.INVERSE_FUTURE):
            units = notional * UNIT * self._quantity_unit // self._value
        else:
            units = notional * UNIT * self._scale // (max(self.bid, 1) * self._value)
        return int(max(self.minimum, -(-units // self.lot) * self.lot))


class MarketMaker:
    """``engine.agent.Agent``; see the module."""

    def __init__(self, context: AgentContext) -> None:
        self.name, self.bell = context.name, None
        self._context, self._settings = context, settings(MakerSettings, context)
        self._markets: dict[int, Market] = {}
        self._orders: dict[int, tuple[Market, Side]] = {}
        counters = context.counters
        self._values = counters.values
        self._quotes = counters.counter("quotes", "intents")
        self._refused = counters.counter("denied", "intents")
        self._trades = counters.counter("fills", "trades")
        self._trader: Trader | None = None
        self._tops: RingReader | None = None
        self._instruments: TableReader | None = None

    def start(self) -> None:
        """Attach to the worker and to the OMS, waiting for both."""
        instance = self._context.instance
        self._tops = RingReader.attach(instance, "md.top", BOOK_TOP, wait_s=WAIT_S)
        self._instruments = TableReader.attach(
            instance, "md.instruments", INSTRUMENT, wait_s=WAIT_S
        )
        self._trader = Trader.open(instance, self._settings.strategy, WAIT_S)
        for order in self._trader.open_orders():
            # Of a predecessor: whoever comes back begins with a clean book.
            self._trader.cancel(int(order["number"]))

    def do_work(self) -> int:
        """Take in prices and updates, and quote where the market has moved."""
        assert self._tops is not None
        assert self._trader is not None
        batch = self._tops.poll(1024)
        moved: set[int] = set()
        for record in batch.copy() if len(batch) else ():
            if record["state"] == BookState.LIVE and record["bid_price"] and record["ask_price"]:
                market = self._market(int(record["instrument"]))
                if market is not None:
                    market.bid, market.ask = int(record["bid_price"]), int(record["ask_price"])
                    market.published_ns = int(record["published_ns"])
                    moved.add(market.number)
        updates = self._trader.updates()
        for update in updates:
            self._take(update)
        now = time.monotonic()
        for number in moved:
            self._quote(self._markets[number], now)
        return len(batch) + len(updates)

    def _market(self, number: int) -> Market | None:
        market = self._markets.get(number)
        if market is None and self._instruments is not None:
            with contextlib.suppress(SegmentError):
                row = self._instruments.read(number)
                venues = self._settings.venues
                if row["native"] and (not venues or bytes(row["venue"]).decode() in venues):
                    market = self._markets[number] = Market(number, row)
        return market

    def _take(self, update: Any) -> None:  # noqa: ANN401 - an UPDATE
        """Take note of what became of a quote."""
        number, kind = int(update["number"]), int(update["kind"])
        if kind == UpdateKind.FILL:
            self._values[self._trades] += 1
        known = self._orders.get(number)
        if known is None:
            return
        market, side = known
        quote, state = market.quotes[side], int(update["state"])
        if kind == UpdateKind.DENIED and update["action"] == IntentAction.NEW:
            self._values[self._refused] += 1
            quote.rests_until = time.monotonic() + self._settings.after_denial_ms / 1000
            self._end(number, quote)
        elif kind == UpdateKind.CANCEL_REJECTED or (
            kind == UpdateKind.DENIED and update["reason"] != Deny.ORDER_ENDED
        ):
            quote.wants_end = False
        elif state >= OrderState.FILLED and state != OrderState.LOST:
            self._end(number, quote)

    def _end(self, number: int, quote: Quote) -> None:
        self._orders.pop(number, None)
        if quote.number == number:
            quote.number, quote.wants_end = 0, False

    def _quote(self, market: Market, now: float) -> None:
        """Bring both sides up to the market."""
        for side, price in ((Side.BUY, market.bid), (Side.SELL, market.ask)):
            quote = market.quotes[side]
            if now < quote.rests_until or quote.wants_end:
                continue
            if quote.number:
                if abs(quote.price - price) > 2 * market.tick:
                    self._cancel(quote)
                    quote.rests_until = now + self._settings.requote_ms / 1000
                continue
            self._place(market, side, quote, price // market.tick * market.tick)
            quote.rests_until = now + self._settings.requote_ms / 1000

    def _place(self, market: Market, side: Side, quote: Quote, price: int) -> None:
        assert self._trader is not None
        try:
            quote.number = self._trader.intent(
                IntentAction.NEW,
                instrument=market.number,
                side=side,
                price=price,
                quantity=market.quantity(self._settings.notional),
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.POST_ONLY,
                cause_ns=market.published_ns,
            )
        except RingFull:
            return
        quote.price = price
        self._orders[quote.number] = market, side
        self._values[self._quotes] += 1

    def _cancel(self, quote: Quote) -> None:
        assert self._trader is not None
        with contextlib.suppress(RingFull):
            self._trader.cancel(quote.number)
            quote.wants_end = True

    def heartbeat(self) -> None:
        """Say that the strategy is well."""
        if self._trader is not None:
            self._trader.heartbeat()

    def close(self) -> None:
        """Cancel what is open and let go of everything."""
        if self._trader is not None:
            with contextlib.suppress(RingFull):
                self._trader.cancel_all()
            self._trader.close()
        for reader in (self._tops, self._instruments):
            if reader is not None:
                reader.close()


@takes(MakerSettings)
def make(context: AgentContext) -> MarketMaker:
    """Return the agent of kind ``market-maker``: entry point ``trade_infra.agents``."""
    return MarketMaker(context)
