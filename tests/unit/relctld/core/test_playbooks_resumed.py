"""A new daemon after a former self, in every state: it knows only what was saved, and finds what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.lifecycle import to_keep
from relctld.core.probes import TcpProbe
from relctld.core.spec import HealthSpec, Hook, Hooks, Restart
from relctld.core.state import Cause, Ending, ExitStatus, Health, Launch, State
from tests.playbook import SPEC, Playbook
from tests.words import (
    asked,
    asks,
    backing_off,
    exited,
    failed,
    halted,
    holds,
    ignored,
    killing,
    launching,
    noted,
    recorded,
    records,
    rests,
    resumed,
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
)

TCP = TcpProbe("127.0.0.1", 4000)
PROBED = replace(SPEC, ready=TCP, health=HealthSpec(TCP))
HOOKED = replace(SPEC, hooks=Hooks({Hook.PRE_START: ("migrate",)}))

Where = Callable[[], Playbook]


def successor(p: Playbook) -> Playbook:
    """The same release in a daemon that knows only what was saved."""
    return Playbook(p.spec, to_keep(p.state), now=p.now)


def test_resumed_running_goes_on_and_is_asked_at_once() -> None:
    assert (
        successor(running(PROBED))
        << rests(State.RUNNING, health=Health.UNKNOWN)
        >> resumed(100)
        << noted("resumed", pid=100, state="running")
        << rests(State.RUNNING, epoch=1)
        >> tick()
        << asks()
    )


def test_resumed_running_without_a_probe_waits_for_nothing() -> None:
    assert (
        successor(running())
        >> resumed(100)
        << noted("resumed")
        << rests(State.RUNNING, poll_at=None, health_detail="no probe: the process is alive")
    )


def test_resumed_running_whose_vm_died_meanwhile_is_restarted() -> None:
    assert (
        successor(running())
        >> resumed(status=ExitStatus(signal="SIGSEGV"))
        << noted("exited", cause="killed", signal="SIGSEGV", pid=100)
        << sweeps(gentle=False)
        >> swept()
        << noted("starting")
        << spawns(2)
        << holds(restarts_total=1)
    )


def test_an_exit_nobody_saw_is_honestly_unknown() -> None:
    p = successor(running()).given(resumed())
    assert p.state.last_exit is not None
    assert p.state.last_exit.cause is Cause.UNKNOWN


def test_resumed_starting_keeps_its_deadline_and_gives_the_vm_its_second() -> None:
    p = successor(starting())
    assert (
        p
        << rests(State.STARTING, waiters=())
        >> resumed(100)
        << noted("resumed", state="starting")
        << holds(deadline=p.now + 10, poll_at=p.now + 1)
        >> tick()
        << noted("running")
    )


def test_resumed_while_the_spawn_was_in_flight_takes_up_the_vm() -> None:
    assert (
        successor(launching())
        << holds(launch=Launch.SPAWN)
        >> resumed(100)
        << noted("resumed")
        << rests(State.STARTING, launch=Launch.NONE)
    )


@pytest.mark.parametrize("spec", [SPEC, HOOKED, replace(SPEC, restart=Restart.TEMPORARY)])
def test_a_start_cut_short_by_the_daemons_end_is_begun_again_and_counts_as_no_crash(spec: object) -> None:
    p = launching(spec)  # type: ignore[arg-type]
    p.state = replace(p.state, restarts=(p.now,), delays=1)
    again = successor(p)
    assert again >> resumed() << sweeps(gentle=False) << rests(State.KILLING)
    again.given(swept())
    assert again << rests(State.STARTING, epoch=2, restarts_total=0, delays=1)


def test_a_transient_release_that_once_ended_normally_is_begun_again_too() -> None:
    p = running(replace(SPEC, restart=Restart.TRANSIENT)).given(exited(0), swept(), asked("start"))
    again = successor(p)
    assert again << rests(State.STARTING) >> resumed() << sweeps(False) >> swept() << noted("starting") << spawns(3)


def test_resumed_stopping_sends_sigterm_again_and_stops() -> None:
    assert (
        successor(stopping())
        >> resumed(100)
        << noted("resumed", state="stopping")
        >> tick()
        << sends("SIGTERM")
        >> exited()
        << noted("exited", cause="stopped", code=None, signal=None)
        << sweeps(gentle=True)
        >> swept()
        << noted("stopped")
    )


def test_resumed_dumping_is_left_to_dump() -> None:
    p = stopping(replace(SPEC, dump_on_kill=True)).given(tick(), tick(), tick())
    assert successor(p) >> resumed(100) << noted("resumed") << holds(dumping=True, poll_at=None)


def test_resumed_stopping_whose_vm_is_gone_is_stopped() -> None:
    assert (
        successor(stopping())
        >> resumed()
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << noted("stopped")
    )


def test_resumed_restarting_starts() -> None:
    p = running().given(asked("restart"), recorded("restart"))
    assert (
        successor(p)
        >> resumed()
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting")
        << spawns(2)
        << holds(restarts_total=0)
    )


def test_resumed_killing_sweeps_again() -> None:
    assert successor(killing()) >> resumed() << sweeps(gentle=False) >> swept() << noted("stopped")


def test_resumed_killing_kills_again() -> None:
    p = successor(stopping().given(tick(), tick(), tick()))
    assert p << rests(State.KILLING) >> resumed(100) << noted("resumed") >> tick() << sends("SIGKILL") << noted("stuck")


@pytest.mark.parametrize("where", [stopped, failed])
def test_resumed_at_rest_rests(where: Where) -> None:
    p = successor(where())
    before = p.state
    assert p >> resumed()
    assert p.state == before


def test_resumed_backoff_waits_on() -> None:
    p = successor(backing_off())
    assert p >> resumed() << rests(State.BACKOFF) >> tick() << noted("starting") << spawns(2)


def test_resumed_during_a_daemons_stop_goes_on_stopping_then_starts() -> None:
    p = running(replace(SPEC, restart=Restart.TEMPORARY)).given(halted())
    assert (
        successor(p)
        >> resumed(100)
        << noted("resumed", state="stopping")
        << holds(ending=Ending.SHUTDOWN, halted=False)
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << noted("starting")
        << spawns(2)
    )


@pytest.mark.parametrize("where", [stopped, failed, backing_off])
def test_a_vm_that_the_saved_state_does_not_know_is_taken_up_and_never_doubled(where: Where) -> None:
    assert (
        successor(where())
        >> resumed(100, want="up")
        << noted("resumed")
        << rests(State.STARTING)
        >> tick()
        << noted("running", pid=100)
    )


def test_a_vm_that_nobody_wants_is_stopped() -> None:
    assert successor(stopped()) >> resumed(100) << noted("resumed") << noted("stopping") << sends("SIGTERM")


# -- a wish that was recorded just before the daemon died ------------------------------------------


def test_a_stop_recorded_before_the_daemon_died_is_carried_out() -> None:
    assert (
        successor(running())
        >> resumed(100, want="down")
        << noted("resumed")
        << noted("stopping", why="stop")
        << sends("SIGTERM")
    )


@pytest.mark.parametrize("where", [failed, backing_off])
def test_a_stop_recorded_before_the_daemon_died_ends_the_waiting(where: Where) -> None:
    assert successor(where()) >> resumed(want="down") << noted("stopped") << rests(State.STOPPED)


def test_a_start_recorded_before_the_daemon_died_is_carried_out() -> None:
    assert successor(stopped()) >> resumed(want="up") << noted("starting") << spawns(1)


def test_a_start_recorded_while_stopping_is_carried_out_afterwards() -> None:
    p = successor(stopping())
    p.given(resumed(100, want="up"), exited(0))
    assert p >> swept() << noted("starting") << spawns(2)


def test_a_request_of_a_former_daemon_is_not_known_any_more() -> None:
    p = running()
    assert p >> asked("stop") << records("down")
    assert successor(p) >> resumed(100) << noted("resumed") >> recorded("stop") << ignored() >> spawned(9) << ignored()
