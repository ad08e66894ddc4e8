"""The life of an order as a table: what each event does to each state.

``trade-infra oms matrix`` prints it. The rows and columns are those of FIX 4.4's order state
changes (appendix D) and of what venues do besides. The reducer (``oms.reducer``) looks the next
state up here and nowhere else; quantities are its own business. Two rules stand above the table: a
trade that was not told before is always booked, whatever the state; and an order whose venue says
that all of it is filled is FILLED, however it was closed.
"""

from enum import IntEnum

import numpy as np

from oms.types import OrderState as S


class Event(IntEnum):
    """What can be said of an order."""

    SENT = 0
    NOT_SENT = 1
    """It certainly never left us."""
    ACK = 2
    OPEN = 3
    FILL_PART = 4
    FILL_ALL = 5
    CANCELED = 6
    EXPIRED = 7
    REJECT = 8
    UNKNOWN = 9
    ABSENT = 10
    """The venue knows no such order, and enough time has passed for that to be believed."""
    TRIGGERED = 11


STAY = -1
LIVE_AGAIN = 32
"""Added to the next state: the order had ended without existing, and is there all the same."""
LATE = 64
"""Added to the next state: it comes when it should not be possible any more."""
_NEXT = 31

_EVENTS = len(Event)
_STATES = 15


def _table() -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    table = np.full((_STATES, _EVENTS), STAY, np.int64)
    ends = {
        Event.CANCELED: S.CANCELED,
        Event.EXPIRED: S.EXPIRED,
        Event.FILL_ALL: S.FILLED,
    }
    before = (S.NEW, S.SENT, S.UNKNOWN)
    working = (S.ACKED, S.OPEN, S.PARTIAL, S.TRIGGERED)
    for state in (*before, *working, S.LOST):
        for event, to in ends.items():
            table[state, event] = to
        table[state, Event.FILL_PART] = S.PARTIAL
        table[state, Event.REJECT] = S.REJECTED
        table[state, Event.OPEN] = S.OPEN
        table[state, Event.TRIGGERED] = S.TRIGGERED
    for state in before:
        table[state, Event.ACK] = S.ACKED
        table[state, Event.ABSENT] = S.REJECTED
        table[state, Event.UNKNOWN] = S.UNKNOWN
    table[S.NEW, Event.SENT] = S.SENT
    table[S.NEW, Event.NOT_SENT] = table[S.SENT, Event.NOT_SENT] = S.REJECTED
    for state in working:
        table[state, Event.ABSENT] = S.LOST
    # Filled in part stays so: an OPEN that comes late, or again, takes nothing back.
    table[S.PARTIAL, Event.OPEN] = table[S.PARTIAL, Event.TRIGGERED] = STAY
    table[S.OPEN, Event.OPEN] = STAY
    # An end is an end; but what stands in the book is not refused any more.
    table[S.OPEN, Event.REJECT] = table[S.PARTIAL, Event.REJECT] = S.REJECTED + LATE
    table[S.LOST, Event.ACK] = S.OPEN
    for state in (S.CANCELED, S.EXPIRED):
        table[state, Event.FILL_PART] = state + LATE
        table[state, Event.FILL_ALL] = S.FILLED + LATE
    table[S.FILLED, Event.FILL_PART] = table[S.FILLED, Event.FILL_ALL] = S.FILLED
    for event, to in (
        (Event.ACK, S.OPEN),
        (Event.OPEN, S.OPEN),
        (Event.FILL_PART, S.PARTIAL),
        (Event.TRIGGERED, S.TRIGGERED),
    ):
        table[S.REJECTED, event] = to + LIVE_AGAIN
    table[S.REJECTED, Event.FILL_ALL] = S.FILLED + LIVE_AGAIN
    table[S.REJECTED, Event.CANCELED] = S.CANCELED
    table[S.REJECTED, Event.EXPIRED] = S.EXPIRED
    return table


MATRIX = _table()
"""int64[state, event]: the next state, plus LIVE_AGAIN or LATE; STAY for no change."""
MATRIX.flags.writeable = False

TRIGGER_ALARM = LIVE_AGAIN | LATE


def next_state(state: int, event: int) -> int:
    """Return the state after an event, without the marks."""
    code = int(MATRIX[state, event])
    return state if code == STAY else code & _NEXT


def describe() -> list[list[str]]:
    """Return the table as text: a head and a row a state; ``!`` marks what raises an alarm."""
    rows = [["", *(event.name.lower() for event in Event)]]
    for state in S:
        if state in (S.FREE, S.DENIED):
            continue
        cells = []
        for event in Event:
            code = int(MATRIX[state, event])
            name = "=" if code == STAY else S(code & _NEXT).name
            cells.append(name + ("!" if code != STAY and code & TRIGGER_ALARM else ""))
        rows.append([state.name, *cells])
    return rows
