"""Recorded captures through the real rings and the real worker process, at any speed.

This process plays the feed (it writes the instrument table and publishes the frames, snapshots and
marks at their recorded place) and a strategy (it reads every record of all rings, without a copy,
and must not lose one), while the worker is started by the supervisor as in production. Frames are
published as fast as the two can take them, or at a multiple of the recorded speed: the bytes in
flight are bounded, so that no ring can be lapped.

Several captures of one venue are redundant lines: they are merged by time of arrival. Where the
venue did not number its book messages yet (OKX before 2023), they are given numbers first, from
their order on all lines together (``ExchangeAdapter.numbered``), so that a hole on one line waits
for the others as it does live; a capture alone stays as it is. The worker
stamps records with the frames' recorded times (``clock = "frame"``), and a change of the instrument
table waits until all frames before it are done, so that the same captures always give the same
bytes; the hashes in the result say whether they did.
"""

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.config import parse
from engine.errors import SegmentError, TradeInfraError, UsageError
from engine.frames import FrameKind, FrameWriter
from engine.records import MARKS
from engine.ring import RingReader
from engine.supervisor import Supervisor
from engine.table import TableReader, TableWriter
from feeds import decode
from feeds.adapter import ExchangeAdapter, InstrumentFields, find_venue
from feeds.capture import TABLE_FIELDS, Capture, Gap, Listing, Message, merge, open_capture
from feeds.decode import exact
from feeds.feed import instrument_record
from feeds.infer import Inference
from feeds.pump import ABOUT, Pump
from feeds.types import (
    BOOK_IMAGE,
    INSTRUMENT,
    RINGS,
    BookState,
    Kind,
    Status,
    TopSource,
)

if TYPE_CHECKING:
    from engine.counters import CountersReader

WORKER = "worker"
RING_OF = {layout.name: ring for ring, layout in RINGS.items()}
"""Record type -> ring."""
FLIGHT_BYTES = 512 << 10
"""Published and not yet read as records. A book level takes at least ten bytes of JSON, so that
the records of this much fit a ring of 65,536; a larger single frame (a snapshot) travels alone."""
FLIGHT_FRAMES = 16_384
CHUNK_BYTES, CHUNK_FRAMES = 256 << 20, 1 << 20
"""What is held in memory at a time; reading the next part is not timed."""
READY_S = 120.0
STALLED_S = 20.0
LEVELS = 10
_POLL_S, _NAP_S = 0.05, 0.000_02

Drop = int | tuple[int, int]
"""A frame to leave out: its number, or the capture's place in the list and its number."""

__all__ = ["Drop", "ReplayError", "replay"]


class ReplayError(TradeInfraError):
    """A capture that cannot be replayed, or a replay that failed."""


class DropError(UsageError, ReplayError):
    """A frame to leave out that is not there."""


def infer_instruments(
    captures: Iterable[Capture], adapter: ExchangeAdapter
) -> list[InstrumentFields]:
    """Return what the captures' frames say about instruments; ticks and lots are of 1.

    Their kind is not in the frames: all are called linear perpetuals.
    """
    inference = Inference(adapter)
    for capture in captures:
        for message in capture.messages():
            inference.add(message.payload, message.url or None)
    return [
        InstrumentFields(
            native=each.native,
            symbol=each.native,
            base="",
            quote="",
            settle="",
            kind=Kind.LINEAR_PERPETUAL,
            status=Status.TRADING,
            price_decimals=each.price_decimals,
            quantity_decimals=each.quantity_decimals,
            tick=1,
            lot=1,
            contract_value=10**8,
            minimum_quantity=1,
            maximum_quantity=0,
            minimum_notional=0,
        )
        for each in inference.instruments()
    ]


def read_instruments(
    path: Path, adapter: ExchangeAdapter, seen: Sequence[str]
) -> list[InstrumentFields]:
    """Return the instruments of an exchange-information file that captures are about.

    ``seen`` are their native symbols.

    Raises
    ------
    ReplayError
        If the file does not have one of them.
    DecodeError
        If it is not exchange information.

    """
    listed = {each["native"]: each for each in decode.read_instruments(str(path), adapter)}
    missing = [native for native in seen if native not in listed]
    if missing:
        raise ReplayError(f"{path}: does not list {', '.join(missing)}, which the capture has")
    return [listed[native] for native in seen]


class Instruments:
    """Who has which row of the replay's instrument table, and what the rows say.

    Attributes
    ----------
    records : structured[n]
        ``feeds.types.INSTRUMENT``, as the replay begins.
    rows : dict[str, int]
        Native symbol -> row.

    """

    def __init__(
        self, captures: Sequence[Capture], adapter: ExchangeAdapter, path: Path | None
    ) -> None:
        known: dict[str, NDArray[Any]] = {}
        silent = []
        for each in captures:
            recorded = each.instruments()
            if recorded is None:
                silent.append(each)
            else:
                for i, native in enumerate(recorded["native"].tolist()):
                    known.setdefault(native.decode(), recorded[i : i + 1].copy())
        inferred = infer_instruments(silent, adapter)
        natives = list(dict.fromkeys([*known, *(each["native"] for each in inferred)]))
        self.fixed = path is not None
        if path is not None:
            inferred = read_instruments(path, adapter, natives)
            known = {}
        venue = adapter.name()
        for fields in inferred:
            known.setdefault(fields["native"], instrument_record(fields, 0, venue))
        if not known:
            where = ", ".join(str(capture.path) for capture in captures)
            raise ReplayError(f"{where}: no message names an instrument of {venue}")
        self.rows = {native: row for row, native in enumerate(natives)}
        self.records = np.concatenate([known[native] for native in natives])
        self.records["instrument"] = range(len(natives))
        self.records["venue"], self.records["updated_ns"] = venue.encode(), 0
        self._now = self.records.copy()

    def changes(self, listing: Listing) -> list[NDArray[Any]]:
        """Return the rows that a recorded table changes, as records of one."""
        changed = []
        for record in () if self.fixed else listing.records:
            row = self.rows[record["native"].decode()]
            new = record.reshape(1).copy()
            new["instrument"], new["version"], new["updated_ns"] = row, 0, 0
            if new.tobytes() != self._now[row : row + 1].tobytes():
                self._now[row] = new[0]
                changed.append(new)
        return changed


class Frame(NamedTuple):
    """What is published for a message; ``row`` is of the replay's instrument table."""

    payload: bytes
    received_ns: int
    kind: int
    row: int
    connection: int
    line: int


class Change(NamedTuple):
    """New rows of the instrument table, records of one each."""

    records: list[NDArray[Any]]


class Playlist:
    """The events of one or several captures as they are to be published.

    Attributes
    ----------
    gaps, lost : int
        Gaps of the recordings so far, and the frames known to be missing there.
    payloads : int
        Frames so far that a scanner sees: not marks.
    frames : Counter[int]
        Frames so far by line.

    """

    def __init__(
        self,
        captures: Sequence[Capture],
        adapter: ExchangeAdapter,
        instruments: Instruments,
        drop: Iterable[Drop],
    ) -> None:
        self.captures, self.instruments = captures, instruments
        self.gaps = self.lost = self.payloads = 0
        self.frames: Counter[int] = Counter()
        self._adapter = adapter
        self._dropped = {self._place(each) for each in drop}
        self._numbered = adapter.numbered(map(_texts, captures)) if len(captures) > 1 else None

    def _place(self, drop: Drop) -> tuple[int, int]:
        """Return capture and number of a frame to leave out."""
        captures = self.captures
        if isinstance(drop, int):
            if len(captures) > 1:
                raise DropError(
                    f"drop {drop}: of which of the {len(captures)} captures? "
                    f"Write LINE:{drop}, with LINE from 0 to {len(captures) - 1}"
                )
            drop = 0, drop
        line, number = drop
        if not 0 <= line < len(captures):
            raise DropError(f"drop {line}:{number}: there are captures 0 to {len(captures) - 1}")
        count = captures[line].numbers
        if not 0 <= number < count:
            raise DropError(f"drop {number}: {captures[line].path} has frames 0 to {count - 1}")
        return line, number

    def chunks(self) -> Iterator["list[Frame] | Change"]:
        """Yield frames, many at a time, and between them the changes of the instrument table."""
        frames: list[Frame] = []
        size = 0
        for index, event in merge(capture.events() for capture in self.captures):
            if isinstance(event, Listing):
                if changed := self.instruments.changes(event):
                    if frames:
                        yield frames
                    frames, size = [], 0
                    yield Change(changed)
                continue
            if isinstance(event, Gap):
                frames += self._gap(index, event)
            elif (index, event.number) not in self._dropped:
                frame = self._frame(index, event)
                if frame is not None:
                    frames.append(frame)
                    self.frames[frame.line] += 1
                    self.payloads += frame.kind not in MARKS
                    size += len(frame.payload)
            if size > CHUNK_BYTES or len(frames) >= CHUNK_FRAMES:
                yield frames
                frames, size = [], 0
        if frames:
            yield frames

    def _frame(self, index: int, message: Message) -> Frame | None:
        """Return the frame of a message; None for a REST answer that is no depth snapshot."""
        native, kind = message.native, message.kind
        if kind == FrameKind.REST_DEPTH and not native:
            native = self._owner(index, message)
            if not native:
                return None
        row = self.instruments.rows.get(native, -1) if native else -1
        payload = message.payload
        if self._numbered is not None and kind == FrameKind.TEXT:
            payload = self._numbered(payload)
        connection, line = message.connection or index + 1, message.line
        if len(self.captures) > 1:
            connection, line = (
                (index << 16) + connection if message.connection else index + 1,
                index,
            )
        return Frame(payload, message.received_ns, kind, row, connection, line)

    def _owner(self, index: int, message: Message) -> str:
        """Return the instrument of a REST answer; "" if it is no depth snapshot.

        A depth answer whose address is not recorded belongs to the only instrument.

        Raises
        ------
        ReplayError
            If there are several.

        """
        body = _decoded(message.payload)
        if not self._adapter.is_depth_body(body):
            return ""
        native = next(self._adapter.texts_of(body, message.url or None))[0]
        rows = self.instruments.rows
        if native is None and len(rows) > 1:
            raise ReplayError(
                f"{self.captures[index].path}, line {message.number}: a depth snapshot of which "
                f"of {', '.join(rows)}? The index has no URL for it"
            )
        return native or next(iter(rows))

    def _gap(self, index: int, gap: Gap) -> list[Frame]:
        """Return the marks by which no book lives on over frames that were not recorded."""
        self.gaps, self.lost = self.gaps + 1, self.lost + gap.lost
        if not gap.after_ns:
            return []  # Nothing came before.
        rows = self.instruments.rows.values()
        line = index if len(self.captures) > 1 else 0
        return [Frame(b"", gap.after_ns, FrameKind.STALE, row, index + 1, line) for row in rows]


def _texts(capture: Capture) -> Iterator[bytes]:
    return (each.payload for each in capture.messages() if each.kind == FrameKind.TEXT)


def _decoded(payload: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


Keep = Callable[[str, str, NDArray[Any]], None]
"""Takes each batch of records, as a copy: instance, ring and structured[n]."""


class Sink:
    """Reads every record of all rings: counts, hashes, and what may never happen.

    Attributes
    ----------
    counts : dict[str, int64[rows]]
        Records by type and instrument.
    crossed : int
        Tops of a book that were called live while the bid was not below the ask.

    """

    def __init__(self, instance: str, rows: int, keep: Keep | None) -> None:
        self.readers = {
            layout.name: RingReader.attach(instance, ring, layout, start="oldest")
            for ring, layout in RINGS.items()
        }
        self.counts = {kind: np.zeros(rows, np.int64) for kind in self.readers}
        self.crossed = 0
        self._hashes = {kind: sha256() for kind in self.readers}
        self._instance, self._keep = instance, keep

    def drain(self) -> int:
        """Read all that is there; return the number of records."""
        total = 0
        for kind, reader in self.readers.items():
            while count := self._batch(kind, reader):
                total += count
        return total

    def _batch(self, kind: str, reader: RingReader) -> int:
        batch = reader.poll()
        count = len(batch)
        if not count:
            return 0
        self._hashes[kind].update(batch.view(np.uint8).data)
        rows = self.counts[kind]
        rows += np.bincount(batch["instrument"], minlength=len(rows))
        if kind == "book_top":
            suspects = (batch["state"] == BookState.LIVE) & (batch["source"] == TopSource.BOOK)
            suspects &= (batch["bid_price"] >= batch["ask_price"]) & (batch["ask_price"] != 0)
            self.crossed += int(np.count_nonzero(suspects & (batch["bid_price"] != 0)))
        kept = batch.copy() if self._keep is not None else batch
        if not reader.intact():
            raise ReplayError(f"{reader.segment.name}: overwritten while it was read")
        if self._keep is not None:
            self._keep(self._instance, RING_OF[kind], kept)
        return count

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were read: must be 0."""
        return sum(reader.lost for reader in self.readers.values())

    def hashes(self) -> dict[str, str]:
        """Return a digest of every record so far, sequence numbers included, by ring."""
        return {RING_OF[kind]: each.hexdigest() for kind, each in self._hashes.items()}

    def close(self) -> None:
        """Detach."""
        for reader in self.readers.values():
            reader.close()


class Pace:
    """When a frame is due: at once, or at a multiple of the recorded speed.

    ``speed`` 0 is as fast as possible; 2 is twice as fast as recorded.
    """

    def __init__(self, speed: float, first_ns: int) -> None:
        self._speed, self._first_ns = speed, first_ns
        self._began = time.monotonic()

    def due(self, times: NDArray[np.int64]) -> int:
        """Return how many frames of ``times`` (never falling, Unix ns) are due by now."""
        if not self._speed:
            return len(times)
        now = self._first_ns + int((time.monotonic() - self._began) * self._speed * 1e9)
        return int(np.searchsorted(times, now, "right"))


class Run:
    """One replay: the rings, the worker, and the figures."""

    def __init__(self, venue: str, instruments: Instruments, wait: str) -> None:
        self.venue, self.instance = venue, f"replay-{os.getpid()}"
        self.frames, self.elapsed_s = 0, 0.0
        self._instruments = instruments
        agent = {"kind": "market-data", "venues": [venue], "clock": "frame"}
        self.config = parse(
            {
                "instance": self.instance,
                "logging": {"level": "warning"},
                "process": [{"name": WORKER, "wait": wait, "restart": False, "agents": [agent]}],
            }
        )

    def go(self, playlist: Playlist, speed: float, keep: Keep | None) -> dict[str, Any]:
        """Replay everything and return the result."""
        chunks = playlist.chunks()
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(tempfile.TemporaryFile("w+b"))
            self._log = log
            # The supervisor ends last: it removes the segments once all writers are gone.
            self._supervisor = Supervisor(self.config, output=log)
            stack.callback(self._supervisor.stop)
            self._writer = FrameWriter.open(self.instance, f"md.raw.{self.venue}")
            stack.callback(self._writer.close)
            records = self._instruments.records
            self._table = TableWriter.open(
                self.instance, f"feed.{self.venue}.instruments", INSTRUMENT, len(records)
            )
            stack.callback(self._table.close)
            for row in range(len(records)):
                self._table.write(row, records[row : row + 1])
            self._supervisor.start()
            if not self._supervisor.ready(READY_S):
                raise self._failed("the worker did not start")
            self._counters = self._attach_counters()
            stack.callback(self._counters.close)
            self._numbered(records)
            self._sink = Sink(self.instance, max(self._numbers.values()) + 1, keep)
            stack.callback(self._sink.close)
            self._play(chunks, speed)
            if self._sink.lost:
                raise self._failed(f"{self._sink.lost:,} records were lost")
            return self._result(playlist)

    def _play(self, chunks: Iterator[list[Frame] | Change], speed: float) -> None:
        """Publish everything, in order; a change of the table when all before it is done."""
        base, pace = -1, Pace(speed, 0)
        for chunk in chunks:
            if isinstance(chunk, Change):
                self._change(chunk)
                continue
            if base < 0:
                base = self._handshake(chunk[0].received_ns)
                pace = Pace(speed, chunk[0].received_ns)
            about = np.empty((len(chunk), ABOUT), np.int64)
            about[:] = [frame[1:] for frame in chunk]
            pump = Pump(self._writer, [frame.payload for frame in chunk], about)
            times = np.maximum.accumulate(about[:, 0])
            started = time.perf_counter()
            base = self._pump(times, pump, base, pace)
            self.elapsed_s += time.perf_counter() - started
            self.frames += len(chunk)

    def _change(self, change: Change) -> None:
        """Write rows of the instrument table; return when the worker has taken them."""
        for record in change.records:
            self._table.write(int(record["instrument"][0]), record)
        for record in change.records:
            self._numbered(record)
        self._sink.drain()

    def _failed(self, what: str) -> ReplayError:
        self._log.seek(0)
        tail = self._log.read().decode(errors="replace").splitlines()[-12:]
        return ReplayError("\n  ".join([what, *tail]))

    def _attach_counters(self) -> "CountersReader":
        from engine.counters import CountersReader

        return CountersReader.attach(self.instance, WORKER, wait_s=READY_S)

    def _watch(self) -> None:
        if self._supervisor.poll():
            raise self._failed("the worker ended")

    def _numbered(self, records: NDArray[Any]) -> None:
        """Wait until the worker has taken ``records``; note native symbol -> number."""
        deadline = time.monotonic() + READY_S
        names = [name for name in TABLE_FIELDS if name != "instrument"]

        def values(record: np.void) -> tuple[bytes, ...]:
            return tuple(record[name].tobytes() for name in names)

        wanted = {values(record) for record in records}
        while time.monotonic() < deadline:
            with contextlib.suppress(SegmentError):
                table = TableReader.attach(self.instance, "md.instruments", INSTRUMENT)
                rows = table.segment.records()[: 4 * len(self._instruments.rows) + 16]
                listed = [(i, row.copy()) for i, row in enumerate(rows) if row["native"]]
                table.close()
                if wanted <= {values(row) for _, row in listed}:
                    self._numbers = {row["native"].decode(): i for i, row in listed}
                    return
            self._watch()
            time.sleep(_POLL_S)
        raise self._failed("the worker did not take the instruments")

    def _frames_begun(self) -> int:
        return self._counters.counters()["frames"]

    def _mark(self, received_ns: int) -> None:
        """Publish a mark that is about no instrument: it only counts as a frame."""
        self._writer.publish(b"", received_ns, FrameKind.STALE, 0, -1)

    def _handshake(self, received_ns: int) -> int:
        """Publish marks until the worker takes one; return how many frames it has taken then."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            before = self._frames_begun()
            self._mark(received_ns)
            for _ in range(20):
                if self._frames_begun() > before:
                    time.sleep(2 * _POLL_S)  # A mark of an earlier round may be on its way too.
                    return self._frames_begun()
                time.sleep(_POLL_S)
            self._watch()
        raise self._failed("the worker does not read the raw ring")

    def _pump(self, times: NDArray[np.int64], pump: Pump, base: int, pace: Pace) -> int:
        """Publish all frames of a pump and read all records; return the worker's count then.

        The worker counts a frame when it begins with it, so that a count of n + 1 says that n are
        done; a mark at the end pushes the last one through.
        """
        values = self._counters.values
        place = self._place("frames")
        ends, total, pushed = pump.starts, len(times), 0
        moved = looked = time.monotonic()
        drained = -1
        while True:
            done = min(max(0, int(values[place]) - base - 1), total)
            # Records that are read while they are written cost the worker its cache lines.
            if done - drained >= (pushed - drained) // 2:
                self._sink.drain()  # After the look: all records of the frames that are done.
                drained = done
                if done == total:
                    return base + total + 1
                target = min(self._target(ends, done, pushed), max(pushed, pace.due(times)))
                if target > pushed:
                    moved = time.monotonic()
                    pump.publish(pushed, target)
                    pushed = target
                    if pushed == total:
                        self._mark(int(times[-1]))
                else:
                    if done >= pushed - 1:  # The last one is done when another one begins.
                        moved = time.monotonic()
                    time.sleep(_NAP_S)
            else:
                time.sleep(_NAP_S)
            now = time.monotonic()
            if now - looked > _POLL_S:
                looked = now
                self._watch()
                if now - moved > STALLED_S:
                    raise self._failed(f"the worker stopped at frame {done:,} of {total:,}")

    @staticmethod
    def _target(ends: NDArray[np.int64], done: int, pushed: int) -> int:
        """Return up to which frame to publish, with ``done`` of them read as records."""
        limit = int(np.searchsorted(ends, ends[done] + FLIGHT_BYTES, "right")) - 1
        return max(pushed, min(max(limit, done + 1), done + FLIGHT_FRAMES, len(ends) - 1))

    def _place(self, name: str) -> int:
        """Return where a counter of the worker's stands."""
        labels = self._counters.labels
        found = np.flatnonzero(labels["name"] == name.encode())
        if not len(found):
            raise self._failed(f"the worker has no counter {name!r}")
        return int(labels[found[0]]["row"])

    def _result(self, playlist: Playlist) -> dict[str, Any]:
        counters, sink = self._counters.counters(), self._sink
        rejects = {
            name.removeprefix(REJECT_PREFIX): count
            for name, count in counters.items()
            if name.startswith(REJECT_PREFIX) and count
        }
        images = TableReader.attach(self.instance, "md.books", BOOK_IMAGE)
        table = TableReader.attach(self.instance, "md.instruments", INSTRUMENT)
        shown = {
            native: _instrument(
                table.read(self._numbers[native]), images.read(self._numbers[native]), sink
            )
            for native in self._instruments.rows
        }
        images.close()
        table.close()
        return {
            "venue": self.venue,
            "frames": self.frames,
            "frames_per_s": round(self.frames / max(self.elapsed_s, 1e-9)),
            "seconds": round(self.elapsed_s, 6),
            "records": {kind: int(count.sum()) for kind, count in sink.counts.items()},
            "gaps": sum(each["gaps"] for each in shown.values()),
            "overruns": counters["overruns"] + sink.lost,
            "malformed": counters["malformed"],
            "rejects": rejects,
            "crossed_live": sink.crossed,
            "checksums": {
                "ok": counters.get("checksums_ok", 0),
                "bad": counters.get("checksums_bad", 0),
            },
            "lines": [_line(line, playlist, counters) for line in sorted(playlist.frames)],
            "missing": {"gaps": playlist.gaps, "frames": playlist.lost},
            "damaged": sum(each.damage.stretches for each in playlist.captures),
            "torn_bytes": sum(each.damage.torn_bytes for each in playlist.captures),
            "instruments": shown,
            "hashes": sink.hashes(),
        }


REJECT_PREFIX = "rejects."


def _line(line: int, playlist: Playlist, counters: dict[str, int]) -> dict[str, Any]:
    """Return what is known of a redundant line: its capture, its frames, how they fared."""
    several = len(playlist.captures) > 1
    capture = playlist.captures[line if several else 0]
    prefix = f"line.{line}."
    fared = {k.removeprefix(prefix): n for k, n in counters.items() if k.startswith(prefix)}
    return {"line": line, "capture": str(capture.path), "frames": playlist.frames[line]} | fared


def _instrument(instrument: np.void, image: np.void, sink: Sink) -> dict[str, Any]:
    row = int(image["instrument"])
    price, quantity = int(instrument["price_decimals"]), int(instrument["quantity_decimals"])

    def side(name: str, count: str) -> list[list[str]]:
        levels = image[name][: min(LEVELS, int(image[count]))].tolist()
        return [[exact(p, price), exact(q, quantity)] for p, q in levels]

    counts: dict[str, Any] = {kind: int(each[row]) for kind, each in sink.counts.items()}
    state = BookState(int(image["state"]))
    return counts | {
        "gaps": int(image["gaps"]),
        "valid": state == BookState.LIVE,
        "state": state.name.lower(),
        "bids": side("bids", "bid_count"),
        "asks": side("asks", "ask_count"),
    }


def replay(
    captures: Path | Sequence[Path],
    venue: str = "",
    instruments: Path | None = None,
    drop: Iterable[Drop] = (),
    wait: str = "yield",
    speed: float = 0.0,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Replay captures and return what ``trade-infra replay --json`` prints.

    ``missing`` says how many gaps the recordings have and how many frames are known to be lost in
    them; ``damaged`` how many stretches of their files could not be read, and ``torn_bytes`` what
    of their ends (a recorder that was killed leaves at most one block unfinished).

    Parameters
    ----------
    captures
        The capture (``feeds.capture``), or several of the same venue: redundant lines, merged by
        time of arrival. The line of a frame is then its capture's place in this list.
    venue
        The venue's name, as in ``trade_infra.venues``; "" takes what the captures say.
    instruments
        A file with the venue's exchange information; without it, what the recorder noted, or
        decimals inferred from the frames.
    drop
        Frames to leave out, as if they had been lost.
    wait
        The worker's way of waiting.
    speed
        Multiple of the recorded speed; 0 is as fast as possible.
    keep
        Is given every record.

    Raises
    ------
    CaptureError
        If a capture cannot be read, or is of another venue.
    ReplayError
        If a capture is unusable, or the replay fails.

    """
    if venue:
        find_venue(venue)
    paths = [captures] if isinstance(captures, Path) else list(captures)
    opened = [open_capture(path, venue) for path in paths]
    venues = {venue or each.venue for each in opened}
    if len(venues) > 1 or "" in venues:
        found = ", ".join(sorted(filter(None, venues))) or "none"
        raise ReplayError(f"whose captures are these? They name {found}: name one venue")
    adapter = find_venue(venues.pop())
    listed = Instruments(opened, adapter, instruments)
    playlist = Playlist(opened, adapter, listed, drop)
    result = Run(adapter.name(), listed, wait).go(playlist, speed, keep)
    if playlist.payloads and sum(result["rejects"].values()) == playlist.payloads:
        raise ReplayError(
            f"{paths[0]}: none of {playlist.payloads:,} frames is a message of {adapter.name()}'s "
            f"({', '.join(result['rejects'])}): is it another venue's capture?"
        )
    return result
