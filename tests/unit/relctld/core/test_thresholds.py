"""Thresholds: raised once, cleared once, and quiet in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.core.thresholds import HOUR, LIMITED, WARM_UP, Crossing, Reading, Use, Watch, judge

MB = 1_000_000
LATER = WARM_UP


def crossings(*readings: Reading, every: float = 5.0, begin: float = 0.0, watch: Watch | None = None) -> list[str]:
    """What was crossed, as `+name` and `-name`, after a warm-up without numbers."""
    watch, _ = judge(watch or Watch(), Reading(), begin - LATER)
    said = []
    for index, reading in enumerate(readings):
        watch, crossed = judge(watch, reading, begin + index * every)
        said += [("+" if crossing.raised else "-") + crossing.name for crossing in crossed]
    return said


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([0, 89, 80, 89], []),
        ([90], ["+"]),
        ([90, 95, 89, 80, 90, 80], ["+"]),
        ([90, 79], ["+", "-"]),
        ([90, None, 91, None, 79, 85, 90], ["+", "-", "+"]),
        ([200], ["+"]),
    ],
)
def test_near_a_limit(name: str, counts: list[int | None], said: list[str]) -> None:
    uses: list[dict[str, Any]] = [{name: Use(count, 100)} for count in counts]
    readings = [Reading(**use) for use in uses]
    assert crossings(*readings) == [sign + name for sign in said]


def test_without_a_limit_there_is_no_threshold() -> None:
    for limit in (None, 0):
        assert crossings(*[Reading(processes=Use(1 << 60, limit))] * 3) == []


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ([21, 21], []),
        ([21, 21, 20, 21, 21], []),
        ([21, 21, 21], ["+"]),
        ([21, None, 21, None, 21], ["+"]),
        ([21] * 9, ["+"]),
        ([21, 21, 21, 0, 0, 21, 0, 0, 7], ["+"]),
        ([21, 21, 21, 5, 5, 6, 5, 5], ["+"]),
        ([21, 21, 21, 5, 5, 5], ["+", "-"]),
        ([21, 21, 21, 5, 5, 5, 21, 21, 21], ["+", "-", "+"]),
    ],
)
def test_a_run_queue_of_two_schedulers(queues: list[int | None], said: list[str]) -> None:
    readings = [Reading(run_queue=queue, schedulers=2) for queue in queues]
    assert crossings(*readings) == [f"{sign}run_queue" for sign in said]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([100, 300], []),
        ([100, 301], ["+"]),
        ([400, 800], []),
        ([400, 801], ["+"]),
        ([801, 400], []),
        ([100, 301, 299, 301, 200], ["+"]),
        ([100, 301, 149], ["+", "-"]),
        ([400, 801, 500], ["+"]),
        ([400, 801, 499], ["+", "-"]),
        ([100, None, 301], ["+"]),
    ],
)
def test_memory(sizes: list[int | None], said: list[str]) -> None:
    readings = [Reading(memory=size and size * MB) for size in sizes]
    assert crossings(*readings) == [f"{sign}memory" for sign in said]


def test_memory_is_not_judged_while_a_node_warms_up() -> None:
    watch, said = Watch(), []
    for at, size in [(0, 50), (100, 900), (599, 2000), (600, 900), (605, 1700), (610, 1900)]:
        watch, crossed = judge(watch, Reading(memory=size * MB), float(at))
        said += [(at, crossing.raised) for crossing in crossed]
    assert said == [(610, True)]


def test_a_new_level_is_cleared_after_an_hour() -> None:
    minutes = [Reading(memory=100 * MB)] * 10 + [Reading(memory=500 * MB)] * 120
    watch, at = Watch(began=-LATER), dict[bool, int]()
    for minute, reading in enumerate(minutes):
        watch, crossed = judge(watch, reading, minute * 60.0)
        at |= {crossing.raised: minute for crossing in crossed}
    assert at[True] == 10
    assert 60 <= at[False] - 10 <= 70
    assert len(watch.lowest) <= 14


def test_what_a_crossing_says() -> None:
    reading = Reading(atoms=Use(950_000, 1_000_000), memory=900 * MB)
    watch = Watch(began=0.0, lowest=((2, 100 * MB),))
    watch, crossed = judge(watch, reading, LATER)
    assert watch.raised == ("atoms", "memory")
    assert crossed == (
        Crossing("atoms", True, 950_000, 1_000_000, "atoms: 950000 of 1000000 (95%)"),
        Crossing(
            "memory", True, 900 * MB, 300 * MB, "memory: 900000000 bytes, the lowest of the last hour is 100000000"
        ),
    )


NUMBERS = st.one_of(st.none(), st.integers(0, 130), st.integers(0, 1 << 63))
USES = st.builds(Use, NUMBERS, st.sampled_from([None, 0, 100, 130]))
READINGS = st.builds(
    Reading, USES, USES, USES, USES, NUMBERS, st.sampled_from([None, 0, 1, 4]),
    st.one_of(st.none(), st.integers(0, 3000).map(lambda size: size * MB)),
)  # fmt: skip


@given(st.lists(st.tuples(READINGS, st.floats(0, 2 * HOUR))))
def test_each_threshold_alternates_and_the_watch_knows(steps: list[tuple[Reading, float]]) -> None:
    watch, now, up = Watch(), 0.0, set[str]()
    for reading, passed in steps:
        now += passed
        watch, crossed = judge(watch, reading, now)
        assert len({crossing.name for crossing in crossed}) == len(crossed)
        for crossing in crossed:
            assert crossing.raised is (crossing.name not in up)
            up ^= {crossing.name}
        assert watch.raised == tuple(sorted(up))
        assert len(watch.lowest) <= 14


@given(st.sampled_from(LIMITED), st.lists(st.integers(80, 89)), st.booleans())
def test_between_the_lines_nothing_changes(name: str, counts: list[int], up: bool) -> None:
    watch = Watch(raised=(name,) if up else (), began=0.0)
    for at, count in enumerate(counts):
        use: dict[str, Any] = {name: Use(count, 100)}
        watch, crossed = judge(watch, Reading(**use), float(at))
        assert crossed == ()
