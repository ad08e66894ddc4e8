"""What holds after every event: the OMS' ledgers, computed again from its order table.

``check`` recomputes in plain Python what the loop keeps by differences: what orders hold, the
positions and scopes that they belong to, balances, lists and maps. ``CheckedDesk`` is a desk that
does so after everything that comes in, and remembers what was told.
"""

from collections import Counter, defaultdict
from decimal import ROUND_HALF_UP, Decimal
from itertools import permutations

import numpy as np
import pytest

from engine.common import Side
from feeds.symbols import MIX
from feeds.types import Kind
from gateways.types import Action, ReportKind
from oms.slots import LINK_WORDS
from oms.state import (
    C_BALANCE_COUNT,
    C_FOREIGN,
    C_FREE_HEAD,
    C_HIGH_SLOT,
    C_LIVE,
    C_POSITION_COUNT,
    C_SCOPE_COUNT,
    FOREIGN,
    NONE,
    NUMBERS,
    SLOTS,
)
from oms.types import (
    BALANCE,
    ORDER,
    POSITION,
    SCOPE,
    Alarm,
    OrderFlag,
    OrderState,
    ScopeKind,
    UpdateKind,
)
from oms.value import COUNTED_UNKNOWN, LISTED
from tests.oms_desk import INSTRUMENTS, INVERSE, PERPETUAL, SPOT, UNIT, Desk

S = OrderState
RATES = {b"USDT": 1, b"USD": 1, b"BTC": 50_000}
"""What a desk's currencies are worth in the reporting currency."""
_WORD = (1 << 64) - 1

__all__ = [
    "INVERSE",
    "PERPETUAL",
    "SPOT",
    "UNIT",
    "CheckedDesk",
    "arrangements",
    "check",
    "ended",
    "equal_rows",
    "plain",
    "play",
    "value",
]


# -- money, by another way -------------------------------------------------------------------------
def rounded(amount):
    """Return the nearest integer, halves away from zero."""
    return int(Decimal(amount).quantize(Decimal(1), ROUND_HALF_UP))


def contracts(instrument, quantity):
    """Return a quantity as a number of units of the base currency, or of the quote if inverse."""
    row = INSTRUMENTS[instrument]
    size = 1 if row["kind"] == Kind.SPOT else Decimal(int(row["contract_value"])) / UNIT
    return size * int(quantity) / Decimal(10) ** int(row["quantity_decimals"])


def is_inverse(instrument):
    return INSTRUMENTS[instrument]["kind"] >= Kind.INVERSE_PERPETUAL


def value(instrument, price, quantity):
    """Return what a quantity is worth, in the settlement currency, as a mantissa of 1e-8."""
    units = Decimal(int(price)) / Decimal(10) ** int(INSTRUMENTS[instrument]["price_decimals"])
    if is_inverse(instrument):
        return rounded(contracts(instrument, quantity) * UNIT / units) if price > 0 else 0
    return rounded(contracts(instrument, quantity) * units * UNIT)


def exposure(instrument, price, quantity):
    """Return a notional in the reporting currency, as a mantissa of 1e-8."""
    if is_inverse(instrument):
        return rounded(contracts(instrument, quantity) * UNIT)
    return value(instrument, price, quantity)


def reporting(instrument, money):
    """Return money of an instrument's settlement currency in the reporting currency."""
    row = INSTRUMENTS[instrument]
    return money * RATES[bytes(row["settle"]) or bytes(row["quote"])]


def ended(order):
    return order["state"] >= S.FILLED and order["state"] != S.LOST


# -- the state as tables ---------------------------------------------------------------------------
class Tables:
    """The rows that are in use."""

    def __init__(self, state):
        control = state.control
        orders = state.orders.view(ORDER.dtype)
        foreign = SLOTS + min(int(control[C_FOREIGN]), FOREIGN)
        clients = orders["client_id"]
        own = np.flatnonzero(clients[: int(control[C_HIGH_SLOT])])
        others = SLOTS + np.flatnonzero(clients[SLOTS:foreign])
        self.state = state
        self.orders = {int(slot): orders[slot] for slot in (*own, *others)}
        self.positions = state.positions.view(POSITION.dtype)[: int(control[C_POSITION_COUNT])]
        self.scopes = state.scopes.view(SCOPE.dtype)[: int(control[C_SCOPE_COUNT])]
        self.balances = state.balances.view(BALANCE.dtype)[: int(control[C_BALANCE_COUNT])]

    def of_scope(self, scope):
        """Return the orders that count in a scope."""
        kind = scope["kind"]
        return [
            order
            for order in self.orders.values()
            if kind == ScopeKind.FIRM
            or (
                (scope["account"] == NONE or order["account"] == scope["account"])
                and (scope["strategy"] == NONE or order["strategy"] == scope["strategy"])
                and (scope["instrument"] == NONE or order["instrument"] == scope["instrument"])
            )
        ]

    def rows_of_scope(self, number, scope):
        """Return the positions that count in a scope."""
        rows = self.positions
        if scope["kind"] == ScopeKind.FIRM:
            return rows[rows["kind"] == ScopeKind.ACCOUNT_INSTRUMENT]
        return rows[(rows["scope"] == number) | (rows["owner_scope"] == number)]


def equal_rows(one, other, leave_out=()):
    """Say in which fields two records differ."""
    names = [name for name in one.dtype.names if name not in ("version", *leave_out)]
    return {name: (one[name], other[name]) for name in names if np.any(one[name] != other[name])}


# -- the checks ------------------------------------------------------------------------------------
def check(desk):
    """Assert everything that has to hold of a desk at any time."""
    tables = Tables(desk.state)
    for slot, order in tables.orders.items():
        check_order(desk, slot, order)
    check_positions(tables)
    check_scopes(tables)
    check_balances(tables)
    check_lists(tables)
    check_numbers(tables)
    check_told(desk, tables)
    live = [order for order in tables.orders.values() if order["flags"] & LISTED]
    assert desk.state.control[C_LIVE] == len(live)
    for rows in (tables.positions, tables.scopes, tables.balances):
        assert not np.any(rows["version"] & 1), "a row is left locked"


def check_order(desk, slot, order):
    """Assert what one order's numbers have to do with each other."""
    what = f"order {order['number']}, {S(int(order['state'])).name}"
    filled, traded, quantity = int(order["filled"]), int(order["traded"]), int(order["quantity"])
    state, flags, over = order["state"], int(order["flags"]), bool(ended(order))
    assert not order["version"] & 1, what
    assert 0 <= traded <= filled, what
    assert 0 <= order["inferred"] <= traded, what
    overfilled = (Alarm.OVERFILL, int(order["client_id"])) in desk.alarms
    most = max(quantity, int(order["worst_quantity"]))
    assert quantity == 0 or filled <= most or overfilled, what
    if over:
        whole = 0 < quantity <= filled
        assert quantity == 0 or (state == S.FILLED) == whole, what
        assert order["pending"] == 0, what
        assert order["reserved_quantity"] == filled - traded, what
    else:
        assert quantity == 0 or filled < quantity, what
        assert order["worst_quantity"] >= quantity, what
        assert order["reserved_quantity"] == max(0, order["worst_quantity"] - traded), what
        assert filled == 0 or state in (S.PARTIAL, S.UNKNOWN, S.LOST), what
    assert bool(flags & LISTED) == (not over), what
    assert bool(flags & COUNTED_UNKNOWN) == (state in (S.UNKNOWN, S.LOST)), what
    done = over and order["reserved_quantity"] == 0 and slot < SLOTS
    assert bool(flags & OrderFlag.FREED) == done, what
    check_held(order, what)


def check_held(order, what):
    """Assert what an order keeps reserved in money."""
    price, left = int(order["worst_price"]), int(order["reserved_quantity"])
    instrument = int(order["instrument"])
    if price > 0:
        assert order["reserved_money"] == exposure(instrument, price, left), what
    if INSTRUMENTS[instrument]["kind"] != Kind.SPOT:
        assert order["reserved_asset"] == 0, what
    elif order["side"] < 0:
        assert order["reserved_asset"] == rounded(contracts(instrument, left) * UNIT), what
    elif price > 0:
        assert order["reserved_asset"] == value(instrument, price, left), what


def check_positions(tables):
    """Assert what open orders may do to positions, and what those are worth."""
    for number, row in enumerate(tables.positions):
        of = "account_row" if row["kind"] == ScopeKind.ACCOUNT_INSTRUMENT else "strategy_row"
        orders = [order for order in tables.orders.values() if order[of] == number]
        held = [int(order["reserved_quantity"]) for order in orders]
        sides = [int(order["side"]) for order in orders]
        buys = sum(each for each, side in zip(held, sides, strict=True) if side > 0)
        sells = sum(held) - buys
        reducing = [bool(order["flags"] & OrderFlag.REDUCE_ONLY) for order in orders]
        assert (row["open_buy"], row["open_sell"]) == (buys, sells), row
        assert row["orders"] == sum(not ended(order) for order in orders), row
        least = sum(each for each, is_so in zip(held, reducing, strict=True) if is_so)
        assert row["reduce_only"] == least, row
        quantity, mark = int(row["quantity"]), int(row["mark_price"])
        instrument = int(row["instrument"])
        worst = max(abs(quantity + buys), abs(quantity - sells))
        assert row["worst_money"] == exposure(instrument, mark, worst), row
        assert row["long_money"] == exposure(instrument, mark, quantity + buys), row
        assert row["short_money"] == exposure(instrument, mark, quantity - sells), row
        result = reporting(instrument, int(row["realized"] + row["unrealized"]))
        result -= int(row["fees"] + row["funding"])
        assert abs(row["result_money"] - result) <= RATES[b"BTC"], row
        assert row["bought"] >= 0, row
        assert row["sold"] >= 0, row
        assert quantity != 0 or row["cost"] == 0 or is_inverse(instrument), row


def check_scopes(tables):
    """Assert that each scope is the sum of its orders and positions."""
    for number, scope in enumerate(tables.scopes):
        if not scope["kind"]:
            continue
        orders = tables.of_scope(scope)
        rows = tables.rows_of_scope(number, scope)
        sums = {
            "open_orders": sum(not ended(order) for order in orders),
            "open_money": sum(int(order["reserved_money"]) for order in orders),
            "unknowns": sum(order["state"] in (S.UNKNOWN, S.LOST) for order in orders),
            "gross_money": int(rows["worst_money"].sum()),
            "long_money": int(rows["long_money"].sum()),
            "short_money": int(rows["short_money"].sum()),
            "result_money": int(rows["result_money"].sum()),
        }
        if tables.state.control[C_FREE_HEAD] == 0:  # Else orders have been forgotten.
            sums["fills"] = sum(int(order["fills"]) for order in orders)
        found = {name: int(scope[name]) for name in sums}
        assert found == sums, f"scope {number} of kind {scope['kind']}"


def check_balances(tables):
    """Assert that what is reserved of a balance is the sum over spot orders."""
    sums = Counter()
    for order in tables.orders.values():
        row = INSTRUMENTS[int(order["instrument"])]
        if row["kind"] == Kind.SPOT:
            asset = bytes(row["quote"] if order["side"] > 0 else row["base"])
            sums[int(order["account"]), asset] += int(order["reserved_asset"])
    for row in tables.balances:
        assert row["reserved"] == sums.pop((int(row["account"]), bytes(row["asset"])), 0), row
    assert not any(sums.values()), f"reserved of balances that are not there: {sums}"


def check_lists(tables):
    """Assert that the lists have the open orders of each account row and side, and no others."""
    links, heads = tables.state.links, tables.state.heads
    listed = defaultdict(set)
    for slot, order in tables.orders.items():
        if not ended(order):
            listed[int(order["account_row"]), order["side"] > 0].add(slot)
    for row in range(len(tables.positions)):
        for buy in (True, False):
            found, slot, before = [], int(heads[row * 4 + (not buy)]) - 1, NONE
            while slot != NONE:
                assert slot not in found, "a list of open orders is a ring"
                assert links[LINK_WORDS * slot + 1] == before
                found.append(slot)
                before, slot = slot, int(links[LINK_WORDS * slot])
            assert set(found) == listed.pop((row, buy), set())
            prices = [int(tables.orders[slot]["price"]) for slot in found]
            bound = int(heads[row * 4 + 2 + (not buy)])
            assert not any((each - bound) * (1 if buy else -1) > 0 for each in prices if each)
    assert not listed


def _mix(number):
    number = number * (MIX & _WORD) & _WORD
    number = number - (1 << 64) if number >> 63 else number
    return (number ^ number >> 29) & _WORD >> 1


def check_numbers(tables):
    """Assert that the map from numbers leads to every order and to nothing else."""
    numbers = tables.state.numbers
    assert np.count_nonzero(numbers) == len(tables.orders)
    for slot, order in tables.orders.items():
        cell = (_mix(int(order["number"])) ^ _mix(int(order["strategy"]) + 1)) & (NUMBERS - 1)
        while numbers[cell] != slot + 1:
            assert numbers[cell], f"order {order['number']} cannot be found"
            cell = (cell + 1) & (NUMBERS - 1)


def check_told(desk, tables):
    """Assert that positions and orders are the sums of the trades that were told."""
    by_order, by_row = Counter(), Counter()
    for update in desk.fills:
        quantity = int(update["last_quantity"])
        by_order[int(update["client_id"])] += quantity
        place = (int(update["account"]), int(update["instrument"]))
        by_row[*place, int(update["strategy"])] += quantity * int(update["side"])
    for order in tables.orders.values():
        if order["strategy"]:
            assert order["traded"] == by_order[int(order["client_id"])], order
    rows, whole = Counter(), Counter()
    for row in tables.positions:
        place = (int(row["account"]), int(row["instrument"]))
        if row["kind"] == ScopeKind.STRATEGY_INSTRUMENT:
            rows[*place, int(row["strategy"])] += int(row["quantity"])
        else:
            whole[place] += int(row["quantity"])
        assert row["quantity"] == row["bought"] - row["sold"] + desk.adopted(row), row
    for key, quantity in rows.items():
        assert quantity == by_row[key], f"position {key}"
    for place, quantity in whole.items():
        own = sum(each for key, each in rows.items() if key[:2] == place)
        nobodys = by_row[*place, 0] + desk.adopted_by.get(place, 0)
        assert quantity == own + nobodys, f"account's position {place}"


# -- a desk that is checked ------------------------------------------------------------------------
class CheckedDesk(Desk):
    """A desk whose invariants are checked after everything that comes in.

    ``START`` is the venue's time 0: reports say ``at`` in milliseconds after it, so that one that
    comes late is an old one.
    """

    START = 1_700_000_000 * 10**9

    def __init__(self, **settings):
        self.fills, self.alarms, self.history, self.kept = [], [], [], []
        self.adopted_by = {}
        """Account and instrument: what of the position was adopted."""
        self.checking = False
        super().__init__(**settings)
        self.checking = True

    def adopted(self, row):
        if row["kind"] != ScopeKind.ACCOUNT_INSTRUMENT:
            return 0
        return self.adopted_by.get((int(row["account"]), int(row["instrument"])), 0)

    def updates(self):
        found = super().updates()
        for update in found:
            if update["kind"] == UpdateKind.FILL:
                self.fills.append(update)
            elif update["kind"] == UpdateKind.ALARM:
                self.alarms.append((Alarm(int(update["reason"])), int(update["client_id"])))
        if self.checking:
            self.kept += found
            check(self)
        return found

    def order(self, number, strategy=1):
        """Return an order; as the desk does, without a look at the slots that are not in use."""
        orders = Tables(self.state).orders.values()
        found = [
            each for each in orders if (each["number"], each["strategy"]) == (number, strategy)
        ]
        assert len(found) == 1, f"order {number} is there {len(found)} times"
        return found[0].copy()

    def alarmed(self):
        """Return the alarms that were raised, in order."""
        return [alarm for alarm, _ in self.alarms]

    def requests_of(self, number, action):
        """Return the request numbers of what was asked of an order, oldest first."""
        self.history += self.asked()
        client = self.order(number)["client_id"]
        return [
            int(request["request_id"])
            for request in self.history
            if request["client_id"] == client and request["action"] == action
        ]

    def tell(self, kind, number=1, at=0, of=None, **fields):
        """Report something of an order.

        ``of``: the action of the request that it answers, or that and which of them (0: the first).
        """
        if of is not None:
            action, which = of if isinstance(of, tuple) else (of, -1)
            fields |= {"action": action, "request_id": self.requests_of(number, action)[which]}
        fields.setdefault("exchange_ns", self.START + at * 1_000_000)
        return self.report(kind, number, **fields)

    def trade(self, traded, trade_id, number=1, at=0, price=50_000_00, **fields):
        """Report a trade of an order."""
        return self.tell(
            ReportKind.FILL,
            number,
            at,
            last_quantity=traded,
            last_price=price,
            trade_id=trade_id,
            **fields,
        )

    def foreign(self, kind, client_id=-7, at=0, **fields):
        """Report something of an order of others; ours by default in the perpetual."""
        fields = {"client_id": client_id, "instrument": PERPETUAL, "side": Side.BUY} | fields
        fields.setdefault("exchange_ns", self.START + at * 1_000_000)
        return self.report(kind, **fields)

    def working(self, number=1, **terms):
        """Have an order sent and open."""
        self.new(number, **terms)
        self.tell(ReportKind.SENT, number, of=Action.NEW)
        self.tell(ReportKind.OPEN, number, at=1)
        return self

    def of_kind(self, kind):
        """Return the updates of a kind since the start."""
        return [update for update in self.kept if update["kind"] == kind]

    def restarted(self):
        """Assert that a replay of the journal makes the same state; return it."""
        other = self.replayed()
        mine, others = Tables(self.state), Tables(other.state)
        assert mine.orders.keys() == others.orders.keys()
        for slot, order in mine.orders.items():
            assert not equal_rows(order, others.orders[slot], ("flags",)), order["number"]
            kept = ~int(OrderFlag.QUERIED)
            assert order["flags"] & kept == others.orders[slot]["flags"] & kept
        for one, same in zip(mine.positions, others.positions, strict=True):
            valued = ("mark_price", "unrealized", "worst_money", "long_money", "short_money")
            assert not equal_rows(one, same, (*valued, "result_money"))
        for one, same in zip(mine.balances, others.balances, strict=True):
            assert not equal_rows(one, same)
        for one, same in zip(mine.scopes, others.scopes, strict=True):
            counts = ("open_orders", "unknowns", "sent", "denied", "fills", "rejects", "state")
            assert all(one[name] == same[name] for name in counts)
        return other


def plain(function):
    """Return the Python function of a kernel; with the JIT off it is one."""
    return getattr(function, "py_func", function)


# -- orders of events ------------------------------------------------------------------------------
def arrangements(letters, *rules):
    """Return all orders of some letters; a rule "SO" wants S before O."""
    return sorted(
        "".join(each)
        for each in permutations(letters)
        if all(each.index(first) < each.index(then) for first, then in rules)
    )


def in_orders(letters, *rules):
    """Return a mark that runs a test once for each of ``arrangements``."""
    return pytest.mark.parametrize("order", arrangements(letters, *rules))


def play(desk, scene, order, twice=False):
    """Let the events of a scene come in an order, each of them twice if so."""
    for letter in order:
        for _ in range(1 + twice):
            scene[letter]()
