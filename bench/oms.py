"""The OMS loop's figures: ``python -m bench.oms [--json] [--orders 20000]``.

All in one process, with the loop's own kernels and a real journal on disk (``--sync-ms``):

*decision*    an intent seen → decision journalled, request in the gateway's ring, update published,
              for new orders and cancellations, with 0, 10,000 and 100,000 orders live, in rounds
              that take turns; every limit of every scope is set
*chain*       a top of book published → a jitted strategy reads it → intent → decision → request
              in the gateway's ring, seen by the strategy's thread; the OMS spins in its own
*journal*     one record (a report) written
*replay*      decisions and reports applied by a start, a million events
"""

import argparse
import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import types

from engine.atomics import load_acquire, pause, realtime_ns
from engine.common import OrderType, Side, TimeInForce
from engine.histogram import ROW, Histogram, record
from engine.jit import kernel
from engine.ring import begin, commit
from feeds.types import BOOK_TOP, INSTRUMENT, BookState, Kind, Status, TopSource
from gateways.types import REPORT, REQUEST, Action, ReportKind
from oms.emit import JOURNAL_ROOM, Record
from oms.intents import put_intent
from oms.journal import HEAD_WORDS, JournalWriter
from oms.loop import TOP_WORDS, cycle, do_command, find_record, keep_up, replay
from oms.memory import new_state, put_instrument, rate_of
from oms.recovery import note
from oms.state import (
    A_REPORTS_NEXT,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    ACCOUNTS_MAX,
    C_JOURNAL,
    C_JOURNAL_AT,
    C_LIVE,
    C_PUBLISHED_JOURNAL,
    C_REPLAY,
    C_TOPS_NEXT,
    FROZEN,
    REPORT_WORDS,
    REQUEST_WORDS,
    STRATEGIES_MAX,
    WORDS,
    Words,
)
from oms.types import (
    COMMAND,
    INTENT,
    LIMIT_NAMES,
    ORDER,
    UPDATE,
    CommandKind,
    IntentAction,
    ScopeKind,
)

RECORDS = 65_536
UNIT = 10**8
PRICE = 50_000_00
MARGIN = 8 * JOURNAL_ROOM
LOOSE = {
    "order_quantity": 10**15,
    "order_notional": 10**17,
    "position": 10**15,
    "open_orders": 10**9,
    "open_notional": 4 * 10**18,
    "gross_notional": 4 * 10**18,
    "net_notional": 4 * 10**18,
    "leverage": 10**9,
    "order_rate": 1024,
    "amend_rate": 1024,
    "cancel_rate": 1024,
    "rate_period": 1,
    "daily_loss": 10**18,
    "drawdown": 10**18,
    "rejects": 10**9,
    "fill_rate": 1024,
    "collar": 10**6,
    "band": 10**6,
    "slippage": 10**4,
    "duplicate_window": 0,
    "intent_age": 10**15,
    "market_age": 10**15,
    "unknowns": 10**6,
    "clock_offset": 10**12,
}
"""Every rule is judged and none bites; rates are at their bound, with a period of one ns."""


class Ring:
    """A ring's slots in memory."""

    def __init__(self, layout: Any) -> None:  # noqa: ANN401 - a Layout
        self.words: Words = np.zeros(RECORDS * layout.dtype.itemsize // 8, np.int64)
        self.records = self.words.view(layout.dtype)
        self.newest = 0
        self.frozen = self.words.view()
        self.frozen.flags.writeable = False

    def publish(self, source: Any) -> None:  # noqa: ANN401 - a record
        """Write a record."""
        self.newest += 1
        slot = self.newest & (RECORDS - 1)
        self.records[slot] = source
        self.records["sequence"][slot] = self.newest


class Loop:
    """The loop's memory and rings, with one strategy, one account, one instrument."""

    def __init__(self, folder: Path, sync_ms: int) -> None:
        self.intents, self.reports, self.requests = Ring(INTENT), Ring(REPORT), Ring(REQUEST)
        self.tops, self.updates = Ring(BOOK_TOP), Ring(UPDATE)
        self.journal = JournalWriter(folder, 256 << 20, sync_ms, logging.getLogger("bench"))
        self.journal.open()
        at = self.journal.open_at(0, HEAD_WORDS)
        self.state = new_state(8, journal=self.journal.words, updates=self.updates.words)
        control = self.state.control
        control[C_JOURNAL_AT], control[C_TOPS_NEXT] = at, 1
        row = np.zeros(1, INSTRUMENT.dtype)
        row["kind"], row["status"], row["native"] = Kind.LINEAR_PERPETUAL, Status.TRADING, b"PERP"
        row["price_decimals"], row["quantity_decimals"], row["contract_value"] = 2, 4, UNIT
        row["tick"], row["lot"], row["minimum_quantity"] = 10, 1, 1
        row["base"], row["quote"], row["settle"] = b"BTC", b"USDT", b"USDT"
        put_instrument(self.state, 0, row[0], 0, 0)
        rate_of(self.state, b"USDT", UNIT)
        self.empty = np.zeros(4, np.int64)
        self.empty.flags.writeable = False
        none = np.zeros(0, np.int64)
        none.flags.writeable = False
        self._intents = tuple(
            self.intents.frozen if n == 1 else none for n in range(STRATEGIES_MAX)
        )
        self._reports = tuple(self.reports.frozen if n == 0 else none for n in range(ACCOUNTS_MAX))
        empty = np.zeros(0, np.int64)
        self.asked = tuple(self.requests.words if n == 0 else empty for n in range(ACCOUNTS_MAX))
        self.decided, self.traded = np.zeros(ROW, np.int64), np.zeros(ROW, np.int64)
        self.number = 0
        self._begin()

    def _begin(self) -> None:
        """Be up, reconciled, with a live market, money and every limit set."""
        for kind in (ReportKind.SYNC_BEGIN, ReportKind.SYNC_END, ReportKind.UP):
            self.report(kind)
        balance = {"asset": b"USDT", "quantity": 10**17, "available": 10**17, "decimals": 8}
        self.report(ReportKind.BALANCE, **balance)
        self.top()
        self.run()
        keep_up(self.state, self.asked)  # Equity, for the leverage.
        for scope in (
            ScopeKind.FIRM,
            ScopeKind.ACCOUNT,
            ScopeKind.STRATEGY,
            ScopeKind.ACCOUNT_INSTRUMENT,
            ScopeKind.STRATEGY_INSTRUMENT,
        ):
            for name, value in LOOSE.items():
                if name == "leverage" and scope > ScopeKind.ACCOUNT:
                    continue
                self._limit(scope, LIMIT_NAMES.index(name), value)

    def _limit(self, scope: ScopeKind, place: int, value: int) -> None:
        command = np.zeros(1, COMMAND.dtype)
        command["kind"], command["scope_kind"] = CommandKind.LIMIT, scope
        command["account"], command["strategy"], command["instrument"] = 0, 1, 0
        command["name"], command["value"] = place, value
        self.state.command[:] = command.view(np.int64)
        do_command(self.state, self.asked)

    def close(self) -> None:
        """Let go of the journal."""
        del self.state
        self.journal.close()

    def report(self, kind: ReportKind, **fields: Any) -> None:  # noqa: ANN401
        """Write a report."""
        report = np.zeros(1, REPORT.dtype)
        report["kind"], report["instrument"] = kind, -1
        for name, value in fields.items():
            report[name] = value
        self.reports.publish(report[0])

    def top(self) -> None:
        """Write a top of book."""
        top = np.zeros(1, BOOK_TOP.dtype)
        top["state"], top["source"] = BookState.LIVE, TopSource.BOOK
        top["bid_price"], top["ask_price"] = PRICE, PRICE + 10
        top["published_ns"] = time.time_ns()
        self.tops.publish(top[0])

    def run(self, until_ns: int = 0) -> int:
        """Let the loop work; return what it did."""
        state = self.state
        state.accounts[A_REQUESTS_ROOM] = state.accounts[A_REQUESTS_NEWEST] + RECORDS - 256
        done = cycle(
            state,
            self._intents,
            self._reports,
            self.asked,
            self.tops.frozen,
            self.empty,
            self.empty,
            self.empty,
            self.decided,
            self.traded,
            until_ns,
        )
        if len(state.journal) - state.control[C_JOURNAL_AT] < MARGIN:
            state.control[C_JOURNAL_AT] = self.journal.rotate(int(state.control[C_JOURNAL]))
            self.state = state._replace(journal=self.journal.words)
        return done

    def want(self, action: IntentAction, number: int, count: int = 1) -> None:
        """Write intents: new orders far from the market, or their cancellations."""
        intent = np.zeros(1, INTENT.dtype)
        intent["action"], intent["account"], intent["side"] = action, -1, Side.BUY
        intent["order_type"], intent["time_in_force"] = OrderType.LIMIT, TimeInForce.GTC
        for each in range(number, number + count):
            intent["number"], intent["created_ns"] = each, time.time_ns()
            if action is IntentAction.NEW:
                intent["price"], intent["quantity"] = PRICE - 10 * (1000 + each % 4000), 10
            self.intents.publish(intent[0])
            if each % 16 == 15:
                self.drain()
        self.drain()

    def drain(self) -> None:
        """Let the loop work until nothing is left."""
        while self.run():
            pass

    def close_orders(self, number: int, count: int) -> None:
        """Have the venue say that orders are cancelled."""
        orders = self.state.orders.view(ORDER.dtype)
        for slot in np.flatnonzero(
            (orders["number"] >= number) & (orders["number"] < number + count)
        ).tolist():
            self.report(ReportKind.CANCELED, client_id=orders["client_id"][slot], instrument=0)
            if slot % 64 == 63:
                self.drain()
        self.drain()


def _percentiles(row: Words) -> dict[str, int]:
    histogram = Histogram.of(row)
    names = {"p50": 50.0, "p99": 99.0, "p999": 99.9}
    return {name: histogram.percentile(at) for name, at in names.items()} | {
        "count": histogram.count
    }


def decisions(folder: Path, sync_ms: int, orders: int, rounds: int) -> dict[str, Any]:
    """Measure decisions with different numbers of live orders, in turns."""
    depths = (0, 10_000, 100_000)
    loops = {depth: Loop(folder / str(depth), sync_ms) for depth in depths}
    rows = {
        (depth, kind): np.zeros(ROW, np.int64) for depth in depths for kind in ("new", "cancel")
    }
    for depth, loop in loops.items():
        if depth:
            loop.want(IntentAction.NEW, 1, depth)
        loop.number = depth + 1
    each = orders // rounds
    for turn in range(rounds + 1):
        for depth, loop in loops.items():
            for kind, action in (("new", IntentAction.NEW), ("cancel", IntentAction.CANCEL)):
                loop.decided[:] = 0
                loop.want(action, loop.number, each)
                if turn:  # The first turn warms up.
                    _add(rows[depth, kind], loop.decided)
            loop.close_orders(loop.number, each)
            loop.number += each
    result = {
        f"{kind} at {int(loops[depth].state.control[C_LIVE]):,} live": _percentiles(row)
        for (depth, kind), row in rows.items()
    }
    for loop in loops.values():
        loop.close()
    return result


def _add(row: Words, other: Words) -> None:
    """Add a histogram's values to another."""
    minimum = [value for value in (row[1], other[1]) if value]
    maximum = max(row[2], other[2])
    row += other
    row[1], row[2] = min(minimum, default=0), maximum


@kernel(
    types.int64(
        WORDS, WORDS, FROZEN, WORDS, types.int64, types.int64, types.int64, types.int64, types.int64
    )
)
def strategy(
    tops: Words,
    intents: Words,
    requests: Words,
    row: Words,
    top: int,
    intent: int,
    request: int,
    number: int,
    count: int,
) -> int:
    """Publish tops, want an order for each, and wait for its request; return how many came.

    ``top``, ``intent`` and ``request`` are the rings' newest sequences, ``row`` a histogram's.
    """
    capacity = len(tops) // TOP_WORDS
    for done in range(count):
        began = realtime_ns()
        top += 1
        at = begin(tops, TOP_WORDS, capacity, top)
        before = ((top - 1) & (capacity - 1)) * TOP_WORDS
        for word in range(1, TOP_WORDS):
            tops[at + word] = tops[before + word]
        tops[at + 3] = began
        commit(tops, at, top)
        # The strategy: it reads the top, and wants to buy below it.
        bid = tops[at + 4] if load_acquire(tops, at) == top else 0
        number += 1
        price = bid - 10 * (1000 + number % 4000)
        intent = put_intent(intents, intent, intent + 1, 1, number, 0, 1, price, 10, 2, 1, 0, began)
        request += 1
        place = (request & (len(requests) // REQUEST_WORDS - 1)) * REQUEST_WORDS
        tries = 0
        while load_acquire(requests, place) != request:
            pause()
            tries += 1
            if tries > 100_000_000:
                return done
        record(row, realtime_ns() - began)
        until = realtime_ns() + 20_000
        while realtime_ns() < until:
            pause()
    return count


def chain(folder: Path, sync_ms: int, orders: int) -> dict[str, Any]:
    """Measure the way from a top of book to the gateway's ring, over two threads."""
    loop = Loop(folder / "chain", sync_ms)
    stop = threading.Event()
    cores = sorted(os.sched_getaffinity(0))

    def work() -> None:
        os.sched_setaffinity(0, {cores[-1]})
        while not stop.is_set():
            loop.run(time.time_ns() + 1_000_000)

    thread = threading.Thread(target=work)
    thread.start()
    row = np.zeros(ROW, np.int64)
    try:
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[0]})
        for turn in range(5):
            row[:] = 0 if turn == 0 else row
            place = (loop.tops.newest, loop.intents.newest, loop.requests.newest)
            done = strategy(
                loop.tops.words,
                loop.intents.words,
                loop.requests.frozen,
                np.zeros(ROW, np.int64) if turn == 0 else row,
                *place,
                loop.number,
                orders // 5,
            )
            loop.tops.newest += done
            loop.intents.newest += done
            loop.requests.newest += done
            loop.number += done
    finally:
        stop.set()
        thread.join()
        os.sched_setaffinity(0, cores)
    loop.close()
    return _percentiles(row)


def journal(folder: Path, sync_ms: int) -> dict[str, float]:
    """Measure the writing of a report's record."""
    loop = Loop(folder / "journal", sync_ms)
    body, count = np.arange(REPORT_WORDS, dtype=np.int64), 200_000
    began = time.perf_counter()
    for _ in range(count):
        if len(loop.state.journal) - loop.state.control[C_JOURNAL_AT] < MARGIN:
            loop.state.control[C_JOURNAL_AT] = loop.journal.rotate(
                int(loop.state.control[C_JOURNAL])
            )
            loop.state = loop.state._replace(journal=loop.journal.words)
        note(loop.state, Record.NAME, 0, body, 0)
    empty = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(count):
        if len(loop.state.journal) - loop.state.control[C_JOURNAL_AT] < MARGIN:
            loop.state.control[C_JOURNAL_AT] = loop.journal.rotate(
                int(loop.state.control[C_JOURNAL])
            )
            loop.state = loop.state._replace(journal=loop.journal.words)
        note(loop.state, Record.NAME, 0, body, REPORT_WORDS)
    full = time.perf_counter() - began
    loop.close()
    return {"ns_a_record_beyond_the_call": round((full - empty) / count * 1e9)}


def recovery(folder: Path) -> dict[str, Any]:
    """Measure the replay of a journal of about a million events."""
    loop = Loop(folder / "recovery", 0)
    events = 0
    while events < 1_000_000:
        number = loop.number + 1
        loop.want(IntentAction.NEW, number, 4096)
        orders = loop.state.orders.view(ORDER.dtype)
        for slot in np.flatnonzero((orders["number"] >= number) & (orders["state"] == 1)).tolist():
            terms = {"client_id": orders["client_id"][slot], "instrument": 0}
            loop.report(ReportKind.SENT, action=Action.NEW, **terms)
            loop.report(ReportKind.OPEN, **terms)
            loop.report(
                ReportKind.FILL, trade_id=events + slot, last_quantity=5, last_price=PRICE, **terms
            )
            loop.report(ReportKind.CANCELED, filled=5, **terms)
            if slot % 64 == 63:
                loop.drain()
        loop.drain()
        loop.number += 4096
        events += 5 * 4096
        loop.state.accounts[A_REPORTS_NEXT] = loop.reports.newest + 1
    state = new_state(8)
    state.instruments[:], state.there[:] = loop.state.instruments, loop.state.there
    rate_of(state, b"USDT", UNIT)
    state.control[C_REPLAY], state.control[C_PUBLISHED_JOURNAL] = 1, 1 << 62
    total = int(loop.state.control[C_JOURNAL])
    loop.close()
    reader = JournalWriter(folder / "recovery", 256 << 20, 0, logging.getLogger("bench"))
    reader.open()
    began = time.perf_counter()
    for _, words, _ in reader.read():
        at = replay(state, words, HEAD_WORDS, 0)
        while find_record(words, at, int(state.control[C_JOURNAL]) + 1):
            state.control[C_JOURNAL] += 1  # Of another kind than the loop's.
            at = replay(state, words, at + (int(words[at]) & 0xFFFFFFFF), 0)
    seconds = time.perf_counter() - began
    reader.close()
    assert state.control[C_JOURNAL] == total
    return {"records": total, "seconds_a_million": round(seconds / total * 1e6, 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sync-ms", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trade-infra-bench-") as name:
        folder = Path(name)
        results = {
            "decision_ns": decisions(folder, chosen.sync_ms, chosen.orders, chosen.rounds),
            "chain_ns": chain(folder, chosen.sync_ms, chosen.orders),
            "journal": journal(folder, chosen.sync_ms),
            "replay": recovery(folder),
        }
    if chosen.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(name)
        for key, value in result.items():
            print(f"  {key}: {value}")


if __name__ == "__main__":
    main()
