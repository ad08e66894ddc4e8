"""Bybit's instrument lists, real and made up."""

import json

import pytest

from feeds.adapter import choose_instruments
from feeds.bybit import BYBIT, BYBIT_SPOT
from feeds.bybit.symbols import STATUS
from feeds.feed import instrument_record
from feeds.listing import UnifiedSymbols
from feeds.types import Kind, Status
from tests.data import shared


def listed(name, venue=BYBIT):
    (body,) = shared(f"bybit/meta/{name}.jsonl").read_bytes().splitlines()[:1]
    return {each["native"]: each for each in venue.parse_instruments(body)}


def contract(**fields):
    lot = {"maxOrderQty": "100", "minOrderQty": "0.001", "qtyStep": "0.001"}
    return {
        "symbol": "BTCUSDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "deliveryTime": "0",
        "priceScale": "2",
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": lot | {"minNotionalValue": "5"},
    } | fields


def parsed(*symbols, code=0):
    answer = {"retCode": code, "retMsg": "OK", "result": {"list": list(symbols)}}
    return BYBIT.parse_instruments(json.dumps(answer).encode())


def test_a_linear_perpetual_has_its_tick_lot_and_limits():
    assert listed("rest_linear_instruments")["BTCUSDT"] == {
        "native": "BTCUSDT",
        "symbol": "BTC/USDT:USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "kind": Kind.LINEAR_PERPETUAL,
        "status": Status.TRADING,
        "price_decimals": 2,
        "quantity_decimals": 3,
        "tick": 10,
        "lot": 1,
        "contract_value": 10**8,
        "minimum_quantity": 1,
        "maximum_quantity": 100_000,
        "minimum_notional": 5 * 10**8,
    }


def test_an_inverse_perpetual_is_settled_in_its_base_and_worth_a_dollar():
    found = listed("rest_instruments_inverse")["BTCUSD"]
    assert (found["symbol"], found["settle"]) == ("BTC/USD:BTC", "BTC")
    assert found["kind"] == Kind.INVERSE_PERPETUAL
    assert (found["price_decimals"], found["tick"]) == (1, 5)
    assert (found["quantity_decimals"], found["lot"]) == (0, 1)
    assert (found["contract_value"], found["minimum_notional"]) == (10**8, 0)


def test_a_spot_pair_has_no_settlement_currency():
    found = listed("rest_getInstrumentSpot", BYBIT_SPOT)["BTCUSDT"]
    assert (found["symbol"], found["settle"], found["kind"]) == ("BTC/USDT", "", Kind.SPOT)
    assert (found["price_decimals"], found["quantity_decimals"]) == (2, 6)
    assert (found["minimum_quantity"], found["maximum_quantity"]) == (48, 71_739_562)
    assert found["minimum_notional"] == 10**8


@pytest.mark.parametrize(
    ("fields", "symbol", "kind"),
    [
        ({}, "BTC/USDT:USDT", Kind.LINEAR_PERPETUAL),
        (
            {"symbol": "BTCPERP", "quoteCoin": "USDC", "settleCoin": "USDC"},
            "BTC/USDC:USDC",
            Kind.LINEAR_PERPETUAL,
        ),
        (
            {
                "symbol": "BTCUSDT-25DEC26",
                "contractType": "LinearFutures",
                "deliveryTime": "1798185600000",
            },
            "BTC/USDT:USDT-261225",
            Kind.LINEAR_FUTURE,
        ),
        (
            {
                "symbol": "BTCUSDZ26",
                "contractType": "InverseFutures",
                "quoteCoin": "USD",
                "settleCoin": "BTC",
                "deliveryTime": "1798185600000",
            },
            "BTC/USD:BTC-261225",
            Kind.INVERSE_FUTURE,
        ),
    ],
)
def test_a_contracts_unified_symbol_says_how_it_is_settled_and_when(fields, symbol, kind):
    (found,) = parsed(contract(**fields))
    assert (found["symbol"], found["kind"]) == (symbol, kind)


def test_the_time_at_which_a_perpetual_is_delisted_is_no_delivery():
    (found,) = parsed(contract(deliveryTime="1798185600000"))
    assert found["symbol"] == "BTC/USDT:USDT"


@pytest.mark.parametrize(("text", "status"), [*STATUS.items(), ("Odd", Status.UNKNOWN)])
def test_a_status_is_read(text, status):
    (found,) = parsed(contract(status=text))
    assert found["status"] == status


def test_only_trading_contracts_trade():
    assert [text for text, status in STATUS.items() if status == Status.TRADING] == ["Trading"]


def test_a_price_scale_finer_than_the_tick_counts():
    (found,) = parsed(contract(priceScale="4", priceFilter={"tickSize": "0.5"}))
    assert (found["price_decimals"], found["tick"]) == (4, 5000)


def test_options_and_unknown_kinds_of_contract_are_left_out():
    assert listed("rest_instruments_option") == {}
    assert parsed(contract(contractType="Perpetual Swap"), contract(symbol="X" * 40)) == []


def test_every_listed_sample_has_a_unified_symbol_that_leads_back():
    for path in sorted(shared("bybit/meta").glob("*nstrument*")):
        for line in path.read_bytes().splitlines():
            answer = json.loads(line)
            if isinstance(answer, dict) and "retCode" in answer:
                instruments = BYBIT.parse_instruments(line)
                names = UnifiedSymbols(instruments)
                for each in instruments:
                    assert names.native(names.symbol(each["native"])) == each["native"]


def test_an_instrument_fits_its_record():
    for each in listed("rest_linear_instruments").values():
        row = instrument_record(each, 3, "bybit")
        assert row["native"][0].decode() == each["native"]


def test_a_unified_symbol_chooses_its_instrument():
    instruments = list(listed("rest_linear_instruments").values())
    (found,) = choose_instruments(instruments, ["ETH/USDT:USDT"], Status.TRADING, "bybit")
    assert found["native"] == "ETHUSDT"


@pytest.mark.parametrize("body", [b"[]", b"{}", b"x", b'{"retCode":0,"result":{}}'])
def test_another_answer_is_no_instrument_list(body):
    with pytest.raises(ValueError, match="not Bybit exchange information"):
        BYBIT.parse_instruments(body)


def test_an_errors_answer_is_refused_with_the_venues_words():
    with pytest.raises(ValueError, match="10006 Too many visits"):
        BYBIT.parse_instruments(b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}')
