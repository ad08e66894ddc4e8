"""Histograms: every count is HdrHistogram's."""

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from engine.histogram import (
    BUCKETS,
    DIGITS,
    HEAD,
    ROW,
    VALUE_MAX,
    Histogram,
    bucket_upper,
    record_many,
    record_one,
)

pytestmark = pytest.mark.kernels

VALUES = st.lists(
    st.integers(0, 300)
    | st.integers(0, VALUE_MAX)
    | st.integers(0, 41).map(lambda bit: 1 << bit)
    | st.integers(1, 41).map(lambda bit: (1 << bit) - 1),
    max_size=60,
)


def recorded(values):
    row = np.zeros(ROW, np.int64)
    record_many(row, np.array(values, np.int64))
    return row


def reference(values):
    histogram = HdrHistogram(1, VALUE_MAX, DIGITS)
    for value in values:
        assert histogram.record_value(value)
    return histogram


@given(VALUES)
def test_counts_are_those_of_hdrhistogram(values):
    theirs = reference(values)
    assert recorded(values)[HEAD:].tolist() == [
        theirs.get_count_at_index(i) for i in range(BUCKETS)
    ]


@given(VALUES.filter(bool), st.sampled_from([0, 1, 50, 75, 90, 99, 100]))
def test_percentiles_are_those_of_the_sorted_values(values, percent):
    found = Histogram.of(recorded(values)).percentile(percent)
    rank = max(1, -(-len(values) * percent // 100))
    true = sorted(values)[rank - 1]
    assert true <= found <= true + true // 128


@given(VALUES)
def test_head_says_how_many_and_between_what(values):
    histogram = Histogram.of(recorded(values))
    assert histogram.count == len(values) == histogram.buckets.sum()
    assert histogram.total == sum(values)
    assert histogram.maximum == max(values, default=0)
    assert histogram.minimum == min(values, default=0)


@given(VALUES, VALUES)
def test_difference_is_what_came_between(first, second):
    row = recorded(first)
    before = Histogram.of(row)
    record_many(row, np.array(second, np.int64))
    between = Histogram.of(row).subtract(before)
    assert between.buckets.tolist() == recorded(second)[HEAD:].tolist()
    assert (between.count, between.total) == (len(second), sum(second))
    assert max(second, default=0) <= between.maximum


def test_values_outside_count_at_the_ends():
    row = recorded([-5, VALUE_MAX + 1, 2**63 - 1])
    assert row[HEAD] == 1
    assert row[-1] == 2
    assert Histogram.of(row).maximum == VALUE_MAX


def test_empty_histogram_has_percentiles_of_zero():
    assert Histogram.of(np.zeros(ROW, np.int64)).percentile(99) == 0


def test_buckets_are_contiguous_and_reach_the_largest_value():
    uppers = [bucket_upper(bucket) for bucket in range(BUCKETS)]
    assert uppers[:256] == list(range(256))
    assert sorted(uppers) == uppers
    assert uppers[-1] == VALUE_MAX


def test_one_value_from_python():
    row = np.zeros(ROW, np.int64)
    record_one(row, 77)
    assert Histogram.of(row).percentile(100) == 77
