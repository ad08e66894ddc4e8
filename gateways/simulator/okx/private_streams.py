"""The private channels: what each subscription of an account is told, and when.

``orders``, ``fills`` and ``orders-algo`` tell each event at once and give no snapshot. ``account``
and ``positions`` begin with a snapshot, collect changes for 50 ms, and repeat themselves every 5 s;
``balance_and_position`` begins with one and tells changes only, as soon as an operation is over.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson

from gateways.simulator.account import (
    Account,
    AccountFill,
    BalanceEvent,
    Change,
    Event,
    Order,
    OrderEvent,
    Position,
    PositionEvent,
    SettingEvent,
    Status,
)
from gateways.simulator.hub import Client
from gateways.simulator.margin import plain
from gateways.simulator.okx.algo_shapes import describe_algo
from gateways.simulator.okx.dialect import CONNECTIONS_PER_CHANNEL, PRIVATE_ROUTES, TYPES, type_of
from gateways.simulator.okx.shapes import (
    Json,
    by_value,
    describe_account,
    describe_position,
    family_of,
    last_trade,
    position_id,
    pushed_fill,
    pushed_order,
)
from gateways.simulator.private import PrivateFeed
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading

EVENT_MS, REPEAT_MS = 50, 5_000
_CHANNELS = sorted(channel for channels in PRIVATE_ROUTES.values() for channel in channels)
_TYPED = frozenset({"orders", "positions", "orders-algo"})
_NAMES = ("instType", "instFamily", "instId", "ccy")
_REASONS = {
    "order": "filled",
    "funding": "funding_fee",
    "deposit": "transferred",
    "withdrawal": "transferred",
    "liquidation": "liquidation",
    "deleveraging": "adl",
}


@dataclass(slots=True, eq=False)
class Subscription:
    """One channel of one connection, with the restrictions that the client asked for."""

    client: Client
    account: Account
    channel: str
    restrictions: Mapping[str, str]
    repeats: bool
    head: bytes
    repeated_ms: int = 0

    def concerns(self, market: SimulatedBook) -> bool:
        """Whether an instrument is one of those that were asked for."""
        wanted, instrument = self.restrictions, market.instrument
        return (
            wanted.get("instType", "ANY") in ("ANY", type_of(instrument))
            and wanted.get("instId", instrument.symbol) == instrument.symbol
            and wanted.get("instFamily", family := family_of(market)) == family
        )


@dataclass(slots=True)
class _Pending:
    """What has changed of an account and is not told yet."""

    assets: dict[str, None] = field(default_factory=dict)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    trades: dict[tuple[str, str], None] = field(default_factory=dict)
    reason: str = "filled"

    def clear(self) -> None:
        """Forget what has been told."""
        self.assets.clear()
        self.positions.clear()
        self.trades.clear()

    def __bool__(self) -> bool:
        return bool(self.assets or self.positions)


class PrivateStreams:
    """The private channels of all accounts of the venue."""

    def __init__(self, trading: Trading) -> None:
        self.feed = PrivateFeed()
        self._trading = trading
        self._subscriptions: dict[tuple[int, str], list[Subscription]] = {}
        self._slow = {account.uid: _Pending() for account in trading.accounts}
        self._fast = {account.uid: _Pending() for account in trading.accounts}
        self._told: dict[tuple[int, str], str] = {}
        self._accounts = {account.uid: account for account in trading.accounts}
        self._amending: dict[int, str] = {}
        self._flushed_ms = 0
        trading.listeners.append(self._hear)

    # Subscriptions.

    def subscribe(
        self, client: Client, account: Account, argument: Mapping[str, str], repeats: bool
    ) -> int:
        """Add a channel to a connection; return how many connections of the user have it.

        Raises ApiError for an argument that the channel does not take, and with code 0 and their
        number as text if there are too many connections.
        """
        channel = argument["channel"]
        restrictions = {name: argument[name] for name in _NAMES if argument.get(name)}
        if channel in _TYPED and restrictions.get("instType") not in (*TYPES, "ANY"):
            raise ApiError(60018, "instType")
        symbol = restrictions.get("instId")
        if symbol is not None and self._trading.market(symbol) is None:
            raise ApiError(60018, "instId")
        told = {name: value for name, value in argument.items() if name != "extraParams"}
        head = orjson.dumps(told | {"uid": str(account.uid)})
        others = self._subscriptions.setdefault((account.uid, channel), [])
        connections = {other.client: None for other in others} | {client: None}
        if len(connections) > CONNECTIONS_PER_CHANNEL:
            raise ApiError(0, str(CONNECTIONS_PER_CHANNEL))
        self.unsubscribe(client, account, argument)
        self._subscriptions[account.uid, channel].append(
            Subscription(client, account, channel, restrictions, repeats, b'{"arg":%b' % head)
        )
        return len(connections)

    def greet(
        self, client: Client, account: Account, argument: Mapping[str, str], now_ms: int
    ) -> None:
        """Send the snapshot that a new subscription gets, where its channel has one."""
        channel = argument["channel"]
        mine = self._subscriptions.get((account.uid, channel), [])
        subscription = next((each for each in reversed(mine) if each.client is client), None)
        if subscription is None:
            return
        subscription.repeated_ms = now_ms
        if channel == "account":
            self._tell_account(subscription, None, now_ms)
        elif channel == "positions":
            self._tell_positions(subscription, None, now_ms)
        elif channel == "balance_and_position":
            assets = [name for name, balance in account.balances.items() if balance.total]
            held = [position for position in account.positions.values() if position.lots]
            self._tell_both(subscription, "snapshot", assets, held, [], now_ms)

    def unsubscribe(self, client: Client, account: Account, argument: Mapping[str, str]) -> None:
        """Take a channel off a connection, if it has it with these restrictions."""
        channel = argument["channel"]
        restrictions = {name: argument[name] for name in _NAMES if argument.get(name)}
        key = (account.uid, channel)
        self._subscriptions[key] = [
            each
            for each in self._subscriptions.get(key, [])
            if each.client is not client or each.restrictions != restrictions
        ]

    def channels(self, account: Account) -> set[str]:
        """Return the channels that somebody receives."""
        return {
            name
            for (user, name), mine in self._subscriptions.items()
            if mine and user == account.uid
        }

    def remove(self, client: Client) -> None:
        """Forget a connection that has gone."""
        self.feed.remove(client)
        for key, mine in self._subscriptions.items():
            if any(each.client is client for each in mine):
                self._subscriptions[key] = [each for each in mine if each.client is not client]

    def flush(self, account: Account) -> None:
        """Hand what an account is told to its sockets now."""
        clients: dict[Client, None] = {}
        for channel in _CHANNELS:
            mine = self._subscriptions.get((account.uid, channel), ())
            clients |= {each.client: None for each in mine}
        self.feed.flush(clients)

    # Amendments: their results are told with the request's own id.

    @contextmanager
    def amending(self, order: Order, request: str) -> Iterator[None]:
        """Let pushes about an amendment carry the id of its request."""
        self._amending[order.id] = request
        try:
            yield
        finally:
            del self._amending[order.id]

    def amendment_failed(self, order: Order, request: str, result: str, error: ApiError) -> None:
        """Tell that an acknowledged amendment could not be done."""
        told = {
            "reqId": request,
            "amendResult": result,
            "code": str(error.code),
            "msg": str(error),
        }
        self._push_order(order, None, told)

    # Events.

    def _hear(self, event: Event) -> None:
        if isinstance(event, OrderEvent):
            self._hear_order(event)
        elif isinstance(event, BalanceEvent):
            for pending in self._both(event.account):
                pending.assets |= dict.fromkeys(event.assets)
                pending.reason = _REASONS.get(event.why, "filled")
        elif isinstance(event, PositionEvent):
            key = (event.position.market.instrument.symbol, event.position.side)
            for pending in self._both(event.account):
                pending.positions[key] = event.position
                pending.reason = _REASONS.get(event.why, "filled")
        elif isinstance(event, SettingEvent) and event.what == "leverage":
            for key, position in event.account.positions.items():
                if key[0] == event.symbol and position.lots:
                    for pending in self._both(event.account):
                        pending.positions[key] = position
                        pending.reason = "set_leverage"

    def _both(self, account: Account) -> tuple[_Pending, _Pending]:
        user = account.uid
        self._accounts[user] = account
        return self._slow.setdefault(user, _Pending()), self._fast.setdefault(user, _Pending())

    def _hear_order(self, event: OrderEvent) -> None:
        order = event.order
        if order.terms.algo:
            if event.change is Change.NEW:
                # What becomes of it shall know where it came from.
                order.terms.extra["algoId"] = str(order.id)
                order.terms.extra["algoClOrdId"] = order.client_id
            if self._hears(order.account, "orders-algo"):
                entry = describe_algo(order)
                if event.change is Change.AMENDED and order.id in self._amending:
                    entry |= {"amendResult": "0", "reqId": self._amending[order.id]}
                self._push("orders-algo", order, entry)
            return
        if event.change is Change.PREVENTED:
            return  # The order's end is told by an event of its own.
        told: Json | None = None
        if event.change is Change.AMENDED:
            request = self._amending.get(order.id)
            told = {"amendSource": "4"}  # by the venue: a reduce-only order beyond the position
            if request is not None:
                told = {"amendSource": "1", "amendResult": "0", "reqId": request}
        fill = event.fill
        if fill is not None:
            symbol = order.market.instrument.symbol
            for pending in self._both(order.account):
                pending.trades[symbol, str(fill.id)] = None
            if by_value(order) and order.status is Status.FILLED:
                if order.terms.quote_quantity > order.value:
                    # The rest is too little for a lot: told by a message without a trade.
                    self._push_order(order, fill, {"state": "partially_filled"})
                    self._push_order(order, None, None)
                else:
                    self._push_order(order, fill, None)
            else:
                self._push_order(order, fill, told)
            if self._hears(order.account, "fills"):
                self._push("fills", order, pushed_fill(fill))
        else:
            self._push_order(order, None, told)

    def _push_order(self, order: Order, fill: AccountFill | None, told: Json | None) -> None:
        if self._hears(order.account, "orders"):
            mark = self._trading.mark(order.market)
            self._push("orders", order, pushed_order(order, fill, mark, told))

    def _hears(self, account: Account, channel: str) -> bool:
        return bool(self._subscriptions.get((account.uid, channel)))

    def _push(self, channel: str, order: Order, entry: Json) -> None:
        payload = b""
        for each in self._subscriptions.get((order.account.uid, channel), ()):
            if each.concerns(order.market):
                payload = payload or orjson.dumps(entry)
                whole = b'%b,"data":[%b]}' % (each.head, payload)
                self.feed.send(each.client, channel, whole, each.account.uid)

    # By the clock.

    def tick(self, now_ms: int) -> None:
        """Tell what has been collected, and repeat what is due."""
        for user, pending in self._fast.items():
            if pending:
                self._tell_fast(user, pending, now_ms)
        if now_ms - self._flushed_ms < EVENT_MS and now_ms >= self._flushed_ms:
            return
        self._flushed_ms = now_ms
        for user, pending in self._slow.items():
            if pending:
                for each in self._subscriptions.get((user, "account"), ()):
                    if pending.assets or pending.positions:
                        self._tell_account(each, pending, now_ms)
                for each in self._subscriptions.get((user, "positions"), ()):
                    if pending.positions:
                        self._tell_positions(each, pending, now_ms)
                pending.clear()
        for (_, channel), mine in self._subscriptions.items():
            if channel not in ("account", "positions"):
                continue
            for each in mine:
                if each.repeats and now_ms - each.repeated_ms >= REPEAT_MS:
                    each.repeated_ms = now_ms
                    if channel == "account":
                        self._tell_account(each, None, now_ms)
                    elif any(position.lots for position in each.account.positions.values()):
                        self._tell_positions(each, None, now_ms)

    def _tell_account(self, each: Subscription, pending: _Pending | None, now_ms: int) -> None:
        account = each.account
        assets: list[str] | None = None
        if pending is not None:
            settled = [p.market.instrument.settle for p in pending.positions.values()]
            assets = list(pending.assets | dict.fromkeys(settled))
        if wanted := each.restrictions.get("ccy"):
            wanted_names = wanted.split(",")
            if assets is not None and not set(assets) & set(wanted_names):
                return
            assets = [name for name in assets or account.balances if name in wanted_names]
        entry = describe_account(self._trading, account, assets, now_ms)
        self._send(each, [entry], snapshot=pending is None)

    def _tell_positions(self, each: Subscription, pending: _Pending | None, now_ms: int) -> None:
        held = list(each.account.positions.values())
        if pending is None:
            told = [position for position in held if position.lots]
        else:
            told = list(pending.positions.values())
        told = [position for position in told if each.concerns(position.market)]
        if not told and pending is not None:
            return
        entries = [
            describe_position(self._trading, each.account, position, now_ms) for position in told
        ]
        self._send(each, entries, snapshot=pending is None)

    def _send(self, each: Subscription, entries: list[Json], *, snapshot: bool) -> None:
        kind = b'"snapshot","curPage":1,"lastPage":true' if snapshot else b'"event_update"'
        payload = b'%b,"eventType":%b,"data":%b}' % (each.head, kind, orjson.dumps(entries))
        self.feed.send(each.client, each.channel, payload, each.account.uid)

    def _tell_fast(self, user: int, pending: _Pending, now_ms: int) -> None:
        account = self._accounts[user]
        changed = []
        for asset in pending.assets:
            cash = plain(account.balances[asset].total)
            if self._told.get((user, asset)) != cash:
                self._told[user, asset] = cash
                changed.append(asset)
        positions, trades = list(pending.positions.values()), list(pending.trades)
        reason = pending.reason
        pending.clear()
        if not changed and not positions:
            return  # Only what orders lock has changed.
        for each in self._subscriptions.get((user, "balance_and_position"), ()):
            self._tell_both(each, reason, changed, positions, trades, now_ms)

    def _tell_both(
        self,
        each: Subscription,
        kind: str,
        assets: list[str],
        positions: list[Position],
        trades: list[tuple[str, str]],
        now_ms: int,
    ) -> None:
        account = each.account
        entry = {
            "pTime": str(now_ms),
            "eventType": kind,
            "balData": [
                {
                    "ccy": asset,
                    "cashBal": plain(account.balances[asset].total),
                    "uTime": str(now_ms),
                }
                for asset in assets
            ],
            "posData": [_short_position(account, position) for position in positions],
            "trades": [{"instId": name, "tradeId": number} for name, number in trades],
        }
        whole = b'%b,"data":[%b]}' % (each.head, orjson.dumps(entry))
        self.feed.send(each.client, each.channel, whole, account.uid)


def _short_position(account: Account, position: Position) -> Json:
    instrument = position.market.instrument
    lots = position.lots if position.side == "net" else abs(position.lots)
    return {
        "avgPx": plain(position.entry) if position.lots else "",
        "baseBal": "",
        "ccy": instrument.settle,
        "instId": instrument.symbol,
        "instType": type_of(instrument),
        "mgnMode": "isolated" if position.isolated else "cross",
        "pos": instrument.quantity.text(lots),
        "posCcy": "",
        "posId": position_id(account, position),
        "posSide": position.side,
        "quoteBal": "",
        "tradeId": last_trade(account, position),
        "uTime": str(position.updated_ms),
    }
