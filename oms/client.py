"""The strategy's way to trade, from Python.

``Trader`` writes intents into ``oms.intents.<strategy>`` and reads what became of them. It knows
instruments by symbol, and prices and quantities as decimals: what cannot be represented exactly is
refused here, before anything is written. Everything else is the OMS' business::

    trader = Trader.open("ti", "maker")
    number = trader.buy("BTC/USDT:USDT", "0.01", "60000", venue="okx")
    for update in trader.updates():
        ...                                  # oms.types.UPDATE: routed, open, filled, denied, …
    trader.position("BTC/USDT:USDT", venue="okx").quantity
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.common import OrderType, Side, TimeInForce
from engine.errors import TradeInfraError
from engine.flow import FlowWriter
from engine.ring import RingReader, Start
from engine.table import TableReader
from feeds.types import INSTRUMENT, Kind
from gateways.types import MarginMode, PositionSide, RequestFlag, Trigger
from oms.slots import SLOT_MASK
from oms.types import (
    BALANCE,
    INTENT,
    MONEY_DECIMALS,
    NAME,
    ORDER,
    POSITION,
    SCOPE,
    UPDATE,
    Alarm,
    Deny,
    IntentAction,
    OrderState,
    ScopeKind,
    TradingState,
    UpdateKind,
)

INTENTS_CAPACITY = 16_384
READER = "oms"
CONTRACT_DECIMALS = 8
"""Of ``contract_value`` in md.instruments."""
WAIT_S = 10.0
Number = Decimal | str | int | float
_NONE = -1

__all__ = [
    "Alarm",
    "Deny",
    "Instrument",
    "OrderState",
    "Position",
    "Trader",
    "TraderError",
    "UpdateKind",
]


class TraderError(TradeInfraError):
    """What a strategy asks for cannot be written: a symbol, a price, a quantity."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a strategy needs to know of an instrument; ``tick`` and ``lot`` are decimals."""

    number: int
    venue: str
    symbol: str
    native: str
    price_decimals: int
    quantity_decimals: int
    tick: Decimal
    lot: Decimal
    contract_value: Decimal
    inverse: bool

    def price(self, value: Number) -> int:
        """Return a price as a mantissa; TraderError if it is not a whole number of ticks."""
        return self._mantissa("price", value, self.price_decimals, self.tick)

    def quantity(self, value: Number) -> int:
        """Return a quantity as a mantissa; TraderError if it is not a whole number of lots."""
        return self._mantissa("quantity", value, self.quantity_decimals, self.lot)

    def _mantissa(self, what: str, value: Number, decimals: int, step: Decimal) -> int:
        number = _decimal(what, value)
        steps = number / step
        if number < 0 or steps != steps.to_integral_value():
            raise TraderError(f"{self.symbol}: {what} {value} is no whole number of {step}")
        mantissa = int(number.scaleb(decimals))
        if mantissa >= 1 << 62:
            raise TraderError(f"{self.symbol}: {what} {value} is too large")
        return mantissa


@dataclass(frozen=True, slots=True)
class Position:
    """A strategy's position in an instrument, in decimals; results in the settlement currency."""

    quantity: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)
    realized: Decimal = Decimal(0)
    unrealized: Decimal = Decimal(0)
    open_buy: Decimal = Decimal(0)
    open_sell: Decimal = Decimal(0)


def _decimal(what: str, value: Number) -> Decimal:
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise TraderError(f"{what}: {value!r} is no number") from None
    if not number.is_finite():
        raise TraderError(f"{what}: {value!r} is no number")
    return number


class Trader:
    """One strategy's intents, and what became of them.

    Attributes
    ----------
    intents : engine.flow.FlowWriter
        The ring, for kernels that write intents in place (``oms.intents``).
    stream : engine.ring.RingReader
        ``oms.updates``: those of all strategies.
    number : int
        The strategy's number in updates and tables.

    """

    def __init__(self, instance: str, strategy: str, wait_s: float, start: Start) -> None:
        deadline = time.monotonic() + wait_s
        ring = f"oms.intents.{strategy}"
        self.strategy = strategy
        self._opened: list[Any] = []
        try:
            self.intents: FlowWriter = self._keep(
                FlowWriter.open(instance, ring, INTENT, INTENTS_CAPACITY, (READER,))
            )
            self.stream: RingReader = self._keep(
                RingReader.attach(instance, "oms.updates", UPDATE, start, wait_s)
            )
            tables = {
                "md.instruments": INSTRUMENT,
                "oms.orders": ORDER,
                "oms.positions": POSITION,
                "oms.balances": BALANCE,
                "oms.scopes": SCOPE,
                "oms.names": NAME,
            }
            self._tables: dict[str, TableReader] = {
                name: self._keep(
                    TableReader.attach(
                        instance, name, layout, wait_s=max(0.0, deadline - time.monotonic())
                    )
                )
                for name, layout in tables.items()
            }
            self.number = self._own_number(deadline)
        except BaseException:
            self.close()
            raise
        self._last = time.time_ns() // 1000
        self._slots: dict[int, int] = {}
        self._instruments: dict[tuple[str, str], Instrument] = {}

    @classmethod
    def open(
        cls, instance: str, strategy: str, wait_s: float = WAIT_S, start: Start = "latest"
    ) -> "Trader":
        """Become a strategy of an OMS.

        ``start`` is where its updates begin: a strategy that comes back may go on at the sequence
        where it stopped (``stream.position``), or begin with what the tables say.

        Raises
        ------
        TraderError
            If the OMS' ``strategies`` do not have that name.
        WriterExists
            If another process trades under it.
        SegmentNotFound
            If there is no OMS within ``wait_s``.

        """
        return cls(instance, strategy, wait_s, start)

    def _keep(self, opened: Any) -> Any:  # noqa: ANN401 - readers and writers
        self._opened.append(opened)
        return opened

    def _own_number(self, deadline: float) -> int:
        while True:
            names = self._tables["oms.names"].snapshot()
            for row in names[names["kind"] == ScopeKind.STRATEGY]:
                if bytes(row["name"]).decode() == self.strategy:
                    return int(row["number"])
            if time.monotonic() > deadline:
                known = [bytes(n).decode() for n in names["name"][names["kind"] == 3]]
                raise TraderError(
                    f"the OMS knows no strategy {self.strategy!r} (it has: "
                    f"{', '.join(known) or 'none'}): name it in its `strategies`"
                )
            time.sleep(0.01)

    # -- instruments ------------------------------------------------------------------------------
    def instrument(self, symbol: str, venue: str = "") -> Instrument:
        """Return an instrument by its unified or native symbol.

        Raises
        ------
        TraderError
            If there is none, or several venues have it and none is named.

        """
        found = self._instruments.get((symbol, venue))
        if found is not None:
            return found
        rows = self._tables["md.instruments"].snapshot()
        matches = [
            (number, row)
            for number, row in enumerate(rows)
            if row["native"]
            and symbol in (bytes(row["symbol"]).decode(), bytes(row["native"]).decode())
            and (not venue or bytes(row["venue"]).decode() == venue)
        ]
        if len(matches) != 1:
            venues = ", ".join(bytes(row["venue"]).decode() for _, row in matches)
            problem = f"is listed on {venues}: name the venue" if matches else "is not listed"
            raise TraderError(f"{symbol}{f' on {venue}' if venue else ''} {problem}")
        number, row = matches[0]
        found = Instrument(
            number,
            bytes(row["venue"]).decode(),
            bytes(row["symbol"]).decode(),
            bytes(row["native"]).decode(),
            int(row["price_decimals"]),
            int(row["quantity_decimals"]),
            Decimal(max(1, int(row["tick"]))).scaleb(-int(row["price_decimals"])),
            Decimal(max(1, int(row["lot"]))).scaleb(-int(row["quantity_decimals"])),
            Decimal(1 if row["kind"] == Kind.SPOT else int(row["contract_value"])).scaleb(
                0 if row["kind"] == Kind.SPOT else -CONTRACT_DECIMALS
            ),
            row["kind"] in (Kind.INVERSE_PERPETUAL, Kind.INVERSE_FUTURE),
        )
        self._instruments[symbol, venue] = found
        return found

    # -- intents ----------------------------------------------------------------------------------
    def buy(
        self,
        symbol: str,
        quantity: Number,
        price: Number | None = None,
        **terms: Any,  # noqa: ANN401 - as ``new`` takes them
    ) -> int:
        """Want to buy; see ``new``."""
        return self.new(Side.BUY, symbol, quantity, price, **terms)

    def sell(
        self,
        symbol: str,
        quantity: Number,
        price: Number | None = None,
        **terms: Any,  # noqa: ANN401 - as ``new`` takes them
    ) -> int:
        """Want to sell; see ``new``."""
        return self.new(Side.SELL, symbol, quantity, price, **terms)

    def new(
        self,
        side: Side,
        symbol: str,
        quantity: Number,
        price: Number | None = None,
        *,
        venue: str = "",
        stop_price: Number | None = None,
        time_in_force: TimeInForce | None = None,
        reduce_only: bool = False,
        position_side: PositionSide = PositionSide.NET,
        margin_mode: MarginMode = MarginMode.NONE,
        trigger: Trigger = Trigger.LAST,
        expire_ns: int = 0,
        deadline_ns: int = 0,
        cause_ns: int = 0,
        account: int = _NONE,
    ) -> int:
        """Want an order, limit if ``price`` is given, else market; return its number.

        ``stop_price`` makes a stop order of it. The number is the strategy's own name for the order
        in all that follows. ``cause_ns`` is ``published_ns`` of the market data that led to it.

        Raises
        ------
        TraderError
            If the symbol is not listed, or a value is not a whole number of ticks or lots.
        RingFull
            If the OMS does not read its intents.

        """
        instrument = self.instrument(symbol, venue)
        limited, stops = price is not None, stop_price is not None
        kinds = {
            (False, False): OrderType.MARKET,
            (True, False): OrderType.LIMIT,
            (False, True): OrderType.STOP_MARKET,
            (True, True): OrderType.STOP_LIMIT,
        }
        default = TimeInForce.GTC if limited or stops else TimeInForce.IOC
        return self.intent(
            IntentAction.NEW,
            instrument=instrument.number,
            side=side,
            quantity=instrument.quantity(quantity),
            price=instrument.price(price) if price is not None else 0,
            stop_price=instrument.price(stop_price) if stop_price is not None else 0,
            order_type=kinds[limited, stops],
            time_in_force=time_in_force or default,
            position_side=position_side,
            margin_mode=margin_mode,
            trigger=trigger,
            expire_ns=expire_ns,
            deadline_ns=deadline_ns,
            cause_ns=cause_ns,
            account=account,
            flags=RequestFlag.REDUCE_ONLY if reduce_only else 0,
        )

    def amend(
        self, number: int, symbol: str, *, price: Number = 0, quantity: Number = 0, venue: str = ""
    ) -> None:
        """Want another price or total quantity (what is filled included) of an order."""
        instrument = self.instrument(symbol, venue)
        self.intent(
            IntentAction.AMEND,
            number,
            instrument=instrument.number,
            price=instrument.price(price) if price else 0,
            quantity=instrument.quantity(quantity) if quantity else 0,
        )

    def cancel(self, number: int) -> None:
        """Want the end of an order."""
        self.intent(IntentAction.CANCEL, number)

    def cancel_all(self, symbol: str = "", venue: str = "") -> None:
        """Want the end of all of the strategy's orders, of an instrument or everywhere."""
        number = self.instrument(symbol, venue).number if symbol else _NONE
        self.intent(IntentAction.CANCEL_ALL, instrument=number)

    def intent(self, action: IntentAction, number: int = 0, **fields: Any) -> int:  # noqa: ANN401
        """Write an intent (fields of ``oms.types.INTENT``); return the order's number."""
        record = np.zeros(1, INTENT.dtype)
        self._last += 1
        record["action"], record["number"] = action, number or self._last
        record["instrument"] = record["account"] = _NONE
        for name, value in fields.items():
            record[name] = value
        record["created_ns"] = time.time_ns()
        self.intents.publish(record[0])
        return number or self._last

    # -- what became of them ----------------------------------------------------------------------
    def updates(self) -> NDArray[Any]:
        """Return the strategy's new updates: structured[0..n], copies of its own.

        If ``stream.lost`` rises, updates have been overwritten before they were read: the tables
        say how things stand.
        """
        found = []
        while len(batch := self.stream.poll()):
            own = batch[batch["strategy"] == self.number]
            if self.stream.intact():
                found.append(own)
        updates = np.concatenate(found) if found else np.zeros(0, UPDATE.dtype)
        for update in updates[updates["client_id"] > 0]:
            self._slots[int(update["number"])] = int(update["client_id"]) & SLOT_MASK
        return updates

    def wait_for(self, number: int, *kinds: UpdateKind, timeout_s: float = 5.0) -> np.void:
        """Return the next update of an order of one of the kinds (any, if none is named).

        Raises TraderError after ``timeout_s``. Updates before it are dropped.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for update in self.updates():
                if update["number"] == number and (not kinds or update["kind"] in kinds):
                    record: np.void = update
                    return record
            time.sleep(0.0005)
        names = ", ".join(kind.name for kind in kinds) or "update"
        raise TraderError(f"no {names} of order {number} within {timeout_s} s")

    def order(self, number: int) -> np.void | None:
        """Return an order as it stands (``oms.types.ORDER``); None if it is not known."""
        self.updates()
        slot = self._slots.get(number)
        if slot is None:
            return None
        row = self._tables["oms.orders"].read(slot)
        return row if row["number"] == number and row["strategy"] == self.number else None

    def open_orders(self) -> NDArray[Any]:
        """Return the strategy's orders that have not ended (``oms.types.ORDER``)."""
        records = self._tables["oms.orders"].segment.records()
        states = records["state"]
        live = (states > 0) & ((states < OrderState.FILLED) | (states == OrderState.LOST))
        slots = np.flatnonzero(live & (records["strategy"] == self.number))
        return np.array([self._tables["oms.orders"].read(int(slot)) for slot in slots], ORDER.dtype)

    def position(
        self, symbol: str, venue: str = "", side: PositionSide = PositionSide.NET
    ) -> Position:
        """Return the strategy's position in an instrument."""
        instrument = self.instrument(symbol, venue)
        for row in self._rows("oms.positions", ScopeKind.STRATEGY_INSTRUMENT):
            mine = row["strategy"] == self.number and row["instrument"] == instrument.number
            if mine and row["position_side"] == side:
                return self._position(instrument, row)
        return Position()

    def _position(self, instrument: Instrument, row: np.void) -> Position:
        def units(name: str) -> Decimal:
            return Decimal(int(row[name])).scaleb(-instrument.quantity_decimals)

        def money(name: str) -> Decimal:
            return Decimal(int(row[name])).scaleb(-MONEY_DECIMALS)

        quantity = units("quantity")
        average, cost = Decimal(0), money("cost")
        if quantity and cost:
            worth = abs(quantity) * instrument.contract_value
            average = worth / cost if instrument.inverse else cost / worth
        return Position(
            quantity,
            average,
            money("realized"),
            money("unrealized"),
            units("open_buy"),
            units("open_sell"),
        )

    def _rows(self, table: str, kind: ScopeKind) -> Iterator[np.void]:
        records = self._tables[table].segment.records()
        for row in np.flatnonzero(records["kind"] == kind).tolist():
            yield self._tables[table].read(row)

    def balance(self, asset: str) -> dict[int, Decimal]:
        """Return what the accounts (by number) have of a currency that is not reserved."""
        table = self._tables["oms.balances"]
        found = {}
        for row in np.flatnonzero(table.segment.records()["asset"] == asset.encode()).tolist():
            each = table.read(row)
            free = int(each["total"]) + int(each["changed"]) - int(each["reserved"])
            found[int(each["account"])] = Decimal(free).scaleb(-MONEY_DECIMALS)
        return found

    def trading_state(self) -> TradingState:
        """Return the strategy's trading state: the strictest of its own and the firm's."""
        strictest = 0
        for kind in (ScopeKind.FIRM, ScopeKind.STRATEGY):
            for row in self._rows("oms.scopes", kind):
                if kind is ScopeKind.FIRM or row["strategy"] == self.number:
                    strictest = max(strictest, int(row["state"]))
        return TradingState(strictest)

    def heartbeat(self) -> None:
        """Say that the strategy is well."""
        self.intents.heartbeat()

    def close(self) -> None:
        """Let go of everything; orders stay as they are."""
        for opened in reversed(self._opened):
            opened.close()
        self._opened.clear()
