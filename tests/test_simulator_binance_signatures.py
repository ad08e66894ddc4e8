"""Who may ask what on the simulated Binance: keys, signatures, timestamps, the official vectors."""

import json
import time
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from gateways.simulator.account import Account, AccountSettings
from gateways.simulator.binance import wire
from gateways.simulator.private import verify
from tests.simulator_binance import KEY, SPOT, SYMBOL, USDM, Rest, api, hexadecimal, limit, private
from tests.simulator_client import against

OFFICIAL = AccountSettings(
    key="vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    secret="NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    balances={"USDT": "1000", "BTC": "1"},
)
WIDE = "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96"
"""Six full-width digits, percent-encoded."""
TERMS = "&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
TIMES = "&recvWindow=5000&timestamp=1499827319559"


def test_the_official_payload_without_an_order_verifies():
    account = Account(1, OFFICIAL.key, OFFICIAL.secret)
    signature = "d84e6641b1e328e7b418fff030caed655c266299c9355e36ce801ed14631eed4"
    assert verify(account, b"timestamp=1578963600000", signature)
    assert verify(account, b"timestamp=1578963600000", signature.upper())
    assert not verify(account, b"timestamp=1578963600001", signature)


def set_clock(venue, timestamp):
    """Let the venue's clock be in the middle of what a timestamp is good for."""
    venue.set_faults(clock_skew_ms=timestamp - 500 - time.time_ns() // 1_000_000)


@pytest.mark.parametrize(
    ("symbol", "signature", "code"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71", -1121),
        (WIDE, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3", -1100),
        (WIDE, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71", -1022),
    ],
)
@pytest.mark.parametrize("where", ["query", "body", "both"])
def test_the_official_rest_requests_pass_the_door(symbol, signature, code, where):
    async def use(venue, http):
        set_clock(venue, 1499827319559)
        rest = Rest(http, venue.base(SPOT), key=OFFICIAL.key)
        whole = f"symbol={symbol}{TERMS}{TIMES}"
        signed = f"&signature={signature}"
        if where == "query":
            return await rest.raw("POST", "/api/v3/order", whole + signed)
        if where == "body":
            return await rest.raw("POST", "/api/v3/order", "", whole + signed)
        return await rest.raw("POST", "/api/v3/order", whole[:-44], whole[-44:] + signed)

    status, answer = against(use, accounts=[OFFICIAL])
    assert (status, answer["code"]) == (400, code)


def test_query_and_body_are_signed_together_with_nothing_between():
    # The example of the venue's documents.
    query = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
    body = "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
    signature = "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"

    async def use(venue, http):
        set_clock(venue, 1499827319559)
        rest = Rest(http, venue.base(SPOT), key=OFFICIAL.key)
        good = await rest.raw("POST", "/api/v3/order", query, f"{body}&signature={signature}")
        bad = await rest.raw("POST", "/api/v3/order", query + "&", f"{body}&signature={signature}")
        return good[1]["code"], bad[1]["code"]

    assert against(use, accounts=[OFFICIAL]) == (-1121, -1022)


@pytest.mark.parametrize(
    ("parameters", "signature", "code"),
    [
        (
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.01000000",
                "price": "52000.00",
                "recvWindow": 100,
                "timestamp": 1645423376532,
            },
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
            None,
        ),
        (
            {
                "symbol": "１２３４５６",  # noqa: RUF001 - the venue's own example
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "1.00000000",
                "price": "0.10000000",
                "recvWindow": 5000,
                "timestamp": 1645423376532,
            },
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
            -1100,
        ),
    ],
)
def test_the_official_socket_requests_pass_the_door(parameters, signature, code):
    async def use(venue, http):
        set_clock(venue, 1645423376532)
        async with api(venue, http) as connection:
            signed = parameters | {"apiKey": OFFICIAL.key, "signature": signature}
            good = await connection.plain("order.place", **signed)
            bad = await connection.plain("order.place", **signed | {"price": "52001.00"})
            return good, bad

    good, bad = against(use, accounts=[OFFICIAL])
    assert good.get("error", {}).get("code") == code
    assert bad["error"]["code"] == -1022


def test_the_official_ed25519_vector_verifies():
    pem = b"-----BEGIN PRIVATE KEY-----\n"
    pem += b"MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u\n"
    pem += b"-----END PRIVATE KEY-----\n"
    key = load_pem_private_key(pem, None)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    account = Account(1, "k", "", public_key=public.decode())
    payload = b"A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223"
    signature = (
        "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA=="
    )
    assert verify(account, payload, signature)
    assert not verify(account, payload + b"!", signature)


@pytest.mark.parametrize("name", [SPOT, USDM])
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_orders_can_be_signed_with_a_private_key(name, kind):
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, 2048)
    sign, public = private(key)
    account = AccountSettings(key="k", public_key=public, balances={"USDT": "100000"})

    async def use(venue, http):
        rest = Rest(http, venue.base(name), key="k", sign=sign)
        path = "/api/v3/order" if name == SPOT else "/fapi/v1/order"
        placed = await rest("POST", path, **limit("60000"))
        async with api(venue, http, name, key="k", sign=sign) as connection:
            other = await connection("order.place", **limit("60000"))
            wrong = await connection("order.place", **limit("60000"), signature="AAAA")
        return placed[0], other["status"], wrong["error"]["code"]

    assert against(use, accounts=[account]) == (200, 200, -1022)


@pytest.mark.parametrize("name", [SPOT, USDM])
def test_a_session_that_is_logged_on_needs_no_signatures(name):
    sign, public = private(Ed25519PrivateKey.generate())
    account = AccountSettings(key="k", public_key=public, balances={"USDT": "100000"})

    async def use(venue, http):
        async with api(venue, http, name, key="k", sign=sign) as connection:
            refused = await connection.plain("order.place", **limit("60000"))
            logon = await connection("session.logon")
            stamp = {"timestamp": time.time_ns() // 1_000_000}
            placed = await connection.plain("order.place", **limit("60000"), **stamp)
            untimed = await connection.plain("order.place", **limit("60000"))
            status = await connection.plain("session.status")
            await connection.plain("session.logout")
            after = await connection.plain("order.place", **limit("60000"), **stamp)
            return refused, logon, placed, untimed, status, after

    refused, logon, placed, untimed, status, after = against(use, accounts=[account])
    assert refused["error"]["code"] == after["error"]["code"] == -1102
    assert logon["result"]["apiKey"] == status["result"]["apiKey"] == "k"
    assert placed["status"] == 200
    assert untimed["error"]["code"] == -1102


def test_only_ed25519_keys_log_on_and_subscribe_by_session():
    async def use(venue, http):
        async with api(venue, http) as connection:
            logon = await connection("session.logon")
            subscribed = await connection.plain("userDataStream.subscribe")
            return logon["error"], subscribed["status"]

    error, status = against(use)
    assert error == {"code": -4056, "msg": "HMAC_SHA256 API key is not supported."}
    assert status == 401


@pytest.mark.parametrize(
    ("skew", "window", "text"),
    [
        (-2500, 5000, "Timestamp for this request was 1000ms ahead of the server's time."),
        (8000, 5000, "Timestamp for this request is outside of the recvWindow."),
        (2500, 1000, "Timestamp for this request is outside of the recvWindow."),
        (8000, 20000, None),
    ],
)
def test_a_request_is_good_for_its_window(skew, window, text):
    async def use(venue, http):
        venue.set_faults(clock_skew_ms=skew)
        rest = Rest(http, venue.base(SPOT))
        answer = await rest("GET", "/api/v3/account", recvWindow=window)
        async with http.get(venue.base(SPOT) + "/api/v3/time") as response:
            told = (await response.json())["serverTime"]
        return answer, told - time.time_ns() // 1_000_000

    (status, answer), ahead = against(use)
    assert abs(ahead - skew) < 1000
    if text is None:
        assert status == 200
    else:
        assert (status, answer) == (400, {"code": -1021, "msg": text})


def test_a_window_can_have_fractions_and_a_timestamp_can_be_in_microseconds():
    async def use(venue, http):
        rest = Rest(http, venue.base(SPOT), clock=lambda: time.time_ns() // 1000)
        good = await rest("GET", "/api/v3/account", recvWindow="4999.125")
        long = await rest("GET", "/api/v3/account", recvWindow="60001")
        return good[0], long[1]["code"]

    assert against(use) == (200, -1131)


@pytest.mark.parametrize("name", [SPOT, USDM])
def test_keys_and_signatures_that_are_missing_or_wrong_are_told_apart(name):
    path = "/api/v3/account" if name == SPOT else "/fapi/v3/account"

    async def use(venue, http):
        stamp = f"timestamp={time.time_ns() // 1_000_000}"
        signed = f"{stamp}&signature={quote(hexadecimal(stamp))}"
        answers = []
        for key, query in (
            ("", signed),
            ("other", signed),
            (KEY, stamp),
            (KEY, f"signature={hexadecimal('')}"),
            (KEY, signed[:-1]),
            (KEY, f"{stamp}&symbol=A&symbol=B"),
        ):
            rest = Rest(http, venue.base(name), key=key)
            status, answer = await rest.raw("GET", path, query)
            answers.append((status, answer["code"]))
        return answers

    assert against(use) == [
        (401, -2014),
        (401, -2015),
        (400, -1102),
        (400, -1102),
        (400, -1022),
        (400, -1101),
    ]


def test_the_socket_signs_what_is_on_the_wire():
    async def use(venue, http):
        async with api(venue, http) as connection:
            # A number is signed as it is written: 0.010 and not 0.01.
            stamp = time.time_ns() // 1_000_000
            payload = f"apiKey={KEY}&price=50000.50&quantity=0.010&returnRateLimits=false"
            payload += f"&side=BUY&symbol={SYMBOL}&timeInForce=GTC&timestamp={stamp}&type=LIMIT"
            text = (
                '{"id":7,"method":"order.place","params":{"symbol":"%s","side":"BUY",'
                '"type":"LIMIT","timeInForce":"GTC","quantity":0.010,"price":50000.50,'
                '"returnRateLimits":false,"timestamp":%d,"apiKey":"%s","signature":"%s"}}'
            )
            signature = hexadecimal(payload)
            await connection.socket.send_str(text % (SYMBOL, stamp, KEY, signature))
            return await connection.event()

    reply = against(use)
    assert (reply["id"], reply["status"]) == (7, 200)


PARTS = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=3),
)


@given(st.dictionaries(st.text(max_size=8), PARTS, max_size=5), st.booleans())
def test_both_ways_to_read_a_request_give_the_same_texts(parameters, ascii_only):
    frame = json.dumps({"id": 1, "params": parameters}, ensure_ascii=ascii_only)
    found = wire.parse(frame)
    exact = wire._DECODER.decode(frame)
    assert wire.number(found["id"]) == wire.number(exact["id"]) == 1
    texts = {name: wire.text(value) for name, value in found["params"].items()}
    assert texts == {name: wire.text(value) for name, value in exact["params"].items()}


def test_a_negative_zero_keeps_its_sign():
    assert wire.text(wire.parse('{"params": {"a": -0}}')["params"]["a"]) == "-0"
