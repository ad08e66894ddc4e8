"""Asking a gateway for orders from Python, and hearing what became of them.

``OrderClient`` writes ``gw.<account>.requests`` and reads ``gw.<account>.reports`` as one of the
gateway's named readers. It is the one writer of the requests: the OMS, a tool, or a test. It checks
nothing but the form; what an order may be is the OMS' business, and the venue's.
"""

import struct
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.common import OrderType, Side, TimeInForce
from engine.errors import TradeInfraError
from engine.flow import FlowReader, FlowWriter
from gateways.types import (
    REPORT,
    REQUEST,
    Action,
    MarginMode,
    PositionSide,
    ReportKind,
    RequestFlag,
    SelfTrade,
    Trigger,
)

REQUESTS_CAPACITY = 16_384
GATEWAY_READER = "gateway"
"""The name under which a gateway reads its requests."""

_PACK = struct.Struct("<9qiIBb2Bb3B40x")
assert _PACK.size == REQUEST.dtype.itemsize

__all__ = ["OrderClient", "ReportTimeout", "reports_ring", "requests_ring"]


class ReportTimeout(TradeInfraError):
    """A report that was waited for has not come."""


def requests_ring(account: str) -> str:
    """Return the name of the ring that carries an account's requests."""
    return f"gw.{account}.requests"


def reports_ring(account: str) -> str:
    """Return the name of the ring that carries an account's reports."""
    return f"gw.{account}.reports"


class OrderClient:
    """The writer of an account's requests, and one reader of its reports.

    Prices and quantities are mantissas of the instrument's decimals; ``instrument`` is its row in
    the instrument table. Each request returns its number, which the reports that answer it carry
    as ``request_id``. Numbers rise over restarts: they begin with the clock.
    """

    def __init__(self, requests: FlowWriter, reports: FlowReader) -> None:
        self._requests, self._reports = requests, reports
        self._request_id = time.time_ns()
        self._kept: NDArray[Any] = np.zeros(0, REPORT.dtype)

    @classmethod
    def open(
        cls, instance: str, account: str, *, reader: str = "oms", wait_s: float = 10.0
    ) -> "OrderClient":
        """Make the ring of requests and attach the reports, which the gateway makes.

        Raises
        ------
        WriterExists
            If another process asks this gateway already, or reads under this name.
        SegmentNotFound
            If the gateway has not made its ring within ``wait_s``.
        SegmentError
            If the gateway's ``readers`` do not have ``reader``.

        """
        ring = requests_ring(account)
        requests = FlowWriter.open(instance, ring, REQUEST, REQUESTS_CAPACITY, (GATEWAY_READER,))
        try:
            reports = FlowReader.attach(instance, reports_ring(account), reader, REPORT, wait_s)
        except TradeInfraError:
            requests.close()
            raise
        return cls(requests, reports)

    def new(
        self,
        client_id: int,
        instrument: int,
        side: Side,
        quantity: int,
        price: int = 0,
        *,
        order_type: OrderType = OrderType.LIMIT,
        time_in_force: TimeInForce = TimeInForce.GTC,
        stop_price: int = 0,
        expire_ns: int = 0,
        flags: int = 0,
        position_side: PositionSide = PositionSide.NET,
        margin_mode: MarginMode = MarginMode.NONE,
        trigger: Trigger = Trigger.LAST,
        self_trade: SelfTrade = SelfTrade.VENUE_DEFAULT,
        deadline_ns: int = 0,
    ) -> int:
        """Ask for an order under a number that no order had before."""
        return self._ask(
            Action.NEW,
            client_id,
            instrument,
            price,
            quantity,
            stop_price,
            expire_ns,
            deadline_ns,
            flags,
            (side, order_type, time_in_force, position_side, margin_mode, trigger, self_trade),
        )

    def amend(
        self,
        client_id: int,
        instrument: int,
        *,
        price: int,
        quantity: int,
        stop_price: int = 0,
        flags: int = 0,
    ) -> int:
        """Ask for another price and total quantity (what is filled included), or trigger."""
        return self._ask(
            Action.AMEND, client_id, instrument, price, quantity, stop_price, flags=flags
        )

    def cancel(self, client_id: int, instrument: int, *, flags: int = 0) -> int:
        """Ask for the end of an order."""
        return self._ask(
            Action.CANCEL, client_id, instrument, flags=flags | int(RequestFlag.URGENT)
        )

    def cancel_all(self, instrument: int = -1) -> int:
        """Ask for the end of all orders of an instrument, or of the account."""
        return self._ask(Action.CANCEL_ALL, 0, instrument, flags=int(RequestFlag.URGENT))

    def query(self, client_id: int, instrument: int) -> int:
        """Ask what the venue knows of an order."""
        return self._ask(Action.QUERY, client_id, instrument)

    def reconcile(self) -> int:
        """Ask for everything that the venue knows of the account."""
        return self._ask(Action.RECONCILE, 0, -1)

    def set_leverage(self, instrument: int, leverage: int) -> int:
        """Ask for another leverage of an instrument."""
        return self._ask(Action.LEVERAGE, 0, instrument, quantity=leverage)

    def set_margin_mode(self, instrument: int, mode: MarginMode, leverage: int = 0) -> int:
        """Ask for another margin mode of an instrument; OKX and Bybit want the leverage with it."""
        terms = (0, 0, 0, PositionSide.NET, mode, Trigger.LAST, SelfTrade.VENUE_DEFAULT)
        return self._ask(Action.MARGIN_MODE, 0, instrument, quantity=leverage, terms=terms)

    def poll(self) -> NDArray[Any]:
        """Return the reports since the last call (``REPORT`` records); they stay until the next."""
        self._reports.advance()
        return self._reports.poll()

    def reports(self, timeout_s: float = 5.0) -> Iterator[np.void]:
        """Yield copies of the reports as they come.

        Raises
        ------
        ReportTimeout
            If none comes for ``timeout_s``.

        """
        deadline = time.monotonic() + timeout_s
        while True:
            batch = self._kept if len(self._kept) else self.poll().copy()
            for place, report in enumerate(batch, 1):
                # A caller that stops here finds the rest the next time.
                self._kept = batch[place:]
                yield report
                deadline = time.monotonic() + timeout_s
            if not len(batch):
                if time.monotonic() >= deadline:
                    raise ReportTimeout(f"no report for {timeout_s} s: is the gateway running?")
                time.sleep(0.0002)

    def wait_for(
        self, *kinds: ReportKind, client_id: int = 0, request_id: int = 0, timeout_s: float = 5.0
    ) -> np.void:
        """Return the next report of one of the kinds, of that order or request where given.

        Reports that come before it are dropped. Raises ReportTimeout as ``reports``.
        """
        wanted = {int(kind) for kind in kinds}
        deadline = time.monotonic() + timeout_s
        for report in self.reports(timeout_s):
            if (
                (not wanted or int(report["kind"]) in wanted)
                and (not client_id or int(report["client_id"]) == client_id)
                and (not request_id or int(report["request_id"]) == request_id)
            ):
                return report
            if time.monotonic() >= deadline:
                break
        names = ", ".join(kind.name for kind in kinds) or "report"
        raise ReportTimeout(f"no {names} of order {client_id} within {timeout_s} s")

    def heartbeat(self) -> None:
        """Say that the writer of the requests is well."""
        self._requests.heartbeat()

    def close(self) -> None:
        """Let go of both rings; they stay."""
        self._requests.close()
        self._reports.close()

    def _ask(
        self,
        action: Action,
        client_id: int,
        instrument: int,
        price: int = 0,
        quantity: int = 0,
        stop_price: int = 0,
        expire_ns: int = 0,
        deadline_ns: int = 0,
        flags: int = 0,
        terms: tuple[int, int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0, 0),
    ) -> int:
        self._request_id += 1
        side, order_type, time_in_force, position_side, margin_mode, trigger, self_trade = terms
        record = _PACK.pack(
            0,
            time.time_ns(),
            deadline_ns,
            self._request_id,
            client_id,
            price,
            quantity,
            stop_price,
            expire_ns,
            instrument,
            flags,
            action,
            side,
            order_type,
            time_in_force,
            position_side,
            margin_mode,
            trigger,
            self_trade,
        )
        self._requests.publish(record)
        return self._request_id
