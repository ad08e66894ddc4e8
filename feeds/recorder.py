"""The recorder: kind ``recorder``, a duty-cycle agent that keeps raw rings on disk.

It reads ``md.raw.<venue>`` and ``feed.<venue>.instruments`` of each configured venue and writes the
files that ``feeds.capture`` describes: frames as the feed published them, marks and snapshots
included, and the instrument table at the start of a file and wherever it changed. It is a reader
like any other: the feed does not know of it. A recorder that is too slow, or whose disk is full,
misses frames; they are counted, and a gap in the file says so.

A block goes to the file when it is full or ``flush_s`` old: that much is lost at most if the
recorder is killed. Its successor gives the unfinished file its final name, begins a file of its
own, and goes on in the ring behind the last frame on disk, so that nothing is missing if it comes
back before the ring has gone round.

Counters, for each venue: ``frames``, ``bytes``, ``stored_bytes``, ``blocks``, ``files``,
``recovered`` (files that a killed recorder left), ``overruns`` and ``laps`` (frames overwritten
before they were read, and how often), ``write_errors``, ``dropped`` (frames that could not be
written), ``lag``.
"""

import contextlib
import fcntl
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.counters import CountersWriter
from engine.doorbell import Doorbell
from engine.errors import ConfigError, SegmentNotFound, SegmentNotReady
from engine.frames import FrameReader
from engine.records import FRAME
from engine.segment import CREATED_NS
from engine.table import TableReader
from feeds.adapter import find_venue
from feeds.capture import (
    FORMAT,
    PART,
    SUFFIX,
    BlockKind,
    CaptureError,
    about_of,
    encode_block,
    encode_frames,
    encode_table,
    read_blocks,
    recorded_files,
)
from feeds.instruments import FeedInstruments
from feeds.pump import gather
from feeds.types import INSTRUMENT

FRAMES_PER_CYCLE = 4096
COMPLAIN_S = 10.0
"""A disk that stays full is mentioned this often."""
COUNTED = (
    ("frames", "frames"),
    ("bytes", "bytes"),
    ("stored_bytes", "bytes"),
    ("blocks", "blocks"),
    ("files", "files"),
    ("recovered", "files"),
    ("overruns", "frames"),
    ("laps", "laps"),
    ("write_errors", "errors"),
    ("dropped", "frames"),
)

__all__ = ["CaptureWriter", "Recorder", "RecorderSettings", "make"]


class RecorderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a recorder (its table in the configuration)."""

    folder: str
    venues: tuple[str, ...]
    rotate_mb: float = 256.0
    """A new file after so many megabytes (of 10**6 bytes, compressed) …"""
    rotate_s: float = 3600.0
    """… or seconds, whichever comes first."""
    flush_s: float = 1.0
    """A frame is in the file, safe against the death of the recorder, after this long at most."""
    block_kb: int = 1024
    """Payload of a block; larger ones compress better."""
    level: int = 3
    """zstd's, 1 (quick) to 19 (small)."""
    fsync: Literal["never", "file", "block"] = "file"
    """When the disk is waited for: matters when the machine dies, not when the recorder does."""
    start: Literal["oldest", "latest"] = "oldest"
    """Where to begin in a ring of which no file here has a part yet."""


class CaptureWriter:
    """The rotating capture files of one venue.

    Attributes
    ----------
    files : int
        Files begun.
    stored_bytes : int
        Bytes written to them, those of complete blocks.

    """

    def __init__(self, venue: str, instance: str, ring: int, chosen: RecorderSettings) -> None:
        self.folder, self.venue = Path(chosen.folder), venue
        self.files = self.stored_bytes = 0
        self.table = np.zeros(0, INSTRUMENT.dtype)
        """The instruments that a new file begins with."""
        self._about = {
            "format": FORMAT,
            "venue": venue,
            "instance": instance,
            "ring": ring,
            "frame": f"{FRAME.fingerprint:#x}",
            "instrument": f"{INSTRUMENT.fingerprint:#x}",
        }
        self._chosen = chosen
        self._file, self._good, self._frames = -1, 0, 0
        self._path = self.folder
        self._begun = 0.0

    @property
    def begun(self) -> bool:
        """Whether a file is open."""
        return self._file >= 0

    def write(self, blocks: bytes, frames: int = 0) -> None:
        """Append whole blocks, all or none of them; begin or change the file if it is time to.

        Raises
        ------
        CaptureError
            If the disk does not take them; the file ends as it did before.

        """
        if self._file < 0:
            self._begin()
            blocks = self._head() + blocks
        try:
            self._append(blocks)
            if self._chosen.fsync == "block":
                os.fsync(self._file)
        except OSError as error:
            self._undo()
            raise CaptureError(
                f"{self._path}: {error.strerror} - make room; the recorder goes on, frames are lost"
            ) from None
        self._good += len(blocks)
        self._frames += frames
        self.stored_bytes += len(blocks)
        if self._good >= self._chosen.rotate_mb * 1e6:
            self.finish()

    def rotate_if_due(self) -> None:
        """End the file if it is old enough."""
        if self._file >= 0 and time.monotonic() - self._begun >= self._chosen.rotate_s:
            self.finish()

    def finish(self) -> None:
        """End the file: its last block, and its final name. The next write begins another."""
        if self._file < 0:
            return
        end = encode_block(BlockKind.END, orjson.dumps({"frames": self._frames}), 1)
        try:
            self._append(end)
            self.stored_bytes += len(end)
            if self._chosen.fsync != "never":
                os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._good)  # Readable without its end.
        os.close(self._file)
        self._file = -1
        with contextlib.suppress(OSError):
            _publish(self._path)

    def _begin(self) -> None:
        while True:
            moment = time.time_ns()
            stamp = datetime.fromtimestamp(moment // 10**9, UTC).strftime("%Y%m%dT%H%M%S")
            name = f"{self.venue}-{stamp}.{moment % 10**9:09}Z{SUFFIX}"
            self._path = self.folder / (name + PART)
            try:
                self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise CaptureError(f"{self._path}: cannot be made: {error.strerror}") from None
        fcntl.flock(self._file, fcntl.LOCK_EX)  # Says to other recorders that this one lives.
        self._good = self._frames = 0
        self._begun = time.monotonic()
        self.files += 1

    def _head(self) -> bytes:
        about = self._about | {"begun_ns": time.time_ns()}
        level = self._chosen.level
        return encode_block(BlockKind.ABOUT, orjson.dumps(about), level) + encode_table(
            self.table, level
        )

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def _undo(self) -> None:
        """Take back what of a failed write is in the file; give the file up if that fails too."""
        try:
            os.ftruncate(self._file, self._good)
            os.lseek(self._file, self._good, os.SEEK_SET)
            if self._good:
                return
        except OSError:
            pass
        os.close(self._file)
        self._file = -1
        with contextlib.suppress(OSError):
            if self._good:
                _publish(self._path)
            else:
                self._path.unlink()
                self.files -= 1


def _publish(path: Path) -> None:
    """Give a finished file its final name."""
    path.rename(path.with_name(path.name.removesuffix(PART)))


def recover(folder: Path, venue: str) -> list[Path]:
    """Give the files of dead recorders their final names; return them. Empty ones are removed."""
    recovered = []
    for path in sorted(folder.glob(f"{venue}-*{SUFFIX}{PART}")):
        if path.name.rpartition("-")[0] != venue:
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it lives.
            if path.stat().st_size:
                _publish(path)
                recovered.append(path.with_name(path.name.removesuffix(PART)))
            else:
                path.unlink()
    return recovered


def last_recorded(folder: Path, venue: str, ring: int) -> int:
    """Return the sequence of the last frame of a ring that is on disk, 0 if there is none."""
    last = 0
    for path in reversed(recorded_files(folder, venue)):
        with contextlib.suppress(CaptureError):
            if about_of(path).ring != ring:
                continue
            with read_blocks(path) as blocks:
                last = max((b.last for b in blocks if b.kind == BlockKind.FRAMES), default=0)
            if last:
                break
    return last


class Tap:
    """One venue's raw ring and the file that it goes into."""

    def __init__(
        self,
        venue: str,
        reader: FrameReader,
        table: TableReader,
        writer: CaptureWriter,
        counters: CountersWriter,
        log: logging.Logger,
        chosen: RecorderSettings,
    ) -> None:
        self.venue, self.reader, self.writer = venue, reader, writer
        self._table, self._log, self._chosen = FeedInstruments(table), log, chosen
        self._values = counters.values
        self._places = {name: counters.counter(f"{venue}.{name}", unit) for name, unit in COUNTED}
        self._lag = counters.gauge(f"{venue}.lag", "frames")
        self._payloads = np.zeros(max(chosen.block_kb, 1) * 1024, np.uint8)
        self._about = np.zeros(FRAMES_PER_CYCLE * 16, FRAME.dtype)
        self._frames = self._used = 0
        self._since = 0.0
        self._complained = -COMPLAIN_S
        self._missed, self._why = 0, ""
        self._relisted = False
        self._listed()

    def count(self, name: str, number: int = 1) -> None:
        """Count."""
        self._values[self._places[name]] += number

    def take(self) -> int:
        """Take what the ring has, a bounded part of it; return the number of frames."""
        reader = self.reader
        lost, laps = reader.lost, reader.laps
        batch = reader.poll(FRAMES_PER_CYCLE)
        if reader.lost > lost:
            self._miss(reader.lost - lost, "overrun")
            self.count("laps", reader.laps - laps)
        taken = self._keep(batch) if len(batch) else 0
        if self._frames and time.monotonic() - self._since >= self._chosen.flush_s:
            self.flush()
        return taken

    def _miss(self, frames: int, why: str) -> None:
        self.flush()  # The gap stands behind what came before it.
        self.count("overruns", frames)
        self._missed, self._why = self._missed + frames, why

    def _keep(self, batch: NDArray[Any]) -> int:
        """Copy frames into the block at hand; those that do not fit wait in the ring."""
        now = time.monotonic()
        first = self.reader.position - len(batch)
        self._listed()  # After the poll: what the frames speak of is listed by now.
        lengths = batch["length"]
        fit = int(np.searchsorted(np.cumsum(lengths), len(self._payloads) - self._used, "right"))
        fit = min(fit, len(self._about) - self._frames, len(batch))
        if fit == 0 and self._frames:
            self.flush()
            self.reader.position = first
            return 1  # There is more to do at once.
        if fit == 0:  # A frame that is larger than a block has one of its own.
            largest = len(self.reader.segment.area) // 4
            self._payloads = np.zeros(min(max(int(lengths[0]), 1), largest), np.uint8)
            fit = 1
        about = self._about[self._frames : self._frames + fit].view(np.int64)
        used = gather(
            self.reader.segment.area,
            batch[:fit].view(np.int64),
            fit,
            self._payloads,
            about,
            self._used,
        )
        self.reader.position = first + fit
        if not self.reader.intact():
            self._miss(fit, "overrun")
            self.count("laps")
            return fit
        if not self._frames:
            self._since = now
        self.count("frames", fit)
        self.count("bytes", used - self._used)
        self._frames, self._used = self._frames + fit, used
        if self._used >= len(self._payloads) or self._frames == len(self._about):
            self.flush()
        return fit

    def _listed(self) -> None:
        """Take over what has changed in the instrument table; it goes before the next block."""
        if not self._table.changes():
            return
        self.flush()
        rows = self._table.rows
        self.writer.table = np.array([rows[row] for row in sorted(rows)], INSTRUMENT.dtype)
        self._relisted = True

    def flush(self) -> None:
        """Write the block at hand."""
        frames, used = self._frames, self._used
        self._frames = self._used = 0
        if not frames:
            return
        level, blocks = self._chosen.level, b""
        if self._relisted and self.writer.begun:  # A new file begins with the table anyway.
            blocks = encode_table(self.writer.table, level)
        if self._missed:
            gap = {"lost": self._missed, "reason": self._why}
            blocks += encode_block(BlockKind.GAP, orjson.dumps(gap), level)
        blocks += encode_frames(self._about[:frames], self._payloads[:used].data, level)
        if self._write(blocks, frames):
            self._missed, self._why, self._relisted = 0, "", False
            self.count("blocks")
        else:
            self.count("dropped", frames)
            self._missed, self._why = self._missed + frames, "disk"

    def _write(self, blocks: bytes, frames: int) -> bool:
        writer = self.writer
        stored, files = writer.stored_bytes, writer.files
        try:
            writer.write(blocks, frames)
        except CaptureError as error:
            self.count("write_errors")
            if time.monotonic() - self._complained >= COMPLAIN_S:
                self._complained = time.monotonic()
                self._log.error(str(error))
            return False
        finally:
            self.count("stored_bytes", writer.stored_bytes - stored)
            self.count("files", writer.files - files)
        return True

    def heartbeat(self) -> None:
        """Bring the gauges up to date; rotate by the clock, also in silence."""
        self._values[self._lag] = max(0, self.reader.newest + 1 - self.reader.position)
        self.writer.rotate_if_due()

    def close(self) -> None:
        """Take what is in the ring, end the file, let go of the ring."""
        newest = self.reader.newest
        while self.reader.position <= newest and self.take():
            pass
        self.flush()
        self.writer.finish()
        self.reader.close()
        self._table.close()


class Recorder:
    """``engine.agent.Agent``; see the module."""

    def __init__(self, context: AgentContext) -> None:
        chosen = settings(RecorderSettings, context)
        if not chosen.venues or len(set(chosen.venues)) < len(chosen.venues):
            raise ConfigError(f"{context.where}.venues: found {chosen.venues}: name each once")
        if not 1 <= chosen.level <= 19:
            raise ConfigError(f"{context.where}.level: found {chosen.level}: 1 to 19")
        for venue in chosen.venues:
            find_venue(venue)
        self.name = context.name
        self.bell: Doorbell | None = None
        self.taps: dict[str, Tap] = {}
        self._context, self._chosen = context, chosen

    def start(self) -> None:
        """Make the folder; attach to the rings that are there.

        Raises
        ------
        CaptureError
            If the folder cannot be made or written to.

        """
        folder = Path(self._chosen.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaptureError(f"{folder}: cannot be made: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CaptureError(f"{folder}: no permission to write there")
        self.bell = Doorbell.open(self._context.instance, f"md.raw.{self._chosen.venues[0]}")
        self._attach()

    def do_work(self) -> int:
        """Take a bounded number of frames from each ring; return how many."""
        return sum([tap.take() for tap in self.taps.values()])

    def heartbeat(self) -> None:
        """Look for new rings; rotate files that are old."""
        if len(self.taps) < len(self._chosen.venues):
            self._attach()
        for venue, tap in [*self.taps.items()]:
            tap.heartbeat()
            if tap.reader.segment.removed:  # What replaces it is awaited.
                self._context.log.warning("the ring was removed", extra={"venue": venue})
                del self.taps[venue]
                tap.close()

    def close(self) -> None:
        """Write what is left and end the files."""
        for tap in self.taps.values():
            tap.close()
        self.taps.clear()
        if self.bell is not None:
            self.bell.close()

    def _attach(self) -> None:
        for venue in self._chosen.venues:
            if venue not in self.taps:
                with contextlib.suppress(SegmentNotFound, SegmentNotReady):
                    self.taps[venue] = self._tap(venue)

    def _tap(self, venue: str) -> Tap:
        context, chosen = self._context, self._chosen
        folder, log = Path(chosen.folder), context.log
        with contextlib.ExitStack() as stack:
            table = TableReader.attach(context.instance, f"feed.{venue}.instruments", INSTRUMENT)
            stack.callback(table.close)
            reader = FrameReader.attach(context.instance, f"md.raw.{venue}", start=chosen.start)
            stack.callback(reader.close)
            recovered = recover(folder, venue)
            ring = int(reader.cells[CREATED_NS])
            last = last_recorded(folder, venue, ring)
            if last:
                reader.position = last + 1
            writer = CaptureWriter(venue, context.instance, ring, chosen)
            tap = Tap(venue, reader, table, writer, context.counters, log, chosen)
            tap.count("recovered", len(recovered))
            stack.pop_all()
        log.info("recording", extra={"venue": venue, "at": reader.position})
        return tap


@takes(RecorderSettings)
def make(context: AgentContext) -> Recorder:
    """Return the agent of kind ``recorder``: entry point ``trade_infra.agents``."""
    return Recorder(context)
