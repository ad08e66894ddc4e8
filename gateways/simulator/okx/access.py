"""Who sends a private request: keys, passphrases, times and signatures of REST and WebSocket.

Sources: the venue's pages on REST authentication and on the WebSocket login.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from gateways.simulator.account import Account
from gateways.simulator.okx.dialect import LOGIN_WINDOW_S
from gateways.simulator.private import verify
from gateways.simulator.rest import ApiError
from gateways.simulator.trading import Trading

_ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")
_LOGIN_TARGET = "GET/users/self/verify"
_HEADERS = (
    ("OK-ACCESS-KEY", 50103),
    ("OK-ACCESS-PASSPHRASE", 50104),
    ("OK-ACCESS-SIGN", 50106),
    ("OK-ACCESS-TIMESTAMP", 50107),
)
_WINDOW_MS = int(LOGIN_WINDOW_S * 1000)


def authenticate(
    trading: Trading, headers: Mapping[str, str], method: str, target: str, body: bytes, now_ms: int
) -> Account:
    """Return whose REST request it is; raises ApiError.

    ``target`` is the path with its query exactly as it was sent, without the base of the address.
    """
    for name, code in _HEADERS:
        if not headers.get(name):
            raise ApiError(code, f'Request header "{name}" can not be empty.', 401)
    stamp = headers["OK-ACCESS-TIMESTAMP"]
    if not _ISO.match(stamp):
        raise ApiError(50112, "Invalid OK-ACCESS-TIMESTAMP", 401)
    try:
        sent = datetime.fromisoformat(stamp.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        raise ApiError(50112, "Invalid OK-ACCESS-TIMESTAMP", 401) from None
    if abs(now_ms - sent.timestamp() * 1000) > _WINDOW_MS:
        raise ApiError(50102, "Timestamp request expired", 401)
    account = trading.by_key(headers["OK-ACCESS-KEY"])
    if account is None:
        raise ApiError(50111, "Invalid OK-ACCESS-KEY", 401)
    if headers["OK-ACCESS-PASSPHRASE"] != account.passphrase:
        raise ApiError(50105, "Request header OK-ACCESS-PASSPHRASE incorrect.", 401)
    payload = f"{stamp}{method}{target}".encode() + body
    if not verify(account, payload, headers["OK-ACCESS-SIGN"], encoding="base64"):
        raise ApiError(50113, "Invalid Sign", 401)
    return account


def log_in(trading: Trading, argument: object, now_ms: int) -> Account:
    """Return whose login it is; raises ApiError with the venue's WebSocket codes."""
    if not isinstance(argument, dict):
        raise ApiError(60009, "Login failed.")
    texts = {
        name: str(argument.get(name, "")) for name in ("apiKey", "passphrase", "timestamp", "sign")
    }
    if not all(texts.values()):
        raise ApiError(60009, "Login failed.")
    stamp = texts["timestamp"]  # In seconds; some clients send a number, some a text.
    try:
        seconds = float(stamp)
    except ValueError:
        raise ApiError(60004, "Invalid timestamp") from None
    if not abs(now_ms - seconds * 1000) <= _WINDOW_MS:
        raise ApiError(60006, "Timestamp request expired")
    account = trading.by_key(texts["apiKey"])
    if account is None:
        raise ApiError(60005, "Invalid apiKey")
    if texts["passphrase"] != account.passphrase:
        raise ApiError(60024, "Wrong passphrase")
    if not verify(account, f"{stamp}{_LOGIN_TARGET}".encode(), texts["sign"], encoding="base64"):
        raise ApiError(60007, "Invalid sign")
    return account
