"""Directories that relctld makes for a release's user, below paths that this user may shape."""

import contextlib
import errno
import os
from pathlib import Path

from relctld.host.gate import Identity

_WRITABLE_BY_OTHERS = 0o022
_LINKS = 8


def own(path: Path, identity: Identity, mode: int) -> None:
    """Make a directory of the node's user, its parents ours; one that is there only gets its owner. Raises OSError.

    As root its name may be no link, and on the way to it links are followed only where nobody else could have put
    them: a node's user must not lead us to somebody else's directory.
    """
    root = os.geteuid() == 0
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *parents, name = Path(os.path.abspath(path)).parts[1:]
        for part in parents:
            fd = _enter(fd, part, 0o755, 0 if not root or _is_trusted(fd) else os.O_NOFOLLOW)
        fd = _enter(fd, name, mode, os.O_NOFOLLOW if root else 0)
        if root:
            os.chown(f"/proc/self/fd/{fd}", identity.uid, identity.gid)
    except OSError as error:
        why = "is a link" if os.path.islink(path) else error.strerror
        raise OSError(error.errno, why, str(path)) from error
    finally:
        os.close(fd)


def led_to(path: Path, identity: Identity) -> Path:
    """The directory that a link stands for, be it there or not; `path` itself where it is no link. Raises OSError.

    As root, links that root alone can have put there lead to a directory of root's or of `identity`; others only to one
    that is `identity`'s already.
    """
    named, trusted = path, True
    for _ in range(_LINKS):
        target, is_roots = _link_at(path)
        if target is None:
            break
        path, trusted = target, trusted and is_roots
    else:
        raise OSError(errno.ELOOP, "is a link that leads nowhere", str(named))
    if path != named and os.geteuid() == 0 and not _may_lead_to(path, identity, trusted=trusted):
        why = f"is a link that cannot be trusted: name the directory itself, {path}, or make it the release's user's"
        raise OSError(errno.ELOOP, why, str(named))
    return path


def _may_lead_to(path: Path, identity: Identity, *, trusted: bool) -> bool:
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return trusted
    return owner == identity.uid or (trusted and owner == 0)


def _link_at(path: Path) -> tuple[Path | None, bool]:
    """What a link names, None where there is none; and whether root alone can have put it there, and led us to it."""
    fd, trusted = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), True
    try:
        for part in path.parts[1:-1]:
            fd, is_roots = _follow(fd, part)
            trusted = trusted and is_roots
        target = Path(os.readlink(f"/proc/self/fd/{fd}")) / os.readlink(path.name, dir_fd=fd)
        return Path(os.path.abspath(target)), trusted and _is_trusted(fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # something else, or nothing
            return None, False
        raise
    finally:
        os.close(fd)


def _follow(above: int, name: str) -> tuple[int, bool]:
    """Open a directory in place of the one above; and whether none but root can have made it a link."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    is_roots = True
    try:
        fd = os.open(name, flags | (0 if _is_trusted(above) else os.O_NOFOLLOW), dir_fd=above)
    except NotADirectoryError:  # what O_NOFOLLOW says of a link, with O_PATH and O_DIRECTORY
        fd, is_roots = os.open(name, flags, dir_fd=above), False
    os.close(above)
    return fd, is_roots


def _enter(above: int, name: str, mode: int, flags: int) -> int:
    """Open a directory, made if need be, in place of the one above."""
    flags |= os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=above)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=above)
        fd = os.open(name, flags, dir_fd=above)
    os.close(above)
    return fd


def _is_trusted(fd: int) -> bool:
    status = os.fstat(fd)
    return status.st_uid == 0 and not status.st_mode & _WRITABLE_BY_OTHERS
