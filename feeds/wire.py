"""A WebSocket client whose frames never become Python objects.

asyncio reads the socket into a buffer (``BufferedProtocol``; TLS as usual). After each read one
jitted kernel, ``deliver``, walks the frames in the buffer (RFC 6455 §5.2: servers do not mask) and
copies each whole text or binary message into the raw ring. What is rare (control frames, fragments,
notices, watched connections) goes back to Python, one frame at a time.

All frames of one read have the same ``received_ns``: it is when their bytes left the socket.
"""

import asyncio
import base64
import hashlib
import os
import ssl
import struct
import time
import urllib.parse
from typing import cast

import numpy as np
from numpy.typing import NDArray

from engine.atomics import byte_at, load_acquire
from engine.doorbell import WAITERS
from engine.frames import CLAIMED, END, NEWEST, put_frame
from engine.jit import inlined, kernel
from engine.net import seconds, wait
from engine.records import PADDING
from engine.segment import Cells
from feeds.websocket import (
    CLOSE_TIMEOUT_S,
    MESSAGE_BYTES_MAX,
    UNREAD,
    UNREAD_BYTES_MAX,
    ConnectFailed,
    Connection,
    Intake,
    Tls,
)

Bytes = NDArray[np.uint8]

BUFFER_BYTES = 256 << 10
"""Of a connection's read buffer: larger messages make it grow, larger reads would leave the L2."""
_HANDSHAKE_BYTES_MAX = 65_536

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""WebSocket opcodes; TEXT and BINARY are also the values of ``FrameKind``."""

(
    CONSUMED,
    FRAMES,
    PAYLOAD_BYTES,
    OPCODE,
    FIN,
    PAYLOAD_AT,
    PAYLOAD_LENGTH,
    NEEDED,
    FRAGMENTS,
) = range(3, 12)
"""Cells of the state; the first three are the ring's tail (``engine.frames``). CONSUMED is where
the next frame starts; NEEDED is the size of the frame that is not whole yet, once its header is;
FRAGMENTS is not 0 inside a fragmented message."""
STATE_CELLS = 16

MORE, HAND_OVER, PROTOCOL_ERROR, NOTICE = 0, 1, 2, 3
"""Results of ``deliver``: all whole frames are in the ring; a frame for Python (in the state's
cells); bytes that are not WebSocket; a frame for Python that is in the ring already."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@inlined
def _big_endian(data: Bytes, at: int, size: int) -> int:
    value = 0
    for i in range(size):
        value = (value << 8) | byte_at(data, at + i)
    return value


@inlined
def _begins_with(data: Bytes, at: int, length: int, prefixes: Bytes) -> bool:
    """Return whether the payload begins with one of ``prefixes`` (each: its length, its bytes)."""
    p = 0
    while p < len(prefixes):
        size = int(prefixes[p])
        # From the last byte back: messages share their first bytes ({"stream":") and differ later.
        i = size - 1 if size <= length else -2
        while i >= 0 and byte_at(data, at + i) == int(prefixes[p + 1 + i]):
            i -= 1
        if i == -1:
            return True
        p += size + 1
    return False


@inlined
def _header(data: Bytes, at: int, end: int, state: Cells) -> int:
    """Read the frame header at ``at`` into the state.

    Returns ``MORE`` if the frame is not whole, ``PROTOCOL_ERROR``, or 1.
    """
    state[NEEDED] = 0
    if end - at < 2:
        return MORE
    first, second = byte_at(data, at), byte_at(data, at + 1)
    opcode, length = first & 15, second & 127
    state[OPCODE], state[FIN] = opcode, first >> 7
    # Reserved bits (no extension was agreed on), masks, unknown opcodes, long or split control.
    if first & 0x70 or second & 0x80 or (opcode > BINARY and opcode < CLOSE) or opcode > PONG:
        return PROTOCOL_ERROR
    if opcode >= CLOSE and (length > 125 or first < 0x80):
        return PROTOCOL_ERROR
    head = 2
    if length >= 126:
        head = 4 if length == 126 else 10
        if end - at < head:
            return MORE
        length = _big_endian(data, at + 2, head - 2)
        if length < 0 or length > MESSAGE_BYTES_MAX:
            return PROTOCOL_ERROR
    state[PAYLOAD_AT], state[PAYLOAD_LENGTH] = at + head, length
    state[NEEDED] = head + length
    return 1 if end - at >= head + length else MORE


@kernel(
    "int64(uint8[::1], int64, int64[::1], int64[::1], uint8[::1], int64[::1], int64[::1], "
    "Array(uint8, 1, 'C', readonly=True), int64, int64, int64, int64)"
)
def deliver(
    data: Bytes,
    end: int,
    cells: Cells,
    words: Cells,
    area: Bytes,
    bell: Cells,
    state: Cells,
    notices: Bytes,
    received_ns: int,
    connection: int,
    line: int,
    each: int,
) -> int:
    """Put the whole messages of ``data[state[CONSUMED]:end]`` into the raw ring.

    Parameters
    ----------
    data
        The read buffer; 64 bytes behind ``end`` may be read.
    end
        Bytes in it.
    cells, words, area, bell
        The raw ring: header, descriptors, payload area, the bell's cells.
    state
        See the cells' names; updated.
    notices
        Prefixes (a byte of length, the bytes) of messages that Python must see.
    received_ns, connection, line
        Fields of the frames.
    each
        1 hands every message over instead of publishing it.

    Returns
    -------
    int
        ``MORE``, ``HAND_OVER``, ``NOTICE`` or ``PROTOCOL_ERROR``. Bit 8 is set if a reader is to
        be woken.

    """
    published = 0
    longest = len(area) // 4  # FrameWriter.frame_bytes_max
    result = MORE
    while True:
        at = state[CONSUMED]
        found = _header(data, at, end, state)
        if found != 1:
            result = found
            break
        state[CONSUMED] = at + state[NEEDED]
        opcode, length = state[OPCODE], state[PAYLOAD_LENGTH]
        whole = state[FIN] == 1 and 0 < opcode < CLOSE
        if not whole or each == 1 or length > longest or state[FRAGMENTS] != 0:
            result = HAND_OVER
            break
        at = state[PAYLOAD_AT]
        put_frame(  # -1: of no one instrument.
            cells, words, area, state, data, at, length, received_ns, opcode, connection, -1, line
        )
        published += 1
        state[FRAMES] += 1
        state[PAYLOAD_BYTES] += length
        if _begins_with(data, at, length, notices):
            result = NOTICE
            break
    if published > 0 and load_acquire(bell, WAITERS) != 0:
        result |= 256
    return result


class _Protocol(asyncio.BufferedProtocol):
    """One connection: the upgrade, then frames."""

    def __init__(self, intake: Intake, request: bytes, accept: bytes) -> None:
        self.intake, self.writer = intake, intake.writer
        self._request, self._accept = request, accept
        self.closed = asyncio.Event()
        self.reason = "closed by the server"
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._parting: asyncio.TimerHandle | None = None
        self._allocate(BUFFER_BYTES)
        self._end = 0
        self._state = np.zeros(STATE_CELLS, np.int64)
        self._cells = self._state.data  # The same memory: single cells are four times quicker.
        self._area = self.writer.segment.area
        bell = self.writer.bell
        self._bell_cells = bell.cells if bell is not None else np.zeros(64, np.int64)
        prefixes = b"".join(bytes([len(n)]) + n for n in intake.notices)
        self._notices = np.frombuffer(prefixes, np.uint8)
        self._message: bytearray | None = None  # The fragments so far.
        self._kind = TEXT
        self._upgraded = False
        self.transport: asyncio.Transport | None = None

    def _allocate(self, size: int) -> None:
        self._data = np.zeros(size + PADDING, np.uint8)
        self._view = self._data.data[:size]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it.
        self.transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.reason = str(error) or type(error).__name__
        if not self.opened.done():
            self.opened.set_exception(ConnectFailed(f"lost during the upgrade: {self.reason}"))
        if self._parting is not None:
            self._parting.cancel()
        self.closed.set()

    def eof_received(self) -> bool:
        return False

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        received_ns = time.time_ns()
        self._end += nbytes
        if self._upgraded or self._upgrade():
            self._deliver(received_ns)

    def _deliver(self, received_ns: int) -> None:
        """Hand the buffer to the kernel until no whole frame is left in it."""
        intake, writer, state, cells = self.intake, self.writer, self._state, self._cells
        while True:
            cells[NEWEST] = writer.newest
            cells[END], cells[CLAIMED] = writer.tail
            result = deliver(
                self._data,
                self._end,
                writer.cells,
                writer.words,
                self._area,
                self._bell_cells,
                state,
                self._notices,
                received_ns,
                intake.connection,
                intake.line,
                intake.watch is not None,
            )
            if frames := cells[FRAMES]:
                writer.resume(cells[NEWEST], cells[END], cells[CLAIMED])
                intake.last_ns = received_ns
                intake.frames += frames
                intake.bytes += cells[PAYLOAD_BYTES]
                cells[FRAMES] = cells[PAYLOAD_BYTES] = 0
            if result & 256 and writer.bell is not None:
                writer.bell.ring()
            result &= 255
            if result == MORE:
                self._keep_rest(cells[CONSUMED], cells[NEEDED])
                return
            if result == PROTOCOL_ERROR:
                self.fail("bytes that are not a WebSocket frame")
                return
            at = cells[PAYLOAD_AT]
            payload = self._view[at : at + cells[PAYLOAD_LENGTH]]
            if result == NOTICE:
                intake.look(payload)
            else:
                self._rare(cells[OPCODE], cells[FIN], payload, received_ns)
            if self.closed.is_set() or self.transport is None or self.transport.is_closing():
                return

    def _keep_rest(self, consumed: int, needed: int) -> None:
        """Move the part of a frame that has come to the front; make room for the whole of it."""
        rest = self._end - consumed
        if needed > len(self._view):
            old = self._view
            self._allocate(1 << (needed - 1).bit_length())
            self._view[:rest] = old[consumed : self._end]
        elif rest and consumed:
            self._view[:rest] = self._view[consumed : self._end]
        self._end = rest
        self._cells[CONSUMED] = 0

    def _rare(self, opcode: int, fin: int, payload: memoryview, received_ns: int) -> None:
        if opcode == PING:
            self.send(PONG, bytes(payload))
            self.intake.alive()
        elif opcode == PONG:
            self.intake.pong()
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            words = bytes(payload[2:]).decode(errors="replace")
            self.reason = f"closed by the server: {code} {words}"
            self.send(CLOSE, bytes(payload[:2]))
            if self.transport is not None:
                self.transport.close()
                # Which first sends what waits: that may take for ever.
                self._parting = self._loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)
        elif fin and self._message is None and opcode != CONTINUATION:
            self.intake.frame(payload, received_ns, opcode)
        else:
            self._fragment(opcode, fin, payload, received_ns)

    def _fragment(self, opcode: int, fin: int, payload: memoryview, received_ns: int) -> None:
        if (opcode == CONTINUATION) != (self._message is not None):
            self.fail("a fragment out of place")
            return
        if self._message is None:
            self._kind, self._message = opcode, bytearray()
        self._message += payload
        if len(self._message) > MESSAGE_BYTES_MAX:
            self.fail(f"a message of more than {MESSAGE_BYTES_MAX:,} bytes")
            return
        if fin:
            whole, self._message = bytes(self._message), None
            self.intake.frame(whole, received_ns, self._kind)
        self._state[FRAGMENTS] = self._message is not None

    def _upgrade(self) -> bool:
        """Read the answer to the upgrade request; return whether frames may follow."""
        head, found, _ = bytes(self._view[: self._end]).partition(b"\r\n\r\n")
        if not found:
            if self._end > _HANDSHAKE_BYTES_MAX:
                self.fail("an endless answer to the upgrade request")
            return False
        status_line, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        words = status_line.split(" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if status != 101:
            after = seconds(headers.get("retry-after"))
            text = f"upgrade refused: {status_line}"
            self._refuse(ConnectFailed(text, status, after))
            return False
        if headers.get("sec-websocket-accept", "").encode() != self._accept:
            self._refuse(ConnectFailed("upgrade: wrong Sec-WebSocket-Accept"))
            return False
        self._upgraded = True
        self._state[CONSUMED] = len(head) + 4
        if not self.opened.done():
            self.opened.set_result(None)
        return True

    def _refuse(self, error: ConnectFailed) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        if self.transport is not None:
            self.transport.abort()

    def fail(self, reason: str) -> None:
        """Give the connection up."""
        self.reason = reason
        if self.transport is not None:
            self.transport.abort()

    def send(self, opcode: int, payload: bytes = b"") -> None:
        """Send one masked frame."""
        if self.transport is None or self.transport.is_closing():
            return
        length, mask = len(payload), os.urandom(4)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
        elif length < 65_536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        masked = (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
        self.transport.write(head + mask + masked)
        if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self.fail(UNREAD)


class WireConnection:
    """``feeds.websocket.Connection`` on ``_Protocol``."""

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol
        self.intake, self.closed = protocol.intake, protocol.closed

    @classmethod
    async def open(
        cls,
        url: str,
        intake: Intake,
        tls: Tls,
    ) -> Connection:
        """Connect, upgrade, and return once the server has agreed."""
        parts = urllib.parse.urlsplit(url)
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        key = base64.b64encode(os.urandom(16))
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = (
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key.decode()}\r\n"
            "Sec-WebSocket-Version: 13\r\nUser-Agent: trade-infra\r\n\r\n"
        )
        context = (tls or ssl.create_default_context()) if secure else None
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: _Protocol(intake, request.encode(), accept), host, port, ssl=context
        )
        try:
            await protocol.opened
        except BaseException:
            protocol.fail("not upgraded")
            raise
        return cls(protocol)

    @property
    def reason(self) -> str:
        """Why the connection is gone."""
        return self._protocol.reason

    @reason.setter
    def reason(self, text: str) -> None:
        self._protocol.reason = text

    def send_text(self, data: bytes) -> None:
        """Send a text message."""
        self._protocol.send(TEXT, data)

    def ping(self) -> None:
        """Send a ping frame."""
        self._protocol.send(PING)

    async def close(self) -> None:
        """Say goodbye, wait for the server's, and close."""
        if not self.closed.is_set():
            self._protocol.send(CLOSE, (1000).to_bytes(2, "big"))
            await wait(self.closed, CLOSE_TIMEOUT_S)
            self.abort()
            self.reason = "closed by us"

    def abort(self) -> None:
        """Tear the socket down."""
        if self._protocol.transport is not None:
            self._protocol.transport.abort()
