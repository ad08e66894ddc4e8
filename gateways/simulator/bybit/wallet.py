"""The unified wallet as Bybit writes it: each coin, and the account in US dollars.

Source: the venue's page ``account/wallet-balance`` and recorded messages.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from gateways.simulator.account import ZERO, Account, Balance
from gateways.simulator.bybit.shapes import Row
from gateways.simulator.margin import money, plain, position_margin

if TYPE_CHECKING:
    from gateways.simulator.trading import Trading

Pair = tuple["Trading", Account]


def wallet_row(pairs: list[Pair], assets: tuple[str, ...]) -> Row:
    """Return the wallet of a user, who has an account at each of some clearing houses."""
    coins = []
    equity = wallet = gains = initial = maintenance = ZERO
    for asset, balance in pairs[0][1].balances.items():
        price = next(filter(None, (t.ledger.dollars(asset, ZERO) for t, _ in pairs)), ZERO)
        coin, figures = _coin(pairs, asset, balance, price)
        total, gain, margin, kept = figures
        wallet += total * price
        gains += gain * price
        equity += (total + gain) * price
        initial += margin * price
        maintenance += kept * price
        if not assets or asset in assets:
            coins.append(coin)
    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": plain(money(initial / equity)) if equity > 0 else "0",
        "accountMMRate": plain(money(maintenance / equity)) if equity > 0 else "0",
        "totalEquity": plain(money(equity)),
        "totalWalletBalance": plain(money(wallet)),
        "totalMarginBalance": plain(money(wallet + gains)),
        "totalAvailableBalance": plain(money(equity - initial)),
        "totalPerpUPL": plain(money(gains)),
        "totalInitialMargin": plain(money(initial)),
        "totalMaintenanceMargin": plain(money(maintenance)),
        "coin": coins,
    }


def _coin(
    pairs: list[Pair], asset: str, balance: Balance, price: Decimal
) -> tuple[Row, tuple[Decimal, Decimal, Decimal, Decimal]]:
    """Return a coin's row, and its total, unrealized gain, initial and maintenance margin."""
    gain = held = kept = realised = ZERO
    available = pairs[0][0].available(pairs[0][1], asset)
    for trading, account in pairs:
        for position in account.positions.values():
            units = position.market.units
            if units.settle != asset:
                continue
            realised += position.realised
            if position.lots:
                gain += trading.unrealised(position)
                held += position_margin(units, position)
                value = units.value_at(position.entry, abs(position.lots))
                kept += money(value * trading.rules.maintenance)
    total = balance.total
    ordered = max(ZERO, total - balance.locked - held - available)
    row = {
        "coin": asset,
        "equity": plain(total + gain),
        "usdValue": plain(money((total + gain) * price)),
        "walletBalance": plain(total),
        "free": "",
        "locked": plain(balance.locked),
        "spotHedgingQty": "0",
        "borrowAmount": "0",
        "availableToWithdraw": plain(max(ZERO, available)),
        "accruedInterest": "0",
        "totalOrderIM": plain(ordered),
        "totalPositionIM": plain(held),
        "totalPositionMM": plain(kept),
        "unrealisedPnl": plain(gain),
        "cumRealisedPnl": plain(realised),
        "bonus": "0",
        "marginCollateral": True,
        "collateralSwitch": True,
        "availableToBorrow": "",
        "spotBorrow": "0",
    }
    return row, (total, gain, held + ordered, kept)
