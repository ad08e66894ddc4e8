"""A slow client of the simulated venue that follows the venues' documents to the letter."""

import asyncio
import json
from decimal import Decimal

import aiohttp

from gateways.simulator import SimulatedVenue, SimulatorSettings

WAIT_S = 10.0


BINANCE = ["binance_spot", "binance_usdm"]


def simulated(**changes):
    """Return a venue on a free port that generates only when told to (``step``)."""
    usual = {"port": 0, "rate": 0.0, "venues": BINANCE}
    return SimulatedVenue(SimulatorSettings(**(usual | changes)))


def against(use, **changes):
    """Run ``use(venue, http)`` against a fresh venue in a fresh event loop; return its result."""

    async def run():
        async with simulated(**changes) as venue, aiohttp.ClientSession() as http:
            return await asyncio.wait_for(use(venue, http), 30.0)

    return asyncio.run(run())


async def answer(http, url, **parameters):
    """Return status, headers and JSON of a GET."""
    async with http.get(url, params=parameters) as response:
        return response.status, response.headers, await response.json()


async def message(socket):
    """Return the next message as JSON."""
    return json.loads(await text(socket))


async def text(socket):
    """Return the next text message."""
    received = await asyncio.wait_for(socket.receive(), WAIT_S)
    assert received.type is aiohttp.WSMsgType.TEXT, received
    return received.data


async def ended(socket):
    """Read until the connection is over."""
    async with asyncio.timeout(WAIT_S):
        while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass


async def ask(socket, number=1, **fields):
    """Send a control message and return its reply; other messages are skipped."""
    await socket.send_json({"id": number, **fields})
    while True:
        reply = await message(socket)
        if "id" in reply:
            return reply


class Gap(Exception):
    """The events do not follow each other."""


class LocalBook:
    """A book of dictionaries and ``Decimal``, joined by the venue's published procedure."""

    def __init__(self, *, futures):
        self.futures = futures
        self.bids, self.asks = {}, {}
        self.last = None
        self.joined = False

    def snapshot(self, body):
        self.last = body["lastUpdateId"]
        self.joined = False
        for own, side in ((self.bids, "bids"), (self.asks, "asks")):
            own.clear()
            own.update({Decimal(price): Decimal(lots) for price, lots in body[side]})

    def event(self, event):
        """Apply one event; raises Gap."""
        if event["u"] < self.last or (not self.futures and event["u"] == self.last):
            return
        if not self.joined:
            bridges = event["U"] <= self.last + 1 <= event["u"] + 1
            if not bridges and not (self.futures and event["pu"] == self.last):
                raise Gap(event["U"], self.last)
            self.joined = True
        elif self.futures and event["pu"] != self.last:
            raise Gap(event["pu"], self.last)
        elif not self.futures and event["U"] != self.last + 1:
            raise Gap(event["U"], self.last)
        self.last = event["u"]
        for own, key in ((self.bids, "b"), (self.asks, "a")):
            for price, lots in event[key]:
                own[Decimal(price)] = Decimal(lots)
                if not own[Decimal(price)]:
                    del own[Decimal(price)]

    def levels(self):
        """Return both sides, best first, in the form of ``truth``."""
        return (
            sorted(self.bids.items(), reverse=True),
            sorted(self.asks.items()),
        )


def truth(venue, name, symbol):
    """Return update id and levels that the venue really has."""
    state = venue.state(None)["venues"][name]["symbols"][symbol]
    sides = tuple(
        [(Decimal(price), Decimal(lots)) for price, lots in state[side]]
        for side in ("bids", "asks")
    )
    return state["update_id"], sides


async def settle(venue, socket, book, name, symbol):
    """Apply events until the book is where the (paused) venue is."""
    last, _ = truth(venue, name, symbol)
    while book.last < last:
        book.event((await message(socket))["data"])


async def until(socket, wanted):
    """Return the next message of which ``wanted`` is true; others are skipped."""
    while True:
        received = await message(socket)
        if wanted(received):
            return received


def shape(value, path=""):
    """Return the key paths of a JSON value, of a list those of its last item."""
    if isinstance(value, list):
        return shape(value[-1], f"{path}[]") if value else set()
    if not isinstance(value, dict):
        return set()
    found = {f"{path}.{key}" for key in value}
    return found.union(*(shape(part, f"{path}.{key}") for key, part in value.items()))


class SideBook:
    """Both sides of a book as dictionaries of ``Decimal``."""

    def __init__(self):
        self.bids, self.asks = {}, {}

    def apply(self, bids, asks, *, anew=False):
        for own, rows in ((self.bids, bids), (self.asks, asks)):
            if anew:
                own.clear()
            for row in rows:
                price, lots = Decimal(row[0]), Decimal(row[1])
                if lots:
                    own[price] = lots
                else:
                    del own[price]  # The venues take out only what is there.

    def levels(self):
        """Return both sides, best first, in the form of ``truth``."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


class OkxBook(SideBook):
    """A book joined by ``seqId`` and ``prevSeqId``."""

    seq = None

    def event(self, received):
        """Apply one message of a book channel; raises Gap."""
        (data,) = received["data"]
        anew = received["action"] == "snapshot"
        if data["prevSeqId"] != (-1 if anew else self.seq):
            raise Gap(data["prevSeqId"], self.seq)
        self.seq = data["seqId"]
        self.apply(data["bids"], data["asks"], anew=anew)


class BybitBook(SideBook):
    """A book joined by ``u``."""

    u = None

    def event(self, received):
        """Apply one message of a book topic; raises Gap."""
        data = received["data"]
        anew = received["type"] == "snapshot"
        if not anew and data["u"] != self.u + 1:
            raise Gap(data["u"], self.u)
        self.u = data["u"]
        self.apply(data["b"], data["a"], anew=anew)
