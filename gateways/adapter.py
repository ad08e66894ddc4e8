"""What the gateway must know of a venue: the protocol that an order dialect fulfils.

``gateways/binance``, ``gateways/okx`` and ``gateways/bybit`` have the same file names:

``endpoints.py``
    the ``Exchange`` (URLs of orders and private events per environment, fees) and the ``Dialect``
``limits.py``
    every limit of the venue that concerns us, and what each request costs
``requests.py``
    requests and queries as bytes: ``order_message``, ``order_call``, ``query_calls``
``events.py``
    the venue's messages as updates: live events
``answers.py``
    answers to requests and the results of queries as updates
``words.py``
    the venue's words and rows as ours, for both
``errors.py``
    the venue's codes: what each means for a request (``Verdict``) and why (``Reason``)
``session.py``
    logins, subscriptions, keep-alives, the clock

A dialect does no input or output and reads no clock: it gets the time, and turns objects into bytes
and back. It is found by an entry point of the group ``trade_infra.gateways``: the venue's name ->
an ``OrderAdapter`` class (called with an ``Identity``), so that another package can add a venue.
The class may have the attributes ``signers`` (key type -> what makes a signer of a secret) and
``needs_passphrase``; ``gateways.settings`` reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from engine.common import Endpoints, Exchange, TimeInForce
from engine.secrets import Secret
from gateways.message import Answer, Event, Instrument, Notice, Request, Update

ROUTE_ORDERS = "orders"
"""The WebSocket route on which orders are sent (``Endpoints.websocket``)."""
ROUTE_PRIVATE = "private"
"""The WebSocket route of private events; a venue may have one route for both (``ORDERS``)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose orders they are: the key, and what signs with its secret.

    ``sign`` takes the payload's bytes and returns the signature as the venue's text (see
    ``gateways.signing``); the secret itself is nowhere else.
    """

    key: Secret
    sign: Callable[[bytes], str]
    passphrase: Secret = field(default_factory=lambda: Secret(""))
    session_logon: bool = False
    """Whether the key can log a session on (Binance: Ed25519 only)."""
    test: bool = False
    """OKX demo trading wants a header."""


class Amend(StrEnum):
    """What amending at or below the filled quantity does to an order."""

    CANCELS = "cancels"
    FILLS = "fills"
    REFUSED = "refused"


class Cost(NamedTuple):
    """What a request takes from one limit; ``scope`` tells limits per instrument apart."""

    limit: str
    units: int = 1
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the venue's orders behave, as data; the source of each is in the venue's folder."""

    times_in_force: frozenset[TimeInForce]
    amend_needs_both: bool
    """An amendment must carry price and quantity."""
    amend_below_filled: Amend
    not_found_after_s: float
    """How long after sending "no such order" is believed: the venue's own time limit of a request,
    and its replicas' lag."""
    dead_man: str
    """"none", "symbol" or "account": what the venue's countdown cancels."""
    dead_man_s: tuple[float, float] = (0.0, 0.0)
    """Shortest and longest countdown."""
    private_on_orders_route: bool = False
    """One connection carries orders and events (Binance spot)."""
    trades_by_instrument: bool = False
    """Trades can be asked for one instrument at a time only: then few are asked for."""
    ban_limits: tuple[str, ...] | None = None
    """What a ban of REST stops besides REST itself; None: every limit of the address."""
    more_private_routes: tuple[str, ...] = ()
    """Further routes of private events (OKX: stop orders have one of their own)."""
    connection_costs: tuple[Cost, ...] = ()
    """What a new connection takes from the limits, with its login and subscriptions."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the venue, or of an account on it.

    ``aligned``: counted in whole periods of the clock; otherwise in any period of that length.
    ``reserve`` is the share that only urgent requests may use.
    """

    name: str
    most: int
    period_s: float
    aligned: bool
    per: str = "address"
    """"address", "account", "connection"; shared by all processes of the machine accordingly."""
    scoped: bool = False
    """Counted for each ``Cost.scope`` apart."""
    reserve: float = 0.1


@dataclass(frozen=True, slots=True)
class Call:
    """A REST request, signed and complete.

    ``path`` begins with ``/`` and has the query, exactly as signed.
    """

    method: str
    # Signed and with the key: not for anybody's eyes.
    path: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    costs: tuple[Cost, ...] = ()
    wire_id: str = ""
    """What the answer is told apart by."""
    tag: str = ""
    """The dialect's own note for ``read_answer`` and ``read_page``."""


class Query(StrEnum):
    """What reconciliation asks for."""

    INSTRUMENTS = "instruments"
    """What the dialect itself needs to know of them; ``read_page`` keeps it and tells nothing."""
    OPEN_ORDERS = "open_orders"
    FILLS = "fills"
    BALANCES = "balances"
    POSITIONS = "positions"
    FUNDING = "funding"
    """Funding payments since, as FUNDING; nothing where FILLS tells them."""


class OrderAdapter(Protocol):
    """One venue's order dialect for one account; no input, no output, no clock.

    All ``now_ms`` are of the venue's clock (the gateway keeps the offset).
    """

    @property
    def exchange(self) -> Exchange:
        """Return the venue's constants; ``endpoints`` have the routes of orders and events."""
        ...

    @property
    def dialect(self) -> Dialect:
        """Return how the venue's orders behave."""
        ...

    @property
    def limits(self) -> Sequence[Limit]:
        """Return every limit that our requests run into."""
        ...

    def check(self, request: Request) -> str:
        """Return why the venue has no such order (type, time in force, …); empty if it does."""
        ...

    # -- requests ---------------------------------------------------------------------------
    def costs(self, request: Request) -> Sequence[Cost]:
        """Return what a request takes from the limits, whichever way it goes."""
        ...

    def order_message(self, request: Request, wire_id: str, now_ms: int) -> bytes | None:
        """Return NEW, AMEND, CANCEL (or CANCEL_ALL) as a message of the order route.

        None if the venue takes that only by REST. ``wire_id`` has at most 32 letters and digits.
        """
        ...

    def order_call(self, request: Request, wire_id: str, now_ms: int) -> Sequence[Call]:
        """Return any request (also LEVERAGE, MARGIN_MODE, QUERY, CANCEL_ALL) as REST calls.

        Usually one; several where the venue needs them, to be made in order.
        """
        ...

    def query_calls(
        self, query: Query, instruments: Sequence[Instrument], since_ms: int, now_ms: int
    ) -> Sequence[Call]:
        """Return the calls whose answers together tell all of ``query`` (FILLS, FUNDING: since)."""
        ...

    def next_page(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        """Return the call for what ``body`` left out; None if it was the last page."""
        ...

    def dead_man_calls(
        self, timeout_s: float, instruments: Sequence[Instrument], now_ms: int
    ) -> Sequence[Call]:
        """Return the calls that arm the venue's countdown anew; 0 disarms it."""
        ...

    def time_call(self) -> Call:
        """Return the call for the venue's clock."""
        ...

    def parse_time(self, body: bytes) -> int:
        """Return the venue's clock from its answer, Unix ms."""
        ...

    # -- sessions ---------------------------------------------------------------------------
    def ws_url(self, route: str, environment: Endpoints, stream_key: str) -> str:
        """Return the URL of a route; ``stream_key`` is the listenKey where there is one."""
        ...

    def login(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return what is sent when a route's connection opens; empty if nothing."""
        ...

    def subscriptions(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return what is sent once logged in, to get the private events."""
        ...

    def ping(self, now_ms: int) -> tuple[bytes, float]:
        """Return the keep-alive message and how often it is due (s); empty if frames do it."""
        ...

    def stream_key_calls(self, stream_key: str, now_ms: int) -> tuple[Sequence[Call], float]:
        """Return the calls that get (empty key) or extend a stream key, and how often (s).

        Without calls the venue needs none.
        """
        ...

    def parse_stream_key(self, body: bytes) -> str:
        """Return the key from the answer."""
        ...

    # -- what the venue says -------------------------------------------------------------------
    def read(
        self, route: str, message: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Event]:
        """Return what a message of a WebSocket route says, in order.

        ``instruments`` by native symbol. Raises ValueError for what cannot be read.
        """
        ...

    def read_answer(
        self,
        call: Call,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        instruments: Mapping[str, Instrument],
    ) -> Sequence[Event]:
        """Return what the answer to ``order_call`` says; also for 4xx, 5xx and no JSON at all."""
        ...

    def read_page(
        self, query: Query, call: Call, body: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Update | Notice]:
        """Return what an answer to ``query_calls`` says.

        As STATUS, FILL, BALANCE, POSITION; FUNDING also where it stands among trades. A row that
        cannot be read is an ALERT (``gateways.message.read_rows``).
        """
        ...

    def usage(
        self, headers: Mapping[str, str], message: bytes | None = None
    ) -> Sequence[tuple[Cost, int]]:
        """Return what the venue says is used of its limits: (limit, units used in its period)."""
        ...


def answers(events: Sequence[Event]) -> list[Answer]:
    """Return those of the events that answer a request."""
    return [event for event in events if isinstance(event, Answer)]
