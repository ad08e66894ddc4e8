"""The private side of the simulated OKX: access, channels, queries, settings, algo orders."""

import asyncio
import json
import time
from decimal import Decimal

import pytest

from gateways.simulator.account import AccountSettings
from gateways.simulator.okx.access import authenticate
from gateways.simulator.okx.dialect import CONNECTIONS_PER_CHANNEL
from gateways.simulator.okx.parameters import Parameters
from gateways.simulator.okx.private_streams import REPEAT_MS
from gateways.simulator.okx.shapes import stored_fill
from gateways.simulator.rest import ApiError
from tests.okx_client import (
    FAR,
    NEAR,
    OKX,
    ORDER,
    SPOT,
    SWAP,
    SWAP_ORDER,
    act,
    ask,
    clearing,
    connect,
    desk,
    get,
    headers_for,
    in_state,
    log_in,
    login,
    own,
    placed,
    post,
    pushes,
    recorded,
    send,
    sign,
    stamp_of,
    subscribe,
    with_okx,
)
from tests.simulator_client import message, shape, until

# Access.

GOLDEN = [
    (
        "POST",
        "/api/v5/trade/order",
        '{"instId":"BTC-USDT","tdMode":"cash","side":"buy","ordType":"limit","px":"1","sz":"2"}',
        "RGAgFCfNXYYZAwg/1fMNYS+P1GEUVnowKAHLuF9krSA=",
    ),
    (
        "GET",
        "/api/v5/account/balance?ccy=BTC%2CETH",
        "",
        "9XsgiJkWqzRGJd9KrNL2eb18ZsE75CLinL5Go5kMhk8=",
    ),
]


@pytest.mark.parametrize(("method", "target", "body", "signature"), GOLDEN)
def test_golden_signatures_of_another_client_are_accepted(method, target, body, signature):
    settings = AccountSettings(key="k" * 64, secret="s" * 64, passphrase="pp")
    venue, _, account = desk(accounts=[settings])
    headers = headers_for(
        method, target, key="k" * 64, passphrase="pp", stamp="2023-11-14T22:13:20.000Z"
    ) | {"OK-ACCESS-SIGN": signature}
    arguments = venue.clearing, headers, method
    assert authenticate(*arguments, target, body.encode(), 1_700_000_000_000) is account
    with pytest.raises(ApiError, match="Invalid Sign"):
        authenticate(*arguments, target + "x", body.encode(), 1_700_000_000_000)


@pytest.mark.parametrize("query", ["ccy=BTC,USDT", "ccy=BTC%2CUSDT"])
def test_the_signature_covers_the_query_as_it_was_sent(query):
    async def use(venue, http):
        target = f"/api/v5/account/balance?{query}"
        # Not a URL object: the client shall not write the query anew.
        reader, writer = await asyncio.open_connection("127.0.0.1", venue.port)
        lines = [f"{k}: {v}" for k, v in headers_for("GET", target).items()]
        head = "\r\n".join([f"GET /okx{target} HTTP/1.1", "Host: x", "Connection: close", *lines])
        writer.write(f"{head}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    body = with_okx(use)
    assert {each["ccy"] for each in body["data"][0]["details"]} == {"BTC", "USDT"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": ""}, "50103"),
        ({"passphrase": ""}, "50104"),
        ({"sign": ""}, "50106"),
        ({"stamp": ""}, "50107"),
        ({"stamp": "1700000000"}, "50112"),
        ({"stamp": "2023-11-14T22:13:20.000Z"}, "50102"),
        ({"key": "nobody"}, "50111"),
        ({"passphrase": "wrong"}, "50105"),
        ({"sign": sign("something else")}, "50113"),
    ],
)
def test_a_request_without_valid_credentials_is_refused(changes, code):
    async def use(venue, http):
        return await get(venue, http, "account/config", **changes)

    status, body = with_okx(use)
    assert (status, body["code"], body["data"]) == (401, code, [])


def test_the_clock_of_requests_is_the_venues_own():
    async def use(venue, http):
        venue.set_faults(clock_skew_ms=40_000)
        late = await get(venue, http, "account/config")
        good = await get(venue, http, "account/config", stamp=stamp_of(time.time() + 40))
        return late[1]["code"], good[1]["code"]

    assert with_okx(use) == ("50102", "0")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"timestamp": "soon"}, "60004"),
        ({"timestamp": str(int(time.time()) - 60)}, "60006"),
        ({"apiKey": "nobody"}, "60005"),
        ({"passphrase": "wrong"}, "60024"),
        ({"sign": "wrong"}, "60007"),
        ({"sign": ""}, "60009"),
    ],
)
def test_a_login_without_valid_credentials_is_refused(changes, code):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await socket.send_json(login(**changes))
            refused = await message(socket)
            await socket.send_json({"op": "subscribe", "args": [{"channel": "account"}]})
            return refused, await message(socket)

    refused, after = with_okx(use)
    assert (refused["event"], refused["code"], after["code"]) == ("error", code, "60011")


def test_a_login_takes_its_time_as_text_or_number_and_is_done_once():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await socket.send_json(login(timestamp=int(time.time())))
            first = await message(socket)
            await socket.send_json(login())
            return first, await message(socket)

    first, second = with_okx(use)
    assert (first["event"], first["code"], second["code"]) == ("login", "0", "60031")


def test_orders_want_a_login_and_the_private_address():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await send(socket, "order", ORDER)
            nobody = await message(socket)
        async with connect(venue, http, "business") as socket:
            await log_in(socket)
            await send(socket, "order", ORDER)
            return nobody["code"], (await message(socket))["code"]

    assert with_okx(use) == ("60011", "60028")


# Channels.


def test_the_channel_of_orders_gives_no_snapshot():
    async def use(venue, http):
        await placed(venue, http, px=FAR)
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "ANY"})
            await placed(venue, http, px=FAR, clOrdId="second")
            return await pushes(socket, "orders", in_state("live"))

    (only,) = with_okx(use)
    assert only["clOrdId"] == "second"


@pytest.mark.parametrize("channel", ["account", "positions", "balance_and_position"])
def test_the_other_channels_begin_with_a_snapshot(channel):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            argument = {"channel": channel} | (
                {"instType": "ANY"} if channel == "positions" else {}
            )
            await subscribe(socket, argument)
            return argument, own(venue).uid, await message(socket)

    argument, uid, first = with_okx(use)
    assert first["arg"] == argument | {"uid": str(uid)}
    told = first["data"][0] if channel == "balance_and_position" else first
    assert told["eventType"] == "snapshot"


def test_a_fill_is_told_on_all_channels():
    wanted = ("orders", "fills", "account", "positions", "balance_and_position")

    async def use(venue, http):
        found = {}
        async with connect(venue, http) as socket:
            await log_in(socket)
            for channel in wanted:
                typed = {"instType": "SWAP"} if channel in ("orders", "positions") else {}
                await subscribe(socket, {"channel": channel} | typed)
            await send(socket, "order", SWAP_ORDER | {"ordType": "market", "sz": "0.5"})
            while len(found) < len(wanted):
                received = await message(socket)
                if "arg" not in received or not received.get("data"):
                    continue
                entry, name = received["data"][-1], received["arg"]["channel"]
                if name == "orders" and entry["state"] != "filled":
                    continue
                kind = received.get("eventType") or entry.get("eventType")
                if kind != "snapshot":
                    found[name] = received
        return found, own(venue)

    found, account = with_okx(use)
    fill = account.fills[-1]
    entry = found["orders"]["data"][0]
    assert (entry["tradeId"], entry["execType"]) == (str(fill.id), "T")
    assert Decimal(entry["fillFee"]) == -fill.fee < 0
    assert entry["fillFeeCcy"] == "USDT"
    assert found["fills"]["data"][0]["tradeId"] == str(fill.id)
    both = found["balance_and_position"]["data"][0]
    assert both["eventType"] == "filled"
    assert {"instId": SWAP, "tradeId": str(fill.id)} in both["trades"]
    assert both["posData"][0]["pos"] == found["positions"]["data"][0]["pos"] == "0.5"
    cash = {each["ccy"]: each["cashBal"] for each in both["balData"]}
    (detail,) = found["account"]["data"][0]["details"]
    assert Decimal(cash["USDT"]) == Decimal(detail["cashBal"]) == account.balances["USDT"].total


def test_a_fill_that_the_crowd_brings_is_a_makers():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "SPOT", "instId": SPOT})
            book = clearing(venue).market(SPOT).book
            price = clearing(venue).market(SPOT).instrument.price.text(book.bids.best.price)
            await ask(socket, "order", ORDER | {"px": price, "sz": "0.001"})
            while own(venue).orders:
                venue.step(50)
            return (await pushes(socket, "orders", in_state("filled")))[-1]

    entry = with_okx(use, symbols=[SPOT])
    assert (entry["execType"], entry["fillFeeCcy"], entry["accFillSz"]) == ("M", "BTC", "0.001")


def test_account_and_positions_repeat_themselves_unless_asked_not_to():
    async def use(venue, http):
        okx, now_ms = venue.venues[OKX], venue.venues[OKX].now_ms()
        never = {"channel": "account", "ccy": "BTC", "extraParams": '{"updateInterval": "0"}'}
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "account", "ccy": "USDT"}, never)
            venue.pause()
            okx.private.tick(now_ms + 2 * REPEAT_MS)
            okx.private.tick(now_ms + 4 * REPEAT_MS)
            # After the snapshot with which the second one begins:
            seen = [await until(socket, lambda m: "data" in m) for _ in range(3)]
            return [(each["arg"]["ccy"], each["eventType"]) for each in seen]

    first, *others = with_okx(use)
    assert first == ("BTC", "snapshot")
    assert others == [("USDT", "snapshot")] * 2


def test_a_private_channel_is_not_on_the_public_address():
    async def use(venue, http):
        async with connect(venue, http, "public") as socket:
            await socket.send_json({"op": "subscribe", "args": [{"channel": "account"}]})
            return await message(socket)

    assert with_okx(use)["code"] == "60018"


def test_too_many_connections_of_a_channel_are_refused():
    venue, _, account = desk()
    argument = {"channel": "account"}
    clients = [object() for _ in range(CONNECTIONS_PER_CHANNEL + 1)]
    counts = [
        venue.private.subscribe(client, account, argument, repeats=False) for client in clients[:-1]
    ]
    assert counts[-1] == CONNECTIONS_PER_CHANNEL
    with pytest.raises(ApiError):
        venue.private.subscribe(clients[-1], account, argument, repeats=False)


def test_a_connection_that_has_gone_receives_nothing():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "account"})
            assert venue.venues[OKX].private.channels(own(venue)) == {"account"}
        async with asyncio.timeout(10.0):
            while True:
                if not venue.venues[OKX].private.channels(own(venue)):
                    return
                await asyncio.sleep(0.01)

    with_okx(use)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("private/orders", "orders"),
        ("private/account", "account"),
        ("private/positions", "positions"),
        ("private/fills", "fills"),
        ("private/balance_and_position", "balance_and_position"),
        ("private/orders-algo", "orders-algo"),
    ],
)
def test_pushes_have_the_fields_of_recorded_ones(path, kind):
    async def use(venue, http):
        async with connect(venue, http, "business" if "algo" in kind else "private") as socket:
            await log_in(socket)
            typed = {"instType": "ANY"} if kind in ("orders", "positions", "orders-algo") else {}
            await subscribe(socket, {"channel": kind} | typed)
            terms = SWAP_ORDER | {"ordType": "market"}
            await post(venue, http, "trade/order", terms)
            stop = terms | {"ordType": "trigger", "triggerPx": NEAR, "orderPx": "-1"}
            await post(venue, http, "trade/order-algo", stop | {"side": "sell"})
            if kind == "orders":
                return (await pushes(socket, kind, in_state("filled")))[-1]
            return (await pushes(socket, kind, lambda entry: entry.get("posData") != []))[-1]

    entry = with_okx(use)
    assert recorded(path) <= shape({"data": [entry]})


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (f"trade/order?instId={SPOT}&clOrdId=one", "rest/GET_api_v5_trade_order"),
        ("trade/orders-pending", "rest/GET_api_v5_trade_orders-pending"),
        ("trade/orders-history?instType=SWAP", "rest/GET_api_v5_trade_orders-history"),
        ("trade/orders-history-archive?instType=SWAP", "rest/GET_api_v5_trade_orders-history"),
        ("trade/fills", "rest/GET_api_v5_trade_fills"),
        ("account/balance", "rest/GET_api_v5_account_balance"),
        ("account/positions", "rest/GET_api_v5_account_positions"),
        ("account/config", "rest/GET_api_v5_account_config"),
        (
            f"account/leverage-info?instId={SWAP}&mgnMode=cross",
            "rest/GET_api_v5_account_leverage-info",
        ),
        (f"account/max-size?instId={SWAP}&tdMode=cross", "rest/GET_api_v5_account_max-size"),
        (
            f"account/max-avail-size?instId={SWAP}&tdMode=cross",
            "rest/GET_api_v5_account_max-avail-size",
        ),
    ],
)
def test_queries_answer_with_the_fields_of_recorded_ones(target, path):
    async def use(venue, http):
        await placed(venue, http, px=FAR, clOrdId="one")
        await post(venue, http, "trade/order", SWAP_ORDER | {"ordType": "market"})
        return await get(venue, http, target)

    status, body = with_okx(use)
    assert (status, body["code"]) == (200, "0")
    assert recorded(path) <= shape(body)


# Algo orders, the dead-man switch, forced orders, settings, bills.


def test_a_trigger_order_becomes_a_plain_one_that_names_it():
    async def use(venue, http):
        async with connect(venue, http, "business") as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders-algo", "instType": "ANY"})
            stats = clearing(venue).market(SWAP).stats
            price = clearing(venue).market(SWAP).instrument.price.text(stats.last + 1)
            terms = SWAP_ORDER | {"ordType": "trigger", "triggerPx": price, "orderPx": "-1"}
            _, body = await post(venue, http, "trade/order-algo", terms | {"algoClOrdId": "stop1"})
            assert body["data"][0]["sCode"] == "0", body
            entries = await pushes(socket, "orders-algo", in_state("live"))
            while clearing(venue).open_orders(own(venue), algo=True):
                venue.step(50)
            entries += await pushes(socket, "orders-algo", in_state("effective"))
        target = f"trade/order?instId={SWAP}&ordId={entries[-1]['ordId']}"
        return entries, (await get(venue, http, target))[1]["data"][0]

    entries, child = with_okx(use, symbols=[SWAP])
    assert (child["algoId"], child["algoClOrdId"]) == (entries[0]["algoId"], "stop1")
    assert (child["ordType"], child["state"], child["clOrdId"]) == ("market", "filled", "")


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"slTriggerPx": "70000", "slOrdPx": "-1"}, "51280"),
        ({"tpTriggerPx": FAR, "tpOrdPx": "-1"}, "51279"),
        ({"side": "buy", "slTriggerPx": FAR, "slOrdPx": "-1"}, "51278"),
        ({"side": "buy", "tpTriggerPx": "70000", "tpOrdPx": "-1"}, "51277"),
        ({"slTriggerPx": FAR, "slOrdPx": "-1"}, "0"),
        ({"ordType": "oco"}, "51000"),
    ],
)
def test_a_conditional_order_must_not_trigger_at_once(terms, code):
    async def use(venue, http):
        content = SWAP_ORDER | {"ordType": "conditional", "side": "sell"} | terms
        _, body = await post(venue, http, "trade/order-algo", content)
        result = body["data"][0]
        if result["sCode"] == "0":
            pending = await get(venue, http, "trade/orders-algo-pending?ordType=conditional")
            (entry,) = pending[1]["data"]
            assert (entry["algoId"], entry["slTriggerPx"]) == (result["algoId"], FAR)
            cancel = [{"instId": SWAP, "algoId": result["algoId"]}]
            _, body = await post(venue, http, "trade/cancel-algos", cancel)
            assert body["data"][0]["sCode"] == "0"
            path = "trade/orders-algo-history?ordType=conditional&state=canceled"
            assert len((await get(venue, http, path))[1]["data"]) == 1
        return result["sCode"]

    assert with_okx(use) == code


def test_the_dead_man_switch_cancels_the_orders_of_its_tag():
    async def use(venue, http):
        await placed(venue, http, px=FAR, tag="one")
        await placed(venue, http, px=FAR, tag="two")
        _, body = await post(venue, http, "trade/cancel-all-after", {"timeOut": 10, "tag": "one"})
        trading, now_ms = clearing(venue), venue.venues[OKX].now_ms()
        trading.tick(now_ms + 11_000)
        return body["data"][0], own(venue), now_ms

    answer, account, now_ms = with_okx(use)
    (ended,) = account.history
    assert (ended.terms.tag, ended.ended.name) == ("one", "DEAD_MAN")
    assert [order.terms.tag for order in account.orders.values()] == ["two"]
    assert 0 <= now_ms + 10_000 - int(answer["triggerTime"]) < 10_000


@pytest.mark.parametrize("seconds", ["5", "121", "x", ""])
def test_the_dead_man_switch_takes_ten_to_a_hundred_and_twenty_seconds(seconds):
    async def use(venue, http):
        return await post(venue, http, "trade/cancel-all-after", {"timeOut": seconds})

    status, body = with_okx(use)
    assert (status, body["code"]) == (400, "51000" if seconds else "50014")


@pytest.mark.parametrize(("how", "category"), [("liquidate", "full_liquidation"), ("adl", "adl")])
def test_orders_that_nobody_sent_say_what_they_are(how, category):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "SWAP"})
            await ask(socket, "order", SWAP_ORDER | {"ordType": "market"})
            trading, now_ms = clearing(venue), venue.venues[OKX].now_ms()
            if how == "adl":
                trading.deleverage(own(venue), SWAP, 100, now_ms)
            else:
                trading.liquidate(own(venue), SWAP, now_ms)
            return await pushes(
                socket, "orders", lambda e: e["category"] != "normal" and e["state"] == "filled"
            )

    entry = with_okx(use)[-1]
    assert (entry["category"], entry["clOrdId"], entry["side"]) == (category, "", "sell")


def test_a_position_is_closed_at_the_market_and_its_close_orders_first():
    async def use(venue, http):
        close = {"instId": SWAP, "mgnMode": "cross"}
        none = await post(venue, http, "trade/close-position", close)
        await post(venue, http, "trade/order", SWAP_ORDER | {"ordType": "market"})
        await post(venue, http, "trade/order", SWAP_ORDER | {"side": "sell", "px": "64000"})
        stands = await post(venue, http, "trade/close-position", close)
        done = await post(venue, http, "trade/close-position", close | {"autoCxl": True})
        return none[1]["code"], stands[1]["code"], done[1]["code"], own(venue)

    *codes, account = with_okx(use)
    assert codes == ["51023", "51115", "0"]
    assert (account.positions[SWAP, "net"].lots, account.orders) == (0, {})


def test_long_and_short_positions_are_kept_apart_in_the_other_mode():
    async def use(venue, http):
        await post(venue, http, "account/set-position-mode", {"posMode": "long_short_mode"})
        market = SWAP_ORDER | {"ordType": "market"}
        _, refused = await post(venue, http, "trade/order", market)
        for side, position in (("buy", "long"), ("sell", "short")):
            terms = market | {"side": side, "posSide": position}
            _, body = await post(venue, http, "trade/order", terms)
            assert body["code"] == "0", body
        _, body = await get(venue, http, "account/positions")
        mode = {"posMode": "net_mode"}
        back = await post(venue, http, "account/set-position-mode", mode)
        return refused["data"][0]["sCode"], body["data"], back[1]["code"]

    refused, positions, back = with_okx(use)
    assert (refused, back) == ("50014", "59000")
    assert {each["posSide"]: each["pos"] for each in positions} == {"long": "1", "short": "1"}


@pytest.mark.parametrize(("lever", "code"), [("20", "0"), ("101", "59102"), ("1.5", "51000")])
def test_leverage_is_set_within_the_venues_limit(lever, code):
    async def use(venue, http):
        content = {"instId": SWAP, "lever": lever, "mgnMode": "cross"}
        return await post(venue, http, "account/set-leverage", content), own(venue)

    (_, body), account = with_okx(use)
    assert body["code"] == code
    assert account.leverage.get(SWAP) == (20 if code == "0" else None)


def test_bills_add_up_to_the_balances():
    async def use(venue, http):
        before = {name: balance.total for name, balance in own(venue).balances.items()}
        await placed(venue, http, ordType="market", sz="1000")
        await post(venue, http, "trade/order", SWAP_ORDER | {"ordType": "market"})
        clearing(venue).pay_funding(SWAP, venue.venues[OKX].now_ms())
        _, body = await get(venue, http, "account/bills")
        return before, own(venue).balances, body["data"]

    before, balances, bills = with_okx(use)
    assert bills[0]["type"] == "8"
    for name in ("BTC", "USDT"):
        changes = [Decimal(bill["balChg"]) for bill in bills if bill["ccy"] == name]
        assert before[name] + sum(changes) == balances[name].total
        newest = next(bill for bill in bills if bill["ccy"] == name)
        assert Decimal(newest["bal"]) == balances[name].total


@pytest.mark.parametrize(
    ("terms", "rate"),
    [
        ({"instId": SPOT, "tdMode": "cash", "sz": "500"}, "-0.001"),
        ({"instId": SPOT, "tdMode": "cash", "side": "sell"}, "-0.001"),
        ({"instId": SWAP}, "-0.0005"),
        ({"instId": "BTC-USD-SWAP", "sz": "50"}, "-0.0005"),
    ],
)
def test_a_fill_tells_the_rate_of_its_fee(terms, rate):
    venue, _, account = desk()
    (result,) = act(venue, "order", SWAP_ORDER | {"ordType": "market"} | terms)
    assert result["sCode"] == "0"
    told = Decimal(stored_fill(account.fills[-1])["feeRate"])
    assert told.quantize(Decimal("1e-5")) == Decimal(rate)


def test_history_and_fills_are_read_in_pages():
    async def use(venue, http):
        for _ in range(3):
            await placed(venue, http, ordType="market", sz="0.001", tgtCcy="base_ccy")
            await placed(venue, http, px=FAR, ordType="ioc")
        orders, fills = [], []
        for target, key, found in (
            ("trade/orders-history?instType=SPOT&limit=2", "ordId", orders),
            ("trade/fills?instType=SPOT&limit=2", "billId", fills),
        ):
            page, after = [None], ""
            while page:
                _, body = await get(venue, http, target + after)
                page = body["data"]
                found += [entry[key] for entry in page]
                after = f"&after={found[-1]}"
        return orders, fills, own(venue)

    orders, fills, account = with_okx(use)
    assert orders == [str(order.id) for order in reversed(account.history)]
    assert fills == [str(fill.sequence) for fill in reversed(account.fills)]


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ("", "application/json", "50000"),
        ("{", "application/json", "50002"),
        ("[]", "application/json", "50002"),
        ("a=1", "text/plain", "50006"),
    ],
)
def test_a_body_must_be_json(body, kind, code):
    async def use(venue, http):
        path = "/api/v5/trade/order"
        headers = headers_for("POST", path, body) | {"Content-Type": kind}
        async with http.post(venue.base(OKX) + path, data=body, headers=headers) as response:
            return response.status, (await response.json())["code"]

    assert with_okx(use) == (400, code)


def test_parameters_of_another_kind_are_refused():
    fields = Parameters({"sz": [], "px": "NaN", "reduceOnly": "maybe", "limit": "-1"})
    for read in (
        lambda: fields.text("sz"),
        lambda: fields.amount("px"),
        lambda: fields.flag("reduceOnly"),
        lambda: fields.whole("limit"),
    ):
        with pytest.raises(ApiError, match="Parameter"):
            read()


@pytest.mark.parametrize(("side", "currency"), [("buy", "quote_ccy"), ("sell", "base_ccy")])
def test_a_market_stop_of_a_spot_pair_is_sized_like_a_market_order(side, currency):
    async def use(venue, http):
        terms = {"instId": SPOT, "tdMode": "cash", "side": side, "ordType": "trigger", "sz": "1"}
        more = {"triggerPx": "20000", "orderPx": "-1"}
        _, body = await post(venue, http, "trade/order-algo", terms | more)
        number = body["data"][0]["algoId"]
        return (await get(venue, http, f"trade/order-algo?algoId={number}"))[1]

    (entry,) = with_okx(use)["data"]
    assert (entry["tgtCcy"], entry["sz"]) == (currency, "1")
