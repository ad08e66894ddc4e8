"""Subcommands of the gateways: ``trade-infra venue`` serves the simulated venue."""

import argparse
import asyncio
import signal
from typing import TYPE_CHECKING

from engine.cli import add_command

if TYPE_CHECKING:
    from engine.cli import Subparsers
    from gateways.simulator import SimulatorSettings

__all__ = ["register"]


def register(subparsers: "Subparsers") -> None:
    """Add ``venue`` to the command line."""
    parser = add_command(
        subparsers,
        "venue",
        "serve the simulated venue until Ctrl-C",
        example="trade-infra venue --port 9101 --rate 20000",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9101, help="0 takes a free one (default 9101)")
    parser.add_argument("--seed", type=int, default=1, help="of the generated order flow")
    parser.add_argument("--rate", type=float, default=2000.0, help="events a second, all books")
    parser.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="default: all")
    parser.add_argument("--venues", nargs="+", metavar="VENUE", help="default: all")
    parser.add_argument("--capture", default="", metavar="DIR", help="serve a recorded capture")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="of the capture; 0 is as fast as clients read"
    )
    parser.add_argument(
        "--instruments", default="", metavar="FILE", help="exchangeInfo of the capture's venue"
    )
    parser.add_argument(
        "--tls-cert", default="", metavar="FILE", help="PEM certificate: serve by TLS only"
    )
    parser.add_argument("--tls-key", default="", metavar="FILE", help="its private key")
    parser.set_defaults(handler=venue)


def venue(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, and print where."""
    import uvloop

    from gateways.simulator import SimulatorSettings

    config = SimulatorSettings(
        host=args.host,
        port=args.port,
        seed=args.seed,
        rate=args.rate,
        capture=args.capture,
        speed=args.speed,
        exchange_info=args.instruments,
        tls_certificate=args.tls_cert,
        tls_key=args.tls_key,
    )
    if args.symbols:
        config.symbols = [symbol.upper() for symbol in args.symbols]
    if args.venues:
        config.venues = args.venues
    uvloop.run(_serve(config))
    return 0


async def _serve(config: "SimulatorSettings") -> None:
    from gateways.simulator import SimulatedVenue
    from gateways.simulator.server import demo_account

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with SimulatedVenue(config) as server:
        for name, each in server.venues.items():
            print(f"{name}  rest {server.base(name)}  websocket {server.base(name, 'ws')}")
            for title, address in each.private_addresses(server.base(name, "ws")).items():
                print(f"    {title}  {address}")
        for account in config.accounts:
            words = f"account  key {account.key}"
            if account == demo_account():
                # No secret: everybody has it, and it opens nothing but simulated venues.
                words += f"  secret {account.secret}  passphrase {account.passphrase}"
            print(words)
        print(f"control  {server.base('control')}/state  (Ctrl-C ends)", flush=True)
        await stop.wait()
