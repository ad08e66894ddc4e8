"""``trade-infra replay``, ``decode``, ``record``, ``parquet`` and ``capture``.

What does the work is imported when it runs.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli import add_command

if TYPE_CHECKING:
    from engine.cli import Subparsers
    from feeds.playback import Keep

_COUNTED = ("trade", "book_delta", "book_top", "funding")
"""Records that are shown even if there are none."""


def register_replay(subparsers: "Subparsers") -> None:
    """Add ``trade-infra replay``."""
    parser = add_command(
        subparsers,
        "replay",
        "put recorded captures through the real rings and worker",
        example="trade-infra replay captures/btcusdt --venue binance_usdm --json",
        description="Put recorded captures through the real rings and worker. Several captures of "
        "one venue are\nredundant lines, numbered from 0: they are merged by time of arrival.",
    )
    add = parser.add_argument
    add(
        "captures",
        nargs="+",
        type=Path,
        metavar="CAPTURE",
        help="a folder with messages.jsonl.gz and index.tsv.gz, a file of the recorder's, or a "
        "folder of them",
    )
    add("--venue", default="", help="whose messages they are: binance_usdm, okx, …")
    add("--instruments", type=Path, metavar="FILE", help="exchange information; else inferred")
    add(
        "--drop",
        type=_drops,
        action="extend",
        default=[],
        metavar="N[,M]",
        help="leave out these frames, numbered as lines of the capture from 0; LINE:N if there "
        "are several captures",
    )
    add(
        "--speed",
        type=_speed,
        default=0.0,
        metavar="FACTOR",
        help="1 as recorded, 10 ten times as fast; as fast as possible without it",
    )
    add("--parquet", type=Path, metavar="DIR", help="keep the records as Parquet files in DIR")
    add("--wait", choices=("spin", "yield", "park"), default="yield", help="the worker's waiting")
    add("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(handler=_replay)


def register_decode(subparsers: "Subparsers") -> None:
    """Add ``trade-infra decode``."""
    parser = add_command(
        subparsers,
        "decode",
        "print the records of recorded frames as JSON lines",
        example="trade-infra decode --venue binance_usdm messages.jsonl.gz | head",
    )
    parser.add_argument(
        "file",
        help="frames, one a line (.gz is understood); - for standard input; a folder with "
        "messages.jsonl.gz; a file of the recorder's, or a folder of them",
    )
    parser.add_argument("--venue", required=True, help="whose frames these are")
    parser.add_argument(
        "--instruments",
        metavar="FILE",
        help="body of the venue's exchange information; without it the decimals are inferred "
        "from the frames",
    )
    parser.set_defaults(handler=_decode)


def _text(native: str | bytes) -> str:
    return native if isinstance(native, str) else native.decode()


def register_record(subparsers: "Subparsers") -> None:
    """Add ``trade-infra record``."""
    parser = add_command(
        subparsers,
        "record",
        "keep the raw frames of a running instance on disk",
        example="trade-infra record --venue binance_usdm --out captures --seconds 60",
    )
    add = parser.add_argument
    add("--instance", default="ti", metavar="NAME", help="the instance to record (default ti)")
    add("--venue", required=True, nargs="+", metavar="VENUE", help="whose raw rings")
    add("--out", required=True, type=Path, metavar="DIR", help="where the files go; made if new")
    add("--seconds", type=float, metavar="N", help="how long; until Ctrl-C without it")
    add("--rotate-mb", type=float, metavar="MB", help="a new file after so many megabytes")
    add("--rotate-s", type=float, metavar="S", help="a new file after so many seconds")
    add("--level", type=int, metavar="N", help="of the compression, 1 to 19")
    add("--json", action="store_true", help="print the counters at the end as a JSON object")
    parser.set_defaults(handler=_record)


def register_parquet(subparsers: "Subparsers") -> None:
    """Add ``trade-infra parquet``."""
    parser = add_command(
        subparsers,
        "parquet",
        "keep the records of a running instance as Parquet files",
        example="trade-infra parquet --out records --rings md.trades md.top --seconds 60",
    )
    add = parser.add_argument
    add("--instance", default="ti", metavar="NAME", help="the instance to read (default ti)")
    add("--out", required=True, type=Path, metavar="DIR", help="where the files go; made if new")
    add("--rings", nargs="+", metavar="RING", help="md.trades …; all without it")
    add("--seconds", type=float, metavar="N", help="how long; until Ctrl-C without it")
    add("--json", action="store_true", help="print the counters at the end as a JSON object")
    parser.set_defaults(handler=_parquet)


def register_capture(subparsers: "Subparsers") -> None:
    """Add ``trade-infra capture info``."""
    parser = add_command(
        subparsers,
        "capture",
        "say what recordings hold",
        example="trade-infra capture info captures",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    info = add_command(actions, "info", "frames, time span, instruments and gaps of recordings")
    info.add_argument("path", nargs="+", type=Path, metavar="PATH", help="folder or file")
    info.add_argument("--json", action="store_true", help="a JSON list instead of text")
    info.set_defaults(handler=_info)


def _record(args: argparse.Namespace) -> int:
    from feeds.foreground import run_agent
    from feeds.recorder import make

    chosen = {"folder": str(args.out), "venues": args.venue}
    for name in ("rotate_mb", "rotate_s", "level"):
        if getattr(args, name) is not None:
            chosen[name] = getattr(args, name)
    needs = [f"md.raw.{venue}" for venue in args.venue]
    counters = run_agent(args.instance, "record", make, chosen, args.seconds, needs)
    _print_counters(counters, args.json)
    return 0


def _parquet(args: argparse.Namespace) -> int:
    from feeds.foreground import run_agent
    from feeds.parquet import make

    chosen = {"folder": str(args.out)} | ({"rings": args.rings} if args.rings else {})
    needs = ["md.instruments", *(args.rings or ())]
    counters = run_agent(args.instance, "parquet", make, chosen, args.seconds, needs)
    _print_counters(counters, args.json)
    return 0


def _print_counters(counters: dict[str, int], as_json: bool) -> None:
    shown = {name: n for name, n in counters.items() if not name.startswith("cycles")}
    if as_json:
        print(json.dumps(shown))
    else:
        for name, count in shown.items():
            print(f"{count:>16,}  {name}")


def _info(args: argparse.Namespace) -> int:
    from feeds.capture import captures_at

    found = [capture.summary() for path in args.path for capture in captures_at(path).values()]
    if args.json:
        print(json.dumps([summary.shown() for summary in found]))
        return 0
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for summary in found:
        for name, value in summary.shown().items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {n:,}" for key, n in value.items())
            elif name in ("instruments", "venues"):
                value = f"{len(value)}: {', '.join(value)}"
            elif isinstance(value, list):
                value = "; ".join(", ".join(f"{k} {v}" for k, v in e.items()) for e in value)
            elif isinstance(value, int) and not isinstance(value, bool) and value < 10**15:
                value = f"{value:,}"
            console.print(
                f"[bold]{name:>14}[/bold]  {value if value != '' else '-'}", soft_wrap=True
            )
        console.print()
    return 0


def _decode(args: argparse.Namespace) -> int:
    from feeds import decode
    from feeds.capture import MESSAGES, PART, SUFFIX

    path = Path(args.file)
    if (path / MESSAGES).exists():
        args.file = str(path / MESSAGES)
    elif path.is_dir() or path.name.removesuffix(PART).endswith(SUFFIX):
        return _decode_recording(path, args)
    return decode.run(args)


def _decode_recording(path: Path, args: argparse.Namespace) -> int:
    """Decode what the recorder kept, with the decimals that it noted."""
    from feeds.adapter import find_venue
    from feeds.capture import addressed, open_capture
    from feeds.decode import decode_frames, read_instruments

    adapter = find_venue(args.venue)
    capture = open_capture(path, args.venue)
    recorded = capture.instruments()
    rows: Iterable[Any] = recorded if recorded is not None else ()
    if args.instruments:
        rows = read_instruments(args.instruments, adapter)
    listed = [
        (_text(each["native"]), int(each["price_decimals"]), int(each["quantity_decimals"]))
        for each in rows
    ]
    for line in decode_frames(adapter, addressed(capture, adapter), listed):
        print(json.dumps(line, separators=(",", ":")))
    return 0


def _drops(text: str) -> list[int | tuple[int, int]]:
    def number(part: str) -> int | tuple[int, int]:
        line, colon, frame = part.partition(":")
        return (int(line), int(frame)) if colon else int(part)

    try:
        return [number(part) for part in text.split(",") if part]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"numbers of frames with commas, N or LINE:N, not {text!r}"
        ) from None


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"a factor above 0, not {text!r}")
    return speed


def _replay(args: argparse.Namespace) -> int:
    from feeds.playback import replay

    def play(keep: "Keep | None") -> dict[str, Any]:
        return replay(
            args.captures, args.venue, args.instruments, args.drop, args.wait, args.speed, keep
        )

    if args.parquet is None:
        result = play(None)
    else:
        from feeds.parquet import kept

        with kept(args.parquet) as keep:
            result = play(keep)
    _warn(result)
    if args.json:
        print(json.dumps(result))
    else:
        _show(result)
    return 0


def _warn(result: dict[str, Any]) -> None:
    """Say on standard error what could not be read."""
    missing = result["missing"]
    if result["damaged"]:
        print(
            f"warning: damaged stretches in the recording: {result['damaged']:,}; gaps in all: "
            f"{missing['gaps']:,}, frames known to be missing: {missing['frames']:,}",
            file=sys.stderr,
        )
    if result["torn_bytes"]:
        print(
            f"warning: the last {result['torn_bytes']:,} bytes of the recording cannot be read: "
            "its recorder was killed, or it is damaged",
            file=sys.stderr,
        )


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width: nothing is to be cut there.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    kinds = [kind for kind, count in result["records"].items() if count or kind in _COUNTED]
    table = Table("instrument", *kinds, "gaps", "state", "best bid", "best ask", box=None)
    for name, each in result["instruments"].items():
        bid, ask = (each[side][0][0] if each[side] else "-" for side in ("bids", "asks"))
        counts = [f"{each[kind]:,}" for kind in kinds]
        table.add_row(name, *counts, str(each["gaps"]), each["state"], bid, ask)
    console.print(table)
    checksums = result["checksums"]
    console.print(
        f"{result['frames']:,} frames in {result['seconds']:.3f} s: "
        f"{result['frames_per_s']:,} frames/s; gaps {result['gaps']}, "
        f"overruns {result['overruns']}, malformed {result['malformed']}, "
        f"rejects {result['rejects'] or 'none'}, "
        f"checksums {checksums['ok']:,} good, {checksums['bad']:,} bad",
        highlight=False,
    )
    for line in result["lines"] if len(result["lines"]) > 1 else []:
        fared = ", ".join(f"{name} {n:,}" for name, n in line.items() if isinstance(n, int))
        console.print(f"{line['capture']}: {fared}", highlight=False)
    if result["missing"]["gaps"]:
        missing = result["missing"]
        console.print(
            f"{missing['gaps']} gaps in the recording, {missing['frames']:,} frames known to be "
            "missing",
            highlight=False,
        )
