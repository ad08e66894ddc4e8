"""Every byte that crosses a process boundary, declared once.

A layout is a NumPy dtype with a name, a version and one line of meaning per field. The check at
import time is the contract: little-endian, no padding the author did not write, every field
naturally aligned, the record a multiple of a cache line. The C header, the tables in the docs and
the description stored in each segment derive from the same object.
"""

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

CACHE_LINE_BYTES = 64

_TYPE = re.compile(r"[iu][1248]|S[1-9]\d{0,3}")
"""Integers and fixed texts only: no floats in shared memory, and nothing that holds a pointer."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: ``type`` is a NumPy type string, ``shape`` makes it a C array."""

    name: str
    type: str
    doc: str
    shape: tuple[int, ...] = ()


class Layout:
    """A named, versioned, padding-free record layout.

    Raises
    ------
    ValueError
        If a field is misaligned, padding is implicit, a name repeats or the record is not a whole
        number of cache lines. The message names the field and the byte.

    """

    def __init__(self, name: str, version: int, fields: tuple[Field, ...]) -> None:
        for f in fields:
            if not _TYPE.fullmatch(f.type):
                raise ValueError(f"{name}.{f.name}: type {f.type!r}, use i1-i8, u1-u8 or S<bytes>")
        self.name, self.version, self.fields = name, version, fields
        columns = [(f.name, f.type, f.shape) if f.shape else (f.name, f.type) for f in fields]
        self.dtype: np.dtype[Any] = np.dtype(columns, align=True)
        at = 0
        for f in fields:
            column, offset = self.column(f.name)
            if offset != at:
                raise ValueError(f"{name}.{f.name}: {offset - at} bytes of padding at {at}")
            at += column.itemsize
        if at != self.dtype.itemsize or at % CACHE_LINE_BYTES:
            raise ValueError(
                f"{name}: {at} bytes of fields in {self.dtype.itemsize}, not whole lines"
            )

    def column(self, field: str) -> tuple[np.dtype[Any], int]:
        """Return the type and byte offset of ``field``."""
        assert self.dtype.fields is not None
        dtype, offset = self.dtype.fields[field][:2]
        return dtype, offset

    @property
    def fingerprint(self) -> int:
        """Return a 63-bit hash of name, version and fields; compared when a segment is attached."""
        return fingerprint_of(self.describe())

    def describe(self) -> str:
        """Return the layout as JSON: enough for a stranger to decode the records."""
        fields = [[f.name, self.column(f.name)[1], f.type, list(f.shape)] for f in self.fields]
        text = {"name": self.name, "version": self.version, "bytes": self.dtype.itemsize}
        return json.dumps(text | {"fields": fields}, separators=(",", ":"))

    def table(self) -> str:
        """Return the layout as a text table: offset, size, type, field, meaning."""
        rows = [f"{self.name} v{self.version}: {self.dtype.itemsize} bytes"]
        for f in self.fields:
            column, at = self.column(f.name)
            kind = f.type + "".join(f"[{n}]" for n in f.shape)
            rows.append(f"  {at:4d} {column.itemsize:4d} {kind:>9s}  {f.name:<18s} {f.doc}")
        return "\n".join(rows)


def fingerprint_of(description: str) -> int:
    """Return the fingerprint of the layout that ``Layout.describe`` wrote."""
    digest = blake2b(description.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def dtype_of(description: str) -> np.dtype[Any]:
    """Return the dtype that ``Layout.describe`` wrote.

    Raises
    ------
    ValueError
        If the text is not such a description.

    """
    try:
        text = json.loads(description)
        names, offsets, types, shapes = [], [], [], []
        for name, offset, kind, shape in text["fields"]:
            if not _TYPE.fullmatch(kind):
                raise ValueError(f"field type {kind!r}")
            names.append(name)
            offsets.append(offset)
            types.append(kind)
            shapes.append(tuple(shape))
        formats = [(k, s) if s else k for k, s in zip(types, shapes, strict=True)]
        return np.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "itemsize": text["bytes"]}
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a layout description: {error}") from None
