"""A client of the simulated Binance that signs by hand, as the venue's documents say."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tests.simulator_client import message

SPOT, USDM = "binance_spot", "binance_usdm"
KEY, SECRET = "demo-key", "demo-secret"
API = {SPOT: "/ws-api/v3", USDM: "/ws-fapi/v1"}
SYMBOL = "BTCUSDT"


def hexadecimal(payload, secret=SECRET):
    """Return the HMAC-SHA256 of a payload in hexadecimal digits."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def private(key):
    """Return a signer with a private key, and the PEM of its public half."""

    def sign(payload):
        if isinstance(key, Ed25519PrivateKey):
            raw = key.sign(payload.encode())
        else:
            raw = key.sign(payload.encode(), PKCS1v15(), hashes.SHA256())
        return base64.b64encode(raw).decode()

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sign, key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


class Rest:
    """Signed REST requests; answers are (status, JSON), ``headers`` those of the last."""

    def __init__(self, http, base, *, key=KEY, sign=hexadecimal, clock=None):
        self.http, self.base, self.key, self.sign = http, base, key, sign
        self.clock = clock or (lambda: time.time_ns() // 1_000_000)
        self.headers = {}

    async def __call__(self, method, path, **parameters):
        parameters = {"timestamp": self.clock()} | parameters
        query = "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items())
        return await self.raw(method, path, f"{query}&signature={quote(self.sign(query), safe='')}")

    async def raw(self, method, path, query, body=None):
        """Send exactly this query and body."""
        from yarl import URL

        address = URL(f"{self.base}{path}?{query}", encoded=True)
        headers = {"X-MBX-APIKEY": self.key} if self.key else {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        async with self.http.request(method, address, data=body, headers=headers) as response:
            self.headers = response.headers
            return response.status, await response.json()


class Api:
    """A connection to the WebSocket API; events wait in ``events``."""

    def __init__(self, socket, *, key=KEY, sign=hexadecimal):
        self.socket, self.key, self.sign = socket, key, sign
        self.events, self.number = [], 0
        self.seen = []
        """All events that have been read."""

    async def __call__(self, method, **parameters):
        """Send a signed request and return its reply."""
        return await self.reply(await self.send(method, **self.signed(parameters)))

    async def plain(self, method, **parameters):
        """Send a request as it is and return its reply."""
        return await self.reply(await self.send(method, **parameters))

    def signed(self, parameters):
        """Return parameters with key, time and signature, unless they have them already."""
        parameters = {"apiKey": self.key, "timestamp": time.time_ns() // 1_000_000} | parameters
        payload = "&".join(f"{name}={_text(parameters[name])}" for name in sorted(parameters))
        return {"signature": self.sign(payload)} | parameters

    async def send(self, method, **parameters):
        """Send a request and return its number."""
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        await self.socket.send_json(request)
        return self.number

    async def reply(self, number):
        """Return the reply to a request; what comes before it waits in ``events``."""
        while True:
            received = await message(self.socket)
            if received.get("id") == number:
                return received
            self.events.append(received)

    async def event(self):
        """Return the next event."""
        event = self.events.pop(0) if self.events else await message(self.socket)
        self.seen.append(event.get("event", event))
        return event

    async def until(self, wanted):
        """Return the next event of which ``wanted`` is true."""
        while True:
            event = await self.event()
            if wanted(event.get("event", event)):
                return event.get("event", event)


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


@asynccontextmanager
async def api(venue, http, name=SPOT, **options):
    """Connect to a WebSocket API."""
    async with http.ws_connect(venue.base(name, "ws") + API[name]) as socket:
        yield Api(socket, **options)


@asynccontextmanager
async def listening(venue, http):
    """Connect to the user data stream of spot; the reply to the subscription has been read."""
    async with api(venue, http) as connection:
        reply = await connection("userDataStream.subscribe.signature")
        assert reply["result"] == {"subscriptionId": 0}
        yield connection


@asynccontextmanager
async def private_stream(venue, http, rest, path="/private/ws?listenKey={}"):
    """Connect to the private stream of USDⓈ-M under a new listen key."""
    _, answer = await rest("POST", "/fapi/v1/listenKey")
    address = venue.base(USDM, "ws") + path.format(answer["listenKey"])
    async with http.ws_connect(address) as socket:
        await asyncio.sleep(0)
        yield socket


def best(venue, name=SPOT, symbol=SYMBOL):
    """Return the best bid and ask as floats."""
    book = venue.state(1)["venues"][name]["symbols"][symbol]
    return float(book["bid"][0]), float(book["ask"][0])


def limit(price, quantity="0.01", side="BUY", **more):
    """Return the parameters of a limit order."""
    usual = {"symbol": SYMBOL, "side": side, "type": "LIMIT", "timeInForce": "GTC"}
    return usual | {"quantity": quantity, "price": price} | more


def market(quantity="0.01", side="BUY", **more):
    """Return the parameters of a market order."""
    return {"symbol": SYMBOL, "side": side, "type": "MARKET", "quantity": quantity} | more


def account_of(venue, name=SPOT):
    """Return the account in the simulator's own books."""
    return venue.venues[name].trading.accounts[0]
