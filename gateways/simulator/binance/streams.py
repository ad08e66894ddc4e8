"""What the Binance streams say: outcomes of the matching engine as messages of the venue.

A message is built only if somebody receives its stream, as bytes, once. Depth differences are
collected for each interval whether somebody listens or not, so that their numbers never jump.
"""

from collections.abc import Iterable

from engine.common import Side
from gateways.simulator.binance.dialect import Dialect
from gateways.simulator.hub import Hub
from gateways.simulator.instruments import decimal_text, rounded
from gateways.simulator.market import (
    VALUE_DECIMALS,
    moved_ppm,
    next_funding_ms,
    now_top,
    traded_value,
)
from gateways.simulator.matching import Fill, Outcome, by_price
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.timetable import Timetable

PARTIAL_LEVELS = (5, 10, 20)
SECOND_MS = 1000
DAY_MS = 86_400_000


class DepthInterval:
    """The changes of one book since the last message of one depth interval."""

    __slots__ = ("asks", "bids", "first_id", "interval_ms", "partial_of", "previous_id", "topics")

    def __init__(
        self, interval_ms: int, suffixes: tuple[str, ...], stem: str, book_id: int
    ) -> None:
        self.interval_ms = interval_ms
        self.topics = tuple(f"{stem}@depth{suffix}" for suffix in suffixes)
        self.partial_of = {
            levels: tuple(f"{stem}@depth{levels}{suffix}" for suffix in suffixes)
            for levels in PARTIAL_LEVELS
        }
        self.bids: dict[int, None] = {}
        self.asks: dict[int, None] = {}
        self.first_id = 0
        self.previous_id = book_id


class MarketStreams:
    """All streams of one instrument on one venue."""

    def __init__(self, dialect: Dialect, hub: Hub, market: SimulatedBook) -> None:
        self.dialect = dialect
        self.market = market
        self._hub = hub
        self._symbol = market.instrument.symbol
        stem = self._symbol.lower()
        self._trade = f"{stem}@trade"
        self._agg_trade = f"{stem}@aggTrade"
        self._ticker = f"{stem}@bookTicker"
        self._mark = (f"{stem}@markPrice", f"{stem}@markPrice@1s")
        self._top = now_top(market.book)
        self._aggregates = market.book.last_trade_id // 3
        self._intervals = [
            DepthInterval(ms, self._suffixes(ms), stem, market.book.update_id)
            for ms in dialect.depth_intervals_ms
        ]
        self._forced = f"{stem}@forceOrder"
        self._liquidation = b""  # Of this second: the stream tells only the latest.
        self._day = (f"{stem}@ticker", f"{stem}@miniTicker")
        self._told = 0  # Trades that the day's figures have told of.

    def _suffixes(self, interval_ms: int) -> tuple[str, ...]:
        suffix = f"@{interval_ms}ms"
        return ("", suffix) if interval_ms == self.dialect.depth_intervals_ms[0] else (suffix,)

    def observe(self, outcome: Outcome, now_ms: int) -> None:
        """Publish what happens at once, and collect what is sent by intervals."""
        topics = self._hub.topics
        if outcome.forced and self.dialect.futures:
            self._note_liquidation(outcome, now_ms)
        if outcome.fills:
            if self._trade in topics:
                self._send_trades(outcome.fills, now_ms)
            if self._agg_trade in topics:
                self._send_aggregates(outcome.fills, now_ms)
        if not outcome.changes:
            return
        first_id = outcome.changes[0].update_id
        for interval in self._intervals:
            if not interval.first_id:
                interval.first_id = first_id
            for change in outcome.changes:
                (interval.bids if change.side is Side.BUY else interval.asks)[change.price] = None
        top = now_top(self.market.book)
        if top != self._top:
            self._top = top
            if self._ticker in topics or "!bookTicker" in topics:
                self._send_ticker(now_ms)

    def flush(self, interval_ms: int, now_ms: int) -> None:
        """Send the depth messages of one interval."""
        topics = self._hub.topics
        for interval in self._intervals:
            if interval.interval_ms != interval_ms or not interval.first_id:
                continue
            names = [name for name in interval.topics if name in topics]
            if names:
                payload = self._diff(interval, now_ms)
                for name in names:
                    topics[name].publish(payload)
            for levels, partials in interval.partial_of.items():
                names = [name for name in partials if name in topics]
                if names:
                    payload = self._partial(interval, levels, now_ms)
                    for name in names:
                        topics[name].publish(payload)
            interval.previous_id = self.market.book.update_id
            interval.first_id = 0
            interval.bids.clear()
            interval.asks.clear()

    def mark_price(self, now_ms: int) -> str:
        """Return the event of this second as text."""
        assert self.market.reference is not None
        mark, index, settle = self.prices()
        return (
            f'{{"e":"markPriceUpdate","E":{now_ms},"s":"{self._symbol}","p":"{mark}",'
            f'"P":"{settle}","i":"{index}","r":"{self.rate()}",'
            f'"T":{next_funding_ms(now_ms)},"st":1}}'
        )

    def send_mark(self, now_ms: int, *, every_third: bool, wanted: bool) -> str:
        """Send the mark price to the streams that are due; return its event if it is wanted."""
        names = self._mark if every_third else self._mark[1:]
        topics = [self._hub.topics[name] for name in names if name in self._hub.topics]
        if not topics and not wanted:
            return ""
        text = self.mark_price(now_ms)
        for topic in topics:
            topic.publish(text.encode())
        return text

    def prices(self) -> tuple[str, str, str]:
        """Return mark, index and estimated settlement price, with eight decimals."""
        reference = self.market.reference
        assert reference is not None
        return (
            decimal_text(reference.mark, VALUE_DECIMALS),
            decimal_text(reference.index, VALUE_DECIMALS),
            decimal_text(reference.settle, VALUE_DECIMALS),
        )

    def rate(self) -> str:
        """Return the funding rate, with eight decimals."""
        assert self.market.reference is not None
        return decimal_text(self.market.reference.rate, VALUE_DECIMALS)

    def second(self, now_ms: int, wanted: tuple[bool, bool]) -> tuple[str, str] | None:
        """Send what is sent once a second; return the day's figures if they have changed.

        ``wanted`` says which of the two forms of the figures somebody hears who hears all markets.
        """
        if self._liquidation:
            payload, self._liquidation = self._liquidation, b""
            for name in (self._forced, "!forceOrder@arr"):
                topic = self._hub.topics.get(name)
                if topic is not None:
                    topic.publish(payload)
        if self.market.stats.trades == self._told:
            return None
        self._told = self.market.stats.trades
        topics = [self._hub.topics.get(name) for name in self._day]
        writers = (self._ticker_text, self._mini_text)
        ticker, mini = (
            write(now_ms) if topic is not None or heard else ""
            for write, topic, heard in zip(writers, topics, wanted, strict=True)
        )
        for topic, text in zip(topics, (ticker, mini), strict=True):
            if topic is not None:
                topic.publish(text.encode())
        return ticker, mini

    def _prices_text(self) -> str:
        stats, price = self.market.stats, self.market.instrument.price
        return (
            f'"o":"{price.text(stats.first)}","h":"{price.text(stats.high)}",'
            f'"l":"{price.text(stats.low)}","v":"{self._volume()}","q":"{self._turnover()}"'
        )

    def _volume(self) -> str:
        return self.market.instrument.quantity.text(self.market.stats.volume)

    def _turnover(self) -> str:
        instrument = self.market.instrument
        value, decimals = traded_value(instrument, self.market.stats.turnover)
        wanted = 2 if self.dialect.futures else 8
        return decimal_text(rounded(value, decimals, wanted), wanted)

    def _mini_text(self, now_ms: int) -> str:
        last = self.market.instrument.price.text(self.market.stats.last)
        tail = f',"ps":"{self._symbol}","st":1' if self.dialect.futures else ""
        return (
            f'{{"e":"24hrMiniTicker","E":{now_ms},"s":"{self._symbol}","c":"{last}",'
            f"{self._prices_text()}{tail}}}"
        )

    def _ticker_text(self, now_ms: int) -> str:
        stats, instrument = self.market.stats, self.market.instrument
        price, quantity = instrument.price, instrument.quantity
        moved = price.text(stats.last - stats.first)
        percent = decimal_text(moved_ppm(stats.first, stats.last) // 10, 3)
        average = price.text(stats.turnover // stats.volume)
        last, lots = price.text(stats.last), quantity.text(stats.last_lots)
        head = (
            f'{{"e":"24hrTicker","E":{now_ms},"s":"{self._symbol}","p":"{moved}",'
            f'"P":"{percent}","w":"{average}"'
        )
        tail = (
            f',{self._prices_text()},"O":{now_ms - DAY_MS},"C":{now_ms},'
            f'"F":{stats.first_id},"L":{stats.last_id},"n":{stats.trades}'
        )
        if self.dialect.futures:
            return f'{head},"c":"{last}","Q":"{lots}"{tail},"ps":"{self._symbol}","st":1}}'
        bid, bid_lots, ask, ask_lots = self._top
        return (
            f'{head},"x":"{price.text(stats.first)}","c":"{last}","Q":"{lots}",'
            f'"b":"{price.text(bid)}","B":"{quantity.text(bid_lots)}",'
            f'"a":"{price.text(ask)}","A":"{quantity.text(ask_lots)}"{tail}}}'
        )

    def _note_liquidation(self, outcome: Outcome, now_ms: int) -> None:
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        order, fills = outcome.order, outcome.fills
        filled = order.quantity - order.remaining
        value = sum(fill.price * fill.quantity for fill in fills)
        last = fills[-1].quantity if fills else 0
        self._liquidation = (
            f'{{"e":"forceOrder","E":{now_ms},"o":{{"s":"{self._symbol}","S":"{order.side.name}",'
            f'"o":"LIMIT","f":"IOC","q":"{quantity.text(order.quantity)}",'
            f'"p":"{price.text(order.price)}","ap":"{price.text(value // max(filled, 1))}",'
            f'"X":"{"EXPIRED" if order.remaining else "FILLED"}","l":"{quantity.text(last)}",'
            f'"z":"{quantity.text(filled)}","T":{now_ms}}}}}'
        ).encode()

    def levels(self, side: Side, limit: int | None) -> list[list[str]]:
        """Return the best levels as the venue writes them."""
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        return [
            [price.text(ticks), quantity.text(lots)]
            for ticks, lots in self.market.book.depth(side, limit)
        ]

    def _send_trades(self, fills: list[Fill], now_ms: int) -> None:
        topic = self._hub.topics[self._trade]
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        futures = self.dialect.futures
        for fill in fills:
            maker_buys = "false" if fill.taker.side is Side.BUY else "true"
            values = (
                f'"s":"{self._symbol}","t":{fill.trade_id},"p":"{price.text(fill.price)}",'
                f'"q":"{quantity.text(fill.quantity)}"'
            )
            if futures:
                text = (
                    f'{{"e":"trade","E":{now_ms},"T":{now_ms},{values},'
                    f'"X":"MARKET","m":{maker_buys}}}'
                )
            else:
                text = (
                    f'{{"e":"trade","E":{now_ms},{values},"T":{now_ms},"m":{maker_buys},"M":true}}'
                )
            topic.publish(text.encode())

    def _send_aggregates(self, fills: list[Fill], now_ms: int) -> None:
        topic = self._hub.topics[self._agg_trade]
        for first, last, lots, _ in by_price(fills):
            self._aggregates += 1
            maker_buys = "false" if first.taker.side is Side.BUY else "true"
            price = self.market.instrument.price.text(first.price)
            values = (
                f'"p":"{price}","q":"{self.market.instrument.quantity.text(lots)}",'
                f'"f":{first.trade_id},"l":{last.trade_id},"T":{now_ms},"m":{maker_buys}'
            )
            head = f'{{"e":"aggTrade","E":{now_ms},'
            if self.dialect.futures:
                text = f'{head}"a":{self._aggregates},"s":"{self._symbol}",{values}}}'
            else:
                text = f'{head}"s":"{self._symbol}","a":{self._aggregates},{values},"M":true}}'
            topic.publish(text.encode())

    def _send_ticker(self, now_ms: int) -> None:
        bid, bid_lots, ask, ask_lots = self._top
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        values = (
            f'"u":{self.market.book.update_id},"s":"{self._symbol}",'
            f'"b":"{price.text(bid)}","B":"{quantity.text(bid_lots)}",'
            f'"a":"{price.text(ask)}","A":"{quantity.text(ask_lots)}"'
        )
        if self.dialect.futures:
            # Since 2026 events also name pair and symbol type, at no fixed place.
            text = (
                f'{{"e":"bookTicker",{values},"T":{now_ms},"E":{now_ms},'
                f'"st":1,"ps":"{self._symbol}"}}'
            )
        else:
            text = f"{{{values}}}"
        payload = text.encode()
        for name in (self._ticker, "!bookTicker"):
            topic = self._hub.topics.get(name)
            if topic is not None:
                topic.publish(payload)

    def _diff(self, interval: DepthInterval, now_ms: int) -> bytes:
        bids = self._changed(Side.BUY, interval.bids)
        asks = self._changed(Side.SELL, interval.asks)
        return self._depth_update(interval, bids, asks, now_ms)

    def _partial(self, interval: DepthInterval, levels: int, now_ms: int) -> bytes:
        bids = _join(self.levels(Side.BUY, levels))
        asks = _join(self.levels(Side.SELL, levels))
        if self.dialect.futures:
            return self._depth_update(interval, bids, asks, now_ms)
        last_id = self.market.book.update_id
        return f'{{"lastUpdateId":{last_id},"bids":[{bids}],"asks":[{asks}]}}'.encode()

    def _depth_update(self, interval: DepthInterval, bids: str, asks: str, now_ms: int) -> bytes:
        last_id = self.market.book.update_id
        if self.dialect.futures:
            return (
                f'{{"e":"depthUpdate","E":{now_ms},"T":{now_ms},"s":"{self._symbol}",'
                f'"ps":"{self._symbol}","st":1,"U":{interval.first_id},'
                f'"u":{last_id},"pu":{interval.previous_id},'
                f'"b":[{bids}],"a":[{asks}]}}'
            ).encode()
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"s":"{self._symbol}","U":{interval.first_id},'
            f'"u":{last_id},"b":[{bids}],"a":[{asks}]}}'
        ).encode()

    def _changed(self, side: Side, prices: dict[int, None]) -> str:
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        levels = self.market.book.side(side).levels
        parts = []
        for ticks in sorted(prices, reverse=side is Side.BUY):
            level = levels.get(ticks)
            lots = level.quantity if level is not None else 0
            parts.append(f'["{price.text(ticks)}","{quantity.text(lots)}"]')
        return ",".join(parts)


def _join(levels: list[list[str]]) -> str:
    return ",".join(f'["{price}","{quantity}"]' for price, quantity in levels)


class VenueStreams:
    """The streams of all instruments of one venue, and their timetable."""

    def __init__(self, dialect: Dialect, hub: Hub, markets: list[SimulatedBook]) -> None:
        self.dialect = dialect
        self.hub = hub
        self.markets = {
            market.instrument.symbol: MarketStreams(dialect, hub, market) for market in markets
        }
        self._table = Timetable(dialect.depth_intervals_ms)
        self._seconds = Timetable((SECOND_MS,))
        self._marks = 0

    def tick(self, now_ms: int) -> None:
        """Send what is due by the clock."""
        for interval_ms in self._table.due(now_ms):
            for market in self.markets.values():
                market.flush(interval_ms, now_ms)
        if self._seconds.due(now_ms):
            if self.dialect.futures:
                self._send_marks(now_ms)
            every, mini = (name in self.hub.topics for name in _ALL_DAYS)
            figures = [market.second(now_ms, (every, mini)) for market in self.markets.values()]
            changed = [texts for texts in figures if texts is not None]
            if changed:
                for name, texts in zip(_ALL_DAYS, zip(*changed, strict=True), strict=True):
                    self._publish(name, texts)

    def _send_marks(self, now_ms: int) -> None:
        every_third = self._marks % 3 == 0
        self._marks += 1
        names = ("!markPrice@arr", "!markPrice@arr@1s")[0 if every_third else 1 :]
        wanted = any(name in self.hub.topics for name in names)
        texts = [
            market.send_mark(now_ms, every_third=every_third, wanted=wanted)
            for market in self.markets.values()
        ]
        for name in names:
            self._publish(name, texts)

    def _publish(self, name: str, texts: Iterable[str]) -> None:
        topic = self.hub.topics.get(name)
        if topic is not None:
            topic.publish(f"[{','.join(texts)}]".encode())


_ALL_DAYS = ("!ticker@arr", "!miniTicker@arr")
