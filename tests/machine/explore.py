"""The reachable states of one release, found by feeding `step()` every event from the initial state on.

Two states with the same `Shape` are one: times count only as *set or not*, names and numbers not at all. So the
search ends; of each shape one state is kept, with the clock it was reached at. Requests are bounded to `ASKERS` at
a time, which is enough for every pair of overlapping ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from relctld.core.effects import Effect
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
    VmExited,
    VmSpawned,
)
from relctld.core.exits import is_normal
from relctld.core.lifecycle import step, to_keep
from relctld.core.probes import AutoProbe, Finding, ProcessProbe, TcpProbe, Verdict
from relctld.core.spec import Backoff, HealthSpec, Hook, Hooks, OnHung, ReleaseSpec, Restart
from relctld.core.state import Asked, Ending, ExitStatus, Launch, Op, ReleaseState, Request, State, Upgrading, Vm, Want
from tests.asked import LONG

NAME = "web"
MOST = 20_000 if LONG else 5_000  # shapes of one spec; a machine that is sound has far fewer
AT = "2024-05-01T12:00:00Z"
TCP = TcpProbe("127.0.0.1", 4000)

UNPROBED = HealthSpec(ProcessProbe())
PLAIN = ReleaseSpec(
    NAME, Path("/opt/web"), start_timeout=3.0, stop_timeout=2.0, intensity=1, period=20.0,
    ready=ProcessProbe(), health=UNPROBED,
)  # fmt: skip
RICH = replace(
    PLAIN,
    ready=TCP,
    health=HealthSpec(TCP, interval=5.0, failures=2),
    restart=Restart.TRANSIENT,
    dump_on_kill=True,
    hooks=Hooks(dict.fromkeys(Hook, ("true",)), timeout=1.0),
    backoff=Backoff(first=1.0),
    retry_failed=30.0,
)
REPORTING = replace(PLAIN, health=replace(RICH.health, action=OnHung.REPORT), restart=Restart.TEMPORARY)
LINKED = replace(PLAIN, ready=AutoProbe(), health=HealthSpec(AutoProbe(), failures=2))
OVERLAPS = replace(PLAIN, restart=Restart.TEMPORARY)


class Shape(NamedTuple):
    """What of a state matters to the machine's next step.

    An upgrade under way changes the answer to a request and nothing else, so it is left out.
    """

    state: State
    want: Want
    launch: Launch
    ending: Ending | None
    vm: bool
    linked: bool
    dumping: bool
    sweeping: bool
    halted: bool
    deadline: bool
    poll_at: bool
    health: tuple[bool, bool, int] | None
    spent: int
    end: tuple[bool, bool] | None
    waiters: tuple[tuple[Op, int], ...]
    recording: tuple[Op, ...]


def shape(s: ReleaseState, spec: ReleaseSpec) -> Shape:
    """The shape of a state."""
    last = s.last_exit
    normal = spec.restart is Restart.TRANSIENT and last is not None and is_normal(last.cause, last.status)
    return Shape(
        state=s.state,
        want=s.want,
        launch=s.launch,
        ending=s.ending,
        vm=s.vm is not None,
        linked=s.incarnation is not None and s.state is State.RUNNING,
        dumping=s.dumping,
        sweeping=s.sweeping,
        halted=s.halted,
        deadline=s.deadline is not None,
        poll_at=s.poll_at is not None,
        health=(s.well_since is not None, s.been_well, min(s.misses, 2)) if s.state is State.RUNNING else None,
        spent=len(s.restarts),
        end=(last is not None and last.epoch == s.epoch, normal) if s.state is State.KILLING else None,
        waiters=tuple(sorted((w.request.op, w.epoch - s.epoch) for w in s.waiters)),
        recording=tuple(r.op for r in s.recording),
    )


class Case(NamedTuple):
    """An event that may come, said in words; `later`: seconds by which the clock moves first."""

    title: str
    event: Event
    later: float = 0.0


class Move(NamedTuple):
    """One step that was taken."""

    spec: ReleaseSpec
    before: ReleaseState
    case: Case
    now: float
    after: ReleaseState
    effects: tuple[Effect, ...]


def cases(s: ReleaseState, now: float, askers: int, other: ReleaseSpec) -> Iterator[Case]:
    """Every event, sensible here or not; those about a VM are of the present epoch. `other`: the spec before."""
    yield Case("Booted", Booted(NAME))
    yield Case("Halted", Halted(NAME))
    yield Case("UpgradeBegun", UpgradeBegun(NAME, Upgrading("u1", "1.1.0", "ann")))
    yield Case("UpgradeEnded", UpgradeEnded(NAME))
    yield Case("Reconfigured (probe, retry_failed)", Reconfigured(NAME, other))
    yield from _requests(s, now, askers)
    yield from _of_the_vm(s.epoch)
    yield Case("Tick (early)", Tick(NAME))
    for what, at in (("deadline", s.deadline), ("poll", s.poll_at)):
        if at is not None:
            yield Case(f"Tick ({what})", Tick(NAME), max(0.0, at - now))
    if s.state is State.RUNNING:
        yield Case("VmExited (after long)", VmExited(NAME, s.epoch, ExitStatus(1), AT), 100.0)


def _requests(s: ReleaseState, now: float, askers: int) -> Iterator[Case]:
    for op in Op:
        if len(s.waiters) + len(s.recording) < askers and not s.recording:
            request = Request(f"{op}-{now}-{len(s.recording)}", op, "ann", now)
            yield Case(f"Requested ({op})", Requested(NAME, request))
    for request in s.recording[:1]:
        yield Case(f"Recorded ({request.op})", Recorded(NAME, request.id, None))
        yield Case("Recorded (store full)", Recorded(NAME, request.id, "disk full"))
    yield Case("Recorded (unknown)", Recorded(NAME, "nobody", None))


def _of_the_vm(epoch: int) -> Iterator[Case]:
    yield Case("VmSpawned", VmSpawned(NAME, epoch, Vm(100 + epoch, 1, "i")))
    yield Case("SpawnFailed (no VM)", SpawnFailed(NAME, epoch, "fork failed", False, AT, 0.5))
    yield Case("SpawnFailed (nothing installed)", SpawnFailed(NAME, epoch, "empty", True, AT, 0.5))
    yield Case("VmExited (0)", VmExited(NAME, epoch, ExitStatus(0), AT))
    yield Case("VmExited (1)", VmExited(NAME, epoch, ExitStatus(1), AT))
    yield Case("VmExited (signal)", VmExited(NAME, epoch, ExitStatus(signal="SIGSEGV"), AT))
    yield Case("VmExited (oom)", VmExited(NAME, epoch, ExitStatus(signal="SIGKILL"), AT, oom=True))
    yield Case("VmExited (exec)", VmExited(NAME, epoch, ExitStatus(127), AT, exec_error="not found"))
    yield Case("Swept (clean)", Swept(NAME, epoch, (), 0.5))
    yield Case("Swept (left)", Swept(NAME, epoch, ("pid 7 (D)",), 0.5))
    yield Case("DumpFound (this epoch)", DumpFound(NAME, epoch, "boom"))
    yield Case("DumpFound (older epoch)", DumpFound(NAME, epoch - 1, "boom"))
    for verdict in Verdict:
        yield Case(f"Probed ({verdict})", Probed(NAME, epoch, Finding(verdict, "so")))
    yield Case("Probed (missed but not credible)", Probed(NAME, epoch, Finding(Verdict.MISSED), credible=False))
    yield Case("Linked", Linked(NAME, epoch, "1.0", AT))
    yield Case("Linked (again)", Linked(NAME, epoch, "2.0", AT))
    for hook in (Hook.PRE_START, Hook.POST_STOP):
        yield Case(f"HookFinished ({hook})", HookFinished(NAME, epoch, hook, None, AT, 0.5))
        yield Case(f"HookFinished ({hook} failed)", HookFinished(NAME, epoch, hook, "exit code 1", AT, 0.5))


def repeats(s: ReleaseState, now: float) -> Iterator[tuple[ReleaseState, Case]]:
    """A request that a former self took up, for this VM or the next, comes again."""
    for op in Op:
        for epoch in (s.epoch, s.epoch + 1):
            request = Request(f"{op}-again-{now}-{len(s.waiters)}", op, "ann", now)
            knowing = replace(s, asked=(Asked(request.id, op, epoch),))
            yield knowing, Case(f"Requested ({op}, again)", Requested(NAME, request))


def successors(s: ReleaseState) -> Iterator[Case]:
    """What a new daemon may find that has only what was saved of `s`."""
    for want in Want:
        yield Case(f"Resumed (VM lives and want {want})", Resumed(NAME, s.vm or Vm(999, 1, "i"), want, AT))
        yield Case(f"Resumed (no VM and want {want})", Resumed(NAME, None, want, AT))


@dataclass
class Explored:
    """What the search found: one state of each shape with its clock, and every step taken."""

    spec: ReleaseSpec
    states: dict[Shape, tuple[ReleaseState, float]] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)


def explore(spec: ReleaseSpec, askers: int = 1) -> Explored:
    """Search from the initial state until nothing new comes; at most `askers` requests are open at a time."""
    found = Explored(spec)
    queue: deque[tuple[ReleaseState, float]] = deque()

    def reach(state: ReleaseState, now: float) -> None:
        if (known := shape(state, spec)) not in found.states:
            assert len(found.states) < MOST, f"the states do not end; the last one: {state}"
            found.states[known] = (state, now)
            queue.append((state, now))

    reach(ReleaseState(NAME), 1000.0)
    reach(ReleaseState(NAME, want=Want.UP), 1000.0)
    while queue:
        state, now = queue.popleft()
        for before, case in _all_of(state, now, askers, spec):
            then = now + case.later
            after, effects = step(before, case.event, spec, then)
            found.moves.append(Move(spec, before, case, then, after, effects))
            reach(after, then)
    return found


def _all_of(state: ReleaseState, now: float, askers: int, spec: ReleaseSpec) -> Iterator[tuple[ReleaseState, Case]]:
    for case in cases(state, now, askers, RICH if spec.retry_failed is None else PLAIN):
        yield state, case
    if len(state.waiters) + len(state.recording) < askers:
        yield from repeats(state, now)
    saved = to_keep(state)
    for case in successors(saved):
        yield saved, case


@cache
def explore_all() -> tuple[Explored, ...]:
    """The search for each of the specs, which together reach every branch; RELCTL_TESTS=long asks for more at once."""
    more = 1 if LONG else 0
    return (
        explore(PLAIN, more),
        explore(OVERLAPS, 2),
        explore(RICH, 1),
        explore(REPORTING, more),
        explore(LINKED, 1),
    )
