"""Who ended, and how. Every child is reaped here, by pidfd; what is inherited as a subreaper is reaped as well.

Three races decide the shape:
* A child may end before its spawner, in another thread, has told us that it is ours. So while anything is being
  spawned (`spawning`) no unknown zombie is touched, and a claimed one waits until it is watched.
* `waitid(P_ALL, WNOWAIT)` shows the same first zombie again and again. So a known one that it shows is handed to
  its watcher at once, and only then the next is asked for.
* What we adopted is another's child: its pidfd is readable at its end, but how it ended the kernel tells only once
  that other one has reaped it. So it is asked again for a while.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from relctld.core.state import UNKNOWN_STATUS, ExitStatus
from relctld.failpoints import Failpoint, reach
from relctld.host.process import comm, signal_name, status_of_stranger
from relctld.host.signals import Signals

OnExit = Callable[[ExitStatus, str], None]
"""Called on the loop with the exit status and the last name (`comm`) of the process."""

Claim = Callable[[int], object]
"""Says that this pid will be watched, or abandoned: nobody else reaps it until then."""

Spawning = Callable[[], AbstractContextManager[object]]
"""`Reaper.spawning`: a child that is waited for here is nobody else's to reap."""

_PR_SET_CHILD_SUBREAPER = 36
_REAPED_WITHIN = 1.0
_ASK_AGAIN = 0.01


def become_subreaper() -> bool:
    """Orphans below us become our children: without cgroups this is how they are found. False where refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0


class Reaper:
    """Watches processes by pidfd and tells their end once.

    Use from the loop's thread, but for `spawning` and `abandon`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, signals: Signals) -> None:
        self._loop = loop
        self._signals = signals
        self._watched: dict[int, tuple[int, OnExit]] = {}
        self._lock = threading.Lock()
        self._spawning = 0
        self._claimed: set[int] = set()
        self._dirty = False
        self._frozen = False
        signals.on(signal.SIGCHLD, self._reap_strays)
        loop.call_soon(self._reap_strays)  # those that a former self left at its re-exec: no signal tells of them

    def close(self) -> None:
        """Forget everything; nobody is told any more."""
        self._signals.off(signal.SIGCHLD)
        for pid in tuple(self._watched):
            self._forget(pid)

    def freeze(self) -> None:
        """Reap nobody any more: who ends from now on is left to the successor of a re-exec. The pidfds stay open."""
        self._frozen = True
        self._signals.off(signal.SIGCHLD)
        for pidfd, _ in self._watched.values():
            self._loop.remove_reader(pidfd)

    def pids(self) -> frozenset[int]:
        """The processes being watched."""
        return frozenset(self._watched)

    def watch(self, pid: int, pidfd: int, on_exit: OnExit) -> None:
        """Tell the end of this process, child or not; the pidfd is ours from now on and closed at its end."""
        if pid in self._watched:  # what we adopted under this number is gone, only its news are still on their way
            self._stranger_ended(pid, self._watched[pid], "", 0.0)
        self._watched[pid] = (pidfd, on_exit)
        self._claimed.discard(pid)
        self._loop.add_reader(pidfd, self._ended, pid)
        self._look_again()

    def abandon(self, pid: int) -> None:
        """A claimed process is of no interest any more: reap it like a stray."""
        self._claimed.discard(pid)
        self._look_again()

    @contextlib.contextmanager
    def spawning(self) -> Iterator[Claim]:
        """Hold while a child exists that is neither claimed nor waited for. Any thread."""
        with self._lock:
            self._spawning += 1
        try:
            yield self._claimed.add
        finally:
            with self._lock:
                self._spawning -= 1
            self._look_again()

    def _look_again(self) -> None:
        if self._dirty:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reaps any more
                self._loop.call_soon_threadsafe(self._reap_strays)

    def _forget(self, pid: int) -> OnExit:
        pidfd, on_exit = self._watched.pop(pid)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        return on_exit

    def _ended(self, pid: int) -> None:
        if pid not in self._watched or self._frozen:
            return
        entry = pidfd, _ = self._watched[pid]
        name = comm(pid)
        try:
            info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            self._stranger_ended(pid, entry, name, _REAPED_WITHIN)
            return
        if info is not None:
            reach(Failpoint.AFTER_REAP)
            exited = info.si_code == os.CLD_EXITED
            status = ExitStatus(code=info.si_status) if exited else ExitStatus(signal=signal_name(info.si_status))
            self._forget(pid)(status, name)

    def _stranger_ended(self, pid: int, entry: tuple[int, OnExit], name: str, patience: float) -> None:
        if self._watched.get(pid) is not entry or self._frozen:
            return
        status = status_of_stranger(entry[0])
        if status is None and patience > 0:
            self._loop.remove_reader(entry[0])  # it is readable for good
            self._loop.call_later(_ASK_AGAIN, self._stranger_ended, pid, entry, name, patience - _ASK_AGAIN)
        else:
            self._forget(pid)(status or UNKNOWN_STATUS, name)

    def _reap_strays(self) -> None:
        self._dirty = True
        while (pid := self._next_zombie()) is not None:
            self._ended(pid)

    def _next_zombie(self) -> int | None:
        """Reap strays up to the first zombie that is watched, and name that; the lock keeps new children away."""
        with self._lock:
            while not (self._spawning or self._frozen):
                try:
                    info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:
                    info = None
                if info is None:
                    self._dirty = False
                    return None
                if info.si_pid in self._claimed:
                    return None
                if info.si_pid in self._watched:
                    return int(info.si_pid)
                with contextlib.suppress(ChildProcessError):
                    os.waitid(os.P_PID, info.si_pid, os.WEXITED | os.WNOHANG)
        return None
