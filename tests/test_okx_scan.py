"""OKX's scanner: what it reads, what it refuses, and that it agrees with the reference."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.message import ITEM, LEVELS_MAX, UNLINKED, Has, ItemKind, Reject
from feeds.okx import OKX
from feeds.okx.parse import KEYS, scan
from feeds.types import Flag
from tests.data import shared
from tests.naive_okx import COVERED, LEVELED, naive_okx
from tests.scanning import (
    capture_folders,
    capture_frames,
    expected,
    inferred,
    scanned,
    symbols_of,
)

pytestmark = pytest.mark.kernels

INSTRUMENTS = {
    "BTC-USDT": (0, 2, 8),
    "BTC-USDT-SWAP": (1, 1, 2),
    "ETH-USD-261225": (2, 0, 0),
    "1000000MOG-USDT-SWAP": (3, 8, 0),
    "币安人生-USDT-SWAP": (4, 12, 18),
}
SYMBOLS = symbols_of(INSTRUMENTS)


def read(content, kind=1, row=-1, items=None):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    kept = {} if items is None else {"items": items}
    return scanned(data, kind, row, SYMBOLS, scanner=scan, **kept)


def wanted(data, kind=1, row=-1, instruments=None):
    return expected(data, kind, row, instruments or INSTRUMENTS, naive_okx)


def message(channel, *elements, native="BTC-USDT-SWAP", **more):
    return {"arg": {"channel": channel, "instId": native}, **more, "data": list(elements)}


def levels(asks=(), bids=(), **more):
    return {"asks": list(asks), "bids": list(bids), "ts": "1597026383085", **more}


def trade(**changed):
    fields = {"instId": "BTC-USDT-SWAP", "tradeId": "7", "px": "42219.9", "sz": "0.12"}
    return fields | {"side": "buy", "ts": "1630048897897"} | changed


ASK, BID = ["8476.9", "415", "0", "13"], ["8476.8", "256.5", "0", "12"]


# What it reads.


def test_a_trade_of_several_fills_is_aggregated():
    one, several = read(message("trades", trade(count="1"), trade(count="3", side="sell")))
    assert (one["kind"], one["first_id"], one["price"], one["quantity"]) == (
        ItemKind.TRADE,
        7,
        422199,
        12,
    )
    assert (one["side"], one["flags"]) == (1, 0)
    assert (several["side"], several["flags"]) == (-1, Flag.AGGREGATED)


def test_every_trade_of_the_other_trades_channel_stands_for_itself():
    assert read(message("trades-all", trade()))[0]["flags"] == 0


def test_a_snapshot_links_to_nothing():
    book = levels([ASK], [BID], seqId=12, prevSeqId=-1, checksum=-855196043)
    (item,) = read(message("books", book, action="snapshot"))
    assert item["kind"] == ItemKind.BOOK_SNAPSHOT
    assert (item["first_id"], item["last_id"], item["previous_id"]) == (12, 12, UNLINKED)
    assert (item["bids"], item["asks"]) == ([(84768, 25650)], [(84769, 41500)])
    assert item["checksum"] == 2**32 - 855196043


def test_an_update_names_the_message_before_it():
    book = levels([ASK], seqId=13, prevSeqId=12, checksum=0)
    for channel in ("books", "books-l2-tbt", "books50-l2-tbt"):
        (item,) = read(message(channel, book, action="update"))
        assert item["kind"] == ItemKind.BOOK_UPDATE
        assert (item["last_id"], item["previous_id"], item["checksum"]) == (13, 12, 0)


def test_an_update_without_ids_goes_by_its_time():
    (item,) = read(message("books-l2-tbt", levels([ASK], checksum=5), action="update"))
    assert (item["last_id"], item["previous_id"]) == (1597026383085, UNLINKED)
    assert item["exchange_ns"] == 1597026383085 * 10**6


def test_a_keep_alive_is_an_update_without_levels():
    (item,) = read(message("books", levels(seqId=9, prevSeqId=9), action="update"))
    assert (item["last_id"], item["previous_id"], item["bids"], item["asks"]) == (9, 9, [], [])


def test_five_levels_are_a_partial_snapshot():
    (item,) = read(message("books5", levels([ASK], [BID], seqId=3)))
    assert (item["kind"], item["flags"]) == (ItemKind.BOOK_SNAPSHOT, Flag.PARTIAL)
    assert item["last_id"] == 3


def test_the_best_bid_and_offer_is_a_ticker_whose_empty_side_is_zero():
    (item,) = read(message("bbo-tbt", levels([], [BID], seqId=4)))
    assert (item["kind"], item["first_id"]) == (ItemKind.TICKER, 4)
    assert (item["price"], item["quantity"]) == (84768, 25650)
    assert (item["price_2"], item["quantity_2"]) == (0, 0)


def test_a_rest_body_is_a_snapshot_of_the_instrument_that_was_asked_for():
    body = {"code": "0", "msg": "", "data": [levels([ASK], [BID], seqId=77)]}
    (item,) = read(body, kind=3, row=1)
    assert (item["kind"], item["instrument"], item["last_id"]) == (ItemKind.BOOK_SNAPSHOT, 1, 77)


def test_a_rest_body_without_a_book_lacks_something():
    assert read({"code": "51001", "msg": "?", "data": []}, kind=3, row=1) == Reject.MISSING


def test_a_ticker_carries_what_is_not_empty():
    event = {"instId": "BTC-USDT-SWAP", "last": "9999.9", "open24h": "", "high24h": "10000"}
    event |= {"low24h": "8888.8", "vol24h": "2222.33", "ts": "1597026383085"}
    (item,) = read(message("tickers", event))
    assert item["mask"] == Has.LAST | Has.HIGH | Has.LOW | Has.VOLUME
    assert (item["price"], item["price_2"], item["quantity_2"]) == (99999, 0, 100000)
    assert (item["extra"], item["quantity"]) == (88888, 222233)


def test_a_funding_rate_comes_with_the_time_when_it_is_exchanged():
    event = {"fundingRate": "-0.0001875391284828", "fundingTime": "1700726400000"}
    event |= {"nextFundingRate": "", "nextFundingTime": "1700755200000"}
    (item,) = read(message("funding-rate", event))
    assert item["mask"] == Has.RATE | Has.NEXT
    assert item["quantity_2"] == -187539128482800
    assert item["next_ns"] == 1700726400000 * 10**6
    assert item["exchange_ns"] == 0


def test_a_mark_price_is_rounded_to_its_decimals():
    event = {"markPx": "0.0000000000125", "ts": "1597026383085"}
    (item,) = read(message("mark-price", event))
    assert (item["mask"], item["price"]) == (Has.MARK, 13)


def test_an_index_price_belongs_to_the_swap_of_its_name():
    event = {"instId": "BTC-USDT", "idxPx": "35.583", "ts": "1597026383085"}
    (item,) = read(message("index-tickers", event, native="BTC-USDT"))
    assert (item["instrument"], item["mask"], item["quantity"]) == (
        1,
        Has.INDEX,
        35_583_000_000_000,
    )


def test_an_index_of_sixteen_bytes_finds_its_swap():
    event = {"instId": "1000000MOG-USDT", "idxPx": "1", "ts": "1597026383085"}
    assert read(message("index-tickers", event, native="x"))[0]["instrument"] == 3
    event["instId"] = "币安人生-USDT"
    assert read(json.dumps(message("index-tickers", event), ensure_ascii=False).encode())


def test_an_index_without_a_listed_swap_says_nothing():
    event = {"instId": "ETH-USD", "idxPx": "1", "ts": "1597026383085"}
    assert read(message("index-tickers", event, native="ETH-USD")) == Reject.NOTHING


def test_the_noise_of_an_open_interest_is_rounded_away():
    event = {"oi": "2216113.01000000309", "oiCcy": "22161.1301", "ts": "1597026383085"}
    (item,) = read(message("open-interest", event))
    assert (item["mask"], item["extra"]) == (Has.INTEREST, 221611301)


def test_a_liquidation_has_the_side_of_the_order_that_closes():
    details = {"bkPx": "0.55205", "posSide": "short", "side": "buy", "sz": "39"}
    event = {"instId": "ETH-USD-261225", "details": [details | {"ts": "1680173247614"}] * 2}
    content = {"arg": {"channel": "liquidation-orders", "instType": "FUTURES"}, "data": [event]}
    first, second = read(content)
    assert first == second
    assert (first["kind"], first["price"], first["quantity"]) == (ItemKind.LIQUIDATION, 1, 39)
    assert (first["instrument"], first["side"]) == (2, 1)


def test_a_liquidation_of_an_instrument_nobody_asked_for_says_nothing():
    event = {"instId": "XRP-USD-230929", "details": []}
    content = {"arg": {"channel": "liquidation-orders", "instType": "FUTURES"}, "data": [event]}
    assert read(content) == Reject.NOTHING


@pytest.mark.parametrize(
    "frame",
    [
        b"pong",
        b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a"}',
        b'{"event":"error","msg":"wrong","code":"60018","connId":"a"}',
        b'{"event":"notice","code":"64008","msg":"soon","connId":"a"}',
        b'{"event":"login","code":"0","msg":""}',
        b'{"arg":{"channel":"books-rpi","instId":"BTC-USDT"},"data":[]}',
        b'{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1","2"]]}',
        b"[]",
        b"{}",
    ],
)
def test_events_and_other_channels_are_not_covered(frame):
    assert read(frame) == Reject.NOT_COVERED


# What it refuses.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ping pong", Reject.SYNTAX),
        (b'{"arg":{"channel":"books","instId":"BTC-USDT"},"data":[', Reject.TRUNCATED),
        (message("trades", trade(px="1.23")), Reject.INEXACT),
        (message("trades", trade(px="1e3")), Reject.NUMBER),
        (message("trades", trade(px=12)), Reject.TYPE),
        (message("trades", trade(side="none")), Reject.TYPE),
        (message("trades", trade(ts="99999999999999")), Reject.OVERFLOW),
        (message("trades", trade(tradeId="")), Reject.NUMBER),
        (message("trades", {"instId": "BTC-USDT"}), Reject.MISSING),
        (message("trades", trade(instId="XX-USDT")), Reject.SYMBOL),
        (message("books", levels(), native="XX-USDT", action="update"), Reject.SYMBOL),
        (message("books", {"asks": [], "ts": "1"}, action="update"), Reject.MISSING),
        (message("books", levels(seqId=1), action="update"), Reject.MISSING),
        (message("books", levels(prevSeqId=1), action="update"), Reject.MISSING),
        (message("books", levels(seqId=1, prevSeqId=-1), action="update"), Reject.NUMBER),
        (message("books", levels(seqId=1, prevSeqId=-1), action="replace"), Reject.TYPE),
        (message("books", levels(checksum=2**31), action="snapshot"), Reject.OVERFLOW),
        (message("books", levels(checksum="5"), action="snapshot"), Reject.TYPE),
        (message("books", levels()), Reject.MISSING),
        (message("books5", levels([["1", "x"]])), Reject.NUMBER),
        (message("mark-price", {"markPx": "", "ts": "1"}), Reject.NUMBER),
        (message("funding-rate", {"fundingRate": "", "fundingTime": ""}), Reject.MISSING),
        (message("liquidation-orders", {}), Reject.MISSING),
        ({"arg": "books", "data": []}, Reject.TYPE),
        ({"arg": {}, "data": []}, Reject.MISSING),
        ({"arg": {"channel": "trades"}, "data": {}}, Reject.TYPE),
    ],
    ids=lambda value: value.name if isinstance(value, Reject) else "",
)
def test_what_is_wrong_is_refused_with_its_reason(content, reason):
    assert read(content) == reason
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert isinstance(wanted(data), Reject)


def test_more_items_than_there_is_room_for_are_refused():
    frame = message("trades", trade(), trade(), trade())
    assert read(frame, items=np.zeros(2, ITEM)) == Reject.SIZE


def test_more_levels_than_there_is_room_for_are_refused():
    frame = message("books", levels([ASK] * LEVELS_MAX), action="snapshot")
    assert read(frame) == Reject.SIZE


def test_a_key_that_stands_twice_is_refused():
    assert read(b'{"arg":{},"arg":{},"data":[]}') == Reject.SYNTAX


def test_every_prefix_of_a_frame_is_refused():
    frame = json.dumps(message("books", levels([ASK], [BID], seqId=2, prevSeqId=1)))
    for end in range(len(frame)):
        assert isinstance(read(frame[:end].encode()), Reject)


# That it agrees with the reference: on recorded messages, on made ones, on damaged ones.


def test_every_sample_of_a_public_message_reads_as_in_the_reference():
    samples = [
        (path.stem, line, False, "")
        for path in sorted(shared("okx/public").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    body = shared("okx/rest/GET_api_v5_market_books.jsonl").read_bytes()
    # Recorded before the venue numbered them: an unnumbered snapshot has no place in the stream.
    numbered = [line.replace(b'"ts":', b'"seqId":7,"ts":') for line in body.splitlines()]
    samples += [("rest", line, True, "https://x/b?instId=REST") for line in numbered]
    instruments = inferred(((line, rest, at) for _, line, rest, at in samples), OKX)
    symbols = symbols_of(instruments)
    for name, line, rest, _ in samples:
        kind, row = (3, instruments["REST"][0]) if rest else (1, -1)
        found = scanned(line, kind, row, symbols, scanner=scan)
        assert found == wanted(line, kind, row, instruments), (name, line)
        if rest or (
            json.loads(line).get("arg", {}).get("channel") in COVERED and '"data"' in str(line)
        ):
            assert not isinstance(found, Reject), (name, line)
        else:
            assert found == Reject.NOT_COVERED, (name, line)


def test_every_recorded_frame_reads_as_in_the_reference():
    for folder in capture_folders("okx"):
        frames = [frame for frame, _, _ in capture_frames(folder)]
        instruments = inferred(((frame, False, "") for frame in frames), OKX)
        symbols = symbols_of(instruments)
        items = 0
        for frame in frames:
            found = scanned(frame, 1, -1, symbols, scanner=scan)
            assert found == wanted(frame, 1, -1, instruments), frame
            if b'"data"' in frame:
                assert not isinstance(found, Reject), frame
                items += len(found)
        assert items > 300


RUNS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
WHITESPACE = st.sampled_from(["", "", "", "", " ", "\n", "\t ", "\r\n"])
IDS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 9_223_372_036_854).map(str)
UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
UNKNOWN_KEYS = st.text(max_size=12).filter(
    lambda key: key not in KEYS and json.dumps(key, ensure_ascii=False)[1:-1] == key
)


@st.composite
def number_text(draw, decimals):
    """Return decimal text that is exact with ``decimals``."""
    fraction = "".join(draw(st.lists(st.sampled_from("0123456789"), max_size=decimals)))
    zeros = "0" * draw(st.integers(0, 3))
    whole = str(draw(st.integers(0, 10 ** draw(st.integers(0, 9)))))
    return f"{whole}.{fraction}{zeros}" if fraction + zeros else whole


def sides(pd, qd):
    row = st.tuples(number_text(pd), number_text(qd), st.just("0"), st.just("3")).map(list)
    return st.lists(row, max_size=6)


@st.composite
def book_fields(draw, pd, qd):
    """Return an element of a book channel."""
    fields = {"asks": draw(sides(pd, qd)), "bids": draw(sides(pd, qd)), "ts": draw(TIMES)}
    if draw(st.booleans()):
        fields |= {"seqId": draw(IDS), "prevSeqId": draw(st.just(-1) | IDS)}
    if draw(st.booleans()):
        fields["checksum"] = draw(st.integers(-(2**31), 2**31 - 1))
    return fields


@st.composite
def element(draw, channel, native):
    """Return an element of ``data`` as a dictionary."""
    _, pd, qd = INSTRUMENTS[native]
    if channel in LEVELED:
        return draw(book_fields(pd, qd))
    side = st.sampled_from(["buy", "sell"])
    fields = {"ts": draw(TIMES), "instId": native}
    if channel in ("trades", "trades-all"):
        fields |= {"px": draw(number_text(pd)), "sz": draw(number_text(qd)), "side": draw(side)}
        fields |= {"tradeId": str(draw(IDS)), "count": str(draw(st.integers(0, 3)))}
    elif channel == "tickers":
        for key in ("last", "open24h", "high24h", "low24h", "vol24h"):
            fields[key] = draw(st.just("") | number_text(qd + 2 if key[0] == "v" else pd + 3))
    elif channel == "funding-rate":
        rate = number_text(16).map(lambda text: draw(st.sampled_from(["", "-"])) + text)
        fields |= {"fundingRate": draw(st.just("") | rate), "fundingTime": draw(TIMES)}
    elif channel == "liquidation-orders":
        parts = {"bkPx": number_text(pd + 2), "sz": number_text(qd), "side": side, "ts": TIMES}
        fields["details"] = draw(st.lists(st.fixed_dictionaries(parts), max_size=3))
    else:
        fields |= {"markPx": draw(number_text(10)), "idxPx": draw(number_text(10))}
        fields |= {"oi": draw(number_text(qd + 4))}
        if channel == "index-tickers":
            fields["instId"] = native.removesuffix("-SWAP")
    return fields


@st.composite
def content(draw):
    """Return (decoded frame, frame kind, instrument) of a covered message."""
    native = draw(st.sampled_from(list(INSTRUMENTS)))
    if draw(st.integers(0, 7)) == 0:
        row, pd, qd = INSTRUMENTS[native]
        body = draw(book_fields(pd, qd))
        return {"code": "0", "msg": "", "data": [body]}, 3, row
    channel = draw(st.sampled_from(COVERED))
    many = 1 if channel in LEVELED else draw(st.integers(1, 3))
    made = {"arg": {"channel": channel, "instId": native}}
    if channel in LEVELED and draw(st.integers(0, 5)):
        made["action"] = draw(st.sampled_from(["snapshot", "update"]))
    return made | {"data": [draw(element(channel, native)) for _ in range(many)]}, 1, -1


def dressed(draw, value, level=0):
    """Write JSON with whitespace; objects get unknown keys and another order."""
    space = draw(WHITESPACE)
    if isinstance(value, dict) and level < 4:
        extra = draw(st.dictionaries(UNKNOWN_KEYS, UNKNOWN, max_size=2))
        pairs = [*value.items(), *extra.items()]
        if draw(st.booleans()):
            pairs = draw(st.permutations(pairs))
        parts = [
            f"{space}{json.dumps(key, ensure_ascii=False)}{space}:{dressed(draw, each, level + 1)}"
            for key, each in pairs
        ]
        return f"{space}{{{','.join(parts)}{space}}}{space}"
    if isinstance(value, list) and level < 6:
        parts = [dressed(draw, each, level + 1) for each in value]
        return f"{space}[{space}{','.join(parts)}]{space}"
    return space + json.dumps(value, ensure_ascii=False) + space


@st.composite
def frame(draw):
    """Return (bytes, frame kind, instrument) of a covered frame."""
    made, kind, row = draw(content())
    if draw(st.booleans()):
        return dressed(draw, made).encode(), kind, row
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode(), kind, row


@st.composite
def damaged(draw):
    """Return a frame with one to three bytes or spans changed."""
    data, kind, row = draw(frame())
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.integers(0, 4))
        if how == 0 and data:
            data[at] = draw(st.sampled_from(b'0159.-+eE"\\,:[]{} tfnabpqsyx\x00\x1f\x7f\x80\xc0'))
        elif how == 1:
            data.insert(at, draw(st.sampled_from(b'09.-"\\,:[]{} \x00\xff\xed')))
        elif how == 2:
            del data[at : at + draw(st.integers(1, 9))]
        elif how == 3:
            del data[at:]
        else:
            end = min(len(data), at + draw(st.integers(1, 40)))
            data[at:at] = data[at:end]
    return bytes(data), kind, row


def agree(given_frame, *, strict):
    data, kind, row = given_frame
    found = read(data, kind, row)
    reference = wanted(data, kind, row)
    if isinstance(found, Reject):
        assert isinstance(reference, Reject) or not strict, (data, found)
    else:
        assert found == reference, data


@RUNS
@given(frame())
def test_every_covered_message_reads_as_in_the_reference(given_frame):
    agree(given_frame, strict=b"\\" not in given_frame[0])


@RUNS
@given(damaged())
def test_no_damaged_message_gives_anything_but_the_reference(given_frame):
    agree(given_frame, strict=False)


@RUNS
@given(st.binary(max_size=80), st.sampled_from([1, 3]))
def test_arbitrary_bytes_give_nothing_but_the_reference(data, kind):
    agree((data, kind, 0 if kind == 3 else -1), strict=False)


def test_the_action_may_stand_behind_the_data():
    frame = (
        b'{"arg":{"channel":"books","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[],"ts":"5"}],'
    )
    agree((frame + b'"action":"snapshot"}', 1, -1), strict=True)
