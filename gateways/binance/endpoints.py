"""Where Binance takes orders and tells of them, its fees, and how its orders behave.

Sources: developers.binance.com, spot "WebSocket API", "Order amend keep priority", "User data
streams", "Demo mode", "Spot testnet"; USDⓈ-M "WebSocket API general info", "Modify order",
"Auto-cancel all open orders", "Important WebSocket change notice" (the /private route).
"""

from engine.common import Endpoints, Exchange, FeeSchedule, RateLimits, TimeInForce
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Amend, Cost, Dialect
from gateways.binance.limits import CONNECTIONS, weight
from gateways.dialects import SIMULATOR

RECV_WINDOW_MS = 5000
"""How long after its timestamp a request may reach the matching engine; then it dies by itself."""
ENGINE_TIMEOUT_S = 10.0
"""After so long the API gives up on the matching engine (-1007)."""


def spot_endpoints(rest: str, orders: str) -> Endpoints:
    """Return spot endpoints: REST's base URL, and the WebSocket API's URL with its path."""
    return Endpoints(rest.rstrip("/"), {ROUTE_ORDERS: orders.rstrip("/")})


def usdm_endpoints(rest: str, orders: str, private: str) -> Endpoints:
    """Return USDⓈ-M endpoints: REST, WebSocket API with its path, and the streams' base URL."""
    return Endpoints(
        rest.rstrip("/"),
        {ROUTE_ORDERS: orders.rstrip("/"), ROUTE_PRIVATE: f"{private.rstrip('/')}/private"},
    )


SPOT = Exchange(
    name="binance_spot",
    title="Binance spot",
    endpoints={
        "live": spot_endpoints("https://api.binance.com", "wss://ws-api.binance.com:443/ws-api/v3"),
        "testnet": spot_endpoints(
            "https://testnet.binance.vision", "wss://ws-api.testnet.binance.vision/ws-api/v3"
        ),
        "simulator": spot_endpoints(
            f"http://{SIMULATOR}/binance_spot", f"ws://{SIMULATOR}/binance_spot/ws-api/v3"
        ),
        "demo": spot_endpoints(
            "https://demo-api.binance.com", "wss://demo-ws-api.binance.com/ws-api/v3"
        ),
    },
    limits=RateLimits(rest_weight_per_minute=6000, connections_per_5_minutes=300),
    fees=FeeSchedule(maker_ppm=1000, taker_ppm=1000),
)

USDM = Exchange(
    name="binance_usdm",
    title="Binance USDⓈ-M futures",
    endpoints={
        "live": usdm_endpoints(
            "https://fapi.binance.com",
            "wss://ws-fapi.binance.com/ws-fapi/v1",
            "wss://fstream.binance.com",
        ),
        "testnet": usdm_endpoints(
            "https://testnet.binancefuture.com",
            "wss://testnet.binancefuture.com/ws-fapi/v1",
            "wss://fstream.binancefuture.com",
        ),
        "simulator": usdm_endpoints(
            f"http://{SIMULATOR}/binance_usdm",
            f"ws://{SIMULATOR}/binance_usdm/ws-fapi/v1",
            f"ws://{SIMULATOR}/binance_usdm",
        ),
        "demo": usdm_endpoints(
            "https://demo-fapi.binance.com",
            "wss://testnet.binancefuture.com/ws-fapi/v1",
            "wss://demo-fstream.binance.com",
        ),
    },
    limits=RateLimits(rest_weight_per_minute=2400, connections_per_5_minutes=300),
    fees=FeeSchedule(maker_ppm=200, taker_ppm=500),
)

_SPOT_TIMES = frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY})
_NOT_FOUND_AFTER_S = RECV_WINDOW_MS / 1000 + ENGINE_TIMEOUT_S

SPOT_DIALECT = Dialect(
    times_in_force=_SPOT_TIMES,
    # Cancel-replace sends the whole order anew.
    amend_needs_both=True,
    amend_below_filled=Amend.REFUSED,
    not_found_after_s=_NOT_FOUND_AFTER_S,
    trades_by_instrument=True,
    dead_man="none",
    private_on_orders_route=True,
    # Connecting, logging on and subscribing weigh 2 each.
    connection_costs=(Cost(CONNECTIONS), *weight(6)),
)
USDM_DIALECT = Dialect(
    times_in_force=_SPOT_TIMES | {TimeInForce.GTD},
    amend_needs_both=True,
    amend_below_filled=Amend.CANCELS,
    not_found_after_s=_NOT_FOUND_AFTER_S,
    trades_by_instrument=True,
    dead_man="symbol",
    dead_man_s=(1.0, 86_400.0),
    # Connecting to the WebSocket API weighs 5, logging on 2.
    connection_costs=(Cost(CONNECTIONS), *weight(7)),
)
