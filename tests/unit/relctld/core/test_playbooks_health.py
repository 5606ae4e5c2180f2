"""The probes: ready or not, well or not. Only *hung* restarts a node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relctld.core.effects import AskProbe
from relctld.core.probes import AUTO, NodeProbe, TcpProbe
from relctld.core.spec import HealthSpec, OnHung
from relctld.core.state import Health, State
from tests.playbook import SPEC, Expected, Has, Playbook
from tests.words import (
    asks,
    configured,
    done,
    exited,
    holds,
    ignored,
    linked,
    noted,
    probed,
    rests,
    resumed,
    running,
    sends,
    spawns,
    starting,
    stopping,
    sweeps,
    swept,
    tick,
    told,
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
    miss(p, 2, credible=False)
    assert p << rests(State.RUNNING, health=Health.WELL, misses=0)
    assert (
        p
        >> tick()
        << asks()
        >> probed("timeout", credible=False)
        << noted("health", health="degraded", detail=Has("not held against it"))
        << rests(State.RUNNING, health=Health.DEGRADED, misses=0)
    )


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


# -- what only a node can say ----------------------------------------------------------------------

AUTO_READY = replace(SPEC, ready=AUTO, health=HealthSpec(AUTO, interval=5.0, timeout=2.0, failures=3))
REFUSED = "cannot link to web@h: it does not accept our cookie"


def test_a_node_that_boots_is_not_ready() -> None:
    p = starting(AUTO_READY)
    for _ in range(10):
        p.given(tick(), told("busy", "booting"))
    assert (
        p
        << rests(State.STARTING, health_detail="not ready: booting")
        >> tick()
        << asks()
        >> probed()
        << noted("running")
        << done("earlier")
        << rests(State.RUNNING)
    )


def test_a_release_without_a_node_is_ready_when_it_has_lived_for_a_second() -> None:
    assert (
        starting(AUTO_READY)
        >> tick()
        << asks()
        >> told("no-link", "distribution is off")
        << rests(State.STARTING)
        >> tick()
        << asks()
        >> told("no-link", "distribution is off")
        << noted("running", seconds=1.0)
        << done("earlier")
        >> tick()
        << asks()
        >> told("no-link", "distribution is off")
        << rests(State.RUNNING, health=Health.UNKNOWN, health_detail="distribution is off")
    )


def test_a_node_that_lets_us_not_in_is_ready_all_the_same() -> None:
    """It may serve well; that relctld has a wrong cookie is no reason to end it at start_timeout."""
    p = starting(AUTO_READY)
    for _ in range(4):
        p.given(tick(), told("refused", REFUSED))
    assert (
        p
        << rests(State.STARTING, health_detail=f"not ready: {REFUSED}")
        >> tick()
        << asks()
        >> told("refused", REFUSED)
        << noted("running")
        << done("earlier")
        >> tick()
        << asks()
        >> told("refused", REFUSED)
        << noted("health", health="unreachable", before="unknown", detail=REFUSED)
        << rests(State.RUNNING, health=Health.UNREACHABLE)
    )


def test_a_refusal_that_passes_is_waited_for() -> None:
    p = starting(AUTO_READY)
    for n in range(10):
        p.given(tick(), told("refused", f"closed {n}"))
    assert p << rests(State.STARTING, health_detail="not ready: closed 9")


def test_where_the_node_must_be_ready_a_refusal_ends_the_start() -> None:
    p = starting(replace(AUTO_READY, ready=NodeProbe(), start_timeout=2.0))
    for _ in range(8):
        p.given(tick(), told("refused", REFUSED))
    assert (
        p
        >> tick()
        << noted("stopping", why="boot-timeout")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="boot-failed", detail=f"not ready within 2 s (not ready: {REFUSED})")
        << sweeps(gentle=False)
    )


@pytest.mark.parametrize(("verdict", "health"), [("busy", "degraded"), ("refused", "unreachable")])
def test_what_is_not_hanging_is_told_and_restarts_nobody(verdict: str, health: str) -> None:
    p = running(AUTO_READY)
    miss(p, 2)
    p.given(tick(), told(verdict, "so"))
    miss(p, 2)
    assert p << rests(State.RUNNING)
    for _ in range(20):
        p.given(tick(), told(verdict, "so"))
    assert (
        p
        << rests(State.RUNNING, health=Health(health), health_detail="so", misses=0)
        >> tick()
        << asks()
        >> told(verdict, "otherwise")
        << noted("health", health=health, before=health, detail="otherwise")
        >> tick()
        << asks()
        >> probed()
        << noted("health", health="well", before=health)
    )


def test_a_node_that_is_linked_no_more_is_asked_seldom() -> None:
    p = running(AUTO_READY)
    assert (
        p
        >> tick()
        << asks()
        >> told("no-link", "no Erlang VM")
        << noted("health", health="unknown", before="well", detail="no Erlang VM")
        << holds(poll_at=p.now + 5.0 + 60.0)
    )


def test_a_boot_inside_the_process_is_a_restart() -> None:
    p = running(AUTO_READY).given(linked("50.0"))
    assert (
        p
        >> linked("50.0")
        >> linked("812.0")
        << noted("vm-restarted", pid=100)
        << noted("health", health="unknown", before="well", detail="not probed yet")
        << rests(State.RUNNING, restarts_total=1, epoch=1, been_well=False)
        >> tick()
        << asks()
        >> told("busy", "booting")
        << noted("health", health="degraded", detail="booting")
        >> tick()
        << asks()
        >> probed()
        << noted("health", health="well")
    )
    last = p.state.last_exit
    assert last is not None
    assert (str(last.cause), last.pid, last.epoch) == ("vm-restarted", 100, 1)


def test_a_second_boot_before_it_is_ready_is_none() -> None:
    p = starting(AUTO_READY).given(linked("50.0"), tick(), told("busy", "booting"))
    assert p >> linked("812.0") >> tick() << asks() >> probed() << noted("running") << done("earlier")
    assert p << holds(restarts_total=0, last_exit=None)


def test_a_link_to_the_same_boot_after_a_new_relctld_is_nothing() -> None:
    p = running(AUTO_READY).given(linked("50.0"), resumed(100))
    assert p >> linked("50.0") << holds(restarts_total=0, incarnation="50.0")


def test_a_boot_inside_the_process_while_relctld_was_away_is_a_restart() -> None:
    p = running(AUTO_READY).given(linked("50.0"), resumed(100))
    p.state = replace(p.state, health=Health.UNKNOWN)  # which is not kept
    assert p >> linked("812.0") << noted("vm-restarted") << holds(restarts_total=1)


def test_a_link_after_the_end_is_ignored() -> None:
    p = running(replace(AUTO_READY, intensity=0)).given(exited(1), swept())
    assert p >> linked("50.0") << ignored()
