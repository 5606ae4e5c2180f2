"""CONTRACT, *Overlaps*: during an upgrade start, stop and restart are busy; what happens to the VM itself goes on."""

from __future__ import annotations

import pytest

from tests.words import (
    asked,
    done,
    exited,
    halted,
    holds,
    noted,
    recorded,
    records,
    refused,
    running,
    sends,
    spawns,
    stopped,
    sweeps,
    swept,
    upgrade_begun,
    upgrade_ended,
    writes_down,
)


@pytest.mark.parametrize("op", ["start", "stop", "restart"])
def test_requests_are_busy_during_an_upgrade(op: str) -> None:
    assert (
        running()
        >> upgrade_begun("1.2.0", by="bob")
        >> asked(op)
        << refused(op, "an upgrade to 1.2.0 by bob is under way", "busy")
    )


def test_a_request_is_not_busy_any_more_when_it_has_ended() -> None:
    assert (
        running()
        >> upgrade_begun()
        >> upgrade_ended()
        >> asked("start")
        << noted("requested")
        << done("start", changed=False)
    )


def test_a_stopped_release_is_busy_too() -> None:
    assert stopped() >> upgrade_begun() >> asked("start") << refused("start", "is under way", "busy")


def test_the_upgrade_itself_may_restart_the_vm() -> None:
    assert (
        running()
        >> upgrade_begun(id="u1")
        >> asked("restart", by="relctld", id="u1/restart")
        << writes_down()
        >> recorded("u1/restart")
        << noted("requested", op="restart", by="relctld")
        << noted("stopping", why="restart")
        << sends("SIGTERM")
    )


def test_a_vm_that_dies_is_started_again() -> None:
    assert (
        running()
        >> upgrade_begun()
        >> exited(1)
        << noted("exited", cause="halted")
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(2)
        << holds(epoch=2)
    )


def test_a_daemon_that_stops_takes_the_node_with_it() -> None:
    assert running() >> upgrade_begun() >> halted() << noted("stopping", why="shutdown") << sends("SIGTERM")


def test_a_want_that_was_on_its_way_is_still_recorded() -> None:
    assert (
        running()
        >> asked("stop")
        << records("down")
        >> upgrade_begun()
        >> recorded("stop")
        << noted("requested", op="stop")
        << noted("stopping", why="stop")
        << sends("SIGTERM")
    )
