"""All releases together: the one timer, the end of all, and misses that no node is to blame for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.core.fleet import due, is_quiet, misses_count, next_tick
from relctld.core.model import QUIET, ReleaseState, State

TIMES = st.none() | st.floats(0, 100)
STATES = st.lists(
    st.builds(
        ReleaseState,
        name=st.text("abc", min_size=1, max_size=3),
        state=st.sampled_from(State),
        deadline=TIMES,
        poll_at=TIMES,
    ),
    max_size=6,
)


@given(STATES)
def test_the_timer_is_armed_for_the_first_who_is_due(states: list[ReleaseState]) -> None:
    at = next_tick(states)
    if at is None:
        assert due(states, 1e9) == ()
    else:
        assert due(states, at)
        assert not due(states, at - 1e-6)


def test_nobody_due_needs_no_timer() -> None:
    assert next_tick([]) is None
    assert next_tick([ReleaseState("a"), ReleaseState("b", State.RUNNING)]) is None


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
        (0, 0, True),
    ],
)
def test_when_most_nodes_miss_together_the_host_is_the_trouble(running: int, missing: int, count: bool) -> None:
    states = [ReleaseState(f"r{i}", State.RUNNING, misses=1 if i < missing else 0) for i in range(running)]
    assert misses_count(states) is count
    starting = [ReleaseState(f"s{i}", State.STARTING, misses=1) for i in range(100)]
    assert misses_count(states + starting) is count, "only running ones are asked for their health"
