"""The user data streams: what the clearing house does, told to those who listen to an account.

Events leave in the order in which they happened. Sources: binance-spot-api-docs
user-data-stream.md (2026-07), USDⓈ-M "User Data Streams" (2026-08).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from gateways.simulator.account import (
    ZERO,
    Account,
    BalanceEvent,
    Change,
    Event,
    FundingEvent,
    OrderEvent,
    Position,
    PositionEvent,
    SettingEvent,
    Why,
)
from gateways.simulator.binance import spot_shapes, usdm_shapes
from gateways.simulator.binance.desk import Desk
from gateways.simulator.binance.spot_orders import SpotOrders
from gateways.simulator.binance.spot_shapes import eight
from gateways.simulator.binance.usdm_orders import UsdmOrders
from gateways.simulator.binance.usdm_shapes import side_of
from gateways.simulator.hub import Client
from gateways.simulator.margin import plain
from gateways.simulator.private import PrivateFeed

ORDERS, FILLS, ACCOUNT = "orders", "fills", "account"
"""Stream names, for the faults: ``private.orders``, …"""
_REASONS = {
    "order": "ORDER",
    "liquidation": "ORDER",
    "deleveraging": "ORDER",
    "funding": "FUNDING_FEE",
    "deposit": "DEPOSIT",
    "withdrawal": "WITHDRAW",
}
_MOVES = ("deposit", "withdrawal")


@dataclass(slots=True, eq=False)
class Subscription:
    """One connection that listens to an account; ``head`` and ``tail`` wrap each event."""

    account: Account
    client: Client
    head: bytes = b""
    tail: bytes = b""
    events: frozenset[str] = frozenset()
    """The only ones that it gets; empty for all."""


class UserStream(ABC):
    """The private events of one market."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.trading = desk.trading
        self.feed = PrivateFeed()
        self._subscriptions: dict[int, dict[Subscription, None]] = {}
        self._touched: dict[Client, None] = {}
        desk.announcer = self
        desk.trading.listeners.append(self.observe)

    def attach(self, subscription: Subscription) -> None:
        """Let a connection hear of an account."""
        self._subscriptions.setdefault(subscription.account.uid, {})[subscription] = None

    def detach(self, subscription: Subscription) -> None:
        """Let a connection hear of an account no longer."""
        self._subscriptions.get(subscription.account.uid, {}).pop(subscription, None)
        self._touched.pop(subscription.client, None)

    def listened(self, account: Account) -> bool:
        """Whether anybody listens."""
        return bool(self._subscriptions.get(account.uid))

    def publish(self, account: Account, stream: str, event: dict[str, Any]) -> None:
        """Send an event to all who listen to the account."""
        listeners = self._subscriptions.get(account.uid)
        if not listeners:
            return
        payload = orjson.dumps(event)
        for subscription in list(listeners):
            if not subscription.events or event["e"] in subscription.events:
                self.send(subscription, stream, payload)

    def send(self, subscription: Subscription, stream: str, payload: bytes) -> None:
        """Send an event to one of those who listen."""
        whole = b"%b%b%b" % (subscription.head, payload, subscription.tail)
        self.feed.send(subscription.client, stream, whole, subscription.account.uid)
        self._touched[subscription.client] = None

    def leave(self) -> None:
        """Hand what waits to the sockets now."""
        touched, self._touched = self._touched, {}
        self.feed.flush(touched)

    def flush(self) -> None:  # noqa: B027 - need not do anything
        """End an operation: send what has been collected."""

    @abstractmethod
    def observe(self, event: Event) -> None:
        """Tell of what has happened."""


class SpotUserStream(UserStream):
    """``executionReport``, ``outboundAccountPosition`` and ``balanceUpdate``."""

    def __init__(self, desk: Desk, orders: SpotOrders) -> None:
        super().__init__(desk)
        self._orders = orders

    def observe(self, event: Event) -> None:
        """Tell of what has happened."""
        if isinstance(event, OrderEvent):
            self._observe_order(event)
        elif isinstance(event, BalanceEvent) and self.listened(event.account):
            account, time_ms = event.account, event.time_ms
            if event.why in _MOVES:
                moved = account.transfers[-1]
                update = spot_shapes.balance_update(moved.asset, moved.amount, time_ms)
                self.publish(account, ACCOUNT, update)
            told = spot_shapes.account_position(account, event.assets, time_ms)
            self.publish(account, ACCOUNT, told)

    def _observe_order(self, event: OrderEvent) -> None:
        order, orders = event.order, self._orders
        orders.executions += 1
        if event.fill is not None and event.fill.quantity == event.fill.order_filled:
            # An order counts until its first fill.
            self.desk.counts(order.account).add(-1, event.time_ms)
        if event.change is Change.EXPIRED and order.ended is Why.SELF_TRADE:
            return  # TRADE_PREVENTION has said so.
        if self.listened(order.account):
            canceled = event.change is Change.CANCELED and order.ended is Why.USER
            report = spot_shapes.execution_report(
                event,
                orders.executions,
                orders.cancel_id if canceled else "",
                orders.original_id if event.change is Change.AMENDED else "",
            )
            self.publish(order.account, ORDERS, report)


@dataclass(slots=True)
class _Changed:
    """What an operation has changed, for one ACCOUNT_UPDATE."""

    account: Account
    why: str
    time_ms: int
    assets: dict[str, Decimal] = field(default_factory=dict)
    """With the change that is neither profit nor fee."""
    positions: list[Position] = field(default_factory=list)


class UsdmUserStream(UserStream):
    """``ORDER_TRADE_UPDATE``, ``TRADE_LITE``, ``ACCOUNT_UPDATE`` and the rarer ones."""

    def __init__(self, desk: Desk, orders: UsdmOrders) -> None:
        super().__init__(desk)
        self._orders = orders
        self._changed: _Changed | None = None
        self._funded: dict[tuple[int, str], Decimal] = {}
        self._rules: dict[type, Callable[[Any], None]] = {
            OrderEvent: self._observe_order,
            BalanceEvent: self._observe_balance,
            PositionEvent: self._observe_position,
            FundingEvent: self._observe_funding,
            SettingEvent: self._observe_setting,
        }

    def observe(self, event: Event) -> None:
        """Tell of what has happened."""
        self._rules[type(event)](event)

    def flush(self) -> None:
        """Send the ACCOUNT_UPDATE of what has been collected."""
        changed, self._changed = self._changed, None
        if changed is None or not self.listened(changed.account):
            return
        account = changed.account
        # The venue tells of funding without the positions that paid it, if they are cross.
        told = {
            "m": _REASONS.get(changed.why, "ADJUSTMENT"),
            "B": [
                {
                    "a": asset,
                    "wb": eight(account.balances[asset].total),
                    "cw": eight(account.balances[asset].total),
                    "bc": eight(change) if change else "0",
                }
                for asset, change in changed.assets.items()
            ],
            "P": [self._position(position) for position in changed.positions],
        }
        event = {
            "e": "ACCOUNT_UPDATE",
            "T": changed.time_ms,
            "E": changed.time_ms,
            "a": told,
        }
        self.publish(account, ACCOUNT, event)

    def _position(self, position: Position) -> dict[str, Any]:
        instrument = position.market.instrument
        entry = plain(position.entry) if position.lots else "0"
        return {
            "s": instrument.symbol,
            "pa": instrument.quantity.text(position.lots),
            "ep": entry,
            "bep": entry,
            "cr": eight(position.realised),
            "up": eight(self.trading.unrealised(position)),
            "mt": "isolated" if position.isolated else "cross",
            "iw": eight(position.margin) if position.isolated else "0",
            "ps": side_of(position.side),
            "ma": instrument.settle,
        }

    def _collect(self, account: Account, why: str, time_ms: int) -> _Changed:
        changed = self._changed
        if changed is None or changed.account is not account or changed.why != why:
            self.flush()
            changed = self._changed = _Changed(account, why, time_ms)
        return changed

    def _observe_order(self, event: OrderEvent) -> None:
        self.flush()
        order = event.order
        if event.change is Change.PREVENTED or not self.listened(order.account):
            return
        if order.terms.algo:
            self.publish(order.account, ORDERS, usdm_shapes.algo_update(event))
            return
        if event.change is Change.NEW and order.forced is Why.LIQUIDATION:
            self._call_margin(event)
        if event.fill is not None:
            self.publish(order.account, FILLS, usdm_shapes.trade_lite(event.fill))
        bids, asks = self._orders.notional(order)
        self.publish(order.account, ORDERS, usdm_shapes.order_update(event, bids, asks))

    def _observe_balance(self, event: BalanceEvent) -> None:
        self.flush()
        changed = self._collect(event.account, event.why, event.time_ms)
        for asset in event.assets:
            change = self._funded.pop((event.account.uid, asset), ZERO)
            if event.why in _MOVES:
                change = event.account.transfers[-1].amount
            changed.assets[asset] = change

    def _observe_position(self, event: PositionEvent) -> None:
        changed = self._collect(event.account, event.why, event.time_ms)
        changed.positions.append(event.position)

    def _observe_funding(self, event: FundingEvent) -> None:
        key = (event.account.uid, event.payment.asset)
        self._funded[key] = self._funded.get(key, ZERO) - event.payment.paid

    def _observe_setting(self, event: SettingEvent) -> None:
        self.flush()
        account, symbol = event.account, event.symbol
        times = {"E": event.time_ms, "T": event.time_ms}
        if event.what == "leverage":
            told = {"ac": {"s": symbol, "l": account.leverage[symbol]}}
            self.publish(account, ACCOUNT, {"e": "ACCOUNT_CONFIG_UPDATE", **times, **told})
        elif event.what == "margin":
            held = [p for (name, _), p in account.positions.items() if name == symbol]
            positions = [self._position(position) for position in held]
            change = {"m": "MARGIN_TYPE_CHANGE", "B": [], "P": positions}
            if positions:
                self.publish(account, ACCOUNT, {"e": "ACCOUNT_UPDATE", **times, "a": change})

    def _call_margin(self, event: OrderEvent) -> None:
        """Say that a position's margin is used up: it is about to be closed."""
        order = event.order
        account, symbol = order.account, order.market.instrument.symbol
        position = account.positions.get((symbol, order.terms.position_side))
        if position is None:
            return
        instrument = position.market.instrument
        mark = self.trading.mark(position.market)
        lots = abs(self.trading.quantity_units(position.market, position.lots))
        balance = account.balances.get(instrument.settle)
        call = {
            "s": symbol,
            "ps": side_of(position.side),
            "pa": instrument.quantity.text(position.lots),
            "mt": "ISOLATED" if position.isolated else "CROSSED",
            "iw": eight(position.margin) if position.isolated else "0",
            "mp": eight(mark),
            "up": eight(self.trading.unrealised(position)),
            "mm": eight(lots * mark * self.trading.rules.maintenance),
        }
        wallet = eight(balance.total) if balance is not None else "0"
        told = {"e": "MARGIN_CALL", "E": event.time_ms, "cw": wallet, "p": [call]}
        self.publish(account, ACCOUNT, told)
