"""A gateway's report in the loop's own memory: ``State.event``.

Its first REPORT_WORDS words are the record as it stands in the ring and in the journal; behind them
are its small fields, each in a word of its own, and what only we know of it.
"""

from engine.jit import inlined
from engine.wide import mul_div
from gateways.types import REPORT
from oms.state import ASSETS, REPORT_WORDS, State, Words
from oms.types import MONEY_DECIMALS
from oms.value import to_reporting

(
    E_SEQUENCE,
    E_EXCHANGE_NS,
    E_RECEIVED_NS,
    E_PUBLISHED_NS,
    E_REQUEST,
    E_CLIENT,
    E_PRICE,
    E_QUANTITY,
    E_FILLED,
    E_AVAILABLE,
    E_LAST_PRICE,
    E_LAST_QUANTITY,
    E_TRADE_ID,
    E_FEE,
    E_AVERAGE_PRICE,
    E_STOP,
) = range(16)
E_ASSET_WORD = REPORT.column("asset")[1] // 8
(
    E_ROW_THERE,
    E_VENUE_CODE,
    E_FLAGS,
    E_REASON,
    E_KIND,
    E_ACTION,
    E_STATUS,
    E_SIDE,
    E_ORDER_TYPE,
    E_TIME,
    E_POSITION_SIDE,
    E_LIQUIDITY,
    E_DECIMALS,
    E_MARGIN_MODE,
    E_INSTRUMENT,
    E_ACCOUNT,
) = range(REPORT_WORDS, REPORT_WORDS + 16)
"""``E_ROW_THERE`` is the instrument's row in the venue's own table, ``E_INSTRUMENT`` that of
md.instruments (NONE if it has none)."""
EVENT_WORDS = REPORT_WORDS + 16
_WHERE, _FLAGS, _SMALL = 16, 17, 18
_LOW = 0xFFFFFFFF

assert REPORT.column("instrument")[1] == 8 * _WHERE
assert REPORT.column("flags")[1] == 8 * _FLAGS
assert REPORT.column("status")[1] == 8 * _SMALL
assert REPORT.dtype.itemsize == 8 * REPORT_WORDS


@inlined
def signed_byte(word: int, shift: int) -> int:
    """Return the byte at ``shift`` of a word, with its sign."""
    byte = (word >> shift) & 0xFF
    return byte - 256 if byte > 127 else byte


@inlined
def signed_half(word: int) -> int:
    """Return the lower half of a word, with its sign."""
    half = word & _LOW
    return half - (1 << 32) if half > 0x7FFFFFFF else half


@inlined
def unpack_report(event: Words, there: Words, rows: int, account: int) -> None:
    """Unpack the small fields of the report in ``event``; ``there`` has ``rows`` an account."""
    where, flags, small = event[_WHERE], event[_FLAGS], event[_SMALL]
    row = signed_half(where)
    event[E_ROW_THERE] = row
    event[E_VENUE_CODE] = where >> 32
    event[E_FLAGS] = flags & _LOW
    event[E_REASON] = (flags >> 32) & 0xFFFF
    event[E_KIND] = (flags >> 48) & 0xFF
    event[E_ACTION] = (flags >> 56) & 0xFF
    event[E_STATUS] = small & 0xFF
    event[E_SIDE] = signed_byte(small, 8)
    event[E_ORDER_TYPE] = (small >> 16) & 0xFF
    event[E_TIME] = (small >> 24) & 0xFF
    event[E_POSITION_SIDE] = signed_byte(small, 32)
    event[E_LIQUIDITY] = (small >> 40) & 0xFF
    event[E_DECIMALS] = (small >> 48) & 0xFF
    event[E_MARGIN_MODE] = (small >> 56) & 0xFF
    event[E_ACCOUNT] = account
    known = 0 <= row < rows
    event[E_INSTRUMENT] = there[account * rows + row] if known else -1


@inlined
def find_asset(assets: Words, first: int, second: int) -> int:
    """Return the number of an asset by the two words of its name, -1 if it is not known."""
    if first == 0:
        return -1
    for number in range(ASSETS):
        at = 3 * number
        if assets[at] == first and assets[at + 1] == second:
            return number
        if assets[at] == 0:
            break
    return -1


@inlined
def fee_asset(state: State) -> int:
    """Return the number of the report's asset, -1 if it names none that is known."""
    event = state.event
    return find_asset(state.assets, event[E_ASSET_WORD], event[E_ASSET_WORD + 1])


@inlined
def to_money(amount: int, decimals: int) -> int:
    """Return an amount with some decimals as a mantissa of 1e-8."""
    if decimals <= MONEY_DECIMALS:
        return mul_div(amount, 10 ** (MONEY_DECIMALS - decimals), 1)
    return mul_div(amount, 1, 10 ** (decimals - MONEY_DECIMALS))


@inlined
def fee_money(state: State) -> int:
    """Return the fee (or payment) of the report in the reporting currency; 0 if it has no worth."""
    event = state.event
    if event[E_FEE] == 0:
        return 0
    asset = fee_asset(state)
    if asset < 0:
        return 0
    return to_reporting(state.assets, asset, to_money(event[E_FEE], event[E_DECIMALS]))
