"""What the Bybit topics say: outcomes of the matching engine as messages of the venue.

A message is built only if somebody receives it, as bytes, once for all. Each depth of a book has
its own consecutive numbers ``u``; ``seq`` is the matching engine's and can be compared across them.
"""

from collections import deque
from itertools import islice

from engine.common import Side
from gateways.simulator.bybit.dialect import REPEAT_MS, TRADES_MOST, Dialect
from gateways.simulator.bybit.ids import trade_text, trade_uuid
from gateways.simulator.depth import DepthView, Row
from gateways.simulator.hub import Client, Hub, Topic
from gateways.simulator.instruments import Listing, Market, decimal_text, rounded, short_text
from gateways.simulator.market import (
    FUNDING_INTERVAL_MS,
    HIGHEST_RATE,
    VALUE_DECIMALS,
    held_value,
    moved_ppm,
    next_funding_ms,
    now_top,
    traded_value,
)
from gateways.simulator.matching import Fill, Outcome
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.timetable import Timetable

LIQUIDATION_MS = 500
IDS_PER_NUMBER = 1000
"""A book's ``u`` begins so many times below its ``seq``; it rises more slowly, too."""
REST_LEVELS = 1000
RECENT_TRADES = 1000
"""Of one market, kept for REST."""


class BookStream:
    """One depth of one instrument's book: what its subscribers know, and under which number."""

    __slots__ = ("interval_ms", "levels", "live", "sent_ms", "seq", "topic", "u", "view")

    def __init__(self, levels: int, interval_ms: int, market: SimulatedBook) -> None:
        self.levels = levels
        self.interval_ms = interval_ms
        self.topic = f"orderbook.{levels}.{market.instrument.symbol}"
        self.view = DepthView(market.book, levels)
        self.live = False
        self.u = market.book.update_id // IDS_PER_NUMBER
        self.seq = 0
        self.sent_ms = 0


class MarketStreams:
    """All topics of one instrument."""

    def __init__(self, dialect: Dialect, hub: Hub, market: SimulatedBook) -> None:
        self.market = market
        self.symbol = market.instrument.symbol
        self.category = dialect.category(market.instrument)
        self.spot = market.instrument.market is Market.SPOT
        self._ticker_ms = dialect.ticker_ms
        self._hub = hub
        self.books = {
            levels: BookStream(levels, interval_ms, market)
            for levels, interval_ms in dialect.book_intervals_ms.items()
        }
        self._by_topic = {stream.topic: stream for stream in self.books.values()}
        self._trade = f"publicTrade.{self.symbol}"
        self._ticker = f"tickers.{self.symbol}"
        self._forced = f"allLiquidation.{self.symbol}"
        self.topics = {*self._by_topic, self._trade, self._ticker}
        if not self.spot:
            self.topics.add(self._forced)
        self._liquidations: list[str] = []
        self._told: dict[str, str] = {}  # The ticker as its subscribers know it.
        self._told_live = False
        self._last = (market.stats.last, "ZeroPlusTick")
        self._recent: deque[tuple[Fill, int, int]] = deque(maxlen=RECENT_TRADES)

    @property
    def listed(self) -> bool:
        """Whether the venue still knows the instrument."""
        return self.market.instrument.listing is not Listing.DELISTED

    def observe(self, outcome: Outcome, now_ms: int) -> None:
        """Publish trades, and note what is sent by intervals."""
        topics = self._hub.topics
        if outcome.fills:
            seq = self.market.book.update_id
            self._recent.extend((fill, now_ms, seq) for fill in outcome.fills)
            topic = topics.get(self._trade)
            if topic is not None:
                self._send_trades(topic, outcome.fills, now_ms)
            self._direction(outcome.fills[-1].price)
        if outcome.forced and self._forced in topics:
            self._note_liquidation(outcome, now_ms)
        for stream in self._by_topic.values():
            if stream.live:
                stream.view.touch(outcome.changes)

    def flush_books(self, interval_ms: int, now_ms: int) -> None:
        """Send the books of one interval."""
        for stream in self._by_topic.values():
            if stream.interval_ms != interval_ms or not stream.live:
                continue
            topic = self._hub.topics.get(stream.topic)
            if topic is None:
                stream.live = False  # Nobody listens: the next subscriber begins afresh.
                continue
            bids, asks = stream.view.difference() if stream.view.changed else ([], [])
            if bids or asks:
                stream.u += 1
                stream.seq = self.market.book.update_id
                if stream.levels == 1:
                    payload = self._snapshot(stream, now_ms)
                else:
                    payload = self._book(stream, "delta", bids, asks, now_ms)
            elif stream.levels == 1 and now_ms - stream.sent_ms >= REPEAT_MS:
                payload = self._snapshot(stream, now_ms)
            else:
                continue
            stream.sent_ms = now_ms
            topic.publish(payload)

    def flush_ticker(self, now_ms: int) -> None:
        """Send the ticker if it has changed."""
        topic = self._hub.topics.get(self._ticker)
        if topic is None:
            self._told_live = False
            return
        if not self._told_live:
            return
        fields = self._ticker_fields(now_ms)
        changed = {name: text for name, text in fields.items() if self._told.get(name) != text}
        if not changed:
            return
        self._told = fields
        if self.spot:
            topic.publish(self._ticker_message("snapshot", fields, now_ms))
        else:
            topic.publish(self._ticker_message("delta", {"symbol": self.symbol} | changed, now_ms))

    def flush_liquidations(self, now_ms: int) -> None:
        """Send the liquidations since the last time."""
        if not self._liquidations:
            return
        rows, self._liquidations = ",".join(self._liquidations), []
        topic = self._hub.topics.get(self._forced)
        if topic is not None:
            topic.publish(
                f'{{"topic":"{self._forced}","type":"snapshot","ts":{now_ms},'
                f'"data":[{rows}]}}'.encode()
            )

    def greet(self, client: Client, topic: Topic, now_ms: int) -> None:
        """Send what a new subscriber gets at once."""
        stream = self._by_topic.get(topic.name)
        if stream is not None:
            self.revive(stream, now_ms)
            topic.send(client, self._snapshot(stream, now_ms))
        elif topic.name == self._ticker:
            if not self._told_live:
                self._told = self._ticker_fields(now_ms)
                self._told_live = True
            topic.send(client, self._ticker_message("snapshot", self._told, now_ms))

    def revive(self, stream: BookStream, now_ms: int) -> None:
        """Take up a book that nobody has received for a while."""
        if not stream.live:
            stream.view.reset()
            stream.live = True
            stream.u += 1
            stream.seq = self.market.book.update_id
            stream.sent_ms = now_ms

    def restart(self, now_ms: int) -> None:
        """Begin all books anew with ``u`` 1, as after a restart of the venue's service."""
        for stream in self._by_topic.values():
            topic = self._hub.topics.get(stream.topic)
            stream.view.reset()
            stream.u, stream.seq = 1, self.market.book.update_id
            stream.sent_ms = now_ms
            if topic is not None:
                topic.publish(self._snapshot(stream, now_ms))

    def levels(self, rows: list[Row]) -> list[list[str]]:
        """Return levels as the venue writes them."""
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        return [[price.text(ticks), quantity.text(lots)] for ticks, lots, _ in rows]

    def _snapshot(self, stream: BookStream, now_ms: int) -> bytes:
        bids, asks = stream.view.rows(Side.BUY), stream.view.rows(Side.SELL)
        return self._book(stream, "snapshot", bids, asks, now_ms)

    def _book(
        self, stream: BookStream, kind: str, bids: list[Row], asks: list[Row], now_ms: int
    ) -> bytes:
        # Spot, and the best level of contracts, have the time before the type.
        early = self.spot or stream.levels == 1
        head = f'"ts":{now_ms},"type":"{kind}"' if early else f'"type":"{kind}","ts":{now_ms}'
        return (
            f'{{"topic":"{stream.topic}",{head},"data":{{"s":"{self.symbol}",'
            f'"b":[{self._rows(bids)}],"a":[{self._rows(asks)}],'
            f'"u":{stream.u},"seq":{stream.seq}}},"cts":{now_ms}}}'
        ).encode()

    def _rows(self, rows: list[Row]) -> str:
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        return ",".join(
            f'["{price.text(ticks)}","{quantity.text(lots)}"]' for ticks, lots, _ in rows
        )

    def _direction(self, price: int) -> str:
        """Return how a trade's price stands to the last other one."""
        last, word = self._last
        if price > last:
            word = "PlusTick"
        elif price < last:
            word = "MinusTick"
        elif not word.startswith("Zero"):
            word = f"Zero{word}"
        self._last = (price, word)
        return word

    def _send_trades(self, topic: Topic, fills: list[Fill], now_ms: int) -> None:
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        seq = self.market.book.update_id
        rows = []
        for fill in fills:
            side = "Buy" if fill.taker.side is Side.BUY else "Sell"
            px, sz = price.text(fill.price), quantity.text(fill.quantity)
            if self.spot:
                row = (
                    f'{{"i":"{fill.trade_id}","T":{now_ms},"p":"{px}","v":"{sz}","S":"{side}",'
                    f'"s":"{self.symbol}","BT":false,"RPI":false,"seq":{seq}}}'
                )
            else:
                row = (
                    f'{{"T":{now_ms},"s":"{self.symbol}","S":"{side}","v":"{sz}","p":"{px}",'
                    f'"L":"{self._direction(fill.price)}","i":"{trade_uuid(fill.trade_id)}",'
                    f'"BT":false,"RPI":false,"seq":{seq}}}'
                )
            rows.append(row)
        head = (
            f'"ts":{now_ms},"type":"snapshot"' if self.spot else f'"type":"snapshot","ts":{now_ms}'
        )
        for start in range(0, len(rows), TRADES_MOST):
            part = ",".join(rows[start : start + TRADES_MOST])
            topic.publish(f'{{"topic":"{self._trade}",{head},"data":[{part}]}}'.encode())

    def _note_liquidation(self, outcome: Outcome, now_ms: int) -> None:
        instrument, order = self.market.instrument, outcome.order
        # The side of the position: a forced sale closes a long one.
        side = "Sell" if order.side is Side.BUY else "Buy"
        self._liquidations.append(
            f'{{"T":{now_ms},"s":"{self.symbol}","S":"{side}",'
            f'"v":"{instrument.quantity.text(order.quantity)}",'
            f'"p":"{instrument.price.text(order.price)}"}}'
        )

    def _ticker_message(self, kind: str, fields: dict[str, str], now_ms: int) -> bytes:
        data = ",".join(f'"{name}":"{text}"' for name, text in fields.items())
        seq = self.market.book.update_id
        if self.spot:
            head = f'"ts":{now_ms},"type":"{kind}","cs":{seq},"data":{{{data}}}'
        else:
            head = f'"type":"{kind}","data":{{{data}}},"cs":{seq},"ts":{now_ms}'
        return f'{{"topic":"{self._ticker}",{head}}}'.encode()

    def recent(self, limit: int) -> list[dict[str, str | bool]]:
        """Return the newest trades as REST has them, newest first."""
        price, quantity = self.market.instrument.price, self.market.instrument.quantity
        return [
            {
                "execId": trade_text(fill.trade_id, spot=self.spot),
                "symbol": self.symbol,
                "price": price.text(fill.price),
                "size": quantity.text(fill.quantity),
                "side": "Buy" if fill.taker.side is Side.BUY else "Sell",
                "time": str(now_ms),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(seq),
            }
            for fill, now_ms, seq in islice(reversed(self._recent), limit)
        ]

    def ticker(self, now_ms: int) -> dict[str, str]:
        """Return the ticker as REST has it: with the best prices on spot, too."""
        fields = self._ticker_fields(now_ms)
        if self.spot:
            price, quantity = self.market.instrument.price, self.market.instrument.quantity
            bid, bid_lots, ask, ask_lots = now_top(self.market.book)
            fields |= {
                "bid1Price": price.text(bid),
                "bid1Size": quantity.text(bid_lots),
                "ask1Price": price.text(ask),
                "ask1Size": quantity.text(ask_lots),
            }
        return fields

    def _ticker_fields(self, now_ms: int) -> dict[str, str]:
        stats, price = self.market.stats, self.market.instrument.price
        day = {
            "lastPrice": price.text(stats.last),
            "highPrice24h": price.text(stats.high),
            "lowPrice24h": price.text(stats.low),
            "prevPrice24h": price.text(stats.first),
            "volume24h": self.market.instrument.quantity.text(stats.volume),
            "turnover24h": self._turnover(),
            "price24hPcnt": decimal_text(moved_ppm(stats.first, stats.last), 6),
        }
        if self.spot:
            index = int(self.market.fair.price * 10**VALUE_DECIMALS)
            return (
                {"symbol": self.symbol} | day | {"usdIndexPrice": short_text(index, VALUE_DECIMALS)}
            )
        return (
            {"symbol": self.symbol, "tickDirection": self._last[1]} | day | self._contract(now_ms)
        )

    def _turnover(self) -> str:
        instrument, stats = self.market.instrument, self.market.stats
        if instrument.market is Market.INVERSE:
            value, decimals = held_value(instrument, stats.volume)
            # In the base currency, at the day's last price.
            last = stats.last * instrument.price.step
            value = value * 10 ** (8 + instrument.price.decimals) // last
            decimals += 8
        else:
            value, decimals = traded_value(instrument, stats.turnover)
        return decimal_text(rounded(value, decimals, 4), 4)

    def _contract(self, now_ms: int) -> dict[str, str]:
        """Return the fields that only contracts have."""
        instrument, reference = self.market.instrument, self.market.reference
        assert reference is not None
        price, quantity = instrument.price, instrument.quantity
        bid, bid_lots, ask, ask_lots = now_top(self.market.book)
        if instrument.market is Market.INVERSE:
            value, decimals = reference.interest_in_base()
        else:
            value, decimals = reference.interest_in_quote()
        places = price.decimals
        return {
            "prevPrice1h": price.text(self.market.stats.first),
            "markPrice": decimal_text(rounded(reference.mark, VALUE_DECIMALS, places), places),
            "indexPrice": decimal_text(rounded(reference.index, VALUE_DECIMALS, places), places),
            "openInterest": quantity.text(reference.open_interest),
            "openInterestValue": decimal_text(rounded(value, decimals, 2), 2),
            "fundingIntervalHour": str(FUNDING_INTERVAL_MS // 3_600_000),
            "fundingCap": short_text(HIGHEST_RATE, VALUE_DECIMALS),
            "nextFundingTime": str(next_funding_ms(now_ms)),
            "fundingRate": short_text(reference.rate, VALUE_DECIMALS),
            "bid1Price": price.text(bid),
            "bid1Size": quantity.text(bid_lots),
            "ask1Price": price.text(ask),
            "ask1Size": quantity.text(ask_lots),
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
        }


class VenueStreams:
    """The topics of all instruments, and their timetable."""

    def __init__(self, dialect: Dialect, hub: Hub, markets: list[SimulatedBook]) -> None:
        self.markets = {
            market.instrument.symbol: MarketStreams(dialect, hub, market) for market in markets
        }
        self._books = Timetable(sorted(set(dialect.book_intervals_ms.values())))
        self._tickers = Timetable((dialect.ticker_ms,))
        self._liquidations = Timetable((LIQUIDATION_MS,))

    def tick(self, now_ms: int) -> None:
        """Send what is due by the clock."""
        for interval_ms in self._books.due(now_ms):
            for market in self.markets.values():
                market.flush_books(interval_ms, now_ms)
        if self._tickers.due(now_ms):
            for market in self.markets.values():
                market.flush_ticker(now_ms)
        if self._liquidations.due(now_ms):
            for market in self.markets.values():
                market.flush_liquidations(now_ms)
