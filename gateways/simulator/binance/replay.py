"""A recorded Binance capture, served at a chosen speed to whoever subscribes to its streams.

Depth differences of any interval are answered with the one that was recorded. ``GET depth`` gives
the capture's snapshot until the replay has passed it, and afterwards the book as it is at that
point of the replay, so that a client that loses its place can join again.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from engine.errors import ConfigError
from gateways.simulator.binance.dialect import Dialect, channel_of, is_depth_diff
from gateways.simulator.capture import Capture
from gateways.simulator.hub import Hub
from gateways.simulator.instruments import Instrument, Scale
from gateways.simulator.venue import Playing

BATCH = 200
BUFFER_HIGH_BYTES = 1 << 20
SLOWEST_S = 10.0
"""At full speed the replay waits for its slowest client, but not longer than this."""

_ENVELOPE = re.compile(rb'^\{"stream":"([^"]+)","data":(.*)\}$', re.DOTALL)
_PAIR = re.compile(rb'\["(\d+(?:\.\d+)?)","(\d+(?:\.\d+)?)"')
_TRADE = re.compile(rb'"p":"(\d+(?:\.\d+)?)","q":"(\d+(?:\.\d+)?)"')
_TICKER = re.compile(
    rb'"b":"(\d+(?:\.\d+)?)","B":"(\d+(?:\.\d+)?)","a":"(\d+(?:\.\d+)?)","A":"(\d+(?:\.\d+)?)"'
)
_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL")
_QUOTES_MORE = ("AUD", "RUB", "GBP", "JPY", "UAH")

Book = dict[str, dict[str, str]]


class SymbolReplay:
    """What the replay knows of one symbol."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.snapshots: list[tuple[int, bytes]] = []  # place in the capture, answer
        self.passed: list[bytes] = []  # diffs since the last snapshot, not applied yet
        self.trades = 0
        self.book: Book = {"bids": {}, "asks": {}}
        self.last_id = 0
        self.joined = False

    def reset(self, snapshot: bytes) -> None:
        """Begin with a recorded snapshot that the replay has reached, unless the book is newer."""
        self.catch_up()
        answer = orjson.loads(snapshot)
        if self.joined and int(answer["lastUpdateId"]) <= self.last_id:
            return
        for side in ("bids", "asks"):
            self.book[side] = {level[0]: level[1] for level in answer[side]}
        self.last_id = int(answer["lastUpdateId"])
        self.joined = True

    def catch_up(self) -> None:
        """Apply the diffs that have been sent, once there is a book."""
        if not self.joined:
            return
        for payload in self.passed:
            event = orjson.loads(payload)
            if event["u"] <= self.last_id:
                continue
            self.last_id = event["u"]
            for key, side in (("b", "bids"), ("a", "asks")):
                levels = self.book[side]
                for level in event[key]:
                    # A zero in any spelling takes the level out.
                    if level[1].strip("0."):
                        levels[level[0]] = level[1]
                    else:
                        levels.pop(level[0], None)
        self.passed.clear()


class Replay(Playing):
    """One capture on its way through a hub; it is the ``Source`` of the venue's REST answers."""

    def __init__(
        self,
        dialect: Dialect,
        hub: Hub,
        capture: Capture,
        *,
        speed: float,
        exchange_info: dict[str, Any] | None = None,
    ) -> None:
        if capture.venue != dialect.name:
            raise ConfigError(f"the capture is of {capture.venue}, not of {dialect.name}")
        self.dialect = dialect
        self.exchange_info = exchange_info
        self.position = 0
        self.finished = asyncio.Event()
        self.started = asyncio.Event()
        self.paused = False
        self._called = False
        self._hub = hub
        self._messages = capture.messages
        self._speed = speed
        self._symbols: dict[str, SymbolReplay] = {}
        self._frames: list[tuple[str, bytes] | None] = []
        self._names: dict[str, tuple[str, ...]] = {}
        self._index()
        self.instruments: Mapping[str, Instrument] = _infer(self._frames, self._symbols)

    def _index(self) -> None:
        """Split envelopes and find the snapshots' symbols."""
        rest: list[int] = []
        for place, message in enumerate(self._messages):
            if message.channel == "rest":
                self._frames.append(None)
                rest.append(place)
                continue
            match = _ENVELOPE.match(message.payload)
            if match is None:
                raise ConfigError(
                    f"capture: message {place} has no stream: {message.payload[:80]!r}"
                )
            name = match[1].decode()
            self._frames.append((name, match[2]))
            if name not in self._names:
                self._names[name] = self._aliases(name)
                symbol = name.partition("@")[0].upper()
                self._symbols.setdefault(symbol, SymbolReplay(symbol))
        for place in rest:
            message = self._messages[place]
            asked = parse_qs(urlsplit(message.url).query).get("symbol")
            # A recorder that kept no URL recorded one instrument only.
            symbol = asked[0] if asked else next(iter(self._symbols))
            known = self._symbols.setdefault(symbol, SymbolReplay(symbol))
            known.snapshots.append((place, message.payload))

    def _aliases(self, name: str) -> tuple[str, ...]:
        stem = name.partition("@")[0]
        if is_depth_diff(name):
            intervals = (f"{stem}@depth@{ms}ms" for ms in (0, 100, 250, 500, 1000))
            return (f"{stem}@depth", *intervals)
        return (name, "!bookTicker") if channel_of(name) == "bookTicker" else (name,)

    def depth(self, symbol: str, limit: int | None) -> dict[str, Any]:
        """Return the book at this point, or the recorded snapshot that is still to come."""
        replay = self._symbols[symbol]
        if not replay.joined:
            ahead = [body for place, body in replay.snapshots if place >= self.position]
            body = ahead[0] if ahead else b'{"lastUpdateId":0,"bids":[],"asks":[]}'
            answer: dict[str, Any] = orjson.loads(body)
            levels = {side: answer[side] for side in ("bids", "asks")}
            last_id = answer["lastUpdateId"]
        else:
            replay.catch_up()
            last_id = replay.last_id
            levels = {
                side: sorted(
                    ([price, quantity] for price, quantity in replay.book[side].items()),
                    key=lambda level: float(level[0]),
                    reverse=side == "bids",
                )
                for side in ("bids", "asks")
            }
        return {
            "lastUpdateId": last_id,
            "bids": levels["bids"][:limit],
            "asks": levels["asks"][:limit],
        }

    def trades(self, symbol: str) -> int:
        """Return how many trade messages have been sent."""
        return self._symbols[symbol].trades

    def funding(self, symbol: str) -> tuple[str, str, str, str] | None:
        """Return None: a capture has funding in its streams only."""
        return None

    def open_interest(self, symbol: str) -> str:
        """Return ``"0"``: a capture does not know it."""
        return "0"

    def start(self, delay_s: float) -> None:
        """Begin after a while; at the first call only."""
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_later(delay_s, self.started.set)

    async def run(self) -> None:
        """Play the capture once, from the moment in which it is started."""
        await self.started.wait()
        began = time.monotonic()
        first_ns = self._messages[0].received_ns
        total = len(self._messages)
        while self.position < total:
            if self.paused:
                pause = time.monotonic()
                await asyncio.sleep(0.01)
                began += time.monotonic() - pause
                continue
            if self._speed > 0.0:
                played_ns = (time.monotonic() - began) * self._speed * 1e9
                until_ns = first_ns + int(played_ns)
                while (
                    self.position < total and self._messages[self.position].received_ns <= until_ns
                ):
                    self._play()
                await asyncio.sleep(0.002)
                continue
            for _ in range(min(BATCH, total - self.position)):
                self._play()
            self._hub.flush(time.monotonic())
            await self._let_clients_read()
        self._hub.flush(time.monotonic())
        self.finished.set()

    def _play(self) -> None:
        place = self.position
        self.position += 1
        frame = self._frames[place]
        if frame is None:
            for symbol in self._symbols.values():
                for snapshot_place, body in symbol.snapshots:
                    if snapshot_place == place:
                        symbol.reset(body)
            return
        name, payload = frame
        symbol = self._symbols[name.partition("@")[0].upper()]
        if is_depth_diff(name):
            symbol.passed.append(payload)
        elif channel_of(name) == "trade":
            symbol.trades += 1
        topics = self._hub.topics
        for alias in self._names[name]:
            topic = topics.get(alias)
            if topic is not None:
                topic.publish(payload)

    async def _let_clients_read(self) -> None:
        await asyncio.sleep(0)
        waited_since = time.monotonic()
        while any(client.buffered > BUFFER_HIGH_BYTES for client in self._hub.clients):
            await asyncio.sleep(0.001)
            if time.monotonic() - waited_since > SLOWEST_S:
                for client in list(self._hub.clients):
                    if client.buffered > BUFFER_HIGH_BYTES:
                        client.cut("slow")


def _infer(
    frames: list[tuple[str, bytes] | None], symbols: Mapping[str, SymbolReplay]
) -> dict[str, Instrument]:
    """Find the decimals of each symbol in what was recorded."""
    seen: dict[str, tuple[set[bytes], set[bytes]]] = {name: (set(), set()) for name in symbols}
    bodies = [
        (symbol.symbol, "depth", body)
        for symbol in symbols.values()
        for _, body in symbol.snapshots
    ]
    for frame in frames:
        if frame is not None:
            name, payload = frame
            bodies.append((name.partition("@")[0].upper(), channel_of(name), payload))
    for symbol, channel, payload in bodies:
        if channel == "depth":
            pairs = _PAIR.findall(payload)
        elif channel == "bookTicker":
            pairs = [pair for four in _TICKER.findall(payload) for pair in (four[:2], four[2:])]
        elif channel in ("trade", "aggTrade"):
            pairs = _TRADE.findall(payload)
        else:
            continue
        prices, quantities = seen[symbol]
        for price, quantity in pairs:
            prices.add(price)
            quantities.add(quantity)
    return {
        symbol: Instrument(symbol, *_split(symbol), _scale(prices), _scale(quantities))
        for symbol, (prices, quantities) in seen.items()
    }


def _scale(texts: set[bytes]) -> Scale:
    written = significant = 0
    for text in texts:
        part = text.partition(b".")[2]
        written = max(written, len(part))
        significant = max(significant, len(part.rstrip(b"0")))
    return Scale(10 ** (written - significant), written)


def _split(symbol: str) -> tuple[str, str]:
    for quote in (*_QUOTES, *_QUOTES_MORE):
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol, symbol
