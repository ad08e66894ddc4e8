"""Bybit's scanner: field by field as an independent reading, and every reason of a refusal."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.adapter import decode
from feeds.bybit import BYBIT
from feeds.bybit.parse import scan
from feeds.message import Has, ItemKind, Reject
from feeds.types import Flag
from tests.data import shared
from tests.naive_bybit import FUNDING, STATS, naive_bybit
from tests.scanning import expected, inferred, scanned, symbols_of
from tests.test_scan_fuzz import UNKNOWN, WHITESPACE, number_text

pytestmark = pytest.mark.kernels

INSTRUMENTS = {
    "BTCUSDT": (0, 2, 6),
    "BTCUSD": (1, 1, 0),
    "BTCUSDT-25DEC26": (2, 8, 8),
    "币安人生USDT": (3, 5, 0),
}
SYMBOLS = symbols_of(INSTRUMENTS)

UNCOVERED = {"kline.5", "kline.60", "kline.M", "op_subscribe", "priceLimit", "system"}


def read(frame, instruments=INSTRUMENTS, symbols=SYMBOLS):
    return scanned(frame, 1, -1, symbols, scanner=scan)


def reference(frame, instruments=INSTRUMENTS):
    return expected(frame, 1, -1, instruments, naive=naive_bybit)


def frame_of(message):
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def book(topic="orderbook.50.BTCUSDT", kind="snapshot", data=None, **more):
    levels = {"s": "BTCUSDT", "b": [["16.5", "2"]], "a": [["17", "0.5"]], "u": 7, "seq": 9}
    return {"topic": topic, "type": kind, "ts": 5, "data": levels | (data or {})} | more


def trade(**fields):
    one = {"T": 4, "s": "BTCUSDT", "S": "Buy", "v": "0.5", "p": "2", "i": "12", "BT": False}
    return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 5, "data": [one | fields]}


def ticker(**fields):
    data = {"symbol": "BTCUSDT"} | fields
    return {"topic": "tickers.BTCUSDT", "type": "delta", "data": data, "cs": 1, "ts": 5}


def one(message):
    (item,) = read(frame_of(message))
    return item


def samples(folder=""):
    for path in sorted(shared(f"bybit/public/{folder}").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield path.stem, line


def agree_on(frames):
    instruments = inferred(((line, False, "") for _, line in frames), BYBIT)
    symbols = symbols_of(instruments)
    for name, line in frames:
        found = read(line, instruments, symbols)
        assert found == reference(line, instruments), (name, line)
        yield name, line, found


def test_every_sample_of_a_public_message_reads_as_in_the_reference():
    for name, line, found in agree_on(list(samples())):
        if name in UNCOVERED:
            assert found == Reject.NOT_COVERED, name
        elif isinstance(found, Reject):
            # A best bid and offer of one side, a ticker without a number, and one that a client
            # wrote in a form of its own.
            assert found == Reject.NOTHING, (name, line)
            assert name in ("orderbook.1_delta", "tickers_delta", "tickers_snapshot")


def test_a_live_sequence_of_tickers_reads_as_in_the_reference():
    kinds = [
        item["kind"]
        for _, _, found in agree_on(list(samples("sequences")))
        if not isinstance(found, Reject)
        for item in found
    ]
    assert kinds.count(ItemKind.FUNDING) > 40
    assert kinds.count(ItemKind.STATS) > 10


def test_rest_bodies_and_private_messages_are_not_covered():
    for folder in ("rest", "private"):
        for path in sorted(shared(f"bybit/{folder}").glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                assert read(line) == Reject.NOT_COVERED, path.name


@pytest.mark.parametrize(
    "frame",
    [
        b'{"success":true,"ret_msg":"pong","conn_id":"0970e817","req_id":"100001","op":"ping"}',
        b'{"success":true,"ret_msg":"pong","conn_id":"465772b1","op":"ping"}',
        b'{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"cfcb4ocsvfriu23r3er0"}',
        b'{"success":false,"ret_msg":"error:handler not found","conn_id":"x","op":"subscribe"}',
        b'{"topic":"orderbook.full.BTCUSDT","type":"delta","ts":1,"data":{}}',
        b'{"topic":"orderbook.rpi.BTCUSDT","type":"delta","ts":1,"data":{}}',
        b'{"topic":"orderbook.50","type":"delta","ts":1,"data":{}}',
        b'{"topic":"liquidations.X","data":[]}',
        b'{"topic":"tickers_lt.X","data":{}}',
        b'{"data":{"s":"BTCUSDT"},"topic":"insurance.USDT"}',
        b"{}",
        b"[]",
        b"5",
    ],
)
def test_answers_pongs_and_other_topics_are_not_covered(frame):
    assert read(frame) == Reject.NOT_COVERED


def test_a_snapshot_has_its_levels_its_id_and_the_time_of_the_matching_engine():
    item = one(book(cts=3))
    assert item["kind"] == ItemKind.BOOK_SNAPSHOT
    assert (item["first_id"], item["last_id"], item["previous_id"]) == (7, 7, -1)
    assert item["exchange_ns"] == 3_000_000
    assert (item["bids"], item["asks"]) == ([(1650, 2_000_000)], [(1700, 500_000)])


def test_without_a_time_of_the_matching_engine_the_one_of_the_message_counts():
    assert one(book())["exchange_ns"] == 5_000_000


@pytest.mark.parametrize("depth", [25, 50, 200, 500, 1000])
def test_a_delta_of_any_depth_is_an_update(depth):
    item = one(book(f"orderbook.{depth}.BTCUSDT", "delta"))
    assert item["kind"] == ItemKind.BOOK_UPDATE


def test_a_delta_with_the_first_id_is_a_snapshot():
    assert one(book(kind="delta", data={"u": 1}))["kind"] == ItemKind.BOOK_SNAPSHOT


def test_the_first_depth_is_a_best_bid_and_offer():
    item = one(book("orderbook.1.BTCUSDT"))
    assert (item["kind"], item["first_id"], item["last_id"]) == (ItemKind.TICKER, 7, 0)
    assert (item["price"], item["quantity"]) == (1650, 2_000_000)
    assert (item["price_2"], item["quantity_2"]) == (1700, 500_000)


def test_an_empty_side_of_the_first_depth_is_zero():
    item = one(book("orderbook.1.BTCUSDT", data={"b": []}))
    assert (item["price"], item["quantity"], item["price_2"]) == (0, 0, 1700)


def test_the_order_of_a_messages_keys_does_not_matter():
    message = book(cts=3)
    whole = read(frame_of(message))
    for keys in (["data", "topic"], ["ts", "cts", "data"], ["cts", "topic", "data", "type"]):
        turned = {key: message[key] for key in keys} | message
        assert read(frame_of(turned)) == whole


def test_levels_before_their_symbol_are_converted_too():
    turned = {"a": [["17", "0.5"]], "u": 7, "b": [["16.5", "2"]], "s": "BTCUSDT"}
    message = book()
    message["data"] = turned
    assert read(frame_of(message)) == read(frame_of(book()))


def test_a_message_holds_up_to_1024_trades():
    message = trade()
    message["data"] = [message["data"][0] | {"i": str(n)} for n in range(1024)]
    assert [item["first_id"] for item in read(frame_of(message))] == list(range(1024))


def test_a_trade_has_its_own_time_and_the_takers_side():
    item = one(trade(S="Sell"))
    assert (item["exchange_ns"], item["side"], item["first_id"]) == (4_000_000, -1, 12)
    assert (item["price"], item["quantity"], item["flags"]) == (200, 500_000, 0)


def test_a_block_trade_is_not_a_market_trade():
    assert one(trade(BT=True))["flags"] == Flag.NOT_MARKET
    assert one(trade(RPI=True))["flags"] == 0


def test_a_textual_id_folds_to_63_bits_by_the_documented_rule():
    assert one(trade(i="20f43950-d8dd-5b31-9112-a178eb6023af"))["first_id"] == 868412687570572397
    assert one(trade(i="9223372036854775807"))["first_id"] == 2**63 - 1
    assert one(trade(i="9223372036854775808"))["first_id"] == 698864174515817357


def test_a_trade_of_an_unlisted_instrument_is_passed_over():
    message = trade()
    message["data"].insert(0, message["data"][0] | {"s": "OTHER"})
    assert len(read(frame_of(message))) == 1


def test_a_liquidated_long_is_closed_by_a_sale_in_either_topic():
    new = {"T": 4, "s": "BTCUSDT", "S": "Buy", "v": "2", "p": "16.505"}
    old = {"updatedTime": 4, "symbol": "BTCUSDT", "side": "Buy", "size": "2", "price": "16.505"}
    item = one({"topic": "allLiquidation.BTCUSDT", "type": "snapshot", "ts": 5, "data": [new]})
    assert (item["side"], item["price"], item["quantity"]) == (-1, 1651, 2_000_000)
    assert item == one({"topic": "liquidation.BTCUSDT", "data": old, "ts": 5, "type": "snapshot"})


def test_a_contracts_ticker_gives_funding_and_statistics():
    numbers = {"markPrice": "2.5", "openInterest": "7", "nextFundingTime": "9", "volume24h": "3"}
    funding, stats = read(frame_of(ticker(fundingRate="-0.0001", lastPrice="2", **numbers)))
    assert funding["mask"] == Has.MARK | Has.RATE | Has.NEXT | Has.INTEREST
    assert (funding["price"], funding["quantity_2"]) == (25 * 10**11, -(10**14))
    assert (funding["next_ns"], funding["extra"]) == (9_000_000, 7_000_000)
    assert stats["mask"] == Has.LAST | Has.VOLUME
    assert (stats["price"], stats["quantity"]) == (200, 3_000_000)


def test_a_ticker_gives_only_what_it_carries():
    assert one(ticker(indexPrice="3", fundingRate=""))["mask"] == Has.INDEX
    assert one(ticker(highPrice24h="3", lowPrice24h=""))["mask"] == Has.HIGH
    assert read(frame_of(ticker(tickDirection="PlusTick"))) == Reject.NOTHING


def test_a_predicted_delivery_price_of_zero_is_none():
    assert read(frame_of(ticker(predictedDeliveryPrice="0.00"))) == Reject.NOTHING
    assert one(ticker(predictedDeliveryPrice="3"))["mask"] == Has.SETTLE


def test_what_the_venue_computes_is_rounded_and_what_is_traded_is_not():
    assert one(ticker(volume24h="0.0000005"))["quantity"] == 1
    assert one(ticker(markPrice="0.0000000000014"))["price"] == 1
    assert read(frame_of(ticker(lastPrice="0.001"))) == Reject.INEXACT


REFUSED = [
    (book(data={"s": "OTHER"}), Reject.SYMBOL),
    (trade(s="OTHER"), Reject.SYMBOL),
    (ticker(symbol="OTHER", lastPrice="1"), Reject.SYMBOL),
    (book("orderbook.1.BTCUSDT", "delta"), Reject.NOTHING),
    (book("orderbook.1.BTCUSDT", data={"a": [["1", "1"], ["2", "1"]]}), Reject.SIZE),
    (book(kind="partial"), Reject.TYPE),
    (book(kind=1), Reject.TYPE),
    (book(data={"u": "7"}), Reject.TYPE),
    (book(data={"u": 7.5}), Reject.NUMBER),
    (book(data={"b": None}), Reject.TYPE),
    (book(data={"b": [[1, 2]]}), Reject.TYPE),
    (book(data={"b": [["1.001", "2"]]}), Reject.INEXACT),
    (book(data={"b": [["1e3", "2"]]}), Reject.NUMBER),
    (book(data={"b": [["9" * 20, "2"]]}), Reject.OVERFLOW),
    (book(ts=10**14), Reject.OVERFLOW),
    (book(ts="5"), Reject.TYPE),
    (book("orderbook\\u0031"), Reject.TYPE),
    ({"topic": 5, "data": {}}, Reject.TYPE),
    ({"topic": "orderbook.50.X", "data": []}, Reject.TYPE),
    ({"topic": "orderbook.50.X"}, Reject.MISSING),
    ({"topic": "publicTrade.X", "data": {}}, Reject.TYPE),
    ({"topic": "publicTrade.X", "data": [5]}, Reject.TYPE),
    ({"topic": "publicTrade.X", "data": []}, Reject.NOTHING),
    ({"topic": "tickers.X", "data": {}}, Reject.NOTHING),
    ({"topic": "tickers.X", "data": {"lastPrice": "1"}}, Reject.MISSING),
    (trade(S="buy"), Reject.TYPE),
    (trade(BT=None), Reject.TYPE),
    (trade(i=5), Reject.TYPE),
    (trade(i=""), Reject.NUMBER),
    (trade(i="a\x7f币"), Reject.TYPE),
    (trade(T=-1), Reject.NUMBER),
    (trade(x=[[[0]] * 3] * 3), None),
    (ticker(markPrice=5), Reject.TYPE),
    (ticker(nextFundingTime=5), Reject.TYPE),
    (ticker(nextFundingTime="5x"), Reject.NUMBER),
]


@pytest.mark.parametrize(("message", "reason"), REFUSED)
def test_a_message_is_refused_for_its_reason(message, reason):
    frame = frame_of(message).replace(b"\\\\u", b"\\u")
    found = read(frame)
    assert (found if isinstance(found, Reject) else None) == reason


@pytest.mark.parametrize("key", ["s", "b", "a", "u"])
def test_a_book_without_a_field_that_it_needs_is_refused(key):
    message = book()
    del message["data"][key]
    assert read(frame_of(message)) == Reject.MISSING


@pytest.mark.parametrize("key", ["type", "ts"])
def test_a_book_message_without_its_type_or_time_is_refused(key):
    message = book()
    del message[key]
    assert read(frame_of(message)) == Reject.MISSING


@pytest.mark.parametrize("key", ["s", "S", "T", "p", "v", "i"])
def test_a_trade_without_a_field_that_it_needs_is_refused(key):
    message = trade()
    del message["data"][0][key]
    assert read(frame_of(message)) == Reject.MISSING


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", Reject.TRUNCATED),
        (b"pong", Reject.SYNTAX),
        (b'{"topic":"a","topic":"b"}', Reject.SYNTAX),
        (b'{"topic":"tickers.X","data":{"lastPrice":"1","lastPrice":"2"}}', Reject.SYNTAX),
        (b'{"topic":"tickers.X","data":{"s":"X","symbol":"X"}}', Reject.SYNTAX),
        (b'{"top\\u0069c":"a"}', Reject.SYNTAX),
        (b'{"op":"pong"} x', Reject.SYNTAX),
        (b'{"op":"pong",}', Reject.SYNTAX),
        (b'{"op":"\xff"}', Reject.UTF8),
        (b'{"a":' + b"[" * 60 + b"]" * 60 + b"}", Reject.DEPTH),
    ],
)
def test_bytes_that_are_not_a_message_are_refused_for_their_reason(frame, reason):
    assert read(frame) == reason


def test_a_message_cut_anywhere_is_truncated():
    literal = trade()
    del literal["data"][0]["BT"]  # A cut literal is another word.
    for message in (book(cts=3), literal, ticker(lastPrice="1", markPrice="2")):
        frame = frame_of(message)
        assert {read(frame[:end]) for end in range(len(frame))} == {Reject.TRUNCATED}


def test_decoded_messages_have_readable_books():
    (event,) = decode(scan, frame_of(book()), SYMBOLS)
    assert (event["bids"], event["asks"]) == ([[1650, 2_000_000]], [[1700, 500_000]])


RUNS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
IDS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 9_223_372_036_854)
SIDES = st.sampled_from(["Buy", "Sell", "Buy", "Sell", "None"])
IDENTITIES = (
    st.uuids().map(str) | IDS.map(str) | st.text("0123456789abc-ZX ~", min_size=1, max_size=40)
)
KNOWN = {"BT", "side", "size", "price", "symbol", "updatedTime", *FUNDING, *STATS}
KNOWN |= {"topic", "type", "ts", "cts", "data"}
UNKNOWN_KEYS = st.text(min_size=2, max_size=9).filter(
    lambda key: key not in KNOWN and json.dumps(key, ensure_ascii=False)[1:-1] == key
)


@st.composite
def print_of(draw, old=False):
    """Return a trade, which is a liquidation too, by its names of today or of old."""
    native = draw(st.sampled_from(list(INSTRUMENTS)))
    _, pd, qd = INSTRUMENTS[native]
    fields = {"s": native, "T": draw(TIMES), "p": draw(number_text(pd)), "v": draw(number_text(qd))}
    fields |= {"S": draw(SIDES)}
    if old:
        names = ("symbol", "updatedTime", "price", "size", "side")
        return dict(zip(names, fields.values(), strict=True))
    fields |= {"i": draw(IDENTITIES), "L": "PlusTick"}
    return fields | draw(st.sampled_from([{}, {"BT": False}, {"BT": True, "RPI": True}]))


@st.composite
def levels_of(draw, most):
    native = draw(st.sampled_from(list(INSTRUMENTS)))
    _, pd, qd = INSTRUMENTS[native]
    rows = st.lists(st.tuples(number_text(pd), number_text(qd)).map(list), max_size=most)
    update_id = draw(st.just(1) | IDS)
    return {"s": native, "b": draw(rows), "a": draw(rows), "u": update_id, "seq": draw(IDS)}


@st.composite
def numbers_of(draw):
    native = draw(st.sampled_from(list(INSTRUMENTS)))
    _, pd, qd = INSTRUMENTS[native]
    texts = {
        "lastPrice": number_text(pd),
        "prevPrice24h": number_text(pd + 2),
        "highPrice24h": number_text(pd),
        "lowPrice24h": number_text(pd),
        "volume24h": number_text(qd + 3),
        "markPrice": number_text(9),
        "indexPrice": number_text(8),
        "predictedDeliveryPrice": st.just("0.00") | number_text(8),
        "fundingRate": st.sampled_from(["-0.0001", "-0", "0.0001", "-", "--1"]) | number_text(10),
        "nextFundingTime": TIMES.map(str),
        "openInterest": number_text(qd + 3),
        "turnover24h": number_text(9),
    }
    kept = draw(st.lists(st.sampled_from(list(texts)), unique=True))
    drawn = {key: draw(st.just("") | texts[key]) for key in kept}
    return {"symbol": native} | drawn


TOPICS = ["orderbook.1", "orderbook.50", "orderbook.1000", "publicTrade", "tickers"]
TOPICS += ["allLiquidation", "liquidation", "orderbook.", "orderbook.01", "kline.5"]


@st.composite
def message_of(draw):
    """Return a message of a covered topic as a dictionary."""
    topic = draw(st.sampled_from(TOPICS))
    if topic.startswith("orderbook"):
        data = draw(levels_of(1 if topic == "orderbook.1" else 6))
    elif topic == "tickers":
        data = draw(numbers_of())
    elif topic == "liquidation":
        data = draw(print_of(old=True))
    else:
        data = draw(st.lists(print_of(), max_size=4))
    message = {"topic": f"{topic}.BTCUSDT", "type": draw(st.sampled_from(["snapshot", "delta"]))}
    message |= {"ts": draw(TIMES), "data": data}
    return message | ({"cts": draw(TIMES)} if draw(st.booleans()) else {})


def dressed(draw, value, level=0):
    """Write JSON with whitespace; objects get unknown keys and another order."""
    space = draw(WHITESPACE)
    if isinstance(value, dict) and level < 3:
        extra = draw(st.dictionaries(UNKNOWN_KEYS, UNKNOWN, max_size=2))
        pairs = [*value.items(), *((k, v) for k, v in extra.items() if k not in value)]
        if draw(st.booleans()):
            pairs = draw(st.permutations(pairs))
        parts = [
            f"{space}{json.dumps(key, ensure_ascii=False)}{space}:{dressed(draw, each, level + 1)}"
            for key, each in pairs
        ]
        return f"{space}{{{','.join(parts)}{space}}}{space}"
    if isinstance(value, list) and level < 4:
        parts = [dressed(draw, each, level + 1) for each in value]
        return f"{space}[{space}{','.join(parts)}]{space}"
    return space + json.dumps(value, ensure_ascii=False) + space


@st.composite
def frames(draw):
    message = draw(message_of())
    return (dressed(draw, message) if draw(st.booleans()) else frame_of(message).decode()).encode()


@st.composite
def damaged(draw):
    """Return a frame with one to three bytes or spans changed."""
    data = bytearray(draw(frames()))
    for _ in range(draw(st.integers(1, 3))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.integers(0, 4))
        if how == 0:
            data[at] = draw(st.integers(0, 255))
        elif how == 1:
            data[at] = draw(st.sampled_from(b'0159.-+eE"\\,:[]{} tfnabpvuisST\x00\x1f\x7f\x80'))
        elif how == 2:
            data.insert(at, draw(st.sampled_from(b'09.-"\\,:[]{} \x00\xff\xed')))
        elif how == 3:
            del data[at : at + draw(st.integers(1, 9))]
        else:
            end = min(len(data), at + draw(st.integers(1, 40)))
            data[at:at] = data[at:end]
    return bytes(data)


def agree(frame, strict):
    found, wanted = read(frame), reference(frame)
    if isinstance(found, Reject):
        assert isinstance(wanted, Reject) or not strict, (frame, found)
    else:
        assert found == wanted, frame


@RUNS
@given(frames())
def test_every_covered_message_reads_as_in_the_reference(frame):
    agree(frame, strict=True)


@RUNS
@given(damaged())
def test_no_damaged_message_gives_anything_but_the_reference(frame):
    agree(frame, strict=False)
