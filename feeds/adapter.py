"""The protocol of a venue's public side, and the registry that finds the venues.

A venue is an object with the methods of ``ExchangeAdapter``, announced under the entry point group
``trade_infra.venues``. Nothing in the feed, the worker or the tools names a venue, so a package of
your own adds one:

.. code-block:: toml

    [project.entry-points."trade_infra.venues"]
    myvenue = "my_package:MYVENUE"

What to write, in order:

1. ``exchange``: name, endpoints for each environment, public limits, fees (``engine.common``).
2. ``streams_for``: which of the venue's streams carry a channel of an instrument, the route (key of
   ``Endpoints.websocket``) they live on, and the longest silence that is normal on each.
3. ``ws_url``, ``subscribe`` and ``unsubscribe``.
4. ``instruments_requests``, ``parse_instruments``, ``depth_request``, ``time_request``.
5. ``scan`` (a jitted scanner with the signature ``feeds.message.SCAN``) and ``sync_rule``.

``feeds/binance`` is the example; ``Venue`` is a base class with the usual answers. Everything but
``scan`` is called seldom and off the hot path: plain Python, no asyncio, no sockets. The adapter
has no state; the feed has it all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.common import Endpoints, Exchange
from engine.errors import ConfigError, ConfigNotFound
from feeds.listing import SymbolError, UnifiedSymbols
from feeds.message import ITEM, ITEMS_MAX, LEVELS_MAX, ItemKind, Reject

if TYPE_CHECKING:
    from feeds.sync import SyncRule  # Compiles its kernels: only the worker needs it at run time.

GROUP = "trade_infra.venues"
"""The entry point group that announces venues: name -> adapter object."""

VALUE_DECIMALS = 8
"""Decimals of ``contract_value`` and ``minimum_notional`` in the instrument table."""


Texts = tuple[str | None, list[Any], list[Any]]
"""What a frame says about an instrument: native symbol, price texts, quantity texts."""


class Channel(StrEnum):
    """What a user subscribes to; a venue maps it to streams of its own."""

    TRADES = "trades"
    BOOK = "book"
    TOP = "top"
    FUNDING = "funding"
    """Mark and index price, funding rate, open interest: as far as the venue streams them."""
    LIQUIDATIONS = "liquidations"
    STATS = "stats"
    """The 24-hour ticker."""


CHANNELS = tuple(Channel)
"""The order in which channels are numbered in records and arrays."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One subscription of one instrument, in the venue's own words."""

    route: str
    """Key of ``Endpoints.websocket``: streams of different routes never share a connection."""
    name: str
    """What is subscribed to, as the venue writes it (``btcusdt@depth@100ms``)."""
    channel: Channel
    native: str
    """The venue's symbol."""
    cadence_s: float = 0.0
    """Longest silence that is normal; 0 if the venue promises nothing (a quiet market is quiet)."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How a venue wants its connections used; the limits it publishes stand in ``RateLimits``."""

    url_bytes: int
    """Longest URL; 0 if streams are not named in the URL but subscribed to by messages."""
    streams_per_message: int
    """Streams in one subscribe message."""
    ping_s: float
    """The client pings (and expects an answer) when nothing arrived for this long."""
    pong_s: float
    """Silence after such a ping that proves the connection dead."""
    stream_bytes: int = 0
    """Bytes of all stream names of a connection; 0 if the venue does not limit them."""
    ping_text: bytes = b""
    """A text message that serves as ping; empty for WebSocket ping frames."""
    snapshots: Literal["rest", "stream"] = "rest"
    """Where book snapshots come from: a request, or the stream itself, at each subscription."""
    notices: tuple[bytes, ...] = ()
    """First bytes of messages that the session itself must see (shutdown notices). Only these are
    handed to ``is_shutdown_notice``; every frame goes into the raw ring, these too."""


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A GET request and what it costs."""

    path: str
    """With its query string; appended to ``Endpoints.rest``."""
    weight: int


class InstrumentFields(TypedDict):
    """An instrument as the exchange information describes it: fields of ``feeds.types.INSTRUMENT``.

    Numbers are integers in the units of that layout; ``price_decimals`` and ``quantity_decimals``
    are enough for every price and quantity that the venue sends for the instrument.
    """

    native: str
    symbol: str
    base: str
    quote: str
    settle: str
    kind: int
    status: int
    price_decimals: int
    quantity_decimals: int
    tick: int
    lot: int
    contract_value: int
    minimum_quantity: int
    maximum_quantity: int
    minimum_notional: int


@runtime_checkable
class ExchangeAdapter(Protocol):
    """A venue's public side. All methods are pure: same arguments, same result."""

    @property
    def exchange(self) -> Exchange:
        """Return the venue's name, endpoints by environment, limits and fees."""
        ...

    @property
    def rules(self) -> SessionRules:
        """Return how connections are opened, kept alive and subscribed."""
        ...

    def name(self) -> str:
        """Return the venue's name: ``exchange.name``, the entry point's name."""
        ...

    def endpoints_at(self, rest: str, websocket: str) -> Endpoints:
        """Return endpoints at other base URLs (a simulator, a proxy), with the venue's routes."""
        ...

    @property
    def book_streams(self) -> tuple[str, ...]:
        """Return the names of the streams that can carry ``Channel.BOOK``, the default first."""
        ...

    def streams_for(self, native: str, channels: Iterable[Channel], book: str = "") -> list[Stream]:
        """Return the streams that carry ``channels`` of an instrument.

        A channel that the venue does not have for this market (funding on spot) gives none; one may
        take several streams. ``book`` is one of ``book_streams``; empty stands for the default.
        """
        ...

    def ws_url(self, route: str, streams: Sequence[str], environment: Endpoints) -> str:
        """Return the URL to connect to for ``streams`` of ``route``.

        With ``rules.url_bytes == 0`` the streams are not part of it.
        """
        ...

    def subscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return the message that subscribes to at most ``rules.streams_per_message`` streams."""
        ...

    def unsubscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return the message that ends these subscriptions."""
        ...

    def stream_of(self, frame: bytes) -> str | None:
        """Return the name of the stream that sent ``frame``; None for replies and notices.

        Used only while connections are handed over, to see that each stream delivers.
        """
        ...

    def refusal(self, frame: bytes) -> str | None:
        """Return the venue's words if ``frame`` refuses a subscription, else None."""
        ...

    def is_shutdown_notice(self, frame: bytes) -> bool:
        """Return whether ``frame`` announces that the venue is about to close the connection."""
        ...

    def instruments_requests(self) -> list[RestRequest]:
        """Return the requests for the exchange information: one a kind of instrument."""
        ...

    def next_page(self, request: RestRequest, body: bytes) -> RestRequest | None:
        """Return the request for what ``body``, the answer to ``request``, left out; or None."""
        ...

    def parse_instruments(self, body: bytes) -> list[InstrumentFields]:
        """Return every instrument of an exchange information answer, in its order.

        Instruments that the layouts cannot hold (a symbol of more than 32 bytes) are left out.

        Raises
        ------
        ValueError
            If the answer is not exchange information.

        """
        ...

    def is_depth_body(self, message: Any) -> bool:  # noqa: ANN401 - any JSON
        """Return whether a decoded frame is the answer to a ``depth_request``."""
        ...

    def texts_of(self, message: Any, address: str | None) -> Iterator[Texts]:  # noqa: ANN401
        """Yield (native symbol, price texts, quantity texts) for each event of a decoded frame.

        Tools that have recordings but no exchange information learn symbols and decimals from it.
        ``address`` is the URL that a REST body answers, if known. The symbol is None for a depth
        body whose address does not name one.
        """
        ...

    def numbered(self, lines: Iterable[Iterable[bytes]]) -> Callable[[bytes], bytes] | None:
        """Return what puts numbers into the book messages of recorded redundant lines.

        For replays, where ``lines`` are all frames of each: a recording from before the venue
        numbered its messages does not say which of them another line can still bring. None if
        nothing is to be done, which is the usual answer.
        """
        ...

    def depth_request(self, native: str) -> RestRequest | None:
        """Return the request for a book snapshot that ``sync_rule`` can join; None if none can."""
        ...

    def polls_for(self, native: str, channels: Iterable[Channel]) -> list[RestRequest]:
        """Return the requests, to be repeated, for what of ``channels`` no stream carries.

        ``scan`` reads their answers like messages: they name the instrument.
        """
        ...

    def time_request(self) -> RestRequest:
        """Return the request for the venue's time."""
        ...

    def parse_time(self, body: bytes) -> int:
        """Return the venue's time in Unix nanoseconds."""
        ...

    @property
    def weight_header(self) -> str:
        """Return the response header that tells the weight used this minute; "" if none does."""
        ...

    @property
    def scan(self) -> Callable[..., int]:
        """Return the jitted scanner, signature ``feeds.message.SCAN``."""
        ...

    @property
    def sync_rule(self) -> "SyncRule":
        """Return how books are joined from snapshot and updates."""
        ...

    def parse_message(self, frame: bytes, symbols: npt.NDArray[np.void]) -> list[dict[str, Any]]:
        """Return the events of one frame as dicts; same scanner, for tools and research.

        Parameters
        ----------
        frame
            One message as it came from the socket.
        symbols
            A symbol map (``feeds.message.SYMBOL``) as ``scan`` takes it.

        Raises
        ------
        ValueError
            If the scanner rejects the frame; the message is the name of the ``Reject``.

        """
        ...


class Venue:
    """What most adapters have in common; a base class for convenience, not a must.

    A subclass adds the rest of ``ExchangeAdapter``.
    """

    def __init__(self, exchange: Exchange, rules: SessionRules) -> None:
        self._exchange, self._rules = exchange, rules

    @property
    def exchange(self) -> Exchange:
        """Return the venue's constants."""
        return self._exchange

    @property
    def rules(self) -> SessionRules:
        """Return how connections are used."""
        return self._rules

    def name(self) -> str:
        """Return the venue's name."""
        return self._exchange.name

    @property
    def weight_header(self) -> str:
        """Return the empty string: no header tells how much of a limit is used."""
        return ""

    @property
    def scan(self) -> Callable[..., int]:
        """Return the jitted scanner: the subclass has one."""
        raise NotImplementedError

    def ws_url(self, route: str, streams: Sequence[str], environment: Endpoints) -> str:
        """Return the URL of a route: streams are subscribed to by messages."""
        return environment.websocket[route]

    def is_shutdown_notice(self, frame: bytes) -> bool:
        """Return False: nothing is announced on the connection."""
        return False

    def next_page(self, request: RestRequest, body: bytes) -> RestRequest | None:
        """Return None: an answer leaves nothing out."""
        return None

    def numbered(self, lines: Iterable[Iterable[bytes]]) -> Callable[[bytes], bytes] | None:
        """Return None: the venue numbers its messages."""
        return None

    def polls_for(self, native: str, channels: Iterable[Channel]) -> list[RestRequest]:
        """Return nothing: streams carry all there is."""
        return []

    def parse_message(self, frame: bytes, symbols: npt.NDArray[np.void]) -> list[dict[str, Any]]:
        """Return the events of one frame as dicts."""
        return decode(self.scan, frame, symbols)


def decode(
    scan: Callable[..., int], frame: bytes, symbols: npt.NDArray[np.void]
) -> list[dict[str, Any]]:
    """Return what ``scan`` finds in one text frame, as dicts: most venues' ``parse_message``.

    The keys are the fields of ``feeds.message.ITEM``; a book item has ``bids`` and ``asks`` (lists
    of price and quantity mantissas) in the place of the fields that say where its levels stand.

    Raises
    ------
    ValueError
        If the scanner rejects the frame; the message is the name of the ``Reject``.

    """
    data = np.zeros(len(frame) + 64, np.uint8)
    data[: len(frame)] = np.frombuffer(frame, np.uint8)
    items, levels = np.zeros(ITEMS_MAX, ITEM), np.zeros((LEVELS_MAX, 2), np.int64)
    found = scan(data, len(frame), 1, -1, symbols, items, levels)
    if found < 0:
        raise ValueError(Reject(found).name)
    events = []
    for item in items[:found]:
        event = {name: int(item[name]) for name in ITEM.names or () if name[:4] not in _SIDES}
        if item["kind"] in (ItemKind.BOOK_UPDATE, ItemKind.BOOK_SNAPSHOT):
            for side in ("bid", "ask"):
                start, count = int(item[f"{side}_start"]), int(item[f"{side}_count"])
                event[f"{side}s"] = levels[start : start + count].tolist()
        events.append(event)
    return events


_SIDES = ("bid_", "ask_")


def venue_names() -> list[str]:
    """Return the names of all installed venues."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find_venue(name: str) -> ExchangeAdapter:
    """Return the adapter of a venue.

    Raises
    ------
    ConfigNotFound
        If no installed package announces a venue of that name; names the near ones.

    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            adapter: ExchangeAdapter = entry.load()
            return adapter
    names = venue_names()
    near = get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    raise ConfigNotFound(f"venue {name!r} is not installed - {hint}")


def endpoints_of(
    adapter: ExchangeAdapter,
    environment: str,
    rest: str | None = None,
    websocket: str | dict[str, str] | None = None,
) -> Endpoints:
    """Return where a venue is reached.

    Parameters
    ----------
    adapter
        The venue.
    environment
        ``live``, ``testnet`` or another key of ``Exchange.endpoints``.
    rest, websocket
        From ``[endpoints.<venue>]``: base URLs that replace the venue's own of the environment;
        ``websocket`` is one base for all routes, or a URL for each route.

    Raises
    ------
    ConfigError
        If the venue has no such environment and the configuration does not give both URLs.

    """
    known = adapter.exchange.endpoints.get(environment)
    if known is None and (rest is None or websocket is None):
        raise ConfigError(
            f"venue {adapter.name()!r} has no environment {environment!r} "
            f"(known: {', '.join(adapter.exchange.endpoints)}) - set rest and websocket under "
            f"[endpoints.{adapter.name()}] or change environment"
        )
    base = rest if rest is not None else known.rest if known else ""
    if isinstance(websocket, str):
        return adapter.endpoints_at(base, websocket)
    routes = dict(known.websocket) if known else {}
    return Endpoints(base.rstrip("/"), routes | (websocket or {}))


def choose_instruments(
    instruments: Sequence[InstrumentFields], wanted: Sequence[str], trading: int, venue: str
) -> list[InstrumentFields]:
    """Return the instruments that a configuration names, in its order, each once.

    Parameters
    ----------
    instruments
        All instruments of the venue.
    wanted
        Native or unified symbols; ``["*"]`` stands for all instruments that trade.
    trading
        The status that ``*`` selects (``feeds.types.Status.TRADING``).
    venue
        The venue's name, for the message.

    Raises
    ------
    ConfigError
        If a symbol is unknown (names the nearest ones) or stands for several instruments.

    """
    chosen: dict[str, InstrumentFields] = {}
    try:
        symbols = UnifiedSymbols(instruments)
        for name in wanted:
            if name == "*":
                chosen.update((i["native"], i) for i in instruments if i["status"] == trading)
            else:
                found = symbols.find(name)
                chosen[found["native"]] = found
    except SymbolError as error:
        raise ConfigError(f"{venue}: {error} (key: symbols)") from error
    if not chosen:
        raise ConfigError(
            f"no instrument of {venue} is selected - name at least one (key: symbols)"
        )
    return list(chosen.values())
