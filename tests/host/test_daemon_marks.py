"""What relctld says in the logs of its releases: each start and end once, whoever is killed, and a stop never waits."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from relctld.logger.policy import Counters, read_counters
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host

MARK = re.compile(r"^relctl: (\w+) \(epoch (\d+)(?:, pid (\d+))?\) at \S+Z(?:: (.*))?$", re.MULTILINE)


def marks(daemon: Relctld) -> list[tuple[str, ...]]:
    current = daemon.log_dir / "web" / "current"
    return MARK.findall(current.read_text()) if current.exists() else []


def counters(daemon: Relctld) -> Counters:
    return read_counters(str(daemon.run_dir / "releases" / "web" / "log.json"))


def wait_marks(daemon: Relctld, *want: tuple[str, str]) -> None:
    wait_until(lambda: [mark[:2] for mark in marks(daemon)] == list(want), what=lambda: f"{want}, not {marks(daemon)}")


def test_starts_and_ends_stand_in_the_log(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    first = daemon.wait_for("web", state="running")["pid"]
    os.kill(first, signal.SIGKILL)
    second = daemon.wait_for("web", state="running", epoch=2)["pid"]
    daemon.relctl("stop", "web")
    wait_marks(daemon, ("starting", "1"), ("exited", "1"), ("starting", "2"), ("exited", "2"))
    assert [mark[2:] for mark in marks(daemon)] == [
        ("", ""),
        (str(first), "killed, SIGKILL"),
        ("", ""),
        (str(second), "stopped, SIGTERM"),
    ]


def test_what_relctld_did_not_see_is_said_by_the_next_and_nothing_twice(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    first = daemon.wait_for("web", state="running")["pid"]
    wait_marks(daemon, ("starting", "1"))
    daemon.kill()
    daemon.start()
    assert daemon.wait_for("web", state="running")["pid"] == first
    daemon.kill()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{first}").exists(), what="its end")
    daemon.start()
    daemon.wait_for("web", state="running", epoch=2)
    wait_marks(daemon, ("starting", "1"), ("exited", "1"), ("starting", "2"))
    daemon.stop()
    wait_marks(daemon, ("starting", "1"), ("exited", "1"), ("starting", "2"), ("exited", "2"))


def test_marks_are_switched_off(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", log={"markers": False})})
    daemon.wait_for("web", state="running")
    daemon.relctl("restart", "web")
    daemon.relctl("stop", "web")
    current = daemon.log_dir / "web" / "current"
    assert "relctl:" not in (current.read_text() if current.exists() else "")


def test_a_stop_does_not_wait_for_a_log_that_takes_no_more(relctld: Fleet, tmp_path: Path) -> None:
    """With `on_full = "block"` a node waits for its log, but not for ever: what it prints while it ends is dropped."""
    words = ["ignore", "flood", 150_000, "exit", 0]
    web = fake(tmp_path / "web", *words, log={"on_full": "block"}, stop_timeout="100s")
    daemon = relctld({"web": web}, start=False)
    (daemon.log_dir / "web").mkdir(parents=True)
    (daemon.log_dir / "web" / "current").mkdir()
    daemon.start()
    daemon.wait_for("web", state="running")
    wait_until(lambda: counters(daemon).bytes_in >= 8 << 20, what="what can be held to be held")
    assert counters(daemon).bytes_dropped == 0
    assert daemon.status("web")["state"] == "running"
    daemon.relctl("stop", "web")
    [exited] = daemon.noted("web", "exited")
    assert exited["code"] == 0
    assert daemon.status("web")["log"]["bytes_dropped"] > 0
    (daemon.log_dir / "web" / "current").rmdir()
    wait_until(lambda: counters(daemon).bytes_in == counters(daemon).bytes_out + counters(daemon).bytes_dropped)
    wait_marks(daemon, ("starting", "1"), ("exited", "1"))
