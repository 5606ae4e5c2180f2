"""CONTRACT, *Overlaps*: what `start` does in every state (the table at the head of `core/requests.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.spec import Hook, Hooks
from relctld.core.state import State, Want
from tests.playbook import SPEC, Playbook
from tests.words import (
    asked,
    backing_off,
    done,
    exited,
    failed,
    holds,
    killing,
    launching,
    noted,
    recorded,
    records,
    refused,
    rests,
    running,
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
    assert running() >> asked("start") << noted("requested") << done("start", changed=False) << rests(State.RUNNING)


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
