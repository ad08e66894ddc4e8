"""OKX's private connections: login, subscriptions, keep-alive.

Sources, read 2026-11: the API v5 guide, "Overview" (WebSocket: login, connect). One connection
takes orders and carries events, another one those of stop orders; each is cut after 30 s without a
message in either direction.
"""

import orjson

from gateways.adapter import ROUTE_ORDERS, Identity
from gateways.okx.endpoints import ROUTE_BUSINESS

PING_S = 20.0
"""A text ``ping`` at least so often: the venue hangs up after 30 s of silence."""

CHANNELS: dict[str, tuple[dict[str, str], ...]] = {
    ROUTE_ORDERS: (
        {"channel": "orders", "instType": "ANY"},
        {"channel": "account"},
        {"channel": "positions", "instType": "ANY"},
        # For the funding fees: balances and positions come on the two above, and say more.
        {"channel": "balance_and_position"},
    ),
    ROUTE_BUSINESS: ({"channel": "orders-algo", "instType": "ANY"},),
}


def login(identity: Identity, now_ms: int) -> bytes:
    """Return the login: its time is in seconds, and may be 30 s off."""
    seconds = str(now_ms // 1000)
    return orjson.dumps(
        {
            "op": "login",
            "args": [
                {
                    "apiKey": identity.key.reveal(),
                    "passphrase": identity.passphrase.reveal(),
                    "timestamp": seconds,
                    "sign": identity.sign(f"{seconds}GET/users/self/verify".encode()),
                }
            ],
        }
    )


def subscriptions(route: str) -> list[bytes]:
    """Return a message for each channel: each is answered once."""
    return [orjson.dumps({"op": "subscribe", "args": [channel]}) for channel in CHANNELS[route]]
