"""What the probes say: ready or not while it starts, well or not while it runs. Only *hung* restarts a node."""

from dataclasses import replace
from typing import assert_never

from relctld.core.events import Linked, Probed
from relctld.core.launch import READY_AFTER, no_answer_yet, ready
from relctld.core.notes import Note
from relctld.core.probes import AutoProbe, LinkProbe, Verdict
from relctld.core.spec import OnHung
from relctld.core.state import UNKNOWN_STATUS, Cause, Ending, Health, LastExit, State
from relctld.core.turn import Turn, end, forget_delays, unprobed

READY_AGAIN = 0.25
"""Seconds between two questions whether a starting release is ready."""

SETTLES = 5.0
"""Seconds of running after which no boot is under way any more, where the node itself is not asked for its health."""

LINK_AGAIN = 60.0
"""Seconds at least between two questions whether a release without a node has got one."""


def probed(t: Turn, event: Probed) -> bool:
    """A probe ended."""
    s = t.state
    if s.vm is None or s.state not in (State.STARTING, State.RUNNING):
        return s.state in (State.STOPPING, State.KILLING)
    if s.state is State.STARTING:
        _while_starting(t, event)
    elif not unprobed(t.spec):  # else it was asked before a reload
        _while_running(t, event)
    return True


def _while_starting(t: Turn, event: Probed) -> None:
    s, found = t.state, event.finding
    alive_for = t.now - (t.now if s.started is None else s.started)
    not_ready = f"not ready: {found.detail}"
    alone = found.verdict is Verdict.NO_LINK or (
        # Whom it does not let in it may serve well; `auto` asks for a link only where one is possible.
        found.verdict is Verdict.REFUSED and isinstance(t.spec.ready, AutoProbe) and s.health_detail == not_ready
    )
    if found.verdict is Verdict.WELL or (alone and alive_for >= READY_AFTER):
        ready(t)
    elif found.verdict is Verdict.NO_LINK:
        t.state = replace(s, poll_at=t.now + READY_AFTER - alive_for)
    else:
        t.state = replace(s, poll_at=t.now + READY_AGAIN, health_detail=not_ready)


def _while_running(t: Turn, event: Probed) -> None:
    s, found = t.state, event.finding
    interval = t.spec.health.interval
    if found.verdict is Verdict.WELL:  # almost always, of each release for ever
        since = s.well_since or t.now
        t.state = replace(s, poll_at=t.now + interval, unheard=0, misses=0, been_well=True, well_since=since)
        _say_health(t, Health.WELL, found.detail)
        return
    unheard = s.unheard + 1 if found.verdict is Verdict.MISSED else 0
    t.state = s = replace(s, poll_at=t.now + interval, unheard=unheard)
    match found.verdict:
        case Verdict.MISSED:
            if event.credible:
                _missed(t, found.detail)
            elif unheard >= t.spec.health.failures and s.health is not Health.HUNG:
                excuse = "not held against it: most are silent together, or relctld itself was late"
                _say_health(t, Health.DEGRADED, f"{found.detail}; {excuse}")
        case Verdict.BUSY:
            t.state = replace(s, misses=0)
            _say_health(t, Health.DEGRADED, found.detail)
        case Verdict.REFUSED:
            t.state = replace(s, misses=0)
            _say_health(t, Health.UNREACHABLE, found.detail)
        case Verdict.NO_LINK:
            t.state = replace(s, misses=0, poll_at=t.now + max(interval, LINK_AGAIN))
            _say_health(t, Health.UNKNOWN, found.detail)
        case _ as never:
            assert_never(never)


def linked(t: Turn, event: Linked) -> bool:
    """A link stands. A node that booted again inside its process counts as restarted, though its pid is the same.

    While it starts that is nothing special: a release that reads its configuration at run time boots twice.
    """
    s = t.state
    if s.vm is None:
        return False
    # What was linked in the first of two boots is seen anew only after the second: that is no restart yet.
    settled = s.been_well if isinstance(t.spec.health.probe, LinkProbe) else t.now - s.since >= SETTLES
    again = s.incarnation not in (None, event.incarnation) and s.state is State.RUNNING and settled
    t.state = replace(s, incarnation=event.incarnation)
    if again:
        last = LastExit(event.at, UNKNOWN_STATUS, Cause.VM_RESTARTED, s.vm.pid, "inside its process", s.epoch)
        forget_delays(t)
        t.state = replace(t.state, last_exit=last, restarts_total=s.restarts_total + 1, misses=0, well_since=None)
        t.report(Note.VM_RESTARTED, pid=s.vm.pid)
        reprobe(t)
    return True


def reprobe(t: Turn) -> None:
    """From now on this release is asked, or is asked no more."""
    t.state = replace(t.state, misses=0, unheard=0, been_well=False, poll_at=None if unprobed(t.spec) else t.now)
    _say_health(t, Health.UNKNOWN, no_answer_yet(t.spec))


def _missed(t: Turn, error: str) -> None:
    forget_delays(t)
    s = t.state = replace(t.state, misses=t.state.misses + 1, well_since=None)
    if s.misses < t.spec.health.failures:
        t.state = replace(s, health_detail=f"missed {s.misses} of {t.spec.health.failures}: {error}")
    elif not s.been_well:
        _say_health(t, Health.DEGRADED, f"never well since its start: {error}")
    else:
        _say_health(t, Health.HUNG, error)
        if t.spec.health.action is OnHung.RESTART:
            end(t, Ending.HUNG)


def _say_health(t: Turn, health: Health, detail: str) -> None:
    """Told when it changes, and when it is ill for another reason than before."""
    before, why = t.state.health, t.state.health_detail
    if before is health and why == detail:
        return
    t.state = replace(t.state, health=health, health_detail=detail)
    ill = health in (Health.DEGRADED, Health.UNREACHABLE)
    if before is not health or ill:
        t.report(Note.HEALTH, health=str(health), before=str(before), detail=detail)
