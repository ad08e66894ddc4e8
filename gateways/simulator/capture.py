"""A recorded capture: the frames of a folder with ``messages.jsonl.gz`` and ``index.tsv.gz``.

The index has one line per event: line number of the message (empty for a connection), local
receive time, channel (``ws``, ``rest``, ``sent``, ``connect``) and URL.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded message."""

    received_ns: int
    channel: str
    url: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Capture:
    """All messages of a capture in the order of their arrival."""

    venue: str
    messages: list[Recorded]


def load(folder: Path) -> Capture:
    """Read a capture folder; raises ConfigError that names what is missing in it."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        lines = gzip.decompress((folder / "messages.jsonl.gz").read_bytes()).splitlines()
        index = gzip.decompress((folder / "index.tsv.gz").read_bytes()).decode().splitlines()
        venue = str(meta["venue"])
        messages = [
            Recorded(int(received), channel, url, lines[int(number)])
            for number, received, channel, url in (_fields(row) for row in index[1:])
            if number and channel in ("ws", "rest")
        ]
    except FileNotFoundError as error:
        raise ConfigError(f"capture {folder}: there is no {error.filename}") from None
    except (OSError, EOFError, ValueError, LookupError) as error:
        raise ConfigError(f"capture {folder} cannot be read: {error}") from None
    if not messages:
        raise ConfigError(f"capture {folder} has no messages")
    return Capture(venue, messages)


def _fields(row: str) -> tuple[str, str, str, str]:
    number, received, channel, url = [*row.split("\t"), "", "", ""][:4]
    return number, received, channel, url
