"""Sessions with Binance: logging on, subscribing to private events, listenKeys, the clock.

Ed25519 keys log a WebSocket API session on; no request on it is signed afterwards. With other
keys each request has its own signature, and spot's private events are subscribed to with one.

Sources: developers.binance.com, spot "Authentication" and "User data stream requests" of the
WebSocket API; USDⓈ-M "Start / keepalive user data stream", "Connect" (the /private route).
"""

from collections.abc import Sequence
from typing import Any

import orjson

from engine.common import Endpoints
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Call
from gateways.binance.limits import weight
from gateways.binance.requests import API_KEY, FORM_HEADERS, Signer

LOGON_ID, SUBSCRIBE_ID = "logon_l", "subscribe_s"
STREAM_KEY_EXTEND_S = 1800.0
"""A listenKey lives 60 minutes; half of it leaves time for a second attempt."""


def logon(signer: Signer, now_ms: int) -> Sequence[bytes]:
    """Return ``session.logon`` for keys that can do it; nothing for the others."""
    if not signer.logon:
        return ()
    return (_signed(signer, LOGON_ID, "session.logon", now_ms),)


def subscribe(signer: Signer, now_ms: int) -> Sequence[bytes]:
    """Return the subscription to spot's private events on the connection of orders."""
    if signer.logon:
        return (
            orjson.dumps({"id": SUBSCRIBE_ID, "method": "userDataStream.subscribe", "params": {}}),
        )
    return (_signed(signer, SUBSCRIBE_ID, "userDataStream.subscribe.signature", now_ms),)


def _signed(signer: Signer, wire_id: str, method: str, now_ms: int) -> bytes:
    params: dict[str, Any] = {
        "apiKey": signer.key,
        "recvWindow": signer.window_ms,
        "timestamp": now_ms,
    }
    payload = "&".join(f"{name}={value}" for name, value in params.items())
    params["signature"] = signer.sign(payload.encode())
    return orjson.dumps({"id": wire_id, "method": method, "params": params})


def url(route: str, environment: Endpoints, stream_key: str) -> str:
    """Return the URL of a route; USDⓈ-M's private one has the listenKey in its query."""
    base = environment.websocket[route]
    if route == ROUTE_PRIVATE:
        return f"{base}/ws?listenKey={stream_key}"
    assert route == ROUTE_ORDERS
    return base


def stream_key_calls(signer: Signer, path: str, stream_key: str) -> tuple[Sequence[Call], float]:
    """Return the call that gets or extends the account's listenKey, and how often (s).

    A key is the account's, not ours: another client may get, extend or close the same one.
    """
    method = "PUT" if stream_key else "POST"
    headers = {**FORM_HEADERS, API_KEY: signer.key}
    call = Call(method, path, headers, costs=weight(1), tag="listenKey")
    return (call,), STREAM_KEY_EXTEND_S


def stream_key(body: bytes) -> str:
    """Return the listenKey of an answer; empty if the venue knows it no longer (-1125).

    Raises
    ------
    ValueError
        If it is neither.

    """
    answer = orjson.loads(body)
    if not isinstance(answer, dict):
        raise ValueError("the answer about a listenKey is no object")
    if "listenKey" in answer:
        return str(answer["listenKey"])
    if answer.get("code") == -1125 or not answer:
        return ""
    raise ValueError(f"no listenKey: {answer.get('code')} {answer.get('msg', '')}")


def server_time(body: bytes) -> int:
    """Return the venue's clock of an answer, Unix ms; ValueError if it has none."""
    answer = orjson.loads(body)
    time_ms = answer.get("serverTime") if isinstance(answer, dict) else None
    if not isinstance(time_ms, int):
        raise ValueError("the answer has no serverTime")
    return time_ms
