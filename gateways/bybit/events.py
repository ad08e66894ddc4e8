"""Bybit's private messages as updates.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Order", "Execution", "Position", "Wallet"
(private WebSocket), "Websocket Trade Guideline". What counts:

* An amendment is an order message with the new price and quantity: ``Amends`` knows who asked.
* Spot and contracts share an account: rows of other categories than ours are left out. Balances
  are the account's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from gateways.adapter import Cost
from gateways.bybit import limits
from gateways.bybit.answers import read_reply, usage
from gateways.bybit.session import DCP
from gateways.bybit.words import Instruments, Json, balances, execution, order, position
from gateways.dialects import KINDS, SPOT
from gateways.message import (
    Answer,
    Event,
    Notice,
    NoticeKind,
    Request,
    Update,
    Verdict,
    read_rows,
)
from gateways.types import Action, OrderStatus, ReportKind

_IGNORED = Notice(kind=NoticeKind.IGNORED)


class _Wish(NamedTuple):
    """What an amendment asked for; 0 for what shall stay as it is."""

    price: int
    quantity: int
    stop_price: int
    request_id: int
    wire_id: str


class Amends:
    """Amendments that have been asked for, to know their results among the orders' messages.

    The venue tells an amended order like any other: what was asked for is recognized by its price
    and quantity. Bounded: what is never answered is forgotten.
    """

    ORDERS_MAX = 4096
    EACH_MAX = 8

    def __init__(self) -> None:
        self._asked: dict[str, list[_Wish]] = {}
        self._sent: dict[str, tuple[str, ...]] = {}
        """Wire id -> under which names a wish stands whose request has not been answered."""

    def ask(self, request: Request, wire_id: str) -> None:
        """Remember an amendment."""
        for bounded in (self._asked, self._sent):
            if len(bounded) >= self.ORDERS_MAX:
                del bounded[next(iter(bounded))]
        wish = _Wish(
            request.price, request.quantity, request.stop_price, request.request_id, wire_id
        )
        names = self._sent[wire_id] = tuple({request.client_text, request.venue_id} - {""})
        for name in names:
            asked = self._asked.setdefault(name, [])
            asked.append(wish)
            del asked[: -self.EACH_MAX]

    def answered(self, answer: Answer) -> None:
        """Withdraw the wish of a request that certainly had no effect."""
        names = self._sent.pop(answer.wire_id, ())
        if answer.verdict in (Verdict.ACCEPTED, Verdict.UNKNOWN):
            return
        for name in names:
            asked = self._asked.get(name, [])
            asked[:] = [wish for wish in asked if wish.wire_id != answer.wire_id]
            if not asked:
                self._asked.pop(name, None)

    def recognize(self, update: Update) -> None:
        """Make an order's message the result of an amendment if it is one."""
        asked = self._asked
        if not asked:
            return
        wishes = asked.get(update.client_text) or asked.get(update.venue_id)
        if not wishes:
            return
        if update.kind is not ReportKind.OPEN:
            self._forget(update)
            return
        for place, (price, quantity, stop, request_id, _) in enumerate(wishes):
            if (
                (not price or price == update.price)
                and (not quantity or quantity == update.quantity)
                and (not stop or stop == update.stop_price)
            ):
                update.kind, update.action = ReportKind.AMENDED, Action.AMEND
                update.request_id = request_id
                del wishes[: place + 1]
                if not wishes:
                    self._forget(update)
                return

    def _forget(self, update: Update) -> None:
        self._asked.pop(update.client_text, None)
        self._asked.pop(update.venue_id, None)


class Reader:
    """Reads the messages of one of the two markets."""

    def __init__(self, spot: bool) -> None:
        self._spot = spot
        self._categories = frozenset({"spot"} if spot else {"linear", "inverse"})
        self.amends = Amends()
        self.leverages: dict[str, int] = {}
        """By native symbol: what positions told last."""
        self._seen: tuple[bytes, Sequence[tuple[Cost, int]]] = (b"", ())
        """The last answer of the trade connection, and what it says of the limits."""

    def read(self, message: bytes, instruments: Instruments) -> Sequence[Event]:
        """Return what a message says, in order.

        Raises
        ------
        ValueError
            If it cannot be read.

        """
        try:
            frame = orjson.loads(message)
            topic = frame.get("topic")
            if topic is None:
                operation = frame["op"]
                if operation in limits.OPERATIONS:
                    self._seen = (message, usage(frame, operation))
                    limit = limits.OPERATIONS[operation].limit
                    answer = read_reply(frame, frame.get("reqId") or "", operation, limit)
                    self.amends.answered(answer)
                    return (answer,)
                return (_notice(frame, operation),)
            return self._topic(topic, frame, instruments)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"Bybit message without {error}: {message[:200]!r}") from None

    def usage(self, message: bytes) -> Sequence[tuple[Cost, int]]:
        """Return what the last answer said of the limits, if ``message`` is that answer."""
        return self._seen[1] if message is self._seen[0] else ()

    def _topic(self, topic: str, frame: Json, instruments: Instruments) -> Sequence[Event]:
        name = topic.partition(".")[0]
        if topic.startswith("execution.fast"):
            return (_IGNORED,)
        if name == "wallet":
            return balances(frame["data"], int(frame.get("creationTime") or 0))
        if name == "position" and not self._spot:
            return self._positions(frame["data"], instruments)
        if name not in ("order", "execution"):
            return (_IGNORED,)
        events = read_rows(frame["data"], lambda row: self._row(name, row, instruments))
        return events or (_IGNORED,)

    def _row(self, name: str, row: Json, instruments: Instruments) -> Update | Notice | None:
        """Return what a row of the order or execution topic says."""
        if row["category"] not in self._categories:
            return None
        instrument = instruments.get(row["symbol"])
        if instrument is None:
            text = f"an order of {row['symbol']}, which we do not know"
            return Notice(kind=NoticeKind.ALERT, text=text)
        if name == "execution":
            return execution(row, instrument)
        update = order(row, instrument)
        self._tell(update, row["orderStatus"])
        return update

    def _tell(self, update: Update, state: str) -> None:
        """Make what is known of an order the event that it is."""
        update.kind = KINDS[OrderStatus(update.status)]
        if state == "Triggered":
            update.kind = ReportKind.TRIGGERED
        self.amends.recognize(update)

    def _positions(self, data: Sequence[Json], instruments: Instruments) -> Sequence[Event]:
        updates = []
        for row in data:
            instrument, category = instruments.get(row["symbol"]), row.get("category") or ""
            if instrument is None or instrument.kind == SPOT:
                continue
            if category and category not in self._categories:
                continue
            if (leverage := str(row.get("leverage") or "")).isdecimal():
                self.leverages[row["symbol"]] = int(leverage)
            updates.append(position(row, instrument))
        return updates or (_IGNORED,)


def _notice(frame: Json, operation: str) -> Notice:
    code = int(frame.get("retCode") or 0)
    text = str(frame.get("retMsg") or frame.get("ret_msg") or "")
    success = bool(frame.get("success", code == 0))
    if operation in ("ping", "pong"):
        return Notice(kind=NoticeKind.PONG)
    if operation == "auth":
        if success or code == _REPEATED_LOGIN:
            return Notice(kind=NoticeKind.LOGGED_IN)
        return Notice(kind=NoticeKind.LOGIN_REFUSED, text=text, code=code)
    if operation == "subscribe":
        # The disconnection protect is not for every account: orders go on without it.
        if success or frame.get("req_id") == DCP:
            return Notice(kind=NoticeKind.SUBSCRIBED, text=text)
        return Notice(kind=NoticeKind.SUBSCRIPTION_REFUSED, text=text, code=code)
    return Notice(kind=NoticeKind.IGNORED, text=text, code=code)


_REPEATED_LOGIN = 20001
