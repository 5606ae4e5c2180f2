"""What one log file holds, plain or compressed: forwards from an offset, plain ones backwards too. Knows one file.

Offsets count uncompressed bytes. Nothing here follows a link; what is no regular file counts as missing.
"""

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BLOCK: Final = 1 << 16
_HEAD: Final = 64


class Contents:
    """The contents of an open file, forwards from `offset` on. What is damaged ends where the damage begins."""

    def __init__(self, path: str) -> None:
        """FileNotFoundError also where no regular file stands."""
        self.path = path
        self.offset = 0
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(self._fd)
        self.inode, self.mtime = found.st_ino, found.st_mtime_ns // 1000
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise FileNotFoundError(0, "not a regular file", path)
        self._inflate = zlib.decompressobj(31) if path.endswith(".gz") else None

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        if size <= 0:
            return b""  # to zlib it would mean: as many as there are
        data = os.read(self._fd, size) if self._inflate is None else self._inflated(size)
        self.offset += len(data)
        return data

    def _inflated(self, size: int) -> bytes:
        assert self._inflate is not None
        while not self._inflate.eof:
            raw = self._inflate.unconsumed_tail or os.read(self._fd, BLOCK)
            if not raw:
                break
            try:
                data = self._inflate.decompress(raw, size)
            except zlib.error:
                break
            if data:
                return data
        return b""

    def skip_to(self, offset: int) -> None:
        """Go on at an offset, not before the present one; at the end, where it lies behind that."""
        if self._inflate is None:
            self.offset = os.lseek(self._fd, offset, os.SEEK_SET)
        while self.offset < offset and self.read(min(offset - self.offset, BLOCK)):
            pass

    def size(self) -> int | None:
        """How many bytes a plain file has now; None where that takes reading it."""
        return os.fstat(self._fd).st_size if self._inflate is None else None

    def length(self) -> int:
        """How many uncompressed bytes it has; a compressed file tells, modulo 4 GiB, in its last four (RFC 1952)."""
        size = os.fstat(self._fd).st_size
        return size if self._inflate is None else int.from_bytes(os.pread(self._fd, 4, max(size - 4, 0)), "little")

    def before(self, stop: int) -> Iterator[bytes]:
        """A plain file's blocks before an offset, backwards."""
        while stop > 0:
            start = max(0, stop - BLOCK)
            yield os.pread(self._fd, stop - start, start)
            stop = start


@contextmanager
def opened(path: str, offset: int = 0) -> Iterator[Contents]:
    """The contents from an offset on."""
    contents = Contents(path)
    try:
        contents.skip_to(offset)
        yield contents
    finally:
        contents.close()


def read(path: str, offset: int, limit: int) -> bytes:
    """The bytes at an offset, at most `limit`."""
    with opened(path, offset) as contents:
        return take(contents, limit)


def length(path: str) -> int:
    """How many uncompressed bytes a file has."""
    with opened(path) as contents:
        return contents.length()


def take(contents: Contents, limit: int) -> bytes:
    """The next bytes: all that there are, at most `limit`."""
    chunks, size = [], 0
    while size < limit and (data := contents.read(min(BLOCK, limit - size))):
        chunks.append(data)
        size += len(data)
    return b"".join(chunks)


def head(path: str) -> list[int]:
    """How the file begins: [length, crc32]."""
    data = read(path, 0, _HEAD)
    return [len(data), zlib.crc32(data)]


def begins(path: str, head: list[int]) -> bool:
    """Does the file begin as it did when `head` was taken? It may have grown since."""
    data = read(path, 0, head[0])
    return len(data) == head[0] and zlib.crc32(data) == head[1]


def line_start(path: str, offset: int) -> int | None:
    """Where the first line at or behind an offset begins; None where none does. A file begins with one."""
    with opened(path, max(0, offset - 1)) as contents:
        while offset > 0 and (block := contents.read(BLOCK)):
            at = block.find(b"\n")
            if at >= 0:
                return contents.offset - len(block) + at + 1
    return 0 if offset <= 0 else None


def last_lines(path: str, lines: int, stop: int | None = None) -> tuple[int, int]:
    """(where the last whole lines before `stop`, or the end, begin; how many of those asked for are not here)."""
    if path.endswith(".gz"):
        return _last_lines_packed(path, lines, stop)
    with opened(path) as contents:
        size = contents.size()
        assert size is not None
        at = size if stop is None else min(stop, size)
        for block in contents.before(at):
            at -= len(block)
            here = block.count(b"\n")
            if here <= lines:
                lines -= here
                continue
            end = len(block)
            for _ in range(lines + 1):  # the one before the lines asked for
                end = block.rindex(b"\n", 0, end)
            return at + end + 1, 0
    return 0, lines


def _last_lines_packed(path: str, lines: int, stop: int | None) -> tuple[int, int]:
    """As `last_lines`; reads the file twice, for it can only be read forwards."""
    here = sum(block.count(b"\n") for block in _blocks(path, stop))
    if here <= lines:
        return 0, lines - here
    left, offset = here - lines, 0
    for block in _blocks(path, stop):
        count = block.count(b"\n")
        if count >= left:
            at = -1
            for _ in range(left):
                at = block.index(b"\n", at + 1)
            return offset + at + 1, 0
        left, offset = left - count, offset + len(block)
    return offset, 0  # it was shortened meanwhile


def _blocks(path: str, stop: int | None) -> Iterator[bytes]:
    with opened(path) as contents:
        while block := contents.read(BLOCK if stop is None else min(BLOCK, stop - contents.offset)):
            yield block
