"""OKX's streams and messages, as the feed asks for them."""

import json

import pytest

from engine.errors import ConfigError
from feeds.adapter import Channel, ExchangeAdapter, find_venue
from feeds.okx import OKX
from feeds.okx.session import BOOKS
from tests.data import shared

ALL = tuple(Channel)


def names(native, channels, book=""):
    return [stream.name for stream in OKX.streams_for(native, channels, book)]


def test_the_venue_is_found_by_its_name():
    assert find_venue("okx") is OKX
    assert isinstance(OKX, ExchangeAdapter)


def test_a_spot_instrument_has_no_funding_and_no_liquidations():
    assert names("BTC-USDT", ALL) == [
        "trades:BTC-USDT",
        "books:BTC-USDT",
        "bbo-tbt:BTC-USDT",
        "tickers:BTC-USDT",
    ]


def test_the_funding_of_a_swap_takes_four_streams():
    assert names("BTC-USDT-SWAP", [Channel.FUNDING]) == [
        "mark-price:BTC-USDT-SWAP",
        "open-interest:BTC-USDT-SWAP",
        "funding-rate:BTC-USDT-SWAP",
        "index-tickers:BTC-USDT",
    ]


def test_a_future_has_a_mark_price_but_no_funding_rate():
    assert names("BTC-USD-261225", [Channel.FUNDING]) == [
        "mark-price:BTC-USD-261225",
        "open-interest:BTC-USD-261225",
    ]


def test_liquidations_are_subscribed_for_a_whole_kind():
    assert names("BTC-USDT-SWAP", [Channel.LIQUIDATIONS]) == ["liquidation-orders:SWAP"]
    assert names("BTC-USD-261225", [Channel.LIQUIDATIONS]) == ["liquidation-orders:FUTURES"]


@pytest.mark.parametrize("book", BOOKS)
def test_a_book_stream_can_be_chosen(book):
    assert names("BTC-USDT", [Channel.BOOK], book) == [f"{book}:BTC-USDT"]


def test_an_unknown_book_stream_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"no book stream 'books500' - one of books, "):
        OKX.streams_for("BTC-USDT", [Channel.BOOK], "books500")


def test_a_quiet_book_speaks_once_a_minute_and_a_quiet_quote_never():
    book, top = OKX.streams_for("BTC-USDT", [Channel.BOOK, Channel.TOP])
    assert (book.cadence_s, top.cadence_s) == (60.0, 0.0)


def test_one_message_subscribes_to_many_streams():
    message = json.loads(OKX.subscribe(["books:BTC-USDT", "liquidation-orders:SWAP"], 17))
    assert message == {
        "id": "17",
        "op": "subscribe",
        "args": [
            {"channel": "books", "instId": "BTC-USDT"},
            {"channel": "liquidation-orders", "instType": "SWAP"},
        ],
    }


def test_a_stream_that_several_instruments_share_is_asked_for_once():
    message = json.loads(OKX.unsubscribe(["liquidation-orders:SWAP"] * 2, 1))
    assert message["op"] == "unsubscribe"
    assert len(message["args"]) == 1


def test_the_largest_message_keeps_within_the_limit_of_64_kb():
    native = "X" * 27 + "-SWAP"
    most = OKX.rules.streams_per_message
    streams = [f"liquidation-orders:{n:03}{native[3:]}" for n in range(most)]
    assert len(OKX.subscribe(streams, 999_999_999)) < 65_536


def test_all_arguments_of_a_connection_keep_within_the_limit_of_64_kb():
    streams = [f"books:{n:04}-A" for n in range(OKX.rules.stream_bytes // len("books:0000-A"))]
    assert sum(map(len, streams)) <= OKX.rules.stream_bytes
    assert len(OKX.subscribe(streams, 1)) < 65_536


def test_every_stream_is_the_one_that_its_messages_name():
    for path in sorted(shared("okx/public").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            argument = json.loads(line)["arg"]
            stream = OKX.stream_of(line)
            if b'"data"' in line and "channel" in argument and len(argument) == 2:
                target = argument.get("instId") or argument.get("instType")
                expected = f"{argument['channel']}:{target}" if target else None
                assert stream == expected, line
            else:
                assert stream is None or b'"data"' in line


def test_answers_and_pongs_are_of_no_stream():
    assert OKX.stream_of(b'{"event":"subscribe","arg":{"channel":"a","instId":"b"}}') is None
    assert OKX.stream_of(b"pong") is None


def test_a_refusal_gives_the_venues_words():
    frame = b'{"event":"error","msg":"channel:x doesn\'t exist","code":"60018","connId":"a4d3"}'
    assert OKX.refusal(frame) == "60018: channel:x doesn't exist"
    frame = b'{"event":"channel-conn-count-error","channel":"books","connCount":"30"}'
    assert OKX.refusal(frame) == "channel-conn-count-error: books has 30 connections"


@pytest.mark.parametrize(
    "frame",
    [
        b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"}}',
        b'{"arg":{"channel":"status"},"data":[{"event":"error"}]}',
        b"pong",
        b'{"event":"error"',
    ],
)
def test_what_is_no_refusal_gives_none(frame):
    assert OKX.refusal(frame) is None


def test_the_notice_of_a_service_upgrade_is_seen():
    frame = b'{"event":"notice","code":"64008","msg":"The connection will soon be closed"}'
    assert frame.startswith(OKX.rules.notices)
    assert OKX.is_shutdown_notice(frame)
    assert not OKX.is_shutdown_notice(frame.replace(b"64008", b"64009"))


def test_snapshots_come_in_the_stream_and_can_be_asked_for():
    assert OKX.rules.snapshots == "stream"
    request = OKX.depth_request("BTC-USDT-SWAP")
    assert request is not None
    assert request.path == "/api/v5/market/books?instId=BTC-USDT-SWAP&sz=400"


def test_each_kind_of_instruments_is_asked_for():
    paths = [request.path for request in OKX.instruments_requests()]
    assert paths == [
        f"/api/v5/public/instruments?instType={kind}" for kind in ("SPOT", "SWAP", "FUTURES")
    ]


def test_the_time_is_read_in_nanoseconds():
    body = shared("okx/meta/GET_api_v5_public_time.jsonl").read_bytes().splitlines()[0]
    assert OKX.parse_time(body) == 1597026383085 * 10**6
    with pytest.raises(ValueError, match="not an OKX time answer"):
        OKX.parse_time(b'{"code":"50011","data":[]}')


def test_every_environment_has_both_routes():
    for environment in ("live", "testnet", "simulator", "demo"):
        at = OKX.exchange.endpoints[environment]
        assert OKX.ws_url("public", [], at).endswith("/ws/v5/public")
        assert OKX.ws_url("business", [], at).endswith("/ws/v5/business")


def test_other_base_urls_get_the_same_routes():
    at = OKX.endpoints_at("http://127.0.0.1:9101/okx/", "ws://127.0.0.1:9101/okx/")
    assert at == OKX.exchange.endpoints["simulator"]
