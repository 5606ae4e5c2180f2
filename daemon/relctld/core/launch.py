"""A VM comes up: pre_start, the spawn, and the question whether it is ready."""

from dataclasses import replace

from relctld.core.effects import Done, Refused, Signal, SignalVm, SpawnVm
from relctld.core.events import HookFinished, Resumed, SpawnFailed, VmExited, VmSpawned
from relctld.core.exits import gone, launch_ended, never_ran
from relctld.core.notes import Note
from relctld.core.probes import ProcessProbe
from relctld.core.requests import STARTS, unbegun
from relctld.core.spec import Hook, ReleaseSpec
from relctld.core.state import Cause, Ending, Launch, ReleaseState, State, Vm, Want
from relctld.core.turn import (
    KILL_AGAIN,
    TERM_AGAIN,
    Turn,
    begin,
    begin_by_hand,
    end,
    rest,
    run_hook,
    seconds,
    settle,
    sweep,
    unprobed,
    waiting,
)

READY_AFTER = 1.0
"""Seconds that a VM must live to be ready, where no probe tells more."""


_AT_REST = (State.STOPPED, State.FAILED, State.BACKOFF)


def booted(t: Turn) -> bool:
    """The daemon came up and nothing of this release runs."""
    if t.state.state is not State.STOPPED or t.state.halted:
        return False
    if t.state.want is Want.UP and t.spec.enabled:
        begin(t)
    return True


def resumed(t: Turn, event: Resumed) -> bool:
    """Go on where a former daemon stood. Its waiters went with it; its deadlines hold: the clock is the host's."""
    before = t.state
    t.state = replace(
        before,
        want=event.want,
        waiters=(),
        recording=(),
        halted=False,
        launch=Launch.NONE,
        sweeping=False,
        vm=event.vm,
    )
    if event.vm is None and before.ending is None and before.state not in _AT_REST and unbegun(t.state):
        t.state = replace(t.state, ending=Ending.RESTART)  # it may have been told to stop already
    if event.vm is not None:
        _adopt(t, event.vm)
    elif before.vm is not None:
        gone(t, VmExited(before.name, before.epoch, event.status, event.at), before.vm)
    elif before.state in (State.STARTING, State.STOPPING, State.KILLING):
        # It died between two steps of its own: nothing ran, or a sweep was under way. Sweep (again), then go on.
        t.state = replace(t.state, state=State.KILLING, deadline=t.now + KILL_AGAIN, poll_at=None)
        sweep(t, gentle=False)
    else:
        _wake(t, before)
    return True


def _adopt(t: Turn, vm: Vm) -> None:
    s = t.state
    if s.state in _AT_REST:
        # The saved state is older than this VM. Were it not taken up, a second copy might start beside it.
        s = replace(s, state=State.STARTING, deadline=t.now + t.spec.start_timeout, since=t.now)
    poll_at = None
    if s.state is State.STARTING:
        poll_at = _first_question(t)
    elif (s.state is State.RUNNING and not unprobed(t.spec)) or (s.state is State.STOPPING and not s.dumping):
        poll_at = t.now
    detail = no_answer_yet(t.spec) if s.state is State.RUNNING else ""
    t.state = replace(s, poll_at=poll_at, started=s.started or t.now, health_detail=detail)
    t.report(Note.RESUMED, pid=vm.pid, state=str(s.state))
    if s.want is Want.DOWN and s.state in (State.STARTING, State.RUNNING):
        end(t, Ending.STOP)
    elif s.state in (State.STARTING, State.RUNNING) and unbegun(s):
        end(t, Ending.RESTART)


def _wake(t: Turn, before: ReleaseState) -> None:
    """Nothing of it runs: carry out the wish that was recorded last, start again what a daemon's stop ended."""
    if t.state.want is Want.DOWN:
        if before.state is not State.STOPPED:
            rest(t, State.STOPPED)
            t.report(Note.STOPPED)
    elif before.want is Want.DOWN or (before.halted and t.spec.enabled) or unbegun(t.state):
        begin_by_hand(t)


def hook_finished(t: Turn, event: HookFinished) -> bool:
    """A hook ended; only pre_start decides anything."""
    s = t.state
    if event.hook is not Hook.PRE_START:
        if event.error is not None:
            t.report(Note.HOOK_FAILED, epoch=event.epoch, hook=str(event.hook), error=event.error)
        return True
    if s.launch is not Launch.HOOK or event.epoch != s.epoch:
        return False
    t.state = replace(s, launch=Launch.NONE)
    if s.state is State.STARTING and event.error is None:
        t.state = replace(t.state, launch=Launch.SPAWN)
        t.do(SpawnVm(s.name, s.epoch))
    elif s.state is State.STARTING:
        t.report(Note.HOOK_FAILED, hook=str(event.hook), error=event.error)
        never_ran(t, Cause.BOOT_FAILED, f"pre_start: {event.error}", event.at, event.chance)
    else:
        launch_ended(t, f"pre_start: {event.error or 'ended too late'}", event.at, event.chance)
    return True


def spawned(t: Turn, event: VmSpawned) -> bool:
    """The VM is past its gate. Somebody may have asked for its end meanwhile."""
    s = t.state
    if s.launch is not Launch.SPAWN:
        return False
    s = t.state = replace(s, launch=Launch.NONE, vm=event.vm, started=t.now)
    t.report(Note.SPAWNED, pid=event.vm.pid)
    if s.state is State.STARTING:
        t.state = replace(s, deadline=t.now + t.spec.start_timeout, poll_at=_first_question(t))
    elif s.state is State.STOPPING:
        t.state = replace(s, poll_at=t.now + TERM_AGAIN)
        t.do(SignalVm(s.name, s.epoch, Signal.STOP))
    else:
        t.do(SignalVm(s.name, s.epoch, Signal.KILL))
    return True


def spawn_failed(t: Turn, event: SpawnFailed) -> bool:
    """No VM came of the launch."""
    if t.state.launch is not Launch.SPAWN:
        return False
    t.state = replace(t.state, launch=Launch.NONE)
    if t.state.state is not State.STARTING:
        launch_ended(t, event.reason, event.at, event.chance)
    elif event.nothing_installed:
        hint = f"relctl deploy {t.state.name} TARBALL installs it"
        why = Refused("impossible", f"nothing installed: {event.reason}", hint)
        settle(t, waiting(t.state, *STARTS), why)
        rest(t, State.STOPPED)
        t.report(Note.STOPPED, why=f"nothing installed: {event.reason}")
    else:
        never_ran(t, Cause.EXEC_FAILED, event.reason, event.at, event.chance)
    return True


def ready(t: Turn) -> None:
    """The release is up: tell who waited, and begin to ask how it is."""
    s = t.state
    t.state = replace(
        s,
        state=State.RUNNING,
        deadline=None,
        poll_at=None if unprobed(t.spec) else t.now,
        since=t.now,
        well_since=t.now,
        health_detail=no_answer_yet(t.spec),
    )
    t.report(Note.RUNNING, pid=s.vm.pid if s.vm else None, seconds=seconds(t, s.started))
    settle(t, waiting(t.state, *STARTS, epoch=s.epoch), Done(changed=True))
    run_hook(t, Hook.POST_START)


def _first_question(t: Turn) -> float:
    """When to ask first whether it is ready."""
    return t.now + READY_AFTER if isinstance(t.spec.ready, ProcessProbe) else t.now


def no_answer_yet(spec: ReleaseSpec) -> str:
    """The detail of a health that is unknown."""
    return "no probe: the process is alive" if unprobed(spec) else "not probed yet"
