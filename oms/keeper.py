"""What the OMS does beside its loop, ten times a second: instruments, rates, limits, days."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.counters import CountersReader
from engine.errors import SegmentError
from engine.segment import list_segments
from feeds.types import Kind
from oms.emit import Record
from oms.memory import asset_of, rate_of
from oms.recovery import note
from oms.settings import limit_value
from oms.state import (
    A_OFFSET_NS,
    A_SYNCED,
    ACCOUNT_WORDS,
    C_DAY,
    C_POSITION_COUNT,
    I_ASK,
    I_BID,
    I_MARK,
    I_QUANTITY_DECIMALS,
    I_TOP_NS,
    INSTRUMENT_WORDS,
    NONE,
    Words,
)
from oms.types import COMMAND, LIMIT_NAMES, POSITION, CommandKind, ScopeKind

if TYPE_CHECKING:
    from oms.agent import Oms

UNIT = 10**8
OFFSETS_S = 1.0
"""How often the gateways' clocks are looked at."""
BY_CONFIGURATION = b"configuration"


class Keeper:
    """The slow half of an ``oms.agent.Oms``."""

    def __init__(self, oms: "Oms") -> None:
        self._oms, self._log = oms, oms._log
        self._versions = np.zeros(oms.instruments_table.rows, np.int64)
        self.configured: dict[tuple[int, ...], int] = {}
        """What the configuration said last, by scope and limit."""
        self._offsets_due = 0.0
        self._unplaced = False
        """Whether instruments have appeared that limits may be of."""
        self._gateways: dict[str, CountersReader] = {}
        self._rated: dict[bytes, int] = {}
        for name in (oms.settings.currency, *oms.settings.equal):
            rate_of(oms.state, name.encode(), UNIT)
            self._rated[name.encode()] = UNIT

    def rebind(self) -> None:
        """Take note that the loop's memory has another journal chunk now."""
        self._oms.instruments.state = self._oms.state

    def work(self) -> None:
        """Do what is due."""
        self.take_instruments()
        if self._unplaced:
            self.configure()
        self._rates()
        self._days()
        self._drift()
        if time.monotonic() >= self._offsets_due:
            self._offsets_due = time.monotonic() + OFFSETS_S
            self._offsets()

    def close(self) -> None:
        """Let go of everything."""
        for reader in self._gateways.values():
            reader.close()

    # -- instruments ------------------------------------------------------------------------------
    def take_instruments(self) -> None:
        """Take up what is new or has changed in md.instruments, and in the venues' own tables."""
        oms, table = self._oms, self._oms.instruments_table
        moved = self._rows_there()
        versions = np.array(table.words[: table.rows * table.stride : table.stride])
        changed = set(np.flatnonzero(versions != self._versions).tolist()) | moved
        for number in sorted(changed):
            if versions[number] & 1:
                continue
            row = table.read(number)
            self._versions[number] = row["version"]
            if not row["native"]:
                continue
            account = next((a for a in oms.accounts if a.venue.encode() == row["venue"]), None)
            there = NONE if account is None else account.rows.get(bytes(row["native"]), NONE)
            new = number not in oms.instruments.terms
            self._unplaced = True
            problem = oms.instruments.put(
                number, row, NONE if account is None else account.number, there
            )
            if problem:
                self._log.error(problem)
            if oms.accounts and (new or number in moved):
                oms.instruments.note(number)

    def _rows_there(self) -> set[int]:
        """Look at the venues' own tables; return which instruments are new there."""
        found: set[int] = set()
        for account in self._oms.accounts:
            if account.table is None:
                continue
            natives = account.table.segment.records()["native"]
            for row in np.flatnonzero(natives != b"").tolist():
                native = bytes(natives[row])
                if account.rows.get(native) != row:
                    account.rows[native] = row
                    number = self._oms.instruments.number(account.venue.encode(), native)
                    if number != NONE:
                        found.add(number)
        return found

    # -- rates ------------------------------------------------------------------------------------
    def _rates(self) -> None:
        """Bring the worth of currencies up to the market: what is traded against an equal one."""
        state = self._oms.state
        for number, row in self._oms.instruments.terms.items():
            base, quote = bytes(row["base"]), bytes(row["quote"])
            if quote not in self._rated or base in self._rated:
                continue
            if row["kind"] not in (Kind.SPOT, Kind.LINEAR_PERPETUAL):
                continue
            at = number * INSTRUMENT_WORDS
            cells = state.instruments
            price = int(cells[at + I_BID] + cells[at + I_ASK]) // 2
            if not cells[at + I_TOP_NS] or price <= 0:
                price = int(cells[at + I_MARK])
            if price > 0:
                rate = price * UNIT // 10 ** int(row["price_decimals"])
                state.assets[3 * asset_of(state, base) + 2] = rate

    def _offsets(self) -> None:
        """Look at how far each venue's clock is from ours, as its gateway has measured it."""
        oms = self._oms
        for account in oms.accounts:
            offset = self._gauge(f"{account.name}.clock_offset")
            if offset is not None:
                oms.state.accounts[account.number * ACCOUNT_WORDS + A_OFFSET_NS] = offset

    def _gauge(self, name: str) -> int | None:
        instance = self._oms._context.instance
        reader = self._gateways.get(name)
        if reader is None or reader.segment.removed:
            for _, segment in list_segments(instance):
                if not segment.startswith("ctr."):
                    continue
                try:
                    reader = CountersReader.attach(instance, segment.removeprefix("ctr."))
                except SegmentError:
                    continue
                if name in reader.counters():
                    self._gateways[name] = reader
                    break
                reader.close()
            else:
                return None
        return None if reader is None else reader.counters().get(name)

    # -- commands of our own -----------------------------------------------------------------------
    def _command(self, kind: CommandKind, **fields: Any) -> None:  # noqa: ANN401
        record = np.zeros(1, COMMAND.dtype)
        record["created_ns"], record["kind"] = time.time_ns(), kind
        record["account"] = record["strategy"] = record["instrument"] = NONE
        record["automatic"], record["by"] = 1, b"oms"
        for name, value in fields.items():
            record[name] = value
        self._oms.command(record[0])

    def _days(self) -> None:
        """Begin a trading day at midnight UTC, and with the first start."""
        day = datetime.now(UTC).toordinal()
        if day != self._oms.state.control[C_DAY]:
            self._command(CommandKind.DAY, value=day)

    def _drift(self) -> None:
        """Take the venue's position over where it has not been ours for longer than events take."""
        state, now = self._oms.state, time.time_ns()
        rows = state.positions.view(POSITION.dtype)[: int(state.control[C_POSITION_COUNT])]
        late_ns = now - round(self._oms.settings.drift_s * 1e9)
        drifted = (
            (rows["kind"] == ScopeKind.ACCOUNT_INSTRUMENT)
            & (rows["venue_ns"] != 0)
            & (rows["venue_quantity"] != rows["quantity"])
            & (rows["venue_ns"] < late_ns)
            & (rows["fill_ns"] < late_ns)
        )
        for row in rows[drifted]:
            account, number = int(row["account"]), int(row["instrument"])
            if not state.accounts[account * ACCOUNT_WORDS + A_SYNCED]:
                continue
            self._log.error(
                "position differs from the venue's: taken over",
                extra={"instrument": number, "ours": int(row["quantity"])},
            )
            self._command(
                CommandKind.ADOPT,
                scope_kind=ScopeKind.ACCOUNT_INSTRUMENT,
                account=account,
                instrument=number,
                value=row["venue_quantity"],
                second=row["position_side"],
                client_id=row["venue_price"],
            )

    # -- limits -----------------------------------------------------------------------------------
    def configure(self) -> None:
        """Set the limits of the configuration that are other than it said before.

        What an operator has changed since stays, until the configuration says something new.
        """
        self._unplaced = False
        for limits in self._oms.settings.limits:
            key = self.scope_key(limits.account, limits.strategy, limits.instrument)
            if key is None:
                continue  # Its instrument is not there yet.
            kind, account, strategy, number = key
            decimals = 0
            if number != NONE:
                at = number * INSTRUMENT_WORDS
                decimals = int(self._oms.state.instruments[at + I_QUANTITY_DECIMALS])
            for name, text in limits.limits.items():
                place, value = LIMIT_NAMES.index(name), limit_value(name, str(text), decimals)
                if self.configured.get((*key, place)) == value:
                    continue
                self.configured[*key, place] = value
                body = np.array([*key, place, value], np.int64)
                note(self._oms.state, Record.CONFIGURED, 0, body, len(body))
                self._command(
                    CommandKind.LIMIT,
                    scope_kind=kind,
                    account=account,
                    strategy=strategy,
                    instrument=number,
                    name=place,
                    value=value,
                    by=BY_CONFIGURATION,
                )

    def recall(self, body: Words) -> None:
        """Take in a CONFIGURED record."""
        kind, account, strategy, number, place, value = (int(word) for word in body[:6])
        if number != NONE:
            number = int(self._oms.state.remap[number])
        self.configured[kind, account, strategy, number, place] = value

    def scope_key(
        self, account: str, strategy: str, instrument: str
    ) -> tuple[int, int, int, int] | None:
        """Return kind, account, strategy and instrument of a scope; None if it is not there."""
        oms = self._oms
        of_account = oms.names.accounts.get(account, NONE)
        of_strategy = oms.names.strategies.get(strategy, NONE)
        if (account and of_account == NONE) or (strategy and of_strategy == NONE):
            return None
        if not instrument:
            if strategy:
                return ScopeKind.STRATEGY, NONE, of_strategy, NONE
            if account:
                return ScopeKind.ACCOUNT, of_account, NONE, NONE
            return ScopeKind.FIRM, NONE, NONE, NONE
        venue, _, symbol = instrument.partition(":")
        for number, row in oms.instruments.terms.items():
            if bytes(row["venue"]).decode() == venue and symbol in (
                bytes(row["native"]).decode(),
                bytes(row["symbol"]).decode(),
            ):
                found = next((a for a in oms.accounts if a.venue == venue), None)
                if found is None:
                    return None
                if strategy:
                    return ScopeKind.STRATEGY_INSTRUMENT, found.number, of_strategy, number
                return ScopeKind.ACCOUNT_INSTRUMENT, found.number, NONE, number
        return None
