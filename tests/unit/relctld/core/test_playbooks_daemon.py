"""The daemon comes up with its host, and stops with its nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from relctld.core.lifecycle import to_keep
from relctld.core.probes import TcpProbe
from relctld.core.spec import HealthSpec, Hook, Hooks
from relctld.core.state import ReleaseState, State, Want
from tests.playbook import NAME, SPEC, Playbook
from tests.words import (
    asked,
    backing_off,
    booted,
    done,
    exited,
    halted,
    holds,
    ignored,
    noted,
    recorded,
    refused,
    rests,
    resumed,
    running,
    sends,
    spawns,
    starting,
    stopped,
    stopping,
    sweeps,
    swept,
)

TCP = TcpProbe("127.0.0.1", 4000)
PROBED = replace(SPEC, ready=TCP, health=HealthSpec(TCP))
HOOKED = replace(SPEC, hooks=Hooks({Hook.PRE_START: ("migrate",)}))

Where = Callable[[], Playbook]


def successor(p: Playbook) -> Playbook:
    """The same release in a daemon that knows only what was saved."""
    return Playbook(p.spec, to_keep(p.state), now=p.now)


# -- boot of the host ------------------------------------------------------------------------------


def test_at_boot_a_release_whose_want_is_up_starts() -> None:
    assert Playbook(SPEC, ReleaseState(NAME, want=Want.UP)) >> booted() << noted("starting") << spawns(1)


@pytest.mark.parametrize(("enabled", "want"), [(False, Want.UP), (True, Want.DOWN)])
def test_at_boot_what_is_disabled_or_not_wanted_rests(enabled: bool, want: Want) -> None:
    p = Playbook(replace(SPEC, enabled=enabled), ReleaseState(NAME, want=want))
    assert p >> booted() << rests(State.STOPPED)


def test_booted_makes_sense_only_once() -> None:
    assert running() >> booted() << ignored()


# -- the daemon stops, with the nodes --------------------------------------------------------------


def test_a_halting_daemon_stops_its_nodes_and_keeps_the_want() -> None:
    assert (
        running()
        >> halted()
        << noted("stopping", why="shutdown")
        << sends("SIGTERM")
        >> asked("restart")
        << refused("restart", "relctld is stopping", kind="impossible")
        >> exited(0)
        << noted("exited", cause="stopped")
        << sweeps(gentle=True)
        >> swept()
        << noted("stopped")
        << rests(State.STOPPED, want=Want.UP)
        >> booted()
        << ignored()
    )


def test_who_waits_for_a_start_is_told_that_the_daemon_is_stopping() -> None:
    assert (
        starting()
        >> halted()
        << refused("earlier", "relctld is stopping", kind="impossible")
        << noted("stopping", why="shutdown")
        << sends("SIGTERM")
    )


def test_who_waits_for_a_stop_gets_it() -> None:
    assert (
        stopping()
        >> halted()
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << done("the-stop")
        << noted("stopped")
    )


def test_a_restart_under_way_ends_stopped_when_the_daemon_halts() -> None:
    p = running().given(asked("restart"), recorded("restart"))
    assert (
        p
        >> halted()
        << refused("restart", "relctld is stopping", kind="impossible")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << noted("stopped")
        << rests(State.STOPPED, want=Want.UP)
    )


def test_halted_backoff_rests() -> None:
    assert backing_off() >> halted() << noted("stopped") << rests(State.STOPPED)


def test_a_halted_failed_release_is_not_retried() -> None:
    p = running(replace(SPEC, intensity=0, retry_failed=600.0)).given(exited(1), swept())
    assert p << holds(deadline=p.now + 600) >> halted() << rests(State.FAILED, deadline=None)


def test_a_crash_while_halting_is_not_restarted() -> None:
    p = running().given(exited(1))
    assert p >> halted() >> swept() << noted("stopped") << rests(State.STOPPED)


def test_a_start_recorded_while_halting_is_kept_for_the_next_daemon() -> None:
    p = stopped().given(asked("start"))
    assert (
        p
        >> halted()
        >> recorded("start")
        << refused("start", "will start it when it comes back", kind="impossible")
        << rests(State.STOPPED, want=Want.UP)
    )
    assert successor(p) >> resumed() << noted("starting") << spawns(1)


def test_a_stop_recorded_while_halting_waits_for_the_end() -> None:
    p = running().given(asked("stop"))
    assert (
        p
        >> halted()
        << noted("stopping", why="shutdown")
        << sends("SIGTERM")
        >> recorded("stop")
        << noted("requested")
        >> exited(0)
        << noted("exited")
        << sweeps(gentle=True)
        >> swept()
        << done("stop")
        << noted("stopped")
        << rests(State.STOPPED, want=Want.DOWN)
    )


def test_what_a_daemons_stop_ended_starts_again_with_its_successor() -> None:
    p = running().given(halted(), exited(0), swept())
    assert successor(p) >> resumed() << noted("starting", epoch=2) << spawns(2) << holds(restarts_total=0)
