"""How a VM is ended, and what is never done before nothing of it is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.spec import Hook, Hooks
from relctld.core.state import Cause, Ending, Launch, Op, State
from tests.playbook import SPEC, Has, Playbook
from tests.words import (
    asked,
    cancels,
    done,
    exited,
    holds,
    hook_finished,
    ignored,
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
    stopping,
    sweeps,
    swept,
    tick,
)

DUMPING = replace(SPEC, dump_on_kill=True)
HOOKED = replace(SPEC, hooks=Hooks({hook: (hook,) for hook in Hook}))


def test_a_vm_that_ignores_sigterm_is_killed_at_the_deadline() -> None:
    assert (
        stopping()
        >> tick()
        << sends("SIGTERM")
        >> tick()
        << sends("SIGTERM")
        >> tick()
        << noted("killing", why="out of time")
        << sends("SIGKILL")
        << rests(State.KILLING)
        >> exited(signal="SIGKILL")
        << noted("exited", cause="stopped", signal="SIGKILL", code=None)
        << sweeps(gentle=False)
        >> swept()
        << done("the-stop")
        << noted("stopped")
        << rests(State.STOPPED)
    )


def test_dump_on_kill_asks_for_a_dump_before_the_kill() -> None:
    assert (
        stopping(DUMPING)
        >> tick()
        << sends("SIGTERM")
        >> tick()
        << sends("SIGTERM")
        >> tick()
        << sends("SIGUSR1")
        << rests(State.STOPPING, dumping=True)
        >> tick()
        << noted("killing")
        << sends("SIGKILL")
        >> exited(signal="SIGKILL")
        << noted("exited", cause="stopped")
        << sweeps(gentle=False)
    )


def test_a_vm_that_ends_with_its_dump_needs_no_kill() -> None:
    p = stopping(DUMPING).given(tick(), tick(), tick())
    assert (
        p
        << holds(dumping=True)
        >> exited(1)
        << noted("exited", cause="stopped", code=1)
        << sweeps(gentle=True)
        >> swept()
        << done("the-stop")
        << noted("stopped")
    )


def test_killing_is_never_left_before_the_vm_is_gone_and_says_so_once() -> None:
    p = stopping().given(tick(), tick(), tick())
    assert p << rests(State.KILLING) >> tick() << sends("SIGKILL") << noted("stuck", left=["pid 100"])
    for _ in range(5):
        assert p >> tick() << sends("SIGKILL") << rests(State.KILLING, health_detail=Has("pid 100"))
    assert (
        p
        >> exited(signal="SIGKILL")
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << done("the-stop")
        << noted("stopped")
    )


def test_leftovers_that_outlive_sigkill_are_named_and_no_successor_starts_beside_them() -> None:
    p = running()
    assert (
        p
        >> exited(1)
        << noted("exited", cause="halted")
        << sweeps(gentle=False)
        >> swept("pid 7 (D)")
        << noted("stuck", left=["pid 7 (D)"])
        >> tick()
        << sweeps(gentle=False)
        >> swept("pid 7 (D)")
        << rests(State.KILLING, epoch=1)
    )
    assert p >> tick() << sweeps(gentle=False) >> swept() << noted("starting") << spawns(2)


def test_two_sweeps_are_never_under_way_so_none_can_hit_the_successor() -> None:
    assert (
        running()
        >> exited(1)
        << noted("exited")
        << sweeps(gentle=False)
        >> tick()
        << rests(State.KILLING, sweeping=True)
        >> tick()
        >> swept()
        << noted("starting")
        << spawns(2)
        >> swept()
        << ignored()
    )


def test_a_start_that_is_never_ready_is_ended_and_answered() -> None:
    p = starting(replace(SPEC, start_timeout=0.5))
    assert (
        p
        >> tick()
        << noted("stopping", why="boot-timeout")
        << sends("SIGTERM")
        >> exited(0)
        << noted("exited", cause="boot-failed", detail="not ready within 0.5 s")
        << sweeps(gentle=False)
        >> swept()
        << refused("earlier", "boot failed, exit code 0: not ready within 0.5 s")
        << noted("starting", epoch=2)
        << spawns(2)
    )


def test_a_spawn_out_of_time_is_awaited_and_its_vm_killed() -> None:
    assert (
        launching()
        >> tick()
        << noted("killing", why="the start is out of time")
        << rests(State.KILLING, launch=Launch.SPAWN, ending=Ending.BOOT_TIMEOUT)
        >> tick()
        >> tick()
        << rests(State.KILLING, told=False)
        >> spawned(100)
        << noted("spawned")
        << sends("SIGKILL")
        >> tick()
        << sends("SIGKILL")
        << noted("stuck", left=["pid 100"])
        >> exited(signal="SIGKILL")
        << noted("exited", cause="boot-failed")
        << sweeps(gentle=False)
        >> swept()
        << refused("earlier", "not ready within 10 s")
        << noted("starting")
        << spawns(2)
    )


def test_a_spawn_out_of_time_that_fails_after_all() -> None:
    assert (
        launching()
        >> tick()
        << noted("killing")
        >> spawn_failed("the disk hung")
        << noted("exited", cause="boot-failed", detail="out of time: the disk hung")
        << refused("earlier", "the disk hung")
        << noted("starting")
        << spawns(2)
    )


def test_pre_start_out_of_time_is_cancelled() -> None:
    assert (
        launching(HOOKED)
        >> tick()
        << noted("killing")
        << cancels()
        >> hook_finished("pre_start", "cancelled")
        << noted("exited", cause="boot-failed", detail="out of time: pre_start: cancelled")
        << runs("post_stop")
        << refused("earlier", "cancelled")
        << noted("starting")
        << runs("pre_start")
    )


def test_pre_start_that_fails_aborts_the_start() -> None:
    assert (
        launching(HOOKED)
        >> hook_finished("pre_start", "exit code 3")
        << noted("hook-failed", hook="pre_start", error="exit code 3")
        << noted("exited", cause="boot-failed", pid=None)
        << runs("post_stop")
        << refused("earlier", "pre_start: exit code 3")
        << noted("starting")
        << runs("pre_start")
    )


def test_the_other_hooks_run_at_their_time_and_only_report() -> None:
    assert (
        launching(HOOKED)
        >> hook_finished("pre_start")
        << spawns(1)
        >> spawned()
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("earlier")
        << runs("post_start")
        >> hook_finished("post_start", "exit code 1")
        << noted("hook-failed", hook="post_start")
        << rests(State.RUNNING)
        >> exited(signal="SIGSEGV")
        << noted("exited", cause="killed")
        << sweeps(gentle=False)
        << runs("on_crash")
        >> swept()
        << runs("post_stop")
        << noted("starting", epoch=2)
        << runs("pre_start")
        >> hook_finished("on_crash", "exit code 2", epoch=1)
        << noted("hook-failed", hook="on_crash", epoch=1)
        >> hook_finished("post_stop", epoch=1)
        << rests(State.STARTING, epoch=2)
    )


def test_a_pre_start_of_an_older_epoch_decides_nothing() -> None:
    assert launching(HOOKED) >> hook_finished("pre_start", epoch=0) << ignored()


@pytest.mark.parametrize("op", [Op.STOP, Op.RESTART])
def test_an_asked_end_runs_no_crash_hook(op: Op) -> None:
    p = running(replace(SPEC, hooks=Hooks({Hook.ON_CRASH: ("page",)}))).given(asked(op), recorded(op))
    assert p >> exited(0) << noted("exited", cause="stopped") << sweeps(gentle=True)


def test_a_spawn_that_fails_is_an_exit_with_exec_failed() -> None:
    assert (
        launching()
        >> spawn_failed("bin/web: permission denied")
        << noted("exited", cause="exec-failed", pid=None)
        << refused("earlier", "it could not be executed: bin/web: permission denied")
        << noted("starting")
        << spawns(2)
    )


def test_a_vm_that_dies_in_its_gate_is_exec_failed() -> None:
    assert (
        starting()
        >> exited(127, exec_error="bin/web: not found")
        << noted("exited", cause="exec-failed", detail="bin/web: not found")
        << sweeps(gentle=False)
        >> swept()
        << refused("earlier", "could not be executed")
        << noted("starting")
        << spawns(2)
    )


@pytest.mark.parametrize("where", [running, starting, stopping])
def test_a_stale_or_senseless_event_changes_nothing(where: Callable[[], Playbook]) -> None:
    p = where()
    before = p.state
    assert p >> spawned(666) << ignored() >> swept() << ignored() >> spawn_failed("late") << ignored()
    assert p.state == before


def test_stop_while_a_crash_is_swept_up_ends_stopped() -> None:
    assert (
        running()
        >> exited(1)
        << noted("exited")
        << sweeps(gentle=False)
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        >> swept()
        << done("stop")
        << noted("stopped")
        << rests(State.STOPPED)
    )


def test_a_stop_during_a_boot_timeout_ends_stopped() -> None:
    p = starting(replace(SPEC, start_timeout=0.5)).given(tick(), asked("stop"), recorded("stop"), exited(0))
    assert p.state.last_exit is not None
    assert p.state.last_exit.cause is Cause.BOOT_FAILED
    assert p >> swept() << done("stop") << noted("stopped")
