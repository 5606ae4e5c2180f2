"""The gate that stands by for a running release, under a real daemon."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from relctld.host import process
from relctld.host.gate import COMM
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host


def gates(daemon: Relctld) -> list[int]:
    """The daemon's children that wait at their gate."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    ours = [pid for pid in pids if (seen := process.stat(pid)) and seen.parent == daemon.pid and seen.state != "Z"]
    return [pid for pid in ours if process.comm(pid) == COMM]


def gate(daemon: Relctld) -> int:
    """The one gate, once it stands by."""
    wait_until(lambda: len(gates(daemon)) == 1, what="a gate that stands by")
    return gates(daemon)[0]


@pytest.mark.parametrize("how", ["killed", "restarted"])
def test_the_gate_becomes_the_next_vm(relctld: Fleet, tmp_path: Path, how: str) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = int(daemon.wait_for("web", state="running")["pid"])
    for epoch in range(2, 5):  # a gate that was raised just now is seen before the daemon holds it
        standing = gate(daemon)
        if how == "killed":
            os.kill(pid, signal.SIGKILL)
        else:
            daemon.relctl("restart", "web")
        pid = int(daemon.wait_for("web", state="running", epoch=epoch)["pid"])
        if pid == standing:
            break
    assert pid == standing
    wait_until(lambda: gates(daemon) not in ([], [standing]), what="a gate for the epoch after")
    os.kill(standing, signal.SIGKILL)
    assert daemon.wait_for("web", state="running", epoch=epoch + 1)["last_exit"]["pid"] == standing


def test_stopped_means_that_no_gate_is_left(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    daemon.wait_for("web", state="running")
    gate(daemon)
    daemon.relctl("stop", "web")
    wait_until(lambda: not gates(daemon), what="its end")
    daemon.relctl("start", "web")
    gate(daemon)


def test_one_that_will_not_be_restarted_needs_none(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", restart="temporary"), "api": fake(tmp_path / "api")})
    daemon.wait_for("web", state="running")
    daemon.wait_for("api", state="running")
    gate(daemon)


def test_a_gate_for_another_environment_is_let_go(relctld: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("COLOUR=red\n")
    daemon = relctld({"web": fake(tmp_path / "web", env_file=str(file))})
    pid = int(daemon.wait_for("web", state="running")["pid"])
    standing = gate(daemon)
    file.write_text("COLOUR=blue\n")
    os.kill(pid, signal.SIGKILL)
    now = daemon.wait_for("web", state="running", epoch=2)
    assert now["pid"] != standing
    assert b"COLOUR=blue" in Path(f"/proc/{now['pid']}/environ").read_bytes().split(b"\0")
    assert not Path(f"/proc/{standing}").exists() or process.comm(standing) != COMM


def test_a_gate_that_was_killed_is_not_missed(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = int(daemon.wait_for("web", state="running")["pid"])
    standing = gate(daemon)
    os.kill(standing, signal.SIGKILL)
    wait_until(lambda: process.stat(standing) is None, what="that it was reaped")
    os.kill(pid, signal.SIGKILL)
    now = daemon.wait_for("web", state="running", epoch=2)
    assert now["pid"] not in (pid, standing)
    assert now["last_exit"]["cause"] == "killed"


def test_a_gate_ends_with_its_daemon_and_no_vm_comes_of_it(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = daemon.wait_for("web", state="running")["pid"]
    standing = gate(daemon)
    daemon.kill()
    wait_until(lambda: process.comm(standing) != COMM, what="the end of the gate")
    daemon.start()
    assert daemon.wait_for("web", state="running")["pid"] == pid
    assert gate(daemon) != standing
