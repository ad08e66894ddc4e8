"""Books whose snapshots come in the stream: OKX and Bybit, with resets, reconnects and silence."""

import json

import pytest

from engine.frames import FrameKind, FrameWriter
from feeds.adapter import CHANNELS, Channel
from feeds.types import BookState, Flag
from tests.desk import desk, instrument

OKX, BYBIT = "okx", "bybit"
SWAP = instrument("BTC-USDT-SWAP", 1, 2)
LINEAR = instrument("BTCUSDT", 1, 3)


def okx(seq, prev, action="update", bids=(("100.1", "1"),), asks=(), channel="books", **more):
    levels = {
        "bids": [[p, q, "0", "1"] for p, q in bids],
        "asks": [[p, q, "0", "1"] for p, q in asks],
    }
    data = levels | {"ts": "1700000000123", "checksum": 0, "seqId": seq, "prevSeqId": prev} | more
    message = {"arg": {"channel": channel, "instId": "BTC-USDT-SWAP"}, "data": [data]}
    return json.dumps(message | ({"action": action} if channel != "books5" else {})).encode()


def okx_snapshot(seq, **more):
    return okx(seq, -1, "snapshot", (("100.0", "5"), ("99.9", "5")), (("100.5", "5"),), **more)


def bybit(update_id, kind="delta", bids=(("100.1", "1"),), asks=()):
    data = {"s": "BTCUSDT", "b": [list(b) for b in bids], "a": [list(a) for a in asks]}
    data |= {"u": update_id, "seq": 7961638724 + update_id}
    message = {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1672304484978, "data": data}
    return json.dumps(message | {"cts": 1672304484976}).encode()


def bybit_snapshot(update_id):
    return bybit(update_id, "snapshot", (("100.0", "5"), ("99.9", "5")), (("100.5", "5"),))


@pytest.fixture
def made(instance):
    with desk(instance, {OKX: [SWAP]}) as made:
        yield made


@pytest.fixture
def other(instance):
    with desk(instance, {BYBIT: [LINEAR]}) as made:
        yield made


def best(made):
    image = made.image()
    return int(image["bids"][0][0]), int(image["asks"][0][0])


def test_an_okx_book_is_live_with_its_snapshot_and_follows_the_links(made):
    made.feed(OKX, okx_snapshot(10))
    assert made.state() == BookState.LIVE
    made.feed(OKX, okx(15, 10))
    assert (made.state(), best(made)) == (BookState.LIVE, (1001, 1005))


def test_an_okx_message_without_its_predecessor_is_a_gap_that_a_new_snapshot_heals(made):
    made.feed(OKX, okx_snapshot(10))
    made.requests(OKX)
    made.feed(OKX, okx(15, 12))
    assert (made.state(), made.count("gaps")) == (BookState.GAP, 1)
    assert made.requests(OKX)["reason"].tolist() == [BookState.GAP]
    made.feed(OKX, okx_snapshot(20))
    made.feed(OKX, okx(21, 20))
    assert (made.state(), made.image()["update_id"]) == (BookState.LIVE, 21)


def test_an_okx_keep_alive_changes_nothing(made):
    made.feed(OKX, okx_snapshot(10))
    made.poll("book")
    made.feed(OKX, okx(10, 10, bids=()))
    assert (made.state(), len(made.poll("book")), made.count("gaps")) == (BookState.LIVE, 0, 0)


def test_an_okx_maintenance_reset_is_no_gap(made):
    made.feed(OKX, okx_snapshot(1000))
    made.feed(OKX, okx(3, 1000))
    made.feed(OKX, okx(5, 3, bids=(("100.2", "1"),)))
    assert (made.state(), made.count("gaps"), made.count("resets")) == (BookState.LIVE, 0, 1)
    assert best(made) == (1002, 1005)


def test_a_slower_line_may_still_tell_of_the_time_before_a_reset(made):
    for line in (0, 1):
        made.feed(OKX, okx_snapshot(1000), line=line)
        made.feed(OKX, okx(1001, 1000), line=line)
    made.feed(OKX, okx(1002, 1001), line=0)
    made.feed(OKX, okx(3, 1002), line=0)
    made.feed(OKX, okx(1002, 1001), line=1)
    made.feed(OKX, okx(3, 1002), line=1)
    made.feed(OKX, okx(4, 3), line=1)
    assert (made.state(), made.count("gaps"), made.count("holes_held")) == (BookState.LIVE, 0, 0)


def test_a_wrong_okx_checksum_invalidates_the_book(made):
    made.feed(OKX, okx_snapshot(10))
    made.feed(OKX, okx(11, 10, checksum=12345))
    assert (made.state(), made.count("checksums_bad")) == (BookState.GAP, 1)


def test_a_book_with_a_wrong_checksum_is_healed_by_a_new_snapshot(made):
    made.feed(OKX, okx_snapshot(10))
    made.requests(OKX)
    made.feed(OKX, okx(11, 10, checksum=12345))
    made.feed(OKX, okx(12, 11))
    assert made.requests(OKX)["reason"].tolist() == [BookState.GAP]
    made.feed(OKX, okx_snapshot(20))
    assert (made.state(), made.image()["update_id"]) == (BookState.LIVE, 20)


def test_a_right_okx_checksum_is_counted(made):
    import zlib

    text = b"100:5:100.5:5:99.9:5"
    value = zlib.crc32(text)
    signed = value - (1 << 32) if value >> 31 else value
    made.feed(OKX, okx_snapshot(10, checksum=signed))
    assert (made.state(), made.count("checksums_ok")) == (BookState.LIVE, 1)


def test_a_rest_snapshot_joins_an_okx_book_whose_stream_sends_none(made):
    made.feed(OKX, okx(15, 12))
    made.feed(OKX, okx(17, 15))
    body = {"bids": [["100.0", "5", "0", "1"]], "asks": [["100.5", "5", "0", "1"]]}
    answer = {"code": "0", "msg": "", "data": [body | {"ts": "1700000000123", "seqId": 15}]}
    made.feed(OKX, json.dumps(answer).encode(), FrameKind.REST_DEPTH, 0)
    assert (made.state(), made.image()["update_id"]) == (BookState.LIVE, 17)


def test_a_shallow_book_that_is_sent_whole_keeps_its_epoch(made):
    made.feed(OKX, okx_snapshot(10, channel="books5"))
    epoch = int(made.image()["epoch"])
    made.feed(OKX, okx_snapshot(14, channel="books5"))
    assert (made.state(), int(made.image()["epoch"])) == (BookState.LIVE, epoch)
    assert made.poll("book")[-1]["flags"] & Flag.PARTIAL


def test_a_second_line_that_connects_does_not_disturb_the_book(made):
    made.feed(OKX, okx_snapshot(10), line=0)
    epoch = int(made.image()["epoch"])
    made.feed(OKX, okx_snapshot(12), line=1)
    made.feed(OKX, okx(12, 10), line=0)
    made.feed(OKX, okx(13, 12), line=1)
    assert (made.state(), int(made.image()["epoch"])) == (BookState.LIVE, epoch)
    assert (made.image()["update_id"], made.count("gaps")) == (13, 0)


def test_a_bybit_book_counts_one_by_one(other):
    other.feed(BYBIT, bybit_snapshot(10))
    other.feed(BYBIT, bybit(11))
    assert (other.state(), best(other)) == (BookState.LIVE, (1001, 1005))
    other.feed(BYBIT, bybit(13))
    assert (other.state(), other.count("gaps")) == (BookState.GAP, 1)


def test_a_bybit_snapshot_replaces_the_book_in_a_new_epoch(other):
    other.feed(BYBIT, bybit_snapshot(10))
    epoch = int(other.image()["epoch"])
    other.feed(BYBIT, bybit_snapshot(500))
    other.feed(BYBIT, bybit(501))
    assert (other.state(), int(other.image()["epoch"])) == (BookState.LIVE, epoch + 1)


def test_a_bybit_message_with_id_one_is_a_snapshot_whatever_it_says(other):
    other.feed(BYBIT, bybit_snapshot(10))
    other.feed(BYBIT, bybit(1, bids=(("90.0", "1"),), asks=(("91.0", "1"),)))
    other.feed(BYBIT, bybit(2, bids=()))
    assert (other.state(), best(other)) == (BookState.LIVE, (900, 910))


def test_a_trade_with_a_textual_id_is_published_once(other):
    trade = {"T": 1672304486865, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "100.5"}
    trade |= {"L": "PlusTick", "i": "20f43950-d8dd-5b31-9112-a178eb6023af", "BT": False}
    message = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1672304486868}
    frame = json.dumps(message | {"data": [trade]}).encode()
    other.feed(BYBIT, frame, line=0)
    other.feed(BYBIT, frame, line=1)
    assert other.poll("trades")["side"].tolist() == [1]
    assert other.count("line.1.late") == 1


def test_a_bybit_ticker_gives_what_is_known_after_each_delta(other):
    first = {"symbol": "BTCUSDT", "lastPrice": "100.5", "markPrice": "100.4", "indexPrice": "100.3"}
    first |= {"fundingRate": "0.0001", "nextFundingTime": "1672329600000", "openInterest": "10.5"}
    message = {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": 1672304486868, "data": first}
    other.feed(BYBIT, json.dumps(message | {"cs": 1}).encode())
    delta = {"type": "delta", "ts": 1672304486999, "data": {"symbol": "BTCUSDT"}}
    delta["data"]["markPrice"] = "100.6"
    other.feed(BYBIT, json.dumps(message | delta).encode())
    records = other.poll("funding")
    assert records["mark_price"].tolist() == [100_400_000_000_000, 100_600_000_000_000]
    assert records["open_interest"].tolist() == [10500, 10500]
    assert other.poll("stats")["last_price"].tolist() == [1005]


def test_what_a_young_ring_already_holds_is_read_by_the_first_worker(instance):
    writer = FrameWriter.open(instance, "md.raw.okx", 4096, 16 << 20)
    writer.publish(okx_snapshot(10), 5)
    writer.close()
    with desk(instance, {OKX: [SWAP]}, clock="real") as made:
        made.work()
        assert made.state() == BookState.LIVE


def test_a_worker_that_comes_later_asks_for_what_streams_say_only_once(made):
    made.feed(OKX, okx_snapshot(10))
    made.requests(OKX)
    made.stop()
    made.start()
    asked = made.requests(OKX)
    once = [CHANNELS.index(Channel.FUNDING), CHANNELS.index(Channel.STATS)]
    assert [c for c in asked["channel"].tolist() if c in once] == once


def test_a_slower_lines_copy_of_a_shallow_book_does_not_turn_it_back(made):
    made.feed(OKX, okx_snapshot(10, channel="books5"), line=0)
    made.feed(OKX, okx_snapshot(14, channel="books5"), line=0)
    made.feed(OKX, okx_snapshot(10, channel="books5"), line=1)
    assert (made.image()["update_id"], made.count("duplicates_book")) == (14, 1)


def test_ids_that_go_back_on_the_only_connection_are_a_gap_at_once(made):
    made.feed(OKX, okx_snapshot(1000, ts="1700000000100"))
    made.feed(OKX, okx(1001, 1000, ts="1700000000200"))
    made.feed(OKX, okx(7, 5, ts="1700000000300"))
    assert (made.state(), made.count("gaps")) == (BookState.GAP, 1)


def test_an_update_lost_right_after_a_reset_is_a_gap(made):
    made.feed(OKX, okx_snapshot(1000, ts="1700000000100"))
    made.feed(OKX, okx(5, 1000, ts="1700000000200"))
    made.feed(OKX, okx(7, 6, ts="1700000000300"))
    assert (made.state(), made.count("gaps")) == (BookState.GAP, 1)


def test_a_snapshot_of_a_slow_line_keeps_what_the_fast_one_has_brought(made):
    made.feed(OKX, okx(21, 20), line=1)
    made.feed(OKX, okx(22, 21), line=1)
    made.feed(OKX, okx_snapshot(20), line=0)
    assert (made.state(), made.image()["update_id"]) == (BookState.LIVE, 22)


def test_an_answer_to_a_depth_request_without_a_number_joins_nothing(made):
    made.feed(OKX, okx(15, 12))
    body = {"bids": [["100.0", "5", "0", "1"]], "asks": [["100.5", "5", "0", "1"]]}
    answer = {"code": "0", "msg": "", "data": [body | {"ts": "1700000000123"}]}
    made.feed(OKX, json.dumps(answer).encode(), FrameKind.REST_DEPTH, 0)
    assert (made.state(), made.count("rejects.missing")) == (BookState.SYNCING, 1)


def test_numbers_in_old_decimals_are_forgotten_with_them(other):
    ticker = {"symbol": "BTCUSDT", "lastPrice": "100.5", "highPrice24h": "120.5"}
    message = {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": 1672304486868, "data": ticker}
    other.feed(BYBIT, json.dumps(message).encode())
    changed = other.own(BYBIT, 0, LINEAR)
    changed["price_decimals"] = 2
    other.tables[BYBIT].write(0, changed)
    other.requests(BYBIT)
    other.worker.heartbeat()
    delta = {"type": "delta", "ts": 1672304486999, "data": {"symbol": "BTCUSDT"}}
    delta["data"]["lastPrice"] = "101.25"
    other.feed(BYBIT, json.dumps(message | delta).encode())
    record = other.poll("stats")[-1]
    assert (record["last_price"], record["high_price"]) == (10125, 0)
    once = [CHANNELS.index(Channel.FUNDING), CHANNELS.index(Channel.STATS)]
    assert set(once) <= set(other.requests(BYBIT)["channel"].tolist())
