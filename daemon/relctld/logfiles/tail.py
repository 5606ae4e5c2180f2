"""Reading a release's log back, for `relctl logs`: across `current`, rotated and compressed files. Knows a directory.

A *cursor* is a place that stays right while the logger rotates, compresses and deletes around it, and across restarts
of everybody: a JSON object {"after", "offset", "head"}. The file is the oldest one newer than the stem `after`
("" = the very oldest; `current` where nothing newer is rotated); `offset` counts uncompressed bytes in it. `head` is
[length, crc32] of how the file begins: where that no longer agrees (retention or somebody else deleted the file), the
place is gone, and reading goes on at the start of the oldest that is left.

Nothing here follows a link. OSError other than a missing file or directory is the caller's.
"""

import os
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .names import Rotated, listing

Cursor = dict[str, Any]
_BLOCK = 1 << 16
_HEAD = 64
_TRIES = 5


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Gunzip:
    """The contents of a .gz, forwards. What is damaged ends there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._inflate = zlib.decompressobj(31)

    def read(self, size: int, /) -> bytes:
        while not self._inflate.eof:
            raw = self._inflate.unconsumed_tail or os.read(self._fd, _BLOCK)
            if not raw:
                break
            try:
                data = self._inflate.decompress(raw, size)
            except zlib.error:
                break
            if data:
                return data
        return b""


class _Plain:
    """The contents of a plain file, forwards."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, size)

    def end(self, limit: int) -> tuple[bytes, int]:
        """(the last bytes, the size of the file that ends with them)."""
        size = os.fstat(self._fd).st_size
        start = max(0, size - limit)
        data = os.pread(self._fd, size - start, start)
        return data, start + len(data)


@contextmanager
def _opened(path: str, offset: int = 0) -> Iterator[_Readable]:
    """The contents from an offset on. FileNotFoundError also where no regular file stands."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(0, "not a regular file", path)
        if not path.endswith(".gz"):
            os.lseek(fd, offset, os.SEEK_SET)
            yield _Plain(fd)
            return
        packed = _Gunzip(fd)
        while offset > 0 and (skipped := packed.read(min(offset, _BLOCK))):
            offset -= len(skipped)
        yield packed
    finally:
        os.close(fd)


def _files(directory: str) -> list[Rotated]:
    """All files, oldest first; the last is `current`, with a stem after all others."""
    try:
        return [*listing(directory), Rotated("~", "current")]
    except (FileNotFoundError, NotADirectoryError):
        return [Rotated("~", "current")]


def _read(path: str, offset: int, limit: int) -> bytes:
    chunks, size = [], 0
    with _opened(path, offset) as file:
        while size < limit and (data := file.read(min(_BLOCK, limit - size))):
            chunks.append(data)
            size += len(data)
    return b"".join(chunks)


def _head(path: str) -> list[int]:
    data = _read(path, 0, _HEAD)
    return [len(data), zlib.crc32(data)]


def _begins(path: str, head: list[int]) -> bool:
    """Does the file begin as it did when the cursor was made? It may have grown since."""
    data = _read(path, 0, head[0])
    return len(data) == head[0] and zlib.crc32(data) == head[1]


def read_after(directory: str, cursor: Cursor, limit_bytes: int) -> tuple[bytes, Cursor]:
    """What was written since the cursor, at most `limit_bytes`, and the cursor behind it.

    Raw bytes: the last line may be incomplete. Nothing new gives b"" and an equal cursor.
    """
    out, size = [], 0
    after, offset, head = str(cursor["after"]), int(cursor["offset"]), list(cursor.get("head", (0, 0)))
    races = 0
    while size < limit_bytes and races < _TRIES:
        log = next(f for f in _files(directory) if f.stem > after)
        path = os.path.join(directory, log.name)
        try:
            at = offset if _begins(path, head) else 0
            data = _read(path, at, limit_bytes - size)
            begin = _head(path)
        except FileNotFoundError:  # renamed, compressed or deleted since we looked; or nothing was written yet
            races += 1
            continue
        if log.name == "current" and next(f for f in _files(directory) if f.stem > after) != log:
            races += 1
            continue  # rotated meanwhile: what we opened may have been the file after that; believe nothing of it
        out.append(data)
        size += len(data)
        offset, head = at + len(data), begin
        if log.name == "current":
            break
        if size < limit_bytes:  # a rotated file grows no more
            after, offset, head = log.stem, 0, [0, 0]
    return b"".join(out), {"after": after, "offset": offset, "head": head}


def read_last(directory: str, lines: int, limit_bytes: int) -> tuple[bytes, Cursor]:
    """The last `lines` whole lines, fewer where they exceed `limit_bytes`, and the cursor behind them.

    An incomplete last line is left to `read_after`.
    """
    for attempt in range(_TRIES):
        files = _files(directory)
        try:
            found = _last_of(directory, files, lines, limit_bytes)
        except FileNotFoundError:
            if attempt < _TRIES - 1:
                continue
            break
        if [f.stem for f in _files(directory)] == [f.stem for f in files]:
            return found  # nothing was rotated meanwhile: `current` was what we took it for
    return b"", {"after": "", "offset": 0, "head": [0, 0]}


def seek_last(directory: str, lines: int) -> Cursor:
    """The cursor before the last `lines` whole lines, however long they are; `read_after` goes on from there.

    Reads what it counts, twice at most: for where `read_last` may not return so much.
    """
    for _ in range(_TRIES):
        files = _files(directory)
        try:
            found = _begin_of_last(directory, files, lines)
        except FileNotFoundError:
            continue
        if [f.stem for f in _files(directory)] == [f.stem for f in files]:
            return found
    return {"after": "", "offset": 0, "head": [0, 0]}


def _begin_of_last(directory: str, files: list[Rotated], lines: int) -> Cursor:
    for at, log in reversed(tuple(enumerate(files))):
        after = files[at - 1].stem if at else ""
        path = os.path.join(directory, log.name)
        try:
            here = sum(block.count(b"\n") for block in _blocks(path))
        except FileNotFoundError:
            if log.name != "current":
                raise
            continue  # it is being rotated, or nothing was ever written
        if here >= lines:
            return {"after": after, "offset": _behind(path, here - lines), "head": _head(path)}
        lines -= here
    return {"after": "", "offset": 0, "head": [0, 0]}


def _blocks(path: str) -> Iterator[bytes]:
    with _opened(path) as file:
        while block := file.read(_BLOCK):
            yield block


def _behind(path: str, lines: int) -> int:
    """The offset behind the first `lines` lines of a file."""
    offset = 0
    for block in _blocks(path) if lines else ():
        here = block.count(b"\n")
        if here < lines:
            lines, offset = lines - here, offset + len(block)
            continue
        at = -1
        for _ in range(lines):
            at = block.index(b"\n", at + 1)
        return offset + at + 1
    return offset


def _last_of(directory: str, files: list[Rotated], lines: int, limit: int) -> tuple[bytes, Cursor]:
    after = files[-2].stem if len(files) > 1 else ""
    cursor: Cursor = {"after": after, "offset": 0, "head": [0, 0]}
    data, complete = b"", True  # complete: it begins with a file's first byte
    for log in reversed(files):
        path = os.path.join(directory, log.name)
        size = None
        try:
            part, size, complete = _end_of(path, lines + 1 - data.count(b"\n"), limit - len(data))
        except FileNotFoundError:
            if log.name != "current":
                raise
            part = b""  # it is being rotated, or nothing was ever written
        if log.name == "current" and size is not None:
            unfinished = len(part) - part.rfind(b"\n") - 1
            part = part[: len(part) - unfinished]
            cursor = {"after": after, "offset": size - unfinished, "head": _head(path)}
        data = part + data
        if not complete or data.count(b"\n") > lines or len(data) >= limit:
            break
    start = 0 if complete else data.find(b"\n") + 1
    return _last_lines(data[start:], lines), cursor


def _last_lines(data: bytes, lines: int) -> bytes:
    at = len(data)
    for _ in range(lines):
        if at <= 0:
            break
        at = data.rfind(b"\n", 0, at - 1) + 1
    return data[at:]


def _end_of(path: str, lines: int, limit: int) -> tuple[bytes, int, bool]:
    """(the end of a file, with that many newlines if the limit allows, its size, whether that is all of it)."""
    if path.endswith(".gz"):
        return _end_of_packed(path, limit)
    window = _BLOCK
    while True:
        with _opened(path) as file:
            assert isinstance(file, _Plain)
            data, size = file.end(min(window, limit))
        if len(data) == size or window >= limit or data.count(b"\n") >= lines:
            return data, size, len(data) == size
        window *= 8


def _end_of_packed(path: str, limit: int) -> tuple[bytes, int, bool]:
    chunks: deque[bytes] = deque()
    size = kept = 0
    with _opened(path) as file:
        while data := file.read(_BLOCK):
            chunks.append(data)
            size += len(data)
            kept += len(data)
            while kept - len(chunks[0]) >= limit:
                kept -= len(chunks.popleft())
    end = b"".join(chunks)[-limit:] if limit else b""
    return end, size, len(end) == size
