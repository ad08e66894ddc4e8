"""Where Bybit takes orders and tells private events, and how its orders behave.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Connect" (WebSocket stream), "Websocket
Trade Guideline", "Place Order", "Set DCP"; bybit.com, "Trading Fee Structure". One account trades
contracts (linear and inverse) and spot: two venues here, because their native symbols collide.
Orders go over one connection, private events come over another. Demo trading takes no orders by
WebSocket, so there is no environment for it.
"""

from engine.common import Endpoints, Exchange, FeeSchedule, RateLimits, TimeInForce
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Amend, Dialect
from gateways.bybit.limits import ADDRESS
from gateways.dialects import SIMULATOR


def bybit_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return the endpoints at the given base URLs."""
    base = websocket.rstrip("/")
    routes = {ROUTE_ORDERS: f"{base}/v5/trade", ROUTE_PRIVATE: f"{base}/v5/private"}
    return Endpoints(rest.rstrip("/"), routes)


def _endpoints(name: str) -> dict[str, Endpoints]:
    return {
        "live": bybit_endpoints("https://api.bybit.com", "wss://stream.bybit.com"),
        "testnet": bybit_endpoints(
            "https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com"
        ),
        "simulator": bybit_endpoints(f"http://{SIMULATOR}/{name}", f"ws://{SIMULATOR}/{name}"),
    }


LIMITS = RateLimits(connections_per_5_minutes=500)

BYBIT = Exchange(
    name="bybit",
    title="Bybit contracts",
    endpoints=_endpoints("bybit"),
    limits=LIMITS,
    fees=FeeSchedule(maker_ppm=200, taker_ppm=550),
)

BYBIT_SPOT = Exchange(
    name="bybit_spot",
    title="Bybit spot",
    endpoints=_endpoints("bybit_spot"),
    limits=LIMITS,
    fees=FeeSchedule(maker_ppm=1000, taker_ppm=1000),
)

RECV_WINDOW_MS = 5_000
"""A request that reaches the venue later than this after its timestamp is refused."""

DIALECT = Dialect(
    times_in_force=frozenset(
        {TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY}
    ),
    amend_needs_both=False,
    # Code 110063.
    amend_below_filled=Amend.REFUSED,
    # The request's own end (RECV_WINDOW_MS), and as much again for replicas.
    not_found_after_s=2 * RECV_WINDOW_MS / 1000,
    # Disconnection protect: counts from the loss of the private connection; institutions only.
    # The trade connection has a limit of its own.
    ban_limits=(ADDRESS,),
    dead_man="account",
    dead_man_s=(3.0, 300.0),
    private_on_orders_route=False,
)
