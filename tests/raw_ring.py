"""A feed's segments without a feed: a raw ring and an instrument table, and a recorder of them."""

import logging

from engine.agent import AgentContext
from engine.config import Config
from engine.counters import CountersWriter
from engine.errors import TradeInfraError
from engine.frames import FrameKind, FrameWriter
from engine.table import TableWriter
from feeds.recorder import COUNTED, Recorder
from feeds.types import INSTRUMENT
from tests.desk import Desk, instrument

VENUE = "binance_usdm"
START_NS = 1_700_000_000_000_000_000


class RawRing:
    """``natives``: the instruments, in the order of their rows."""

    def __init__(self, instance, natives=("BTCUSDT",), venue=VENUE, frames=4096, bytes_=1 << 20):
        self.instance, self.venue = instance, venue
        self.writer = FrameWriter.open(instance, f"md.raw.{venue}", frames, bytes_)
        self.table = TableWriter.open(instance, f"feed.{venue}.instruments", INSTRUMENT, 16)
        for row, native in enumerate(natives):
            self.list(row, native)
        self.clock = START_NS

    def list(self, row, native, price_decimals=2, quantity_decimals=3, tick=1):
        record = instrument(native, price_decimals, quantity_decimals, tick)
        self.table.write(row, Desk.own(self.venue, row, record))

    def publish(self, payload, kind=FrameKind.TEXT, row=-1, connection=1, line=0):
        self.clock += 1_000_000
        self.writer.publish(payload, self.clock, kind, connection, row, line)

    def close(self):
        self.writer.close()
        self.table.close()


class Recording:
    """A recorder in the test's own process; ``settings`` beside folder and venues."""

    def __init__(self, instance, folder, venues=(VENUE,), process="recorder", **settings):
        self.counters = CountersWriter.open(instance, process)
        self.tally = {}
        chosen = {"folder": str(folder), "venues": list(venues)} | settings
        log = logging.getLogger("recorder")
        context = AgentContext(instance, process, chosen, Config(), self.counters, log)
        try:
            self.recorder = Recorder(context)
            self.recorder.start()
        except TradeInfraError:
            self.counters.close()
            raise

    def take(self):
        """Take all that is in the rings."""
        while self.recorder.do_work():
            pass

    def count(self, name, venue=VENUE):
        labels = self.counters.labels
        row = labels[labels["name"] == f"{venue}.{name}".encode()]["row"][0]
        return int(self.counters.values[row])

    def close(self):
        """Close it; what it counted for ``VENUE`` is in ``tally``."""
        if not self.tally:
            self.recorder.close()
            self.tally = {name: self._counted(name) for name, _ in COUNTED}
            self.counters.close()

    @property
    def lost(self):
        return self.tally["overruns"]

    def _counted(self, name):
        names = [each["name"] for each in self.counters.labels]
        return self.count(name) if f"{VENUE}.{name}".encode() in names else 0
