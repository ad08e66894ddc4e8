"""Decimal texts, client order ids and signatures."""

import base64
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.secrets import Secret
from gateways.ids import ClientIds
from gateways.numbers import LARGEST, amount, average, to_mantissa, to_text, trade_number
from gateways.signing import ed25519_base64, hmac_base64, hmac_hex, rsa_base64

BINANCE_SECRET = Secret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")


@given(st.integers(-LARGEST, LARGEST), st.integers(0, 18))
def test_a_mantissa_survives_its_text(mantissa, decimals):
    text = to_text(mantissa, decimals)

    assert Decimal(text) == Decimal(mantissa).scaleb(-decimals)
    assert to_mantissa(text, decimals) == mantissa


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9), st.integers(0, 12))
def test_a_text_becomes_its_exact_mantissa_or_an_error(value, decimals):
    text = f"{value:f}"
    exact = value.scaleb(decimals)

    if exact == exact.to_integral_value() and abs(exact) <= LARGEST:
        assert to_mantissa(text, decimals) == int(exact)
    else:
        with pytest.raises(ValueError):
            to_mantissa(text, decimals)


@pytest.mark.parametrize(
    "text", ["abc", "1.2.3", "--1", "1_000", "٣", "nan", "inf", "1e99999", "1e-99999", "9" * 80]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        to_mantissa(text, 8)
    with pytest.raises(ValueError):
        amount(text)


def test_a_number_with_an_exponent_is_read():
    assert to_mantissa("1e-7", 8) == 10
    assert amount("1.50E+3") == (1500, 0)


def test_an_empty_text_is_nothing():
    assert to_mantissa("", 8) == 0
    assert amount("") == (0, 0)
    assert average("", 2) == 0


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9)))
def test_an_amount_has_as_few_decimals_as_it_needs(value):
    if abs(value) > 10**10:
        return
    mantissa, decimals = amount(f"{value:f}")

    assert Decimal(mantissa).scaleb(-decimals) == value
    assert decimals == 0 or mantissa % 10


def test_an_average_price_is_rounded_half_even():
    assert average("100.0000005", 0) == 100_000_000
    assert average("100.0000015", 0) == 100_000_002
    assert average("1e30", 2) == 0


def test_a_textual_trade_id_becomes_a_positive_number():
    assert trade_number("123456") == 123_456
    number = trade_number("0cd5ec30-1b4c-5b0e-8d6a-7e9d8f5b8a11")
    assert 0 < number <= LARGEST
    assert number == trade_number("0cd5ec30-1b4c-5b0e-8d6a-7e9d8f5b8a11")


@given(st.integers(1, LARGEST))
def test_a_client_id_leads_back_to_its_order(number):
    ids = ClientIds("ti")
    text = ids.text(number)

    assert text.isalnum()
    assert text.isascii()
    assert len(text) <= 32
    assert ids.number(text) == number


def test_texts_of_other_orders_are_foreign():
    ids = ClientIds("ti")
    own = ids.text(77)

    for text in ("", "web_abc", ClientIds("x9").text(77), own[:-1], own + "0", own[:-1] + "u"):
        assert ids.number(text) == 0
    # Fourteen more bits than an order can have.
    assert ids.number("ti" + "z" * 13) == 0


def test_a_client_id_of_no_order_is_refused():
    for number in (0, -1, 1 << 63):
        with pytest.raises(ValueError, match="positive int64"):
            ClientIds().text(number)


@pytest.mark.parametrize("prefix", ["", "1a", "a-b", "a" * 17, "ü"])
def test_a_prefix_that_a_venue_would_refuse_is_refused(prefix):
    with pytest.raises(ConfigError, match="prefix"):
        ClientIds(prefix)


def test_a_foreign_order_has_the_same_negative_number_in_every_run():
    number = ClientIds.foreign_number("BTCUSDT", "8389765519993908929")

    assert number == ClientIds.foreign_number("BTCUSDT", "8389765519993908929")
    assert number == -4_312_135_941_821_903_263
    assert number != ClientIds.foreign_number("ETHUSDT", "8389765519993908929")


def test_hmac_equals_binances_published_example():
    # binance-spot-api-docs, rest-api.md, "SIGNED Endpoint Examples for POST /api/v3/order".
    payload = (
        b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        b"&recvWindow=5000&timestamp=1499827319559"
    )

    signature = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert hmac_hex(BINANCE_SECRET)(payload) == signature
    assert (
        hmac_base64(BINANCE_SECRET)(payload) == base64.b64encode(bytes.fromhex(signature)).decode()
    )


def test_ed25519_equals_binances_published_example():
    # binance-spot-api-docs, fix-api.md, "How to sign Logon<A> request".
    secret = Secret("MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u")
    payload = "\x01".join(("A", "EXAMPLE", "SPOT", "1", "20240627-11:17:25.223")).encode()

    assert ed25519_base64(secret)(payload) == (
        "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA=="
    )


def _pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_an_rsa_signature_verifies():
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)

    signature = base64.b64decode(rsa_base64(Secret(_pem(key)))(b"timestamp=1"))

    key.public_key().verify(signature, b"timestamp=1", padding.PKCS1v15(), SHA256())


def test_a_key_with_escaped_line_ends_is_read():
    key = ed25519.Ed25519PrivateKey.generate()
    escaped = _pem(key).strip().replace("\n", "\\n")

    signature = base64.b64decode(ed25519_base64(Secret(escaped))(b"payload"))

    key.public_key().verify(signature, b"payload")


def test_a_secret_of_another_type_is_refused_without_being_shown():
    ed = Secret(_pem(ed25519.Ed25519PrivateKey.generate()))

    with pytest.raises(ConfigError, match="not an RSA one"):
        rsa_base64(ed)
    with pytest.raises(ConfigError) as caught:
        ed25519_base64(Secret("MYSECRETTEXT"))
    assert "MYSECRET" not in str(caught.value)
