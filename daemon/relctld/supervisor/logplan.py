"""What the logger is told: what to keep of which release, what to say in a log, when to begin a new file.

RUN/logger.json                the plan; it is read anew when the logger is woken
RUN/logger.wake                a FIFO: `plan`, `mark NAME`, `rotate NAME`, a line each
RUN/releases/NAME/marks.json   what relctl itself says in a release's log (`logger.marks`)

Rule: small files, written by the scribe, so that no older plan comes after a newer one.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import structlog

from relctld.core.notes import Note
from relctld.core.spec import OnFull
from relctld.core.state import ReleaseState, State
from relctld.failpoints import Failpoint, reach
from relctld.host import logger
from relctld.logger import marks
from relctld.logger.policy import LogPolicy, write_plan
from relctld.supervisor.history import History, timestamp
from relctld.supervisor.managed import Managed
from relctld.supervisor.marks import Said, missed, said_of

log = structlog.get_logger()


class LogPlan:
    """Follows the releases, whose states and events it is told of."""

    def __init__(self, run_dir: Path, history: History, scribe: Executor, releases: Mapping[str, Managed]) -> None:
        self._run_dir = run_dir
        self._scribe = scribe
        self._releases = releases
        self._unplanned = False
        self._yielding: frozenset[str] = frozenset()
        self._vms: dict[str, tuple[str | None, int | None]] = {}
        history.said = self._said

    def take_up(self) -> Future[None]:
        """The releases are there, and no event was dealt with yet: say what a former daemon did not come to say.

        The result is the first plan, written.
        """
        planned = self.plan()
        for managed in self._releases.values():
            self._scribe.submit(self._catch_up, managed, managed.state)
        return planned

    def plan(self) -> Future[None]:
        """Tell the logger what to keep; by the scribe, so that no older plan comes after a newer one."""
        return self._scribe.submit(self._plan, tuple(self._releases.values()))

    def plan_again(self) -> None:
        """Where the latest plan could not be written."""
        if self._unplanned:
            self.plan()

    def stepped(self, managed: Managed) -> None:
        """A VM that is to end must not wait for a log that can take no more; the journal is told of a new one."""
        name, vm = managed.name, _vm(managed)
        yields = managed.spec.log.on_full is OnFull.BLOCK and _ends(managed)
        if yields != (name in self._yielding) or vm != self._vms.get(name, (None, None)):
            self._yielding = self._yielding | {name} if yields else self._yielding - {name}
            self._vms[name] = vm
            self.plan()

    def rotate(self, name: str) -> str | None:
        """Ask for a rotation; None or why it cannot be asked for."""
        return None if self._say(f"rotate {name}") else "no logger listens"

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

    def _say(self, line: str) -> bool:
        try:
            return logger.wake(self._run_dir, line)
        except OSError as error:
            log.warning("logger.deaf", error=str(error))
            return False


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
