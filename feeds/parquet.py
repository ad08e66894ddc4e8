"""Records as Parquet files: kind ``parquet``, an agent, and what ``replay --parquet`` writes.

One schema a record type, made from its layout. Prices and quantities are ``decimal128(38, 18)``
with their exact value (a file has instruments of different decimals, 18 are the most that any has,
and 38 digits hold every int64 mantissa); times are ``timestamp[ns, UTC]``; ``venue``, ``native``
and ``symbol`` are dictionary columns in the place of the instrument's number. What is absent is
null: a time of 0, a side of a top that is empty, the numbers of funding and statistics that are not
known yet. ``flags``, ``state`` and other small numbers are as in the record (``feeds.types``).

Files are named ``<ring>-<start>.parquet``. One that is being written ends in ``.part`` and cannot
be read: a Parquet file has its directory at the end, so that the unfinished file of a killed
process is lost. The recorder's captures are the form that survives; Parquet can be made of them.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.counters import CountersWriter
from engine.doorbell import Doorbell
from engine.errors import ConfigError, SegmentNotFound, SegmentNotReady, TradeInfraError
from engine.layout import Layout
from engine.ring import RingReader
from engine.table import TableReader
from feeds.instruments import FeedInstruments
from feeds.message import Has
from feeds.types import INDEX_DECIMALS, INSTRUMENT, KNOWN_SHIFT, RATE_DECIMALS, RINGS

if TYPE_CHECKING:
    import pyarrow as pa

SCALE = 18
"""Decimals of every decimal column."""
PRECISION = 38
PART = ".part"

_PRICES = frozenset(
    ("price", "bid_price", "ask_price", "last_price", "open_price", "high_price", "low_price")
)
_QUANTITIES = frozenset(("quantity", "bid_quantity", "ask_quantity", "volume", "open_interest"))
_FIXED = {
    "mark_price": INDEX_DECIMALS,
    "index_price": INDEX_DECIMALS,
    "settle_price": INDEX_DECIMALS,
    "rate": RATE_DECIMALS,
}
_KNOWN: dict[str, dict[str, int]] = {
    "funding": {
        "mark_price": Has.MARK,
        "index_price": Has.INDEX,
        "settle_price": Has.SETTLE,
        "rate": Has.RATE,
        "next_funding_ns": Has.NEXT,
        "open_interest": Has.INTEREST,
    },
    "stats": {
        "last_price": Has.LAST,
        "open_price": Has.OPEN,
        "high_price": Has.HIGH,
        "low_price": Has.LOW,
        "volume": Has.VOLUME,
    },
}
"""Columns that are null unless the record says that they are known."""
_EMPTY_SIDES = frozenset(("bid_price", "ask_price"))
_NAMES = ("venue", "native", "symbol")

POLL_RECORDS = 16_384
TABLE_S = 0.01
"""How often the instrument table is looked at."""
COUNTED = (
    ("records", "records"),
    ("lost", "records"),
    ("files", "files"),
    ("bytes", "bytes"),
    ("write_errors", "errors"),
    ("dropped", "records"),
)

__all__ = ["ParquetAgent", "ParquetError", "ParquetSettings", "RingFile", "kept", "make", "schema"]


class ParquetError(TradeInfraError):
    """Parquet files that cannot be written."""


class ParquetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the Parquet agent (its table in the configuration)."""

    folder: str
    rings: tuple[str, ...] = tuple(RINGS)
    rotate_mb: float = 256.0
    """A new file after so many megabytes (of 10**6 bytes) …"""
    rotate_s: float = 3600.0
    """… or seconds, whichever comes first: what is in an unfinished file cannot be read yet."""
    group_rows: int = 262_144
    """Rows of a row group; they are held in memory until it is full."""
    compression: str = "zstd"


def arrow() -> Any:  # noqa: ANN401 - a module
    """Return pyarrow.

    Raises
    ------
    ParquetError
        If it is not installed.

    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ParquetError("pyarrow is not installed: pip install 'trade-infra[parquet]'") from None
    return pyarrow


def _columns(layout: Layout) -> list[str]:
    names = [field.name for field in layout.fields if not field.name.startswith("reserved")]
    return [name for name in names if name != "instrument"]


def schema(layout: Layout) -> "pa.Schema":
    """Return the Arrow schema of a record type; what its fields' docs say is field metadata."""
    pa = arrow()
    docs = {field.name: field.doc for field in layout.fields}
    names = pa.dictionary(pa.int32(), pa.string())
    fields = [pa.field(name, names, metadata={"doc": _DOCS[name]}) for name in _NAMES]
    for name in _columns(layout):
        about = {"doc": docs[name]}
        if name.endswith("_ns"):
            kind = pa.timestamp("ns", tz="UTC")
        elif name in _PRICES or name in _QUANTITIES or name in _FIXED:
            kind, about = pa.decimal128(PRECISION, SCALE), {}  # The docs are of the mantissa.
        else:
            kind = pa.from_numpy_dtype(layout.dtype[name])
        fields.append(pa.field(name, kind, metadata=about))
    return pa.schema(fields, metadata={"layout": f"{layout.name} v{layout.version}"})


_DOCS = {
    "venue": "the venue's name",
    "native": "the venue's symbol",
    "symbol": "the unified symbol",
}


def exact_decimals(mantissas: NDArray[np.int64], decimals: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return ``mantissa * 10**(SCALE - decimals)`` as 128-bit integers.

    Parameters
    ----------
    mantissas, decimals
        int64[n]; decimals are 0 to ``SCALE``.

    Returns
    -------
    uint64[n, 2]
        Low and high halves in two's complement: the memory of ``decimal128``. A mantissa of 19
        digits and 18 more fit in 38, so that nothing overflows.

    """
    powers = np.array([10**each for each in range(SCALE + 1)], np.uint64)
    factor = powers[SCALE - decimals]
    size = np.abs(mantissas).astype(np.uint64)  # The least int64 comes out right too, as 2**63.
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a1, a0, b1, b0 = size >> half, size & low, factor >> half, factor & low
    first = a0 * b0
    second = a1 * b0 + (first >> half)
    third = a0 * b1 + (second & low)
    product = np.empty((len(mantissas), 2), np.uint64)
    product[:, 0] = (third << half) | (first & low)
    product[:, 1] = a1 * b1 + (second >> half) + (third >> half)
    negative = mantissas < 0
    product[negative] = ~product[negative]
    product[negative, 0] += np.uint64(1)
    product[negative & (product[:, 0] == 0), 1] += np.uint64(1)
    return product


@dataclass(frozen=True, slots=True)
class Listed:
    """Who the numbers in records are: lists and int64[n] by number."""

    names: dict[str, list[str]]
    price: NDArray[np.int64]
    quantity: NDArray[np.int64]
    """Decimals."""


class Instruments:
    """``md.instruments``, followed.

    Attributes
    ----------
    now : Listed
        As it is; replaced, never changed, so that records keep what was true of them.

    """

    def __init__(self, table: TableReader) -> None:
        self._table = FeedInstruments(table)
        nothing = np.zeros(0, np.int64)
        self.now = Listed({name: [] for name in _NAMES}, nothing, nothing)
        self._looked = 0.0
        self.update()

    def follow(self, numbers: NDArray[np.int32]) -> Listed:
        """Return what is listed, brought up to date for records with ``numbers``."""
        # The worker lists an instrument before it writes of it.
        new = int(numbers.max()) >= len(self.now.price)
        if new or time.monotonic() - self._looked > TABLE_S:
            self.update()
        return self.now

    def update(self) -> None:
        """Take over what has changed."""
        self._looked = time.monotonic()
        if not self._table.changes():
            return
        rows = self._table.rows
        count = max(rows, default=-1) + 1
        names = {name: [""] * count for name in _NAMES}
        price, quantity = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for number, record in rows.items():
            for name in _NAMES:
                names[name][number] = record[name].decode()
            price[number] = record["price_decimals"]
            quantity[number] = record["quantity_decimals"]
        self.now = Listed(names, price, quantity)

    def close(self) -> None:
        """Let go of the table."""
        self._table.close()


def to_table(layout: Layout, records: NDArray[Any], listed: Listed) -> "pa.Table":
    """Return records as an Arrow table of ``schema(layout)``.

    Parameters
    ----------
    layout
        Their layout.
    records
        structured[n].
    listed
        Has every number in them.

    """
    pa = arrow()
    form = schema(layout)
    numbers = records["instrument"].astype(np.int64)
    known = _KNOWN.get(layout.name, {})
    arrays = []
    for name in _NAMES:
        codes = pa.array(numbers.astype(np.int32))
        names = pa.array(listed.names[name], pa.string())
        arrays.append(_dictionary(codes, names))
    for name in _columns(layout):
        column = np.ascontiguousarray(records[name])
        null = None
        if name in known:
            null = (records["flags"].astype(np.int64) >> KNOWN_SHIFT) & known[name] == 0
        elif name.endswith("_ns") or name in _EMPTY_SIDES:
            null = column == 0
        if name in _PRICES or name in _QUANTITIES or name in _FIXED:
            if name in _FIXED:
                decimals = np.full(len(records), _FIXED[name], np.int64)
            else:
                of = listed.price if name in _PRICES else listed.quantity
                decimals = of[numbers]
            values = pa.py_buffer(exact_decimals(column, decimals).tobytes())
            valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
            kind = pa.decimal128(PRECISION, SCALE)
            arrays.append(pa.Array.from_buffers(kind, len(records), [valid, values]))
        else:
            plain = pa.array(column, mask=null, from_pandas=False)
            arrays.append(plain.cast(form.field(name).type))
    return pa.Table.from_arrays(arrays, schema=form)


def _dictionary(codes: Any, names: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    """Return a dictionary column; names that stand several times are one."""
    pa = arrow()
    return pa.DictionaryArray.from_arrays(codes, names).dictionary_decode().dictionary_encode()


class RingFile:
    """The rotating Parquet files of one ring.

    Attributes
    ----------
    files, stored_bytes : int
        Files begun; bytes of the finished ones.

    """

    def __init__(self, ring: str, instruments: Instruments, chosen: ParquetSettings) -> None:
        self.ring, self.layout = ring, RINGS[ring]
        self.files = self.stored_bytes = 0
        self._instruments, self._chosen = instruments, chosen
        self._folder = Path(chosen.folder)
        self._held: list[tuple[NDArray[Any], Listed]] = []
        self._rows = 0
        self._writer: Any = None
        self._path = self._folder
        self._begun = 0.0

    def add(self, records: NDArray[Any]) -> None:
        """Keep records, which are the caller's no longer; write a row group if there are enough."""
        self._held.append((records, self._instruments.follow(records["instrument"])))
        self._rows += len(records)
        if self._rows >= self._chosen.group_rows:
            self.flush()

    def flush(self) -> int:
        """Write what is held as a row group; return its rows.

        Raises
        ------
        ParquetError
            If the disk does not take it; the file is given up, its rows are lost.

        """
        if not self._rows:
            return 0
        held, rows = self._held, self._rows
        self._held, self._rows = [], 0
        parts = [
            to_table(self.layout, np.concatenate([records for records, _ in same]), same[0][1])
            for same in _runs(held)
        ]
        table = arrow().concat_tables(parts).unify_dictionaries().combine_chunks()
        try:
            if self._writer is None:
                self._begin(table.schema)
            self._writer.write_table(table, row_group_size=rows)
        except OSError as error:
            self._abandon()
            raise ParquetError(f"{self._path}: {error}: {rows:,} records are lost") from None
        if self._path.stat().st_size >= self._chosen.rotate_mb * 1e6:
            self.finish()
        return rows

    def rotate_if_due(self) -> None:
        """End the file if it is old enough."""
        if self._writer is not None and time.monotonic() - self._begun >= self._chosen.rotate_s:
            self.finish()

    def finish(self) -> None:
        """Write what is held, end the file and give it its name; the next write begins another.

        Raises
        ------
        ParquetError
            If the disk does not take it.

        """
        self.flush()
        if self._writer is None:
            return
        try:
            self._writer.close()
            self._writer = None
            self.stored_bytes += self._path.stat().st_size
            self._path.rename(self._path.with_name(self._path.name.removesuffix(PART)))
        except OSError as error:
            self._abandon()
            raise ParquetError(f"{self._path}: {error}: the file is lost") from None

    def _begin(self, form: "pa.Schema") -> None:
        moment = time.time_ns()
        stamp = datetime.fromtimestamp(moment // 10**9, UTC).strftime("%Y%m%dT%H%M%S")
        name = f"{self.ring}-{stamp}.{moment % 10**9:09}Z.parquet{PART}"
        self._path = self._folder / name
        self._writer = arrow().parquet.ParquetWriter(
            self._path, form, compression=self._chosen.compression
        )
        self._begun = time.monotonic()
        self.files += 1

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        with contextlib.suppress(OSError):
            if writer is not None:
                writer.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def _runs(
    held: list[tuple[NDArray[Any], Listed]],
) -> Iterator[list[tuple[NDArray[Any], Listed]]]:
    """Yield the stretches of what was kept under the same listing."""
    for _, same in groupby(held, key=lambda each: id(each[1])):
        yield list(same)


def _folder_at(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParquetError(f"{path}: cannot be made: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ParquetError(f"{path}: no permission to write there")


class ParquetAgent:
    """``engine.agent.Agent``; see the module. Its counters are ``COUNTED`` for each ring."""

    def __init__(self, context: AgentContext) -> None:
        chosen = settings(ParquetSettings, context)
        unknown = [ring for ring in chosen.rings if ring not in RINGS]
        if unknown or not chosen.rings:
            raise ConfigError(
                f"{context.where}.rings: found {list(chosen.rings)}, known: {', '.join(RINGS)}"
            )
        arrow()
        self.name = context.name
        self.bell: Doorbell | None = None
        self._context, self._chosen, self._log = context, chosen, context.log
        self._streams: dict[str, _Stream] = {}
        self._instruments: Instruments | None = None

    def start(self) -> None:
        """Make the folder; attach to the rings that are there."""
        _folder_at(Path(self._chosen.folder))
        self.bell = Doorbell.open(self._context.instance, self._chosen.rings[0])
        self._attach()

    def do_work(self) -> int:
        """Take a bounded number of records from each ring; return how many."""
        return sum([stream.take() for stream in self._streams.values()])

    def heartbeat(self) -> None:
        """Look for new rings and instruments; rotate files that are old."""
        if len(self._streams) < len(self._chosen.rings):
            self._attach()
        for stream in self._streams.values():
            stream.rotate_if_due()

    def close(self) -> None:
        """Write what is left and end the files."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        if self._instruments is not None:
            self._instruments.close()
        if self.bell is not None:
            self.bell.close()

    def _attach(self) -> None:
        instance = self._context.instance
        with contextlib.suppress(SegmentNotFound, SegmentNotReady):
            if self._instruments is None:
                table = TableReader.attach(instance, "md.instruments", INSTRUMENT)
                self._instruments = Instruments(table)
            for ring in self._chosen.rings:
                if ring not in self._streams:
                    reader = RingReader.attach(instance, ring, RINGS[ring], start="oldest")
                    file = RingFile(ring, self._instruments, self._chosen)
                    counters = self._context.counters
                    self._streams[ring] = _Stream(reader, file, counters, self._log)


class _Stream:
    """A ring and its file, with the accounts of both."""

    def __init__(
        self,
        reader: RingReader,
        file: RingFile,
        counters: CountersWriter,
        log: logging.Logger,
    ) -> None:
        self._reader, self._file, self._log = reader, file, log
        self._values = counters.values
        self._places = {n: counters.counter(f"{file.ring}.{n}", unit) for n, unit in COUNTED}

    def _count(self, name: str, number: int = 1) -> None:
        self._values[self._places[name]] += number

    def take(self) -> int:
        """Take what there is, a bounded part of it; return the number of records."""
        reader, lost = self._reader, self._reader.lost
        records = reader.poll(POLL_RECORDS).copy()
        self._count("lost", reader.lost - lost)
        if not len(records):
            return 0
        if not reader.intact():
            self._count("lost", len(records))
            return len(records)
        self._count("records", len(records))
        self._try(lambda: self._file.add(records), len(records))
        return len(records)

    def rotate_if_due(self) -> None:
        """End the file if it is old enough."""
        self._try(self._file.rotate_if_due, 0)

    def _try(self, write: Callable[[], object], records: int) -> None:
        files, stored = self._file.files, self._file.stored_bytes
        try:
            write()
        except ParquetError as error:
            self._count("write_errors")
            self._count("dropped", records)
            self._log.error(str(error))
        self._count("files", self._file.files - files)
        self._count("bytes", self._file.stored_bytes - stored)

    def close(self) -> None:
        """Take what is in the ring and end the file."""
        newest = self._reader.newest
        while self._reader.position <= newest and self.take():
            pass
        self._try(self._file.finish, 0)
        self._reader.close()


@contextlib.contextmanager
def kept(folder: Path, **chosen: Any) -> Iterator["Keeper"]:  # noqa: ANN401 - ParquetSettings
    """Write the records of a replay to Parquet files; yields what ``replay`` takes as ``keep``.

    Raises
    ------
    ParquetError
        If pyarrow is missing or the files cannot be written.

    """
    arrow()
    _folder_at(folder)
    keeper = Keeper(ParquetSettings(folder=str(folder), **chosen))
    try:
        yield keeper
        keeper.finish()
    finally:
        keeper.close()


class Keeper:
    """Takes the records of a replay: ``feeds.playback.Keep``."""

    def __init__(self, chosen: ParquetSettings) -> None:
        self._chosen = chosen
        self._files: dict[str, RingFile] = {}
        self._instruments: Instruments | None = None

    def __call__(self, instance: str, ring: str, records: NDArray[Any]) -> None:
        """Keep records of a ring of an instance."""
        if self._instruments is None:
            self._instruments = Instruments(
                TableReader.attach(instance, "md.instruments", INSTRUMENT)
            )
        if ring not in self._files:
            self._files[ring] = RingFile(ring, self._instruments, self._chosen)
        self._files[ring].add(records)

    def finish(self) -> None:
        """End all files."""
        for file in self._files.values():
            file.finish()

    def close(self) -> None:
        """Let go of the instrument table."""
        if self._instruments is not None:
            self._instruments.close()


@takes(ParquetSettings)
def make(context: AgentContext) -> ParquetAgent:
    """Return the agent of kind ``parquet``: entry point ``trade_infra.agents``."""
    return ParquetAgent(context)
