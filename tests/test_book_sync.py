"""Whole books through the worker, from made-up and from recorded markets, against the reference."""

import os
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

from engine.frames import FrameKind
from feeds.types import BookState, TopSource
from tests.data import shared
from tests.desk import DeltaBook, desk, instrument, segments_of
from tests.market import Market, frame
from tests.naive_book import NaiveBook
from tests.scanning import capture_frames, inferred

pytestmark = pytest.mark.slow

VENUES = {True: "binance_usdm", False: "binance_spot"}
FAULTS = ("update",) * 12 + ("lose", "repeat", "swap", "snapshot", "snapshot", "late", "stale")


class Trial:
    """A market, a worker and the reference, side by side."""

    def __init__(self, made, futures, seed):
        self.desk, self.venue = made, VENUES[futures]
        self.market, self.naive = Market(seed, futures), NaiveBook(futures)
        self.deltas, self.late = DeltaBook(), None
        self.states, self.truths, self.begun = set(), {}, False

    def update(self, message):
        self.naive.event(message)
        self.desk.feed(self.venue, frame(message))

    def snapshot(self, body):
        self.naive.snapshot(body)
        self.desk.feed(self.venue, frame(body), FrameKind.REST_DEPTH, 0)

    def next(self):
        message = self.market.update()
        self.truths[self.market.last] = self.market.truth()
        return message

    def step(self, what):
        if what == "update":
            self.update(self.next())
        elif what == "lose":
            self.next()
        elif what == "repeat":
            message = self.next()
            self.update(message)
            self.update(message)
        elif what == "swap":
            first, second = self.next(), self.next()
            self.update(second)
            self.check()
            self.update(first)
        elif what == "snapshot":
            self.truths[self.market.last] = self.market.truth()
            self.snapshot(self.market.snapshot())
        elif what == "late":
            body, self.late = self.late, self.market.snapshot()
            if body:
                self.snapshot(body)
        else:
            self.naive.stale()
            self.desk.feed(self.venue, b"trades,book,top", FrameKind.STALE, 0)
        self.check()

    def check(self):
        """Compare with the reference, and what is LIVE with the truth at that id."""
        image = self.desk.image()
        state = BookState(int(image["state"]))
        self.states.add(state)
        assert state.name.lower() == self.naive.state
        assert image["gaps"] == self.naive.gaps
        self.deltas.apply(self.desk.poll("book"))
        self.check_tops(image)
        if state not in (BookState.LIVE, BookState.STALE):
            assert image["bid_count"] == image["ask_count"] == 0
            return
        assert image["update_id"] == self.naive.last
        bids, asks = self.naive.best(10**6)
        assert self.deltas.best(10**6) == (ints(bids), ints(asks))
        if self.naive.last in self.truths and not self.naive.first_after_snapshot:
            assert self.deltas.best(10**6) == self.truths[self.naive.last]
        for side, levels in (("bids", bids), ("asks", asks)):
            shown = [tuple(row) for row in image[side].tolist() if row[1]]
            assert shown == ints(levels)[:20]

    def check_tops(self, image):
        tops = self.desk.poll("top")
        for top in tops:
            crossed = top["bid_price"] >= top["ask_price"] > 0
            assert top["state"] != BookState.LIVE or not crossed
        if len(tops):
            last = tops[-1]
            assert last["source"] == TopSource.BOOK
            assert last["state"] == image["state"]
            best = (*image["bids"][0], *image["asks"][0])
            names = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
            assert tuple(last[name] for name in names) == best


def ints(levels):
    return [(int(price), int(quantity)) for price, quantity in levels]


def one_instrument(futures):
    return {VENUES[futures]: [instrument("BTCUSDT", 0, 0)]}


@pytest.mark.parametrize("futures", [True, False])
@given(steps=st.lists(st.sampled_from(FAULTS), max_size=40), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_any_order_of_faults_gives_the_state_and_book_of_the_reference(futures, steps, seed):
    run_trial(futures, [*steps, "snapshot", "update", "update"], seed)


@pytest.mark.parametrize("futures", [True, False])
def test_a_long_run_with_faults_reaches_every_state(futures):
    trial = run_trial(futures, [FAULTS[(i * 7) % len(FAULTS)] for i in range(400)], 3)
    assert trial.states >= {BookState.SYNCING, BookState.LIVE, BookState.GAP, BookState.STALE}
    assert trial.naive.gaps > 10


def run_trial(futures, steps, seed):
    name = f"books{os.getpid()}"
    sizes = {"window": 64, "frames": 64, "bytes_": 1 << 19}
    with segments_of(name), desk(name, one_instrument(futures), **sizes) as made:
        trial = Trial(made, futures, seed)
        for step in steps:
            trial.step(step)
        return trial


CAPTURES = (
    ("binance_spot", "cf_4sym_20211012"),
    ("binance_spot", "cf_10sym_20210417"),
    ("binance_spot", "cf_10sym_20210405"),
    ("binance_spot", "cf_btc_eth_dot_20210404"),
    ("binance_spot", "hft_btcusdt_20240808"),
    ("binance_usdm", "cf_4sym_20210417"),
    ("binance_usdm", "cf_5sym_20210405"),
    ("binance_usdm", "hft_btcusdt_20230404"),
    ("binance_usdm", "hft_btcusdt_20240808"),
    ("binance_usdm", "hft_ethusdt_20240718"),
)
SMALL = CAPTURES[:2]


class Recording:
    """A capture: its frames as (bytes, row of a depth answer or -1), and its instruments."""

    def __init__(self, venue, name):
        if config.DISABLE_JIT and (venue, name) not in SMALL:
            pytest.skip("a capture of this size takes minutes without the JIT")
        frames = list(capture_frames(shared(f"{venue}/public/captures/{name}")))
        self.venue, self.instruments = venue, inferred(frames)
        rows = {native: row for native, (row, _, _) in self.instruments.items()}
        self.names = list(rows)
        self.frames = []
        for payload, rest, address in frames:
            native = parse_qs(urlsplit(address).query).get("symbol", [self.names[0]])[0]
            if not rest:
                self.frames.append((payload, -1))
            elif b"lastUpdateId" in payload:
                self.frames.append((payload, rows[native]))

    def reference(self, frames=None):
        """Return the reference's books after all frames."""
        futures = self.venue == "binance_usdm"
        books = {native: NaiveBook(futures, check_every=100) for native in self.names}
        for payload, row in frames or self.frames:
            if row >= 0:
                books[self.names[row]].snapshot(orjson.loads(payload))
            elif b"depthUpdate" in payload:
                event = orjson.loads(payload)
                event = event.get("data", event)
                books[event["s"]].event(event)
        return books

    def records(self):
        return {self.venue: [instrument(n, p, q) for n, (_, p, q) in self.instruments.items()]}

    def feed(self, made, frames):
        """Feed frames to a worker; nothing crossed is ever LIVE."""
        for start in range(0, len(frames), 256):
            for payload, row in frames[start : start + 256]:
                kind = FrameKind.REST_DEPTH if row >= 0 else FrameKind.TEXT
                made.publish(self.venue, payload, kind, row)
            made.work()
            tops = made.poll("top")
            tops = tops[(tops["state"] == BookState.LIVE) & (tops["source"] == TopSource.BOOK)]
            crossed = (tops["bid_price"] >= tops["ask_price"]) & (tops["ask_price"] > 0)
            assert not crossed.any()

    def expect(self, made, books):
        """Compare every image with the reference."""
        for native, (row, price_decimals, quantity_decimals) in self.instruments.items():
            image, book = made.image(row), books[native]
            assert BookState(int(image["state"])).name.lower() == book.state
            assert image["gaps"] == book.gaps
            bids, asks = book.best(20)
            for side, levels in (("bids", bids), ("asks", asks)):
                shown = [tuple(each) for each in image[side].tolist() if each[1]]
                assert shown == [
                    (int(p.scaleb(price_decimals)), int(q.scaleb(quantity_decimals)))
                    for p, q in levels
                ]
            assert (image["bid_depth"], image["ask_depth"]) == (len(book.bids), len(book.asks))


@pytest.mark.parametrize(("venue", "name"), CAPTURES)
def test_a_capture_ends_in_the_books_of_the_reference_without_a_gap(instance, venue, name):
    recording = Recording(venue, name)
    with desk(instance, recording.records(), frames=1024) as made:
        recording.feed(made, recording.frames)
        books = recording.reference()
        recording.expect(made, books)
        assert {book.state for book in books.values()} == {"live"}
        assert made.count("gaps") == made.count("malformed") == made.count("overruns") == 0


@pytest.mark.parametrize(("venue", "name"), [CAPTURES[0], CAPTURES[1], CAPTURES[5], CAPTURES[6]])
def test_a_capture_with_a_hole_is_invalid_until_it_is_resynchronised(instance, venue, name):
    recording = Recording(venue, name)
    frames = recording.frames
    depth = [i for i, (payload, _) in enumerate(frames) if b"depthUpdate" in payload]
    hole = set(depth[len(depth) // 2 : len(depth) // 2 + len(recording.names) + 3])
    kept = [each for i, each in enumerate(frames) if i not in hole]
    end = len(frames) * 3 // 4 - len(hole)
    with desk(instance, recording.records(), frames=1024) as made:
        recording.feed(made, kept[:end])
        books = recording.reference(kept[:end])
        recording.expect(made, books)
        lost = [native for native, book in books.items() if book.state == "gap"]
        assert lost
        assert made.count("gaps") == sum(book.gaps for book in books.values()) >= len(lost)
        whole = recording.reference(frames[: end + len(hole)])
        answers = [(body_of(whole[native]), recording.names.index(native)) for native in lost]
        again = kept[:end] + answers + kept[end:]
        recording.feed(made, again[end:])
        books = recording.reference(again)
        recording.expect(made, books)
        assert {book.state for book in books.values()} == {"live"}


def body_of(book):
    """Return what the venue answers to a depth request when its book is this one."""
    bids, asks = ([[f"{p:f}", f"{q:f}"] for p, q in side] for side in book.best(10**6))
    return orjson.dumps({"lastUpdateId": book.last, "bids": bids, "asks": asks})
