"""Looking at an OMS from outside, and giving it orders: what ``trade-infra risk`` is made of."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from engine.errors import NotFound, SegmentError, SegmentNotFound, TradeInfraError, WriterExists
from engine.flow import FlowWriter
from engine.layout import Layout
from engine.ring import RingReader
from engine.segment import list_segments
from engine.table import TableReader
from feeds.types import INSTRUMENT
from gateways.client import GATEWAY_READER, REQUESTS_CAPACITY, requests_ring
from gateways.types import REPORT, REQUEST, Action, ReportKind, RequestFlag
from oms.settings import check_scope, limit_text, limit_value
from oms.types import (
    COMMAND,
    LIMIT_NAMES,
    MONEY_DECIMALS,
    NAME,
    ORDER,
    POSITION,
    SCOPE,
    CommandKind,
    OrderState,
    ScopeKind,
    TradingState,
)

COMMANDS_CAPACITY = 256
DONE_S = 5.0
"""How long a command may take to show."""
FLAT_S = 10.0
_USE = (
    "open_orders",
    "open_money",
    "gross_money",
    "long_money",
    "short_money",
    "result_money",
    "unknowns",
    "sent",
    "denied",
    "fills",
)
_NONE = -1


class Control:
    """One look at an OMS' tables, and its ring of commands.

    Raises SegmentNotFound if no OMS has run in the instance.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._tables: dict[str, TableReader] = {}
        wanted = {
            "oms.scopes": SCOPE,
            "oms.names": NAME,
            "oms.orders": ORDER,
            "oms.positions": POSITION,
            "md.instruments": INSTRUMENT,
        }
        try:
            for name, layout in wanted.items():
                self._tables[name] = TableReader.attach(instance, name, layout)
        except SegmentNotFound:
            self.close()
            raise SegmentNotFound(
                f"no OMS has run in instance {instance!r}: --instance names another one"
            ) from None
        names = self._tables["oms.names"].snapshot()
        self.accounts, self.strategies = (
            {bytes(r["name"]).decode(): int(r["number"]) for r in names[names["kind"] == kind]}
            for kind in (ScopeKind.ACCOUNT, ScopeKind.STRATEGY)
        )
        self.instruments = {
            number: row
            for number, row in enumerate(self._tables["md.instruments"].snapshot())
            if row["native"]
        }

    @property
    def alive(self) -> bool:
        """Whether the OMS runs."""
        return self._tables["oms.scopes"].segment.writer_alive

    def table(self, name: str, layout: Layout) -> TableReader | None:
        """Return another table of the instance, which the caller closes; None if there is none."""
        try:
            return TableReader.attach(self._instance, name, layout)
        except SegmentError:
            return None

    def close(self) -> None:
        """Let go of the tables."""
        for table in self._tables.values():
            table.close()

    # -- names ------------------------------------------------------------------------------------
    def key(self, text: str) -> dict[str, int]:
        """Return what a scope is made of: the fields of a command.

        Raises NotFound if there is no such account, strategy or instrument.
        """
        kind, _, rest = text.partition(":")
        fields = dict.fromkeys(("account", "strategy", "instrument"), _NONE)
        if text == "firm":
            return fields | {"scope_kind": ScopeKind.FIRM}
        if kind == "account":
            return fields | {"scope_kind": ScopeKind.ACCOUNT, "account": self._account(rest)}
        if kind == "instrument":
            number = self._instrument(rest)
            account = self._account_of(rest.partition(":")[0])
            return fields | {
                "scope_kind": ScopeKind.ACCOUNT_INSTRUMENT,
                "account": account,
                "instrument": number,
            }
        if kind == "strategy":
            name, _, instrument = rest.partition("/")
            if name not in self.strategies:
                raise NotFound(f"strategy {name!r}: known: {', '.join(self.strategies) or 'none'}")
            fields["strategy"] = self.strategies[name]
            if not instrument:
                return fields | {"scope_kind": ScopeKind.STRATEGY}
            return fields | {
                "scope_kind": ScopeKind.STRATEGY_INSTRUMENT,
                "account": self._account_of(instrument.partition(":")[0]),
                "instrument": self._instrument(instrument),
            }
        raise NotFound(
            f"scope {text!r}: firm, account:NAME, strategy:NAME, instrument:VENUE:SYMBOL or "
            "strategy:NAME/VENUE:SYMBOL"
        )

    def _account(self, name: str) -> int:
        if name not in self.accounts:
            raise NotFound(f"account {name!r}: known: {', '.join(self.accounts) or 'none'}")
        return self.accounts[name]

    def _account_of(self, venue: str) -> int:
        """Return the account that trades on a venue, as the scopes of instruments tell."""
        scopes = self._tables["oms.scopes"].segment.records()
        for scope in scopes[scopes["kind"] == ScopeKind.ACCOUNT_INSTRUMENT]:
            row = self.instruments.get(int(scope["instrument"]))
            if row is not None and bytes(row["venue"]).decode() == venue:
                return int(scope["account"])
        if len(self.accounts) == 1:
            return next(iter(self.accounts.values()))
        raise NotFound(f"no account has traded on {venue!r} yet: limit it in the configuration")

    def _instrument(self, text: str) -> int:
        venue, _, symbol = text.partition(":")
        for number, row in self.instruments.items():
            names = (bytes(row["native"]).decode(), bytes(row["symbol"]).decode())
            if bytes(row["venue"]).decode() == venue and symbol in names:
                return number
        raise NotFound(f"instrument {text!r} is not listed: VENUE:SYMBOL")

    def name_of(self, scope: np.void) -> str:
        """Return a scope as people write it."""
        accounts = {number: name for name, number in self.accounts.items()}
        strategies = {number: name for name, number in self.strategies.items()}
        kind = int(scope["kind"])
        row = self.instruments.get(int(scope["instrument"]))
        native = ""
        if row is not None:
            native = f"{bytes(row['venue']).decode()}:{bytes(row['native']).decode()}"
        strategy = strategies.get(int(scope["strategy"]), "")
        return {
            ScopeKind.FIRM: "firm",
            ScopeKind.ACCOUNT: f"account:{accounts.get(int(scope['account']), '')}",
            ScopeKind.STRATEGY: f"strategy:{strategy}",
            ScopeKind.ACCOUNT_INSTRUMENT: f"instrument:{native}",
            ScopeKind.STRATEGY_INSTRUMENT: f"strategy:{strategy}/{native}",
        }[ScopeKind(kind)]

    # -- looking ----------------------------------------------------------------------------------
    def _scopes(self) -> Iterator[np.void]:
        table = self._tables["oms.scopes"]
        for row in np.flatnonzero(table.segment.records()["kind"] != 0).tolist():
            scope = table.read(row)
            unnamed = (
                scope["kind"] == ScopeKind.ACCOUNT
                and int(scope["account"]) not in self.accounts.values()
            ) or (
                scope["kind"] == ScopeKind.STRATEGY
                and int(scope["strategy"]) not in self.strategies.values()
            )
            if not unnamed:
                yield scope

    def scopes(self) -> Iterator[dict[str, Any]]:
        """Yield each scope: name, state, use (money as decimals), limits that are set."""
        for scope in self._scopes():
            row = self.instruments.get(int(scope["instrument"]))
            decimals = 0 if row is None else int(row["quantity_decimals"])
            yield {
                "scope": self.name_of(scope),
                "state": TradingState(int(scope["state"])).name.lower().replace("_", "-"),
                "use": {
                    name: _money(scope[name]) if name.endswith("_money") else int(scope[name])
                    for name in _USE
                },
                "limits": {
                    name: limit_text(name, int(value), decimals)
                    for name, value in zip(LIMIT_NAMES, scope["limits"], strict=True)
                    if value >= 0
                },
            }

    def _scope(self, key: dict[str, int]) -> np.void | None:
        for scope in self._scopes():
            if scope["kind"] == key["scope_kind"] and all(
                scope[name] == key[name] for name in ("account", "strategy", "instrument")
            ):
                return scope
        return None

    def state_of(self, text: str) -> int:
        """Return a scope's trading state."""
        scope = self._scope(self.key(text))
        return 0 if scope is None else int(scope["state"])

    def orders(self, only_unknown: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the orders that have not ended, as decimals."""
        table = self._tables["oms.orders"]
        states = table.segment.records()["state"]
        live = (states > 0) & ((states < OrderState.FILLED) | (states == OrderState.LOST))
        if only_unknown:
            live &= (states == OrderState.UNKNOWN) | (states == OrderState.LOST)
        strategies = {number: name for name, number in self.strategies.items()}
        for slot in np.flatnonzero(live).tolist():
            order = table.read(slot)
            row = self.instruments.get(int(order["instrument"]))
            if row is None:
                continue
            price, quantity = int(row["price_decimals"]), int(row["quantity_decimals"])
            yield {
                "client_id": int(order["client_id"]),
                "strategy": strategies.get(int(order["strategy"]), ""),
                "number": int(order["number"]),
                "instrument": f"{bytes(row['venue']).decode()}:{bytes(row['native']).decode()}",
                "side": "buy" if order["side"] > 0 else "sell",
                "price": str(Decimal(int(order["price"])).scaleb(-price)),
                "quantity": str(Decimal(int(order["quantity"])).scaleb(-quantity)),
                "filled": str(Decimal(int(order["filled"])).scaleb(-quantity)),
                "state": OrderState(int(order["state"])).name.lower(),
            }

    def positions(self) -> Iterator[dict[str, Any]]:
        """Yield the positions that are not flat, or have ever been traded, as decimals."""
        table = self._tables["oms.positions"]
        strategies = {number: name for name, number in self.strategies.items()}
        accounts = {number: name for name, number in self.accounts.items()}
        for place in np.flatnonzero(table.segment.records()["kind"] != 0).tolist():
            position = table.read(place)
            row = self.instruments.get(int(position["instrument"]))
            if row is None or not (position["quantity"] or position["fills"]):
                continue
            of_account = position["kind"] == ScopeKind.ACCOUNT_INSTRUMENT
            decimals = int(row["quantity_decimals"])
            yield {
                "account": accounts.get(int(position["account"]), ""),
                "strategy": "" if of_account else strategies.get(int(position["strategy"]), ""),
                "instrument": f"{bytes(row['venue']).decode()}:{bytes(row['native']).decode()}",
                "quantity": str(Decimal(int(position["quantity"])).scaleb(-decimals)),
                "venue_quantity": str(Decimal(int(position["venue_quantity"])).scaleb(-decimals))
                if of_account and position["venue_ns"]
                else "",
                "realized": _money(position["realized"]),
                "unrealized": _money(position["unrealized"]),
                "fees": _money(position["fees"]),
                "funding": _money(position["funding"]),
                "result": _money(position["result_money"]),
                "fills": int(position["fills"]),
            }

    # -- ordering ---------------------------------------------------------------------------------
    def _order(self, kind: CommandKind, by: bytes, **fields: Any) -> None:  # noqa: ANN401
        if not self.alive:
            raise TradeInfraError("the OMS is not running: `trade-infra risk kill` needs none")
        record = np.zeros(1, COMMAND.dtype)
        record["created_ns"], record["kind"], record["by"] = time.time_ns(), kind, by
        record["account"] = record["strategy"] = record["instrument"] = _NONE
        for name, value in fields.items():
            record[name] = value
        deadline = time.monotonic() + DONE_S
        while True:
            try:
                ring = FlowWriter.open(
                    self._instance, "oms.commands", COMMAND, COMMANDS_CAPACITY, ("oms",)
                )
                break
            except WriterExists:  # Another operator, for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        try:
            ring.publish(record[0])
        finally:
            ring.close()

    def _until(self, done: Any, what: str) -> None:  # noqa: ANN401 - a callable
        deadline = time.monotonic() + DONE_S
        while not done():
            if time.monotonic() > deadline:
                raise TradeInfraError(f"{what}: the OMS has not done it within {DONE_S:.0f} s")
            time.sleep(0.01)

    def set_limit(self, text: str, name: str, value: str, by: bytes) -> None:
        """Set a limit, and wait until it holds."""
        key = self.key(text)
        row = self.instruments.get(key["instrument"])
        check_scope(name, key["scope_kind"] > ScopeKind.ACCOUNT)
        wanted = limit_value(name, value, 0 if row is None else int(row["quantity_decimals"]))
        place = LIMIT_NAMES.index(name)
        self._order(CommandKind.LIMIT, by, **key, name=place, value=wanted)

        def done() -> bool:
            scope = self._scope(key)
            return scope is not None and scope["limits"][place] == wanted

        self._until(done, f"{text}: {name}")

    def set_state(self, text: str, state: int, by: bytes) -> None:
        """Set a trading state, and wait until it holds."""
        key = self.key(text)
        self._order(CommandKind.STATE, by, **key, value=state)

        def done() -> bool:
            scope = self._scope(key)
            return scope is not None and scope["state"] == state

        self._until(done, text)

    def cancel(self, text: str, by: bytes) -> int:
        """Cancel everything open in a scope; return how many orders are open after a while."""
        self._order(CommandKind.CANCEL, by, **self.key(text))
        return self.wait_flat(text)

    def wait_flat(self, text: str) -> int:
        """Wait until nothing is open in a scope; return how many orders still are."""
        key, deadline, left = self.key(text), time.monotonic() + FLAT_S, 0
        while time.monotonic() < deadline:
            scope = self._scope(key)
            left = 0 if scope is None else int(scope["open_orders"])
            if not left:
                break
            time.sleep(0.02)
        return left

    def resolve(self, client_id: int, by: bytes) -> None:
        """Take an order of unknown fate as ended."""
        unknown = {order["client_id"] for order in self.orders(only_unknown=True)}
        if client_id not in unknown:
            raise NotFound(f"{client_id}: no order of unknown fate has that number")
        self._order(CommandKind.RESOLVE, by, client_id=client_id)
        self._until(
            lambda: all(o["client_id"] != client_id for o in self.orders(only_unknown=True)),
            str(client_id),
        )


def _money(value: Any) -> str:  # noqa: ANN401 - an integer
    return f"{Decimal(int(value)).scaleb(-MONEY_DECIMALS):.2f}"


def kill_at_gateways(instance: str, only: str) -> Iterator[tuple[str, str]]:
    """Cancel everything at each gateway in the place of a dead OMS; yield what came of it.

    Raises
    ------
    NotFound
        If there is no gateway, or not that one.
    WriterExists
        If somebody else asks the gateway: then that one has to be told.

    """
    suffix, prefix = ".requests", "gw."
    accounts = [
        name[len(prefix) : -len(suffix)]
        for _, name in list_segments(instance)
        if name.startswith(prefix) and name.endswith(suffix)
    ]
    accounts = [name for name in accounts if not only or name == only]
    if not accounts:
        raise NotFound(f"no gateway {only!r} in instance {instance!r}")
    for account in accounts:
        yield account, _cancel_all(instance, account)


def _cancel_all(instance: str, account: str) -> str:
    """Ask one gateway to cancel everything; return its answer."""
    ring = FlowWriter.open(
        instance, requests_ring(account), REQUEST, REQUESTS_CAPACITY, (GATEWAY_READER,)
    )
    try:
        reports = RingReader.attach(instance, f"gw.{account}.reports", REPORT)
    except SegmentError:
        ring.close()
        return "its gateway has never run"
    try:
        record, number = np.zeros(1, REQUEST.dtype), time.time_ns()
        record["requested_ns"] = record["request_id"] = number
        record["action"], record["instrument"] = Action.CANCEL_ALL, _NONE
        record["flags"] = RequestFlag.URGENT
        ring.publish(record[0])
        deadline = time.monotonic() + FLAT_S
        while time.monotonic() < deadline:
            for report in reports.poll():
                if report["request_id"] == number and report["kind"] == ReportKind.DONE:
                    return "its gateway has cancelled everything"
                if report["request_id"] == number and report["kind"] == ReportKind.FAILED:
                    return f"its gateway could not: reason {int(report['reason'])}"
            time.sleep(0.01)
        return f"no answer of its gateway within {FLAT_S:.0f} s: is it running?"
    finally:
        reports.close()
        ring.close()
