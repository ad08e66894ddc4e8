"""What the OKX channels say: outcomes of the matching engine as messages of the venue.

A message is built only if somebody receives it, as bytes, once for all. Numbers of a book
(``seqId``) are those of the matching engine, so that all channels and connections agree.
"""

import zlib

from engine.common import Side
from gateways.simulator.depth import DepthView, Row
from gateways.simulator.faults import FaultPlan
from gateways.simulator.hub import Client, Hub, Topic
from gateways.simulator.instruments import Listing, Market, decimal_text, rounded, short_text
from gateways.simulator.market import (
    FUNDING_INTERVAL_MS,
    HIGHEST_RATE,
    VALUE_DECIMALS,
    held_value,
    next_funding_ms,
    now_top,
    traded_value,
)
from gateways.simulator.matching import Fill, Outcome, by_price
from gateways.simulator.okx.dialect import (
    BOOK_CHANNELS,
    BookChannel,
    index_of,
    topic_of,
    type_of,
)
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.timetable import Timetable

TICKER_MS, PRICE_MS, INTEREST_MS, FUNDING_MS = 100, 200, 3_000, 30_000
CHECKSUM_LEVELS = 25


class BookStream:
    """One book channel of one instrument: what its subscribers know, and under which number."""

    __slots__ = ("channel", "head", "live", "quiet_since_ms", "seq", "topic", "view")

    def __init__(self, channel: BookChannel, market: SimulatedBook) -> None:
        symbol = market.instrument.symbol
        self.channel = channel
        self.topic = topic_of(channel.name, symbol)
        self.head = f'{{"arg":{{"channel":"{channel.name}","instId":"{symbol}"}},'
        self.view = DepthView(market.book, channel.levels)
        self.live = False
        self.seq = 0
        self.quiet_since_ms = 0


class MarketStreams:
    """All channels of one instrument."""

    def __init__(
        self, hub: Hub, plan: FaultPlan, market: SimulatedBook, keep_alive_ms: int
    ) -> None:
        instrument = market.instrument
        self.market = market
        self.symbol = instrument.symbol
        self.type = type_of(instrument)
        self._hub = hub
        self._plan = plan
        self._keep_alive_ms = keep_alive_ms
        self._lowered = 0  # By how much seqId is below the book's own number.
        self._books = [BookStream(channel, market) for channel in BOOK_CHANNELS]
        self._by_topic = {stream.topic: stream for stream in self._books}
        self._told: dict[str, object] = {}  # Topic -> the state that it told last.
        self._trades = topic_of("trades", self.symbol)
        self._all_trades = topic_of("trades-all", self.symbol)
        self._forced = topic_of("liquidation-orders", self.type)
        self.speaks_for_index = True

    def seq(self) -> int:
        """Return the present number of the book."""
        return self.market.book.update_id - self._lowered

    def reset_sequence(self) -> None:
        """Go on with lower numbers, as after the venue's maintenance."""
        self._lowered = self.market.book.update_id - self.seq() // 2

    def observe(self, outcome: Outcome, now_ms: int) -> None:
        """Publish trades, and note what books will tell."""
        topics = self._hub.topics
        if outcome.fills:
            if self._trades in topics:
                self._send_trades(topics[self._trades], "trades", outcome.fills, now_ms)
            if self._all_trades in topics:
                self._send_trades(topics[self._all_trades], "trades-all", outcome.fills, now_ms)
        if outcome.forced and self._forced in topics:
            topics[self._forced].publish(self._liquidation(outcome, now_ms))
        for stream in self._books:
            if stream.live:
                stream.view.touch(outcome.changes)

    def flush_books(self, interval_ms: int, now_ms: int) -> None:
        """Send the books of one interval."""
        for stream in self._books:
            if stream.channel.interval_ms != interval_ms or not stream.live:
                continue
            topic = self._hub.topics.get(stream.topic)
            if topic is None:
                stream.live = False  # Nobody listens: the next subscriber begins afresh.
                continue
            payload = self._book_update(stream, now_ms)
            if payload:
                stream.quiet_since_ms = now_ms
                topic.publish(payload)

    def flush_state(self, interval_ms: int, now_ms: int) -> None:
        """Send tickers, prices and the like of one interval, where they have changed."""
        for channel, due_ms in _STATE_CHANNELS.items():
            if due_ms != interval_ms or (channel == "index-tickers" and not self.speaks_for_index):
                continue
            name = topic_of(channel, self._subject(channel))
            topic = self._hub.topics.get(name)
            if topic is None:
                continue
            state = self._state(channel, now_ms)
            if state is not None and self._told.get(name) != state:
                self._told[name] = state
                topic.publish(self._state_message(channel, now_ms))

    def greet(self, client: Client, topic: Topic, channel: str, now_ms: int) -> None:
        """Send what a new subscriber gets at once."""
        stream = self._by_topic.get(topic.name)
        if stream is not None:
            if not stream.live:
                stream.view.reset()
                stream.live = True
                stream.seq = self.seq()
                stream.quiet_since_ms = now_ms
            topic.send(client, self._book_snapshot(stream, now_ms))
        elif channel in _STATE_CHANNELS and self._state(channel, now_ms) is not None:
            topic.send(client, self._state_message(channel, now_ms))

    def rows(self, side: Side, limit: int | None) -> list[list[str]]:
        """Return the best levels of the true book as the venue writes them."""
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        found: list[list[str]] = []
        for level in self.market.book.side(side):
            if len(found) == limit:
                break
            orders = str(len(level.orders))
            found.append([price.text(level.price), quantity.text(level.quantity), "0", orders])
        return found

    def _subject(self, channel: str) -> str:
        return index_of(self.market.instrument) if channel == "index-tickers" else self.symbol

    def _book_update(self, stream: BookStream, now_ms: int) -> bytes:
        """Return the next message of a book, empty if there is nothing to say."""
        changed = stream.view.changed
        bids, asks = stream.view.difference() if changed else ([], [])
        previous = stream.seq
        if stream.channel.whole:
            if not bids and not asks:
                return b""
            stream.seq = self.seq()
            return self._whole(stream, now_ms)
        if bids or asks:
            stream.seq = self.seq()
        elif now_ms - stream.quiet_since_ms < self._keep_alive_ms:
            return b""
        data = self._data(bids, asks, now_ms)
        return (
            f'{stream.head}"action":"update","data":[{data},"checksum":{self._checksum(stream)},'
            f'"seqId":{stream.seq},"prevSeqId":{previous}}}]}}'
        ).encode()

    def _book_snapshot(self, stream: BookStream, now_ms: int) -> bytes:
        if stream.channel.whole:
            return self._whole(stream, now_ms)
        bids, asks = stream.view.rows(Side.BUY), stream.view.rows(Side.SELL)
        return (
            f'{stream.head}"action":"snapshot","data":[{self._data(bids, asks, now_ms)},'
            f'"checksum":{self._checksum(stream)},"seqId":{stream.seq},"prevSeqId":-1}}]}}'
        ).encode()

    def _whole(self, stream: BookStream, now_ms: int) -> bytes:
        bids, asks = stream.view.rows(Side.BUY), stream.view.rows(Side.SELL)
        name = f'"instId":"{self.symbol}",' if stream.channel.levels > 1 else ""
        return (
            f'{stream.head}"data":[{{"asks":[{self._rows(asks)}],"bids":[{self._rows(bids)}],'
            f'{name}"ts":"{now_ms}","seqId":{stream.seq}}}]}}'
        ).encode()

    def _data(self, bids: list[Row], asks: list[Row], now_ms: int) -> str:
        return f'{{"asks":[{self._rows(asks)}],"bids":[{self._rows(bids)}],"ts":"{now_ms}"'

    def _rows(self, rows: list[Row]) -> str:
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        return ",".join(
            f'["{price.text(ticks)}","{quantity.text(lots)}","0","{orders}"]'
            for ticks, lots, orders in rows
        )

    def _checksum(self, stream: BookStream) -> int:
        wanted = self._plan.faults.checksum
        if wanted == "zero":
            return 0
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        sides = [stream.view.rows(side, CHECKSUM_LEVELS) for side in (Side.BUY, Side.SELL)]
        texts = []
        for place in range(CHECKSUM_LEVELS):
            for rows in sides:
                if place < len(rows):
                    texts += [price.text(rows[place][0]), quantity.text(rows[place][1])]
        value = zlib.crc32(":".join(texts).encode()) ^ (wanted == "wrong")
        return value - (1 << 32) if value >> 31 else value

    def _send_trades(self, topic: Topic, channel: str, fills: list[Fill], now_ms: int) -> None:
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        head = f'{{"arg":{{"channel":"{channel}","instId":"{self.symbol}"}},"data":['
        merged = channel == "trades"
        each = by_price(fills) if merged else [(fill, fill, fill.quantity, 1) for fill in fills]
        for _, last, lots, count in each:
            side = "buy" if last.taker.side is Side.BUY else "sell"
            tail = f',"count":"{count}","source":"0","seqId":{self.seq()}' if merged else ""
            topic.publish(
                (
                    f'{head}{{"instId":"{self.symbol}","tradeId":"{last.trade_id}",'
                    f'"px":"{price.text(last.price)}","sz":"{quantity.text(lots)}",'
                    f'"side":"{side}","ts":"{now_ms}"{tail}}}]}}'
                ).encode()
            )

    def _liquidation(self, outcome: Outcome, now_ms: int) -> bytes:
        instrument, order = self.market.instrument, outcome.order
        side, position = ("buy", "short") if order.side is Side.BUY else ("sell", "long")
        family = index_of(instrument)
        return (
            f'{{"arg":{{"channel":"liquidation-orders","instType":"{self.type}"}},"data":['
            f'{{"details":[{{"bkLoss":"0","bkPx":"{instrument.price.text(order.price)}",'
            f'"ccy":"","posSide":"{position}","side":"{side}",'
            f'"sz":"{instrument.quantity.text(order.quantity)}","ts":"{now_ms}"}}],'
            f'"instFamily":"{family}","instId":"{self.symbol}","instType":"{self.type}",'
            f'"uly":"{family}"}}]}}'
        ).encode()

    def _state(self, channel: str, now_ms: int) -> object:
        """Return what a channel tells of, to see whether it has changed; None if nothing."""
        reference = self.market.reference
        if channel == "tickers":
            return self.market.stats.last_id, now_top(self.market.book)
        if channel == "index-tickers":
            return self._price(self._index())
        if channel == "mark-price":
            return self._price(reference.mark if reference is not None else self._index())
        if reference is None:
            return None
        return reference.open_interest if channel == "open-interest" else now_ms // FUNDING_MS

    def _state_message(self, channel: str, now_ms: int) -> bytes:
        write = {
            "tickers": self._ticker,
            "index-tickers": self._index_ticker,
            "mark-price": self._mark_price,
            "funding-rate": self._funding_rate,
            "open-interest": self._open_interest,
        }[channel]
        subject = self._subject(channel)
        return (
            f'{{"arg":{{"channel":"{channel}","instId":"{subject}"}},'
            f'"data":[{{{write(now_ms)},"ts":"{now_ms}"}}]}}'
        ).encode()

    def _price(self, value: int) -> str:
        """Write a price of ``VALUE_DECIMALS`` with the places of the ticks, as the venue does."""
        decimals = self.market.instrument.price.decimals
        return short_text(rounded(value, VALUE_DECIMALS, decimals), decimals)

    def _index(self) -> int:
        return int(self.market.fair.price * 10**VALUE_DECIMALS)

    def _ticker(self, now_ms: int) -> str:
        instrument, stats = self.market.instrument, self.market.stats
        price, quantity = instrument.price, instrument.quantity
        bid, bid_lots, ask, ask_lots = now_top(self.market.book)
        first = price.text(stats.first)
        if instrument.market is Market.LINEAR:
            value, decimals = held_value(instrument, stats.volume)
        elif instrument.market is Market.INVERSE:
            value, decimals = held_value(instrument, stats.volume)
            value, decimals = value * 10**16 // self._index(), decimals + 8
        else:
            value, decimals = traded_value(instrument, stats.turnover)
        return (
            f'"instType":"{self.type}","instId":"{self.symbol}","last":"{price.text(stats.last)}",'
            f'"lastSz":"{quantity.text(stats.last_lots)}","askPx":"{price.text(ask)}",'
            f'"askSz":"{quantity.text(ask_lots)}","bidPx":"{price.text(bid)}",'
            f'"bidSz":"{quantity.text(bid_lots)}","open24h":"{first}",'
            f'"high24h":"{price.text(stats.high)}","low24h":"{price.text(stats.low)}",'
            f'"sodUtc0":"{first}","sodUtc8":"{first}",'
            f'"volCcy24h":"{short_text(rounded(value, decimals, 8), 8)}",'
            f'"vol24h":"{quantity.text(stats.volume)}"'
        )

    def _index_ticker(self, now_ms: int) -> str:
        price, stats = self.market.instrument.price, self.market.stats
        first = price.text(stats.first)
        return (
            f'"instId":"{index_of(self.market.instrument)}","idxPx":"{self._price(self._index())}",'
            f'"high24h":"{price.text(stats.high)}","sodUtc0":"{first}","open24h":"{first}",'
            f'"low24h":"{price.text(stats.low)}","sodUtc8":"{first}"'
        )

    def _mark_price(self, now_ms: int) -> str:
        reference = self.market.reference
        mark = self._price(reference.mark if reference is not None else self._index())
        kind = self.type if reference is not None else "MARGIN"
        return f'"instType":"{kind}","instId":"{self.symbol}","markPx":"{mark}"'

    def _funding_rate(self, now_ms: int) -> str:
        reference = self.market.reference
        assert reference is not None
        due_ms = next_funding_ms(now_ms)
        highest = short_text(HIGHEST_RATE, VALUE_DECIMALS)
        premium = (reference.mark - reference.index) * 10**VALUE_DECIMALS // reference.index
        rate = decimal_text(reference.rate, VALUE_DECIMALS)
        return (
            f'"formulaType":"noRate","fundingRate":"{rate}","fundingTime":"{due_ms}",'
            f'"impactValue":"20000","instId":"{self.symbol}","instType":"{self.type}",'
            f'"interestRate":"0.0001","method":"current_period","maxFundingRate":"{highest}",'
            f'"minFundingRate":"-{highest}","nextFundingRate":"",'
            f'"nextFundingTime":"{due_ms + FUNDING_INTERVAL_MS}",'
            f'"premium":"{decimal_text(premium, VALUE_DECIMALS)}",'
            f'"settFundingRate":"{rate}","settState":"settled"'
        )

    def _open_interest(self, now_ms: int) -> str:
        reference = self.market.reference
        assert reference is not None
        contracts = self.market.instrument.quantity.text(reference.open_interest)
        base, base_decimals = reference.interest_in_base()
        quote, quote_decimals = reference.interest_in_quote()
        return (
            f'"instId":"{self.symbol}","instType":"{self.type}","oi":"{contracts}",'
            f'"oiCcy":"{short_text(base, base_decimals)}",'
            f'"oiUsd":"{short_text(quote, quote_decimals)}"'
        )


_STATE_CHANNELS = {
    "tickers": TICKER_MS,
    "index-tickers": TICKER_MS,
    "mark-price": PRICE_MS,
    "open-interest": INTEREST_MS,
    "funding-rate": FUNDING_MS,
}


class VenueStreams:
    """The channels of all instruments, and their timetable."""

    def __init__(
        self, hub: Hub, plan: FaultPlan, markets: list[SimulatedBook], keep_alive_s: float
    ) -> None:
        keep_alive_ms = int(keep_alive_s * 1000)
        self.markets = {
            market.instrument.symbol: MarketStreams(hub, plan, market, keep_alive_ms)
            for market in markets
        }
        indices: set[str] = set()
        for streams in self.markets.values():
            index = index_of(streams.market.instrument)
            streams.speaks_for_index = index not in indices
            indices.add(index)
        intervals = {channel.interval_ms for channel in BOOK_CHANNELS}
        self._table = Timetable(sorted(intervals | set(_STATE_CHANNELS.values())))

    def find(self, channel: str, subject: str) -> list[MarketStreams]:
        """Return the markets that a subscription is about: none if it does not exist."""
        if channel == "liquidation-orders":
            return [market for market in self.markets.values() if market.type == subject]
        if channel == "index-tickers":
            return [
                market
                for market in self.markets.values()
                if market.speaks_for_index and index_of(market.market.instrument) == subject
            ]
        market = self.markets.get(subject)
        if market is None or market.market.instrument.listing is Listing.DELISTED:
            return []
        contract_only = channel in ("funding-rate", "open-interest")
        return [] if contract_only and market.market.reference is None else [market]

    def tick(self, now_ms: int) -> None:
        """Send what is due by the clock."""
        for interval_ms in self._table.due(now_ms):
            for market in self.markets.values():
                market.flush_books(interval_ms, now_ms)
                market.flush_state(interval_ms, now_ms)
