"""``trade-infra decode``: recorded frames of a venue, as the records that they become, in JSON.

Reads frames with the venue's own scanner, the one that the market-data worker runs, and prints one
line for each record, or one line that says why a frame gives none. Numbers are strings with their
exact value, never floats.
"""

import argparse
import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.errors import NotFound, TradeInfraError
from engine.records import PADDING
from feeds.message import ITEM, ITEMS_MAX, LEVELS_MAX, UNLINKED, Has, ItemKind, Reject
from feeds.types import INDEX_DECIMALS, RATE_DECIMALS, Flag

if TYPE_CHECKING:
    from feeds.adapter import ExchangeAdapter, InstrumentFields
    from feeds.infer import Inferred

Decimals = Mapping[int, tuple[str, int, int]]
"""Instrument row -> native symbol, price decimals, quantity decimals."""

TEXT, REST_DEPTH = 1, 3
"""``engine.frames.FrameKind``."""


class DecodeError(TradeInfraError):
    """Frames or instruments that cannot be read."""


class FileMissing(NotFound, DecodeError):
    """No file is there to read them from."""


@dataclass(frozen=True, slots=True)
class Record:
    """A public record in the making: the fields of its layout that come from the message."""

    type: str
    """Name of the layout: ``trade``, ``book_delta``, ``book_top``, ``funding``, …"""
    instrument: int
    fields: dict[str, int | None]
    """None for what the message does not carry; the record has the last number known, or 0."""


_PARTS = {
    ItemKind.FUNDING: (
        "funding",
        (
            ("mark_price", "price", Has.MARK),
            ("index_price", "quantity", Has.INDEX),
            ("settle_price", "price_2", Has.SETTLE),
            ("rate", "quantity_2", Has.RATE),
            ("next_funding_ns", "next_ns", Has.NEXT),
            ("open_interest", "extra", Has.INTEREST),
        ),
    ),
    ItemKind.STATS: (
        "stats",
        (
            ("last_price", "price", Has.LAST),
            ("open_price", "price_2", Has.OPEN),
            ("high_price", "quantity_2", Has.HIGH),
            ("low_price", "extra", Has.LOW),
            ("volume", "quantity", Has.VOLUME),
        ),
    ),
}
"""Kinds of items that may carry only some of their numbers: field of the record and of the item."""


def records_of(items: NDArray[np.void], levels: NDArray[np.int64]) -> Iterator[Record]:
    """Yield the records that scanned items become, in the order in which they are published.

    A book item becomes a record for each level, bids first. The last record of every item has
    ``LAST``. The first record of a snapshot has ``CLEAR``, all of them ``SNAPSHOT``; a snapshot
    without levels is one record of side 0 that only clears. An update without levels gives none.
    """
    for item in items:
        kind = ItemKind(int(item["kind"]))
        if kind in (ItemKind.BOOK_UPDATE, ItemKind.BOOK_SNAPSHOT):
            yield from _book_records(item, levels)
            continue
        fields: dict[str, int | None] = {"exchange_ns": int(item["exchange_ns"])}
        if kind in _PARTS:
            name, parts = _PARTS[kind]
            mask = int(item["mask"])
            fields |= {field: int(item[of]) if mask & has else None for field, of, has in parts}
        else:
            name, event = _event_fields(kind, item)
            fields |= event
        fields["flags"] = int(item["flags"]) | Flag.LAST
        yield Record(name, int(item["instrument"]), fields)


def _event_fields(kind: ItemKind, item: np.void) -> tuple[str, dict[str, int]]:
    """Return the record's name and fields of an item that has all its numbers."""
    price, quantity = int(item["price"]), int(item["quantity"])
    if kind == ItemKind.TICKER:
        bid = {"bid_price": price, "bid_quantity": quantity}
        ask = {"ask_price": int(item["price_2"]), "ask_quantity": int(item["quantity_2"])}
        return "book_top", bid | ask | {"update_id": int(item["first_id"])}
    fields = {"price": price, "quantity": quantity}
    if kind == ItemKind.TRADE:
        fields["trade_id"] = int(item["first_id"])
    name = "trade" if kind == ItemKind.TRADE else "liquidation"
    return name, fields | {"side": int(item["side"])}


def _book_records(item: np.void, levels: NDArray[np.int64]) -> Iterator[Record]:
    """Yield the ``book_delta`` records of a book item."""
    snapshot = int(item["kind"]) == ItemKind.BOOK_SNAPSHOT
    rows = [
        (side, *levels[row].tolist())
        for side, name in ((1, "bid"), (-1, "ask"))
        for row in range(
            int(item[f"{name}_start"]), int(item[f"{name}_start"] + item[f"{name}_count"])
        )
    ]
    if snapshot and not rows:
        rows = [(0, 0, 0)]
    for place, (side, price, quantity) in enumerate(rows):
        flags = Flag(int(item["flags"])) | (Flag.SNAPSHOT if snapshot else Flag(0))
        if snapshot and place == 0:
            flags |= Flag.CLEAR
        if place == len(rows) - 1:
            flags |= Flag.LAST
        fields: dict[str, int | None] = {
            "exchange_ns": int(item["exchange_ns"]),
            "price": price,
            "quantity": quantity,
            "update_id": int(item["last_id"]),
            "first_id": int(item["first_id"]),
            "previous_id": int(item["previous_id"]),
            "checksum": int(item["checksum"]),
            "side": side,
            "flags": int(flags),
        }
        yield Record("book_delta", int(item["instrument"]), fields)


def exact(mantissa: int, decimals: int) -> str:
    """Return ``mantissa / 10**decimals`` as decimal text, every decimal written."""
    sign, digits = "-" if mantissa < 0 else "", str(abs(mantissa)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else sign + digits


def flag_names(flags: int) -> list[str]:
    """Return the names of the bits of a record's ``flags``, in lower case."""
    return [str(flag.name).lower() for flag in Flag if flags & flag]


_SIDES = {1: "buy", -1: "sell", 0: "unknown"}
_BOOK_SIDES = {1: "bid", -1: "ask", 0: "none"}
_OMITTED = {"previous_id": UNLINKED, "checksum": 0}
"""What a book message does not have is left out."""


def readable(record: Record, decimals: Decimals) -> dict[str, Any]:
    """Return a record as a JSON object: symbol by name, numbers as exact decimal text.

    A number that the message does not carry is None; ``previous_id`` and ``checksum`` are there
    only where the venue sends them.
    """
    native, price_decimals, quantity_decimals = decimals[record.instrument]
    places = {"open_interest": quantity_decimals, "volume": quantity_decimals}
    places["rate"] = RATE_DECIMALS
    line: dict[str, Any] = {"type": record.type, "symbol": native}
    for name, value in record.fields.items():
        if name in _OMITTED and value == _OMITTED[name]:
            continue
        if value is None:
            line[name] = None
        elif name in places:
            line[name] = exact(value, places[name])
        elif record.type == "funding" and name.endswith("_price"):
            line[name] = exact(value, INDEX_DECIMALS)
        elif name.endswith("price"):
            line[name] = exact(value, price_decimals)
        elif name.endswith("quantity"):
            line[name] = exact(value, quantity_decimals)
        elif name == "side":
            line[name] = (_BOOK_SIDES if record.type == "book_delta" else _SIDES)[value]
        elif name == "flags":
            line[name] = flag_names(value)
        else:
            line[name] = value
    return line


class Decoder:
    """A venue's scanner with buffers and a symbol map of its own, one frame at a time."""

    def __init__(
        self, scan: Callable[..., int], instruments: Iterable[tuple[str, int, int]]
    ) -> None:
        from feeds.symbols import build_symbols

        listed = list(instruments)
        self.decimals: dict[int, tuple[str, int, int]] = dict(enumerate(listed))
        self.rows = {native: row for row, (native, _, _) in enumerate(listed)}
        self._scan = scan
        self._symbols = build_symbols(
            (native, row, price, quantity) for row, (native, price, quantity) in enumerate(listed)
        )
        self._items = np.zeros(ITEMS_MAX, ITEM)
        self._levels = np.zeros((LEVELS_MAX, 2), np.int64)

    def scan(self, frame: bytes, kind: int = TEXT, instrument: int = -1) -> int:
        """Scan a frame; the result is the number of items or a ``Reject``, as ``SCAN`` says."""
        data = np.frombuffer(frame + bytes(PADDING), np.uint8)
        return int(
            self._scan(data, len(frame), kind, instrument, self._symbols, self._items, self._levels)
        )

    def records(
        self, frame: bytes, kind: int = TEXT, instrument: int = -1
    ) -> list[Record] | Reject:
        """Return the records of a frame, or why it gives none."""
        count = self.scan(frame, kind, instrument)
        if count < 0:
            return Reject(count)
        return list(records_of(self._items[:count], self._levels))


def decode_frames(
    adapter: "ExchangeAdapter",
    frames: Iterable[tuple[bytes, str | None]],
    instruments: Iterable[tuple[str, int, int]],
) -> Iterator[dict[str, Any]]:
    """Yield a JSON object for each record of ``frames``, in order, or for each frame without one.

    ``line`` in each is the number of its frame, from 1. A frame that is well-formed and gives no
    record has ``skipped``: its channel, if anything in it tells, and ``why`` (``SKIPPED``). A frame
    that cannot be read has ``error``: the name of the ``Reject`` in lower case.

    Parameters
    ----------
    adapter
        The venue.
    frames
        Each frame, with the URL that it answers if it is a REST body and the URL is known.
    instruments
        Native symbol, price decimals, quantity decimals.

    """
    decoder = Decoder(adapter.scan, instruments)
    for number, (frame, address) in enumerate(frames, 1):
        result = decoder.records(frame)
        message = parsed(frame) if not result or isinstance(result, Reject) else None
        if result == Reject.NOT_COVERED and adapter.is_depth_body(message):
            row = _row(adapter, decoder.rows, message, address)
            if row is not None:
                result = decoder.records(frame, REST_DEPTH, row)
        if not result:  # An update without levels, that only keeps the connection alive.
            result = Reject.NOTHING
        if isinstance(result, Reject):
            yield _without_record(adapter, result, frame, message) | {"line": number}
            continue
        for record in result:
            yield readable(record, decoder.decimals) | {"line": number}


SKIPPED = {Reject.NOT_COVERED: "not covered", Reject.NOTHING: "nothing of interest"}
"""Why a well-formed frame gives no record: its channel has none, or the frame says nothing new."""


def _without_record(
    adapter: "ExchangeAdapter",
    reject: Reject,
    frame: bytes,
    message: Any,  # noqa: ANN401 - any JSON
) -> dict[str, Any]:
    """Return what is said of a frame without records."""
    if reject in SKIPPED:
        return {"skipped": _channel(adapter, frame, message) | {"why": SKIPPED[reject]}}
    return {"error": reject.name.lower()}


def parsed(frame: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return what a frame says as JSON; None if it is none."""
    try:
        return orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None


_EVENT_KEYS = ("topic", "channel", "e", "event", "op")
"""Where messages say what they are, whichever the venue."""


def event_name(message: Any) -> str | None:  # noqa: ANN401 - any JSON
    """Return what a message that names no stream calls itself: its event, its operation; or None.

    Of an array, its first element; of a reply that repeats what it answers (``arg``), the channel.
    """
    if isinstance(message, list) and message:
        message = message[0]
    if not isinstance(message, dict):
        return None
    inner = message.get("arg", message.get("data"))
    for each in (message, inner if isinstance(inner, dict) else {}):
        for key in _EVENT_KEYS:
            if isinstance(name := each.get(key), str) and name:
                return name
    return None


def _channel(
    adapter: "ExchangeAdapter",
    frame: bytes,
    message: Any,  # noqa: ANN401 - any JSON
) -> dict[str, str]:
    """Return the channel of a frame without records, if anything in it tells."""
    name = adapter.stream_of(frame) or event_name(message)
    if name is None and adapter.is_depth_body(message):
        name = "snapshot of an unnamed instrument"
    return {"channel": name} if name else {}


def _row(
    adapter: "ExchangeAdapter",
    rows: Mapping[str, int],
    message: Any,  # noqa: ANN401 - any JSON
    address: str | None,
) -> int | None:
    """Return the instrument row of a depth body: from its address, or the only one there is.

    -1 if the instrument is not listed, None if nothing says which one it is.
    """
    for native, _, _ in adapter.texts_of(message, address):
        if native is not None:
            return rows.get(native, -1)
    return 0 if len(rows) == 1 else None


def _read(path: str, what: str) -> bytes:
    """Return the contents of a file, unpacked if its name ends with ``.gz``; ``-`` is the input."""
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            return cast("BinaryIO", file).read()
    except gzip.BadGzipFile:
        reason = "it is not packed with gzip: rename it without .gz"
    except (EOFError, zlib.error):
        reason = "its end is missing or it is damaged: gzip -t says where"
    except FileNotFoundError:
        raise FileMissing(f"cannot read {what} from {path}: there is no such file") from None
    except OSError as error:
        reason = str(error.strerror or "the system refuses it").lower()
    raise DecodeError(f"cannot read {what} from {path}: {reason}")


def read_frames(path: str) -> list[tuple[bytes, str | None]]:
    """Return a file's frames, one a line, with the URL of each where an index names it.

    The index of a recording is ``index.tsv`` or ``index.tsv.gz`` beside its ``messages.jsonl``
    (line, receive time, channel, address). ``-`` is standard input; ``.gz`` is understood.

    Raises
    ------
    DecodeError
        If the file or its index cannot be read.

    """
    lines = _read(path, "frames").split(b"\n")
    if not lines[-1]:
        lines.pop()
    addresses: dict[int, str] = {}
    if Path(path).name.startswith("messages.jsonl"):
        for name in ("index.tsv", "index.tsv.gz"):
            if (Path(path).parent / name).exists():
                addresses = _addresses(str(Path(path).parent / name))
    return [(line.rstrip(b"\r"), addresses.get(number)) for number, line in enumerate(lines)]


def _addresses(path: str) -> dict[int, str]:
    """Return the addresses of a recording's REST bodies by the number of their line."""
    found = {}
    for number, row in enumerate(_read(path, "the index").splitlines()[1:], 2):
        cells = row.decode(errors="replace").split("\t")
        if len(cells) < 3 or not (cells[0].isdecimal() or not cells[0]):
            raise DecodeError(
                f"cannot read the index from {path}: line {number} is not a line number, "
                "a receive time, a channel and an address with tabs between them"
            )
        if cells[0] and cells[2] == "rest" and len(cells) > 3:
            found[int(cells[0])] = cells[3]
    return found


def inferred(
    adapter: "ExchangeAdapter", frames: Iterable[tuple[bytes, str | None]]
) -> "list[Inferred]":
    """Return the instruments that a set of a venue's frames needs."""
    from feeds.infer import Inference

    inference = Inference(adapter)
    for frame, address in frames:
        inference.add(frame, address)
    return inference.instruments()


def read_instruments(path: str, adapter: "ExchangeAdapter") -> "list[InstrumentFields]":
    """Return the instruments of a file with exchange information, ``.gz`` or plain.

    The file is one answer of the venue, or several, one a line: its pages, its kinds of
    instruments, or later ones of the same. Of an instrument that is there twice the last one wins.

    Raises
    ------
    DecodeError
        If it cannot be read or is something else.

    """
    text = _read(path, "instruments")
    single = parsed(text) is not None
    listed: dict[str, InstrumentFields] = {}
    for number, answer in enumerate([text] if single else text.splitlines(), 1):
        if not answer.strip():
            continue
        try:
            listed |= {each["native"]: each for each in adapter.parse_instruments(answer)}
        except ValueError as error:
            where = path if single else f"{path}, line {number}"
            paths = " or ".join(each.path for each in adapter.instruments_requests())
            raise DecodeError(
                f"{where}: {error} - save what {adapter.exchange.title} answers to {paths}"
            ) from error
    if not listed:
        raise DecodeError(f"{path} lists no instrument of {adapter.name()}")
    return list(listed.values())


def run(args: argparse.Namespace) -> int:
    """Run the command (see ``feeds.cli``)."""
    from feeds.adapter import find_venue

    adapter = find_venue(args.venue)
    frames = read_frames(args.file)
    if args.instruments:
        parsed = read_instruments(args.instruments, adapter)
        listed = [(i["native"], i["price_decimals"], i["quantity_decimals"]) for i in parsed]
    else:
        found = inferred(adapter, frames)
        listed = [(i.native, i.price_decimals, i.quantity_decimals) for i in found]
    write = sys.stdout.buffer.write
    for line in decode_frames(adapter, frames, listed):
        write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return 0
