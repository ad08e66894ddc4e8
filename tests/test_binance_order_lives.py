"""Orders of Binance's dialects on the simulated venue, from the first message to the last."""

import asyncio
from typing import Any

from engine.common import OrderType, Side
from engine.secrets import Secret
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Call, Identity, Query
from gateways.binance import BinanceSpot, BinanceUsdm
from gateways.binance.endpoints import spot_endpoints, usdm_endpoints
from gateways.message import Answer, Event, Instrument, Notice, NoticeKind, Request, Update, Verdict
from gateways.signing import hmac_hex
from gateways.types import Action, MarginMode, OrderStatus, ReportKind
from tests.binance_orders import refused
from tests.simulator_client import against


# -- on the simulated venue --------------------------------------------------------------------
class Line:
    """A connection to the simulated venue, read by the dialect."""

    def __init__(self, adapter: BinanceSpot | BinanceUsdm, instrument: Instrument) -> None:
        self.adapter = adapter
        self.instruments = {instrument.native: instrument}
        self.events: list[Event] = []

    async def listen(self, route: str, socket: Any) -> None:
        async for message in socket:
            self.events += self.adapter.read(route, message.data.encode(), self.instruments)

    async def until(self, wanted: Any) -> Any:
        while True:
            for event in self.events:
                if wanted(event):
                    self.events.remove(event)
                    return event
            await asyncio.sleep(0.005)

    async def answer(self, wire_id: str) -> Answer:
        found = await self.until(lambda e: isinstance(e, Answer) and e.wire_id == wire_id)
        assert isinstance(found, Answer)
        return found

    async def update(self, kind: ReportKind) -> Update:
        found = await self.until(lambda e: isinstance(e, Update) and e.kind == kind)
        assert isinstance(found, Update)
        return found


DEMO = Identity(Secret("demo-key"), hmac_hex(Secret("demo-secret")))


async def instrument_at(http: Any, base: str, path: str) -> Instrument:
    async with http.get(f"{base}{path}/exchangeInfo") as response:
        symbols = (await response.json())["symbols"]
    symbol = next(each for each in symbols if each["symbol"] == "BTCUSDT")
    filters = {each["filterType"]: each for each in symbol["filters"]}

    def decimals(text: str) -> int:
        return len(text.rstrip("0").partition(".")[2])

    return Instrument(
        0,
        "BTCUSDT",
        "BTC/USDT",
        "BTC",
        "USDT",
        "",
        1,
        decimals(filters["PRICE_FILTER"]["tickSize"]),
        decimals(filters["LOT_SIZE"]["stepSize"]),
        1,
        1,
    )


async def rest(http: Any, base: str, adapter: BinanceSpot | BinanceUsdm, call: Call) -> Any:
    url = base + call.path
    async with http.request(
        call.method, url, headers=call.headers, data=call.body or None
    ) as response:
        return response.status, dict(response.headers), await response.read()


async def clock(http: Any, base: str, adapter: BinanceSpot | BinanceUsdm) -> int:
    _, _, body = await rest(http, base, adapter, adapter.time_call())
    return adapter.parse_time(body)


async def trades(line: Line, socket: Any, http: Any, base: str) -> None:
    """Place, amend, cancel; buy at the market; stop; ask; see that all of it is told."""
    adapter = line.adapter
    (instrument,) = line.instruments.values()
    now_ms = await clock(http, base, adapter)

    def scaled(price: int, quantity: float) -> dict[str, int]:
        return {
            "price": price * 10**instrument.price_decimals,
            "quantity": round(quantity * 10**instrument.quantity_decimals),
        }

    path = "/fapi/v1" if base.endswith("usdm") else "/api/v3"
    async with http.get(f"{base}{path}/depth?symbol=BTCUSDT&limit=5") as response:
        best = int(float((await response.json())["bids"][0][0]))
    order = Request(
        Action.NEW, 1, 1, instrument, client_text="ti1", **scaled(best - best // 50, 0.2)
    )

    async def ask(request: Request, wire_id: str) -> Answer:
        assert adapter.check(request) == ""
        message = adapter.order_message(request, wire_id, now_ms)
        assert message is not None
        await socket.send_str(message.decode())
        answer = await line.answer(wire_id)
        assert answer.verdict == Verdict.ACCEPTED, answer
        assert "unreadable" not in answer.text
        return answer

    placed = await ask(order, "w1")
    assert [update.kind for update in placed.updates] == [ReportKind.OPEN]
    opened = await line.update(ReportKind.OPEN)
    assert (opened.client_text, opened.price) == ("ti1", order.price)
    known = order._replace(
        action=Action.AMEND, order_price=order.price, order_quantity=order.quantity
    )
    smaller = order.quantity // 2
    await ask(known._replace(quantity=smaller), "w2")
    amended = await line.update(ReportKind.AMENDED)
    assert (amended.client_text, amended.quantity) == ("ti1", smaller)
    lower = order.price - 100 * 10**instrument.price_decimals
    moved = await ask(known._replace(price=lower, order_quantity=smaller), "w3")
    assert moved.updates[0].kind == ReportKind.AMENDED
    assert moved.updates[0].price == lower
    for call in adapter.query_calls(Query.OPEN_ORDERS, [instrument], 0, now_ms):
        status, _, body = await rest(http, base, adapter, call)
        assert status == 200
        for update in adapter.read_page(Query.OPEN_ORDERS, call, body, line.instruments):
            assert (update.kind, update.client_text) == (ReportKind.STATUS, "ti1")
            assert update.price == lower
    await ask(order._replace(action=Action.CANCEL), "w4")
    ended = await line.update(ReportKind.CANCELED)
    assert ended.client_text == "ti1"
    assert ended.venue_id == moved.updates[0].venue_id
    await takes(line, ask, order, http, base)


async def takes(line: Line, ask: Any, order: Request, http: Any, base: str) -> None:
    adapter, instrument = line.adapter, order.instrument
    assert instrument is not None
    now_ms = await clock(http, base, adapter)
    market = order._replace(
        order_type=OrderType.MARKET, price=0, client_text="ti2", quantity=order.quantity // 4
    )
    await ask(market, "w5")
    fill = await line.update(ReportKind.FILL)
    assert (fill.client_text, fill.side) == ("ti2", Side.BUY)
    assert fill.last_quantity > 0
    (query,) = adapter.query_calls(Query.FILLS, [instrument], now_ms - 60_000, now_ms)
    _, _, body = await rest(http, base, adapter, query)
    history = adapter.read_page(Query.FILLS, query, body, line.instruments)
    assert fill.trade_id in {each.trade_id for each in history}
    (status,) = adapter.order_call(market._replace(action=Action.QUERY), "w6", now_ms)
    code, headers, body = await rest(http, base, adapter, status)
    (answer,) = adapter.read_answer(status, code, headers, body, line.instruments)
    assert isinstance(answer, Answer)
    assert answer.updates[0].status == OrderStatus.FILLED
    stop = order._replace(
        order_type=OrderType.STOP_MARKET,
        side=Side.SELL,
        price=0,
        stop_price=order.price // 2,
        client_text="ti3",
        quantity=order.quantity // 4,
    )
    (waiting,) = (await ask(stop, "w7")).updates
    assert waiting.status == OrderStatus.UNTRIGGERED
    await ask(stop._replace(action=Action.CANCEL), "w8")
    assert (await line.update(ReportKind.CANCELED)).client_text == "ti3"
    for query in (Query.BALANCES, Query.POSITIONS):
        for call in adapter.query_calls(query, [instrument], 0, now_ms):
            code, _, body = await rest(http, base, adapter, call)
            assert code == 200
            assert adapter.read_page(query, call, body, line.instruments)


def test_spot_orders_live_on_the_simulated_venue():
    async def use(venue, http):
        base = venue.base("binance_spot")
        adapter = BinanceSpot(DEMO)
        instrument = await instrument_at(http, base, "/api/v3")
        line = Line(adapter, instrument)
        websocket = venue.base("binance_spot", "ws") + "/ws-api/v3"
        url = adapter.ws_url(ROUTE_ORDERS, spot_endpoints(base, websocket), "")
        async with http.ws_connect(url) as socket:
            reader = asyncio.create_task(line.listen(ROUTE_ORDERS, socket))
            for message in adapter.subscriptions(ROUTE_ORDERS, await clock(http, base, adapter)):
                await socket.send_str(message.decode())
            await line.until(lambda e: isinstance(e, Notice) and e.kind == NoticeKind.SUBSCRIBED)
            await trades(line, socket, http, base)
            reader.cancel()

    against(use)


def test_contract_orders_live_on_the_simulated_venue():
    async def use(venue, http):
        base = venue.base("binance_usdm")
        adapter = BinanceUsdm(DEMO)
        instrument = await instrument_at(http, base, "/fapi/v1")
        line = Line(adapter, instrument)
        websocket = venue.base("binance_usdm", "ws")
        endpoints = usdm_endpoints(base, f"{websocket}/ws-fapi/v1", websocket)
        (call,), _ = adapter.stream_key_calls("", 0)
        _, _, body = await rest(http, base, adapter, call)
        key = adapter.parse_stream_key(body)
        orders = await http.ws_connect(adapter.ws_url(ROUTE_ORDERS, endpoints, ""))
        private = await http.ws_connect(adapter.ws_url(ROUTE_PRIVATE, endpoints, key))
        readers = [
            asyncio.create_task(line.listen(ROUTE_ORDERS, orders)),
            asyncio.create_task(line.listen(ROUTE_PRIVATE, private)),
        ]
        await trades(line, orders, http, base)
        for action, changes in (
            (Action.LEVERAGE, {"quantity": 7}),
            (Action.MARGIN_MODE, {"margin_mode": MarginMode.CROSS}),
            (Action.CANCEL_ALL, {}),
        ):
            request = Request(action, 1, 0, instrument, **changes)
            for each in adapter.order_call(request, "w9", await clock(http, base, adapter)):
                status, headers, body = await rest(http, base, adapter, each)
                answer = refused(adapter.read_answer(each, status, headers, body, {}))
                assert answer.verdict == Verdict.ACCEPTED
        (arm,) = adapter.dead_man_calls(60.0, [instrument], await clock(http, base, adapter))
        assert (await rest(http, base, adapter, arm))[0] == 200
        for reader in readers:
            reader.cancel()
        await orders.close()
        await private.close()

    against(use)
