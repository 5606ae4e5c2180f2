"""A logger where none runs.

The logger is a process of its own and holds RUN/logger.lock for its life: systemd's unit as a rule, else a child
that we start. One of another version is asked to make room: it writes what it holds, the FIFOs keep the rest, and
whoever started it starts the one that is installed now. It is looked for every few seconds, and so is what it dropped
(`losses`).
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path

import structlog

from relctld import __version__
from relctld.core.notes import Note
from relctld.host import logger, process
from relctld.host.reaper import Reaper
from relctld.supervisor.history import History
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
        history: History,
        plan: LogPlan,
        pool: Executor,
        scribe: Executor,
        releases: Mapping[str, Managed],
    ) -> None:
        self._run_dir = run_dir
        self._reaper = reaper
        self._history = history
        self._plan = plan
        self._pool = pool
        self._scribe = scribe
        self._releases = releases
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ours: int | None = None
        self._pidfd = -1
        self._missing = 0
        self._losses = Losses(history, pool, scribe)

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
        if self._ours is None and (former := logger.started_before(self._run_dir)) is not None:
            self._watch(*former)  # it is ours to end
        if self._ours is not None:
            return
        # systemd restarts its own unit within a second: only one that stays away is replaced by us.
        self._missing = 0 if logger.runs(self._run_dir) else self._missing + 1
        if self._missing and (at_once or self._missing > 1):
            spawn = self._loop.run_in_executor(self._pool, logger.spawn, self._run_dir, self._reaper)
            spawn.add_done_callback(self._spawned)

    def _spawned(self, spawn: "asyncio.Future[tuple[int, int]]") -> None:
        if spawn.cancelled():
            return
        if (error := spawn.exception()) is not None:
            log.error("logger.unstarted", error=str(error))
            return
        pid, pidfd = spawn.result()
        self._watch(pid, pidfd)
        self._history.report(None, Note.LOGGER_STARTED, {"pid": pid})

    def _renew(self) -> None:
        """End a logger of another version than ours."""
        if (ended := logger.end_other(self._run_dir, __version__)) is not None:
            pid, version = ended
            log.info("logger.renewed", pid=pid, version=version or "unknown")

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
