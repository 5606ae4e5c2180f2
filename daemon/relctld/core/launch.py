"""A VM comes up: pre_start, the spawn, and the question whether it is ready."""

from dataclasses import replace

from relctld.core.effects import Done, Refused, Signal, SignalVm, SpawnVm, Sweep
from relctld.core.events import HookFinished, Resumed, SpawnFailed, VmExited, VmSpawned
from relctld.core.exits import gone, launch_ended, never_ran
from relctld.core.model import (
    Cause,
    Hook,
    Launch,
    ProcessProbe,
    State,
    Want,
)
from relctld.core.notes import Note
from relctld.core.requests import STARTS
from relctld.core.turn import (
    KILL_AGAIN,
    TERM_AGAIN,
    Turn,
    begin,
    rest,
    run_hook,
    seconds,
    settle,
    unprobed,
    waiting,
)

READY_AFTER = 1.0
"""Seconds that a VM must live to be ready, where no probe tells more."""


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
    s = t.state = replace(before, waiters=(), recording=(), halted=False, launch=Launch.NONE, vm=event.vm)
    if s.state in (State.STOPPED, State.FAILED, State.BACKOFF):
        t.state = replace(s, vm=None)
    elif event.vm is None and before.vm is None:
        # It died between two steps of its own: nothing ran, or a sweep was under way. Sweep (again), then go on.
        t.state = replace(s, state=State.KILLING, deadline=t.now + KILL_AGAIN, poll_at=None)
        t.do(Sweep(s.name, s.epoch, gentle=False))
    elif event.vm is None:
        gone(t, VmExited(s.name, s.epoch, event.status, event.at), before.vm)
    else:
        t.report(Note.RESUMED, pid=event.vm.pid, state=str(s.state))
        poll = s.state is not State.KILLING and not (s.state is State.RUNNING and unprobed(t.spec))
        t.state = replace(s, poll_at=t.now if poll else None, started=s.started or t.now)
    return True


def hook_finished(t: Turn, event: HookFinished) -> bool:
    """A hook ended; only pre_start decides anything."""
    s = t.state
    if event.hook is not Hook.PRE_START:
        if event.error is not None:
            t.report(Note.HOOK_FAILED, hook=str(event.hook), error=event.error)
        return True
    if s.launch is not Launch.HOOK:
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
        ready_at = t.now + READY_AFTER if isinstance(t.spec.ready, ProcessProbe) else t.now
        t.state = replace(s, deadline=t.now + t.spec.start_timeout, poll_at=ready_at)
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
        why = Refused(
            "impossible", f"nothing installed: {event.reason}", "install the release into its root first"
        )
        settle(t, waiting(t.state, *STARTS), why)
        rest(t, State.STOPPED)
        t.report(Note.STOPPED, why=f"nothing installed: {event.reason}")
    else:
        never_ran(t, Cause.EXEC_FAILED, event.reason, event.at, event.chance)
    return True


def ready(t: Turn) -> None:
    """The release is up: tell who waited, and begin to ask how it is."""
    s = t.state
    silent = unprobed(t.spec)
    t.state = replace(
        s,
        state=State.RUNNING,
        deadline=None,
        poll_at=None if silent else t.now,
        since=t.now,
        well_since=t.now,
        health_detail="no probe: the process is alive" if silent else "not probed yet",
    )
    t.report(Note.RUNNING, pid=s.vm.pid if s.vm else None, seconds=seconds(t, s.started))
    settle(t, waiting(t.state, *STARTS, epoch=s.epoch), Done(changed=True))
    run_hook(t, Hook.POST_START)
