"""``trade-infra risk`` and ``trade-infra journal``: what operators see and order.

Orders go through the ring ``oms.commands``, into the OMS' journal, and only then take effect; a
command waits until it sees that in ``oms.scopes``. ``risk kill`` needs no OMS: if there is none, it
takes the dead one's place at each gateway's ring of requests and cancels everything there.
"""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli import add_command
from engine.errors import NotFound, TradeInfraError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from engine.cli import Subparsers
    from oms.control import Control

STATES = ("normal", "reduce-only", "cancel-only", "halt", "flatten")
_SCOPE_HELP = (
    "firm | account:NAME | strategy:NAME | instrument:VENUE:SYMBOL | strategy:NAME/VENUE:SYMBOL"
)


class CommandTimeout(TradeInfraError):
    """The OMS has not done in time what it was told."""

    exit_code = 5


def register_risk(subparsers: "Subparsers") -> None:
    """Add ``trade-infra risk``."""
    parser = add_command(
        subparsers,
        "risk",
        "limits, their use, and trading states: show and change them while everything runs",
        example="trade-infra risk limit firm gross_notional 250000",
        description=f"Scopes are {_SCOPE_HELP}.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(
        name: str, help_: str, example: str, handler: Callable[..., int | None]
    ) -> argparse.ArgumentParser:
        each = add_command(verbs, name, help_, example=f"trade-infra risk {example}")
        each.add_argument("--instance", default="ti", help="default: ti")
        each.set_defaults(handler=handler)
        return each

    show = verb("show", "scopes with limits, use and state", "show --json", _show)
    show.add_argument("--json", action="store_true", help="one JSON object a scope")
    limit = verb("limit", "set a limit", "limit strategy:maker order_rate 20", _limit)
    limit.add_argument("scope", metavar="SCOPE", help=_SCOPE_HELP)
    limit.add_argument("name", metavar="NAME", help="`trade-infra risk limits` lists them")
    limit.add_argument("value", metavar="VALUE", help="a number, or none")
    verb("limits", "list the limits that there are", "limits", _limits)
    state = verb("state", "set a trading state", "state firm halt", _state)
    state.add_argument("scope", metavar="SCOPE", help=_SCOPE_HELP)
    state.add_argument("state", choices=STATES)
    state.add_argument("--confirm", action="store_true", help="needed to make a state less strict")
    cancel = verb("cancel", "cancel everything open in a scope", "cancel strategy:maker", _cancel)
    cancel.add_argument("scope", metavar="SCOPE", help=_SCOPE_HELP)
    resolve = verb("resolve", "take an order of unknown fate as ended", "resolve 1234", _resolve)
    resolve.add_argument("client_id", type=int, metavar="CLIENT_ID", help="see `risk orders`")
    orders = verb("orders", "orders that have not ended", "orders --unknown", _orders)
    orders.add_argument("--unknown", action="store_true", help="only UNKNOWN and LOST ones")
    orders.add_argument("--json", action="store_true", help="one JSON object an order")
    verb("positions", "positions of accounts and strategies", "positions", _positions)
    kill = verb("kill", "halt everything; works without an OMS too", "kill", _kill)
    kill.add_argument("--account", default="", help="only this account (default: all)")


def _control(args: argparse.Namespace) -> "Control":
    from oms.control import Control

    return Control(args.instance)


def _by() -> bytes:
    try:
        return getpass.getuser().encode()[:32]
    except (KeyError, OSError):
        return b"operator"


def _show(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        for scope in control.scopes():
            if args.json:
                print(json.dumps(scope))
                continue
            limits = " ".join(f"{n}={v}" for n, v in scope["limits"].items())
            use = " ".join(f"{n}={v}" for n, v in scope["use"].items())
            print(f"{scope['scope']}\t{scope['state']}\t{use}\t{limits}")
    finally:
        control.close()


def _limits(args: argparse.Namespace) -> None:
    from oms.types import LIMITS

    units = {
        "money": "money",
        "hundredths": "factor",
        "ns": "seconds",
        "hundredths of a basis point": "basis points",
    }
    for name, unit, doc in LIMITS:
        print(f"{name}\t{units.get(unit, unit)}\t{doc}")


def _limit(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        control.set_limit(args.scope, args.name, args.value, _by())
        print(f"{args.scope}: {args.name} is {args.value}")
    finally:
        control.close()


def _state(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        wanted = STATES.index(args.state)
        present = control.state_of(args.scope)
        if wanted < present and not args.confirm:
            raise UsageError(
                f"{args.scope} is {STATES[present]}: to make it {args.state} say --confirm"
            )
        control.set_state(args.scope, wanted, _by())
        print(f"{args.scope}: {args.state}")
    finally:
        control.close()


def _cancel(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        left = control.cancel(args.scope, _by())
        print(f"{args.scope}: {left} orders left open")
        if left:
            raise CommandTimeout(f"{args.scope}: {left} orders are still open")
    finally:
        control.close()


def _resolve(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        control.resolve(args.client_id, _by())
        print(f"{args.client_id}: taken as ended")
    finally:
        control.close()


def _orders(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        for order in control.orders(only_unknown=args.unknown):
            if args.json:
                print(json.dumps(order))
            else:
                print("\t".join(str(value) for value in order.values()))
    finally:
        control.close()


def _positions(args: argparse.Namespace) -> None:
    control = _control(args)
    try:
        for position in control.positions():
            print("\t".join(f"{name}={value}" for name, value in position.items()))
    finally:
        control.close()


def _kill(args: argparse.Namespace) -> None:
    from oms.control import Control, kill_at_gateways

    try:
        control = Control(args.instance)
    except TradeInfraError:
        control = None
    if control is not None and control.alive:
        try:
            scope = f"account:{args.account}" if args.account else "firm"
            control.set_state(scope, STATES.index("halt"), _by())
            left = control.wait_flat(scope)
            print(f"{scope}: halted by the OMS, {left} orders left open")
            if left:
                raise CommandTimeout(f"{scope}: {left} orders are still open")
        finally:
            control.close()
        return
    if control is not None:
        control.close()
    for account, answer in kill_at_gateways(args.instance, args.account):
        print(f"account:{account}: no OMS; {answer}")


# -- the journal -----------------------------------------------------------------------------------
def register_journal(subparsers: "Subparsers") -> None:
    """Add ``trade-infra journal``."""
    parser = add_command(
        subparsers,
        "journal",
        "print, verify or repair the journal of an OMS",
        example="trade-infra journal print oms-journal --kind decision",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    each = add_command(
        verbs,
        "print",
        "the records, one JSON object a line",
        example="trade-infra journal print DIR",
    )
    each.add_argument("folder", type=Path, metavar="DIR")
    each.add_argument(
        "--kind",
        choices=("decision", "report", "command", "start", "instrument", "name", "configured"),
    )
    each.add_argument("--order", type=int, metavar="CLIENT_ID", help="only what concerns an order")
    each.add_argument("--since", type=int, default=0, metavar="SEQUENCE", help="from this one on")
    each.add_argument("--denied", action="store_true", help="only intents that were refused")
    each.set_defaults(handler=_print)
    each = add_command(
        verbs,
        "verify",
        "read everything, check every checksum",
        example="trade-infra journal verify DIR",
    )
    each.add_argument("folder", type=Path, metavar="DIR")
    each.set_defaults(handler=_verify)
    each = add_command(
        verbs,
        "cut",
        "give up what stands behind the first damage",
        example="trade-infra journal cut DIR",
    )
    each.add_argument("folder", type=Path, metavar="DIR")
    each.set_defaults(handler=_cut)


def _checked(folder: Path) -> Path:
    from oms.journal import chunks

    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder")
    if not chunks(folder):
        raise NotFound(f"{folder}: no journal in it")
    return folder


def _plain(record: "np.void") -> dict[str, Any]:
    """Return a record as JSON has it: without sequence, reserved words and empty fields."""
    plain: dict[str, Any] = {}
    for name in record.dtype.names or ():
        value = record[name]
        if name in ("reserved", "sequence"):
            continue
        plain[name] = value.decode(errors="replace") if isinstance(value, bytes) else int(value)
    return {name: value for name, value in plain.items() if value not in (0, "")}


def _rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from oms.decisions import D_CLIENT, D_PRICE, D_QUANTITY, D_REASON, D_REQUEST
    from oms.emit import Record
    from oms.journal import entries
    from oms.types import Deny

    for entry in entries(_checked(args.folder)):
        kind = entry.kind.name.lower()
        if entry.sequence < args.since or (args.kind and kind != args.kind):
            continue
        row: dict[str, Any] = {"sequence": entry.sequence, "time_ns": entry.time_ns, "kind": kind}
        client_id = 0
        if entry.kind in (Record.DECISION, Record.REPORT, Record.COMMAND):
            row["owner"] = entry.owner
            row |= _plain(entry.decoded())
            client_id = int(row.get("client_id", 0))
        if entry.kind is Record.DECISION:
            words = {
                name: int(entry.body[at])
                for name, at in (
                    ("reason", D_REASON),
                    ("client_id", D_CLIENT),
                    ("request_id", D_REQUEST),
                    ("sent_price", D_PRICE),
                    ("sent_quantity", D_QUANTITY),
                )
            }
            client_id, reason = words["client_id"], words.pop("reason")
            row |= words | {"denied": Deny(reason).name if reason else None}
            if args.denied and not reason:
                continue
        elif args.denied:
            continue
        if args.order is None or client_id == args.order:
            yield row


def _print(args: argparse.Namespace) -> None:
    for row in _rows(args):
        print(json.dumps(row))


def _verify(args: argparse.Namespace) -> None:
    from oms.journal import chunks, entries

    began, count, last, counts = time.monotonic(), 0, 0, dict[str, int]()
    for entry in entries(_checked(args.folder)):
        count, last = count + 1, entry.time_ns
        name = entry.kind.name.lower()
        counts[name] = counts.get(name, 0) + 1
    result = {"records": count, "chunks": len(chunks(args.folder)), "last_ns": last} | counts
    print(json.dumps(result | {"seconds": round(time.monotonic() - began, 3)}))


def _cut(args: argparse.Namespace) -> None:
    from oms.journal import cut

    print(f"whole up to record {cut(_checked(args.folder)):,}", file=sys.stderr)


def register_oms(subparsers: "Subparsers") -> None:
    """Add ``trade-infra oms``."""
    parser = add_command(
        subparsers, "oms", "what the OMS does, in words", example="trade-infra oms matrix"
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    each = add_command(
        verbs,
        "matrix",
        "the life of an order: what each event does to each state",
        example="trade-infra oms matrix",
    )
    each.set_defaults(handler=_matrix)


def _matrix(args: argparse.Namespace) -> None:
    from oms.matrix import describe

    rows = describe()
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  ".join(text.ljust(width) for text, width in cells).rstrip())
