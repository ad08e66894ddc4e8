"""The market-data worker: frames in, records out, through real segments."""

import logging
import time

import numpy as np
import pytest

from engine.agent import AgentContext
from engine.config import Config
from engine.counters import CountersWriter
from engine.errors import ConfigError
from engine.frames import FrameKind, FrameWriter
from engine.segment import unlink_segment
from engine.table import TableReader, TableWriter
from feeds.message import Has, Reject
from feeds.sync import NEXT_NS, RESET_NS, RETRY_NS
from feeds.types import (
    INSTRUMENT,
    KNOWN_SHIFT,
    REJECTS_KEPT,
    BookState,
    Flag,
    Status,
    TopSource,
)
from feeds.worker import BOOKS_MIN, Worker
from tests.desk import DeltaBook, desk, instrument, segments_of
from tests.market import Market, frame

USDM, SPOT = "binance_usdm", "binance_spot"
BTC = instrument("BTCUSDT", 1, 3)


def trade(number, symbol="BTCUSDT", quantity="0.5", event="trade"):
    key = "a" if event == "aggTrade" else "t"
    message = {"e": event, "E": 1700000000123, "s": symbol, key: number, "p": "100.5"}
    message |= {"q": quantity, "T": 1700000000120, "m": True}
    return frame(message | ({"X": "MARKET"} if event == "trade" else {}))


def ticker(update_id, bid="100.1", ask="100.2"):
    message = {"e": "bookTicker", "u": update_id, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask}
    return frame(message | {"A": "2", "T": 1700000000120, "E": 1700000000123})


def mark(rate="0.0001"):
    message = {"e": "markPriceUpdate", "E": 1700000000123, "s": "BTCUSDT", "p": "100.5"}
    return frame(message | {"i": "100.4", "P": "100.6", "r": rate, "T": 1700003600000})


def usdm(instance, **settings):
    return desk(instance, {USDM: [BTC]}, **settings)


@pytest.fixture
def made(instance):
    with usdm(instance) as made:
        made.poll("top"), made.poll("book")
        yield made


def join(made, market, row=0, venue=USDM):
    """Bring a book to LIVE."""
    made.feed(venue, frame(market.update()))
    made.feed(venue, frame(market.snapshot()), FrameKind.REST_DEPTH, row)


def test_a_trade_becomes_one_record(made):
    made.feed(USDM, trade(7))
    (record,) = made.poll("trades")
    assert (record["price"], record["quantity"], record["trade_id"]) == (1005, 500, 7)
    assert (record["side"], record["instrument"], record["flags"]) == (-1, 0, Flag.LAST)
    assert record["exchange_ns"] == 1700000000123000000
    assert record["received_ns"] == record["published_ns"] == made.clock


def test_a_trade_that_comes_twice_is_published_once(made):
    for number in (7, 8, 7, 8, 9):
        made.feed(USDM, trade(number))
    assert made.poll("trades")["trade_id"].tolist() == [7, 8, 9]
    assert made.count("duplicates_trade") == 2


def test_trades_and_aggregate_trades_have_ids_of_their_own(made):
    made.feed(USDM, trade(1000))
    made.feed(USDM, trade(3, event="aggTrade"))
    made.feed(USDM, trade(3, event="aggTrade"))
    records = made.poll("trades")
    assert records["trade_id"].tolist() == [1000, 3]
    assert records["flags"].tolist() == [Flag.LAST, Flag.LAST | Flag.AGGREGATED]


def test_a_trade_that_only_the_slower_connection_has_is_published_late(made):
    for number in (7, 9, 8, 9, 10):
        made.feed(USDM, trade(number))
    assert made.poll("trades")["trade_id"].tolist() == [7, 9, 8, 10]


@pytest.mark.parametrize("first", [0, 1, 10**15, -5])
def test_the_last_trades_of_an_instrument_are_remembered(made, first):
    ids = [first + 3 * n for n in range(1000)]
    for number in ids + ids:
        made.publish(USDM, trade(number)) if number >= 0 else None
    made.work()
    assert made.poll("trades")["trade_id"].tolist() == [n for n in ids if n >= 0]


def test_a_ticker_becomes_a_top_record_once(made):
    made.feed(USDM, ticker(50))
    made.feed(USDM, ticker(50))
    made.feed(USDM, ticker(49, bid="1.0"))
    (record,) = made.poll("top")
    assert (record["bid_price"], record["bid_quantity"]) == (1001, 1000)
    assert (record["ask_price"], record["ask_quantity"]) == (1002, 2000)
    assert (record["source"], record["state"]) == (TopSource.TICKER, BookState.LIVE)
    assert (record["update_id"], made.count("duplicates_ticker")) == (50, 2)


def test_a_mark_price_becomes_a_funding_record(made):
    made.feed(USDM, mark())
    (record,) = made.poll("funding")
    assert record["mark_price"] == 100_500_000_000_000
    assert record["index_price"] == 100_400_000_000_000
    assert record["settle_price"] == 100_600_000_000_000
    assert record["rate"] == 10**14
    assert record["next_funding_ns"] == 1700003600000 * 10**6
    assert record["flags"] >> KNOWN_SHIFT == record["updated"]
    assert record["updated"] == Has.MARK | Has.INDEX | Has.SETTLE | Has.RATE | Has.NEXT


def test_an_absent_rate_is_not_known(made):
    made.feed(USDM, mark(rate=""))
    assert not made.poll("funding")[0]["flags"] >> KNOWN_SHIFT & Has.RATE


def test_an_instrument_of_nobody_is_refused_and_kept(made):
    made.feed(USDM, trade(7, symbol="DOGEUSDT"))
    assert len(made.poll("trades")) == 0
    assert made.count("rejects.symbol") == 1


def test_a_frame_that_cannot_be_read_is_kept_and_does_not_stop_the_worker(made):
    bad = b'{"e":"trade","E":' + b"x" * 600
    made.feed(USDM, bad)
    made.feed(USDM, trade(7))
    assert len(made.poll("trades")) == 1
    assert (made.count("malformed"), made.count("rejects.syntax")) == (1, 1)
    (record,) = [r for r in made.rejects.snapshot() if r["count"]]
    assert (record["reason"], record["kind"]) == (Reject.SYNTAX, FrameKind.TEXT)
    assert (record["length"], bytes(record["venue"])) == (len(bad), USDM.encode())
    assert bytes(record["data"]) == bad[:448]


def test_the_last_refused_frames_of_each_reason_are_kept(made):
    for i in range(REJECTS_KEPT + 3):
        made.feed(USDM, b'{"result":null,"id":%d}' % i)
    kept = [bytes(r["data"]).rstrip(b"\0") for r in made.rejects.snapshot() if r["count"]]
    last = range(3, REJECTS_KEPT + 3)
    assert sorted(kept) == [b'{"result":null,"id":%d}' % i for i in last]
    assert (made.count("not_covered"), made.count("malformed")) == (REJECTS_KEPT + 3, 0)


def test_a_book_begins_syncing_and_says_so(instance):
    with usdm(instance) as made:
        (top,) = made.poll("top")
        assert (top["state"], top["epoch"], top["bid_price"]) == (BookState.SYNCING, 1, 0)
        (delta,) = made.poll("book")
        assert (delta["flags"], delta["side"]) == (Flag.CLEAR | Flag.LAST, 0)
        assert made.state() == BookState.SYNCING


def test_rows_of_no_instrument_have_an_image_of_minus_one(made):
    assert made.image(1)["instrument"] == -1


def test_the_snapshot_is_requested_when_the_first_update_has_come(made):
    assert len(made.requests(USDM)) == 0
    made.feed(USDM, frame(Market(1, True).update()))
    (request,) = made.requests(USDM)
    assert (request["instrument"], request["reason"]) == (0, BookState.SYNCING)
    assert bytes(request["venue"]) == USDM.encode()


def test_a_joined_book_is_published_as_snapshot_and_updates(made):
    market = Market(1, True)
    first = market.snapshot()
    made.feed(USDM, frame(market.update()))
    made.feed(USDM, frame(first | {"lastUpdateId": market.last}), FrameKind.REST_DEPTH, 0)
    records = made.poll("book")
    assert records[0]["flags"] & (Flag.CLEAR | Flag.SNAPSHOT) == Flag.CLEAR | Flag.SNAPSHOT
    assert not (records[1:]["flags"] & Flag.CLEAR).any()
    snapshot = records[records["flags"] & Flag.SNAPSHOT != 0]
    assert len(snapshot) == len(first["bids"]) + len(first["asks"])
    assert (snapshot["flags"] & Flag.LAST).tolist() == [0] * (len(snapshot) - 1) + [Flag.LAST]
    assert records[-1]["flags"] == Flag.LAST
    assert set(records["epoch"].tolist()) == {1}


def test_each_update_is_published_level_by_level(made):
    market = Market(1, True)
    join(made, market)
    made.poll("book")
    message = market.update()
    made.feed(USDM, frame(message))
    records = made.poll("book")
    expected = [(1, int(p) * 10, int(q) * 1000) for p, q in message["b"]]
    expected += [(-1, int(p) * 10, int(q) * 1000) for p, q in message["a"]]
    assert [(r["side"], r["price"], r["quantity"]) for r in records] == expected
    assert (records["flags"] & Flag.LAST).tolist() == [0] * (len(records) - 1) + [1]
    assert set(records["update_id"].tolist()) == {message["u"]}


def test_a_change_below_the_best_level_publishes_no_top(made):
    market = Market(1, True)
    join(made, market)
    made.poll("top")
    before, (price, _) = market.last, market.truth()[0][-1]
    deep = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": before + 1, "u": before + 2}
    made.feed(USDM, frame(deep | {"pu": before, "b": [[str(price), "77"]], "a": []}))
    assert len(made.poll("top")) == 0
    image = made.image()
    assert [price * 10, 77000] in image["bids"].tolist()
    assert image["update_id"] == before + 2


def test_a_hole_invalidates_the_book_and_asks_for_a_snapshot(made):
    market = Market(1, True)
    join(made, market)
    made.requests(USDM), made.poll("top"), made.poll("book")
    market.update()
    made.feed(USDM, frame(market.update()))
    (top,) = made.poll("top")
    assert (top["state"], top["bid_price"], top["ask_price"]) == (BookState.GAP, 0, 0)
    (delta,) = made.poll("book")
    assert (delta["flags"], delta["epoch"]) == (Flag.CLEAR | Flag.LAST, 2)
    (request,) = made.requests(USDM)
    assert (request["reason"], request["epoch"]) == (BookState.GAP, 2)
    assert (made.image()["gaps"], made.count("gaps")) == (1, 1)
    made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
    assert made.state() == BookState.LIVE


def test_a_snapshot_older_than_the_buffer_is_asked_for_again(made):
    market = Market(1, True)
    old = market.snapshot()
    market.update()
    made.feed(USDM, frame(market.update()))
    made.feed(USDM, frame(old), FrameKind.REST_DEPTH, 0)
    assert (made.state(), made.count("snapshots_old")) == (BookState.SYNCING, 1)
    made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
    assert made.state() == BookState.LIVE


def test_a_crossed_book_is_invalid_and_never_shown(made):
    market = Market(1, True)
    join(made, market)
    made.poll("top"), made.poll("book")
    best_ask = market.truth()[1][0][0]
    message = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": market.last + 1, "a": []}
    message |= {"u": market.last + 2, "pu": market.last, "b": [[str(best_ask), "1"]]}
    made.feed(USDM, frame(message))
    assert made.poll("top")["state"].tolist() == [BookState.GAP]
    assert made.poll("book")["flags"].tolist() == [Flag.CLEAR | Flag.LAST]
    assert (made.count("crossed"), made.count("gaps")) == (1, 0)


def test_a_crossed_book_is_healed_by_a_newer_snapshot(made):
    market = Market(1, True)
    join(made, market)
    made.requests(USDM)
    crossing = market.update() | {"b": [["20000", "1"]]}
    made.feed(USDM, frame(crossing))
    made.feed(USDM, frame(market.update()))
    assert (made.state(), len(made.requests(USDM))) == (BookState.GAP, 1)
    made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
    made.feed(USDM, frame(market.update()))
    assert (made.state(), made.image()["update_id"]) == (BookState.LIVE, market.last)


def test_a_venue_that_counts_anew_after_a_maintenance_is_a_gap_that_a_snapshot_heals(made):
    join(made, Market(1, True))
    made.requests(USDM)
    anew = Market(2, True)
    anew.last = 5
    made.feed(USDM, frame(anew.update()), after_ns=RESET_NS)
    assert (made.state(), made.count("gaps")) == (BookState.GAP, 1)
    assert made.requests(USDM)["reason"].tolist() == [BookState.GAP]
    made.feed(USDM, frame(anew.snapshot()), FrameKind.REST_DEPTH, 0)
    assert (made.state(), made.image()["update_id"]) == (BookState.LIVE, anew.last)


def test_a_book_too_deep_for_its_arrays_is_invalid_and_counted(instance):
    with usdm(instance, window=64, overflow=4) as made:
        body = {"lastUpdateId": 10, "asks": [], "bids": [[str(i * 100), "1"] for i in range(1, 9)]}
        made.feed(USDM, frame(body), FrameKind.REST_DEPTH, 0)
        assert (made.state(), made.count("overflows")) == (BookState.GAP, 1)


def test_a_stale_mark_is_shown_and_the_next_update_revives_the_book(made):
    market = Market(1, True)
    join(made, market)
    made.poll("top")
    made.feed(USDM, b"book", FrameKind.STALE, 0)
    (top,) = made.poll("top")
    assert (top["state"], top["bid_price"] > 0) == (BookState.STALE, True)
    epoch = made.image()["epoch"]
    made.feed(USDM, frame(market.update()))
    assert made.poll("top")[-1]["state"] == BookState.LIVE
    assert (made.image()["epoch"], made.state()) == (epoch, BookState.LIVE)


def test_a_stale_mark_of_other_channels_leaves_the_book_alone(made):
    join(made, Market(1, True))
    made.feed(USDM, b"trades,funding", FrameKind.STALE, 0)
    assert made.state() == BookState.LIVE


@pytest.mark.parametrize(
    ("bid", "ask", "state"),
    [("100.2", "100.1", BookState.GAP), ("0", "0", BookState.EMPTY), ("0", "5.0", BookState.LIVE)],
)
def test_a_ticker_that_cannot_be_true_is_not_live(made, bid, ask, state):
    made.feed(USDM, ticker(50, bid, ask))
    tops = made.poll("top")
    assert tops[tops["source"] == TopSource.TICKER]["state"].tolist() == [state]


def test_a_stale_mark_makes_the_ticker_stale(made):
    made.feed(USDM, ticker(50))
    made.feed(USDM, b"trades,top", FrameKind.STALE, 0)
    _, record = made.poll("top")
    assert (record["source"], record["state"]) == (TopSource.TICKER, BookState.STALE)
    assert record["bid_price"] == 1001


def test_a_worker_that_was_lapped_counts_its_loss_and_invalidates_the_books(instance):
    with usdm(instance, frames=64, bytes_=1 << 19) as made:
        market = Market(1, True)
        join(made, market)
        for number in range(200):
            made.publish(USDM, trade(number + 1))
        made.work()
        taken = len(made.poll("trades"))
        assert made.count("overruns") == 200 - taken > 0
        assert made.state() == BookState.GAP
        assert made.poll("top")["state"].tolist()[-1] == BookState.GAP


def test_payloads_overwritten_before_their_descriptors_are_lost_and_counted(instance):
    with usdm(instance, frames=4096, bytes_=1 << 19) as made:
        for number in range(1, 31):
            made.publish(USDM, trade(number)[:-1] + b" " * 60_000 + b"}")
        made.work()
        numbers = made.poll("trades")["trade_id"].tolist()
        assert made.count("overruns") == 30 - len(numbers) > 0
        assert numbers[-1] == 30


def test_an_instrument_that_appears_later_is_taken_up(made):
    made.tables[USDM].write(1, made.own(USDM, 1, instrument("ETHUSDT", 2, 3)))
    made.worker.heartbeat()
    made.feed(USDM, trade(1, symbol="ETHUSDT"))
    assert made.poll("trades")["instrument"].tolist() == [1]


def test_a_changed_row_does_not_restart_its_book(made):
    join(made, Market(1, True))
    changed = made.own(USDM, 0, BTC)
    changed["status"] = 2
    made.tables[USDM].write(0, changed)
    made.worker.heartbeat()
    table = TableReader.attach(made.instance, "md.instruments", INSTRUMENT)
    assert (table.read(0)["status"], made.state()) == (2, BookState.LIVE)
    table.close()


def test_a_book_whose_decimals_change_begins_anew(made):
    join(made, Market(1, True))
    changed = made.own(USDM, 0, BTC)
    changed["price_decimals"] += 1
    made.tables[USDM].write(0, changed)
    made.worker.heartbeat()
    assert made.state() == BookState.SYNCING


def test_a_snapshot_of_a_book_that_no_connection_carries_is_stale(made):
    market = Market(1, True)
    made.feed(USDM, b"book", FrameKind.STALE, 0)
    made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
    assert made.state() == BookState.STALE
    made.feed(USDM, frame(market.update()))
    assert made.state() == BookState.LIVE


def test_books_keep_their_levels_when_room_for_more_is_made(made):
    market = Market(1, True)
    join(made, market)
    for row in range(1, BOOKS_MIN + 2):
        made.tables[USDM].write(row, made.own(USDM, row, instrument(f"X{row}", 1, 1)))
    made.worker.heartbeat()
    made.feed(USDM, frame(market.update()))
    assert made.state() == BookState.LIVE
    deltas = DeltaBook()
    deltas.apply(r for r in made.poll("book") if r["instrument"] == 0)
    want = [[(p * 10, q * 1000) for p, q in side] for side in market.truth()]
    assert [*deltas.best(100)] == want


def test_two_venues_share_the_numbers(instance):
    with desk(instance, {USDM: [BTC], SPOT: [instrument("ETHUSDT", 2, 3), BTC]}) as made:
        made.feed(USDM, trade(1))
        made.feed(SPOT, trade(1))
        made.feed(SPOT, trade(1, symbol="ETHUSDT"))
        assert made.poll("trades")["instrument"].tolist() == [0, 2, 1]
        table = TableReader.attach(instance, "md.instruments", INSTRUMENT)
        rows = [(bytes(r["venue"]).decode(), bytes(r["native"]).decode()) for r in table.snapshot()]
        table.close()
        assert rows[:3] == [(USDM, "BTCUSDT"), (SPOT, "ETHUSDT"), (SPOT, "BTCUSDT")]


def test_a_worker_after_a_crash_keeps_numbers_and_resynchronises_in_a_new_epoch(instance):
    with desk(instance, {USDM: [instrument("ETHUSDT", 2, 3), BTC]}) as made:
        market = Market(1, True)
        join(made, market, row=1)
        assert made.state(1) == BookState.LIVE
        epoch = int(made.image(1)["epoch"])
        made.poll("top")
        made.stop()
        made.start()
        assert made.state(1) == BookState.SYNCING
        tops = made.poll("top")
        assert tops["instrument"].tolist() == [0, 1]
        assert tops["epoch"][1] == made.image(1)["epoch"] == epoch + 1
        join(made, market, row=1)
        assert made.state(1) == BookState.LIVE
        assert made.readers["top"].lost == 0


def test_a_dead_feed_leaves_no_live_book(made):
    market = Market(1, True)
    join(made, market)
    made.feed(USDM, ticker(5))
    made.poll("top")
    made.writers[USDM].close()
    made.worker.heartbeat()
    made.worker.heartbeat()
    assert made.poll("top")["state"].tolist() == [BookState.STALE, BookState.STALE]
    assert made.state() == BookState.STALE


def test_a_request_that_is_not_answered_is_made_again(made):
    made.feed(USDM, frame(Market(1, True).update()))
    assert len(made.requests(USDM)) == 1
    made.worker.heartbeat()
    assert len(made.requests(USDM)) == 0
    made.worker.state.sync[0, NEXT_NS] -= RETRY_NS
    made.worker.heartbeat()
    assert len(made.requests(USDM)) == 1


def test_records_of_the_frame_clock_are_the_same_in_every_run(instance):
    runs = []
    for run in ("a", "b"):
        with segments_of(f"{instance}{run}") as name, usdm(name) as made:
            market = Market(1, True)
            join(made, market)
            for number in range(20):
                made.feed(USDM, frame(market.update()))
                made.feed(USDM, trade(number + 1))
            runs.append([made.poll(name).tobytes() for name in made.readers])
    assert runs[0] == runs[1]


def test_latencies_are_recorded_with_the_real_clock(instance):
    with usdm(instance, clock="real") as made:
        made.feed(USDM, trade(1))
        made.feed(USDM, b"{}")
        histograms = {
            name: made.counters.cells[made.counters.histogram(name)][0]
            for name in ("socket_to_raw", "raw_to_record")
        }
        assert histograms == {"socket_to_raw": 1, "raw_to_record": 1}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"venues": []}, "venues"),
        ({"venues": [USDM, USDM]}, "venues"),
        ({"venues": ["nowhere"]}, "nowhere"),
        ({"venues": [USDM], "clock": "sun"}, "clock"),
    ],
)
def test_wrong_settings_are_refused(instance, settings, match):
    counters = CountersWriter.open(instance, "worker")
    context = AgentContext(instance, "w", settings, Config(), counters, logging.getLogger("w"))
    with pytest.raises(ConfigError, match=match):
        Worker(context)
    counters.close()


def test_the_worker_waits_for_a_feed_that_is_not_there_yet(instance):
    counters = CountersWriter.open(instance, "worker")
    settings = {"venues": [USDM]}
    context = AgentContext(instance, "w", settings, Config(), counters, logging.getLogger("w"))
    worker = Worker(context)
    worker.start()
    assert worker.do_work() == 0
    worker.close()
    counters.close()


def test_the_image_is_declared_as_the_kernel_writes_it(made):
    market = Market(1, True)
    join(made, market)
    image = made.image()
    bids, asks = market.truth()
    assert (image["bid_depth"], image["ask_depth"]) == (len(bids), len(asks))
    assert (image["bid_count"], image["ask_count"]) == (min(20, len(bids)), min(20, len(asks)))
    assert image["bids"][: image["bid_count"]].tolist() == [
        [p * 10, q * 1000] for p, q in bids[:20]
    ]
    assert not np.any(image["asks"][image["ask_count"] :])
    assert (image["received_ns"], image["instrument"]) == (made.clock - 1000, 0)


def watched(instance, cadence_s, **settings):
    """Run a worker whose instrument has a cadence on each channel; frames are long past."""
    quiet = BTC.copy()
    quiet["cadence_ds"] = [[int(10 * s) for s in cadence_s]]
    return desk(instance, {USDM: [quiet]}, clock="real", **settings)


BOOK_CADENCE, TOP_CADENCE = (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)
FUNDING_CADENCE = (0, 0, 0, 1, 0, 0)


def test_a_book_whose_stream_falls_silent_is_stale_and_its_subscription_renewed(instance):
    with watched(instance, BOOK_CADENCE) as made:
        join(made, Market(1, True))
        made.requests(USDM)
        made.worker.heartbeat()
        assert made.state() == BookState.STALE
        requests = made.requests(USDM)
        assert set(requests["channel"].tolist()) == {1}
        assert requests["reason"].tolist() == [BookState.STALE] * len(requests)
        assert (made.count("silences"), made.count("renewals")) == (1, 1)


def test_a_silent_book_is_believed_again_when_a_snapshot_says_that_nothing_was_missed(instance):
    with watched(instance, BOOK_CADENCE) as made:
        market = Market(1, True)
        join(made, market)
        made.worker.heartbeat()
        made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
        assert (made.state(), made.count("confirmed")) == (BookState.LIVE, 1)


def test_a_silent_book_that_has_missed_updates_is_replaced_by_the_snapshot(instance):
    with watched(instance, BOOK_CADENCE) as made:
        market = Market(1, True)
        join(made, market)
        epoch = int(made.image()["epoch"])
        made.worker.heartbeat()
        market.update()
        made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
        assert (made.state(), int(made.image()["epoch"])) == (BookState.LIVE, epoch + 1)
        assert made.image()["update_id"] == market.last


def test_a_silent_ticker_is_stale_and_asked_for_again_ever_more_seldom(instance):
    with watched(instance, TOP_CADENCE) as made:
        made.feed(USDM, ticker(5))
        made.poll("top")
        for _ in range(5):
            made.worker.heartbeat()
        (top,) = made.poll("top")
        assert (top["source"], top["state"]) == (TopSource.TICKER, BookState.STALE)
        asked = made.requests(USDM)
        assert asked[asked["channel"] == 2]["attempt"].tolist() == [0]
        made.feed(USDM, ticker(6))
        assert made.poll("top")["state"].tolist() == [BookState.LIVE]


def test_a_subscription_without_a_cadence_may_be_silent(instance):
    with watched(instance, (0,) * 6) as made:
        join(made, Market(1, True))
        made.worker.heartbeat()
        assert made.state() == BookState.LIVE


def test_a_changed_tick_begins_the_book_anew_and_is_counted(made):
    join(made, Market(1, True))
    changed = made.own(USDM, 0, BTC)
    changed["tick"] = 5
    made.tables[USDM].write(0, changed)
    made.worker.heartbeat()
    assert (made.state(), made.count("tick_changes")) == (BookState.SYNCING, 1)
    join(made, Market(2, True))
    assert made.state() == BookState.LIVE


def test_a_delisted_instrument_has_no_book_and_gets_it_back_when_it_is_listed_again(made):
    join(made, Market(1, True))
    made.requests(USDM)
    gone = made.own(USDM, 0, BTC)
    gone["status"] = Status.DELISTED
    made.tables[USDM].write(0, gone)
    made.worker.heartbeat()
    assert (made.state(), made.count("delisted")) == (BookState.EMPTY, 1)
    assert len(made.requests(USDM)) == 0
    made.tables[USDM].write(0, made.own(USDM, 0, BTC))
    made.worker.heartbeat()
    assert made.state() == BookState.SYNCING
    join(made, Market(2, True))
    assert made.state() == BookState.LIVE


def test_partial_reports_are_merged_into_one_record(made):
    made.feed(USDM, mark())
    made.poll("funding")
    later = {"e": "markPriceUpdate", "E": 1700000000999, "s": "BTCUSDT", "p": "101.5"}
    made.feed(USDM, frame(later))
    (record,) = made.poll("funding")
    assert (record["mark_price"], record["index_price"]) == (
        101_500_000_000_000,
        100_400_000_000_000,
    )
    assert (record["rate"], record["updated"]) == (10**14, Has.MARK)


def interest(value, time_ms):
    return frame({"openInterest": value, "symbol": "BTCUSDT", "time": time_ms})


def test_an_open_interest_that_was_asked_for_joins_what_is_known(made):
    made.feed(USDM, mark())
    made.feed(USDM, interest("83782.317", 1700000000500), FrameKind.POLLED, 0)
    first, second = made.poll("funding")
    assert (first["open_interest"], first["updated"] & Has.INTEREST) == (0, 0)
    assert (second["open_interest"], second["updated"]) == (83_782_317, Has.INTEREST)
    assert second["mark_price"] == first["mark_price"] != 0


def test_an_open_interest_of_the_same_moment_is_not_published_again(made):
    for _ in range(2):
        made.feed(USDM, interest("1.5", 1700000000500), FrameKind.POLLED, 0)
    assert len(made.poll("funding")) == 1


def test_an_answer_to_a_request_does_not_hide_a_silent_stream(instance):
    with watched(instance, FUNDING_CADENCE) as made:
        made.feed(USDM, mark())
        made.requests(USDM)
        made.clock = time.time_ns()
        made.feed(USDM, interest("1.5", 1700000000500), FrameKind.POLLED, 0)
        made.worker.heartbeat()
        assert 3 in made.requests(USDM)["channel"]


def test_a_report_that_an_other_connection_has_brought_is_a_duplicate(made):
    for line in (0, 1):
        made.feed(USDM, mark(), line=line)
    assert len(made.poll("funding")) == 1
    assert (made.count("duplicates_other"), made.count("line.1.late")) == (1, 1)


def test_a_feed_whose_segments_were_removed_is_let_go_and_its_successor_is_taken(made):
    join(made, Market(1, True))
    made.writers[USDM].close(), made.tables[USDM].close()
    for name in (f"md.raw.{USDM}", f"feed.{USDM}.instruments"):
        unlink_segment(made.instance, name)
    made.worker.heartbeat()
    assert made.state() == BookState.STALE
    made.writers[USDM] = FrameWriter.open(made.instance, f"md.raw.{USDM}", 64, 1 << 19)
    made.tables[USDM] = TableWriter.open(made.instance, f"feed.{USDM}.instruments", INSTRUMENT, 64)
    made.tables[USDM].write(0, made.own(USDM, 0, BTC))
    made.worker.heartbeat()
    made.feed(USDM, trade(5))
    assert made.poll("trades")["trade_id"].tolist() == [5]


def test_numbers_finer_than_the_decimals_make_the_book_doubtful(made):
    market = Market(1, True)
    join(made, market)
    made.requests(USDM)
    made.feed(USDM, trade(7, quantity="0.00001"))
    assert (made.state(), made.count("doubted")) == (BookState.GAP, 1)
    made.feed(USDM, frame(market.update()))
    made.feed(USDM, frame(market.snapshot()), FrameKind.REST_DEPTH, 0)
    assert made.state() == BookState.LIVE


def test_a_frame_that_is_damaged_leaves_the_book_alone(made):
    join(made, Market(1, True))
    made.feed(USDM, trade(7)[:-9])
    assert (made.state(), made.count("malformed")) == (BookState.LIVE, 1)
