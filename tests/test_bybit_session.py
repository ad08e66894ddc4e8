"""Bybit's adapters: topics, routes, operations, answers, limits, endpoints."""

import json

import orjson
import pytest

from engine.errors import ConfigError
from feeds.adapter import CHANNELS, Channel, ExchangeAdapter, RestRequest, find_venue
from feeds.bybit import BYBIT, BYBIT_SPOT
from feeds.bybit.infer import texts_of
from feeds.infer import Inference
from feeds.plan import plan_lines
from feeds.sync import Chain
from tests.data import shared

VENUES = (BYBIT, BYBIT_SPOT)
PAGE = RestRequest("/v5/market/instruments-info?category=linear&limit=1000", 1)


@pytest.mark.parametrize("venue", VENUES)
def test_an_adapter_has_all_that_the_protocol_asks_for(venue):
    assert isinstance(venue, ExchangeAdapter)
    assert find_venue(venue.name()) is venue


@pytest.mark.parametrize(
    ("native", "route"),
    [
        ("BTCUSDT", "linear"),
        ("BTCPERP", "linear"),
        ("BTCUSDT-25DEC26", "linear"),
        ("BTC-25DEC26", "linear"),
        ("1000BONKUSDT", "linear"),
        ("FDUSDUSDT", "linear"),
        ("BTCUSD", "inverse"),
        ("BTCUSDZ26", "inverse"),
        ("BTCUSDU23", "inverse"),
    ],
)
def test_a_contracts_name_tells_its_route(native, route):
    assert {each.route for each in BYBIT.streams_for(native, CHANNELS)} == {route}
    assert {each.route for each in BYBIT_SPOT.streams_for(native, CHANNELS)} == {"spot"}


def test_each_channel_is_a_topic():
    names = {
        channel: [each.name for each in BYBIT.streams_for("BTCUSDT", [channel])]
        for channel in CHANNELS
    }
    assert names == {
        Channel.TRADES: ["publicTrade.BTCUSDT"],
        Channel.BOOK: ["orderbook.200.BTCUSDT"],
        Channel.TOP: ["orderbook.1.BTCUSDT"],
        Channel.FUNDING: ["tickers.BTCUSDT"],
        Channel.LIQUIDATIONS: ["allLiquidation.BTCUSDT"],
        Channel.STATS: ["tickers.BTCUSDT"],
    }


def test_spot_has_neither_funding_nor_liquidations():
    channels = [each.channel for each in BYBIT_SPOT.streams_for("BTCUSDT", CHANNELS)]
    assert channels == [Channel.TRADES, Channel.BOOK, Channel.TOP, Channel.STATS]


@pytest.mark.parametrize("channels", [CHANNELS, CHANNELS[::-1]])
def test_a_topic_of_two_channels_is_subscribed_once_for_the_one_that_promises_more(channels):
    streams = [each for each in BYBIT.streams_for("BTCUSDT", channels) if "tick" in each.name]
    assert [each.channel for each in streams] == [Channel.FUNDING]


def test_the_best_bid_and_offer_repeats_after_three_seconds():
    (stream,) = BYBIT.streams_for("BTCUSDT", [Channel.TOP])
    assert stream.cadence_s == 3.0


@pytest.mark.parametrize("venue", VENUES)
def test_a_book_stream_can_be_chosen(venue):
    for name in venue.book_streams:
        (stream,) = venue.streams_for("BTCUSDT", [Channel.BOOK], name)
        assert stream.name == f"{name}.BTCUSDT"
    (stream,) = venue.streams_for("BTCUSDT", [Channel.BOOK])
    assert stream.name == f"{venue.book_streams[0]}.BTCUSDT"


def test_an_unknown_book_stream_is_an_error_that_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"orderbook\.500.*orderbook\.50"):
        BYBIT.streams_for("BTCUSDT", [Channel.BOOK], "orderbook.500")


def test_operations_name_their_topics():
    assert orjson.loads(BYBIT.subscribe(["a.X", "b.X"], 7)) == {
        "op": "subscribe",
        "req_id": "7",
        "args": ["a.X", "b.X"],
    }
    assert orjson.loads(BYBIT.unsubscribe(["a.X"], 8))["op"] == "unsubscribe"
    assert orjson.loads(BYBIT.rules.ping_text) == {"op": "ping"}


def test_connections_keep_to_the_limit_of_the_topics_text():
    at = BYBIT.exchange.endpoints["live"]
    instruments = {f"COIN{n:04}USDT": n for n in range(1000)}
    plans = plan_lines(BYBIT, instruments, [Channel.TRADES, Channel.BOOK], at)
    assert len(plans) > 1
    assert max(len(json.dumps(plan.names, separators=(",", ":"))) for plan in plans) <= 21_000


def test_a_linear_and_an_inverse_contract_never_share_a_connection():
    at = BYBIT.exchange.endpoints["live"]
    plans = plan_lines(BYBIT, {"BTCUSDT": 0, "BTCUSD": 1}, [Channel.TRADES], at)
    assert [(plan.route, plan.names) for plan in plans] == [
        ("linear", ["publicTrade.BTCUSDT"]),
        ("inverse", ["publicTrade.BTCUSD"]),
    ]


def test_a_message_names_its_topic_and_an_answer_none():
    assert BYBIT.stream_of(b'{"topic":"publicTrade.X","data":[]}') == "publicTrade.X"
    assert BYBIT.stream_of(b'{"cs":9,"data":{"symbol":"X"},"topic":"tickers.X"}') == "tickers.X"
    assert BYBIT.stream_of(b'{"success":true,"ret_msg":"","op":"subscribe"}') is None
    assert BYBIT.stream_of(b'{"topic":"cut') is None


def test_the_topic_of_every_subscribed_sample_is_found():
    for path in shared("bybit/public").glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            assert BYBIT.stream_of(line) == orjson.loads(line).get("topic")


def test_a_refused_subscription_gives_the_venues_words():
    frame = (
        b'{"success":false,"ret_msg":"error:handler not found,topic:orderbook.500.X",'
        b'"conn_id":"","req_id":"7","op":"subscribe"}'
    )
    assert BYBIT.refusal(frame) == "error:handler not found,topic:orderbook.500.X"
    assert BYBIT.refusal(b'{"success":false,"ret_msg":"","op":"subscribe"}') == "subscribe refused"


@pytest.mark.parametrize(
    "frame",
    [
        b'{"success":true,"ret_msg":"","conn_id":"x","req_id":"7","op":"subscribe"}',
        b'{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}',
        b'{"req_id":"7","op":"pong","args":["1"],"conn_id":"x"}',
        b'{"topic":"publicTrade.X","data":[]}',
        b'{"success":fal',
        b'["success"]',
        b"",
    ],
)
def test_nothing_else_is_a_refusal_or_a_notice(frame):
    assert BYBIT.refusal(frame) is None
    assert not BYBIT.is_shutdown_notice(frame)


@pytest.mark.parametrize(
    ("environment", "rest", "websocket"),
    [
        ("live", "https://api.bybit.com", "wss://stream.bybit.com"),
        ("testnet", "https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com"),
        ("demo", "https://api-demo.bybit.com", "wss://stream.bybit.com"),
    ],
)
def test_environments_have_an_address_for_each_route(environment, rest, websocket):
    contracts = BYBIT.exchange.endpoints[environment]
    spot = BYBIT_SPOT.exchange.endpoints[environment]
    assert contracts.rest == spot.rest == rest
    assert BYBIT.ws_url("linear", [], contracts) == f"{websocket}/v5/public/linear"
    assert BYBIT.ws_url("inverse", [], contracts) == f"{websocket}/v5/public/inverse"
    assert BYBIT_SPOT.ws_url("spot", [], spot) == f"{websocket}/v5/public/spot"


@pytest.mark.parametrize("venue", VENUES)
def test_the_simulated_venue_has_the_same_routes(venue):
    base = f"127.0.0.1:9101/{venue.name()}"
    simulated = venue.exchange.endpoints["simulator"]
    assert simulated == venue.endpoints_at(f"http://{base}/", f"ws://{base}/")
    assert simulated.websocket.keys() == venue.exchange.endpoints["live"].websocket.keys()


def test_snapshots_come_in_the_stream_and_never_by_request():
    assert BYBIT.rules.snapshots == "stream"
    assert BYBIT.depth_request("BTCUSDT") is None
    assert not BYBIT.is_depth_body({"result": {"b": [], "a": [], "u": 1}})
    rule = BYBIT.sync_rule
    assert (rule.chain, rule.keep_offset, rule.in_band, rule.snapshot_id) == (Chain.FIRST, 1, 1, 1)


def test_each_category_is_a_list_of_instruments():
    assert [each.path for each in BYBIT.instruments_requests()] == [
        "/v5/market/instruments-info?category=linear&limit=1000",
        "/v5/market/instruments-info?category=inverse&limit=1000",
    ]
    (spot,) = BYBIT_SPOT.instruments_requests()
    assert "category=spot" in spot.path


def test_a_cursor_asks_for_the_next_page_until_there_is_none():
    first = BYBIT.next_page(PAGE, b'{"result":{"nextPageCursor":"0%2C500","list":[]}}')
    assert first is not None
    assert first.path == f"{PAGE.path}&cursor=0%2C500"
    second = BYBIT.next_page(first, b'{"result":{"nextPageCursor":"a b&c"}}')
    assert second is not None
    assert second.path == f"{PAGE.path}&cursor=a%20b%26c"


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":{"nextPageCursor":"","list":[]}}',
        b'{"result":{"nextPageCursor":null}}',
        b'{"result":{"list":[]}}',
        b'{"result":null}',
        b"[]",
        b"x",
    ],
)
def test_an_answer_without_a_cursor_is_the_last_page(body):
    assert BYBIT.next_page(PAGE, body) is None


def test_a_cursor_that_does_not_move_ends_the_pages():
    body = b'{"result":{"nextPageCursor":"a"}}'
    page = BYBIT.next_page(PAGE, body)
    assert page is not None
    assert BYBIT.next_page(page, body) is None


def test_the_venues_time_is_in_nanoseconds():
    (line,) = shared("bybit/meta/rest_server_time.jsonl").read_bytes().splitlines()
    assert BYBIT.parse_time(line) == 1694667737126471019
    with pytest.raises(ValueError, match="not a Bybit time answer"):
        BYBIT.parse_time(b'{"result":{}}')


def test_decimals_are_learned_from_messages_of_every_covered_topic():
    inference = Inference(BYBIT)
    for path in sorted(shared("bybit/public").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            inference.add(line)
    found = {each.native: each for each in inference.instruments()}
    assert (found["BTCUSDC"].price_decimals, found["BTCUSDC"].quantity_decimals) == (2, 5)
    assert (found["PIPPINUSDT"].price_decimals, found["GALAUSDT"].price_decimals) == (5, 5)
    assert found["BTCUSD"].quantity_decimals == 0


@pytest.mark.parametrize("message", [5, [], {}, {"topic": 5}, {"topic": "orderbook.1.X"}])
def test_what_says_nothing_about_instruments_gives_nothing(message):
    assert list(texts_of(message)) == []
