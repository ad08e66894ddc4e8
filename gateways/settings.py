"""A gateway's settings, and what they lead to: the venue's adapter, its addresses, the key."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import msgspec

from engine.common import Endpoints
from engine.config import Endpoint
from engine.errors import ConfigError
from engine.secrets import Secret, find
from gateways import signing
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Identity, OrderAdapter
from gateways.client import reports_ring, requests_ring
from gateways.signing import KeyType, Sign

GROUP = "trade_infra.gateways"

Positive = Annotated[float, msgspec.Meta(gt=0)]
Factory = Callable[[Identity], OrderAdapter]
"""What an entry point of ``GROUP`` is: usually the adapter's class."""

SIGNERS: Mapping[KeyType, Callable[[Secret], Sign]] = {
    "hmac": signing.hmac_hex,
    "ed25519": signing.ed25519_base64,
    "rsa": signing.rsa_base64,
}
"""How keys of each type sign, unless the adapter's class has an attribute ``signers``."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a gateway (its table in the configuration)."""

    account: str
    """Our name for the account: part of the names of its rings."""
    venue: str
    environment: str = ""
    """Of the venue's endpoints; empty for the configuration's."""
    rest_url: str = ""
    orders_url: str = ""
    private_url: str = ""
    """Addresses instead of the venue's own."""
    instruments: str = ""
    """The segment with the instruments; empty for ``feed.<venue>.instruments``."""
    key: str = ""
    """The secrets are ``<key>_key``, ``<key>_secret``, ``<key>_passphrase``; empty: the account."""
    key_type: KeyType = "hmac"
    prefix: str = "ti"
    """Of client order ids; another one for each asker that uses the account."""
    readers: tuple[str, ...] = ("oms",)
    """Who reads the reports: the ring never overwrites what one of them has not read."""
    ring: int = 16_384
    """Records in the ring of reports; a power of two."""
    spin: bool = False
    """Look at the requests in every turn of the loop: for a core of its own."""
    request_timeout_s: Positive = 1.0
    """Without an answer for so long, a request's fate is unknown."""
    event_timeout_s: Positive = 2.0
    """An answer that announces an event, and none comes: ask."""
    reconcile_s: Positive = 300.0
    settle_s: float = 0.5
    """A difference must last so long to be one: events may be on their way."""
    mute_s: Positive = 60.0
    """Least time between two replacements of a connection that lacks events."""
    lookback_s: float = 3600.0
    """Of fills, at the first start."""
    orphan_s: float = 0.0
    """Cancel all orders if whoever asks has been dead for so long; 0: never."""
    dead_man_s: float = 60.0
    """The venue's countdown while orders are open; 0 for none."""
    cancel_on_stop: bool = False
    clock_s: Positive = 60.0
    limit_factor: Positive = 1.0
    """Of the venue's limits: less leaves the rest to others who use the address or the account,
    more is for an account to which the venue has granted more."""
    urgent_wait_s: float = 2.0
    """How long an urgent request waits for a limit before it is given back."""
    connect_timeout_s: Positive = 10.0
    rest_timeout_s: Positive = 10.0
    backoff_s: Positive = 0.25
    backoff_max_s: Positive = 30.0
    silence_s: Positive = 20.0
    """A connection that is silent for so long is pinged, and given up without an answer."""
    rotate_after_s: float = 0.0
    """0: half an hour before the venue's own end."""
    overlap_s: float = 1.0
    """How long the old connection stays beside its replacement."""

    @property
    def requests(self) -> str:
        """The ring of requests."""
        return requests_ring(self.account)

    @property
    def reports(self) -> str:
        """The ring of reports."""
        return reports_ring(self.account)

    @property
    def table(self) -> str:
        """The table of instruments."""
        return self.instruments or f"feed.{self.venue}.instruments"


def find_factory(venue: str) -> Factory:
    """Return what makes a venue's adapter.

    Raises
    ------
    ConfigError
        If no installed package announces a gateway of that name.

    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if venue in points:
        return cast(Factory, points[venue].load())
    near = get_close_matches(venue, points, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(points)) or 'none'}"
    raise ConfigError(f"venue: no gateway for {venue!r} is installed - {hint}")


def identity(
    settings: GatewaySettings,
    environment: str,
    factory: Factory,
    variables: Mapping[str, str] | None = None,
) -> Identity:
    """Return whose orders they are; the secrets are found through ``variables`` (the process').

    Raises
    ------
    ConfigError
        If a secret is missing, or the venue has no keys of that type.

    """
    name = settings.key or settings.account
    signers: Mapping[Any, Callable[[Secret], Sign]] = getattr(factory, "signers", SIGNERS)
    if settings.key_type not in signers:
        known = ", ".join(signers)
        raise ConfigError(
            f"key_type: {settings.venue} has no keys of type {settings.key_type!r}, only {known}"
        )
    passphrase = Secret("")
    if getattr(factory, "needs_passphrase", False):
        passphrase = find(f"{name}_passphrase", variables)
    return Identity(
        key=find(f"{name}_key", variables),
        sign=signers[settings.key_type](find(f"{name}_secret", variables)),
        passphrase=passphrase,
        session_logon=settings.key_type == "ed25519",
        test=environment in ("demo", "testnet"),
    )


def endpoints_of(
    adapter: OrderAdapter, settings: GatewaySettings, environment: str, other: Endpoint | None
) -> Endpoints:
    """Return where the venue is reached.

    The venue's own addresses of the environment, replaced by those of ``[endpoints.<venue>]``
    (``other``; one WebSocket base stands for the host, the venue's paths stay), replaced by those
    of the gateway's own settings.

    Raises
    ------
    ConfigError
        If the venue has no such environment, and not all addresses are given.

    """
    exchange = adapter.exchange
    known = exchange.endpoints.get(environment)
    rest = known.rest if known else ""
    routes = dict(known.websocket) if known else {}
    if other is not None and other.rest is not None:
        rest = other.rest
    if other is not None and isinstance(other.websocket, str):
        pattern = known or next(iter(exchange.endpoints.values()))
        base = other.websocket.rstrip("/")
        routes = {
            route: base + _path(url, exchange.name) for route, url in pattern.websocket.items()
        }
    elif other is not None and isinstance(other.websocket, dict):
        routes |= {name: url for name, url in other.websocket.items() if name in _ROUTES}
    rest = settings.rest_url or rest
    for route, url in ((ROUTE_ORDERS, settings.orders_url), (ROUTE_PRIVATE, settings.private_url)):
        if url:
            routes[route] = url
    if not rest or not routes:
        raise ConfigError(
            f"venue {exchange.name!r} has no environment {environment!r} (known: "
            f"{', '.join(exchange.endpoints)}) - set rest_url, orders_url and private_url, or "
            "change environment"
        )
    return Endpoints(rest.rstrip("/"), routes)


_ROUTES = (ROUTE_ORDERS, ROUTE_PRIVATE)


def _path(url: str, venue: str) -> str:
    """Return a URL's path without the name of the venue that the simulator puts before it."""
    path = urlsplit(url).path
    return path.removeprefix(f"/{venue}") if path.startswith(f"/{venue}/") else path
