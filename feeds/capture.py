"""Recorded frames: one reader for the two forms in which they are kept on disk.

*A folder of text*: ``messages.jsonl.gz`` (one message a line) and ``index.tsv.gz`` (line, receive
time in Unix ns, channel ``ws``, ``rest``, ``sent`` or ``connect``, URL), optionally ``meta.json``
with the ``venue``.

*Files of the recorder* (``feeds.recorder``): ``<venue>-<start>.capture``, ``….capture.part`` while
being written; one file, or a folder of rotated ones. Little-endian. A file is a sequence of blocks,
each a 64-byte header (``HEADER``) and its data, compressed by itself with zstd:

======== ===========================================================================================
about    JSON, first block of a file: format, venue, instance, ``ring`` (when the raw ring was
         made: the sequences of two files are comparable only if it is the same), frame layout
table    JSON list: every row of the feed's instrument table; at the start and after each change
frames   descriptors (``engine.records.FRAME``, transposed: all first bytes, all second bytes, …;
         ``position`` counts from the block's own first payload byte) and the payloads behind them
gap      JSON: frames that the recorder missed before the next block, and why
end      JSON: the file is complete
======== ===========================================================================================

Header and data have a checksum each. A file whose recorder was killed lacks its end, at most its
last block is torn, and everything before it is read as usual; a damaged block elsewhere is skipped
and counted (``Capture.damage``), and its frames are a gap.
"""

import gzip
import heapq
import mmap
import struct
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from engine.errors import NotFound, TradeInfraError
from engine.frames import FrameKind
from engine.records import FRAME, MARKS
from feeds.adapter import ExchangeAdapter, find_venue, venue_names
from feeds.infer import Inference
from feeds.types import INSTRUMENT

FORMAT = "trade-infra capture 1"
SUFFIX = ".capture"
PART = ".part"
MESSAGES, INDEX, META = "messages.jsonl.gz", "index.tsv.gz", "meta.json"

MAGIC = b"TIB1"
HEADER = struct.Struct("<4sHHIIIIqqqqI4x")
"""Magic, ``BlockKind``, 0, stored bytes, plain bytes, frames, CRC-32 of the stored bytes, receive
times of the first and the newest frame, sequences of the first and the last one, CRC-32 of the
header until here."""
_CHECKED = HEADER.size - 8


class _Header(NamedTuple):
    magic: bytes
    kind: int
    zero: int
    stored_bytes: int
    plain_bytes: int
    frames: int
    checksum: int
    first_ns: int
    last_ns: int
    first: int
    last: int
    own_checksum: int


PLAIN_MAX = 1 << 30
"""No block is larger: what claims to be is damage."""

__all__ = [
    "FORMAT",
    "Block",
    "BlockKind",
    "Capture",
    "CaptureError",
    "Event",
    "FolderCapture",
    "Gap",
    "Listing",
    "Message",
    "RecordedCapture",
    "addressed",
    "captures_at",
    "encode_block",
    "encode_frames",
    "encode_table",
    "merge",
    "open_capture",
    "read_blocks",
]


class CaptureError(TradeInfraError):
    """A recording that cannot be read, or written."""


class CaptureNotFound(NotFound, CaptureError):
    """No file or folder is there."""


class BlockKind(IntEnum):
    """What a block of a capture file holds."""

    ABOUT = 1
    TABLE = 2
    FRAMES = 3
    GAP = 4
    END = 5


@dataclass(frozen=True, slots=True)
class Message:
    """A frame as it was in the raw ring, or a message of a text folder.

    ``number`` is its line in ``messages.jsonl``, or its place in the recording, from 0. ``native``
    is the instrument that a depth snapshot or a mark is about, where it is known; ``url`` is what a
    REST body of a text folder answers.
    """

    number: int
    received_ns: int
    kind: int
    payload: bytes
    native: str = ""
    url: str = ""
    connection: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The feed's instruments from here on: structured[n] of ``feeds.types.INSTRUMENT``."""

    records: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that are missing here; ``lost`` is 0 where nobody can know how many."""

    lost: int
    reason: str
    after_ns: int
    """Receive time of the frame before, 0 if there is none."""


Event = Message | Listing | Gap


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a file: its header, and where its data stands."""

    kind: BlockKind
    stored_bytes: int
    plain_bytes: int
    frames: int
    first_ns: int
    last_ns: int
    first: int
    last: int
    data: memoryview

    def content(self) -> bytes:
        """Return the data, decompressed.

        Raises
        ------
        CaptureError
            If it is not what its header says.

        """
        try:
            plain = zstandard.ZstdDecompressor().decompress(self.data, self.plain_bytes)
        except zstandard.ZstdError as error:
            raise CaptureError(f"a block of {self.stored_bytes:,} bytes: {error}") from None
        if len(plain) != self.plain_bytes:
            raise CaptureError(f"a block has {len(plain):,} bytes for {self.plain_bytes:,}")
        return plain

    def json(self) -> Any:  # noqa: ANN401 - JSON
        """Return the data of a JSON block."""
        return orjson.loads(self.content())


@dataclass(slots=True)
class Damage:
    """What of a file could not be read: damaged stretches, and the bytes of a torn end.

    ``frames`` are those of the stretches whose block's header is good: there may be more.
    """

    stretches: int = 0
    torn_bytes: int = 0
    frames: int = 0


def encode_block(
    kind: BlockKind,
    plain: bytes,
    level: int,
    frames: int = 0,
    times: tuple[int, int] = (0, 0),
    sequences: tuple[int, int] = (0, 0),
) -> bytes:
    """Return a whole block, header and compressed data."""
    stored = zstandard.ZstdCompressor(level=level, write_checksum=False).compress(plain)
    sizes = (len(stored), len(plain), frames, zlib.crc32(stored))
    head = HEADER.pack(MAGIC, kind, 0, *sizes, *times, *sequences, 0)[:_CHECKED]
    return head + struct.pack("<I4x", zlib.crc32(head)) + stored


def encode_frames(descriptors: NDArray[Any], payloads: memoryview | bytes, level: int) -> bytes:
    """Return the block of some frames.

    Parameters
    ----------
    descriptors
        Structured[n] of ``FRAME``, n > 0; ``position`` counts from the start of ``payloads``.
    payloads
        Their payloads, one behind the other.
    level
        Of the compression.

    """
    times, sequences = descriptors["received_ns"], descriptors["sequence"]
    raw = np.ascontiguousarray(descriptors).view(np.uint8).reshape(len(descriptors), -1)
    return encode_block(
        BlockKind.FRAMES,
        raw.T.tobytes() + bytes(payloads),
        level,
        len(descriptors),
        (int(times[0]), int(times.max())),
        (int(sequences[0]), int(sequences[-1])),
    )


TABLE_FIELDS = [
    f.name for f in INSTRUMENT.fields if f.name != "version" and not f.name.startswith("reserved")
]
"""What of a row of the instrument table is kept."""


def encode_table(records: NDArray[Any], level: int) -> bytes:
    """Return the block of an instrument table: structured[n] of ``INSTRUMENT``."""
    rows = [{name: _plain(record[name]) for name in TABLE_FIELDS} for record in records]
    return encode_block(BlockKind.TABLE, orjson.dumps(rows), level)


def _plain(value: Any) -> int | str | list[int]:  # noqa: ANN401 - a field of a record
    plain: int | str | list[int] = value.decode() if isinstance(value, bytes) else value.tolist()
    return plain


def decode_table(rows: list[dict[str, Any]]) -> NDArray[Any]:
    """Return the records of a table block; fields that this version does not know are left out."""
    records = np.zeros(len(rows), INSTRUMENT.dtype)
    for record, row in zip(records, rows, strict=True):
        for name in TABLE_FIELDS:
            if name in row:
                value = row[name]
                record[name] = value.encode() if isinstance(value, str) else value
    return records


def _header_at(data: memoryview, at: int) -> _Header | None:
    """Return the header at ``at``, or None if there is no good one."""
    if at + HEADER.size > len(data) or data[at : at + 4] != MAGIC:
        return None
    header = _Header(*HEADER.unpack_from(data, at))
    good = zlib.crc32(data[at : at + _CHECKED]) == header.own_checksum
    return header if good and header.plain_bytes <= PLAIN_MAX else None


def _blocks(data: memoryview, found: mmap.mmap, damage: Damage) -> Generator[Block, None, None]:
    at, known = 0, {int(kind) for kind in BlockKind}
    while at < len(data):
        header = _header_at(data, at)
        start = at + HEADER.size
        end = start + header.stored_bytes if header else len(data) + 1
        if header is None or end > len(data) or zlib.crc32(data[start:end]) != header.checksum:
            at = _next_header(data, found, at, damage, header.frames if header else 0)
            continue
        if header.kind in known:
            _, kind, _, stored, plain, frames, _, first_ns, last_ns, first, last, _ = header
            body, about = data[start:end], (first_ns, last_ns, first, last)
            try:
                yield Block(BlockKind(kind), stored, plain, frames, *about, body)
            finally:
                body.release()
        at = end


def _next_header(data: memoryview, found: mmap.mmap, at: int, damage: Damage, frames: int) -> int:
    """Return where the next good header after ``at`` is, or the end; note what is between.

    ``frames`` are known to be there.
    """
    after = found.find(MAGIC, at + 1)
    while after >= 0 and _header_at(data, after) is None:
        after = found.find(MAGIC, after + 1)
    if after < 0:
        damage.torn_bytes += len(data) - at
        return len(data)
    damage.stretches += 1
    damage.frames += frames
    return after


@contextmanager
def read_blocks(path: Path, damage: Damage | None = None) -> Iterator[Iterator[Block]]:
    """Open a capture file; yields an iterator over its good blocks, in order.

    A block's data is valid until the next one is asked for. ``damage`` is told what is bad.

    Raises
    ------
    CaptureError
        If the file cannot be opened or does not begin as a capture does.

    """
    try:
        with path.open("rb") as file:
            found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise CaptureError(f"{path}: is empty, not a capture") from None
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror}") from None
    with found, memoryview(found) as data:
        if (header := _header_at(data, 0)) is None or header.kind != BlockKind.ABOUT:
            raise CaptureError(f"{path}: does not begin as a capture does")
        blocks = _blocks(data, found, damage if damage is not None else Damage())
        try:
            yield blocks
        finally:
            blocks.close()


@dataclass(frozen=True, slots=True)
class About:
    """What the first block of a file says."""

    venue: str
    instance: str
    ring: int


def _about(path: Path, block: Block) -> About:
    said = block.json()
    if said.get("format") != FORMAT or said.get("frame") != f"{FRAME.fingerprint:#x}":
        raise CaptureError(
            f"{path}: is of the form {said.get('format')!r} with frames {said.get('frame')}; this "
            f"version reads {FORMAT!r} with frames {FRAME.fingerprint:#x}"
        )
    return About(said["venue"], said["instance"], int(said["ring"]))


def about_of(path: Path) -> About:
    """Return what a capture file says of itself.

    Raises
    ------
    CaptureError
        If it is not a capture file of a version that can be read.

    """
    with read_blocks(path) as blocks:
        return _about(path, next(blocks))


@dataclass(slots=True)
class Summary:
    """What a capture holds, as ``trade-infra capture info`` shows it."""

    path: str
    venue: str
    form: str
    frames: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Frames by kind, lower case."""
    payload_bytes: int = 0
    stored_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    instruments: list[str] = field(default_factory=list)
    lines: int = 1
    files: int = 1
    complete: bool = True
    """Whether every file has its end."""
    damaged: int = 0
    """Stretches that could not be read."""
    torn_bytes: int = 0
    gaps: list[Gap] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """Return it as a JSON object, with the times as text too."""
        found = asdict(self) | {"kinds": dict(self.kinds), "gaps": [asdict(g) for g in self.gaps]}
        first, last = (
            datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds") if ns else ""
            for ns in (self.first_ns, self.last_ns)
        )
        seconds = round((self.last_ns - self.first_ns) / 1e9, 3)
        return found | {"first": first, "last": last, "seconds": seconds}


class Capture:
    """A recording of one venue. See the module.

    Attributes
    ----------
    path : Path
    venue : str
        "" if the recording does not say.
    damage : Damage
        What the last pass over ``events`` could not read so far.

    """

    path: Path
    venue: str
    form: str
    damage: Damage

    @property
    def numbers(self) -> int:
        """Return one more than the highest ``number`` that a message may have."""
        raise NotImplementedError

    def events(self) -> Iterator[Event]:
        """Yield what happened, in order: frames, changes of the instrument table, gaps.

        Raises
        ------
        CaptureError
            If the recording is unusable.

        """
        raise NotImplementedError

    def messages(self) -> Iterator[Message]:
        """Yield the messages among ``events``."""
        return (event for event in self.events() if isinstance(event, Message))

    def instruments(self) -> NDArray[Any] | None:
        """Return each recorded instrument as first listed, or None if the form has no table."""
        raise NotImplementedError

    def summary(self) -> Summary:
        """Return what is in it; reads all of it."""
        found = Summary(str(self.path), self.venue, self.form)
        lines = {0}
        for event in self.events():
            if isinstance(event, Gap):
                found.gaps.append(event)
            elif isinstance(event, Message):
                found.frames += 1
                found.kinds[FrameKind(event.kind).name.lower()] += 1
                found.payload_bytes += len(event.payload)
                found.first_ns = found.first_ns or event.received_ns
                found.last_ns = max(found.last_ns, event.received_ns)
                lines.add(event.line)
        found.lines = len(lines)
        listed = self.instruments()
        if listed is not None:
            found.instruments = [each["native"].decode() for each in listed]
        return found


class FolderCapture(Capture):
    """A folder of text: ``messages.jsonl.gz`` and ``index.tsv.gz``."""

    form = "folder"

    def __init__(self, path: Path) -> None:
        self.path, self.damage = path, Damage()
        self._lines: list[bytes] | None = None
        try:
            meta = orjson.loads((path / META).read_bytes())
            self.venue = str(meta.get("venue", "")) if isinstance(meta, dict) else ""
        except (OSError, orjson.JSONDecodeError):
            self.venue = ""

    def _load(self) -> list[bytes]:
        if self._lines is None:
            try:
                lines = gzip.decompress((self.path / MESSAGES).read_bytes()).split(b"\n")
                index = gzip.decompress((self.path / INDEX).read_bytes()).decode().splitlines()
            except FileNotFoundError as error:
                missing = Path(error.filename).name
                raise CaptureError(f"{self.path}: no {missing} in it: not a capture") from None
            except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
                raise CaptureError(f"{self.path}: cannot be read: {error}") from None
            self._lines, self._index = lines[: -1 if lines[-1] == b"" else None], index
            self._match()
        return self._lines

    def _match(self) -> None:
        """Refuse an index that is about fewer or more messages than there are."""
        messages = len(self._lines or ())
        numbers = {row.partition("\t")[0] for row in self._index[1:]} - {""}
        if len(numbers) < messages:
            raise CaptureError(
                f"{self.path}: {INDEX} has lines for {len(numbers):,} messages, {MESSAGES} has "
                f"{messages:,}: {messages - len(numbers):,} would be left out; was it cut short?"
            )
        if len(numbers) > messages:
            raise CaptureError(
                f"{self.path}: {MESSAGES} has {messages:,} messages, {INDEX} has lines for "
                f"{len(numbers):,}: {len(numbers) - messages:,} are missing; was it cut short?"
            )

    @property
    def numbers(self) -> int:
        """Return the number of lines of ``messages.jsonl``."""
        return len(self._load())

    def events(self) -> Iterator[Event]:
        """Yield what came from the venue, in order; REST bodies as REST_DEPTH."""
        lines, found = self._load(), False
        for number, row in enumerate(self._index[1:], 2):
            line, received_ns, channel, url = (row.split("\t") + [""] * 4)[:4]
            if not line or channel not in ("ws", "rest"):
                continue
            kind = FrameKind.REST_DEPTH if channel == "rest" else FrameKind.TEXT
            try:
                payload = lines[int(line)]
                message = Message(int(line), int(received_ns), kind, payload, url=url)
            except (ValueError, IndexError):
                raise CaptureError(
                    f"{self.path}/{INDEX}, line {number}: {row!r} is wrong"
                ) from None
            found = True
            yield message
        if not found:
            raise CaptureError(f"{self.path}: has no messages")

    def instruments(self) -> NDArray[Any] | None:
        """Return None: a folder of text says nothing about instruments."""
        return None

    def summary(self) -> Summary:
        """Return what is in it."""
        found = super().summary()
        if self.venue in venue_names():
            inference = Inference(find_venue(self.venue))
            for message in self.messages():
                inference.add(message.payload, message.url or None)
            found.instruments = [each.native for each in inference.instruments()]
        found.stored_bytes = sum((self.path / each).stat().st_size for each in (MESSAGES, INDEX))
        return found


class RecordedCapture(Capture):
    """Files of the recorder, of one venue, in the order of their time."""

    form = "recorded"

    def __init__(self, path: Path, files: list[Path], venue: str) -> None:
        self.path, self.files, self.venue, self.damage = path, files, venue, Damage()
        self._count: int | None = None

    @property
    def numbers(self) -> int:
        """Return the number of frames in all files."""
        if self._count is None:
            self._count = 0
            for path in self.files:
                with read_blocks(path) as blocks:
                    self._count += sum(block.frames for block in blocks)
        return self._count

    def instruments(self) -> NDArray[Any] | None:
        """Return each instrument that a table lists, as it was listed first."""
        found: dict[bytes, NDArray[Any]] = {}
        for path in self.files:
            with read_blocks(path) as blocks:
                for block in blocks:
                    if block.kind == BlockKind.TABLE:
                        for record in decode_table(block.json()):
                            found.setdefault(bytes(record["native"]), record.reshape(1))
        return np.concatenate(list(found.values())) if found else np.zeros(0, INSTRUMENT.dtype)

    def events(self) -> Iterator[Event]:
        """Yield frames, tables and gaps of all files."""
        reading = _Reading()
        self.damage = reading.damage
        for path in self.files:
            with read_blocks(path, reading.damage) as blocks:
                reading.begin(_about(path, next(blocks)))
                for block in blocks:
                    yield from reading.take(block)
        yield from reading.end()

    def summary(self) -> Summary:
        """Return what is in it."""
        found = super().summary()
        damage, ends = Damage(), 0
        for path in self.files:
            found.stored_bytes += path.stat().st_size
            with read_blocks(path, damage) as blocks:
                ends += any(block.kind == BlockKind.END for block in blocks)
        found.files, found.complete = len(self.files), ends == len(self.files)
        found.damaged, found.torn_bytes = damage.stretches, damage.torn_bytes
        return found


class _Reading:
    """Where a pass over the files of a recording stands."""

    def __init__(self) -> None:
        self.damage = Damage()
        self._stretches = self._damaged = 0
        self._ring = self._next = self._count = self._last_ns = 0
        self._natives: dict[int, str] = {}
        self._reason = ""
        self._new_ring = False

    def begin(self, about: About) -> None:
        """Begin a file."""
        self._new_ring = self._ring not in (0, about.ring)
        if about.ring != self._ring:
            self._next = 0
        self._ring = about.ring

    def take(self, block: Block) -> Iterator[Event]:
        """Yield the events of a block."""
        if block.kind == BlockKind.TABLE:
            records = decode_table(block.json())
            self._natives = {int(r["instrument"]): r["native"].decode() for r in records}
            yield Listing(records)
        elif block.kind == BlockKind.GAP:
            self._reason = str(block.json().get("reason", ""))
        elif block.kind == BlockKind.FRAMES:
            yield from self._frames(block)

    def end(self) -> Iterator[Event]:
        """Yield what is missing behind the last frame."""
        stretches, lost = self._damage()
        if stretches:
            yield Gap(lost, "damaged", self._last_ns)

    def _damage(self) -> tuple[int, int]:
        """Return the damaged stretches since the last call, and how many frames they surely had."""
        before = self._stretches, self._damaged
        self._stretches, self._damaged = self.damage.stretches, self.damage.frames
        return self._stretches - before[0], self._damaged - before[1]

    def _before(self, block: Block) -> Iterator[Event]:
        """Yield what is missing before a block of frames."""
        stretches, lost = self._damage()
        unrecorded = "damaged" if stretches else "not recorded"
        if self._new_ring:
            yield Gap(lost, "another ring", self._last_ns)
        elif self._next and block.first > self._next:
            yield Gap(block.first - self._next, self._reason or unrecorded, self._last_ns)
        elif not self._next and stretches:
            yield Gap(lost, "damaged", self._last_ns)
        self._new_ring, self._reason = False, ""

    def _frames(self, block: Block) -> Iterator[Event]:
        yield from self._before(block)
        size = FRAME.dtype.itemsize
        plain = block.content()
        head = np.frombuffer(plain, np.uint8, block.frames * size).reshape(size, -1)
        about = np.ascontiguousarray(head.T).view(FRAME.dtype)[:, 0]
        columns = ("sequence", "received_ns", "position", "length", "kind", "connection")
        start, count = block.frames * size, self._count
        self._count += block.frames
        for place, (
            sequence,
            received_ns,
            position,
            length,
            kind,
            connection,
            row,
            line,
        ) in enumerate(
            zip(*(about[n].tolist() for n in (*columns, "instrument", "line")), strict=True)
        ):
            if sequence < self._next:
                continue  # Two recorders took the same ring: what is known already.
            payload = plain[start + position : start + position + length]
            native = self._natives.get(row, "")
            yield Message(count + place, received_ns, kind, payload, native, "", connection, line)
        self._next = max(self._next, block.last + 1)
        self._last_ns = max(self._last_ns, block.last_ns)


def captures_at(path: Path) -> dict[str, Capture]:
    """Return the recordings at a place by venue: one, or as many as a folder of files has.

    Parameters
    ----------
    path
        A folder of either form, ``messages.jsonl.gz`` in one, or a capture file.

    Raises
    ------
    CaptureError
        If there is nothing of the kind.

    """
    if path.name == MESSAGES and path.is_file():
        path = path.parent
    if (path / MESSAGES).exists() or (path / INDEX).exists():
        folder = FolderCapture(path)
        return {folder.venue: folder}
    if path.is_file():
        about = about_of(path)
        return {about.venue: RecordedCapture(path, [path], about.venue)}
    if not path.is_dir():
        raise CaptureNotFound(f"{path}: there is no such file or folder")
    files: dict[str, list[Path]] = {}
    for each in recorded_files(path):
        files.setdefault(about_of(each).venue, []).append(each)
    if not files:
        raise CaptureError(f"{path}: neither {MESSAGES} nor a file *{SUFFIX} in it: not a capture")
    return {venue: RecordedCapture(path, found, venue) for venue, found in files.items()}


def recorded_files(folder: Path, venue: str = "") -> list[Path]:
    """Return the capture files of a folder by age, those being written included.

    Empty files are left out: a recorder makes one before it writes to it.
    """
    found = [
        *folder.glob(f"{venue or '*'}-*{SUFFIX}"),
        *folder.glob(f"{venue or '*'}-*{SUFFIX}{PART}"),
    ]
    ours = [each for each in found if not venue or each.name.rpartition("-")[0] == venue]
    return sorted((p for p in ours if p.stat().st_size), key=lambda p: p.name.rpartition("-")[2])


def open_capture(path: Path, venue: str = "") -> Capture:
    """Return the recording of ``venue`` at a place; "" takes the only one there is.

    Raises
    ------
    CaptureError
        If there is none, it is of another venue, or there are several to choose from.

    """
    found = captures_at(path)
    if venue in found:
        return found[venue]
    only = next(iter(found.values()))
    if len(found) == 1 and (not venue or not only.venue):
        return only
    names = ", ".join(sorted(found))
    if venue:
        raise CaptureError(f"{path}: is a capture of {names}, not of {venue}")
    raise CaptureError(f"{path}: has captures of {names}: name one of these venues")


def addressed(capture: Capture, adapter: ExchangeAdapter) -> Iterator[tuple[bytes, str | None]]:
    """Yield what ``feeds.decode.decode_frames`` takes: frames, and what REST bodies answer.

    The feed's own marks are left out.
    """
    for message in capture.messages():
        if message.kind in MARKS:
            continue
        address = message.url or None
        if message.kind == FrameKind.REST_DEPTH and message.native:
            request = adapter.depth_request(message.native)
            address = request.path if request is not None else None
        yield message.payload, address


def merge(streams: Iterable[Iterable[Event]]) -> Iterator[tuple[int, Event]]:
    """Yield (index of the stream, event) of several recordings, in the order of receive times.

    The order within a recording stays as it is. Equal times go in the order of the streams.
    """

    def keyed(index: int, events: Iterable[Event]) -> Iterator[tuple[int, int, Event]]:
        now = 0
        for event in events:
            if isinstance(event, Message):
                now = max(now, event.received_ns)  # A clock that was set back must not reorder.
            yield now, index, event

    several = [keyed(index, events) for index, events in enumerate(streams)]
    for _, index, event in heapq.merge(*several, key=lambda each: each[:2]):
        yield index, event
