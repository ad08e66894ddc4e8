"""Where OKX's public side is reached, and its published limits.

Sources, read 2026-11: the API v5 guide, "Overview" (services, WebSocket: connect, subscribe and
login limits), "Order book trading / Market data" (request limits). The demo environment has its own
WebSocket hosts; its market data is the live one, so its instruments are too.
"""

from engine.common import Endpoints, Exchange, FeeSchedule, RateLimits

PUBLIC, BUSINESS = "public", "business"
"""Routes: most channels, and the few (``trades-all``, candles) that live on a path of their own."""


def okx_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return endpoints at the given base URLs."""
    base = websocket.rstrip("/")
    routes = {route: f"{base}/ws/v5/{route}" for route in (PUBLIC, BUSINESS)}
    return Endpoints(rest.rstrip("/"), routes)


SIMULATOR = "127.0.0.1:9101"
"""Where the simulated venue (``gateways.simulator``) listens unless configured otherwise."""

REST = "https://openapi.okx.com"

OKX = Exchange(
    name="okx",
    title="OKX",
    endpoints={
        "live": okx_endpoints(REST, "wss://ws.okx.com:8443"),
        "testnet": okx_endpoints(REST, "wss://wspap.okx.com:8443"),
        "simulator": okx_endpoints(f"http://{SIMULATOR}/okx", f"ws://{SIMULATOR}/okx"),
        "demo": okx_endpoints(REST, "wss://wspap.okx.com:8443"),
    },
    limits=RateLimits(
        # The venue limits each path by itself: 40 books in 2 s are the unit (``session``).
        rest_weight_per_minute=1200,
        connections_per_second=3,
        subscribe_messages_per_hour=480,
        # None is published: what ends a connection is announced. A day is as good as any.
        connection_hours=24.0,
    ),
    # Spot, regular tier 1; swaps and futures pay 200 and 500.
    fees=FeeSchedule(maker_ppm=800, taker_ppm=1000),
)
