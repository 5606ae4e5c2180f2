"""An exception that nobody expects, as a bug of ours would raise it (`RELCTL_FAILPOINT=…!`).

In the main path it ends relctld, and the next one goes on with all nodes. Anywhere else it is told, and costs one thing
of one release.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relctld.failpoints import Failpoint
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host

NAMES = ("web", "api")


def running(relctld: Fleet, folder: Path, armed: str = "") -> Relctld:
    """Two releases run, of which one was restarted; each has a program that must not run twice."""
    tables = {name: fake(folder / name, "alone", folder / f"{name}.lock") for name in NAMES}
    daemon = relctld(tables, start=False)
    start(daemon, armed)
    os.kill(daemon.wait_for("web", state="running")["pid"], signal.SIGKILL)
    daemon.wait_for("web", state="running", epoch=2)
    daemon.wait_for("api", state="running")
    return daemon


def start(daemon: Relctld, armed: str, *, wait: bool = True) -> None:
    """This relctld alone raises where `armed` says."""
    daemon.environ["RELCTL_FAILPOINT"] = armed
    daemon.start(wait=wait)
    del daemon.environ["RELCTL_FAILPOINT"]


def told(daemon: Relctld, point: Failpoint) -> bool:
    """In its log, with where it came from."""
    said = daemon.said()
    return "Traceback (most recent call last)" in said and f"relctld.failpoints.SurpriseError: {point}" in said


@pytest.mark.parametrize("point", [Failpoint.BEFORE_ADOPTION, Failpoint.BEFORE_OPERATIONS, Failpoint.BEFORE_EXEC])
def test_one_in_the_main_path_ends_relctld_and_the_next_one_goes_on(
    relctld: Fleet, tmp_path: Path, point: Failpoint
) -> None:
    armed, client = f"{point}!:1:{tmp_path / 'since'}", None
    daemon = running(relctld, tmp_path, armed)
    before = {name: daemon.status(name) for name in NAMES}
    (tmp_path / "since").touch()
    if point is Failpoint.BEFORE_ADOPTION:
        daemon.kill()
        start(daemon, armed, wait=False)
    else:
        client = daemon.spawn_relctl("daemon", "reexec")
    assert daemon.process is not None
    assert daemon.process.wait(60) == 1
    assert told(daemon, point)
    daemon.start()
    for name in NAMES:
        now = daemon.wait_for(name, state="running")
        same = ("pid", "epoch", "restarts", "restarts_total", "last_exit", "want")
        assert [now[key] for key in same] == [before[name][key] for key in same]
        assert now["uptime_s"] >= before[name]["uptime_s"]
        assert not (tmp_path / f"{name}.lock.twice").exists()
    if client is not None:
        client.communicate(timeout=60)
    assert daemon.relctl("stop", *NAMES).returncode == 0


Told = tuple[int, str]


def crash(daemon: Relctld) -> Told:
    os.kill(daemon.status("web")["pid"], signal.SIGKILL)
    return 0, ""


def asked(op: str) -> Callable[[Relctld], Told]:
    """How a client that asks for it ends."""

    def ask(daemon: Relctld) -> Told:
        done = daemon.relctl(op, "web", check=False)
        return done.returncode, done.stderr

    return ask


CONTAINED: dict[Failpoint, tuple[Callable[[Relctld], Told], int, dict[str, Any]]] = {
    # in a worker, that of the store and the scribe's
    Failpoint.BEFORE_RECORD: (asked("restart"), 1, {"state": "running"}),
    Failpoint.BEFORE_WANT: (asked("stop"), 1, {"state": "running", "epoch": 2}),
    Failpoint.BEFORE_STATE: (asked("restart"), 0, {"state": "running", "epoch": 3}),
    # on the loop
    Failpoint.BEFORE_STOP: (asked("restart"), 0, {"state": "running", "epoch": 3}),
    Failpoint.AFTER_REAP: (crash, 0, {"state": "running", "epoch": 3}),
    Failpoint.BEFORE_SWEEP: (crash, 0, {"state": "running", "epoch": 3}),
    Failpoint.AFTER_SWEEP: (asked("stop"), 0, {"state": "stopped"}),
    Failpoint.BEFORE_REPLY: (asked("restart"), 0, {"state": "running", "epoch": 3}),
}
"""What leads there, how a client that asks for it ends, and what is so in the end."""


@pytest.mark.parametrize("point", CONTAINED)
def test_one_anywhere_else_costs_one_thing_of_one_release(relctld: Fleet, tmp_path: Path, point: Failpoint) -> None:
    act, code, ends = CONTAINED[point]
    daemon = running(relctld, tmp_path, f"{point}!:1:{tmp_path / 'since'}")
    pid, beside = daemon.pid, daemon.status("api")["pid"]
    (tmp_path / "since").touch()
    ended, said = act(daemon)
    assert ended == code, said
    wait_until(lambda: point in said or told(daemon, point), what=lambda: daemon.said()[-2000:])
    daemon.wait_for("web", **ends)
    assert daemon.status("api")["pid"] == beside
    assert not (tmp_path / "web.lock.twice").exists()
    assert daemon.relctl("restart", "web").returncode == 0
    assert daemon.ask("daemon-status")["pid"] == pid
