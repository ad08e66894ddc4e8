"""Orders, executions and positions as Bybit v5 writes them, for REST and for the topics alike.

The fields are those of the venue's pages ``order/open-order``, ``order/execution``, ``position``
and of recorded messages. Clients tell contracts from spot by the key ``tpslMode``: spot has none.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import (
    ZERO,
    AccountFill,
    FundingPayment,
    Order,
    Position,
    Prevention,
    Why,
)
from gateways.simulator.bybit.codes import ending, status
from gateways.simulator.bybit.ids import order_text, trade_text
from gateways.simulator.instruments import Instrument, Market
from gateways.simulator.margin import (
    MONEY_DECIMALS,
    initial_margin,
    money,
    plain,
    position_margin,
)

if TYPE_CHECKING:
    from gateways.simulator.trading import Trading

Row = dict[str, Any]

POSITION_INDEX = {"net": 0, "long": 1, "short": 2}
PREVENTION = {
    Prevention.NONE: "None",
    Prevention.MAKER: "CancelMaker",
    Prevention.TAKER: "CancelTaker",
    Prevention.BOTH: "CancelBoth",
}
TRIGGER_BY = {"last": "LastPrice", "mark": "MarkPrice", "index": "IndexPrice"}
TIMES_IN_FORCE = {
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.POST_ONLY: "PostOnly",
    TimeInForce.GTD: "GTC",
}
_CREATED_BY = {Why.LIQUIDATION: "CreateByLiq", Why.DELEVERAGING: "CreateByAdl_PassThrough"}
_EXECUTED_AS = {Why.LIQUIDATION: "BustTrade", Why.DELEVERAGING: "AdlTrade"}
_FUNDING_IDS = 1 << 64
"""Ids of funding payments stand above those of trades."""


def side_text(side: Side) -> str:
    """Return ``Buy`` or ``Sell``."""
    return "Buy" if side is Side.BUY else "Sell"


def is_spot(instrument: Instrument) -> bool:
    """Whether it is a spot pair."""
    return instrument.market is Market.SPOT


def order_id(order: Order) -> str:
    """Return the id that clients know."""
    return order_text(order.id, spot=is_spot(order.market.instrument))


def _executed(order: Order) -> tuple[Decimal, str]:
    """Return what has been executed, in the currency of the value, and its average price."""
    units = order.market.units
    if not units.inverse:
        value = order.value * (units.worth / units.lot)
        return value, plain(money(order.average)) if order.filled else ""
    value = order.settled
    if not value:
        return ZERO, ""
    return value, plain(money(units.worth * order.filled / value))


def order_row(order: Order) -> Row:
    """Return an order as it is now."""
    instrument, terms = order.market.instrument, order.terms
    spot, units = is_spot(instrument), order.market.units
    price, quantity = instrument.price, instrument.quantity
    end = ending(order)
    value, average = _executed(order)
    stop = terms.stop_price
    in_quote = bool(terms.quote_quantity)
    market_order = terms.type in (OrderType.MARKET, OrderType.STOP_MARKET)
    left = 0 if in_quote else order.left
    fees = {asset: plain(fee) for asset, fee in order.fees.items()}
    row: Row = {
        "symbol": instrument.symbol,
        "orderId": order_id(order),
        "orderLinkId": order.client_id,
        "blockTradeId": "",
        "side": side_text(terms.side),
        "positionIdx": POSITION_INDEX[terms.position_side],
        "orderStatus": status(order, spot=spot),
        "cancelType": end.cancel,
        "rejectReason": end.reject,
        "timeInForce": TIMES_IN_FORCE[terms.time_in_force],
        "isLeverage": "0" if spot else "",
        "price": price.text(order.price) if order.price else "0",
        "qty": plain(terms.quote_quantity) if in_quote else quantity.text(order.quantity),
        "avgPrice": average,
        "leavesQty": quantity.text(left),
        "leavesValue": plain(units.value(order.price, left) if order.price else ZERO),
        "cumExecQty": quantity.text(order.filled),
        "cumExecValue": plain(value),
        "cumExecFee": plain(sum(order.fees.values(), start=ZERO)),
        "orderType": "Market" if market_order else "Limit",
        "stopOrderType": "Stop" if stop else "",
        "orderIv": "",
        "triggerPrice": price.text(stop) if stop else "",
        "takeProfit": "",
        "stopLoss": "",
        "triggerBy": TRIGGER_BY[terms.trigger] if stop and not spot else "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "triggerDirection": 0 if terms.stop_above is None else 1 if terms.stop_above else 2,
        "placeType": "",
        "lastPriceOnCreated": terms.extra.get("last", ""),
        "closeOnTrigger": terms.close_position,
        "reduceOnly": terms.reduce_only,
        "smpGroup": 0,
        "smpType": PREVENTION[terms.prevention],
        "smpOrderId": "",
        "slLimitPrice": "0",
        "tpLimitPrice": "0",
        "marketUnit": terms.extra.get("unit", ""),
        "createdTime": str(order.created_ms),
        "updatedTime": str(order.updated_ms or order.created_ms),
        "feeCurrency": next(iter(fees), "") if spot else "",
        "cumFeeDetail": fees,
    }
    if not spot:
        row["tpslMode"] = ""
        row["createType"] = _CREATED_BY.get(
            order.forced, "CreateByStopOrder" if stop else "CreateByUser"
        )
    return row


def execution_row(fill: AccountFill, mark: Decimal, fee_rate: Decimal) -> Row:
    """Return one trade of an order."""
    order = fill.order
    instrument, terms = order.market.instrument, order.terms
    spot = is_spot(instrument)
    price, quantity = instrument.price, instrument.quantity
    market_order = terms.type in (OrderType.MARKET, OrderType.STOP_MARKET)
    in_quote = bool(terms.quote_quantity)
    left = 0 if in_quote else order.quantity - fill.order_filled
    row: Row = {
        "symbol": instrument.symbol,
        "orderId": order_id(order),
        "orderLinkId": order.client_id,
        "side": side_text(terms.side),
        "orderPrice": price.text(order.price) if order.price else "0",
        "orderQty": plain(terms.quote_quantity) if in_quote else quantity.text(order.quantity),
        "leavesQty": quantity.text(left),
        "orderType": "Market" if market_order else "Limit",
        "stopOrderType": "Stop" if terms.stop_price else "UNKNOWN",
        "execFee": plain(fill.fee),
        "execId": trade_text(fill.id, spot=spot),
        "execPrice": price.text(fill.price),
        "execQty": quantity.text(fill.quantity),
        "execType": _EXECUTED_AS.get(order.forced, "Trade"),
        "execValue": plain(order.market.units.value(fill.price, fill.quantity)),
        "execTime": str(fill.time_ms),
        "feeCurrency": fill.fee_asset if spot else "",
        "isMaker": fill.maker,
        "feeRate": plain(fee_rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": "" if spot else plain(money(mark)),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": "",
        "seq": fill.sequence,
        "extraFees": "",
        "execPnl": "" if spot else plain(fill.realised),
        "isLeverage": "0",
    }
    if not spot:
        row["createType"] = _CREATED_BY.get(order.forced, "CreateByUser")
    return row


def fast_row(fill: AccountFill) -> Row:
    """Return one trade as the topic ``execution.fast`` has it: makers learn no ``orderLinkId``."""
    order = fill.order
    instrument = order.market.instrument
    return {
        "category": str(instrument.market),
        "symbol": instrument.symbol,
        "execId": trade_text(fill.id, spot=False),
        "execPrice": instrument.price.text(fill.price),
        "execQty": instrument.quantity.text(fill.quantity),
        "orderId": order_id(order),
        "isMaker": fill.maker,
        "orderLinkId": "" if fill.maker else order.client_id,
        "side": side_text(order.terms.side),
        "execTime": str(fill.time_ms),
        "seq": fill.sequence,
    }


def funding_row(payment: FundingPayment) -> Row:
    """Return a funding payment: the venue calls it an execution."""
    instrument = payment.market.instrument
    lots = abs(payment.lots)
    return {
        "symbol": instrument.symbol,
        "orderId": order_text(payment.id, spot=False),
        "orderLinkId": "",
        "side": "Buy" if payment.lots > 0 else "Sell",
        "orderPrice": "0",
        "orderQty": "0",
        "leavesQty": "0",
        "orderType": "UNKNOWN",
        "stopOrderType": "UNKNOWN",
        "execFee": plain(payment.paid),
        "execId": trade_text(payment.id + _FUNDING_IDS, spot=False),
        "execPrice": plain(money(payment.mark)),
        "execQty": instrument.quantity.text(lots),
        "execType": "Funding",
        "execValue": plain(money(payment.market.units.value_at(payment.mark, lots))),
        "execTime": str(payment.time_ms),
        "feeCurrency": "",
        "isMaker": False,
        "feeRate": plain(payment.rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": plain(money(payment.mark)),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": "0",
        "seq": payment.id,
        "createType": "",
    }


def position_row(trading: "Trading", position: Position, *, live: bool) -> Row:
    """Return a position; the topic (``live``) calls the entry price otherwise than REST."""
    mark, unrealised = trading.mark(position.market), trading.unrealised(position)
    instrument = position.market.instrument
    units = position.market.units
    lots = abs(position.lots)
    value = units.value_at(position.entry, lots) if lots else ZERO
    margin = position_margin(units, position)
    return {
        "positionIdx": POSITION_INDEX[position.side],
        "tradeMode": 1 if position.isolated else 0,
        "riskId": 1,
        "riskLimitValue": "2000000",
        "symbol": instrument.symbol,
        "side": "Buy" if position.lots > 0 else "Sell" if position.lots < 0 else "",
        "size": instrument.quantity.text(lots),
        "entryPrice" if live else "avgPrice": plain(round(position.entry, MONEY_DECIMALS)),
        "sessionAvgPrice": "",
        "leverage": str(position.leverage),
        "positionValue": plain(money(value)),
        "positionBalance": plain(position.margin),
        "markPrice": plain(money(mark)),
        "positionIM": plain(margin),
        "positionMM": plain(money(value * trading.rules.maintenance)),
        "positionIMByMp": plain(
            initial_margin(units.value_at(mark, lots), position.leverage) if lots else ZERO
        ),
        "takeProfit": "",
        "stopLoss": "",
        "trailingStop": "0",
        "unrealisedPnl": plain(unrealised),
        "curRealisedPnl": plain(position.realised),
        "cumRealisedPnl": plain(position.realised),
        "createdTime": str(position.created_ms),
        "updatedTime": str(position.updated_ms),
        "tpslMode": "Full",
        "liqPrice": "",
        "bustPrice": "",
        "positionStatus": "Normal",
        "adlRankIndicator": 2 if lots else 0,
        "autoAddMargin": 0,
        "leverageSysUpdatedTime": "",
        "mmrSysUpdatedTime": "",
        "seq": position.sequence or -1,
        "isReduceOnly": False,
    }
