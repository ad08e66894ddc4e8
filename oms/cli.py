"""The command line of ``oms``: ``trade-infra demo``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli import add_command
from engine.errors import ConfigError, TradeInfraError

if TYPE_CHECKING:
    from engine.cli import Subparsers
    from oms.demo_config import DemoOptions

LINES_MAX = 4
"""More lines than this cost more than they save."""

_DESCRIPTION = """\
Start the simulated venues, a feed and a gateway for each, one market-data worker for all, an OMS, a
market maker and two sample strategies as separate processes, and watch books, trades, orders,
positions, risk, ring lag and latencies. Needs no keys and no network. Ctrl-C stops everything and
leaves nothing behind.

The same processes read the real venues with --environment live, or with that one line changed in
what --write-config writes."""


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra demo``."""
    parser = add_command(
        subparsers,
        "demo",
        "the whole way from a venue's socket to two strategies, on one screen",
        example="trade-infra demo --seconds 20 --json",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add("--seconds", type=float, metavar="N", help="stop after so long (default: at Ctrl-C)")
    add("--json", action="store_true", help="no screen; one JSON object as the last line")
    add("--instance", default="", metavar="NAME", help="default: demo-<pid>")
    add("--environment", choices=("simulator", "live", "testnet"), default="simulator")
    add(
        "--venues",
        type=_names,
        metavar="A,B",
        help="default: binance_usdm,binance_spot,okx,bybit",
    )
    add(
        "--symbols",
        type=_names,
        metavar="A,B",
        help="unified or native symbols, each for the venues that have it (default: "
        "BTC/USDT,ETH/USDT,BTC/USDT:USDT,ETH/USDT:USDT)",
    )
    add("--lines", type=int, default=1, metavar="N", help="redundant lines a venue (default: 1)")
    add("--seed", type=int, default=1, help="of the simulated venues (default: 1)")
    add("--rate", type=float, default=2000.0, help="its orders a second (default: 2000)")
    add("--watch-only", action="store_true", help="no gateways, no OMS, no market maker")
    add("--verbose", action="store_true", help="the processes' logs on standard error")
    add("--write-config", type=Path, metavar="FILE", help="write the TOML for `up`, run nothing")
    parser.set_defaults(handler=_demo)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _options(args: argparse.Namespace) -> "DemoOptions":
    from oms.demo_config import DemoOptions

    if args.seconds is not None and args.seconds < 0:
        raise ConfigError(f"--seconds: found {args.seconds}, allowed: 0 or more")
    if not 1 <= args.lines <= LINES_MAX:
        raise ConfigError(f"--lines: found {args.lines}, allowed: 1 to {LINES_MAX}")
    chosen = {name: getattr(args, name) for name in ("venues", "symbols")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    return DemoOptions(
        seconds=args.seconds,
        json=args.json,
        instance=args.instance,
        seed=args.seed,
        rate=args.rate,
        environment=args.environment,
        lines=args.lines,
        verbose=args.verbose,
        # Real venues want keys, and a demo shall not trade with them; nor does what is written out.
        trade=args.environment == "simulator" and not args.watch_only and not args.write_config,
        **chosen,
    )


def _demo(args: argparse.Namespace) -> int:
    from oms import demo, demo_config

    options = _options(args)
    if args.write_config is None:
        return demo.run(options)
    options, notes = demo_config.fitted(options)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    data = demo_config.build_config(options)
    data["instance"] = args.instance or "ti"
    try:
        args.write_config.write_text(demo_config.to_toml(data), encoding="utf-8")
    except OSError as error:
        raise TradeInfraError(f"{args.write_config}: cannot be written: {error.strerror}") from None
    print(f"wrote {args.write_config}: trade-infra up {args.write_config}", file=sys.stderr)
    return 0
