"""What a daemon that died left behind, at the moments between its records: each is read as what happened."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relctld.core.events import Booted, Resumed
from relctld.core.lifecycle import check, step
from relctld.core.spec import Backoff, ReleaseSpec
from relctld.core.state import Cause, Launch, ReleaseState, State, Vm, Want
from relctld.host import process, reexec
from relctld.host.records import Launched, Recorded, write_state, write_vm
from relctld.supervisor import resume

NOW = 1000.0
SPEC = ReleaseSpec("web", Path("/opt/web"), backoff=Backoff(first=2.0))
STARTING = ReleaseState(
    "web", State.STARTING, Want.UP, epoch=3, launch=Launch.SPAWN, deadline=NOW + 60, since=NOW - 1, restarts_total=5
)
BACKOFF = replace(STARTING, state=State.BACKOFF, epoch=2, launch=Launch.NONE, deadline=NOW + 1)


@pytest.fixture
def living() -> Iterator[Vm]:
    child = subprocess.Popen(["sleep", "60"])
    yield Vm(child.pid, process.start_ticks(child.pid) or 0, "a" * 32)
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.fixture
def dead() -> Vm:
    child = subprocess.Popen(["sleep", "60"])
    vm = Vm(child.pid, process.start_ticks(child.pid) or 0, "d" * 32)
    child.kill()
    child.wait()
    return vm


def found(folder: Path, saved: ReleaseState | None, recorded: Recorded | None) -> resume.Found:
    if saved is not None:
        write_state(folder, saved, Launched())
    if recorded is not None:
        write_vm(folder, recorded)
    result = resume.find(SPEC, folder, None, NOW, reexec.Kept({}, {}))
    if result.pidfd is not None:
        os.close(result.pidfd)
    return result


def stepped(result: resume.Found) -> ReleaseState:
    after, _ = step(result.state, result.event, SPEC, NOW)
    check(after)
    return after


@pytest.mark.parametrize("saved", [None, BACKOFF, STARTING])
def test_a_vm_that_lives_is_taken_up(tmp_path: Path, living: Vm, saved: ReleaseState | None) -> None:
    for opened in (False, True):
        result = found(tmp_path, saved, Recorded(3, living, opened))
        assert isinstance(result.event, Resumed)
        assert result.event.vm == living
        after = stepped(result)
        assert (after.state, after.epoch, after.vm) == (State.STARTING, 3, living)


@pytest.mark.parametrize("saved", [None, BACKOFF, STARTING])
def test_a_vm_that_ran_and_is_gone_has_ended(tmp_path: Path, dead: Vm, saved: ReleaseState | None) -> None:
    """It counts, though nobody saved that it ran: else a crash loop of both would never come to backoff."""
    after = stepped(found(tmp_path, saved, Recorded(3, dead, opened=True)))
    assert (after.state, after.epoch, after.vm, after.sweeping) == (State.KILLING, 3, None, True)
    assert after.last_exit is not None
    assert (after.last_exit.cause, after.last_exit.pid, after.last_exit.epoch) == (Cause.BOOT_FAILED, dead.pid, 3)


@pytest.mark.parametrize("saved", [BACKOFF, STARTING])
def test_a_gate_that_may_never_have_opened_is_no_end(tmp_path: Path, dead: Vm, saved: ReleaseState) -> None:
    after = stepped(found(tmp_path, saved, Recorded(3, dead)))
    assert after.last_exit is None
    assert after.epoch == 3
    assert after.state is (State.KILLING if saved is STARTING else State.BACKOFF)


def test_an_end_that_was_saved_is_told_once(tmp_path: Path, dead: Vm) -> None:
    ended = replace(BACKOFF, epoch=3)
    after = stepped(found(tmp_path, ended, Recorded(3, dead, opened=True)))
    assert (after.state, after.deadline, after.last_exit) == (State.BACKOFF, NOW + 1, None)


def test_a_record_that_is_older_than_the_state_says_nothing(tmp_path: Path, living: Vm) -> None:
    result = found(tmp_path, STARTING, Recorded(2, living, opened=True))
    assert result.pidfd is None
    assert stepped(result).vm is None


def test_without_a_record_it_begins(tmp_path: Path) -> None:
    result = found(tmp_path, None, None)
    assert result.event == Booted("web")
    assert stepped(result).epoch == 1
