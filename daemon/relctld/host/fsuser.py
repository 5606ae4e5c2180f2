"""Open files with the rights of a release's user: what that user may not read or write, root must not for it.

A node says itself where its cookie and its certificates are. Were they opened as root, a node could have relctld
prove that it knows another user's secret. And what is written into a release's tree must not end up elsewhere.

setfsuid(2) and the two calls beside it change one thread, unlike those of the C library, which change all; a thread
that is made meanwhile by this one inherits it. Without root there is nothing to change: then we see what we see.
"""

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator, Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
_SETGROUPS = {
    "x86_64": 116,
    "aarch64": 159,
    "riscv64": 159,
    "ppc64le": 81,
    "s390x": 206,
    "i686": 206,
    "armv7l": 206,
}.get(platform.machine())
_UNCHANGED = 0xFFFFFFFF


class FsUserError(OSError):
    """This machine or this thread cannot look as somebody else."""


@contextlib.contextmanager
def as_process(pid: int) -> Iterator[None]:
    """In this thread, files are opened as by that process, until the end of the block. Raises OSError."""
    if os.geteuid() != 0:
        yield
        return
    with as_user(*_credentials(pid)):
        yield


@contextlib.contextmanager
def as_user(uid: int, gid: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """In this thread, files are opened, made and removed as by that user, until the end of the block. Not nested."""
    if os.geteuid() != 0:
        yield
        return
    own = os.getgroups()
    try:
        _set_groups(groups)
        _set("setfsgid", gid)
        _set("setfsuid", uid)
        yield
    finally:
        _set("setfsuid", 0)
        _set("setfsgid", os.getegid())
        _set_groups(own)


def _credentials(pid: int) -> tuple[int, int, list[int]]:
    """(uid, gid, groups) with which a process opens files."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    groups = [int(group) for group in fields["Groups"].split()]
    return int(fields["Uid"].split()[3]), int(fields["Gid"].split()[3]), groups


def _set(call: str, number: int) -> None:
    """setfsuid and setfsgid tell no error: one that changed nothing is seen by asking again."""
    function = getattr(_LIBC, call)
    function(ctypes.c_uint(number))
    if function(ctypes.c_uint(_UNCHANGED)) != number:
        raise FsUserError(f"{call} {number} has no effect")


def _set_groups(groups: Sequence[int]) -> None:
    if _SETGROUPS is None:
        raise FsUserError(f"setgroups of one thread is not known on {platform.machine()}")
    array = (ctypes.c_uint * len(groups))(*groups)
    if _LIBC.syscall(ctypes.c_long(_SETGROUPS), ctypes.c_size_t(len(groups)), array):
        error = ctypes.get_errno()
        raise FsUserError(error, os.strerror(error))
