"""The adapter protocol: what the venues here return, and how one from another package is found."""

import json
import sys
import textwrap

import numpy as np
import pytest

from engine.common import Endpoints
from engine.errors import ConfigError
from feeds.adapter import (
    Channel,
    ExchangeAdapter,
    choose_instruments,
    endpoints_of,
    find_venue,
    venue_names,
)
from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.message import SYMBOL
from feeds.types import Status

NATIVES = {
    "binance_spot": "BTCUSDT",
    "binance_usdm": "BTCUSDT",
    "okx": "BTC-USDT-SWAP",
    "bybit": "BTCUSDT",
    "bybit_spot": "BTCUSDT",
}
"""The venues of this package, each with a symbol of its own."""

BOTH = pytest.mark.parametrize("venue", [BINANCE_SPOT, BINANCE_USDM], ids=lambda v: v.name())


@pytest.fixture(params=NATIVES)
def any_venue(request):
    """Return the adapter of each of our venues."""
    return find_venue(request.param)


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """Install a package that announces the venue ``moon``."""
    (tmp_path / "moon.py").write_text(
        textwrap.dedent("""
            from feeds.binance import BINANCE_SPOT as MOON
        """)
    )
    about = tmp_path / "moon-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: moon\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[trade_infra.venues]\nmoon = moon:MOON\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("moon", None)


def test_a_venue_from_another_package_is_found(third_party):
    assert find_venue("moon") is BINANCE_SPOT
    assert "moon" in venue_names()


def test_an_unknown_venue_is_an_error_that_names_a_near_one(third_party):
    with pytest.raises(ConfigError, match="'mooon' is not installed - did you mean 'moon'"):
        find_venue("mooon")


def test_a_venue_keeps_the_protocol(any_venue):
    checked: ExchangeAdapter = any_venue
    assert isinstance(checked, ExchangeAdapter)
    assert find_venue(checked.name()) is checked
    assert checked.exchange.name == checked.name()


def test_endpoints_of_the_outside_world_are_encrypted(any_venue):
    environments = set(any_venue.exchange.endpoints) - {"simulator"}
    assert "live" in environments
    for environment in environments:
        at = endpoints_of(any_venue, environment)
        assert at.rest.startswith("https://")
        assert all(url.startswith("wss://") for url in at.websocket.values())


def test_every_stream_has_a_route_and_a_channel_that_was_asked_for(any_venue):
    native = NATIVES[any_venue.name()]
    routes = endpoints_of(any_venue, "live").websocket
    for channel in Channel:
        for stream in any_venue.streams_for(native, [channel]):
            assert (stream.channel, stream.native) == (channel, native)
            assert stream.route in routes
            assert stream.name
            assert stream.cadence_s >= 0


def test_the_channels_that_every_market_has_are_there(any_venue):
    for channel in (Channel.TRADES, Channel.BOOK, Channel.TOP, Channel.STATS):
        assert any_venue.streams_for(NATIVES[any_venue.name()], [channel])


def test_no_stream_is_subscribed_twice(any_venue):
    names = [s.name for s in any_venue.streams_for(NATIVES[any_venue.name()], Channel)]
    assert len(set(names)) == len(names)


def test_the_first_book_stream_is_the_default(any_venue):
    native = NATIVES[any_venue.name()]
    default = any_venue.streams_for(native, [Channel.BOOK])
    assert any_venue.streams_for(native, [Channel.BOOK], any_venue.book_streams[0]) == default


def test_each_book_stream_is_another_subscription(any_venue):
    native = NATIVES[any_venue.name()]
    found = {
        tuple(s.name for s in any_venue.streams_for(native, [Channel.BOOK], book))
        for book in any_venue.book_streams
    }
    assert len(found) == len(any_venue.book_streams) > 0


def test_an_unknown_book_stream_is_an_error_that_names_the_known(any_venue):
    with pytest.raises(ConfigError, match=any_venue.book_streams[0]):
        any_venue.streams_for(NATIVES[any_venue.name()], [Channel.BOOK], "level4")


def test_a_book_can_be_had_by_request_or_from_its_stream(any_venue):
    request = any_venue.depth_request(NATIVES[any_venue.name()])
    assert any_venue.rules.snapshots == "stream" or request is not None
    if request is not None:
        assert request.path.startswith("/")
        assert request.weight > 0


def test_the_first_pages_of_the_instruments_are_different(any_venue):
    paths = [request.path for request in any_venue.instruments_requests()]
    assert len(set(paths)) == len(paths) > 0
    assert all(path.startswith("/") for path in paths)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"data":[1]}'])
def test_an_answer_that_is_no_exchange_information_is_refused(any_venue, body):
    with pytest.raises(ValueError, match="exchange information"):
        any_venue.parse_instruments(body)


def test_an_answer_without_the_time_is_refused(any_venue):
    with pytest.raises(ValueError, match="time"):
        any_venue.parse_time(b'{"code":-1}')


def test_a_message_that_is_no_json_is_an_error_with_its_reason(any_venue):
    with pytest.raises(ValueError, match=r"SYNTAX|TRUNCATED"):
        any_venue.parse_message(b'{"stream":', np.zeros(16, SYMBOL))


def test_a_subscription_names_its_streams(any_venue):
    streams = any_venue.streams_for(NATIVES[any_venue.name()], [Channel.BOOK])
    for make in (any_venue.subscribe, any_venue.unsubscribe):
        message = make([s.name for s in streams], 7)
        assert json.loads(message)


def test_a_notice_that_a_session_must_see_is_told_by_its_first_bytes(any_venue):
    assert not any_venue.is_shutdown_notice(b"{}")
    assert all(isinstance(head, bytes) and head for head in any_venue.rules.notices)


def test_spot_streams_stand_in_one_url():
    wanted = (Channel.TRADES, Channel.BOOK, Channel.TOP)
    streams = BINANCE_SPOT.streams_for("BTCUSDT", wanted)
    at = endpoints_of(BINANCE_SPOT, "live")
    url = BINANCE_SPOT.ws_url("public", [s.name for s in streams], at)
    assert url == (
        "wss://stream.binance.com:9443/stream?streams="
        "btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker"
    )


def test_futures_streams_go_to_the_routes_that_carry_them():
    at = endpoints_of(BINANCE_USDM, "live")
    urls = {
        s.channel: BINANCE_USDM.ws_url(s.route, [s.name], at)
        for s in BINANCE_USDM.streams_for("BTCUSDT", Channel)
    }
    assert urls == {
        Channel.TRADES: "wss://fstream.binance.com/public/stream?streams=btcusdt@trade",
        Channel.BOOK: "wss://fstream.binance.com/public/stream?streams=btcusdt@depth@100ms",
        Channel.TOP: "wss://fstream.binance.com/public/stream?streams=btcusdt@bookTicker",
        Channel.FUNDING: "wss://fstream.binance.com/market/stream?streams=btcusdt@markPrice@1s",
        Channel.LIQUIDATIONS: "wss://fstream.binance.com/market/stream?streams=btcusdt@forceOrder",
        Channel.STATS: "wss://fstream.binance.com/market/stream?streams=btcusdt@ticker",
    }


@BOTH
def test_another_depth_stream_can_be_asked_for(venue):
    (stream,) = venue.streams_for("BTCUSDT", [Channel.BOOK], "depth")
    assert stream.name == "btcusdt@depth"


def test_streams_without_a_rhythm_promise_no_cadence():
    promised = {s.channel: s.cadence_s for s in BINANCE_USDM.streams_for("BTCUSDT", Channel)}
    watched = {Channel.BOOK: 20.0, Channel.TOP: 60.0, Channel.FUNDING: 1.0}
    assert {channel: each for channel, each in promised.items() if each} == watched


@BOTH
def test_all_instruments_stand_in_one_answer(venue):
    (request,) = venue.instruments_requests()
    assert venue.next_page(request, b'{"symbols":[]}') is None


def test_one_line_of_configuration_points_at_another_server():
    at = endpoints_of(BINANCE_USDM, "simulator", "http://x:1/", "ws://x:1/")
    assert at == Endpoints("http://x:1", {"public": "ws://x:1/public", "market": "ws://x:1/market"})


def test_an_environment_without_endpoints_is_an_error():
    with pytest.raises(ConfigError, match=r"no environment 'paper'.*\[endpoints.binance_spot\]"):
        endpoints_of(BINANCE_SPOT, "paper")


def test_single_routes_can_be_replaced():
    at = endpoints_of(BINANCE_USDM, "live", None, {"market": "ws://x"})
    assert at.websocket == {"public": "wss://fstream.binance.com/public", "market": "ws://x"}


@BOTH
def test_subscriptions_are_json(venue):
    assert venue.subscribe(["a", "b"], 7) == b'{"method":"SUBSCRIBE","params":["a","b"],"id":7}'
    assert venue.unsubscribe(["a"], 8) == b'{"method":"UNSUBSCRIBE","params":["a"],"id":8}'


@BOTH
def test_the_stream_of_a_message_is_read_from_its_head(venue):
    assert venue.stream_of(b'{"stream":"btcusdt@trade","data":{}}') == "btcusdt@trade"
    assert venue.stream_of(b'{"result":null,"id":1}') is None


@BOTH
def test_a_refused_subscription_is_recognized(venue):
    refused = b'{"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":1}'
    assert venue.refusal(refused) == "2: Invalid request: unknown variant"
    assert venue.refusal(b'{"result":null,"id":1}') is None
    assert venue.refusal(b'{"stream":"x","data":{"error":1}}') is None
    assert venue.refusal(b'{"error":') is None


@BOTH
def test_a_shutdown_notice_is_recognized(venue):
    assert venue.is_shutdown_notice(b'{"stream":"!serverShutdown","data":{"E":1}}')
    assert venue.is_shutdown_notice(b'{"e":"serverShutdown","E":1770123456789}')
    assert not venue.is_shutdown_notice(b'{"stream":"btcusdt@trade","data":{}}')


def test_snapshot_requests_cost_what_the_venue_says():
    spot, usdm = BINANCE_SPOT.depth_request("BTCUSDT"), BINANCE_USDM.depth_request("BTCUSDT")
    assert (spot.path, spot.weight) == ("/api/v3/depth?symbol=BTCUSDT&limit=5000", 250)
    assert (usdm.path, usdm.weight) == ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20)


@BOTH
def test_the_venue_s_time_is_nanoseconds(venue):
    assert venue.parse_time(b'{"serverTime":1499827319559}') == 1_499_827_319_559_000_000


def test_choosing_no_instrument_is_an_error():
    with pytest.raises(ConfigError, match="no instrument of binance_spot is selected"):
        choose_instruments([], ["*"], Status.TRADING, "binance_spot")


@BOTH
def test_a_message_becomes_dicts(venue):
    from feeds.symbols import build_symbols

    symbols = build_symbols([("BTCUSDT", 3, 2, 5)])
    frame = (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,'
        b'"p":"16500.10","q":"0.5","T":1672515782136,"m":true,"M":true,"X":"MARKET"}}'
    )
    (event,) = venue.parse_message(frame, symbols)
    assert (event["instrument"], event["price"], event["quantity"]) == (3, 1_650_010, 50_000)
    assert event["side"] == -1
