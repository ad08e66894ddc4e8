"""Unified symbols in both directions, and exact units, of every instrument that the venues list."""

import gzip

import pytest

from engine.errors import ConfigError
from feeds.adapter import choose_instruments, find_venue
from feeds.listing import (
    SymbolError,
    UnifiedSymbols,
    decimals_of,
    fits_table,
    mantissa,
    read_listing,
    unified_symbol,
)
from feeds.types import Kind, Status
from tests.data import shared

ANSWERS = {
    "binance_spot": ["GET_api_v3_exchangeInfo.jsonl.gz"],
    "binance_usdm": ["GET_fapi_v1_exchangeInfo.jsonl"],
    "okx": [
        "GET_api_v5_public_instruments_SPOT.jsonl",
        "GET_api_v5_public_instruments_SWAP.jsonl",
        "GET_api_v5_public_instruments_FUTURES.jsonl",
        "rest_instruments_spot.jsonl",
        "rest_instruments_swap.jsonl",
        "rest_instruments_futures.jsonl",
    ],
    "bybit": [
        "GET_v5_market_instruments-info.jsonl",
        "rest_instruments_linear.jsonl",
        "rest_instruments_inverse.jsonl",
        "rest_instruments_linear_symbol_type.jsonl",
    ],
    "bybit_spot": [
        "rest_getInstrumentSpot.jsonl",
        "rest_instruments_spot.jsonl",
        "rest_instruments_spot_xstocks.jsonl",
    ],
}
"""Recorded exchange information of each venue."""

FOLDERS = {"bybit_spot": "bybit"}


def instrument(native, symbol, status=Status.TRADING):
    """Return an instrument with what symbols are looked up by."""
    return {"native": native, "symbol": symbol, "status": status}


@pytest.fixture(scope="module", params=ANSWERS)
def listed(request):
    """Return all instruments that the recorded answers of a venue list."""
    adapter, found = find_venue(request.param), {}
    for name in ANSWERS[request.param]:
        path = shared(f"{FOLDERS.get(request.param, request.param)}/meta/{name}")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for body in file:
                found |= {each["native"]: each for each in adapter.parse_instruments(body)}
    return list(found.values())


def test_every_listed_instrument_is_found_by_both_symbols(listed):
    symbols = UnifiedSymbols(listed)
    assert listed
    for each in listed:
        assert symbols.symbol(each["native"]) == each["symbol"]
        assert symbols.native(each["symbol"]) == each["native"]
        assert symbols.find(each["native"]) is symbols.find(each["symbol"]) is each


def test_every_listed_instrument_fits_the_table(listed):
    for each in listed:
        assert fits_table(each)
        assert each["contract_value"] > 0
        assert 0 <= each["price_decimals"] <= 18
        assert 0 <= each["quantity_decimals"] <= 18


def test_a_unified_symbol_says_what_kind_of_instrument_it_is(listed):
    for each in listed:
        pair, _, rest = each["symbol"].partition(":")
        settle, _, delivery = rest.partition("-")
        assert pair == f"{each['base']}/{each['quote']}"
        assert settle == each["settle"]
        assert bool(settle) == (each["kind"] != Kind.SPOT)
        assert bool(delivery) <= (each["kind"] in (Kind.LINEAR_FUTURE, Kind.INVERSE_FUTURE))
        if each["kind"] in (Kind.INVERSE_FUTURE, Kind.INVERSE_PERPETUAL):
            assert settle == each["base"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"symbols":1}', b"1"])
def test_what_is_no_listing_is_said_in_words(body):
    with pytest.raises(
        ValueError, match=r"not Moon exchange information: (not JSON|no 'symbols'|of)"
    ):
        read_listing(body, "Moon", lambda answer: [each["native"] for each in answer["symbols"]])


def test_an_unknown_symbol_is_an_error_with_near_matches():
    symbols = UnifiedSymbols([instrument("BTCUSDT", "BTC/USDT"), instrument("ETHUSDT", "ETH/USDT")])
    with pytest.raises(SymbolError, match="no instrument 'BTC/USD' - near matches: BTC/USDT"):
        symbols.native("BTC/USD")
    with pytest.raises(SymbolError, match="no instrument 'btcusd' - near matches: BTCUSDT"):
        symbols.symbol("btcusd")
    with pytest.raises(SymbolError, match="no instrument 'ZZZ' - no similar symbol exists"):
        symbols.find("ZZZ")


def test_a_symbol_of_two_instruments_is_an_error_that_names_both():
    symbols = UnifiedSymbols([instrument("A1", "A/B"), instrument("A2", "A/B")])
    with pytest.raises(SymbolError, match=r"'A/B' stands for several.*A1, A2"):
        symbols.native("A/B")
    assert symbols.symbol("A2") == "A/B"


def test_an_instrument_listed_twice_is_an_error():
    with pytest.raises(SymbolError, match="'A1' is listed twice"):
        UnifiedSymbols([instrument("A1", "A/B"), instrument("A1", "A/C")])


def test_choosing_an_ambiguous_symbol_is_an_error_of_the_configuration():
    both = [instrument("A1", "A/B"), instrument("A2", "A/B")]
    with pytest.raises(ConfigError, match=r"moon: symbol 'A/B'.*\(key: symbols\)"):
        choose_instruments(both, ["A/B"], Status.TRADING, "moon")
    assert choose_instruments(both, ["A2"], Status.TRADING, "moon") == [both[1]]


@pytest.mark.parametrize(
    ("parts", "symbol"),
    [
        (("BTC", "USDT"), "BTC/USDT"),
        (("BTC", "USDT", "USDT"), "BTC/USDT:USDT"),
        (("BTC", "USD", "BTC"), "BTC/USD:BTC"),
        (("BTC", "USD", "BTC", "261225"), "BTC/USD:BTC-261225"),
    ],
)
def test_a_unified_symbol_names_pair_settlement_and_delivery(parts, symbol):
    assert unified_symbol(*parts) == symbol


@pytest.mark.parametrize(
    ("step", "decimals"),
    [("0.01000000", 2), ("1.00000000", 0), ("1", 0), ("100", 0), ("0.00000001", 8), ("1E-7", 7)],
)
def test_decimals_are_those_that_the_step_needs(step, decimals):
    assert decimals_of(step) == decimals


def test_a_number_beyond_int64_is_its_maximum():
    assert mantissa("92233720368547758070", 8) == 2**63 - 1


@pytest.mark.parametrize("number", ["many", "", "NaN", "Infinity"])
def test_a_number_that_is_none_is_refused(number):
    with pytest.raises(ValueError, match="not a number"):
        mantissa(number, 2)
    with pytest.raises(ValueError, match="not a number"):
        decimals_of(number)
