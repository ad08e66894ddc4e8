"""Log-linear histograms whose counts are those of HdrHistogram, recorded by a plain store.

Two significant digits: buckets are at most 1/128 of their value wide. Values run from 0 to
``VALUE_MAX`` (about 73 minutes of nanoseconds); larger ones count as the largest, negative ones (a
clock that stepped) as 0. A row of ``ROW`` int64 cells holds count, minimum, maximum, sum, and the
buckets. See Gil Tene's HdrHistogram for the bucket arithmetic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.atomics import leading_zeros
from engine.jit import inlined, kernel
from engine.segment import Cells

DIGITS = 2
_HALF_BITS = 7  # 128 sub-buckets a half: two digits
VALUE_MAX = (256 << 34) - 1
BUCKETS = (34 + 2) << _HALF_BITS
COUNT, MINIMUM, MAXIMUM, SUM, HEAD = 0, 1, 2, 3, 8
ROW = HEAD + BUCKETS


@inlined
def bucket_of(value: int) -> int:
    """Return the bucket of a value from 0 to ``VALUE_MAX``."""
    scale = 64 - leading_zeros(value | 255) - (_HALF_BITS + 1)
    return ((scale + 1) << _HALF_BITS) + (value >> scale) - (1 << _HALF_BITS)


@inlined
def record(row: Cells, value: int) -> None:
    """Count a value in a histogram's row; the row's owner alone calls it."""
    value = min(max(value, 0), VALUE_MAX)
    row[HEAD + bucket_of(value)] += 1
    if row[COUNT] == 0 or value < row[MINIMUM]:
        row[MINIMUM] = value
    if value > row[MAXIMUM]:
        row[MAXIMUM] = value
    row[SUM] += value
    row[COUNT] += 1


@kernel("void(int64[::1], int64[::1])")
def record_many(row: Cells, values: Cells) -> None:
    """Count many values."""
    for value in values:
        record(row, value)


@kernel("void(int64[::1], int64)")
def record_one(row: Cells, value: int) -> None:
    """Count one value from Python."""
    record(row, value)


def bucket_upper(bucket: int) -> int:
    """Return the highest value that counts in ``bucket``."""
    scale = max((bucket >> _HALF_BITS) - 1, 0)
    low = (bucket - (scale << _HALF_BITS)) << scale
    return low + (1 << scale) - 1


_UPPER = np.array([bucket_upper(bucket) for bucket in range(BUCKETS)], np.int64)


@dataclass(frozen=True)
class Histogram:
    """A copy of a histogram's row at one moment."""

    count: int
    minimum: int
    maximum: int
    total: int
    buckets: NDArray[np.int64]

    @classmethod
    def of(cls, row: Cells) -> "Histogram":
        """Copy a row. Taken while the owner records, the parts may differ by the newest values."""
        copy = np.array(row)
        count, minimum, maximum, total = (int(copy[i]) for i in (COUNT, MINIMUM, MAXIMUM, SUM))
        return cls(count, minimum, maximum, total, copy[HEAD:])

    def percentile(self, percent: float) -> int:
        """Return the value that ``percent`` of the values do not exceed; 0 if there are none."""
        counted = int(self.buckets.sum())
        if counted == 0:
            return 0
        rank = max(1, int(np.ceil(counted * percent / 100.0)))
        bucket = int(np.searchsorted(np.cumsum(self.buckets), rank))
        return min(int(_UPPER[bucket]), self.maximum)

    def subtract(self, earlier: "Histogram") -> "Histogram":
        """Return what was recorded since ``earlier``; the maximum is the bucket's upper end."""
        buckets = self.buckets - earlier.buckets
        used = np.flatnonzero(buckets)
        low, high = (int(_UPPER[used[0]]), int(_UPPER[used[-1]])) if len(used) else (0, 0)
        return Histogram(
            self.count - earlier.count,
            low,
            min(high, self.maximum),
            self.total - earlier.total,
            buckets,
        )
