"""The private side of the simulated Bybit: who trades there, in which categories, and who listens.

The venue has one unified account for contracts and spot under one host. Here two venue names share
it: where both are served they share one ``Desk``, each user has one wallet, and the private
addresses of either serve all categories. A venue served alone has the categories of its own.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from engine.common import Side, TimeInForce
from gateways.simulator.account import (
    ZERO,
    Account,
    BalanceEvent,
    Change,
    Event,
    FundingEvent,
    Order,
    OrderEvent,
    Position,
    PositionEvent,
    SettingEvent,
    Status,
)
from gateways.simulator.bybit.limits import UserLimits
from gateways.simulator.bybit.shapes import (
    Row,
    execution_row,
    fast_row,
    funding_row,
    is_spot,
    order_row,
    position_row,
)
from gateways.simulator.bybit.terms import parameter
from gateways.simulator.bybit.wallet import wallet_row
from gateways.simulator.hub import Client
from gateways.simulator.private import PrivateFeed
from gateways.simulator.simulation import SimulatedBook

if TYPE_CHECKING:
    from gateways.simulator.bybit.venue import BybitVenue
    from gateways.simulator.trading import Trading

DEFAULT_WINDOW_S = 10
PRODUCTS = {"dcp": "DERIVATIVES", "dcp.future": "DERIVATIVES", "dcp.spot": "SPOT"}
"""Topic -> the product whose orders it guards."""
CATEGORIES_OF = {"DERIVATIVES": ("linear", "inverse"), "SPOT": ("spot",)}


@dataclass(eq=False)
class Member:
    """One user: an account at each venue name, one wallet, one feed of private messages."""

    key: str
    uid: int
    accounts: dict[str, Account]
    """By venue name."""
    feed: PrivateFeed
    limits: UserLimits
    windows: dict[str, int] = field(default_factory=dict)
    """Product -> seconds from the last guarded connection's end to the cancellation."""
    guards: dict[str, dict[Client, None]] = field(default_factory=dict)
    """Product -> the connections that must live."""


class Desk:
    """The users of one host and its venues by category."""

    def __init__(self) -> None:
        self.venues: dict[str, BybitVenue] = {}
        self._members: dict[str, Member] = {}
        self._messages = 0
        self._sequences: dict[tuple[str, str], int] = {}

    def join(self, venue: "BybitVenue") -> None:
        """Serve a venue's categories; users who are known already keep their one wallet."""
        for account in venue.clearing.accounts:
            self.welcome(venue, account)
        for category in venue.dialect.categories:
            self.venues[category] = venue

    def welcome(self, venue: "BybitVenue", account: Account) -> None:
        """Give a new account the wallet that its user has at another venue, if there is one."""
        for other in dict.fromkeys(self.venues.values()):
            known = other.clearing.by_key(account.key)
            if known is not None and known is not account:
                account.balances = known.balances
                account.partners.append(known)
                known.partners.append(account)
        member = self._members.get(account.key)
        if member is not None:
            member.accounts[venue.name] = account

    def venue(self, category: str) -> "BybitVenue":
        """Return who serves a category; raises ApiError."""
        venue = self.venues.get(category)
        if venue is None:
            raise parameter("Category is invalid")
        return venue

    def market(self, category: str, symbol: str) -> SimulatedBook | None:
        """Return a listed market of a category."""
        market = self.venue(category).clearing.market(symbol)
        return market if market is not None and market.instrument.market == category else None

    def member(self, key: str) -> Member | None:
        """Return the user of an API key."""
        member = self._members.get(key)
        if member is not None:
            return member
        accounts = {}
        factor = 0.0
        for venue in dict.fromkeys(self.venues.values()):
            account = venue.clearing.by_key(key)
            if account is not None:
                accounts[venue.name] = account
                factor = venue.limit_factor
        if not accounts:
            return None
        first = next(iter(accounts.values()))
        member = Member(key, first.uid, accounts, PrivateFeed(), UserLimits(factor))
        self._members[key] = member
        return member

    def account(self, member: Member, category: str) -> Account:
        """Return a user's account for a category; raises ApiError."""
        account = member.accounts.get(self.venue(category).name)
        if account is None:
            raise parameter("Category is invalid")
        return account

    def wallet(self, member: Member, assets: tuple[str, ...] = ()) -> Row:
        """Return a user's wallet; of some assets only, if any are named."""
        pairs = [
            (venue.clearing, member.accounts[venue.name])
            for venue in dict.fromkeys(self.venues.values())
            if venue.name in member.accounts
        ]
        return wallet_row(pairs, assets)

    def sequence(self, member: Member, symbol: str) -> int:
        """Return the number of a user's last trade of a contract; -1 if there was none."""
        return self._sequences.get((member.key, symbol), -1)

    def guard(self, member: Member, client: Client, topic: str) -> None:
        """Count a connection among those of which one must live; a running countdown ends."""
        product = PRODUCTS.get(topic)
        if product is None:
            return
        member.guards.setdefault(product, {})[client] = None
        self._arm(member, product, 0)

    def unguard(self, member: Member, client: Client) -> None:
        """Note a connection's end; with the last one of a product its countdown begins."""
        for product, clients in member.guards.items():
            if clients.pop(client, self) is not self and not clients:
                self._arm(member, product, member.windows.get(product, DEFAULT_WINDOW_S) * 1000)

    def _arm(self, member: Member, product: str, timeout_ms: int) -> None:
        for venue in dict.fromkeys(self.venues.get(c) for c in CATEGORIES_OF[product]):
            if venue is not None and venue.name in member.accounts:
                account = member.accounts[venue.name]
                venue.clearing.arm(account, "", timeout_ms, venue.now_ms())

    def hear(self, trading: "Trading", event: Event) -> None:
        """Tell those who listen what has happened."""
        if isinstance(event, OrderEvent):
            self._order(trading, event)
            return
        # Who has never come has nobody who listens.
        member = self._members.get(event.account.key)
        if member is None:
            return
        if isinstance(event, PositionEvent):
            self._position(member, trading, event.position, event.time_ms)
        elif isinstance(event, BalanceEvent):
            if member.feed.listeners("wallet"):
                self._send(member, "wallet", self.wallet(member, event.assets), event.time_ms)
        elif isinstance(event, FundingEvent):
            category = str(event.payment.market.instrument.market)
            row = funding_row(event.payment)
            self._publish(member, "execution", category, row, event.time_ms)
        elif isinstance(event, SettingEvent):
            for (symbol, _), position in event.account.positions.items():
                if event.symbol in ("", symbol):
                    self._position(member, trading, position, event.time_ms)

    def _position(
        self, member: Member, trading: "Trading", position: Position, now_ms: int
    ) -> None:
        instrument = position.market.instrument
        if not _heard(member, "position", str(instrument.market)):
            return
        row = position_row(trading, position, live=True)
        row["seq"] = self.sequence(member, instrument.symbol)
        self._publish(member, "position", str(instrument.market), row, now_ms)

    def _order(self, trading: "Trading", event: OrderEvent) -> None:
        order, fill, change = event.order, event.fill, event.change
        key, instrument = order.account.key, order.market.instrument
        category, spot = str(instrument.market), is_spot(instrument)
        if fill is not None and not spot:
            self._sequences[key, instrument.symbol] = fill.sequence
        member = self._members.get(key)
        if (
            member is None
            or change is Change.PREVENTED
            or (change is Change.NEW and _passes(order))
        ):
            return
        if fill is not None:
            if not spot and not order.forced and _heard(member, "execution.fast", category):
                self._publish(member, "execution.fast", category, fast_row(fill), event.time_ms)
            if _heard(member, "execution", category):
                mark = ZERO if spot else trading.mark(order.market)
                row = execution_row(fill, mark, trading.rules.fee(spot=spot, maker=fill.maker))
                self._publish(member, "execution", category, row, event.time_ms)
        if not _heard(member, "order", category):
            return
        row = order_row(order)
        if change is Change.TRIGGERED:
            self._publish(
                member, "order", category, row | {"orderStatus": "Triggered"}, event.time_ms
            )
            if _passes(order):
                return
        self._publish(member, "order", category, row, event.time_ms)

    def _publish(self, member: Member, topic: str, category: str, row: Row, now_ms: int) -> None:
        """Send a row on the topic of all categories and on that of its own."""
        for stream in (topic, f"{topic}.{category}"):
            if member.feed.listeners(stream):
                self._send(member, stream, {"category": category} | row, now_ms)

    def _send(self, member: Member, stream: str, row: Row, now_ms: int) -> None:
        self._messages += 1
        message = {"topic": stream, "creationTime": now_ms, "data": [row]}
        if not stream.startswith("execution.fast"):
            message["id"] = f"{member.uid}_{row.get('symbol', 'wallet')}_{self._messages}"
        member.feed.publish(stream, orjson.dumps(message))


def _heard(member: Member, topic: str, category: str) -> bool:
    """Whether anybody receives a topic, or its part for a category."""
    return bool(member.feed.listeners(topic) or member.feed.listeners(f"{topic}.{category}"))


def _passes(order: Order) -> bool:
    """Whether an order will not rest: then the first that is told of it is its end, or a fill."""
    terms, live = order.terms, order.status is not Status.UNTRIGGERED
    if terms.time_in_force is TimeInForce.POST_ONLY:
        book = terms.market.book
        other = book.asks if terms.side is Side.BUY else book.bids
        return live and other.crosses(order.price)
    return live and terms.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
