"""The OMS against a slow one (``naive_oms``), and its limits, under random events.

A seeded exchange of our own answers requests late, twice, in any order or not at all; now and then
it says what cannot be. The clock stands still between events, so that a seed is an exact replay:

    OMS_MODEL_EVENTS=1000000 OMS_MODEL_SEED=7 python -m pytest tests/test_oms_model.py

``OMS_MODEL_INTENTS`` is the number of intents of the run that only looks at limits.
"""

import os
import random
import time
from collections import deque

import numpy as np
import pytest

from engine.common import OrderType, TimeInForce
from gateways.types import REPORT, Action, OrderStatus, ReportFlag, ReportKind, RequestFlag
from oms.decisions import D_REASON, D_REQUEST, D_STRATEGY, DECISION_WORDS
from oms.emit import JOURNAL_HEAD, Record
from oms.loop import replay
from oms.risk import FILLS
from oms.state import (
    C_JOURNAL_AT,
    C_POSITION_COUNT,
    C_REPLAY,
    C_SCOPE_COUNT,
    FOREIGN,
    RATES,
    SCOPES,
    SLOTS,
)
from oms.types import (
    BALANCE,
    INTENT,
    LIMIT_NAMES,
    ORDER,
    POSITION,
    CommandKind,
    Deny,
    IntentAction,
    OrderState,
    Pending,
    ScopeKind,
    UpdateKind,
)
from tests.naive_oms import INTENT_DEFAULTS, REPORT_DEFAULTS, Instrument, Naive
from tests.oms_desk import INSTRUMENTS, INVERSE, JOURNAL_WORDS, PERPETUAL, SPOT, UNIT, Desk

pytestmark = pytest.mark.slow

EVENTS = int(os.environ.get("OMS_MODEL_EVENTS", "20000"))
SEED = int(os.environ.get("OMS_MODEL_SEED", "1"))
LOOK_EVERY = int(os.environ.get("OMS_MODEL_LOOK", "40"))
"""Events between two comparisons of everything; what an event is about is compared each time."""
INTENTS = int(os.environ.get("OMS_MODEL_INTENTS", "50000"))
START = 1_800_000_000 * 10**9
PRICE = 50_000_00
WORTH = {b"USDT": UNIT, b"USD": UNIT, b"BTC": 50_000 * UNIT}
NUMBERS = (SPOT, PERPETUAL, INVERSE)
STEPS = {SPOT: 5 * 10**8, PERPETUAL: 5 * 10**8, INVERSE: 100 * UNIT}
ORDER_FIELDS = ("price", "quantity", "filled", "traded", "value", "fills", "exchange_ns")
ORDER_FIELDS += ("worst_price", "worst_quantity")
POSITION_FIELDS = ("quantity", "cost", "realized", "fees", "funding", "fills", "bought", "sold")
NOT_REPLAYED = ("mark_price", "unrealized", "worst_money", "long_money", "short_money")
NOT_REPLAYED += ("result_money", "version")
PER_MILLE = (
    ("new", 330),
    ("amend", 110),
    ("cancel", 90),
    ("cancel_all", 4),
    ("venue", 250),
    ("deliver", 280),
    ("market", 60),
    ("limit", 14),
    ("state", 6),
    ("day", 2),
    ("keep_up", 12),
    ("balance", 6),
    ("nonsense", 15),
    ("resolve", 4),
    ("others", 10),
)


# -- the exchange ----------------------------------------------------------------------------------
class Exchange:
    """Takes requests, and tells of what became of them whenever it likes."""

    def __init__(self, dice):
        self.dice = dice
        self.orders = {}
        self.requests = []
        self.mail = deque()
        self.trades = self.foreign = 0
        self.clock = START

    def tell(self, kind, order, **fields):
        self.clock += 1
        report = REPORT_DEFAULTS | {
            "kind": kind,
            "client_id": order["client_id"],
            "instrument": order["instrument"],
            "exchange_ns": self.clock,
        }
        if order["client_id"] < 0:
            report |= {name: order[name] for name in ("side", "price", "quantity")}
            report["flags"] = int(ReportFlag.EXTERNAL)
        self.mail.append(report | fields)
        if self.dice.random() < 0.06:
            self.mail.append(report | fields)

    def act(self):
        """Answer a request, or let something happen to an order."""
        dice = self.dice
        if self.requests and dice.random() < 0.7:
            place = 0 if dice.random() < 0.8 else dice.randrange(len(self.requests))
            self._answer(self.requests.pop(place))
            return
        live = [order for order in self.orders.values() if order["live"]]
        if live:
            order = dice.choice(live)
            if dice.random() < 0.8:
                self._trade(order)
            else:
                self._end(order, dice.choice((ReportKind.CANCELED, ReportKind.EXPIRED)))

    def _answer(self, request):
        dice = self.dice
        action, client = int(request["action"]), int(request["client_id"])
        known = {"action": action, "request_id": int(request["request_id"])}
        order = self.orders.get(client) or {
            "client_id": client,
            "instrument": int(request["instrument"]),
            "live": False,
            "filled": 0,
            "quantity": 0,
            "price": 0,
        }
        luck = dice.random()
        if luck < 0.04:
            self.tell(ReportKind.NOT_SENT, order, **known)
            return
        if dice.random() < 0.6:
            self.tell(ReportKind.SENT, order, exchange_ns=0, **known)
        if luck < 0.12:
            self.tell(ReportKind.UNKNOWN, order, exchange_ns=0, **known)
            if dice.random() < 0.5:
                return
        if action == Action.NEW:
            self._place(request, known)
        elif action == Action.CANCEL:
            self._cancel(order, known)
        elif action == Action.AMEND:
            self._amend(order, request, known)
        else:
            self._tell_of(order, known)

    def _place(self, request, known):
        dice, client = self.dice, int(request["client_id"])
        order = {name: int(request[name]) for name in ("instrument", "side", "price", "quantity")}
        order |= {"client_id": client, "filled": 0, "live": True}
        self.orders[client] = order
        if dice.random() < 0.1:
            order["live"] = False
            self.tell(ReportKind.REJECTED, order, reason=10, **known)
            return
        if dice.random() < 0.7:
            self.tell(ReportKind.ACCEPTED, order, **known)
        if request["order_type"] >= OrderType.STOP_MARKET and dice.random() < 0.5:
            self.tell(ReportKind.TRIGGERED, order)
        passing = request["time_in_force"] in (TimeInForce.IOC, TimeInForce.FOK)
        if not passing and dice.random() < 0.9:
            self.tell(ReportKind.OPEN, order, price=order["price"], quantity=order["quantity"])
        if passing or dice.random() < 0.1:
            self._trade(order)
        if passing and order["live"]:
            self._end(order, ReportKind.EXPIRED)

    def _cancel(self, order, known):
        if order["live"] and self.dice.random() < 0.9:
            if self.dice.random() < 0.3:
                self.tell(ReportKind.CANCEL_ACCEPTED, order, **known)
            self._end(order, ReportKind.CANCELED)
        else:
            self.tell(ReportKind.CANCEL_REJECTED, order, **known)

    def _amend(self, order, request, known):
        if not order["live"] or self.dice.random() < 0.15:
            self.tell(ReportKind.AMEND_REJECTED, order, **known)
            return
        order["price"] = int(request["price"]) or order["price"]
        if request["quantity"] <= order["filled"]:
            self._end(order, ReportKind.CANCELED)
            return
        order["quantity"] = int(request["quantity"])
        if self.dice.random() < 0.3:
            known = {"action": 0, "request_id": 0}
        terms = {"price": order["price"], "quantity": order["quantity"]}
        self.tell(ReportKind.AMENDED, order, **terms, **known)

    def _tell_of(self, order, known):
        if not order["quantity"]:
            self.tell(ReportKind.NOT_FOUND, order, **known)
            return
        filled = order["filled"]
        status = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.OPEN
        if not order["live"]:
            status = OrderStatus.FILLED if filled >= order["quantity"] else OrderStatus.CANCELED
        terms = {"price": order["price"], "quantity": order["quantity"], "filled": filled}
        flags = ReportFlag.RECONCILED
        self.tell(ReportKind.STATUS, order, status=status, flags=flags, **terms, **known)

    def _trade(self, order):
        left = order["quantity"] - order["filled"]
        if left <= 0:
            return
        quantity = left if self.dice.random() < 0.4 else self.dice.randint(1, left)
        order["filled"] += quantity
        order["live"] = order["filled"] < order["quantity"]
        self.trades += 1
        if self.dice.random() < 0.05:
            self.tell(ReportKind.OPEN, order, filled=order["filled"])  # Its trade comes later.
        self.tell(
            ReportKind.FILL,
            order,
            last_price=order["price"] or PRICE,
            last_quantity=quantity,
            filled=order["filled"],
            quantity=order["quantity"] if self.dice.random() < 0.9 else 0,
            trade_id=self.trades,
            fee=self.dice.choice((0, 17, -3)),
        )

    def _end(self, order, kind):
        order["live"] = False
        filled = order["filled"] if self.dice.random() < 0.8 else 0
        self.tell(kind, order, filled=filled)

    def others(self):
        """Let somebody else place an order."""
        self.foreign -= 1
        order = {
            "client_id": self.foreign,
            "instrument": self.dice.choice(NUMBERS),
            "side": self.dice.choice((1, -1)),
            "price": PRICE,
            "quantity": self.dice.randint(1, 30),
            "filled": 0,
            "live": True,
        }
        self.orders[self.foreign] = order
        self.tell(ReportKind.OPEN, order)

    def forget(self, clients):
        """Say nothing of some orders any more."""
        for client in clients:
            self.orders.pop(client, None)
        self.mail = deque(each for each in self.mail if each["client_id"] not in clients)
        self.requests = [each for each in self.requests if int(each["client_id"]) not in clients]


# -- both ------------------------------------------------------------------------------------------
class Both:
    """A desk, the naive OMS and a replay, and whatever happens to all of them."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.desk = Desk(clock=START)
        self.copy = Desk(ready=False, clock=START)
        terms = {number: Instrument.of(row) for number, row in enumerate(INSTRUMENTS)}
        told = {b"USDT": 10**6 * UNIT, b"BTC": 100 * UNIT, b"USD": 0}
        self.naive = Naive(terms, WORTH, told)
        self.naive.now = START
        for number in NUMBERS:
            self.naive.top(number, PRICE, PRICE + 10)
        self.exchange = Exchange(self.dice)
        self.numbers = 0
        self.passed = self.refused = 0
        self.reasons = set()

    # -- events --
    def event(self):
        what = self.dice.choices(*zip(*PER_MILLE, strict=True))[0]
        gap = self.dice.choice((0, 1, 100, 10_000, 10_000_000))
        self.desk.wait(gap)
        self.naive.now = self.desk.now()
        getattr(self, f"on_{what}")()
        self._collect()

    def _collect(self):
        self.exchange.requests += self.desk.asked()
        if self.desk.state.control[C_JOURNAL_AT] > JOURNAL_WORDS - 50_000:
            self.check_replay()

    def _price(self):
        return PRICE + 10 * self.dice.randint(-12, 12)

    def on_new(self):
        dice = self.dice
        self.numbers += 1
        kind = dice.choices((1, 2, 3, 4), (10, 80, 4, 6))[0]
        intent = INTENT_DEFAULTS | {
            "number": self.numbers if dice.random() < 0.99 else dice.randint(0, self.numbers),
            "strategy": dice.choice((1, 1, 2)),
            "instrument": dice.choice(NUMBERS) if dice.random() < 0.99 else 6,
            "side": dice.choice((1, -1)),
            "order_type": kind,
            "price": self._price() if kind in (2, 4) else 0,
            "quantity": dice.choice((1, 2, 5, 10, 10, 30, 100)),
            "stop_price": self._price() if kind > 2 else 0,
            "time_in_force": dice.choice((1, 1, 1, 2, 3, 5)) if kind == 2 else 1,
            "created_ns": self.naive.now - dice.choice((0, 100, 10**6)),
        }
        if dice.random() < 0.08:
            intent["flags"] = int(RequestFlag.REDUCE_ONLY)
        if dice.random() < 0.02:
            intent["deadline_ns"] = self.naive.now + dice.choice((-1, 0, 1))
        if dice.random() < 0.02:
            intent["price"] += dice.choice((1, -PRICE, 10**12))
        if dice.random() < 0.02:
            intent["time_in_force"] = dice.randint(1, 5)
        reasons, order = self.naive.judge_new(intent)
        self._decide(intent, reasons)
        if self.last["kind"] == UpdateKind.ROUTED:
            self.naive.place(order, int(self.last["client_id"]), self._request())
        elif order is not None or Deny.MARKET_STALE in reasons:
            self.naive.refuse(intent)

    def on_amend(self):
        order = self._some_order()
        if order is None:
            return
        dice = self.dice
        intent = INTENT_DEFAULTS | {
            "action": IntentAction.AMEND,
            "number": order.number,
            "strategy": order.strategy,
            "price": dice.choice((0, self._price(), self._price(), order.price)),
            "quantity": dice.choice((0, order.quantity, 1, 5, 20, 40, order.filled + 1)),
            "created_ns": self.naive.now - dice.choice((0, 100, 10**6)),
        }
        reasons, wanted = self.naive.judge_amend(intent)
        self._decide(intent, reasons)
        if self.last["kind"] == UpdateKind.ROUTED:
            self.naive.amend(wanted, self._request())

    def on_cancel(self):
        order = self._some_order()
        if order is None:
            return
        intent = INTENT_DEFAULTS | {"action": IntentAction.CANCEL, "number": order.number}
        intent |= {"strategy": order.strategy}
        reasons, order = self.naive.judge_cancel(order.strategy, order.number)
        self._decide(intent, reasons)
        if self.last["kind"] == UpdateKind.ROUTED:
            self.naive.cancel(order, self._request())

    def on_cancel_all(self):
        strategy, number = self.dice.choice((1, 2)), self.dice.choice((-1, *NUMBERS))
        self.desk.intent(IntentAction.CANCEL_ALL, 0, number, strategy)
        self._swept(
            self.naive.swept(
                lambda order: order.strategy == strategy and number in (-1, order.instrument)
            )
        )

    def _swept(self, expected):
        """Take note of the cancellations that the desk asked for."""
        asked = self.desk.asked()
        self.exchange.requests += asked
        found = {int(r["client_id"]): int(r["request_id"]) for r in asked}
        assert all(request["action"] == Action.CANCEL for request in asked)
        assert found.keys() == {order.client_id for order in expected}
        for order in expected:
            self.naive.cancel(order, found[order.client_id])

    def _some_order(self):
        own = [order for order in self.naive.orders.values() if order.strategy]
        live = [order for order in own if not order.ended]
        pool = live if live and self.dice.random() < 0.9 else own
        return self.dice.choice(pool) if pool else None

    def _decide(self, intent, reasons):
        fields = {n: v for n, v in intent.items() if n not in ("number", "instrument", "strategy")}
        action = fields.pop("action")
        updates = self.desk.intent(
            action, intent["number"], intent["instrument"], intent["strategy"], **fields
        )
        self.last = updates[-1]
        if self.last["kind"] == UpdateKind.DENIED:
            reason = Deny(int(self.last["reason"]))
            assert reason in reasons, f"{reason!r}, not one of {reasons}: {intent}"
            self.refused += 1
            self.reasons.add(reason)
        else:
            assert self.last["kind"] == UpdateKind.ROUTED
            assert not reasons, f"passed in spite of {reasons}: {intent}"
            self.passed += 1

    def _request(self):
        """Return the number of the request that the last decision led to."""
        requests = self.desk.asked()
        self.exchange.requests += requests
        return int(requests[-1]["request_id"])

    def on_venue(self):
        self.exchange.act()

    def on_others(self):
        self.exchange.others()

    def on_deliver(self):
        mail, dice = self.exchange.mail, self.dice
        if not mail:
            return
        if dice.random() < 0.15:
            mail.rotate(-dice.randrange(len(mail)))
        self._report(mail.popleft())

    def on_nonsense(self):
        """Have the exchange say of an order what it likes."""
        if not self.naive.orders:
            return
        dice = self.dice
        order = dice.choice(list(self.naive.orders.values()))
        kinds = [kind for kind in ReportKind if kind <= ReportKind.NOT_FOUND]
        self._report(
            REPORT_DEFAULTS
            | {
                "kind": dice.choice(kinds),
                "client_id": order.client_id,
                "instrument": order.instrument,
                "action": dice.choice((0, 1, 2, 3)),
                "request_id": dice.choice(
                    (0, order.request, order.amend_request, order.cancel_request)
                ),
                "status": dice.randint(0, 8),
                "flags": dice.choice((0, ReportFlag.RECONCILED)),
                "price": dice.choice((0, self._price())),
                "quantity": dice.choice((0, order.quantity, dice.randint(1, 60))),
                "filled": dice.choice((0, 0, order.filled, dice.randint(0, order.quantity + 5))),
                "last_price": self._price(),
                "last_quantity": dice.randint(0, 8),
                "trade_id": dice.randint(1, 2 * self.exchange.trades + 2),
                "exchange_ns": self.exchange.clock - dice.choice((0, 5, 50)),
            }
        )

    def _report(self, report):
        fields = dict(report)
        kind, fee = fields.pop("kind"), fields["fee"]
        if fee:
            fields |= {"asset": b"USDT", "decimals": 8}
        self.desk.report(kind, **fields)
        self.naive.report(report)
        if report["client_id"] in self.naive.orders:
            self.compare_order(self.naive.orders[report["client_id"]])

    def on_balance(self):
        asset = self.dice.choice((b"USDT", b"BTC"))
        told = self.dice.randint(0, 3000 * UNIT if asset == b"USDT" else UNIT // 20)
        self.desk.report(ReportKind.BALANCE, asset=asset, quantity=told, decimals=8)
        self.naive.balance(asset, told)

    def on_market(self):
        dice, number = self.dice, self.dice.choice(NUMBERS)
        luck, price = dice.random(), self._price()
        if luck < 0.7:
            ask = price + dice.choice((1, 10, 30))
            self.desk.top(number, price, ask)
            self.naive.top(number, price, ask)
        elif luck < 0.9 and number != SPOT:
            self.desk.mark(number, price)
            self.naive.mark(number, price)
        elif luck > 0.95:
            self.desk.top(number, 0, 0)
            self.naive.no_top(number)

    def _scope(self):
        dice = self.dice
        kind = ScopeKind(dice.randint(1, 5))
        mine = kind in (ScopeKind.STRATEGY, ScopeKind.STRATEGY_INSTRUMENT)
        strategy = dice.choice((1, 2)) if mine else -1
        by_instrument = kind in (ScopeKind.ACCOUNT_INSTRUMENT, ScopeKind.STRATEGY_INSTRUMENT)
        number = dice.choice(NUMBERS) if by_instrument else -1
        account = -1 if kind in (ScopeKind.FIRM, ScopeKind.STRATEGY) else 0
        fields = {"account": account, "strategy": strategy, "instrument": number}
        return (kind, strategy, number), fields

    def on_limit(self):
        key, fields = self._scope()
        name = self.dice.choice(LIMIT_NAMES)
        step = STEPS.get(key[2], 5 * 10**8)
        value = self.dice.choice(
            {
                "order_quantity": (30, 100),
                "order_notional": (10 * step, 100 * step),
                "position": (50, 200, 500),
                "open_orders": (5, 20),
                "open_notional": (50 * step, 300 * step),
                "gross_notional": (300 * step, 2000 * step),
                "net_notional": (100 * step, 500 * step),
                "leverage": (1, 10, 100),
                "rate_period": (0, 10**5, 10**9),
                "daily_loss": (10**6, 10**8),
                "drawdown": (10**6, 10**8),
                "rejects": (1, 5),
                "fill_rate": (2, 20),
                "collar": (10, 100, 1000),
                "band": (10, 100, 1000),
                "slippage": (0, 100, 1000),
                "duplicate_window": (100, 10**7),
                "intent_age": (99, 100, 10**6),
                "market_age": (10**7, 10**9),
                "unknowns": (1, 5),
                "clock_offset": (0, 1),
            }.get(name, (1, 5, 50))
        )
        value = value if self.dice.random() < 0.4 else -1
        self.desk.limit(name, value, key[0], **fields)
        self.naive.limit(key, LIMIT_NAMES.index(name), value)

    def on_state(self):
        key, fields = self._scope()
        value = self.dice.choice((0, 0, 1, 2, 3))
        self.desk.command(CommandKind.STATE, key[0], value=value, **fields)
        self._swept(self.naive.state(key, value))
        if self.dice.random() < 0.7:  # Not for long, or nothing would happen any more.
            self.desk.command(CommandKind.STATE, key[0], value=0, **fields)
            self.naive.state(key, 0)

    def relax(self):
        """Have an operator take all states back, and limits now and then."""
        limits = self.dice.random() < 0.6
        for key, scope in self.naive.scopes.items():
            kind, strategy, number = key
            account = -1 if kind in (ScopeKind.FIRM, ScopeKind.STRATEGY) else 0
            fields = {"account": account, "strategy": strategy, "instrument": number}
            for name in [n for n, value in scope.limits.items() if limits and value >= 0]:
                self.desk.limit(name, -1, kind, **fields)
                self.naive.limit(key, LIMIT_NAMES.index(name), -1)
            if scope.state:
                self.desk.command(CommandKind.STATE, kind, value=0, **fields)
                self.naive.state(key, 0)

    def on_day(self):
        self.desk.command(CommandKind.DAY)
        self.naive.new_day()
        self.relax()

    def on_keep_up(self):
        self.desk.keep_up()
        self.desk.run()
        self._swept(self.naive.keep_up())

    def on_resolve(self):
        unsure = (OrderState.UNKNOWN, OrderState.LOST)
        orders = [order for order in self.naive.orders.values() if order.state in unsure]
        if orders:
            order = self.dice.choice(orders)
            self.desk.command(CommandKind.RESOLVE, client_id=order.client_id)
            self.naive.resolve(order)

    # -- comparing --
    def compare_order(self, order):
        orders = self.desk.state.orders.view(ORDER.dtype)
        if order.client_id > 0:
            found = orders[order.client_id & (SLOTS - 1)]
        else:
            others = orders[SLOTS : SLOTS + FOREIGN]
            found = others[np.flatnonzero(others["client_id"] == order.client_id)[0]]
        assert found["client_id"] == order.client_id
        assert OrderState(int(found["state"])) is order.state
        pending = order.amending * Pending.AMEND | order.cancelling * Pending.CANCEL
        assert found["pending"] == pending
        for name in ORDER_FIELDS:
            assert found[name] == getattr(order, name), name
        assert found["reserved_quantity"] == order.left
        assert found["reserved_money"] == order.money

    def compare(self):
        """Compare all that there is."""
        for order in self.naive.orders.values():
            self.compare_order(order)
        count = int(self.desk.state.control[C_POSITION_COUNT])
        rows = self.desk.state.positions.view(POSITION.dtype)[:count]
        assert len(rows) == len(self.naive.positions)
        for row in rows:
            self._compare_position(row)
        for key in self.naive.scopes:
            self._compare_scope(key)
        for row in self.desk.state.balances.view(BALANCE.dtype):
            if row["asset"]:
                told, changed = self.naive.balances[bytes(row["asset"])]
                assert (row["total"], row["changed"]) == (told, changed)
                assert row["reserved"] == self.naive.reserved(bytes(row["asset"]))

    def _compare_position(self, row):
        place = int(row["strategy"]), int(row["instrument"])
        position = self.naive.positions[place]
        for name in POSITION_FIELDS:
            assert row[name] == getattr(position, name), (place, name)
        assert row["open_buy"] == self.naive.open_quantity(place, 1)
        assert row["open_sell"] == self.naive.open_quantity(place, -1)
        monies = tuple(int(row[name]) for name in ("worst_money", "long_money", "short_money"))
        assert monies == self.naive.monies(place)
        assert row["result_money"] == self.naive.result(place)

    def _compare_scope(self, key):
        kind, strategy, number = key
        account = -1 if kind in (ScopeKind.FIRM, ScopeKind.STRATEGY) else 0
        found = self.desk.scope(kind, account=account, strategy=strategy, instrument=number)
        scope = self.naive.scopes[key]
        for name, value in self.naive.use(key).items():
            assert found[name] == value, (key, name)
        assert found["state"] == scope.state
        for name in ("rejects", "sent", "denied", "fills"):
            assert found[name] == getattr(scope, name), (key, name)
        assert (found["day_money"], found["peak_money"]) == (scope.day, scope.peak), key

    def check_replay(self):
        """Replay the chunk on the copy, compare, and begin the chunk again."""
        state, copy = self.desk.state, self.copy.state
        frozen = self.desk.journal[: state.control[C_JOURNAL_AT]].copy()
        frozen.flags.writeable = False
        copy.control[C_REPLAY] = 1
        assert replay(copy, frozen, 0, 0) == len(frozen)
        copy.control[C_REPLAY] = 0
        self.desk.journal[:] = 0
        state.control[C_JOURNAL_AT] = 0
        self._same(ORDER, state.orders, copy.orders, SLOTS + FOREIGN, ("version",))
        count = int(state.control[C_POSITION_COUNT])
        assert count == copy.control[C_POSITION_COUNT]
        scopes = int(state.control[C_SCOPE_COUNT])
        self._same(POSITION, state.positions, copy.positions, count, NOT_REPLAYED)
        self._same(BALANCE, state.balances, copy.balances, 16, ("version",))
        for one, two in ((state.marks, copy.marks), (state.times, copy.times)):
            # All rates but that of fills, which is of the last second only.
            one, two = (each.reshape(SCOPES, RATES, -1)[:, :FILLS] for each in (one, two))
            assert np.array_equal(one[:scopes], two[:scopes])

    @staticmethod
    def _same(layout, first, second, count, without):
        one, two = first.view(layout.dtype)[:count], second.view(layout.dtype)[:count]
        for name in layout.dtype.names:
            if name not in without:
                different = np.flatnonzero(one[name] != two[name])
                assert len(different) == 0, (name, different[:5])

    def tidy(self):
        """Forget old orders: a sum over all of them is made at each event."""
        ended = [o for o in self.naive.orders.values() if o.ended and not o.left]
        clients = {order.client_id for order in ended[:-150]}
        for client in clients:
            del self.naive.orders[client]
        self.exchange.forget(clients)


@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("part", range(4))
def test_the_loop_does_what_a_slow_one_does(part):
    both = Both(f"{SEED} {part}")
    for event in range(EVENTS // 4):
        both.event()
        if event % LOOK_EVERY == 0:
            both.compare()
        if event % 200 == 0:
            both.tidy()
        if event % 300 == 299:
            both.relax()
    both.compare()
    both.check_replay()
    assert both.passed > EVENTS // 40
    assert both.refused > EVENTS // 40
    assert len(both.reasons) > 15


# -- limits ----------------------------------------------------------------------------------------
BATCH = 256
PERIOD_NS = 2 * 10**6
LIMITS = (
    ("gross_notional", 3000 * 5 * 10**8, ScopeKind.FIRM, {}),
    ("open_notional", 4000 * 5 * 10**8, ScopeKind.FIRM, {}),
    ("order_notional", 100 * 5 * 10**8, ScopeKind.FIRM, {}),
    ("open_orders", 200, ScopeKind.FIRM, {}),
    ("order_rate", 100, ScopeKind.FIRM, {}),
    ("amend_rate", 30, ScopeKind.FIRM, {}),
    ("cancel_rate", 60, ScopeKind.FIRM, {}),
    ("rate_period", PERIOD_NS, ScopeKind.FIRM, {}),
    ("net_notional", 800 * 5 * 10**8, ScopeKind.STRATEGY, {"strategy": 1}),
    ("open_orders", 100, ScopeKind.STRATEGY, {"strategy": 2}),
    (
        "position",
        500,
        ScopeKind.STRATEGY_INSTRUMENT,
        {"account": 0, "strategy": 1, "instrument": PERPETUAL},
    ),
    ("position", 900, ScopeKind.ACCOUNT_INSTRUMENT, {"account": 0, "instrument": PERPETUAL}),
    ("position", 600, ScopeKind.ACCOUNT_INSTRUMENT, {"account": 0, "instrument": SPOT}),
)
MIDDLE = PRICE + 5
"""What positions are valued at: the books do not move."""


class Ledger:
    """What could come of all requests that were let pass: kept apart from the OMS, and checked."""

    def __init__(self):
        self.orders = {}
        self.positions = {}
        self.most = dict.fromkeys(("open", "money", "gross"), 0)

    def __len__(self):
        return len(self.orders)

    def reach(self, place):
        """Return the highest and the lowest position that a place can come to."""
        found = self.positions.setdefault(place, [0, 0, 0])
        return found[0] + found[1], found[0] - found[2]

    def change(self, order, most):
        """Let an order trade so much in all from now on, at most."""
        left = max(0, most - order["filled"])
        by = left - order["left"]
        order["left"] = left
        for place in order["places"]:
            self.reach(place)
            self.positions[place][1 if order["side"] > 0 else 2] += by

    def trade(self, order, quantity):
        for place in order["places"]:
            self.positions[place][0] += order["side"] * quantity
            self.positions[place][1 if order["side"] > 0 else 2] -= quantity
        order["left"] -= quantity
        order["filled"] += quantity

    def check(self):
        """Check every limit against what could come of all that is known here."""
        orders = self.orders.values()
        assert len(orders) <= 200
        assert sum(order["strategy"] == 2 for order in orders) <= 100
        money = sum(worth(order["instrument"], order["highest"], order["left"]) for order in orders)
        assert money <= 4000 * 5 * 10**8
        gross = 0
        for strategy, number in self.positions:
            if strategy == 0:
                up, down = self.reach((0, number))
                gross += worth(number, MIDDLE, max(abs(up), abs(down)))
        assert gross <= 3000 * 5 * 10**8
        for place, most in (((1, PERPETUAL), 500), ((0, PERPETUAL), 900), ((0, SPOT), 600)):
            up, down = self.reach(place)
            assert -most <= down <= up <= most, place
        ups, downs = zip(*(self.reach((1, number)) for number in NUMBERS), strict=True)
        for side in (ups, downs):
            net = sum(worth(n, MIDDLE, each) for n, each in zip(NUMBERS, side, strict=True))
            assert abs(net) <= 800 * 5 * 10**8
        for name, value in (("open", len(orders)), ("money", money), ("gross", gross)):
            self.most[name] = max(self.most[name], value)


def worth(number, price, quantity):
    return quantity * (100 * UNIT if number == INVERSE else price * 100)


class Crowd:
    """Random intents in batches, and an exchange that does with them what it likes, later."""

    def __init__(self, seed):
        self.desk = Desk()
        self.dice = np.random.default_rng(seed)
        self.luck = random.Random(seed)
        self.ledger = Ledger()
        self.numbers = {1: 0, 2: 0}
        self.requests, self.mail = [], []
        self.looked = 1
        self.trades = 0
        self.times = {action: [] for action in (Action.NEW, Action.AMEND, Action.CANCEL)}
        self.denied = 0
        for name, value, scope, key in LIMITS:
            self.desk.limit(name, value, scope, **key)
        for asset in (b"USDT", b"BTC"):
            self.desk.balance(asset, 10**9)
        self.desk.asked()

    def intents(self, strategy):
        """Publish a batch of a strategy's intents."""
        dice, first = self.dice, self.numbers[strategy] + 1
        records = np.zeros(BATCH, INTENT.dtype)
        action = dice.choice((1, 1, 1, 2, 3), BATCH)
        records["action"] = action
        new = action == IntentAction.NEW
        numbers = first + np.cumsum(new) - 1
        back = dice.integers(0, 60, BATCH)
        records["number"] = np.where(new, numbers, np.maximum(1, numbers - back))
        self.numbers[strategy] = int(numbers[-1])
        records["instrument"] = dice.choice(NUMBERS, BATCH)
        records["account"] = -1
        # Apart from each other: what would meet an order of our own is not what is tried here.
        side = dice.choice((1, -1), BATCH)
        records["side"] = side
        records["price"] = PRICE - side * 10 * dice.integers(1, 40, BATCH)
        records["quantity"] = dice.choice((1, 5, 20, 60, 120), BATCH)
        records["order_type"], records["time_in_force"] = OrderType.LIMIT, TimeInForce.GTC
        records["created_ns"] = time.time_ns()
        for record in records:
            self.desk.intents[strategy].publish(record)

    def read_journal(self):
        """Take in the decisions that passed, in their order, into the ledger."""
        journal, control = self.desk.journal, self.desk.state.control
        asked = {int(request["request_id"]): request for request in self.desk.asked()}
        at, end = 0, int(control[C_JOURNAL_AT])
        while at < end:
            head = int(journal[at])
            if (head >> 40) & 0xFF == Record.DECISION:
                words = journal[at + JOURNAL_HEAD : at + JOURNAL_HEAD + DECISION_WORDS]
                if words[D_REASON]:
                    self.denied += 1
                else:
                    request = asked[int(words[D_REQUEST])]
                    self.times[int(request["action"])].append(int(journal[at + 2]))
                    self.passed(request, int(words[D_STRATEGY]))
            at += head & 0xFFFFFFFF
        journal[:end] = 0
        control[C_JOURNAL_AT] = 0

    def passed(self, request, strategy):
        self.requests.append(request)
        client, price = int(request["client_id"]), int(request["price"])
        quantity = int(request["quantity"])
        if request["action"] == Action.NEW:
            number = int(request["instrument"])
            order = {
                "client_id": client,
                "strategy": strategy,
                "instrument": number,
                "places": ((0, number), (strategy, number)),
                "side": int(request["side"]),
                "quantity": quantity,
                "filled": 0,
                "left": 0,
                "live": False,
                "highest": price,
                "waiting": [quantity],
            }
            self.ledger.orders[client] = order
            self.ledger.change(order, quantity)
        elif request["action"] == Action.AMEND and client in self.ledger.orders:
            order = self.ledger.orders[client]
            order["waiting"].append(quantity)
            order["highest"] = max(order["highest"], price)
            self.ledger.change(order, max(order["quantity"], *order["waiting"]))
        self.ledger.check()

    def tell(self, order, kind, request=None, **fields):
        fields |= {"kind": kind, "client_id": order["client_id"]}
        if request is not None:
            fields |= {"action": int(request["action"]), "request_id": int(request["request_id"])}
        self.mail.append(fields | {"instrument": order["instrument"]})

    def act(self):
        """Let the exchange answer most requests, and trade."""
        luck, waiting, self.requests = self.luck, self.requests, []
        blocked = set()
        for request in waiting:
            client = int(request["client_id"])
            if luck.random() < 0.3 or client in blocked:
                blocked.add(client)  # Of one order one after another.
                self.requests.append(request)
                continue
            order = self.ledger.orders.get(client)
            if order is not None:
                self.answer(order, request)
        for order in luck.sample(list(self.ledger.orders.values()), len(self.ledger) // 8):
            if order["live"]:
                self.trade(order)

    def answer(self, order, request):
        luck, action = self.luck, request["action"]
        if luck.random() < 0.1:
            self.tell(order, ReportKind.UNKNOWN, request)
        if action == Action.NEW:
            order["waiting"].remove(int(request["quantity"]))
            if luck.random() < 0.1:
                self.end(order, ReportKind.REJECTED, request)
                return
            order["live"] = True
            terms = {"price": int(request["price"]), "quantity": order["quantity"]}
            self.tell(order, ReportKind.OPEN, request, **terms)
        elif action == Action.AMEND:
            quantity = int(request["quantity"])
            order["waiting"].remove(quantity)
            if luck.random() < 0.2 or quantity <= order["filled"]:
                self.tell(order, ReportKind.AMEND_REJECTED, request)
            else:
                order["quantity"] = quantity
                terms = {"price": int(request["price"]), "quantity": quantity}
                self.tell(order, ReportKind.AMENDED, request, **terms)
            self.ledger.change(order, max(order["quantity"], *order["waiting"], 0))
        elif luck.random() < 0.8:
            self.end(order, ReportKind.CANCELED)
        else:
            self.tell(order, ReportKind.CANCEL_REJECTED, request)

    def end(self, order, kind, request=None):
        self.tell(order, kind, request, filled=order["filled"])
        self.ledger.change(order, 0)
        del self.ledger.orders[order["client_id"]]

    def trade(self, order):
        left = order["quantity"] - order["filled"]
        if left <= 0:
            return
        quantity = self.luck.randint(1, left)
        self.ledger.trade(order, quantity)
        self.trades += 1
        self.tell(
            order,
            ReportKind.FILL,
            last_quantity=quantity,
            last_price=PRICE,
            trade_id=self.trades,
            filled=order["filled"],
            quantity=order["quantity"],
        )
        if quantity == left:
            self.ledger.change(order, 0)
            del self.ledger.orders[order["client_id"]]

    def deliver(self):
        """Publish what the exchange has told, but for some of the last."""
        kept = self.luck.randint(0, 20)
        told, self.mail = self.mail[: len(self.mail) - kept], self.mail[len(self.mail) - kept :]
        told = told[:800]
        records = np.zeros(1, REPORT.dtype)
        for fields in told:
            records[:] = 0
            for name, value in fields.items():
                records[name] = value
            self.desk.reports[0].publish(records[0])
        self.desk.run()
        return len(told)


@pytest.mark.timeout(24 * 3600)
def test_no_limit_is_ever_exceeded():
    crowd = Crowd(SEED)
    for turn in range(-(-INTENTS // BATCH)):
        crowd.intents(1 + turn % 2)
        crowd.desk.run()
        crowd.read_journal()
        crowd.act()
        crowd.ledger.check()
        crowd.deliver()
        crowd.read_journal()
    for action, most in ((Action.NEW, 100), (Action.AMEND, 30), (Action.CANCEL, 60)):
        times = np.array(crowd.times[action])
        assert len(times) > most
        assert np.all(times[most:] - times[:-most] >= PERIOD_NS)
    assert crowd.denied > INTENTS // 10
    if INTENTS < 50_000:
        return  # Too few to come to all limits.
    assert crowd.ledger.most["open"] == 200
    assert crowd.ledger.most["money"] > 3000 * 5 * 10**8
    assert crowd.ledger.most["gross"] > 2500 * 5 * 10**8
