"""Carries out effects. It decides nothing and awaits nothing: what takes time becomes a task, and its end an event.

Every effect ends in the event that `effects.py` promises, whatever goes wrong within it.
"""

import asyncio
from collections.abc import Callable
from typing import assert_never

import structlog

from relctld.core.effects import (
    Answer,
    AskProbe,
    CancelHook,
    Effect,
    Ignored,
    RecordRequest,
    RecordWant,
    Report,
    RunHook,
    Save,
    SignalVm,
    SpawnVm,
    Sweep,
)
from relctld.core.events import HookFinished
from relctld.core.probes import LinkProbe, Verdict
from relctld.core.spec import Hook
from relctld.host.containment import Containment
from relctld.supervisor import surprises
from relctld.supervisor.asking import Asking
from relctld.supervisor.history import History, timestamp
from relctld.supervisor.managed import Managed
from relctld.supervisor.saving import Saver
from relctld.supervisor.shell import Shell, chance
from relctld.supervisor.sweeps import Sweeps
from relctld.supervisor.tasks import Tasks
from relctld.supervisor.vms import Vms

log = structlog.get_logger()


class Interpreter:
    """The outside, as the core's effects see it. `answer` takes what the core answers to a request."""

    def __init__(
        self,
        *,
        shell: Shell,
        tasks: Tasks,
        vms: Vms,
        sweeps: Sweeps,
        asking: Asking,
        saver: Saver,
        containment: Containment,
        history: History,
        answer: Callable[[Answer], None],
    ) -> None:
        self._shell = shell
        self._tasks = tasks
        self._vms = vms
        self._sweeps = sweeps
        self._asking = asking
        self._saver = saver
        self._containment = containment
        self._history = history
        self._answer = answer

    def carry_out(self, managed: Managed, effect: Effect) -> None:
        """Order what the core ordered. It ends, even if that fails by surprise."""
        try:
            self._carry_out(managed, effect)
        except Exception as error:
            log.exception("surprise", release=managed.name, cause=type(effect).__name__)
            end = surprises.end_of(effect, f"{type(error).__name__}: {error}", timestamp(), chance())
            if end is not None:
                self._shell.post(end)

    def _carry_out(self, managed: Managed, effect: Effect) -> None:
        match effect:
            case RunHook():
                self._run_hook(managed, effect)
            case CancelHook():
                if managed.hook is not None:
                    managed.hook.cancel()
            case SpawnVm():
                self._vms.spawn(managed, effect.epoch)
            case SignalVm():
                self._vms.signal(managed, effect)
            case Sweep():
                self._sweeps.sweep(managed, effect)
            case AskProbe():
                self._tasks.start(f"probe {managed.name}", self._probe(managed, effect))
            case RecordWant() | RecordRequest():
                self._saver.record(managed, effect)
            case Save():
                self._saver.save(managed)
            case Answer():
                self._answer(effect)
            case Report():
                self._history.report(effect.release, effect.note, effect.fields)
            case Ignored():
                log.debug("event.ignored", release=effect.release, event_type=effect.event, state=effect.state)
            case _ as never:
                assert_never(never)

    async def _probe(self, managed: Managed, effect: AskProbe) -> None:
        kills = self._containment.oom_kills(managed.name, effect.epoch, managed.instance)
        probed = await self._asking.probe(managed, effect)
        answered = isinstance(effect.probe, LinkProbe) and probed.finding.verdict in (Verdict.WELL, Verdict.BUSY)
        if answered and effect.epoch == managed.state.epoch:
            managed.oom_kills = kills  # it answered after them: what was killed was not the VM
        self._shell.post(probed)

    def _run_hook(self, managed: Managed, effect: RunHook) -> None:
        error: list[str | None] = ["cancelled"]

        def finished(_: asyncio.Task[None]) -> None:
            # Not by the task itself: one that is cancelled before its first step would never say so.
            outcome = HookFinished(managed.name, effect.epoch, effect.hook, error[0], timestamp(), chance())
            self._shell.post(outcome)

        async def run() -> None:
            error[0] = await self._asking.hook(managed, effect)

        task = self._tasks.make(f"hook {effect.hook} {managed.name}", run())
        task.add_done_callback(finished)
        if effect.hook is Hook.PRE_START:
            managed.hook = task
