"""All releases together: the one timer, the end of all, and misses that no node is to blame for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.core.events import Probed
from relctld.core.fleet import due, is_quiet, misses_count, next_tick
from relctld.core.lifecycle import step
from relctld.core.probes import AUTO, Finding, Verdict
from relctld.core.spec import HealthSpec
from relctld.core.state import QUIET, Health, ReleaseState, State, Vm, Want
from tests.playbook import SPEC


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0, 100)))
def test_the_timer_is_armed_for_the_first_who_is_due(deadlines: dict[str, float]) -> None:
    at = next_tick(deadlines)
    if at is None:
        assert due(deadlines, 1e9) == ()
    else:
        assert set(due(deadlines, at)) == {name for name, when in deadlines.items() if when == at}
        assert not due(deadlines, at - 1e-6)


def test_nobody_due_needs_no_timer() -> None:
    assert next_tick({}) is None


def test_the_daemon_may_go_when_all_is_quiet() -> None:
    assert is_quiet([])
    assert is_quiet([ReleaseState("a", State.STOPPED), ReleaseState("b", State.FAILED)])
    for state in set(State) - QUIET:
        assert not is_quiet([ReleaseState("a"), ReleaseState("b", state)])


@pytest.mark.parametrize(
    ("running", "missing", "count"),
    [
        (1, 1, True),
        (2, 2, True),
        (3, 1, True),
        (3, 2, False),
        (4, 2, True),
        (4, 3, False),
        (100, 51, False),
    ],
)
def test_when_most_nodes_miss_together_the_host_is_the_trouble(running: int, missing: int, count: bool) -> None:
    states = [
        ReleaseState(f"r{i}", State.RUNNING, been_well=True, unheard=1 if 0 < i < missing else 0)
        for i in range(running)
    ]
    assert misses_count(states, "r0") is count
    starting = [ReleaseState(f"s{i}", State.STARTING, unheard=1) for i in range(100)]
    assert misses_count(states + starting, "r0") is count, "only running ones are asked for their health"
    hung = [ReleaseState(f"h{i}", State.RUNNING, been_well=True, unheard=9, health=Health.HUNG) for i in range(100)]
    never = [ReleaseState(f"n{i}", State.RUNNING, unheard=9) for i in range(100)]
    assert misses_count(states + hung + never, "r0") is count, "what is ill for long excuses nobody"


@pytest.mark.parametrize("many", [3, 4, 10, 101])
def test_when_all_nodes_fall_silent_none_is_restarted_however_long_it_lasts(many: int) -> None:
    """A host that swaps: the probes of all are missed, one after the other, round after round."""
    spec = replace(SPEC, health=HealthSpec(AUTO, failures=3))
    up = ReleaseState("", State.RUNNING, want=Want.UP, vm=Vm(1, 1, ""), epoch=1, been_well=True, poll_at=0.0)
    states = {f"r{i}": replace(up, name=f"r{i}") for i in range(many)}
    for at in range(20):
        for name, state in states.items():
            counts = misses_count(states.values(), name)
            missed = Probed(name, 1, Finding(Verdict.MISSED, "no answer"), credible=counts)
            states[name], _ = step(state, missed, spec, float(at))
    assert {state.state for state in states.values()} == {State.RUNNING}
    assert {state.health for state in states.values()} == {Health.DEGRADED}, "and status does not call them well"
    assert max(state.misses for state in states.values()) < 3
