"""Which subscriptions share a connection, within the limits that the venue sets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.common import Endpoints
from feeds.adapter import Channel, ExchangeAdapter, Stream
from feeds.limits import UNLIMITED


@dataclass(frozen=True, slots=True)
class Plan:
    """The subscriptions of one line."""

    route: str
    streams: tuple[Stream, ...]
    rows: tuple[int, ...]
    """The instruments' rows in the feed's instrument table, in the order of their streams."""

    @property
    def names(self) -> list[str]:
        """Return the streams' names, each once: some carry several instruments."""
        return list(dict.fromkeys(stream.name for stream in self.streams))

    @property
    def natives(self) -> list[str]:
        """Return the instruments, each once: ``rows`` are theirs."""
        return list(dict.fromkeys(stream.native for stream in self.streams))

    @property
    def channels(self) -> list[Channel]:
        """Return the channels of the line, each once."""
        return list(dict.fromkeys(stream.channel for stream in self.streams))

    @property
    def cadence_s(self) -> float:
        """Return the shortest cadence that a stream promises; 0 if none promises anything."""
        return min((s.cadence_s for s in self.streams if s.cadence_s > 0), default=0.0)

    def without(self, native: str) -> "Plan":
        """Return the plan without the streams of an instrument."""
        kept = tuple(stream for stream in self.streams if stream.native != native)
        rows = zip(self.natives, self.rows, strict=True)
        return replace(self, streams=kept, rows=tuple(row for name, row in rows if name != native))


def plan_lines(
    adapter: ExchangeAdapter,
    instruments: Mapping[str, int],
    channels: Sequence[Channel],
    at: Endpoints,
    book: str = "",
    carried: Collection[str] = (),
) -> list[Plan]:
    """Return the lines for some instruments, within the venue's limits.

    Parameters
    ----------
    adapter
        The venue.
    instruments
        Native symbol -> row.
    channels
        What is wanted of each.
    at
        The endpoints; URLs are part of the limits.
    book
        One of ``adapter.book_streams``; empty for the default.
    carried
        Names of streams that other lines carry already.

    Streams of one instrument on one route stay together, so that a lost connection concerns as few
    instruments as possible. A stream of several instruments (all liquidations) is on one line only.

    """
    elsewhere = set(carried)
    open_groups: dict[str, list[Stream]] = {}
    plans: list[Plan] = []

    def finish(group: list[Stream]) -> None:
        rows = tuple(dict.fromkeys(instruments[stream.native] for stream in group))
        plans.append(Plan(group[0].route, tuple(group), rows))
        elsewhere.update(plans[-1].names)

    for native in instruments:
        by_route: dict[str, list[Stream]] = {}
        for stream in adapter.streams_for(native, channels, book):
            if stream.name not in elsewhere:
                by_route.setdefault(stream.route, []).append(stream)
        for route, more in by_route.items():
            group = open_groups.get(route, [])
            if group and not _fits(adapter, route, [*group, *more], at):
                finish(group)
                group = []
                more = [stream for stream in more if stream.name not in elsewhere]
            open_groups[route] = group + more
    for group in open_groups.values():
        if group:
            finish(group)
    return plans


def _fits(adapter: ExchangeAdapter, route: str, streams: Sequence[Stream], at: Endpoints) -> bool:
    """Return whether one connection may carry the streams."""
    limits, rules = adapter.exchange.limits, adapter.rules
    names = list(dict.fromkeys(stream.name for stream in streams))
    most = limits.streams_per_connection or UNLIMITED
    if limits.subscribe_messages_per_hour and not rules.url_bytes:
        # Half of the messages is for the first subscription, the other half for renewals.
        messages = max(1, limits.subscribe_messages_per_hour // 2)
        most = min(most, messages * rules.streams_per_message)
    if len(names) > most:
        return False
    if rules.stream_bytes and sum(len(name.encode()) for name in names) > rules.stream_bytes:
        return False
    url_bytes = rules.url_bytes
    return not url_bytes or len(adapter.ws_url(route, names, at).encode()) <= url_bytes
