"""An OMS loop in memory: no rings, no processes; intents and reports by hand."""

import time

import numpy as np

from engine.common import OrderType, Side, TimeInForce
from engine.histogram import ROW
from feeds.types import BOOK_TOP, FUNDING, INSTRUMENT, BookState, Kind, Status, TopSource
from gateways.types import REPORT, REQUEST, Action, OrderStatus, Reason, ReportFlag, ReportKind
from oms.commands import K_BY
from oms.loop import FUNDING_WORDS, TOP_WORDS, cycle, do_command, find_record, keep_up, replay
from oms.memory import new_state, put_instrument, rate_of
from oms.state import (
    A_REPORTS_NEXT,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    ACCOUNT_WORDS,
    ACCOUNTS_MAX,
    C_CLOCK,
    C_FUNDING_NEXT,
    C_HIGH_SLOT,
    C_JOURNAL,
    C_JOURNAL_AT,
    C_REPLAY,
    C_TOPS_NEXT,
    C_UPDATES,
    STRATEGIES_MAX,
    STRATEGY_WORDS,
    T_NEXT,
)
from oms.types import (
    BALANCE,
    COMMAND,
    INTENT,
    LIMIT_NAMES,
    ORDER,
    POSITION,
    SCOPE,
    UPDATE,
    CommandKind,
    IntentAction,
    OrderState,
    ScopeKind,
)

RECORDS = 1024
JOURNAL_WORDS = 1 << 20
UNIT = 10**8
NO_RING = np.zeros(0, np.int64)

SPOT, PERPETUAL, INVERSE = range(3)
"""The desk's instruments: BTC/USDT at two decimals, lots of 1e-4; the same as a perpetual; an
inverse contract of 100 USD."""


def instrument_row(kind, native, base=b"BTC", quote=b"USDT", settle=b"", **terms):
    row = np.zeros(1, INSTRUMENT.dtype)
    row["kind"], row["status"], row["native"] = kind, Status.TRADING, native
    row["price_decimals"], row["quantity_decimals"] = 2, 4
    row["tick"], row["lot"], row["contract_value"] = 10, 1, UNIT
    row["minimum_quantity"] = 1
    row["base"], row["quote"], row["settle"] = base, quote, settle
    for name, value in terms.items():
        row[name] = value
    return row[0]


INSTRUMENTS = (
    instrument_row(Kind.SPOT, b"SPOT"),
    instrument_row(Kind.LINEAR_PERPETUAL, b"PERP", settle=b"USDT"),
    instrument_row(
        Kind.INVERSE_PERPETUAL,
        b"INVERSE",
        quote=b"USD",
        settle=b"BTC",
        quantity_decimals=0,
        contract_value=100 * UNIT,
    ),
)


class Ring:
    """A ring's slots in memory, and its writer."""

    def __init__(self, layout, records=RECORDS):
        self.words = np.zeros(records * layout.dtype.itemsize // 8, np.int64)
        self.records = self.words.view(layout.dtype)
        self.newest = 0

    @property
    def frozen(self):
        view = self.words.view()
        view.flags.writeable = False
        return view

    def publish(self, record):
        self.newest += 1
        slot = self.newest & (len(self.records) - 1)
        self.records[slot] = record
        self.records["sequence"][slot] = self.newest


class Desk:
    """The loop with one strategy (number 1) and one account (number 0), up and reconciled.

    With ``clock`` (Unix ns) time stands still, but for what ``wait`` lets pass.
    """

    def __init__(self, ready=True, journal=None, clock=0):
        self.intents = [Ring(INTENT) for _ in range(STRATEGIES_MAX)]
        self.reports = [Ring(REPORT) for _ in range(ACCOUNTS_MAX)]
        self.requests = [Ring(REQUEST) for _ in range(ACCOUNTS_MAX)]
        self.tops, self.marks = Ring(BOOK_TOP), Ring(FUNDING)
        self.updates_ring = Ring(UPDATE)
        self.journal = np.zeros(JOURNAL_WORDS, np.int64) if journal is None else journal
        self.state = new_state(8, journal=self.journal, updates=self.updates_ring.words)
        self.state.control[C_CLOCK] = clock
        for number, row in enumerate(INSTRUMENTS):
            put_instrument(self.state, number, row, 0, number)
        for name, rate in ((b"USDT", UNIT), (b"USD", UNIT), (b"BTC", 50_000 * UNIT)):
            rate_of(self.state, name, rate)
        for account in range(ACCOUNTS_MAX):
            self.state.accounts[account * ACCOUNT_WORDS + A_REQUESTS_ROOM] = RECORDS
        self.state.control[C_TOPS_NEXT] = self.state.control[C_FUNDING_NEXT] = 1
        self._read = self._asked = 0
        self.decided, self.traded = np.zeros(ROW, np.int64), np.zeros(ROW, np.int64)
        if ready:
            self.balance(b"USDT", 1_000_000)
            self.balance(b"BTC", 100)
            self.ready()
            for number in (SPOT, PERPETUAL, INVERSE):
                self.top(number, 50_000_00, 50_000_10)
            self.updates()

    # -- time --
    def now(self):
        """Return what the loop takes for the time."""
        return int(self.state.control[C_CLOCK]) or time.time_ns()

    def wait(self, ns):
        """Let time go on, on a desk that has a clock of its own."""
        assert self.state.control[C_CLOCK]
        self.state.control[C_CLOCK] += ns

    # -- running --
    def run(self, turns=1000):
        """Let the loop read until nothing is left to do that it can do."""
        frozen = [tuple(ring.frozen for ring in each) for each in (self.intents, self.reports)]
        requests = tuple(ring.words for ring in self.requests)
        empty = np.zeros(4, np.int64)
        empty.flags.writeable = False
        for _ in range(turns):
            if not cycle(
                self.state,
                *frozen,
                requests,
                self.tops.frozen,
                empty,
                self.marks.frozen,
                empty,
                self.decided,
                self.traded,
                0,
            ):
                break

    def keep_up(self):
        return keep_up(self.state, tuple(ring.words for ring in self.requests))

    # -- what comes in --
    def intent(self, action, number, instrument=PERPETUAL, strategy=1, **terms):
        record = np.zeros(1, INTENT.dtype)
        record["created_ns"] = self.now()
        record["action"], record["number"], record["instrument"] = action, number, instrument
        record["account"] = -1
        for name, value in terms.items():
            record[name] = value
        self.intents[strategy].publish(record[0])
        self.run()
        return self.updates()

    def new(
        self, number, side=Side.BUY, price=50_000_00, quantity=10, instrument=PERPETUAL, **terms
    ):
        terms = {
            "order_type": OrderType.LIMIT if price else OrderType.MARKET,
            "time_in_force": TimeInForce.GTC if price else TimeInForce.IOC,
        } | terms
        return self.intent(
            IntentAction.NEW,
            number,
            instrument,
            side=side,
            price=price,
            quantity=quantity,
            **terms,
        )

    def cancel(self, number, **terms):
        return self.intent(IntentAction.CANCEL, number, **terms)

    def amend(self, number, **terms):
        return self.intent(IntentAction.AMEND, number, **terms)

    def report(self, kind, number=0, account=0, **fields):
        """Publish a report; ``number`` is the strategy's number of the order."""
        record = np.zeros(1, REPORT.dtype)
        record["kind"], record["instrument"] = kind, -1
        record["received_ns"] = record["exchange_ns"] = self.now()
        if number:
            order = self.order(number)
            record["client_id"], record["instrument"] = order["client_id"], order["instrument"]
            record["request_id"] = 0
        for name, value in fields.items():
            record[name] = value
        self.reports[account].publish(record[0])
        self.run()
        return self.updates()

    def sent(self, number):
        order = self.order(number)
        return self.report(
            ReportKind.SENT, number, action=Action.NEW, request_id=order["request_id"]
        )

    def open(self, number):
        return self.report(ReportKind.OPEN, number)

    def fill(self, number, quantity, trade_id, price=50_000_00, **fields):
        return self.report(
            ReportKind.FILL,
            number,
            last_quantity=quantity,
            last_price=price,
            trade_id=trade_id,
            **fields,
        )

    def balance(self, asset, units, account=0):
        fields = {"asset": asset, "quantity": units * UNIT, "available": units * UNIT}
        self.report(ReportKind.BALANCE, account=account, decimals=8, **fields)

    def ready(self, account=0):
        self.report(ReportKind.SYNC_BEGIN, account=account)
        self.report(ReportKind.SYNC_END, account=account)
        self.report(ReportKind.UP, account=account)

    def top(self, number, bid, ask, state=BookState.LIVE, age_ns=0):
        record = np.zeros(1, BOOK_TOP.dtype)
        record["instrument"], record["state"], record["source"] = number, state, TopSource.BOOK
        record["bid_price"], record["ask_price"] = bid, ask
        record["bid_quantity"] = record["ask_quantity"] = 1
        record["published_ns"] = self.now() - age_ns
        self.tops.publish(record[0])
        self.run()

    def mark(self, number, price, age_ns=0):
        record = np.zeros(1, FUNDING.dtype)
        record["instrument"], record["mark_price"] = number, price * 10**10
        record["published_ns"] = self.now() - age_ns
        self.marks.publish(record[0])
        self.run()

    def command(self, kind, scope=ScopeKind.FIRM, **fields):
        record = np.zeros(1, COMMAND.dtype)
        record["created_ns"], record["kind"] = self.now(), kind
        record["scope_kind"] = scope
        record["account"] = record["strategy"] = record["instrument"] = -1
        for name, value in fields.items():
            record[name] = value
        self.state.command[:] = record.view(np.int64)
        do_command(self.state, tuple(ring.words for ring in self.requests))
        self.run()
        return self.updates()

    def limit(self, name, value, scope=ScopeKind.FIRM, **fields):
        return self.command(
            CommandKind.LIMIT, scope, name=LIMIT_NAMES.index(name), value=value, **fields
        )

    # -- what comes out --
    def updates(self):
        """Return the updates since the last look."""
        newest = int(self.state.control[C_UPDATES])
        found = [
            self.updates_ring.records[n & (RECORDS - 1)].copy()
            for n in range(self._read + 1, newest + 1)
        ]
        self._read = newest
        return found

    def asked(self, account=0):
        """Return the requests since the last look."""
        newest = int(self.state.accounts[account * ACCOUNT_WORDS + A_REQUESTS_NEWEST])
        found = [
            self.requests[account].records[n & (RECORDS - 1)].copy()
            for n in range(self._asked + 1, newest + 1)
        ]
        self._asked = newest
        self.state.accounts[account * ACCOUNT_WORDS + A_REQUESTS_ROOM] = newest + RECORDS
        return found

    def order(self, number, strategy=1):
        orders = self.state.orders.view(ORDER.dtype)[: self.state.control[C_HIGH_SLOT]]
        if strategy == 0:
            orders = self.state.orders.view(ORDER.dtype)
        found = np.flatnonzero((orders["number"] == number) & (orders["strategy"] == strategy))
        assert len(found) == 1, f"order {number} is there {len(found)} times"
        return orders[found[0]].copy()

    def position(self, instrument=PERPETUAL, strategy=1, account=0, side=0):
        positions = self.state.positions.view(POSITION.dtype)
        kind = ScopeKind.STRATEGY_INSTRUMENT if strategy else ScopeKind.ACCOUNT_INSTRUMENT
        found = positions[
            (positions["kind"] == kind)
            & (positions["instrument"] == instrument)
            & (positions["strategy"] == strategy)
            & (positions["account"] == account)
            & (positions["position_side"] == side)
        ]
        return found[0].copy() if len(found) else np.zeros(1, POSITION.dtype)[0]

    def scope(self, kind=ScopeKind.FIRM, **key):
        scopes = self.state.scopes.view(SCOPE.dtype)
        found = scopes["kind"] == kind
        for name, value in key.items():
            found &= scopes[name] == value
        return scopes[found][0].copy()

    def held_balance(self, asset, account=0):
        rows = self.state.balances.view(BALANCE.dtype)
        return rows[(rows["asset"] == asset) & (rows["account"] == account)][0].copy()

    # -- the journal --
    def replayed(self):
        """Return a desk whose state is that of this one's journal."""
        other = Desk(ready=False, journal=self.journal.copy(), clock=self.state.control[C_CLOCK])
        state = other.state
        state.control[C_REPLAY] = 1
        frozen = self.journal.view()
        frozen.flags.writeable = False
        replay(state, frozen, 0, 0)
        state.control[C_REPLAY] = 0
        assert state.control[C_JOURNAL] == self.state.control[C_JOURNAL]
        for number in range(STRATEGIES_MAX):
            other.intents[number].newest = self.intents[number].newest
            state.strategies[number * STRATEGY_WORDS + T_NEXT] = other.intents[number].newest + 1
        for number in range(ACCOUNTS_MAX):
            other.reports[number].newest = self.reports[number].newest
            state.accounts[number * ACCOUNT_WORDS + A_REPORTS_NEXT] = (
                other.reports[number].newest + 1
            )
        return other


def state_of(order):
    return OrderState(int(order["state"]))


__all__ = [
    "C_JOURNAL_AT",
    "FUNDING_WORDS",
    "INVERSE",
    "K_BY",
    "PERPETUAL",
    "SPOT",
    "TOP_WORDS",
    "UNIT",
    "Desk",
    "OrderStatus",
    "Reason",
    "ReportFlag",
    "find_record",
    "state_of",
]
