"""A store that is full, damaged or of another kind: nodes run, and operators are told."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes import fake
from tests.faults.blocked import run
from tests.running import Fleet, Relctld, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def relctld(ends: ExitStack, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        yield fleet


def fill(folder: Path) -> None:
    """To the last byte."""
    with (folder / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_refuses_changes_and_harms_no_node(relctld: Fleet, tmp_path: Path, ends: ExitStack) -> None:
    need_root()
    state = tmp_path / "state"
    state.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "none", state)
    ends.callback(run, "umount", state)
    daemon = relctld(
        {"web": fake(tmp_path / "web"), "idle": fake(tmp_path / "idle", enabled=False)}, {"state_dir": state}
    )
    before = daemon.wait_for("web", state="running")

    def refused() -> str:
        fill(state)
        done = daemon.relctl("start", "idle", check=False)
        return done.stderr if done.returncode == 1 else ""

    said = wait_until(refused, 30, what="a refusal")
    assert said.startswith("relctl: cannot start idle: the wish cannot be recorded: ")
    assert "full" in said
    assert "hint: make room in" in said
    assert "state-trouble" in {each["finding"] for each in daemon.ask("doctor", {"names": []})["findings"]}
    now = daemon.status("web")
    assert now == now | {"pid": before["pid"], "state": "running", "want": "up"}
    assert daemon.relctl("start", "web").returncode == 0  # it changes nothing, so nothing is to be written
    os.kill(before["pid"], 9)
    daemon.wait_for("web", state="running", epoch=2)
    (state / "filler").unlink()
    wait_until(lambda: daemon.relctl("start", "idle", check=False).returncode == 0, 30, what="the store to recover")
    wait_until(lambda: daemon.ask("daemon-status")["store_error"] is None, what="the good news")
    wait_until(lambda: [e for e in daemon.events("web") if e["event"] == "exited"], what="what was not written then")
    assert "store-full" in [event["event"] for event in daemon.events()]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "all of it": lambda data: b"garbage " * 1000,
    "its header": lambda data: b"\xff" * 100 + data[100:],
    "its middle": lambda data: data[:4096] + os.urandom(len(data) - 4096),
    "its end": lambda data: data[: len(data) // 2 + 7],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_set_aside(relctld: Fleet, tmp_path: Path, damage: str) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "down": fake(tmp_path / "down")})
    before = daemon.wait_for("web", state="running")
    daemon.relctl("stop", "down")
    daemon.kill()
    path = daemon.state_dir / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:  # everything into the one file
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    daemon.start()
    now = daemon.status("web")
    assert now == now | {"pid": before["pid"], "epoch": 1, "state": "running"}
    [aside] = [file for file in daemon.state_dir.iterdir() if ".damaged-" in file.name and file.name[-4] != "-"]
    wait_until(lambda: str(aside) in daemon.said(), what="its name in the log")
    wait_until(lambda: "store-damaged" in [event["event"] for event in daemon.events()], what="the event")
    assert daemon.status("down")["state"] == "stopped"  # the run directory still knew
    assert daemon.relctl("stop", "web").returncode == 0


def test_a_store_that_cannot_be_opened_is_told_and_the_nodes_run(relctld: Fleet, tmp_path: Path) -> None:
    """A directory in its place: nothing can be set aside that is no file."""
    daemon = relctld({"web": fake(tmp_path / "web")}, start=False)
    (daemon.state_dir / "state.db" / "in-the-way").mkdir(parents=True)
    daemon.start()
    daemon.wait_for("web", state="running")
    done = daemon.relctl("stop", "web", check=False)
    assert done.returncode == 1
    assert "the wish cannot be recorded" in done.stderr
    assert daemon.ask("daemon-status")["store_error"]


def test_a_store_of_a_newer_relctl_is_not_touched(relctld: Fleet, tmp_path: Path) -> None:
    daemon: Relctld = relctld({"web": fake(tmp_path / "web")})
    daemon.wait_for("web", state="running")
    assert daemon.stop() == 0
    path = daemon.state_dir / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    kept = path.read_bytes()
    daemon.start()
    daemon.wait_for("web", state="running")
    assert "newer" in daemon.ask("daemon-status")["store_error"]
    assert daemon.relctl("stop", "web", check=False).returncode == 1
    daemon.kill()
    assert path.read_bytes() == kept
