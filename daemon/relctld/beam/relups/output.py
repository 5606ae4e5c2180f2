"""What was made, into a tree or into another tarball.

Rule 1: a file appears whole or not at all, and what holds the same already is not written again.
Rule 2: a tarball keeps each member that is not replaced byte for byte, its headers too; what is made is the same each
        time: no times, no owners.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO

from relctld.beam.package.tarball import LIMITS
from relctld.beam.package.tarstream import TarStream

_BLOCK = 512
_RECORD = 20 * _BLOCK
_CHUNK = 1 << 20


def write_tree(root: Path, files: Mapping[str, bytes]) -> list[str]:
    """The files below `root`; the paths of those that were written. Raises OSError."""
    written = []
    for path, data in files.items():
        target = root / path
        if not (target.is_file() and target.read_bytes() == data):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _whole(target) as file:
                file.write(data)
            written.append(str(target))
    return written


def write_tarball(source: Path, target: Path, files: Mapping[str, bytes]) -> list[str]:
    """`source` with these files in it, as `target`, which may be `source` itself. Raises OSError."""
    with open(source, "rb") as packed, _whole(target) as out, _zipped(out) as plain:
        kept = list(_segments(packed, files))
        packed.seek(0)
        with gzip.open(packed) as stream:
            size = _copied(stream, plain, kept)
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o644
            size += plain.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % _BLOCK))
        plain.write(bytes(2 * _BLOCK + -(size + 2 * _BLOCK) % _RECORD))
    return [str(target)]


def _zipped(out: IO[bytes]) -> gzip.GzipFile:
    """Without a name and a time, which would differ."""
    return gzip.GzipFile("", "wb", 6, out, mtime=0)


def _segments(packed: BinaryIO, files: Mapping[str, bytes]) -> Iterator[tuple[int, int]]:
    """From where to where, in the inflated stream, the members that stay lie with their headers."""
    begin = 0
    for header in TarStream(packed, LIMITS).members():
        end = header.offset + header.size + -header.size % _BLOCK
        if posixpath.normpath(header.name) not in files:
            yield begin, end
        begin = end


def _copied(stream: gzip.GzipFile, to: gzip.GzipFile, kept: list[tuple[int, int]]) -> int:
    """Copies these pieces; how many bytes that were."""
    at = size = 0
    for begin, end in kept:
        for wanted, copies in ((begin - at, False), (end - begin, True)):
            left = wanted
            while left:
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise OSError("the tarball changed while it was read")
                left -= len(chunk)
                size += to.write(chunk) if copies else 0
        at = end
    return size


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place when the block ends well."""
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(fd, "wb") as file:
            yield file
            mask = os.umask(0o022)
            os.umask(mask)
            os.fchmod(file.fileno(), 0o666 & ~mask)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
