"""``trade-infra``: the one console command, whose subcommands the packages register themselves.

A subcommand is an entry point of the group ``trade_infra.commands``: its name maps to a function
``register(subparsers)`` that adds a parser and names its handler::

    def register(subparsers: Subparsers) -> None:
        parser = add_command(subparsers, "hello", "say hello", example="trade-infra hello --json")
        parser.set_defaults(handler=hello)

    def hello(args: argparse.Namespace) -> int | None:
        import numba  # Whatever takes long to import is imported here, not at the top.

A handler returns the exit code (``None`` is 0). It raises a ``TradeInfraError`` for anything the
user can mend: the command prints ``error: …`` and exits with that error's code, without a
traceback. Only the module of the subcommand that was asked for is imported, so ``--help`` and the
inspecting commands start without Numba, and a broken plug-in breaks nothing but itself.

Exit codes: 0 ok; 1 error; 2 what the command line asks for makes no sense or names what is not
there; 3 not running; 4 a configuration file that cannot be run; 5 timeout; 130 interrupted. What
is wrong with settings is 4 for commands that read them from a file (they say so by
``parser.set_defaults(configured=True)``), and 2 for those that have them from the command line.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, cast

from engine.errors import ConfigError, TradeInfraError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    Handler = Callable[[argparse.Namespace], int | None]

COMMANDS = "trade_infra.commands"
EXIT_INTERRUPTED = 130
EXIT_USAGE = 2

__all__ = ["add_command", "main"]


def add_command(
    subparsers: "Subparsers", name: str, help_: str, *, example: str = "", description: str = ""
) -> argparse.ArgumentParser:
    """Add a parser with the house's help format: one line of help, and an example at the end."""
    return subparsers.add_parser(
        name,
        help=help_,
        description=description or help_[:1].upper() + help_[1:] + ".",
        epilog=f"example: {example}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def commands() -> dict[str, EntryPoint]:
    """Return the installed subcommands by name, without importing any of them."""
    found = entry_points(group=COMMANDS)
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def _version() -> str:
    try:
        return version("trade-infra")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _wanted(argv: Sequence[str], known: dict[str, EntryPoint]) -> list[EntryPoint]:
    """Return the entry points to load: the subcommand's own, or all of them for the help."""
    for word in argv:
        if not word.startswith("-"):
            return [known[word]] if word in known else list(known.values())
    return list(known.values())


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trade-infra",
        description="Market data and trading on shared-memory rings.",
        epilog="example: trade-infra demo    (trade-infra COMMAND -h explains a command)",
    )
    parser.add_argument("--version", action="version", version=f"trade-infra {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    known = commands()
    if not known:
        parser.epilog = "No command is installed. Run: pip install trade-infra"
    wanted = _wanted(argv, known)
    for point in wanted:
        try:
            cast("Callable[[Subparsers], None]", point.load())(subparsers)
        except Exception as error:
            if len(wanted) == 1:  # The one that was asked for: its traceback is what helps.
                raise
            print(f"warning: command {point.name} ({point.value}): {error}", file=sys.stderr)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the process' exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser(argv)
    args = parser.parse_args(argv)
    handler: Handler | None = getattr(args, "handler", None)
    if handler is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        code = handler(args) or 0
        sys.stdout.flush()
        return code
    except TradeInfraError as error:
        print(f"error: {error}", file=sys.stderr)
        from_arguments = isinstance(error, ConfigError) and not getattr(args, "configured", False)
        return EXIT_USAGE if from_arguments else error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has left; nothing more can be said to it, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
