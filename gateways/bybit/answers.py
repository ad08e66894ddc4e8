"""What Bybit answers, as updates: to requests by WebSocket or REST, and to queries.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Websocket Trade Guideline", "Place Order",
"Get Open & Closed Orders", "Get Trade History". An answer to a request only says that the venue
will look at it; the order topic tells the result.
"""

from collections.abc import Mapping, Sequence

import orjson

from gateways.adapter import Call, Cost, Query
from gateways.bybit import limits
from gateways.bybit.errors import BAN_S, OF_ADDRESS, WAIT_S, classify
from gateways.bybit.words import MS, Instruments, Json, balances, execution, order, position
from gateways.dialects import classify_status, unreadable
from gateways.message import Answer, Notice, Update, Verdict, read_rows
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind

_DONE = {
    "order.create": ReportKind.ACCEPTED,
    "order.cancel": ReportKind.CANCEL_ACCEPTED,
}
_CANCEL_ALL = "order.cancel-all"
_SETTINGS = frozenset({"set-leverage", "switch-isolated"})
_FORBIDDEN = 403


def read_reply(
    frame: Json,
    wire_id: str,
    operation: str,
    limit: str,
    headers: Mapping[str, str] | None = None,
    now_ms: int = 0,
) -> Answer:
    """Return the answer to one request, of either way; ``operation`` as on the connection.

    ``limit`` is the operation's.
    """
    code, text = int(frame["retCode"]), str(frame.get("retMsg") or "")
    verdict, reason = classify(code, text)
    answer = Answer(wire_id=wire_id, verdict=verdict, reason=reason)
    if verdict is not Verdict.ACCEPTED:
        answer.venue_code, answer.text = code, text
        if verdict is Verdict.LIMITED:
            own = reason is Reason.RATE_LIMIT and code not in OF_ADDRESS
            answer.limit = limit if own else ""
            answer.wait_s = BAN_S if reason is Reason.BANNED else _wait(frame, headers, now_ms)
        return answer
    data = frame.get("data") or frame.get("result") or {}
    if operation == _CANCEL_ALL and str(data.get("success", "1")) != "1":
        # Taken, and not done: what is still open is to be canceled once more.
        answer.verdict, answer.reason = Verdict.UNKNOWN, Reason.VENUE_UNSURE
        return answer
    kind = _DONE.get(operation)
    if kind is not None:
        update = Update(kind=kind, client_text=data.get("orderLinkId") or "")
        update.venue_id = data.get("orderId") or ""
        update.exchange_ns = _answered_ms(frame) * MS
        if kind is ReportKind.ACCEPTED:
            update.action, update.status = Action.NEW, OrderStatus.ACCEPTED
        else:
            update.action = Action.CANCEL
        answer.updates.append(update)
    return answer


def _answered_ms(frame: Json) -> int:
    header = frame.get("header") or {}
    return int(header.get("Timenow") or frame.get("time") or 0)


def _wait(frame: Json, headers: Mapping[str, str] | None, now_ms: int) -> float:
    """Return how long until the venue's limit has room again (s)."""
    header = frame.get("header") or headers or {}
    reset = header.get("X-Bapi-Limit-Reset-Timestamp")
    now_ms = now_ms or _answered_ms(frame)
    if not reset or not str(reset).isdecimal() or not now_ms:
        return WAIT_S
    return min(max((int(reset) - now_ms) / 1000, 0.01), WAIT_S)


def usage(frame: Json, operation: str) -> Sequence[tuple[Cost, int]]:
    """Return what an answer of the trade connection says is used of the operation's limit."""
    header = frame.get("header") or {}
    most, left = header.get("X-Bapi-Limit"), header.get("X-Bapi-Limit-Status")
    if not most or not left:
        return ()
    return ((limits.OPERATIONS[operation], int(most) - int(left)),)


def read_answer(
    call: Call, status: int, headers: Mapping[str, str], body: bytes, instruments: Instruments
) -> Answer:
    """Return what the answer to a call says; also for errors, and no JSON at all.

    Raises
    ------
    ValueError
        If an order that was asked for cannot be read.

    """
    try:
        frame = orjson.loads(body)
        code = int(frame["retCode"])
    except (ValueError, KeyError, TypeError):
        return _failed(call, status, body)
    if call.method == "GET" and not code:
        try:
            return _told(frame, call, instruments)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"Bybit answer without {error}: {body[:200]!r}") from None
    operation = call.path.rpartition("/")[2]
    try:
        time_ms = int(frame.get("time") or 0)
        answer = read_reply(
            frame, call.wire_id, f"order.{operation}", _limit_of(call), headers, time_ms
        )
    except (ValueError, TypeError, AttributeError):
        return unreadable(call.wire_id, body)
    if answer.reason is Reason.NOT_CHANGED and operation in _SETTINGS:
        # It is as it was wished.
        answer.verdict, answer.reason = Verdict.ACCEPTED, Reason.NONE
    if answer.verdict is Verdict.LIMITED and status == _FORBIDDEN:
        # The address, not the account: whatever the body says.
        answer.reason, answer.wait_s, answer.limit = Reason.BANNED, BAN_S, ""
    return answer


def _limit_of(call: Call) -> str:
    return call.costs[0].limit if call.costs else ""


def _failed(call: Call, status: int, body: bytes) -> Answer:
    verdict, reason = classify_status(status)
    answer = Answer(wire_id=call.wire_id, verdict=verdict, reason=reason, venue_code=status)
    answer.text = body[:100].decode(errors="replace")
    if verdict is Verdict.LIMITED:
        banned = reason is Reason.BANNED
        answer.wait_s, answer.limit = (BAN_S, "") if banned else (WAIT_S, _limit_of(call))
    return answer


def _told(frame: Json, call: Call, instruments: Instruments) -> Answer:
    """Return the answer to a query of one order."""
    answer = Answer(wire_id=call.wire_id, verdict=Verdict.ACCEPTED)
    for row in (frame.get("result") or {}).get("list") or ():
        instrument = instruments.get(row["symbol"])
        if instrument is not None:
            update = order(row, instrument)
            update.flags |= ReportFlag.RECONCILED
            answer.updates.append(update)
    if not answer.updates:
        answer.verdict, answer.reason = Verdict.GONE, Reason.UNKNOWN_ORDER
    return answer


def read_page(query: Query, body: bytes, instruments: Instruments) -> list[Update | Notice]:
    """Return what an answer to a query says.

    Raises
    ------
    ValueError
        If it is an error, or cannot be read.

    """
    frame = orjson.loads(body)
    try:
        if frame["retCode"]:
            raise ValueError(f"Bybit answers {frame['retCode']}: {frame.get('retMsg')}")
        rows = frame["result"].get("list") or []
        if query == Query.BALANCES:
            found: list[Update | Notice] = [*balances(rows, int(frame.get("time") or 0))]
        else:
            found = _rows(query, rows, instruments)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"Bybit answer without {error}: {body[:200]!r}") from None
    for update in found:
        if isinstance(update, Update):
            update.flags |= ReportFlag.RECONCILED
    return found


def _rows(query: Query, rows: Sequence[Json], instruments: Instruments) -> list[Update | Notice]:
    read_row = _READERS[query]

    def one(row: Json) -> Update | None:
        instrument = instruments.get(row["symbol"])
        return read_row(row, instrument) if instrument is not None else None

    return read_rows(rows, one)


_READERS = {
    Query.OPEN_ORDERS: order,
    Query.FILLS: execution,
    Query.POSITIONS: position,
}


def parse_time(body: bytes) -> int:
    """Return the venue's clock, Unix ms."""
    try:
        frame = orjson.loads(body)
        return int(frame["result"]["timeNano"]) // MS
    except (KeyError, TypeError) as error:
        raise ValueError(f"no time in {body[:200]!r}: {error}") from None
