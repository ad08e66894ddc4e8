"""Named counters and latency histograms of a process, in a segment that anyone may read.

The records are labels; behind them stand one int64 value a label, and then the histograms, a row of
cells each (engine.histogram). The owner updates with plain stores: counting costs what adding to a
variable costs, and nothing is sent, formatted or locked.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import segment as seg
from engine.errors import SegmentError
from engine.histogram import ROW, Histogram
from engine.records import LABEL as LABEL
from engine.segment import Cells, Kind, Segment, Shape

COUNTERS_MAX = 256
HISTOGRAMS_MAX = 16
_COUNTER, _GAUGE, _HISTOGRAM = 1, 2, 3
_SHAPE = Shape(Kind.COUNTERS, LABEL, COUNTERS_MAX, (COUNTERS_MAX + HISTOGRAMS_MAX * ROW) * 8)


def segment_name(process: str) -> str:
    """Return the name of a process' counters segment."""
    return f"ctr.{process}"


class _Counters:
    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.labels: NDArray[Any] = segment.records()
        cells = segment.area.view(np.int64)
        self.values: Cells = cells[:COUNTERS_MAX]
        self.cells: Cells = cells[COUNTERS_MAX:].reshape(HISTOGRAMS_MAX, ROW)

    def close(self) -> None:
        """Let go of the segment; it stays."""
        self.labels = self.labels[:0].copy()
        self.values = np.zeros(0, np.int64)
        self.cells = np.zeros((0, 0), np.int64)
        self.segment.close()


class CountersWriter(_Counters):
    """The owner's face.

    Attributes
    ----------
    values : int64[COUNTERS_MAX]
        ``values[i] += 1`` counts, from Python or from a kernel; ``i`` is from ``counter``.
    cells : int64[HISTOGRAMS_MAX, ROW]
        ``engine.histogram.record(cells[h], value)`` records; ``h`` is from ``histogram``.

    """

    @classmethod
    def open(cls, instance: str, process: str) -> "CountersWriter":
        """Make the segment, or take it over from a dead predecessor: its counts go on."""
        return cls(seg.open_writer(instance, segment_name(process), _SHAPE))

    def counter(self, name: str, unit: str = "") -> int:
        """Return the index of a counter (it only rises), made if new."""
        return self._label(_COUNTER, name, unit)

    def gauge(self, name: str, unit: str = "") -> int:
        """Return the index of a gauge (it rises and falls), made if new."""
        return self._label(_GAUGE, name, unit)

    def histogram(self, name: str, unit: str = "ns") -> int:
        """Return the row of a histogram, made if new."""
        return self._label(_HISTOGRAM, name, unit)

    def _label(self, kind: int, name: str, unit: str) -> int:
        if len(name.encode()) > 80 or len(unit.encode()) > 16:
            raise SegmentError(f"counter {name!r} ({unit}): at most 80 and 16 bytes")
        rows = 0
        for label in self.labels:
            if label["kind"] == 0:
                break
            if label["kind"] == kind and label["name"] == name.encode():
                return int(label["row"])
            rows += (label["kind"] == _HISTOGRAM) == (kind == _HISTOGRAM)
        else:
            raise SegmentError(f"{self.segment.name}: no room for counter {name!r}")
        if kind == _HISTOGRAM and rows == HISTOGRAMS_MAX:
            raise SegmentError(f"{self.segment.name}: no room for histogram {name!r}")
        label["row"], label["name"], label["unit"] = rows, name.encode(), unit.encode()
        label["kind"] = kind  # Last: readers skip rows of kind 0.
        return int(rows)

    def heartbeat(self) -> None:
        """Say that the process is well."""
        self.segment.heartbeat()


class CountersReader(_Counters):
    """Anyone's face: read-only."""

    @classmethod
    def attach(cls, instance: str, process: str, wait_s: float = 0.0) -> "CountersReader":
        """Attach to a process' counters; raises as ``engine.segment.attach`` does."""
        return cls(seg.attach(instance, segment_name(process), _SHAPE, wait_s=wait_s))

    def counters(self) -> dict[str, int]:
        """Return every counter and gauge by name."""
        return {
            label["name"].decode(): int(self.values[label["row"]])
            for label in self.labels
            if label["kind"] in (_COUNTER, _GAUGE)
        }

    def histograms(self) -> dict[str, Histogram]:
        """Return a copy of every histogram by name."""
        return {
            label["name"].decode(): Histogram.of(self.cells[label["row"]])
            for label in self.labels
            if label["kind"] == _HISTOGRAM
        }
