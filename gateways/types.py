"""What a gateway reads and writes: requests to a venue, and reports of what became of them.

Prices and quantities are int64 mantissas with the decimals of the request's instrument (its row of
the instrument table, ``price_decimals`` and ``quantity_decimals``). All times are Unix nanoseconds
(int64). ``sequence`` is the record's place in its ring, from 1; it is written last.

``gw.<account>.requests`` carries ``REQUEST``; its writer is the OMS. ``gw.<account>.reports``
carries ``REPORT``; its writer is the gateway. Fills, balances and positions travel in the same
ring as the orders' states: there is one order of events of an account, and a reader needs no rule
to merge rings. ``Report.kind`` says which fields count.
"""

from enum import IntEnum

from engine.layout import Field, Layout

AVERAGE_DECIMALS = 6
"""Average prices have so many decimals more than the instrument's prices; rounded half even."""


class Action(IntEnum):
    """What a request asks for."""

    NEW = 1
    AMEND = 2
    """To ``price`` and ``quantity``; the quantity is the total, filled included."""
    CANCEL = 3
    CANCEL_ALL = 4
    """Of ``instrument``; of the whole account if that is -1."""
    QUERY = 5
    """Ask the venue what it knows of the order; answered by STATUS or NOT_FOUND."""
    RECONCILE = 6
    """Ask the venue for all orders, fills, balances and positions now."""
    LEVERAGE = 7
    """Set the leverage of ``instrument`` to ``quantity`` (a plain number)."""
    MARGIN_MODE = 8
    """Set the margin mode of ``instrument`` to ``margin_mode``; OKX and Bybit want the leverage
    with it, in ``quantity`` (a plain number)."""


class ReportKind(IntEnum):
    """What a report tells."""

    SENT = 1
    """The request left the socket."""
    NOT_SENT = 2
    """The request never left us: certain, and it may be tried again."""
    ACCEPTED = 3
    """The venue has the order; whether it stands in the book is not known yet."""
    OPEN = 4
    FILL = 5
    """One trade of the order: ``trade_id``, ``last_price``, ``last_quantity``, ``fee``."""
    CANCELED = 6
    EXPIRED = 7
    """Ended by its own terms or by the venue: IOC or FOK remainder, self-trade prevention."""
    REJECTED = 8
    AMENDED = 9
    AMEND_REJECTED = 10
    CANCEL_REJECTED = 11
    CANCEL_ACCEPTED = 12
    """The venue will cancel: not yet the order's end."""
    TRIGGERED = 13
    UNKNOWN = 14
    """The request's fate is not known: nothing came in time, or the venue itself cannot say."""
    STATUS = 15
    """The order as the venue sees it, from a query or a reconciliation: ``status``, ``filled``."""
    NOT_FOUND = 16
    """The venue knows no such order, and enough time has passed for that to be believed."""
    BALANCE = 17
    """``quantity`` total and ``available`` of ``asset``, with ``decimals``."""
    POSITION = 18
    """``quantity`` signed, ``average_price`` of the entry, of ``instrument``."""
    FUNDING = 19
    """A funding payment: ``fee`` paid (negative: received) in ``asset``, of ``instrument``."""
    SYNC_BEGIN = 20
    """A reconciliation begins: the reports with Flag.RECONCILED up to SYNC_END belong to it."""
    SYNC_END = 21
    """All that the venue has open has been told: an order that is neither told of nor SENT or
    UNKNOWN is not open."""
    DIFFERENCE = 22
    """Reconciliation found something that no event had told; ``reason`` says what."""
    UP = 23
    """Orders can be sent and private events arrive."""
    DOWN = 24
    """Either of them cannot; ``reason`` says why."""
    DONE = 25
    """A request that concerns no order (leverage, margin mode, cancel all) has been done."""
    FAILED = 26
    """A request that concerns no order has been refused."""


class OrderStatus(IntEnum):
    """An order's state as the venue tells it."""

    NONE = 0
    ACCEPTED = 1
    OPEN = 2
    PARTIALLY_FILLED = 3
    FILLED = 4
    CANCELED = 5
    EXPIRED = 6
    REJECTED = 7
    UNTRIGGERED = 8


class Liquidity(IntEnum):
    """Which side of a trade we were."""

    NONE = 0
    MAKER = 1
    TAKER = 2


class PositionSide(IntEnum):
    """Which position an order concerns: NET in one-way mode."""

    NET = 0
    LONG = 1
    SHORT = -1


class MarginMode(IntEnum):
    """How a position is backed."""

    NONE = 0
    CASH = 1
    CROSS = 2
    ISOLATED = 3


class Trigger(IntEnum):
    """Which price sets off a stop order."""

    LAST = 0
    MARK = 1
    INDEX = 2


class SelfTrade(IntEnum):
    """What the venue shall do when our own orders would match."""

    VENUE_DEFAULT = 0
    NONE = 1
    CANCEL_MAKER = 2
    CANCEL_TAKER = 3
    CANCEL_BOTH = 4


class RequestFlag(IntEnum):
    """Bits of a request's ``flags``: plain numbers, a bit is tested in 15 ns (IntFlag: 1.5 µs)."""

    REDUCE_ONLY = 1
    URGENT = 2
    """May use the reserve of the rate limits, like cancels and reduce-only orders."""
    REST = 4
    """Send by REST, not by WebSocket."""
    CANCEL_IF_AMEND_FAILS = 8
    QUOTE_QUANTITY = 16
    """``quantity`` is in the quote currency, with ``price_decimals`` (spot market buys)."""


class ReportFlag(IntEnum):
    """Bits of a report's ``flags``."""

    RECONCILED = 1
    """From a query or a reconciliation, not from a live event."""
    EXTERNAL = 2
    """Of an order that was not sent through this gateway: ``client_id`` is negative."""
    FORCED = 4
    """Liquidation, auto-deleveraging or settlement."""
    REDUCE_ONLY = 8
    INFERRED = 16
    """A fill made up from a jump of the filled quantity. Its true trades, if they come, are told
    whole and take its place: a reader takes back as much of it as they have."""
    ABSOLUTE = 32
    """A balance or position as a whole, not one of several changed ones."""


class Reason(IntEnum):
    """Why something was refused, ended or is not known, the same for all venues."""

    NONE = 0
    OTHER = 1
    """The venue's code is not one that we know: see ``venue_code`` and ``text``."""
    # Why a request was refused.
    PARAMETER = 10
    INSTRUMENT = 11
    PRICE_TICK = 12
    PRICE_BAND = 13
    QUANTITY = 14
    NOTIONAL = 15
    BALANCE = 16
    POSITION_LIMIT = 17
    TOO_MANY_ORDERS = 18
    DUPLICATE_ID = 19
    POST_ONLY = 20
    REDUCE_ONLY = 21
    WOULD_TRIGGER = 22
    MARKET_CLOSED = 23
    NOT_ALLOWED = 24
    AUTHENTICATION = 25
    TIMESTAMP = 26
    RATE_LIMIT = 27
    BANNED = 28
    BUSY = 29
    """The venue did not take it for want of capacity; it may be tried again."""
    UNKNOWN_ORDER = 30
    """The venue has no such order that could be changed."""
    ALREADY_FILLED = 31
    ALREADY_CLOSED = 32
    NOT_CHANGED = 33
    UNSUPPORTED = 34
    """The venue, or this gateway, has no such order type or operation."""
    # Why an order ended.
    REQUESTED = 50
    IMMEDIATE = 51
    """What an IOC or market order could not fill."""
    FILL_OR_KILL = 52
    SELF_TRADE = 53
    LIQUIDATION = 54
    DELEVERAGING = 55
    DEAD_MAN = 56
    TIME = 57
    """Good till date, or sent too late."""
    DELISTED = 58
    SYSTEM = 59
    AMENDED_AWAY = 60
    """An amendment at or below the filled quantity."""
    SETTLEMENT = 61
    # Why a fate is not known, or a connection is down.
    TIMEOUT = 80
    DISCONNECTED = 81
    VENUE_UNSURE = 82
    EXPIRED_REQUEST = 83
    """The request waited longer than its ``deadline_ns``: not sent."""
    LOCAL_LIMIT = 84
    """Our own model of the venue's limits holds it back: not sent."""
    # What reconciliation found.
    MISSED_ORDER = 90
    MISSED_FILL = 91
    MISSED_END = 92
    MISSED_BALANCE = 93
    MISSED_POSITION = 94


REQUEST = Layout(
    "order_request",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("requested_ns", "i8", "when it was written, Unix ns"),
        Field("deadline_ns", "i8", "not sent later than this, Unix ns; 0: at any time"),
        Field("request_id", "i8", "the asker's number; answers carry it"),
        Field("client_id", "i8", "the order, above 0; negative for orders of others; 0 for none"),
        Field("price", "i8", "mantissa of price_decimals; 0 for market orders"),
        Field("quantity", "i8", "mantissa of quantity_decimals (AMEND: total); see Action"),
        Field("stop_price", "i8", "mantissa of price_decimals; 0 if none"),
        Field("expire_ns", "i8", "for TimeInForce.GTD, Unix ns"),
        Field("instrument", "i4", "row of the instrument table; -1 where it need not be one"),
        Field("flags", "u4", "bits of RequestFlag"),
        Field("action", "u1", "Action"),
        Field("side", "i1", "engine.common.Side"),
        Field("order_type", "u1", "engine.common.OrderType"),
        Field("time_in_force", "u1", "engine.common.TimeInForce"),
        Field("position_side", "i1", "PositionSide"),
        Field("margin_mode", "u1", "MarginMode"),
        Field("trigger", "u1", "Trigger"),
        Field("self_trade", "u1", "SelfTrade"),
        Field("reserved", "i8", "zero", (5,)),
    ),
)

REPORT = Layout(
    "order_report",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("exchange_ns", "i8", "the venue's time, Unix ns; 0 if it gives none"),
        Field("received_ns", "i8", "when the message left the socket, Unix ns"),
        Field("published_ns", "i8", "when the record was written, Unix ns"),
        Field("request_id", "i8", "the request that it answers; 0 for none"),
        Field("client_id", "i8", "the order; negative for orders of others; 0 for none"),
        Field("price", "i8", "the order's, mantissa of price_decimals"),
        Field("quantity", "i8", "the order's total, mantissa of quantity_decimals; see ReportKind"),
        Field("filled", "i8", "of the order until then, mantissa of quantity_decimals"),
        Field("available", "i8", "BALANCE: what is not locked, mantissa of decimals"),
        Field("last_price", "i8", "FILL: the trade's, mantissa of price_decimals"),
        Field("last_quantity", "i8", "FILL: the trade's, mantissa of quantity_decimals"),
        Field("trade_id", "i8", "FILL: unique with the instrument; textual ids are hashed"),
        Field("fee", "i8", "paid in asset (negative: received), mantissa of decimals"),
        Field("average_price", "i8", "mantissa of price_decimals + 6; 0 if not told"),
        Field("stop_price", "i8", "mantissa of price_decimals; 0 if none"),
        Field("instrument", "i4", "row of the instrument table; -1 if it concerns none"),
        Field("venue_code", "i4", "the venue's own error code; 0 if none"),
        Field("flags", "u4", "bits of ReportFlag"),
        Field("reason", "u2", "Reason"),
        Field("kind", "u1", "ReportKind"),
        Field("action", "u1", "Action of the request that it answers; 0 for none"),
        Field("status", "u1", "OrderStatus"),
        Field("side", "i1", "engine.common.Side; 0 if not told"),
        Field("order_type", "u1", "engine.common.OrderType; 0 if not told"),
        Field("time_in_force", "u1", "engine.common.TimeInForce; 0 if not told"),
        Field("position_side", "i1", "PositionSide"),
        Field("liquidity", "u1", "Liquidity"),
        Field("decimals", "u1", "of fee and available, and of quantity in a BALANCE"),
        Field("margin_mode", "u1", "MarginMode"),
        Field("asset", "S16", "currency of the fee or balance, UTF-8"),
        Field("venue_id", "S40", "the venue's order id, UTF-8"),
        Field("text", "S48", "the venue's words, or an order's foreign client id, UTF-8, cut off"),
    ),
)

RATE_LIMIT = Layout(
    "rate_limit",
    1,
    (
        Field("key", "i8", "hash of what is counted; 0 if the row is free"),
        Field("ready", "i8", "1 once the row is whole"),
        Field("most", "i8", "units in a period"),
        Field("period_ns", "i8", "the period"),
        Field("reserve", "i8", "units of it for urgent requests only"),
        Field("guard_ns", "i8", "what a request's way to the venue may vary by"),
        Field("blocked_until_ns", "i8", "nothing may be sent before, Unix ns of the venue"),
        Field("ring", "i8", "rolling: first cell of its times; -1: aligned"),
        Field("claimed", "i8", "rolling: units taken since the start"),
        Field("even", "i8", "aligned: period << 24 | units used, of even periods"),
        Field("odd", "i8", "the same, of odd periods"),
        Field("refused", "i8", "how often a request had to wait"),
        Field("account", "S32", "whose limit; empty for the address, UTF-8"),
        Field("name", "S64", "the limit and its scope, UTF-8"),
    ),
)
"""A row of ``gw.limits.<venue>``: a limit of an address, an account, or an instrument of one."""
