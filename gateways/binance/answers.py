"""What Binance answers, as updates: to requests by WebSocket or REST, and to queries.

The result of a request that took effect may tell more: the order's id, its state, its trades. What
of that cannot be read does not change that it took effect.

Sources: developers.binance.com, spot "Trading requests", "Trading endpoints", "Account endpoints",
"Response format"; USDⓈ-M the answers of each request.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from engine.common import Side
from gateways.adapter import Call, Query
from gateways.binance.errors import (
    CANCEL_REPLACE_FAILED,
    CANCEL_REPLACE_PARTIAL,
    UNSURE,
    classify,
    limit_of,
    quiet_s,
)
from gateways.binance.requests import ACTION, ALGO, Mark
from gateways.binance.words import (
    POSITION_SIDES,
    SIDES,
    STANDS,
    STATUS,
    STOPS,
    TIMES,
    Instruments,
    Json,
    add,
    algo_state,
    balance,
    end_reason,
    mean,
    order_type_of,
    status_of,
    time_in_force_of,
)
from gateways.message import Answer, Event, Notice, NoticeKind, Update, Verdict, read_rows
from gateways.numbers import amount, average, to_mantissa
from gateways.types import (
    Action,
    Liquidity,
    MarginMode,
    OrderStatus,
    Reason,
    ReportFlag,
    ReportKind,
)

Result = Any
"""The ``result`` of an answer: its form depends on the request."""


def _split(wire: object) -> tuple[str, str]:
    """Return the gateway's id, and what its request was; that is empty for ids of others."""
    text = "" if wire is None else str(wire)
    if len(text) > 2 and text[-2] == "_":
        return text[:-2], text[-1]
    return text, ""


def read_response(data: Json, instruments: Instruments, futures: bool, now_ms: int) -> list[Event]:
    """Return what an answer of the WebSocket API says."""
    wire_id, mark = _split(data["id"])
    status = data["status"]
    if status == 200:
        if mark == Mark.LOGON:
            return [Notice(kind=NoticeKind.LOGGED_IN)]
        if mark == Mark.SUBSCRIBE:
            return [Notice(kind=NoticeKind.SUBSCRIBED)]
        return [_accepted(wire_id, mark, data.get("result"), instruments, futures)]
    error = data.get("error")
    if not isinstance(error, dict):
        error = {}
    code, text = _code(error)
    if mark in (Mark.LOGON, Mark.SUBSCRIBE):
        refused = NoticeKind.LOGIN_REFUSED
        if mark == Mark.SUBSCRIBE:
            refused = NoticeKind.SUBSCRIPTION_REFUSED
        return [Notice(kind=refused, text=text, code=code)]
    refusal = _Refusal(wire_id, mark, code, text, error.get("data"), status, {})
    return [_refused(refusal, instruments, futures, now_ms)]


def _code(error: Json) -> tuple[int, str]:
    try:
        code = int(error.get("code", 0))
    except (TypeError, ValueError):
        code = 0
    return code, str(error.get("msg", ""))


def _accepted(
    wire_id: str, mark: str, result: object, instruments: Instruments, futures: bool
) -> Answer:
    """Return the answer to a request that took effect; what it tells besides is a bonus."""
    try:
        updates = _result(mark, result, instruments, futures)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # The request did take effect, whatever is strange about the rest.
        return Answer(
            wire_id=wire_id, verdict=Verdict.ACCEPTED, text=f"unreadable result: {error}"[:80]
        )
    return Answer(wire_id=wire_id, verdict=Verdict.ACCEPTED, updates=updates)


def _result(mark: str, result: Result, instruments: Instruments, futures: bool) -> list[Update]:
    match mark:
        case Mark.NEW:
            return _placed(result, instruments, futures)
        case Mark.MODIFY:
            update = _stated(result, instruments, futures, ReportKind.AMENDED)
            if update is not None and update.status == OrderStatus.CANCELED:
                update.kind, update.reason = ReportKind.CANCELED, Reason.AMENDED_AWAY
            return [update] if update else []
        case Mark.KEEP_PRIORITY:
            update = _stated(result["amendedOrder"], instruments, futures, ReportKind.AMENDED)
            return [update] if update else []
        case Mark.REPLACE:
            placed = result["newOrderResponse"]
            amended = _stated(placed, instruments, futures, ReportKind.AMENDED)
            rest = [
                update
                for update in _placed(placed, instruments, futures)
                if update.kind not in (ReportKind.OPEN, ReportKind.ACCEPTED)
            ]
            return [amended, *rest] if amended else rest
        case Mark.CANCEL:
            return _canceled([result], instruments, futures)
        case Mark.CANCEL_ALL:
            return _canceled(result, instruments, futures) if isinstance(result, list) else []
        case Mark.QUERY | Mark.QUERY_ALGO:
            stated = algo_order if "algoId" in result else _stated
            update = stated(result, instruments, futures, ReportKind.STATUS)
            return [update] if update else []
        case Mark.NEW_ALGO:
            update = algo_order(result, instruments, futures, None)
            return [update] if update else []
        case Mark.CANCEL_ALGO:
            return [
                Update(
                    kind=ReportKind.CANCEL_ACCEPTED,
                    client_text=result["clientAlgoId"],
                    venue_id=f"{ALGO}{result['algoId']}",
                )
            ]
    return []


def _placed(order: Json, instruments: Instruments, futures: bool) -> list[Update]:
    """Return the trades that an answer to a new order tells, then how the order stands."""
    state = _stated(order, instruments, futures, None)
    if state is None:
        return []
    told = []
    instrument = instruments[order["symbol"]]
    filled = 0
    for entry in order.get("fills") or ():
        if "qty" not in entry:
            continue
        fee, fee_decimals = amount(entry["commission"])
        quantity = to_mantissa(entry["qty"], instrument.quantity_decimals)
        filled += quantity
        told.append(
            Update(
                kind=ReportKind.FILL,
                client_text=state.client_text,
                venue_id=state.venue_id,
                instrument=state.instrument,
                exchange_ns=state.exchange_ns,
                price=state.price,
                quantity=state.quantity,
                filled=filled,
                last_price=to_mantissa(entry["price"], instrument.price_decimals),
                last_quantity=quantity,
                trade_id=entry["tradeId"],
                fee=fee,
                decimals=fee_decimals,
                asset=entry["commissionAsset"],
                status=status_of(filled, state.quantity),
                side=state.side,
                order_type=state.order_type,
                time_in_force=state.time_in_force,
                # An order that trades before it is answered takes.
                liquidity=Liquidity.TAKER,
            )
        )
    return [*told, state]


def _canceled(orders: Sequence[Json], instruments: Instruments, futures: bool) -> list[Update]:
    told = []
    for order in orders:
        # An order of a list ends all of it; that is told as the list.
        for each in (order,) if "orderId" in order else order["orderReports"]:
            update = _stated(each, instruments, futures, None)
            if update is None:
                continue
            if each["status"] == "PENDING_CANCEL":
                update.kind = ReportKind.CANCEL_ACCEPTED
            elif update.kind == ReportKind.CANCELED:
                update.reason = Reason.REQUESTED
            told.append(update)
    return told


def _stated(
    order: Json, instruments: Instruments, futures: bool, kind: ReportKind | None
) -> Update | None:
    """Return an order as an answer states it; None if its instrument is not in the table.

    Without ``kind`` the status says what it is told as.
    """
    instrument = instruments.get(order["symbol"])
    if instrument is None:
        return None
    price_decimals, decimals = instrument.price_decimals, instrument.quantity_decimals
    status = STATUS.get(order["status"], OrderStatus.NONE)
    order_type = order_type_of(order.get("type", ""), futures)
    if order_type in STOPS and status == OrderStatus.OPEN and not order.get("isWorking"):
        # ``isWorking`` is told by queries only; a stop order is born waiting.
        status = OrderStatus.UNTRIGGERED
    filled = to_mantissa(order.get("executedQty", ""), decimals)
    average_price = average(order.get("avgPrice", ""), price_decimals)
    cost = order.get("cummulativeQuoteQty") or order.get("cumulativeQuoteQty") or ""
    if filled and cost and not futures and not cost.startswith("-"):
        # Old orders have a negative figure: not known.
        average_price = mean(cost, filled, decimals, price_decimals)
    told = kind or STANDS.get(status, ReportKind.ACCEPTED)
    update = Update(
        kind=told,
        client_text=order.get("origClientOrderId") or order.get("clientOrderId", ""),
        venue_id=str(order["orderId"]),
        instrument=instrument.row,
        exchange_ns=_stated_ms(order) * 1_000_000,
        price=to_mantissa(order.get("price", ""), price_decimals),
        quantity=to_mantissa(order.get("origQty") or order.get("qty") or "", decimals),
        filled=filled,
        average_price=average_price,
        stop_price=to_mantissa(order.get("stopPrice", ""), price_decimals),
        status=status,
        side=SIDES.get(order.get("side", ""), 0),
        order_type=order_type,
        time_in_force=time_in_force_of(order.get("timeInForce", ""), order.get("type", "")),
        position_side=POSITION_SIDES.get(order.get("positionSide", ""), 0),
        flags=ReportFlag.REDUCE_ONLY if order.get("reduceOnly") else 0,
    )
    if status == OrderStatus.EXPIRED:
        update.reason = end_reason({"X": order["status"], "eR": order.get("expiryReason")}, update)
    return update


def _stated_ms(order: Json) -> int:
    for name in ("updateTime", "transactTime", "workingTime", "time"):
        value = order.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def algo_order(
    order: Json, instruments: Instruments, futures: bool, kind: ReportKind | None
) -> Update | None:
    """Return a conditional order as an answer states it; None if its instrument is unknown."""
    instrument = instruments.get(order["symbol"])
    if instrument is None:
        return None
    told, status, reason = algo_state(order["algoStatus"])
    became = str(order.get("actualOrderId") or "")
    decimals = instrument.price_decimals
    return Update(
        kind=kind or told,
        client_text=order["clientAlgoId"],
        venue_id=became or f"{ALGO}{order['algoId']}",
        instrument=instrument.row,
        exchange_ns=order.get("updateTime", 0) * 1_000_000,
        price=to_mantissa(order.get("price") or "", decimals),
        quantity=to_mantissa(order.get("quantity") or "", instrument.quantity_decimals),
        stop_price=to_mantissa(order.get("triggerPrice") or "", decimals),
        status=status,
        reason=reason,
        side=SIDES[order["side"]],
        order_type=order_type_of(order["orderType"], futures),
        time_in_force=TIMES.get(order.get("timeInForce", ""), 0),
        position_side=POSITION_SIDES.get(order.get("positionSide", ""), 0),
        flags=ReportFlag.REDUCE_ONLY if order.get("reduceOnly") else 0,
    )


class _Refusal(NamedTuple):
    """What the venue says of a request that it refused, or does not know the fate of."""

    wire_id: str
    mark: str
    code: int
    text: str
    data: Any
    status: int
    headers: Mapping[str, str]


def _refused(refusal: _Refusal, instruments: Instruments, futures: bool, now_ms: int) -> Answer:
    code, text = refusal.code, refusal.text
    if not futures and code in (CANCEL_REPLACE_PARTIAL, CANCEL_REPLACE_FAILED):
        return _replace_refused(refusal, instruments)
    action = ACTION.get(Mark(refusal.mark), 0) if refusal.mark in _MARKS else 0
    verdict, reason = classify(code, text, refusal.status, action, futures)
    wait_s, limit = 0.0, ""
    if verdict == Verdict.LIMITED:
        wait_s = quiet_s(text, refusal.data, refusal.headers, now_ms)
        limit = limit_of(code, text)
    return Answer(
        wire_id=refusal.wire_id,
        verdict=verdict,
        reason=reason,
        venue_code=code,
        text=text,
        wait_s=wait_s,
        limit=limit,
    )


_MARKS = frozenset(Mark)


def _replace_refused(refusal: _Refusal, instruments: Instruments) -> Answer:
    """Return what became of a cancel-replace of which one half or both failed.

    If the old order was canceled and the new one refused, the order is no more.
    """
    answer = Answer(
        wire_id=refusal.wire_id,
        verdict=UNSURE[0],
        reason=UNSURE[1],
        venue_code=refusal.code,
        text=refusal.text,
    )
    if not isinstance(refusal.data, dict):
        return answer
    part = "cancelResponse" if refusal.code == CANCEL_REPLACE_FAILED else "newOrderResponse"
    failure = refusal.data.get(part)
    if not isinstance(failure, dict) or "code" not in failure:
        return answer
    code, text = _code(failure)
    verdict, reason = classify(code, text, refusal.status, Action.AMEND, False)
    answer.verdict, answer.reason, answer.venue_code, answer.text = verdict, reason, code, text
    if part == "newOrderResponse" and verdict != Verdict.UNKNOWN:
        answer.verdict = Verdict.REFUSED
        answer.updates = _canceled([refusal.data["cancelResponse"]], instruments, False)
    return answer


def read_answer(
    call: Call,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    instruments: Instruments,
    futures: bool,
    now_ms: int,
) -> list[Event]:
    """Return what the answer to a REST call says; also for 4xx, 5xx and no JSON at all."""
    try:
        data = orjson.loads(body)
        readable = True
    except orjson.JSONDecodeError:
        data, readable = {}, False
    code, text = _code(data) if isinstance(data, dict) else (0, "")
    if status < 300 and readable and code >= 0:
        return [_accepted(call.wire_id, call.tag, data, instruments, futures)]
    if not readable:
        text = body[:120].decode("utf-8", "replace").strip()
    details = data.get("data") if isinstance(data, dict) else None
    refusal = _Refusal(call.wire_id, call.tag, code, text, details, status, headers)
    return [_refused(refusal, instruments, futures, now_ms)]


# -- results of queries ------------------------------------------------------------------------
def read_page(
    query: Query, body: bytes, instruments: Instruments, futures: bool
) -> list[Update | Notice]:
    """Return what a page of a query's result says; ValueError if it is none.

    What concerns instruments that are not in the table is left out.
    """
    data = orjson.loads(body)
    if isinstance(data, dict) and "balances" not in data:
        code, text = _code(data)
        raise ValueError(f"the venue refused the query: {code} {text}")
    try:
        match query:
            case Query.OPEN_ORDERS:
                return read_rows(data, lambda entry: _open_order(entry, instruments, futures))
            case Query.FILLS:
                return read_rows(data, lambda entry: _past_trade(entry, instruments, futures))
            case Query.BALANCES:
                return read_rows(_entries(data), _whole_balance)
            case Query.POSITIONS:
                return read_rows(data, lambda entry: _whole_position(entry, instruments))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a page without its fields: {error!r}") from None
    return []


def _entries(data: Json | list[Json]) -> list[Json]:
    if isinstance(data, dict):
        entries: list[Json] = data["balances"]
        return entries
    return data


def _open_order(entry: Json, instruments: Instruments, futures: bool) -> Update | None:
    stated = algo_order if "algoId" in entry else _stated
    return stated(entry, instruments, futures, ReportKind.STATUS)


def _past_trade(entry: Json, instruments: Instruments, futures: bool) -> Update | None:
    instrument = instruments.get(entry["symbol"])
    if instrument is None:
        return None
    fee, decimals = amount(entry["commission"])
    buys, makes = ("buyer", "maker") if futures else ("isBuyer", "isMaker")
    return Update(
        kind=ReportKind.FILL,
        venue_id=str(entry["orderId"]),
        instrument=instrument.row,
        exchange_ns=entry["time"] * 1_000_000,
        last_price=to_mantissa(entry["price"], instrument.price_decimals),
        last_quantity=to_mantissa(entry["qty"], instrument.quantity_decimals),
        trade_id=entry["id"],
        fee=fee,
        decimals=decimals,
        asset=entry["commissionAsset"],
        side=Side.BUY if entry[buys] else Side.SELL,
        position_side=POSITION_SIDES.get(entry.get("positionSide", ""), 0),
        liquidity=Liquidity.MAKER if entry[makes] else Liquidity.TAKER,
    )


def _whole_balance(entry: Json) -> Update:
    if "balance" in entry:
        total, available = amount(entry["balance"]), amount(entry["availableBalance"])
    else:
        available = amount(entry["free"])
        total = add(available, amount(entry["locked"]))
    update = balance(entry["asset"], total, available, entry.get("updateTime", 0))
    update.flags = ReportFlag.ABSOLUTE
    return update


def _whole_position(entry: Json, instruments: Instruments) -> Update | None:
    instrument = instruments.get(entry["symbol"])
    if instrument is None:
        return None
    isolated = entry.get("marginType", "") == "isolated" or (
        amount(entry.get("isolatedWallet", ""))[0] != 0
    )
    return Update(
        kind=ReportKind.POSITION,
        instrument=instrument.row,
        exchange_ns=entry.get("updateTime", 0) * 1_000_000,
        quantity=to_mantissa(entry["positionAmt"], instrument.quantity_decimals),
        average_price=average(entry["entryPrice"], instrument.price_decimals),
        position_side=POSITION_SIDES.get(entry["positionSide"], 0),
        margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
        flags=ReportFlag.ABSOLUTE,
    )
