"""CONTRACT, *Overlaps*: what `stop` does in every state (the table at the head of `core/requests.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.spec import Hook, Hooks
from relctld.core.state import Ending, State, Want
from tests.playbook import SPEC, Playbook
from tests.words import (
    asked,
    backing_off,
    cancels,
    done,
    exited,
    failed,
    hook_finished,
    killing,
    launching,
    noted,
    recorded,
    records,
    refused,
    rests,
    running,
    sends,
    spawn_failed,
    spawned,
    starting,
    stopped,
    stopping,
    sweeps,
    swept,
    tick,
    writes_down,
)

HOOKED = replace(SPEC, hooks=Hooks({Hook.PRE_START: ("migrate",)}))

Where = Callable[[], Playbook]


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
        << writes_down()
        >> recorded("restart")
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
