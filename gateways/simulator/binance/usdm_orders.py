"""The order operations of Binance USDⓈ-M: plain orders, batches, conditional orders, trades.

Source: the venue's OpenAPI description (binance-connector-python, 2026-08).
"""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import Order, OrderTerms, Refused, Status, Why
from gateways.simulator.binance import usdm_shapes as shapes
from gateways.simulator.binance import wire
from gateways.simulator.binance.codes import (
    NO_ORDER,
    QUERY_WORDS,
    USDM_WORDS,
    WRONG_ENDPOINT,
    ApiError,
    missing,
    refusal,
)
from gateways.simulator.binance.desk import Ask, Desk, Operation, Result
from gateways.simulator.binance.limits import USDM, limits_of
from gateways.simulator.binance.parameters import USDM_ID_PATTERN, Parameters, steps
from gateways.simulator.binance.spot_orders import MOST_ROWS, fills_of, orders_of, rows
from gateways.simulator.binance.spot_shapes import PREVENTION
from gateways.simulator.rules import TradingRules
from gateways.simulator.simulation import SimulatedBook

BATCH_MOST, CANCEL_BATCH_MOST = 5, 10
GOOD_TILL_LEAST_MS = 600_000
FORCED_MOST = 100
DAY_MS = 86_400_000
TRADES_WINDOW_MS = 7 * DAY_MS

_TIFS = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "GTX": TimeInForce.POST_ONLY,
    "GTD": TimeInForce.GTD,
}
_TYPES = {"LIMIT": OrderType.LIMIT, "MARKET": OrderType.MARKET}
_CONDITIONAL = {
    "STOP": OrderType.STOP_LIMIT,
    "TAKE_PROFIT": OrderType.STOP_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.STOP_MARKET,
}
_KNOWN = _TYPES | _CONDITIONAL | {"TRAILING_STOP_MARKET": OrderType.STOP_MARKET}
_SIDES = {"BOTH": "net", "LONG": "long", "SHORT": "short"}
_WORKING = {"CONTRACT_PRICE": "last", "MARK_PRICE": "mark"}
_RESPONSES = {"ACK": 0, "RESULT": 0}
_INVALID_TYPE = (-1116, "Invalid orderType.")


def rules() -> TradingRules:
    """Return the venue's rules."""
    return TradingRules(
        maker=Decimal("0.0002"),
        taker=Decimal("0.0005"),
        post_only_refuses=True,
        duplicate_ids="live",
        amend_below_filled="cancel",
        amend_post_only="cancel",
        reduce_only="truncate",
        orders_per_symbol=USDM.orders,
        algo_orders_per_symbol=USDM.stops,
        limits=limits_of,
        liquidation_id="autoclose-",
        deleveraging_id="adl_autoclose_",
    )


def read_terms(desk: Desk, ask: Ask, *, algo: bool) -> OrderTerms:
    """Return what a new order asks for; raises ApiError or Refused."""
    parameters = ask.parameters
    market = desk.market(parameters.symbol())
    side = parameters.choice("side", Side.__members__, (-1117, "Invalid side."))
    kind = parameters.choice("type", _KNOWN, _INVALID_TYPE)
    for name, value in (("side", side), ("type", kind)):
        if not value:
            raise missing(name)
    if not algo and kind not in _TYPES:
        raise ApiError(*WRONG_ENDPOINT)
    types = _CONDITIONAL if algo else _TYPES
    if kind not in types:
        raise ApiError(*_INVALID_TYPE)
    closes = parameters.flag("closePosition")
    tif = parameters.choice("timeInForce", _TIFS, (-1115, "Invalid timeInForce."))
    limit = types[kind] in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    if limit and not tif and not algo:
        raise missing("timeInForce")
    if kind == "MARKET" and tif:
        raise ApiError(-1106, "Parameter 'timeInForce' sent when not required.")
    if ask.account.hedge and parameters.values.get("reduceOnly"):
        raise ApiError(-1106, "Parameter 'reduceonly' sent when not required.")
    direction = (Side[side] is Side.BUY) is kind.startswith("STOP")
    position_side = parameters.choice("positionSide", _SIDES, (-4061, "Invalid positionSide."))
    working = parameters.choice("workingType", _WORKING, (-1130, "Invalid workingType."))
    prevention = parameters.choice("selfTradePreventionMode", PREVENTION, (-1130, "Invalid STP."))
    client = "clientAlgoId" if algo else "newClientOrderId"
    return OrderTerms(
        market,
        Side[side],
        types[kind],
        _TIFS[tif] if limit and tif else TimeInForce.GTC,
        price=_price(desk, market, parameters, Side[side]) if limit else 0,
        quantity=0 if closes else lots_of(market, parameters),
        stop_price=ticks_of(market, parameters, "triggerPrice") if algo else 0,
        stop_above=direction if algo else None,
        trigger=_WORKING[working or "CONTRACT_PRICE"],
        reduce_only=parameters.flag("reduceOnly") or closes,
        close_position=closes,
        position_side=_SIDES[position_side or "BOTH"],
        prevention=PREVENTION[prevention or "EXPIRE_MAKER"],
        expire_ms=_good_till(parameters, ask.now_ms) if tif == "GTD" else 0,
        client_id=parameters.client_id(client, USDM_ID_PATTERN),
        algo=algo,
        extra={"type": kind},
    )


def ticks_of(market: SimulatedBook, parameters: Parameters, name: str) -> int:
    """Return a price that must be there, in ticks."""
    value = parameters.decimal(name)
    if value is None:
        raise missing(name)
    price = market.instrument.price
    ticks = steps(value, price, price.decimals)
    if ticks is None:
        raise Refused(Why.TICK)
    if ticks < 1:
        raise ApiError(-4001, "Price less than 0.")
    return ticks


def lots_of(market: SimulatedBook, parameters: Parameters) -> int:
    """Return the quantity, which must be there, in lots."""
    value = parameters.decimal("quantity")
    if value is None:
        raise missing("quantity")
    quantity = market.instrument.quantity
    lots = steps(value, quantity, quantity.decimals)
    if lots is None:
        raise Refused(Why.LOT)
    if lots < 1:
        raise Refused(Why.MIN_QUANTITY)
    return lots


def _price(desk: Desk, market: SimulatedBook, parameters: Parameters, side: Side) -> int:
    match = parameters.values.get("priceMatch", "NONE")
    if match == "NONE":
        ticks = ticks_of(market, parameters, "price")
        _check_band(desk, market, side, ticks)
        return ticks
    if parameters.values.get("price"):
        raise ApiError(-1106, "Parameter 'price' sent when not required.")
    own = {"OPPONENT": -1, "QUEUE": 1}.get(match)
    if own is None:
        raise ApiError(-1130, "Data sent for parameter 'priceMatch' is not valid.")
    best = market.book.side(Side(side * own)).best
    if best is None:
        raise Refused(Why.NO_LIQUIDITY)
    return best.price


def _check_band(desk: Desk, market: SimulatedBook, side: Side, ticks: int) -> None:
    price, mark = desk.trading.price_units(market, ticks), desk.trading.mark(market)
    most, least = mark * USDM.band_up, mark * USDM.band_down
    if side is Side.BUY and price > most:
        raise ApiError(-4016, f"Limit price can't be higher than {most:f}.")
    if side is Side.SELL and price < least:
        raise ApiError(-4024, f"Limit price can't be lower than {least:f}.")


def _good_till(parameters: Parameters, now_ms: int) -> int:
    date = parameters.number("goodTillDate") // 1000 * 1000
    if date < now_ms // 1000 * 1000 + GOOD_TILL_LEAST_MS:
        text = "goodTillDate must be at least 600 seconds later than the current time."
        raise ApiError(-1102, text)
    return date


class UsdmOrders:
    """The operations; ``install`` hands them to a desk."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.trading = desk.trading
        self._rng = Random(f"{seed}/batches")
        self._ids = 0
        self._modifications = 0

    def install(self) -> None:
        """Give the desk all operations."""
        changes: dict[str, Any] = {"changes": True}
        self.desk.operations |= {
            "order.place": Operation(self._place, 0, orders=1, **changes),
            "order.test": Operation(self._test, 0),
            "order.modify": Operation(self._modify, 1, orders=1, **changes),
            "order.cancel": Operation(self._cancel, **changes),
            "order.status": Operation(self._status, words=QUERY_WORDS),
            "openOrder.status": Operation(self._open_one, words=QUERY_WORDS),
            "openOrders.status": Operation(self._open, _open_weight),
            "openOrders.cancelAll": Operation(self._cancel_all, **changes),
            "allOrders": Operation(self._all, 5),
            "myTrades": Operation(self._trades, 5),
            "batchOrders.place": Operation(self._place_batch, 5, orders=5, **changes),
            "batchOrders.modify": Operation(self._modify_batch, 5, orders=5, **changes),
            "batchOrders.cancel": Operation(self._cancel_batch, **changes),
            "countdownCancelAll": Operation(self._countdown, 10),
            "algoOrder.place": Operation(self._place_algo, 1, orders=1, **changes),
            "algoOrder.cancel": Operation(self._cancel_algo, **changes),
            "algoOrder.status": Operation(self._algo, words=QUERY_WORDS),
            "openAlgoOrders": Operation(self._open_algos, _open_weight),
            "allAlgoOrders": Operation(self._all_algos, 5),
            "algoOpenOrders.cancelAll": Operation(self._cancel_algos, **changes),
            "forceOrders": Operation(self._forced, 20),
        }

    def _new_id(self) -> str:
        self._ids += 1
        return f"{(self._ids * 2_654_435_761) % (1 << 64):x}".ljust(22, "u")

    # Plain orders.

    def _terms(self, ask: Ask, *, algo: bool = False) -> OrderTerms:
        terms = read_terms(self.desk, ask, algo=algo)
        if not terms.client_id:
            terms.client_id = self._new_id()
        return terms

    def _place(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        wanted = ask.parameters.choice(
            "newOrderRespType", _RESPONSES, (-1130, "Invalid newOrderRespType.")
        )
        terms = self._terms(ask)
        if terms.time_in_force is TimeInForce.FOK and not _fillable(ask, terms):
            raise Refused(Why.FILL_OR_KILL)
        order = self.trading.place(ask.account, terms, ask.now_ms)
        answer = shapes.placed(order)
        if wanted == "RESULT":
            return answer
        # ACK tells that the order was taken, before the matching engine has seen it.
        nothing = order.market.instrument.quantity.text(0)
        none = order.market.instrument.price.text(0)
        return answer | {
            "status": "NEW",
            "avgPrice": none,
            "executedQty": nothing,
            "cumQty": nothing,
            "cumQuote": "0.00000",
            "updateTime": order.created_ms,
        }

    def _test(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        self.trading.check(ask.account, self._terms(ask), ask.now_ms)
        return {}

    def _live(self, ask: Ask, *, algo: bool = False) -> Order:
        order = self._named(ask, algo=algo)
        if not order.status.live:
            raise Refused(Why.CLOSED_ORDER)
        return order

    def _named(self, ask: Ask, *, algo: bool = False) -> Order:
        parameters = ask.parameters
        symbol = ""
        if not algo:
            symbol = parameters.symbol()
            self.desk.market(symbol)
        number = parameters.number("algoId" if algo else "orderId", 0)
        client = "clientAlgoId" if algo else "origClientOrderId"
        client_id = "" if number else parameters.client_id(client, USDM_ID_PATTERN)
        return self.desk.find(ask.account, symbol, number, client_id, algo=algo)

    def _modify(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        order = self._live(ask)
        side = parameters.choice("side", Side.__members__, (-1117, "Invalid side."))
        if not side:
            raise missing("side")
        if side != order.terms.side.name:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if order.terms.type is not OrderType.LIMIT:
            raise ApiError(*_INVALID_TYPE)
        lots = lots_of(order.market, parameters)
        ticks = _price(self.desk, order.market, parameters, order.terms.side)
        changed = self.trading.amend(order, ask.now_ms, price=ticks, quantity=lots)
        self._modifications += 1
        return shapes.placed(changed) | {"modifyId": self._modifications}

    def _cancel(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return shapes.placed(self.trading.cancel(self._live(ask), ask.now_ms))

    def _cancel_all(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        self.trading.cancel_all(ask.account, ask.now_ms, symbol=symbol, algo=False)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _status(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return shapes.queried(self._named(ask))

    def _open_one(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        order = self._named(ask)
        if not order.status.live:
            raise ApiError(*NO_ORDER)
        return shapes.queried(order)

    def _open(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        found = self.trading.open_orders(ask.account, self._symbol(ask), algo=False)
        return [shapes.queried(order) for order in found]

    def _symbol(self, ask: Ask) -> str:
        """Return the symbol, which need not be there."""
        symbol = ask.parameters.optional("symbol")
        if symbol:
            self.desk.market(symbol)
        return symbol

    def _past(self, ask: Ask, number: str, *, algo: bool) -> list[Order]:
        parameters = ask.parameters
        symbol = parameters.symbol()
        self.desk.market(symbol)
        first = parameters.number(number, 0)
        begin, end = parameters.number("startTime", 0), parameters.number("endTime", 10**15)
        most = min(parameters.number("limit", 500) or 500, MOST_ROWS)
        chosen = (
            order
            for order in orders_of(ask.account, symbol, first)
            if order.terms.algo is algo and begin <= order.created_ms <= end
        )
        return rows(chosen, most, newest=not (first or begin))

    def _all(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return [shapes.queried(order) for order in self._past(ask, "orderId", algo=False)]

    def _trades(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        symbol = parameters.symbol()
        self.desk.market(symbol)
        order_id, first = parameters.number("orderId", 0), parameters.number("fromId", 0)
        begin, end = parameters.number("startTime", 0), parameters.number("endTime", 0)
        if first and (begin or end):
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if begin and end and end - begin > TRADES_WINDOW_MS:
            raise ApiError(-4165, "Invalid time interval. Maximum time interval is 7 days")
        if begin and not end:
            end = begin + TRADES_WINDOW_MS
        most = min(parameters.number("limit", 500) or 500, MOST_ROWS)
        chosen = (
            fill
            for fill in fills_of(ask.account, symbol, first, order_id)
            if begin <= fill.time_ms and (not end or fill.time_ms <= end)
        )
        return [shapes.trade(fill) for fill in rows(chosen, most, newest=not (first or begin))]

    def _forced(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = self._symbol(ask)
        found = (
            order
            for order in reversed(ask.account.history)
            if order.forced is not Why.NONE and symbol in ("", order.market.instrument.symbol)
        )
        return [shapes.queried(order) for order in rows(found, FORCED_MOST, newest=True)]

    # Batches.

    def _each(self, ask: Ask, wanted: list[dict[str, str]], call: Callable[[Ask], Any]) -> Result:
        """Do all parts in an order of the venue's own; answer in the order of the request."""
        answers: list[Any] = [None] * len(wanted)
        places = list(range(len(wanted)))
        self._rng.shuffle(places)
        for place in places:
            part = Ask(ask.account, Parameters(wanted[place]), ask.now_ms)
            try:
                answers[place] = call(part)
            except Refused as refused:
                answers[place] = refusal(refused, USDM_WORDS, {}).body
            except ApiError as error:
                answers[place] = error.body
        return answers

    def _batch(self, ask: Ask) -> list[dict[str, str]]:
        found = wire.rows("batchOrders", ask.parameters.text("batchOrders"))
        if not 0 < len(found) <= BATCH_MOST:
            raise ApiError(-4082, "Invalid number of batch place order requests.")
        return found

    def _place_batch(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return self._each(ask, self._batch(ask), self._place)

    def _modify_batch(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return self._each(ask, self._batch(ask), self._modify)

    def _cancel_batch(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        # Some clients write these names in lower case.
        sent = {name.lower(): value for name, value in ask.parameters.values.items()}
        numbers, ids = sent.get("orderidlist", ""), sent.get("origclientorderidlist", "")
        name = "orderId" if numbers else "origClientOrderId"
        found = wire.items(name + "List", numbers or ids)
        if not 0 < len(found) <= CANCEL_BATCH_MOST:
            raise ApiError(-4083, "Invalid number of batch cancel order requests.")
        symbol = ask.parameters.symbol()
        wanted = [{"symbol": symbol, name: wire.text(each)} for each in found]
        return self._each(ask, wanted, self._cancel)

    def _countdown(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        countdown_ms = ask.parameters.number("countdownTime")
        self.trading.arm(ask.account, symbol, countdown_ms, ask.now_ms)
        return {"symbol": symbol, "countdownTime": str(countdown_ms)}

    # Conditional orders.

    def _place_algo(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        if ask.parameters.text("algoType") != "CONDITIONAL":
            raise ApiError(-1130, "Data sent for parameter 'algoType' is not valid.")
        order = self.trading.place(ask.account, self._terms(ask, algo=True), ask.now_ms)
        return shapes.algo(order)

    def _cancel_algo(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        order = self.trading.cancel(self._live(ask, algo=True), ask.now_ms)
        return {
            "algoId": order.id,
            "clientAlgoId": order.client_id,
            "code": "200",
            "msg": "success",
        }

    def _algo(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return shapes.algo(self._named(ask, algo=True))

    def _open_algos(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        found = self.trading.open_orders(ask.account, self._symbol(ask), algo=True)
        return [shapes.algo(order) for order in found if order.status is Status.UNTRIGGERED]

    def _all_algos(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return [shapes.algo(order) for order in self._past(ask, "algoId", algo=True)]

    def _cancel_algos(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        self.trading.cancel_all(ask.account, ask.now_ms, symbol=symbol, algo=True)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    # What events need.

    def notional(self, order: Order) -> tuple[Decimal, Decimal]:
        """Return the value of the account's open bids and asks in an order's market."""
        units, working = order.market.units, order.account.working
        symbol = order.market.instrument.symbol
        bids, asks = (
            sum(
                working[symbol, side, kept].ticks_lots
                for kept in _SIDES.values()
                if (symbol, side, kept) in working
            )
            for side in (Side.BUY, Side.SELL)
        )
        return units.tick * units.lot * bids, units.tick * units.lot * asks


def _fillable(ask: Ask, terms: OrderTerms) -> bool:
    """Whether a fill-or-kill order would be filled: the venue does not take one that would not."""
    return terms.market.book.fills_whole(
        terms.side, terms.price, terms.quantity, ask.account.uid, terms.prevention
    )


def _open_weight(parameters: Parameters) -> int:
    return 1 if "symbol" in parameters else 40
