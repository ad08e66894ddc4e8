"""The shared test data, which stays outside the project."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def shared(path: str) -> Path:
    """Return a file or folder of the shared data; the test is skipped where it is missing."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs the shared test data: {found} is missing")
    return found
