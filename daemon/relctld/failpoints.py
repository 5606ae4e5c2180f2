"""Moments at which relctld can be made to die or to err, for its tests: right before and after what outlives it.

    RELCTL_FAILPOINT=after-record      SIGKILL ourselves at the first pass
    RELCTL_FAILPOINT=before-gate:2     at the second one
    RELCTL_FAILPOINT=before-gate:1:F   at the first one since the file F is there
    RELCTL_FAILPOINT=before-stop!      raise an exception instead, which nobody expects

Rule 1: a failpoint is one line, `reach(Failpoint.AFTER_RECORD)`, and does nothing unless it is armed.
Rule 2: the variable is taken out of the environment at once: no child, no VM and no successor gets it.
Rule 3: the core has none: what it decides is not done yet.

Each name has a test that reaches it (`tests/beam/test_failpoints.py`), or that test fails.
"""

import itertools
import os
import signal
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Final

_VARIABLE: Final = "RELCTL_FAILPOINT"


class Failpoint(StrEnum):
    """Where relctld may be told to die."""

    # -- files of the run directory and of the state directory
    BEFORE_RUN_NOTE = "before-run-note"
    """STATE/run.json says where the records of this boot are; it is not written yet."""
    AFTER_RUN_NOTE = "after-run-note"
    BEFORE_GOOD_CONFIG = "before-good-config"
    """The config is good; the copy of it is not kept yet."""
    AFTER_GOOD_CONFIG = "after-good-config"
    BEFORE_LOG_PLAN = "before-log-plan"
    """The logger's plan is about to be replaced."""
    AFTER_LOG_PLAN = "after-log-plan"
    """The plan is written, and the logger not told."""
    BEFORE_MARK = "before-mark"
    """Something is to be said in a release's own log, and only this process knows it."""
    AFTER_MARK = "after-mark"
    """It is written down for the logger, which was not told."""
    BEFORE_STATE = "before-state"
    """A state is about to be saved; what it orders may be done already."""
    AFTER_STATE = "after-state"
    BEFORE_WANT = "before-want"
    """A want is written into the store, and not committed."""
    AFTER_WANT = "after-want"
    """It is durable, and nobody was told."""
    BEFORE_HISTORY = "before-history"
    """Events and totals are written into the store, and not committed."""
    AFTER_HISTORY = "after-history"
    """They are durable, and not published."""
    BEFORE_OPERATIONS = "before-operations"
    """A re-exec has nearly come; what was asked for is not written down."""
    AFTER_OPERATIONS = "after-operations"
    BEFORE_FORGET = "before-forget"
    """The records of a release that left the config are about to be removed."""
    AFTER_FORGET = "after-forget"

    # -- the gate
    BEFORE_GATE = "before-gate"
    """A gate is about to be forked."""
    AFTER_GATE = "after-gate"
    """It waits, and nothing holds it."""
    BEFORE_PLACE = "before-place"
    """The gate is about to be contained."""
    AFTER_PLACE = "after-place"
    BEFORE_RECORD = "before-record"
    """A gate that shall become a VM is about to be recorded."""
    AFTER_RECORD = "after-record"
    BEFORE_OPEN = "before-open"
    """It is recorded and contained, and still shut."""
    AFTER_OPEN = "after-open"
    """It is a VM; its record knows of a gate."""
    BEFORE_OPENED = "before-opened"
    """Its record is about to say that it passed its gate."""
    AFTER_OPENED = "after-opened"
    """It is a VM, which only its record knows."""
    BEFORE_DISMISS = "before-dismiss"
    """A gate that stood by is about to be let go."""
    AFTER_DISMISS = "after-dismiss"
    """It was killed, and its containment is not emptied."""

    # -- other forks
    BEFORE_LOGGER = "before-logger"
    """A logger is about to be forked."""
    AFTER_LOGGER = "after-logger"
    BEFORE_EPMD = "before-epmd"
    """An epmd is about to be started."""
    AFTER_EPMD = "after-epmd"
    BEFORE_COMMAND = "before-command"
    """A hook or an `exec:` probe is about to be forked."""
    AFTER_COMMAND = "after-command"
    BEFORE_TERMINAL = "before-terminal"
    """A remote shell is about to be forked."""
    AFTER_TERMINAL = "after-terminal"
    BEFORE_TRIAL = "before-trial"
    """The installed code is about to be tried by a child."""
    AFTER_TRIAL = "after-trial"

    # -- the end of a VM
    BEFORE_STOP = "before-stop"
    """SIGTERM is about to be sent to a VM."""
    AFTER_STOP = "after-stop"
    BEFORE_DUMP = "before-dump"
    """SIGUSR1 is about to be sent to a VM, for its crash dump."""
    AFTER_DUMP = "after-dump"
    BEFORE_KILL = "before-kill"
    """SIGKILL is about to be sent to a VM."""
    AFTER_KILL = "after-kill"
    AFTER_REAP = "after-reap"
    """A child of ours was reaped: how it ended only we know."""
    BEFORE_SWEEP = "before-sweep"
    """What a VM left is about to be ended."""
    AFTER_SWEEP = "after-sweep"

    # -- operators, and the next daemon
    BEFORE_REPLY = "before-reply"
    """An operation that changes something is done, and its reply not sent."""
    AFTER_REPLY = "after-reply"
    BEFORE_EXEC = "before-exec"
    """All is handed over, and this process about to become the installed code."""
    BEFORE_ADOPTION = "before-adoption"
    """A living VM of a former self was found."""
    AFTER_ADOPTION = "after-adoption"
    """It is under our eyes; nothing was told or saved."""


class SurpriseError(Exception):
    """What a bug of ours might raise."""


_armed: Failpoint | None = None
_raises = False
_wanted = 1
_since = ""
_passes = itertools.count(1)


def arm(environ: MutableMapping[str, str]) -> None:
    """Take up what the environment says, and remove it there. Raises ValueError for what is no failpoint."""
    global _armed, _raises, _wanted, _since
    text = environ.pop(_VARIABLE, "")
    if text:
        name, number, _since, *_ = *text.split(":", 2), "", ""
        _armed, _raises, _wanted = Failpoint(name.removesuffix("!")), name.endswith("!"), int(number or 1)


def reach(point: Failpoint) -> None:
    """This moment has come. Raises SurpriseError."""
    if point is _armed and (not _since or os.path.exists(_since)) and next(_passes) == _wanted:
        if _raises:
            raise SurpriseError(point)
        os.kill(os.getpid(), signal.SIGKILL)
