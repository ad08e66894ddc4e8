"""Where Bybit's public side is reached, and its published limits.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Connect" (WebSocket stream), "Rate Limit
Rules" and "Demo Trading Service"; bybit.com, "Trading Fee Structure".
"""

from engine.common import Endpoints, Exchange, FeeSchedule, RateLimits

LINEAR, INVERSE, SPOT_ROUTE = "linear", "inverse", "spot"
"""Routes: Bybit's categories, each with a WebSocket address of its own."""


def contract_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return the endpoints of linear and inverse contracts at the given base URLs."""
    base = websocket.rstrip("/")
    routes = {route: f"{base}/v5/public/{route}" for route in (LINEAR, INVERSE)}
    return Endpoints(rest.rstrip("/"), routes)


def spot_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return spot endpoints at the given base URLs."""
    return Endpoints(rest.rstrip("/"), {SPOT_ROUTE: f"{websocket.rstrip('/')}/v5/public/spot"})


SIMULATOR = "127.0.0.1:9101"
"""Where the simulated venue (``gateways.simulator``) listens unless configured otherwise."""

LIVE = ("https://api.bybit.com", "wss://stream.bybit.com")
TESTNET = ("https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com")
DEMO = ("https://api-demo.bybit.com", "wss://stream.bybit.com")
"""Demo trading takes its public data from the live market."""

LIMITS = RateLimits(
    # 600 requests in 5 s from an address.
    rest_weight_per_minute=7200,
    connections_per_5_minutes=500,
    # The venue names no end of a public connection; a day is what the others allow.
    connection_hours=24.0,
)

BYBIT = Exchange(
    name="bybit",
    title="Bybit contracts",
    endpoints={
        "live": contract_endpoints(*LIVE),
        "testnet": contract_endpoints(*TESTNET),
        "demo": contract_endpoints(*DEMO),
        "simulator": contract_endpoints(f"http://{SIMULATOR}/bybit", f"ws://{SIMULATOR}/bybit"),
    },
    limits=LIMITS,
    fees=FeeSchedule(maker_ppm=200, taker_ppm=550),
)

BYBIT_SPOT = Exchange(
    name="bybit_spot",
    title="Bybit spot",
    endpoints={
        "live": spot_endpoints(*LIVE),
        "testnet": spot_endpoints(*TESTNET),
        "demo": spot_endpoints(*DEMO),
        "simulator": spot_endpoints(
            f"http://{SIMULATOR}/bybit_spot", f"ws://{SIMULATOR}/bybit_spot"
        ),
    },
    limits=LIMITS,
    fees=FeeSchedule(maker_ppm=1000, taker_ppm=1000),
)
