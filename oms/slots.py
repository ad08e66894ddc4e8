"""Where an order stands: slots, the map from a strategy's number to one, lists of open orders.

A client id is a stamp and a slot, ``stamp << SLOT_BITS | slot``, so that a report leads back to its
order without a search. The stamp is the time in units of 2**14 ns since 2024, or one more than the
last, so that no id is ever given twice, whatever happened to journal and segments; it lasts until
2060, for 61,000 orders a second on average.

Slots of ended orders are used again oldest first: what comes late still finds its order. Orders
that we never sent have slots of their own behind the others.
"""

from engine.jit import inlined
from feeds.scan import wrapping_mul
from feeds.symbols import MIX
from oms.state import (
    C_FOREIGN,
    C_FREE_HEAD,
    C_FREE_TAIL,
    C_FRESH,
    C_HIGH_SLOT,
    C_REPLAY,
    C_STAMP,
    FOREIGN,
    NONE,
    NUMBERS,
    O_ACCOUNT_ROW,
    O_CLIENT,
    O_FLAGS,
    O_HELD,
    O_NUMBER,
    O_PRICE,
    O_SIDE,
    O_STATE,
    O_STRATEGY,
    ORDER_WORDS,
    SLOT_BITS,
    SLOTS,
    Words,
)
from oms.types import OrderFlag, OrderState

EPOCH_NS = 1_704_067_200 * 10**9
"""2024-01-01, from which stamps count."""
STAMP_BITS = 14
SLOT_MASK = SLOTS - 1
"""Of a client id: its slot."""
_FREED = int(OrderFlag.FREED)
_FREE, _FILLED, _LOST = int(OrderState.FREE), int(OrderState.FILLED), int(OrderState.LOST)

BUY, SELL, BEST_BUY, BEST_SELL = range(4)
"""Words of ``heads``."""
LINK_WORDS, LINK_PRICE = 3, 2
"""Of ``links``: words a slot; the place of the price."""

__all__ = [
    "SLOT_MASK",
    "add_number",
    "clear_slot",
    "client_stamp",
    "ended",
    "enlist",
    "find_number",
    "lead",
    "mix",
    "release",
    "slot_of",
    "take_foreign",
    "take_slot",
    "unlist",
]


@inlined
def mix(value: int) -> int:
    """Return well-spread bits of an int64, not negative."""
    value = wrapping_mul(value, MIX)
    return (value ^ (value >> 29)) & 0x7FFFFFFFFFFFFFFF


@inlined
def ended(state: int) -> bool:
    """Return whether an order in that state has ended; a LOST one has not."""
    return state >= _FILLED and state != _LOST


@inlined
def _cell_of(strategy: int, number: int) -> int:
    return (mix(number) ^ mix(strategy + 1)) & (NUMBERS - 1)


@inlined
def find_number(orders: Words, numbers: Words, strategy: int, number: int) -> int:
    """Return the slot of a strategy's order, NONE if there is none.

    Orders that we never sent belong to strategy 0, by their client id.
    """
    cell = _cell_of(strategy, number)
    while numbers[cell]:
        slot = numbers[cell] - 1
        at = slot * ORDER_WORDS
        if orders[at + O_NUMBER] == number and orders[at + O_STRATEGY] == strategy:
            return int(slot)
        cell = (cell + 1) & (NUMBERS - 1)
    return NONE


@inlined
def add_number(orders: Words, numbers: Words, slot: int) -> None:
    """Enter the order in ``slot`` into the map."""
    at = slot * ORDER_WORDS
    cell = _cell_of(orders[at + O_STRATEGY], orders[at + O_NUMBER])
    while numbers[cell]:
        cell = (cell + 1) & (NUMBERS - 1)
    numbers[cell] = slot + 1


@inlined
def _remove_number(orders: Words, numbers: Words, slot: int) -> None:
    """Take a slot out of the map; what stands behind it moves up, so that no search breaks off."""
    at = slot * ORDER_WORDS
    cell = _cell_of(orders[at + O_STRATEGY], orders[at + O_NUMBER])
    while numbers[cell] != slot + 1:
        if numbers[cell] == 0:
            return
        cell = (cell + 1) & (NUMBERS - 1)
    hole = cell
    while True:
        cell = (cell + 1) & (NUMBERS - 1)
        if numbers[cell] == 0:
            break
        other = (numbers[cell] - 1) * ORDER_WORDS
        home = _cell_of(orders[other + O_STRATEGY], orders[other + O_NUMBER])
        # It may move into the hole unless its home lies between the hole and itself.
        if (cell - home) & (NUMBERS - 1) >= (cell - hole) & (NUMBERS - 1):
            numbers[hole] = numbers[cell]
            hole = cell
    numbers[hole] = 0


@inlined
def slot_of(orders: Words, numbers: Words, client_id: int) -> int:
    """Return the slot of the order with that client id, NONE if it is not known (any more)."""
    if client_id > 0:
        slot = client_id & SLOT_MASK
        if orders[slot * ORDER_WORDS + O_CLIENT] == client_id:
            return slot
    return find_number(orders, numbers, 0, client_id)


@inlined
def client_stamp(control: Words, now_ns: int) -> int:
    """Return a stamp that no order had before."""
    stamp = max(control[C_STAMP] + 1, (now_ns - EPOCH_NS) >> STAMP_BITS)
    control[C_STAMP] = stamp
    return int(stamp)


@inlined
def _clear(orders: Words, slot: int) -> None:
    at = slot * ORDER_WORDS
    for word in range(1, ORDER_WORDS):
        orders[at + word] = 0


@inlined
def take_slot(orders: Words, numbers: Words, free: Words, control: Words) -> int:
    """Return an empty slot, NONE if all are in use."""
    while control[C_FRESH] >= SLOTS and control[C_FREE_HEAD] < control[C_FREE_TAIL]:
        slot = free[control[C_FREE_HEAD] & (2 * SLOTS - 1)]
        control[C_FREE_HEAD] += 1
        at = slot * ORDER_WORDS
        if orders[at + O_FLAGS] & _FREED:  # Else it has come back to life since.
            clear_slot(orders, numbers, slot)
            orders[at + O_FLAGS] = 0
            return int(slot)
    if control[C_FRESH] < SLOTS:
        control[C_FRESH] += 1
        slot = control[C_FRESH] - 1
        control[C_HIGH_SLOT] = max(control[C_HIGH_SLOT], slot + 1)
        return int(slot)
    return NONE


@inlined
def take_foreign(orders: Words, control: Words) -> int:
    """Return a slot for an order that we never sent: the next whose order has ended.

    If all of them are open, the oldest gives way: positions do not depend on it. What the slot
    holds is for the caller to end and to clear.
    """
    for _ in range(FOREIGN):
        slot = SLOTS + control[C_FOREIGN] % FOREIGN
        control[C_FOREIGN] += 1
        at = slot * ORDER_WORDS
        state = orders[at + O_STATE]
        if state == _FREE or (ended(state) and orders[at + O_HELD] == 0):
            break
    return int(slot)


@inlined
def clear_slot(orders: Words, numbers: Words, slot: int) -> None:
    """Forget the order that a slot holds, if it holds one."""
    if orders[slot * ORDER_WORDS + O_CLIENT]:
        _remove_number(orders, numbers, slot)
        _clear(orders, slot)


@inlined
def release(orders: Words, free: Words, control: Words, slot: int) -> None:
    """Let a slot be used again, once its order has ended and nothing of it may still trade."""
    at = slot * ORDER_WORDS
    if slot >= SLOTS or orders[at + O_FLAGS] & _FREED:
        return
    if control[C_REPLAY]:
        orders[at + O_FLAGS] |= _FREED  # ``oms.recovery.rebuild`` makes the list afterwards.
        return
    if control[C_FREE_TAIL] - control[C_FREE_HEAD] >= 2 * SLOTS:
        return
    orders[at + O_FLAGS] |= _FREED
    free[control[C_FREE_TAIL] & (2 * SLOTS - 1)] = slot
    control[C_FREE_TAIL] += 1


@inlined
def enlist(orders: Words, links: Words, heads: Words, slot: int) -> None:
    """Put an order at the head of its account row's list of open orders of its side."""
    at = slot * ORDER_WORDS
    row = orders[at + O_ACCOUNT_ROW]
    buy = orders[at + O_SIDE] > 0
    head = row * 4 + (BUY if buy else SELL)
    first = heads[head] - 1
    links[LINK_WORDS * slot], links[LINK_WORDS * slot + 1] = first, NONE
    if first != NONE:
        links[LINK_WORDS * first + 1] = slot
    heads[head] = slot + 1
    price = orders[at + O_PRICE]
    links[LINK_WORDS * slot + LINK_PRICE] = price
    best = row * 4 + (BEST_BUY if buy else BEST_SELL)
    if first == NONE or (price > heads[best] if buy else price < heads[best]):
        heads[best] = price


@inlined
def lead(orders: Words, links: Words, heads: Words, slot: int, price: int, alone: bool) -> None:
    """Take note of a price that an order has, or may have by now.

    The nearest to the other side counts; ``alone``: it has no other.
    """
    at, place = slot * ORDER_WORDS, LINK_WORDS * slot + LINK_PRICE
    buy = orders[at + O_SIDE] > 0
    if price <= 0 or price == links[place]:
        return
    nearer = price > links[place] if buy else price < links[place]
    if alone or nearer or links[place] == 0:
        links[place] = price
    best = orders[at + O_ACCOUNT_ROW] * 4 + (BEST_BUY if buy else BEST_SELL)
    if price > heads[best] if buy else price < heads[best]:
        heads[best] = price


@inlined
def unlist(orders: Words, links: Words, heads: Words, slot: int) -> None:
    """Take an order out of its list; the bound of the best price stays, as a bound."""
    at = slot * ORDER_WORDS
    after, before = links[LINK_WORDS * slot], links[LINK_WORDS * slot + 1]
    if before != NONE:
        links[LINK_WORDS * before] = after
    else:
        heads[orders[at + O_ACCOUNT_ROW] * 4 + (BUY if orders[at + O_SIDE] > 0 else SELL)] = (
            after + 1
        )
    if after != NONE:
        links[LINK_WORDS * after + 1] = before
    links[LINK_WORDS * slot] = links[LINK_WORDS * slot + 1] = NONE


assert SLOT_BITS + 46 <= 63
