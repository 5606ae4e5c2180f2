"""CONTRACT, *Overlaps* and *Wants*: every cell of the table at the head of `core/requests.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.model import Ending, Hook, Hooks, State, Want
from tests.playbook import SPEC, Playbook
from tests.words import (
    asked,
    backing_off,
    cancels,
    done,
    exited,
    failed,
    holds,
    hook_finished,
    ignored,
    killing,
    launching,
    noted,
    recorded,
    records,
    refused,
    rests,
    running,
    runs,
    sends,
    spawn_failed,
    spawned,
    spawns,
    starting,
    stopped,
    stopping,
    sweeps,
    swept,
    tick,
)

HOOKED = replace(SPEC, hooks=Hooks({Hook.PRE_START: ("migrate",)}))

Where = Callable[[], Playbook]

# -- start -----------------------------------------------------------------------------------------


def test_start_on_stopped_records_the_wish_begins_and_answers_when_it_runs() -> None:
    assert (
        stopped()
        >> asked("start", by="ann")
        << records("up")
        << rests(State.STOPPED, want=Want.DOWN)
        >> recorded("start")
        << noted("requested", op="start", by="ann")
        << noted("starting", epoch=1)
        << spawns(1)
        << rests(State.STARTING, want=Want.UP)
        >> spawned(100)
        << noted("spawned", pid=100)
        >> tick()
        << noted("running", pid=100, seconds=1.0)
        << done("start")
        << rests(State.RUNNING)
    )


@pytest.mark.parametrize(("where", "total"), [(failed, 0), (backing_off, 1)])
def test_start_on_failed_or_backoff_begins_at_once_and_clears_the_counters(where: Where, total: int) -> None:
    assert (
        where()
        << holds(restarts_total=total)
        >> asked("start")
        << noted("requested")
        << noted("starting")
        << spawns(2)
        << rests(State.STARTING, restarts=(), delays=0)
        >> spawned(101)
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("start")
    )


def test_start_on_starting_joins() -> None:
    assert (
        starting()
        >> asked("start", by="bob")
        << noted("requested", by="bob")
        >> tick()
        << noted("running")
        << done("earlier")
        << done("start")
    )


def test_start_on_running_is_true_already() -> None:
    assert (
        running() >> asked("start") << noted("requested") << done("start", changed=False) << rests(State.RUNNING)
    )


def test_start_while_stopping_waits_then_starts() -> None:
    assert (
        stopping()
        >> asked("start")
        << records("up")
        >> recorded("start")
        << noted("requested")
        << rests(State.STOPPING, want=Want.UP)
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << done("the-stop")
        << noted("starting", epoch=2)
        << spawns(2)
        >> spawned(101)
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("start")
    )


def test_start_while_killing_waits_for_the_sweep_then_starts() -> None:
    assert (
        killing()
        >> asked("start")
        << records("up")
        >> recorded("start")
        << noted("requested")
        << rests(State.KILLING)
        >> swept()
        << done("the-stop")
        << noted("starting")
        << spawns(2)
    )


def test_equal_starts_merge_into_one_vm() -> None:
    assert (
        stopped()
        >> asked("start", id="a")
        << records("up")
        >> asked("start", id="b")
        << records("up")
        >> recorded("a")
        << noted("requested")
        << noted("starting")
        << spawns(1)
        >> recorded("b")
        << noted("requested")
        >> spawned()
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("a")
        << done("b")
    )


def test_start_answers_at_the_first_failed_boot_and_supervision_goes_on() -> None:
    assert (
        starting()
        >> exited(1)
        << noted("exited", cause="boot-failed", code=1)
        << sweeps(gentle=False)
        >> swept()
        << refused("earlier", "boot failed, exit code 1")
        << noted("starting", epoch=2)
        << spawns(2)
        << rests(State.STARTING, restarts_total=1)
    )


def test_start_with_nothing_installed_answers_impossible_and_rests() -> None:
    assert (
        launching()
        >> spawn_failed("/opt/web is empty", nothing_installed=True)
        << refused("earlier", "nothing installed", kind="impossible")
        << noted("stopped")
        << rests(State.STOPPED, want=Want.UP)
    )


# -- stop ------------------------------------------------------------------------------------------


def test_stop_on_stopped_is_true_already_and_changes_nothing() -> None:
    p = stopped()
    before = p.state
    assert p >> asked("stop") << noted("requested") << done("stop", changed=False)
    assert p.state == before


@pytest.mark.parametrize("where", [failed, backing_off])
def test_stop_on_failed_or_backoff_rests(where: Where) -> None:
    assert (
        where()
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << noted("stopped")
        << done("stop")
        << rests(State.STOPPED, want=Want.DOWN, deadline=None)
    )


def test_stop_beats_a_running_start_whose_waiter_is_told_by_whom() -> None:
    assert (
        starting()
        >> asked("stop", by="bob")
        << records("down")
        >> recorded("stop")
        << noted("requested", by="bob")
        << refused("earlier", "overtaken by stop of bob")
        << noted("stopping", why="stop")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << done("stop")
        << noted("stopped")
        << rests(State.STOPPED)
    )


def test_stop_while_booting_really_stops() -> None:
    """A booting BEAM loses SIGTERM: it is sent again until the VM is gone."""
    assert (
        starting()
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << refused("earlier", "overtaken")
        << noted("stopping")
        << sends("SIGTERM")
        >> tick()
        << sends("SIGTERM")
        >> tick()
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << done("stop")
        << noted("stopped")
    )


def test_stop_during_pre_start_ends_the_hook_and_nothing_is_spawned() -> None:
    assert (
        launching(HOOKED)
        << rests(State.STARTING)
        >> asked("stop", by="bob")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << refused("earlier", "overtaken by stop of bob")
        << noted("stopping")
        << cancels()
        >> hook_finished("pre_start", "cancelled")
        << done("stop")
        << noted("stopped")
        << rests(State.STOPPED)
    )


def test_stop_when_pre_start_ends_well_at_the_same_moment_spawns_nothing() -> None:
    assert (
        launching(HOOKED)
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << refused("earlier", "overtaken")
        << noted("stopping")
        << cancels()
        >> hook_finished("pre_start")
        << done("stop")
        << noted("stopped")
    )


def test_stop_while_the_spawn_is_in_flight_ends_the_vm_as_soon_as_it_is_there() -> None:
    assert (
        launching()
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << refused("earlier", "overtaken")
        << noted("stopping")
        << rests(State.STOPPING)
        >> spawned(100)
        << noted("spawned")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << done("stop")
        << noted("stopped")
    )


def test_stop_while_a_spawn_is_in_flight_that_fails_is_done() -> None:
    assert (
        launching()
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << refused("earlier", "overtaken")
        << noted("stopping")
        >> spawn_failed("fork: no memory")
        << done("stop")
        << noted("stopped")
        << rests(State.STOPPED, last_exit=None)
    )


def test_stop_on_running_ends_it() -> None:
    assert (
        running()
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << noted("stopping")
        << sends("SIGTERM")
        << rests(State.STOPPING, ending=Ending.STOP)
    )


@pytest.mark.parametrize("where", [stopping, killing])
def test_stop_while_stopping_or_killing_joins(where: Where) -> None:
    p = where()
    assert p >> asked("stop", by="ann") << noted("requested")
    if p.state.vm:
        assert p >> exited(0) << noted("exited") << sweeps(gentle=True)
    assert p >> swept() << done("the-stop") << done("stop") << noted("stopped")


def test_stop_beats_a_restart_under_way() -> None:
    assert (
        running()
        >> asked("restart", by="ann")
        << noted("requested")
        << noted("stopping", why="restart")
        << sends("SIGTERM")
        >> asked("stop", by="bob")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << refused("restart", "overtaken by stop of bob")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << done("stop")
        << noted("stopped")
    )


# -- restart ---------------------------------------------------------------------------------------


def test_restart_on_stopped_starts() -> None:
    assert (
        stopped()
        >> asked("restart")
        << records("up")
        >> recorded("restart")
        << noted("requested", op="restart")
        << noted("starting")
        << spawns(1)
        >> spawned()
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("restart")
    )


@pytest.mark.parametrize("where", [failed, backing_off])
def test_restart_on_failed_or_backoff_begins_at_once_and_clears_the_counters(where: Where) -> None:
    assert (
        where()
        >> asked("restart")
        << noted("requested")
        << noted("starting")
        << spawns(2)
        << holds(restarts=(), delays=0)
    )


def test_restart_on_starting_begins_anew_and_whoever_started_it_waits_on() -> None:
    assert (
        starting()
        >> asked("restart")
        << noted("requested")
        << noted("stopping", why="restart")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting", epoch=2)
        << spawns(2)
        >> spawned(101)
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("earlier")
        << done("restart")
    )


def test_restart_on_running_is_stop_then_start_and_counts_as_no_crash() -> None:
    assert (
        running()
        >> asked("restart")
        << noted("requested")
        << noted("stopping", why="restart")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="stopped", code=0)
        << sweeps(gentle=True)
        >> swept()
        << noted("starting", epoch=2)
        << spawns(2)
        >> spawned(101)
        << noted("spawned", pid=101)
        >> tick()
        << noted("running", pid=101)
        << done("restart")
        << rests(State.RUNNING, restarts=(), restarts_total=0)
    )


@pytest.mark.parametrize("where", [stopping, killing])
def test_restart_while_stopping_or_killing_begins_afterwards(where: Where) -> None:
    p = where()
    assert p >> asked("restart") << records("up") >> recorded("restart") << noted("requested")
    if p.state.vm:
        assert p >> exited(0) << noted("exited") << sweeps(gentle=True)
    assert p >> swept() << done("the-stop") << noted("starting") << spawns(2)


def test_equal_restarts_merge_into_one() -> None:
    assert (
        running()
        >> asked("restart", id="a")
        << noted("requested")
        << noted("stopping")
        << sends("SIGTERM")
        >> asked("restart", id="b")
        << noted("requested")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting")
        << spawns(2)
        >> asked("restart", id="c")
        << noted("requested")
        >> spawned(101)
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("a")
        << done("b")
        << done("c")
    )


# -- wants and their order -------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "op"), [(stopped, "start"), (running, "stop"), (stopped, "restart")])
def test_a_wish_that_cannot_be_recorded_changes_nothing(where: Where, op: str) -> None:
    p = where()
    before = p.state
    assert p >> asked(op) << records("up" if op != "stop" else "down")
    assert p >> recorded(op, error="disk full") << refused(op, "cannot be recorded: disk full")
    assert p.state == before


def test_a_restart_needs_no_disk() -> None:
    assert running() >> asked("restart") << noted("requested") << noted("stopping") << sends("SIGTERM")


def test_requests_are_accepted_in_the_order_they_came() -> None:
    """The start came while the stop was being recorded: it is about what the stop leaves."""
    assert (
        running()
        >> asked("stop", by="bob")
        << records("down")
        >> asked("start", by="ann")
        << records("up")
        << rests(State.RUNNING, want=Want.UP)
        >> recorded("stop")
        << noted("requested", op="stop")
        << noted("stopping")
        << sends("SIGTERM")
        >> recorded("start")
        << noted("requested", op="start")
        << rests(State.STOPPING, want=Want.UP)
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << done("stop")
        << noted("starting")
        << spawns(2)
    )


def test_a_stop_that_cannot_be_recorded_overtakes_nothing() -> None:
    assert (
        starting()
        >> asked("stop")
        << records("down")
        >> tick()
        << noted("running")
        << done("earlier")
        >> recorded("stop", error="disk full")
        << refused("stop", "disk full")
        << rests(State.RUNNING, want=Want.UP)
    )


def test_a_record_that_nobody_waits_for_is_ignored() -> None:
    assert stopped() >> recorded("somebody-else") << ignored()


def test_stop_and_start_and_stop_again_before_it_is_gone_ends_stopped() -> None:
    assert (
        stopping()
        >> asked("start")
        << records("up")
        >> recorded("start")
        << noted("requested")
        >> asked("stop", by="eve", id="second")
        << records("down")
        >> recorded("second")
        << noted("requested")
        << refused("start", "overtaken by stop of eve")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << done("the-stop")
        << done("second")
        << noted("stopped")
    )


def test_restart_with_pre_start_runs_the_hook_again() -> None:
    p = launching(HOOKED).given(hook_finished("pre_start"), spawned(100), tick())
    assert (
        p
        >> asked("restart")
        << noted("requested")
        << noted("stopping")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting")
        << runs("pre_start")
        >> hook_finished("pre_start")
        << spawns(2)
    )
