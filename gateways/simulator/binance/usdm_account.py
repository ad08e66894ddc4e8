"""The account operations of Binance USDⓈ-M: balances, positions, settings, income, listen keys.

Source: the venue's OpenAPI description (binance-connector-python, 2026-08).
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from heapq import merge
from typing import Any

from gateways.simulator.account import ZERO, Account, Balance, Position, Refused, Why
from gateways.simulator.binance.codes import LISTEN_KEY, MARGIN_WORDS, MODE_WORDS, ApiError, missing
from gateways.simulator.binance.desk import Ask, Desk, Operation, Security
from gateways.simulator.binance.listen_keys import ListenKeys
from gateways.simulator.binance.parameters import Parameters
from gateways.simulator.binance.spot_orders import rows
from gateways.simulator.binance.spot_shapes import eight
from gateways.simulator.binance.usdm_shapes import side_of
from gateways.simulator.margin import plain
from gateways.simulator.simulation import SimulatedBook

MAX_NOTIONAL = "1000000000"
_MODES = {"ISOLATED": True, "CROSSED": False}
_NONE = "0.00000000"

Json = dict[str, Any]


class UsdmAccount:
    """The operations; ``install`` hands them to a desk."""

    def __init__(self, desk: Desk, keys: ListenKeys) -> None:
        self.desk = desk
        self.trading = desk.trading
        self.keys = keys
        self._multi_assets: set[int] = set()

    def install(self) -> None:
        """Give the desk all operations."""
        by_key: dict[str, Any] = {"security": Security.KEY}
        self.desk.operations |= {
            "account.status": Operation(self._account_v2, 5),
            "v2/account.status": Operation(self._account_v3, 5),
            "account.balance": Operation(self._balance, 5),
            "v2/account.balance": Operation(self._balance, 5),
            "account.position": Operation(self._positions_v2, 5),
            "v2/account.position": Operation(self._positions_v3, 5),
            "leverage": Operation(self._leverage),
            "marginType": Operation(self._margin_type, words=MARGIN_WORDS),
            "positionMargin": Operation(self._position_margin),
            "positionSide.get": Operation(self._mode, 30),
            "positionSide.set": Operation(self._set_mode, words=MODE_WORDS),
            "multiAssetsMargin.get": Operation(self._assets_mode, 30),
            "multiAssetsMargin.set": Operation(self._set_assets_mode),
            "commissionRate": Operation(self._commission, 20),
            "leverageBracket": Operation(self._brackets),
            "symbolConfig": Operation(self._symbols, 5),
            "accountConfig": Operation(self._configuration, 5),
            "rateLimit.order": Operation(self._counts),
            "income": Operation(self._income, 30),
            "feeBurn": Operation(lambda ask: {"feeBurn": False}, 30),
            "adlQuantile": Operation(self._quantiles, 5),
            "userDataStream.start": Operation(self._start, **by_key),
            "userDataStream.ping": Operation(self._ping, **by_key),
            "userDataStream.stop": Operation(self._stop, **by_key),
        }

    # Money.

    def _margins(self, position: Position) -> tuple[Decimal, Decimal, Decimal]:
        """Return notional (negative: short), initial and maintenance margin at the mark price."""
        units = self.trading.quantity_units(position.market, position.lots)
        notional = units * self.trading.mark(position.market)
        initial = abs(notional) / position.leverage
        return notional, initial, abs(notional) * self.trading.rules.maintenance

    def _held(self, account: Account, symbol: str = "") -> list[Position]:
        return [
            each for (name, _), each in sorted(account.positions.items()) if symbol in ("", name)
        ]

    def _asset(self, account: Account, balance: Balance) -> Json:
        unrealised = initial = maintenance = ZERO
        for position in self._held(account):
            if position.lots and position.market.instrument.settle == balance.asset:
                _, needed, kept = self._margins(position)
                unrealised += self.trading.unrealised(position)
                initial += needed
                maintenance += kept
        available = max(ZERO, self.trading.available(account, balance.asset))
        wallet = eight(balance.total)
        return {
            "asset": balance.asset,
            "walletBalance": wallet,
            "unrealizedProfit": eight(unrealised),
            "marginBalance": eight(balance.total + unrealised),
            "maintMargin": eight(maintenance),
            "initialMargin": eight(initial + balance.reserved),
            "positionInitialMargin": eight(initial),
            "openOrderInitialMargin": eight(balance.reserved),
            "crossWalletBalance": wallet,
            "crossUnPnl": eight(unrealised),
            "availableBalance": eight(available),
            "maxWithdrawAmount": eight(min(available, balance.total)),
            "marginAvailable": True,
            # Clients take an asset whose time is 0 for one that was never used.
            "updateTime": self.desk.now_ms(),
        }

    def _balance(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        found = []
        for _, balance in sorted(ask.account.balances.items()):
            told = self._asset(ask.account, balance)
            found.append(
                {
                    "accountAlias": "SgsR",
                    "asset": balance.asset,
                    "balance": told["walletBalance"],
                    "crossWalletBalance": told["crossWalletBalance"],
                    "crossUnPnl": told["crossUnPnl"],
                    "availableBalance": told["availableBalance"],
                    "maxWithdrawAmount": told["maxWithdrawAmount"],
                    "marginAvailable": True,
                    "updateTime": ask.now_ms,
                }
            )
        return found

    def _totals(self, account: Account) -> Json:
        assets = [self._asset(account, each) for _, each in sorted(account.balances.items())]
        # The venue's totals are in dollars; of assets without a simulated price only USDT counts.
        dollar = next((each for each in assets if each["asset"] == "USDT"), None)
        names = {
            "totalInitialMargin": "initialMargin",
            "totalMaintMargin": "maintMargin",
            "totalWalletBalance": "walletBalance",
            "totalUnrealizedProfit": "unrealizedProfit",
            "totalMarginBalance": "marginBalance",
            "totalPositionInitialMargin": "positionInitialMargin",
            "totalOpenOrderInitialMargin": "openOrderInitialMargin",
            "totalCrossWalletBalance": "crossWalletBalance",
            "totalCrossUnPnl": "crossUnPnl",
            "availableBalance": "availableBalance",
            "maxWithdrawAmount": "maxWithdrawAmount",
        }
        totals = {name: dollar[part] if dollar else _NONE for name, part in names.items()}
        return totals | {"assets": assets}

    def _account_v2(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        account = ask.account
        head = {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "updateTime": 0,
            "multiAssetsMargin": account.uid in self._multi_assets,
            "tradeGroupId": -1,
        }
        return (
            head
            | self._totals(account)
            | {"positions": [self._position_v2(each) for each in self._all(account, "")]}
        )

    def _position_v2(self, position: Position) -> Json:
        notional, initial, maintenance = self._margins(position)
        instrument = position.market.instrument
        return {
            "symbol": instrument.symbol,
            "initialMargin": eight(initial),
            "maintMargin": eight(maintenance),
            "unrealizedProfit": eight(self.trading.unrealised(position)),
            "positionInitialMargin": eight(initial),
            "openOrderInitialMargin": "0",
            "leverage": str(position.leverage),
            "isolated": position.isolated,
            "entryPrice": plain(position.entry),
            "breakEvenPrice": plain(position.entry),
            "maxNotional": MAX_NOTIONAL,
            "bidNotional": "0",
            "askNotional": "0",
            "positionSide": side_of(position.side),
            "positionAmt": instrument.quantity.text(position.lots),
            "notional": eight(notional),
            "isolatedWallet": eight(position.margin) if position.isolated else "0",
            "updateTime": position.updated_ms,
        }

    def _account_v3(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        names: tuple[str, ...] = ("symbol", "positionSide", "positionAmt", "unrealizedProfit")
        names += ("notional", "isolatedWallet", "initialMargin", "maintMargin", "updateTime")
        positions = []
        for position in self._held(ask.account):
            if position.lots:
                told = self._position_v2(position)
                isolated = {"isolatedMargin": told["isolatedWallet"]}
                positions.append({name: told[name] for name in names} | isolated)
        return self._totals(ask.account) | {"positions": positions}

    # Positions.

    def _all(self, account: Account, symbol: str) -> Iterable[Position]:
        """Return all positions of the account's mode, flat ones too."""
        sides = ("long", "short") if account.hedge else ("net",)
        for name, market in self.desk.markets.items():
            if symbol not in ("", name):
                continue
            for side in sides:
                yield account.positions.get((name, side)) or self._flat(account, market, side)

    def _flat(self, account: Account, market: SimulatedBook, side: str) -> Position:
        symbol = market.instrument.symbol
        leverage = account.leverage.get(symbol, self.trading.rules.leverage)
        isolated = account.isolated.get(symbol, False)
        return Position(market, side, leverage=leverage, isolated=isolated)

    def _liquidation_price(self, account: Account, position: Position) -> str:
        """Return where the margin is used up, if only this position moves; "0" if nowhere."""
        if not position.lots:
            return "0"
        instrument = position.market.instrument
        margin = position.margin
        if not position.isolated:
            balance = account.balances.get(instrument.settle)
            margin = balance.total if balance is not None else ZERO
        amount = self.trading.quantity_units(position.market, position.lots)
        divisor = amount - abs(amount) * self.trading.rules.maintenance
        price = (amount * position.entry - margin) / divisor
        return eight(price) if price > 0 else "0"

    def _risk(self, account: Account, position: Position) -> Json:
        notional, _, _ = self._margins(position)
        instrument = position.market.instrument
        own = eight(position.margin) if position.isolated and position.lots else "0"
        return {
            "symbol": instrument.symbol,
            "positionSide": side_of(position.side),
            "positionAmt": instrument.quantity.text(position.lots),
            "entryPrice": plain(position.entry) if position.lots else "0.0",
            "breakEvenPrice": plain(position.entry) if position.lots else "0.0",
            "markPrice": eight(self.trading.mark(position.market)),
            "unRealizedProfit": eight(self.trading.unrealised(position)),
            "liquidationPrice": self._liquidation_price(account, position),
            "isolatedMargin": own if own != "0" else _NONE,
            "notional": eight(notional),
            "isolatedWallet": own,
            "updateTime": position.updated_ms,
        }

    def _positions_v2(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return [
            self._risk(ask.account, position)
            | {
                "leverage": str(position.leverage),
                "maxNotionalValue": MAX_NOTIONAL,
                "marginType": "isolated" if position.isolated else "cross",
                "isAutoAddMargin": "false",
            }
            for position in self._all(ask.account, self._symbol(ask))
        ]

    def _positions_v3(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = self._symbol(ask)
        busy = {order.market.instrument.symbol for order in ask.account.orders.values()}
        found = []
        for position in self._all(ask.account, symbol):
            name = position.market.instrument.symbol
            if not position.lots and name not in busy:
                continue
            _, initial, maintenance = self._margins(position)
            found.append(
                self._risk(ask.account, position)
                | {
                    "marginAsset": position.market.instrument.settle,
                    "initialMargin": eight(initial),
                    "maintMargin": eight(maintenance),
                    "positionInitialMargin": eight(initial),
                    "openOrderInitialMargin": "0",
                    "adl": 1 if position.lots else 0,
                    "bidNotional": "0",
                    "askNotional": "0",
                }
            )
        return found

    def _symbol(self, ask: Ask) -> str:
        symbol = ask.parameters.optional("symbol")
        if symbol:
            self.desk.market(symbol)
        return symbol

    def _quantiles(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return [
            {
                "symbol": position.market.instrument.symbol,
                "adlQuantile": {side_of(position.side): 1},
            }
            for position in self._held(ask.account, self._symbol(ask))
            if position.lots
        ]

    # Settings.

    def _leverage(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        leverage = ask.parameters.number("leverage")
        if not 1 <= leverage <= self.trading.rules.leverage_max:
            raise ApiError(-4028, f"Leverage {leverage} is not valid")
        self.trading.set_leverage(ask.account, symbol, leverage, ask.now_ms)
        return {"leverage": leverage, "maxNotionalValue": MAX_NOTIONAL, "symbol": symbol}

    def _margin_type(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        mode = ask.parameters.choice("marginType", _MODES, (-4055, "Invalid marginType."))
        if not mode:
            raise missing("marginType")
        if not self.trading.set_isolated(ask.account, symbol, _MODES[mode], ask.now_ms):
            raise Refused(Why.NOT_CHANGED)
        return {"code": 200, "msg": "success"}

    def _position_margin(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        symbol = parameters.symbol()
        self.desk.market(symbol)
        amount, kind = parameters.decimal("amount"), parameters.number("type")
        side = parameters.values.get("positionSide", "BOTH").lower()
        position = ask.account.positions.get((symbol, "net" if side == "both" else side))
        if position is None or not position.lots or not position.isolated:
            raise ApiError(-4046, "Cannot add position margin: position is 0.")
        if not amount or kind not in (1, 2):
            raise ApiError(-4054, "Cannot add position margin: the amount is not positive.")
        asset = position.market.instrument.settle
        if kind == 1 and amount > self.trading.available(ask.account, asset):
            raise Refused(Why.MARGIN)
        _, initial, _ = self._margins(position)
        if kind == 2 and position.margin - amount < initial:
            raise Refused(Why.MARGIN)
        self.trading.ledger.add_margin(ask.account, position, amount if kind == 1 else -amount)
        text = "Successfully modify position margin."
        return {"amount": float(amount), "code": 200, "msg": text, "type": kind}

    def _mode(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return {"dualSidePosition": ask.account.hedge}

    def _set_mode(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        ask.parameters.text("dualSidePosition")
        hedge = ask.parameters.flag("dualSidePosition")
        if not self.trading.set_hedge(ask.account, hedge, ask.now_ms):
            raise Refused(Why.NOT_CHANGED)
        return {"code": 200, "msg": "success"}

    def _assets_mode(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return {"multiAssetsMargin": ask.account.uid in self._multi_assets}

    def _set_assets_mode(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        ask.parameters.text("multiAssetsMargin")
        wanted = ask.parameters.flag("multiAssetsMargin")
        if wanted is (ask.account.uid in self._multi_assets):
            raise ApiError(-4171, "No need to change Multi-Assets mode.")
        if wanted:
            self._multi_assets.add(ask.account.uid)
        else:
            self._multi_assets.discard(ask.account.uid)
        return {"code": 200, "msg": "success"}

    def _commission(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        market = self.desk.market(ask.parameters.symbol())
        rules = self.trading.rules
        return {
            "symbol": market.instrument.symbol,
            "makerCommissionRate": plain(rules.maker),
            "takerCommissionRate": plain(rules.taker),
            "rpiCommissionRate": plain(rules.maker),
        }

    def _brackets(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = self._symbol(ask)
        found = [
            {
                "symbol": name,
                "notionalCoef": 1.0,
                "brackets": [
                    {
                        "bracket": 1,
                        "initialLeverage": self.trading.rules.leverage_max,
                        "notionalCap": int(MAX_NOTIONAL),
                        "notionalFloor": 0,
                        "maintMarginRatio": float(self.trading.rules.maintenance),
                        "cum": 0.0,
                    }
                ],
            }
            for name in self.desk.markets
            if symbol in ("", name)
        ]
        return found[0] if symbol else found

    def _symbols(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = self._symbol(ask)
        default = self.trading.rules.leverage
        return [
            {
                "symbol": name,
                "marginType": "ISOLATED" if ask.account.isolated.get(name) else "CROSSED",
                "isAutoAddMargin": False,
                "leverage": ask.account.leverage.get(name, default),
                "maxNotionalValue": MAX_NOTIONAL,
            }
            for name in self.desk.markets
            if symbol in ("", name)
        ]

    def _configuration(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": ask.account.hedge,
            "updateTime": 0,
            "multiAssetsMargin": ask.account.uid in self._multi_assets,
            "tradeGroupId": -1,
        }

    def _counts(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return self.desk.counted(ask.account)

    # Income.

    def _income(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        symbol, kind = self._symbol(ask), parameters.optional("incomeType")
        begin, end = parameters.number("startTime", 0), parameters.number("endTime", 10**15)
        most = min(parameters.number("limit", 100) or 100, 1000)
        chosen = (
            row
            for row in _income_of(ask.account)
            if symbol in ("", row["symbol"])
            and kind in ("", row["incomeType"])
            and begin <= row["time"] <= end
        )
        return rows(chosen, most, newest=not begin)

    # Listen keys.

    def _start(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return {"listenKey": self.keys.start(ask.account, ask.now_ms)}

    def _ping(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        key = self.keys.extend(ask.account, _key(ask.parameters), ask.now_ms)
        if not key:
            raise ApiError(*LISTEN_KEY)
        return {"listenKey": key}

    def _stop(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        if not self.keys.stop(ask.account, _key(ask.parameters)):
            raise ApiError(*LISTEN_KEY)
        return {}


def _key(parameters: Parameters) -> str:
    """Return the listen key; without one the account's own is meant."""
    return parameters.optional("listenKey")


def _income_of(account: Account) -> Iterable[Json]:
    """Go through all that has changed an account's money, the newest first."""
    parts = (_transfers(account), _payments(account), _profits(account))
    return merge(*parts, key=lambda row: -int(row["time"]))


def _profits(account: Account) -> Iterator[Json]:
    for fill in reversed(account.fills):
        symbol, asset = fill.order.market.instrument.symbol, fill.fee_asset
        kinds = {"REALIZED_PNL": fill.realised, "COMMISSION": -fill.fee}
        for kind, amount in kinds.items():
            if amount:
                number = 2 * fill.sequence + (kind == "COMMISSION")
                yield _row(symbol, kind, amount, asset, fill.time_ms, number, str(fill.id))


def _payments(account: Account) -> Iterator[Json]:
    for paid in reversed(account.funding):
        symbol = paid.market.instrument.symbol
        yield _row(symbol, "FUNDING_FEE", -paid.paid, paid.asset, paid.time_ms, paid.id, "")


def _transfers(account: Account) -> Iterator[Json]:
    for number in range(len(account.transfers), 0, -1):
        moved = account.transfers[number - 1]
        yield _row("", "TRANSFER", moved.amount, moved.asset, moved.time_ms, number, "")


def _row(
    symbol: str, kind: str, amount: Decimal, asset: str, time_ms: int, number: int, trade: str
) -> Json:
    return {
        "symbol": symbol,
        "incomeType": kind,
        "income": eight(amount),
        "asset": asset,
        "info": trade or kind,
        "time": time_ms,
        "tranId": number,
        "tradeId": trade,
    }
