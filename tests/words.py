"""The words of a playbook: what goes into the core, and what comes out (`tests/playbook.py`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core.probes import WELL, Finding, ProcessProbe, Verdict
from relctld.core.spec import Hook, ReleaseSpec
from relctld.core.state import UNKNOWN_STATUS, ExitStatus, Op, Request, State, Upgrading, Vm, Want
from tests.playbook import SPEC, Expected, Has, Heard, Holds, Playbook

AT = "2024-05-01T12:00:00Z"


class Named:
    """The request with this id."""

    def __init__(self, id: str) -> None:
        self.id = id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and other.id == self.id

    __hash__ = None  # type: ignore[assignment]  # as Has

    def __repr__(self) -> str:
        return f"request {self.id!r}"


# -- what goes in ----------------------------------------------------------------------------------


def _title(name: str, **told: object) -> str:
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in told.items() if v is not None)})"


def later(seconds: float) -> Heard:
    """The clock moves, and nothing was due meanwhile."""
    return Heard(f"later({seconds:g})", lambda p: p.advance(seconds))


def tick() -> Heard:
    """The clock moves to the next deadline, and it is told."""
    return Heard("tick()", lambda p: p.to_deadline())


def configured(spec: ReleaseSpec) -> Heard:
    """A reload: from here on this spec is in force."""

    def change(p: Playbook) -> ev.Event:
        before, p.spec = p.spec, spec
        return ev.Reconfigured(spec.name, before)

    return Heard("configured(…)", change)


def said(event: ev.Event) -> Heard:
    """Any event, word for word."""
    return Heard(repr(event), lambda _: event)


def booted() -> Heard:
    """The daemon came up."""
    return Heard("booted()", lambda p: ev.Booted(p.spec.name))


def resumed(pid: int | None = None, want: str | None = None, status: ExitStatus = UNKNOWN_STATUS) -> Heard:
    """The daemon came up after a former self; the VM `pid` lives, or none; `want` of the store, if it differs."""

    def make(p: Playbook) -> ev.Event:
        vm = None if pid is None else Vm(pid, pid * 10, "i")
        return ev.Resumed(p.spec.name, vm, Want(want) if want else p.state.want, AT, status)

    return Heard(_title("resumed", pid=pid, want=want), make)


def asked(op: str, by: str = "ann", id: str | None = None) -> Heard:
    """An operator asks; the request is known by `id`, else by its op."""
    return Heard(
        _title("asked", op=op, by=by), lambda p: ev.Requested(p.spec.name, Request(id or op, Op(op), by, p.now))
    )


def upgrade_begun(target: str = "1.1.0", by: str = "bob", id: str = "u1") -> Heard:
    """A hot upgrade is under way."""
    return Heard(_title("upgrade_begun"), lambda p: ev.UpgradeBegun(p.spec.name, Upgrading(id, target, by)))


def upgrade_ended() -> Heard:
    """It is over."""
    return Heard(_title("upgrade_ended"), lambda p: ev.UpgradeEnded(p.spec.name))


def recorded(id: str, error: str | None = None) -> Heard:
    """The store has the want of this request, or cannot have it."""
    return Heard(_title("recorded", id=id, error=error), lambda p: ev.Recorded(p.spec.name, id, error))


def halted() -> Heard:
    """The daemon is stopping, with its nodes."""
    return Heard("halted()", lambda p: ev.Halted(p.spec.name))


def spawned(pid: int = 100) -> Heard:
    """The VM is past its gate."""
    return Heard(f"spawned({pid})", lambda p: ev.VmSpawned(p.spec.name, p.state.epoch, Vm(pid, pid * 10, f"i{pid}")))


def spawn_failed(reason: str, nothing_installed: bool = False) -> Heard:
    """No VM came of it."""
    return Heard(
        _title("spawn_failed", reason=reason),
        lambda p: ev.SpawnFailed(p.spec.name, p.state.epoch, reason, nothing_installed, AT, p.chance),
    )


def exited(
    code: int | None = None, signal: str | None = None, oom: bool = False, exec_error: str | None = None
) -> Heard:
    """The VM is gone."""
    return Heard(
        _title("exited", code=code, signal=signal, oom=oom or None, exec_error=exec_error),
        lambda p: ev.VmExited(p.spec.name, p.state.epoch, ExitStatus(code, signal), AT, oom, exec_error),
    )


def swept(*left: str) -> Heard:
    """The sweep ended, with these left."""
    return Heard(f"swept{left}", lambda p: ev.Swept(p.spec.name, p.state.epoch, left, p.chance))


def dump_found(slogan: str, epoch: int | None = None) -> Heard:
    """The VM of that epoch, else of the present one, left a crash dump."""
    return Heard(
        _title("dump_found", slogan=slogan),
        lambda p: ev.DumpFound(p.spec.name, p.state.epoch if epoch is None else epoch, slogan),
    )


def hook_finished(hook: str, error: str | None = None, epoch: int | None = None) -> Heard:
    """A hook of that epoch, else of the present one, ended."""
    return Heard(
        _title("hook_finished", hook=hook, error=error),
        lambda p: ev.HookFinished(
            p.spec.name, p.state.epoch if epoch is None else epoch, Hook(hook), error, AT, p.chance
        ),
    )


def probed(error: str | None = None, credible: bool = True) -> Heard:
    """A probe answered, or missed."""
    answer = WELL if error is None else Finding(Verdict.MISSED, error)
    return Heard(
        _title("probed", error=error, credible=credible),
        lambda p: ev.Probed(p.spec.name, p.state.epoch, answer, credible),
    )


def told(verdict: str, detail: str = "") -> Heard:
    """A probe ended with another verdict."""
    answer = Finding(Verdict(verdict), detail)
    return Heard(
        _title("told", verdict=verdict, detail=detail), lambda p: ev.Probed(p.spec.name, p.state.epoch, answer)
    )


def linked(incarnation: str) -> Heard:
    """The link to the node stands."""
    return Heard(
        _title("linked", incarnation=incarnation),
        lambda p: ev.Linked(p.spec.name, p.state.epoch, incarnation, AT),
    )


# -- what comes out --------------------------------------------------------------------------------


def records(want: str) -> Expected:
    """The want goes to the store."""
    return Expected(fx.RecordWant, want=Want(want))


def writes_down() -> Expected:
    """The request goes to the run directory."""
    return Expected(fx.RecordRequest)


def noted(note: str, **told: Any) -> Expected:
    """Operators are told."""
    return Expected(fx.Report, note=note, fields=told)


def spawns(epoch: int) -> Expected:
    """A VM is launched."""
    return Expected(fx.SpawnVm, epoch=epoch)


def sends(name: str) -> Expected:
    """The VM gets a signal."""
    return Expected(fx.SignalVm, signal=fx.Signal(name))


def sweeps(gentle: bool) -> Expected:
    """Leftovers are ended."""
    return Expected(fx.Sweep, gentle=gentle)


def asks() -> Expected:
    """The release is asked once."""
    return Expected(fx.AskProbe)


def runs(hook: str) -> Expected:
    """A hook is run."""
    return Expected(fx.RunHook, hook=Hook(hook))


def cancels() -> Expected:
    """The pre_start hook under way is ended."""
    return Expected(fx.CancelHook)


def done(id: str, changed: bool = True) -> Expected:
    """The request is true."""
    return Expected(fx.Answer, request=Named(id), outcome=fx.Done(changed))


def refused(id: str, why: str, kind: str = "failed") -> Expected:
    """The request came to nothing; `why` is part of the reason."""
    return Expected(fx.Answer, request=Named(id), outcome=Expected(fx.Refused, kind=kind, why=Has(why)))


def ignored() -> Expected:
    """The event made no sense."""
    return Expected(fx.Ignored)


def holds(**wanted: Any) -> Holds:
    """The state has these values now."""
    return Holds(**wanted)


def rests(state: State, **wanted: Any) -> Holds:
    """The release is in this state now."""
    return Holds(state=state, **wanted)


# -- where a dialogue begins -----------------------------------------------------------------------

WANTED = (asked("start", id="earlier"), recorded("earlier"))


def stopped(spec: ReleaseSpec = SPEC) -> Playbook:
    """Never started, want down."""
    return Playbook(spec)


def launching(spec: ReleaseSpec = SPEC) -> Playbook:
    """Started by hand (request `earlier`, which waits); its spawn, or its pre_start hook, is in flight."""
    return Playbook(spec).given(*WANTED)


def starting(spec: ReleaseSpec = SPEC) -> Playbook:
    """Started by hand (request `earlier`, which waits); VM 100 boots."""
    return Playbook(spec).given(*WANTED, spawned(100))


def running(spec: ReleaseSpec = SPEC) -> Playbook:
    """VM 100 runs; where there is a probe, it said well once."""
    ready = () if isinstance(spec.ready, ProcessProbe) else (probed(),)
    well = () if isinstance(spec.health.probe, ProcessProbe) else (tick(), probed())
    return Playbook(spec).given(*WANTED, spawned(100), tick(), *ready, *well)


def stopping(spec: ReleaseSpec = SPEC) -> Playbook:
    """VM 100 was told to stop (request `the-stop`, which waits)."""
    return running(spec).given(asked("stop", "bob", "the-stop"), recorded("the-stop"))


def killing(spec: ReleaseSpec = SPEC) -> Playbook:
    """As `stopping`, and VM 100 is gone; the sweep is under way."""
    return stopping(spec).given(exited(0))


def backing_off(spec: ReleaseSpec = SPEC) -> Playbook:
    """VM 100 crashed; the restart waits."""
    later_on = replace(spec, backoff=replace(spec.backoff, first=1.0))
    return running(later_on).given(exited(1), swept())


def failed(spec: ReleaseSpec = SPEC) -> Playbook:
    """VM 100 crashed, and that was once too often."""
    return running(replace(spec, intensity=0)).given(exited(1), swept())
