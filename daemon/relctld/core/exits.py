"""A VM is gone: why, what of it is left, and what follows.

The exit status alone does not say why: 0 is also init:reboot(), a stray SIGQUIT, somebody's `bin/x stop`. So what
was asked comes first. After the VM comes the sweep; after the sweep, rest, a new start, or backoff.
"""

from dataclasses import replace

from relctld.core.effects import Done, Refused
from relctld.core.events import DumpFound, Swept, VmExited
from relctld.core.notes import Note
from relctld.core.requests import STARTS
from relctld.core.restarts import add_restart, delay
from relctld.core.spec import Hook, Restart
from relctld.core.state import UNKNOWN_STATUS, Cause, Ending, ExitStatus, LastExit, Op, ReleaseState, State, Vm, Want
from relctld.core.turn import (
    KILL_AGAIN,
    Turn,
    begin,
    begin_by_hand,
    forget_delays,
    rest,
    run_hook,
    seconds,
    settle,
    stuck,
    sweep,
    waiting,
)

_ASKED = (Ending.STOP, Ending.RESTART, Ending.SHUTDOWN)

_CAUSE_OF_ENDING = {
    Ending.STOP: Cause.STOPPED,
    Ending.RESTART: Cause.STOPPED,
    Ending.SHUTDOWN: Cause.STOPPED,
    Ending.HUNG: Cause.HUNG,
    Ending.BOOT_TIMEOUT: Cause.BOOT_FAILED,
}


def exited(t: Turn, event: VmExited) -> bool:
    """The VM's process ended."""
    if t.state.vm is None:
        return False
    gone(t, event, t.state.vm)
    return True


def gone(t: Turn, event: VmExited, vm: Vm | None) -> None:
    """The VM is gone: keep its evidence, forget the delays if it ran well for long, and sweep what it left."""
    s, status = t.state, event.status
    cause, detail = classify(s, event), _detail(t, event)
    pid = vm.pid if vm else None
    forget_delays(t)
    t.report(
        Note.EXITED,
        code=status.code,
        signal=status.signal,
        cause=str(cause),
        pid=pid,
        detail=detail,
        uptime_s=seconds(t, s.started),
    )
    t.state = replace(
        t.state,
        state=State.KILLING,
        vm=None,
        incarnation=None,
        dumping=False,
        told=False,
        deadline=t.now + KILL_AGAIN,
        poll_at=None,
        since=t.now,
        last_exit=LastExit(event.at, status, cause, pid, detail, s.epoch),
    )
    sweep(t, gentle=s.ending in _ASKED and s.state is State.STOPPING)
    if cause is not Cause.STOPPED:
        run_hook(t, Hook.ON_CRASH)


def _detail(t: Turn, event: VmExited) -> str:
    s = t.state
    if s.ending is Ending.BOOT_TIMEOUT:
        why = f" ({s.health_detail})" if s.health_detail else ""
        return f"not ready within {t.spec.start_timeout:g} s{why}"
    return s.health_detail if s.ending is Ending.HUNG else event.exec_error or ""


def swept(t: Turn, event: Swept) -> bool:
    """A sweep ended: all is over, or something outlives SIGKILL."""
    s = t.state
    if not s.sweeping:
        return False
    t.state = replace(s, sweeping=False, deadline=t.now + KILL_AGAIN)
    if event.left:
        stuck(t, event.left)
    else:
        over(t, event.chance)
    return True


def dump_found(t: Turn, event: DumpFound) -> bool:
    """A dump is found after the exit was told; it makes of `halted` and `unknown` the crash that it was."""
    last = t.state.last_exit
    if last is None or last.epoch != event.epoch:
        return False
    t.report(Note.CRASH_DUMP, epoch=event.epoch, slogan=event.slogan, pid=last.pid)
    cause = Cause.CRASH_DUMP if last.cause in (Cause.HALTED, Cause.UNKNOWN) else last.cause
    t.state = replace(t.state, last_exit=replace(last, cause=cause, detail=last.detail or event.slogan))
    return True


def launch_ended(t: Turn, reason: str, at: str, chance: float) -> None:
    """A launch came to nothing after its end was decided."""
    if t.state.ending is Ending.BOOT_TIMEOUT:
        never_ran(t, Cause.BOOT_FAILED, f"out of time: {reason}", at, chance)
    else:
        over(t, chance)


def never_ran(t: Turn, cause: Cause, detail: str, at: str, chance: float) -> None:
    """This epoch ended without a VM."""
    last = LastExit(at, ExitStatus(), cause, None, detail, t.state.epoch)
    t.state = replace(t.state, last_exit=last)
    t.report(Note.EXITED, code=None, signal=None, cause=str(cause), pid=None, detail=detail, uptime_s=None)
    over(t, chance)


def over(t: Turn, chance: float) -> None:
    """Nothing is left of this epoch: answer who waited for that, then rest, start anew, or back off."""
    s = t.state
    run_hook(t, Hook.POST_STOP)
    settle(t, waiting(s, Op.STOP), Done(changed=True))
    if s.halted or s.want is Want.DOWN:
        rest(t, State.STOPPED)
        t.report(Note.STOPPED)
        return
    last = s.last_exit if s.last_exit is not None and s.last_exit.epoch == s.epoch else None
    why = in_words(last.cause, last.status, last.detail) if last else "it never ran"
    settle(t, waiting(t.state, *STARTS, epoch=s.epoch), Refused("failed", why, boot=True))
    if s.ending in _ASKED or waiting(t.state, *STARTS):
        begin_by_hand(t)
    elif last is None:
        begin(t)  # the end of a former daemon cut its start short: no fault of the release
    elif not wants_restart(t.spec.restart, last.cause, last.status):
        rest(t, State.STOPPED)
        t.report(Note.STOPPED, why=f"restart is {t.spec.restart}")
    else:
        _again(t, chance, why)


def _again(t: Turn, chance: float, why: str) -> None:
    """An automatic restart: at once, after a delay, or never when there were too many."""
    s, spec = t.state, t.spec
    restarts = add_restart(s.restarts, t.now, spec.period)
    if len(restarts) > spec.intensity:
        rest(t, State.FAILED, until=t.now + spec.retry_failed if spec.retry_failed is not None else None)
        t.report(Note.FAILED, restarts=len(restarts) - 1, period_s=spec.period, why=why)
        return
    wait = delay(spec.backoff, s.delays, chance)
    t.state = replace(s, restarts=restarts, restarts_total=s.restarts_total + 1, delays=s.delays + 1)
    if wait == 0:
        begin(t)
    else:
        rest(t, State.BACKOFF, until=t.now + wait)
        t.report(Note.BACKOFF, delay_s=round(wait, 3), why=why)


def classify(state: ReleaseState, exited: VmExited) -> Cause:
    """The cause of an exit, by what was asked first, by what the kernel says after."""
    if exited.exec_error is not None:
        return Cause.EXEC_FAILED
    if state.ending is not None:
        return _CAUSE_OF_ENDING[state.ending]
    if exited.oom:
        return Cause.OOM
    if state.state is State.STARTING:
        return Cause.BOOT_FAILED
    return cause_of_status(exited.status)


def cause_of_status(status: ExitStatus) -> Cause:
    """What an exit status says by itself."""
    if status.signal is not None:
        return Cause.KILLED
    if status.code is not None:
        return Cause.HALTED
    return Cause.UNKNOWN


def is_normal(cause: Cause, status: ExitStatus) -> bool:
    """A normal exit, as OTP's `transient` understands it: the VM halted with 0."""
    return cause is Cause.HALTED and status.code == 0


def wants_restart(policy: Restart, cause: Cause, status: ExitStatus) -> bool:
    """Whether the policy asks for a restart after this end."""
    if policy is Restart.TEMPORARY:
        return False
    return policy is Restart.PERMANENT or not is_normal(cause, status)


def in_words(cause: Cause, status: ExitStatus, detail: str) -> str:
    """The end of a VM in a few words: `boot failed, exit code 1`."""
    how = status.signal or (f"exit code {status.code}" if status.code is not None else "exit status unknown")
    if cause is Cause.EXEC_FAILED:
        return f"it could not be executed: {detail}"
    if cause is Cause.BOOT_FAILED and detail and status == UNKNOWN_STATUS:  # a hook ended it, and there was no VM
        return f"boot failed: {detail}"
    text = f"{cause.replace('-', ' ')}, {how}"
    return f"{text}: {detail}" if detail else text
