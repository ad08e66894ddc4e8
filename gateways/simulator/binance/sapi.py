"""The few endpoints of Binance's ``/sapi`` that clients call while they load.

Source: the venue's wallet and margin documentation (2026-08), as far as clients read it.
"""

from typing import Any

from gateways.simulator.account import Account
from gateways.simulator.binance.desk import Ask, Desk, Operation, Security
from gateways.simulator.binance.spot_shapes import MAKER_PPM, TAKER_PPM, eight

_NETWORK = {
    "addressRegex": "",
    "coin": "",
    "depositEnable": True,
    "withdrawEnable": True,
    "isDefault": True,
    "memoRegex": "",
    "minConfirm": 1,
    "name": "Simulated",
    "network": "SIM",
    "withdrawFee": "0",
    "withdrawIntegerMultiple": "0.00000001",
    "withdrawMax": "1000000",
    "withdrawMin": "0.00000001",
    "sameAddress": False,
    "unLockConfirm": 0,
}


class Sapi:
    """The operations; ``install`` hands them to a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def install(self) -> None:
        """Give the desk all operations."""
        self.desk.operations |= {
            "sapi.system": Operation(self._system, security=Security.NONE),
            "sapi.currencies": Operation(self._currencies, 10),
            "sapi.nothing": Operation(lambda ask: [], security=Security.KEY),
            "sapi.fees": Operation(self._fees),
            "sapi.account": Operation(lambda ask: {"data": "Normal"}),
            "sapi.restrictions": Operation(self._restrictions),
        }

    def _system(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return {"status": 0, "msg": "normal"}

    def _currencies(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        names = {each.instrument.base for each in self.desk.markets.values()}
        names |= {each.instrument.quote for each in self.desk.markets.values()}
        names |= set(ask.account.balances)
        return [self._currency(ask.account, name) for name in sorted(names)]

    def _currency(self, account: Account, name: str) -> dict[str, Any]:
        balance = account.balances.get(name)
        zero = "0"
        return {
            "coin": name,
            "depositAllEnable": True,
            "free": eight(balance.free) if balance else zero,
            "freeze": zero,
            "ipoable": zero,
            "ipoing": zero,
            "isLegalMoney": False,
            "locked": eight(balance.locked) if balance else zero,
            "name": name,
            "networkList": [_NETWORK | {"coin": name}],
            "storage": zero,
            "trading": True,
            "withdrawAllEnable": True,
            "withdrawing": zero,
        }

    def _fees(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.optional("symbol")
        return [
            {
                "symbol": name,
                "makerCommission": f"{MAKER_PPM / 1e6:g}",
                "takerCommission": f"{TAKER_PPM / 1e6:g}",
            }
            for name in self.desk.markets
            if symbol in ("", name)
        ]

    def _restrictions(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return {
            "ipRestrict": False,
            "createTime": 1_700_000_000_000,
            "enableReading": True,
            "enableSpotAndMarginTrading": True,
            "enableWithdrawals": False,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": True,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
        }
