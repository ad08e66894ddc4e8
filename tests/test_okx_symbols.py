"""OKX's instruments, real and made up."""

import json

import pytest

from feeds.feed import instrument_record
from feeds.listing import UnifiedSymbols
from feeds.okx import OKX
from feeds.types import Kind, Status
from tests.data import shared


def listed(name):
    """Return the instruments of a recorded answer by their native symbols."""
    body = shared(f"okx/meta/{name}.jsonl").read_bytes().splitlines()[0]
    return {each["native"]: each for each in OKX.parse_instruments(body)}


def body(**changed):
    fields = {"instId": "BTC-USD-261225", "instType": "FUTURES", "ctType": "inverse"}
    fields |= {"uly": "BTC-USD", "settleCcy": "BTC", "ctVal": "100", "ctMult": "1"}
    fields |= {"tickSz": "0.1", "lotSz": "1", "minSz": "1", "maxLmtSz": "1000000"}
    fields |= {"state": "live", "expTime": "1798185600000"}
    return json.dumps({"code": "0", "data": [fields | changed], "msg": ""}).encode()


def test_a_spot_instrument_has_its_tick_lot_and_limits():
    assert listed("GET_api_v5_public_instruments_SPOT")["BTC-USDT"] == {
        "native": "BTC-USDT",
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": "",
        "kind": Kind.SPOT,
        "status": Status.TRADING,
        "price_decimals": 1,
        "quantity_decimals": 8,
        "tick": 1,
        "lot": 1,
        "contract_value": 10**8,
        "minimum_quantity": 1000,
        "maximum_quantity": 9999999999 * 10**8,
        "minimum_notional": 0,
    }


def test_a_linear_contract_stands_for_base_units():
    found = listed("rest_instruments_swap")["BTC-USDT-SWAP"]
    assert (found["symbol"], found["kind"]) == ("BTC/USDT:USDT", Kind.LINEAR_PERPETUAL)
    assert found["contract_value"] == 10**6
    assert (found["quantity_decimals"], found["lot"]) == (2, 1)


def test_an_inverse_contract_stands_for_quote_units():
    found = listed("rest_instruments_swap")["BTC-USD-SWAP"]
    assert (found["symbol"], found["kind"]) == ("BTC/USD:BTC", Kind.INVERSE_PERPETUAL)
    assert found["contract_value"] == 100 * 10**8


def test_a_dated_future_has_its_day_in_its_symbol():
    found = listed("GET_api_v5_public_instruments_FUTURES")
    assert found["BTC-USD-220520"]["symbol"] == "BTC/USD:BTC-220520"
    assert found["BTC-USD-220520"]["kind"] == Kind.INVERSE_FUTURE
    assert found["BTC-USDT-220520"]["symbol"] == "BTC/USDT:USDT-220520"


def test_a_future_without_a_time_of_delivery_goes_by_its_symbol():
    (found,) = OKX.parse_instruments(body(expTime=""))
    assert found["symbol"] == "BTC/USD:BTC-261225"


def test_options_are_left_out():
    assert listed("rest_instruments_option") == {}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("live", Status.TRADING),
        ("suspend", Status.HALTED),
        ("preopen", Status.HALTED),
        ("expired", Status.DELISTED),
        ("test", Status.UNKNOWN),
    ],
)
def test_a_state_is_a_status(state, status):
    (found,) = OKX.parse_instruments(body(state=state))
    assert found["status"] == status


def test_an_instrument_without_a_tick_yet_is_listed():
    (found,) = OKX.parse_instruments(body(tickSz="", state="preopen"))
    assert (found["tick"], found["price_decimals"]) == (0, 0)


def test_an_instrument_whose_symbol_is_too_long_is_left_out():
    assert OKX.parse_instruments(body(instId="X" * 33)) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "not JSON"),
        (b'{"code":"0"}', "no 'data'"),
        (b'{"code":"0","data":[{"instType":"SWAP"}]}', "no 'ctType'"),
        (b"[]", "of another form"),
    ],
)
def test_an_answer_that_is_no_list_of_instruments_says_so(answer, why):
    with pytest.raises(ValueError, match=f"not OKX exchange information: {why}"):
        OKX.parse_instruments(answer)


def test_every_listed_instrument_is_found_by_either_symbol_and_fits_the_table():
    everything = {}
    for kind in ("SPOT", "SWAP", "FUTURES"):
        everything |= listed(f"GET_api_v5_public_instruments_{kind}")
    symbols = UnifiedSymbols(everything.values())
    assert len(everything) > 700
    for native, each in everything.items():
        assert symbols.symbol(native) == each["symbol"]
        assert symbols.native(each["symbol"]) == native
        record = instrument_record(each, 0, "okx")[0]
        assert record["native"].decode() == native
        assert record["symbol"].decode() == each["symbol"]


def test_an_error_without_instruments_is_no_empty_list():
    with pytest.raises(ValueError, match="OKX answers 50011: Too Many Requests"):
        OKX.parse_instruments(b'{"code":"50011","msg":"Too Many Requests","data":[]}')
