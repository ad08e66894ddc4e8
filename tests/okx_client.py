"""A client of the simulated OKX that signs, logs in and orders as the documents say."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime

from gateways.simulator import SimulatedVenue, SimulatorSettings
from gateways.simulator.okx.orders import OPERATIONS
from tests.data import shared
from tests.simulator_client import against, message, shape, until

OKX, SPOT, SWAP = "okx", "BTC-USDT", "BTC-USDT-SWAP"
KEY, SECRET, PASSPHRASE = "demo-key", "demo-secret", "demo-pass"
ORDER = {"instId": SPOT, "tdMode": "cash", "side": "buy", "ordType": "limit", "sz": "0.01"}
SWAP_ORDER = ORDER | {"instId": SWAP, "tdMode": "cross", "sz": "1"}
FAR, NEAR = "50000", "61000"
"""Prices far below, and not far below, what the generated market begins with."""


def with_okx(use, **changes):
    return against(use, **({"venues": [OKX], "liquidations": 0.0} | changes))


def sign(payload, secret=SECRET):
    digest = hmac.digest(secret.encode(), payload.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def stamp_of(seconds):
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headers_for(method, target, body="", **changes):
    """Return the headers of a signed request; ``changes`` by name: key, passphrase, stamp, sign."""
    stamp = changes.get("stamp", stamp_of(time.time()))
    return {
        "OK-ACCESS-KEY": changes.get("key", KEY),
        "OK-ACCESS-PASSPHRASE": changes.get("passphrase", PASSPHRASE),
        "OK-ACCESS-TIMESTAMP": stamp,
        "OK-ACCESS-SIGN": changes.get("sign", sign(f"{stamp}{method}{target}{body}")),
        "Content-Type": "application/json",
        "x-simulated-trading": "1",
    }


async def get(venue, http, target, **changes):
    """Return status and body of a signed GET of ``/api/v5/`` and ``target``."""
    path = f"/api/v5/{target}"
    url = venue.base(OKX) + path
    async with http.get(url, headers=headers_for("GET", path, **changes)) as response:
        return response.status, await response.json()


async def post(venue, http, target, content, more=None):
    """Return status and body of a signed POST."""
    path, body = f"/api/v5/{target}", json.dumps(content)
    headers = headers_for("POST", path, body) | (more or {})
    async with http.post(venue.base(OKX) + path, data=body, headers=headers) as response:
        return response.status, await response.json()


async def placed(venue, http, **terms):
    """Place an order by REST; return its result."""
    _, body = await post(venue, http, "trade/order", ORDER | terms)
    return body["data"][0]


def connect(venue, http, route="private"):
    return http.ws_connect(f"{venue.base(OKX, 'ws')}/ws/v5/{route}")


def login(**changes):
    stamp = changes.pop("timestamp", str(int(time.time())))
    signature = sign(f"{stamp}GET/users/self/verify")
    fields = {"apiKey": KEY, "passphrase": PASSPHRASE, "timestamp": stamp, "sign": signature}
    return {"op": "login", "args": [fields | changes]}


async def log_in(socket):
    await socket.send_json(login())
    assert (await message(socket))["code"] == "0"


async def subscribe(socket, *arguments):
    await socket.send_json({"op": "subscribe", "args": list(arguments)})
    for _ in arguments:
        await until(socket, lambda m: m.get("event") == "channel-conn-count")


async def send(socket, operation, *arguments):
    """Send an order request; its pushes come before its answer."""
    await socket.send_json({"id": "1", "op": operation, "args": list(arguments)})


async def ask(socket, operation, *arguments, **more):
    """Send an order request and return its answer; other messages are skipped."""
    await socket.send_json({"id": "1", "op": operation, "args": list(arguments), **more})
    return await until(socket, lambda m: m.get("op") == operation)


async def pushes(socket, channel, enough):
    """Return the entries of a channel up to the one for which ``enough`` is true."""
    found = []
    while True:
        received = await message(socket)
        if received.get("arg", {}).get("channel") == channel and "data" in received:
            found += received["data"]
            if received["data"] and enough(found[-1]):
                return found


def in_state(*states):
    return lambda entry: entry["state"] in states


def clearing(venue):
    return venue.venues[OKX].clearing


def own(venue):
    return clearing(venue).accounts[0]


def recorded(path):
    """Return the fields that all recorded messages of a file have under ``data``."""
    with shared(f"okx/{path}.jsonl").open() as lines:
        always = set.intersection(*(shape(json.loads(line)) for line in lines))
    # The stop orders attached to a position are not simulated.
    return {name for name in always if name[:6] == ".data[" and "closeOrderAlgo[]" not in name}


def desk(**changes):
    """Return the order desk and the account of a venue that is not served."""
    settings = {"port": 0, "rate": 0.0, "venues": [OKX], "liquidations": 0.0} | changes
    venue = SimulatedVenue(SimulatorSettings(**settings)).venues[OKX]
    return venue, venue.desk, venue.clearing.accounts[0]


def act(venue, operation, *requests):
    """Do an order request on a venue that is not served; return its results."""
    account = venue.clearing.accounts[0]
    return venue.desk.act(account, OPERATIONS[operation], list(requests))["data"]
