"""Orders, fills, balances and positions as OKX writes them, for REST and WebSocket alike."""

from decimal import Decimal
from typing import Any

from engine.common import Side
from gateways.simulator.account import (
    ZERO,
    Account,
    AccountFill,
    Order,
    Position,
    Status,
    Why,
)
from gateways.simulator.margin import plain, to_places
from gateways.simulator.okx.codes import CANCEL_SOURCE
from gateways.simulator.okx.dialect import DEFAULT_LEVERAGE, index_of, type_of
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading

Json = dict[str, Any]

_STATES = {
    Status.UNTRIGGERED: "live",
    Status.NEW: "live",
    Status.PARTIAL: "partially_filled",
    Status.FILLED: "filled",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "canceled",
    Status.REJECTED: "canceled",
}
_CATEGORIES = {Why.LIQUIDATION: "full_liquidation", Why.DELEVERAGING: "adl"}
_EMPTY_ORDER = dict.fromkeys(
    (
        "algoClOrdId",
        "algoId",
        "attachAlgoClOrdId",
        "cancelSource",
        "ccy",
        "fillPx",
        "fillTime",
        "px",
        "pxType",
        "pxUsd",
        "pxVol",
        "quickMgnType",
        "slOrdPx",
        "slTriggerPx",
        "slTriggerPxType",
        "source",
        "stpId",
        "tgtCcy",
        "tpOrdPx",
        "tpTriggerPx",
        "tpTriggerPxType",
        "tradeId",
        "tradeQuoteCcy",
    ),
    "",
)
_EMPTY_PUSH = dict.fromkeys(
    (
        "amendResult",
        "amendSource",
        "execType",
        "fillFeeCcy",
        "fillFwdPx",
        "fillMarkPx",
        "fillMarkVol",
        "fillNotionalUsd",
        "fillPxUsd",
        "fillPxVol",
        "msg",
        "reqId",
    ),
    "",
)
_EMPTY_POSITION = dict.fromkeys(
    (
        "baseBal",
        "baseBorrowed",
        "baseInterest",
        "bizRefId",
        "bizRefType",
        "clSpotInUseAmt",
        "deltaBS",
        "deltaPA",
        "gammaBS",
        "gammaPA",
        "hedgedPos",
        "liab",
        "liabCcy",
        "maxSpotInUseAmt",
        "optVal",
        "pendingCloseOrdLiabVal",
        "posCcy",
        "quoteBal",
        "quoteBorrowed",
        "quoteInterest",
        "spotInUseAmt",
        "spotInUseCcy",
        "thetaBS",
        "thetaPA",
        "vegaBS",
        "vegaPA",
    ),
    "",
)
_ZERO_DETAIL = dict.fromkeys(
    (
        "borrowFroz",
        "colBorrAutoConversion",
        "colRes",
        "crossLiab",
        "fixedBal",
        "interest",
        "isoLiab",
        "liab",
        "maxLoan",
        "rewardBal",
        "smtSyncEq",
        "spotCopyTradingEq",
        "spotIsoBal",
        "stgyEq",
        "twap",
        "uplLiab",
    ),
    "0",
)
_EMPTY_DETAIL = dict.fromkeys(
    (
        "accAvgPx",
        "clSpotInUseAmt",
        "maxSpotInUseAmt",
        "mgnRatio",
        "notionalLever",
        "openAvgPx",
        "spotBal",
        "spotInUseAmt",
        "spotUpl",
        "spotUplRatio",
        "totalPnl",
        "totalPnlRatio",
    ),
    "",
)


def ratio(value: Decimal) -> str:
    """Write a quotient with the places that the venue gives."""
    return plain(to_places(value, 12))


def state_of(order: Order) -> str:
    """Return the venue's ``state`` of a plain order."""
    if order.status.live:
        return "partially_filled" if order.filled else _STATES[order.status]
    if by_value(order) and order.filled and order.ended in (Why.IMMEDIATE, Why.NO_LIQUIDITY):
        # What is left of the amount is too little for a lot: the venue calls that filled.
        return "filled"
    return _STATES[order.status]


def by_value(order: Order) -> bool:
    """Whether a market order says how much of the quote currency it spends or gets."""
    return order.terms.quote_quantity > ZERO


def size_of(order: Order) -> str:
    """Return ``sz`` as the order was asked for, or amended to."""
    if by_value(order):
        return plain(order.terms.quote_quantity)
    return order.market.instrument.quantity.text(order.quantity)


def position_side(side: str, market: SimulatedBook) -> str:
    """Return ``posSide``; empty on spot."""
    return "" if type_of(market.instrument) == "SPOT" else side


def describe_order(order: Order) -> Json:
    """Return what REST and the order channel both say of a plain order."""
    instrument, terms, extra = order.market.instrument, order.terms, order.terms.extra
    spot = type_of(instrument) == "SPOT"
    last = order.fills[-1] if order.fills else None
    fee_asset = last.fee_asset if last is not None else _fee_asset(order)
    entry: Json = dict(_EMPTY_ORDER)
    entry |= {
        "accFillSz": instrument.quantity.text(order.filled),
        "attachAlgoOrds": [],
        "avgPx": ratio(order.average) if order.filled else "0",
        "cTime": str(order.created_ms),
        "category": _CATEGORIES.get(order.forced, "normal"),
        "ccy": extra.get("ccy", ""),
        "clOrdId": order.client_id,
        "fee": plain(-order.fees.get(fee_asset, ZERO)),
        "feeCcy": fee_asset,
        "fillSz": "0",
        "instId": instrument.symbol,
        "instType": type_of(instrument),
        "isTpLimit": "false",
        "lever": "" if spot else str(leverage_of(order.account, order.market)),
        "linkedAlgoOrd": {"algoId": extra.get("algoId", "")},
        "ordId": str(order.id),
        "ordType": extra.get("ordType", "limit" if order.price else "market"),
        "pnl": plain(order.realised),
        "posSide": position_side(terms.position_side, order.market),
        "px": instrument.price.text(order.price) if order.price else "",
        "rebate": "0",
        "rebateCcy": instrument.base if spot else instrument.settle,
        "reduceOnly": "true" if terms.reduce_only else "false",
        "side": "buy" if terms.side is Side.BUY else "sell",
        "state": state_of(order),
        "stpMode": extra.get("stpMode", "cancel_maker"),
        "sz": size_of(order),
        "tag": terms.tag,
        "tdMode": extra.get("tdMode", "cash" if spot else "cross"),
        "tgtCcy": extra.get("tgtCcy", ""),
        "uTime": str(order.updated_ms or order.created_ms),
    }
    if entry["state"] == "canceled":
        entry["cancelSource"] = CANCEL_SOURCE.get(order.ended, "0")
    if "algoId" in extra:
        entry |= {
            "algoClOrdId": extra.get("algoClOrdId", ""),
            "algoId": extra["algoId"],
            "clOrdId": "",
            "ordType": "limit" if order.price else "market",
            "source": extra.get("source", ""),
        }
    return entry


def stored_order(order: Order) -> Json:
    """Return an order as a query answers it: with its last fill."""
    entry = describe_order(order)
    entry |= {"cancelSourceReason": ""}
    if order.fills:
        last = order.fills[-1]
        entry |= _last_fill(last)
    else:
        entry["avgPx"] = ""
    return entry


def pushed_order(
    order: Order, fill: AccountFill | None, mark: Decimal, amended: Json | None = None
) -> Json:
    """Return an order as its channel tells it: with the fill that is told, or none.

    ``mark`` is the price that ``notionalUsd`` counts with; ``amended`` has ``reqId``,
    ``amendResult``, ``code`` and ``msg`` if it is told because of an amendment.
    """
    instrument = order.market.instrument
    entry = describe_order(order) | _EMPTY_PUSH
    entry |= {
        "code": "0",
        "fillFee": "0",
        "fillPnl": "0",
        "lastPx": instrument.price.text(order.market.stats.last),
        "notionalUsd": plain(worth(order.market, order.quantity, mark)),
    }
    if fill is not None:
        entry |= _last_fill(fill)
        entry |= {
            "accFillSz": instrument.quantity.text(fill.order_filled),
            "execType": "M" if fill.maker else "T",
            "fillFee": plain(-fill.fee),
            "fillFeeCcy": fill.fee_asset,
            "fillNotionalUsd": plain(worth(order.market, fill.quantity, mark)),
            "fillPnl": plain(fill.realised),
        }
    if amended is not None:
        entry |= amended
    return entry


def _last_fill(fill: AccountFill) -> Json:
    instrument = fill.order.market.instrument
    return {
        "fillPx": instrument.price.text(fill.price),
        "fillSz": instrument.quantity.text(fill.quantity),
        "fillTime": str(fill.time_ms),
        "tradeId": str(fill.id),
    }


def _fee_asset(order: Order) -> str:
    instrument = order.market.instrument
    if instrument.settle:
        return instrument.settle
    return instrument.base if order.terms.side is Side.BUY else instrument.quote


def worth(market: SimulatedBook, lots: int, price: Decimal) -> Decimal:
    """Return what lots are worth in dollars at a price."""
    instrument = market.instrument
    quantity, contract = instrument.quantity, instrument.contract
    amount = Decimal(abs(lots) * quantity.step * contract.step).scaleb(
        -quantity.decimals - contract.decimals
    )
    return amount if instrument.settle == instrument.base else amount * price


def leverage_of(account: Account, market: SimulatedBook) -> int:
    """Return the leverage that an account has set for an instrument."""
    return account.leverage.get(market.instrument.symbol, DEFAULT_LEVERAGE)


def _value(fill: AccountFill) -> Decimal:
    """Return what a trade was worth in the currency of its fee."""
    instrument = fill.order.market.instrument
    price = Decimal(fill.price * instrument.price.step).scaleb(-instrument.price.decimals)
    if instrument.settle == instrument.base:
        return worth(fill.order.market, fill.quantity, price) / price
    return worth(
        fill.order.market,
        fill.quantity,
        Decimal(1) if fill.fee_asset == instrument.base else price,
    )


def stored_fill(fill: AccountFill) -> Json:
    """Return one entry of ``/api/v5/trade/fills``."""
    order = fill.order
    instrument = order.market.instrument
    buys = order.terms.side is Side.BUY
    return {
        "billId": str(fill.sequence),
        "clOrdId": order.client_id,
        "execType": "M" if fill.maker else "T",
        "fee": plain(-fill.fee),
        "feeCcy": fill.fee_asset,
        "feeRate": ratio(-fill.fee / _value(fill)),
        "fillFwdPx": "",
        "fillIdxPx": "",
        "fillMarkPx": "",
        "fillMarkVol": "",
        "fillPnl": plain(fill.realised),
        "fillPx": instrument.price.text(fill.price),
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": instrument.quantity.text(fill.quantity),
        "fillTime": str(fill.time_ms),
        "instId": instrument.symbol,
        "instType": type_of(instrument),
        "ordId": str(order.id),
        "posSide": order.terms.position_side,
        "side": "buy" if buys else "sell",
        "subType": "1" if buys else "2",
        "tag": order.terms.tag,
        "tradeId": str(fill.id),
        "tradeQuoteCcy": instrument.quote,
        "ts": str(fill.time_ms),
    }


def pushed_fill(fill: AccountFill) -> Json:
    """Return one entry of the channel ``fills``."""
    order = fill.order
    instrument = order.market.instrument
    return {
        "clOrdId": order.client_id,
        "count": "1",
        "execType": "M" if fill.maker else "T",
        "fillPx": instrument.price.text(fill.price),
        "fillSz": instrument.quantity.text(fill.quantity),
        "instId": instrument.symbol,
        "ordId": str(order.id),
        "side": "buy" if order.terms.side is Side.BUY else "sell",
        "tradeId": str(fill.id),
        "ts": str(fill.time_ms),
    }


def position_id(account: Account, position: Position) -> str:
    """Return ``posId``: the same for an instrument and side of an account for ever."""
    symbol = position.market.instrument.symbol
    return str(account.uid * 10**6 + sum(map(ord, symbol + position.side)))


def describe_position(trading: Trading, account: Account, position: Position, now_ms: int) -> Json:
    """Return one entry of ``/api/v5/account/positions`` and of the channel ``positions``."""
    market = position.market
    instrument = market.instrument
    mark = trading.mark(market)
    value = worth(market, position.lots, mark)
    in_settle = value / mark if instrument.settle == instrument.base else value
    gain = trading.unrealised(position)
    lever = leverage_of(account, market)
    quantity = instrument.quantity.text(
        position.lots if position.side == "net" else abs(position.lots)
    )
    index = Decimal(market.reference.index).scaleb(-8) if market.reference else mark
    need = in_settle / lever
    entry: Json = dict(_EMPTY_POSITION)
    entry |= {
        "adl": "1",
        "availPos": "" if position.side == "net" else quantity,
        "avgPx": plain(position.entry) if position.lots else "",
        "bePx": plain(position.entry) if position.lots else "",
        "cTime": str(position.created_ms),
        "ccy": instrument.settle,
        "closeOrderAlgo": [],
        "fee": "0",
        "fundingFee": "0",
        "idxPx": ratio(index),
        "imr": "" if position.isolated else ratio(need),
        "instId": instrument.symbol,
        "instType": type_of(instrument),
        "interest": "",
        "last": instrument.price.text(market.stats.last),
        "lever": str(lever),
        "liqPenalty": "0",
        "liqPx": "",
        "margin": ratio(position.margin) if position.isolated else "",
        "markPx": ratio(mark),
        "mgnMode": "isolated" if position.isolated else "cross",
        "mgnRatio": "",
        "mmr": ratio(in_settle * trading.rules.maintenance),
        "notionalUsd": ratio(value),
        "pTime": str(now_ms),
        "pnl": plain(position.realised),
        "pos": quantity,
        "posId": position_id(account, position),
        "posSide": position.side,
        "realizedPnl": plain(position.realised),
        "tradeId": last_trade(account, position),
        "uTime": str(position.updated_ms),
        "upl": plain(gain),
        "uplLastPx": plain(gain),
        "uplRatio": ratio(gain / need) if need else "0",
        "uplRatioLastPx": ratio(gain / need) if need else "0",
        "usdPx": "1",
    }
    return entry


def last_trade(account: Account, position: Position) -> str:
    """Return the id of the last trade that changed a position; empty if it is not known."""
    symbol = position.market.instrument.symbol
    for fill, _ in zip(reversed(account.fills), range(1000), strict=False):
        terms = fill.order.terms
        if terms.market.instrument.symbol == symbol and terms.position_side == position.side:
            return str(fill.id)
    return ""


def describe_asset(trading: Trading, account: Account, asset: str, now_ms: int) -> Json:
    """Return one currency of ``/api/v5/account/balance`` and of the channel ``account``."""
    balance = account.balances[asset]
    price = trading.ledger.dollars(asset, Decimal(1))
    held = [
        position
        for position in account.positions.values()
        if position.lots and position.market.instrument.settle == asset
    ]
    gain = sum((trading.unrealised(position) for position in held), ZERO)
    isolated = sum((position.margin for position in held if position.isolated), ZERO)
    cross = sum((position.margin for position in held if not position.isolated), ZERO)
    equity = balance.total + gain
    usable = trading.available(account, asset)
    frozen = max(ZERO, equity - usable)
    entry: Json = _ZERO_DETAIL | _EMPTY_DETAIL
    entry |= {
        "availBal": plain(usable),
        "availEq": plain(usable),
        "cashBal": plain(balance.total),
        "ccy": asset,
        "coinUsdPrice": ratio(price),
        "collateralEnabled": False,
        "collateralRestrict": False,
        "disEq": ratio(equity * price),
        "eq": plain(equity),
        "eqUsd": ratio(equity * price),
        "frozenBal": plain(frozen),
        "imr": plain(cross),
        "isoEq": plain(isolated),
        "isoUpl": "0",
        "mmr": "0",
        "ordFrozen": plain(balance.locked + balance.reserved),
        "uTime": str(now_ms),
        "upl": plain(gain),
    }
    return entry


def describe_account(
    trading: Trading, account: Account, assets: list[str] | None, now_ms: int
) -> Json:
    """Return the whole account; ``assets`` chooses the currencies that are told, None all."""
    details = [
        describe_asset(trading, account, asset, now_ms)
        for asset in account.balances
        if (assets is None and account.balances[asset].total) or (assets and asset in assets)
    ]
    total = sum(
        (
            balance.total * trading.ledger.dollars(balance.asset, Decimal(1))
            for balance in account.balances.values()
        ),
        ZERO,
    )
    gain = sum((Decimal(detail["upl"]) for detail in details), ZERO)
    value = sum(
        (
            worth(position.market, position.lots, trading.mark(position.market))
            for position in account.positions.values()
        ),
        ZERO,
    )
    blank = ("adjEq", "availEq", "borrowFroz", "imr", "mgnRatio", "mmr", "notionalUsdForBorrow")
    return dict.fromkeys(blank, "") | {
        "delta": "",
        "deltaLever": "",
        "deltaNeutralStatus": "",
        "details": details,
        "isoEq": "0",
        "notionalUsd": ratio(value),
        "notionalUsdForFutures": "0",
        "notionalUsdForOption": "0",
        "notionalUsdForSwap": ratio(value),
        "ordFroz": "",
        "totalEq": ratio(total),
        "uTime": str(now_ms),
        "upl": plain(gain),
    }


def family_of(market: SimulatedBook) -> str:
    """Return ``instFamily`` (and ``uly``) of a contract; empty on spot."""
    return index_of(market.instrument) if market.reference is not None else ""
