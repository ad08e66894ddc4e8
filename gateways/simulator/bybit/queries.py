"""What Bybit v5 answers to questions about orders, executions, positions and the account.

Sources: the venue's pages ``order/open-order``, ``order/order-list``, ``order/execution``,
``position``, ``account/…``, ``user/apikey-info`` and recorded answers.
"""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote

from gateways.simulator.account import (
    ZERO,
    Account,
    AccountFill,
    FundingPayment,
    Order,
    Position,
)
from gateways.simulator.bybit.desk import DEFAULT_WINDOW_S, Desk, Member
from gateways.simulator.bybit.ids import order_number
from gateways.simulator.bybit.shapes import (
    Row,
    execution_row,
    funding_row,
    is_spot,
    order_id,
    order_row,
    position_row,
)
from gateways.simulator.bybit.terms import Request, parameter, text_of
from gateways.simulator.digits import whole
from gateways.simulator.instruments import Instrument
from gateways.simulator.margin import plain

if TYPE_CHECKING:
    from gateways.simulator.trading import Trading

CLOSED_KEPT = 500
"""Ended orders that ``order/realtime`` still knows."""
DAY_MS = 86_400_000
SPAN_MS = 7 * DAY_MS
_CURSOR = "page_token="
_Item = TypeVar("_Item")


class Queries:
    """Questions of users."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def realtime(self, member: Member, request: Request) -> Row:
        """Return open orders; with an id or ``openOnly`` 1, of the last ended ones too."""
        category, account = self._account(member, request)
        fits = self._order_filter(request, category)
        named = text_of(request, "orderId") or text_of(request, "orderLinkId")
        if category != "spot" and not _scoped(request):
            raise parameter("symbol or settleCoin or baseCoin is required")
        live = (order for order in reversed(account.orders.values()) if fits(order))
        closed = (o for o in islice(reversed(account.history), CLOSED_KEPT) if fits(o))
        orders: Iterable[Order] = live
        if text_of(request, "openOnly") == "1":
            orders = closed
        elif named:
            orders = iter([*live, *closed])
        rows, cursor = _page(orders, order_id, request, usual=20, most=50)
        return _listed([order_row(order) for order in rows], cursor, category)

    def history(self, member: Member, request: Request) -> Row:
        """Return ended orders, the newest first."""
        category, account = self._account(member, request)
        fits = self._order_filter(request, category)
        begin, end = self._span(request, category)
        wanted = text_of(request, "orderStatus")
        found = (
            order
            for order in reversed(account.history)
            if fits(order) and begin <= order.created_ms <= end
        )
        named = ((order_row(o)) for o in found)
        fitting = (row for row in named if not wanted or row["orderStatus"] == wanted)
        rows, cursor = _page(fitting, _id_of, request, usual=20, most=50)
        return _listed(rows, cursor, category)

    def executions(self, member: Member, request: Request) -> Row:
        """Return trades and funding payments, the newest first."""
        category, account = self._account(member, request)
        begin, end = self._span(request, category)
        instrument_fits = _instrument_filter(request, category)
        wanted, link = text_of(request, "execType"), text_of(request, "orderLinkId")
        number = self._number(request, category)
        trading = self.desk.venue(category).clearing
        fills = (
            fill
            for fill in reversed(account.fills)
            if instrument_fits(fill.order.market.instrument)
            and (not number or fill.order.id == number)
            and (not link or number or fill.order.client_id == link)
        )
        payments: Iterable[FundingPayment] = ()
        if category != "spot" and not number and not link:
            payments = (
                p for p in reversed(account.funding) if instrument_fits(p.market.instrument)
            )
        entries: Iterator[AccountFill | FundingPayment] = merge(
            fills, payments, key=lambda entry: -entry.time_ms
        )
        timely = (entry for entry in entries if begin <= entry.time_ms <= end)
        rows = (_entry_row(trading, entry) for entry in timely)
        fitting = (row for row in rows if not wanted or row["execType"] == wanted)
        listed, cursor = _page(fitting, _execution_key, request, usual=50, most=100)
        return _listed(listed, cursor, category)

    def positions(self, member: Member, request: Request) -> Row:
        """Return the positions of a symbol, flat ones too; else all that are open."""
        category, account = self._account(member, request)
        if category == "spot":
            raise parameter("Category is invalid")
        trading = self.desk.venue(category).clearing
        symbol = text_of(request, "symbol")
        if symbol:
            positions = self._of_symbol(trading, account, category, symbol)
        elif category == "linear" and not text_of(request, "settleCoin"):
            if not text_of(request, "baseCoin"):
                raise parameter("symbol or settleCoin is required")
            positions = list(account.positions.values())
        else:
            positions = list(account.positions.values())
        fits = _instrument_filter(request, category)
        rows = [
            self.position(member, trading, position)
            for position in positions
            if fits(position.market.instrument) and (symbol or position.lots)
        ]
        return _listed(rows, "", category)

    def position(self, member: Member, trading: "Trading", position: Position) -> Row:
        """Return a position as REST has it."""
        row = position_row(trading, position, live=False)
        row["seq"] = self.desk.sequence(member, position.market.instrument.symbol)
        return row

    def wallet(self, member: Member, request: Request) -> Row:
        """Return the wallet; ``coin`` names the coins that are wanted."""
        if text_of(request, "accountType") not in ("UNIFIED", "CONTRACT", "SPOT"):
            raise parameter("accountType only support UNIFIED.")
        coins = tuple(coin for coin in text_of(request, "coin").split(",") if coin)
        return {"list": [self.desk.wallet(member, coins)]}

    def info(self, member: Member, request: Request) -> Row:
        """Return how the account is set up."""
        isolated = any(any(account.isolated.values()) for account in member.accounts.values())
        return {
            "marginMode": "ISOLATED_MARGIN" if isolated else "REGULAR_MARGIN",
            "updatedTime": "1697078946000",
            "unifiedMarginStatus": 6,
            "dcpStatus": "ON" if member.windows else "OFF",
            "timeWindow": next(iter(member.windows.values()), DEFAULT_WINDOW_S),
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def windows(self, member: Member, request: Request) -> Row:
        """Return the dead-man windows."""
        rows = [
            {"product": product, "dcpStatus": "ON", "timeWindow": str(seconds)}
            for product, seconds in member.windows.items()
        ]
        return {"dcpInfos": rows}

    def fee_rate(self, member: Member, request: Request) -> Row:
        """Return the fees of each symbol."""
        category = text_of(request, "category")
        rules = self.desk.venue(category).clearing.rules
        spot = category == "spot"
        symbol, base = text_of(request, "symbol"), text_of(request, "baseCoin")
        rows = [
            {
                "symbol": market.instrument.symbol,
                "takerFeeRate": plain(rules.fee(spot=spot, maker=False)),
                "makerFeeRate": plain(rules.fee(spot=spot, maker=True)),
            }
            for market in self.desk.venue(category).clearing.ledger.markets.values()
            if market.instrument.market == category
            and symbol in ("", market.instrument.symbol)
            and base in ("", market.instrument.base)
        ]
        if symbol and not rows:
            raise parameter("symbol invalid")
        return {"category": category, "list": rows}

    def transactions(self, member: Member, request: Request) -> Row:
        """Return what changed the wallet, the newest first."""
        category, currency = text_of(request, "category"), text_of(request, "currency")
        base, kind = text_of(request, "baseCoin"), text_of(request, "type")
        rows: list[Row] = []
        for venue in dict.fromkeys(self.desk.venues.values()):
            account = member.accounts.get(venue.name)
            if account is None:
                continue
            fills = islice(reversed(account.fills), 2000)
            rows += (row for fill in fills for row in _log_rows(fill))
            rows += map(_funding_log_row, account.funding)
        wanted = [
            row
            for row in rows
            if category in ("", row["category"])
            and currency in ("", row["currency"])
            and kind in ("", row["type"])
            and row["symbol"].startswith(base)
        ]
        wanted.sort(key=lambda row: (int(row["transactionTime"]), row["id"]), reverse=True)
        listed, cursor = _page(wanted, lambda row: str(row["id"]), request, usual=20, most=50)
        return {"list": listed, "nextPageCursor": cursor}

    def api_key(self, member: Member, request: Request) -> Row:
        """Return what the key may do."""
        return {
            "id": str(member.uid),
            "note": "",
            "apiKey": member.key,
            "readOnly": 0,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"],
                "Spot": ["SpotTrade"],
                "Wallet": [],
                "Options": [],
                "Derivatives": ["DerivativesTrade"],
                "CopyTrading": [],
                "BlockTrade": [],
                "Exchange": [],
                "NFT": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": -2,
            "expiredAt": "1970-01-01T00:00:00Z",
            "createdAt": "2022-06-20T13:26:50Z",
            "unified": 0,
            "uta": 1,
            "userID": member.uid,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
        }

    def coins(self, member: Member, request: Request) -> Row:
        """Return the coins, none of which can leave the simulation."""
        wanted = text_of(request, "coin")
        assets = next(iter(member.accounts.values())).balances
        rows = [
            {"name": asset, "coin": asset, "remainAmount": "0", "chains": []}
            for asset in assets
            if wanted in ("", asset)
        ]
        return {"rows": rows}

    def coin_balances(self, member: Member, request: Request) -> Row:
        """Return what could be transferred: the wallet's coins, or nothing of other accounts."""
        kind = text_of(request, "accountType")
        coins = self.desk.wallet(member)["coin"] if kind in ("UNIFIED", "CONTRACT", "SPOT") else []
        rows = [
            {
                "coin": coin["coin"],
                "transferBalance": coin["availableToWithdraw"],
                "walletBalance": coin["walletBalance"],
                "bonus": "0",
            }
            for coin in coins
        ]
        return {"memberId": str(member.uid), "accountType": kind, "balance": rows}

    def _account(self, member: Member, request: Request) -> tuple[str, Account]:
        category = text_of(request, "category")
        return category, self.desk.account(member, category)

    def _number(self, request: Request, category: str) -> int:
        text = text_of(request, "orderId")
        return (order_number(text, spot=category == "spot") or -1) if text else 0

    def _order_filter(self, request: Request, category: str) -> Callable[[Order], bool]:
        number, link = self._number(request, category), text_of(request, "orderLinkId")
        kind = text_of(request, "orderFilter")
        instrument_fits = _instrument_filter(request, category)

        def fits(order: Order) -> bool:
            if number:
                if order.id != number:
                    return False
            elif link and order.client_id != link:
                return False
            stop = order.terms.stop_price > 0 and not order.triggered
            return instrument_fits(order.market.instrument) and (
                not kind or (kind != "Order") is stop
            )

        return fits

    def _span(self, request: Request, category: str) -> tuple[int, int]:
        begin, end = (whole(text_of(request, name) or "0") for name in ("startTime", "endTime"))
        if begin is None or end is None:
            raise parameter("startTime or endTime invalid")
        now_ms = self.desk.venue(category).now_ms()
        last = end or (begin + SPAN_MS if begin else now_ms + DAY_MS)
        first = begin or last - SPAN_MS - (0 if end else DAY_MS)
        if begin and end and not 0 <= last - first <= SPAN_MS:
            raise parameter("The time range between startTime and endTime cannot exceed 7 days")
        return first, last

    def _of_symbol(
        self, trading: "Trading", account: Account, category: str, symbol: str
    ) -> list[Position]:
        market = self.desk.market(category, symbol)
        if market is None:
            raise parameter("symbol invalid")
        sides = ("long", "short") if account.hedge else ("net",)
        return [
            account.positions.get((symbol, side))
            or Position(
                market,
                side,
                leverage=account.leverage.get(symbol, trading.rules.leverage),
                isolated=account.isolated.get(symbol, False),
            )
            for side in sides
        ]


def _scoped(request: Request) -> bool:
    return any(text_of(request, name) for name in ("symbol", "baseCoin", "settleCoin"))


def _instrument_filter(request: Request, category: str) -> Callable[[Instrument], bool]:
    symbol, base = text_of(request, "symbol"), text_of(request, "baseCoin")
    settle = text_of(request, "settleCoin")

    def fits(instrument: Instrument) -> bool:
        return (
            instrument.market == category
            and symbol in ("", instrument.symbol)
            and base in ("", instrument.base)
            and (settle in ("", instrument.settle) or category == "spot")
        )

    return fits


def _entry_row(trading: "Trading", entry: AccountFill | FundingPayment) -> Row:
    if isinstance(entry, FundingPayment):
        return funding_row(entry)
    spot = is_spot(entry.order.market.instrument)
    mark = ZERO if spot else trading.mark(entry.order.market)
    return execution_row(entry, mark, trading.rules.fee(spot=spot, maker=entry.maker))


def _id_of(row: Row) -> str:
    return str(row["orderId"])


def _execution_key(row: Row) -> str:
    return f"{row['symbol']}:{row['execId']}:{row['orderId']}"


def _page(
    items: Iterable[_Item], key: Callable[[_Item], str], request: Request, *, usual: int, most: int
) -> tuple[list[_Item], str]:
    """Return a page of items and the cursor of the next one, which names this one's last item."""
    wanted = whole(text_of(request, "limit") or "0")
    if wanted is None:
        raise parameter("limit invalid")
    limit = min(wanted or usual, most)
    cursor = unquote(text_of(request, "cursor"))
    if cursor and not cursor.startswith(_CURSOR):
        raise parameter("cursor invalid")
    rest = iter(items)
    after = cursor.removeprefix(_CURSOR)
    if after:
        for item in rest:
            if key(item) == after:
                break
    found = list(islice(rest, limit + 1))
    page = found[:limit]
    return page, quote(f"{_CURSOR}{key(page[-1])}", safe="") if len(found) > limit else ""


def _listed(rows: list[Row], cursor: str, category: str) -> Row:
    return {"list": rows, "nextPageCursor": cursor, "category": category}


def _log_rows(fill: AccountFill) -> list[Row]:
    """Return a trade's changes of the wallet: of two coins on spot."""
    order = fill.order
    instrument = order.market.instrument
    quantity = instrument.quantity.text(fill.quantity)
    row = execution_row(fill, ZERO, ZERO)
    entry: Row = {
        "id": f"{order.account.uid}_{instrument.symbol}_{fill.sequence}",
        "symbol": instrument.symbol,
        "category": str(instrument.market),
        "side": row["side"],
        "transactionTime": row["execTime"],
        "type": {"Trade": "TRADE", "AdlTrade": "ADL"}.get(row["execType"], "LIQUIDATION"),
        "qty": quantity,
        "size": "0",
        "currency": fill.fee_asset,
        "tradePrice": row["execPrice"],
        "funding": "",
        "fee": row["execFee"],
        "cashFlow": plain(fill.realised),
        "change": plain(fill.realised - fill.fee),
        "cashBalance": "",
        "feeRate": "",
        "bonusChange": "",
        "tradeId": row["execId"],
        "orderId": row["orderId"],
        "orderLinkId": order.client_id,
    }
    if instrument.settle:
        return [entry]
    buys = row["side"] == "Buy"
    got, paid = (quantity, row["execValue"]) if buys else (row["execValue"], quantity)
    spent = instrument.quote if buys else instrument.base
    return [
        entry | {"cashFlow": got, "change": plain(Decimal(got) - fill.fee)},
        entry
        | {
            "id": f"{entry['id']}p",
            "currency": spent,
            "fee": "0",
            "cashFlow": f"-{paid}",
            "change": f"-{paid}",
        },
    ]


def _funding_log_row(payment: FundingPayment) -> Row:
    row = funding_row(payment)
    instrument = payment.market.instrument
    return {
        "id": f"{instrument.symbol}_funding_{payment.id}",
        "symbol": instrument.symbol,
        "category": str(instrument.market),
        "side": row["side"],
        "transactionTime": row["execTime"],
        "type": "SETTLEMENT",
        "qty": row["execQty"],
        "size": row["execQty"],
        "currency": payment.asset,
        "tradePrice": row["execPrice"],
        "funding": plain(-payment.paid),
        "fee": "0",
        "cashFlow": "0",
        "change": plain(-payment.paid),
        "cashBalance": "",
        "feeRate": row["feeRate"],
        "bonusChange": "",
        "tradeId": row["execId"],
        "orderId": row["orderId"],
        "orderLinkId": "",
    }
