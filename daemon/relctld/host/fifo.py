"""The FIFOs between a VM and the logger.

RUN/releases/NAME/out      0600, the node's user: stdout and stderr of the VM, which holds it open O_RDWR itself,
                           so a reader that goes away costs it nothing
RUN/releases/NAME/claimed  0600, a file that is the logger's alone (docs/decisions/0005, 0012): nobody else opens it
"""

import contextlib
import fcntl
import os
import stat
import termios
from array import array
from pathlib import Path


def make(path: Path, uid: int, gid: int) -> None:
    """Make the FIFO, or take the one that is there; anything else of that name is replaced. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            os.unlink(path)
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    os.chmod(path, 0o600)  # the directory is ours alone: nobody puts a link there meanwhile
    if os.geteuid() == 0:
        os.chown(path, uid, gid, follow_symlinks=False)


def open_both_ways(path: Path) -> int:
    """Open as a VM holds it: never blocks, never sees end of file. Not O_NONBLOCK: the VM shares the flags."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no FIFO")
    return fd


def unread(fd: int) -> int:
    """Bytes that wait in the FIFO."""
    count = array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def owner(path: Path) -> tuple[int, int]:
    """Whose the FIFO is; ours until its release is started for the first time."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return os.geteuid(), os.getegid()
    return status.st_uid, status.st_gid
