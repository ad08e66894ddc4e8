"""What moves between a venue's dialect and the gateway, as Python objects: requests and updates.

A dialect turns a ``Request`` into bytes, and a venue's message into ``Update`` objects. Both hold
integers, as the records of ``gateways.types`` do; only the gateway touches rings.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import msgspec

from engine.common import OrderType, Side, TimeInForce
from gateways.types import (
    REPORT,
    Action,
    MarginMode,
    PositionSide,
    Reason,
    ReportKind,
    SelfTrade,
    Trigger,
)


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a dialect needs to know of a row of the instrument table.

    ``tick`` and ``lot`` are mantissas. ``contract_value`` is a mantissa of 1e-8.
    """

    row: int
    native: str
    symbol: str
    base: str
    quote: str
    settle: str
    """Empty on spot."""
    kind: int
    """As in the table: 1 spot, 2 and 3 linear, 4 and 5 inverse; even ones are perpetual."""
    price_decimals: int
    quantity_decimals: int
    tick: int
    lot: int
    contract_value: int = 10**8


class Request(NamedTuple):
    """A request record, read; fields as in ``gateways.types.REQUEST``."""

    action: Action
    request_id: int
    client_id: int
    instrument: Instrument | None
    """None where the request concerns no single instrument."""
    side: Side = Side.BUY
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    price: int = 0
    quantity: int = 0
    stop_price: int = 0
    expire_ns: int = 0
    flags: int = 0
    position_side: PositionSide = PositionSide.NET
    margin_mode: MarginMode = MarginMode.NONE
    trigger: Trigger = Trigger.LAST
    self_trade: SelfTrade = SelfTrade.VENUE_DEFAULT
    deadline_ns: int = 0
    """For dialects: of the venue's clock."""
    venue_id: str = ""
    """The venue's order id as far as the gateway knows it; needed for orders of others."""
    client_text: str = ""
    """The order's client id as the venue knows it: the gateway makes it (``gateways.ids``)."""
    order_price: int = 0
    order_quantity: int = 0
    """AMEND: the order's present price and quantity, as far as the gateway knows them; else 0.
    Binance spot keeps an order's place where only the quantity decreases."""


class Verdict(IntEnum):
    """What a refusal means for the request; the gateway acts on nothing else."""

    ACCEPTED = 0
    """It took effect."""
    REFUSED = 1
    """It certainly had no effect, and would have none again."""
    RETRY = 2
    """It certainly had no effect; it may be sent again, after a while."""
    UNKNOWN = 3
    """It may have had an effect: ask before anything else."""
    LIMITED = 4
    """No effect, and the venue wants us to be quiet for a while (``Answer.wait_s``)."""
    EXISTS = 5
    """Refused as a duplicate: proof that the first one arrived. Ask."""
    GONE = 6
    """A cancel or amendment of an order that is filled, canceled or unknown. Ask which."""


class Update(msgspec.Struct, kw_only=True):
    """One report in the making; fields as in ``gateways.types.REPORT``.

    The gateway fills in ``client_id`` from ``client_text`` (or ``venue_id``), the times and the
    sequence; a dialect leaves 0 what its message does not say.
    """

    kind: ReportKind
    client_text: str = ""
    """The client id in the message; empty if it has none."""
    venue_id: str = ""
    instrument: int = -1
    request_id: int = 0
    client_id: int = 0
    exchange_ns: int = 0
    price: int = 0
    quantity: int = 0
    filled: int = 0
    available: int = 0
    last_price: int = 0
    last_quantity: int = 0
    trade_id: int = 0
    fee: int = 0
    average_price: int = 0
    stop_price: int = 0
    venue_code: int = 0
    flags: int = 0
    reason: Reason = Reason.NONE
    action: int = 0
    status: int = 0
    side: int = 0
    order_type: int = 0
    time_in_force: int = 0
    position_side: int = 0
    liquidity: int = 0
    decimals: int = 0
    margin_mode: int = 0
    asset: str = ""
    text: str = ""


class Answer(msgspec.Struct, kw_only=True):
    """The venue's answer to one of our messages, WebSocket or REST.

    ``wire_id`` is the id that the message carried. A batch answers with one ``Answer`` an order.
    """

    wire_id: str
    verdict: Verdict
    reason: Reason = Reason.NONE
    venue_code: int = 0
    text: str = ""
    wait_s: float = 0.0
    """With LIMITED: how long the venue wants quiet; 0 if it does not say."""
    limit: str = ""
    """With LIMITED: the ``Limit`` that is used up; empty if the venue wants all to stop."""
    updates: list[Update] = msgspec.field(default_factory=list)
    """What the answer tells of the order besides: its id, its state, its fills."""


class Notice(msgspec.Struct, kw_only=True):
    """A message about the connection itself."""

    kind: "NoticeKind"
    text: str = ""
    code: int = 0


class NoticeKind(IntEnum):
    """What a notice says."""

    LOGGED_IN = 1
    LOGIN_REFUSED = 2
    SUBSCRIBED = 3
    SUBSCRIPTION_REFUSED = 4
    PONG = 5
    ENDING = 6
    """The venue is about to end the connection: open another."""
    KEY_EXPIRED = 7
    """The key of the stream (Binance listenKey) is no longer valid: get one, connect again."""
    IGNORED = 8
    """Understood, and of no interest."""
    ALERT = 9
    """Understood, and a person should know: a margin call, an order of an unknown instrument."""
    CHANGED = 10
    """Something has happened to the account that only a query tells in full."""


Event = Update | Answer | Notice
Row = TypeVar("Row")

UNREADABLE = (KeyError, IndexError, TypeError, AttributeError, ValueError)
"""What reading a row of another form than the venue's documents say raises."""


def read_rows(
    rows: Iterable[Row], read: Callable[[Row], Update | Notice | Sequence[Event] | None]
) -> list[Any]:
    """Return what each row of a message says, in order.

    A row that cannot be read is an alert, and costs nothing but itself.
    """
    found: list[Any] = []
    for row in rows:
        try:
            said = read(row)
        except UNREADABLE as error:
            text = f"a row that cannot be read, {error!r}: {str(row)[:300]}"
            found.append(Notice(kind=NoticeKind.ALERT, text=text))
            continue
        if isinstance(said, Update | Notice):
            found.append(said)
        elif said is not None:
            found.extend(said)
    return found


_PACK = struct.Struct("<16q2iIH3Bb2Bb3B16s40s48s")


def pack(update: Update, received_ns: int, published_ns: int) -> bytes:
    """Return the bytes of a report record, its sequence 0."""
    return _PACK.pack(
        0,
        update.exchange_ns,
        received_ns,
        published_ns,
        update.request_id,
        update.client_id,
        update.price,
        update.quantity,
        update.filled,
        update.available,
        update.last_price,
        update.last_quantity,
        update.trade_id,
        update.fee,
        update.average_price,
        update.stop_price,
        update.instrument,
        update.venue_code,
        update.flags,
        update.reason,
        update.kind,
        update.action,
        update.status,
        update.side,
        update.order_type,
        update.time_in_force,
        update.position_side,
        update.liquidity,
        update.decimals,
        update.margin_mode,
        _cut(update.asset, 16),
        _cut(update.venue_id, 40),
        _cut(update.text, 48),
    )


def _cut(text: str, room: int) -> bytes:
    """Return as many whole characters as there is room for, UTF-8."""
    data = text.encode()
    return data if len(data) <= room else data[:room].decode(errors="ignore").encode()


assert _PACK.size == REPORT.dtype.itemsize
