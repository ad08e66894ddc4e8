"""A WebSocket connection of a gateway: bytes out, whole messages in (picows)."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

import picows

from engine.errors import TradeInfraError
from engine.net import proxy_for, seconds, wait

MESSAGE_BYTES_MAX = 16 << 20
"""A longer message breaks the connection: no venue sends one."""
UNSENT_BYTES_MAX = 1 << 20
"""What may wait to be sent; beyond that the venue does not read, and nothing is given to it."""
CLOSE_TIMEOUT_S = 2.0

_picows_log = logging.getLogger("picows")

OnMessage = Callable[[bytes, int], None]
"""Takes a message and when it left the socket (Unix ns)."""


class ConnectFailed(TradeInfraError):
    """A connection that could not be opened.

    ``status`` is the HTTP status of a refused upgrade, else 0; ``retry_after_s`` is what the server
    asked for, else 0.
    """

    def __init__(self, text: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


class Socket(picows.WSListener):
    """An open connection, made by ``connect``.

    Attributes
    ----------
    last_ns : int
        When anything came last (Unix ns), control frames included.
    closed : asyncio.Event
        Set when the connection is gone, whoever ended it; ``reason`` says why. ``on_close`` is
        called then.

    """

    def __init__(self, on_message: OnMessage, log: logging.Logger) -> None:
        self._on_message, self._log = on_message, log
        self._transport: picows.WSTransport | None = None
        self._parts: bytearray | None = None
        self._waiting: Callable[[], int] = lambda: 0
        self.closed = asyncio.Event()
        self.on_close: Callable[[], None] = lambda: None
        self.reason = "closed by the venue"
        self.last_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether something can be sent now, and will leave at once."""
        transport = self._transport
        return (
            transport is not None
            and not transport.is_disconnected
            and not transport.is_close_frame_sent
            and self.unsent <= UNSENT_BYTES_MAX
        )

    @property
    def unsent(self) -> int:
        """How many bytes wait here because the venue does not read: usually none."""
        return self._waiting()

    def send(self, data: bytes) -> None:
        """Send a text message; ask ``is_open`` first."""
        assert self._transport is not None
        self._transport.send(_TEXT, data)

    def ping(self) -> None:
        """Send a ping frame; ``last_ns`` changes when the answer comes."""
        if self.is_open:
            assert self._transport is not None
            self._transport.send_ping(b"")

    async def close(self) -> None:
        """Close politely; returns when the socket is gone, after ``CLOSE_TIMEOUT_S`` at most."""
        transport = self._transport
        if transport is not None and not self.closed.is_set():
            self.reason = "closed by us"
            if not transport.is_disconnected:
                transport.send_close(picows.WSCloseCode.OK)
                transport.disconnect()
            await wait(self.closed, CLOSE_TIMEOUT_S)
        self.abort("closed by us")

    def abort(self, reason: str) -> None:
        """Tear the socket down at once."""
        if self._transport is not None and not self.closed.is_set():
            self.reason = reason
            self._transport.disconnect(graceful=False)

    # -- called by picows ----------------------------------------------------------------------
    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Take the transport; called by picows."""
        self._transport = transport
        self._waiting = transport.underlying_transport.get_write_buffer_size
        self.last_ns = time.time_ns()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Take a frame; called by picows."""
        self.last_ns = now = time.time_ns()
        kind = frame.msg_type
        if kind is _TEXT and frame.fin:
            self._deliver(frame.get_payload_as_bytes(), now)
        elif kind is _CLOSE:
            words = frame.get_close_reason() or ""
            self.reason = f"closed by the venue: {frame.get_close_code()} {words}".rstrip()
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif kind is not _PING and kind is not _PONG:
            self._part(transport, frame, now)

    def _part(self, transport: picows.WSTransport, frame: picows.WSFrame, now: int) -> None:
        """Take a fragment, or a binary message."""
        if self._parts is None:
            self._parts = bytearray()
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > MESSAGE_BYTES_MAX:
            self.abort(f"a message of more than {MESSAGE_BYTES_MAX:,} bytes")
        elif frame.fin:
            whole, self._parts = bytes(self._parts), None
            self._deliver(whole, now)

    def _deliver(self, message: bytes, now: int) -> None:
        try:
            self._on_message(message, now)
        except Exception:
            # A mistake of ours in one message must not cost the connection.
            self._log.exception("a message could not be handled")

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Take note of the end; called by picows."""
        self.closed.set()
        self.on_close()


_TEXT, _CLOSE = picows.WSMsgType.TEXT, picows.WSMsgType.CLOSE
_PING, _PONG = picows.WSMsgType.PING, picows.WSMsgType.PONG


async def connect(
    url: str,
    on_message: OnMessage,
    log: logging.Logger,
    *,
    timeout_s: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Socket:
    """Open a connection.

    Raises
    ------
    ConnectFailed
        Whatever the cause: DNS, TCP, TLS, a refused upgrade, a timeout. The message has no query:
        that may be a key.

    """
    name = url.partition("?")[0]
    _picows_log.setLevel(logging.WARNING)  # The routes tell of connections themselves.
    try:
        async with asyncio.timeout(timeout_s):
            _, socket = await picows.ws_connect(
                lambda: Socket(on_message, log),
                url,
                ssl_context=ssl_context,
                websocket_handshake_timeout=None,
                max_frame_size=MESSAGE_BYTES_MAX,
                proxy=proxy_for(url),
            )
    except TimeoutError:
        raise ConnectFailed(f"{name}: no connection within {timeout_s:g} s") from None
    except picows.WSHandshakeError as error:
        response = error.response
        status = int(response.status) if response is not None else 0
        after = response.headers.get("Retry-After") if response is not None else None
        text = f"{name}: upgrade refused with status {status}"
        raise ConnectFailed(text, status, seconds(after)) from None
    except (OSError, picows.WSError, EOFError) as error:
        raise ConnectFailed(f"{name}: {type(error).__name__}") from None
    assert isinstance(socket, Socket)
    return socket
