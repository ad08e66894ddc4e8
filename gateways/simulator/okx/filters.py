"""The instrument list of OKX, in the venue's full shape."""

from gateways.simulator.instruments import Instrument, Listing, Market, Scale, short_text
from gateways.simulator.okx.dialect import index_of, type_of

_LISTED_MS = "1611916828000"
_SPOT_MOST, _CONTRACT_MOST = "9999999999", "100000000"
_EMPTY = (
    "alias",
    "auctionEndTime",
    "baseCcy",
    "contTdSwTime",
    "ctMult",
    "ctType",
    "ctVal",
    "ctValCcy",
    "expTime",
    "instFamily",
    "maxMktAmt",
    "maxPlatOILmt",
    "openType",
    "optType",
    "posLmtAmt",
    "posLmtPct",
    "preMktSwTime",
    "quoteCcy",
    "settleCcy",
    "stk",
    "uly",
)


def code_of(symbol: str) -> int:
    """Return ``instIdCode``, the number under which WebSocket requests may name an instrument."""
    return sum(map(ord, symbol))


def describe_instrument(instrument: Instrument) -> dict[str, object]:
    """Return one entry of ``/api/v5/public/instruments``."""
    spot = instrument.market is Market.SPOT
    most = _SPOT_MOST if spot else _CONTRACT_MOST
    entry: dict[str, object] = dict.fromkeys(_EMPTY, "")
    entry |= {
        "category": "1",
        "futureSettlement": False,
        "groupId": "1",
        "instId": instrument.symbol,
        "instIdCode": code_of(instrument.symbol),
        "instType": type_of(instrument),
        "lever": "10" if spot else "100",
        "listTime": _LISTED_MS,
        "lotSz": _step(instrument.quantity),
        "maxIcebergSz": f"{most}.0000000000000000",
        "maxLmtAmt": "20000000",
        "maxLmtSz": most,
        "maxMktSz": "1000000" if spot else "30000",
        "maxStopSz": "1000000" if spot else "30000",
        "maxTriggerSz": f"{most}.0000000000000000",
        "maxTwapSz": f"{most}.0000000000000000",
        "minSz": _step(instrument.quantity),
        "ruleType": "normal",
        "state": "live" if instrument.listing is Listing.TRADING else "suspend",
        "tickSz": _step(instrument.tick),
        "tradeQuoteCcyList": [instrument.quote] if spot else [],
    }
    if spot:
        return entry | {"baseCcy": instrument.base, "quoteCcy": instrument.quote}
    inverse = instrument.market is Market.INVERSE
    return entry | {
        "ctMult": "1",
        "ctType": "inverse" if inverse else "linear",
        "ctVal": _step(instrument.contract),
        "ctValCcy": instrument.quote if inverse else instrument.base,
        "instFamily": index_of(instrument),
        "settleCcy": instrument.settle,
        "uly": index_of(instrument),
    }


def _step(scale: Scale) -> str:
    return short_text(scale.step, scale.decimals)
