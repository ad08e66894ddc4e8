"""The instruments of a venue, from the table that its feed keeps.

Gateways do not know feeds. They read ``feed.<venue>.instruments`` (or any table with these fields)
by the dtype that its own header describes.
"""

import time

import numpy as np

from engine.errors import LayoutMismatch
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


class InstrumentTable:
    """The rows of an instrument table, by number and by native symbol; each is read once.

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
        self._looked = float("-inf")
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def refresh(self) -> None:
        """Look for rows that were added; a row that is known never changes its instrument."""
        self._looked = time.monotonic()
        for row in range(self._table.rows):
            if row not in self._rows:
                record = self._table.read(row)
                if not record["native"]:
                    continue
                self._add(row, record)

    def get(self, row: int) -> Instrument | None:
        """Return a row's instrument; None if the table has none there."""
        found = self._rows.get(row)
        if found is None and row >= 0 and time.monotonic() - self._looked >= REFRESH_S:
            self.refresh()
            found = self._rows.get(row)
        return found

    def all(self) -> list[Instrument]:
        """Return all instruments, by row."""
        return [self._rows[row] for row in sorted(self._rows)]

    def close(self) -> None:
        """Let go of the segment; it stays."""
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
        self._rows[row] = instrument
        self.by_native[instrument.native] = instrument
