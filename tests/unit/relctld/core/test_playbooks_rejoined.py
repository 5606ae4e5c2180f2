"""A request that a former self accepted, after a re-exec: true by now, still waited for, or come to nothing."""

from __future__ import annotations

import pytest

from relctld.core.model import State
from tests.playbook import Playbook
from tests.unit.relctld.core.test_playbooks_resumed import successor
from tests.words import (
    asked,
    done,
    exited,
    failed,
    noted,
    recorded,
    records,
    refused,
    rejoined,
    rests,
    resumed,
    running,
    sends,
    spawned,
    spawns,
    starting,
    stopped,
    sweeps,
    swept,
    tick,
)


def restarting() -> Playbook:
    """A restart was accepted, the VM was told to stop, and a re-exec came."""
    p = running()
    p.given(asked("restart"))
    return successor(p)


def test_a_restart_goes_on_and_is_answered_once_it_is_true() -> None:
    p = restarting()
    p.given(resumed(100))
    assert (
        p
        >> rejoined("restart")
        << rests(State.STOPPING, epoch=1)
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting")
        << spawns(2)
        >> spawned(101)
        << noted("spawned")
        >> tick()
        << noted("running")
        << done("restart")
        << rests(State.RUNNING, epoch=2)
    )


@pytest.mark.parametrize("op", ["start", "restart"])
def test_what_is_true_by_now_is_answered_at_once(op: str) -> None:
    p = successor(running())
    p.given(resumed(100))
    assert p >> rejoined(op) << done(op) << rests(State.RUNNING, epoch=1)
    assert stopped() >> rejoined("stop") << done("stop")


def test_a_start_waits_for_the_boot_that_is_under_way() -> None:
    p = successor(starting())
    p.given(resumed(100))
    assert p >> rejoined("start") >> tick() << noted("running") << done("start")


@pytest.mark.parametrize("op", ["start", "restart"])
def test_what_came_to_nothing_is_told(op: str) -> None:
    p = successor(failed())
    p.given(resumed())
    assert p >> rejoined(op) << refused(op, "it is failed")


def test_a_stop_that_came_meanwhile_overtakes() -> None:
    p = successor(running())
    p.given(resumed(100, want="down"))
    assert p >> rejoined("restart") << refused("restart", "overtaken while relctld was renewed")


def test_a_stop_goes_on() -> None:
    p = running()
    assert (
        p
        >> asked("stop")
        << records("down")
        >> recorded("stop")
        << noted("requested")
        << noted("stopping")
        << sends("SIGTERM")
    )
    p = successor(p)
    p.given(resumed(100), rejoined("stop"), exited(0))
    assert p >> swept() << done("stop") << noted("stopped") << rests(State.STOPPED)
