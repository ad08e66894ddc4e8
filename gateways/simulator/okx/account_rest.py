"""Balances, positions, settings, bills, and what clients ask for when they start."""

from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import Any

from engine.common import Side
from gateways.simulator.account import ZERO, Account, Position, Refused, Why
from gateways.simulator.instruments import Listing
from gateways.simulator.margin import plain
from gateways.simulator.okx.bills import Bills, describe_bill
from gateways.simulator.okx.codes import no_instrument, parameter, place_error
from gateways.simulator.okx.dialect import TYPES, type_of
from gateways.simulator.okx.filters import describe_instrument
from gateways.simulator.okx.orders import OrderDesk
from gateways.simulator.okx.parameters import Parameters
from gateways.simulator.okx.shapes import (
    Json,
    describe_account,
    describe_position,
    leverage_of,
    position_id,
)
from gateways.simulator.okx.trade_rest import fitting, page_size
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook

_MODES = {"net_mode": False, "long_short_mode": True}


class AccountRest:
    """Endpoints of ``/api/v5/account``, and the few of ``/api/v5/asset`` that clients need."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk
        self._trading = desk.trading
        self._bills = Bills(desk.trading)

    def endpoints(self) -> list[tuple[Any, ...]]:
        """Return method, path, call, limit."""
        account, asset = "/api/v5/account", "/api/v5/asset"
        return [
            ("GET", f"{account}/balance", self._balance, (10, 2.0)),
            ("GET", f"{account}/positions", self._positions, (10, 2.0)),
            ("GET", f"{account}/positions-history", self._no_history, (10, 2.0)),
            ("GET", f"{account}/config", self._config, (5, 2.0)),
            ("GET", f"{account}/leverage-info", self._leverage, (20, 2.0)),
            ("GET", f"{account}/trade-fee", self._fees, (5, 2.0)),
            ("GET", f"{account}/max-size", self._max_size, (20, 2.0)),
            ("GET", f"{account}/max-avail-size", self._max_available, (20, 2.0)),
            ("GET", f"{account}/bills", self._list_bills, (5, 1.0)),
            ("GET", f"{account}/bills-archive", self._list_bills, (5, 2.0)),
            ("GET", f"{account}/instruments", self._instruments, (20, 2.0)),
            ("POST", f"{account}/set-leverage", self._set_leverage, (20, 2.0)),
            ("POST", f"{account}/set-position-mode", self._set_mode, (5, 2.0)),
            ("GET", f"{asset}/currencies", self._currencies, (6, 1.0)),
            ("GET", f"{asset}/balances", self._funding, (6, 1.0)),
        ]

    def _balance(self, account: Account, fields: Parameters) -> list[Json]:
        assets = fields.listed("ccy") or None
        return [describe_account(self._trading, account, assets, self._desk.now_ms())]

    def _positions(self, account: Account, fields: Parameters) -> list[Json]:
        fits, names = fitting_list(fields), fields.listed("posId")
        return [
            describe_position(self._trading, account, position, self._desk.now_ms())
            for position in account.positions.values()
            if position.lots
            and fits(position)
            and (not names or position_id(account, position) in names)
        ]

    def _no_history(self, account: Account, fields: Parameters) -> list[Json]:
        return []  # The simulated venue does not keep closed positions.

    def _config(self, account: Account, fields: Parameters) -> list[Json]:
        return [
            {
                "acctLv": "2",
                "acctStpMode": "cancel_maker",
                "autoLoan": False,
                "ctIsoMode": "automatic",
                "enableSpotBorrow": False,
                "feeType": "0",
                "greeksType": "PA",
                "ip": "",
                "kycLv": "3",
                "label": "simulated",
                "level": "Lv1",
                "levelTmp": "",
                "liquidationGear": "-1",
                "mainUid": str(account.uid),
                "mgnIsoMode": "automatic",
                "opAuth": "0",
                "perm": "read_only,trade",
                "posMode": "long_short_mode" if account.hedge else "net_mode",
                "roleType": "0",
                "settleCcy": "USDT",
                "settleCcyList": [],
                "spotBorrowAutoRepay": False,
                "spotOffsetType": "",
                "spotRoleType": "0",
                "spotTraderInsts": [],
                "stgyType": "0",
                "traderInsts": [],
                "type": "0",
                "uid": str(account.uid),
            }
        ]

    def _leverage(self, account: Account, fields: Parameters) -> list[Json]:
        mode = fields.one_of("mgnMode", ("cross", "isolated"))
        entries: list[Json] = []
        for name in fields.needed("instId").split(","):
            market = self._trading.market(name)
            if market is None:
                raise no_instrument()
            entries += [
                {
                    "ccy": "",
                    "instId": name,
                    "lever": str(leverage_of(account, market)),
                    "mgnMode": mode,
                    "posSide": side,
                }
                for side in (("long", "short") if account.hedge else ("net",))
            ]
        return entries

    def _set_leverage(self, account: Account, fields: Parameters) -> list[Json]:
        mode = fields.one_of("mgnMode", ("cross", "isolated"))
        market = fields.market(self._trading)
        lever = fields.amount("lever")
        if lever != int(lever) or market.reference is None:
            raise parameter("instId" if market.reference is None else "lever")
        symbol, now_ms = market.instrument.symbol, self._desk.now_ms()
        try:
            self._trading.set_leverage(account, symbol, int(lever), now_ms)
        except Refused as refused:
            if refused.why is Why.MARGIN:
                raise ApiError(
                    59108, "Your account leverage is too low and has insufficient margins."
                ) from None
            raise place_error(refused, market, buys=True) from None
        side = fields.text("posSide", "net")
        return [{"instId": symbol, "lever": plain(lever), "mgnMode": mode, "posSide": side}]

    def _set_mode(self, account: Account, fields: Parameters) -> list[Json]:
        mode = fields.one_of("posMode", tuple(_MODES))
        try:
            self._trading.set_hedge(account, _MODES[mode], self._desk.now_ms())
        except Refused as refused:
            raise place_error(refused, None, buys=True) from None
        return [{"posMode": mode}]

    def _fees(self, account: Account, fields: Parameters) -> list[Json]:
        kind = fields.one_of("instType", TYPES)
        rules = self._trading.rules
        spot = kind in ("SPOT", "MARGIN")
        maker, taker = (plain(-rules.fee(spot=spot, maker=is_maker)) for is_maker in (True, False))
        return [
            {
                "category": "1",
                "delivery": "",
                "exercise": "",
                "feeGroup": [{"groupId": "1", "maker": maker, "taker": taker}],
                "fiat": [],
                "instType": kind,
                "level": "Lv1",
                "maker": maker,
                "makerU": "" if spot else maker,
                "makerUSDC": maker,
                "ruleType": "normal",
                "settle": "",
                "taker": taker,
                "takerU": "" if spot else taker,
                "takerUSDC": taker,
                "ts": str(self._desk.now_ms()),
            }
        ]

    def _largest(self, account: Account, market: SimulatedBook, side: Side) -> Decimal:
        """Return the margin, or the amount of the currency, that an order may use."""
        instrument = market.instrument
        asset = instrument.settle or (instrument.quote if side is Side.BUY else instrument.base)
        return max(ZERO, self._trading.available(account, asset))

    def _max_size(self, account: Account, fields: Parameters) -> list[Json]:
        market = fields.market(self._trading)
        units, instrument = self._trading.ledger.units(market), market.instrument
        mark = self._trading.mark(market)
        sizes = []
        for side in (Side.BUY, Side.SELL):
            amount = self._largest(account, market, side)
            if market.reference is not None:
                amount *= leverage_of(account, market)
            if market.reference is None and side is Side.SELL:
                lots = amount / units.lot
            else:
                lots = amount / units.value_at(mark, 1)
            sizes.append(instrument.quantity.text(int(lots)))
        asset = instrument.settle or instrument.base
        return [
            {"ccy": asset, "instId": instrument.symbol, "maxBuy": sizes[0], "maxSell": sizes[1]}
        ]

    def _max_available(self, account: Account, fields: Parameters) -> list[Json]:
        entries = []
        for name in fields.needed("instId").split(","):
            market = self._trading.market(name)
            if market is None:
                raise no_instrument()
            buy, sell = (
                plain(self._largest(account, market, side)) for side in (Side.BUY, Side.SELL)
            )
            entries.append({"availBuy": buy, "availSell": sell, "instId": name})
        return entries

    def _list_bills(self, account: Account, fields: Parameters) -> list[Json]:
        fits = fitting(fields)
        asset, kind, sub = fields.text("ccy"), fields.text("type"), fields.text("subType")
        begin, end = fields.whole("begin"), fields.whole("end", 1 << 62)
        after, before = fields.whole("after", 1 << 62), fields.whole("before")
        found = (
            entry
            for bill in reversed(self._bills.of(account))
            if before < bill.id < after
            and begin <= bill.time_ms <= end
            and asset in ("", bill.asset)
            and kind in ("", bill.type)
            and fits(bill.market)
            and (entry := describe_bill(bill))
            and sub in ("", entry["subType"])
        )
        return list(islice(found, page_size(fields)))

    def _instruments(self, account: Account, fields: Parameters) -> list[Json]:
        fields.one_of("instType", TYPES)
        fits = fitting(fields)
        return [
            dict(describe_instrument(market.instrument))
            for market in self._trading.ledger.markets.values()
            if fits(market) and market.instrument.listing is not Listing.DELISTED
        ]

    def _currencies(self, account: Account, fields: Parameters) -> list[Json]:
        names = fields.listed("ccy") or list(account.balances)
        return [_currency(name) for name in names if name in account.balances]

    def _funding(self, account: Account, fields: Parameters) -> list[Json]:
        return []  # All money is in the trading account.


def fitting_list(fields: Parameters) -> Callable[[Position], bool]:
    """Return what tells whether a position is one that a query is about."""
    kind = fields.one_of("instType", ("ANY", *TYPES), "ANY")
    names = fields.listed("instId")

    def fits(position: Position) -> bool:
        instrument = position.market.instrument
        return kind in ("ANY", type_of(instrument)) and (not names or instrument.symbol in names)

    return fits


def _currency(name: str) -> Json:
    return {
        "burningFeeRate": "",
        "canDep": True,
        "canInternal": True,
        "canWd": True,
        "ccy": name,
        "chain": f"{name}-Simulated",
        "ctAddr": "",
        "depQuotaFixed": "",
        "depQuoteDailyLayer2": "",
        "fee": "0.0001",
        "logoLink": "",
        "mainNet": True,
        "maxFee": "0.0001",
        "maxFeeForCtAddr": "",
        "maxWd": "1000000",
        "minDep": "0.0001",
        "minDepArrivalConfirm": "1",
        "minFee": "0.0001",
        "minFeeForCtAddr": "",
        "minInternal": "0.0001",
        "minWd": "0.0001",
        "minWdUnlockConfirm": "2",
        "name": name,
        "needTag": False,
        "usedDepQuotaFixed": "",
        "usedWdQuota": "0",
        "wdQuota": "1000000",
        "wdTickSz": "8",
    }
