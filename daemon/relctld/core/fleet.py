"""All releases of the host together: the one timer, the end of all, and misses that no node is to blame for."""

from collections.abc import Iterable, Mapping

from relctld.core.state import QUIET, Health, ReleaseState, State


def next_tick(deadlines: Mapping[str, float]) -> float | None:
    """When the first release needs a Tick; None where none does. Monotonic seconds, of those that need one at all.

    What each of them needs is known from its last step: a hundred are looked at after each of a thousand.
    """
    return min(deadlines.values(), default=None)


def due(deadlines: Mapping[str, float], now: float) -> tuple[str, ...]:
    """The releases that need a Tick now."""
    return tuple(name for name, at in deadlines.items() if at <= now)


def is_quiet(states: Iterable[ReleaseState]) -> bool:
    """Nothing runs and nothing is under way: the daemon may go."""
    return all(s.state in QUIET for s in states)


def misses_count(states: Iterable[ReleaseState], judged: str) -> bool:
    """Whether a probe that was missed just now may be held against the release `judged`.

    When more than half of at least three running releases miss together, the host is the trouble, not a node:
    restarting them all would make an outage of a hiccup.
    """
    asked = [s for s in states if s.name == judged or (s.state is State.RUNNING and _was_well(s))]
    missing = sum(1 for s in asked if s.unheard or s.name == judged)
    return len(asked) < 3 or missing * 2 <= len(asked)


def _was_well(s: ReleaseState) -> bool:
    """What hangs already, or never was well, says nothing about the host of now."""
    return s.been_well and s.health is not Health.HUNG
