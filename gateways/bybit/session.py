"""Bybit's private connections: logins, subscriptions, keep-alive.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Connect" (authentication, heartbeat,
topics), "Websocket Trade Guideline", "Dcp". A wrong topic refuses its whole request, and the topic
of the disconnection protect is for institutions only, so it is subscribed by itself; if it is
refused, the connection lives without it.
"""

from gateways.adapter import ROUTE_PRIVATE, Identity

PING = b'{"op":"ping"}'
PING_S = 20.0
AUTH_MS = 10_000
"""How long a login is valid."""
DCP = "dcp"
"""The request id of the subscription that may be refused."""


def login(identity: Identity, now_ms: int) -> bytes:
    """Return the login of either connection."""
    expires = now_ms + AUTH_MS
    sign = identity.sign(f"GET/realtime{expires}".encode())
    return f'{{"op":"auth","args":["{identity.key.reveal()}",{expires},"{sign}"]}}'.encode()


def subscriptions(route: str, spot: bool) -> list[bytes]:
    """Return the subscriptions of a route; the trade connection has none."""
    if route != ROUTE_PRIVATE:
        return []
    topics = ["order", "execution", "wallet"] if spot else ["order", "execution", "position"]
    if not spot:
        topics.append("wallet")
    args = ",".join(f'"{topic}"' for topic in topics)
    product = "dcp.spot" if spot else "dcp.future"
    return [
        f'{{"req_id":"events","op":"subscribe","args":[{args}]}}'.encode(),
        f'{{"req_id":"{DCP}","op":"subscribe","args":["{product}"]}}'.encode(),
    ]
