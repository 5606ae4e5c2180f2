"""A failpoint that is armed kills at the wanted pass; the variable is gone from the environment at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relctld.failpoints import Failpoint, arm, reach

PASSES = """
import os
from relctld.failpoints import Failpoint, arm, reach
arm(os.environ)
assert "RELCTL_FAILPOINT" not in os.environ
for number in range(3):
    reach(Failpoint.BEFORE_GATE)
    reach(Failpoint.AFTER_GATE)
    print(number, flush=True)
"""


@pytest.mark.parametrize(
    ("armed", "passed"),
    [("after-gate", 0), ("before-gate:1", 0), ("after-gate:3", 2), ("after-gate:1:{there}", 0)],
)
def test_it_kills_at_the_wanted_pass(armed: str, passed: int, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    done = run(armed.format(there=there))
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == [str(number) for number in range(passed)]


def test_it_raises_once_where_that_is_asked_for() -> None:
    done = run("after-gate!:2")
    assert (done.returncode, done.stdout.split()) == (1, ["0"])
    assert done.stderr.endswith("relctld.failpoints.SurpriseError: after-gate\n")


@pytest.mark.parametrize("armed", ["", "after-open", "after-gate:4", "after-gate:1:/no/such/file"])
def test_it_does_nothing_else(armed: str) -> None:
    done = run(armed)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2"])


def test_what_is_no_failpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="befor-gate"):
        arm({"RELCTL_FAILPOINT": "befor-gate"})
    reach(Failpoint.BEFORE_GATE)


def run(armed: str) -> subprocess.CompletedProcess[str]:
    environ = {"RELCTL_FAILPOINT": armed, "PATH": "/bin"}
    return subprocess.run([sys.executable, "-c", PASSES], env=environ, capture_output=True, text=True, check=False)
