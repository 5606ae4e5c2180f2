"""Writing into a release's tree, which belongs to a user who may shape it while we do.

Rule 1: each path is relative to the root, and walked from there part by part, by descriptors: a link on the way, or at
        its end, is refused. The root itself is the operator's word, and may be reached by links.
Rule 2: all is done with the rights of the root's owner (`fsuser`), and belongs to that user. So a tree that changes
        under our hands can harm but its owner.
Rule 3: what a call has done when it returns is on the disk. What is replaced is replaced whole.

Every function blocks for as long as the disk does: never on the loop. OSError says what failed, with the path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from relctld.host.fsuser import as_user

_ONLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the root is. Their other groups count for nothing here: a look-up would ask the name service."""

    uid: int
    gid: int


def owner(root: Path) -> Owner:
    """Whose tree it is."""
    found = os.stat(root)
    return Owner(found.st_uid, found.st_gid)


def read(root: Path, path: str, limit: int) -> bytes | None:
    """The bytes of a regular file; None where there is nothing. At most `limit` bytes, else OSError."""
    with opened(root) as fd, contextlib.suppress(FileNotFoundError), parent(fd, path) as (folder, name):
        with _open_file(folder, name, path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
        return data
    return None


def write(root: Path, path: str, data: bytes, mode: int = 0o644, group: int | None = None) -> None:
    """Make or replace a regular file, at once and for good. Its directory must exist.

    `group` shall read it, where `mode` lets it; an owner who may not give it to that group lets everybody.
    """
    with opened(root) as fd, parent(fd, path) as (folder, name):
        _need_file_or_nothing(folder, name, path)
        _drop_temporary(folder, name)
        temporary = _temporary(name)
        try:
            new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ONLY, 0o600, dir_fd=folder)
            with open(new, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(new, _shared(new, mode, group))
                os.fsync(new)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)


def settle(root: Path, path: str) -> None:
    """Take away what a `write` of this file left that was interrupted."""
    with opened(root) as fd, contextlib.suppress(FileNotFoundError), parent(fd, path) as (folder, name):
        _drop_temporary(folder, name)


def remove(root: Path, path: str) -> None:
    """Remove a file, a link, or a directory with all below it; links are removed, not followed. Gone is fine too.

    What a `write` of it that was interrupted left goes with it.
    """
    with opened(root) as fd:
        remove_below(fd, path)
    settle(root, path)


def rename(root: Path, before: str, after: str) -> None:
    """Move within the tree; a file that is there is replaced, and what an interrupted `write` of it left removed."""
    with opened(root) as fd, parent(fd, before) as (old, name), parent(fd, after) as (new, new_name):
        _need_file_or_nothing(new, new_name, after)
        _drop_temporary(new, new_name)
        if before != after and _are_one(old, name, new, new_name):
            os.unlink(name, dir_fd=old)  # rename(2) would leave both names, and say that it is done
        else:
            os.rename(name, new_name, src_dir_fd=old, dst_dir_fd=new)
        os.fsync(new)
        os.fsync(old)


def link(root: Path, path: str, also: str) -> None:
    """Give a regular file another name, at which nothing is: its mode, its owner and its times are kept with it."""
    with opened(root) as fd, parent(fd, path) as (old, name), parent(fd, also) as (new, new_name):
        _need_file_or_nothing(old, name, path)
        os.link(name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
        os.fsync(new)


def exists(root: Path, path: str) -> bool:
    """Whether something is there, be it a link that leads nowhere."""
    with opened(root) as fd:
        return is_there(fd, path)


def is_same(root: Path, path: str, other: str) -> bool:
    """Whether two names are of one file; both must exist."""
    with opened(root) as fd, parent(fd, path) as (one, name), parent(fd, other) as (two, other_name):
        return _are_one(one, name, two, other_name)


def free_bytes(root: Path) -> int:
    """What its owner could still write."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


# -- with a descriptor, for what does more than one of these ----------------------------------------


@contextlib.contextmanager
def opened(root: Path) -> Iterator[int]:
    """The root's directory; in this thread, files belong to its owner until the end of the block."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        with as_user(found.st_uid, found.st_gid, (found.st_gid,)):
            yield fd
    finally:
        os.close(fd)


def walk(fd: int, path: str, *, make: bool = False) -> int:
    """The directory at `path` below `fd`, which the caller closes; what is made of it may not be on the disk yet."""
    at = os.dup(fd)
    try:
        for part in _parts(path):
            at = _enter(at, part, path, make=make)
    except BaseException:
        os.close(at)
        raise
    return at


@contextlib.contextmanager
def parent(fd: int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The directory that `path` lies in, and its name there."""
    *above, name = _parts(path)
    folder = walk(fd, "/".join(above), make=make) if above else os.dup(fd)
    try:
        yield folder, name
    finally:
        os.close(folder)


def is_there(fd: int, path: str) -> bool:
    """As `exists`."""
    try:
        with parent(fd, path) as (folder, name):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_below(fd: int, path: str) -> None:
    """As `remove`."""
    with contextlib.suppress(FileNotFoundError), parent(fd, path) as (folder, name):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            try:
                shutil.rmtree(name, dir_fd=folder)
            except RecursionError:
                raise OSError(errno.ELOOP, "nested too deeply", path) from None
        else:
            os.unlink(name, dir_fd=folder)
        os.fsync(folder)


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise OSError(errno.EINVAL, "not a path below the root", path)
    return parts


def _enter(at: int, name: str, path: str, *, make: bool) -> int:
    """The directory `name` in `at`, which is closed once that is open."""
    try:
        found = os.open(name, _FOLDER, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=at)
        found = os.open(name, _FOLDER, dir_fd=at)
        os.fchmod(found, 0o755)  # whatever our umask is
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(error.errno, f"{name} is a link or a file, not a directory", path) from error
        raise
    os.close(at)
    return found


def _temporary(name: str) -> str:
    return f".{name}.relctl"


def _drop_temporary(folder: int, name: str) -> None:
    """What an interrupted `write` left."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_temporary(name), dir_fd=folder)


def _shared(fd: int, mode: int, group: int | None) -> int:
    if group is None or os.fstat(fd).st_gid == group:
        return mode
    try:
        os.fchown(fd, -1, group)
    except PermissionError:
        return mode | (mode & 0o040) >> 3
    return mode


def _open_file(folder: int, name: str, path: str) -> BinaryIO:
    try:
        fd = os.open(name, os.O_RDONLY | _ONLY, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "a link", path) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return open(fd, "rb")


def _are_one(folder: int, name: str, other: int, other_name: str) -> bool:
    """Whether two names, of which the second may be missing, are of one file."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    try:
        return os.path.samestat(found, os.stat(other_name, dir_fd=other, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _need_file_or_nothing(folder: int, name: str, path: str) -> None:
    """A link in the way is refused, though renaming would only replace it: somebody put it there for a reason."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EEXIST, "something other than a file is in its place", path)
