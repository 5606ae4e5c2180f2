"""FIFOs, and memory on tmpfs. Knows nothing of releases or logs."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import sys
import termios

PIPE_MAX = 1 << 20  # what F_SETPIPE_SZ grants without CAP_SYS_RESOURCE
SPLICE_NONBLOCK = 2
_PAGE = 4096
_SOFT = "/proc/sys/fs/pipe-user-pages-soft"
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032


def open_fifo(path: str, *, make: bool = False) -> int:
    """Open a FIFO for both ends, so that neither side ever sees EOF; make it (0600) first if asked to."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a FIFO", path)
    return fd


def same_file(fd: int, path: str) -> bool:
    """Does `path` (a link counts as itself) still lead to what `fd` has open?"""
    try:
        there = os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return os.path.samestat(os.fstat(fd), there)


def pipe_share(fifos: int) -> int:
    """Bytes that each of our FIFOs may hold: half of the user's soft budget is left to others. A power of two."""
    try:
        with open(_SOFT, encoding="ascii") as file:
            pages = int(file.read())
    except (OSError, ValueError):
        pages = 16384
    share = pages * _PAGE // 2 // max(fifos, 1) if pages else PIPE_MAX  # 0 pages = no budget is kept
    return min(PIPE_MAX, max(_PAGE, 1 << (share.bit_length() - 1))) if share else _PAGE


def resize_pipe(fd: int, size: int) -> int:
    """Give a pipe `size` bytes, or the most that the kernel allows; never loses what it holds. Returns its size."""
    have = fcntl.fcntl(fd, _F_GETPIPE_SZ)
    while size != have:
        try:
            return fcntl.fcntl(fd, _F_SETPIPE_SZ, size)
        except OSError:  # EPERM: over the budget; EBUSY: it holds more than that
            if size // 2 <= have:
                break
            size //= 2
    return have


def unread(fd: int) -> int:
    """How many bytes a pipe holds."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


_splice = ctypes.CDLL(None, use_errno=True).splice
_splice.restype = ctypes.c_ssize_t
_splice.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)


def move(src: int, dst: int, count: int, offset: ctypes.c_int64) -> int:
    """splice(2) up to `count` bytes from a pipe to the `offset` of a file; 0 when the pipe is empty.

    The kernel itself adds to `offset` what it moved, before the call ends and whether or not we are killed in it. That
    is why this is not os.splice, which would keep the offset to itself.
    """
    moved: int = _splice(src, None, dst, ctypes.addressof(offset), count, SPLICE_NONBLOCK)
    if moved >= 0:
        return moved
    number = ctypes.get_errno()
    if number in (errno.EAGAIN, errno.EINTR):
        return 0
    raise OSError(number, os.strerror(number))


def punch(fd: int, start: int, end: int) -> None:
    """Give the memory of a range of a tmpfs file back, as far as whole pages go."""
    start, end = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        with mmap.mmap(fd, end - start, offset=start) as pages:
            pages.madvise(mmap.MADV_REMOVE)


def on_tmpfs(fd: int) -> bool:
    """Is the file in memory? Then writing to it never waits for a device."""
    device = os.fstat(fd).st_dev
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    with open("/proc/self/mountinfo", "rb") as file:  # os has no statfs; fields: proc_pid_mountinfo(5)
        return any(line.split(b" ", 3)[2] == number and b" - tmpfs " in line for line in file)
