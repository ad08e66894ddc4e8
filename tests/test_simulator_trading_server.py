"""The server's side of trading: accounts in settings, control addresses, TLS, request faults."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import subprocess

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from engine.common import OrderType, Side, TimeInForce
from engine.errors import ConfigError
from gateways.simulator import SimulatedVenue, SimulatorSettings
from gateways.simulator.account import Account, AccountSettings, OrderTerms, Status
from gateways.simulator.faults import FaultLine, FaultPlan, Faults
from gateways.simulator.hub import Client
from gateways.simulator.private import PrivateFeed, verify
from tests.simulator_client import against, simulated

USDM = {"venues": ["binance_usdm"], "symbols": ["BTCUSDT"]}


def accounts_of(venue, name="binance_usdm"):
    return venue.venues[name].trading


def market_order(trading, account, side=Side.BUY, lots=3):
    market = trading.market("BTCUSDT")
    terms = OrderTerms(market, side, OrderType.MARKET, TimeInForce.IOC, quantity=lots)
    return trading.place(account, terms, 1_700_000_000_000)


async def post(server, http, path, /, status=200, **body):
    url = server.base("control") + "/" + path
    async with http.post(url, data=json.dumps(body)) as response:
        assert response.status == status
        return await response.json()


async def statement(venue, http, key="demo-key", name="binance_usdm"):
    async with http.get(venue.base("control") + "/accounts") as response:
        return (await response.json())[name][key]


# Accounts and the control interface.


def test_each_venue_has_a_demo_account():
    venue = simulated(**USDM)
    (account,) = accounts_of(venue).accounts
    assert (account.key, account.secret, account.passphrase) == (
        "demo-key",
        "demo-secret",
        "demo-pass",
    )
    assert account.balances["USDT"].free == 1_000_000
    assert accounts_of(venue).by_key("demo-key") is account
    assert accounts_of(venue).by_key("other") is None


def test_the_settings_name_other_accounts():
    accounts = [AccountSettings(key="mine", secret="s", balances={"USDT": "12.5"})]
    trading = accounts_of(simulated(**USDM, accounts=accounts))
    assert [account.key for account in trading.accounts] == ["mine"]
    assert str(trading.accounts[0].balances["USDT"].free) == "12.5"


def test_the_control_interface_shows_an_accounts_books():
    async def use(venue, http):
        trading = accounts_of(venue)
        order = market_order(trading, trading.accounts[0])
        return order, await statement(venue, http)

    order, shown = against(use, **USDM)
    (history,) = shown["history"]
    assert (history["id"], history["status"], history["filled"]) == (
        order.id,
        "filled",
        "0.003",
    )
    assert [fill["quantity"] for fill in shown["fills"]] == ["0.003"]
    assert shown["positions"][0]["quantity"] == "0.003"
    fee = order.fees["USDT"]
    assert shown["balances"]["USDT"]["total"] == str((1_000_000 - fee).normalize())


def test_only_the_newest_past_orders_are_shown_if_so_many_are_asked_for():
    async def use(venue, http):
        trading = accounts_of(venue)
        for _ in range(3):
            market_order(trading, trading.accounts[0])
        found = []
        for past in ("0", "2", "9", "x"):
            url = venue.base("control") + "/accounts"
            async with http.get(url, params={"past": past}) as response:
                found.append(await response.json())
        return found

    *found, wrong = against(use, **USDM)
    assert [len(f["binance_usdm"]["demo-key"]["history"]) for f in found] == [0, 2, 3]
    assert "past is a number" in wrong["error"]


def test_the_crowd_fills_our_orders_on_the_server():
    async def use(venue, http):
        trading = accounts_of(venue)
        market = trading.market("BTCUSDT")
        best = market.book.bids.best.price
        terms = OrderTerms(
            market, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, price=best, quantity=3
        )
        order = trading.place(trading.accounts[0], terms, 1)
        for _ in range(400):
            venue.step(50)
            if not order.status.live:
                break
        return order

    order = against(use, **USDM)
    assert order.status is Status.FILLED
    assert all(fill.maker for fill in order.fills)


def test_positions_are_closed_and_funding_is_paid_on_request():
    async def use(venue, http):
        trading = accounts_of(venue)
        market_order(trading, trading.accounts[0], lots=30)
        where = {"venue": "binance_usdm", "symbol": "BTCUSDT"}
        await post(venue, http, "funding", **where)
        await post(venue, http, "deleverage", **where, lots=10, key="demo-key")
        part = await statement(venue, http)
        await post(venue, http, "liquidate", **where)
        return part, await statement(venue, http)

    part, after = against(use, **USDM)
    assert part["positions"][0]["lots"] == 20
    assert after["positions"][0]["lots"] == 0
    assert len(after["funding"]) == 1
    assert [order["forced"] for order in after["history"]] == [
        "none",
        "deleveraging",
        "liquidation",
    ]


def test_an_account_is_opened_and_paid_in_on_request():
    async def use(venue, http):
        account = {"key": "late", "secret": "s", "balances": {"USDT": "5"}}
        await post(venue, http, "accounts", account=account)
        payment = {"asset": "USDT", "amount": "2.5", "key": "late"}
        await post(venue, http, "deposit", venue="binance_usdm", **payment)
        return await statement(venue, http, "late")

    shown = against(use, **USDM)
    assert shown["balances"]["USDT"]["free"] == "7.5"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("accounts", {"account": {"key": "demo-key"}}, "'demo-key' is empty or taken"),
        ("accounts", {"account": {"key": "x", "more": 1}}, "unknown field `more`"),
        ("liquidate", {"venue": "nowhere"}, "trades on no venue 'nowhere'"),
        ("liquidate", {"venue": "binance_usdm", "symbol": "X"}, "symbol"),
        ("funding", {"venue": "binance_usdm", "key": "x"}, "no account with the key 'x'"),
        ("deleverage", {"venue": "binance_usdm", "symbol": "BTCUSDT"}, "lots is a number above 0"),
        ("deposit", {"venue": "binance_usdm", "asset": "X", "amount": "much"}, "'much'"),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(path, body, message):
    async def use(venue, http):
        return await post(venue, http, path, status=400, **body)

    assert message in against(use, **USDM)["error"]


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    paths = str(folder / "certificate.pem"), str(folder / "key.pem")
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    out = ["-out", paths[0], "-keyout", paths[1]]
    subprocess.run(["openssl", *request.split(), *names, *out], check=True, capture_output=True)
    return paths


def test_everything_is_served_by_tls_on_request(certificate):
    async def run():
        config = SimulatorSettings(
            port=0, rate=0.0, tls_certificate=certificate[0], tls_key=certificate[1], **USDM
        )
        context = ssl.create_default_context(cafile=certificate[0])
        async with SimulatedVenue(config) as venue, aiohttp.ClientSession() as http:
            url = venue.base("binance_usdm") + "/fapi/v1/time"
            async with http.get(url, ssl=context) as response:
                status = response.status
            async with http.ws_connect(
                venue.base("binance_usdm", "ws") + "/ws", ssl=context
            ) as socket:
                return url, status, socket.closed

    url, status, closed = asyncio.run(run())
    assert url.startswith("https://")
    assert (status, closed) == (200, False)


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    with pytest.raises(ConfigError, match=r"tls_certificate: .*broken\.pem cannot be used"):
        simulated(**USDM, tls_certificate=str(broken))
    with pytest.raises(ConfigError, match="tls_key is set without tls_certificate"):
        simulated(**USDM, tls_key=str(broken))


# What becomes of requests.


def fates(count=1, **faults):
    plan = FaultPlan(Faults(**faults), seed=3)
    return [plan.request_fate("okx") for _ in range(count)], plan


def test_without_faults_a_request_takes_effect_and_is_answered():
    ((fate,), _) = fates()
    assert fate == (True, True, 0, 0.0, True)


def test_a_request_or_its_answer_can_vanish():
    assert fates(request_drop=1.0)[0][0][:2] == (False, False)
    assert fates(ack_drop=1.0)[0][0][:2] == (True, False)


def test_shares_of_requests_vanish_the_same_way_each_time():
    first, plan = fates(1000, request_drop=0.2, ack_drop=0.1)
    assert first == fates(1000, request_drop=0.2, ack_drop=0.1)[0]
    assert 150 < plan.counts["request_drop"] < 250
    assert 50 < plan.counts["ack_drop"] < 120


def test_an_error_is_answered_with_or_without_an_effect():
    (first, second, third), plan = fates(3, order_error=503, order_effect=True, order_count=2)
    assert (first.act, first.answer, first.status) == (True, True, 503)
    assert second == first
    assert third.status == 0
    assert plan.counts["order_error"] == 2
    assert not fates(order_error=503)[0][0].act


def test_answers_can_be_late_and_events_after_them():
    ((fate,), _) = fates(ack_delay_ms=50.0, ack_late=False)
    assert (fate.delay_ms, fate.events_first) == (50.0, False)


def test_the_faults_of_requests_concern_one_venue():
    (fate,), plan = fates(venue="bybit", request_drop=1.0, clock_skew_ms=-1500)
    assert fate.act
    assert not plan.request_fate("bybit").act
    assert (plan.clock_skew_ms("bybit"), plan.clock_skew_ms("okx")) == (-1500, 0)


@pytest.mark.parametrize(
    "faults", [{"request_drop": 1.5}, {"order_error": 200}, {"ack_delay_ms": -1.0}]
)
def test_impossible_faults_of_requests_are_refused(faults):
    with pytest.raises(ConfigError, match=f"faults: {next(iter(faults))}"):
        FaultPlan(Faults(**faults))


def test_the_venues_clock_is_ahead_by_the_skew():
    venue = simulated(**USDM).venues["binance_usdm"]
    venue.plan.update({"clock_skew_ms": 3_600_000})
    skewed = venue.now_ms()
    venue.plan.clear()
    assert skewed - venue.now_ms() > 3_500_000


# Signatures.


def account(secret="", public_key=""):
    return Account(1, "key", secret, "", public_key)


def test_the_published_hmac_signature_is_verified():
    # Binance, github.com/binance/binance-signature-examples, README.
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    signature = "d84e6641b1e328e7b418fff030caed655c266299c9355e36ce801ed14631eed4"
    ours = account(secret)
    assert verify(ours, b"timestamp=1578963600000", signature)
    assert verify(ours, b"timestamp=1578963600000", signature.upper())
    assert not verify(ours, b"timestamp=1578963600001", signature)
    assert not verify(ours, b"timestamp=1578963600000", "é")


def test_an_hmac_signature_in_base64_is_verified():
    digest = hmac.digest(b"secret", b"payload", hashlib.sha256)
    text = base64.b64encode(digest).decode()
    assert verify(account("secret"), b"payload", text, encoding="base64")
    assert not verify(account("secret"), b"payload", digest.hex(), encoding="base64")


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_signatures_of_private_keys_are_verified_with_the_public_one(kind):
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signature = key.sign(b"payload", padding.PKCS1v15(), hashes.SHA256())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
        signature = key.sign(b"payload")
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ours = account(public_key=pem.decode())
    text = base64.b64encode(signature).decode()
    assert verify(ours, b"payload", text)
    assert not verify(ours, b"other", text)
    assert not verify(ours, b"payload", text[:-8])
    assert not verify(ours, b"payload", "no base64!")


def test_an_account_with_an_unusable_public_key_is_refused():
    with pytest.raises(ConfigError, match="public_key is not the PEM of a public key"):
        simulated(**USDM, accounts=[AccountSettings(key="k", public_key="nothing")])


# Private messages.


class Wire:
    """A transport that remembers what was written."""

    def __init__(self):
        self.frames = b""

    def write(self, data):
        self.frames += data

    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return 0


def connected(plan):
    line = FaultLine(plan, "okx", 1)
    wire = Wire()
    client = Client(wire, wrapped=True, plan=plan, line=line, buffer_bytes=1, cut=lambda why: None)
    return client, wire


def test_private_messages_go_to_who_receives_their_stream():
    feed, plan = PrivateFeed(), FaultPlan()
    (first, one), (second, two) = connected(plan), connected(plan)
    feed.subscribe(first, "orders")
    feed.subscribe(second, "account")
    feed.publish("orders", b"order")
    feed.publish("account", b"money")
    feed.flush()
    assert (one.frames, two.frames) == (b"\x81\x05order", b"\x81\x05money")
    feed.unsubscribe(first, "orders")
    feed.remove(second)
    feed.publish("orders", b"lost")
    assert (feed.listeners("orders"), feed.listeners("account")) == ([], [])
    assert not first.pending


def test_faults_find_private_messages_by_their_streams():
    plan = FaultPlan(Faults(drop=1.0, streams="private.*"))
    feed, (client, wire) = PrivateFeed(), connected(plan)
    feed.subscribe(client, "orders")
    feed.publish("orders", b"order")
    feed.flush()
    assert wire.frames == b""
    assert plan.counts["drop"] == 1


def test_what_was_published_before_an_answer_leaves_before_it():
    feed, (client, wire) = PrivateFeed(), connected(FaultPlan())
    feed.subscribe(client, "orders")
    feed.publish("orders", b"event")
    client.control(b"answer")
    assert wire.frames == b"\x81\x05event\x81\x06answer"


def test_the_settings_say_how_much_accounts_remember():
    venue = simulated(**USDM, history=7)
    (account,) = accounts_of(venue).accounts
    assert account.history.maxlen == account.fills.maxlen == account.funding.maxlen == 7
    assert SimulatorSettings().history == 20_000


def test_the_events_of_other_accounts_are_not_kept_back():
    feed, (mine, wire), (other, others) = (
        PrivateFeed(),
        connected(FaultPlan()),
        connected(FaultPlan()),
    )
    feed.hold(1)
    feed.hold(1)
    feed.send(mine, "orders", b"a", 1)
    feed.send(other, "orders", b"b", 2)
    feed.flush([mine, other])
    assert (wire.frames, others.frames) == (b"", b"\x81\x01b")
    feed.release(1)
    feed.send(mine, "orders", b"c", 1)
    assert wire.frames == b""
    feed.release(1)
    assert wire.frames == b"\x81\x01a\x81\x01c"
    feed.send(mine, "orders", b"d", 1)
    feed.flush([mine])
    assert wire.frames.endswith(b"\x81\x01d")
