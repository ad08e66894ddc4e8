"""OKX's private connection: login, subscriptions, keep-alive.

Sources, read 2026-11: the API v5 guide, "Overview" (WebSocket: login, connect). One connection
takes orders and carries events; it is cut after 30 s without a message in either direction.
"""

import orjson

from gateways.adapter import Identity

PING_S = 20.0
"""A text ``ping`` at least so often: the venue hangs up after 30 s of silence."""

CHANNELS: tuple[dict[str, str], ...] = (
    {"channel": "orders", "instType": "ANY"},
    {"channel": "account"},
    {"channel": "positions", "instType": "ANY"},
)


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


def subscriptions() -> list[bytes]:
    """Return a message for each channel: each is answered once."""
    return [orjson.dumps({"op": "subscribe", "args": [channel]}) for channel in CHANNELS]
