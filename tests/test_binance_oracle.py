"""Binance requests against ccxt as an offline oracle.

The oracle is asked for the same calls with its clock stopped and its network taken away. What it
does otherwise on purpose stands in ``DIFFERENCES``, each with the reason.
"""

import json
import random
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest

from engine.common import OrderType, Side, TimeInForce
from engine.secrets import Secret
from gateways.adapter import Call, Identity, Query
from gateways.binance import BinanceSpot, BinanceUsdm
from gateways.message import Instrument, Request
from gateways.numbers import to_mantissa, to_text
from gateways.signing import ed25519_base64, hmac_hex, rsa_base64
from gateways.types import (
    Action,
    MarginMode,
    PositionSide,
    RequestFlag,
    SelfTrade,
    Trigger,
)
from tests.binance_orders import ED25519, NOW_MS
from tests.data import shared

CASES = 10_000

Adapter = BinanceSpot | BinanceUsdm


def identity(key: str = "key", secret: str = "secret") -> Identity:
    return Identity(Secret(key), hmac_hex(Secret(secret)))


# -- ccxt --------------------------------------------------------------------------------------
class Captured(Exception):
    """The request that ccxt was about to send."""

    def __init__(self, url: str, method: str, headers: Any, body: Any) -> None:
        super().__init__(url)
        self.url, self.method, self.headers, self.body = url, method, headers, body


def oracle(name: str, key: str = "key", secret: str = "secret", window_ms: int = 5000) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ccxt = pytest.importorskip("ccxt")
        pytest.importorskip("ccxt.pro")
    exchange = getattr(ccxt, name)({"apiKey": key, "secret": secret, "enableRateLimit": False})
    markets = json.loads(shared("ccxt_generated/markets/binance.json").read_text())
    for market in markets.values():
        market["info"]["orderTypes"] = [
            *("LIMIT", "MARKET", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT"),
            *("STOP", "STOP_MARKET"),
        ]
    exchange.set_markets(markets)
    exchange.nonce = exchange.milliseconds = lambda: NOW_MS
    exchange.options["recvWindow"] = window_ms
    exchange.options["warnOnFetchOpenOrdersWithoutSymbol"] = False

    def fetch(url, method="GET", headers=None, body=None):
        raise Captured(url, method, headers, body)

    exchange.fetch = fetch
    return exchange


def asked(call: Callable[[], object]) -> Captured:
    with pytest.raises(Captured) as caught:
        call()
    return caught.value


def decimals_of(step: float) -> int:
    text = f"{step:.12f}".rstrip("0")
    return len(text.partition(".")[2])


def instruments_of(exchange: Any) -> list[tuple[str, Instrument]]:
    """Return ccxt's symbols with the instruments that they are for us."""
    found = []
    for row, (symbol, market) in enumerate(sorted(exchange.markets.items())):
        kind = 1 if market["spot"] else 2
        found.append(
            (
                symbol,
                Instrument(
                    row,
                    market["id"],
                    symbol,
                    market["base"],
                    market["quote"],
                    market["settle"] or "",
                    kind,
                    decimals_of(market["precision"]["price"]),
                    decimals_of(market["precision"]["amount"]),
                    1,
                    1,
                ),
            )
        )
    return found


def same(call: Call, wanted: Captured | dict[str, Any]) -> None:
    """Compare byte for byte: method, path, query, body, the key's header."""
    if isinstance(wanted, dict):
        wanted = Captured(wanted["url"], wanted["method"], wanted["headers"], wanted["body"])
    path = "/" + wanted.url.split("/", 3)[3]
    assert (call.method, call.path) == (wanted.method, path)
    assert call.body.decode() == (wanted.body or "")
    headers = wanted.headers or {}
    for name in ("X-MBX-APIKEY", "Content-Type"):
        if name in headers:
            assert call.headers[name] == headers[name]


class Generator:
    """Seeded requests, and what they are in ccxt's words."""

    def __init__(self, seed: int, exchange: Any, futures: bool) -> None:
        self.random = random.Random(seed)
        self.exchange, self.futures = exchange, futures
        self.instruments = [
            (symbol, instrument)
            for symbol, instrument in instruments_of(exchange)
            if bool(instrument.settle) == futures
        ]

    def order(self) -> tuple[str, Request, tuple[Any, ...]]:
        """Return a new order: the symbol, the request, and the arguments of ``createOrder``."""
        rng = self.random
        symbol, instrument = rng.choice(self.instruments)
        order_type = rng.choice(list(OrderType))
        priced = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        stop = order_type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
        times = [TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]
        if self.futures:
            times += [TimeInForce.POST_ONLY, TimeInForce.GTD]
        elif not stop:
            times += [TimeInForce.POST_ONLY]
        time = rng.choice(times) if priced else TimeInForce.GTC
        request = Request(
            Action.NEW,
            1,
            1,
            instrument,
            side=rng.choice(list(Side)),
            order_type=order_type,
            time_in_force=time,
            price=rng.randrange(1, 10 ** rng.randrange(1, 13)) if priced else 0,
            quantity=rng.randrange(1, 10 ** rng.randrange(1, 13)),
            stop_price=rng.randrange(1, 10**8) if stop else 0,
            expire_ns=(NOW_MS + 700_000) * 10**6 if time == TimeInForce.GTD else 0,
            self_trade=rng.choice([SelfTrade.VENUE_DEFAULT, *list(SelfTrade)[2:]]),
            client_text=f"ti{rng.getrandbits(60):013x}"[:18],
        )
        params: dict[str, Any] = {"clientOrderId": request.client_text}
        if stop:
            params["stopLossPrice"] = to_text(request.stop_price, instrument.price_decimals)
        if time == TimeInForce.POST_ONLY:
            params["postOnly"] = True
        elif time != TimeInForce.GTC:
            params["timeInForce"] = time.name
        request = self._more(request, params)
        if request.flags & RequestFlag.QUOTE_QUANTITY:
            params["cost"] = to_text(request.quantity, instrument.price_decimals)
        arguments = (
            symbol,
            "limit" if priced else "market",
            "buy" if request.side == Side.BUY else "sell",
            to_text(request.quantity, instrument.quantity_decimals),
            to_text(request.price, instrument.price_decimals) if priced else None,
            params,
        )
        return symbol, request, arguments

    def _more(self, request: Request, params: dict[str, Any]) -> Request:
        """Add what only one of the markets has."""
        rng = self.random
        if self.futures:
            if request.time_in_force == TimeInForce.GTD:
                params["goodTillDate"] = request.expire_ns // 10**6
            match rng.randrange(4):
                case 0:
                    request = request._replace(flags=RequestFlag.REDUCE_ONLY)
                    params["reduceOnly"] = True
                case 1:
                    side = rng.choice([PositionSide.LONG, PositionSide.SHORT])
                    request = request._replace(position_side=side)
                    params["positionSide"] = side.name
        elif request.order_type == OrderType.MARKET and rng.random() < 0.5:
            request = request._replace(flags=RequestFlag.QUOTE_QUANTITY)
        if request.self_trade:
            params["selfTradePreventionMode"] = {
                SelfTrade.CANCEL_MAKER: "EXPIRE_MAKER",
                SelfTrade.CANCEL_TAKER: "EXPIRE_TAKER",
                SelfTrade.CANCEL_BOTH: "EXPIRE_BOTH",
            }[request.self_trade]
        if self.futures and request.stop_price and rng.random() < 0.5:
            request = request._replace(trigger=Trigger.MARK)
            params["workingType"] = "MARK_PRICE"
        return request


def websocket_params(exchange: Any, request: Request, arguments: tuple[Any, ...]) -> Any:
    """Return what ccxt.pro would send for an order."""
    from ccxt.pro.binance import binance

    *rest, params = arguments
    algo = bool(request.instrument and request.instrument.settle and request.stop_price)
    payload = exchange.create_order_request(*rest, {**params, "isAlgoOrder": algo})
    if algo:
        payload["algoType"] = "CONDITIONAL"
    return binance.sign_params(exchange, payload)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("cls", "futures"), [(BinanceSpot, False), (BinanceUsdm, True)])
def test_new_orders_are_byte_for_byte_those_of_ccxt(cls, futures: bool, seed: int):
    exchange = oracle("binance")
    adapter = cls(identity())
    generator = Generator(seed, exchange, futures)
    for number in range(CASES // 10):
        _, request, arguments = generator.order()
        assert adapter.check(request) == ""
        wanted = asked(lambda arguments=arguments: exchange.create_order(*arguments))
        same(adapter.order_call(request, str(number), NOW_MS)[0], wanted)
        message = adapter.order_message(request, f"w{number}", NOW_MS)
        assert message is not None
        sent = json.loads(message)
        ours, theirs = sent["params"], websocket_params(exchange, request, arguments)
        assert sent["id"].startswith(f"w{number}_")
        assert ours["signature"] == theirs["signature"]
        # The same values; ccxt sends a reduce-only flag as true and not as the documented text.
        assert {name: str(value) for name, value in ours.items()} == {
            name: "true" if value is True else str(value) for name, value in theirs.items()
        }


def amendment(request: Request) -> Request:
    return request._replace(action=Action.AMEND, order_type=OrderType.LIMIT, stop_price=0)


@pytest.mark.parametrize(("cls", "futures"), [(BinanceSpot, False), (BinanceUsdm, True)])
def test_cancels_queries_and_settings_are_byte_for_byte_those_of_ccxt(cls, futures: bool):
    exchange = oracle("binance")
    adapter = cls(identity())
    generator = Generator(7, exchange, futures)
    for number in range(400):
        symbol, order, _ = generator.order()
        order = order._replace(order_type=OrderType.LIMIT, stop_price=0)
        by_client = {"clientOrderId": order.client_text}
        foreign = order._replace(client_text="", client_id=-1, venue_id="12345678")
        pairs = [
            (
                order._replace(action=Action.CANCEL),
                lambda s=symbol, p=by_client: exchange.cancel_order(None, s, dict(p)),
            ),
            (
                foreign._replace(action=Action.CANCEL),
                lambda s=symbol: exchange.cancel_order("12345678", s),
            ),
            (
                order._replace(action=Action.QUERY),
                lambda s=symbol, p=by_client: exchange.fetch_order(None, s, dict(p)),
            ),
            (
                order._replace(action=Action.CANCEL_ALL),
                lambda s=symbol: exchange.cancel_all_orders(s),
            ),
        ]
        if futures:
            pairs += [
                (
                    order._replace(action=Action.LEVERAGE, quantity=number % 100 + 1),
                    lambda s=symbol, n=number: exchange.set_leverage(n % 100 + 1, s),
                ),
                (
                    order._replace(action=Action.MARGIN_MODE, margin_mode=MarginMode.ISOLATED),
                    lambda s=symbol: exchange.set_margin_mode("isolated", s),
                ),
                (
                    order._replace(action=Action.MARGIN_MODE, margin_mode=MarginMode.CROSS),
                    lambda s=symbol: exchange.set_margin_mode("cross", s),
                ),
            ]
        for request, call in pairs:
            same(adapter.order_call(request, "1", NOW_MS)[0], asked(call))


def test_amendments_of_contracts_are_byte_for_byte_those_of_ccxt():
    exchange = oracle("binance")
    adapter = BinanceUsdm(identity())
    generator = Generator(11, exchange, True)
    for _ in range(400):
        symbol, order, _ = generator.order()
        request = amendment(order)._replace(price=12345, venue_id="987", client_text="")
        assert request.instrument is not None
        price = to_text(12345, request.instrument.price_decimals)
        amount = to_text(request.quantity, request.instrument.quantity_decimals)
        side = "buy" if request.side == Side.BUY else "sell"
        arguments = ("987", symbol, "limit", side, amount, price)
        wanted = asked(lambda arguments=arguments: exchange.edit_order(*arguments))
        same(adapter.order_call(request, "1", NOW_MS)[0], wanted)


def test_replacements_on_spot_are_byte_for_byte_those_of_ccxt():
    exchange = oracle("binance")
    adapter = BinanceSpot(identity())
    generator = Generator(13, exchange, False)
    for _ in range(400):
        symbol, order, _ = generator.order()
        time = generator.random.choice([TimeInForce.GTC, TimeInForce.POST_ONLY])
        request = amendment(order)._replace(
            price=54321, self_trade=SelfTrade.VENUE_DEFAULT, flags=0, time_in_force=time
        )
        assert adapter.check(request) == ""
        assert request.instrument is not None
        params = {
            "newClientOrderId": order.client_text,
            "cancelOrigClientOrderId": order.client_text,
            "cancelNewClientOrderId": f"{order.client_text}_r",
            "cancelRestrictions": "ONLY_NEW",
        }
        if time == TimeInForce.POST_ONLY:
            params["postOnly"] = True
        arguments = (
            "0",
            symbol,
            "limit",
            "buy" if request.side == Side.BUY else "sell",
            to_text(request.quantity, request.instrument.quantity_decimals),
            to_text(request.price, request.instrument.price_decimals),
            params,
        )
        wanted = asked(lambda arguments=arguments: exchange.edit_order(*arguments))
        same(adapter.order_call(request, "1", NOW_MS)[0], wanted)


def test_requests_without_a_unified_call_are_signed_as_ccxt_signs_them():
    exchange = oracle("binance")
    spot, usdm = BinanceSpot(identity()), BinanceUsdm(identity())
    symbol, instrument = Generator(1, exchange, False).instruments[0]
    order = Request(
        Action.AMEND,
        1,
        1,
        instrument,
        quantity=5,
        client_text="ti7",
        order_price=100,
        order_quantity=9,
    )
    size = to_text(5, instrument.quantity_decimals)
    same(
        spot.order_call(order, "1", NOW_MS)[0],
        exchange.sign(
            "order/amend/keepPriority",
            ["private"],
            "PUT",
            {
                "symbol": exchange.market(symbol)["id"],
                "origClientOrderId": "ti7",
                "newQty": size,
                "newClientOrderId": "ti7",
            },
        ),
    )
    contract = Generator(1, exchange, True).instruments[0][1]
    stop = Request(
        Action.CANCEL, 1, 1, contract, order_type=OrderType.STOP_MARKET, client_text="ti8"
    )
    # ccxt adds the symbol, which this endpoint does not ask for.
    same(
        usdm.order_call(stop, "1", NOW_MS)[0],
        exchange.sign("algoOrder", ["fapiPrivate"], "DELETE", {"clientAlgoId": "ti8"}),
    )
    same(
        usdm.dead_man_calls(2.5, [contract], NOW_MS)[0],
        exchange.sign(
            "countdownCancelAll",
            ["fapiPrivate"],
            "POST",
            {"symbol": contract.native, "countdownTime": 2500},
        ),
    )


def test_queries_are_byte_for_byte_those_of_ccxt():
    exchange = oracle("binance")
    spot, usdm = BinanceSpot(identity()), BinanceUsdm(identity())
    for symbol, instrument in instruments_of(exchange):
        adapter: Adapter = usdm if instrument.settle else spot
        since = NOW_MS - 86_400_000
        calls = adapter.query_calls(Query.FILLS, [instrument], since, NOW_MS)
        wanted = asked(lambda s=symbol: exchange.fetch_my_trades(s, NOW_MS - 86_400_000, 1000))
        same(calls[0], wanted)
    same(
        spot.query_calls(Query.BALANCES, [], 0, NOW_MS)[0],
        asked(lambda: exchange.fetch_balance({"type": "spot"})),
    )
    same(
        spot.query_calls(Query.OPEN_ORDERS, [], 0, NOW_MS)[0],
        asked(lambda: exchange.fetch_open_orders(None, None, None, {"type": "spot"})),
    )
    orders, algo = usdm.query_calls(Query.OPEN_ORDERS, [], 0, NOW_MS)
    same(orders, asked(lambda: exchange.fetch_open_orders(None, None, None, {"type": "swap"})))
    same(algo, exchange.sign("openAlgoOrders", ["fapiPrivate"], "GET", {}))
    (positions,) = usdm.query_calls(Query.POSITIONS, [], 0, NOW_MS)
    same(positions, exchange.sign("positionRisk", ["fapiPrivateV3"], "GET", {}))
    (balances,) = usdm.query_calls(Query.BALANCES, [], 0, NOW_MS)
    same(balances, exchange.sign("balance", ["fapiPrivateV3"], "GET", {}))


def rsa_pem() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    return (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_other_keys_sign_as_ccxt_does(kind: str):
    if kind == "rsa":
        secret, sign = rsa_pem(), rsa_base64
    else:
        secret = f"-----BEGIN PRIVATE KEY-----\n{ED25519}\n-----END PRIVATE KEY-----"
        sign = ed25519_base64
    exchange = oracle("binance", secret=secret)
    adapter = BinanceSpot(Identity(Secret("key"), sign(Secret(secret))))
    generator = Generator(3, exchange, False)
    for _ in range(50):
        _, request, arguments = generator.order()
        wanted = asked(lambda arguments=arguments: exchange.create_order(*arguments))
        same(adapter.order_call(request, "1", NOW_MS)[0], wanted)
        message = adapter.order_message(request, "1", NOW_MS)
        assert message is not None
        theirs = websocket_params(exchange, request, arguments)
        assert json.loads(message)["params"]["signature"] == theirs["signature"]


# -- ccxt's cases as files ---------------------------------------------------------------------
NOT_ASKED = "we ask the venue no such thing: the feed or nobody needs it"
DIFFERENCES = {
    "fetchOrders": NOT_ASKED,
    "fetchClosedOrders": NOT_ASKED,
    "fetchOrderBook": NOT_ASKED,
    "fetchTicker": NOT_ASKED,
    "fetchTickers": NOT_ASKED,
    "fetchOHLCV": NOT_ASKED,
    "fetchMarkOHLCV": NOT_ASKED,
    "fetchTradingFee": NOT_ASKED,
    "fetchTradingFees": NOT_ASKED,
    "fetchFundingRateHistory": NOT_ASKED,
    "fetchFundingHistory": NOT_ASKED,
    "fetchOpenInterest": NOT_ASKED,
    "fetchStatus": NOT_ASKED,
    "fetchLastPrices": NOT_ASKED,
    "fetchPositionMode": NOT_ASKED,
    "setPositionMode": "the position mode is the account's, and set by its owner",
    "addMargin": "margin is moved by the account's owner",
    "fetchPositions": "ccxt asks for brackets first; we ask for positions (positionRisk) only",
    "fetchPositionsRisk": "ccxt asks for brackets first; we ask for positions only",
    "createOrders": "orders go one by one by WebSocket: a batch is not matched in order",
    "cancelOrders": "cancellations go one by one by WebSocket",
    "takeProfitPrice": "there are no take-profit orders among our types",
    "icebergAmount": "there are no iceberg orders among our types",
    "editOrderWithClientOrderId": "ccxt sends an empty orderId and its own parameter besides",
    "newClientOrderId in algoOrder": "ccxt 4.5.90 itself names it clientAlgoId, as we do",
    "Spot limit buy with postOnly": "an older ccxt put two parameters the other way round",
    "fetchBalance swap": "we ask for the balances (balance), not for the whole account",
}


SUPERFLUOUS = {
    "triggerDirection": "ccxt sends its own parameter, which Binance ignores",
    "posSide": "OKX's; Binance ignores it",
    "positionIdx": "Bybit's; Binance ignores it",
    "lever": "OKX's; Binance ignores it",
    "acknowledged": "the case's own, for another venue; Binance ignores it",
}
"""Parameters of cases that we do not send; the rest of the case must hold."""


def case_difference(method: str, case: dict[str, Any]) -> str:
    """Return which entry of DIFFERENCES a case falls under; empty if it must hold."""
    if method in DIFFERENCES:
        return method
    if case["description"] in DIFFERENCES:
        return str(case["description"])
    text = json.dumps(case["input"])
    for word in ("takeProfitPrice", "icebergAmount"):
        if word in text:
            return word
    if method == "fetchBalance" and "swap" in text:
        return "fetchBalance swap"
    if "algoOrder" in case["url"] and "newClientOrderId" in (case.get("output") or ""):
        return "newClientOrderId in algoOrder"
    return ""


def case_fields(case: dict[str, Any]) -> dict[str, str]:
    query = case.get("output") or case["url"].partition("?")[2]
    return dict(parse_qsl(query, keep_blank_values=True))


def request_of(
    method: str, case: dict[str, Any], instruments: dict[str, Instrument]
) -> tuple[Request | None, Instrument | None]:
    """Return our request for a case of ccxt, from its unified input."""
    fields, values = case_fields(case), case["input"]
    symbol = next((v for v in values if isinstance(v, str) and v in instruments), "")
    instrument = instruments.get(symbol)
    base = Request(Action.NEW, 1, 1, instrument)
    params = values[-1] if isinstance(values[-1], dict) else {}
    if method == "createMarketBuyOrderWithCost":
        assert instrument is not None
        return base._replace(
            order_type=OrderType.MARKET,
            quantity=to_mantissa(str(values[1]), instrument.price_decimals),
            flags=RequestFlag.QUOTE_QUANTITY,
            client_text=fields["newClientOrderId"],
        ), instrument
    if method == "createOrder":
        return created(base, fields, values, params), instrument
    named = base._replace(
        client_text=fields.get("origClientOrderId", ""),
        venue_id=fields.get("orderId", ""),
        order_type=OrderType.LIMIT,
    )
    if method == "editOrder":
        assert instrument is not None
        return named._replace(
            action=Action.AMEND,
            side=Side[values[3].upper()],
            quantity=to_mantissa(str(values[4]), instrument.quantity_decimals),
            price=to_mantissa(str(values[5]), instrument.price_decimals),
        ), instrument
    actions = {
        "cancelOrder": Action.CANCEL,
        "cancelOrderWithClientOrderId": Action.CANCEL,
        "cancelAllOrders": Action.CANCEL_ALL,
        "fetchOrder": Action.QUERY,
        "fetchOrderWithClientOrderId": Action.QUERY,
    }
    if method in actions:
        return named._replace(action=actions[method]), instrument
    if method == "setMarginMode":
        mode = MarginMode[values[0].upper()]
        return base._replace(action=Action.MARGIN_MODE, margin_mode=mode), instrument
    if method == "setLeverage":
        return base._replace(action=Action.LEVERAGE, quantity=values[0]), instrument
    return None, instrument


def created(
    base: Request, fields: dict[str, str], values: list[Any], params: dict[str, Any]
) -> Request:
    instrument = base.instrument
    assert instrument is not None
    stop = params.get("stopLossPrice", params.get("triggerPrice"))
    market = values[1] == "market"
    quote = "quoteOrderQty" in fields
    # The oracle rounds; we are given integers, so that the rounded text is the input.
    quantity = fields["quoteOrderQty"] if quote else fields["quantity"]
    time = params.get("timeInForce", "GTC")
    if params.get("postOnly"):
        time = "POST_ONLY"
    types = {
        (True, False): OrderType.MARKET,
        (False, False): OrderType.LIMIT,
        (True, True): OrderType.STOP_MARKET,
        (False, True): OrderType.STOP_LIMIT,
    }
    flags = RequestFlag.QUOTE_QUANTITY if quote else 0
    flags |= RequestFlag.REDUCE_ONLY if params.get("reduceOnly") else 0
    return base._replace(
        side=Side[values[2].upper()],
        order_type=types[market, stop is not None],
        time_in_force=TimeInForce[time],
        price=to_mantissa(fields.get("price", ""), instrument.price_decimals),
        quantity=to_mantissa(
            quantity, instrument.price_decimals if quote else instrument.quantity_decimals
        ),
        stop_price=to_mantissa(fields.get("triggerPrice", ""), instrument.price_decimals),
        flags=int(flags),
        client_text=fields.get("newClientOrderId") or fields.get("clientAlgoId") or "",
        position_side=PositionSide[params.get("positionSide", "NET")],
    )


def check_case(method: str, case: dict[str, Any], instruments: dict[str, Instrument]) -> None:
    fields = case_fields(case)
    now_ms = int(fields["timestamp"])
    superfluous = [name for name in fields if name in SUPERFLUOUS]
    if method == "setMarginMode":
        superfluous.append("leverage")
    for name in superfluous:
        del fields[name]
        fields.pop("signature", None)
    request, instrument = request_of(method, case, instruments)
    futures = "/fapi/" in case["url"]
    adapter = (BinanceUsdm if futures else BinanceSpot)(identity(), window_ms=10_000)
    if request is not None:
        call = adapter.order_call(request, "1", now_ms)[0]
    elif method == "fetchMyTrades":
        assert instrument is not None
        since = int(fields["startTime"])
        call = adapter.query_calls(Query.FILLS, [instrument], since, now_ms)[0]
        # We ask for full pages.
        fields["limit"] = "1000"
        fields.pop("signature")
    elif method == "fetchBalance":
        call = adapter.query_calls(Query.BALANCES, [], 0, now_ms)[0]
    else:
        raise AssertionError(f"{method}: neither asked for nor on the list")
    path, _, query = call.path.partition("?")
    assert path == "/" + case["url"].partition("?")[0].split("/", 3)[3]
    ours = dict(parse_qsl(call.body.decode() or query, keep_blank_values=True))
    if "http_method" not in case or "signature" not in fields:
        # Signed with a secret that nobody published.
        ours.pop("signature")
        fields.pop("signature", None)
    else:
        assert call.method == case["http_method"]
    assert list(ours.items()) == list(fields.items())


@pytest.mark.parametrize("folder", ["ccxt_generated", "ccxt_static_excerpt"])
def test_the_request_cases_of_ccxt_hold_or_differ_on_purpose(folder: str):
    exchange = oracle("binance")
    instruments = dict(instruments_of(exchange))
    methods = json.loads(shared(f"{folder}/request/binance.json").read_text())["methods"]
    held = 0
    for method, cases in methods.items():
        for case in cases:
            if case_difference(method, case):
                continue
            check_case(method, case, instruments)
            held += 1
    assert held >= (24 if folder == "ccxt_generated" else 8)


def test_every_difference_to_ccxt_is_one():
    used = set()
    for folder in ("ccxt_generated", "ccxt_static_excerpt"):
        methods = json.loads(shared(f"{folder}/request/binance.json").read_text())["methods"]
        used |= {
            case_difference(method, case) for method, cases in methods.items() for case in cases
        }
    assert used - {""} == set(DIFFERENCES)
