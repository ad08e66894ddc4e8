"""What the OMS takes, holds and tells: intents, orders, positions, scopes, updates.

Prices and quantities are int64 mantissas with the decimals of the instrument (its row of
``md.instruments``). *Money* is a mantissa of 1e-8: of the reporting currency where scopes are
concerned, of the instrument's settlement currency in positions. All times are Unix nanoseconds.

=====================  ============================================================================
``oms.intents.<name>`` flow-controlled ring of INTENT, one a strategy; written by the strategy
``oms.commands``       flow-controlled ring of COMMAND; written by whoever operates the system
``oms.updates``        broadcast ring of UPDATE, for all strategies; written by the OMS, as are:
``oms.orders``         table of ORDER, row = slot
``oms.positions``      table of POSITION
``oms.balances``       table of BALANCE
``oms.scopes``         table of SCOPE: limits, their use, and trading states
``oms.names``          table of NAME: who the numbers of accounts and strategies are
=====================  ============================================================================

A strategy that was lapped in ``oms.updates`` knows it (``RingReader.lost``) and reads the tables.
"""

from enum import IntEnum, IntFlag

from engine.layout import Field, Layout

MONEY_DECIMALS = 8


class IntentAction(IntEnum):
    """What a strategy wants."""

    NEW = 1
    AMEND = 2
    """To ``price`` and ``quantity`` (the total, filled included); 0 leaves either as it is."""
    CANCEL = 3
    CANCEL_ALL = 4
    """All of the strategy's own orders: of ``instrument``, or, if that is -1, everywhere."""


class OrderState(IntEnum):
    """Where an order stands. Those from ``FILLED`` on have ended, but for LOST."""

    FREE = 0
    NEW = 1
    """Decided, and asked of the gateway; it is not known yet whether it left."""
    DENIED = 2
    SENT = 4
    UNKNOWN = 5
    """Nobody knows whether the venue has it: exposure is kept, and the venue is being asked."""
    ACKED = 6
    """The venue has it; whether it stands in the book is not known yet."""
    OPEN = 7
    PARTIAL = 8
    TRIGGERED = 9
    FILLED = 10
    CANCELED = 11
    EXPIRED = 12
    REJECTED = 13
    LOST = 14
    """It was open, and the venue says that it knows no such order: exposure is kept until somebody
    decides (``trade-infra risk resolve``)."""


class Pending(IntFlag):
    """Requests about an order that nothing has answered yet."""

    CANCEL = 1
    AMEND = 2


class OrderFlag(IntFlag):
    """Bits of an order's ``flags``."""

    REDUCE_ONLY = 1
    EXTERNAL = 2
    """Not sent by us: by hand, or by the venue itself."""
    FORCED = 4
    """Liquidation, deleveraging, settlement."""
    CLOSING = 8
    """The OMS' own: it closes a position (trading state FLATTEN)."""
    QUERIED = 32
    """Reconciliation did not find it, and the venue has been asked."""
    FREED = 64
    """Its slot waits to be used again."""


class TradingState(IntEnum):
    """What a scope may do; the strictest of an order's counts. It never relaxes by itself."""

    NORMAL = 0
    REDUCE_ONLY = 1
    """Only what brings a position nearer to zero."""
    CANCEL_ONLY = 2
    HALT = 3
    """As CANCEL_ONLY, and everything open is cancelled."""
    FLATTEN = 4
    """As HALT, and positions are closed."""


class ScopeKind(IntEnum):
    """What a scope covers. An order belongs to one of each kind."""

    NONE = 0
    FIRM = 1
    ACCOUNT = 2
    STRATEGY = 3
    ACCOUNT_INSTRUMENT = 4
    STRATEGY_INSTRUMENT = 5


class UpdateKind(IntEnum):
    """What an update tells."""

    DENIED = 1
    """The intent was refused by a rule (``reason``): nothing left us."""
    ROUTED = 2
    """The intent passed and its request is on its way to the gateway."""
    STATE = 3
    """The order's state, or what is pending, has changed."""
    FILL = 4
    """A trade. A negative ``last_quantity`` takes one back that had been made up."""
    AMENDED = 5
    AMEND_REJECTED = 6
    CANCEL_REJECTED = 7
    TRADING_STATE = 8
    """A scope's trading state has changed: ``state`` is a TradingState, ``client_id`` the row."""
    ALARM = 9
    """Something that should not happen did: ``reason`` is an Alarm."""
    ACCOUNT = 10
    """An account came up, went down, or was reconciled: ``state`` is 1 if it takes orders."""


class Deny(IntEnum):
    """Why the OMS refused an intent. The numbers do not meet those of ``gateways.types.Reason``."""

    NOT_READY = 101
    """The account has not been reconciled since the OMS started."""
    ACCOUNT_DOWN = 102
    ACCOUNT = 103
    """No such account, or the instrument is of another venue."""
    INSTRUMENT = 104
    NOT_TRADING = 105
    PARAMETER = 106
    """A side, type, time in force or their combination that does not exist."""
    DUPLICATE_NUMBER = 107
    UNKNOWN_ORDER = 108
    ORDER_ENDED = 109
    TRADING_STATE = 110
    INTENT_AGE = 111
    DEADLINE = 112
    PRICE_TICK = 113
    QUANTITY_LOT = 114
    MINIMUM_QUANTITY = 115
    MAXIMUM_QUANTITY = 116
    MINIMUM_NOTIONAL = 117
    MARKET_STALE = 118
    """A rule needs the market's price, and there is none that is live and fresh."""
    COLLAR = 119
    BAND = 120
    POST_ONLY = 121
    SELF_TRADE = 122
    REDUCE_ONLY = 123
    DUPLICATE = 124
    """The same instrument, side, price and quantity within the duplicate window."""
    ORDER_QUANTITY = 125
    ORDER_NOTIONAL = 126
    POSITION = 127
    OPEN_ORDERS = 128
    OPEN_NOTIONAL = 129
    GROSS_NOTIONAL = 130
    NET_NOTIONAL = 131
    LEVERAGE = 132
    BALANCE = 133
    ORDER_RATE = 134
    AMEND_RATE = 135
    CANCEL_RATE = 136
    UNKNOWNS = 137
    NO_RATE = 138
    """The worth of the instrument's currency in the reporting currency is not known."""
    OVERFLOW = 139
    """A number beyond what can be counted."""
    ORDERS_FULL = 140
    REQUESTS_FULL = 141
    """The gateway does not take requests fast enough."""
    NOT_CHANGED = 142
    CLOCK = 143
    """The venue's clock differs from ours by more than the limit."""
    EXPIRE_TIME = 144


class Alarm(IntEnum):
    """What should not happen."""

    OVERFILL = 201
    RESURRECTED = 202
    """The venue tells of an order that was rejected, denied or believed not to exist."""
    LOST_ORDER = 203
    POSITION_DRIFT = 204
    """The venue's position was not ours, for longer than events take: the venue's counts."""
    UNMAPPED = 205
    """A report of an instrument that the worker does not know."""
    DAILY_LOSS = 206
    DRAWDOWN = 207
    REJECTS = 208
    FILL_RATE = 209
    FILL_AFTER_END = 210
    NO_RATE = 211
    """A fee or result in a currency whose worth is not known: it is not in the scopes' results."""


class CommandKind(IntEnum):
    """What an operator, or the OMS itself, orders; each is journalled before it takes effect."""

    LIMIT = 1
    """Set limit ``name`` of the scope to ``value``."""
    STATE = 2
    """Set the scope's trading state to ``value``; ``automatic`` ones only make it stricter."""
    RESOLVE = 3
    """Take order ``client_id`` (LOST or UNKNOWN) as ended."""
    DAY = 4
    """A new trading day begins: daily results count from now."""
    RECONCILE = 5
    ADOPT = 6
    """Take the venue's position as ours: ``value`` of position side ``second``, at ``client_id``
    (a price mantissa)."""
    CANCEL = 7
    """Cancel everything open in the scope."""


LIMITS: tuple[tuple[str, str, str], ...] = (
    ("order_quantity", "quantity", "of one order; instrument scopes"),
    ("order_notional", "money", "of one order"),
    ("position", "quantity", "worst case, long or short; instrument scopes"),
    ("open_orders", "count", "orders that have not ended"),
    ("open_notional", "money", "of orders that have not ended"),
    ("gross_notional", "money", "worst case of every position, summed"),
    ("net_notional", "money", "worst case of the sum of all positions"),
    ("leverage", "hundredths", "gross notional over equity; firm and account scopes"),
    ("order_rate", "count", "new orders in a period"),
    ("amend_rate", "count", "amendments in a period"),
    ("cancel_rate", "count", "cancellations in a period; a lane of their own"),
    ("rate_period", "ns", "the period of the rates"),
    ("daily_loss", "money", "since the day began; then the scope is reduce-only"),
    ("drawdown", "money", "from the day's peak; then the scope is reduce-only"),
    ("rejects", "count", "refusals by the venue in a row; then the scope is cancel-only"),
    ("fill_rate", "count", "fills in a second; then the scope is cancel-only"),
    ("collar", "hundredths of a basis point", "how far a price may be beyond the market's"),
    ("band", "hundredths of a basis point", "the venue's own price band around the mark"),
    ("slippage", "hundredths of a basis point", "market orders become IOC limit orders within it"),
    ("duplicate_window", "ns", "no second equal order within it"),
    ("intent_age", "ns", "an older intent is refused"),
    ("market_age", "ns", "an older price is no price"),
    ("unknowns", "count", "orders of unknown fate; account and firm scopes"),
    ("clock_offset", "ns", "between the venue's clock and ours; account scopes"),
)
"""Name, unit and meaning of each limit, in the order of the SCOPE record's ``limits``. A limit is
the highest value that is still allowed; -1 is none."""
LIMIT_NAMES = tuple(name for name, _, _ in LIMITS)

INTENT = Layout(
    "intent",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("created_ns", "i8", "when it was written, Unix ns"),
        Field("cause_ns", "i8", "published_ns of the record that led to it; 0 if none"),
        Field("number", "i8", "the strategy's number of the order, above 0; NEW: a new one"),
        Field("price", "i8", "mantissa of price_decimals; 0 for market orders"),
        Field("quantity", "i8", "mantissa of quantity_decimals; AMEND: the total"),
        Field("stop_price", "i8", "mantissa of price_decimals; 0 if none"),
        Field("expire_ns", "i8", "for TimeInForce.GTD, Unix ns"),
        Field("deadline_ns", "i8", "neither decided nor sent later than this; 0: at any time"),
        Field("instrument", "i4", "row of md.instruments"),
        Field("account", "i4", "number of the account; -1: the only one of the venue"),
        Field("action", "u1", "IntentAction"),
        Field("side", "i1", "engine.common.Side"),
        Field("order_type", "u1", "engine.common.OrderType"),
        Field("time_in_force", "u1", "engine.common.TimeInForce"),
        Field("position_side", "i1", "gateways.types.PositionSide"),
        Field("margin_mode", "u1", "gateways.types.MarginMode"),
        Field("trigger", "u1", "gateways.types.Trigger"),
        Field("self_trade", "u1", "gateways.types.SelfTrade"),
        Field("flags", "i8", "bits of gateways.types.RequestFlag: REDUCE_ONLY, REST, …"),
        Field("reserved", "i8", "zero", (4,)),
    ),
)

ORDER = Layout(
    "oms_order",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("client_id", "i8", "the order's number towards the gateway; negative: not ours"),
        Field("number", "i8", "the strategy's number"),
        Field("strategy", "i8", "number of the strategy; 0: nobody's"),
        Field("account", "i8", "number of the account"),
        Field("instrument", "i8", "row of md.instruments"),
        Field("state", "i8", "OrderState"),
        Field("pending", "i8", "bits of Pending"),
        Field("flags", "i8", "bits of OrderFlag"),
        Field("side", "i8", "engine.common.Side"),
        Field("order_type", "i8", "engine.common.OrderType"),
        Field("time_in_force", "i8", "engine.common.TimeInForce"),
        Field("position_side", "i8", "gateways.types.PositionSide"),
        Field("price", "i8", "mantissa of price_decimals"),
        Field("quantity", "i8", "the total, mantissa of quantity_decimals"),
        Field("stop_price", "i8", "mantissa of price_decimals; 0 if none"),
        Field("filled", "i8", "as the venue says; at least traded"),
        Field("traded", "i8", "sum of the trades that are known"),
        Field("inferred", "i8", "of traded: made up, until the trades are known"),
        Field("value", "i8", "money of all trades, settlement currency"),
        Field("fills", "i8", "number of trades"),
        Field("worst_price", "i8", "the highest that it may trade at, with pending amendments"),
        Field("worst_quantity", "i8", "the largest total, with pending amendments"),
        Field("reserved_quantity", "i8", "counted as open: what may still trade"),
        Field("reserved_money", "i8", "the same in reporting currency"),
        Field("reserved_asset", "i8", "the same in the asset that it takes from the balance"),
        Field("reason", "i8", "gateways.types.Reason or Deny of the last refusal or end"),
        Field("venue_code", "i8", "the venue's own code; 0 if none"),
        Field("request_id", "i8", "of the order itself"),
        Field("amend_request", "i8", "of the last amendment; 0 if none"),
        Field("cancel_request", "i8", "of the last cancellation; 0 if none"),
        Field("created_ns", "i8", "when it was decided"),
        Field("sent_ns", "i8", "when its request left the gateway's socket; 0 if not known"),
        Field("updated_ns", "i8", "when it changed last"),
        Field("exchange_ns", "i8", "the venue's time of the newest message; 0 if none"),
        Field("cause_ns", "i8", "published_ns of the record that led to it; 0 if none"),
        Field("sync", "i8", "the last reconciliation that told of it"),
        Field("account_row", "i8", "row of the account's position"),
        Field("strategy_row", "i8", "row of the strategy's position; -1 if nobody's"),
        Field("inferred_price", "i8", "of what was made up"),
    ),
)

POSITION = Layout(
    "oms_position",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("kind", "i8", "ScopeKind: ACCOUNT_INSTRUMENT or STRATEGY_INSTRUMENT; 0: unused"),
        Field("account", "i8", "number of the account"),
        Field("strategy", "i8", "number of the strategy; 0 in rows of accounts"),
        Field("instrument", "i8", "row of md.instruments"),
        Field("position_side", "i8", "gateways.types.PositionSide"),
        Field("quantity", "i8", "signed mantissa of quantity_decimals"),
        Field("cost", "i8", "money that the open quantity cost, settlement currency, unsigned"),
        Field("realized", "i8", "money, settlement currency, fees and funding not counted"),
        Field("fees", "i8", "money paid, reporting currency"),
        Field("funding", "i8", "money paid, reporting currency"),
        Field("unrealized", "i8", "money, settlement currency, at mark_price"),
        Field("mark_price", "i8", "what it is valued at, mantissa of price_decimals; 0: none"),
        Field("open_buy", "i8", "quantity of buy orders that may still trade"),
        Field("open_sell", "i8", "quantity of sell orders that may still trade"),
        Field("worst_money", "i8", "worst case of the position, reporting currency"),
        Field("long_money", "i8", "position with all buys filled, signed, reporting currency"),
        Field("short_money", "i8", "position with all sells filled, signed, reporting currency"),
        Field("result_money", "i8", "realized and unrealized, reporting currency"),
        Field("venue_quantity", "i8", "as the venue says; account rows of derivatives"),
        Field("venue_ns", "i8", "when it said so; 0: never"),
        Field("fill_ns", "i8", "when the last fill came"),
        Field("scope", "i8", "row of oms.scopes"),
        Field("owner_scope", "i8", "row of the account's or the strategy's scope"),
        Field("next", "i8", "next row of the same instrument; -1 at the end"),
        Field("fills", "i8", "number of trades"),
        Field("bought", "i8", "quantity, since the start"),
        Field("sold", "i8", "quantity, since the start"),
        Field("reduce_only", "i8", "quantity of open reduce-only orders"),
        Field("orders", "i8", "orders that have not ended"),
        Field("venue_price", "i8", "the venue's average price, mantissa of price_decimals"),
        Field("reserved", "i8", "zero"),
    ),
)

BALANCE = Layout(
    "oms_balance",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("account", "i8", "number of the account; -1: unused"),
        Field("asset", "S16", "currency, UTF-8"),
        Field("total", "i8", "as the venue says, mantissa of 1e-8"),
        Field("available", "i8", "as the venue says, mantissa of 1e-8"),
        Field("changed", "i8", "by our trades since the venue said it, mantissa of 1e-8"),
        Field("reserved", "i8", "what our open orders may take, mantissa of 1e-8"),
        Field("told_ns", "i8", "when the venue said it; 0: never"),
        Field("rate", "i8", "worth of one unit in the reporting currency, 1e-8; 0: not known"),
        Field("spare", "i8", "zero", (6,)),
    ),
)

SCOPE = Layout(
    "oms_scope",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("kind", "i8", "ScopeKind"),
        Field("account", "i8", "number of the account; -1 if it is of no account"),
        Field("strategy", "i8", "number of the strategy; -1 if it is of no strategy"),
        Field("instrument", "i8", "row of md.instruments; -1 if it is of none"),
        Field("state", "i8", "TradingState"),
        Field("limits_version", "i8", "rises with each change of a limit"),
        Field("limits", "i8", "in the order of oms.types.LIMITS; -1: none", (len(LIMITS),)),
        Field("open_orders", "i8", "orders that have not ended"),
        Field("open_money", "i8", "of orders that have not ended, reporting currency"),
        Field("gross_money", "i8", "worst case of every position, summed"),
        Field("long_money", "i8", "sum of all positions with all buys filled"),
        Field("short_money", "i8", "sum of all positions with all sells filled"),
        Field("result_money", "i8", "realized and unrealized, less fees and funding"),
        Field("day_money", "i8", "result_money when the day began"),
        Field("peak_money", "i8", "highest result_money since the day began"),
        Field("rejects", "i8", "refusals by the venue in a row"),
        Field("unknowns", "i8", "orders of unknown fate"),
        Field("sent", "i8", "new orders that passed"),
        Field("denied", "i8", "intents refused"),
        Field("fills", "i8", "trades"),
        Field("state_reason", "i8", "Alarm that set the state; 0: an operator"),
        Field("state_ns", "i8", "when the state changed last"),
        Field("equity_money", "i8", "balances and unrealized results; account and firm scopes"),
        Field("reserved", "i8", "zero", (1,)),
    ),
)

UPDATE = Layout(
    "oms_update",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("exchange_ns", "i8", "the venue's time, Unix ns; 0 if it gives none"),
        Field("received_ns", "i8", "when the venue's message left the socket; 0: no message"),
        Field("published_ns", "i8", "when the record was written, Unix ns"),
        Field("journal", "i8", "sequence of the journal record that led to it"),
        Field("number", "i8", "the strategy's number of the order"),
        Field("client_id", "i8", "the order's number towards the gateway"),
        Field("price", "i8", "the order's, mantissa of price_decimals"),
        Field("quantity", "i8", "the order's total, mantissa of quantity_decimals"),
        Field("filled", "i8", "of the order, mantissa of quantity_decimals"),
        Field("last_price", "i8", "FILL: the trade's, mantissa of price_decimals"),
        Field("last_quantity", "i8", "FILL: the trade's, mantissa of quantity_decimals"),
        Field("trade_id", "i8", "FILL: the venue's"),
        Field("fee", "i8", "FILL: paid (negative: received), mantissa of decimals"),
        Field("position", "i8", "the strategy's in the instrument afterwards"),
        Field("venue_code", "i8", "the venue's own code; 0 if none"),
        Field("strategy", "i4", "number of the strategy; 0: nobody's"),
        Field("account", "i4", "number of the account"),
        Field("instrument", "i4", "row of md.instruments; -1 if it concerns none"),
        Field("reason", "i4", "gateways.types.Reason, Deny or Alarm"),
        Field("kind", "u1", "UpdateKind"),
        Field("state", "u1", "OrderState (TRADING_STATE: TradingState)"),
        Field("pending", "u1", "bits of Pending"),
        Field("side", "i1", "engine.common.Side"),
        Field("action", "u1", "IntentAction that it answers; 0 for none"),
        Field("liquidity", "u1", "gateways.types.Liquidity"),
        Field("decimals", "u1", "of fee"),
        Field("flags", "u1", "bits of OrderFlag"),
        Field("asset", "S16", "currency of the fee, UTF-8"),
        Field("reserved", "i8", "zero", (11,)),
    ),
)

NAME = Layout(
    "oms_name",
    1,
    (
        Field("version", "i8", "row lock: odd while being written"),
        Field("kind", "i8", "ScopeKind: ACCOUNT or STRATEGY; 0: unused"),
        Field("number", "i8", "its number in all other records"),
        Field("name", "S32", "UTF-8"),
        Field("reserved", "i8", "zero"),
    ),
)

COMMAND = Layout(
    "oms_command",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("created_ns", "i8", "when it was written, Unix ns"),
        Field("kind", "i8", "CommandKind"),
        Field("scope_kind", "i8", "ScopeKind of the scope; 0 if it concerns none"),
        Field("account", "i8", "number of the account; -1 if it concerns none"),
        Field("strategy", "i8", "number of the strategy; -1 if it concerns none"),
        Field("instrument", "i8", "row of md.instruments; -1 if it concerns none"),
        Field("name", "i8", "LIMIT: place in oms.types.LIMITS; STATE: Alarm that led to it"),
        Field("value", "i8", "see CommandKind"),
        Field("second", "i8", "see CommandKind"),
        Field("client_id", "i8", "RESOLVE: the order"),
        Field("automatic", "i8", "1: the OMS' own decision"),
        Field("by", "S32", "who, UTF-8"),
    ),
)
