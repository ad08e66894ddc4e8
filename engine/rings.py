"""``trade-infra rings``: the segments of this machine, seen from outside.

Nothing here needs the cooperation of the processes that own them, nor Numba: the header says it
all.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from engine.cli import add_command
from engine.errors import SegmentError, SegmentNotFound, TradeInfraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.cli import Subparsers
    from engine.segment import Segment

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of a segment; ages in seconds, sizes in bytes."""

    instance: str
    name: str
    kind: str
    layout: str
    capacity: int
    size_bytes: int
    writer: str
    writer_pid: int
    heartbeat_age_s: float
    age_s: float
    epoch: int
    note: str = ""


def describe(instance: str, name: str) -> Row:
    """Return what the header of a segment says; of one that cannot be read, why."""
    from engine import segment as seg

    try:
        segment = seg.attach(instance, name)
    except SegmentError as error:
        return Row(instance, name, "?", "?", 0, 0, "?", 0, 0.0, 0.0, 0, str(error))
    try:
        cells, now = segment.cells, time.time_ns()
        return Row(
            instance=instance,
            name=name,
            kind=seg.Kind(int(cells[seg.KIND])).name.lower(),
            layout=_layout(segment),
            capacity=segment.capacity,
            size_bytes=segment.size,
            writer=_writer(segment),
            writer_pid=int(cells[seg.WRITER_PID]),
            heartbeat_age_s=round((now - int(cells[seg.HEARTBEAT_NS])) / _NS_PER_S, 3),
            age_s=round((now - int(cells[seg.CREATED_NS])) / _NS_PER_S, 1),
            epoch=segment.epoch,
        )
    finally:
        segment.close()


def _writer(segment: "Segment") -> str:
    from engine.segment import KIND, Kind

    if segment.cells[KIND] in (Kind.BELL, Kind.SHARED):
        return "shared"
    return "alive" if segment.writer_alive else "dead"


def _layout(segment: "Segment") -> str:
    from engine.segment import DESCRIPTION_AT

    try:
        text = json.loads(segment.text(DESCRIPTION_AT) or "{}")
        return f"{text['name']} v{text['version']}" if text else "-"
    except (ValueError, KeyError, TypeError):
        return "?"


def use_of(instance: str, name: str) -> str:
    """Return who uses a segment, as the reason not to remove it; "" if nobody does.

    What several processes write (doorbells, rate limits) has no writer of its own: it is in use
    while any other segment of its instance has one.

    Raises
    ------
    SegmentNotFound
        If there is none of that name.

    """
    from engine import segment as seg

    try:
        segment = seg.attach(instance, name)
    except SegmentNotFound:
        raise
    except SegmentError:
        return ""  # Half-made or damaged.
    try:
        shared = segment.cells[seg.KIND] in (seg.Kind.BELL, seg.Kind.SHARED)
        alive, pid = segment.writer_alive, int(segment.cells[seg.WRITER_PID])
    finally:
        segment.close()
    shown = seg.shm_name(instance, name)
    if alive:
        return f"{shown} is being written by process {pid}: stop it first"
    if shared:
        for _, other in seg.list_segments(instance):
            if other != name and seg.is_written(instance, other):
                whose = seg.shm_name(instance, other)
                return f"{shown} is in use while {whose} is being written: stop its writer first"
    return ""


def remove(instance: str, names: "Iterable[str]") -> list[str]:
    """Remove segments that nobody uses: all of them, or none; return their names.

    Raises
    ------
    SegmentNotFound
        If one of them does not exist.
    TradeInfraError
        If one of them is in use.

    """
    from engine.segment import unlink_segment

    wanted = list(dict.fromkeys(names))
    reasons = [reason for reason in (use_of(instance, name) for name in wanted) if reason]
    if reasons:
        others = " - nothing was removed" if len(wanted) > 1 else ""
        raise TradeInfraError("; ".join(reasons) + others)
    for name in wanted:
        unlink_segment(instance, name)
    return wanted


def _list(args: argparse.Namespace) -> None:
    from engine.segment import list_segments

    rows = [describe(*each) for each in list_segments(args.instance)]
    if args.json:
        for row in rows:
            print(json.dumps(asdict(row)))
        return
    heads = ("SEGMENT", "KIND", "LAYOUT", "CAPACITY", "SIZE", "WRITER", "PID", "HEARTBEAT", "AGE")
    lines = [heads] + [
        (
            f"/{row.instance}.{row.name}",
            row.kind,
            row.layout,
            f"{row.capacity:,}",
            _size(row.size_bytes),
            row.writer,
            str(row.writer_pid or "-"),
            _age(row.heartbeat_age_s) if row.writer == "alive" else "-",
            _age(row.age_s),
        )
        for row in rows
    ]
    if not sys.stdout.isatty():
        for line in lines:
            print("\t".join(line))
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )
    for row in rows:
        if row.note:
            print(f"note: {row.note}", file=sys.stderr)


def _size(size_bytes: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes} {unit}"
        size_bytes //= 1024
    return f"{size_bytes} GiB"


def _age(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _remove(args: argparse.Namespace) -> None:
    from engine.segment import list_segments

    if not args.names and not args.all:
        raise UsageError("name the segments to remove, or use --all for all of the instance")
    names = args.names or [name for _, name in list_segments(args.instance)]
    for name in remove(args.instance, names):
        print(f"removed /{args.instance}.{name}")


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra rings``."""
    parser = add_command(
        subparsers, "rings", "list or remove shared-memory segments", example="trade-infra rings ls"
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    each = add_command(verbs, "ls", "list segments", example="trade-infra rings ls --instance ti")
    each.add_argument("--instance", help="of this instance only")
    each.add_argument("--json", action="store_true", help="one JSON object a line")
    each.set_defaults(handler=_list)
    each = add_command(
        verbs,
        "rm",
        "remove segments that nobody uses: all that are named, or none",
        example="trade-infra rings rm --instance ti md.trades",
    )
    each.add_argument("names", nargs="*", metavar="NAME", help="without the instance")
    each.add_argument("--instance", default="ti", help="default: ti")
    each.add_argument("--all", action="store_true", help="every segment of the instance")
    each.set_defaults(handler=_remove)
