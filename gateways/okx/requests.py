"""Requests and queries to OKX as bytes.

Sources, read 2026-11: the API v5 guide, "Overview" (REST authentication), "Order book trading"
(place, amend, cancel, algo orders, cancel all after, fills), "Trading account", "Public data"
(instruments). WebSocket messages are not signed: the connection is logged in. REST signs time,
method, path with query, and body.

REST names instruments by ``instId``, WebSocket messages by ``instIdCode`` only (since 2026-02; code
50014 without it). The numbers are in the venue's list of instruments, which reconciliation asks for
before orders may go out; what has no number goes by REST.

Orders that wait for a trigger are algo orders: other requests, other ids, REST only. Their venue
ids carry the prefix ``algo-`` here, so that a cancel finds its way; once triggered, the order has
an ordinary id, and everything goes the ordinary way.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from engine.common import OrderType, TimeInForce
from gateways.adapter import Call, Cost, Identity, Query
from gateways.dialects import SPOT
from gateways.message import Instrument, Request
from gateways.numbers import to_text
from gateways.okx import limits
from gateways.okx.endpoints import DIALECT, EXPIRE_MS
from gateways.types import Action, MarginMode, RequestFlag

ALGO = "algo-"
"""Before the id of an algo order, where ids of both kinds meet."""
CANCEL_ALL, QUERY_ALGO, CODES = "cancel_all", "query_algo", "codes"
"""Notes on calls (``Call.tag``): a page of what is to be canceled; a query of an algo order; a
list of instruments with their codes."""
PAGE = 100
BATCH = 20
BATCH_ALGO = 10
FILLS_KEPT_MS = 3 * 86_400_000
"""``fills`` tells the last three days; older ones are in ``fills-history``."""
BILLS_KEPT_MS = 7 * 86_400_000
"""``bills`` tells the last seven days; older ones are in ``bills-archive``."""
FUNDING_FEE = 8
"""Type of a bill."""

INST_TYPES = ("", "SPOT", "SWAP", "FUTURES", "SWAP", "FUTURES")
"""By the instrument table's kind."""
_LIMITS = {
    TimeInForce.GTC: "limit",
    TimeInForce.IOC: "ioc",
    TimeInForce.FOK: "fok",
    TimeInForce.POST_ONLY: "post_only",
}


def _heads(side: str) -> tuple[tuple[str, ...], ...]:
    """Return what stands between instrument and size, by order type and time in force."""
    rows = []
    for kind in range(max(OrderType) + 1):
        texts = []
        for tif in range(max(TimeInForce) + 1):
            text = _LIMITS.get(TimeInForce(tif), "limit") if tif else "limit"
            text = "market" if kind == OrderType.MARKET else text
            text = "trigger" if kind >= OrderType.STOP_MARKET else text
            texts.append(f',"side":"{side}","ordType":"{text}","sz":"')
        rows.append(tuple(texts))
    return tuple(rows)


# Tables by the enumerations' values: looking enumerations up in dictionaries is slow.
_BUY, _SELL = _heads("buy"), _heads("sell")
_POSITIONS = ("", ',"posSide":"long"', ',"posSide":"short"')
_SPOT_MODES = (
    ',"tdMode":"cash"',
    ',"tdMode":"cash"',
    ',"tdMode":"cross"',
    ',"tdMode":"isolated"',
)
_MODES = (',"tdMode":"cross"', *_SPOT_MODES[1:])
_SELF_TRADES = (
    "",
    "",
    ',"stpMode":"cancel_maker"',
    ',"stpMode":"cancel_taker"',
    ',"stpMode":"cancel_both"',
)
_TRIGGERS = ("last", "mark", "index")
_REDUCE_ONLY = ',"reduceOnly":true'
_BASE, _QUOTE = ',"tgtCcy":"base_ccy"', ',"tgtCcy":"quote_ccy"'

_TRADE = "/api/v5/trade/"


def is_algo(request: Request) -> bool:
    """Return whether a request concerns an order that waits for its trigger."""
    if request.venue_id:
        return request.venue_id.startswith(ALGO)
    return request.order_type >= OrderType.STOP_MARKET


def _native(request: Request) -> str:
    """Return the beginning of a body for REST, which knows instruments by their symbol."""
    assert request.instrument is not None
    return f'{{"instId":"{request.instrument.native}"'


def new_body(request: Request, instrument_head: str) -> str:
    """Return an order's parameters as JSON; ``instrument_head`` begins it."""
    instrument = request.instrument
    assert instrument is not None
    flags = request.flags
    spot = instrument.kind == SPOT
    decimals = instrument.quantity_decimals
    target = _BASE if spot else ""
    if flags & RequestFlag.QUOTE_QUANTITY:
        decimals, target = instrument.price_decimals, _QUOTE
    heads = _BUY if request.side > 0 else _SELL
    price = ""
    if request.order_type != OrderType.MARKET:
        price = f',"px":"{to_text(request.price, instrument.price_decimals)}"'
    return (
        f"{instrument_head}{heads[request.order_type][request.time_in_force]}"
        f'{to_text(request.quantity, decimals)}"'
        f"{_POSITIONS[request.position_side]}"
        f"{(_SPOT_MODES if spot else _MODES)[request.margin_mode]}{target}{price}"
        f'{_SELF_TRADES[request.self_trade]},"clOrdId":"{request.client_text}"'
        f"{_REDUCE_ONLY if flags & RequestFlag.REDUCE_ONLY else ''}}}"
    )


def algo_body(request: Request) -> str:
    """Return a stop order's parameters as JSON; it triggers at ``stop_price`` from either side."""
    instrument = request.instrument
    assert instrument is not None
    decimals = instrument.price_decimals
    spot = instrument.kind == SPOT
    heads = _BUY if request.side > 0 else _SELL
    limit = request.order_type == OrderType.STOP_LIMIT
    price = to_text(request.price, decimals) if limit else "-1"
    modes = _SPOT_MODES if spot else _MODES
    # Said outright: a market buy would be in the quote currency by default.
    target = _BASE if spot else ""
    return (
        f"{_native(request)}{heads[request.order_type][request.time_in_force]}"
        f'{to_text(request.quantity, instrument.quantity_decimals)}"'
        f"{_POSITIONS[request.position_side]}{modes[request.margin_mode]}{target}"
        f',"triggerPx":"{to_text(request.stop_price, decimals)}","orderPx":"{price}"'
        f',"triggerPxType":"{_TRIGGERS[request.trigger]}"'
        f',"algoClOrdId":"{request.client_text}"'
        f"{_REDUCE_ONLY if request.flags & RequestFlag.REDUCE_ONLY else ''}}}"
    )


def _which(request: Request, instrument_head: str) -> str:
    """Return the part of a body that names the order."""
    if request.venue_id:
        return f'{instrument_head},"ordId":"{request.venue_id}"'
    return f'{instrument_head},"clOrdId":"{request.client_text}"'


def _which_algo(request: Request) -> str:
    head, venue_id = _native(request), request.venue_id.removeprefix(ALGO)
    if venue_id:
        return f'{head},"algoId":"{venue_id}"'
    return f'{head},"algoClOrdId":"{request.client_text}"'


def amend_body(request: Request, instrument_head: str) -> str:
    """Return an amendment as JSON; the quantity is the total, what is 0 stays as it is.

    ``reqId`` comes back in the event that tells the result.
    """
    instrument = request.instrument
    assert instrument is not None
    body = _which(request, instrument_head)
    if request.quantity:
        body += f',"newSz":"{to_text(request.quantity, instrument.quantity_decimals)}"'
    if request.price:
        body += f',"newPx":"{to_text(request.price, instrument.price_decimals)}"'
    body += _wish(request)
    if request.flags & RequestFlag.CANCEL_IF_AMEND_FAILS:
        body += ',"cxlOnFail":true'
    return body + "}"


def amend_algo_body(request: Request) -> str:
    """Return an amendment of a stop order that has not triggered."""
    instrument = request.instrument
    assert instrument is not None
    decimals = instrument.price_decimals
    body = _which_algo(request)
    if request.quantity:
        body += f',"newSz":"{to_text(request.quantity, instrument.quantity_decimals)}"'
    if request.stop_price:
        body += f',"newTriggerPx":"{to_text(request.stop_price, decimals)}"'
    if request.price:
        body += f',"newOrdPx":"{to_text(request.price, decimals)}"'
    return body + _wish(request) + "}"


def _wish(request: Request) -> str:
    """Return the number that comes back with the result of an amendment."""
    return f',"reqId":"r{request.request_id}"' if request.request_id > 0 else ""


def order_message(
    request: Request, wire_id: str, now_ms: int, codes: Mapping[str, int]
) -> bytes | None:
    """Return NEW, AMEND or CANCEL of an ordinary order as a WebSocket message; else None.

    ``codes`` are the venue's numbers of instruments: without one, only REST takes the request.
    """
    action, instrument = request.action, request.instrument
    if action > Action.CANCEL or is_algo(request):
        return None
    assert instrument is not None
    code = codes.get(instrument.native)
    if code is None:
        return None
    head = f'{{"instIdCode":{code}'
    if action == Action.NEW:
        operation, body = "order", new_body(request, head)
    elif action == Action.AMEND:
        operation, body = "amend-order", amend_body(request, head)
    else:
        body = _which(request, head)
        return f'{{"id":"{wire_id}","op":"cancel-order","args":[{body}}}]}}'.encode()
    return (
        f'{{"id":"{wire_id}","op":"{operation}","args":[{body}]'
        f',"expTime":"{_expiry(request, now_ms)}"}}'
    ).encode()


def _expiry(request: Request, now_ms: int) -> int:
    """Return when the venue shall drop a request that is late: soon, so that its fate is known."""
    latest = now_ms + EXPIRE_MS
    if request.deadline_ns:
        return min(latest, request.deadline_ns // 1_000_000)
    return latest


class Rest:
    """Calls of one account, signed."""

    def __init__(self, identity: Identity) -> None:
        self._sign = identity.sign
        self._headers = {
            "OK-ACCESS-KEY": identity.key.reveal(),
            "OK-ACCESS-PASSPHRASE": identity.passphrase.reveal(),
        }
        if identity.test:
            self._headers["x-simulated-trading"] = "1"
        self._second, self._stamp = -1, ""
        self.codes: dict[str, int] = {}
        """Native symbol -> ``instIdCode``: what messages of the order connection name it by."""

    def _time(self, now_ms: int) -> str:
        """Return ISO 8601 with milliseconds, UTC."""
        second, milliseconds = divmod(now_ms, 1000)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{milliseconds:03d}Z"

    def post(
        self,
        path: str,
        body: str,
        now_ms: int,
        costs: tuple[Cost, ...],
        wire_id: str = "",
        tag: str = "",
        expire_ms: int = 0,
    ) -> Call:
        """Return a signed POST."""
        stamp = self._time(now_ms)
        headers = self._headers | {
            "OK-ACCESS-TIMESTAMP": stamp,
            "OK-ACCESS-SIGN": self._sign(f"{stamp}POST{path}{body}".encode()),
            "Content-Type": "application/json",
        }
        if expire_ms:
            headers["expTime"] = str(expire_ms)
        return Call("POST", path, headers, body.encode(), costs, wire_id, tag)

    def get(
        self, path: str, now_ms: int, costs: tuple[Cost, ...], wire_id: str = "", tag: str = ""
    ) -> Call:
        """Return a signed GET; ``path`` has the query."""
        stamp = self._time(now_ms)
        headers = self._headers | {
            "OK-ACCESS-TIMESTAMP": stamp,
            "OK-ACCESS-SIGN": self._sign(f"{stamp}GET{path}".encode()),
        }
        return Call("GET", path, headers, b"", costs, wire_id, tag)

    # -- requests -------------------------------------------------------------------------------
    def order_call(self, request: Request, wire_id: str, now_ms: int) -> list[Call]:
        """Return a request as calls."""
        action = request.action
        if action == Action.NEW or action == Action.AMEND or action == Action.CANCEL:
            return [self._order(request, wire_id, now_ms)]
        if action == Action.QUERY:
            return [self._query(request, wire_id, now_ms)]
        if action == Action.CANCEL_ALL:
            return self._cancel_all(request, wire_id, now_ms)
        if action == Action.LEVERAGE or action == Action.MARGIN_MODE:
            return [self._leverage(request, wire_id, now_ms)]
        return []

    def _order(self, request: Request, wire_id: str, now_ms: int) -> Call:
        algo = is_algo(request)
        cost = limits.request_costs(request, algo)
        expire_ms = _expiry(request, now_ms)
        if request.action == Action.NEW:
            path = _TRADE + ("order-algo" if algo else "order")
            body = algo_body(request) if algo else new_body(request, _native(request))
        elif request.action == Action.AMEND:
            path = _TRADE + ("amend-algos" if algo else "amend-order")
            body = amend_algo_body(request) if algo else amend_body(request, _native(request))
        elif algo:
            path, body = _TRADE + "cancel-algos", f"[{_which_algo(request)}}}]"
        else:
            path, body = _TRADE + "cancel-order", _which(request, _native(request)) + "}"
        if algo or request.action == Action.CANCEL:
            expire_ms = 0
        return self.post(path, body, now_ms, cost, wire_id, expire_ms=expire_ms)

    def _query(self, request: Request, wire_id: str, now_ms: int) -> Call:
        assert request.instrument is not None
        algo = is_algo(request)
        cost = limits.request_costs(request, algo)
        venue_id = request.venue_id.removeprefix(ALGO)
        if algo:
            which = f"algoId={venue_id}" if venue_id else f"algoClOrdId={request.client_text}"
            return self.get(f"{_TRADE}order-algo?{which}", now_ms, cost, wire_id, f"{QUERY_ALGO}:")
        which = f"ordId={venue_id}" if venue_id else f"clOrdId={request.client_text}"
        path = f"{_TRADE}order?instId={request.instrument.native}&{which}"
        return self.get(path, now_ms, cost, wire_id)

    def _leverage(self, request: Request, wire_id: str, now_ms: int) -> Call:
        """Return the call that sets leverage, and with it the margin mode that it is for."""
        assert request.instrument is not None
        isolated = request.margin_mode == MarginMode.ISOLATED
        side = ""
        if isolated:
            side = _POSITIONS[request.position_side] or ',"posSide":"net"'
        body = (
            f'{{"lever":"{request.quantity}","mgnMode":"{"isolated" if isolated else "cross"}"'
            f',"instId":"{request.instrument.native}"{side}}}'
        )
        cost = limits.request_costs(request, False)
        return self.post("/api/v5/account/set-leverage", body, now_ms, cost, wire_id)

    def _cancel_all(self, request: Request, wire_id: str, now_ms: int) -> list[Call]:
        """Return the calls that begin a cancel-all: OKX has none, so we ask and then cancel.

        ``next_page`` makes the cancels from the answers.
        """
        native = request.instrument.native if request.instrument else ""
        return [
            self._pending(kind, native, "", wire_id, now_ms)
            for kind in ("", "trigger", "conditional")
        ]

    def _pending(self, kind: str, native: str, after: str, wire_id: str, now_ms: int) -> Call:
        query = f"ordType={kind}&limit={PAGE}" if kind else f"limit={PAGE}"
        if native:
            query = f"instId={native}&{query}"
        if after:
            query += f"&after={after}"
        name = "orders-algo-pending" if kind else "orders-pending"
        cost = limits.costs(limits.ALGO_PENDING if kind else limits.PENDING)
        tag = f"{CANCEL_ALL}:{kind}:{native}:"
        return self.get(f"{_TRADE}{name}?{query}", now_ms, cost, wire_id, tag)

    def after_cancel_all(
        self, call: Call, data: Sequence[dict[str, Any]], now_ms: int
    ) -> Call | None:
        """Return the next cancel of a cancel-all, the next page to ask for, or None at the end.

        The tag of a call carries what is left: ``kind:native:after:id@instrument,…``.
        """
        _, kind, native, rest = call.tag.split(":", 3)
        after = ""
        if call.method == "GET":
            key = "algoId" if kind else "ordId"
            left = [f"{order[key]}@{order['instId']}" for order in data]
            after = data[-1][key] if len(data) == PAGE else ""
        else:
            after, _, ids = rest.partition(":")
            left = [each for each in ids.split(",") if each]
        if not left:
            if not after:
                return None
            return self._pending(kind, native, after, call.wire_id, now_ms)
        size = BATCH_ALGO if kind else BATCH
        batch, left = left[:size], left[size:]
        key, name = ("algoId", "cancel-algos") if kind else ("ordId", "cancel-batch-orders")
        orders = [each.split("@") for each in batch]
        body = ",".join(f'{{"instId":"{inst}","{key}":"{order}"}}' for order, inst in orders)
        cost = _batch_costs(limits.ALGO_CANCEL if kind else limits.BATCH_CANCEL, orders)
        tag = f"{CANCEL_ALL}:{kind}:{native}:{after}:{','.join(left)}"
        return self.post(_TRADE + name, f"[{body}]", now_ms, cost, call.wire_id, tag)

    def dead_man_calls(self, timeout_s: float, now_ms: int) -> list[Call]:
        """Return the call that arms the account's countdown; whole seconds, 0 disarms."""
        shortest, longest = DIALECT.dead_man_s
        seconds = int(min(max(timeout_s, shortest), longest)) if timeout_s else 0
        path, body = f"{_TRADE}cancel-all-after", f'{{"timeOut":"{seconds}"}}'
        return [self.post(path, body, now_ms, limits.costs(limits.DEAD_MAN), tag=limits.DEAD_MAN)]

    # -- queries --------------------------------------------------------------------------------
    def query_calls(
        self, query: Query, instruments: Iterable[Instrument], since_ms: int, now_ms: int
    ) -> list[Call]:
        """Return the calls whose answers together tell all of ``query``."""
        if query == Query.INSTRUMENTS:
            return self._instruments(instruments, now_ms)
        if query == Query.OPEN_ORDERS:
            algo = limits.costs(limits.ALGO_PENDING)
            pending = f"{_TRADE}orders-algo-pending?limit={PAGE}&ordType="
            return [
                self.get(
                    f"{_TRADE}orders-pending?limit={PAGE}", now_ms, limits.costs(limits.PENDING)
                ),
                self.get(f"{pending}trigger", now_ms, algo),
                self.get(f"{pending}conditional", now_ms, algo),
            ]
        if query == Query.BALANCES:
            cost = limits.costs(limits.BALANCE)
            return [self.get("/api/v5/account/balance", now_ms, cost)]
        if query == Query.POSITIONS:
            cost = limits.costs(limits.POSITIONS)
            return [self.get("/api/v5/account/positions", now_ms, cost)]
        if query == Query.FUNDING:
            recent = now_ms - since_ms < BILLS_KEPT_MS
            name = limits.BILLS if recent else limits.BILLS_ARCHIVE
            path = f"/api/v5/account/{name}?type={FUNDING_FEE}&begin={since_ms}&limit={PAGE}"
            return [self.get(path, now_ms, limits.costs(name))]
        if now_ms - since_ms < FILLS_KEPT_MS:
            path = f"{_TRADE}fills?begin={since_ms}&limit={PAGE}"
            return [self.get(path, now_ms, limits.costs(limits.FILLS))]
        cost = limits.costs(limits.FILLS_HISTORY)
        kinds = sorted({INST_TYPES[instrument.kind] for instrument in instruments})
        path = f"{_TRADE}fills-history?begin={since_ms}&limit={PAGE}&instType="
        return [self.get(path + kind, now_ms, cost) for kind in kinds]

    def _instruments(self, instruments: Iterable[Instrument], now_ms: int) -> list[Call]:
        """Return the call for the codes that are not known yet; its tag has what is left to ask."""
        kinds = sorted(
            {INST_TYPES[each.kind] for each in instruments if each.native not in self.codes}
        )
        return [self._codes_of(kinds, now_ms)] if kinds else []

    def _codes_of(self, kinds: Sequence[str], now_ms: int) -> Call:
        path, cost = f"/api/v5/public/instruments?instType={kinds[0]}", limits.INSTRUMENTS
        tag = f"{CODES}:{','.join(kinds[1:])}"
        return self.get(path, now_ms, limits.costs(cost, kinds[0]), tag=tag)

    def next_page(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        """Return the call for what ``body`` left out; None if it was the last page, or no page."""
        try:
            data = orjson.loads(body).get("data") or []
        except (ValueError, AttributeError):
            return None
        if call.tag.startswith(CANCEL_ALL):
            return self.after_cancel_all(call, data, now_ms)
        if call.tag.startswith(QUERY_ALGO):
            return self._triggered(call, data, now_ms)
        if call.tag.startswith(CODES):
            left = call.tag.partition(":")[2]
            return self._codes_of(left.split(","), now_ms) if left else None
        path, _, query = call.path.partition("?")
        key = _CURSORS.get(path.rpartition("/")[2])
        if key is None or len(data) < PAGE:
            return None
        query = query.partition("&after=")[0]
        path = f"{path}?{query}&after={data[-1][key]}"
        return self.get(path, now_ms, call.costs, call.wire_id, call.tag)

    def _triggered(self, call: Call, data: Sequence[dict[str, Any]], now_ms: int) -> Call | None:
        """Return the query of the order that a triggered algo order has become."""
        if not data or not data[0].get("ordId"):
            return None
        native, order = data[0]["instId"], data[0]["ordId"]
        cost = limits.costs(limits.ORDER, native)
        path = f"{_TRADE}order?instId={native}&ordId={order}"
        return self.get(path, now_ms, cost, call.wire_id)


_CURSORS = {
    "orders-pending": "ordId",
    "orders-algo-pending": "algoId",
    "fills": "billId",
    "fills-history": "billId",
    "bills": "billId",
    "bills-archive": "billId",
}
"""What a page's last row is named by in the request for the next page."""


def _batch_costs(name: str, orders: Sequence[Sequence[str]]) -> tuple[Cost, ...]:
    """Return the costs of a batch: its orders, each on its instrument."""
    counts: dict[str, int] = {}
    for _, native in orders:
        counts[native] = counts.get(native, 0) + 1
    return tuple(Cost(name, units, native) for native, units in counts.items())
