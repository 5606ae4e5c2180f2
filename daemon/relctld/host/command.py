"""Run a command for a release to its end: hooks, `exec:` probes, what a version says of its configuration.

Bounded in time and in what it may print. It gets a session of its own; at its timeout the whole process group is
killed. It runs outside the release's cgroup, as the release's user, with a built-up environment. Each is marked and
written down (`underway`), so that whoever comes after us ends what outlived us.
"""

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from relctld.core.state import ExitStatus
from relctld.failpoints import Failpoint, reach
from relctld.host import underway
from relctld.host.gate import Identity
from relctld.host.reaper import Reaper

_TAIL = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `tail`: the last of what it printed; `late`: it was killed at its timeout."""

    status: ExitStatus
    tail: str
    late: bool

    def error(self, timeout: float) -> str | None:
        """What went wrong, in words; None where it ended with 0."""
        said = self.tail.strip().splitlines()[-1:] or [""]
        more = f": {said[0][:200]}" if said[0] else ""
        if self.late:
            return f"not done within {timeout:g} s{more}"
        if self.status.signal is not None:
            return f"killed by {self.status.signal}{more}"
        return None if self.status.code == 0 else f"exit code {self.status.code}{more}"


class Commands:
    """Runs commands; the spawn itself happens in `pool`, since it may block on a slow disk.

    `soft_nofile`: the limit of open files that the daemon was given, before it raised its own.
    """

    def __init__(self, reaper: Reaper, pool: Executor, soft_nofile: int) -> None:
        self._reaper = reaper
        self._pool = pool
        self._soft_nofile = soft_nofile
        self._marks: set[str] = set()

    def former(self, folder: Path) -> tuple[str, ...]:
        """The marks of what another daemon than this ran for a release, and did not see end."""
        return tuple(mark for mark in underway.left(folder) if mark not in self._marks)

    async def run(
        self,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: Path,
        folder: Path,
        identity: Identity | None,
        timeout: float,
        umask: int = 0o022,
    ) -> Outcome:
        """Run `argv` (found by the PATH of `env`). Raises OSError where it cannot be executed.

        `folder` is the release's own in the run directory. Cancelled, it kills the command as at the timeout.
        """
        loop = asyncio.get_running_loop()
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write, True)
        tail = bytearray()
        mark = secrets.token_hex(16)
        self._marks.add(mark)
        over = partial(self._over, folder, mark)
        loop.add_reader(read, _take, read, tail)
        try:
            # The thread's own: should we be cancelled, the number of ours may be another file's before it spawns.
            output = os.dup(write)
            marked = partial(underway.begin, folder, mark)
            spawn = loop.run_in_executor(self._pool, self._spawn, argv, env, marked, cwd, identity, umask, output)
            pid, pidfd = await self._whole(spawn, over)
            ended: asyncio.Future[ExitStatus] = loop.create_future()
            self._reaper.watch(pid, pidfd, lambda status, _: _settle(ended, status))
            status, late = await _within(ended, pid, timeout)
        finally:
            os.close(write)
            _take(read, tail)
            loop.remove_reader(read)
            os.close(read)
            over()
        return Outcome(status, tail.decode("utf-8", "replace"), late)

    def _spawn(
        self,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        marked: Callable[[], dict[str, str]],
        cwd: Path,
        identity: Identity | None,
        umask: int,
        output: int,
    ) -> tuple[int, int]:
        try:
            env = {**env, **marked()}
            reach(Failpoint.BEFORE_COMMAND)
            with self._reaper.spawning() as claim:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=env,
                    cwd=cwd,
                    umask=umask,
                    user=identity.uid if identity else None,
                    group=identity.gid if identity else None,
                    extra_groups=list(identity.groups) if identity else None,
                    start_new_session=True,
                )
                process.returncode = 0  # the reaper waits for it; Popen must not
                claim(process.pid)
            reach(Failpoint.AFTER_COMMAND)
        finally:
            os.close(output)
        self._give_back(process.pid)
        try:
            return process.pid, os.pidfd_open(process.pid)
        except OSError:
            self._kill_unwatched(process.pid)
            raise

    def _give_back(self, pid: int) -> None:
        """What the daemon was given for itself, more files and to be spared by the OOM killer, is not for others."""
        with contextlib.suppress(OSError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(self._soft_nofile, hard), hard))
        with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write("0")

    async def _whole(self, spawn: asyncio.Future[tuple[int, int]], over: Callable[[], None]) -> tuple[int, int]:
        """Wait for a spawn; one that nobody waits for any more is killed as soon as it is there."""
        try:
            return await asyncio.shield(spawn)
        except asyncio.CancelledError:
            spawn.add_done_callback(self._kill_spawned)
            spawn.add_done_callback(lambda _: over())
            raise

    def _kill_spawned(self, spawn: asyncio.Future[tuple[int, int]]) -> None:
        if not spawn.cancelled() and spawn.exception() is None:
            pid, pidfd = spawn.result()
            os.close(pidfd)
            self._kill_unwatched(pid)

    def _over(self, folder: Path, mark: str) -> None:
        underway.end(folder, mark)
        self._marks.discard(mark)

    def _kill_unwatched(self, pid: int) -> None:
        """It is claimed, so the pid is still its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        self._reaper.abandon(pid)


async def _within(ended: asyncio.Future[ExitStatus], pid: int, timeout: float) -> tuple[ExitStatus, bool]:
    """Wait for the end; kill the group when time is up, and when we are told to stop waiting."""
    try:
        return await asyncio.wait_for(asyncio.shield(ended), timeout), False
    except TimeoutError:
        _kill_group(pid, ended)
        return await ended, True
    except asyncio.CancelledError:
        _kill_group(pid, ended)
        raise


def _kill_group(pid: int, ended: asyncio.Future[ExitStatus]) -> None:
    if not ended.done():  # not reaped yet, so the pid and the group are still its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _settle(ended: asyncio.Future[ExitStatus], status: ExitStatus) -> None:
    if not ended.done():
        ended.set_result(status)


def _take(read: int, tail: bytearray) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(16):  # a command that floods must not hold the loop
            data = os.read(read, 65536)
            if not data:
                return
            tail += data
            del tail[:-_TAIL]
