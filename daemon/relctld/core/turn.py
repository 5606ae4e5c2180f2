"""One step under way: the state so far and the effects ordered; what both `lifecycle` and `requests` build on."""

from dataclasses import replace

from relctld.core.effects import (
    Answer,
    CancelHook,
    Done,
    Effect,
    Refused,
    Report,
    RunHook,
    Signal,
    SignalVm,
    SpawnVm,
    Sweep,
)
from relctld.core.notes import Note
from relctld.core.probes import ProcessProbe
from relctld.core.spec import Hook, ReleaseSpec
from relctld.core.state import Ending, Health, Launch, Op, ReleaseState, State, Waiter

TERM_AGAIN = 1.0
"""Seconds between two SIGTERMs: a booting BEAM loses them, a stopping one ignores further ones."""

KILL_AGAIN = 1.0
"""Seconds until a SIGKILL or a sweep that left something is repeated."""


class Turn:
    """The accumulator of one step; it never leaves `step()`."""

    __slots__ = ("effects", "now", "spec", "state")

    def __init__(self, state: ReleaseState, spec: ReleaseSpec, now: float) -> None:
        self.state = state
        self.spec = spec
        self.now = now
        self.effects: list[Effect] = []

    def do(self, effect: Effect) -> None:
        """Order an effect."""
        self.effects.append(effect)

    def report(self, note: Note, **fields: object) -> None:
        """Tell operators; every report carries the epoch it is about, the present one unless told otherwise."""
        self.do(Report(self.state.name, note, {"epoch": self.state.epoch, **fields}))

    def answer(self, waiter: Waiter, outcome: Done | Refused) -> None:
        """Tell one operator what became of the request."""
        self.do(Answer(self.state.name, waiter.request, outcome))


def begin(t: Turn) -> None:
    """Start a new epoch: pre_start first, where there is one."""
    s = t.state
    hook = Hook.PRE_START in t.spec.hooks.argv
    patience = t.spec.start_timeout + (t.spec.hooks.timeout if hook else 0.0)
    t.state = replace(
        s,
        state=State.STARTING,
        epoch=s.epoch + 1,
        vm=None,
        incarnation=None,
        launch=Launch.HOOK if hook else Launch.SPAWN,
        ending=None,
        dumping=False,
        told=False,
        deadline=t.now + patience,
        poll_at=None,
        since=t.now,
        started=None,
        well_since=None,
        been_well=False,
        misses=0,
        unheard=0,
        health=Health.UNKNOWN,
        health_detail="",
    )
    t.report(Note.STARTING)
    epoch = t.state.epoch
    t.do(RunHook(s.name, epoch, Hook.PRE_START) if hook else SpawnVm(s.name, epoch))


def begin_by_hand(t: Turn) -> None:
    """An operator's start: the counters of automatic restarts are cleared."""
    t.state = replace(t.state, restarts=(), delays=0)
    begin(t)


def end(t: Turn, ending: Ending) -> None:
    """Begin to end what is starting or running: SIGTERM, again and again, until it is gone or out of time."""
    s = t.state
    t.state = replace(
        s,
        state=State.STOPPING,
        ending=ending,
        dumping=False,
        told=False,
        deadline=t.now + t.spec.stop_timeout,
        poll_at=t.now + TERM_AGAIN if s.vm else None,
        since=t.now,
    )
    t.report(Note.STOPPING, why=str(ending))
    if s.vm:
        t.do(SignalVm(s.name, s.epoch, Signal.STOP))
    elif s.launch is Launch.HOOK:
        t.do(CancelHook(s.name, s.epoch))


def kill(t: Turn, why: str) -> None:
    """SIGKILL, and again at each deadline until the VM is gone."""
    s = t.state
    t.state = replace(
        s, state=State.KILLING, dumping=False, deadline=t.now + KILL_AGAIN, poll_at=None, since=t.now, told=False
    )
    t.report(Note.KILLING, why=why)
    if s.vm:
        t.do(SignalVm(s.name, s.epoch, Signal.KILL))
    elif s.launch is Launch.HOOK:
        t.do(CancelHook(s.name, s.epoch))


def sweep(t: Turn, *, gentle: bool) -> None:
    """End what the VM left; never two sweeps at once, so none is under way when a successor starts."""
    t.state = replace(t.state, sweeping=True)
    t.do(Sweep(t.state.name, t.state.epoch, gentle))


def stuck(t: Turn, left: tuple[str, ...]) -> None:
    """Something outlives SIGKILL: say so, once."""
    told = t.state.told
    t.state = replace(t.state, told=True, health_detail=f"left: {', '.join(left)}")
    if not told:
        t.report(Note.STUCK, left=list(left))


def forget_delays(t: Turn) -> None:
    """After `period` of running well the delays begin at the first again."""
    well_since = t.state.well_since
    if well_since is not None and t.now - well_since >= t.spec.period:
        t.state = replace(t.state, delays=0)


def rest(t: Turn, state: State, *, until: float | None = None) -> None:
    """Come to rest in STOPPED or FAILED, or wait in BACKOFF; nothing of the release runs."""
    t.state = replace(
        t.state,
        state=state,
        vm=None,
        incarnation=None,
        launch=Launch.NONE,
        ending=None,
        dumping=False,
        told=False,
        deadline=until,
        poll_at=None,
        since=t.now,
        started=None,
        well_since=None,
        been_well=False,
        misses=0,
        unheard=0,
        health=Health.UNKNOWN,
        health_detail="",
    )


def settle(t: Turn, waiters: tuple[Waiter, ...], outcome: Done | Refused) -> None:
    """Answer these waiters and forget them."""
    t.state = replace(t.state, waiters=tuple(w for w in t.state.waiters if w not in waiters))
    for waiter in waiters:
        t.answer(waiter, outcome)


def waiting(state: ReleaseState, *ops: Op, epoch: int | None = None) -> tuple[Waiter, ...]:
    """The waiters with one of these operations, up to this epoch where one is given."""
    return tuple(w for w in state.waiters if w.request.op in ops and (epoch is None or w.epoch <= epoch))


def unprobed(spec: ReleaseSpec) -> bool:
    """Nothing asks this release how it is."""
    return isinstance(spec.health.probe, ProcessProbe)


def run_hook(t: Turn, hook: Hook) -> None:
    """Run a hook, where there is one."""
    if hook in t.spec.hooks.argv:
        t.do(RunHook(t.state.name, t.state.epoch, hook))


def seconds(t: Turn, since: float | None) -> float | None:
    """How long ago that was."""
    return None if since is None else round(t.now - since, 3)
