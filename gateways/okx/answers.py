"""What OKX answers, as updates: to requests by WebSocket or REST, and to queries.

Sources, read 2026-11: the API v5 guide, "Order book trading" (place, amend, cancel: ``sCode``),
"Overview" (REST). An order's own code (``sCode``) goes before the message's ``code``.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from gateways.adapter import Call, Query
from gateways.dialects import classify_status, unreadable
from gateways.message import Answer, Event, Notice, Update, Verdict, read_rows
from gateways.numbers import amount, to_mantissa, trade_number
from gateways.okx import limits
from gateways.okx.errors import WAIT_S, classify
from gateways.okx.requests import ALGO, CANCEL_ALL
from gateways.okx.words import (
    LIQUIDITY,
    MS,
    POSITIONS,
    SIDES,
    Instruments,
    Json,
    algo_order,
    balances,
    order,
    positions,
)
from gateways.types import Action, Liquidity, OrderStatus, Reason, ReportFlag, ReportKind

LIMIT_OF = {
    "order": limits.PLACE,
    "amend-order": limits.AMEND,
    "cancel-order": limits.CANCEL,
}
_DONE = {
    "order": ReportKind.ACCEPTED,
    # It waits for its trigger: that is all there is to be known.
    "order-algo": ReportKind.OPEN,
    "cancel-order": ReportKind.CANCEL_ACCEPTED,
    # There is no more to come of a stop order that has not triggered.
    "cancel-algos": ReportKind.CANCELED,
}
_SUB_ACCOUNT_CODE = 50061


def read_reply(frame: Json, wire_id: str, limit: str, operation: str) -> list[Answer]:
    """Return an answer for each order of the message; its own code goes before the message's."""
    rows = frame.get("data") or [{}]
    code = int(frame.get("code") or 0)
    return [
        _answer(row, code, str(frame.get("msg") or ""), wire_id, limit, operation) for row in rows
    ]


def _answer(row: Json, code: int, text: str, wire_id: str, limit: str, operation: str) -> Answer:
    if own := row.get("sCode"):
        # A sub-code may follow: 51008_1000.
        code, text = int(own.partition("_")[0]), str(row.get("sMsg") or text)
    verdict, reason = classify(code)
    answer = Answer(wire_id=wire_id, verdict=verdict, reason=reason)
    if verdict is not Verdict.ACCEPTED:
        answer.venue_code, answer.text = code, text
        if verdict is Verdict.LIMITED:
            answer.wait_s = WAIT_S
            answer.limit = limits.NEW_AND_AMEND if code == _SUB_ACCOUNT_CODE else limit
        return answer
    kind = _DONE.get(operation)
    if kind is not None:
        answer.updates.append(_accepted(row, kind))
    return answer


def _accepted(row: Json, kind: ReportKind) -> Update:
    update = Update(kind=kind, client_text=row.get("clOrdId") or row.get("algoClOrdId") or "")
    update.venue_id = row.get("ordId") or ""
    if algo_id := row.get("algoId"):
        update.venue_id = ALGO + algo_id
    update.exchange_ns = int(row.get("ts") or 0) * MS
    if kind is ReportKind.ACCEPTED:
        update.action, update.status = Action.NEW, OrderStatus.ACCEPTED
    elif kind is ReportKind.OPEN:
        update.action, update.status = Action.NEW, OrderStatus.UNTRIGGERED
    elif kind is ReportKind.CANCELED:
        update.status, update.reason = OrderStatus.CANCELED, Reason.REQUESTED
    else:
        update.action = Action.CANCEL
    return update


def read_answer(call: Call, status: int, body: bytes, instruments: Instruments) -> list[Event]:
    """Return what the answer to a call says; also for errors, and no JSON at all.

    Raises
    ------
    ValueError
        If an order that was asked for cannot be read.

    """
    limit = call.costs[0].limit if call.costs else ""
    try:
        frame = orjson.loads(body)
        code = int(frame["code"])
    except (ValueError, KeyError, TypeError):
        verdict, reason = classify_status(status)
        answer = Answer(wire_id=call.wire_id, verdict=verdict, reason=reason, venue_code=status)
        answer.text = body[:100].decode(errors="replace")
        if verdict is Verdict.LIMITED:
            answer.wait_s, answer.limit = WAIT_S, limit if status == 429 else ""
        return [answer]
    operation = call.path.partition("?")[0].rpartition("/")[2]
    if call.method == "GET" and not code:
        try:
            return [_told(frame, call, operation, instruments)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"OKX answer without {error}: {body[:200]!r}") from None
    try:
        if call.tag.startswith(CANCEL_ALL):
            return [_of_batch(read_reply(frame, call.wire_id, limit, ""))]
        return list(read_reply(frame, call.wire_id, limit, operation))
    except (ValueError, TypeError, AttributeError):
        return [unreadable(call.wire_id, body)]


_DONE_WITH = (Verdict.ACCEPTED, Verdict.GONE)
"""Orders that ended meanwhile are refused one by one: as good as canceled."""


def _of_batch(answers: Sequence[Answer]) -> Answer:
    """Return the answer to a batch of a cancel-all: it is done if each of its orders is.

    If not, it is not known what is still open, whatever was refused: it is to be asked again.
    """
    left = [each for each in answers if each.verdict not in _DONE_WITH]
    if not left:
        return Answer(wire_id=answers[0].wire_id, verdict=Verdict.ACCEPTED)
    limited = [each for each in left if each.verdict is Verdict.LIMITED]
    worst = (limited or left)[0]
    if not limited:
        worst.verdict = Verdict.UNKNOWN
    return worst


def _told(frame: Json, call: Call, operation: str, instruments: Instruments) -> Answer:
    """Return the answer to a query of one order (or of a page of what is to be canceled)."""
    answer = Answer(wire_id=call.wire_id, verdict=Verdict.ACCEPTED)
    if call.tag.startswith(CANCEL_ALL):
        return answer
    read_row = _algo_status if operation == "order-algo" else _status
    for row in frame.get("data") or ():
        update = read_row(row, instruments)
        if update is not None:
            answer.updates.append(update)
    if not answer.updates:
        answer.verdict, answer.reason = Verdict.GONE, Reason.UNKNOWN_ORDER
    return answer


def _status(row: Json, instruments: Instruments) -> Update | None:
    instrument = instruments.get(row["instId"])
    if instrument is None:
        return None
    update = order(row, instrument, ReportKind.STATUS)
    update.flags |= ReportFlag.RECONCILED
    return update


def _algo_status(row: Json, instruments: Instruments) -> Update | None:
    instrument = instruments.get(row["instId"])
    if instrument is None:
        return None
    update = algo_order(row, instrument)
    update.flags |= ReportFlag.RECONCILED
    return update


def _trade(row: Json, instruments: Instruments) -> Update | None:
    """Return a row of the fill details."""
    instrument = instruments.get(row["instId"])
    if instrument is None:
        return None
    paid, decimals = amount(row.get("fee") or "")
    return Update(
        kind=ReportKind.FILL,
        client_text=row.get("clOrdId") or "",
        venue_id=row["ordId"],
        instrument=instrument.row,
        exchange_ns=int(row.get("fillTime") or row["ts"]) * MS,
        last_price=to_mantissa(row["fillPx"], instrument.price_decimals),
        last_quantity=to_mantissa(row["fillSz"], instrument.quantity_decimals),
        trade_id=trade_number(row["tradeId"]),
        fee=-paid,
        decimals=decimals,
        asset=row.get("feeCcy") or "",
        side=SIDES[row["side"]],
        position_side=POSITIONS.get(row.get("posSide") or "", 0),
        liquidity=LIQUIDITY.get(row.get("execType") or "", Liquidity.NONE),
        flags=ReportFlag.RECONCILED,
    )


def _funding(row: Json, instruments: Instruments) -> Update | None:
    """Return a bill of a funding fee; what was paid is its negative ``pnl``."""
    instrument = instruments.get(row["instId"])
    if instrument is None:
        return None
    got, decimals = amount(row["pnl"])
    return Update(
        kind=ReportKind.FUNDING,
        instrument=instrument.row,
        exchange_ns=int(row["ts"]) * MS,
        trade_id=trade_number(row["billId"]),
        fee=-got,
        decimals=decimals,
        asset=row["ccy"],
        flags=ReportFlag.RECONCILED,
    )


def _data(body: bytes) -> list[dict[str, Any]]:
    """Return the rows of an answer.

    Raises
    ------
    ValueError
        If it is an error of the venue; KeyError, TypeError or AttributeError if it has no rows.

    """
    frame = orjson.loads(body)
    if str(frame["code"]) != "0":
        raise ValueError(f"OKX answers {frame['code']}: {frame.get('msg')}")
    rows: list[dict[str, Any]] = frame["data"]
    return rows


def read_page(
    query: Query, call: Call, body: bytes, instruments: Instruments
) -> list[Update | Notice]:
    """Return what an answer to a query says.

    Raises
    ------
    ValueError
        If it is an error, or cannot be read.

    """
    try:
        data = _data(body)
        if query == Query.BALANCES:
            found: list[Any] = _reconciled(balances(data, instruments))
        elif query == Query.POSITIONS:
            found = _reconciled(positions(data, instruments))
        elif query == Query.FILLS:
            found = read_rows(data, lambda row: _trade(row, instruments))
        elif query == Query.FUNDING:
            found = read_rows(data, lambda row: _funding(row, instruments))
        elif "orders-algo" in call.path:
            found = read_rows(data, lambda row: _algo_status(row, instruments))
        else:
            found = read_rows(data, lambda row: _status(row, instruments))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"OKX answer without {error}: {body[:200]!r}") from None
    return found


def _reconciled(events: Sequence[Event]) -> list[Update]:
    updates = [event for event in events if isinstance(event, Update)]
    for update in updates:
        update.flags |= ReportFlag.RECONCILED
    return updates


def read_codes(body: bytes) -> dict[str, int]:
    """Return the codes of a list of instruments by native symbol; those without are left out.

    Raises
    ------
    ValueError
        If it is an error, or cannot be read.

    """
    try:
        rows = [(row["instId"], row.get("instIdCode")) for row in _data(body)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"OKX instruments without {error}: {body[:200]!r}") from None
    return {native: int(code) for native, code in rows if code not in (None, "")}


def parse_time(body: bytes) -> int:
    """Return the venue's clock, Unix ms."""
    try:
        return int(orjson.loads(body)["data"][0]["ts"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no time in {body[:200]!r}: {error}") from None
