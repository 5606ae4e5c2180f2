"""The probes: ready or not, well or not. Only *hung* restarts a node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relctld.core.effects import AskProbe
from relctld.core.model import Health, HealthSpec, OnHung, State
from relctld.core.probes import TcpProbe
from tests.playbook import SPEC, Expected, Playbook
from tests.words import (
    asks,
    configured,
    done,
    exited,
    holds,
    ignored,
    noted,
    probed,
    rests,
    running,
    sends,
    spawns,
    starting,
    stopping,
    sweeps,
    swept,
    tick,
)

READY = TcpProbe("127.0.0.1", 4000)
ALIVE = TcpProbe("127.0.0.1", 4001)
PROBED = replace(SPEC, ready=READY, health=HealthSpec(ALIVE, interval=5.0, timeout=2.0, failures=3))
REPORTING = replace(PROBED, health=replace(PROBED.health, action=OnHung.REPORT))


def miss(p: Playbook, times: int, credible: bool = True) -> None:
    """The health probe is asked and missed, silently."""
    for _ in range(times):
        p.given(tick(), probed("timeout", credible))


def test_a_release_runs_when_its_own_probe_says_so() -> None:
    assert (
        starting(PROBED)
        >> tick()
        << Expected(AskProbe, probe=READY, timeout=2.0)
        >> probed("refused")
        << rests(State.STARTING, health_detail="not ready: refused")
        >> tick()
        << asks()
        >> probed()
        << noted("running")
        << done("earlier")
        << rests(State.RUNNING, health=Health.UNKNOWN)
        >> tick()
        << Expected(AskProbe, probe=ALIVE)
        >> probed()
        << noted("health", health="well", before="unknown")
        << rests(State.RUNNING, health=Health.WELL)
    )


def test_a_start_out_of_time_says_what_the_probe_said() -> None:
    p = starting(replace(PROBED, start_timeout=0.1)).given(tick(), probed("refused"))
    assert (
        p
        >> tick()
        << noted("stopping", why="boot-timeout")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="boot-failed", detail="not ready within 0.1 s (not ready: refused)")
        << sweeps(gentle=False)
    )


def test_a_release_without_a_probe_is_unknown_and_never_asked() -> None:
    assert running() << holds(health=Health.UNKNOWN, poll_at=None, deadline=None)


def test_hung_is_ended_and_restarted_as_a_crash() -> None:
    p = running(PROBED)
    miss(p, 2)
    assert (
        p
        << rests(State.RUNNING, health=Health.WELL, health_detail="missed 2 of 3: timeout")
        >> tick()
        << asks()
        >> probed("timeout")
        << noted("health", health="hung", before="well", detail="timeout")
        << noted("stopping", why="hung")
        << sends("SIGTERM")
        >> exited(signal="SIGKILL")
        << noted("exited", cause="hung", detail="timeout")
        << sweeps(gentle=False)
        >> swept()
        << noted("starting", epoch=2)
        << spawns(2)
        << holds(restarts_total=1)
    )


def test_hung_is_only_reported_where_the_config_says_so_and_may_recover() -> None:
    p = running(REPORTING)
    miss(p, 2)
    assert (
        p
        >> tick()
        << asks()
        >> probed("timeout")
        << noted("health", health="hung")
        << rests(State.RUNNING)
        >> tick()
        << asks()
        >> probed("timeout")
        << rests(State.RUNNING, health=Health.HUNG)
        >> tick()
        << asks()
        >> probed()
        << noted("health", health="well", before="hung")
        << holds(misses=0)
    )


def test_an_answer_between_misses_starts_the_count_again() -> None:
    p = running(PROBED)
    miss(p, 2)
    p.given(tick(), probed())
    miss(p, 2)
    assert p << rests(State.RUNNING, health=Health.WELL, misses=2)


def test_misses_that_are_not_credible_do_not_count() -> None:
    p = running(PROBED)
    miss(p, 10, credible=False)
    assert p << rests(State.RUNNING, health=Health.WELL, misses=0)


def test_a_release_that_was_never_well_is_degraded_and_left_alone() -> None:
    p = starting(PROBED).given(tick(), probed())
    miss(p, 2)
    assert (
        p
        >> tick()
        << asks()
        >> probed("404")
        << noted("health", health="degraded", detail="never well since its start: 404")
        << rests(State.RUNNING, health=Health.DEGRADED)
    )


def test_running_well_for_period_is_not_forgotten_when_it_hangs_after() -> None:
    """It ran well for days, then hung: that is a first failure again."""
    p = running(replace(PROBED, period=20.0))
    p.state = replace(p.state, delays=4)
    for _ in range(5):
        p.given(tick(), probed())
    miss(p, 3)
    assert (
        p
        << rests(State.STOPPING, delays=0)
        >> exited(0)
        << noted("exited", cause="hung")
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(2)
    )


def test_an_answer_that_comes_while_it_is_stopping_is_nothing() -> None:
    assert stopping(PROBED) >> probed("timeout") >> probed() << rests(State.STOPPING)


def test_a_probe_that_is_configured_away_is_asked_no_more() -> None:
    assert (
        running(PROBED)
        >> configured(SPEC)
        << noted("health", health="unknown", before="well", detail="no probe: the process is alive")
        << rests(State.RUNNING, poll_at=None)
        >> probed()
        << rests(State.RUNNING, health=Health.UNKNOWN, poll_at=None)
    )


def test_a_probe_that_is_configured_acts_at_once() -> None:
    p = running(SPEC)
    assert p >> configured(PROBED) << rests(State.RUNNING, health_detail="not probed yet") >> tick() << asks()
    assert p >> probed() << noted("health", health="well")


def test_a_reload_that_leaves_the_probe_leaves_what_it_said() -> None:
    assert running(PROBED) >> configured(REPORTING) << holds(health=Health.WELL)


@pytest.mark.parametrize("error", [None, "timeout"])
def test_an_answer_after_the_end_is_ignored(error: str | None) -> None:
    p = running(replace(PROBED, intensity=0)).given(exited(1), swept())
    assert p >> probed(error) << ignored() << rests(State.FAILED)
