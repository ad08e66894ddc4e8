"""Instrument numbers: every feed's table merged into ``md.instruments``.

A feed numbers its own instruments (``feed.<venue>.instruments``). The worker gives each a number
that is unique over all venues, its row in ``md.instruments`` and in every record. A number, once
given, stays with its (venue, native symbol) for as long as the segment exists, over restarts of
feeds and worker.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import TradeInfraError
from engine.table import TableReader, TableWriter
from feeds.listing import SymbolError
from feeds.symbols import build_symbols
from feeds.types import INSTRUMENT


class InstrumentsFull(TradeInfraError):
    """More instruments than the worker's tables have rows."""


class Directory:
    """``md.instruments``: who has which number."""

    def __init__(self, table: TableWriter) -> None:
        self._table = table
        rows = table.records()
        self._numbers = {
            (bytes(row["venue"]), bytes(row["native"])): number
            for number, row in enumerate(rows)
            if row["native"]
        }
        # A row that its writer died in is empty: its number is free, the others keep theirs.
        self._next = 1 + max(self._numbers.values(), default=-1)

    def __len__(self) -> int:
        """Return one more than the highest number."""
        return self._next

    def add(self, record: np.void) -> int:
        """Return the number of a feed's instrument, given if it is new; bring its row up to date.

        Raises
        ------
        InstrumentsFull
            If the table has no room.

        """
        key = bytes(record["venue"]), bytes(record["native"])
        number = self._numbers.get(key, self._next)
        if number >= self._table.rows:
            raise InstrumentsFull(
                f"{key[0].decode()} {key[1].decode()}: md.instruments holds "
                f"{self._table.rows:,} instruments - raise instruments_max of the market-data "
                "agent, and remove the old segments with `trade-infra rings rm`"
            )
        merged = np.zeros(1, INSTRUMENT.dtype)
        merged[0] = record
        merged["instrument"] = number
        old = self._table.records()[number]
        if any(not np.array_equal(old[name], merged[0][name]) for name in _COMPARED):
            self._table.write(number, merged)
        self._numbers[key] = number
        self._next = max(self._next, number + 1)
        return number


_COMPARED = [f.name for f in INSTRUMENT.fields if f.name not in ("version", "reserved")]


class FeedInstruments:
    """A feed's instrument table, as the worker follows it.

    Attributes
    ----------
    rows : dict[int, np.void]
        Copies of the rows in use.

    """

    def __init__(self, table: TableReader) -> None:
        self._table = table
        self._versions = np.zeros(table.rows, np.int64)
        self.rows: dict[int, np.void] = {}

    def changes(self) -> list[int]:
        """Return the rows that are new or have changed since the last call."""
        versions = np.array(self._table.words[:: self._table.stride])
        changed = []
        for row in np.flatnonzero(versions != self._versions).tolist():
            if versions[row] & 1:
                continue  # Being written: it will be seen the next time.
            record = self._table.read(row)
            self._versions[row] = record["version"]
            if record["native"]:
                self.rows[row] = record
                changed.append(row)
        return changed

    def close(self) -> None:
        """Let go of the table."""
        self._table.close()


def symbols_of(rows: Iterable[tuple[int, np.void]]) -> tuple[NDArray[Any], list[str]]:
    """Return the symbol map of a feed's rows, and why rows were left out (one text each)."""
    entries: list[tuple[str, int, int, int]] = []
    problems = []
    for row, record in rows:
        native = bytes(record["native"]).decode(errors="replace")
        decimals = int(record["price_decimals"]), int(record["quantity_decimals"])
        entry = (native, row, *decimals)
        try:
            build_symbols([entry])
        except SymbolError as error:
            problems.append(str(error))
            continue
        if any(other[0] == native for other in entries):
            problems.append(f"symbol {native!r} is listed twice")
            continue
        entries.append(entry)
    return build_symbols(entries), problems
