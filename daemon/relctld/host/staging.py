"""Takes a tarball in: a copy of our own, which nobody changes between judging and unpacking it.

    FOLDER/SHA256.tar.gz      whole, and on the disk
           .incoming          being copied, or left by one that was interrupted; one at a time in a folder

The folder is ours, below the state directory. Blocks for as long as the disks do: never on the loop.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_CHUNK = 1 << 20
_AT_ONCE = 64 << 20  # bytes that wait for the disk: that it is slow shows while we copy, and not behind it
_SPARE = 16 << 20  # bytes that must stay free in the state directory: the store needs some


class Received(NamedTuple):
    """Our copy: its checksum in hexadecimal, its size in bytes."""

    path: Path
    sha256: str
    size: int


def open_source(path: Path) -> int:
    """A descriptor to read a tarball from. OSError where it is no regular file: nothing is waited for.

    Links are followed: the caller is who they say they are (`fsuser.as_user`), and may name their files as they like.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def receive(
    source: int, name: str, folder: Path, limit: int, progress: Callable[[int], None] = lambda _: None
) -> Received:
    """Copy what `source` holds, at most `limit` bytes; `progress` is told the bytes so far.

    A descriptor that was passed to us is looked at as one that we opened. Raises OSError, about `name` where the source
    is to blame, else about the folder.
    """
    total = _size(source, name, limit)
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < total + _SPARE:
        raise OSError(errno.ENOSPC, f"{total} bytes and {_SPARE} to spare do not fit", str(folder))
    incoming = folder / ".incoming"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(incoming)
    try:
        with (
            _about(str(folder)),
            open(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as copy,
        ):
            digest, size, synced = hashlib.sha256(), 0, 0
            for chunk in _chunks(source, name, total):
                size += len(chunk)
                digest.update(chunk)
                copy.write(chunk)
                if size - synced >= _AT_ONCE:
                    copy.flush()
                    os.fdatasync(copy.fileno())
                    synced = size
                progress(size)
            copy.flush()
            os.fsync(copy.fileno())
        path = folder / f"{digest.hexdigest()}.tar.gz"
        os.rename(incoming, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(incoming)
        raise
    _sync(folder)
    return Received(path, digest.hexdigest(), size)


def digest(source: int, name: str, limit: int, progress: Callable[[int], None]) -> str:
    """The sha256 of what `source` holds, in hexadecimal; as `receive`, but for the copy. Raises OSError."""
    found, size = hashlib.sha256(), 0
    for chunk in _chunks(source, name, _size(source, name, limit)):
        found.update(chunk)
        size += len(chunk)
        progress(size)
    return found.hexdigest()


def _size(source: int, name: str, limit: int) -> int:
    """In bytes, at most `limit`. Raises OSError."""
    found = os.fstat(source)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    if found.st_size > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", name)
    return found.st_size


def _chunks(source: int, name: str, total: int) -> Iterator[bytes]:
    """What it holds. OSError where that is more than its size was: nobody looked for room for it, or knows its end."""
    size = 0
    while True:
        with _about(name):
            chunk = os.pread(source, _CHUNK, size)
        if not chunk:
            return
        size += len(chunk)
        if size > total:
            raise OSError(errno.EBUSY, "it grows while it is read: wait until it is written", name)
        yield chunk


@contextlib.contextmanager
def _about(path: str) -> Iterator[None]:
    """An OSError that does not say what it is about is about this."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
