"""What the demo shows: a live screen on a terminal, plain lines elsewhere, notes beside JSON.

Everything comes from an ``oms.observe.Sample`` and the supervisor's list of processes. Colors are
rich's business, which honors ``NO_COLOR``.
"""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.histogram import Histogram
from engine.supervisor import Supervisor
from oms.demo_config import OMS, STRATEGIES
from oms.observe import RAW_PREFIX, BookView, Sample, TradeView
from oms.summary import STRATEGY_STAGES, line_counts, malformed, percentiles, since, stages

REFRESH_HZ = 4
LEVELS = 5
TRADES, LIQUIDATIONS = 8, 4
RATE_WINDOW_S = 2.0
"""Rates are means over this long."""
LINE_S = 1.0
"""Between two plain lines."""
WIDE = 126
"""Columns from which things stand beside each other, instead of below."""
TALL, WIDE_ROWS = 60, 34
"""Rows from which books have all their levels, on a narrow and on a wide screen."""
BOOK_COLUMNS = 40
BELOW_COLUMNS = 76
"""What the tables beside the books take on a wide screen."""
ALL = ""
VENUE_COLUMNS = {
    "trade": "trades",
    "book_delta": "levels",
    "book_top": "tops",
    "funding": "funding",
    "liquidation": "liq",
    "stats": "24h",
}
"""Record type -> what its column is called."""

TRADING_STAGES = ("intent_to_decision", "tick_to_trade")
ORDERS_SHOWN = ("sent", "filled", "canceled", "rejected", "trades")

_STATE_STYLE = {"LIVE": "green", "SYNCING": "yellow", "EMPTY": "dim", "GAP": "red", "STALE": "red"}

__all__ = ["Lines", "Quiet", "Rates", "Screen", "Terminal", "make_screen"]


class Screen(Protocol):
    """Where the demo shows things; latencies are those since ``baseline``."""

    baseline: Sample | None

    def note(self, text: str) -> None:
        """Say what is going on."""

    def sample(self, sample: Sample, supervisor: Supervisor, elapsed_s: float) -> None:
        """Show the state of things."""

    def farewell(self, sample: Sample, restarts: int, duration_s: float) -> None:
        """Sum up, after the last sample."""


@contextlib.contextmanager
def make_screen(json: bool, instance: str) -> Iterator[Screen]:
    """Yield the screen that suits the output."""
    if json:
        yield Quiet()
    elif not sys.stdout.isatty():
        yield Lines(sys.stdout)
    else:
        terminal = Terminal(instance)
        with terminal.running():
            yield terminal


def human_ns(value: int) -> str:
    """Return a duration with three digits and a unit."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{0 if scaled >= 100 else 1 if scaled >= 10 else 2}f} {unit}"
    return f"{value} ns"


class Rates:
    """Events a second from totals, over a sliding window."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, dict[tuple[str, str], int]]] = deque()

    def add(self, sample: Sample) -> dict[str, dict[str, float]]:
        """Take a sample's totals; return frames and records by type, each a second, by venue.

        Under the venue ``ALL`` stands what all of them send.
        """
        totals = {(ALL, kind): n for kind, n in {"frames": sample.frames, **sample.records}.items()}
        for venue, records in sample.by_venue.items():
            totals[venue, "frames"] = sample.newest.get(RAW_PREFIX + venue, 0)
            totals |= {(venue, kind): n for kind, n in records.items()}
        self._seen.append((sample.time_ns, totals))
        while len(self._seen) > 2 and sample.time_ns - self._seen[1][0] > RATE_WINDOW_S * 1e9:
            self._seen.popleft()
        since, before = self._seen[0]
        seconds = (sample.time_ns - since) / 1e9
        result: dict[str, dict[str, float]] = {}
        for (venue, kind), total in totals.items():
            rise = total - before.get((venue, kind), 0)
            result.setdefault(venue, {})[kind] = rise / seconds if seconds > 0 else 0.0
        return result


class Quiet:
    """Only notes, on standard error: standard output is for the JSON."""

    baseline: Sample | None = None

    def note(self, text: str) -> None:
        """Say what is going on."""
        print(text, file=sys.stderr, flush=True)

    def sample(self, sample: Sample, supervisor: Supervisor, elapsed_s: float) -> None:
        """Show nothing."""

    def farewell(self, sample: Sample, restarts: int, duration_s: float) -> None:
        """Say nothing: the JSON follows."""


class Lines:
    """One line a second, for logs and pipes."""

    baseline: Sample | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rates = stream, Rates()
        self._due = 0.0

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream, flush=True)

    def sample(self, sample: Sample, supervisor: Supervisor, elapsed_s: float) -> None:
        """Print a line if a second is over."""
        rates = self._rates.add(sample)[ALL]
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LINE_S
        parts = [f"{elapsed_s:7.1f}s", *(f"{n}/s={r:.0f}" for n, r in rates.items())]
        live = sum(book.valid for book in sample.books)
        parts.append(f"live={live}/{len(sample.books)}")
        parts += [
            f"{name}.p99={human_ns(h.percentile(99)).replace(' ', '')}"
            for name, h in stages(sample, self.baseline).items()
        ]
        restarts = sum(child.restarts for child in supervisor.children.values())
        parts.append(f"overruns={sample.total('overruns')} restarts={restarts}")
        if sample.trading is not None:
            orders = sample.trading.orders
            denied = sum(orders["denied"].values())
            parts.append(f"sent={orders['sent']} trades={orders['trades']} denied={denied}")
        self.note("  ".join(parts))

    def farewell(self, sample: Sample, restarts: int, duration_s: float) -> None:
        """Print the summary."""
        self.note(farewell_text(sample, self.baseline, restarts, duration_s))


class Terminal:
    """The live screen."""

    baseline: Sample | None = None

    def __init__(self, instance: str, console: Console | None = None) -> None:
        self._instance = instance
        self._console = console or Console()
        self._rates = Rates()
        self._notes = Text("starting", style="dim")
        self._live = Live(
            self._notes,
            console=self._console,
            screen=True,
            auto_refresh=False,
            vertical_overflow="crop",
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Take the terminal over, and give it back as it was."""
        with self._live:
            yield

    def note(self, text: str) -> None:
        """Show a line until there is something better."""
        self._notes.append(f"\n{text}")
        self._live.update(self._notes, refresh=True)

    def sample(self, sample: Sample, supervisor: Supervisor, elapsed_s: float) -> None:
        """Draw everything anew."""
        self._live.update(self.render(sample, supervisor, elapsed_s), refresh=True)

    def farewell(self, sample: Sample, restarts: int, duration_s: float) -> None:
        """Leave the summary in the terminal's history."""
        self._console.print(
            farewell_text(sample, self.baseline, restarts, duration_s), highlight=False
        )

    def render(self, sample: Sample, supervisor: Supervisor, elapsed_s: float) -> RenderableType:
        """Return the whole screen."""
        title = Text.assemble(
            ("trade-infra demo", "bold"),
            f"  {self._instance}  up {elapsed_s:.0f} s  ",
            ("Ctrl-C ends it", "dim"),
        )
        width, height = self._console.size
        rates = venues(sample, self._rates.add(sample))
        latency = latencies(sample, self.baseline)
        if height < (TALL if width < WIDE else WIDE_ROWS):
            short = latencies(sample, self.baseline, STRATEGIES[-1:])
            return self._short(sample, supervisor, [title, rates, short], width)
        left = Group(processes(sample, supervisor), rates, lines(sample), *trading(sample))
        below = Group(trades(sample), liquidations(sample), derivatives(sample), days(sample))
        if width < WIDE:
            return Group(title, left, latency, lags(sample), books(sample.books, width), below)
        top, bottom = Table.grid(padding=(0, 3)), Table.grid(padding=(0, 3))
        top.add_row(left, Group(latency, lags(sample)))
        bottom.add_row(books(sample.books, width - BELOW_COLUMNS), below)
        return Group(title, top, Text(), bottom)

    def _short(
        self, sample: Sample, supervisor: Supervisor, parts: list[RenderableType], width: int
    ) -> RenderableType:
        """Return what fits 24 rows: a line a venue, a stage, a book."""
        title, rates, latency = parts
        status = Group(title, processes_line(sample, supervisor), *trading_lines(sample)[:1])
        if width < WIDE:
            return Group(status, rates, latency, best(sample))
        top, bottom = Table.grid(padding=(0, 3)), Table.grid(padding=(0, 3))
        top.add_row(rates, latency)
        bottom.add_row(best(sample), trades(sample))
        return Group(status, top, bottom)


def _table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table without lines: the first column left, the others right."""
    table = Table(box=None, title=title, title_justify="left", title_style="bold", padding=(0, 1))
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True, header_style="dim")
    return table


def _state(sample: Sample, supervisor: Supervisor, name: str) -> str:
    if not supervisor.children[name].pid:
        return "down"
    return "up" if sample.counters.get(name, {}).get("ready", 0) else "starting"


def processes(sample: Sample, supervisor: Supervisor) -> Table:
    """Return pid, state and restarts of every process."""
    table = _table("process", "pid", "state", "heartbeat", "restarts")
    for name, child in supervisor.children.items():
        state = _state(sample, supervisor, name)
        style = {"up": "green", "starting": "yellow", "down": "red"}[state]
        beat = sample.writers.get(name)
        age = human_ns(max(0, sample.time_ns - beat[2])) if beat else "-"
        table.add_row(name, str(child.pid or "-"), Text(state, style), age, str(child.restarts))
    return table


def processes_line(sample: Sample, supervisor: Supervisor) -> Text:
    """Return how many processes are up, who is not, and who won on redundant lines."""
    names = list(supervisor.children)
    missing = [name for name in names if _state(sample, supervisor, name) != "up"]
    restarts = sum(child.restarts for child in supervisor.children.values())
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{len(names) - len(missing)} of {len(names)} processes up, {restarts} restarts")
    counts = line_counts(sample).values()
    if counts:
        pairs = ", ".join(f"{won:,}/{late:,}" for won, late in counts)
        text.append(f"  first/late by line: {pairs}")
    if missing:
        text.append(f"  waiting for {', '.join(missing)}", "yellow")
    return text


def venues(sample: Sample, rates: dict[str, dict[str, float]]) -> Table:
    """Return a line a venue: frames and records a second, holes, unread frames, live books."""
    table = _table("per second", "frames", *VENUE_COLUMNS.values(), "gaps", "lag", "live")
    for venue in sample.venues:
        own = rates.get(venue, {})
        views = [book for book in sample.books if book.instrument.venue == venue]
        live, gaps = sum(view.valid for view in views), sum(view.gaps for view in views)
        table.add_row(
            venue,
            *(f"{own.get(kind, 0.0):,.0f}" for kind in ("frames", *VENUE_COLUMNS)),
            Text(str(gaps), "red" if gaps else ""),
            f"{sample.of_venue(venue, 'lag'):,}",
            Text(f"{live}/{len(views)}", "green" if live == len(views) else "yellow"),
        )
    return table


def lines(sample: Sample) -> Table:
    """Return what each of several redundant lines brought first, and what it brought late."""
    table = _table("line", "first", "late")
    counts = line_counts(sample)
    table.show_header = bool(counts)
    for number, (won, late) in counts.items():
        table.add_row(str(number), f"{won:,}", f"{late:,}")
    return table


def latencies(
    sample: Sample, baseline: Sample | None = None, strategies: Sequence[str] = STRATEGIES
) -> Table:
    """Return the percentiles of every stage since ``baseline``."""
    histograms = since(sample, baseline)
    table = _table("latency", "p50", "p99", "p99.9", "max")

    def row(name: str, histogram: Histogram) -> None:
        table.add_row(name, *(human_ns(value) for value in percentiles(histogram).values()))

    for name, histogram in stages(sample, baseline).items():
        if name not in STRATEGY_STAGES:
            row(name.replace("_to_", " → "), histogram)
    for name in TRADING_STAGES:
        own = histograms.get(OMS, {}).get(name)
        if own is not None and own.count:
            row(name.replace("_to_", " → "), own)
    for stage in STRATEGY_STAGES:
        for process in strategies:
            own = histograms.get(process, {}).get(stage)
            if own is not None:
                short = process.removeprefix("strategy-")
                row(f"{stage.replace('_to_', ' → ')} ({short})", own)
    return table


def trading_lines(sample: Sample) -> list[Text]:
    """Return what became of orders and of intents, a line each; none without an OMS."""
    view = sample.trading
    if view is None:
        return []
    orders = view.orders
    counts = ", ".join(f"{orders[name]:,} {name}" for name in ORDERS_SHOWN)
    first = Text(f"orders: {counts}; {view.open_orders} open", no_wrap=True, overflow="ellipsis")
    if view.unknown:
        first.append(f", {view.unknown} unknown", "red")
    use = view.scopes[0]["use"] if view.scopes else {}
    second = Text(no_wrap=True, overflow="ellipsis")
    if view.scopes:
        state = view.scopes[0]["state"]
        second.append("firm: ")
        second.append(state, "green" if state == "normal" else "red")
        second.append(f", result {use['result_money']}, gross {use['gross_money']}")
    denied = sorted(orders["denied"].items(), key=lambda item: -item[1])
    if denied:
        reasons = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in denied[:4])
        second.append(f"; denied: {reasons}", "yellow")
    return [first, second]


def trading(sample: Sample) -> list[RenderableType]:
    """Return orders, risk and positions; nothing without an OMS."""
    view = sample.trading
    if view is None:
        return []
    table = _table("position", "ours", "the venue's", "result", "fees")
    for each in view.positions:
        equal = each["ours"] == each["venue"]
        table.add_row(
            each["instrument"],
            each["ours"],
            Text(each["venue"] or "-", "" if equal else "yellow"),
            each["result"],
            each["fees"],
        )
    return [*trading_lines(sample), table]


def lags(sample: Sample) -> Table:
    """Return each reader's lag and loss.

    A strategy counts ``<ring>.lag`` and so on, the worker ``lag.<venue>``.
    """
    table = _table("reader", "ring", "lag", "lost", "overruns", "epoch")
    for process, counters in sample.counters.items():
        for name, lag in counters.items():
            ring, _, last = name.rpartition(".")
            if ring == "lag":
                lost, laps = counters.get("overruns", 0), counters.get("laps", 0)
                table.add_row(process, f"md.raw.{last}", f"{lag:,}", f"{lost:,}", f"{laps:,}", "-")
            elif last == "lag":
                table.add_row(
                    process,
                    ring,
                    f"{lag:,}",
                    f"{counters.get(f'{ring}.lost', 0):,}",
                    f"{counters.get(f'{ring}.overruns', 0):,}",
                    str(counters.get(f"{ring}.epoch", "-")),
                )
    return table


def book(view: BookView) -> Table:
    """Return the best levels of a book, both sides."""
    state = Text(f" {view.state.name.lower()} e{view.epoch}", _STATE_STYLE[view.state.name])
    title = Text.assemble((view.instrument.key, "bold"), state)
    table = Table(box=None, title=title, title_justify="left", padding=(0, 1), show_header=False)
    for style in ("dim", "green", "red", "dim"):
        table.add_column(justify="right", style=style, no_wrap=True)
    nothing = ("", "")
    for i in range(LEVELS):
        bid = view.bids[i] if i < len(view.bids) else nothing
        ask = view.asks[i] if i < len(view.asks) else nothing
        table.add_row(bid[1], bid[0], ask[0], ask[1])
    return table


def best(sample: Sample) -> Table:
    """Return the best level of every book, and of a derivative mark price and funding rate."""
    table = _table("book", "state", "bid", "ask", "mark", "funding")
    told = {view.instrument.row: view for view in sample.funding}
    for view in _grouped(sample.books):
        state = Text(f"{view.state.name.lower()} e{view.epoch}", _STATE_STYLE[view.state.name])
        bid, ask = (side[0][0] if side else "-" for side in (view.bids, view.asks))
        derivative = told.get(view.instrument.row)
        mark, rate = (derivative.mark, derivative.rate) if derivative else ("", "")
        table.add_row(view.instrument.key, state, bid, ask, _short_decimal(mark), _percent(rate))
    return table


def _grouped(views: list[BookView]) -> list[BookView]:
    """Return the books venue by venue, those of a venue by symbol."""
    return sorted(views, key=lambda view: (view.instrument.venue, view.instrument.native))


def _short_decimal(text: str) -> str:
    """Return a decimal without trailing zeros; "-" for an unknown one."""
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "-"


def _percent(rate: str) -> str:
    return f"{float(rate):.4%}" if rate else "-"


def books(views: list[BookView], width: int) -> Table:
    """Return all books, as many beside each other as fit."""
    across = max(1, min(len(views), width // BOOK_COLUMNS))
    views = _grouped(views)
    grid = Table.grid(padding=(0, 2))
    for start in range(0, len(views), across):
        grid.add_row(*(book(view) for view in views[start : start + across]))
    return grid


def trades(sample: Sample) -> Table:
    """Return the last trades."""
    return _prints("last trades", sample.trades[:TRADES])


def liquidations(sample: Sample) -> Table:
    """Return the last liquidations."""
    return _prints("liquidations", sample.liquidations[:LIQUIDATIONS])


def _prints(title: str, prints: list[TradeView]) -> Table:
    table = _table(title, "price", "quantity", "time")
    for each in prints:
        style = {1: "green", -1: "red"}.get(each.side, "")
        moment = time.strftime("%H:%M:%S", time.gmtime(each.exchange_ns // 10**9))
        table.add_row(each.instrument.key, Text(each.price, style), each.quantity, moment)
    return table


def derivatives(sample: Sample) -> Table:
    """Return what is known of each derivative."""
    table = _table("derivatives", "mark", "index", "funding", "next", "open interest")
    for view in sample.funding:
        moment = time.strftime("%H:%M", time.gmtime(view.next_ns // 10**9)) if view.next_ns else "-"
        prices = (_short_decimal(text) for text in (view.mark, view.index))
        interest = _short_decimal(view.open_interest)
        table.add_row(view.instrument.key, *prices, _percent(view.rate), moment, interest)
    return table


def days(sample: Sample) -> Table:
    """Return the last 24 hours of each instrument."""
    table = _table("24 hours", "last", "change", "low", "high", "volume")
    for view in sample.stats:
        change = view.change_bp
        shown = Text("-") if change is None else Text(f"{change / 100:+.2f}%", _sign_style(change))
        prices = [_short_decimal(text) for text in (view.last, view.low, view.high, view.volume)]
        table.add_row(view.instrument.key, prices[0], shown, *prices[1:])
    return table


def _sign_style(value: int) -> str:
    return "green" if value > 0 else "red" if value < 0 else ""


def farewell_text(sample: Sample, baseline: Sample | None, restarts: int, duration_s: float) -> str:
    """Return a few plain lines that sum a run up."""
    records = ", ".join(f"{count:,} {kind}" for kind, count in sample.records.items())
    gaps = sum(view.gaps for view in sample.books)
    lines = [
        f"ran {duration_s:.1f} s: {sample.frames:,} frames -> {records}",
        f"gaps {gaps}, overruns {sample.total('overruns')}, malformed {malformed(sample)}, "
        f"restarts {restarts}",
    ]
    for name, histogram in stages(sample, baseline).items():
        values = percentiles(histogram)
        text = ", ".join(f"{key} {human_ns(value)}" for key, value in values.items())
        lines.append(f"{name}: {text}")
    return "\n".join(lines)
