"""The trades that have been booked, so that none is booked twice.

A set-associative memory of 64-bit hashes of (account, instrument, trade id, side): the oldest of a
set gives way. It remembers SEEN_SETS * SEEN_WAYS trades; that two different ones of them have the
same hash has a chance of one in 70 million for each trade.
"""

from engine.jit import inlined
from feeds.scan import wrapping_mul
from feeds.symbols import MIX
from oms.state import SEEN_SETS, SEEN_WAYS, Words

_OTHER = 0xC2B2AE3D27D4EB4F - (1 << 64)


@inlined
def first_seen(seen: Words, account: int, instrument: int, trade_id: int, side: int) -> bool:
    """Return whether a trade is new, and remember it; the side tells halves of a self-trade."""
    key = wrapping_mul(trade_id, MIX)
    key ^= (key >> 32) & 0xFFFFFFFF
    key = wrapping_mul(key ^ (account << 40 | instrument << 2 | (side + 1)), _OTHER)
    key ^= (key >> 29) & 0x7FFFFFFFF
    key = key if key else 1
    at = (wrapping_mul(key, MIX) >> 40 & (SEEN_SETS - 1)) * SEEN_WAYS
    for way in range(SEEN_WAYS):
        if seen[at + way] == key:
            return False
    for way in range(SEEN_WAYS - 1, 0, -1):
        seen[at + way] = seen[at + way - 1]
    seen[at] = key
    return True
