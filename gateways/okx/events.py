"""OKX's private messages as updates.

Sources, read 2026-11: the API v5 guide, "Order book trading" (orders channel), "Trading account"
(account, positions, balance and position channels), "Overview" (notices). What counts:

* The orders channel gives no snapshot. A push with ``tradeId`` is a trade; the same one may come
  again with another ``uTime``. A push of a filled order without ``tradeId`` tells the end alone.
* ``amendResult``: -1 failed, 0 done, 1 failed and canceled as wished, 2 done by the system.
"""

from collections.abc import Callable, Sequence

import orjson

from gateways.dialects import KINDS
from gateways.message import Event, Instrument, Notice, NoticeKind, Update, read_rows
from gateways.okx.answers import LIMIT_OF, read_reply
from gateways.okx.errors import classify
from gateways.okx.words import Instruments, Json, algo_order, balances, fill, order, positions
from gateways.types import Action, OrderStatus, Reason, ReportKind

_IGNORED = Notice(kind=NoticeKind.IGNORED)


def read(message: bytes, instruments: Instruments) -> Sequence[Event]:
    """Return what a WebSocket message says, in order.

    Raises
    ------
    ValueError
        If it cannot be read.

    """
    if message == b"pong":
        return (Notice(kind=NoticeKind.PONG),)
    try:
        frame = orjson.loads(message)
        if "event" in frame:
            return (_notice(frame),)
        if "op" in frame:
            return read_reply(frame, frame["id"], LIMIT_OF.get(frame["op"], ""), frame["op"])
        reader = _CHANNELS.get(frame["arg"]["channel"])
        if reader is None:
            return (_IGNORED,)
        return reader(frame["data"], instruments)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"OKX message without {error}: {message[:200]!r}") from None


_LOGIN_CODES = frozenset({60004, 60005, 60006, 60007, 60009, 60011, 60022, 60024, 60032})


def _notice(frame: Json) -> Notice:
    event, text = frame["event"], str(frame.get("msg") or "")
    code = int(frame.get("code") or 0)
    if event == "login":
        kind = NoticeKind.LOGIN_REFUSED if code else NoticeKind.LOGGED_IN
    elif event == "error":
        refused = code in _LOGIN_CODES
        kind = NoticeKind.LOGIN_REFUSED if refused else NoticeKind.SUBSCRIPTION_REFUSED
    elif event == "subscribe":
        kind, text = NoticeKind.SUBSCRIBED, str(frame["arg"]["channel"])
    elif event == "notice":
        kind = NoticeKind.ENDING
    elif event == "channel-conn-count-error":
        kind, text = NoticeKind.SUBSCRIPTION_REFUSED, f"too many connections: {frame['channel']}"
    else:
        kind = NoticeKind.IGNORED
    return Notice(kind=kind, text=text, code=code)


# -- orders -------------------------------------------------------------------------------------
def _orders(data: Sequence[Json], instruments: Instruments) -> list[Event]:
    return read_rows(data, lambda row: _order(row, instruments))


def _order(row: Json, instruments: Instruments) -> list[Event]:
    instrument = instruments.get(row["instId"])
    if instrument is None:
        return [_unknown(row)]
    events: list[Event] = []
    if row.get("tradeId") and row.get("fillSz") not in (None, "", "0"):
        events.append(fill(row, instrument))
        if row["state"] != "canceled" and not row.get("amendResult"):
            return events
    if row.get("amendResult"):
        events.append(_amended(row, instrument))
        if row["state"] in ("live", "partially_filled"):
            return events
    elif row["state"] == "live" and row.get("algoId"):
        # Two steps in one push: the trigger, and the order in the book.
        events.append(order(row, instrument, ReportKind.TRIGGERED))
    update = order(row, instrument, ReportKind.STATUS)
    update.kind = KINDS[OrderStatus(update.status)]
    return [*events, update]


def _unknown(row: Json) -> Notice:
    return Notice(kind=NoticeKind.ALERT, text=f"an order of {row['instId']}, which we do not know")


def _amended(row: Json, instrument: Instrument) -> Update:
    """Return the result of an amendment; ``reqId`` is ours if it is an r and digits."""
    return _as_result(order(row, instrument, ReportKind.AMENDED), row)


def _as_result(update: Update, row: Json) -> Update:
    """Make what a row says of an order the result of an amendment."""
    failed = row["amendResult"] in ("-1", "1")
    update.kind = ReportKind.AMEND_REJECTED if failed else ReportKind.AMENDED
    update.action = Action.AMEND
    wish = row.get("reqId") or ""
    if wish.startswith("r") and wish[1:].isdecimal():
        update.request_id = int(wish[1:])
    update.reason = Reason.NONE
    if failed:
        update.venue_code = int(row.get("code") or 0)
        update.text = row.get("msg") or ""
        update.reason = classify(update.venue_code)[1] if update.venue_code else Reason.OTHER
    return update


_ALGO_KINDS = KINDS | {OrderStatus.OPEN: ReportKind.TRIGGERED}


def _algo_orders(data: Sequence[Json], instruments: Instruments) -> list[Event]:
    return read_rows(data, lambda row: _algo_order(row, instruments))


def _algo_order(row: Json, instruments: Instruments) -> Update | Notice:
    instrument = instruments.get(row["instId"])
    if instrument is None:
        return _unknown(row)
    update = algo_order(row, instrument)
    if row.get("amendResult") and update.status == OrderStatus.UNTRIGGERED:
        return _as_result(update, row)
    update.kind = _ALGO_KINDS[OrderStatus(update.status)]
    return update


_FUNDING = (Notice(kind=NoticeKind.CHANGED, text="funding"),)


def _balance_and_position(data: Sequence[Json], instruments: Instruments) -> Sequence[Event]:
    """Return that a funding fee was paid: how much, and for what, is only in the bills."""
    paid = any(row.get("eventType") == "funding_fee" for row in data)
    return _FUNDING if paid else (_IGNORED,)


_Reader = Callable[[Sequence[Json], Instruments], Sequence[Event]]
_CHANNELS: dict[str, _Reader] = {
    "orders": _orders,
    "account": balances,
    "positions": positions,
    "orders-algo": _algo_orders,
    "balance_and_position": _balance_and_position,
}
