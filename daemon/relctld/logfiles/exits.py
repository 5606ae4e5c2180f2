"""Where a VM's output ends: behind the marker of its exit, else at the moment of it. Knows a directory.

The marker (`log.markers`) is a line of relctl's own, which ends what the VM said:

    relctl: exited (epoch 7, pid 4711) at 2026-11-22T11:20:00.123Z: killed, SIGKILL

Where `log.timestamps` is set, it begins with a time, as all lines do.
"""

import os
import re
from typing import Final

from . import contents, moments
from .names import CURRENT, Rotated
from .places import Cursor, cursor_at, later, seek_last, steadily

_EXITED: Final = re.compile(rb"(?:[-0-9]{10}T[:.0-9]{15}Z )?relctl: exited \(.*\n")
_WORDS: Final = b"relctl: exited ("
_LONGEST: Final = 4096  # bytes of a marker, at most
_CHUNK: Final = 1 << 18
_LATE: Final = 1_000_000  # microseconds within which a VM's last words are in the log
_SLACK: Final = 5_000_000  # microseconds by which a marker may be older than the exit that it tells of


def window_before_exit(directory: str, lines: int, exited: int | None) -> tuple[Cursor, Cursor | None] | None:
    """As `tail.window`: the last lines of the VM that exited last, with the marker; None where none did.

    `exited`: when one did (microseconds), where that is known. Without its marker the end is up to two seconds later.
    """
    end = steadily(directory, lambda files: _marked(directory, files), None)
    if exited is not None:
        noticed = moments.since(directory, exited - _SLACK)
        if end is None or later(noticed, end) == noticed:  # it is not marked: what was found tells of an earlier one
            end = moments.until(directory, exited + _LATE)
    elif end is None:
        return None
    return seek_last(directory, lines, end), end


def _marked(directory: str, files: list[Rotated]) -> Cursor | None:
    """The place behind the last marker of an exit."""
    for index, log in reversed(tuple(enumerate(files))):
        try:
            end = _last_marker(os.path.join(directory, log.name))
        except FileNotFoundError:
            if log.name != CURRENT:
                raise
            continue  # it is being rotated, or nothing was ever written
        if end is not None:
            return cursor_at(directory, files, index, end)
    return None


def _last_marker(path: str) -> int | None:
    """Where the last marker of a file ends."""
    found, kept = None, b"\n"
    with contents.opened(path) as file:
        while data := file.read(_CHUNK):
            text = kept + data
            at = text.rfind(_WORDS)
            while at >= 0:
                start = text.rfind(b"\n", 0, at) + 1
                if start and (match := _EXITED.match(text, start)) is not None:
                    found = file.offset - len(text) + match.end()
                    break
                at = text.rfind(_WORDS, 0, start)
            kept = text[-_LONGEST:]
    return found
