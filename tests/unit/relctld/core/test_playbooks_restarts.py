"""What follows an end that nobody asked for: restart types, intensity and period, delays, retries, crash dumps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relctld.core.spec import Backoff, Restart
from relctld.core.state import Cause, State, Want
from tests.playbook import SPEC, Playbook
from tests.words import (
    configured,
    dump_found,
    exited,
    failed,
    holds,
    ignored,
    later,
    noted,
    rests,
    running,
    spawned,
    spawns,
    starting,
    sweeps,
    swept,
    tick,
)

TRANSIENT = replace(SPEC, restart=Restart.TRANSIENT)
TEMPORARY = replace(SPEC, restart=Restart.TEMPORARY)
PATIENT = replace(SPEC, intensity=99, backoff=Backoff(first=0.0, base=1.0, factor=2.0, max=5.0, jitter=0.25))


def crash(p: Playbook) -> None:
    """The VM that runs halts, and its leftovers are swept up; the next one, if it starts, runs."""
    p.given(exited(1), swept())
    if p.state.state is State.BACKOFF:
        p.given(tick())
    if p.state.state is State.STARTING:
        p.given(spawned(), tick())


def test_a_first_crash_is_restarted_at_once() -> None:
    assert (
        running()
        >> exited(signal="SIGKILL")
        << noted("exited", cause="killed", signal="SIGKILL", pid=100)
        << sweeps(gentle=False)
        >> swept()
        << noted("starting", epoch=2)
        << spawns(2)
        << holds(restarts_total=1, delays=1, want=Want.UP)
    )


def test_the_next_ones_wait_longer_each_time_up_to_the_cap() -> None:
    p = running(PATIENT)
    crash(p)
    for delay in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert (
            p
            >> exited(1)
            << noted("exited")
            << sweeps(gentle=False)
            >> swept()
            << noted("backoff", delay_s=delay)
            << rests(State.BACKOFF, deadline=p.now + delay)
            >> tick()
            << noted("starting")
            << spawns(p.state.epoch + 1)
            >> spawned()
            << noted("spawned")
            >> tick()
            << noted("running")
        )


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 0.75), (1.0, 1.25)])
def test_a_delay_has_jitter(chance: float, delay: float) -> None:
    p = running(PATIENT)
    p.chance = chance
    crash(p)
    assert p >> exited(1) << noted("exited") << sweeps(gentle=False) >> swept() << noted("backoff", delay_s=delay)


def test_after_period_of_running_well_the_backoff_is_first_again() -> None:
    p = running(PATIENT)
    crash(p)
    crash(p)
    assert (
        p
        << holds(delays=2)
        >> later(60)
        >> exited(1)
        << noted("exited", uptime_s=61.0)
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(4)
        << holds(delays=1)
    )


def test_more_restarts_than_intensity_in_the_period_is_failed_said_loudly() -> None:
    p = running(replace(SPEC, intensity=2))
    crash(p)
    crash(p)
    assert (
        p
        << rests(State.RUNNING, restarts_total=2)
        >> exited(1)
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << noted("failed", restarts=2, period_s=60.0)
        << rests(State.FAILED, want=Want.UP, deadline=None, restarts_total=2)
    )


def test_restarts_older_than_the_period_do_not_count() -> None:
    p = running(replace(SPEC, intensity=2))
    crash(p)
    crash(p)
    assert (
        p
        >> later(60)
        >> exited(1)
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(4)
    )


def test_intensity_0_allows_no_restart() -> None:
    assert failed() << rests(State.FAILED, restarts_total=0)


def test_retry_failed_tries_again_by_itself_with_clean_counters() -> None:
    p = running(replace(SPEC, intensity=0, retry_failed=600.0))
    assert (
        p
        >> exited(1)
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << noted("failed")
        << rests(State.FAILED, deadline=p.now + 600)
        >> tick()
        << noted("starting", epoch=2)
        << spawns(2)
        << holds(restarts=(), delays=0, restarts_total=1)
    )


def test_retry_failed_acts_at_once_when_it_is_configured_later() -> None:
    p = failed()
    since, quick = p.now, replace(p.spec, retry_failed=60.0)
    assert p >> later(5) >> configured(quick) << rests(State.FAILED, deadline=since + 60)
    assert p >> configured(replace(quick, retry_failed=None)) << rests(State.FAILED, deadline=None)


def test_transient_rests_after_a_normal_exit() -> None:
    assert (
        running(TRANSIENT)
        >> exited(0)
        << noted("exited", cause="halted", code=0)
        << sweeps(gentle=False)
        >> swept()
        << noted("stopped", why="restart is transient")
        << rests(State.STOPPED, want=Want.UP)
    )


@pytest.mark.parametrize(
    ("code", "signal", "oom"),
    [(1, None, False), (None, "SIGTERM", False), (None, "SIGKILL", True), (None, None, False)],
)
def test_transient_restarts_after_an_abnormal_one(code: int | None, signal: str | None, oom: bool) -> None:
    assert (
        running(TRANSIENT)
        >> exited(code, signal, oom)
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(2)
    )


def test_a_transient_release_that_ends_before_it_is_ready_is_started_again() -> None:
    p = starting(TRANSIENT).given(exited(0), swept())
    assert p << rests(State.STARTING, epoch=2)


@pytest.mark.parametrize("code", [0, 1])
def test_temporary_is_never_restarted(code: int) -> None:
    assert (
        running(TEMPORARY)
        >> exited(code)
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << noted("stopped", why="restart is temporary")
        << rests(State.STOPPED)
    )


def test_a_crash_dump_found_after_the_exit_makes_it_a_crash() -> None:
    p = running(replace(SPEC, backoff=Backoff(first=5.0)))
    assert (
        p
        >> exited(1)
        << noted("exited", cause="halted")
        << sweeps(gentle=False)
        >> dump_found("eheap_alloc: cannot allocate")
        << noted("crash-dump", slogan="eheap_alloc: cannot allocate", pid=100, epoch=1)
        >> swept()
        << noted("backoff", why="crash dump, exit code 1: eheap_alloc: cannot allocate")
    )


@pytest.mark.parametrize("code", [1, None])
def test_a_crash_dump_found_when_the_successor_runs_is_told_and_kept(code: int | None) -> None:
    p = running().given(exited(code), swept())
    assert p << rests(State.STARTING, epoch=2) >> dump_found("boom", epoch=1) << noted("crash-dump", epoch=1)
    assert p.state.last_exit is not None
    assert (p.state.last_exit.cause, p.state.last_exit.detail) == (Cause.CRASH_DUMP, "boom")


def test_a_crash_dump_of_a_kill_leaves_its_cause() -> None:
    p = running().given(exited(signal="SIGABRT"), dump_found("boom"))
    assert p.state.last_exit is not None
    assert p.state.last_exit.cause is Cause.KILLED


def test_a_crash_dump_of_a_generation_before_the_last_is_ignored() -> None:
    assert running().given(exited(1), swept(), spawned(101), exited(1)) >> dump_found("boom", epoch=1) << ignored()
    assert running() >> dump_found("boom") << ignored()
