"""Requests to Binance that several tests send, and the dialects that write them."""

import json
from typing import Any

from engine.common import OrderType, Side
from engine.secrets import Secret
from gateways.adapter import Identity
from gateways.binance import BinanceSpot, BinanceUsdm
from gateways.message import Answer, Instrument, Request
from gateways.signing import ed25519_base64, hmac_hex
from gateways.types import Action

NOW_MS = 1_700_000_000_000
ED25519 = "MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u"
BTC = Instrument(3, "BTCUSDT", "BTC/USDT", "BTC", "USDT", "", 1, 2, 5, 1, 1)
INSTRUMENTS = {"BTCUSDT": BTC}
KEY = Identity(Secret("the-key"), hmac_hex(Secret("the-secret")))
LOGON = Identity(Secret("the-key"), ed25519_base64(Secret(ED25519)), session_logon=True)
ORDER = Request(
    Action.NEW,
    7,
    5,
    BTC,
    side=Side.SELL,
    price=50_000_00,
    quantity=20_000,
    client_text="ti0000000000005",
)
STOP = ORDER._replace(order_type=OrderType.STOP_MARKET, price=0, stop_price=49_000_00)
AMENDMENT = ORDER._replace(action=Action.AMEND, order_price=50_000_00, order_quantity=30_000)
REPLACEMENT = AMENDMENT._replace(price=51_000_00)


def spot(identity: Identity = KEY) -> BinanceSpot:
    return BinanceSpot(identity)


def usdm(identity: Identity = KEY) -> BinanceUsdm:
    return BinanceUsdm(identity)


def sent(adapter: BinanceSpot | BinanceUsdm, request: Request) -> dict[str, Any]:
    message = adapter.order_message(request, "w1", NOW_MS)
    assert message is not None
    parsed: dict[str, Any] = json.loads(message)
    return parsed


def refused(events: Any) -> Answer:
    (answer,) = events
    assert isinstance(answer, Answer)
    return answer
