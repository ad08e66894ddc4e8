"""Topics and clients: each message becomes WebSocket bytes once, whoever receives it.

Server frames are not masked, so the bytes of a message are the same for all its receivers. They
are collected per client and handed to its transport once a tick; a client that does not read is
cut when its transport holds more than the limit, so that memory stays bounded.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from gateways.simulator.faults import FaultLine, FaultPlan


def text_frame(payload: bytes) -> bytes:
    """Return a complete, final, unmasked WebSocket text frame."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


class Topic:
    """One stream name and who receives it."""

    __slots__ = ("clients", "head", "is_depth", "name")

    def __init__(self, name: str, head: bytes, is_depth: bool) -> None:
        self.name = name
        self.head = head  # what stands before the payload in an envelope; a "}" closes it
        self.is_depth = is_depth
        self.clients: dict[Client, None] = {}

    def publish(self, payload: bytes) -> None:
        """Send one message to all clients of this topic."""
        raw = wrapped = None
        for client in self.clients:
            if client.wrapped:
                if wrapped is None:
                    wrapped = text_frame(b"%b%b}" % (self.head, payload))
                frame = wrapped
            else:
                if raw is None:
                    raw = text_frame(payload)
                frame = raw
            client.push(self, frame, payload)

    def send(self, client: "Client", payload: bytes) -> None:
        """Send one message to one client: what it gets because it has just subscribed."""
        whole = b"%b%b}" % (self.head, payload) if client.wrapped else payload
        client.push(self, text_frame(whole), payload)


class Client:
    """The sending half of one WebSocket connection.

    ``wrapped`` tells whether messages come in the venue's envelope. ``cut`` is called with the
    reason when the client must go.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        *,
        wrapped: bool,
        plan: FaultPlan,
        line: FaultLine,
        buffer_bytes: int,
        cut: Callable[[str], None],
    ) -> None:
        self.transport = transport
        self.wrapped = wrapped
        self.plan = plan
        self.line = line
        self.pending: list[bytes] = []
        self.topics: dict[str, Topic] = {}
        self.silent_until = 0.0
        self.sent_at = 0.0
        self.frames_sent = 0
        self.bytes_sent = 0
        self._buffer_bytes = buffer_bytes
        self.cut = cut

    def push(self, topic: Topic, frame: bytes, payload: bytes) -> None:
        """Queue a frame, on its way through the faults if there are any."""
        if not self.plan.active and not self.line.waiting:
            self.pending.append(frame)
            return
        damaged = text_frame(payload[: len(payload) // 2])
        self.pending.extend(
            self.line.send(topic.name, topic.is_depth, frame, damaged, time.monotonic())
        )

    def control(self, payload: bytes) -> None:
        """Send an answer to the client's own request at once; no fault touches it."""
        self.pending.append(text_frame(payload))
        self.flush(time.monotonic())

    @property
    def buffered(self) -> int:
        """Bytes that the transport holds because the client has not read them."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def flush(self, now: float) -> None:
        """Hand what is pending to the transport; cut the client if it holds too much."""
        if self.line.waiting:
            self.pending.extend(self.line.due(now))
        if not self.pending:
            return
        frames, self.pending = self.pending, []
        if self.silent_until > now or self.transport.is_closing():
            self.plan.counts["silence"] += len(frames)
            return
        data = b"".join(frames)
        self.transport.write(data)
        self.sent_at = now
        self.frames_sent += len(frames)
        self.bytes_sent += len(data)
        if self.transport.get_write_buffer_size() > self._buffer_bytes:
            self.cut("slow")


class Hub:
    """The topics and clients of one venue.

    ``describe`` turns a stream name into the head of its envelope and whether it carries depth.
    """

    def __init__(self, venue: str, describe: Callable[[str], tuple[bytes, bool]]) -> None:
        self.venue = venue
        self.topics: dict[str, Topic] = {}
        self.clients: dict[Client, None] = {}
        self._describe = describe

    def subscribe(self, client: Client, name: str) -> None:
        """Add a client to a topic."""
        topic = self.topics.get(name)
        if topic is None:
            head, is_depth = self._describe(name)
            topic = self.topics[name] = Topic(name, head, is_depth)
        topic.clients[client] = None
        client.topics[name] = topic

    def unsubscribe(self, client: Client, names: Iterable[str]) -> None:
        """Take a client off topics; ones that it does not receive are ignored."""
        for name in names:
            topic = client.topics.pop(name, None)
            if topic is not None:
                topic.clients.pop(client, None)
                if not topic.clients:
                    del self.topics[name]

    def remove(self, client: Client) -> None:
        """Forget a client that has gone."""
        self.unsubscribe(client, list(client.topics))
        self.clients.pop(client, None)

    def flush(self, now: float) -> None:
        """Send everything that is pending."""
        for client in list(self.clients):
            client.flush(now)
