"""The figures of a run: latency by stage, losses, and the object that ``demo --json`` prints."""

import itertools
from typing import Any

from engine.histogram import Histogram
from oms.demo_config import OMS, STRATEGIES, WORKER
from oms.observe import RAW_PREFIX, Sample

WORKER_STAGES = ("socket_to_raw", "raw_to_record")
STRATEGY_STAGES = ("record_to_strategy", "socket_to_strategy")
OVERRUNS = ("overruns",)
"""Last parts of the names of counters that count ring overruns, in all processes."""

__all__ = ["STRATEGY_STAGES", "line_counts", "malformed", "percentiles", "stages", "summary"]


def percentiles(histogram: Histogram) -> dict[str, int]:
    """Return p50, p99, p999 and max of a histogram."""
    return {
        "p50": histogram.percentile(50.0),
        "p99": histogram.percentile(99.0),
        "p999": histogram.percentile(99.9),
        "max": histogram.maximum,
    }


def since(sample: Sample, baseline: Sample | None) -> dict[str, dict[str, Histogram]]:
    """Return the histograms, by process and name, without what ``baseline`` has already."""
    if baseline is None:
        return sample.histograms
    return {
        process: {
            name: each.subtract(baseline.histograms[process][name])
            if name in baseline.histograms.get(process, {})
            else each
            for name, each in histograms.items()
        }
        for process, histograms in sample.histograms.items()
    }


def stages(sample: Sample, baseline: Sample | None = None) -> dict[str, Histogram]:
    """Return the histogram of each stage since ``baseline``; strategies': the jitted one's."""
    found: dict[str, Histogram] = {}
    histograms = since(sample, baseline)
    for stage in WORKER_STAGES:
        for process in histograms.values():
            for name, histogram in process.items():
                if name.rpartition(".")[2] == stage and histogram.count:
                    found[stage] = merge(found.get(stage), histogram)
    for stage in STRATEGY_STAGES:
        for process_name in STRATEGIES:
            own = histograms.get(process_name, {})
            if stage in own:
                found[stage] = own[stage]
    return found


def merge(one: Histogram | None, other: Histogram) -> Histogram:
    """Return the histogram of both's values."""
    if one is None:
        return other
    return Histogram(
        one.count + other.count,
        min(one.minimum, other.minimum),
        max(one.maximum, other.maximum),
        one.total + other.total,
        one.buckets + other.buckets,
    )


def summary(
    sample: Sample, baseline: Sample | None, restarts: int, duration_s: float
) -> dict[str, Any]:
    """Return what ``--json`` prints: totals since the start, latencies since ``baseline``."""
    histograms = since(sample, baseline)
    return trading(sample, histograms) | {
        "frames": sample.frames,
        "records": sample.records,
        "venues": {venue: _venue(sample, venue) for venue in sample.venues},
        "lines": {
            str(number): {"won": won, "late": late}
            for number, (won, late) in line_counts(sample).items()
        },
        "line_margin_ns": percentiles(margin) if (margin := _margin(histograms)) else None,
        "checksums": {result: sample.total(f"checksums_{result}") for result in ("ok", "bad")},
        "gaps": sum(book.gaps for book in sample.books),
        "overruns": sample.total(*OVERRUNS),
        "malformed": malformed(sample),
        "rejects": _rejects(sample),
        "books": {
            book.instrument.key: {
                "bid": book.bids[0][0] if book.bids else None,
                "ask": book.asks[0][0] if book.asks else None,
                "valid": book.valid,
            }
            for book in sample.books
        },
        "latency_ns": {name: percentiles(each) for name, each in stages(sample, baseline).items()},
        "latency_ns_by_strategy": {
            process: {
                stage: percentiles(each)
                for stage, each in histograms.get(process, {}).items()
                if stage in STRATEGY_STAGES
            }
            for process in STRATEGIES
        },
        "restarts": restarts,
        "duration": round(duration_s, 3),
    }


def trading(sample: Sample, histograms: dict[str, dict[str, Histogram]]) -> dict[str, Any]:
    """Return orders, positions (ours and the venue's) and latencies of trading; empty if none."""
    view = sample.trading
    if view is None:
        return {}
    own = histograms.get(OMS, {})
    latencies = {
        f"{name}_ns": percentiles(own[name]) if name in own else None
        for name in ("tick_to_trade", "intent_to_decision")
    }
    return {
        "orders": view.orders,
        "positions": view.positions,
        "positions_equal": all(each["ours"] == each["venue"] for each in view.positions),
        "unknown": view.unknown,
        "alarms": view.alarms,
    } | latencies


def _venue(sample: Sample, venue: str) -> dict[str, Any]:
    """Return what came of one venue, since the start."""
    books = [book for book in sample.books if book.instrument.venue == venue]
    return {
        "frames": sample.newest[f"{RAW_PREFIX}{venue}"],
        "records": sample.by_venue[venue],
        "gaps": sum(book.gaps for book in books),
        "overruns": sample.of_venue(venue, "overruns"),
        "books": len(books),
        "books_live": sum(book.valid for book in books),
    }


def line_counts(sample: Sample) -> dict[int, tuple[int, int]]:
    """Return, for each redundant line that brought anything, what came first on it and what late.

    Empty without redundant lines: then there is no race to win.
    """
    counters = sample.counters.get(WORKER, {})
    counts = {}
    for number in itertools.count():
        won = counters.get(f"line.{number}.won")
        if won is None:
            break
        counts[number] = won, counters.get(f"line.{number}.late", 0)
    used = {number: each for number, each in counts.items() if any(each)}
    return used if len(used) > 1 else {}


def _margin(histograms: dict[str, dict[str, Histogram]]) -> Histogram | None:
    """Return by how much the first line was earlier than the next one."""
    margin = histograms.get(WORKER, {}).get("line_margin")
    return margin if margin and margin.count else None


def _rejects(sample: Sample) -> dict[str, int]:
    """Return how many frames gave no record, by reason (``feeds.message.Reject``)."""
    counters = sample.counters.get(WORKER, {})
    prefix = "rejects."
    return {n.removeprefix(prefix): v for n, v in counters.items() if n.startswith(prefix) and v}


def malformed(sample: Sample) -> int:
    """Return how many frames the worker could not read."""
    return sample.total("malformed")
