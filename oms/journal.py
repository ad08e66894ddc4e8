"""The journal on disk: everything that came in and everything that was decided, in one order.

A directory of chunks, ``journal-<first sequence>.ti``: a head of ``HEAD_WORDS`` words, then records
(``oms.emit``), then zeros. A chunk has its full size from the start and is mapped, so that writing
a record is a copy in memory: no call, no lock.

What survives: a record survives the death of the process the moment it is written, because the
kernel owns the pages. A power cut loses at most what was written since the last ``fdatasync``,
which a thread calls every ``sync_ms`` (0: never; the kernel then writes when it likes, within half
a minute). The venue has what was lost, and the reconciliation at the start finds it.

A chunk that does not verify is refused, not repaired: what stands behind the damage would be lost.
"""

import contextlib
import fcntl
import logging
import mmap
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.errors import TradeInfraError
from gateways.types import REPORT
from oms.decisions import DECISION_WORDS
from oms.emit import JOURNAL_HEAD, JOURNAL_ROOM, Record
from oms.loop import find_record
from oms.state import COMMAND_WORDS, INTENT_WORDS, REPORT_WORDS, Words
from oms.types import COMMAND, INTENT, LIMITS

MAGIC = int.from_bytes(b"TIJOURNL", "little")
VERSION = 1
HEAD_WORDS = 64
CHUNK_BYTES = 64 << 20
_MAGIC, _VERSION, _LAYOUT, _FIRST, _CREATED_NS, _BASE = range(6)
_TAIL_WORDS = 2 * JOURNAL_ROOM
"""Behind the last whole record at most so many words may not be zero: one that was cut short."""

__all__ = [
    "CHUNK_BYTES",
    "Entry",
    "JournalDamaged",
    "JournalError",
    "JournalWriter",
    "chunks",
    "entries",
]


class JournalError(TradeInfraError):
    """A journal that cannot be used."""


class JournalDamaged(JournalError):
    """Records are missing or altered in the middle of a journal."""


def layout_digest() -> int:
    """Return a hash of all that the records' meaning depends on."""
    parts = [layout.describe() for layout in (INTENT, REPORT, COMMAND)]
    parts += [str(DECISION_WORDS), str([name for name, _, _ in LIMITS])]
    digest = blake2b("\n".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") & (2**63 - 1)


def chunks(folder: Path) -> list[Path]:
    """Return a journal's chunks, oldest first."""
    return sorted(folder.glob("journal-*.ti"))


def _map(path: Path, write: bool) -> tuple[mmap.mmap, Words]:
    access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
    with path.open("r+b" if write else "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=access)
    return mapped, np.frombuffer(mapped, np.int64)


def check_head(path: Path, words: Words) -> None:
    """Raise JournalError unless a chunk is one that this version can read."""
    if len(words) < HEAD_WORDS or words[_MAGIC] != MAGIC:
        raise JournalError(f"{path}: not a chunk of a journal")
    if words[_VERSION] != VERSION:
        raise JournalError(f"{path}: version {words[_VERSION]}, this one reads {VERSION}")
    if words[_LAYOUT] != layout_digest():
        raise JournalError(
            f"{path}: written by a version with other records: start that one, close all orders, "
            "and begin a new journal"
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a journal."""

    kind: Record
    sequence: int
    time_ns: int
    owner: int
    source: int
    body: Words

    def decoded(self) -> Any:  # noqa: ANN401 - a structured record
        """Return the body of a REPORT, a COMMAND, or the intent of a DECISION as a record."""
        layouts = {
            Record.REPORT: (REPORT, REPORT_WORDS),
            Record.COMMAND: (COMMAND, COMMAND_WORDS),
            Record.DECISION: (INTENT, INTENT_WORDS),
        }
        layout, words = layouts[self.kind]
        return self.body[:words].view(layout.dtype)[0]


def entry_at(words: Words, at: int) -> Entry:
    """Return the record at word ``at``, which is known to be whole."""
    head = int(words[at])
    count = head & 0xFFFFFFFF
    return Entry(
        Record(head >> 40 & 0xFF),
        int(words[at + 1]),
        int(words[at + 2]),
        head >> 32 & 0xFF,
        int(words[at + 3]),
        words[at + JOURNAL_HEAD : at + count - 1].copy(),
    )


def length_of(words: Words, at: int, sequence: int) -> int:
    """Return the words of the whole record ``sequence`` at ``at``; 0 if there is none."""
    return int(find_record(words, at, sequence))


def check_end(path: Path, words: Words, at: int, is_last: bool) -> None:
    """Raise JournalDamaged if records stand behind the end of what is whole."""
    rest = words[at:] if not is_last else words[at + _TAIL_WORDS :]
    if rest.any():
        raise JournalDamaged(
            f"{path}: damaged at byte {at * 8:,}: what follows cannot be read. Keep a copy; "
            f"`trade-infra journal cut {path.parent}` gives up what follows and starts from there"
        )


def entries(folder: Path) -> Iterator[Entry]:
    """Yield all records, oldest first.

    Raises
    ------
    JournalError, JournalDamaged
        If a chunk cannot be read, or records are missing.

    """
    paths = chunks(folder)
    sequence = 0
    for path in paths:
        mapped, words = _map(path, write=False)
        try:
            check_head(path, words)
            if sequence and words[_FIRST] != sequence + 1:
                raise JournalDamaged(f"{path}: begins at {words[_FIRST]}, not {sequence + 1}")
            sequence, at = int(words[_FIRST]) - 1, HEAD_WORDS
            while count := length_of(words, at, sequence + 1):
                sequence += 1
                yield entry_at(words, at)
                at += count
            check_end(path, words, at, path == paths[-1])
        finally:
            del words
            # An error on its way still has the words: they go with it.
            with contextlib.suppress(BufferError):
                mapped.close()


class JournalWriter:
    """The one writer of a journal; ``open_at`` gives the loop a chunk to write to.

    Attributes
    ----------
    words : int64[chunk]
        The present chunk.
    base : int
        A number of the journal as a whole (when it was begun, Unix ns): requests are numbered from
        it on.

    """

    def __init__(self, folder: Path, chunk_bytes: int, sync_ms: int, log: logging.Logger) -> None:
        self.folder, self._bytes, self._log = folder, chunk_bytes, log
        self._sync_s = sync_ms / 1000
        self._lock: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._file: IO[bytes] | None = None
        self._next: Path | None = None
        self.words: Words = np.zeros(0, np.int64)
        self.base = 0
        self.syncs = 0
        self.failure: OSError | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._using = threading.Lock()
        """Held while a chunk is taken into use, and while it is written to the disk."""

    def open(self) -> None:
        """Take the folder, made if need be, for ourselves.

        Raises
        ------
        JournalError
            If another process has it, or it cannot be made.

        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (self.folder / "lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{self.folder}: another OMS writes this journal") from None
        except OSError as error:
            raise JournalError(f"{self.folder}: {error.strerror}") from None
        for left in self.folder.glob("*.new"):
            left.unlink()

    def read(self) -> Iterator[tuple[Path, Words, bool]]:
        """Yield each chunk that is there: its path, its words, whether it is the last."""
        paths = chunks(self.folder)
        for path in paths:
            mapped, words = _map(path, write=False)
            try:
                check_head(path, words)
                self.base = self.base or int(words[_BASE])
                yield path, words, path == paths[-1]
            finally:
                del words
                with contextlib.suppress(BufferError):
                    mapped.close()

    def open_at(self, sequence: int, at: int) -> int:
        """Go on behind record ``sequence``, at word ``at`` of the last chunk; return the word.

        What an unfinished record left there is cleared, so that the end is where the zeros begin.
        """
        paths = chunks(self.folder)
        if not paths:
            at = HEAD_WORDS
            self._begin(self._make(sequence + 1), sequence + 1)
        else:
            self._use(paths[-1])
            self.words[at:] = 0
        self._thread = threading.Thread(target=self._keep, name="journal", daemon=True)
        self._thread.start()
        return at

    def rotate(self, sequence: int) -> int:
        """Begin the next chunk, behind record ``sequence``; return its first word.

        Raises
        ------
        JournalError
            If there is no room on the disk.

        """
        ready, self._next = self._next, None
        self._begin(ready or self._make(sequence + 1), sequence + 1)
        return HEAD_WORDS

    def _make(self, first: int) -> Path:
        """Make an empty chunk under a name that nobody reads."""
        path = self.folder / f"{first}.new"
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._bytes)
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            size = self._bytes >> 20
            raise JournalError(
                f"{path}: no {size} MiB for the next chunk: {error.strerror}"
            ) from None
        return path

    def _begin(self, path: Path, first: int) -> None:
        with self._using:
            self._use(path)
        now = time.time_ns()
        self.base = self.base or now
        words = self.words
        words[_LAYOUT], words[_FIRST], words[_CREATED_NS] = layout_digest(), first, now
        words[_BASE], words[_VERSION], words[_MAGIC] = self.base, VERSION, MAGIC
        os.rename(path, self.folder / f"journal-{first:020d}.ti")
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _use(self, path: Path) -> None:
        """Map a chunk, with its pages at hand, in the place of the one before."""
        before, old = self._file, self._map
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._map.madvise(mmap.MADV_WILLNEED)
        self.words = np.frombuffer(self._map, np.int64)
        if before is not None:
            os.fdatasync(before.fileno())
            before.close()
        del old  # Unmapped once nobody has a view of it any more.

    def _keep(self) -> None:
        """Write to the disk what is new, and have the next chunk ready, until stopped."""
        while not self._stop.wait(self._sync_s or 1.0):
            try:
                if self._sync_s:
                    self._sync()
                if self._next is None:
                    self._next = self._make(time.time_ns())
                self.failure = None
            except (OSError, ValueError, JournalError) as error:  # Closed meanwhile, or no room.
                if isinstance(error, OSError) and self.failure is None:
                    self._log.error(f"journal: {error}")
                    self.failure = error

    def _sync(self) -> None:
        with self._using:
            if self._file is not None:
                os.fdatasync(self._file.fileno())
                self.syncs += 1

    def close(self) -> None:
        """Write everything to the disk and let go of the folder."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            os.fdatasync(self._file.fileno())
            self._file.close()
        self.words = np.zeros(0, np.int64)
        if self._next is not None:
            self._next.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()


def cut(folder: Path) -> int:
    """Give up what stands behind the first damage; return the last sequence that is whole.

    Later chunks are renamed to ``….damaged`` and the rest of the damaged one is cleared.
    """
    paths = chunks(folder)
    sequence = 0
    for place, path in enumerate(paths):
        mapped, words = _map(path, write=True)
        try:
            check_head(path, words)
            if sequence and words[_FIRST] != sequence + 1:
                _set_aside(paths[place:])
                return sequence
            sequence, at = int(words[_FIRST]) - 1, HEAD_WORDS
            while count := length_of(words, at, sequence + 1):
                sequence += 1
                at += count
            if words[at:].any():
                words[at:] = 0
                _set_aside(paths[place + 1 :])
                return sequence
        finally:
            del words
            with contextlib.suppress(BufferError):
                mapped.close()
    return sequence


def _set_aside(paths: list[Path]) -> None:
    for path in paths:
        path.rename(path.with_suffix(".damaged"))
