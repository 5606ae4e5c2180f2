"""Unpacks what was judged into a release's tree: first aside, then into place, each step for good.

    ROOT/STAGING/lib/web-1.1.0/…       `extract`: all of it, checked against what was judged, and on the disk
    ROOT/KEPT/lib/web-1.0.0/…          `replace`: damaged files, each kept as it was before another takes its place
    ROOT/lib/web-1.1.0/…               `move_in`: one rename per unit, the version's own directory last

Rule 1: killed at any point and called again, `extract`, `replace` and `move_in` come to the same end; `undo` and
        `put_back` leave nothing.
Rule 2: the tarball is not parsed here: where each piece lies in the inflated stream was found out when it was judged,
        and its checksum says whether that is still so.

All is written as the tree's owner, by descriptors (`tree`).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from relctld.host import tree

_CHUNK = 256 << 10
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Piece(Protocol):
    """Something to unpack: `what` is "file", "directory" or "link"; `offset` is in the inflated stream, which is not
    read for what has its `data` with it."""

    @property
    def path(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def mode(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def target(self) -> str: ...
    @property
    def data(self) -> bytes | None: ...


def extract(
    tarball: Path,
    root: Path,
    staging: str,
    pieces: Iterable[Piece],
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Unpack these pieces of our own copy of a tarball below ROOT/STAGING; `progress` is told the bytes so far.

    What lay there is removed first. Where it fails, a full disk included, nothing stays. Raises OSError.
    """
    ordered = sorted(pieces, key=lambda piece: piece.offset)
    with open(tarball, "rb") as file, tree.opened(root) as fd:
        tree.remove_below(fd, staging)
        try:
            os.mkdir(staging, 0o700, dir_fd=fd)
            _unpack(file, fd, staging, ordered, progress)
            os.fsync(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                tree.remove_below(fd, staging)
            raise


def move_in(root: Path, staging: str, units: Sequence[str]) -> None:
    """Rename what was extracted into place, in this order, and remove the rest. Raises OSError."""
    with tree.opened(root) as fd:
        for unit in units:
            if tree.is_there(fd, f"{staging}/{unit}"):
                _move(fd, f"{staging}/{unit}", unit)
            elif not tree.is_there(fd, unit):
                raise FileNotFoundError(errno.ENOENT, "neither unpacked nor in place", unit)
        tree.remove_below(fd, staging)


def replace(root: Path, staging: str, kept: str, paths: Sequence[str]) -> None:
    """Let what was extracted take the place of these files, and keep them; before `move_in`. Raises OSError."""
    with tree.opened(root) as fd:
        for path in paths:
            if not tree.is_there(fd, f"{staging}/{path}"):
                continue  # it is in place already
            if tree.is_there(fd, path) and not tree.is_there(fd, f"{kept}/{path}"):
                with tree.parent(fd, f"{kept}/{path}", make=True):
                    pass
                _move(fd, path, f"{kept}/{path}")
            if tree.is_there(fd, path):
                tree.remove_below(fd, path)
            _move(fd, f"{staging}/{path}", path)


def put_back(root: Path, kept: str, paths: Sequence[str]) -> None:
    """Put what was replaced in its place again. Raises OSError."""
    with tree.opened(root) as fd:
        for path in paths:
            if tree.is_there(fd, f"{kept}/{path}"):
                tree.remove_below(fd, path)
                _move(fd, f"{kept}/{path}", path)
        tree.remove_below(fd, kept)


def undo(root: Path, staging: str, units: Sequence[str]) -> None:
    """Take these units out again, the last first, and remove them with all that is aside. Raises OSError."""
    with tree.opened(root) as fd:
        for unit in reversed(units):
            if tree.is_there(fd, unit):
                tree.remove_below(fd, f"{staging}/{unit}")
                with tree.parent(fd, f"{staging}/{unit}", make=True):
                    pass
                _move(fd, unit, f"{staging}/{unit}")
        tree.remove_below(fd, staging)


def _unpack(file: BinaryIO, fd: int, staging: str, pieces: Sequence[Piece], progress: Callable[[int], None]) -> None:
    folders = {staging}
    stream = _Inflated(file)
    done = 0
    for piece in pieces:
        path = f"{staging}/{piece.path}"
        with tree.parent(fd, path, make=True) as (folder, name):
            _one(stream, folder, name, piece)
        above = path.rpartition("/")[0] if piece.what != "directory" else path
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
        done += piece.size
        progress(done)
    # One after the other, when all is written: then the first costs nearly all of what they cost together.
    for path in [*(f"{staging}/{piece.path}" for piece in pieces if piece.what == "file"), *sorted(folders)]:
        with tree.parent(fd, path) as (folder, name):
            _sync(folder, name)


def _one(stream: _Inflated, folder: int, name: str, piece: Piece) -> None:
    match piece.what:
        case "directory":
            made = tree.walk(folder, name, make=True)
            os.fchmod(made, piece.mode & 0o755 | 0o700)
            os.close(made)
        case "link":
            os.symlink(piece.target, name, dir_fd=folder)
        case _:
            with open(os.open(name, _NEW, 0o600, dir_fd=folder), "wb", buffering=0) as file:
                if piece.data is None:
                    stream.copy(piece, file.fileno())
                else:
                    _write(file.fileno(), piece.data)
                os.fchmod(file.fileno(), piece.mode & 0o755 | 0o400)


class _Inflated:
    """The tarball's content, read forwards only."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=file, mode="rb")
        self._at = 0

    def copy(self, piece: Piece, to: int) -> None:
        digest = hashlib.sha256()
        self._read(piece.offset - self._at, lambda _: None)

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            _write(to, chunk)

        self._read(piece.size, take)
        if digest.hexdigest() != piece.sha256:
            raise _changed(piece.path)

    def _read(self, size: int, take: Callable[[bytes], None]) -> None:
        while size > 0:
            try:
                chunk = self._file.read(min(size, _CHUNK))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise _changed(str(error)) from error
            if not chunk:
                raise _changed("it is cut off")
            take(chunk)
            size -= len(chunk)
            self._at += len(chunk)


def _write(to: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(to, left) :]


def _changed(what: str) -> OSError:
    return OSError(errno.EIO, "our copy of the tarball is not what was judged", what)


def _move(fd: int, before: str, after: str) -> None:
    """A rename that replaces nothing."""
    if tree.is_there(fd, after):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), after)
    with tree.parent(fd, before) as (old, name), tree.parent(fd, after) as (new, _):
        os.rename(name, name, src_dir_fd=old, dst_dir_fd=new)
        os.fsync(new)
        os.fsync(old)


def _sync(folder: int, name: str) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
