"""A command on a pseudo-terminal of its own: the release's remote shell.

It leads a session and the terminal controls it: Ctrl-C, a changed size and a hang-up reach it as signals. Nothing of
Python runs between fork and exec; the terminal comes to control it because a tiny `sh`, being the leader of its
session, opens it once more before it becomes the command.

Nothing is kept here but what was written and not yet taken: who does not want more output says `pause`, and then the
command waits, as it would on any terminal that is not read.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from relctld.core.state import ExitStatus, Vm
from relctld.failpoints import Failpoint, reach
from relctld.host.containment import Sweep
from relctld.host.gate import SHELL, Identity
from relctld.host.process import start_ticks
from relctld.host.reaper import Reaper

GRACE = 1.0
"""Seconds from the hang-up to SIGKILL."""

_SCRIPT = """echo 0 2>/dev/null >/proc/$$/oom_score_adj
{limits}exec "$@" <>"$0" >&0 2>&1"""
_CHUNK = 16384
_LAST_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What is to run. `identity`: None, as the daemon does; `limits`: lines of `ulimit` (`gate.limit_lines`)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    identity: Identity | None
    umask: int
    limits: tuple[str, ...] = ()


class Terminals:
    """Opens terminals. The spawn itself happens in `pool`, since it may block on a slow disk."""

    def __init__(self, reaper: Reaper, pool: Executor) -> None:
        self._reaper = reaper
        self._pool = pool
        self._sweep = Sweep()

    async def open(self, order: Order, rows: int, cols: int) -> "Terminal":
        """Run a command on a new terminal. Raises OSError."""
        loop = asyncio.get_running_loop()
        spawn = loop.run_in_executor(self._pool, self._spawn, order, rows, cols)
        try:
            master, vm, pidfd = await asyncio.shield(spawn)
        except asyncio.CancelledError:
            spawn.add_done_callback(self._drop)
            raise
        terminal = Terminal(master, vm)
        self._reaper.watch(vm.pid, pidfd, lambda status, _: self._exited(terminal, status))
        return terminal

    def _exited(self, terminal: "Terminal", status: ExitStatus) -> None:
        """What it left behind is ended too, and lets go of the terminal: that is the end of its output."""
        terminal.exited(status)
        loop = asyncio.get_running_loop()
        sweep = partial(self._sweep.empty, "", 0, terminal.vm.instance, gentle=False)
        loop.run_in_executor(self._pool, sweep).add_done_callback(lambda _: terminal.left())

    def _spawn(self, order: Order, rows: int, cols: int) -> tuple[int, Vm, int]:
        mark = secrets.token_hex(16)
        master, slave = os.openpty()
        try:
            _set_size(master, rows, cols)
            os.set_blocking(master, False)
            if order.identity is not None:
                os.fchown(slave, order.identity.uid, -1)
            os.fchmod(slave, 0o600)
            pid = self._run(order, slave, mark)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            self._kill(pid)
            os.close(master)
            raise
        vm = Vm(pid, start_ticks(pid) or 0, mark)
        self._sweep.remember(vm)
        return master, vm, pidfd

    def _run(self, order: Order, slave: int, mark: str) -> int:
        identity = order.identity
        script = _SCRIPT.format(limits="".join(f"{line}\n" for line in order.limits))
        reach(Failpoint.BEFORE_TERMINAL)
        with self._reaper.spawning() as claim:
            process = subprocess.Popen(
                [SHELL, "-c", script, os.ttyname(slave), *order.argv],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env={**order.env, "RELCTL_INSTANCE": mark},
                cwd=order.cwd,
                umask=order.umask,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=list(identity.groups) if identity else None,
                start_new_session=True,
            )
            process.returncode = 0  # the reaper waits for it; Popen must not
            claim(process.pid)
        reach(Failpoint.AFTER_TERMINAL)
        return process.pid

    def _drop(self, spawn: "asyncio.Future[tuple[int, Vm, int]]") -> None:
        """Nobody waits for this one any more."""
        if not spawn.cancelled() and spawn.exception() is None:
            master, vm, pidfd = spawn.result()
            os.close(pidfd)
            self._kill(vm.pid)
            os.close(master)

    def _kill(self, pid: int) -> None:
        """It is claimed, so the pid is still its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        self._reaper.abandon(pid)


class Terminal:
    """A terminal and the command on it. Only on the loop's thread.

    `ended` is set once nothing of the command is left and all it said was handed to `on_output`, or was lost to a
    hang-up. `on_drained` is called when all that was written has been taken.
    """

    def __init__(self, master: int, vm: Vm) -> None:
        self.vm = vm
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[ExitStatus] = self._loop.create_future()
        self.on_output: Callable[[bytes], None] = lambda _: None
        self.on_drained: Callable[[], None] = lambda: None
        self._master: int | None = master
        self._status: ExitStatus | None = None
        self._left = False
        self._input = bytearray()
        self._paused = True
        self._said_all = False

    @property
    def waiting(self) -> int:
        """Bytes written that the command has not taken yet."""
        return len(self._input)

    def pause(self) -> None:
        """Read no more for now."""
        if self._master is not None and not self._paused:
            self._loop.remove_reader(self._master)
        self._paused = True

    def resume(self) -> None:
        """Read: at first, and after a pause."""
        if not self._paused:
            return
        self._paused = False
        if self._master is not None and not self._said_all:
            self._loop.add_reader(self._master, self._readable)
            self._settle()

    def write(self, data: bytes) -> None:
        """Type this."""
        if self._master is not None and data:
            self._input += data
            self._type()

    def resize(self, rows: int, cols: int) -> None:
        """Another size: the command gets SIGWINCH."""
        if self._master is not None:
            _set_size(self._master, rows, cols)

    def hang_up(self) -> None:
        """Take the terminal away: SIGHUP, and SIGKILL for who stays all the same."""
        self._close()
        self._signal(signal.SIGHUP)
        self._loop.call_later(GRACE, self._signal, signal.SIGKILL)
        self._settle()

    def kill(self) -> None:
        """At once."""
        self._close()
        self._signal(signal.SIGKILL)

    def exited(self, status: ExitStatus) -> None:
        """The command has ended; its last words may still be on their way."""
        self._status = status

    def left(self) -> None:
        """Nothing is left of it."""
        self._left = True
        self._settle()

    def _settle(self) -> None:
        """The end, once all is said. A stranger may hold the terminal still: he is not waited for."""
        if not self._left or self._status is None or self.ended.done():
            return
        for _ in range(_LAST_CHUNKS):
            if self._master is None or self._paused or self._said_all:
                break
            self._read()
        if self._master is None or self._said_all or not self._paused:
            self._close()
            self.ended.set_result(self._status)

    # -- reading and writing -------------------------------------------------------------------

    def _readable(self) -> None:
        """One piece a turn: whoever else has something to say gets his turn too."""
        self._read()
        if self._said_all and self._master is not None:
            self._loop.remove_reader(self._master)
            self._settle()

    def _read(self) -> None:
        assert self._master is not None
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            self._said_all = self._left
            return
        except OSError:  # EIO: nobody holds the terminal any more
            data = b""
        if data:
            self.on_output(data)
        else:
            self._said_all = True

    def _type(self) -> None:
        if self._master is None:
            return
        try:
            taken = os.write(self._master, self._input)
        except BlockingIOError:
            taken = 0
        except OSError:  # nobody is there to read it
            taken = len(self._input)
        del self._input[:taken]
        if self._input:
            self._loop.add_writer(self._master, self._type)
        else:
            self._loop.remove_writer(self._master)
            self.on_drained()

    def _close(self) -> None:
        if self._master is not None:
            self._loop.remove_reader(self._master)
            self._loop.remove_writer(self._master)
            os.close(self._master)
            self._master = None

    def _signal(self, number: int) -> None:
        if self._status is None:  # not reaped yet, so the pid and the group are still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.vm.pid, number)


def _set_size(fd: int, rows: int, cols: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
