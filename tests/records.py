"""Small records for the tests of the shared structures."""

import numpy as np

from engine.layout import Field, Layout


def _layout(name, words):
    return Layout(
        name,
        1,
        (Field("sequence", "i8", "place in the ring"), Field("body", "i8", "words", (words,))),
    )


SMALL = _layout("test_small", 7)
LARGE = _layout("test_large", 15)
ROW = Layout(
    "test_row", 1, (Field("version", "i8", "row lock"), Field("body", "i8", "words", (15,)))
)


def records(layout, values):
    """Return records whose body words all hold the value."""
    values = np.asarray(values, np.int64)
    out = np.zeros(len(values), layout.dtype)
    out["body"] = values[:, None]
    return out


def values(batch):
    """Return (sequence, value) of each record; fails if a body is torn."""
    assert (batch["body"] == batch["body"][:, :1]).all()
    return list(zip(batch["sequence"].tolist(), batch["body"][:, 0].tolist(), strict=True))
