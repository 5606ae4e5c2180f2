"""The logger's plan, and a logger where none runs.

The logger is a process of its own and holds RUN/logger.lock for its life: systemd's unit as a rule, else a child
that we start. One of another version is asked to make room: it writes what it holds, the FIFOs keep the rest, and
whoever started it starts the one that is installed now. It is looked for every few seconds, and so is what it dropped
(`losses`).
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import structlog

from relctld import __version__
from relctld.core.notes import Note
from relctld.core.spec import OnFull
from relctld.core.state import ReleaseState, State
from relctld.failpoints import Failpoint, reach
from relctld.host import process
from relctld.host.reaper import Reaper
from relctld.host.systemd import without_systemd
from relctld.logger import marks
from relctld.logger.policy import LogPolicy, write_plan
from relctld.supervisor.journal import Journal, timestamp
from relctld.supervisor.losses import Losses
from relctld.supervisor.managed import Managed
from relctld.supervisor.marks import Said, missed, said_of

log = structlog.get_logger()

_LOOK_EVERY = 5.0
_REPLACED_AFTER = 0.5


class Loggers:
    """Keeps exactly one logger at work."""

    def __init__(
        self,
        run_dir: Path,
        reaper: Reaper,
        journal: Journal,
        pool: Executor,
        scribe: Executor,
        releases: Mapping[str, Managed],
    ) -> None:
        self._run_dir = run_dir
        self._reaper = reaper
        self._journal = journal
        self._pool = pool
        self._scribe = scribe
        self._releases = releases
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ours: int | None = None
        self._pidfd = -1
        self._missing = 0
        self._unplanned = False
        self._losses = Losses(journal, pool, scribe)
        self._yielding: frozenset[str] = frozenset()
        self._vms: dict[str, tuple[str | None, int | None]] = {}
        journal.said = self._said

    def take_up(self) -> None:
        """The releases are there, and no event was dealt with yet: say what a former daemon did not come to say."""
        self._planned = self.plan()
        for managed in self._releases.values():
            self._scribe.submit(self._catch_up, managed, managed.state)

    async def start(self) -> None:
        """Start one if none runs; look again, and for lost output, from time to time."""
        await asyncio.wrap_future(self._planned)
        self._look(at_once=True)
        self._renew()

    def plan(self) -> Future[None]:
        """Tell the logger what to keep; by the scribe, so that no older plan comes after a newer one."""
        return self._scribe.submit(self._plan, tuple(self._releases.values()))

    def stepped(self, managed: Managed) -> None:
        """A VM that is to end must not wait for a log that can take no more; the journal is told of a new one."""
        name, vm = managed.name, _vm(managed)
        yields = managed.spec.log.on_full is OnFull.BLOCK and _ends(managed)
        if yields != (name in self._yielding) or vm != self._vms.get(name, (None, None)):
            self._yielding = self._yielding | {name} if yields else self._yielding - {name}
            self._vms[name] = vm
            self.plan()

    def _plan(self, releases: tuple[Managed, ...]) -> None:
        """Small files of the run directory."""
        reach(Failpoint.BEFORE_LOG_PLAN)
        self._unplanned = True
        try:
            write_plan(str(self._run_dir / "logger.json"), [policy(managed) for managed in releases])
        except OSError as error:  # tried again at the next look
            log.error("logger.unplanned", error=str(error))
            return
        self._unplanned = False
        reach(Failpoint.AFTER_LOG_PLAN)
        self._say("plan")

    def _said(self, release: str, note: Note, fields: Mapping[str, Any], at: str) -> None:
        """Some events stand in the release's own log too; after the plan, so that the logger knows the release."""
        said, managed = said_of(note, fields, at), self._releases.get(release)
        if said is not None and managed is not None:
            self._scribe.submit(self._mark, managed, said)

    def _catch_up(self, managed: Managed, state: ReleaseState) -> None:
        known = frozenset(mark.key for mark in marks.read(str(managed.folder / marks.NAME)))
        for said in missed(state, known, timestamp()):
            self._mark(managed, said)

    def _mark(self, managed: Managed, said: Said) -> None:
        """Always, for it is the logger that knows whether they are wanted: a key changed later says nothing twice."""
        now = time.time_ns() // 1000
        reach(Failpoint.BEFORE_MARK)
        try:
            marks.add(str(managed.folder / marks.NAME), said.key, now, said.text, breaks=said.breaks)
        except OSError as error:
            log.warning("mark.unsaid", release=managed.name, error=str(error))
            return
        reach(Failpoint.AFTER_MARK)
        self._say(f"mark {managed.name}")

    def rotate(self, name: str) -> str | None:
        """Ask for a rotation; None or why it cannot be asked for."""
        return None if self._say(f"rotate {name}") else "no logger listens"

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
        if self._unplanned:
            self.plan()
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

    def _say(self, line: str) -> bool:
        """One line into the logger's wake-up FIFO; it is there as long as the run directory is."""
        path = self._run_dir / "logger.wake"
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(fd, f"{line}\n".encode())
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads: a logger that comes up reads the plan by itself
                log.warning("logger.deaf", error=str(error))
            return False
        return True


def policy(managed: Managed) -> LogPolicy:
    """What the logger must know of a release."""
    spec = managed.spec.log
    version, epoch = _vm(managed)
    return LogPolicy(
        name=managed.name,
        fifo_out=str(managed.folder / "out"),
        fifo_claimed=str(managed.folder / "claimed"),
        dir=str(managed.log_folder),
        max_size=spec.max_size,
        keep=spec.keep,
        max_total=spec.max_total,
        compress="gzip" if spec.compress else None,
        on_full="block" if spec.on_full is OnFull.BLOCK and not _ends(managed) else "drop",
        timestamps=spec.timestamps,
        markers=spec.markers,
        max_age=spec.max_age,
        journal=spec.journal,
        version=version,
        epoch=epoch,
    )


def _vm(managed: Managed) -> tuple[str | None, int | None]:
    """Version and epoch of the VM whose lines go to the journal; both None where they do not."""
    return (managed.launched.version, managed.state.epoch) if managed.spec.log.journal else (None, None)


def _ends(managed: Managed) -> bool:
    return managed.state.state in (State.STOPPING, State.KILLING)


def _terminate(pidfd: int) -> None:
    process.send(pidfd, signal.SIGTERM)
    os.close(pidfd)
