"""The two endpoints, bound and chmodded by us before ZeroMQ takes them: right mode at once, nothing to steal.

RUN/lock          flock: one daemon per run directory; holds its pid
RUN/control.sock  ROUTER
RUN/events.sock   XPUB_MANUAL

ZeroMQ is given a duplicate of the listening socket. So the endpoint can be closed and opened anew, by us or by the
successor of a re-exec, while its file stays and those who connect meanwhile wait.
"""

import contextlib
import fcntl
import os
import socket
from pathlib import Path

import zmq

from relctld.config import Access
from relctld.config.paths import SOCKETS
from relctld.wire.messages import MAX_FRAME

_BACKLOG = 1024  # all who connect while a re-exec takes place wait here


class LockedError(Exception):
    """Another daemon runs on this run directory; the text says which."""


def lock(run_dir: Path, kept: int | None = None) -> int:
    """Take the lock and write our pid into it; it is held as long as the fd is open. Raises LockedError, OSError.

    `kept`: the fd by which a former self holds it.
    """
    if kept is not None:
        return kept
    fd = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise LockedError(f"another relctld runs on {run_dir}: pid {holder}") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def listen(path: Path, mode: int) -> socket.socket:
    """A listening unix socket; the lock must be held, for a stale file of that name is removed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    # Not by umask, which is the whole process's: what other threads make meanwhile would get wrong modes.
    os.fchmod(listener.fileno(), mode)  # bind() makes the file with this mode, less our umask
    listener.bind(str(path))
    os.chmod(path, mode)
    listener.listen(_BACKLOG)
    return listener


def listen_again(path: Path, mode: int, kept: int | None) -> socket.socket:
    """The listening socket that a former self kept, as long as `path` is still its file; else a new one."""
    if kept is not None:
        listener = socket.socket(fileno=kept)
        if listener.family == socket.AF_UNIX and listener.getsockname() == str(path) and path.is_socket():
            os.chmod(path, mode)
            return listener
        listener.close()
    return listen(path, mode)


def endpoint(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, path: Path, listener: socket.socket
) -> zmq.Socket[bytes]:
    """A ZeroMQ socket on `path`, which takes who connects to `listener`."""
    endpoint = context.socket(kind)
    endpoint.setsockopt(zmq.LINGER, 200)
    endpoint.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    endpoint.setsockopt(zmq.SNDHWM, 1000)
    endpoint.setsockopt(zmq.USE_FD, os.dup(listener.fileno()))
    endpoint.bind(f"ipc://{path}")
    return endpoint


def mode_for(access: Access) -> int:
    """Everybody may connect where everybody may view, else only our user and group. The table decides the rest."""
    return 0o666 if "*" in access.view else 0o660


def chmod(run_dir: Path, access: Access) -> None:
    """After a reload: the mode that both sockets would have been given."""
    for name in SOCKETS:
        os.chmod(run_dir / name, mode_for(access))
