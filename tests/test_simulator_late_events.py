"""Private events before the answer to the request that causes them, or after it, on all venues."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests import bybit_client as bybit
from tests import okx_client as okx
from tests import simulator_binance as binance
from tests.simulator_client import against, message


async def binance_place(venue, http):
    return await binance.Rest(http, venue.base(binance.SPOT))(
        "POST", "/api/v3/order", **binance.limit("50000")
    )


@asynccontextmanager
async def binance_asks(venue, http):
    async with binance.api(venue, http) as connection:
        yield lambda: connection("order.place", **binance.limit("50000"))


@asynccontextmanager
async def binance_listens(venue, http):
    async with binance.listening(venue, http) as connection:
        yield connection.socket


@asynccontextmanager
async def okx_asks(venue, http):
    async with okx.connect(venue, http) as socket:
        await okx.log_in(socket)
        yield lambda: okx.ask(socket, "order", okx.ORDER | {"px": okx.FAR})


@asynccontextmanager
async def okx_listens(venue, http):
    async with okx.connect(venue, http) as socket:
        await okx.log_in(socket)
        await okx.subscribe(socket, {"channel": "orders", "instType": "ANY"})
        yield socket


BYBIT_ORDER = bybit.LINEAR | {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "50000"}


@asynccontextmanager
async def bybit_asks(venue, http):
    async with bybit.private(venue, path="trade") as socket:
        yield lambda: bybit.ask(socket, "order.create", **BYBIT_ORDER)


def by_rest(place):
    @asynccontextmanager
    async def asks(venue, http):
        yield lambda: place(venue, http)

    return asks


HOLDING = {
    "binance by socket": (binance_asks, binance_listens),
    "binance by rest": (by_rest(binance_place), binance_listens),
    "okx by socket": (okx_asks, okx_listens),
    "okx by rest": (
        by_rest(lambda venue, http: okx.placed(venue, http, px=okx.FAR)),
        okx_listens,
    ),
    "bybit by socket": (bybit_asks, lambda venue, http: bybit.private(venue, "order")),
    "bybit by rest": (
        by_rest(lambda venue, http: bybit.Rest(venue, http).create(price="50000")),
        lambda venue, http: bybit.private(venue, "order"),
    ),
}


@pytest.mark.parametrize("way", HOLDING)
@pytest.mark.parametrize("late", [True, False])
def test_events_come_before_or_after_an_answer_that_is_late(way, late):
    asks, listens = HOLDING[way]

    async def use(venue, http):
        async with listens(venue, http) as events, asks(venue, http) as place:
            venue.set_faults(ack_delay_ms=120.0, ack_late=late)
            came = []
            answer = asyncio.ensure_future(place())
            answer.add_done_callback(lambda _: came.append("answer"))
            event = asyncio.ensure_future(message(events))
            event.add_done_callback(lambda _: came.append("event"))
            await asyncio.gather(answer, event)
            return came

    came = against(use, venues=[way.split()[0].replace("binance", "binance_spot")])
    assert came == (["event", "answer"] if late else ["answer", "event"])
