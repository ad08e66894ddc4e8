"""Records as Parquet: exact decimals, one schema a type, files that rotate, the agent."""

import json
import logging
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.agent import AgentContext
from engine.config import Config
from engine.counters import CountersWriter
from engine.errors import ConfigError
from engine.ring import RingWriter
from engine.table import TableReader, TableWriter
from feeds.message import Has
from feeds.parquet import (
    RINGS,
    SCALE,
    Instruments,
    ParquetAgent,
    ParquetError,
    exact_decimals,
    kept,
    schema,
    to_table,
)
from feeds.types import FUNDING, INSTRUMENT, KNOWN_SHIFT, STATS, TRADE
from tests.desk import Desk, instrument

pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install -e '.[parquet]'")

INT64 = st.integers(-(2**63), 2**63 - 1)
NOW_NS = 1_700_000_000_123_456_789
VENUE = "okx"


class Market:
    """A worker's segments without a worker."""

    def __init__(self, instance):
        self.instance = instance
        self.table = TableWriter.open(instance, "md.instruments", INSTRUMENT, 16)
        self.list(0, "BTC-USDT", 1, 8)
        self.list(1, "ETH-USDT", 2, 6)
        self.rings = {n: RingWriter.open(instance, n, each, 1024) for n, each in RINGS.items()}

    def list(self, number, native, price_decimals, quantity_decimals):
        record = instrument(native, price_decimals, quantity_decimals)
        record["symbol"] = native.replace("-", "/").encode()
        self.table.write(number, Desk.own(VENUE, number, record))

    def publish(self, ring, **fields):
        record = np.zeros(1, RINGS[ring].dtype)
        record["received_ns"] = NOW_NS
        for name, value in fields.items():
            record[name] = value
        self.rings[ring].publish(record)

    def close(self):
        self.table.close()
        for ring in self.rings.values():
            ring.close()


@pytest.fixture
def market(instance):
    market = Market(instance)
    yield market
    market.close()


@pytest.fixture
def agent(market, tmp_path):
    """Return a function that starts the agent with settings; ``close`` ends its files."""
    counters = CountersWriter.open(market.instance, "parquet")
    begun = []

    def begin(**settings):
        chosen = {"folder": str(tmp_path)} | settings
        log = logging.getLogger("parquet")
        context = AgentContext(market.instance, "parquet", chosen, Config(), counters, log)
        begun.append(ParquetAgent(context))
        begun[-1].start()
        return begun[-1]

    yield begin
    for each in begun:
        each.close()
    counters.close()


def rows(folder, ring):
    """Return the rows of a ring's files, in order."""
    files = sorted(folder.glob(f"{ring}-*.parquet"))
    return [row for file in files for row in plain(pq.read_table(file))]


def plain(table):
    """Return the rows of a table, times as integers: Python has no nanoseconds."""
    for place, name in enumerate(table.schema.names):
        if name.endswith("_ns"):
            table = table.set_column(place, name, table[name].cast("int64"))
    return table.to_pylist()


@given(st.lists(st.tuples(INT64, st.integers(0, SCALE)), min_size=1, max_size=50))
def test_mantissas_are_scaled_exactly(numbers):
    mantissas = np.array([mantissa for mantissa, _ in numbers], np.int64)
    decimals = np.array([places for _, places in numbers], np.int64)
    found = exact_decimals(mantissas, decimals)
    for (mantissa, places), pair in zip(numbers, found, strict=True):
        value = int.from_bytes(pair.tobytes(), "little", signed=True)
        assert value == mantissa * 10 ** (SCALE - places)


def test_a_trade_has_its_symbol_its_time_and_its_exact_numbers(market, agent, tmp_path):
    market.publish(
        "md.trades", price=617376, quantity=54698, trade_id=7, side=-1, flags=1, exchange_ns=NOW_NS
    )
    market.publish("md.trades", instrument=1, price=-5, quantity=2**63 - 1)
    writer = agent()
    writer.do_work()
    writer.close()
    first, second = rows(tmp_path, "md.trades")
    assert first == {
        "venue": VENUE,
        "native": "BTC-USDT",
        "symbol": "BTC/USDT",
        "sequence": 1,
        "exchange_ns": NOW_NS,
        "received_ns": NOW_NS,
        "published_ns": None,
        "price": Decimal("61737.6"),
        "quantity": Decimal("0.00054698"),
        "trade_id": 7,
        "side": -1,
        "flags": 1,
    }
    assert (second["price"], second["exchange_ns"]) == (Decimal("-0.05"), None)
    assert second["quantity"] == Decimal(2**63 - 1) / 10**6


def test_times_keep_their_nanoseconds(market, agent, tmp_path):
    market.publish("md.trades")
    agent().close()
    (file,) = tmp_path.glob("md.trades-*.parquet")
    column = pq.read_table(file)["received_ns"]
    assert str(column.type) == "timestamp[ns, tz=UTC]"
    assert column.cast("int64").to_pylist() == [NOW_NS]


@pytest.mark.parametrize("ring", RINGS)
def test_every_record_type_has_a_schema_and_comes_back(market, agent, tmp_path, ring):
    layout = RINGS[ring]
    names = [name for name in schema(layout).names if name in layout.dtype.names]
    market.publish(ring, **{name: 3 for name in names if name != "sequence"}, instrument=1)
    agent(rings=[ring]).close()
    (file,) = tmp_path.iterdir()
    table = pq.read_table(file)
    assert table.schema.equals(schema(layout))
    (row,) = plain(table)
    assert (row["venue"], row["native"], row["symbol"]) == (VENUE, "ETH-USDT", "ETH/USDT")
    whole = [n for n in names if str(schema(layout).field(n).type).startswith(("int", "uint"))]
    assert all(row[name] == 3 for name in whole if name != "sequence")
    assert {"instrument", "reserved", "reserved2"}.isdisjoint(table.schema.names)


def listed(market):
    followed = Instruments(TableReader.attach(market.instance, "md.instruments", INSTRUMENT))
    followed.close()
    return followed.now


def test_what_is_not_known_of_funding_is_null(market):
    record = np.zeros(2, FUNDING.dtype)
    record["mark_price"], record["rate"] = 123_456_789_000_000, -(10**14)
    record["open_interest"] = 5 * 10**8
    record["flags"][0] = int(Has.MARK | Has.RATE) << KNOWN_SHIFT
    record["flags"][1] = int(Has.INTEREST) << KNOWN_SHIFT
    first, second = to_table(FUNDING, record, listed(market)).to_pylist()
    assert first["mark_price"] == Decimal("123.456789")
    assert first["rate"] == Decimal("-0.0001")
    assert [first[n] for n in ("index_price", "settle_price", "open_interest")] == [None] * 3
    assert second["open_interest"] == 5
    assert (second["mark_price"], second["rate"], second["next_funding_ns"]) == (None, None, None)


def test_what_is_not_known_of_a_day_is_null(market):
    record = np.zeros(1, STATS.dtype)
    record["flags"] = int(Has.LAST | Has.VOLUME) << KNOWN_SHIFT
    record["last_price"] = 15
    (row,) = to_table(STATS, record, listed(market)).to_pylist()
    assert (row["last_price"], row["volume"]) == (Decimal("1.5"), 0)
    assert row["open_price"] is row["high_price"] is row["low_price"] is None


def test_an_empty_side_of_a_top_has_no_price(market, agent, tmp_path):
    market.publish("md.top", bid_price=10, bid_quantity=1)
    agent().close()
    (row,) = rows(tmp_path, "md.top")
    assert (row["bid_price"], row["ask_price"]) == (1, None)


def test_other_decimals_from_now_on_leave_what_came_before_alone(market, agent, tmp_path):
    market.publish("md.trades", price=12345)
    writer = agent()
    writer.do_work()
    market.list(0, "BTC-USDT", 3, 8)
    for stream in writer._streams.values():
        stream._file._instruments.update()
    market.publish("md.trades", price=12345)
    writer.do_work()
    writer.close()
    assert [r["price"] for r in rows(tmp_path, "md.trades")] == [
        Decimal("1234.5"),
        Decimal("12.345"),
    ]


def test_an_instrument_that_is_new_is_named(market, agent, tmp_path):
    writer = agent()
    market.list(2, "XRP-USDT", 4, 0)
    market.publish("md.trades", instrument=2, price=5)
    writer.do_work()
    writer.close()
    assert [(r["native"], r["price"]) for r in rows(tmp_path, "md.trades")] == [
        ("XRP-USDT", Decimal("0.0005"))
    ]


def test_files_of_the_size_asked_for_follow_each_other(market, agent, tmp_path):
    writer = agent(rings=["md.trades"], rotate_mb=0.0, group_rows=10)
    for number in range(35):
        market.publish("md.trades", trade_id=number)
        writer.do_work()
    writer.close()
    assert len(list(tmp_path.glob("*.parquet"))) == 4
    assert [row["trade_id"] for row in rows(tmp_path, "md.trades")] == list(range(35))


def test_a_file_that_is_old_enough_is_ended(market, agent, tmp_path):
    writer = agent(rings=["md.trades"], rotate_s=0.0, group_rows=1)
    market.publish("md.trades", trade_id=5)
    writer.do_work()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    writer.heartbeat()
    assert [row["trade_id"] for row in rows(tmp_path, "md.trades")] == [5]


def test_records_that_were_overwritten_are_counted(market, agent, tmp_path):
    writer = agent(rings=["md.trades"])
    for number in range(3000):
        market.publish("md.trades", trade_id=number)
    writer.close()
    labels = writer._context.counters.labels
    row = labels[labels["name"] == b"md.trades.lost"]["row"][0]
    lost = int(writer._context.counters.values[row])
    found = rows(tmp_path, "md.trades")
    assert lost > 0
    assert len(found) + lost == 3000


def test_a_ring_that_is_none_is_refused(agent):
    with pytest.raises(ConfigError, match=r"md\.trade"):
        agent(rings=["md.trade"])


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParquetError, match="cannot be made"), kept(tmp_path / "file" / "x"):
        pass


@pytest.mark.processes
def test_the_command_keeps_the_records_of_some_seconds(market, tmp_path):
    market.publish("md.trades", trade_id=5)
    command = [sys.executable, "-m", "engine.cli", "parquet", "--instance", market.instance]
    command += ["--out", str(tmp_path), "--seconds", "0.3", "--json", "--rings", "md.trades"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["md.trades.records"] == 1
    assert [row["trade_id"] for row in rows(tmp_path, "md.trades")] == [5]


def test_field_docs_go_along():
    form = schema(TRADE)
    assert form.field("side").metadata[b"doc"].startswith(b"aggressor")
    assert form.metadata[b"layout"] == b"trade v1"
