"""The signatures that Binance publishes with their keys, reproduced by ours.

Sources: binance-spot-api-docs rest-api.md, web-socket-api.md and fix-api.md;
binance-signature-examples (the RSA key is a sample of the venue's, of no account).
"""

import hmac
import json
from base64 import b64encode

import pytest

from engine.common import OrderType
from engine.secrets import Secret
from gateways.adapter import Identity
from gateways.binance import BinanceSpot
from gateways.message import Instrument, Request
from gateways.signing import ed25519_base64, hmac_base64, hmac_hex, rsa_base64
from gateways.types import Action
from tests.binance_orders import ED25519, NOW_MS

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
RSA = (
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDPrfWMr2yqxJgJ"
    "cIyA5TDFpZBlB9E3RMbbEcPZijmPDiciZjuRiD1Q6oQzi1MFGTZ523HwSXe9XG3R"
    "NQaLCjxi+VkLsvCoxzgurkWXoQr0VHJyEDxnyRaCzTyvvHQgt0LKCWfqalYNz0ue"
    "doxnYnde3DH/tFFXX0/rTkJyK6LpOyKOAqE0G7OhuQWkLvlUO8mqwtGNqdrtOgzv"
    "kTN5rhb5VeWB4JGWDcAYFb9CQI9wD7/JJU1XQGIOJEY3L/PjGLcjDEiROt57/RS3"
    "i6OVTiAgDcgA405tNLgS326hfbEchI5tKeOxqrFYVfvOK8+4o+rrUBnMhrBg0tJv"
    "1feQKeAnAgMBAAECggEAUdB8PZIWQyfzpTRbhaPElPhmbAaqWxWTKVZUS2zyw/KV"
    "ZC3WJb0AOtJIhm3KpOWL2nGi70BiFY1GDfbPvxKnO25zr/IscLEa5vjsnZFp2Vsz"
    "QtA2m8RSQ/FKiQi6zvCjNSiDcYu2nvYdGi4lnczirdIdOFj2+m6n81D/SC78nNhj"
    "P/JLbSPFw+XOfVqOVelXHw7XGtMH9dgFjWDdB317HcJjZyPDahpQQ7s6PcecDwuv"
    "Qucs+Hi4sAWiHOiwKusx3sT/NL5Og/jAvC5aMy1QswWFnPr90T3qFE4MN1GZszzX"
    "DmDkWaGaRwuwdpi/ocIZF3R9XX3m+WOVdEZRfzzcEQKBgQDt11achN666/j1kgQM"
    "xPdzo06eUUZb/JUtEXz8hU+AzRsN/eso/47pjaPq7nrXFYE4aEx7Je2I9S52Y+b/"
    "SLrctuza25VOxvqIpDynlvM/Iatg9WuTEIuOk7gkBFanDNjDjZDKFuDYSEfN+sX+"
    "UakFT7cm+xu12PWR8HlZmFZL5QKBgQDfiRrC8zADSIE74uFBJ5K88t6cwrktqdPH"
    "9QT69j+VpRXssyUoCfR4/zchKbEyTwSASvL1saJR14Opmvn6Le+0DKq+EV7Z1UM6"
    "svVIzd9pWWMhRh9G83CC5Krx9Ie+34QHNRxBf+rya5if/aBCDtBFedRGbR6Le8MB"
    "yvrpT5hzGwKBgQCU2+QPjnHA2BQ3zq3OODEQJTP9jqzUwd+0F2/8tIsv+C9osHXQ"
    "cTLHJqljTuN/XqxD27OSmAh1Yc80tg5L1P9vSOYxjKGEbrE7eF+mHKod5zrWMoSj"
    "xQUztWzYzgZWA4pfymjGs08Czypx1vS42e9JrbzaHuwXArWgI7wvwVKxqQKBgQCS"
    "ByIZav7Zljr+oUdf5fdBQjPVGowYXZJBVTpMrCN7od4BxEIotuAjTy53lqHwaJhb"
    "KxsvED0m0/BqExjsq6ek6oV8JyLckSobJZ+BUSR60O8mZIW4Nv4wNCvMZl9rfN7m"
    "SnbL/0G/3jRViD1yCfVa/ayD2XMT0eThvfVOBzZjMwKBgB5jasP9TcDAyaEKta+g"
    "6glTM0MKUWfhZzYRbvDXdnatjjMEdixWm9aXwc0Nw+aN0KkdLBwvnDiVMtX+Xl2n"
    "BU2Gxxe3H8qrvkoi8zmzh3VWpqzfB+L3sXAq+6VNNYLEFLBR6D2u4DD86FvY+DsU"
    "miJlY6JEKpSxvkrS04XrbvHk"
)


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            "timestamp=1578963600000",
            "d84e6641b1e328e7b418fff030caed655c266299c9355e36ce801ed14631eed4",
        ),
        (
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
            "&recvWindow=5000&timestamp=1499827319559",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        ),
        (
            "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT"
            "&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
        (
            f"apiKey={KEY}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL"
            "&symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT",
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            # The symbol is six full-width digits.
            f"apiKey={KEY}&price=0.10000000&quantity=1.00000000&recvWindow=5000&side=BUY"
            "&symbol=\uff11\uff12\uff13\uff14\uff15\uff16&timeInForce=GTC"
            "&timestamp=1645423376532&type=LIMIT",
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_the_published_hmac_signatures_hold(payload: str, signature: str):
    assert hmac_hex(Secret(SECRET))(payload.encode()) == signature


def test_the_published_ed25519_signature_holds():
    payload = "\x01".join(["A", "EXAMPLE", "SPOT", "1", "20240627-11:17:25.223"])
    assert ed25519_base64(Secret(ED25519))(payload.encode()) == (
        "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA=="
    )


def full_width() -> Instrument:
    return Instrument(0, "\uff11\uff12\uff13\uff14\uff15\uff16", "X/Y", "X", "Y", "", 1, 2, 3, 1, 1)


def test_a_symbol_beyond_ascii_is_raw_by_websocket_and_encoded_by_rest():
    adapter = BinanceSpot(Identity(Secret(KEY), hmac_hex(Secret(SECRET))))
    order = Request(
        Action.NEW,
        1,
        1,
        full_width(),
        order_type=OrderType.MARKET,
        quantity=1000,
        client_text="ti1",
    )
    message = adapter.order_message(order, "1", NOW_MS)
    assert message is not None
    assert "\uff11\uff12\uff13\uff14\uff15\uff16".encode() in message
    sent = json.loads(message)["params"]
    pairs = sorted((name, value) for name, value in sent.items() if name != "signature")
    payload = "&".join(f"{name}={value}" for name, value in pairs)
    assert hmac_hex(Secret(SECRET))(payload.encode()) == sent["signature"]
    body = adapter.order_call(order, "1", NOW_MS)[0].body.decode()
    assert "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&" in body


def test_the_published_rsa_key_signs_as_published():
    signature = rsa_base64(Secret(RSA))(b"timestamp=1578963600000")
    assert signature.startswith("qlutXCa1uE6hTGbC")
    assert signature.endswith("T511zOw==")


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_hmac_signatures_are_those_of_the_standard_library_for_keys_of_any_length(length: int):
    key = "".join(chr(33 + n % 90) for n in range(length))
    text, base64 = hmac_hex(Secret(key)), hmac_base64(Secret(key))
    for payload in (b"", b"a", b"symbol=BTCUSDT&" * 20, b"a"):
        wanted = hmac.digest(key.encode(), payload, "sha256")
        assert text(payload) == wanted.hex()
        assert base64(payload) == b64encode(wanted).decode()
