"""An intent in the loop's own memory, and what is decided about it: ``State.decision``.

The first INTENT_WORDS words are the intent as it stands in its ring; behind them are its small
fields, each in a word of its own, and the decision. DECISION_WORDS of them go into the journal.
"""

from engine.jit import inlined
from oms.events import signed_byte, signed_half
from oms.state import INTENT_WORDS, NONE, State, Words
from oms.types import INTENT

(
    D_SEQUENCE,
    D_CREATED_NS,
    D_CAUSE_NS,
    D_NUMBER,
    D_PRICE_ASKED,
    D_QUANTITY_ASKED,
    D_STOP,
    D_EXPIRE_NS,
    D_DEADLINE_NS,
) = range(9)
_WHERE, _SMALL, D_REQUEST_FLAGS = 9, 10, 11
(
    D_INSTRUMENT,
    D_ACCOUNT,
    D_ACTION,
    D_SIDE,
    D_TYPE,
    D_TIME,
    D_POSITION_SIDE,
    D_MARGIN_MODE,
    D_TRIGGER,
    D_SELF_TRADE,
    D_STRATEGY,
    D_REASON,
    D_CLIENT,
    D_REQUEST,
    D_PRICE,
    D_QUANTITY,
    D_WORST_PRICE,
    D_OWN,
    D_ROWS,
) = range(INTENT_WORDS, INTENT_WORDS + 19)
"""What the intent says; whose it is; why it was refused (0: it was not); the order's client id and
the request's number; price and quantity as sent; the highest price at which it may trade; 1 for the
OMS' own; whether rows of positions belong to it."""
DECISION_WORDS = INTENT_WORDS + 20
(
    D_SLOT,
    D_ACCOUNT_ROW,
    D_STRATEGY_ROW,
    D_SCOPES,
) = range(DECISION_WORDS, DECISION_WORDS + 4)
"""Not in the journal: slot of the order; rows of the positions; rows of the five scopes."""
SCOPES_OF = 5
SCRATCH_WORDS = D_SCOPES + SCOPES_OF

assert INTENT.column("instrument")[1] == 8 * _WHERE
assert INTENT.column("action")[1] == 8 * _SMALL
assert INTENT.column("flags")[1] == 8 * D_REQUEST_FLAGS


@inlined
def unpack_intent(decision: Words, strategy: int) -> None:
    """Unpack the small fields of the intent in ``decision``, with nothing decided yet."""
    where, small = decision[_WHERE], decision[_SMALL]
    decision[D_INSTRUMENT], decision[D_ACCOUNT] = signed_half(where), where >> 32
    decision[D_ACTION] = small & 0xFF
    decision[D_SIDE] = signed_byte(small, 8)
    decision[D_TYPE], decision[D_TIME] = (small >> 16) & 0xFF, (small >> 24) & 0xFF
    decision[D_POSITION_SIDE] = signed_byte(small, 32)
    decision[D_MARGIN_MODE] = (small >> 40) & 0xFF
    decision[D_TRIGGER] = (small >> 48) & 0xFF
    decision[D_SELF_TRADE] = (small >> 56) & 0xFF
    decision[D_STRATEGY] = strategy
    decision[D_PRICE], decision[D_QUANTITY] = decision[D_PRICE_ASKED], decision[D_QUANTITY_ASKED]
    for word in (D_REASON, D_CLIENT, D_REQUEST, D_WORST_PRICE, D_OWN, D_ROWS):
        decision[word] = 0
    decision[D_SLOT] = decision[D_ACCOUNT_ROW] = decision[D_STRATEGY_ROW] = NONE


@inlined
def clear_decision(state: State) -> None:
    """Make the decision that of no intent, for what the OMS wants itself."""
    for word in range(SCRATCH_WORDS):
        state.decision[word] = 0
    state.decision[D_OWN] = 1
    state.decision[D_SLOT] = NONE
    state.decision[D_ACCOUNT_ROW] = state.decision[D_STRATEGY_ROW] = NONE
