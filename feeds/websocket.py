"""WebSocket clients behind one small interface, and the hot path from the socket to the raw ring.

``connect`` opens a connection with one of three clients:

``wire``
    Our own: asyncio does the socket and TLS, a jitted kernel (``feeds.wire``) walks the frames of
    each read and copies them into the raw ring. Python runs once per read, not once per frame.
``picows``
    One Python callback per frame.
``aiohttp``
    The fallback that needs no compiled extension.

``python -m bench.websocket`` measures them; ``DEFAULT_CLIENT`` is what the figures say. Whatever
the client, a frame goes to an ``Intake``: stamped, published, counted, not looked at. The
exceptions are messages that begin like a shutdown notice, and everything while ``watch`` is set
(the first seconds of a connection).
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Literal, Protocol, TypeAlias

import aiohttp
import picows

from engine.errors import SegmentError, TradeInfraError
from engine.frames import FrameKind, FrameWriter
from engine.net import proxy_for, seconds, wait

Client = Literal["wire", "picows", "aiohttp"]
DEFAULT_CLIENT: Client = "wire"

Tls: TypeAlias = ssl.SSLContext | None
"""None stands for the platform's own roots."""

MESSAGE_BYTES_MAX = 16 << 20
"""A longer message breaks the connection: no venue sends one."""

CLOSE_TIMEOUT_S = 2.0
"""How long a polite close may take before the socket is torn down."""

UNREAD_BYTES_MAX = 1 << 20
"""What may wait to be sent: a server that pings and reads no answers breaks the connection."""
UNREAD = "the server does not read what we send"

_TEXT, _BINARY = int(FrameKind.TEXT), int(FrameKind.BINARY)


class ConnectFailed(TradeInfraError):
    """A connection that could not be opened.

    ``status`` is the HTTP status of a refused upgrade, else 0; ``retry_after_s`` is what the server
    asked for, else 0.
    """

    def __init__(self, text: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


class Intake:
    """Where one connection's frames go: stamped, published, counted.

    Attributes
    ----------
    frames, bytes : int
        Data frames published, and their payload.
    refused : int
        Frames that the raw ring cannot hold: counted, never fatal.
    last_ns : int
        When the last data frame came (Unix ns); 0 before the first.
    heard_ns, pong_ns : int
        The same of control frames, and of answers to our pings: signs of life, but no data.
    notices : tuple of bytes
        First bytes of messages that ``on_notice`` sees.
    watch : callable or None
        While set, sees each data frame (a copy) after it has been published, and says whether it
        was data at all: the answer to a text ping, or to a subscription, leaves ``last_ns``.

    """

    __slots__ = (
        "_publish",
        "bytes",
        "connection",
        "frames",
        "heard_ns",
        "last_ns",
        "line",
        "notices",
        "on_notice",
        "pong_ns",
        "refused",
        "watch",
        "writer",
    )

    def __init__(
        self,
        writer: FrameWriter,
        connection: int,
        notices: tuple[bytes, ...] = (),
        on_notice: Callable[[bytes], None] | None = None,
        line: int = 0,
    ) -> None:
        self.writer, self.connection, self.line = writer, connection, line
        self.frames = self.bytes = self.refused = 0
        self.last_ns = self.heard_ns = self.pong_ns = 0
        self.watch: Callable[[bytes], bool] | None = None
        self.notices, self.on_notice = notices, on_notice
        self._publish = writer.publish

    def frame(self, payload: bytes | memoryview, received_ns: int, kind: int = _TEXT) -> None:
        """Publish one data frame; the hot path of the clients that call per frame."""
        before_ns, self.last_ns = self.last_ns, received_ns
        self.frames += 1
        try:
            self._publish(payload, received_ns, kind, self.connection, -1, self.line)
        except (SegmentError, ValueError):
            self.refused += 1
            return
        self.bytes += len(payload)
        # Notices are short; the length test spares the copy on everything larger.
        seen = self.watch is not None or (len(payload) < 200 and self.notices)
        if seen and not self.look(payload):
            self.last_ns = before_ns

    def look(self, payload: bytes | memoryview) -> bool:
        """Show a published frame to whoever watches; return whether it was data."""
        data = bytes(payload)
        if data.startswith(self.notices) and self.on_notice is not None:
            self.on_notice(data)
        return self.watch is None or self.watch(data)

    def alive(self) -> None:
        """Note a control frame."""
        self.heard_ns = time.time_ns()

    def pong(self) -> None:
        """Note the answer to our ping."""
        self.heard_ns = self.pong_ns = time.time_ns()


class Connection(Protocol):
    """An open WebSocket connection."""

    intake: Intake
    closed: asyncio.Event
    """Set when the connection is gone, whoever ended it."""
    reason: str
    """Why it is gone."""

    def send_text(self, data: bytes) -> None:
        """Send a text message."""

    def ping(self) -> None:
        """Send a ping frame; ``intake.pong_ns`` changes when the answer comes."""

    async def close(self) -> None:
        """Close politely; returns when the socket is gone, after ``CLOSE_TIMEOUT_S`` at most."""

    def abort(self) -> None:
        """Tear the socket down at once."""


async def connect(
    url: str,
    intake: Intake,
    *,
    client: Client = DEFAULT_CLIENT,
    timeout_s: float = 10.0,
    ssl_context: Tls = None,
) -> Connection:
    """Open a connection and start delivering its frames to ``intake``.

    An HTTP proxy named in the environment is used (through picows, whatever ``client`` says for
    the jitted one).

    Raises
    ------
    ConnectFailed
        Whatever the cause: DNS, TCP, TLS, a refused upgrade, a timeout.

    """
    proxy = proxy_for(url)
    try:
        async with asyncio.timeout(timeout_s):
            if client == "aiohttp":
                return await _AiohttpConnection.open(url, intake, ssl_context, proxy)
            if client == "wire" and proxy is None:
                from feeds.wire import WireConnection

                return await WireConnection.open(url, intake, ssl_context)
            return await _PicowsConnection.open(url, intake, ssl_context, proxy)
    except TimeoutError:
        raise ConnectFailed(f"{_short(url)}: no connection within {timeout_s:g} s") from None
    except picows.WSHandshakeError as error:
        response = error.response
        status = int(response.status) if response is not None else 0
        after = response.headers.get("Retry-After") if response is not None else None
        raise ConnectFailed(f"{_short(url)}: {error}", status, seconds(after)) from None
    except aiohttp.WSServerHandshakeError as error:
        after = error.headers.get("Retry-After") if error.headers else None
        text = f"{_short(url)}: upgrade refused with status {error.status}"
        raise ConnectFailed(text, error.status, seconds(after)) from None
    except (OSError, picows.WSError, aiohttp.ClientError, EOFError) as error:
        raise ConnectFailed(f"{_short(url)}: {error or type(error).__name__}") from None


def _short(url: str) -> str:
    """Return ``url`` without a long list of streams, for messages."""
    return url if len(url) <= 100 else f"{url[:97]}..."


class _PicowsListener(picows.WSListener):
    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._frame = intake.frame
        self.closed = asyncio.Event()
        self.reason = "closed by the server"
        self._message: bytearray | None = None  # The fragments so far.
        self._kind = _TEXT

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT and frame.fin:
            self._frame(frame.get_payload_as_memoryview(), time.time_ns(), _TEXT)
        else:
            self._rare(transport, frame)

    def _rare(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind is picows.WSMsgType.CLOSE:
            self.reason = f"closed by the server: {frame.get_close_code()}"
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif kind is picows.WSMsgType.PONG:
            self.intake.pong()
        elif kind is picows.WSMsgType.PING:
            self.intake.alive()
            if transport.underlying_transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self.reason = UNREAD
                transport.disconnect(graceful=False)
        elif frame.fin and self._message is None:
            self._frame(frame.get_payload_as_memoryview(), time.time_ns(), _BINARY)
        else:
            self._fragment(transport, frame)

    def _fragment(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is not picows.WSMsgType.CONTINUATION:
            self._kind = _TEXT if frame.msg_type is picows.WSMsgType.TEXT else _BINARY
        if self._message is None:
            self._message = bytearray()
        self._message += frame.get_payload_as_memoryview()
        if len(self._message) > MESSAGE_BYTES_MAX:
            self.reason = f"a message of more than {MESSAGE_BYTES_MAX:,} bytes"
            transport.disconnect(graceful=False)
        elif frame.fin:
            whole, self._message = bytes(self._message), None
            self._frame(whole, time.time_ns(), self._kind)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.closed.set()


class _PicowsConnection:
    def __init__(self, transport: picows.WSTransport, listener: _PicowsListener) -> None:
        self._transport, self._listener = transport, listener
        self.intake, self.closed = listener.intake, listener.closed

    @classmethod
    async def open(cls, url: str, intake: Intake, tls: Tls, proxy: str | None) -> Connection:
        transport, listener = await picows.ws_connect(
            lambda: _PicowsListener(intake),
            url,
            ssl_context=tls,
            websocket_handshake_timeout=None,
            max_frame_size=MESSAGE_BYTES_MAX,
            read_buffer_init_size=256 << 10,
            proxy=proxy,
        )
        assert isinstance(listener, _PicowsListener)
        return cls(transport, listener)

    @property
    def reason(self) -> str:
        return self._listener.reason

    @reason.setter
    def reason(self, text: str) -> None:
        self._listener.reason = text

    def send_text(self, data: bytes) -> None:
        if not self._transport.is_disconnected:
            self._transport.send(picows.WSMsgType.TEXT, data)

    def ping(self) -> None:
        if not self._transport.is_disconnected:
            self._transport.send_ping(b"")

    async def close(self) -> None:
        if not self.closed.is_set() and not self._transport.is_disconnected:
            self.reason = "closed by us"
            self._transport.send_close(picows.WSCloseCode.OK)
            self._transport.disconnect()
            await wait(self.closed, CLOSE_TIMEOUT_S)
            self.abort()

    def abort(self) -> None:
        if not self.closed.is_set():
            self._transport.disconnect(graceful=False)


Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[Literal[False]]"


class _AiohttpConnection:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        socket: Socket,
        intake: Intake,
    ) -> None:
        self._session, self._response, self._socket = session, response, socket
        self.intake, self.closed = intake, asyncio.Event()
        self.reason = "closed by the server"
        self._tasks: set[asyncio.Task[object]] = set()  # Of sending.
        self._receiver = asyncio.create_task(self._receive())
        self._receiver.add_done_callback(lambda task: self._release())

    @classmethod
    async def open(cls, url: str, intake: Intake, tls: Tls, proxy: str | None) -> Connection:
        answers: list[aiohttp.ClientResponse] = []

        async def keep(_: object, __: object, end: aiohttp.TraceRequestEndParams) -> None:
            answers.append(end.response)

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(keep)
        session = aiohttp.ClientSession(trace_configs=[trace])
        try:
            socket = await session.ws_connect(
                url,
                ssl=True if tls is None else tls,
                proxy=proxy,
                max_msg_size=MESSAGE_BYTES_MAX,
                autoping=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                decode_text=False,
            )
        except BaseException:
            await session.close()
            raise
        return cls(session, answers[-1], socket, intake)

    async def _receive(self) -> None:
        try:
            async for message in self._socket:
                kind = message.type
                if kind is aiohttp.WSMsgType.TEXT:
                    self.intake.frame(message.data, time.time_ns(), _TEXT)
                elif kind is aiohttp.WSMsgType.BINARY:
                    self.intake.frame(message.data, time.time_ns(), _BINARY)
                elif kind is aiohttp.WSMsgType.PING:
                    await self._socket.pong(message.data)
                    self.intake.alive()
                elif kind is aiohttp.WSMsgType.PONG:
                    self.intake.pong()
            if self._socket.close_code is not None:
                self.reason = f"closed by the server: {self._socket.close_code}"
        except (OSError, aiohttp.ClientError) as error:
            self.reason = str(error) or type(error).__name__

    def _release(self) -> None:
        """Let go of the socket; aiohttp does not where the server cut it."""
        held = self._response.connection
        if held is not None and held.transport is not None:
            held.transport.abort()
        self._response.close()
        self.closed.set()

    def _spawn(self, work: Coroutine[None, None, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.abort()  # Could not send: the connection is gone.

    def send_text(self, data: bytes) -> None:
        self._spawn(self._socket.send_frame(data, aiohttp.WSMsgType.TEXT))

    def ping(self) -> None:
        self._spawn(self._socket.ping())

    async def close(self) -> None:
        if not self.closed.is_set():
            self.reason = "closed by us"
            self._spawn(self._socket.close())
            await wait(self.closed, 2 * CLOSE_TIMEOUT_S)
        self.abort()
        await asyncio.wait({self._receiver, *self._tasks})
        await self._session.close()

    def abort(self) -> None:
        for task in (self._receiver, *self._tasks):
            task.cancel()
        self._release()
