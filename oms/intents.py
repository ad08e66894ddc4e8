"""Writing intents in compiled code: the jitted face of ``oms.client``.

A compiled strategy takes ``FlowWriter.words``, ``newest`` and ``room`` of its ring of intents into
its kernel, writes with ``put_intent``, and gives ``newest`` back to ``FlowWriter.finish``
afterwards. What the OMS made of it comes back in ``oms.updates``, to be read with ``available`` and
``intact`` of ``engine.ring`` like any other ring.
"""

from engine.atomics import realtime_ns
from engine.jit import inlined
from engine.ring import begin, commit
from oms.state import INTENT_WORDS, Words
from oms.types import INTENT, IntentAction

NEW, AMEND = int(IntentAction.NEW), int(IntentAction.AMEND)
CANCEL, CANCEL_ALL = int(IntentAction.CANCEL), int(IntentAction.CANCEL_ALL)
_WHERE, _SMALL = INTENT.column("instrument")[1] // 8, INTENT.column("action")[1] // 8

__all__ = ["AMEND", "CANCEL", "CANCEL_ALL", "NEW", "put_intent"]


@inlined
def put_intent(
    words: Words,
    newest: int,
    room: int,
    action: int,
    number: int,
    instrument: int,
    side: int,
    price: int,
    quantity: int,
    order_type: int,
    time_in_force: int,
    flags: int,
    cause_ns: int,
) -> int:
    """Write an intent as record ``newest + 1``; return that, or ``newest`` if there is no room.

    ``words`` are the ring's slots, ``room`` is ``FlowWriter.room``. ``cause_ns`` is that record's
    ``published_ns`` which led to it (0: none): tick-to-trade is measured from there. The account is
    the only one of the instrument's venue.
    """
    if newest >= room:
        return newest
    sequence = newest + 1
    at = begin(words, INTENT_WORDS, len(words) // INTENT_WORDS, sequence)
    words[at + 1], words[at + 2], words[at + 3] = realtime_ns(), cause_ns, number
    words[at + 4], words[at + 5] = price, quantity
    words[at + 6] = words[at + 7] = words[at + 8] = 0
    words[at + _WHERE] = -1 << 32 | (instrument & 0xFFFFFFFF)
    small = action | (side & 0xFF) << 8 | order_type << 16 | time_in_force << 24
    words[at + _SMALL], words[at + _SMALL + 1] = small, flags
    for word in range(_SMALL + 2, INTENT_WORDS):
        words[at + word] = 0
    commit(words, at, sequence)
    return sequence
