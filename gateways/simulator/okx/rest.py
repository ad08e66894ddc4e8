"""The public REST endpoints of OKX v5: parameters, limits, errors and answers as the venue's."""

from collections.abc import Callable, Mapping
from typing import Any

from engine.common import Side
from gateways.simulator.digits import whole
from gateways.simulator.faults import FaultPlan
from gateways.simulator.instruments import Listing
from gateways.simulator.okx.dialect import TYPES, type_of
from gateways.simulator.okx.filters import describe_instrument
from gateways.simulator.okx.streams import MarketStreams, VenueStreams
from gateways.simulator.rest import ApiError, Call, PublicRest

DEPTH_MOST = 400
_TIMEOUT = 50004, "API endpoint request timeout. Please check the request result."
_FAULTS = {
    400: _TIMEOUT,
    429: (50011, "Too Many Requests"),
    403: (50113, "Invalid Sign"),
    503: (50001, "Service temporarily unavailable. Try again later."),
    504: _TIMEOUT,
}


def broken(status: int) -> ApiError:
    """Return what the venue says with a status that a fault asks for."""
    return ApiError(*_FAULTS.get(status, (50026, "System error. Try again later.")), status)


class Rest(PublicRest):
    """The REST endpoints over the generated books."""

    def __init__(
        self, streams: VenueStreams, plan: FaultPlan, venue: str, now_ms: Callable[[], int]
    ) -> None:
        super().__init__(plan, venue)
        self._streams = streams
        self._now_ms = now_ms

    def endpoints(self) -> dict[str, tuple[Call, tuple[int, float]]]:
        """Return what answers at each path, and its limit."""
        return {
            "/api/v5/public/time": (self._time, (10, 2.0)),
            "/api/v5/public/instruments": (self._instruments, (20, 2.0)),
            "/api/v5/market/books": (self._books, (40, 2.0)),
        }

    def envelope(self, result: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the body of a good answer."""
        return {"code": "0", "msg": "", "data": result}

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the body of a refusal."""
        return {"code": str(error.code), "msg": str(error), "data": []}

    def broken(self, status: int) -> ApiError:
        """Return what the venue says with a status that a fault asks for."""
        return broken(status)

    def too_many(self) -> ApiError:
        """Return what the venue says to a client beyond its limit."""
        return self.broken(429)

    def _time(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        return [{"ts": str(self._now_ms())}]

    def _instruments(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        kind = parameters.get("instType", "")
        if not kind:
            raise ApiError(50014, "Parameter instType can not be empty.", 400)
        if kind not in TYPES:
            raise ApiError(51000, "Parameter instType error", 400)
        markets = [
            streams.market.instrument
            for streams in self._streams.markets.values()
            if type_of(streams.market.instrument) == kind
            and streams.market.instrument.listing is not Listing.DELISTED
        ]
        entries = [describe_instrument(instrument) for instrument in markets]
        for name in ("instId", "uly", "instFamily"):
            if name in parameters:
                entries = [entry for entry in entries if entry[name] == parameters[name]]
        if not entries and "instId" in parameters:
            raise _unknown()
        return entries

    def _books(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        market = self._market(parameters)
        wanted = whole(parameters.get("sz") or "1")
        if not wanted:
            raise ApiError(51000, "Parameter sz error", 400)
        limit = min(wanted, DEPTH_MOST)
        return [
            {
                "asks": market.rows(Side.SELL, limit),
                "bids": market.rows(Side.BUY, limit),
                "ts": str(self._now_ms()),
                "seqId": market.seq(),
            }
        ]

    def _market(self, parameters: Mapping[str, str]) -> MarketStreams:
        name = parameters.get("instId", "")
        if not name:
            raise ApiError(50014, "Parameter instId can not be empty.", 400)
        market = self._streams.markets.get(name)
        if market is None:
            raise _unknown()
        return market


def _unknown() -> ApiError:
    return ApiError(51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
