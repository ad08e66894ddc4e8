"""Requests and queries to Bybit as bytes.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Integration Guidance" (signature), "Place
Order", "Amend Order", "Cancel Order", "Cancel All Orders", "Websocket Trade Guideline", "Get Open &
Closed Orders", "Get Order History", "Get Trade History", "Set Leverage", "Switch Cross/Isolated
Margin", "Set DCP". Messages of the trade connection carry a timestamp and are not signed; REST
signs timestamp, key, receive window, and the query or the body.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from urllib.parse import quote

import orjson

from engine.common import OrderType, TimeInForce
from gateways.adapter import Call, Identity, Query
from gateways.bybit import limits
from gateways.bybit.endpoints import DIALECT, RECV_WINDOW_MS
from gateways.dialects import SPOT
from gateways.message import Instrument, Request
from gateways.numbers import to_text
from gateways.types import Action, MarginMode, RequestFlag

LINEAR, INVERSE, SPOT_CATEGORY = "linear", "inverse", "spot"
CATEGORIES = ("", SPOT_CATEGORY, LINEAR, LINEAR, INVERSE, INVERSE)
"""By the instrument table's kind."""
PAGE, PAGE_FILLS, PAGE_POSITIONS = 50, 100, 200
CANCELED_MOST = 500
"""Orders of contracts that one cancel-all cancels."""
CANCEL_ROUNDS = 40
WEEK_MS = 7 * 86_400_000
"""Executions are told for at most seven days at once."""
FIRST_SETTLE = "USDT"
"""Queries and cancels of all contracts name what they settle in: this, and what else there is."""

_LIMITS = {
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.POST_ONLY: "PostOnly",
}


def _heads(side: str) -> tuple[tuple[str, ...], ...]:
    """Return what follows the symbol, by order type and time in force."""
    rows = []
    for kind in range(max(OrderType) + 1):
        market = kind in (OrderType.MARKET, OrderType.STOP_MARKET)
        texts = []
        for tif in range(max(TimeInForce) + 1):
            text = f'","side":"{side}","orderType":"{"Market" if market else "Limit"}"'
            if not market:
                name = _LIMITS.get(TimeInForce(tif), "GTC") if tif else "GTC"
                text += f',"timeInForce":"{name}"'
            texts.append(text)
        rows.append(tuple(texts))
    return tuple(rows)


# Tables by the enumerations' values: looking enumerations up in dictionaries is slow.
_BUY, _SELL = _heads("Buy"), _heads("Sell")
_POSITIONS = ("", ',"positionIdx":1', ',"positionIdx":2')
_SELF_TRADES = (
    "",
    ',"smpType":"None"',
    ',"smpType":"CancelMaker"',
    ',"smpType":"CancelTaker"',
    ',"smpType":"CancelBoth"',
)
_TRIGGERS = ("LastPrice", "MarkPrice", "IndexPrice")
_REDUCE_ONLY = ',"reduceOnly":true'
_CANCEL_ALL_PATH = "/v5/order/cancel-all"


def new_body(request: Request) -> str:
    """Return an order's parameters as JSON."""
    instrument = request.instrument
    assert instrument is not None
    flags, order_type = request.flags, request.order_type
    spot = instrument.kind == SPOT
    stop = order_type >= OrderType.STOP_MARKET
    limit = order_type == OrderType.LIMIT or order_type == OrderType.STOP_LIMIT
    heads = _BUY if request.side > 0 else _SELL
    body = (
        f'{{"symbol":"{instrument.native}{heads[order_type][request.time_in_force]}'
        f'{_STOP_FILTER if spot and stop else ""},"orderLinkId":"{request.client_text}"'
    )
    if limit:
        body += f',"price":"{to_text(request.price, instrument.price_decimals)}"'
    body += f',"category":"{CATEGORIES[instrument.kind]}"'
    decimals = instrument.quantity_decimals
    if spot and not limit:
        # Said outright: a market buy would be in the quote currency by default.
        if flags & RequestFlag.QUOTE_QUANTITY:
            decimals = instrument.price_decimals
            body += ',"marketUnit":"quoteCoin"'
        else:
            body += ',"marketUnit":"baseCoin"'
    body += f',"qty":"{to_text(request.quantity, decimals)}"'
    if stop:
        body += _trigger(request, spot)
    if request.position_side:
        body += _POSITIONS[request.position_side]
    if flags & RequestFlag.REDUCE_ONLY:
        body += _REDUCE_ONLY
    if request.self_trade:
        body += _SELF_TRADES[request.self_trade]
    if spot and request.margin_mode == MarginMode.CROSS:
        body += ',"isLeverage":1'
    return body + "}"


_STOP_FILTER = ',"orderFilter":"StopOrder"'


def _trigger(request: Request, spot: bool) -> str:
    """Return when a stop order triggers: a buy as the price rises, a sell as it falls."""
    assert request.instrument is not None
    price = to_text(request.stop_price, request.instrument.price_decimals)
    if spot:
        return f',"triggerPrice":"{price}"'
    direction = 1 if request.side > 0 else 2
    return (
        f',"triggerDirection":{direction},"triggerPrice":"{price}"'
        f',"triggerBy":"{_TRIGGERS[request.trigger]}"'
    )


def amend_body(request: Request) -> str:
    """Return an amendment as JSON; the quantity is the total, what is 0 stays as it is."""
    instrument = request.instrument
    assert instrument is not None
    which = f'"orderId":"{request.venue_id}"'
    if not request.venue_id:
        which = f'"orderLinkId":"{request.client_text}"'
    body = f'{{"symbol":"{instrument.native}",{which},"category":"{CATEGORIES[instrument.kind]}"'
    if request.quantity:
        body += f',"qty":"{to_text(request.quantity, instrument.quantity_decimals)}"'
    if request.price:
        body += f',"price":"{to_text(request.price, instrument.price_decimals)}"'
    if request.stop_price:
        body += f',"triggerPrice":"{to_text(request.stop_price, instrument.price_decimals)}"'
    return body + "}"


def cancel_body(request: Request) -> str:
    """Return a cancel as JSON; on spot, orders that wait for a trigger are asked for as such."""
    instrument = request.instrument
    assert instrument is not None
    kind = ""
    if instrument.kind == SPOT:
        stop = request.order_type >= OrderType.STOP_MARKET
        kind = _STOP_FILTER if stop else ',"orderFilter":"Order"'
    category = CATEGORIES[instrument.kind]
    if request.venue_id:
        return (
            f'{{"symbol":"{instrument.native}"{kind},"orderId":"{request.venue_id}"'
            f',"category":"{category}"}}'
        )
    return (
        f'{{"symbol":"{instrument.native}"{kind},"category":"{category}"'
        f',"orderLinkId":"{request.client_text}"}}'
    )


def _window(request: Request, now_ms: int) -> int:
    """Return the receive window: a request that is late dies at the venue, soon."""
    if request.deadline_ns:
        return max(1, min(RECV_WINDOW_MS, request.deadline_ns // 1_000_000 - now_ms))
    return RECV_WINDOW_MS


def order_message(request: Request, wire_id: str, now_ms: int) -> bytes | None:
    """Return NEW, AMEND or CANCEL as a message of the trade connection; else None."""
    action = request.action
    if action == Action.NEW:
        operation, body, window = "create", new_body(request), _window(request, now_ms)
    elif action == Action.AMEND:
        operation, body, window = "amend", amend_body(request), _window(request, now_ms)
    elif action == Action.CANCEL:
        operation, body, window = "cancel", cancel_body(request), RECV_WINDOW_MS
    else:
        return None
    return (
        f'{{"reqId":"{wire_id}","header":{{"X-BAPI-TIMESTAMP":"{now_ms}"'
        f',"X-BAPI-RECV-WINDOW":"{window}"}},"op":"order.{operation}","args":[{body}]}}'
    ).encode()


class Rest:
    """Calls of one account in one market's categories, signed."""

    def __init__(self, identity: Identity, spot: bool) -> None:
        self._sign, self._key = identity.sign, identity.key.reveal()
        self._spot = spot
        self._settles: dict[tuple[str, str], None] = {}
        """Category and settlement currency of the instruments that were asked about."""
        if not spot:
            self._settles[LINEAR, FIRST_SETTLE] = None
        self.leverages: dict[str, int] = {}
        """By native symbol: what was set or told last."""

    def _headers(self, now_ms: int, window: int, payload: str) -> dict[str, str]:
        signed = f"{now_ms}{self._key}{window}{payload}".encode()
        return {
            "X-BAPI-API-KEY": self._key,
            "X-BAPI-TIMESTAMP": str(now_ms),
            "X-BAPI-RECV-WINDOW": str(window),
            "X-BAPI-SIGN": self._sign(signed),
            "Content-Type": "application/json",
        }

    def post(
        self, path: str, body: str, now_ms: int, cost: str, wire_id: str = "", window: int = 0
    ) -> Call:
        """Return a signed POST."""
        headers = self._headers(now_ms, window or RECV_WINDOW_MS, body)
        return Call("POST", path, headers, body.encode(), limits.costs(cost), wire_id, cost)

    def get(self, path: str, query: str, now_ms: int, cost: str, wire_id: str = "") -> Call:
        """Return a signed GET."""
        headers = self._headers(now_ms, RECV_WINDOW_MS, query)
        full = f"{path}?{query}"
        return Call("GET", full, headers, b"", limits.costs(cost), wire_id, cost)

    # -- requests -------------------------------------------------------------------------------
    def order_call(self, request: Request, wire_id: str, now_ms: int) -> list[Call]:
        """Return a request as calls."""
        action = request.action
        if action == Action.NEW:
            window = _window(request, now_ms)
            body = new_body(request)
            return [self.post("/v5/order/create", body, now_ms, limits.CREATE, wire_id, window)]
        if action == Action.AMEND:
            window = _window(request, now_ms)
            body = amend_body(request)
            return [self.post("/v5/order/amend", body, now_ms, limits.AMEND, wire_id, window)]
        if action == Action.CANCEL:
            body = cancel_body(request)
            return [self.post("/v5/order/cancel", body, now_ms, limits.CANCEL, wire_id)]
        if action == Action.QUERY:
            return self._query(request, wire_id, now_ms)
        if action == Action.CANCEL_ALL:
            return self._cancel_all(request, wire_id, now_ms)
        if action == Action.LEVERAGE:
            return [self._leverage(request, wire_id, now_ms)]
        if action == Action.MARGIN_MODE:
            return [self._isolated(request, wire_id, now_ms)]
        return []

    def _query(self, request: Request, wire_id: str, now_ms: int) -> list[Call]:
        """Return two calls: recent orders, and (after the venue's restart) only the history."""
        instrument = request.instrument
        assert instrument is not None
        which = f"orderId={request.venue_id}"
        if not request.venue_id:
            which = f"orderLinkId={request.client_text}"
        query = f"symbol={instrument.native}&category={CATEGORIES[instrument.kind]}&{which}"
        return [
            self.get("/v5/order/realtime", query, now_ms, limits.REALTIME, wire_id),
            self.get("/v5/order/history", query, now_ms, limits.HISTORY, wire_id),
        ]

    def _cancel_all(self, request: Request, wire_id: str, now_ms: int) -> list[Call]:
        instrument = request.instrument
        if instrument is not None:
            heads = [f'{{"symbol":"{instrument.native}","category":"{CATEGORIES[instrument.kind]}"']
        elif self._spot:
            heads = ['{"category":"spot"']
        else:
            heads = [
                f'{{"category":"{category}","settleCoin":"{settle}"'
                for category, settle in self._settles
            ]
        bodies = [head + "}" for head in heads]
        if self._spot:
            # Without a filter, those that wait for a trigger stay.
            bodies.append(f"{heads[0]}{_STOP_FILTER}}}")
        return [self._cancel(body, wire_id, now_ms, 1) for body in bodies]

    def _cancel(self, body: str, wire_id: str, now_ms: int, attempt: int) -> Call:
        call = self.post(_CANCEL_ALL_PATH, body, now_ms, limits.CANCEL_ALL, wire_id)
        return replace(call, tag=f"{limits.CANCEL_ALL}:{attempt}")

    def _cancel_more(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        """Return the same cancel-all once more if it may have left orders: it takes so many."""
        try:
            canceled = len(orjson.loads(body)["result"]["list"])
        except (ValueError, KeyError, TypeError):
            return None
        attempt = int(call.tag.partition(":")[2]) + 1
        if canceled < CANCELED_MOST or attempt > CANCEL_ROUNDS:
            return None
        return self._cancel(call.body.decode(), call.wire_id, now_ms, attempt)

    def _leverage(self, request: Request, wire_id: str, now_ms: int) -> Call:
        instrument = request.instrument
        assert instrument is not None
        self.leverages[instrument.native] = request.quantity
        body = (
            f'{{"symbol":"{instrument.native}","buyLeverage":"{request.quantity}"'
            f',"sellLeverage":"{request.quantity}","category":"{CATEGORIES[instrument.kind]}"}}'
        )
        return self.post("/v5/position/set-leverage", body, now_ms, limits.LEVERAGE, wire_id)

    def _isolated(self, request: Request, wire_id: str, now_ms: int) -> Call:
        """Return the call that switches the margin mode; the venue wants the leverage with it."""
        instrument = request.instrument
        assert instrument is not None
        leverage = self.leverage_of(request)
        mode = 1 if request.margin_mode == MarginMode.ISOLATED else 0
        body = (
            f'{{"category":"{CATEGORIES[instrument.kind]}","symbol":"{instrument.native}"'
            f',"tradeMode":{mode},"buyLeverage":"{leverage}","sellLeverage":"{leverage}"}}'
        )
        return self.post("/v5/position/switch-isolated", body, now_ms, limits.ISOLATED, wire_id)

    def leverage_of(self, request: Request) -> int:
        """Return the leverage to set with a margin mode: asked for, or the last; 0 if unknown."""
        assert request.instrument is not None
        return request.quantity or self.leverages.get(request.instrument.native, 0)

    def dead_man_calls(self, timeout_s: float, now_ms: int) -> list[Call]:
        """Return the call that sets the window of the disconnection protect.

        It counts from the loss of the private connection, needs no renewal, and cannot be ended.
        """
        if not timeout_s:
            return []
        shortest, longest = DIALECT.dead_man_s
        seconds = int(min(max(timeout_s, shortest), longest))
        product = "SPOT" if self._spot else "DERIVATIVES"
        body = f'{{"product":"{product}","timeWindow":{seconds}}}'
        path = "/v5/order/disconnected-cancel-all"
        return [self.post(path, body, now_ms, limits.DEAD_MAN)]

    # -- queries --------------------------------------------------------------------------------
    def query_calls(
        self, query: Query, instruments: Sequence[Instrument], since_ms: int, now_ms: int
    ) -> list[Call]:
        """Return the calls whose answers together tell all of ``query``."""
        self._learn(instruments)
        if query in (Query.INSTRUMENTS, Query.FUNDING):
            return []
        if query == Query.BALANCES:
            path, wanted = "/v5/account/wallet-balance", "accountType=UNIFIED"
            return [self.get(path, wanted, now_ms, limits.WALLET)]
        if query == Query.POSITIONS:
            scopes = [] if self._spot else self._scopes()
            path = "/v5/position/list"
            return [
                self.get(path, f"{scope}&limit={PAGE_POSITIONS}", now_ms, limits.POSITIONS)
                for scope in scopes
            ]
        if query == Query.OPEN_ORDERS:
            path = "/v5/order/realtime"
            return [
                self.get(path, f"{scope}&openOnly=0&limit={PAGE}", now_ms, limits.REALTIME)
                for scope in self._scopes()
            ]
        return self._fills(since_ms, now_ms)

    def _learn(self, instruments: Iterable[Instrument]) -> None:
        if not self._spot:
            for each in instruments:
                self._settles[CATEGORIES[each.kind], each.settle] = None

    def _scopes(self) -> list[str]:
        """Return the queries that together cover all instruments."""
        if self._spot:
            return ["category=spot"]
        return [f"category={category}&settleCoin={settle}" for category, settle in self._settles]

    def _fills(self, since_ms: int, now_ms: int) -> list[Call]:
        categories = [SPOT_CATEGORY] if self._spot else sorted({key[0] for key in self._settles})
        calls = []
        for category in categories:
            start = since_ms
            while start <= now_ms:
                wanted = f"category={category}&startTime={start}"
                if now_ms - start > WEEK_MS:
                    wanted += f"&endTime={start + WEEK_MS}"
                wanted += f"&limit={PAGE_FILLS}"
                calls.append(self.get("/v5/execution/list", wanted, now_ms, limits.EXECUTIONS))
                start += WEEK_MS + 1
        return calls

    def next_page(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        """Return the call for what ``body`` left out; None if it was the last page.

        The venue's cursors come percent-encoded and go back as they are.
        """
        if call.path == _CANCEL_ALL_PATH:
            return self._cancel_more(call, body, now_ms)
        if call.method != "GET" or call.wire_id:
            return None
        result = orjson.loads(body).get("result") or {}
        cursor = result.get("nextPageCursor")
        if not cursor or not result.get("list"):
            return None
        path, _, query = call.path.partition("?")
        query = query.partition("&cursor=")[0] + f"&cursor={quote(cursor, safe='%')}"
        if f"{path}?{query}" == call.path:
            return None
        return self.get(path, query, now_ms, call.tag)
