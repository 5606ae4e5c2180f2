"""Directories that relctld makes for a release's user, below paths that this user may shape."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

from relctld.host.gate import Identity

_WRITABLE_BY_OTHERS = 0o022
_LINKS = 8
_LINKS_ON_THE_WAY = 40  # as the kernel's own limit
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def own(path: Path, identity: Identity, mode: int) -> None:
    """Make a directory of the node's user, its parents ours; one that is there only gets its owner. Raises OSError.

    As root its name may be no link, and on the way to it links are followed only where nobody else could have put
    them: a node's user must not lead us to somebody else's directory.
    """
    path = Path(os.path.abspath(path))
    try:
        fd = _reach(path.parent, 0o755)
        try:
            fd = _enter(fd, path.name, mode, os.O_NOFOLLOW if os.geteuid() == 0 else 0)
            if os.geteuid() == 0:
                os.chown(f"/proc/self/fd/{fd}", identity.uid, identity.gid)
        finally:
            os.close(fd)
    except OSError as error:
        why = "is a link" if os.path.islink(path) else error.strerror
        raise OSError(error.errno, why, str(path)) from error


def led_to(path: Path, identity: Identity) -> Path:
    """The directory that a link stands for, be it there or not; `path` itself where it is no link. Raises OSError.

    As root, links that root alone can have put there lead to a directory of root's or of `identity`; others only to one
    that is `identity`'s already. The way to a link is found as in `own`.
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


def remove(path: Path) -> None:
    """A directory with all that its user put there; no link is followed. Raises OSError."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except RecursionError as error:
        raise OSError(errno.ELOOP, "its directories are nested too deeply to be removed", str(path)) from error


def _may_lead_to(path: Path, identity: Identity, *, trusted: bool) -> bool:
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return trusted
    return owner == identity.uid or (trusted and owner == 0)


def _link_at(path: Path) -> tuple[Path | None, bool]:
    """What a link names, None where there is none; and whether root alone can have put it there."""
    try:
        above = _reach(path.parent)
    except FileNotFoundError:
        return None, False
    try:
        if (target := _target(above, path.name)) is None:
            return None, False
        return Path(os.path.abspath(Path(os.readlink(f"/proc/self/fd/{above}")) / target)), _is_trusted(above)
    finally:
        os.close(above)


def _reach(path: Path, mode: int | None = None) -> int:
    """Open a directory, part by part; what is missing is made where a mode is given. Raises OSError.

    As root by no link but those that root alone can have put there, nor by others on the way that those lead.
    """
    parts, links = [*reversed(path.parts)], 0
    fd = os.open("/", _FOLDER)
    try:
        while parts:
            part = parts.pop()
            target = _target(fd, part)
            if os.geteuid() == 0 and target is not None and _is_trusted(fd):
                if (links := links + 1) > _LINKS_ON_THE_WAY:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                parts += reversed(target.parts)
            elif os.geteuid() == 0 and target is not None:
                raise OSError(errno.ELOOP, f"{part}, on the way to it, is a link that cannot be trusted")
            else:
                fd = _enter(fd, part, mode, os.O_NOFOLLOW if os.geteuid() == 0 else 0)
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return fd


def _target(above: int, name: str) -> Path | None:
    """What a link names; None where there is none."""
    try:
        return Path(os.readlink(name, dir_fd=above))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # something else, or nothing
            return None
        raise


def _enter(above: int, name: str, mode: int | None, flags: int) -> int:
    """Open a directory, made if need be and a mode is given, in place of the one above."""
    flags |= _FOLDER
    try:
        fd = os.open(name, flags, dir_fd=above)
    except FileNotFoundError:
        if mode is None:
            raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=above)
        fd = os.open(name, flags, dir_fd=above)
    os.close(above)
    return fd


def _is_trusted(fd: int) -> bool:
    status = os.fstat(fd)
    return status.st_uid == 0 and not status.st_mode & _WRITABLE_BY_OTHERS
