"""What Binance tells by itself, as updates: orders, trades, balances, positions.

What is told of, and what is not:

- An order is known by the client id that *we* gave it. On spot that is ``C`` in the report of a
  cancellation: ``c`` is the cancellation's own. The cancellation inside a cancel-replace is not
  told at all, for the order lives on under its client id; ``requests.REPLACED`` marks it.
- TRADE_LITE is ignored: it tells the same trade earlier, but neither its fee nor the order's
  filled quantity, and a trade is told once. So is ``balanceUpdate``: ``outboundAccountPosition``
  tells the same change as a balance.
- Orders that the venue makes (liquidation, auto-deleveraging, settlement) have Flag.FORCED.
- ACCOUNT_UPDATE tells wallet balances, not what is available of them (0); the result of a query
  does, and has Flag.ABSOLUTE.
- A trade's price that is told as 0 is the order's.

Sources: developers.binance.com, spot "User data streams"; USDⓈ-M "Event: order update", "Event:
balance and position update", "Event: algo order update", "Event: conditional order trigger reject".
"""

from collections.abc import Sequence

import msgspec
import orjson

from gateways.binance.answers import read_response
from gateways.binance.requests import ALGO, REPLACED
from gateways.binance.words import (
    ENDS,
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
from gateways.message import Event, Instrument, Notice, NoticeKind, Update
from gateways.numbers import amount, average, to_mantissa
from gateways.types import Liquidity, MarginMode, OrderStatus, Reason, ReportFlag, ReportKind

_FORCED = {
    "autoclose-": Reason.LIQUIDATION,
    "adl_autoclose": Reason.DELEVERAGING,
    "settlement_autoclose-": Reason.SETTLEMENT,
    "delivery_autoclose-": Reason.SETTLEMENT,
}
_BECAME_AN_ORDER = "8"
"""Expiry reason: the stop order ended because it was triggered."""
_IGNORED = frozenset(
    {
        "listStatus",
        "balanceUpdate",
        "externalLockUpdate",
        "TRADE_LITE",
        "ACCOUNT_CONFIG_UPDATE",
        "STRATEGY_UPDATE",
        "GRID_UPDATE",
    }
)
_NOTICES = {
    "serverShutdown": NoticeKind.ENDING,
    "eventStreamTerminated": NoticeKind.ENDING,
    "listenKeyExpired": NoticeKind.KEY_EXPIRED,
}


# -- live events -------------------------------------------------------------------------------
def read(message: bytes, instruments: Instruments, futures: bool, now_ms: int) -> list[Event]:
    """Return what a WebSocket message says; ValueError if it cannot be read."""
    data = orjson.loads(message)
    if not isinstance(data, dict):
        raise ValueError("a message that is no object")
    try:
        if "status" in data and "id" in data:
            return read_response(data, instruments, futures, now_ms)
        event = data.get("event") or data.get("data") or data
        return _event(event, instruments, futures)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a message without its fields: {error!r}") from None


def _event(event: Json, instruments: Instruments, futures: bool) -> list[Event]:
    kind = event["e"]
    if kind == "executionReport":
        return _execution(event, instruments, event["T"], False)
    if kind == "ORDER_TRADE_UPDATE":
        return _execution(event["o"], instruments, event["T"], True)
    if kind == "outboundAccountPosition":
        return _account_position(event)
    if kind == "ACCOUNT_UPDATE":
        return _account_update(event, instruments)
    if kind == "ALGO_UPDATE":
        return _algo_update(event, instruments)
    if kind == "CONDITIONAL_ORDER_TRIGGER_REJECT":
        return _trigger_reject(event, instruments)
    if kind in _IGNORED:
        return [Notice(kind=NoticeKind.IGNORED, text=kind)]
    if kind == "MARGIN_CALL":
        symbols = ", ".join(str(position.get("s")) for position in event.get("p", ()))
        return [Notice(kind=NoticeKind.ALERT, text=f"margin call: {symbols}")]
    notice = _NOTICES.get(kind)
    if notice is None:
        raise ValueError(f"an event of an unknown kind, {str(kind)[:40]!r}")
    return [Notice(kind=notice, text=kind)]


def _unknown(symbol: object) -> list[Event]:
    text = f"an event of {str(symbol)[:32]!r}, which is not in the instrument table"
    return [Notice(kind=NoticeKind.ALERT, text=text)]


def _execution(o: Json, instruments: Instruments, time_ms: int, futures: bool) -> list[Event]:
    """Return what an execution report (spot) or an order update (USDⓈ-M) says."""
    instrument = instruments.get(o["s"])
    if instrument is None:
        return _unknown(o["s"])
    own = o["c"]
    client = o.get("C") or own
    if client == "null":
        client = own
    execution = o["x"]
    if execution == "CANCELED" and own == client + REPLACED:
        return [Notice(kind=NoticeKind.IGNORED, text="replaced")]
    price_decimals, decimals = instrument.price_decimals, instrument.quantity_decimals
    status = STATUS.get(o["X"], 0)
    update = Update(
        kind=ReportKind.OPEN,
        client_text=client,
        venue_id=str(o["i"]),
        instrument=instrument.row,
        exchange_ns=time_ms * 1_000_000,
        price=to_mantissa(o["p"], price_decimals),
        quantity=to_mantissa(o["q"], decimals),
        filled=to_mantissa(o["z"], decimals),
        status=status,
        side=SIDES[o["S"]],
        order_type=order_type_of(o["o"], futures),
        time_in_force=time_in_force_of(o["f"], o["o"]),
        stop_price=to_mantissa(o.get("sp" if futures else "P") or "", price_decimals),
    )
    if futures:
        update.average_price = average(o["ap"], price_decimals)
        update.position_side = POSITION_SIDES.get(o["ps"], 0)
        if o["R"]:
            update.flags = ReportFlag.REDUCE_ONLY
        _mark_forced(update)
        if not status:
            # NEW_ADL, NEW_INSURANCE: how the venue came to make the order, not how it stands.
            update.status = status_of(update.filled, update.quantity)
    elif update.filled:
        update.average_price = mean(o["Z"], update.filled, decimals, price_decimals)
    if execution in ("TRADE", "CALCULATED"):
        return _trade(o, update, instrument)
    update.kind, update.reason = _kind_and_reason(o, update)
    return [update]


def _mark_forced(update: Update) -> None:
    client = update.client_text
    if "autoclose" in client:
        for prefix, reason in _FORCED.items():
            if client.startswith(prefix):
                update.flags |= ReportFlag.FORCED
                update.reason = reason


def _trade(o: Json, update: Update, instrument: Instrument) -> list[Event]:
    """Return a trade, and the order's end if it came with it."""
    told: list[Event] = []
    quantity = to_mantissa(o["l"], instrument.quantity_decimals)
    end = ENDS.get(update.status)
    if end is not None:
        reason = update.reason or end_reason(o, update)
        told.append(msgspec.structs.replace(update, kind=end, reason=reason))
    if quantity:
        update.kind = ReportKind.FILL
        update.last_price = to_mantissa(o["L"], instrument.price_decimals) or update.price
        update.last_quantity = quantity
        update.trade_id = o["t"]
        update.fee, update.decimals = amount(o.get("n") or "")
        update.asset = o.get("N") or ""
        update.liquidity = Liquidity.MAKER if o["m"] else Liquidity.TAKER
        return [update, *told]
    # Without a trade: the filled quantity as it is now, for whoever adds trades up.
    return told or [update]


def _kind_and_reason(o: Json, update: Update) -> tuple[ReportKind, Reason]:
    """Return what an event without a trade is told as; ValueError if it is of no known type."""
    execution = o["x"]
    reason = update.reason
    if execution == "NEW":
        if update.order_type in STOPS:
            if o.get("w") is True:
                return ReportKind.TRIGGERED, reason
            update.status = OrderStatus.UNTRIGGERED
            return ReportKind.ACCEPTED, reason
        return STANDS.get(update.status, ReportKind.OPEN), reason
    if execution == "CANCELED":
        if o["X"] == "PENDING_CANCEL":
            return ReportKind.CANCEL_ACCEPTED, reason
        # On spot, an order that the venue itself ended has no original client id.
        asked = "C" not in o or o["C"] not in ("", "null")
        return ReportKind.CANCELED, reason or (Reason.REQUESTED if asked else Reason.NONE)
    if execution in ("REPLACED", "AMENDMENT"):
        return ReportKind.AMENDED, reason
    if execution == "EXPIRED":
        if str(o.get("er", "")) == _BECAME_AN_ORDER:
            update.status = OrderStatus.ACCEPTED
            return ReportKind.TRIGGERED, reason
        return ReportKind.EXPIRED, reason or end_reason(o, update)
    if execution == "REJECTED":
        update.text = str(o.get("r", ""))
        return ReportKind.REJECTED, Reason.OTHER
    if execution == "TRADE_PREVENTION":
        return STANDS.get(update.status, ReportKind.OPEN), Reason.SELF_TRADE
    raise ValueError(f"an execution of an unknown type, {str(execution)[:40]!r}")


def _account_position(event: Json) -> list[Event]:
    told: list[Event] = []
    for entry in event["B"]:
        free = amount(entry["f"])
        total = add(free, amount(entry["l"]))
        told.append(balance(entry["a"], total, free, event["u"]))
    return told


def _account_update(event: Json, instruments: Instruments) -> list[Event]:
    """Return wallet balances and positions that changed, and what a funding payment took."""
    account, time_ms = event["a"], event["T"]
    positions = account.get("P") or ()
    told: list[Event] = []
    for entry in account.get("B") or ():
        if account["m"] == "FUNDING_FEE":
            told.append(_funding(entry, positions, instruments, time_ms))
        told.append(balance(entry["a"], amount(entry["wb"]), (0, 0), time_ms))
    for entry in positions:
        instrument = instruments.get(entry["s"])
        if instrument is None:
            told += _unknown(entry["s"])
            continue
        mode = MarginMode.ISOLATED if entry.get("mt") == "isolated" else MarginMode.CROSS
        told.append(
            Update(
                kind=ReportKind.POSITION,
                instrument=instrument.row,
                exchange_ns=time_ms * 1_000_000,
                quantity=to_mantissa(entry["pa"], instrument.quantity_decimals),
                average_price=average(entry["ep"], instrument.price_decimals),
                position_side=POSITION_SIDES.get(entry["ps"], 0),
                margin_mode=mode if "mt" in entry else MarginMode.NONE,
            )
        )
    return told


def _funding(
    entry: Json, positions: Sequence[Json], instruments: Instruments, time_ms: int
) -> Update:
    """Return a funding payment; of which symbol is told of isolated positions only."""
    change, decimals = amount(entry["bc"])
    symbols = {position["s"] for position in positions}
    instrument = instruments.get(symbols.pop()) if len(symbols) == 1 else None
    return Update(
        kind=ReportKind.FUNDING,
        instrument=instrument.row if instrument else -1,
        exchange_ns=time_ms * 1_000_000,
        fee=-change,
        decimals=decimals,
        asset=entry["a"],
    )


def _algo_update(event: Json, instruments: Instruments) -> list[Event]:
    o = event["o"]
    instrument = instruments.get(o["s"])
    if instrument is None:
        return _unknown(o["s"])
    state = o["X"]
    kind, status, reason = algo_state(state)
    if state == "FINISHED":
        return [Notice(kind=NoticeKind.IGNORED, text=state)]
    became = str(o.get("ai") or "")
    return [
        Update(
            kind=kind,
            client_text=o["caid"],
            venue_id=became or f"{ALGO}{o['aid']}",
            instrument=instrument.row,
            exchange_ns=event["T"] * 1_000_000,
            price=to_mantissa(o["p"], instrument.price_decimals),
            quantity=to_mantissa(o["q"], instrument.quantity_decimals),
            stop_price=to_mantissa(o["tp"], instrument.price_decimals),
            status=status,
            reason=reason,
            side=SIDES[o["S"]],
            order_type=order_type_of(o["o"], True),
            time_in_force=TIMES.get(o["f"], 0),
            position_side=POSITION_SIDES.get(o["ps"], 0),
            flags=ReportFlag.REDUCE_ONLY if o["R"] else 0,
            text=o.get("rm") or "",
        )
    ]


def _trigger_reject(event: Json, instruments: Instruments) -> list[Event]:
    o = event["or"]
    instrument = instruments.get(o["s"])
    if instrument is None:
        return _unknown(o["s"])
    text = str(o["r"])
    return [
        Update(
            kind=ReportKind.REJECTED,
            venue_id=str(o["i"]),
            instrument=instrument.row,
            exchange_ns=event["T"] * 1_000_000,
            status=OrderStatus.REJECTED,
            reason=Reason.FILL_OR_KILL if "FOK" in text else Reason.OTHER,
            text=text,
        )
    ]
