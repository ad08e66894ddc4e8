"""Whole numbers as clients write them, read without trust."""

import re

_WHOLE = re.compile(r"[0-9]{1,18}")
"""What fits into 64 bits; longer texts are no number of any venue."""


def whole(text: str) -> int | None:
    """Return the number that a text is; None if it is none, or too long to be one."""
    return int(text) if _WHOLE.fullmatch(text) else None
