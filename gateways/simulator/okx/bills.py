"""The bills of accounts: each change of a balance by a trade or by funding, as OKX lists them."""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from engine.common import Side
from gateways.simulator.account import (
    Account,
    AccountFill,
    Event,
    FundingEvent,
    FundingPayment,
    OrderEvent,
)
from gateways.simulator.margin import plain
from gateways.simulator.okx.dialect import type_of
from gateways.simulator.okx.shapes import Json, ratio
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading

_TRADE, _FUNDING = "2", "8"
_FIRST_BILL = 10**12
_BLANK = (
    "clOrdId",
    "earnAmt",
    "earnApr",
    "execType",
    "fillFwdPx",
    "fillIdxPx",
    "fillMarkPx",
    "fillMarkVol",
    "fillPxUsd",
    "fillPxVol",
    "fillTime",
    "from",
    "notes",
    "ordId",
    "tag",
    "to",
    "tradeId",
)


@dataclass(frozen=True, slots=True)
class Bill:
    """One change of one balance; ``balance`` is what there is afterwards."""

    id: int
    type: str
    market: SimulatedBook
    asset: str
    change: Decimal
    balance: Decimal
    time_ms: int
    cause: AccountFill | FundingPayment


class Bills:
    """Writes the bills of all accounts as the events happen."""

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._bills: dict[int, deque[Bill]] = {}
        self._last = _FIRST_BILL
        trading.listeners.append(self._hear)

    def of(self, account: Account) -> deque[Bill]:
        """Return an account's bills, oldest first."""
        return self._bills.setdefault(account.uid, deque(maxlen=self._trading.history))

    def _hear(self, event: Event) -> None:
        if isinstance(event, OrderEvent) and event.fill is not None:
            fill, market = event.fill, event.order.market
            for asset, change in self._changes(fill):
                self._write(event.order.account, _TRADE, market, asset, change, fill)
        elif isinstance(event, FundingEvent):
            payment = event.payment
            self._write(
                event.account, _FUNDING, payment.market, payment.asset, -payment.paid, payment
            )

    def _changes(self, fill: AccountFill) -> list[tuple[str, Decimal]]:
        market = fill.order.market
        instrument = market.instrument
        if instrument.settle:
            return [(instrument.settle, fill.realised - fill.fee)]
        sign = 1 if fill.order.terms.side is Side.BUY else -1
        units = self._trading.ledger.units(market)
        base, quote = units.lot * fill.quantity, units.value(fill.price, fill.quantity)
        changes = {instrument.base: sign * base, instrument.quote: -sign * quote}
        changes[fill.fee_asset] -= fill.fee
        return list(changes.items())

    def _write(
        self,
        account: Account,
        kind: str,
        market: SimulatedBook,
        asset: str,
        change: Decimal,
        cause: AccountFill | FundingPayment,
    ) -> None:
        self._last += 1
        balance = account.balances[asset].total
        self.of(account).append(
            Bill(self._last, kind, market, asset, change, balance, cause.time_ms, cause)
        )


def describe_bill(bill: Bill) -> Json:
    """Return one entry of ``/api/v5/account/bills``."""
    instrument = bill.market.instrument
    entry: Json = dict.fromkeys(_BLANK, "") | {
        "bal": plain(bill.balance),
        "balChg": plain(bill.change),
        "billId": str(bill.id),
        "ccy": bill.asset,
        "fee": "0",
        "instId": instrument.symbol,
        "instType": type_of(instrument),
        "interest": "0",
        "mgnMode": "cross" if instrument.settle else "cash",
        "posBal": "0",
        "posBalChg": "0",
        "ts": str(bill.time_ms),
        "type": bill.type,
    }
    cause = bill.cause
    if isinstance(cause, FundingPayment):
        return entry | {
            "pnl": plain(bill.change),
            "px": ratio(cause.mark),
            # An expense, or an income.
            "subType": "173" if cause.paid > 0 else "174",
            "sz": instrument.quantity.text(abs(cause.lots)),
        }
    order = cause.order
    return entry | {
        "clOrdId": order.client_id,
        "execType": "M" if cause.maker else "T",
        "fee": plain(-cause.fee) if bill.asset == cause.fee_asset else "0",
        "fillTime": str(cause.time_ms),
        "ordId": str(order.id),
        "pnl": plain(cause.realised),
        "px": instrument.price.text(cause.price),
        "subType": "1" if order.terms.side is Side.BUY else "2",
        "sz": instrument.quantity.text(cause.quantity),
        "tag": order.terms.tag,
        "tradeId": str(cause.id),
    }
