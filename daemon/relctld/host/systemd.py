"""What relctld and systemd say to each other: readiness, the watchdog, the fd store, and our unit's job.

Knows: the protocol of sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3), and `systemctl`. Nothing of
releases, nothing of the event loop. Promises:

* Outside systemd (no NOTIFY_SOCKET) every call does nothing.
* No call blocks, and none raises because the other side is gone, slow or full.
* What must not be lost (READY, RELOADING, STOPPING, the fd store) waits in order while systemd's queue is full
  (net.unix.max_dgram_qlen may be 10; a start pushes hundreds of fds) and goes out with `flush`. What the next
  message supersedes (STATUS, WATCHDOG, EXTEND_TIMEOUT) is dropped instead.

The fd store holds {name: fds} while relctld is away: always with FDPOLL=0, else systemd closes a pidfd or a
pipe at its first POLLHUP, which is when it matters. A stop of the unit empties it; what exceeds
FileDescriptorStoreMax= is dropped by systemd without a word to us.
"""

import errno
import os
import socket
import subprocess
import time
from array import array
from collections import deque
from collections.abc import Mapping, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Literal

from relctld.host.reaper import Spawning

# In a child's environment they would make it talk to systemd in our name. A re-exec of relctld needs them.
SYSTEMD_VARIABLES: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
)

_LISTEN_FDS_START: Final = 3
_NO_ROOM: Final = frozenset(
    {errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS}
)
_FDNAME_MAX: Final = 255


def without_systemd(environ: Mapping[str, str]) -> dict[str, str]:
    """A copy of `environ` for a child: without SYSTEMD_VARIABLES."""
    return {key: value for key, value in environ.items() if key not in SYSTEMD_VARIABLES}


def take_listen_fds(environ: MutableMapping[str, str] | None = None) -> dict[str, list[int]]:
    """The fds that systemd handed over (fd store, sockets) by name, close-on-exec; `{}` if there are none for us.

    The caller owns them. A name may hold several. The variables are removed: the second call returns `{}`, and
    so it does after a re-exec, which keeps our pid but not the meaning of these numbers.
    """
    environ = os.environ if environ is None else environ
    pid, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[int]] = {}
    labels = names.split(":") if names else []
    for index in range(int(count)):
        fd = _LISTEN_FDS_START + index
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue  # announced but not open
        found.setdefault(labels[index] if index < len(labels) else "unknown", []).append(fd)
    return found


class Notifier:
    """Our side of the notify socket. `environ` is only read; relctld's re-exec hands it on."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.watchdog_interval = _watchdog_interval(environ)
        """Seconds between two calls of `watchdog`: half of WatchdogSec=; None when systemd expects none."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._waiting: deque[tuple[bytes, int | None]] = deque()

    @property
    def active(self) -> bool:
        """Whether there is a systemd to talk to."""
        return self._address is not None

    @property
    def waiting(self) -> bool:
        """Whether messages wait for room in systemd's queue; `flush` tries again, `watchdog` too."""
        return bool(self._waiting)

    def ready(self, status: str = "") -> None:
        """Started, or done with reloading."""
        self._say("READY=1", *_status(status))

    def reloading(self) -> None:
        """The config is being taken up; `ready` must follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self, status: str = "") -> None:
        """Going down; `extend_timeout` must follow as long as it takes."""
        self._say("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._try(*_status(text))

    def watchdog(self) -> None:
        """Alive. To be called every `watchdog_interval` seconds, by the loop that does the work."""
        self._try("WATCHDOG=1")
        self.flush()

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping goes on for up to `seconds` from now; to be repeated before they are over."""
        self._try(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def store_fd(self, name: str, fd: int) -> None:
        """Leave a duplicate of `fd` with systemd under `name`; the caller keeps its own. ValueError: bad name."""
        message = _lines("FDSTORE=1", "FDPOLL=0", f"FDNAME={_fdname(name)}")
        if self.active and (self._waiting or not self._send(message, fd)):
            self._waiting.append((message, os.dup(fd)))

    def remove_fd(self, name: str) -> None:
        """Let systemd close every fd stored under `name`. ValueError: a bad name."""
        self._say("FDSTOREREMOVE=1", f"FDNAME={_fdname(name)}")

    def flush(self) -> bool:
        """Send what waits, in order, as far as there is room; True when nothing waits any more."""
        while self._waiting:
            message, fd = self._waiting[0]
            if not self._send(message, fd):
                return False
            self._waiting.popleft()
            if fd is not None:
                os.close(fd)
        return True

    def close(self) -> None:
        """Drop what waits, close the socket. It may be used again."""
        while self._waiting:
            _, fd = self._waiting.popleft()
            if fd is not None:
                os.close(fd)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, *lines: str) -> None:
        message = _lines(*lines)
        if self.active and (self._waiting or not self._send(message, None)):
            self._waiting.append((message, None))

    def _try(self, *lines: str) -> None:
        if self.active:
            self._send(_lines(*lines), None)

    def _send(self, message: bytes, fd: int | None) -> bool:
        """False: no room now. True: sent, or there is nobody to send it to and never will be for this message."""
        assert self._address is not None
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))]
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            # Unconnected: a systemd that made its socket anew is found again.
            self._socket.sendmsg([message], ancillary, socket.MSG_NOSIGNAL, self._address)
        except OSError as error:
            return error.errno not in _NO_ROOM
        return True


@dataclass(frozen=True, slots=True)
class Unit:
    """The service unit that we run in, and whether it is one of a user's manager."""

    name: str
    user: bool


def own_unit(cgroup: str = "/proc/self/cgroup") -> Unit | None:
    """Our unit by our cgroup; None outside a service (a login session, a container without systemd).

    Lines are `ID:CONTROLLERS:PATH`, cgroups(7): systemd's hierarchy is `0::`, on a v1 host `name=systemd`. We may
    sit in a sub-cgroup: `/system.slice/relctld.service/supervisor`,
    `/user.slice/user-1000.slice/user@1000.service/app.slice/relctld.service`.
    """
    try:
        with open(cgroup, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    paths = {controllers: path for _, controllers, path in lines}
    for controllers in ("name=systemd", ""):
        parts = paths.get(controllers, "").split("/")
        services = [part for part in parts if part.endswith(".service")]
        managers = [part for part in services if part.startswith("user@")]
        if managers and services[-1] == managers[-1]:
            continue  # the user manager itself, or a scope below it
        if services:
            return Unit(services[-1], user=bool(managers))
    return None


def own_job(unit: Unit, timeout: float = 5.0, spawning: Spawning = nullcontext) -> Literal["restart", "stop"] | None:
    """What systemd is doing to `unit` when it sends SIGTERM: `stop` (shutdown too) or `restart`.

    None: no such job, or no answer. Blocks up to `timeout` seconds (25 ms as a rule): for a worker thread.
    """
    deadline = time.monotonic() + timeout
    with spawning():
        state = _systemctl(unit, deadline, "is-system-running")
        jobs = _systemctl(unit, deadline, "list-jobs", "--no-legend", "--no-pager", "--full", "--", unit.name)
    if state.strip() == "stopping":
        return "stop"
    for line in jobs.splitlines():  # JOB UNIT TYPE STATE
        match line.split():
            case [_, unit.name, "restart" | "try-restart", *_]:
                return "restart"
            case [_, unit.name, "stop", *_]:
                return "stop"
    return None


def is_delegated(unit: Unit, timeout: float = 2.0) -> bool:
    """Whether what is below the unit's cgroup is the unit's own. False where systemctl does not answer. Blocks."""
    return _systemctl(unit, time.monotonic() + timeout, "show", "-P", "Delegate", "--", unit.name).strip() == "yes"


def _systemctl(unit: Unit, deadline: float, *arguments: str) -> str:
    """What systemctl prints, whatever its exit status says; empty when it cannot be run or is late."""
    command = ["systemctl", *(["--user"] if unit.user else []), *arguments]
    left = max(0.05, deadline - time.monotonic())
    environ = without_systemd(os.environ) | {"LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            timeout=left,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _address(value: str) -> str | None:
    """NOTIFY_SOCKET as an address: a path, or abstract after '@'. Other kinds (vsock) are not ours: None."""
    if value.startswith("@"):
        return "\0" + value[1:]
    return value if value.startswith("/") else None


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(usec) / 2 / 1_000_000


def _status(text: str) -> list[str]:
    return [f"STATUS={' '.join(text.split())}"] if text else []


def _lines(*lines: str) -> bytes:
    return "\n".join(lines).encode("utf-8", "replace")


def _fdname(name: str) -> str:
    """`name` if systemd would keep it: it renames others silently, and we should not find them again."""
    if not name or len(name) > _FDNAME_MAX or ":" in name or not (name.isascii() and name.isprintable()):
        raise ValueError(f"cannot store fd {name!r}: a name is 1 to 255 printable ASCII characters, no colon")
    return name
