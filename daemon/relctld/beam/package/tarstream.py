"""A .tar.gz from its beginning to its end, in one pass, with bounds on all of it.

Rule 1: nothing is kept but the block at hand; no header decides how much is allocated.
Rule 2: whole means whole: the checksums of gzip and of each header, the end of the archive, and nothing behind it.
Rule 3: known are files, directories, links, and how GNU tar and pax write long names; all else is left to the caller,
        by its letter.

tarfile is not used to walk: it takes an archive that is cut off between two members for one that ends there, does
not verify gzip's checksum in a stream, and reads an extended header of any size into memory.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from relctld.beam.package.refusals import Kind, PackageError

FILES = (b"0", b"\0")
DIRECTORY, SYMLINK = b"5", b"2"
_BARE = (b"1", SYMLINK, b"3", b"4", DIRECTORY, b"6")  # no data follows, whatever their size says
_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_EXTENDED = (_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL)
_MAX_EXTENDED = 64 << 10  # bytes of an extended header

_BLOCK = 512
_CHUNK = 256 << 10
_RATIO_FROM = 16 << 20  # bytes; what is smaller may inflate as it likes
_RECORD = re.compile(rb"(\d{1,5}) ([^=\n]{1,255})=")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may be at most: members, bytes inflated, and how many times its own size that is."""

    members: int = 100_000
    inflated: int = 4 << 30
    ratio: int = 200


@dataclass(frozen=True, slots=True)
class Header:
    """A member: `type` is tar's letter; `offset` where its `size` bytes begin in the inflated stream."""

    name: str
    type: bytes
    mode: int
    size: int
    target: str
    offset: int


class TarStream:
    """Iterate over `members`; `content` is that of the member at hand."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = gzip.GzipFile(fileobj=file, mode="rb")
        self._limits = limits
        self._inflates_to = max(_RATIO_FROM, limits.ratio * os.fstat(file.fileno()).st_size)
        self._offset = 0
        self._left = 0  # bytes of the member at hand that were not read
        self._padding = 0  # bytes behind them

    def members(self) -> Iterator[Header]:
        """Each member once. Raises PackageError, at the end too: then the archive was not whole."""
        count = 0
        more: dict[bytes, str] = {}
        while (header := self._header()) is not None:
            count += 1
            if count > self._limits.members:
                raise PackageError(Kind.TOO_LARGE, f"it has more than {self._limits.members} members")
            if header.type in _EXTENDED:
                more |= self._extended(header)
            else:
                yield self._renamed(header, more)
                more = {}
            for _ in self.content():
                pass
            self._exactly(self._padding)
        if more:
            raise _damaged("it ends with an extended header")
        self._end()

    def content(self) -> Iterator[bytes]:
        """The data of the member at hand, in chunks."""
        while self._left:
            chunk = self._some(min(self._left, _CHUNK))
            self._left -= len(chunk)
            yield chunk

    # -- headers -----------------------------------------------------------------------------------

    def _header(self) -> Header | None:
        block = self._exactly(_BLOCK)
        if not any(block):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _damaged(f"a header in it is none: {error}") from error
        return self._begun(Header(info.name, info.type, info.mode, info.size, info.linkname, self._offset))

    def _begun(self, header: Header) -> Header:
        """`header`, and what follows it is its data."""
        if header.size < 0:
            raise _damaged("a member in it has less than no bytes")
        size = 0 if header.type in _BARE else header.size
        self._left, self._padding = size, -size % _BLOCK
        return replace(header, size=size)

    def _extended(self, header: Header) -> dict[bytes, str]:
        """What this header says of the next member: `path`, `linkpath` or `size`."""
        if header.size > _MAX_EXTENDED:
            raise PackageError(Kind.TOO_LARGE, f"it has an extended header of {header.size} bytes")
        data = b"".join(self.content())
        if header.type == _LONG_NAME:
            return {b"path": _text(data.rstrip(b"\0"))}
        if header.type == _LONG_TARGET:
            return {b"linkpath": _text(data.rstrip(b"\0"))}
        found = _records(data)
        if any(key.startswith(b"GNU.sparse") for key in found):
            raise PackageError(Kind.UNSAFE, "it holds a sparse file", "make it with `tar` without --sparse")
        known = {key: value for key, value in found.items() if key in (b"path", b"linkpath", b"size")}
        if known and header.type == _PAX_GLOBAL:
            raise PackageError(Kind.UNSAFE, "a header in it renames all members")
        return known

    def _renamed(self, header: Header, more: dict[bytes, str]) -> Header:
        if not more:
            return header
        size = more.get(b"size", str(header.size))
        if not re.fullmatch(r"[0-9]{1,18}", size):
            raise _damaged("an extended header in it is none")
        name, target = more.get(b"path", header.name), more.get(b"linkpath", header.target)
        return self._begun(replace(header, name=name, target=target, size=int(size)))

    # -- bytes -------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Zeros to the end: what else would follow, another reader might take for members."""
        try:
            while chunk := self._file.read(_CHUNK):
                self._count(len(chunk))
                if any(chunk):
                    raise _damaged("something follows its end")
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(error) from error

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            parts.append(self._some(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        """At least a byte."""
        try:
            chunk = self._file.read(most)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(error) from error
        if not chunk:
            raise _damaged("it is cut off")
        self._count(len(chunk))
        return chunk

    def _count(self, size: int) -> None:
        self._offset += size
        if self._offset > self._limits.inflated:
            raise PackageError(Kind.TOO_LARGE, f"it inflates to more than {self._limits.inflated} bytes")
        if self._offset > self._inflates_to:
            raise PackageError(Kind.TOO_LARGE, f"it inflates to more than {self._limits.ratio} times its size")


def _damaged(why: str) -> PackageError:
    return PackageError(Kind.DAMAGED, f"the tarball is damaged: {why}", "copy or build it again")


def _unreadable(error: Exception) -> PackageError:
    match error:
        case EOFError():
            return _damaged("it is cut off")
        case gzip.BadGzipFile() if "Not a gzipped file" in str(error):
            return _damaged("it is not compressed with gzip, or something else follows that")
        case gzip.BadGzipFile() | zlib.error():
            return _damaged(f"gzip says {str(error).lower()}")
    return PackageError(Kind.DAMAGED, f"the tarball cannot be read: {error}")


def _records(data: bytes) -> dict[bytes, str]:
    """pax: `LENGTH KEYWORD=VALUE\\n`, the length that of the whole."""
    found, at = {}, 0
    while at < len(data) and data[at]:
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise _damaged("an extended header in it is none")
        found[match[2]] = _text(data[match.end() : end - 1])
        at = end
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
