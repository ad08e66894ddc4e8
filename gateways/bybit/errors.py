"""Bybit's error codes and reasons: what each means for the request, and why.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Error Code", "Enums Definitions"
(rejectReason, cancelType), "Websocket Trade Guideline" (codes of the trade connection). Codes that
are not listed: those of orders and positions (110xxx), and of spot (17xxxx) are refusals; general
ones (10xxx) may come from any place, so the order's fate is not known.
"""

from gateways.dialects import Classified, by_code
from gateways.message import Verdict
from gateways.types import Reason

_GROUPS: tuple[tuple[Verdict, Reason, str], ...] = (
    (Verdict.ACCEPTED, Reason.NONE, "0"),
    # The venue cannot say what became of it.
    (
        Verdict.UNKNOWN,
        Reason.VENUE_UNSURE,
        "10000 10016 170001 170007 170032 170035 170146 170147 170234",
    ),
    (Verdict.RETRY, Reason.BUSY, "10019 110079 170144 170191"),
    (Verdict.LIMITED, Reason.RATE_LIMIT, "10006 10018 10403 10429 20003 170005 170222"),
    (Verdict.LIMITED, Reason.BANNED, "10009"),
    (Verdict.EXISTS, Reason.DUPLICATE_ID, "10014 20006 110030 110072 170141"),
    # Orders that cannot be canceled or amended any more, or are not known.
    (Verdict.GONE, Reason.UNKNOWN_ORDER, "110001 170143 170213 20001"),
    (Verdict.GONE, Reason.ALREADY_CLOSED, "110008 110010 170142 170190"),
    (Verdict.GONE, Reason.ALREADY_FILLED, "170139"),
    (Verdict.REFUSED, Reason.NOT_CHANGED, "110025 110026 110027 110043"),
    (Verdict.RETRY, Reason.TIMESTAMP, "10002"),
    (Verdict.REFUSED, Reason.AUTHENTICATION, "10003 10004 10005 10007 10010 33004"),
    (
        Verdict.REFUSED,
        Reason.NOT_ALLOWED,
        "10008 10020 10024 10027 10028 10032 100028 110005 110015 110022 110024 110028 110036 "
        "110038 110067 110068 110069 170201 170209 170210 170223 170224 170226 170241",
    ),
    (
        Verdict.REFUSED,
        Reason.PARAMETER,
        "10001 10017 10404 110013 110018 110019 110031 110032 110057 110071 130000 170105 170115 "
        "170116 170117 170130 170202 170203",
    ),
    (Verdict.REFUSED, Reason.INSTRUMENT, "10029 110037 110050 170121 170221"),
    (
        Verdict.REFUSED,
        Reason.UNSUPPORTED,
        "110029 170031 170145 170157 170159 170217 170227",
    ),
    (Verdict.REFUSED, Reason.PRICE_BAND, "110003 170132 170133 170192 170193 170194"),
    (Verdict.REFUSED, Reason.PRICE_TICK, "170134"),
    (
        Verdict.REFUSED,
        Reason.QUANTITY,
        "110063 110064 170124 170135 170136 170137 170148 170197 170198 170228 170229",
    ),
    (Verdict.REFUSED, Reason.NOTIONAL, "110094 170140"),
    (
        Verdict.REFUSED,
        Reason.BALANCE,
        "110004 110006 110007 110011 110012 110014 110039 110040 110044 110045 110046 110051 "
        "110052 110053 170033 170034 170131",
    ),
    (
        Verdict.REFUSED,
        Reason.POSITION_LIMIT,
        "110016 110021 110047 110048 110090 170010 170011 170019",
    ),
    (Verdict.REFUSED, Reason.TOO_MANY_ORDERS, "110009 110020 110060 170810"),
    (Verdict.REFUSED, Reason.POST_ONLY, "170218"),
    (Verdict.REFUSED, Reason.REDUCE_ONLY, "110017 110023 110033 110034 110042"),
    (Verdict.REFUSED, Reason.MARKET_CLOSED, "110062 110065 110066 170151"),
    (Verdict.REFUSED, Reason.WOULD_TRIGGER, "110092 110093 170204 170206"),
)

_TABLE = by_code(_GROUPS)
_REFUSED = ((20_000, 40_000), (110_000, 190_000))
"""Ranges of codes that refuse, listed or not."""

_TEXTS: tuple[tuple[int, str, Classified], ...] = (
    (10001, "remains unchanged", (Verdict.REFUSED, Reason.NOT_CHANGED)),
    (10001, "symbol invalid", (Verdict.REFUSED, Reason.INSTRUMENT)),
    (10001, "price invalid", (Verdict.REFUSED, Reason.PRICE_TICK)),
    (10001, "qty invalid", (Verdict.REFUSED, Reason.QUANTITY)),
    (10001, "number of contracts exceeds", (Verdict.REFUSED, Reason.QUANTITY)),
    (10001, "reduce-only", (Verdict.REFUSED, Reason.REDUCE_ONLY)),
    (10001, "duplicate", (Verdict.EXISTS, Reason.DUPLICATE_ID)),
    # The meanings of these moved by one between versions of the list.
    (110065, "mmp", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
    (110066, "unified account", (Verdict.REFUSED, Reason.NOT_ALLOWED)),
)
"""One code for many causes: what its words say more."""

OF_ADDRESS = frozenset({10018, 10403})
"""Limits of the address, not of the operation that ran into them: everything must stop."""
BAN_S = 600.0
"""After HTTP 403: "wait for at least 10 minutes"."""
WAIT_S = 1.0
"""After a limit was hit, if the answer does not say when it ends: the length of the windows."""


def known() -> frozenset[int]:
    """Return the codes that are classified one by one."""
    return frozenset(_TABLE)


def classify(code: int, text: str = "") -> Classified:
    """Return what a code (and the words beside it) means for the request that it answers."""
    for each, words, meaning in _TEXTS:
        if code == each and words in text.lower():
            return meaning
    found = _TABLE.get(code)
    if found is not None:
        return found
    if any(first <= code < last for first, last in _REFUSED):
        return Verdict.REFUSED, Reason.OTHER
    return Verdict.UNKNOWN, Reason.OTHER


_CANCEL_TYPES: dict[str, Reason] = {
    "CancelByUser": Reason.REQUESTED,
    "CancelByReduceOnly": Reason.REDUCE_ONLY,
    "CancelByPrepareLiq": Reason.LIQUIDATION,
    "CancelAllBeforeLiq": Reason.LIQUIDATION,
    "CancelByPrepareAdl": Reason.DELEVERAGING,
    "CancelAllBeforeAdl": Reason.DELEVERAGING,
    "CancelByAdmin": Reason.SYSTEM,
    "CancelBySettle": Reason.DELISTED,
    "CancelByDelivery": Reason.SETTLEMENT,
    "CancelByTpSlTsClear": Reason.SYSTEM,
    "CancelBySmp": Reason.SELF_TRADE,
    "CancelByCrossSelfMuch": Reason.SELF_TRADE,
    "CancelByDCP": Reason.DEAD_MAN,
    "CancelByCannotAffordOrderCost": Reason.BALANCE,
    "CancelByPrepareOrderMarginCheckFailed": Reason.BALANCE,
    "CancelByCrossReachMaxTradeNum": Reason.IMMEDIATE,
}
_UNTOLD = frozenset({"", "UNKNOWN", "EC_NoError", "EC_Others"})

REJECT_REASONS: dict[str, Reason] = {
    "EC_PostOnlyWillTakeLiquidity": Reason.POST_ONLY,
    "EC_NoImmediateQtyToFill": Reason.IMMEDIATE,
    "EC_NoEnoughQtyToFill": Reason.IMMEDIATE,
    "EC_CancelForNoFullFill": Reason.IMMEDIATE,
    "EC_ReachMaxTradeNum": Reason.IMMEDIATE,
    "EC_CancelByOrderValueZero": Reason.IMMEDIATE,
    "EC_CancelByMatchValueZero": Reason.IMMEDIATE,
    "EC_PerCancelRequest": Reason.REQUESTED,
    "EC_BySelfMatch": Reason.SELF_TRADE,
    "EC_StopBySelfMatch": Reason.SELF_TRADE,
    "EC_ReachRiskPriceLimit": Reason.PRICE_BAND,
    "EC_ReachMarketPriceLimit": Reason.PRICE_BAND,
    "EC_LimitOrderInvalidPrice": Reason.PRICE_TICK,
    "EC_InvalidPriceScale": Reason.PRICE_TICK,
    "EC_QtyCannotBeZero": Reason.QUANTITY,
    "EC_EcInvalidQty": Reason.QUANTITY,
    "EC_InvalidAmount": Reason.NOTIONAL,
    "EC_DuplicatedClOrdID": Reason.DUPLICATE_ID,
    "EC_InvalidSymbolStatus": Reason.MARKET_CLOSED,
    "EC_SecurityStatusFail": Reason.MARKET_CLOSED,
    "EC_InCallAuctionStatus": Reason.MARKET_CLOSED,
    "EC_LoadOrderCancel": Reason.SYSTEM,
    "EC_CancelByMMP": Reason.SYSTEM,
    "INSUFFICIENT_MARGIN": Reason.BALANCE,
}
_BY_IMMEDIATE = {"FOK": Reason.FILL_OR_KILL, "IOC": Reason.IMMEDIATE}


def end_reason(cancel_type: str, reject_reason: str, time_in_force: str) -> Reason:
    """Return why an order ended.

    Where neither field tells, an IOC or FOK order ended by its own terms, any other by request.
    """
    if cancel_type not in _UNTOLD:
        return _CANCEL_TYPES.get(cancel_type, Reason.SYSTEM)
    if reject_reason not in _UNTOLD:
        reason = REJECT_REASONS.get(reject_reason, Reason.OTHER)
        return _BY_IMMEDIATE.get(time_in_force, reason) if reason is Reason.IMMEDIATE else reason
    return _BY_IMMEDIATE.get(time_in_force, Reason.REQUESTED)
