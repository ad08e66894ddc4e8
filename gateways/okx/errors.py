"""OKX's error codes: what each means for the request, and why.

Sources, read 2026-11: the API v5 guide, "Error code"; "Order book trading" (``sCode``,
``cancelSource``). A code of an order's own result (``sCode``) goes before the message's ``code``.
Codes that are not listed: those about orders (51xxx), funding and accounts (58xxx, 59xxx) and of
the WebSocket (60xxx) are refusals; general ones (50xxx) may come from any place, so the order's
fate is not known.
"""

from gateways.dialects import Classified, by_code
from gateways.message import Verdict
from gateways.types import Reason

_GROUPS: tuple[tuple[Verdict, Reason, str], ...] = (
    (Verdict.ACCEPTED, Reason.NONE, "0"),
    # The venue cannot say what became of it.
    (Verdict.UNKNOWN, Reason.VENUE_UNSURE, "50004 50026 51054 51149 51412 64007"),
    (
        Verdict.RETRY,
        Reason.BUSY,
        "50001 50013 50017 50018 50019 50020 50021 50022 50023 50040 50046 50062 50064 51032 "
        "60016 63999",
    ),
    (Verdict.LIMITED, Reason.RATE_LIMIT, "50011 50061 51113 60014 60023"),
    (Verdict.EXISTS, Reason.DUPLICATE_ID, "50042 50071 51011 51016 51065 51068"),
    # Orders that cannot be canceled or amended any more, or are not known.
    (Verdict.GONE, Reason.UNKNOWN_ORDER, "51400 51405 51416 51503 51532 51600 51601 51603"),
    (Verdict.GONE, Reason.ALREADY_CLOSED, "51401 51410 51509"),
    (Verdict.GONE, Reason.ALREADY_FILLED, "51402 51510"),
    (Verdict.REFUSED, Reason.NOT_CHANGED, "51506"),
    (Verdict.RETRY, Reason.TIMESTAMP, "50102 60004 60006"),
    # The expiry that we set had passed when it came: a late request, or a wrong clock.
    (Verdict.REFUSED, Reason.TIMESTAMP, "50036"),
    (Verdict.REFUSED, Reason.TIME, "50037"),
    (
        Verdict.REFUSED,
        Reason.AUTHENTICATION,
        "50100 50101 50103 50104 50105 50106 50107 50108 50109 50110 50111 50112 50113 50114 "
        "50119 50120 50121 60003 60005 60007 60009 60011 60022 60024 60031 60032",
    ),
    (
        Verdict.REFUSED,
        Reason.NOT_ALLOWED,
        "50007 50008 50009 50010 50012 50027 50028 50029 50030 50032 50033 50035 50041 50051 "
        "50052 50059 50060 51009 51010 51024 51128 51147 51155 51163 51166 54000 54001 60029",
    ),
    (
        Verdict.REFUSED,
        Reason.PARAMETER,
        "50000 50002 50006 50014 50015 50016 50024 50025 50044 50115 51000 51003 51100 51111 "
        "51204 51281 51407 51512 59000 59101 59102 59104 59105 59106 59107 60012 60013 60017 "
        "60018 60019",
    ),
    (Verdict.REFUSED, Reason.INSTRUMENT, "51001 51002 51012 51014 51015 51026 51087"),
    (
        Verdict.REFUSED,
        Reason.UNSUPPORTED,
        "50005 50038 50053 50067 50072 51124 51156 51158 51159 51298 51317 60028",
    ),
    (
        Verdict.REFUSED,
        Reason.PRICE_BAND,
        "51006 51031 51116 51122 51135 51136 51137 51138 51250",
    ),
    (
        Verdict.REFUSED,
        Reason.QUANTITY,
        "51005 51007 51020 51033 51101 51120 51121 51132 51143 51202 51203 51252",
    ),
    (Verdict.REFUSED, Reason.NOTIONAL, "50122 51185 51201"),
    (Verdict.REFUSED, Reason.PRICE_TICK, "51150"),
    (Verdict.REFUSED, Reason.BALANCE, "51008 51119 51127 51131 51502 51736 59103 59108 59200"),
    (
        Verdict.REFUSED,
        Reason.POSITION_LIMIT,
        "51004 51104 51105 51106 51107 51129 51186 51187 54031",
    ),
    (
        Verdict.REFUSED,
        Reason.TOO_MANY_ORDERS,
        "51025 51102 51103 51117 51174 51260 51261 51299",
    ),
    (Verdict.REFUSED, Reason.POST_ONLY, "51511"),
    (
        Verdict.REFUSED,
        Reason.REDUCE_ONLY,
        "51023 51112 51115 51125 51126 51133 51134 51139 51148 51169 51170 51171 51205 51206",
    ),
    (
        Verdict.REFUSED,
        Reason.MARKET_CLOSED,
        "51021 51022 51027 51028 51029 51030 51110 51196 51197",
    ),
    (
        Verdict.REFUSED,
        Reason.WOULD_TRIGGER,
        "51046 51047 51048 51049 51050 51051 51052 51053 51277 51278 51279 51280 51300 51302 "
        "51303 51304 51305 51306 51307 51308",
    ),
)

_TABLE = by_code(_GROUPS)
_REFUSED_FROM, _REFUSED_TO = 51_000, 70_000

WAIT_S = 2.0
"""How long to be quiet after a limit was hit: the length of OKX's windows; it does not say."""


def known() -> frozenset[int]:
    """Return the codes that are classified one by one."""
    return frozenset(_TABLE)


def classify(code: int) -> Classified:
    """Return what a code means for the request that it answers."""
    found = _TABLE.get(code)
    if found is not None:
        return found
    if _REFUSED_FROM <= code < _REFUSED_TO:
        return Verdict.REFUSED, Reason.OTHER
    return Verdict.UNKNOWN, Reason.OTHER


CANCEL_SOURCES: dict[str, Reason] = {
    "0": Reason.SYSTEM,
    "1": Reason.REQUESTED,
    "2": Reason.LIQUIDATION,
    "3": Reason.LIQUIDATION,
    "4": Reason.SYSTEM,
    "6": Reason.DELEVERAGING,
    "7": Reason.SETTLEMENT,
    "9": Reason.BALANCE,
    "13": Reason.FILL_OR_KILL,
    "14": Reason.IMMEDIATE,
    "15": Reason.PRICE_BAND,
    "17": Reason.REDUCE_ONLY,
    "20": Reason.DEAD_MAN,
    "21": Reason.SYSTEM,
    "22": Reason.REDUCE_ONLY,
    "23": Reason.REDUCE_ONLY,
    "27": Reason.PRICE_BAND,
    "31": Reason.POST_ONLY,
    "32": Reason.SELF_TRADE,
    "33": Reason.IMMEDIATE,
    "36": Reason.SYSTEM,
    "37": Reason.SYSTEM,
    "38": Reason.SYSTEM,
    "39": Reason.SYSTEM,
    "42": Reason.SYSTEM,
    "43": Reason.PRICE_BAND,
}
"""``cancelSource``: why an order ended."""


def cancel_reason(source: str, order_type: str) -> Reason:
    """Return why an order was canceled; without a source, what its type lets one expect."""
    if source:
        return CANCEL_SOURCES.get(source, Reason.SYSTEM)
    if order_type == "fok":
        return Reason.FILL_OR_KILL
    if order_type in ("ioc", "market", "optimal_limit_ioc"):
        return Reason.IMMEDIATE
    return Reason.REQUESTED
