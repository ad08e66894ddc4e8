"""Signatures of requests: HMAC-SHA256, Ed25519 and RSA.

Each function takes a secret and returns what signs: payload bytes in, the venue's text out. The
secret goes into the closure and nowhere else.

Sources: Binance request security (HMAC hex; RSA PKCS#1 v1.5 over SHA-256 and Ed25519 in base64),
OKX REST authentication (HMAC base64), Bybit integration guidance (HMAC hex, RSA base64).
"""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Literal

from engine.errors import ConfigError
from engine.secrets import Secret

Sign = Callable[[bytes], str]
KeyType = Literal["hmac", "ed25519", "rsa"]

_PEM_HEAD = "-----BEGIN"
_BLOCK = 64
"""Bytes that SHA-256 takes at once."""


def _hmac(secret: Secret) -> Callable[[bytes], bytes]:
    """Return HMAC-SHA256 (RFC 2104) with a key that has been taken in already.

    Both hashes begin with a block made of the key alone; that work, and looking the algorithm up,
    is most of what ``hmac.digest`` does with a message as short as an order.
    """
    key = secret.reveal().encode()
    if len(key) > _BLOCK:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner, outer = (sha256(bytes(each ^ pad for each in key)) for pad in (0x36, 0x5C))

    def digest(payload: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(payload)
        second.update(first.digest())
        return second.digest()

    return digest


def hmac_hex(secret: Secret) -> Sign:
    """Return a signer with HMAC-SHA256, lower-case hexadecimal."""
    digest = _hmac(secret)

    def sign(payload: bytes) -> str:
        return digest(payload).hex()

    return sign


def hmac_base64(secret: Secret) -> Sign:
    """Return a signer with HMAC-SHA256 in base64."""
    digest = _hmac(secret)

    def sign(payload: bytes) -> str:
        return b64encode(digest(payload)).decode()

    return sign


def ed25519_base64(secret: Secret) -> Sign:
    """Return a signer with an Ed25519 private key (PEM, PKCS#8) in base64.

    Raises
    ------
    ConfigError
        If the secret is not such a key.

    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = _private_key(secret)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("the secret is a private key, but not an Ed25519 one: check key_type")
    private = key

    def sign(payload: bytes) -> str:
        return b64encode(private.sign(payload)).decode()

    return sign


def rsa_base64(secret: Secret) -> Sign:
    """Return a signer with an RSA private key (PEM), PKCS#1 v1.5 over SHA-256, in base64.

    Raises
    ------
    ConfigError
        If the secret is not such a key.

    """
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

    key = _private_key(secret)
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError("the secret is a private key, but not an RSA one: check key_type")
    private, padding, algorithm = key, PKCS1v15(), SHA256()

    def sign(payload: bytes) -> str:
        return b64encode(private.sign(payload, padding, algorithm)).decode()

    return sign


def _private_key(secret: Secret) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = secret.reveal()
    if not text.lstrip().startswith(_PEM_HEAD):
        # The body alone, as keys are passed in one line of an environment variable.
        text = f"{_PEM_HEAD} PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
    try:
        # An escaped line end is what an environment file makes of a PEM.
        return load_pem_private_key(text.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError):
        # The library's own words could show parts of the key.
        raise ConfigError(
            "the secret is not a private key without a password (PEM): check key_type"
        ) from None
