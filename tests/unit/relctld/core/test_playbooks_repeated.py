"""A request that is repeated in a successor of the daemon that took it up: after a re-exec, or after a crash.

It is true by now, goes on, is begun now, or came to nothing; it is never carried out twice.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from relctld.core.spec import Restart
from relctld.core.state import Cause, State
from tests.playbook import SPEC, Playbook
from tests.unit.relctld.core.test_playbooks_resumed import successor
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
    refused,
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
    writes_down,
)


def restarting() -> Playbook:
    """A restart was accepted, the VM was told to stop, and the daemon was replaced."""
    p = running()
    p.given(asked("restart"), recorded("restart"))
    return successor(p)


def restarted() -> Playbook:
    """The same, and its VM runs: only the answer is missing."""
    p = running()
    p.given(asked("restart"), recorded("restart"), exited(0), swept(), spawned(101), tick())
    return successor(p)


def taken_up() -> Playbook:
    """A restart was written down, and the daemon died before it told the VM anything, or before it saved that."""
    p = running()
    assert p >> asked("restart") << writes_down() << rests(State.RUNNING)
    return successor(p)


# -- a restart -------------------------------------------------------------------------------------


def test_a_restart_goes_on_and_is_answered_once_it_is_true() -> None:
    p = restarting()
    p.given(resumed(100))
    assert (
        p
        >> asked("restart")
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


def test_a_restart_that_is_done_is_not_done_again() -> None:
    p = restarted()
    p.given(resumed(101))
    assert p >> asked("restart") << done("restart") << rests(State.RUNNING, epoch=2)
    assert p >> exited(1) << noted("exited") << sweeps(gentle=False) >> swept() << noted("starting") << spawns(3)
    assert p >> spawned(102) << noted("spawned") >> tick() << noted("running")
    assert p >> asked("restart") << done("restart") << rests(State.RUNNING, epoch=3)


def test_another_restart_is_another_restart() -> None:
    p = restarted()
    p.given(resumed(101))
    assert p >> asked("restart", id="another") << writes_down()
    assert p >> recorded("another") << noted("requested") << noted("stopping") << sends("SIGTERM")


def test_a_restart_that_was_not_begun_is_begun_without_being_asked_again() -> None:
    """Who asked with --no-wait was told that it goes on."""
    p = taken_up()
    assert p >> resumed(100) << noted("resumed") << noted("stopping", why="restart") << sends("SIGTERM")
    assert p >> asked("restart") << rests(State.STOPPING, epoch=1)
    p.given(exited(0), swept(), spawned(101))
    assert p >> tick() << noted("running") << done("restart") << rests(State.RUNNING, epoch=2)


def test_a_vm_that_was_told_already_and_is_gone_has_not_crashed() -> None:
    p = taken_up()
    assert p >> resumed() << noted("exited", cause="stopped") << sweeps(gentle=False)
    assert p >> asked("restart") >> swept() << noted("starting") << spawns(2) << holds(restarts_total=0)
    assert p >> spawned(101) << noted("spawned") >> tick() << noted("running") << done("restart")


def test_not_even_a_temporary_release_stays_down() -> None:
    p = running(replace(SPEC, restart=Restart.TEMPORARY))
    p.given(asked("restart"))
    assert (
        successor(p)
        >> resumed()
        << noted("exited")
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(2)
    )


def test_a_start_cut_short_is_begun_anew_and_the_restart_waits_for_it() -> None:
    p = running()
    p.given(asked("restart"), recorded("restart"), exited(0), swept())
    p = successor(p)
    assert p >> resumed() << sweeps(gentle=False) >> asked("restart") >> swept() << noted("starting") << spawns(3)
    assert p >> spawned(101) << noted("spawned") >> tick() << noted("running") << done("restart")


def test_on_what_had_failed_it_is_begun() -> None:
    p = failed()
    p.given(asked("restart"))
    assert successor(p) >> resumed() << noted("starting") << spawns(2) << holds(restarts=())
    p = backing_off()
    p.given(asked("restart"))
    assert successor(p) >> resumed() << noted("starting") << spawns(2)


def test_on_what_was_being_swept_it_comes_after_the_sweep() -> None:
    p = running()
    p.given(exited(1), asked("restart"))
    p = successor(p)
    assert (
        p >> resumed() << sweeps(gentle=False) >> swept() << noted("starting") << spawns(2) << holds(restarts_total=0)
    )


def test_a_restart_of_what_was_down_is_recorded_with_its_want() -> None:
    p = stopped()
    p.given(asked("restart"))
    p = successor(p)
    assert p >> resumed(want="up") << noted("starting") << spawns(1)
    assert p >> asked("restart") >> spawned() << noted("spawned") >> tick() << noted("running") << done("restart")


def test_one_whose_want_did_not_reach_the_store_is_asked_anew() -> None:
    p = stopped()
    p.given(asked("restart"))
    p = successor(p)
    assert p >> resumed(want="down") << rests(State.STOPPED)
    assert p >> asked("restart") << records("up")
    assert p >> recorded("restart") << noted("requested") << noted("starting") << spawns(1)


def test_a_stop_that_came_later_overtakes() -> None:
    p = running()
    p.given(asked("restart"), recorded("restart"), asked("stop"), recorded("stop"))
    p = successor(p)
    p.given(resumed(100))
    assert p >> asked("restart") << refused("restart", "overtaken while relctld was away")
    p = running()
    p.given(asked("restart"), recorded("restart"), asked("stop"))
    p = successor(p)
    p.given(resumed(100, want="down"))
    assert p >> asked("restart") << refused("restart", "overtaken while relctld was away")


def test_a_refused_wish_is_forgotten() -> None:
    p = stopped()
    p.given(asked("restart"), recorded("restart", error="disk full"))
    assert p.state.asked == ()


# -- start and stop --------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["start", "restart"])
def test_what_is_true_by_now_is_answered_at_once(op: str) -> None:
    p = stopped()
    p.given(asked(op), recorded(op), spawned(100), tick())
    p = successor(p)
    p.given(resumed(100))
    assert p >> asked(op) << done(op) << rests(State.RUNNING, epoch=1)


def test_a_stop_that_is_true_by_now_is_answered_at_once() -> None:
    p = killing()
    p.given(swept())
    p = successor(p)
    p.given(resumed())
    assert p >> asked("stop", id="the-stop") << done("the-stop")


def test_a_start_waits_for_the_boot_that_is_under_way() -> None:
    p = successor(starting())
    p.given(resumed(100))
    assert p >> asked("start", id="earlier") >> tick() << noted("running") << done("earlier")


@pytest.mark.parametrize("op", ["start", "restart"])
def test_what_came_to_nothing_is_told(op: str) -> None:
    p = stopped(replace(SPEC, intensity=0))
    p.given(asked(op), recorded(op), spawned(), exited(1), swept())
    p = successor(p)
    p.given(resumed())
    assert p >> asked(op) << refused(op, "it is failed") << rests(State.FAILED)


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
    p.given(resumed(100), asked("stop"), exited(0))
    assert p >> swept() << done("stop") << noted("stopped") << rests(State.STOPPED)
    assert p.state.last_exit is not None
    assert p.state.last_exit.cause is Cause.STOPPED


def test_only_the_latest_requests_are_remembered() -> None:
    p = running()
    for number in range(70):
        p.given(asked("restart", id=f"{number}"))
    assert [each.id for each in p.state.asked] == [f"{number}" for number in range(6, 70)]
