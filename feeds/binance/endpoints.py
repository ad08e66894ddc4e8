"""Where Binance's public side is reached, and its published limits.

Sources, read 2026-11: developers.binance.com, spot "WebSocket Streams" and "Limits";
USDⓈ-M "Important WebSocket Change Notice" (the URL split; the unrouted paths were retired on
2026-04-23) and "Market Data Endpoints".
"""

from engine.common import Endpoints, Exchange, FeeSchedule, RateLimits

PUBLIC, MARKET = "public", "market"
"""Routes: what the matching engine pushes, and what an aggregator computes (USDⓈ-M only)."""


def spot_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return spot endpoints at the given base URLs."""
    return Endpoints(rest.rstrip("/"), {PUBLIC: websocket.rstrip("/")})


def usdm_endpoints(rest: str, websocket: str) -> Endpoints:
    """Return USDⓈ-M endpoints at the given base URLs."""
    base = websocket.rstrip("/")
    return Endpoints(rest.rstrip("/"), {PUBLIC: f"{base}/public", MARKET: f"{base}/market"})


SIMULATOR = "127.0.0.1:9101"
"""Where the simulated venue (``gateways.simulator``) listens unless configured otherwise."""

SPOT = Exchange(
    name="binance_spot",
    title="Binance spot",
    endpoints={
        "live": spot_endpoints("https://api.binance.com", "wss://stream.binance.com:9443"),
        "testnet": spot_endpoints(
            "https://testnet.binance.vision", "wss://stream.testnet.binance.vision"
        ),
        "simulator": spot_endpoints(
            f"http://{SIMULATOR}/binance_spot", f"ws://{SIMULATOR}/binance_spot"
        ),
        "demo": spot_endpoints("https://demo-api.binance.com", "wss://demo-stream.binance.com"),
    },
    limits=RateLimits(
        rest_weight_per_minute=6000,
        connections_per_5_minutes=300,
        messages_per_second=5,
        streams_per_connection=1024,
        connection_hours=24.0,
    ),
    fees=FeeSchedule(maker_ppm=1000, taker_ppm=1000),
)

USDM = Exchange(
    name="binance_usdm",
    title="Binance USDⓈ-M futures",
    endpoints={
        "live": usdm_endpoints("https://fapi.binance.com", "wss://fstream.binance.com"),
        "testnet": usdm_endpoints(
            "https://testnet.binancefuture.com", "wss://fstream.binancefuture.com"
        ),
        "simulator": usdm_endpoints(
            f"http://{SIMULATOR}/binance_usdm", f"ws://{SIMULATOR}/binance_usdm"
        ),
        "demo": usdm_endpoints("https://demo-fapi.binance.com", "wss://demo-fstream.binance.com"),
    },
    limits=RateLimits(
        rest_weight_per_minute=2400,
        connections_per_5_minutes=300,
        messages_per_second=10,
        # One page of the venue says 1024, another 200: the smaller serves both.
        streams_per_connection=200,
        connection_hours=24.0,
    ),
    fees=FeeSchedule(maker_ppm=200, taker_ppm=500),
)
