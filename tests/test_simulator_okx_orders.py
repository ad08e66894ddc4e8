"""Orders on the simulated OKX: new ones, amendments, cancellations, limits and faults."""

import time
from functools import cache

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.simulator.okx.filters import code_of
from gateways.simulator.okx.orders import OPERATIONS
from gateways.simulator.okx.rules import OrderBudget
from gateways.simulator.rest import ApiError
from tests.okx_client import (
    FAR,
    OKX,
    ORDER,
    SPOT,
    SWAP,
    SWAP_ORDER,
    act,
    ask,
    connect,
    desk,
    get,
    in_state,
    log_in,
    own,
    placed,
    post,
    pushes,
    send,
    subscribe,
    with_okx,
)
from tests.simulator_client import message, until


@cache
def calm():
    """Return a venue that all examples of a property share."""
    return desk(symbols=[SPOT, SWAP])[0]


# New orders.


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (ORDER | {"px": FAR}, "0"),
        (ORDER | {"px": "50000.05"}, "51000"),
        (ORDER | {"px": "0"}, "51000"),
        (ORDER, "50014"),
        (ORDER | {"px": FAR, "instId": "NO-USDT"}, "51001"),
        (ORDER | {"px": FAR, "sz": "0.000000001"}, "51020"),
        (ORDER | {"px": FAR, "sz": "0.010000001"}, "51121"),
        (ORDER | {"px": FAR, "sz": "1000"}, "51008"),
        (ORDER | {"px": "70000"}, "51137"),
        (ORDER | {"px": FAR, "side": "sell"}, "51138"),
        (ORDER | {"px": FAR, "clOrdId": "not_alnum"}, "51000"),
        (ORDER | {"px": FAR, "clOrdId": "a" * 33}, "51000"),
        (ORDER | {"px": FAR, "tag": "a" * 17}, "51000"),
        (ORDER | {"px": FAR, "tdMode": "cross"}, "51010"),
        (ORDER | {"px": FAR, "reduceOnly": True}, "51205"),
        (ORDER | {"px": FAR, "ordType": "fok", "stpMode": "cancel_both"}, "50016"),
        (ORDER | {"px": FAR, "ordType": "iceberg"}, "51000"),
        (SWAP_ORDER | {"px": "70000"}, "51006"),
        (SWAP_ORDER | {"px": FAR, "sz": "0.001"}, "51020"),
        (SWAP_ORDER | {"px": FAR, "sz": "1.001"}, "51121"),
        (SWAP_ORDER | {"px": FAR, "sz": "200000000"}, "51101"),
        (SWAP_ORDER | {"px": FAR, "sz": "1000000"}, "51008"),
        (SWAP_ORDER | {"px": FAR, "tdMode": "cash"}, "51000"),
        (SWAP_ORDER | {"px": FAR, "posSide": "long"}, "51000"),
        (SWAP_ORDER | {"px": FAR, "reduceOnly": True}, "51169"),
        (SWAP_ORDER | {"px": FAR, "reduceOnly": "true"}, "51169"),
    ],
)
def test_a_new_order_is_checked_as_the_venue_does(terms, code):
    venue, _, account = desk()
    (result,) = act(venue, "order", terms)
    assert result["sCode"] == code
    assert len(account.orders) == (code == "0")


def test_a_client_id_is_unique_among_live_orders():
    venue, _, _ = desk()
    terms = ORDER | {"px": FAR, "clOrdId": "mine"}
    first, second = act(venue, "batch-orders", terms, terms)
    assert (first["sCode"], second["sCode"]) == ("0", "51016")
    act(venue, "cancel-order", {"instId": SPOT, "clOrdId": "mine"})
    (third,) = act(venue, "order", terms)
    assert third["sCode"] == "0"


def test_no_order_is_taken_while_an_instrument_is_halted():
    async def use(venue, http):
        venue.change_instrument(OKX, SPOT, listing="halted")
        return await placed(venue, http, px=FAR)

    assert with_okx(use)["sCode"] == "51022"


@pytest.mark.parametrize(
    ("terms", "code"),
    [({"side": "buy"}, "51170"), ({"sz": "3"}, "51148"), ({"sz": "1.5"}, "0")],
)
def test_a_reduce_only_order_is_refused_whole(terms, code):
    venue, _, account = desk()
    market = SWAP_ORDER | {"ordType": "market"}
    act(venue, "order", market | {"sz": "2"})
    (result,) = act(venue, "order", market | {"side": "sell", "reduceOnly": True} | terms)
    assert result["sCode"] == code
    assert account.positions[SWAP, "net"].lots == (50 if code == "0" else 200)


@pytest.mark.parametrize(
    ("terms", "source"),
    [
        ({"ordType": "post_only", "px": "62000"}, "31"),
        ({"ordType": "ioc", "px": FAR}, "14"),
        ({"ordType": "fok", "px": "62000", "sz": "15"}, "13"),
    ],
)
def test_an_order_that_ends_by_its_own_terms_is_accepted_and_then_canceled(terms, source):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "SPOT"})
            await send(socket, "order", ORDER | terms)
            entries = await pushes(socket, "orders", in_state("canceled"))
            return entries, await until(socket, lambda m: m.get("op") == "order")

    entries, answer = with_okx(use)
    assert (answer["code"], answer["data"][0]["sCode"]) == ("0", "0")
    assert [entry["state"] for entry in entries] == ["live", "canceled"]
    assert (entries[-1]["cancelSource"], entries[-1]["accFillSz"]) == (source, "0")


def test_self_trade_prevention_cancels_the_resting_order():
    venue, _, account = desk()
    book = venue.clearing.market(SPOT).book
    text = venue.clearing.market(SPOT).instrument.price.text
    inside = text(book.bids.best.price)
    act(venue, "order", ORDER | {"px": inside, "ordType": "post_only"})
    # All that stands there besides, so that the taker meets our own order.
    lots = venue.clearing.market(SPOT).instrument.quantity.text(book.bids.best.quantity)
    act(venue, "order", ORDER | {"px": inside, "sz": lots, "side": "sell", "ordType": "ioc"})
    first = account.history[0]
    assert (first.ended.name, first.filled) == ("SELF_TRADE", 0)


def test_a_market_order_by_value_ends_filled_with_a_push_without_a_trade():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "SPOT"})
            await send(socket, "order", ORDER | {"ordType": "market", "sz": "100"})
            return await pushes(socket, "orders", in_state("filled"))

    *_, traded, last = with_okx(use)
    assert (traded["state"], last["state"]) == ("partially_filled", "filled")
    assert (last["fillSz"], last["tradeId"], last["sz"]) == ("0", "", "100")
    assert last["accFillSz"] == traded["accFillSz"] != "0"


def test_a_market_order_that_meets_nobody_is_canceled():
    venue, _, account = desk()
    market = venue.clearing.market(SWAP)
    for order in list(market.book.orders.values()):
        if order.side < 0:
            market.book.cancel(order.id)
    (result,) = act(venue, "order", SWAP_ORDER | {"ordType": "market"})
    (order,) = account.history
    assert result["sCode"] == "0"
    assert (order.filled, order.ended.name) == (0, "NO_LIQUIDITY")


def test_an_order_names_its_instrument_by_number_too():
    async def use(venue, http):
        _, body = await get(venue, http, "account/instruments?instType=SPOT&instId=BTC-USDT")
        (entry,) = body["data"]
        async with connect(venue, http) as socket:
            await log_in(socket)
            terms = ORDER | {"px": FAR, "instIdCode": entry["instIdCode"]}
            del terms["instId"]
            return await ask(socket, "order", terms)

    answer = with_okx(use)
    assert (answer["id"], answer["code"], answer["data"][0]["sCode"]) == ("1", "0", "0")


def test_where_codes_are_wanted_a_websocket_order_without_one_is_refused():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            answer = await ask(socket, "order", ORDER | {"px": FAR})
        return answer, await placed(venue, http, px=FAR)

    answer, by_rest = with_okx(use, instrument_codes=True)
    (result,) = answer["data"]
    assert (answer["code"], result["sCode"]) == ("1", "50014")
    assert result["sMsg"] == "Parameter instIdCode can not be empty."
    assert by_rest["sCode"] == "0"


def test_a_late_request_is_not_executed():
    past = str(int(time.time() * 1000) - 1000)

    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            answer = await ask(socket, "order", ORDER | {"px": FAR}, expTime=past)
        _, body = await post(venue, http, "trade/order", ORDER | {"px": FAR}, {"expTime": past})
        return answer["code"], body["code"], len(own(venue).orders)

    assert with_okx(use) == ("50036", "50036", 0)


# Batches, amendments, cancellations.


def test_the_code_of_a_batch_tells_whether_all_some_or_none_worked():
    _, orders, account = desk()
    good, bad = ORDER | {"px": FAR}, ORDER | {"px": "0"}
    batch = OPERATIONS["batch-orders"]
    requests = [good, good], [good, bad], [bad, bad]
    codes = [orders.act(account, batch, request)["code"] for request in requests]
    assert codes == ["0", "2", "1"]
    assert len(account.orders) == 3
    with pytest.raises(ApiError) as refused:
        orders.check(account, batch, [good] * 21, "")
    assert refused.value.code == 51111


def test_an_amendment_sets_the_total_size_and_is_told_with_its_own_id():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "ANY"})
            answer = await ask(socket, "order", ORDER | {"px": FAR})
            number = answer["data"][0]["ordId"]
            change = {"instId": SPOT, "ordId": number, "newSz": "0.05", "newPx": "50001"}
            await send(socket, "amend-order", change | {"reqId": "r1"})
            entries = await pushes(socket, "orders", lambda entry: entry["reqId"] == "r1")
            return entries[-1]

    entry = with_okx(use)
    assert (entry["sz"], entry["px"], entry["amendResult"]) == ("0.05", "50001", "0")
    assert entry["state"] == "live"


def test_amending_to_what_is_filled_fills_the_order():
    venue, _, account = desk()
    market = venue.clearing.market(SPOT)
    best = market.book.asks.best
    size = market.instrument.quantity.text(best.quantity + 1000)
    price = market.instrument.price.text(best.price)
    (result,) = act(venue, "order", ORDER | {"px": price, "sz": size})
    (order,) = account.orders.values()
    assert order.filled
    change = {"instId": SPOT, "ordId": result["ordId"], "newSz": "0.00000001"}
    (answer,) = act(venue, "amend-order", change)
    assert (answer["sCode"], order.status.value, account.orders) == ("0", "filled", {})


@pytest.mark.parametrize(("cancels", "result", "left"), [(False, "-1", 1), (True, "1", 0)])
def test_an_amendment_may_fail_after_its_acknowledgement(cancels, result, left):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "ANY"})
            await ask(socket, "order", ORDER | {"px": FAR, "clOrdId": "mine"})
            change = {"instId": SPOT, "clOrdId": "mine", "newSz": "1000", "cxlOnFail": cancels}
            await send(socket, "amend-order", change | {"reqId": "r2"})
            entries = await pushes(socket, "orders", lambda entry: entry["reqId"] == "r2")
            answer = await until(socket, lambda m: m.get("op") == "amend-order")
            return entries[-1], answer["data"][0]["sCode"], len(own(venue).orders)

    entry, code, live = with_okx(use)
    assert (entry["amendResult"], entry["code"], code, live) == (result, "51502", "0", left)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"clOrdId": "live"}, "51500"),
        ({"clOrdId": "live", "newPx": "50000.05"}, "51000"),
        ({"clOrdId": "live", "newPx": "70000"}, "51137"),
        ({"clOrdId": "live", "newSz": "0.000000001"}, "51020"),
        ({"clOrdId": "post", "newPx": "62500"}, "51511"),
        ({"clOrdId": "canceled", "newSz": "1"}, "51509"),
        ({"clOrdId": "filled", "newSz": "1"}, "51510"),
        ({"clOrdId": "nobody", "newSz": "1"}, "51503"),
        ({"newSz": "1"}, "50015"),
    ],
)
def test_an_amendment_is_checked_as_the_venue_does(change, code):
    venue, _, _ = desk()
    act(venue, "order", ORDER | {"px": FAR, "clOrdId": "live"})
    act(venue, "order", ORDER | {"px": FAR, "clOrdId": "post", "ordType": "post_only"})
    act(venue, "order", ORDER | {"px": FAR, "clOrdId": "canceled", "ordType": "ioc"})
    act(venue, "order", ORDER | {"clOrdId": "filled", "ordType": "market", "tgtCcy": "base_ccy"})
    (result,) = act(venue, "amend-order", {"instId": SPOT} | change)
    assert result["sCode"] == code


@pytest.mark.parametrize("order", [{"clOrdId": "done"}, {"ordId": "1"}, {"clOrdId": "nobody"}])
def test_an_order_that_is_not_open_cannot_be_canceled(order):
    venue, _, _ = desk()
    act(venue, "order", ORDER | {"px": FAR, "ordType": "ioc", "clOrdId": "done"})
    (result,) = act(venue, "cancel-order", {"instId": SPOT} | order)
    assert result["sCode"] == "51400"


def test_a_query_for_an_unknown_order_is_refused():
    async def use(venue, http):
        return await get(venue, http, f"trade/order?instId={SPOT}&clOrdId=nobody")

    assert with_okx(use)[1]["code"] == "51603"


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["-1", "0", "1e999", "NaN", "1e-30", "62000", FAR, SPOT, SWAP, "buy", "ioc"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)
names = st.sampled_from(
    [
        "instId",
        "instIdCode",
        "tdMode",
        "side",
        "posSide",
        "ordType",
        "sz",
        "px",
        "reduceOnly",
        "tgtCcy",
        "clOrdId",
        "tag",
        "stpMode",
        "ordId",
        "newSz",
        "newPx",
        "reqId",
        "cxlOnFail",
        "attachAlgoOrds",
    ]
)


@given(st.sampled_from(sorted(OPERATIONS)), st.dictionaries(names, odd, max_size=4))
@settings(max_examples=150)
def test_whatever_a_request_contains_is_answered(operation, changes):
    account = calm().clearing.accounts[0]
    request = ORDER | {"px": FAR, "clOrdId": "odd", "newPx": "50001"} | changes
    result = calm().desk.act(account, OPERATIONS[operation], [request])
    assert result["code"] in ("0", "1")
    assert result["data"][0]["sCode"]


# Limits.


def test_orders_are_limited_per_instrument_and_kind_and_a_batch_of_one_is_no_batch():
    now = [0.0]
    budget = OrderBudget(lambda: now[0])
    for _ in range(60):
        budget.spend(1, "place", [SPOT])
    with pytest.raises(ApiError) as refused:
        budget.spend(1, "place", [SPOT])
    assert (refused.value.code, refused.value.status) == (50011, 429)
    budget.spend(1, "place", [SWAP])
    budget.spend(1, "cancel", [SPOT])
    budget.spend(2, "place", [SPOT])
    budget.spend(1, "place", [SPOT] * 20)
    now[0] = 2.0
    budget.spend(1, "place", [SPOT])


def test_an_account_may_place_and_amend_a_thousand_orders_in_two_seconds():
    budget = OrderBudget(lambda: 0.0)
    names = [f"X{place}" for place in range(4)]
    for name in names:
        for _ in range(12):
            budget.spend(1, "place", [name] * 20)
    for _ in range(2):
        budget.spend(1, "amend", [names[0]] * 20)
    with pytest.raises(ApiError) as refused:
        budget.spend(1, "amend", [names[0]])
    assert refused.value.code == 50061
    budget.spend(1, "cancel", [names[0]] * 20)


def test_rest_and_websocket_share_the_limit():
    async def use(venue, http):
        account, place = own(venue), OPERATIONS["order"]
        for _ in range(60):
            venue.venues[OKX].desk.check(account, place, [ORDER], "")
        status, body = await post(venue, http, "trade/order", ORDER | {"px": FAR})
        async with connect(venue, http) as socket:
            await log_in(socket)
            answer = await ask(socket, "order", ORDER | {"px": FAR})
        return status, body["code"], answer["code"], answer["data"]

    assert with_okx(use) == (429, "50011", "50011", [])


def test_queries_have_limits_of_their_own():
    async def use(venue, http):
        codes = [(await get(venue, http, "account/config"))[1]["code"] for _ in range(6)]
        return codes

    assert with_okx(use) == ["0"] * 5 + ["50011"]


# Faults.


@pytest.mark.parametrize("effect", [False, True])
def test_a_timeout_leaves_it_open_whether_the_order_was_placed(effect):
    async def use(venue, http):
        venue.set_faults(order_error=400, order_effect=effect, order_count=1)
        status, body = await post(venue, http, "trade/order", ORDER | {"px": FAR})
        venue.set_faults(order_error=504, order_effect=effect, order_count=1)
        async with connect(venue, http) as socket:
            await log_in(socket)
            answer = await ask(socket, "order", ORDER | {"px": FAR})
        return status, body["code"], answer["code"], len(own(venue).orders)

    assert with_okx(use) == (400, "50004", "50004", 2 * effect)


@pytest.mark.parametrize(("fault", "effect"), [("request_drop", 0), ("ack_drop", 1)])
def test_a_request_or_its_answer_can_get_lost(fault, effect):
    async def use(venue, http):
        venue.set_faults(**{fault: 1.0})
        with pytest.raises(aiohttp.ClientError):
            await post(venue, http, "trade/order", ORDER | {"px": FAR})
        async with connect(venue, http) as socket:
            await log_in(socket)
            await send(socket, "order", ORDER | {"px": FAR})
            await socket.send_str("ping")
            assert (await socket.receive()).data == "pong"
        return len(own(venue).orders)

    assert with_okx(use) == 2 * effect


@pytest.mark.parametrize("late", [True, False])
def test_events_leave_before_the_answer_or_after_it(late):
    async def use(venue, http):
        venue.set_faults(ack_late=late)
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "ANY"})
            await send(socket, "order", ORDER | {"px": FAR})
            return [await message(socket) for _ in range(2)]

    first, second = with_okx(use)
    assert ("op" in second, "op" in first) == (late, not late)


def test_an_answer_can_come_long_after_its_effect():
    async def use(venue, http):
        venue.set_faults(ack_delay_ms=50.0)
        async with connect(venue, http) as socket:
            await log_in(socket)
            await send(socket, "order", ORDER | {"px": FAR})
            await socket.send_str("ping")
            first = (await socket.receive()).data
            placed_then = len(own(venue).orders)
            answer = await until(socket, lambda m: m.get("op") == "order")
        return first, placed_then, answer["code"]

    assert with_okx(use) == ("pong", 1, "0")


def test_faults_of_streams_strike_private_ones():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await log_in(socket)
            await subscribe(socket, {"channel": "orders", "instType": "ANY"})
            venue.set_faults(drop=1.0, streams="private.orders")
            await ask(socket, "order", ORDER | {"px": FAR, "clOrdId": "lost"})
            venue.set_faults(drop=0.0)
            await ask(socket, "order", ORDER | {"px": FAR, "clOrdId": "told"})
        return venue.state(1)["fault_counts"]["drop"]

    assert with_okx(use) == 1


def test_an_instrument_has_one_budget_whatever_it_is_called():
    _, orders, account = desk()
    operation = OPERATIONS["cancel-order"]
    by_name = [{"instId": SPOT, "ordId": "1"}]
    by_code = [{"instIdCode": str(code_of(SPOT)), "ordId": "1"}]
    for _ in range(30):
        orders.check(account, operation, by_name, "")
        orders.check(account, operation, by_code, "")
    with pytest.raises(ApiError, match="Rate limit"):
        orders.check(account, operation, by_code, "")


def test_names_of_no_instrument_leave_nothing_behind():
    async def use(venue, http):
        for number in range(5):
            await get(venue, http, f"trade/order?instId=NONE-{number}&ordId=1")
            await post(venue, http, "trade/order", ORDER | {"instId": f"NONE-{number}"})
        return venue.venues[OKX]

    venue = with_okx(use)
    assert len(venue.private_rest._limits) == 1
    assert len(venue.desk._budget._limits) == 1


@pytest.mark.parametrize("body", [5, "text", True, None])
def test_a_body_that_is_no_object_is_refused(body):
    async def use(venue, http):
        return await post(venue, http, "trade/close-position", body)

    status, answer = with_okx(use)
    assert (status, answer["code"]) == (400, "50002")
