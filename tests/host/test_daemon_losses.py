"""What a log lost is an event, once, whichever relctld was there when it happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relctld.logger.policy import Counters, read_counters
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host

LINES = 150_000
"""15 MB, of which 8 MiB can wait."""


def counters(daemon: Relctld) -> Counters:
    return read_counters(str(daemon.run_dir / "releases" / "web" / "log.json"))


def told(daemon: Relctld) -> tuple[int, int]:
    """Bytes and lines of all events."""
    events = daemon.noted("web", "log-dropped")
    return sum(event["bytes"] for event in events), sum(event["lines"] for event in events)


def wait_taken(daemon: Relctld, size: int) -> None:
    wait_until(lambda: counters(daemon).bytes_in >= size, what="all of the flood to be taken")


def wait_told(daemon: Relctld) -> None:
    def all_told() -> bool:
        now = counters(daemon)
        return told(daemon) == (now.bytes_dropped, now.lines_dropped) != (0, 0)

    wait_until(all_told, interval=0.1, what=lambda: f"{counters(daemon)}, not {told(daemon)}")


def test_what_was_dropped_while_no_relctld_ran_is_told_once(relctld: Fleet, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    web = fake(tmp_path / "web", "wait", first, "flood", LINES, "wait", second, "flood", LINES)
    daemon = relctld({"web": web}, start=False)
    current = daemon.log_dir / "web" / "current"
    current.mkdir(parents=True)
    daemon.start()
    daemon.wait_for("web", state="running")
    wait_until(lambda: daemon.noted("web", "log-trouble"), what="the trouble to be told")
    daemon.kill()
    first.touch()
    wait_taken(daemon, LINES * 100)
    daemon.start()
    daemon.wait_for("web", state="running")
    wait_told(daemon)
    second.touch()
    wait_taken(daemon, 2 * LINES * 100)
    wait_told(daemon)
    noted, dropped = daemon.run_dir / "releases" / "web" / "told.json", counters(daemon).bytes_dropped
    wait_until(lambda: json.loads(noted.read_text())["bytes_dropped"] == dropped, what="it to be noted")
    daemon.kill()
    daemon.start()
    current.rmdir()
    wait_until(lambda: counters(daemon).error is None, what="recovery")
    wait_told(daemon)
    assert len(daemon.noted("web", "log-trouble")) == 1
