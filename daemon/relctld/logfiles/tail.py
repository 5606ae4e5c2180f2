"""Reading a release's log back, from a place on: across `current`, rotated and compressed files. Knows a directory.

Nothing here follows a link. OSError other than a missing file or directory is the caller's.
"""

import contextlib
import os
from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple, Self

from . import contents, moments, times
from .contents import Contents
from .names import CURRENT, Rotated
from .places import BEGIN, Cursor, files_of, later, seek_last

_CHUNK: Final = 1 << 18
_TRIES: Final = 5


class Piece(NamedTuple):
    """Bytes that follow each other in a log. `stamps`: from which place in them on they were written when."""

    data: bytes
    stamps: list[tuple[int, int]]  # (place, microseconds since the epoch), where asked for


class Reader:
    """Reads on and on from a cursor to the end, or to another one. A compressed file stays open between two reads."""

    def __init__(self, directory: str, cursor: Cursor, end: Cursor | None = None) -> None:
        self._directory = directory
        self._after, self._offset = str(cursor["after"]), int(cursor["offset"])
        self._head = list(cursor.get("head", (0, 0)))
        self._end = end
        self._packed: Contents | None = None
        self._spans: list[moments.Span] = []
        self._known: object = None  # which file's they are, and of which state of its index

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is open."""
        if self._packed is not None:
            self._packed.close()
            self._packed = None

    @property
    def holds_file(self) -> bool:
        """Is a compressed file open?"""
        return self._packed is not None

    @property
    def cursor(self) -> Cursor:
        """The place behind what was read."""
        return {"after": self._after, "offset": self._offset, "head": self._head}

    def read(self, limit: int, *, stamped: bool = False) -> Piece:
        """What comes next, at most `limit` bytes; none at the end. Raw bytes: the last line may be incomplete."""
        data: list[bytes] = []
        stamps: list[tuple[int, int]] = []
        size = races = 0
        while size < limit and races < _TRIES:
            files = files_of(self._directory)
            index = self._next(files)
            log = files[index]
            path = os.path.join(self._directory, log.name)
            try:
                at = self._offset if contents.begins(path, self._head) else 0
                room = self._room(log, path, at)
                part = self._part(path, at, limit - size if room is None else min(limit - size, room))
                head = contents.head(path)
            except FileNotFoundError:  # renamed, compressed or deleted since we looked; or nothing was written yet
                races += 1
                continue
            files_now = files_of(self._directory)
            if log.name == CURRENT and files_now[self._next(files_now)] != log:
                races += 1
                continue  # rotated meanwhile: what we opened may have been the file after that; believe nothing of it
            if stamped and part:
                stamps += [(size + place, micros) for place, micros in self._stamps(files, index, at, len(part))]
            data.append(part)
            size += len(part)
            self._offset, self._head = at + len(part), head
            if log.name == CURRENT or (room is not None and room <= len(part)):
                break
            if size < limit:  # a rotated file grows no more
                self.close()
                self._after, self._offset, self._head = log.stem, 0, [0, 0]
        return Piece(b"".join(data), stamps)

    def _next(self, files: list[Rotated]) -> int:
        """Which of the files is to be read."""
        return next(index for index, log in enumerate(files) if log.stem > self._after)

    def _room(self, log: Rotated, path: str, at: int) -> int | None:
        """How much of this file is left up to the end that was set; None: all."""
        end = self._end
        if end is None or log.stem <= end["after"]:
            return None
        if self._after > end["after"] or not contents.begins(path, end["head"]):
            return 0  # that place is behind us, or was deleted
        return max(0, int(end["offset"]) - at)

    def _stamps(self, files: list[Rotated], index: int, at: int, size: int) -> list[tuple[int, int]]:
        """When the bytes of a part of a file were written."""
        found = None
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(times.path_of(self._directory, files[index].timed_as), follow_symlinks=False)
        known = (self._after, found and (found.st_ino, found.st_size))
        if self._known != known:
            self._known, self._spans = known, moments.spans_of(self._directory, files, index)
        first = max(0, bisect_right(self._spans, at, key=lambda span: span.offset) - 1)
        behind = bisect_left(self._spans, at + size, key=lambda span: span.offset)
        return [(max(0, span.offset - at), span.begin) for span in self._spans[first:behind]]

    def _part(self, path: str, at: int, limit: int) -> bytes:
        if not path.endswith(".gz"):
            return contents.read(path, at, limit)
        if self._packed is None or (self._packed.path, self._packed.offset) != (path, at):
            self.close()
            self._packed = Contents(path)
            self._packed.skip_to(at)
        return contents.take(self._packed, limit)


def window(directory: str, lines: int | None, since: int | None, until: int | None) -> tuple[Cursor, Cursor | None]:
    """(where to begin, where to end, None = nowhere): the last lines of what was written between two moments.

    Moments are microseconds since the epoch; None = not limited by it.
    """
    end = None if until is None else moments.until(directory, until)
    start = BEGIN if since is None else moments.since(directory, since)
    return (start if lines is None else later(start, seek_last(directory, lines, end))), end


def last_lines(directory: str, lines: int, limit: int) -> bytes:
    """The last lines that are whole, at most so many and so many bytes."""
    data = b""
    with Reader(directory, seek_last(directory, lines)) as reader:
        while part := reader.read(_CHUNK).data:
            data = data[-limit:] + part
    whole = data[: data.rfind(b"\n") + 1]
    return whole if len(whole) <= limit else whole[whole.find(b"\n", len(whole) - limit - 1) + 1 :]
