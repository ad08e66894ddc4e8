"""``trade-infra decode``: records as JSON lines."""

import gzip
import json

import pytest

from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.bybit import BYBIT
from feeds.decode import DecodeError, decode_frames, exact, read_frames
from tests.data import shared
from tests.decoding import command

INSTRUMENTS = [("BTCUSDT", 2, 3), ("ETHUSDT", 2, 3)]


def decode(*frames):
    return list(decode_frames(BINANCE_USDM, [(f, None) for f in frames], INSTRUMENTS))


def test_a_trade_is_a_line_with_its_fields_by_name():
    frame = (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161268501,"T":1723161268500,'
        b'"s":"BTCUSDT","t":5266584395,"p":"61802.30","q":"0.007","X":"MARKET","m":false}}'
    )
    assert decode(frame) == [
        {
            "type": "trade",
            "symbol": "BTCUSDT",
            "exchange_ns": 1723161268501000000,
            "price": "61802.30",
            "quantity": "0.007",
            "trade_id": 5266584395,
            "side": "buy",
            "flags": ["last"],
            "line": 1,
        }
    ]


def test_each_level_of_a_book_update_is_a_line_and_the_last_one_says_so():
    frame = (
        b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,'
        b'"b":[["1.5","2"],["1.4","0"]],"a":[["1.6","3"]]}'
    )
    lines = decode(frame)
    assert [(each["side"], each["price"], each["flags"]) for each in lines] == [
        ("bid", "1.50", []),
        ("bid", "1.40", []),
        ("ask", "1.60", ["last"]),
    ]
    assert {(each["previous_id"], each["line"]) for each in lines} == {(0, 1)}


def test_a_link_that_the_venue_does_not_give_is_left_out():
    frame = (
        b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1.5","2"]],"a":[["1.6","3"]]}'
    )
    lines = list(decode_frames(BINANCE_SPOT, [(b"{}", None), (frame, None)], INSTRUMENTS))[1:]
    assert [each["update_id"] for each in lines] == [2, 2]
    assert [each["line"] for each in lines] == [2, 2]
    assert not any("previous_id" in each for each in lines)


def test_the_first_record_of_a_snapshot_clears_the_book():
    frames = [(b'{"lastUpdateId":7,"bids":[["1","2"]],"asks":[["2","1"]]}', "?symbol=ETHUSDT")]
    lines = list(decode_frames(BINANCE_USDM, frames, INSTRUMENTS))
    assert [each["flags"] for each in lines] == [["snapshot", "clear"], ["last", "snapshot"]]


def test_a_snapshot_without_levels_is_one_record_that_clears():
    frames = [(b'{"lastUpdateId":7,"bids":[],"asks":[]}', "?symbol=ETHUSDT")]
    (line,) = decode_frames(BINANCE_USDM, frames, INSTRUMENTS)
    assert (line["side"], line["flags"]) == ("none", ["last", "snapshot", "clear"])


def test_a_number_that_a_message_does_not_carry_is_null():
    (funding,) = decode(b'{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1.5","i":"","T":0}')
    assert funding == {
        "type": "funding",
        "symbol": "BTCUSDT",
        "exchange_ns": 1000000,
        "mark_price": "1.500000000000",
        "index_price": None,
        "settle_price": None,
        "rate": None,
        "next_funding_ns": 0,
        "open_interest": None,
        "flags": ["last"],
        "line": 1,
    }


def test_a_day_s_statistics_are_a_line():
    frame = b'{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"3","o":"1.5","h":"","v":"7.25"}'
    assert decode(frame) == [
        {
            "type": "stats",
            "symbol": "BTCUSDT",
            "exchange_ns": 1000000,
            "last_price": "3.00",
            "open_price": "1.50",
            "high_price": None,
            "low_price": None,
            "volume": "7.250",
            "flags": ["last"],
            "line": 1,
        }
    ]


def test_a_liquidation_has_the_side_of_the_order_that_closes():
    frame = (
        b'{"e":"forceOrder","E":1,"o":{"s":"ETHUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.5",'
        b'"p":"1800.25","ap":"1801.123","X":"FILLED","l":"0.5","z":"0.5","T":1}}'
    )
    (line,) = decode(frame)
    found = [line[name] for name in ("type", "symbol", "price", "quantity", "side")]
    assert found == ["liquidation", "ETHUSDT", "1800.25", "0.500", "sell"]


@pytest.mark.parametrize(
    ("frame", "channel"),
    [
        (b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","s":"BTCUSDT"}}', "btcusdt@kline_1m"),
        (b'{"e":"contractInfo","E":1,"s":"BTCUSDT"}', "contractInfo"),
        (b'[{"e":"1hTicker","s":"BTCUSDT"}]', "1hTicker"),
        (b'{"lastUpdateId":160,"bids":[],"asks":[]}', "snapshot of an unnamed instrument"),
    ],
)
def test_a_channel_without_records_is_named(frame, channel):
    skipped = {"channel": channel, "why": "not covered"}
    assert decode(frame) == [{"skipped": skipped, "line": 1}]


def test_an_answer_that_names_nothing_is_not_covered():
    assert decode(b'{"result":null,"id":1}') == [{"skipped": {"why": "not covered"}, "line": 1}]


def test_a_covered_channel_without_news_is_told_from_one_that_is_not_covered():
    frame = b'{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT"},"ts":1}'
    skipped = {"channel": "tickers.BTCUSDT", "why": "nothing of interest"}
    lines = list(decode_frames(BYBIT, [(frame, None)], INSTRUMENTS))
    assert lines == [{"skipped": skipped, "line": 1}]


def test_a_book_update_without_levels_is_of_no_interest():
    frame = b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[],"a":[]}'
    skipped = {"channel": "depthUpdate", "why": "nothing of interest"}
    assert decode(frame) == [{"skipped": skipped, "line": 1}]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b'{"e":"trade"', "truncated"),
        (b'{"e":"trade","s":"XRPUSDT"}', "symbol"),
        (b"", "truncated"),
    ],
)
def test_a_frame_without_records_is_a_line_that_says_why(frame, reason):
    assert decode(b'{"id":1}', frame)[1] == {"error": reason, "line": 2}


def test_a_negative_funding_rate_is_printed_exactly():
    frame = (
        b'{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1.00000001","P":"","i":"2",'
        b'"r":"-0.00000125","T":0}'
    )
    (line,) = decode(frame)
    assert (line["mark_price"], line["rate"]) == ("1.000000010000", "-0.000001250000000000")


@pytest.mark.parametrize(
    ("mantissa", "decimals", "text"),
    [
        (0, 0, "0"),
        (5, 0, "5"),
        (5, 2, "0.05"),
        (-5, 3, "-0.005"),
        (0, 2, "0.00"),
        (12345, 2, "123.45"),
        (-125, 2, "-1.25"),
        (2814010, 2, "28140.10"),
    ],
)
def test_a_mantissa_is_printed_with_all_its_decimals(mantissa, decimals, text):
    assert exact(mantissa, decimals) == text


TRADE = b'{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"1.5","q":"2","m":true}'


def information(*natives):
    symbols = [
        {"symbol": native, "baseAsset": native, "quoteAsset": "X", "status": "TRADING"}
        | {"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.0001"}]}
        for native in natives
    ]
    return json.dumps({"symbols": symbols}).encode()


@pytest.mark.parametrize(
    "answers",
    [
        information("BTCUSDT"),
        information("ETHUSDT") + b"\n" + information("BTCUSDT") + b"\n",
        b"\n" + information("ETHUSDT", "BTCUSDT") + b"\n\n",
        json.dumps(json.loads(information("BTCUSDT")), indent=2).encode(),
    ],
    ids=["one answer", "one a line", "blank lines", "indented"],
)
def test_decimals_come_from_the_answers_of_the_venue(tmp_path, capsysbinary, answers):
    (tmp_path / "frames").write_bytes(TRADE)
    (tmp_path / "info").write_bytes(answers)
    frames, info = tmp_path / "frames", tmp_path / "info"
    assert command("--venue", "binance_spot", frames, "--instruments", info) == 0
    assert json.loads(capsysbinary.readouterr().out)["price"] == "1.5000"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("info", b"", "info lists no instrument of binance_spot"),
        (
            "info",
            b"<html>",
            "line 1: not Binance exchange information: not JSON - save what Binance",
        ),
        ("info", b"{}", "no 'symbols' - save what Binance spot answers to /api/v3/exchangeInfo"),
        (
            "info",
            information("A") + b"\n[]",
            "line 2: not Binance exchange information: of another form",
        ),
        ("info.gz", b"{}", "cannot read instruments from .*info.gz: it is not packed with gzip"),
        ("info.gz", gzip.compress(b"{}", mtime=0)[:-9], "its end is missing or it is damaged"),
    ],
)
def test_instruments_that_cannot_be_read_are_a_clean_error(tmp_path, name, content, words):
    (tmp_path / "frames").write_bytes(TRADE)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=words):
        command("--venue", "binance_spot", tmp_path / "frames", "--instruments", tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("frames.gz", TRADE, "cannot read frames from .*frames.gz: it is not packed with gzip"),
        ("frames.gz", gzip.compress(TRADE, mtime=0)[:-9], "its end is missing or it is damaged"),
        ("none", None, "cannot read frames from .*none: there is no such file"),
    ],
)
def test_frames_that_cannot_be_read_are_a_clean_error(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=words):
        command("--venue", "binance_spot", tmp_path / name)


@pytest.mark.parametrize("row", [b"x\t1\trest\thttps://x", b"0\t1", b"\xff"])
def test_an_index_that_is_none_is_a_clean_error(tmp_path, row):
    (tmp_path / "messages.jsonl").write_bytes(TRADE)
    (tmp_path / "index.tsv").write_bytes(b"line\trecv_ns\tchannel\turl\n" + row)
    with pytest.raises(DecodeError, match=r"index\.tsv: line 2 is not a line number"):
        read_frames(str(tmp_path / "messages.jsonl"))


def test_the_index_of_a_recording_names_the_symbols_of_its_snapshots(capsysbinary):
    path = str(shared("binance_spot/public/captures/cf_4sym_20211012") / "messages.jsonl.gz")
    assert sum(address is not None for _, address in read_frames(path)) == 4
    assert command("--venue", "binance_spot", path) == 0
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert {line["symbol"] for line in lines if "snapshot" in line.get("flags", [])} == {
        "NKNUSDT",
        "BLZETH",
        "LRCBTC",
        "RUNEEUR",
    }
    assert not any("error" in line for line in lines)
    assert {line["skipped"]["why"] for line in lines if "skipped" in line} == {"not covered"}
