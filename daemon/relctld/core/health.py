"""What the probes say: ready or not while it starts, well or not while it runs. Only *hung* restarts a node."""

from dataclasses import replace

from relctld.core.events import Probed
from relctld.core.launch import no_answer_yet, ready
from relctld.core.model import Ending, Health, OnHung, State
from relctld.core.notes import Note
from relctld.core.turn import Turn, end, forget_delays, unprobed

READY_AGAIN = 0.25
"""Seconds between two questions whether a starting release is ready."""


def probed(t: Turn, event: Probed) -> bool:
    """A probe answered, or missed."""
    s = t.state
    if s.vm is None or s.state not in (State.STARTING, State.RUNNING):
        return s.state in (State.STOPPING, State.KILLING)
    if s.state is State.STARTING:
        if event.error is None:
            ready(t)
        else:
            t.state = replace(s, poll_at=t.now + READY_AGAIN, health_detail=f"not ready: {event.error}")
        return True
    if unprobed(t.spec):
        return True  # asked before a reload
    t.state = s = replace(s, poll_at=t.now + t.spec.health.interval)
    if event.error is None:
        t.state = replace(s, misses=0, been_well=True, well_since=s.well_since or t.now)
        _say_health(t, Health.WELL, "")
    elif event.credible:
        _missed(t, event.error)
    return True


def reprobe(t: Turn) -> None:
    """From now on this release is asked, or is asked no more."""
    t.state = replace(t.state, misses=0, been_well=False, poll_at=None if unprobed(t.spec) else t.now)
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
    before = t.state.health
    t.state = replace(t.state, health=health, health_detail=detail)
    if before is not health:
        t.report(Note.HEALTH, health=str(health), before=str(before), detail=detail)
