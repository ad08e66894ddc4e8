"""The simulated venue's REST endpoints: shapes, errors and weights of the real ones."""

import asyncio
from decimal import Decimal

import aiohttp
import pytest

from engine.errors import ConfigError, TradeInfraError
from gateways.simulator import SimulatedVenue, SimulatorSettings
from tests.simulator_client import against, answer, simulated

SPOT, USDM = "binance_spot", "binance_usdm"


def get(venue_name, path, weight_per_minute=0, **parameters):
    async def use(venue, http):
        return await answer(http, venue.base(venue_name) + path, **parameters)

    return against(use, weight_per_minute=weight_per_minute)


@pytest.mark.parametrize(("name", "path"), [(SPOT, "/api/v3"), (USDM, "/fapi/v1")])
def test_ping_and_time_answer(name, path):
    assert get(name, f"{path}/ping")[2] == {}
    assert get(name, f"{path}/time")[2]["serverTime"] > 1_600_000_000_000


def test_spot_exchange_information_has_the_filters_of_the_venue():
    _, _, info = get(SPOT, "/api/v3/exchangeInfo")
    assert [entry["symbol"] for entry in info["symbols"]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    bitcoin = info["symbols"][0]
    filters = {entry["filterType"]: entry for entry in bitcoin["filters"]}
    assert (bitcoin["status"], bitcoin["baseAsset"]) == ("TRADING", "BTC")
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert "NOTIONAL" in filters


def test_futures_exchange_information_has_the_filters_of_the_venue():
    _, _, info = get(USDM, "/fapi/v1/exchangeInfo")
    bitcoin = info["symbols"][0]
    filters = {entry["filterType"]: entry for entry in bitcoin["filters"]}
    assert (bitcoin["contractType"], bitcoin["marginAsset"]) == ("PERPETUAL", "USDT")
    assert (bitcoin["pricePrecision"], bitcoin["quantityPrecision"]) == (2, 3)
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert filters["MIN_NOTIONAL"]["notional"] == "5"


def test_spot_exchange_information_can_be_narrowed():
    _, _, one = get(SPOT, "/api/v3/exchangeInfo", symbol="ETHUSDT")
    _, _, two = get(SPOT, "/api/v3/exchangeInfo", symbols='["SOLUSDT","BTCUSDT"]')
    assert [entry["symbol"] for entry in one["symbols"]] == ["ETHUSDT"]
    assert [entry["symbol"] for entry in two["symbols"]] == ["SOLUSDT", "BTCUSDT"]


@pytest.mark.parametrize(
    ("name", "path", "limit"), [(SPOT, "/api/v3/depth", 10), (USDM, "/fapi/v1/depth", 10)]
)
def test_depth_is_the_true_book(name, path, limit):
    async def use(venue, http):
        venue.step(500)
        _, _, body = await answer(http, venue.base(name) + path, symbol="BTCUSDT", limit=limit)
        state = venue.state(limit)["venues"][name]["symbols"]["BTCUSDT"]
        assert body["lastUpdateId"] == state["update_id"]
        assert (body["bids"], body["asks"]) == (state["bids"], state["asks"])
        assert len(body["bids"]) == limit
        assert Decimal(body["bids"][0][0]) < Decimal(body["asks"][0][0])
        return body

    body = against(use)
    assert ("E" in body) is (name == USDM)


def test_prices_have_the_decimals_of_the_venue():
    _, _, spot = get(SPOT, "/api/v3/depth", symbol="BTCUSDT", limit=5)
    _, _, futures = get(USDM, "/fapi/v1/depth", symbol="SOLUSDT", limit=5)
    assert len(spot["bids"][0][0].partition(".")[2]) == 8
    assert len(futures["bids"][0][0].partition(".")[2]) == 4


@pytest.mark.parametrize(
    ("name", "path", "parameters", "code"),
    [
        (SPOT, "/api/v3/depth", {}, -1102),
        (SPOT, "/api/v3/depth", {"symbol": ""}, -1105),
        (SPOT, "/api/v3/depth", {"symbol": "NOPE"}, -1121),
        (SPOT, "/api/v3/depth", {"symbol": "btcusdt"}, -1100),
        (SPOT, "/api/v3/depth", {"symbol": "BTCUSDT", "limit": "x"}, -1100),
        (SPOT, "/api/v3/depth", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        (SPOT, "/api/v3/depth", {"symbol": "BTCUSDT", "other": "1"}, -1104),
        (SPOT, "/api/v3/exchangeInfo", {"symbol": "NOPE"}, -1121),
        (SPOT, "/api/v3/exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        (SPOT, "/api/v3/exchangeInfo", {"symbols": '["BTCUSDT"]', "symbol": "BTCUSDT"}, -1128),
        (USDM, "/fapi/v1/depth", {}, -1102),
        (USDM, "/fapi/v1/depth", {"symbol": "NOPE"}, -1121),
        (USDM, "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": "7"}, -4021),
        (USDM, "/fapi/v1/premiumIndex", {"symbol": "NOPE"}, -1121),
    ],
)
def test_bad_input_gets_the_code_of_the_venue(name, path, parameters, code):
    status, _, body = get(name, path, **parameters)
    assert (status, body["code"]) == (400, code)
    assert body["msg"]


def test_a_spot_limit_above_the_highest_is_taken_as_the_highest():
    status, headers, _ = get(SPOT, "/api/v3/depth", symbol="BTCUSDT", limit=99_999)
    assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "250")


@pytest.mark.parametrize(
    ("name", "path", "limit", "weight"),
    [
        (SPOT, "/api/v3/depth", 100, "5"),
        (SPOT, "/api/v3/depth", 500, "25"),
        (SPOT, "/api/v3/depth", 1000, "50"),
        (USDM, "/fapi/v1/depth", 50, "2"),
        (USDM, "/fapi/v1/depth", 500, "10"),
        (USDM, "/fapi/v1/depth", 1000, "20"),
    ],
)
def test_the_weight_follows_the_limit(name, path, limit, weight):
    _, headers, _ = get(name, path, symbol="BTCUSDT", limit=limit)
    assert headers["X-MBX-USED-WEIGHT-1M"] == weight


def test_who_exceeds_the_weight_is_refused_and_then_banned():
    async def use(venue, http):
        url = venue.base(SPOT) + "/api/v3/depth"
        return [await answer(http, url, symbol="BTCUSDT", limit=5000) for _ in range(13)]

    seen = against(use, weight_per_minute=300)
    statuses = [status for status, _, _ in seen]
    # A minute of the venue's clock may end in between: then one request more is served.
    assert statuses[0] == 200
    assert set(statuses) <= {200, 429, 418}
    refused = next(entry for entry in seen if entry[0] == 429)
    assert refused[2]["code"] == -1003
    assert 0 < int(refused[1]["Retry-After"]) <= 60


def test_funding_is_reported_for_each_futures_symbol():
    async def use(venue, http):
        base = venue.base(USDM)
        info = await answer(http, f"{base}/fapi/v1/fundingInfo")
        one = await answer(http, f"{base}/fapi/v1/premiumIndex", symbol="ETHUSDT")
        everything = await answer(http, f"{base}/fapi/v1/premiumIndex")
        return info[2], one[2], everything[2]

    info, one, everything = against(use)
    assert [entry["fundingIntervalHours"] for entry in info] == [8, 8, 8]
    assert one["symbol"] == "ETHUSDT"
    assert one["nextFundingTime"] % (8 * 3_600_000) == 0
    assert Decimal(one["markPrice"]) > 0
    assert len(everything) == 3


def test_addresses_without_a_prefix_reach_both_markets():
    async def use(venue, http):
        root = f"http://127.0.0.1:{venue.port}"
        spot = await answer(http, f"{root}/api/v3/depth", symbol="BTCUSDT", limit=5)
        futures = await answer(http, f"{root}/fapi/v1/depth", symbol="BTCUSDT", limit=5)
        return spot[2], futures[2]

    spot, futures = against(use)
    assert "E" not in spot
    assert "E" in futures


def test_a_port_in_use_is_an_error_that_names_it():
    async def use(venue, http):
        with pytest.raises(TradeInfraError, match=str(venue.port)):
            async with SimulatedVenue(SimulatorSettings(port=venue.port)):
                pass

    against(use)


def test_settings_that_cannot_be_served_are_refused():
    with pytest.raises(ConfigError, match="NOPE"):
        simulated(symbols=["NOPE"])
    with pytest.raises(ConfigError, match="kraken"):
        simulated(venues=["kraken"])
    with pytest.raises(ConfigError, match="no-such"):
        simulated(capture="no-such")


def test_the_venue_can_be_started_twice_in_a_row():
    async def twice():
        for _ in range(2):
            async with simulated() as venue, aiohttp.ClientSession() as http:
                status, _, _ = await answer(http, venue.base(SPOT) + "/api/v3/ping")
                assert status == 200

    asyncio.run(twice())
