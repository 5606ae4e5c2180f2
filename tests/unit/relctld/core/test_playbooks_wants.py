"""CONTRACT, *Wants*: a wish is recorded before it is carried out, and wishes keep their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.spec import Hook, Hooks
from relctld.core.state import State, Want
from tests.playbook import SPEC, Playbook
from tests.words import (
    asked,
    done,
    exited,
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


@pytest.mark.parametrize(("where", "op"), [(stopped, "start"), (running, "stop"), (stopped, "restart")])
def test_a_wish_that_cannot_be_recorded_changes_nothing(where: Where, op: str) -> None:
    p = where()
    before = p.state
    assert p >> asked(op) << records("up" if op != "stop" else "down")
    assert p >> recorded(op, error="disk full") << refused(op, "cannot be recorded: disk full")
    assert p.state == before


def test_a_restart_needs_no_disk() -> None:
    assert (
        running()
        >> asked("restart")
        << writes_down()
        >> recorded("restart")
        << noted("requested")
        << noted("stopping")
        << sends("SIGTERM")
    )


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
        << writes_down()
        >> recorded("restart")
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
