"""CONTRACT, *Overlaps*: what `restart` does in every state (the table at the head of `core/requests.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.spec import Hook, Hooks
from relctld.core.state import State
from tests.playbook import SPEC, Playbook
from tests.words import (
    asked,
    backing_off,
    done,
    exited,
    failed,
    holds,
    killing,
    noted,
    recorded,
    records,
    rests,
    running,
    sends,
    spawned,
    spawns,
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
        << writes_down()
        >> recorded("restart")
        << noted("requested")
        << noted("starting")
        << spawns(2)
        << holds(restarts=(), delays=0)
    )


def test_restart_on_starting_begins_anew_and_whoever_started_it_waits_on() -> None:
    assert (
        starting()
        >> asked("restart")
        << writes_down()
        >> recorded("restart")
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
        << writes_down()
        >> recorded("restart")
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
        << writes_down()
        >> recorded("a")
        << noted("requested")
        << noted("stopping")
        << sends("SIGTERM")
        >> asked("restart", id="b")
        << writes_down()
        >> recorded("b")
        << noted("requested")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting")
        << spawns(2)
        >> asked("restart", id="c")
        << writes_down()
        >> recorded("c")
        << noted("requested")
        >> spawned(101)
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("a")
        << done("b")
        << done("c")
    )
