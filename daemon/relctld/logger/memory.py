"""A file in memory that outlives its process: on tmpfs, where it was asked for or in a stand-in. Knows no contents."""

import contextlib
import os
import stat

from .kernel import on_tmpfs

OWNER, DATA = 512, 4096
"""Offsets: in a stand-in the path of the link that leads to it; behind that the page, all is the user's."""
_SHARED = "/dev/shm"  # noqa: S108  names are random or checked to be ours, links not followed


def open_in_memory(path: str) -> tuple[int, str]:
    """Open (and make) the file at `path`, or, where that is on a disk, its stand-in: (fd, path, "" if it has none).

    The stand-in lies in /dev/shm under a name of its own, and `path` is a link to it. Where even that cannot be, an
    anonymous memory file must do: then what waits for a disk in trouble is lost when the logger is killed.
    """
    prefix = f"{_SHARED}/relctl-{os.geteuid()}-"
    with contextlib.suppress(OSError):
        linked = os.readlink(path)
        if linked.startswith(prefix) and (fd := _open_own(linked, 0)) >= 0:
            return fd, linked
    with contextlib.suppress(OSError):
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            os.unlink(path)  # a dead link, or what somebody else took it for
        if (fd := _open_own(path, os.O_CREAT)) >= 0:
            return fd, path
        os.unlink(path)
        stand_in = prefix + os.urandom(8).hex()
        os.symlink(stand_in, path)  # first: a stand-in that has an owner always has its link, so no sweep takes it
        if (fd := _open_own(stand_in, os.O_CREAT | os.O_EXCL)) >= 0:
            os.pwrite(fd, path.encode(), OWNER)
            _sweep()
            return fd, stand_in
    return os.memfd_create("relctl-claimed"), ""


def _sweep() -> None:
    """Remove stand-ins that no link leads to any more: whole run directories were deleted after a kill."""
    prefix = f"relctl-{os.geteuid()}-"
    for name in os.listdir(_SHARED):
        if name.startswith(prefix):
            stand_in = os.path.join(_SHARED, name)
            with contextlib.suppress(OSError):
                fd = _open_own(stand_in, 0)
                owner = os.pread(fd, DATA - OWNER, OWNER).rstrip(b"\0")
                os.close(fd)
                if owner and (not os.path.islink(owner) or os.readlink(owner) != stand_in.encode()):
                    os.unlink(stand_in)


def _open_own(path: str, flags: int) -> int:
    """Open a file of our own on tmpfs; -1 for anything else."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and on_tmpfs(fd):
        return fd
    os.close(fd)
    return -1
