"""What the private sides of all venues share: signatures, and the way of private messages."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from engine.errors import ConfigError
from gateways.simulator.account import Account
from gateways.simulator.hub import Client, Topic, text_frame

PREFIX = "private."
"""Private stream names begin with it, so that faults find them: ``"streams": "private.*"``."""


def verify(
    account: Account,
    payload: bytes,
    signature: str,
    *,
    encoding: Literal["hex", "base64"] = "hex",
) -> bool:
    """Whether ``signature`` is the account's for exactly these bytes.

    With a public key: Ed25519, or RSA (PKCS #1 v1.5 with SHA-256), always in base64. Else
    HMAC-SHA256 with the secret, in ``encoding``; hexadecimal digits of either case.
    """
    if account.public_key:
        return _verify_public(account.public_key, payload, signature)
    digest = hmac.digest(account.secret.encode(), payload, hashlib.sha256)
    if encoding == "hex":
        expected, given = digest.hex(), signature.lower()
    else:
        expected, given = base64.b64encode(digest).decode(), signature
    return hmac.compare_digest(expected.encode(), given.encode())


def _verify_public(pem: str, payload: bytes, signature: str) -> bool:
    key = load_public_key(pem)
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, payload)
        else:
            key.verify(raw, payload, PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def load_public_key(pem: str) -> Ed25519PublicKey | RSAPublicKey:
    """Return the key of a PEM text; raises ConfigError unless it is an Ed25519 or RSA key."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        raise ConfigError("accounts: public_key is not the PEM of a public key") from None
    if not isinstance(key, Ed25519PublicKey | RSAPublicKey):
        raise ConfigError("accounts: public_key is neither an Ed25519 nor an RSA key")
    return key


LATE_EVENTS_S = 0.02
"""How long after a REST answer the events leave, if they shall come after it."""


@dataclass(slots=True)
class _Held:
    """What is kept back of an account, and how many requests keep it."""

    requests: int = 0
    messages: list[tuple[Client, str, bytes]] = field(default_factory=list)


class PrivateFeed:
    """The private streams of accounts: who listens, and the messages' way through the faults.

    Messages wait for the server's tick (or for ``flush``) like those of public streams; an answer
    sent by ``Client.control`` on the same connection comes after what was published before it.
    ``account`` is a uid, or 0 where all messages are of one account: its messages can be kept back
    until the answer to a request has left (``hold``).
    """

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self._held: dict[int, _Held] = {}

    def subscribe(self, client: Client, stream: str) -> None:
        """Let a connection receive a stream."""
        self._topic(stream).clients[client] = None

    def unsubscribe(self, client: Client, stream: str) -> None:
        """Let a connection receive a stream no longer."""
        self._topic(stream).clients.pop(client, None)

    def remove(self, client: Client) -> None:
        """Forget a connection that has gone."""
        for topic in self._topics.values():
            topic.clients.pop(client, None)

    def listeners(self, stream: str) -> list[Client]:
        """Return the connections that receive a stream, in the order in which they came."""
        return list(self._topic(stream).clients)

    def publish(self, stream: str, payload: bytes, account: int = 0) -> None:
        """Send one message to everybody who receives the stream."""
        for client in self._topic(stream).clients:
            self.send(client, stream, payload, account)

    def send(self, client: Client, stream: str, payload: bytes, account: int = 0) -> None:
        """Send one message to one connection, whether it receives the stream or not."""
        held = self._held.get(account)
        if held is not None:
            held.messages.append((client, stream, payload))
            return
        # Never in the envelope of the public streams: what is private brings its own.
        client.push(self._topic(stream), text_frame(payload), payload)

    def hold(self, account: int = 0) -> None:
        """Keep an account's messages back for a request, until ``release`` is called for it."""
        self._held.setdefault(account, _Held()).requests += 1

    def release(self, account: int = 0) -> None:
        """End a ``hold``: after the last one, what has been kept back leaves at once."""
        held = self._held[account]
        held.requests -= 1
        if held.requests:
            return
        del self._held[account]
        for client, stream, payload in held.messages:
            self.send(client, stream, payload, account)
        self.flush(dict.fromkeys(client for client, _, _ in held.messages))

    def release_later(self, account: int = 0) -> None:
        """End a ``hold`` when a REST answer has had time to leave."""
        asyncio.get_running_loop().call_later(LATE_EVENTS_S, self.release, account)

    def flush(self, clients: Iterable[Client] | None = None) -> None:
        """Hand what waits to the sockets now, so that it leaves before a REST answer."""
        now = time.monotonic()
        if clients is None:
            clients = {c: None for topic in self._topics.values() for c in topic.clients}
        for client in clients:
            client.flush(now)

    def _topic(self, stream: str) -> Topic:
        name = stream if stream.startswith(PREFIX) else PREFIX + stream
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, b"", False)
        return topic
