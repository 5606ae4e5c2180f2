"""Which releases there are: taken up at the start, joined and left by reloads, forgotten when nothing of them is left.

A release that left the config and runs stays, `unconfigured`: it may run on and be stopped, and is not started again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import structlog

from relctld.config import Config, Plan
from relctld.core import fleet
from relctld.core.events import Reconfigured
from relctld.core.spec import ReleaseSpec, Restart
from relctld.failpoints import Failpoint, reach
from relctld.host import database, fifo, records
from relctld.host.reexec import Kept
from relctld.host.store import Store
from relctld.supervisor import resume
from relctld.supervisor.asking import Asking
from relctld.supervisor.managed import Managed
from relctld.supervisor.shell import Shell
from relctld.supervisor.tasks import Tasks
from relctld.supervisor.vms import Vms

log = structlog.get_logger()


class Roster:
    """Adds releases to the shell and takes them out. `changed` is called when the logger must know."""

    def __init__(
        self,
        *,
        run_dir: Path,
        log_dir: Path,
        shell: Shell,
        tasks: Tasks,
        vms: Vms,
        asking: Asking,
        store: Store,
        scribe: Executor,
        changed: Callable[[], object],
        kept: Kept,
    ) -> None:
        self._folder = run_dir / "releases"
        self._log_dir = log_dir
        self._shell = shell
        self._tasks = tasks
        self._vms = vms
        self._asking = asking
        self._store = store
        self._scribe = scribe
        self._changed = changed
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self.forgotten: list[Callable[[str], None]] = []
        """Called with the name of a release of which nothing is left."""
        self._shell.stepped += [self._keep_totals, self._came_to_rest]

    def take_up(self, config: Config) -> None:
        """Every release of the config, and every living VM of a former self."""
        for spec in config.releases:
            self._manage(spec)
        for name in resume.left_behind(self._folder, frozenset(self._shell.releases)):
            self._leave(self._manage(ReleaseSpec(name, Path("/"), enabled=False)))

    def apply(self, config: Config, plan: Plan) -> None:
        """Make the releases agree with a changed config; no node is stopped or restarted."""
        releases = self._shell.releases
        for spec in config.releases:
            managed = releases.get(spec.name)
            if managed is None:
                self._manage(spec)
                continue
            before, managed.spec, managed.unconfigured = managed.spec, spec, False
            if spec != before:
                self._shell.post(Reconfigured(spec.name, before))
        for name in plan.removed:
            self._leave(releases[name])
            self._came_to_rest(releases[name])
        configured = [spec.name for spec in config.releases]
        for name in (*configured, *(name for name in tuple(releases) if name not in configured)):
            releases[name] = releases.pop(name)  # in the order of the config; others hold this very dict
        self._changed()

    def _manage(self, spec: ReleaseSpec) -> Managed:
        folder = self._folder / spec.name
        found = resume.find(spec, folder, self._store.kept.get(spec.name), self._loop.time(), self._kept)
        managed = Managed(spec, found.state, folder, self._log_dir / spec.name, found.launched)
        managed.instance = found.instance
        try:
            folder.mkdir(mode=0o711, exist_ok=True)
            fifo.make(folder / "out", *fifo.owner(folder / "out"))
            managed.output = fifo.open_both_ways(folder / "out")
        except OSError as error:  # its start will fail, and say so; the others' must not
            log.error("release.output", release=spec.name, error=str(error))
        self._shell.releases[spec.name] = managed
        if found.vm is not None and found.pidfd is not None:
            reach(Failpoint.BEFORE_ADOPTION)
            self._vms.adopt(managed, found.vm, found.pidfd)
            reach(Failpoint.AFTER_ADOPTION)
        if former := self._asking.former(managed):
            managed.former = self._tasks.make(f"former commands {spec.name}", former)
        self._shell.post(found.event)
        return managed

    def _leave(self, managed: Managed) -> None:
        managed.unconfigured, managed.spec = True, replace(managed.spec, restart=Restart.TEMPORARY)

    def _came_to_rest(self, managed: Managed) -> None:
        if managed.unconfigured and fleet.is_quiet([managed.state]):
            self._loop.call_soon(self._forget, managed)

    def _forget(self, managed: Managed) -> None:
        """Should it ever come back, it begins as its want says: so its records go, but not what the store keeps."""
        name, state = managed.name, managed.state
        asked = state.recording or state.waiters or state.upgrading
        gone = managed.unconfigured and fleet.is_quiet([state]) and not asked
        if gone and self._shell.releases.get(name) is managed:
            del self._shell.releases[name]
            managed.close()
            last = resume.last_exit_object(state.last_exit)
            self._store.kept[name] = database.Kept(state.want, state.epoch, state.restarts_total, last)
            self._scribe.submit(records.forget, managed.folder)
            for tell in self.forgotten:
                tell(name)
            self._changed()

    def _keep_totals(self, managed: Managed) -> None:
        """Into the store what must outlive the boot, when it changed."""
        state = managed.state
        totals = (state.epoch, state.restarts_total, state.last_exit)
        if totals != managed.totals:
            managed.totals = totals
            self._store.put_totals(
                managed.name, state.epoch, state.restarts_total, resume.last_exit_object(state.last_exit)
            )
