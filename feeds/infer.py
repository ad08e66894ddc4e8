"""Symbols and decimals from recorded frames, for tools that have no exchange information.

An instrument's decimals are the most that any of its prices and quantities needs, zeros at the end
not counted. So every frame that was looked at can be read exactly with them; a frame that was not
may need more. REST bodies of depth requests count too; one whose address is unknown belongs to the
only symbol of the set, if there is only one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from feeds.adapter import ExchangeAdapter
from feeds.listing import NATIVE_BYTES
from feeds.scan import DECIMALS_MAX

_ESCAPED = re.compile(r'[\x00-\x1f"\\\\]')
_TEXT = re.compile(r"[0-9]+(?:\.([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Inferred:
    """An instrument as frames show it."""

    native: str
    price_decimals: int
    quantity_decimals: int


def decimals_needed(texts: Iterable[Any]) -> int:
    """Return the decimals that the exact values of ``texts`` need; what is no decimal is ignored.

    Texts that need more than ``DECIMALS_MAX`` are ignored too: no scanner can hold them.
    """
    needed = 0
    for text in texts:
        if isinstance(text, str) and (match := _TEXT.fullmatch(text)):
            count = len((match[1] or "").rstrip("0"))
            if count <= DECIMALS_MAX:
                needed = max(needed, count)
    return needed


class Inference:
    """Gathers what frames say about instruments; rows are numbered by first appearance.

    Names that no symbol map holds (``feeds.symbols``) are passed over.
    """

    def __init__(self, adapter: ExchangeAdapter) -> None:
        self._observe = adapter.texts_of
        self._found: dict[str, tuple[int, int]] = {}
        self._nameless = (0, 0)

    def add(self, frame: bytes, address: str | None = None) -> None:
        """Look at a frame; what is not JSON is ignored. ``address``: the URL of a REST body."""
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            return
        for native, prices, quantities in self._observe(message, address):
            needed = decimals_needed(prices), decimals_needed(quantities)
            if native is None:
                self._nameless = _most(self._nameless, needed)
            elif 0 < len(native.encode()) <= NATIVE_BYTES and not _ESCAPED.search(native):
                self._found[native] = _most(self._found.get(native, (0, 0)), needed)

    def instruments(self) -> list[Inferred]:
        """Return every instrument seen so far, in order of appearance."""
        found = self._found
        if len(found) == 1:
            found = {native: _most(needed, self._nameless) for native, needed in found.items()}
        return [Inferred(native, *needed) for native, needed in found.items()]


def _most(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), max(one[1], other[1])
