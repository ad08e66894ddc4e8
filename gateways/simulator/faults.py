"""What is done to messages and answers on request, so that a client's recovery can be tested.

Probabilities are per message and connection; each connection draws from a generator of its own,
seeded by the plan's seed and the connection's number, so that a run can be repeated. With the
same seed two connections still lose different messages, as redundant lines do.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Literal, NamedTuple

import msgspec

from engine.errors import ConfigError


class Faults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The faults in force; the default is none.

    ``venue`` (a name) narrows all of them; ``streams`` (a pattern such as ``*@depth*``) and
    ``connections`` narrow the message faults. ``disconnect``, ``silence``, ``end_soon`` and
    ``sequence_reset`` strike where ``venue`` and ``connections`` say.
    """

    venue: str = "*"
    streams: str = "*"
    connections: tuple[int, int] = (1, 0)
    """(n, r): the connections whose place leaves r when divided by n; each venue has its own
    places, from 1 up, and a new connection takes the lowest that is free. (2, 0) is every second
    one: of two redundant lines, one, also after it has come back."""
    drop: float = 0.0
    """Any message vanishes."""
    hole: float = 0.0
    """A message of a depth stream vanishes."""
    hole_next: int = 0
    """So many next messages of depth streams vanish, for certain."""
    duplicate: float = 0.0
    """A message arrives twice."""
    reorder: float = 0.0
    """A message changes places with the next one of its connection."""
    corrupt: float = 0.0
    """A message is cut off in the middle (its frame stays well-formed)."""
    delay_ms: float = 0.0
    """Messages arrive so much later, in order."""
    checksum: Literal["zero", "real", "wrong"] = "zero"
    """What OKX says as a book's checksum; the venue says 0 since June 2026."""
    rest_delay_ms: float = 0.0
    rest_error: int = 0
    """HTTP status of the next ``rest_count`` REST answers: 429, 418, 403 or 5xx."""
    rest_count: int = 1
    request_drop: float = 0.0
    """An order request (by REST or WebSocket) never arrives: no effect, no answer."""
    ack_drop: float = 0.0
    """An order request takes effect, but its answer vanishes."""
    ack_delay_ms: float = 0.0
    """Answers to order requests come so much later than their effect."""
    ack_late: bool = True
    """Private events leave before the answer to the request that caused them; else after it."""
    order_error: int = 0
    """HTTP status of the answers to the next ``order_count`` order requests."""
    order_effect: bool = False
    """Whether those requests take effect nevertheless."""
    order_count: int = 1
    clock_skew_ms: int = 0
    """How far the venue's clock is ahead of ours."""

    @property
    def touches_messages(self) -> bool:
        """Whether messages must take the slow way through a ``FaultLine``."""
        shares = self.drop + self.hole + self.duplicate + self.reorder + self.corrupt
        return shares > 0.0 or self.delay_ms > 0.0 or self.hole_next > 0


_SHARES = ("drop", "hole", "duplicate", "reorder", "corrupt")
_REQUESTS = ("request_drop", "ack_drop")


class RequestFate(NamedTuple):
    """What becomes of one order request."""

    act: bool = True
    """Whether it takes effect."""
    answer: bool = True
    """Whether anything is answered at all."""
    status: int = 0
    """HTTP status to answer with instead, 0 for the true answer."""
    delay_ms: float = 0.0
    """How long the answer waits."""
    events_first: bool = True
    """Whether private events leave before the answer."""


class FaultPlan:
    """The faults of one server, and how often each has struck."""

    def __init__(self, faults: Faults | None = None, seed: int = 0) -> None:
        self.faults = faults or Faults()
        self.seed = seed
        self.counts: dict[str, int] = dict.fromkeys(
            (*_SHARES, *_REQUESTS, "delay", "silence", "disconnect", "rest_error", "order_error"), 0
        )
        self._requests = Random(f"{seed}/requests")
        self.active = self.faults.touches_messages
        _check(self.faults)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change some faults and keep the others; raises ConfigError for what cannot be."""
        fields = msgspec.to_builtins(self.faults) | dict(changes)
        try:
            faults = msgspec.convert(fields, Faults)
        except msgspec.ValidationError as error:
            raise ConfigError(f"faults: {error}") from None
        _check(faults)
        self.faults = faults
        self.active = faults.touches_messages

    def clear(self) -> None:
        """Do no more harm."""
        self.faults = Faults()
        self.active = False

    def chooses(self, venue: str, place: int) -> bool:
        """Whether a connection is one of those that the faults are for."""
        divisor, rest = self.faults.connections
        return fnmatchcase(venue, self.faults.venue) and place % divisor == rest

    def concerns(self, venue: str, stream: str, place: int) -> bool:
        """Whether messages of this stream are touched on this connection."""
        return self.chooses(venue, place) and fnmatchcase(stream, self.faults.streams)

    async def rest_wait(self, venue: str) -> None:
        """Wait as long as REST answers of ``venue`` shall be late."""
        delay_ms = self.faults.rest_delay_ms
        if delay_ms > 0.0 and fnmatchcase(venue, self.faults.venue):
            await asyncio.sleep(delay_ms / 1e3)

    def rest_status(self, venue: str) -> int:
        """Return the status that the next REST answer of ``venue`` must have, 0 for its own."""
        faults = self.faults
        if not faults.rest_error or faults.rest_count < 1:
            return 0
        if not fnmatchcase(venue, faults.venue):
            return 0
        faults.rest_count -= 1
        self.counts["rest_error"] += 1
        return faults.rest_error

    def request_fate(self, venue: str) -> RequestFate:
        """Return what becomes of the next order request to ``venue``; ask once for each."""
        faults = self.faults
        if not fnmatchcase(venue, faults.venue):
            return NO_FAULT
        delay_ms, first = faults.ack_delay_ms, faults.ack_late
        if faults.order_error and faults.order_count > 0:
            faults.order_count -= 1
            self.counts["order_error"] += 1
            return RequestFate(faults.order_effect, True, faults.order_error, delay_ms, first)
        if faults.request_drop and self._requests.random() < faults.request_drop:
            self.counts["request_drop"] += 1
            return RequestFate(act=False, answer=False)
        if faults.ack_drop and self._requests.random() < faults.ack_drop:
            self.counts["ack_drop"] += 1
            return RequestFate(answer=False)
        return RequestFate(delay_ms=delay_ms, events_first=first)

    def clock_skew_ms(self, venue: str) -> int:
        """Return how far the clock of ``venue`` is ahead of ours."""
        skew_ms = self.faults.clock_skew_ms
        return skew_ms if skew_ms and fnmatchcase(venue, self.faults.venue) else 0


NO_FAULT = RequestFate()


def _check(faults: Faults) -> None:
    for name in (*_SHARES, *_REQUESTS):
        if not 0.0 <= (share := getattr(faults, name)) <= 1.0:
            raise ConfigError(f"faults: {name} is a probability from 0 to 1, got {share}")
    divisor, rest = faults.connections
    if not 0 <= rest < divisor:
        raise ConfigError(f"faults: connections is [n, r] with 0 <= r < n, got {[divisor, rest]}")
    for name in ("rest_error", "order_error"):
        status = getattr(faults, name)
        if status and not 400 <= status <= 599:
            raise ConfigError(f"faults: {name} is a status from 400 to 599, got {status}")
    if not faults.ack_delay_ms >= 0.0:
        raise ConfigError(f"faults: ack_delay_ms cannot be negative, got {faults.ack_delay_ms}")


class FaultLine:
    """One connection's way through the plan.

    ``number`` makes its draws its own; ``place`` (0 for the same) is what ``connections`` chooses.
    """

    def __init__(self, plan: FaultPlan, venue: str, number: int, place: int = 0) -> None:
        self._plan = plan
        self._venue = venue
        self._place = place or number
        self._rng = Random(f"{plan.seed}/{venue}/{number}")
        self._held: bytes | None = None
        self._late: deque[tuple[float, bytes]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether messages are on their way, delayed or held for a swap."""
        return bool(self._late) or self._held is not None

    def send(
        self, stream: str, is_depth: bool, frame: bytes, cut: bytes, now: float
    ) -> list[bytes]:
        """Return the frames to send at once in place of ``frame``; ``cut`` is its corrupt form."""
        plan, rng = self._plan, self._rng
        faults, counts = plan.faults, plan.counts
        if not plan.concerns(self._venue, stream, self._place):
            return self._out([frame], now)
        if is_depth and faults.hole_next > 0:
            faults.hole_next -= 1
            counts["hole"] += 1
            plan.active = faults.touches_messages
            return self._out([], now)
        if is_depth and faults.hole and rng.random() < faults.hole:
            counts["hole"] += 1
            return self._out([], now)
        if faults.drop and rng.random() < faults.drop:
            counts["drop"] += 1
            return self._out([], now)
        if faults.corrupt and rng.random() < faults.corrupt:
            counts["corrupt"] += 1
            frame = cut
        if faults.duplicate and rng.random() < faults.duplicate:
            counts["duplicate"] += 1
            return self._out([frame, frame], now)
        if self._held is None and faults.reorder and rng.random() < faults.reorder:
            counts["reorder"] += 1
            self._held = frame
            return []
        return self._out([frame], now)

    def due(self, now: float) -> list[bytes]:
        """Return the delayed frames whose time has come, all of them once faults are over."""
        frames: list[bytes] = []
        while self._late and (self._late[0][0] <= now or not self._plan.active):
            frames.append(self._late.popleft()[1])
        if self._held is not None and not self._plan.active:
            frames.append(self._held)
            self._held = None
        return frames

    def _out(self, frames: list[bytes], now: float) -> list[bytes]:
        if self._held is not None and frames:
            frames.append(self._held)
            self._held = None
        delay = self._plan.faults.delay_ms
        if delay <= 0.0 and not self._late:
            return frames
        self._plan.counts["delay"] += len(frames)
        self._late.extend((now + delay / 1e3, frame) for frame in frames)
        return []
