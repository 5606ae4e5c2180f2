"""Places in a log that stay right while the logger rotates, compresses and deletes around them. Knows a directory.

A *cursor* is such a place, across restarts of everybody too: a JSON object {"after", "offset", "head"}. The file is the
oldest one newer than the stem `after` ("" = the very oldest; `current` where nothing newer is rotated); `offset` counts
uncompressed bytes in it. `head` is [length, crc32] of how the file begins: where that no longer agrees (retention or
somebody else deleted the file), the place is gone, and who reads goes on at the start of the oldest that is left.

Nothing here follows a link. OSError other than a missing file or directory is the caller's.
"""

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from . import contents
from .names import CURRENT, Rotated, listing

Cursor = dict[str, Any]
Found = TypeVar("Found")
BEGIN: Final[Cursor] = {"after": "", "offset": 0, "head": [0, 0]}
_TRIES = 5


def files_of(directory: str) -> list[Rotated]:
    """All files, oldest first; the last is `current`, with a stem after all others."""
    try:
        return [*listing(directory), Rotated("~", CURRENT)]
    except (FileNotFoundError, NotADirectoryError):
        return [Rotated("~", CURRENT)]


def steadily(directory: str, look: Callable[[list[Rotated]], Found], otherwise: Found) -> Found:
    """What `look` finds in files of which none is rotated or deleted meanwhile."""
    for _ in range(_TRIES):
        files = files_of(directory)
        try:
            found = look(files)
        except FileNotFoundError:
            continue
        if [f.stem for f in files_of(directory)] == [f.stem for f in files]:
            return found
    return otherwise


def cursor_at(directory: str, files: list[Rotated], index: int, offset: int) -> Cursor:
    """The cursor at an offset of one of these files."""
    after = files[index - 1].stem if index else ""
    try:
        begins = contents.head(os.path.join(directory, files[index].name))
    except FileNotFoundError:
        if files[index].name != CURRENT:
            raise
        begins = [0, 0]  # it is being rotated, or nothing was ever written
    return {"after": after, "offset": offset, "head": begins}


def later(one: Cursor, other: Cursor) -> Cursor:
    """The later of two places."""
    return max(one, other, key=lambda cursor: (cursor["after"], cursor["offset"]))


def seek_last(directory: str, lines: int, before: Cursor | None = None) -> Cursor:
    """The cursor at the start of the last whole lines before a place, or the end; a line that has no end yet follows.

    Reads plain files backwards, and no more of them than is needed.
    """

    def look(files: list[Rotated]) -> Cursor:
        left = lines
        for index, log in reversed(tuple(enumerate(files))):
            stop = None
            if before is not None:
                if index and files[index - 1].stem > before["after"]:
                    continue  # all of it lies behind that place
                stop = before["offset"] if log.stem > before["after"] else None
            try:
                start, left = contents.last_lines(os.path.join(directory, log.name), left, stop)
            except FileNotFoundError:
                if log.name != CURRENT:
                    raise
                continue  # it is being rotated, or nothing was ever written
            if not left:
                return cursor_at(directory, files, index, start)
        return cursor_at(directory, files, 0, 0)

    return steadily(directory, look, BEGIN)
