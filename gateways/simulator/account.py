"""Accounts of the simulated venue: who trades, their orders, fills, balances and positions.

Data without behaviour: ``trading`` changes it, the dialects read it and write the venue's JSON.
Prices are ticks and quantities lots of the instrument (``instruments.Scale`` writes them); money is
``Decimal``, exact.
"""

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.matching import Prevention as Prevention
from gateways.simulator.simulation import SimulatedBook

ZERO = Decimal(0)
HISTORY = 20_000
"""Ended orders, fills and funding payments that an account remembers unless told otherwise."""


class Status(StrEnum):
    """An order's state."""

    UNTRIGGERED = "untriggered"
    NEW = "new"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELED = "canceled"
    """By request, or by the venue: see ``Order.ended``."""
    EXPIRED = "expired"
    """Ended by its own terms: IOC and FOK remainder, post-only, good till date."""
    REJECTED = "rejected"
    TRIGGERED = "triggered"
    """An algo order that has become a plain one: see ``Order.triggered_id``."""

    @property
    def live(self) -> bool:
        """Whether the order can still be filled."""
        return self in (Status.UNTRIGGERED, Status.NEW, Status.PARTIAL)


class Why(StrEnum):
    """Why an order ended, or why a request is refused; a dialect has the venue's code for each."""

    NONE = ""
    USER = "user"
    IMMEDIATE = "the rest of an IOC or market order"
    FILL_OR_KILL = "fill or kill"
    POST_ONLY = "post-only would take"
    SELF_TRADE = "self-trade prevention"
    TIME = "good till date"
    DEAD_MAN = "dead-man switch"
    LIQUIDATION = "liquidation"
    DELEVERAGING = "auto-deleveraging"
    REDUCE_ONLY = "reduce-only"
    AMENDED_AWAY = "amended to what was filled"
    DELISTED = "delisted"
    NO_LIQUIDITY = "nobody to trade with"
    # Refusals.
    PARAMETER = "parameter"
    SYMBOL = "symbol"
    MARKET_CLOSED = "market closed"
    TICK = "price off the tick"
    PRICE_RANGE = "price out of range"
    PRICE_BAND = "price outside the band"
    LOT = "quantity off the lot"
    MIN_QUANTITY = "quantity too small"
    MAX_QUANTITY = "quantity too large"
    NOTIONAL = "notional too small"
    BALANCE = "balance"
    MARGIN = "margin"
    LEVERAGE = "leverage"
    DUPLICATE = "duplicate client id"
    TOO_MANY = "too many open orders"
    TOO_MANY_STOPS = "too many orders that wait for a trigger"
    WOULD_TRIGGER = "would trigger at once"
    UNKNOWN_ORDER = "unknown order"
    CLOSED_ORDER = "order has ended"
    FILLED_ORDER = "order is filled"
    NOT_CHANGED = "nothing changes"
    POSITION_SIDE = "position side does not fit the position mode"
    OPEN_ORDERS = "open orders stand in the way"
    OPEN_POSITIONS = "open positions stand in the way"
    UNSUPPORTED = "unsupported"


class Refused(Exception):
    """A request that has no effect; ``why`` says the reason, the text the details."""

    def __init__(self, why: Why, text: str = "") -> None:
        super().__init__(text or str(why))
        self.why = why


@dataclass(slots=True)
class Balance:
    """One asset: ``free`` can be used, ``locked`` stands behind open spot orders."""

    asset: str
    free: Decimal = ZERO
    locked: Decimal = ZERO
    reserved: Decimal = ZERO
    """Margin of open orders for contracts: a part of ``free`` that cannot be used twice."""

    @property
    def total(self) -> Decimal:
        """All there is: on contracts, the wallet balance."""
        return self.free + self.locked


@dataclass(slots=True)
class Position:
    """A position in one contract; ``lots`` is negative for a short one."""

    market: SimulatedBook
    side: str
    """"net", "long" or "short"."""
    lots: int = 0
    entry: Decimal = ZERO
    """Average entry price, in units of the quote currency (a price, not ticks)."""
    realised: Decimal = ZERO
    """Profit and loss of what was closed, in the settlement currency, without fees."""
    leverage: int = 20
    isolated: bool = False
    margin: Decimal = ZERO
    """What an isolated position has of its own, ``added`` included."""
    added: Decimal = ZERO
    """What its owner has added to the margin that it needs; until it is closed."""
    updated_ms: int = 0
    created_ms: int = 0
    sequence: int = 0


@dataclass(slots=True)
class OrderTerms:
    """What a client asks for; a dialect makes it from the venue's parameters."""

    market: SimulatedBook
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price: int = 0
    """Ticks; 0 for market orders."""
    quantity: int = 0
    """Lots; 0 if ``quote_quantity`` says how much."""
    quote_quantity: Decimal = ZERO
    """Spot market orders: how much of the quote currency to spend or to get."""
    stop_price: int = 0
    """Ticks; 0 without a trigger."""
    stop_above: bool | None = None
    """Triggered at or above ``stop_price``; None: whichever side the price is not on."""
    trigger: str = "last"
    """"last", "mark" or "index"."""
    reduce_only: bool = False
    close_position: bool = False
    position_side: str = "net"
    prevention: Prevention = Prevention.MAKER
    expire_ms: int = 0
    client_id: str = ""
    tag: str = ""
    algo: bool = False
    """Kept apart from plain orders (Binance futures conditional orders)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the dialect wants to see again."""


@dataclass(slots=True, eq=False)
class Order:
    """An order of an account, from its acceptance on; ``id`` is the venue's."""

    id: int
    account: "Account"
    terms: OrderTerms
    created_ms: int
    price: int
    quantity: int
    client_id: str
    status: Status = Status.NEW
    ended: Why = Why.NONE
    updated_ms: int = 0
    filled: int = 0
    value: Decimal = ZERO
    """Sum of price times quantity of its fills: price units times quantity units."""
    realised: Decimal = ZERO
    """Profit and loss of what its fills closed."""
    settled: Decimal = ZERO
    """What its fills are worth in the settlement currency: inverse contracts only."""
    fees: dict[str, Decimal] = field(default_factory=dict)
    fills: list["AccountFill"] = field(default_factory=list)
    book_id: int = 0
    """Its number in the book while it stands there; 0 otherwise."""
    triggered: bool = False
    triggered_id: int = 0
    """An algo order: the id of the plain order that it became."""
    locked: Decimal = ZERO
    """What it holds: of the asset that it sells (spot), or margin (contracts)."""
    prevented: int = 0
    """Lots that self-trade prevention took away."""
    amendments: int = 0
    forced: Why = Why.NONE
    """LIQUIDATION or DELEVERAGING: the venue placed it."""
    shrinks: bool = False
    """It can only make a position smaller."""
    counted: tuple[int, int] = (0, 0)
    """Its part in ``Working``: lots, and ticks times lots."""

    @property
    def market(self) -> SimulatedBook:
        """Where it trades."""
        return self.terms.market

    @property
    def left(self) -> int:
        """Lots that can still be filled; 0 once it has ended."""
        return self.quantity - self.filled if self.status.live else 0

    @property
    def sized_later(self) -> bool:
        """Whether its trigger will find out how many lots it is for."""
        return self.status is Status.UNTRIGGERED and not self.quantity

    @property
    def average(self) -> Decimal:
        """Average price of its fills in price units; 0 without one."""
        quantity = self.market.instrument.quantity
        units = Decimal(self.filled * quantity.step).scaleb(-quantity.decimals)
        return self.value / units if self.filled else ZERO


WorkKey = tuple[str, Side, str]
"""Symbol, side of the orders, side of the position."""


@dataclass(slots=True)
class Working:
    """An account's orders that can trade in one contract on one side, for one position."""

    orders: dict[int, Order] = field(default_factory=dict)
    """Oldest first."""
    lots: int = 0
    """What is left of them."""
    ticks_lots: int = 0
    """Of those with a price."""
    shrinking: int = 0
    """How many only make the position smaller."""
    shrinking_lots: int = 0
    held: int = 0
    """Behind how many of them there is margin."""


@dataclass(slots=True, eq=False)
class AccountFill:
    """One trade of an order of an account."""

    id: int
    """The trade's, the same for both sides of it; unique per instrument."""
    sequence: int
    """Of all fills of the venue: rises."""
    order: Order
    price: int
    quantity: int
    maker: bool
    fee: Decimal
    """Paid; negative is a rebate."""
    fee_asset: str
    realised: Decimal
    time_ms: int
    order_filled: int
    """Lots of the order filled until then, this fill included."""


@dataclass(slots=True)
class FundingPayment:
    """What a position paid (negative: received) at a funding time."""

    id: int
    market: SimulatedBook
    position_side: str
    asset: str
    paid: Decimal
    rate: Decimal
    mark: Decimal
    lots: int
    time_ms: int


@dataclass(slots=True)
class Transfer:
    """Money that came into an account (negative: left it) otherwise than by trading."""

    asset: str
    amount: Decimal
    why: str
    """"deposit", or "insurance": what made up for a loss beyond the balance."""
    time_ms: int


class AccountSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An account as a configuration describes it; ``balances`` are decimal strings by asset."""

    key: str
    secret: str = ""
    passphrase: str = ""
    public_key: str = ""
    balances: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"AccountSettings(key={self.key!r})"


@dataclass(slots=True, eq=False)
class Account:
    """One account of the venue, and all that it has."""

    uid: int
    key: str
    secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)
    public_key: str = ""
    """PEM of an Ed25519 or RSA key: then signatures are made with its private half."""
    balances: dict[str, Balance] = field(default_factory=dict)
    partners: list["Account"] = field(default_factory=list, repr=False)
    """Accounts at other clearing houses that have the same ``balances``."""
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    """By symbol and side."""
    orders: dict[int, Order] = field(default_factory=dict)
    """Live ones by id."""
    clients: dict[str, Order] = field(default_factory=dict)
    """The newest plain order by client id, live or not."""
    algo_clients: dict[str, Order] = field(default_factory=dict)
    """The newest algo order by client id, live or not."""
    used_clients: set[str] = field(default_factory=set)
    """Client ids of forgotten orders, where none may come again."""
    known: dict[int, Order] = field(default_factory=dict)
    """All that are live or in ``history``, by id, and so by age."""
    working: dict[WorkKey, Working] = field(default_factory=dict)
    """Of contracts only."""
    stale: bool = True
    """Something but a price has changed since its margin was last looked at."""
    history: deque[Order] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """Ended ones, oldest first."""
    fills: deque[AccountFill] = field(default_factory=lambda: deque(maxlen=HISTORY))
    funding: deque[FundingPayment] = field(default_factory=lambda: deque(maxlen=HISTORY))
    transfers: list[Transfer] = field(default_factory=list)
    leverage: dict[str, int] = field(default_factory=dict)
    isolated: dict[str, bool] = field(default_factory=dict)
    hedge: bool = False
    """Long and short positions apart."""


class Change(StrEnum):
    """What happened to an order."""

    NEW = "new"
    TRADE = "trade"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    """After it had been accepted."""
    AMENDED = "amended"
    TRIGGERED = "triggered"
    PREVENTED = "prevented"
    """Self-trade prevention took lots away; it may go on."""


@dataclass(slots=True)
class OrderEvent:
    """An order changed; the order is as it is after the change, so read it at once."""

    change: Change
    order: Order
    time_ms: int
    fill: AccountFill | None = None


@dataclass(slots=True)
class BalanceEvent:
    """Some balances changed.

    ``why`` is "order", "funding", "deposit", "withdrawal", "liquidation" or "deleveraging".
    """

    account: Account
    assets: tuple[str, ...]
    why: str
    time_ms: int


@dataclass(slots=True)
class PositionEvent:
    """A position changed."""

    account: Account
    position: Position
    why: str
    time_ms: int


@dataclass(slots=True)
class FundingEvent:
    """A position paid or received funding."""

    account: Account
    payment: FundingPayment
    time_ms: int


@dataclass(slots=True)
class SettingEvent:
    """Leverage, margin mode or position mode changed; ``symbol`` is empty for the account."""

    account: Account
    symbol: str
    what: str
    time_ms: int


Event = OrderEvent | BalanceEvent | PositionEvent | FundingEvent | SettingEvent
