"""The arithmetic of restarts: what counts, how long to wait, and that a storm is spread."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from statistics import quantiles

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relctld.core.restarts import add_restart, delay, within
from relctld.core.spec import Backoff

CHANCE = st.floats(0.0, 1.0)
SERVED = st.integers(0, 10**12)
BACKOFFS = st.builds(
    Backoff,
    first=st.floats(0.0, 1e9),
    base=st.floats(0.0, 1e300),
    factor=st.floats(1.0, 1e300),
    max=st.floats(0.0, 1e300),
    jitter=st.floats(0.0, 1.0),
)
TIMES = st.lists(st.floats(0, 1e9), max_size=20).map(lambda times: tuple(sorted(times)))


def test_the_delays_of_the_defaults_without_jitter() -> None:
    delays = [delay(Backoff(), served, 0.5) for served in range(9)]
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 6.0), (0.5, 8.0), (1.0, 10.0)])
def test_jitter_is_a_part_of_the_delay_both_ways(chance: float, expected: float) -> None:
    assert delay(Backoff(), 4, chance) == expected


@given(BACKOFFS, CHANCE)
def test_the_first_delay_has_no_jitter(backoff: Backoff, chance: float) -> None:
    assert delay(backoff, 0, chance) == backoff.first


@given(BACKOFFS, SERVED.filter(bool), CHANCE)
@example(Backoff(base=0.0, factor=2.0), 10**12, 1.0)
@example(Backoff(factor=2), 10**12, 1.0)  # an int, as TOML may give it, must not become a number of 10^12 digits
def test_a_delay_is_finite_and_within_cap_and_jitter(backoff: Backoff, served: int, chance: float) -> None:
    wait = delay(backoff, served, chance)
    assert math.isfinite(wait)
    assert 0 <= wait <= backoff.max * (1 + backoff.jitter)


@given(BACKOFFS, st.integers(1, 10**6), CHANCE)
def test_delays_never_shrink(backoff: Backoff, served: int, chance: float) -> None:
    assert delay(backoff, served, chance) <= delay(backoff, served + 1, chance)


@given(BACKOFFS, st.integers(1, 100))
def test_jitter_bounds(backoff: Backoff, served: int) -> None:
    middle = delay(backoff, served, 0.5)
    for chance, bound in ((0.0, 1 - backoff.jitter), (1.0, 1 + backoff.jitter)):
        assert delay(backoff, served, chance) == pytest.approx(middle * bound)


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_a_storm_of_100_restarts_is_spread(seed: int, served: int) -> None:
    """All nodes of a host crash together (a database went away): their restarts come apart."""
    chances = random.Random(seed)
    delays = sorted(delay(Backoff(), served, chances.random()) for _ in range(100))
    plain = delay(Backoff(), served, 0.5)
    assert delays[-1] - delays[0] >= 0.2 * plain
    tenths = quantiles(delays, n=10)
    assert max(b - a for a, b in pairwise(tenths)) < 0.2 * plain, "they come in a lump"


def test_a_restart_counts_up_to_the_very_end_of_the_period() -> None:
    assert within((0.0, 0.1), 60.0, 60.0) == (0.0, 0.1)
    assert within((0.0, 0.1), 60.05, 60.0) == (0.1,)


@given(TIMES, st.floats(0, 1e9), st.floats(0.1, 1e6))
def test_add_restart_keeps_those_within_the_period_and_adds_this_one(
    restarts: tuple[float, ...], after: float, period: float
) -> None:
    now = max(restarts, default=0.0) + after
    added = add_restart(restarts, now, period)
    assert added[-1] == now
    assert added[:-1] == within(restarts, now, period)
    assert all(now - at <= period for at in added)
    assert add_restart(added, now + 3 * period, period) == (now + 3 * period,)
