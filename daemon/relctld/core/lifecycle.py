"""The life of one release: `step(state, event, spec, now) -> (state, effects)`.

Rule 1: only `launch`, `health`, `exits`, `requests` and `turn` change a release's state, each called from here.
Rule 2: an event that makes no sense in a state is `Ignored`; nothing raises.
Rule 3: KILLING is left only when the VM is gone, its launch has ended and a sweep found nothing left: no successor
        starts beside leftovers. `check` says what holds after every step.

    STOPPED ─begin→ STARTING ─ready→ RUNNING ─asked, hung→ STOPPING ─out of time→ KILLING ─swept→ STOPPED
                       └──── died ───────┴───────────→ KILLING ─swept→ BACKOFF ─deadline→ STARTING
                                                              └─swept, too many restarts→ FAILED
"""

from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, assert_never

from relctld.core import exits, health, launch, requests
from relctld.core.effects import AskProbe, Effect, Ignored, Save, Signal, SignalVm
from relctld.core.events import (
    Booted,
    DumpFound,
    Event,
    Halted,
    HookFinished,
    Linked,
    Probed,
    Reconfigured,
    Recorded,
    Requested,
    Resumed,
    SpawnFailed,
    Swept,
    Tick,
    UpgradeBegun,
    UpgradeEnded,
    VmEvent,
    VmExited,
    VmSpawned,
)
from relctld.core.probes import ProcessProbe
from relctld.core.spec import ReleaseSpec
from relctld.core.state import QUIET, TRANSIENT, Ending, Health, Launch, ReleaseState, State
from relctld.core.turn import (
    KILL_AGAIN,
    TERM_AGAIN,
    Turn,
    begin,
    begin_by_hand,
    end,
    kill,
    stuck,
    sweep,
    unprobed,
)


def step(state: ReleaseState, event: Event, spec: ReleaseSpec, now: float) -> tuple[ReleaseState, tuple[Effect, ...]]:
    """What `event` makes of `state` at `now` (monotonic seconds), and what is to be done about it."""
    t = Turn(state, spec, now)
    stale = isinstance(event, VmEvent) and event.epoch != state.epoch
    if stale or not _apply(t, event):
        return state, (Ignored(state.name, type(event).__name__, str(state.state)),)
    save = (Save(state.name),) if _kept(t.state) != _kept(state) else ()
    return t.state, (*save, *t.effects)


def to_keep(state: ReleaseState) -> ReleaseState:
    """What of a state is worth saving for the next daemon: all but what is asked anew, or dies with this one."""
    return replace(state, **_NOT_KEPT)


_NOT_KEPT: dict[str, Any] = {
    "poll_at": None,
    "misses": 0,
    "unheard": 0,
    "health": Health.UNKNOWN,
    "health_detail": "",
    "waiters": (),
    "recording": (),
    "sweeping": False,
    "told": False,
    "upgrading": None,
}

_kept = attrgetter(*(field.name for field in fields(ReleaseState) if field.name not in _NOT_KEPT))
"""What `to_keep` leaves as it is, to be compared at each step."""


def check(state: ReleaseState) -> None:
    """What is true after every step; raises AssertionError."""
    s = state
    busy = s.vm is not None or s.launch is not Launch.NONE
    ending = s.state in (State.STOPPING, State.KILLING)
    assert s.deadline is not None or s.state not in TRANSIENT, f"{s.state} without a deadline"
    assert s.deadline is None or s.state in (*TRANSIENT, State.FAILED), f"{s.state} with a deadline"
    assert not (busy and s.state in (*QUIET, State.BACKOFF)), f"{s.state} with something under way"
    assert not (s.vm is not None and s.launch is not Launch.NONE), "a second VM is on its way"
    assert busy or s.state not in (State.STARTING, State.STOPPING), f"{s.state} with nothing under way"
    assert s.vm is not None or s.state is not State.RUNNING, "running without a VM"
    assert s.ending is None or ending, f"{s.state} while ending"
    assert s.ending is not None or s.state is not State.STOPPING, "stopping for no reason"
    assert not s.sweeping or (s.state is State.KILLING and not busy), f"{s.state} while sweeping"
    assert not s.waiters or ending or s.state is State.STARTING, f"{s.state} with somebody waiting"
    assert all(w.epoch in (s.epoch, s.epoch + 1) for w in s.waiters), "somebody waits for a past epoch"
    assert not s.halted or s.state not in (State.STARTING, State.RUNNING, State.BACKOFF), f"{s.state} while halted"


def next_deadline(state: ReleaseState) -> float | None:
    """When this release needs a Tick (monotonic seconds)."""
    deadline, poll_at = state.deadline, state.poll_at
    if deadline is None or poll_at is None:
        return poll_at if deadline is None else deadline
    return min(deadline, poll_at)


def _apply(t: Turn, event: Event) -> bool:
    """Carry out one event; False where it makes no sense."""
    match event:
        case Booted():
            return launch.booted(t)
        case Resumed():
            return launch.resumed(t, event)
        case Requested():
            requests.requested(t, event)
        case Recorded():
            return requests.recorded(t, event)
        case Halted():
            requests.halted(t)
        case HookFinished():
            return launch.hook_finished(t, event)
        case VmSpawned():
            return launch.spawned(t, event)
        case SpawnFailed():
            return launch.spawn_failed(t, event)
        case VmExited():
            return exits.exited(t, event)
        case Swept():
            return exits.swept(t, event)
        case DumpFound():
            return exits.dump_found(t, event)
        case Probed():
            return health.probed(t, event)
        case Linked():
            return health.linked(t, event)
        case Reconfigured():
            _reconfigured(t, event)
        case UpgradeBegun():
            t.state = replace(t.state, upgrading=event.upgrading)
        case UpgradeEnded():
            t.state = replace(t.state, upgrading=None)
        case Tick():
            _tick(t)
        case _ as never:
            assert_never(never)
    return True


def _reconfigured(t: Turn, event: Reconfigured) -> None:
    """Most keys act when they are looked at next; these two would not be looked at."""
    s = t.state
    if s.state is State.FAILED and not s.halted and t.spec.retry_failed != event.before.retry_failed:
        t.state = replace(s, deadline=None if t.spec.retry_failed is None else s.since + t.spec.retry_failed)
    elif s.state is State.RUNNING and t.spec.health.probe != event.before.health.probe:
        health.reprobe(t)
    elif s.state is State.RUNNING and s.poll_at is not None:
        t.state = replace(s, poll_at=min(s.poll_at, t.now + t.spec.health.interval))


def _tick(t: Turn) -> None:
    s = t.state
    if s.deadline is not None and t.now >= s.deadline:
        _deadline(t)
    elif s.poll_at is not None and t.now >= s.poll_at:
        _poll(t)


def _deadline(t: Turn) -> None:
    s = t.state
    match s.state:
        case State.STARTING if s.vm is not None:
            end(t, Ending.BOOT_TIMEOUT)
        case State.STARTING:
            t.state = replace(s, ending=Ending.BOOT_TIMEOUT)
            kill(t, "the start is out of time")
        case State.STOPPING if t.spec.dump_on_kill and s.vm is not None and not s.dumping:
            t.state = replace(s, dumping=True, deadline=t.now + t.spec.crash.timeout, poll_at=None)
            t.do(SignalVm(s.name, s.epoch, Signal.DUMP))
        case State.STOPPING:
            kill(t, "out of time")
        case State.KILLING:
            _still_killing(t)
        case State.BACKOFF:
            begin(t)
        case State.FAILED:
            t.state = replace(s, restarts_total=s.restarts_total + 1)
            begin_by_hand(t)
        case State.STOPPED | State.RUNNING:
            t.state = replace(s, deadline=None)
        case _ as never:
            assert_never(never)


def _still_killing(t: Turn) -> None:
    s = t.state
    t.state = replace(s, deadline=t.now + KILL_AGAIN)
    if s.vm is not None:
        t.do(SignalVm(s.name, s.epoch, Signal.KILL))
        stuck(t, (f"pid {s.vm.pid}",))
    elif s.launch is Launch.NONE and not s.sweeping:
        sweep(t, gentle=False)


def _poll(t: Turn) -> None:
    s = t.state
    t.state = replace(s, poll_at=None)
    match s.state:
        case State.STARTING if isinstance(t.spec.ready, ProcessProbe):
            launch.ready(t)
        case State.STARTING:
            t.do(AskProbe(s.name, s.epoch, t.spec.ready, t.spec.health.timeout))
        case State.RUNNING if not unprobed(t.spec):
            t.do(AskProbe(s.name, s.epoch, t.spec.health.probe, t.spec.health.timeout))
        case State.STOPPING if s.vm is not None:
            t.state = replace(s, poll_at=t.now + TERM_AGAIN)
            t.do(SignalVm(s.name, s.epoch, Signal.STOP))
        case _:
            pass
