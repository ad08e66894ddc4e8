"""What Bybit's signatures cover equals, byte for byte, what ccxt produces for the same calls.

The clock is frozen and nothing is sent. Where we differ on purpose, a list says why.
"""

import json
import random
from decimal import Decimal

import pytest

from engine.common import OrderType, Side, TimeInForce
from engine.secrets import Secret
from gateways.adapter import Call, Identity, Query
from gateways.bybit import Bybit
from gateways.message import Request
from gateways.signing import rsa_base64
from gateways.types import (
    Action,
    MarginMode,
    PositionSide,
    RequestFlag,
    SelfTrade,
    Trigger,
)
from tests import naive_bybit_orders as naive
from tests.data import shared

CASES = 10_000
SIGNED = (
    "Content-Type",
    "X-BAPI-API-KEY",
    "X-BAPI-TIMESTAMP",
    "X-BAPI-RECV-WINDOW",
    "X-BAPI-SIGN",
)


@pytest.fixture(scope="module")
def client():
    ccxt = pytest.importorskip("ccxt")
    exchange = ccxt.bybit({"apiKey": "key", "secret": "secret"})
    exchange.enableRateLimit = False
    path = shared("ccxt_generated/markets/bybit.json")
    exchange.set_markets(json.loads(path.read_bytes()))
    exchange.milliseconds = lambda: naive.NOW_MS
    exchange.options |= {"enableUnifiedMargin": False, "enableUnifiedAccount": True}
    exchange.sent = []

    def fetch(url, method="GET", headers=None, body=None):
        exchange.sent.append((url, method, headers, body))
        return {"retCode": 0, "result": {"list": [{}]}}

    exchange.fetch = fetch
    return exchange


def decimals_of(step):
    return max(0, -Decimal(str(step)).normalize().as_tuple().exponent)


def instruments_of(client):
    made = []
    for symbol, market in client.markets.items():
        price = decimals_of(market["precision"]["price"])
        quantity = decimals_of(market["precision"]["amount"])
        spot = market["type"] == "spot"
        made.append((symbol, naive.instrument(market["id"], 0, price, quantity, spot)))
    return made


ADAPTERS = {False: naive.adapter(), True: naive.adapter(spot=True)}


def adapter_of(instrument):
    return ADAPTERS[instrument.kind == 1]


def assert_same(call, sent):
    url, method, headers, body = sent
    assert call.method == method
    assert url == f"https://api.bybit.com{call.path}"
    assert call.body.decode() == (body or "")
    assert {name: call.headers[name] for name in SIGNED} == {name: headers[name] for name in SIGNED}


TIFS = {
    TimeInForce.GTC: {"timeInForce": "GTC"},
    TimeInForce.IOC: {"timeInForce": "IOC"},
    TimeInForce.FOK: {"timeInForce": "FOK"},
    TimeInForce.POST_ONLY: {"timeInForce": "PostOnly"},
}
STPS = {
    SelfTrade.VENUE_DEFAULT: {},
    SelfTrade.NONE: {"smpType": "None"},
    SelfTrade.CANCEL_MAKER: {"smpType": "CancelMaker"},
    SelfTrade.CANCEL_TAKER: {"smpType": "CancelTaker"},
    SelfTrade.CANCEL_BOTH: {"smpType": "CancelBoth"},
}
TRIGGERS = {Trigger.LAST: "LastPrice", Trigger.MARK: "MarkPrice", Trigger.INDEX: "IndexPrice"}


class Cases:
    """Random requests and the same calls to ccxt."""

    def __init__(self, client, seed):
        self.client, self.random = client, random.Random(seed)
        self.instruments = instruments_of(client)

    def mantissa(self, step, places):
        """Return a multiple of a step as mantissa and as the float that ccxt takes."""
        grid = int(Decimal(str(step)).scaleb(places))
        mantissa = self.random.randrange(1, 10 ** self.random.randrange(2, 8)) * grid
        return mantissa, float(Decimal(mantissa).scaleb(-places))

    def pick(self):
        symbol, instrument = self.random.choice(self.instruments)
        precision = self.client.markets[symbol]["precision"]
        price, px = self.mantissa(precision["price"], instrument.price_decimals)
        quantity, sz = self.mantissa(precision["amount"], instrument.quantity_decimals)
        return symbol, instrument, price, quantity, px, sz

    def name(self):
        text = f"ti{self.random.randrange(36**8):013x}"
        venue = f"{self.random.randrange(10**18)}"
        return ("", text) if self.random.random() < 0.5 else (venue, "")

    def new(self):
        symbol, instrument, price, quantity, px, sz = self.pick()
        rng, spot = self.random, instrument.kind == 1
        side, text = rng.choice(list(Side)), f"ti{rng.randrange(36**8):013x}"
        market, stop = rng.random() < 0.2, rng.random() < 0.2
        tif = TimeInForce.GTC if market else rng.choice(list(TIFS))
        number = (1 if market else 2) + (2 if stop else 0)
        more = {"clientOrderId": text} | ({} if market else TIFS[tif])
        request = Request(
            Action.NEW, 1, 1, instrument, side, OrderType(number), tif, price, quantity
        )._replace(client_text=text, price=0 if market else price)
        if stop:
            trigger, at = self.mantissa(
                self.client.markets[symbol]["precision"]["price"], instrument.price_decimals
            )
            request = request._replace(stop_price=trigger)
            more["triggerPrice"] = at
            if not spot:
                kind = rng.choice(list(Trigger))
                request = request._replace(trigger=kind)
                more["triggerDirection"] = "above" if side is Side.BUY else "below"
                more["triggerBy"] = TRIGGERS[kind]
        if not spot:
            position = rng.choice(list(PositionSide))
            if position is not PositionSide.NET:
                more["positionIdx"] = 1 if position is PositionSide.LONG else 2
            flags = RequestFlag.REDUCE_ONLY if rng.random() < 0.3 else 0
            more |= {"reduceOnly": True} if flags else {}
            request = request._replace(position_side=position, flags=flags)
        stp = rng.choice(list(STPS))
        more |= STPS[stp]
        if spot and rng.random() < 0.2:
            request, more["isLeverage"] = request._replace(margin_mode=MarginMode.CROSS), 1
        kind = "market" if market else "limit"
        self.client.create_order(symbol, kind, side.name.lower(), sz, None if market else px, more)
        return request._replace(self_trade=stp)

    def amend(self):
        symbol, instrument, price, quantity, px, sz = self.pick()
        venue_id, text = self.name()
        more = {"orderLinkId": text} if text else {}
        self.client.edit_order(venue_id, symbol, "limit", "buy", sz, px, more)
        return Request(Action.AMEND, 1, 1, instrument, price=price, quantity=quantity)._replace(
            venue_id=venue_id, client_text=text
        )

    def cancel(self):
        symbol, instrument, *_ = self.pick()
        venue_id, text = self.name()
        stop = instrument.kind == 1 and self.random.random() < 0.3
        more = {"orderLinkId": text} if text else {}
        more |= {"trigger": True} if stop else {}
        self.client.cancel_order(venue_id or None, symbol, more)
        kind = OrderType.STOP_LIMIT if stop else OrderType.LIMIT
        return Request(Action.CANCEL, 1, 1, instrument, order_type=kind)._replace(
            venue_id=venue_id, client_text=text
        )

    def query(self):
        symbol, instrument, *_ = self.pick()
        venue = str(self.random.randrange(10**18))
        self.client.fetch_open_order(venue, symbol)
        return Request(Action.QUERY, 1, 1, instrument)._replace(venue_id=venue)


def test_orders_equal_ccxts_on_ten_thousand_generated_cases(client):
    cases = Cases(client, 7)
    kinds = [cases.new] * 6 + [cases.amend] * 2 + [cases.cancel, cases.query]
    for number in range(CASES):
        client.sent.clear()
        request = kinds[number % len(kinds)]()
        adapter = adapter_of(request.instrument)
        call = adapter.order_call(request, "w", naive.NOW_MS)[0]
        assert_same(call, client.sent[0])


def test_the_body_on_the_trade_connection_is_the_one_that_is_signed_by_rest(client):
    cases = Cases(client, 8)
    for _ in range(500):
        request = cases.new()
        adapter = adapter_of(request.instrument)
        message = json.loads(adapter.order_message(request, "w1", naive.NOW_MS))
        assert message["args"] == [json.loads(client.sent[-1][3])]
        assert message["reqId"] == "w1"
        assert message["op"] == "order.create"
        assert message["header"]["X-BAPI-TIMESTAMP"] == str(naive.NOW_MS)


def signed_by(client, call):
    """Return what ccxt signs for the parameters of one of our calls."""
    path, _, query = call.path[1:].partition("?")
    parameters = json.loads(call.body) if call.body else {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        parameters[name] = value
    made = client.sign(path, ["private"], call.method, parameters)
    return made["url"], made["method"], made["headers"], made["body"]


def test_all_other_requests_are_signed_as_ccxt_signs_them(client):
    adapter, spot = naive.adapter(), naive.adapter(spot=True)
    instruments = list(naive.CONTRACT_TABLE.values())
    linear = naive.CONTRACT_TABLE["BTCUSDT"]
    isolated = Request(Action.MARGIN_MODE, 1, 0, linear, quantity=5)
    requests = [
        Request(Action.LEVERAGE, 1, 0, linear, quantity=5),
        isolated._replace(margin_mode=MarginMode.ISOLATED),
        Request(Action.CANCEL_ALL, 1, 0, linear),
        Request(Action.CANCEL_ALL, 1, 0, None),
    ]
    calls = [call for query in Query for call in query_of(adapter, query, instruments)]
    calls += [call for query in Query for call in query_of(spot, query, [])]
    calls += [call for each in requests for call in adapter.order_call(each, "w", naive.NOW_MS)]
    calls += spot.order_call(Request(Action.CANCEL_ALL, 1, 0, None), "w", naive.NOW_MS)
    calls += adapter.dead_man_calls(30, [], naive.NOW_MS)
    assert len(calls) >= 20
    for call in calls:
        assert_same(call, signed_by(client, call))


def query_of(adapter, query, instruments):
    return adapter.query_calls(query, instruments, naive.NOW_MS - 10 * 86_400_000, naive.NOW_MS)


def test_settings_and_cancels_of_all_equal_ccxts(client):
    adapter, linear = naive.adapter(), naive.instrument("BTCUSDT")
    client.sent.clear()
    client.set_leverage(5, "BTC/USDT:USDT")
    client.cancel_all_orders("BTC/USDT:USDT")
    client.cancel_all_orders()
    client.fetch_balance()
    requests = [
        Request(Action.LEVERAGE, 1, 0, linear, quantity=5),
        Request(Action.CANCEL_ALL, 1, 0, linear),
        Request(Action.CANCEL_ALL, 1, 0, None),
    ]
    calls = [call for each in requests for call in adapter.order_call(each, "w", naive.NOW_MS)]
    calls += adapter.query_calls(Query.BALANCES, [], 0, naive.NOW_MS)
    for call, sent in zip(calls, client.sent, strict=True):
        assert_same(call, sent)


def test_the_golden_signatures_hold():
    rest = naive.adapter(key="k" * 64, secret="s" * 64)._rest
    body = '{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit",'
    body += '"qty":"1","price":"2"}'
    call = rest.post("/v5/order/create", body, naive.NOW_MS, "create")
    wanted = "6e25cd3d0f463f8e92965b170c120f2ed28b97facd4e4999c9e49ced19559289"
    assert call.headers["X-BAPI-SIGN"] == wanted
    call = rest.get(
        "/v5/order/realtime", "category=linear&symbol=BTCUSDT", naive.NOW_MS, "realtime"
    )
    wanted = "bf9fe61856471ff3654190988d175340c33a08a2b5ad13e312218af165dc9ce5"
    assert call.headers["X-BAPI-SIGN"] == wanted


def test_rsa_signatures_equal_ccxts(client):
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    adapter = Bybit(Identity(Secret("key"), rsa_base64(Secret(pem))))
    request = Request(Action.CANCEL, 1, 1, naive.instrument("BTCUSDT"))._replace(venue_id="5")
    [call] = adapter.order_call(request, "w", naive.NOW_MS)
    secret, client.secret = client.secret, pem
    try:
        assert_same(call, signed_by(client, call))
    finally:
        client.secret = secret


# -- ccxt's own cases -----------------------------------------------------------------------------
PUBLIC_DATA = "public data: a feed's, not a gateway's"
FIGURES = "a figure that no order needs"
DIFFERENCES = {
    "createOrder/spot limit buy awkward amount/price (rounding)": "we never round: the OMS does",
    "createOrder/swap limit buy awkward amount/price (rounding)": "we never round: the OMS does",
    "createOrder/spot market buy with cost": "we say marketUnit, which ccxt leaves to the default",
    "createOrder/spot stopLossPrice market": "stop orders are conditional (StopOrder), not TP/SL",
    "createOrder/swap stopLossPrice market": "triggerBy is said outright, and reduceOnly if asked",
    "createOrder/swap takeProfitPrice": "we have stops; a take-profit is a limit order",
    "createOrder/swap hedge-mode limit": "ccxt passes the names of other venues on",
    "cancelOrder/spot cancelOrder by clientOrderId": "ccxt passes an empty orderId on",
    "cancelOrder/swap cancelOrder by clientOrderId": "ccxt passes an empty orderId on",
    "cancelOrders/*": "single cancels, or all at once",
    "createOrders/*": "orders go out one by one, as they are asked for",
    "fetchOrder/spot fetchOrder": "the category stands before the id, as for open orders",
    "fetchOpenOrders/spot fetchOpenOrders": "of the whole account at once",
    "fetchClosedOrders/*": "the past: reports are the journal",
    "fetchCanceledOrders/*": "the past: reports are the journal",
    "fetchPosition/*": "of the whole account at once",
    "setMarginMode/*": "of the whole account: we switch instruments",
    "fetchLeverage/*": FIGURES,
    "fetchTradingFee/*": FIGURES,
    "fetchFundingHistory/*": FIGURES,
    "fetchLeverageTiers/*": FIGURES,
    "fetchMyLiquidations/*": "executions of all kinds are asked for at once",
    "fetchOrderBook/*": PUBLIC_DATA,
    "fetchTrades/*": PUBLIC_DATA,
    "fetchOHLCV/*": PUBLIC_DATA,
    "fetchMarkOHLCV/*": PUBLIC_DATA,
    "fetchTickers/*": PUBLIC_DATA,
    "fetchFundingRate/*": PUBLIC_DATA,
    "fetchFundingRateHistory/*": PUBLIC_DATA,
    "fetchOpenInterest/*": PUBLIC_DATA,
}
SKIP_KEYS = ("orderLinkId",)


def static_cases():
    for folder in ("ccxt_generated", "ccxt_static_excerpt"):
        path = shared(f"{folder}/request/bybit.json")
        for method, cases in json.loads(path.read_bytes())["methods"].items():
            for case in cases:
                yield method, case


def request_of(client, method, case):
    symbols, given = dict(instruments_of(client)), case["input"]
    more = given[-1] if isinstance(given[-1], dict) else {}

    def mantissa(value, places):
        return int(Decimal(str(value or 0)).scaleb(places))

    if method == "createOrder":
        symbol, kind, side, amount, *price = given
        instrument = symbols[symbol]
        tif = {"IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}.get(more.get("timeInForce"))
        tif = TimeInForce.POST_ONLY if more.get("postOnly") else tif or TimeInForce.GTC
        return Request(
            Action.NEW,
            0,
            1,
            instrument,
            Side[side.upper()],
            OrderType[kind.upper()],
            tif,
            mantissa(price[0] if price else 0, instrument.price_decimals),
            mantissa(amount, instrument.quantity_decimals),
            flags=RequestFlag.REDUCE_ONLY if more.get("reduceOnly") else 0,
        )._replace(client_text=more.get("clientOrderId", "x"))
    if method == "cancelAllOrders":
        return Request(Action.CANCEL_ALL, 0, 0, symbols[given[0]])
    instrument = symbols[given[1]]
    assert method == "editOrder"
    return Request(Action.AMEND, 0, 1, instrument)._replace(
        venue_id=given[0],
        quantity=mantissa(given[4], instrument.quantity_decimals),
        price=mantissa(given[5], instrument.price_decimals),
    )


def comparable(body):
    """Return parameters without generated ids, and without the default that we say outright."""
    kept = {key: value for key, value in body.items() if key not in SKIP_KEYS}
    if kept.get("timeInForce") == "GTC":
        del kept["timeInForce"]
    return kept


def test_ccxts_own_cases_hold_or_stand_on_the_list(client):
    used, held = set(), 0
    for method, case in static_cases():
        name = f"{method}/{case['description']}"
        listed = name if name in DIFFERENCES else f"{method}/*"
        if listed in DIFFERENCES:
            used.add(listed)
            continue
        if method == "fetchTime":
            call = naive.adapter().time_call()
        elif method == "fetchBalance":
            [call] = naive.adapter().query_calls(Query.BALANCES, [], 0, naive.NOW_MS)
        else:
            request = request_of(client, method, case)
            [call] = adapter_of(request.instrument).order_call(request, "w", naive.NOW_MS)
        assert case["url"].endswith(call.path), name
        ours = json.loads(call.body) if call.body else {}
        theirs = json.loads(case["output"]) if case["output"] else {}
        assert comparable(ours) == comparable(theirs), name
        if method == "fetchBalance":
            assert call.headers["X-BAPI-SIGN"] == case["headers"]["X-BAPI-SIGN"]
        held += 1
    assert used == set(DIFFERENCES)
    assert held >= 18


# -- ccxt's readings of the venue's answers -------------------------------------------------------
UNIFIED = {"OPEN": "open", "UNTRIGGERED": "open", "FILLED": "closed", "EXPIRED": "canceled"}
PARTLY = "fd4300ae-7847-404e-b947-b46980a4d140"
"""A spot order that was canceled with a part filled: closed for ccxt, expired for us."""
REQUESTS = {"createOrder": "create", "editOrder": "amend", "cancelOrder": "cancel"}


def exact(value):
    return Decimal(str(value or 0))


def assert_order(ours, theirs):
    assert (ours["venue"], ours["client"]) == (theirs["id"], theirs["clientOrderId"])
    assert exact(ours.get("filled")) == exact(theirs["filled"])
    assert exact(ours.get("average")) == exact(theirs["average"])
    assert exact(ours.get("price", theirs["price"])) == exact(theirs["price"])
    assert exact(ours.get("quantity", theirs["amount"])) == exact(theirs["amount"])
    assert ours["side"] == Side[theirs["side"].upper()]
    if theirs["symbol"] != "ETH/USDT" or theirs["id"] != PARTLY:
        assert UNIFIED[ours["status"]] == theirs["status"]


def assert_position(ours, theirs):
    assert abs(ours["quantity"]) == exact(theirs["contracts"])
    assert (ours["quantity"] > 0) == (theirs["side"] == "long")
    assert ours["average"] == exact(theirs["entryPrice"])


def assert_balances(said, theirs):
    for ours in said:
        told = theirs[ours["asset"]]
        assert exact(ours.get("quantity")) == exact(told["total"])
        assert exact(ours.get("available")) == exact(told["free"])


READINGS = {
    "fetchOpenOrders": (Query.OPEN_ORDERS, assert_order),
    "fetchClosedOrders": (Query.OPEN_ORDERS, assert_order),
    "fetchPositions": (Query.POSITIONS, assert_position),
}


def views(query, case):
    spot = case["httpResponse"]["result"].get("category") == "spot"
    natives, table = (
        (naive.SPOT, naive.SPOT_TABLE) if spot else (naive.CONTRACTS, naive.CONTRACT_TABLE)
    )
    body = json.dumps(case["httpResponse"]).encode()
    found = naive.adapter(spot).read_page(query, Call("GET", "/v5/x"), body, table)
    return [naive.view(update, natives) for update in found]


def test_answers_are_read_as_ccxt_reads_them():
    path = shared("ccxt_generated/response/bybit.json")
    compared = 0
    for method, cases in json.loads(path.read_bytes())["methods"].items():
        for case in cases:
            theirs = case["parsedResponse"]
            if method in REQUESTS:
                call = Call("POST", f"/v5/order/{REQUESTS[method]}", wire_id="w")
                body = json.dumps(case["httpResponse"]).encode()
                [answer] = naive.adapter().read_answer(call, 200, {}, body, {})
                names = [(each.venue_id, each.client_text) for each in answer.updates]
                assert names in ([], [(theirs["id"], theirs["clientOrderId"])])
            elif method in READINGS:
                query, compare = READINGS[method]
                for ours, each in zip(views(query, case), theirs, strict=True):
                    compare(ours, each)
            elif method == "fetchBalance":
                assert_balances(views(Query.BALANCES, case), theirs)
            else:
                # Public data, and setLeverage, of which there is nothing to read.
                continue
            compared += 1
    assert compared >= 12
