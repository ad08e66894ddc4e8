"""Where OKX takes orders and tells private events, and how its orders behave.

Sources, read 2026-11: the API v5 guide, "Overview" (services, demo trading), "Order book trading"
(place, amend, cancel all after; algo orders channel), "Fees". One connection to ``/ws/v5/private``
takes orders and carries the private channels, but for stop orders: what becomes of them is told at
``/ws/v5/business`` only.
"""

from engine.common import Endpoints, Exchange, FeeSchedule, RateLimits, TimeInForce
from gateways.adapter import ROUTE_ORDERS, Amend, Cost, Dialect
from gateways.dialects import SIMULATOR
from gateways.okx.limits import CONNECT

ROUTE_BUSINESS = "business"
"""The route that tells of stop orders; its address is the orders' with another end."""


def okx_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return the endpoints at the given base URLs."""
    return Endpoints(rest.rstrip("/"), {ROUTE_ORDERS: f"{websocket.rstrip('/')}/ws/v5/private"})


REST = "https://openapi.okx.com"
DEMO_WEBSOCKET = "wss://wspap.okx.com:8443"
"""Demo trading has the REST address of the live venue, and a header (``x-simulated-trading``)."""

OKX = Exchange(
    name="okx",
    title="OKX",
    endpoints={
        "live": okx_endpoints(REST, "wss://ws.okx.com:8443"),
        "testnet": okx_endpoints(REST, DEMO_WEBSOCKET),
        "demo": okx_endpoints(REST, DEMO_WEBSOCKET),
        "simulator": okx_endpoints(f"http://{SIMULATOR}/okx", f"ws://{SIMULATOR}/okx"),
    },
    limits=RateLimits(connections_per_second=3, subscribe_messages_per_hour=480),
    # Spot, regular tier 1; swaps and futures pay 200 and 500.
    fees=FeeSchedule(maker_ppm=800, taker_ppm=1000),
)

EXPIRE_MS = 5_000
"""An order or amendment that reaches the venue later than this is dropped there (``expTime``)."""

DIALECT = Dialect(
    times_in_force=frozenset(
        {TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY}
    ),
    amend_needs_both=False,
    amend_below_filled=Amend.FILLS,
    # The order's own end (EXPIRE_MS), and as much again for replicas.
    not_found_after_s=2 * EXPIRE_MS / 1000,
    dead_man="account",
    dead_man_s=(10.0, 120.0),
    private_on_orders_route=True,
    more_private_routes=(ROUTE_BUSINESS,),
    connection_costs=(Cost(CONNECT),),
)
