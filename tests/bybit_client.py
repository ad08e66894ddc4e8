"""A client of the simulated Bybit's private side that follows the documents to the letter."""

import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp

from tests.data import shared
from tests.simulator_client import against, message, shape

KEY, SECRET = "demo-key", "demo-secret"
CONTRACT, SPOT = "bybit", "bybit_spot"
WINDOW = "5000"
LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
SPOTS = {"category": "spot", "symbol": "BTCUSDT"}


def sign(text, secret=SECRET):
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Rest:
    """Signs as the venue's guide says and returns ``retCode`` and ``result``."""

    def __init__(self, venue, http, name=CONTRACT):
        self.base, self.http = venue.base(name), http
        self.headers = {}

    async def whole(self, method, path, body="", query="", **headers):
        """Send exactly these bytes; return status, headers and JSON."""
        stamp = headers.pop("stamp", None) or str(time.time_ns() // 1_000_000)
        known = {
            "X-BAPI-API-KEY": KEY,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": WINDOW,
            "X-BAPI-SIGN": sign(stamp + KEY + WINDOW + (query or body)),
        }
        url = f"{self.base}{path}" + (f"?{query}" if query else "")
        async with self.http.request(
            method, url, data=body or None, headers=known | headers
        ) as response:
            return response.status, response.headers, await response.json()

    async def get(self, path, **parameters):
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        _, self.headers, body = await self.whole("GET", path, query=query)
        return body["retCode"], body["result"]

    async def post(self, path, **parameters):
        _, self.headers, body = await self.whole("POST", path, json.dumps(parameters))
        return body["retCode"], body["result"]

    async def create(self, **parameters):
        """Place an order: a limit order to buy unless told otherwise."""
        usual = LINEAR | {"side": "Buy", "orderType": "Limit", "qty": "0.01"}
        return await self.post("/v5/order/create", **(usual | parameters))


def with_rest(use, name=CONTRACT, **changes):
    """Run ``use(venue, rest)`` against a quiet venue with both namespaces."""

    async def run(venue, http):
        return await use(venue, Rest(venue, http, name))

    return against(run, **({"venues": [CONTRACT, SPOT], "liquidations": 0.0} | changes))


def books(venue, name=CONTRACT):
    trading = venue.venues[name].trading
    return trading, trading.accounts[0]


def price(venue, share=1.0, name=CONTRACT, symbol="BTCUSDT"):
    """Return a price on the tick, so much of the best bid."""
    bid = venue.state(1)["venues"][name]["symbols"][symbol]["bid"][0]
    return str(Decimal(str(round(float(bid) * share, 1))))


@asynccontextmanager
async def private(venue, *topics, name=CONTRACT, path="private", query=""):
    """Connect, authenticate and subscribe; the topics' messages come next."""
    async with aiohttp.ClientSession() as http:
        url = f"{venue.base(name, 'ws')}/v5/{path}{query}"
        async with http.ws_connect(url) as socket:
            expires = time.time_ns() // 1_000_000 + 5000
            arguments = [KEY, expires, sign(f"GET/realtime{expires}")]
            await socket.send_json({"op": "auth", "args": arguments})
            reply = await message(socket)
            assert reply.get("success") is True or reply["retCode"] == 0
            if topics:
                await socket.send_json({"op": "subscribe", "args": list(topics)})
                assert (await message(socket))["success"] is True
            yield socket


async def rows(socket, wanted):
    """Return the rows of the next messages, until there are ``wanted``."""
    found = []
    while len(found) < wanted:
        found += (await message(socket))["data"]
    return found


async def ask(socket, operation, number="", **parameters):
    """Send an order request and return the reply."""
    request = {
        "header": {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000)},
        "op": operation,
        "args": [parameters],
    }
    await socket.send_json(request | ({"reqId": number} if number else {}))
    return await message(socket)


def recorded(kind):
    """Return the fields that all recorded messages of a kind have."""
    with shared(f"bybit/{kind}.jsonl").open() as lines:
        return set.intersection(*(shape(json.loads(line)) for line in lines))
