"""The instruments of a venue, from the table that its feed keeps.

Gateways do not know feeds. They read ``feed.<venue>.instruments`` (or any table with these fields)
by the dtype that its own header describes. A row is rewritten in place when the venue changes its
instrument; where its decimals change, mantissas from before mean another price.
"""

import time
from collections.abc import Callable

import numpy as np

from engine.errors import LayoutMismatch, SegmentError
from engine.table import TableReader
from gateways.message import Instrument

_NEEDED = (
    "native",
    "symbol",
    "base",
    "quote",
    "settle",
    "kind",
    "price_decimals",
    "quantity_decimals",
    "tick",
    "lot",
    "contract_value",
)
REFRESH_S = 1.0
"""How often to look for new rows when one is asked for that is not known."""

Changed = Callable[[Instrument, Instrument], None]
"""Is told of an instrument whose decimals have changed: as it was, and as it is."""


class InstrumentTable:
    """The rows of an instrument table, by number and by native symbol, as they are now.

    ``on_change`` is called when a row's decimals have changed.

    Raises
    ------
    LayoutMismatch
        If the table lacks a field; and as ``engine.table.TableReader.attach``.

    """

    def __init__(self, instance: str, segment: str, wait_s: float = 0.0) -> None:
        self.by_native: dict[str, Instrument] = {}
        self._rows: dict[int, Instrument] = {}
        self._table = TableReader.attach(instance, segment, wait_s=wait_s)
        missing = [name for name in _NEEDED if name not in (self._table.dtype.names or ())]
        if missing:
            self._table.close()
            raise LayoutMismatch(
                f"{segment} is no table of instruments: it has no field {', '.join(missing)}"
            )
        self.on_change: Changed = lambda old, new: None
        table = self._table
        self._words, self._stride = table.words, table.stride
        self._versions = np.full(table.rows, -1, np.int64)
        self._looked = float("-inf")
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def refresh(self) -> None:
        """Read the rows that are new or have changed; one that cannot be read stays as it was."""
        self._looked = time.monotonic()
        end = self._table.rows * self._stride
        changed = self._words[: end : self._stride] != self._versions
        for row in np.flatnonzero(changed):
            self._read(int(row))

    def _read(self, row: int) -> None:
        try:
            record = self._table.read(row)
        except SegmentError:  # Its writer died over it: whoever comes next writes it anew.
            return
        self._versions[row] = record["version"]
        if record["native"]:
            self._add(row, record)

    def get(self, row: int) -> Instrument | None:
        """Return a row's instrument as it is now; None if the table has none there."""
        found = self._rows.get(row)
        if found is not None:
            if self._words.item(row * self._stride) != self._versions.item(row):
                self._read(row)
                return self._rows[row]
            return found
        if row >= 0 and time.monotonic() - self._looked >= REFRESH_S:
            self.refresh()
        return self._rows.get(row)

    def all(self) -> list[Instrument]:
        """Return all instruments, by row."""
        return [self._rows[row] for row in sorted(self._rows)]

    def close(self) -> None:
        """Let go of the segment; it stays."""
        self._words = np.zeros(0, np.int64)
        self._table.close()

    def _add(self, row: int, record: np.void) -> None:
        def text(name: str) -> str:
            return bytes(record[name]).decode()

        instrument = Instrument(
            row=row,
            native=text("native"),
            symbol=text("symbol"),
            base=text("base"),
            quote=text("quote"),
            settle=text("settle"),
            kind=int(record["kind"]),
            price_decimals=int(record["price_decimals"]),
            quantity_decimals=int(record["quantity_decimals"]),
            tick=int(record["tick"]),
            lot=int(record["lot"]),
            contract_value=int(record["contract_value"]),
        )
        old = self._rows.get(row)
        if old is not None and old.native != instrument.native:
            # A row never changes its instrument: this is another table under the same name.
            raise LayoutMismatch(
                f"row {row} was {old.native} and is {instrument.native} - start again"
            )
        self._rows[row] = self.by_native[instrument.native] = instrument
        if old is not None and decimals_of(old) != decimals_of(instrument):
            self.on_change(old, instrument)


def decimals_of(instrument: Instrument) -> tuple[int, int, int]:
    """Return what mantissas of an instrument mean, and what a contract of it is worth."""
    return instrument.price_decimals, instrument.quantity_decimals, instrument.contract_value
