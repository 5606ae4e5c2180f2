"""A logger where none runs.

The logger is a process of its own and holds RUN/logger.lock for its life: systemd's unit as a rule, else a child
that we start. One of another version is asked to make room: it writes what it holds, the FIFOs keep the rest, and
whoever started it starts the one that is installed now. It is looked for every few seconds, and so is what it dropped
(`losses`).
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path

import structlog

from relctld import __version__
from relctld.core.notes import Note
from relctld.failpoints import Failpoint, reach
from relctld.host import process
from relctld.host.reaper import Reaper
from relctld.host.systemd import without_systemd
from relctld.supervisor.journal import Journal
from relctld.supervisor.logplan import LogPlan
from relctld.supervisor.losses import Losses
from relctld.supervisor.managed import Managed

log = structlog.get_logger()

_LOOK_EVERY = 5.0
_REPLACED_AFTER = 0.5


class Loggers:
    """Keeps exactly one logger at work, and looks for what it lost."""

    def __init__(
        self,
        *,
        run_dir: Path,
        reaper: Reaper,
        journal: Journal,
        plan: LogPlan,
        pool: Executor,
        scribe: Executor,
        releases: Mapping[str, Managed],
    ) -> None:
        self._run_dir = run_dir
        self._reaper = reaper
        self._journal = journal
        self._plan = plan
        self._pool = pool
        self._scribe = scribe
        self._releases = releases
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ours: int | None = None
        self._pidfd = -1
        self._missing = 0
        self._losses = Losses(journal, pool, scribe)

    async def start(self, planned: Future[None]) -> None:
        """Once the plan is there, start one if none runs; look again, and for lost output, from time to time."""
        await asyncio.wrap_future(planned)
        self._look(at_once=True)
        self._renew()

    def stop(self, *, with_logger: bool) -> None:
        """Look no more. With the nodes down, a logger of ours writes what it still holds and ends."""
        if self._timer is not None:
            self._timer.cancel()
        if with_logger and self._ours is not None:
            self._scribe.submit(_terminate, os.dup(self._pidfd))  # after what is to be said of the ends of the nodes

    @property
    def pid(self) -> int | None:
        """The logger's pid, where it is a child of ours."""
        return self._ours

    def _look(self, *, at_once: bool = False) -> None:
        self._timer = self._loop.call_later(_LOOK_EVERY, self._look)
        self._plan.plan_again()
        self._losses.look([managed.folder for managed in self._releases.values()])
        if self._ours is not None or self._adopted():
            return
        # systemd restarts its own unit within a second: only one that stays away is replaced by us.
        self._missing = 0 if self._runs() else self._missing + 1
        if self._missing and (at_once or self._missing > 1):
            self._loop.run_in_executor(self._pool, self._spawn).add_done_callback(self._spawned)

    def _runs(self) -> bool:
        fd = os.open(self._run_dir / "logger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _spawn(self) -> tuple[int, int]:
        reach(Failpoint.BEFORE_LOGGER)
        with self._reaper.spawning() as claim:
            child = subprocess.Popen(
                [sys.executable, "-m", "relctld.logger", "--run-dir", str(self._run_dir)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=without_systemd(os.environ),
                cwd="/",
                start_new_session=True,
            )
            child.returncode = 0  # the reaper waits for it; Popen must not
            claim(child.pid)
        reach(Failpoint.AFTER_LOGGER)
        return child.pid, os.pidfd_open(child.pid)

    def _spawned(self, spawn: "asyncio.Future[tuple[int, int]]") -> None:
        if spawn.cancelled() or spawn.exception() is not None:
            log.error("logger.unstarted", error=str(spawn.exception()))
            return
        pid, pidfd = spawn.result()
        self._watch(pid, pidfd)
        self._journal.report(None, Note.LOGGER_STARTED, {"pid": pid})

    def _renew(self) -> None:
        """End a logger of another version than ours."""
        pid, version = self._holder()
        if pid is None or version == __version__ or not self._runs():
            return
        with contextlib.suppress(OSError):  # it is gone, or not ours to end
            pidfd = os.pidfd_open(pid)
            if self._is_logger(pid):
                process.send(pidfd, signal.SIGTERM)
                log.info("logger.renewed", pid=pid, version=version or "unknown")
            os.close(pidfd)

    def _holder(self) -> tuple[int | None, str]:
        """The pid and the version in the lock file, whether it is held or not."""
        with contextlib.suppress(OSError, ValueError):
            pid, *version = (self._run_dir / "logger.lock").read_text().split()
            return int(pid), "".join(version)
        return None, ""

    def _is_logger(self, pid: int) -> bool:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"relctld.logger" in words and os.fsencode(self._run_dir) in words

    def _adopted(self) -> bool:
        """Take back a logger that a former daemon started: it is ours to end. systemd's knows its INVOCATION_ID."""
        pid, _ = self._holder()
        if pid is None:
            return False
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        with contextlib.suppress(OSError):
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if (
                self._is_logger(pid)
                and not any(line.startswith(b"INVOCATION_ID=") for line in environ)
                and self._runs()
            ):
                self._watch(pid, pidfd)
                return True
        os.close(pidfd)
        return False

    def _watch(self, pid: int, pidfd: int) -> None:
        self._ours, self._pidfd, self._missing = pid, pidfd, 0
        self._reaper.watch(pid, pidfd, lambda *_: self._ended())

    def _ended(self) -> None:
        """One of ours: nobody else will replace it."""
        self._ours, self._missing = None, 1
        if self._timer is not None and not self._timer.cancelled():
            self._timer.cancel()
            self._timer = self._loop.call_later(_REPLACED_AFTER, self._look)


def _terminate(pidfd: int) -> None:
    process.send(pidfd, signal.SIGTERM)
    os.close(pidfd)
