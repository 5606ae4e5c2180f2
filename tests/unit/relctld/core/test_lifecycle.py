"""What the playbooks leave out: `Save`, stale events, and the state that is handed to the next daemon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core.lifecycle import check, next_deadline, step, to_keep
from relctld.core.probes import WELL
from relctld.core.state import ExitStatus, Health, Launch, Op, ReleaseState, Request, State, Vm
from tests.playbook import NAME, SPEC, START, Playbook
from tests.words import AT, launching, running, starting, stopping


def test_save_comes_before_what_it_tells_of() -> None:
    """Were a VM spawned before the state is saved, a daemon that dies between would leave a VM nobody knows."""
    state = ReleaseState(NAME)
    state, _ = step(state, ev.Requested(NAME, _request()), SPEC, START)
    _, effects = step(state, ev.Recorded(NAME, "r", None), SPEC, START)
    assert effects[0] == fx.Save(NAME)
    assert fx.SpawnVm(NAME, 1) in effects


def test_what_the_next_daemon_need_not_know_is_not_saved() -> None:
    p = running()
    changed = replace(p.state, misses=1, health=Health.WELL, health_detail="x", poll_at=1.0, told=True)
    assert to_keep(changed) == to_keep(p.state)
    assert to_keep(replace(p.state, epoch=2)) != to_keep(p.state)


def test_a_request_is_saved_before_it_is_recorded() -> None:
    _, effects = step(ReleaseState(NAME), ev.Requested(NAME, _request()), SPEC, START)
    assert [type(effect) for effect in effects] == [fx.Save, fx.RecordWant]


def test_a_request_that_changes_nothing_saves_nothing() -> None:
    p = running()
    _, effects = step(p.state, ev.Requested(NAME, Request("again", Op.START, "ann", p.now)), SPEC, p.now)
    assert [type(effect) for effect in effects] == [fx.Report, fx.Answer]


@pytest.mark.parametrize("p", [launching(), starting(), running(), stopping()], ids=lambda p: p.state.state)
def test_events_of_another_epoch_are_dropped(p: Playbook) -> None:
    for epoch in (p.state.epoch - 1, p.state.epoch + 1):
        for event in (
            ev.VmSpawned(NAME, epoch, Vm(1, 1, "")),
            ev.SpawnFailed(NAME, epoch, "", False, AT, 0.5),
            ev.VmExited(NAME, epoch, ExitStatus(0), AT),
            ev.Swept(NAME, epoch, (), 0.5),
            ev.Probed(NAME, epoch, WELL),
            ev.Linked(NAME, epoch, "1.0", AT),
            ev.DumpFound(NAME, epoch, "boom"),
        ):
            state, effects = step(p.state, event, SPEC, p.now)
            assert state is p.state
            assert effects == (fx.Ignored(NAME, type(event).__name__, p.state.state),)


def test_a_tick_too_early_does_nothing() -> None:
    p = stopping()
    assert step(p.state, ev.Tick(NAME), SPEC, p.now) == (p.state, ())


def test_the_next_deadline_is_the_earlier_of_both() -> None:
    assert next_deadline(ReleaseState(NAME)) is None
    assert next_deadline(ReleaseState(NAME, deadline=3.0)) == 3.0
    assert next_deadline(ReleaseState(NAME, deadline=3.0, poll_at=2.0)) == 2.0


VM = Vm(1, 10, "i")


@pytest.mark.parametrize(
    "state",
    [
        ReleaseState(NAME, State.STARTING, vm=VM),
        ReleaseState(NAME, State.STOPPED, vm=VM),
        ReleaseState(NAME, State.BACKOFF, launch=Launch.HOOK, deadline=1.0),
        ReleaseState(NAME, State.STARTING, vm=VM, launch=Launch.SPAWN, deadline=1.0),
        ReleaseState(NAME, State.STARTING, deadline=1.0),
        ReleaseState(NAME, State.RUNNING),
        ReleaseState(NAME, State.RUNNING, vm=VM, deadline=1.0),
        ReleaseState(NAME, State.STOPPING, vm=VM, deadline=1.0),
        ReleaseState(NAME, State.RUNNING, vm=VM, sweeping=True),
        ReleaseState(NAME, State.RUNNING, vm=VM, halted=True),
    ],
)
def test_check_sees_what_must_never_be(state: ReleaseState) -> None:
    with pytest.raises(AssertionError):
        check(state)


def _request() -> Request:
    return Request("r", Op.START, "ann", START)
