"""The OMS: kind ``oms``, a duty-cycle agent around ``oms.loop``.

It reads ``oms.intents.<strategy>``, ``gw.<account>.reports``, ``oms.commands``, ``md.top``,
``md.funding`` and ``md.instruments``, and is the only writer of ``gw.<account>.requests``,
``oms.updates`` and the tables of ``oms.types``.

A start replays the journal, looks what of it the rings have, and asks each gateway for a
reconciliation; no new order passes before that has come back. Intents and reports are marked as
done with after they are in the journal, and known by their place in it if they come again.
"""

import contextlib
import time
from typing import Any

import numpy as np

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.errors import ConfigError, SegmentError
from engine.flow import FlowReader, FlowWriter, write_position
from engine.layout import Layout
from engine.ring import RingReader, RingWriter
from engine.segment import CREATED_NS
from engine.table import TableReader, TableWriter
from feeds.adapter import venue_names
from feeds.types import BOOK_TOP, FUNDING, INSTRUMENT
from gateways.client import (
    GATEWAY_READER,
    REQUESTS_CAPACITY,
    reports_ring,
    requests_ring,
)
from gateways.types import REPORT, REQUEST, Action
from oms.emit import JOURNAL_ROOM, Record
from oms.identity import (
    ACCOUNT,
    GHOSTS,
    RINGS_OF_START,
    STRATEGY,
    Instruments,
    Names,
    note_start,
)
from oms.journal import (
    HEAD_WORDS,
    JournalDamaged,
    JournalWriter,
    check_end,
    entry_at,
    length_of,
)
from oms.keeper import Keeper
from oms.loop import cycle, do_command, keep_up, replay
from oms.memory import new_state
from oms.recovery import rebuild, recover_account
from oms.settings import OmsSettings
from oms.state import (
    A_ALIVE,
    A_DONE_REPORT,
    A_REPORTS_NEXT,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    A_SYNCED,
    A_SYNCING,
    A_UP,
    ACCOUNT_WORDS,
    ACCOUNTS_MAX,
    ALL_SLOTS,
    BALANCES,
    C_DEADLINE_NS,
    C_FUNDING_LOST,
    C_FUNDING_NEXT,
    C_JOURNAL,
    C_JOURNAL_AT,
    C_LIVE,
    C_PREDICT_POST_ONLY,
    C_PUBLISHED_JOURNAL,
    C_REPLAY,
    C_REQUEST_BASE,
    C_SPOT_BALANCE,
    C_TOPS_LOST,
    C_TOPS_NEXT,
    C_UPDATES,
    COUNTERS,
    POSITIONS,
    SCOPES,
    STRATEGIES_MAX,
    STRATEGY_WORDS,
    T_DONE,
    T_NEXT,
    State,
    Words,
)
from oms.types import BALANCE, COMMAND, INTENT, NAME, ORDER, POSITION, SCOPE, UPDATE, ScopeKind

READER = "oms"
"""The name under which the OMS reads its rings."""
COMMANDS_RING, UPDATES_RING = "oms.commands", "oms.updates"
TABLES = {
    "orders": (ORDER, ALL_SLOTS),
    "positions": (POSITION, POSITIONS),
    "balances": (BALANCE, BALANCES),
    "scopes": (SCOPE, SCOPES),
    "names": (NAME, ACCOUNTS_MAX + STRATEGIES_MAX),
}
WAIT_S = 60.0
RECONCILE_AGAIN_NS = 10 * 10**9
"""A reconciliation that has not come back by then is asked for again."""
MARGIN_WORDS = 8 * JOURNAL_ROOM
"""With less left in a chunk the next one is begun: rotation is Python's."""

_NO_WORDS = np.zeros(0, np.int64)
_NO_WORDS.flags.writeable = False
_REQUEST_ID, _JOURNAL_OF_UPDATE = "request_id", "journal"


def intents_ring(strategy: str) -> str:
    """Return the name of a strategy's ring of intents."""
    return f"oms.intents.{strategy}"


class Account:
    """One account: its two rings, as far as they are there."""

    def __init__(self, name: str, venue: str, number: int, requests: FlowWriter) -> None:
        self.name, self.venue, self.number, self.requests = name, venue, number, requests
        self.reports: FlowReader | None = None
        self.table: TableReader | None = None
        self.rows: dict[bytes, int] = {}
        """Native symbol -> row of the venue's own table."""
        self.asked_ns = 0
        """When a reconciliation was asked for last."""

    def close(self) -> None:
        """Let go of everything."""
        self.requests.close()
        for each in (self.reports, self.table):
            if each is not None:
                each.close()


class Oms:
    """``engine.agent.Agent``; see the module."""

    def __init__(self, context: AgentContext) -> None:
        chosen = settings(OmsSettings, context)
        for problem in chosen.problems():
            raise ConfigError(f"{context.where}.{problem}")
        for account, venue in chosen.accounts.items():
            if venue not in venue_names():
                known = ", ".join(venue_names())
                raise ConfigError(
                    f"{context.where}.accounts.{account}: found {venue!r}, allowed: {known}"
                )
        self.name, self.bell = context.name, None
        self._context, self.settings, self._log = context, chosen, context.log
        counters = context.counters
        self._values = counters.values
        self._index = np.array([counters.counter(*each) for each in COUNTERS], np.int64)
        self._decisions = counters.cells[counters.histogram("intent_to_decision", "ns")]
        self._trades = counters.cells[counters.histogram("tick_to_trade", "ns")]
        gauges = ("live_orders", "journal_sequence", "accounts_up", "tops_lost", "funding_lost")
        self._gauges = {name: counters.gauge(name) for name in gauges}
        self._busy_ns = 0
        self._stack = contextlib.ExitStack()
        self.accounts: list[Account] = []
        self._strategies: dict[str, int] = {}
        self._intents: dict[int, FlowReader] = {}
        self._commands: FlowReader | None = None
        self._tops: RingReader | None = None
        self._marks: RingReader | None = None
        process = next(
            (p for p in context.config.processes if context.where.startswith(f"process.{p.name}.")),
            None,
        )
        if process is not None and process.wait == "spin":
            self._busy_ns = chosen.busy_us * 1000

    # -- life -------------------------------------------------------------------------------------
    def start(self) -> None:
        """Replay the journal, open the rings, recover, and ask for reconciliations."""
        instance, chosen = self._context.instance, self.settings
        stack = self._stack
        self.instruments_table = TableReader.attach(
            instance, "md.instruments", INSTRUMENT, wait_s=WAIT_S
        )
        stack.callback(self.instruments_table.close)
        self.journal = JournalWriter(
            chosen.folder(instance), chosen.chunk_mb << 20, chosen.sync_ms, self._log
        )
        stack.callback(self.journal.close)
        self.journal.open()
        self._tables = {
            name: TableWriter.open(instance, f"oms.{name}", layout, rows)
            for name, (layout, rows) in TABLES.items()
        }
        self.updates = RingWriter.open(instance, UPDATES_RING, UPDATE, chosen.updates_records)
        stack.callback(self.updates.close)
        for table in self._tables.values():
            stack.callback(table.close)
            table.words[:] = 0
        self.state = self._new_state()
        self.names, self.instruments = Names(), Instruments(self.state)
        self.keeper = Keeper(self)
        self.keeper.take_instruments()
        began = time.monotonic()
        made_ns, at = self._replay()
        self._begin_journal(at)
        self._open_rings(made_ns)
        self._recover(made_ns)
        self._log.info(
            "recovered",
            extra={
                "records": int(self.state.control[C_JOURNAL]),
                "seconds": round(time.monotonic() - began, 3),
                "live_orders": int(self.state.control[C_LIVE]),
            },
        )
        self.keeper.configure()
        self.heartbeat()

    def _new_state(self) -> State:
        names = ("orders", "positions", "balances", "scopes")
        words = {name: self._tables[name].words for name in names}
        state = new_state(
            self.instruments_table.rows + GHOSTS,
            **words,
            updates=self.updates.words,
            counts=self._values,
            counter=self._index,
        )
        control, chosen = state.control, self.settings
        control[C_DEADLINE_NS] = chosen.request_deadline_ms * 1_000_000
        control[C_PREDICT_POST_ONLY] = chosen.predict_post_only
        control[C_SPOT_BALANCE] = chosen.check_balance
        control[C_UPDATES] = self.updates.newest
        return state

    def _replay(self) -> tuple[Words, int]:
        """Apply the journal; return when the rings of its last run were made, and where it ends."""
        control, made_ns, at = self.state.control, np.zeros(RINGS_OF_START, np.int64), HEAD_WORDS
        newest = self.updates.newest
        if newest:
            slot = self.updates.slots[newest & (self.updates.capacity - 1)]
            control[C_PUBLISHED_JOURNAL] = slot[_JOURNAL_OF_UPDATE]
        created = int(self.updates.cells[CREATED_NS])
        control[C_REPLAY] = 1
        for path, words, is_last in self.journal.read():
            first = int(words[3])
            if first != control[C_JOURNAL] + 1:
                raise JournalDamaged(f"{path}: begins at {first}, not {control[C_JOURNAL] + 1}")
            at = HEAD_WORDS
            while True:
                at = replay(self.state, words, at, 0)
                count = length_of(words, at, int(control[C_JOURNAL]) + 1)
                if not count:
                    break
                self._recall(words, at, made_ns, created)
                at += count
            check_end(path, words, at, is_last)
        control[C_REPLAY] = 0
        rebuild(self.state)
        self.instruments.settle()
        return made_ns, at

    def _recall(self, words: Words, at: int, made_ns: Words, updates_made_ns: int) -> None:
        """Apply a record that is not the loop's business."""
        entry, state = entry_at(words, at), self.state
        state.control[C_JOURNAL] = entry.sequence
        if entry.kind is Record.NAME:
            self.names.recall(entry.body)
        elif entry.kind is Record.INSTRUMENT:
            self.instruments.recall(entry.body)
        elif entry.kind is Record.CONFIGURED:
            self.keeper.recall(entry.body)
        elif entry.kind is Record.START:
            now = entry.body[:RINGS_OF_START]
            self._forget_places(np.flatnonzero(made_ns != now))
            made_ns[:] = now
            self.instruments.forget_numbers()
            if made_ns[0] != updates_made_ns:
                # What was told then was told in another ring: whoever reads this one has tables.
                state.control[C_PUBLISHED_JOURNAL] = max(
                    int(state.control[C_PUBLISHED_JOURNAL]), entry.sequence
                )

    def _forget_places(self, changed: Any) -> None:  # noqa: ANN401 - int64[n]
        """Forget how far rings were read that are other ones now."""
        reports, intents = 1 + ACCOUNTS_MAX, 1 + 2 * ACCOUNTS_MAX
        for place in changed.tolist():
            if reports <= place < intents:
                self.state.accounts[(place - reports) * ACCOUNT_WORDS + A_DONE_REPORT] = 0
            elif place >= intents:
                self.state.strategies[(place - intents) * STRATEGY_WORDS + T_DONE] = 0

    def _begin_journal(self, at: int) -> None:
        control = self.state.control
        at = self.journal.open_at(int(control[C_JOURNAL]), at)
        self.state = self.state._replace(journal=self.journal.words)
        self.keeper.rebind()
        control[C_JOURNAL_AT] = at
        control[C_REQUEST_BASE] = self.journal.base
        if len(self.journal.words) - at < MARGIN_WORDS:
            self._rotate()

    def _rotate(self) -> None:
        """Go on in the next chunk."""
        control = self.state.control
        control[C_JOURNAL_AT] = self.journal.rotate(int(control[C_JOURNAL]))
        self.state = self.state._replace(journal=self.journal.words)
        self.keeper.rebind()

    def _open_rings(self, before_ns: Words) -> None:
        """Open all rings, and say in the journal which they are."""
        instance, chosen = self._context.instance, self.settings
        for name, venue in chosen.accounts.items():
            number = self.names.number(self.state, ACCOUNT, name)
            requests = FlowWriter.open(
                instance, requests_ring(name), REQUEST, REQUESTS_CAPACITY, (GATEWAY_READER,)
            )
            self._stack.callback(requests.close)
            self.accounts.append(Account(name, venue, number, requests))
        for name in chosen.strategies:
            self._strategies[name] = self.names.number(self.state, STRATEGY, name)
        self._publish_names()
        self._attach()
        made_ns = np.zeros(RINGS_OF_START, np.int64)
        made_ns[0] = self.updates.cells[CREATED_NS]
        for account in self.accounts:
            made_ns[1 + account.number] = account.requests.cells[CREATED_NS]
            if account.reports is not None:
                made_ns[1 + ACCOUNTS_MAX + account.number] = account.reports.cells[CREATED_NS]
        for number, reader in self._intents.items():
            made_ns[1 + 2 * ACCOUNTS_MAX + number] = reader.cells[CREATED_NS]
        self._made_ns = made_ns
        self._forget_places(np.flatnonzero(made_ns != before_ns))
        note_start(self.state, made_ns)
        self.keeper.take_instruments()
        self.instruments.note_all()
        self._places()

    def _publish_names(self) -> None:
        """Say in a table who the numbers are."""
        named = (
            (ScopeKind.ACCOUNT, self.names.accounts),
            (ScopeKind.STRATEGY, self.names.strategies),
        )
        place = 0
        for kind, names in named:
            for name, number in names.items():
                record = np.zeros(1, NAME.dtype)
                record["kind"], record["number"], record["name"] = kind, number, name.encode()
                self._tables["names"].write(place, record)
                place += 1

    def _recover(self, before_ns: Words) -> None:
        """Settle what of the journal's last requests the rings do not have."""
        requests = self._request_words()
        for account in self.accounts:
            ring = account.requests
            newest = ring.newest
            last = 0
            if newest:
                last = int(ring.slots[newest & (ring.capacity - 1)][_REQUEST_ID])
                last = max(last, int(ring.slots[_REQUEST_ID].max()))
            same = before_ns[1 + account.number] == ring.cells[CREATED_NS]
            slot = 0
            deadline = time.monotonic() + WAIT_S
            while slot < ALL_SLOTS:
                slot = recover_account(self.state, requests, account.number, last, same, slot)
                self._finish()
                if slot < ALL_SLOTS:
                    if self._journal_left() < MARGIN_WORDS:
                        self._rotate()
                    elif time.monotonic() > deadline:
                        raise SegmentError(
                            f"{ring.segment.name}: full; the gateway of {account.name!r} does not "
                            "read it: is it running?"
                        )
                    else:
                        time.sleep(0.01)
                    self._room(account)

    # -- the duty cycle ---------------------------------------------------------------------------
    def do_work(self) -> int:
        """Let the loop read what there is; return how much it did."""
        until = time.time_ns() + self._busy_ns
        done = int(self._cycle(until))
        if done:
            self._finish()
        if self._journal_left() < MARGIN_WORDS:
            self._rotate()
        return done

    def _cycle(self, until_ns: int) -> int:
        tops, tops_cells, marks, marks_cells = self._market
        return cycle(
            self.state,
            self._intent_words,
            self._report_words,
            self._requests,
            tops,
            tops_cells,
            marks,
            marks_cells,
            self._decisions,
            self._trades,
            until_ns,
        )

    def _journal_left(self) -> int:
        return len(self.state.journal) - int(self.state.control[C_JOURNAL_AT])

    def _finish(self) -> None:
        """Move the cursors of what was written, wake who sleeps, and let go of what was read."""
        state = self.state
        self.updates.finish(int(state.control[C_UPDATES]))
        for account in self.accounts:
            at = account.number * ACCOUNT_WORDS
            account.requests.finish(int(state.accounts[at + A_REQUESTS_NEWEST]))
            if account.reports is not None:
                done = int(state.accounts[at + A_REPORTS_NEXT]) - 1
                if done >= account.reports.position:
                    account.reports.position = done + 1
                    write_position(account.reports.cursor.cells, done)
            if state.accounts[at + A_REQUESTS_NEWEST] + 64 > state.accounts[at + A_REQUESTS_ROOM]:
                self._room(account)
        for number, reader in self._intents.items():
            done = int(state.strategies[number * STRATEGY_WORDS + T_NEXT]) - 1
            if done >= reader.position:
                reader.position = done + 1
                write_position(reader.cursor.cells, done)

    def _room(self, account: Account) -> None:
        room = account.requests.refresh()
        self.state.accounts[account.number * ACCOUNT_WORDS + A_REQUESTS_ROOM] = room

    def heartbeat(self) -> None:
        """Beat; attach to what has appeared; do what is due by the clock."""
        state = self.state
        for table in self._tables.values():
            table.heartbeat()
        self.updates.heartbeat()
        for account in self.accounts:
            account.requests.heartbeat()
            self._room(account)
            alive = account.reports is not None and account.reports.segment.writer_alive
            state.accounts[account.number * ACCOUNT_WORDS + A_ALIVE] = alive
        if self._attach():
            self._places()
        self.keeper.work()
        self._commands_in()
        self._reconcile()
        keep_up(state, self._requests)
        self._finish()
        up = sum(bool(state.accounts[a.number * ACCOUNT_WORDS + A_UP]) for a in self.accounts)
        values, gauges = self._values, self._gauges
        values[gauges["live_orders"]] = state.control[C_LIVE]
        values[gauges["journal_sequence"]] = state.control[C_JOURNAL]
        values[gauges["accounts_up"]] = up
        values[gauges["tops_lost"]] = state.control[C_TOPS_LOST]
        values[gauges["funding_lost"]] = state.control[C_FUNDING_LOST]

    def _reconcile(self) -> None:
        """Ask for a reconciliation of each account that has not had one since we started."""
        now = time.time_ns()
        for account in self.accounts:
            at = account.number * ACCOUNT_WORDS
            state = self.state
            if state.accounts[at + A_SYNCED] or state.accounts[at + A_SYNCING]:
                continue
            if account.reports is None or now - account.asked_ns < RECONCILE_AGAIN_NS:
                continue
            account.asked_ns = now
            record = np.zeros(1, REQUEST.dtype)
            record["requested_ns"], record["action"] = now, Action.RECONCILE
            record["instrument"], record[_REQUEST_ID] = -1, 0
            account.requests.newest = int(state.accounts[at + A_REQUESTS_NEWEST])
            if account.requests.try_publish(record):
                state.accounts[at + A_REQUESTS_NEWEST] = account.requests.newest

    def _commands_in(self) -> None:
        """Do what operators have ordered."""
        if self._commands is None:
            return
        for record in self._commands.poll().copy():
            self.command(record)
        self._commands.advance()

    def command(self, record: Any) -> int:  # noqa: ANN401 - a COMMAND record
        """Journal a command and do it; return its journal sequence."""
        if self._journal_left() < MARGIN_WORDS:
            self._rotate()
        self.state.command[:] = np.frombuffer(record.tobytes(), np.int64)
        return int(do_command(self.state, self._requests))

    # -- rings ------------------------------------------------------------------------------------
    def _attach(self) -> bool:
        """Attach to rings that have appeared, or appeared anew; return whether there are any."""
        instance, found = self._context.instance, False
        for account in self.accounts:
            if account.reports is not None and account.reports.segment.removed:
                account.reports.close()
                account.reports, found = None, True
            if account.reports is None:
                account.reports = _try(instance, reports_ring(account.name), REPORT)
                found = found or account.reports is not None
            if account.table is None:
                with contextlib.suppress(SegmentError):
                    account.table = TableReader.attach(
                        instance, f"feed.{account.venue}.instruments", INSTRUMENT
                    )
        for name, number in self._strategies.items():
            reader = self._intents.get(number)
            if reader is not None and reader.segment.removed:
                self._intents.pop(number).close()
                found, reader = True, None
            if reader is None:
                reader = _try(instance, intents_ring(name), INTENT)
                if reader is not None:
                    self._intents[number], found = reader, True
        if self._commands is None or self._commands.segment.removed:
            self._commands = _try(instance, COMMANDS_RING, COMMAND)
        for place, ring, layout in (
            ("_tops", "md.top", BOOK_TOP),
            ("_marks", "md.funding", FUNDING),
        ):
            reader_now = getattr(self, place)
            if reader_now is None or reader_now.segment.removed:
                with contextlib.suppress(SegmentError):
                    setattr(self, place, RingReader.attach(instance, ring, layout))
                    found = True
        return found

    def _places(self) -> None:
        """Tell the loop where it stands in each ring, and hand it the rings' memory."""
        state = self.state
        for account in self.accounts:
            at = account.number * ACCOUNT_WORDS
            state.accounts[at + A_REQUESTS_NEWEST] = account.requests.newest
            self._room(account)
            if account.reports is not None:
                made = account.reports.cells[CREATED_NS]
                place = 1 + ACCOUNTS_MAX + account.number
                if self._made_ns[place] != made:
                    state.accounts[at + A_DONE_REPORT] = 0
                    self._made_ns[place] = made
                    note_start(state, self._made_ns)
                    self.instruments.note_all()
                state.accounts[at + A_REPORTS_NEXT] = account.reports.position
        for number, reader in self._intents.items():
            at, place = number * STRATEGY_WORDS, 1 + 2 * ACCOUNTS_MAX + number
            if self._made_ns[place] != reader.cells[CREATED_NS]:
                state.strategies[at + T_DONE] = 0
                self._made_ns[place] = reader.cells[CREATED_NS]
                note_start(state, self._made_ns)
                self.instruments.note_all()
            state.strategies[at + T_NEXT] = reader.position
        if self._tops is not None and not state.control[C_TOPS_NEXT]:
            state.control[C_TOPS_NEXT] = self._tops.position
        if self._marks is not None and not state.control[C_FUNDING_NEXT]:
            state.control[C_FUNDING_NEXT] = self._marks.position
        self._hand_over()

    def _hand_over(self) -> None:
        """Collect the rings' memory in the form that the loop takes."""
        intents = [_NO_WORDS] * STRATEGIES_MAX
        for number, reader in self._intents.items():
            intents[number] = reader.words
        reports = [_NO_WORDS] * ACCOUNTS_MAX
        for account in self.accounts:
            if account.reports is not None:
                reports[account.number] = account.reports.words
        self._intent_words, self._report_words = tuple(intents), tuple(reports)
        self._requests = self._request_words()
        market: list[Words] = []
        for each in (self._tops, self._marks):
            market += [_NO_WORDS, _NO_WORDS] if each is None else [each.words, each.cells]
        self._market = (market[0], market[1], market[2], market[3])

    def _request_words(self) -> tuple[Words, ...]:
        words = [np.zeros(0, np.int64)] * ACCOUNTS_MAX
        for account in self.accounts:
            words[account.number] = account.requests.words
        return tuple(words)

    def close(self) -> None:
        """Let go of everything; segments and journal stay, for readers and for a successor."""
        if hasattr(self, "state") and hasattr(self, "_market"):
            self._finish()
        self._intent_words = self._report_words = self._requests = ()
        self._market = (_NO_WORDS, _NO_WORDS, _NO_WORDS, _NO_WORDS)
        if hasattr(self, "state"):
            del self.state
            self.keeper.close()
        for account in self.accounts:
            account.close()
        for reader in (*self._intents.values(), self._commands, self._tops, self._marks):
            if reader is not None:
                reader.close()
        self._stack.close()


def _try(instance: str, ring: str, layout: Layout) -> FlowReader | None:
    """Return a reader of a flow-controlled ring, None while there is none for us."""
    try:
        return FlowReader.attach(instance, ring, READER, layout)
    except SegmentError:
        return None


@takes(OmsSettings)
def make(context: AgentContext) -> Oms:
    """Return the agent of kind ``oms``: entry point ``trade_infra.agents``."""
    return Oms(context)
