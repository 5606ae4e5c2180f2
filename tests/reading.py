"""How logs are read in tests."""

from __future__ import annotations

from relctld.logfiles.places import Cursor
from relctld.logfiles.tail import Reader


def read_after(directory: str, cursor: Cursor, limit: int) -> tuple[bytes, Cursor]:
    """What was written since the cursor, at most `limit` bytes, and the cursor behind it."""
    with Reader(directory, cursor) as reader:
        return reader.read(limit).data, reader.cursor
