"""The engine's own records: what describes a frame and what names a counter. Free of Numba."""

from enum import IntEnum

from engine.layout import Field, Layout

PADDING = 64
"""Zero bytes that follow a frame wherever it is scanned: a scan ends in them, whatever is in it."""


class FrameKind(IntEnum):
    """What a frame is."""

    TEXT = 1
    BINARY = 2
    REST_DEPTH = 3
    """The body of a depth snapshot; ``instrument`` says of which instrument."""
    STALE = 4
    """A mark of the feed: no live connection carries ``instrument`` now."""
    CONNECTED = 5
    DISCONNECTED = 6
    POLLED = 7
    """The body of a request that is repeated for what no stream carries; it names its instrument
    like a message, and ``instrument`` does too."""


MARKS = frozenset({FrameKind.STALE, FrameKind.CONNECTED, FrameKind.DISCONNECTED})
"""What a feed says itself; all other frames are the venue's words."""


FRAME = Layout(
    "frame",
    1,
    (
        Field("sequence", "i8", "place in the ring, from 1; written last"),
        Field("received_ns", "i8", "when the frame left the socket, Unix ns"),
        Field("published_ns", "i8", "when it was complete in the ring, Unix ns"),
        Field("position", "i8", "where the payload stands, monotonic bytes of the area"),
        Field("length", "i8", "bytes of the payload"),
        Field("kind", "i4", "FrameKind"),
        Field("connection", "i4", "number of the connection that it came from"),
        Field("instrument", "i4", "row of the feed's instrument table, or -1"),
        Field("line", "i4", "which of several redundant lines it came on, from 0"),
        Field("reserved", "i8", "zero"),
    ),
)

LABEL = Layout(
    "counter_label",
    1,
    (
        Field("kind", "i4", "0 free, 1 counter, 2 gauge, 3 histogram"),
        Field("row", "i4", "index into the values, or of the histogram"),
        Field("name", "S80", "what is counted, UTF-8"),
        Field("unit", "S16", "of what, UTF-8"),
        Field("reserved", "i8", "zero", (3,)),
    ),
)

ENGINE_LAYOUTS = (FRAME, LABEL)
