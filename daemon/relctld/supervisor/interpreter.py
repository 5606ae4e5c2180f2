"""Carries out effects. It decides nothing and awaits nothing: what takes time becomes a task, and its end an event.

Every task is named and kept until it is done; every one ends in the event that `effects.py` promises, whatever goes
wrong within it.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import structlog

from relctld.beam import crashdump
from relctld.core.effects import (
    Answer,
    AskProbe,
    CancelHook,
    Effect,
    Ignored,
    Record,
    RecordRequest,
    RecordWant,
    Report,
    RunHook,
    Save,
    Signal,
    SignalVm,
    SpawnVm,
    Sweep,
)
from relctld.core.events import (
    DumpFound,
    HookFinished,
    Recorded,
    SpawnFailed,
    Swept,
    VmExited,
    VmSpawned,
)
from relctld.core.model import ExitStatus, Hook, ReleaseSpec, ReleaseState, State, Vm, Want
from relctld.core.probes import LinkProbe, Verdict
from relctld.failpoints import Failpoint, reach
from relctld.host import gate, process, records
from relctld.host.command import Commands
from relctld.host.containment import Containment
from relctld.host.reaper import Reaper
from relctld.host.records import Launched
from relctld.host.store import Store
from relctld.supervisor import surprises
from relctld.supervisor.asking import Asking
from relctld.supervisor.journal import Journal, timestamp
from relctld.supervisor.latecomers import Latecomers
from relctld.supervisor.launcher import Launch, Launcher, LaunchError
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.recipe import Place
from relctld.supervisor.shell import Shell, chance
from relctld.supervisor.standby import Standby, Standbys

log = structlog.get_logger()

_NUMBERS = {Signal.STOP: signal.SIGTERM, Signal.DUMP: signal.SIGUSR1, Signal.KILL: signal.SIGKILL}
_BEFORE = {
    Signal.STOP: Failpoint.BEFORE_STOP,
    Signal.DUMP: Failpoint.BEFORE_DUMP,
    Signal.KILL: Failpoint.BEFORE_KILL,
}
_AFTER = {Signal.STOP: Failpoint.AFTER_STOP, Signal.DUMP: Failpoint.AFTER_DUMP, Signal.KILL: Failpoint.AFTER_KILL}
_SAVE_WITHIN = 0.01
_TIDY_AFTER = 0.05


class Interpreter:
    """The outside, as the core's effects see it."""

    def __init__(
        self,
        *,
        reaper: Reaper,
        containment: Containment,
        launcher: Launcher,
        standbys: Standbys,
        commands: Commands,
        nodes: Nodes,
        store: Store,
        journal: Journal,
        pool: Executor,
        errands: Executor,
        scribe: Executor,
    ) -> None:
        self._reaper = reaper
        self._containment = containment
        self._launcher = launcher
        self._standbys = standbys
        self._nodes = nodes
        self._store = store
        self._journal = journal
        self._pool = pool
        self._errands = errands
        self._scribe = scribe
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._latecomers = Latecomers(containment, journal, errands, self.start)
        self.shell = Shell(self._loop, self.carry_out)
        nodes.post = self.shell.post
        self.asking = Asking(launcher=launcher, commands=commands, nodes=nodes, pool=pool, releases=self.shell.releases)
        self.answer: Callable[[Answer], None] = lambda _: None

    def carry_out(self, managed: Managed, effect: Effect) -> None:
        """Order what the core ordered. It ends, even if that fails by surprise."""
        try:
            self._carry_out(managed, effect)
        except Exception as error:
            log.exception("surprise", release=managed.name, cause=type(effect).__name__)
            end = surprises.end_of(effect, f"{type(error).__name__}: {error}", timestamp(), chance())
            if end is not None:
                self.shell.post(end)

    def _carry_out(self, managed: Managed, effect: Effect) -> None:
        match effect:
            case RunHook():
                self._run_hook(managed, effect)
            case CancelHook():
                if managed.hook is not None:
                    managed.hook.cancel()
            case SpawnVm():
                self._spawn(managed, effect.epoch)
            case SignalVm():
                self._signal(managed, effect)
            case Sweep():
                self._sweep(managed, effect)
            case AskProbe():
                self.start(f"probe {managed.name}", self._probe(managed, effect))
            case RecordWant() | RecordRequest():
                self._record(managed, effect)
            case Save():
                self.save(managed)
            case Answer():
                self.answer(effect)
            case Report():
                self._journal.report(effect.release, effect.note, effect.fields)
            case Ignored():
                log.debug("event.ignored", release=effect.release, event_type=effect.event, state=effect.state)
            case _ as never:
                assert_never(never)

    def task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a named task and keep it until it is done."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task that nobody needs to hold."""
        _ = self.task(name, work)

    async def launched(self, seconds: float) -> None:
        """Wait for the launches under way, but no longer than this."""
        if launches := [task for task in self._tasks if task.get_name().startswith("spawn ")]:
            await asyncio.wait(launches, timeout=seconds)

    async def close(self) -> None:
        """End all tasks; save what is not saved yet."""
        for managed in self.shell.releases.values():
            self._save_due(managed)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- up ------------------------------------------------------------------------------------

    def _spawn(self, managed: Managed, epoch: int) -> None:
        """Off to a worker at once, not by a task: every turn of the loop is a part of a restart's time."""
        spec, place = managed.spec, Place(managed.folder, managed.log_folder)
        standby = self._standbys.take(managed.name, epoch)
        launch = partial(self._launcher.launch, spec, place, epoch, standby.raised if standby else None)
        work = self._loop.run_in_executor(self._pool, launch)
        self.start(f"spawn {managed.name}", self._spawned(managed, epoch, spec, standby, work))

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
            self.shell.post(VmSpawned(managed.name, epoch, launch.vm))
            self._nodes.begin(managed, epoch, launch.vm)
            self._watch(managed, epoch, launch, standby)
            if launch.raised.amiss is not None:
                self._latecomers.look_after(managed, epoch, launch.vm, spec.limits, launch.raised.amiss)
        if standby is not None and not standby.watched:
            self._standbys.dismiss(managed.name, standby)

    def _spawn_failed(self, name: str, epoch: int, why: str, *, nothing: bool) -> None:
        self.shell.post(SpawnFailed(name, epoch, why, nothing, timestamp(), chance()))

    def _watch(self, managed: Managed, epoch: int, launch: Launch, standby: Standby | None) -> None:
        def ended(status: ExitStatus, comm: str) -> None:
            if comm == gate.COMM and status.code in (126, 127):
                self.start(f"explain {managed.name}", self._explain(managed, epoch, launch, status))
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

    def _exited(self, managed: Managed, epoch: int, status: ExitStatus, why: str | None = None) -> None:
        managed.pidfd = None
        # One small file of cgroupfs, no disk: soon enough to be read here, where the order of things is kept.
        kills = self._containment.oom_kills(managed.name, epoch, managed.instance)
        oom = status.signal == "SIGKILL" and kills.since(managed.oom_kills)
        self.shell.post(VmExited(managed.name, epoch, status, timestamp(), oom, why))
        self._nodes.end(managed.name)  # behind what must be known, whatever goes wrong here

    async def _explain(self, managed: Managed, epoch: int, launch: Launch, status: ExitStatus) -> None:
        managed.pidfd = None
        why = None
        try:
            why = await self._loop.run_in_executor(self._pool, gate.why_not_executed, launch.argv, launch.cwd)
        except Exception:
            log.exception("surprise", release=managed.name)
        self._exited(managed, epoch, status, why)

    # -- asking --------------------------------------------------------------------------------

    async def _probe(self, managed: Managed, effect: AskProbe) -> None:
        kills = self._containment.oom_kills(managed.name, effect.epoch, managed.instance)
        probed = await self.asking.probe(managed, effect)
        answered = isinstance(effect.probe, LinkProbe) and probed.finding.verdict in (Verdict.WELL, Verdict.BUSY)
        if answered and effect.epoch == managed.state.epoch:
            managed.oom_kills = kills  # it answered after them: what was killed was not the VM
        self.shell.post(probed)

    def _run_hook(self, managed: Managed, effect: RunHook) -> None:
        error: list[str | None] = ["cancelled"]

        def finished(_: asyncio.Task[None]) -> None:
            # Not by the task itself: one that is cancelled before its first step would never say so.
            outcome = HookFinished(managed.name, effect.epoch, effect.hook, error[0], timestamp(), chance())
            self.shell.post(outcome)

        async def run() -> None:
            error[0] = await self.asking.hook(managed, effect)

        task = self.task(f"hook {effect.hook} {managed.name}", run())
        task.add_done_callback(finished)
        if effect.hook is Hook.PRE_START:
            managed.hook = task

    # -- down ----------------------------------------------------------------------------------

    def _signal(self, managed: Managed, effect: SignalVm) -> None:
        if managed.pidfd is not None:
            reach(_BEFORE[effect.signal])
            process.send(managed.pidfd, _NUMBERS[effect.signal])
            reach(_AFTER[effect.signal])

    def _sweep(self, managed: Managed, effect: Sweep) -> None:
        """Most VMs leave nothing behind. Where that can be seen at a glance, nobody waits for a worker."""
        name, epoch = managed.name, effect.epoch
        reach(Failpoint.BEFORE_SWEEP)
        empty = partial(self._containment.empty, name, epoch, managed.instance, gentle=effect.gentle)
        if self._containment.is_empty(name, epoch, managed.instance):
            self._swept(name, epoch, ())
            self.start(f"tidy {name}", self._tidy(empty))
            self.start(f"dumps {name}", self._look_for_dump(managed, epoch))
        else:
            self.start(f"sweep {name}", self._empty(managed, epoch, empty))

    async def _empty(self, managed: Managed, epoch: int, empty: Callable[[], tuple[str, ...]]) -> None:
        left: tuple[str, ...] = ("a sweep that failed",)
        try:
            left = await self._loop.run_in_executor(self._pool, empty)
        except Exception:
            log.exception("surprise", release=managed.name)
        finally:
            self._swept(managed.name, epoch, left)
        if not left:
            await self._look_for_dump(managed, epoch)

    def _swept(self, name: str, epoch: int, left: tuple[str, ...]) -> None:
        self.shell.post(Swept(name, epoch, left, chance()))
        reach(Failpoint.AFTER_SWEEP)

    async def _tidy(self, empty: Callable[[], tuple[str, ...]]) -> None:
        """Nothing lives in it any more; what held it is taken away, once its successor is on its way."""
        await asyncio.sleep(_TIDY_AFTER)
        with contextlib.suppress(OSError):
            await self._loop.run_in_executor(self._errands, empty)

    async def _look_for_dump(self, managed: Managed, epoch: int) -> None:
        """After the sweep, so that a log disk that hangs delays no restart. An old epoch's dump is only pruned."""
        folder, keep = managed.log_folder / "crash", managed.spec.crash.keep

        def look() -> str | None:
            found = next((d for d in crashdump.list_dumps(folder) if d.epoch == epoch), None)
            crashdump.prune(folder, keep)
            return (found.slogan or "no slogan") if found else None

        async with managed.looking:  # one after the other, or a later one prunes what is not told yet
            slogan = await self._loop.run_in_executor(self._errands, look)
        if slogan is not None:
            self.shell.post(DumpFound(managed.name, epoch, slogan))

    def save(self, managed: Managed) -> None:
        """What an operator asked for, what runs and what rests, at once; the steps of a restart by itself together.

        So a restart is not kept by the writing. What must not be lost meanwhile is that a VM lives, or lived; that is
        recorded while it waits at its gate, and when it has passed.
        """
        state = managed.state
        on_its_way = state.state in (State.KILLING, State.STARTING)
        under_way = state.want is Want.UP and state.ending is None and on_its_way
        if managed.save_due is None:
            managed.save_due = self._loop.call_later(_SAVE_WITHIN, self._save_due, managed)
        if not under_way:
            self._save_due(managed)

    def _save_due(self, managed: Managed) -> None:
        if managed.save_due is not None:
            managed.save_due.cancel()
            managed.save_due = None
            self._scribe.submit(_write_state, managed.folder, managed.state, managed.launched)

    def _record(self, managed: Managed, effect: Record) -> None:
        """The request before its want: a successor that acts on the want must know who asked."""

        def written(_: int | None, error: str | None) -> None:
            self.shell.post(Recorded(effect.release, effect.request_id, error))

        def known() -> None:
            if isinstance(effect, RecordWant):
                self._store.put_want(effect.release, effect.want, written)
            else:
                written(None, None)

        self._save_due(managed)
        self._scribe.submit(self._loop.call_soon_threadsafe, known)


def _write_state(folder: Path, state: ReleaseState, launched: Launched) -> None:
    """In the scribe's thread, which takes them in their order."""
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        records.write_state(folder, state, launched)
    except OSError as error:
        log.warning("state.unsaved", release=state.name, error=str(error))
