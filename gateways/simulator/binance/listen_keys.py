"""Listen keys: the names under which the private streams of USDⓈ-M are reached."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from gateways.simulator.account import Account

LIFETIME_MS = 3_600_000


@dataclass(slots=True)
class _Key:
    text: str
    account: Account
    ends_ms: int


class ListenKeys:
    """The keys of all accounts, one each, shared by all clients of the account.

    ``expired`` is called with a key whose time is over.
    """

    def __init__(self, seed: int, expired: Callable[[str], None]) -> None:
        self._seed = seed
        self._expired = expired
        self._keys: dict[str, _Key] = {}
        self._by_account: dict[int, _Key] = {}
        self._made = 0

    def start(self, account: Account, now_ms: int) -> str:
        """Return the account's key, made if there is none, and extend it."""
        key = self._by_account.get(account.uid)
        if key is None:
            self._made += 1
            name = f"{self._seed}/{account.uid}/{self._made}/{now_ms}"
            text = hashlib.sha256(name.encode()).hexdigest()
            key = self._keys[text] = self._by_account[account.uid] = _Key(text, account, 0)
        key.ends_ms = now_ms + LIFETIME_MS
        return key.text

    def extend(self, account: Account, text: str, now_ms: int) -> str:
        """Extend a key, the account's own if none is named; return it, empty if there is none."""
        key = self._by_account.get(account.uid)
        if key is None or text not in ("", key.text):
            return ""
        key.ends_ms = now_ms + LIFETIME_MS
        return key.text

    def stop(self, account: Account, text: str = "") -> bool:
        """End a key without a word to those who use it; return whether there was one."""
        key = self._by_account.get(account.uid)
        if key is None or text not in ("", key.text):
            return False
        self._forget(key)
        return True

    def owner(self, text: str) -> Account | None:
        """Return whose key it is."""
        key = self._keys.get(text)
        return key.account if key is not None else None

    def expire(self) -> int:
        """End all keys now, as if their time were over; return how many."""
        keys = list(self._keys.values())
        for key in keys:
            self._end(key)
        return len(keys)

    def tick(self, now_ms: int) -> None:
        """End the keys that nobody has extended in time."""
        for key in [key for key in self._keys.values() if key.ends_ms <= now_ms]:
            self._end(key)

    def _end(self, key: _Key) -> None:
        self._forget(key)
        self._expired(key.text)

    def _forget(self, key: _Key) -> None:
        del self._keys[key.text]
        del self._by_account[key.account.uid]
