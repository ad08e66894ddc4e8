"""A compiled strategy: one kernel a ring, record by record, with the ring's jitted face.

Each kernel reads a bounded number of records in place, checks each of them after reading it and
only then lets it change the state, and records its age in the histograms, all without coming back
to Python. The state is one row of integers an instrument.

Its signal: the takers of the last trades and the quantities at the top of the book point the same
way. Both strategies do nothing with their signals but count them.
"""

from typing import Any

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.atomics import realtime_ns
from engine.config import settings, takes
from engine.histogram import record
from engine.jit import inlined, kernel
from engine.layout import Layout
from engine.ring import LAPPED, available, intact, resume_point
from engine.segment import EPOCH, Cells
from feeds.types import (
    BOOK_DELTA,
    BOOK_TOP,
    FUNDING,
    LIQUIDATION,
    RINGS,
    STATS,
    TRADE,
    BookState,
    Flag,
)
from oms.strategy import MarketData, StrategySettings, Stream

POSITION, LOST, LAPS, TORN = range(4)
"""Cells of a reader's cursor."""

(
    TRADES,  # so far
    FLOW,  # decaying sum of the takers' quantities, buys positive
    BID,
    ASK,
    BALANCE,  # which side of the top holds twice the other: 1 bid, -1 ask, else 0
    LEVELS,
    MESSAGES,  # of the book, so far
    FUNDINGS,
    MARK,
    LIQUIDATIONS,
    FORCED,  # sum of their quantities, shorts positive
    LAST,
    VOLUME,
    SIGNAL,  # now: 1, -1 or 0
    SIGNALS,  # how many there were
    CROSSED,  # crossed tops that were called live: there must be none
) = range(16)
"""Columns of the state."""
COLUMNS = 16
DECAY = 5
"""A trade takes a 32nd off the flow before it adds its own."""

_LIVE = int(BookState.LIVE)
_ENDS = int(Flag.LAST)
_CELLS = types.Array(types.int64, 1, "C", readonly=True)
_CURSOR = types.Array(types.int64, 1, "C")
_STATE = types.Array(types.int64, 2, "C")


def _signature(layout: Layout) -> Any:  # noqa: ANN401 - a Numba signature
    """Return the signature of the kernel for a ring of ``layout``.

    ``kernel(slots, words, cells, cursor, limit, record_row, socket_row, state) -> records``
    """
    slots = types.Array(from_dtype(layout.dtype), 1, "C", readonly=True)
    return types.int64(slots, _CELLS, _CELLS, _CURSOR, types.int64, _CURSOR, _CURSOR, _STATE)


@inlined
def ready(words: Cells, cells: Cells, stride: int, capacity: int, cursor: Cells, limit: int) -> int:
    """Return how many records can be read at the cursor; a lapped one is moved and counted."""
    count = available(words, stride, capacity, cursor[POSITION], limit)
    if count != LAPPED:
        return count
    target = resume_point(words, cells, stride, capacity, cursor[POSITION])
    cursor[LOST] += target - cursor[POSITION]
    cursor[LAPS] += 1
    cursor[POSITION] = target
    return 0


@inlined
def take(words: Cells, stride: int, capacity: int, cursor: Cells) -> bool:
    """Move the cursor over the record just read; False if it was overwritten meanwhile."""
    if not intact(words, stride, capacity, cursor[POSITION]):
        cursor[TORN] += 1
        return False
    cursor[POSITION] += 1
    return True


@inlined
def observe(record_row: Cells, socket_row: Cells, now: int, published: int, received: int) -> None:
    """Record the age of a record, and of the frame that it came from if there is one."""
    record(record_row, now - published)
    if received > 0:
        record(socket_row, now - received)


@inlined
def judge(state: NDArray[np.int64], row: Any) -> None:  # noqa: ANN401 - int64
    """Bring the signal of an instrument up to date, and count it when it appears."""
    flow, balance = state[row, FLOW], state[row, BALANCE]
    signal = 0
    if flow > 0 and balance > 0:
        signal = 1
    elif flow < 0 and balance < 0:
        signal = -1
    if signal != 0 and signal != state[row, SIGNAL]:
        state[row, SIGNALS] += 1
    state[row, SIGNAL] = signal


@kernel(_signature(TRADE))
def on_trades(
    slots: NDArray[Any],
    words: Cells,
    cells: Cells,
    cursor: Cells,
    limit: int,
    record_row: Cells,
    socket_row: Cells,
    state: NDArray[np.int64],
) -> int:
    """Add up the takers' quantities of the next trades, and judge.

    All kernels of this module have these parameters.

    Parameters
    ----------
    slots : structured[capacity]
        The ring's records, in the worker's memory: read-only.
    words : int64[capacity * stride]
        The same memory, for the ring's protocol.
    cells : int64[n]
        The segment's header.
    cursor : int64[4]
        POSITION, the next sequence to read, is moved; LOST, LAPS and TORN are counted up.
    limit
        Read no more records than this: signals and other rings wait meanwhile.
    record_row, socket_row : int64[engine.histogram.ROW]
        Histograms of the age of each record, and of the frame that it came from, in ns.
    state : int64[instruments, COLUMNS]
        Row = instrument number. Records of other instruments are read and change nothing.

    Returns
    -------
    int
        Records read; 0 if there are none, and after a lap, which is only counted.

    """
    capacity, stride = len(slots), len(words) // len(slots)
    count = ready(words, cells, stride, capacity, cursor, limit)
    now = realtime_ns()
    for i in range(count):
        slot = cursor[POSITION] & (capacity - 1)
        row, side = np.int64(slots[slot]["instrument"]), np.int64(slots[slot]["side"])
        quantity = slots[slot]["quantity"]
        published, received = slots[slot]["published_ns"], slots[slot]["received_ns"]
        if not take(words, stride, capacity, cursor):
            return i
        observe(record_row, socket_row, now, published, received)
        if 0 <= row < len(state):
            state[row, TRADES] += 1
            state[row, FLOW] += side * quantity - (state[row, FLOW] >> DECAY)
            judge(state, row)
    return count


@kernel(_signature(BOOK_TOP))
def on_top(
    slots: NDArray[Any],
    words: Cells,
    cells: Cells,
    cursor: Cells,
    limit: int,
    record_row: Cells,
    socket_row: Cells,
    state: NDArray[np.int64],
) -> int:
    """Note the best prices and which side holds more, and judge; parameters as ``on_trades``.

    Prices count only while the book is LIVE; a top in any other state ends the signal. Returns how
    many tops were read.
    """
    capacity, stride = len(slots), len(words) // len(slots)
    count = ready(words, cells, stride, capacity, cursor, limit)
    now = realtime_ns()
    for i in range(count):
        slot = cursor[POSITION] & (capacity - 1)
        row, live = np.int64(slots[slot]["instrument"]), slots[slot]["state"] == _LIVE
        bid, ask = slots[slot]["bid_price"], slots[slot]["ask_price"]
        bids, asks = slots[slot]["bid_quantity"], slots[slot]["ask_quantity"]
        published, received = slots[slot]["published_ns"], slots[slot]["received_ns"]
        if not take(words, stride, capacity, cursor):
            return i
        observe(record_row, socket_row, now, published, received)
        if not 0 <= row < len(state):
            continue
        state[row, BALANCE] = 0
        if live:
            state[row, BID] = bid
            state[row, ASK] = ask
            state[row, CROSSED] += np.int64(bid >= ask and bid != 0 and ask != 0)
            state[row, BALANCE] = np.int64(bids >> 1 > asks) - np.int64(asks >> 1 > bids)
        judge(state, row)
    return count


@kernel(_signature(BOOK_DELTA))
def on_book(
    slots: NDArray[Any],
    words: Cells,
    cells: Cells,
    cursor: Cells,
    limit: int,
    record_row: Cells,
    socket_row: Cells,
    state: NDArray[np.int64],
) -> int:
    """Count changed levels, and messages by their last one; parameters as ``on_trades``.

    Returns how many levels were read.
    """
    capacity, stride = len(slots), len(words) // len(slots)
    count = ready(words, cells, stride, capacity, cursor, limit)
    now = realtime_ns()
    for i in range(count):
        slot = cursor[POSITION] & (capacity - 1)
        row, flags = np.int64(slots[slot]["instrument"]), np.int64(slots[slot]["flags"])
        published, received = slots[slot]["published_ns"], slots[slot]["received_ns"]
        if not take(words, stride, capacity, cursor):
            return i
        observe(record_row, socket_row, now, published, received)
        if 0 <= row < len(state):
            state[row, LEVELS] += 1
            state[row, MESSAGES] += np.int64(flags & _ENDS != 0)
    return count


@kernel(_signature(FUNDING))
def on_funding(
    slots: NDArray[Any],
    words: Cells,
    cells: Cells,
    cursor: Cells,
    limit: int,
    record_row: Cells,
    socket_row: Cells,
    state: NDArray[np.int64],
) -> int:
    """Count funding reports and note the mark price; parameters as ``on_trades``.

    A report of something else (open interest, say) carries the last mark price along, or 0 while
    none is known. Returns how many reports were read.
    """
    capacity, stride = len(slots), len(words) // len(slots)
    count = ready(words, cells, stride, capacity, cursor, limit)
    now = realtime_ns()
    for i in range(count):
        slot = cursor[POSITION] & (capacity - 1)
        row, mark = np.int64(slots[slot]["instrument"]), slots[slot]["mark_price"]
        published, received = slots[slot]["published_ns"], slots[slot]["received_ns"]
        if not take(words, stride, capacity, cursor):
            return i
        observe(record_row, socket_row, now, published, received)
        if 0 <= row < len(state):
            state[row, FUNDINGS] += 1
            state[row, MARK] = mark
    return count


@kernel(_signature(LIQUIDATION))
def on_liquidations(
    slots: NDArray[Any],
    words: Cells,
    cells: Cells,
    cursor: Cells,
    limit: int,
    record_row: Cells,
    socket_row: Cells,
    state: NDArray[np.int64],
) -> int:
    """Count liquidations and add up their quantities; parameters as ``on_trades``.

    Bought back (shorts) is positive, sold (longs) negative. Returns how many were read.
    """
    capacity, stride = len(slots), len(words) // len(slots)
    count = ready(words, cells, stride, capacity, cursor, limit)
    now = realtime_ns()
    for i in range(count):
        slot = cursor[POSITION] & (capacity - 1)
        row, side = np.int64(slots[slot]["instrument"]), np.int64(slots[slot]["side"])
        quantity = slots[slot]["quantity"]
        published, received = slots[slot]["published_ns"], slots[slot]["received_ns"]
        if not take(words, stride, capacity, cursor):
            return i
        observe(record_row, socket_row, now, published, received)
        if 0 <= row < len(state):
            state[row, LIQUIDATIONS] += 1
            state[row, FORCED] += side * quantity
    return count


@kernel(_signature(STATS))
def on_stats(
    slots: NDArray[Any],
    words: Cells,
    cells: Cells,
    cursor: Cells,
    limit: int,
    record_row: Cells,
    socket_row: Cells,
    state: NDArray[np.int64],
) -> int:
    """Note the last price and the day's volume; parameters as ``on_trades``.

    Both are 0 while the venue has not told them. Returns how many tickers were read.
    """
    capacity, stride = len(slots), len(words) // len(slots)
    count = ready(words, cells, stride, capacity, cursor, limit)
    now = realtime_ns()
    for i in range(count):
        slot = cursor[POSITION] & (capacity - 1)
        row, last = np.int64(slots[slot]["instrument"]), slots[slot]["last_price"]
        volume = slots[slot]["volume"]
        published, received = slots[slot]["published_ns"], slots[slot]["received_ns"]
        if not take(words, stride, capacity, cursor):
            return i
        observe(record_row, socket_row, now, published, received)
        if 0 <= row < len(state):
            state[row, LAST] = last
            state[row, VOLUME] = volume
    return count


KERNELS = {
    "md.trades": on_trades,
    "md.top": on_top,
    "md.book": on_book,
    "md.funding": on_funding,
    "md.liquidations": on_liquidations,
    "md.stats": on_stats,
}


class JittedStrategy:
    """An ``engine.agent.Agent`` (kind ``strategy-jitted``)."""

    def __init__(self, context: AgentContext) -> None:
        self._settings = settings(StrategySettings, context)
        self.name = context.name
        self._data = MarketData(context, self._settings.rings)
        self._values = context.counters.values
        self._signals = context.counters.counter("signals")
        self._crossed = context.counters.counter("crossed_live_tops", "records")
        self._state: NDArray[np.int64] = np.zeros((0, COLUMNS), np.int64)
        self._reported = np.zeros(COLUMNS, np.int64)
        self._work: list[tuple[Any, tuple[Any, ...], Stream, Cells]] = []

    def start(self) -> None:
        """Attach, and bind each ring's kernel to its arrays."""
        self._data.start()
        self.bell = self._data.bell
        self._state = np.zeros((self._data.instruments.rows, COLUMNS), np.int64)
        latency = self._data.latency
        for name, stream in self._data.streams.items():
            reader = stream.reader
            slots = reader.slots.view(RINGS[name].dtype)  # The header's type says nothing of C.
            cursor = np.zeros(4, np.int64)
            cursor[POSITION] = reader.position
            place = (slots, reader.words, reader.cells, cursor, self._settings.batch)
            arguments = (*place, latency.record, latency.socket, self._state)
            self._work.append((KERNELS[name], arguments, stream, cursor))

    def do_work(self) -> int:
        """Let every kernel read a batch; return the number of records."""
        done = 0
        for kernel_, arguments, stream, _ in self._work:
            count = kernel_(*arguments)
            if count:
                done += count
                self._values[stream.accounts.records] += count
        return done

    def heartbeat(self) -> None:
        """Account for the cursors, which the kernels move, and for the signals."""
        for _, _, stream, cursor in self._work:
            reader, accounts, values = stream.reader, stream.accounts, self._values
            values[accounts.lost] += int(cursor[LOST]) - reader.lost
            values[accounts.overruns] += int(cursor[LAPS]) - reader.laps
            values[accounts.torn] += cursor[TORN]
            cursor[TORN] = 0
            reader.lost, reader.laps = int(cursor[LOST]), int(cursor[LAPS])
            reader.position = int(cursor[POSITION])
            values[accounts.lag] = reader.lag
            values[accounts.epoch] = reader.cells[EPOCH]
        totals = self._state.sum(axis=0)
        self._values[self._signals] += totals[SIGNALS] - self._reported[SIGNALS]
        self._values[self._crossed] += totals[CROSSED] - self._reported[CROSSED]
        self._reported = totals

    def close(self) -> None:
        """Detach."""
        self._work.clear()
        self._data.close()


@takes(StrategySettings)
def make(context: AgentContext) -> JittedStrategy:
    """Return the agent of kind ``strategy-jitted``: entry point ``trade_infra.agents``."""
    return JittedStrategy(context)
