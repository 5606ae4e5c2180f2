"""Why a VM ended (CONTRACT, `cause`), whether that calls for a restart, and how it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relctld.core.events import VmExited
from relctld.core.exits import classify, in_words, wants_restart
from relctld.core.spec import Restart
from relctld.core.state import Cause, Ending, ExitStatus, ReleaseState, State
from tests.playbook import NAME
from tests.words import AT

RUNNING = ReleaseState(NAME, State.RUNNING, epoch=1)
STARTING = replace(RUNNING, state=State.STARTING)


def _ending(ending: Ending, state: State = State.STOPPING) -> ReleaseState:
    return replace(RUNNING, state=state, ending=ending)


ZERO, ONE = ExitStatus(0), ExitStatus(1)
TERM, KILL, SEGV = ExitStatus(signal="SIGTERM"), ExitStatus(signal="SIGKILL"), ExitStatus(signal="SIGSEGV")
UNSEEN = ExitStatus()


@pytest.mark.parametrize(
    ("state", "status", "oom", "exec_error", "cause"),
    [
        (_ending(Ending.STOP), ZERO, False, None, Cause.STOPPED),
        (_ending(Ending.STOP), ONE, False, None, Cause.STOPPED),
        (_ending(Ending.STOP, State.KILLING), KILL, False, None, Cause.STOPPED),
        (_ending(Ending.STOP, State.KILLING), KILL, True, None, Cause.STOPPED),
        (_ending(Ending.RESTART), TERM, False, None, Cause.STOPPED),
        (_ending(Ending.SHUTDOWN), UNSEEN, False, None, Cause.STOPPED),
        (_ending(Ending.HUNG), ZERO, False, None, Cause.HUNG),
        (_ending(Ending.HUNG, State.KILLING), KILL, False, None, Cause.HUNG),
        (_ending(Ending.BOOT_TIMEOUT), ZERO, False, None, Cause.BOOT_FAILED),
        (STARTING, ZERO, False, None, Cause.BOOT_FAILED),
        (STARTING, ONE, False, None, Cause.BOOT_FAILED),
        (STARTING, SEGV, False, None, Cause.BOOT_FAILED),
        (STARTING, KILL, True, None, Cause.OOM),
        (STARTING, ExitStatus(127), False, "not found", Cause.EXEC_FAILED),
        (RUNNING, KILL, True, None, Cause.OOM),
        (RUNNING, ZERO, False, None, Cause.HALTED),
        (RUNNING, ONE, False, None, Cause.HALTED),
        (RUNNING, TERM, False, None, Cause.KILLED),
        (RUNNING, KILL, False, None, Cause.KILLED),
        (RUNNING, SEGV, False, None, Cause.KILLED),
        (RUNNING, UNSEEN, False, None, Cause.UNKNOWN),
    ],
)
def test_cause(state: ReleaseState, status: ExitStatus, oom: bool, exec_error: str | None, cause: Cause) -> None:
    assert classify(state, VmExited(NAME, 1, status, AT, oom, exec_error)) is cause


ABNORMAL = (Cause.KILLED, Cause.OOM, Cause.CRASH_DUMP, Cause.BOOT_FAILED, Cause.HUNG, Cause.EXEC_FAILED, Cause.UNKNOWN)


@pytest.mark.parametrize("cause", Cause)
def test_permanent_always_and_temporary_never(cause: Cause) -> None:
    for status in (ZERO, ONE, KILL, UNSEEN):
        assert wants_restart(Restart.PERMANENT, cause, status)
        assert not wants_restart(Restart.TEMPORARY, cause, status)


@pytest.mark.parametrize("status", [ZERO, ONE, KILL, UNSEEN])
@pytest.mark.parametrize("cause", ABNORMAL)
def test_transient_after_an_abnormal_end(cause: Cause, status: ExitStatus) -> None:
    assert wants_restart(Restart.TRANSIENT, cause, status)


def test_transient_not_after_halting_with_0_only() -> None:
    assert not wants_restart(Restart.TRANSIENT, Cause.HALTED, ZERO)
    assert wants_restart(Restart.TRANSIENT, Cause.HALTED, ONE)


@pytest.mark.parametrize(
    ("cause", "status", "detail", "words"),
    [
        (Cause.BOOT_FAILED, ONE, "", "boot failed, exit code 1"),
        (Cause.KILLED, SEGV, "", "killed, SIGSEGV"),
        (Cause.UNKNOWN, UNSEEN, "", "unknown, exit status unknown"),
        (Cause.CRASH_DUMP, ONE, "boom", "crash dump, exit code 1: boom"),
        (Cause.EXEC_FAILED, UNSEEN, "bin/web: not found", "it could not be executed: bin/web: not found"),
        (Cause.BOOT_FAILED, UNSEEN, "pre_start: exit code 1", "boot failed: pre_start: exit code 1"),
    ],
)
def test_in_words(cause: Cause, status: ExitStatus, detail: str, words: str) -> None:
    assert in_words(cause, status, detail) == words
