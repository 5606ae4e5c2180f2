"""The VMs: launched or adopted, watched, signalled, and how they end."""

import asyncio
import signal
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

import structlog

from relctld.core.effects import Signal, SignalVm
from relctld.core.events import SpawnFailed, VmExited, VmSpawned
from relctld.core.spec import ReleaseSpec
from relctld.core.state import ExitStatus, Vm
from relctld.failpoints import Failpoint, reach
from relctld.host import gate, process
from relctld.host.containment import Containment
from relctld.host.reaper import Reaper
from relctld.supervisor.history import timestamp
from relctld.supervisor.latecomers import Latecomers
from relctld.supervisor.launcher import Launch, Launcher, LaunchError
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.recipe import Place
from relctld.supervisor.shell import Shell, chance
from relctld.supervisor.standby import Standby, Standbys
from relctld.supervisor.tasks import Tasks

log = structlog.get_logger()

_NUMBERS = {Signal.STOP: signal.SIGTERM, Signal.DUMP: signal.SIGUSR1, Signal.KILL: signal.SIGKILL}
_BEFORE = {
    Signal.STOP: Failpoint.BEFORE_STOP,
    Signal.DUMP: Failpoint.BEFORE_DUMP,
    Signal.KILL: Failpoint.BEFORE_KILL,
}
_AFTER = {Signal.STOP: Failpoint.AFTER_STOP, Signal.DUMP: Failpoint.AFTER_DUMP, Signal.KILL: Failpoint.AFTER_KILL}

SPAWN = "spawn"
"""The tasks that launch."""


class Vms:
    """At most one a release, from its launch to its end."""

    def __init__(
        self,
        *,
        shell: Shell,
        tasks: Tasks,
        reaper: Reaper,
        containment: Containment,
        launcher: Launcher,
        standbys: Standbys,
        latecomers: Latecomers,
        nodes: Nodes,
        pool: Executor,
    ) -> None:
        self._shell = shell
        self._tasks = tasks
        self._reaper = reaper
        self._containment = containment
        self._launcher = launcher
        self._standbys = standbys
        self._latecomers = latecomers
        self._nodes = nodes
        self._pool = pool
        self._loop = asyncio.get_running_loop()

    def spawn(self, managed: Managed, epoch: int) -> None:
        """Off to a worker at once, not by a task: every turn of the loop is a part of a restart's time."""
        spec, place = managed.spec, Place(managed.folder, managed.log_folder)
        standby = self._standbys.take(managed.name, epoch)
        launch = partial(self._launcher.launch, spec, place, epoch, standby.raised if standby else None)
        work = self._loop.run_in_executor(self._pool, launch)
        self._tasks.start(f"{SPAWN} {managed.name}", self._spawned(managed, epoch, spec, standby, work))

    async def _spawned(
        self,
        managed: Managed,
        epoch: int,
        spec: ReleaseSpec,
        standby: Standby | None,
        work: asyncio.Future[Launch],
    ) -> None:
        try:
            launch = await work
        except LaunchError as error:
            self._spawn_failed(managed.name, epoch, str(error), nothing=error.nothing_installed)
        except Exception as error:
            log.exception("surprise", release=managed.name)
            self._spawn_failed(managed.name, epoch, f"{type(error).__name__}: {error}", nothing=False)
        else:
            managed.launched, managed.launched_spec = launch.launched, spec
            for warning in launch.warnings:
                log.warning("release.warning", release=managed.name, warning=warning)
            # Before it is watched: a gate that stood by may have ended already, and its end comes after its birth.
            self._shell.post(VmSpawned(managed.name, epoch, launch.vm))
            self._nodes.begin(managed, epoch, launch.vm)
            self._watch(managed, epoch, launch, standby)
            if launch.raised.amiss is not None:
                self._latecomers.look_after(managed, epoch, launch.vm, spec.limits, launch.raised.amiss)
        if standby is not None and not standby.watched:
            self._standbys.dismiss(managed.name, standby)

    def _spawn_failed(self, name: str, epoch: int, why: str, *, nothing: bool) -> None:
        self._shell.post(SpawnFailed(name, epoch, why, nothing, timestamp(), chance()))

    def _watch(self, managed: Managed, epoch: int, launch: Launch, standby: Standby | None) -> None:
        def ended(status: ExitStatus, comm: str) -> None:
            if comm == gate.COMM and status.code in (126, 127):
                self._tasks.start(f"explain {managed.name}", self._explain(managed, epoch, launch, status))
            else:
                self._exited(managed, epoch, status)

        managed.instance, managed.pidfd, managed.unlimited = launch.vm.instance, launch.pidfd, None
        managed.oom_kills = self._containment.oom_kills(managed.name, epoch, managed.instance)
        if standby is not None and launch.raised is standby.raised:
            standby.watch(ended)
        else:
            self._reaper.watch(launch.vm.pid, launch.pidfd, ended)

    def adopt(self, managed: Managed, vm: Vm, pidfd: int) -> None:
        """Take a living VM of a former daemon under our eyes; the pidfd is ours from now on."""
        epoch = managed.state.epoch
        managed.instance, managed.pidfd = vm.instance, pidfd
        amiss = self._containment.remember(vm)
        managed.oom_kills = replace(self._containment.oom_kills(managed.name, epoch, vm.instance), own=None)
        self._nodes.begin(managed, epoch, vm)
        self._reaper.watch(vm.pid, pidfd, lambda status, _: self._exited(managed, epoch, status))
        if amiss is not None:
            self._latecomers.look_after(managed, epoch, vm, managed.spec.limits, amiss)
        else:
            self._latecomers.search(managed, epoch, vm, managed.spec.limits)

    def signal(self, managed: Managed, effect: SignalVm) -> None:
        """Send it to the VM, if one lives."""
        if managed.pidfd is not None:
            reach(_BEFORE[effect.signal])
            process.send(managed.pidfd, _NUMBERS[effect.signal])
            reach(_AFTER[effect.signal])

    def _exited(self, managed: Managed, epoch: int, status: ExitStatus, why: str | None = None) -> None:
        managed.pidfd = None
        # One small file of cgroupfs, no disk: soon enough to be read here, where the order of things is kept.
        kills = self._containment.oom_kills(managed.name, epoch, managed.instance)
        oom = status.signal == "SIGKILL" and kills.since(managed.oom_kills)
        self._shell.post(VmExited(managed.name, epoch, status, timestamp(), oom, why))
        self._nodes.end(managed.name)  # behind what must be known, whatever goes wrong here

    async def _explain(self, managed: Managed, epoch: int, launch: Launch, status: ExitStatus) -> None:
        managed.pidfd = None
        why = None
        try:
            why = await self._loop.run_in_executor(self._pool, gate.why_not_executed, launch.argv, launch.cwd)
        except Exception:
            log.exception("surprise", release=managed.name)
        self._exited(managed, epoch, status, why)
