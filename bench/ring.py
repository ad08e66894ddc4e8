"""The rings against C: ``python -m bench.ring [--quick] [--json PATH]``.

Two processes pinned to CPU 0 and 1, on the same shared-memory rings, once jitted (``engine.ring``)
and once by hand in C (``bench/ring.c``, the same bytes and the same orderings), in all four
combinations of writer and reader. The virtual cores of a cloud machine move between placements, so
that the same binary differs by a factor of 20 within a minute: each trial runs C and jitted one
after the other between two bare C ping-pongs, and a trial in which those disagree is thrown away.
The figure to look at is the ratio: the median, over the trials of one placement, of jitted to C.

``--baseline TREE`` runs the engine of another source tree in the same trials: before and after.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import ring_role
from engine import segment as seg

HERE = Path(__file__).parent
PLACEMENTS = ((105, "smt"), (280, "ccx"), (10**9, "far"))
"""A bare round trip of up to so many ns: two threads of a core, one L3, or further apart."""
AGREE = 1.5
"""Two ping-pongs around a trial may differ by this factor."""


class Role:
    """One pinned process, C or jitted, that runs a command a line."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, command: str, *numbers: int) -> None:
        """Send a command; ``result`` collects its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([command, *map(str, numbers)]) + "\n")
        self._process.stdin.flush()

    def result(self) -> list[int]:
        """Return the integers that the process answers."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: the {self.name} role ended with {self._process.wait()}")
        return [int(word) for word in line.split()]

    def call(self, command: str, *numbers: int) -> list[int]:
        """Run a command that needs no partner."""
        self.start(command, *numbers)
        return self.result()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Bench:
    """All roles, on both CPUs, and the samples that they deliver."""

    def __init__(self, instance: str, folder: Path, baseline: Path | None) -> None:
        program = folder / "ring"
        source = str(HERE / "ring.c")
        subprocess.run(["gcc", "-O3", "-march=native", "-o", program, source, "-lrt"], check=True)
        names = [seg.shm_name(instance, name) for name in ring_role.SEGMENTS]
        self.generation = 0
        self.samples: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.trials: dict[str, int] = defaultdict(int)
        self.roles: dict[str, tuple[Role, Role]] = {}
        environment = dict(os.environ)
        c = [Role("C", [str(program), str(cpu), *names], environment) for cpu in (0, 1)]
        self.roles["C"] = c[0], c[1]
        for name, tree in (("jit", HERE.parent), ("before", baseline)):
            if tree is None:
                continue
            environment = dict(os.environ, PYTHONPATH=str(tree))
            script = [sys.executable, str(HERE / "ring_role.py"), instance]
            jit = [Role(name, [*script, str(cpu)], environment) for cpu in (0, 1)]
            self.roles[name] = jit[0], jit[1]
        for name, pair in self.roles.items():
            if name != "C":
                for role in pair:
                    role.call("hello")

    def pair(
        self, first: str, second: str, one: tuple[Any, ...], two: tuple[Any, ...]
    ) -> tuple[list[int], list[int]]:
        """Run one command on CPU 0 and its partner's on CPU 1."""
        self.generation += 1
        left, right = self.roles[first][0], self.roles[second][1]
        right.start(two[0], self.generation, *two[1:])
        left.start(one[0], self.generation, *one[1:])
        return left.result(), right.result()

    def bare_ns(self) -> float:
        """Return the round trip of one word between the two cores now."""
        left, _ = self.pair("C", "C", ("bare", 0, 2000), ("bare", 1, 2000))
        return left[0] / 1000

    def trial(self, measures: list[Any]) -> None:
        """Run the measures one after the other; keep them if the cores stayed where they were."""
        before = self.bare_ns()
        found: list[tuple[str, str, float]] = []
        for measure in measures:
            found.extend(measure(self))
        after = self.bare_ns()
        if max(before, after) > AGREE * min(before, after):
            self.trials["moved"] += 1
            return
        where = next(name for limit, name in PLACEMENTS if (before + after) / 2 < limit)
        self.trials[where] += 1
        self.samples[where, "bare round trip", "C"].append((before + after) / 2)
        for what, who, value in found:
            self.samples[where, what, who].append(value)

    def close(self) -> None:
        """End all processes."""
        for pair in self.roles.values():
            for role in pair:
                role.close()


class Throughput:
    """A writer and a reader flat out: million records a second, and what arrived."""

    def __init__(
        self, what: str, writer: str, reader: str, records: int, command: str = "write"
    ) -> None:
        self.what, self.writer, self.reader, self.records = what, writer, reader, records
        self.command = command

    def __call__(self, bench: Bench) -> list[tuple[str, str, float]]:
        """Return (what, who, value) of one run; a torn record ends the benchmark."""
        ring, gate, limit = ring_role.LOSSY, ring_role.GATE, 64
        one: tuple[Any, ...] = (self.command, ring, self.records)
        two: tuple[Any, ...] = ("read", ring, self.records, limit, 1)
        if self.command == "flow_write":
            one = (self.command, ring_role.FLOW, self.records, gate)
            two = ("flow_read", ring_role.FLOW, self.records, gate, 256)
        if self.command == "batch":
            one, two = (*one, 64), ("read", ring, self.records, 1024, 0)
        wrote, read = bench.pair(self.writer, self.reader, one, two)
        if 0 in (wrote[0], read[0]):
            return []
        _, arrived, _, torn, end = read
        if torn:
            raise SystemExit(f"error: {self.what}: {torn} torn records were delivered")
        who = self.writer if self.writer == self.reader else f"{self.writer} to {self.reader}"
        delivered = arrived * 1e3 / (max(end, wrote[1]) - wrote[0])
        return [
            (f"{self.what}: written, M/s", who, self.records * 1e3 / (wrote[1] - wrote[0])),
            (f"{self.what}: delivered, M/s", who, delivered),
            (f"{self.what}: delivered, %", who, 100 * arrived / self.records),
        ]


class Alone:
    """One side without a partner, in its own cache: what the code itself costs, ns a record."""

    def __init__(self, who: str) -> None:
        self.who = who

    def __call__(self, bench: Bench) -> list[tuple[str, str, float]]:
        """Return the ns a record of writing, of writing batches, and of reading."""
        found = []
        role, small, large = bench.roles[self.who][0], ring_role.PING, ring_role.LOSSY
        for what, command, ring, records, *numbers in (
            ("write a record", "write", small, 200_000),
            ("write 64 at once", "batch", small, 200_000 // 64 * 64, 64),
            ("write a record, 4 MiB", "write", large, 200_000),
            ("read, 4 MiB", "read", large, 60_000, 64, 1),
        ):
            start, *_, end = role.call(command, 0, ring, records, *numbers)
            found.append((f"alone: {what}, ns", self.who, (end - start) / records))
        return found


class RoundTrip:
    """A record there and a record back, through two rings."""

    def __init__(self, who: str, rounds: int, command: str = "") -> None:
        self.who, self.rounds, self.command = who, rounds, command

    def __call__(self, bench: Bench) -> list[tuple[str, str, float]]:
        """Return the percentiles of one run, in ns."""
        out, back = ring_role.PING, ring_role.PONG
        left, _ = bench.pair(
            self.who,
            self.who,
            (self.command + "ping", out, back, self.rounds),
            (self.command + "pong", out, back, self.rounds),
        )
        if not left[0]:
            return []
        what = "Python round trip" if self.command else "round trip"
        names = ("p50", "p99", "p99.9")
        return [(f"{what}, {n}, ns", self.who, v) for n, v in zip(names, left, strict=True)]


class PythonFace:
    """Calls from Python, on CPU 0 alone, ns a call or a record: the best of some short loops."""

    def __init__(self, who: str, loops: int) -> None:
        self.who, self.loops = who, loops

    def __call__(self, bench: Bench) -> list[tuple[str, str, float]]:
        """Return the ns of each call."""
        found = bench.roles[self.who][0].call("python", self.loops)
        return [
            (f"Python {name}, ns", self.who, value / 1000)
            for name, value in zip(ring_role.PYTHON_CALLS, found, strict=True)
        ]


def measures(bench: Bench, records: int) -> list[list[Any]]:
    """Return the groups of measures that are interleaved."""
    jits = [name for name in bench.roles if name != "C"]
    everyone = ["C", *jits]
    lossy = [Throughput("lossy broadcast", who, who, records) for who in everyone]
    lossy += [Throughput("lossy broadcast", "jit", "C", records)]
    lossy += [Throughput("lossy broadcast", "C", "jit", records)]
    batch = [Throughput("publish 64", who, who, records, "batch") for who in everyone]
    flow = [Throughput("flow-controlled", who, who, records, "flow_write") for who in everyone]
    trips = [RoundTrip(who, 5000) for who in everyone]
    python: list[Any] = [PythonFace(who, 2000) for who in jits]
    python += [RoundTrip(who, 2000, "python_") for who in jits]
    alone = [Alone(who) for who in everyone]
    return [alone, lossy, batch, flow, trips, python]


def machine() -> dict[str, Any]:
    """Return what a reader of the figures must know about the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = [line for line in lines if line.startswith("model name")]
    return {
        "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def summarize(bench: Bench) -> list[dict[str, Any]]:
    """Return a row for each placement and measure: medians, and the ratio to C where there is C."""
    rows = []
    for where in ("smt", "ccx", "far"):
        for what in dict.fromkeys(w for p, w, _ in bench.samples if p == where):
            found = {
                who: statistics.median(values)
                for (p, w, who), values in bench.samples.items()
                if (p, w) == (where, what) and values
            }
            row: dict[str, Any] = {"placement": where, "measure": what, "medians": found}
            for reference in ("C", "before"):
                if reference in found and "jit" in found and found[reference]:
                    row[f"ratio to {reference}"] = found["jit"] / found[reference]
            rows.append(row)
    return rows


def show(rows: list[dict[str, Any]], trials: dict[str, int], facts: dict[str, Any]) -> None:
    """Print the table."""
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print("trials:", ", ".join(f"{count} {name}" for name, count in trials.items()))
    columns = list(dict.fromkeys(who for row in rows for who in row["medians"]))
    head = [f"{'':4s} {'median':34s}", *(f"{who:>11s}" for who in columns)]
    print(*head, f"{'jit/C':>7s} {'jit/before':>11s}")
    for row in rows:
        cells = [
            f"{row['medians'][who]:11.1f}" if who in row["medians"] else " " * 11 for who in columns
        ]
        ratios = [row.get("ratio to C"), row.get("ratio to before")]
        texts = [f"{r:{w}.2f}" if r else " " * w for r, w in zip(ratios, (7, 11), strict=True)]
        print(f"{row['placement']:4s} {row['measure']:34s}", *cells, *texts)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser("python -m bench.ring", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few trials: does it work")
    parser.add_argument(
        "--only",
        help="groups to run, by number: 0 alone, 1 lossy, 2 batch, 3 flow, 4 trips, 5 Python",
    )
    parser.add_argument("--trials", type=int, help="trials of each group, instead of 25")
    parser.add_argument("--json", metavar="PATH", help="write facts, medians and samples there")
    parser.add_argument("--baseline", type=Path, metavar="TREE", help="another source tree")
    options = parser.parse_args(arguments)
    trials = options.trials or (3 if options.quick else 25)
    instance = f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.callback(ring_role.unlink_all, instance)
        ring_role.make_segments(instance)
        bench = Bench(instance, Path(folder), options.baseline)
        stack.callback(bench.close)
        facts = machine()
        groups = measures(bench, 1_000_000 if options.quick else 4_000_000)
        if options.only:
            groups = [groups[int(i)] for i in options.only.split(",")]
        for group in groups:
            for _ in range(2 if group is groups[0] else 1):  # Warm: pages, branch history.
                for measure in group:
                    measure(bench)
        for _ in range(trials):
            for group in groups:
                bench.trial(group)
        facts["load_average_after"] = os.getloadavg()
        rows = summarize(bench)
    show(rows, bench.trials, facts)
    if options.json:
        samples = [
            {"placement": p, "measure": m, "who": w, "values": v}
            for (p, m, w), v in bench.samples.items()
        ]
        found = {"machine": facts, "trials": bench.trials, "rows": rows, "samples": samples}
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
