"""Binance's exchange information, real and made up."""

import gzip
import json

import pytest

from feeds.adapter import choose_instruments
from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.feed import instrument_record
from feeds.types import Kind, Status
from tests.data import shared


@pytest.fixture(scope="module")
def spot():
    with gzip.open(shared("binance_spot/meta/GET_api_v3_exchangeInfo.jsonl.gz")) as file:
        return BINANCE_SPOT.parse_instruments(max(file, key=len))


@pytest.fixture(scope="module")
def usdm():
    with shared("binance_usdm/meta/GET_fapi_v1_exchangeInfo.jsonl").open("rb") as file:
        return BINANCE_USDM.parse_instruments(max(file, key=len))


def by_native(instruments):
    return {each["native"]: each for each in instruments}


def test_a_spot_instrument_has_its_tick_lot_and_limits(spot):
    assert by_native(spot)["ETHBTC"] == {
        "native": "ETHBTC",
        "symbol": "ETH/BTC",
        "base": "ETH",
        "quote": "BTC",
        "settle": "",
        "kind": Kind.SPOT,
        "status": Status.TRADING,
        "price_decimals": 6,
        "quantity_decimals": 4,
        "tick": 1,
        "lot": 1,
        "contract_value": 10**8,
        "minimum_quantity": 1,
        "maximum_quantity": 100_000 * 10**4,
        "minimum_notional": 10_000,
    }


def test_a_perpetual_has_a_settlement_currency_in_its_symbol(usdm):
    found = by_native(usdm)["BTCUSDT"]
    assert (found["symbol"], found["settle"]) == ("BTC/USDT:USDT", "USDT")
    assert found["kind"] == Kind.LINEAR_PERPETUAL
    assert (found["price_decimals"], found["tick"]) == (2, 1)
    assert (found["quantity_decimals"], found["lot"]) == (3, 1)
    assert found["minimum_notional"] == 5 * 10**8


def test_a_dated_future_has_its_date_in_its_symbol(usdm):
    dated = [each for each in usdm if each["kind"] == Kind.LINEAR_FUTURE and "_" in each["native"]]
    assert dated
    for each in dated:
        date = each["native"].partition("_")[2]
        assert each["symbol"] == f"{each['base']}/{each['quote']}:{each['settle']}-{date}"


def test_a_pair_in_a_break_is_halted(spot):
    assert {each["status"] for each in spot} == {Status.TRADING, Status.HALTED}


def test_decimals_hold_every_real_tick_and_lot(spot, usdm):
    for each in (*spot, *usdm):
        assert each["tick"] > 0
        assert each["lot"] > 0
        assert 0 <= each["price_decimals"] <= 8
        assert 0 <= each["quantity_decimals"] <= 8


def test_every_real_instrument_fits_the_table(spot, usdm):
    for each in (*spot, *usdm):
        record = instrument_record(each, 7, "binance_spot")[0]
        for name, value in each.items():
            stored = record[name].decode() if isinstance(value, str) else record[name]
            assert stored == value


def test_precision_finer_than_the_tick_counts_on_futures():
    symbol = {
        "symbol": "BTCUSDT",
        "contractType": "PERPETUAL",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}],
    }
    (found,) = BINANCE_USDM.parse_instruments(json.dumps({"symbols": [symbol]}).encode())
    assert (found["price_decimals"], found["tick"]) == (2, 10)


def test_a_symbol_too_long_for_the_table_is_left_out():
    def symbol(name):
        return {"symbol": name, "baseAsset": "A", "quoteAsset": "B", "status": "TRADING"}

    body = json.dumps({"symbols": [symbol("X" * 33), symbol("币安USDT")]}).encode()
    assert [each["native"] for each in BINANCE_SPOT.parse_instruments(body)] == ["币安USDT"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"symbols": [1]}', b'{"symbols": [{}]}'])
def test_what_is_not_exchange_information_is_refused(body):
    with pytest.raises(ValueError, match="exchange information"):
        BINANCE_SPOT.parse_instruments(body)


def test_instruments_are_chosen_in_the_configured_order_and_once(usdm):
    wanted = ["ETH/USDT:USDT", "BTCUSDT", "ETHUSDT"]
    chosen = choose_instruments(usdm, wanted, Status.TRADING, "binance_usdm")
    assert [each["native"] for each in chosen] == ["ETHUSDT", "BTCUSDT"]
