"""Disks and a name service that hang for 10 s: `status` answers, and what dies is started again on time."""

import contextlib
import os
import pwd
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from relctld.logger.policy import Counters, read_counters
from tests.asking import Asker
from tests.fakes import fake
from tests.faults.blocked import BLOCKED_FOR, assert_in_time, disk, frozen, name_service, seconds_of_answers
from tests.running import Fleet, Relctld, need_root
from tests.waiting import wait_until

pytestmark = [pytest.mark.host, pytest.mark.slow]

ON_TIME = 3.0
"""Seconds within which a killed release runs again; milliseconds are the bench's affair, the block takes ten."""


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """What is mounted; taken away after the daemons."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def relctld(ends: ExitStack, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        yield fleet


def kill(daemon: Relctld, name: str) -> None:
    """Kill its VM; the next must run in time."""
    before = daemon.wait_for(name, state="running")
    os.kill(before["pid"], signal.SIGKILL)
    daemon.wait_for(name, ON_TIME, state="running", epoch=before["epoch"] + 1)


def hold_out(daemon: Relctld, block: AbstractContextManager[None], meanwhile: Callable[[], None]) -> None:
    """Under the block: two restarts, answers in time, and whatever else the test wants."""
    pid = daemon.pid
    for name in ("web", "api"):
        daemon.wait_for(name, state="running")
    with block:
        end = time.monotonic() + BLOCKED_FOR
        kill(daemon, "web")
        meanwhile()
        kill(daemon, "web")
        assert_in_time(seconds_of_answers(daemon, lambda: time.monotonic() > end))
    assert daemon.pid == pid
    wait_until(lambda: exits(daemon, "web") == 2, 40, what="the history to be written")
    kill(daemon, "web")
    assert daemon.relctl("restart", "api").returncode == 0


def exits(daemon: Relctld, name: str) -> int:
    return sum(event["event"] == "exited" for event in daemon.events(name))


def releases(tmp_path: Path, **keys: Any) -> dict[str, Any]:
    return {name: fake(tmp_path / name, **keys) for name in ("web", "api")}


def wish_waits(daemon: Relctld) -> None:
    """A stop needs its want on the disk: it waits for that, and the client need not."""
    done = daemon.relctl("stop", "api", "--timeout", "1s", check=False)
    assert done.returncode == 1
    assert daemon.status("api")["state"] == "running"


def test_the_store_is_locked_by_somebody(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld(releases(tmp_path))

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(daemon.state_dir / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield

    hold_out(daemon, locked(), lambda: wish_waits(daemon))


def test_the_state_directory_hangs(relctld: Fleet, tmp_path: Path, ends: ExitStack) -> None:
    need_root()
    state = ends.enter_context(disk(tmp_path / "state"))
    daemon = relctld(releases(tmp_path), {"state_dir": state})
    hold_out(daemon, frozen(state), lambda: wish_waits(daemon))


def test_the_log_directory_hangs(relctld: Fleet, tmp_path: Path, ends: ExitStack) -> None:
    need_root()
    log = ends.enter_context(disk(tmp_path / "log"))
    table = releases(tmp_path) | {"web": fake(tmp_path / "web", "say", "I was here")}
    daemon = relctld(table, {"log_dir": log})
    wait_until((log / "web" / "current").exists, what="the first line")
    hold_out(daemon, frozen(log), lambda: None)

    def seen() -> tuple[Counters, bytes]:
        counters = read_counters(str(daemon.run_dir / "releases" / "web" / "log.json"))
        return counters, (log / "web" / "current").read_bytes()

    def settled() -> bool:
        """All that the VMs wrote is in the log, and all that is told of them, once; nothing was dropped."""
        counters, lines = seen()
        said = [line for line in lines.splitlines(keepends=True) if not line.startswith(b"relctl: ")]
        told = re.findall(rb"^relctl: (starting|exited) \(epoch (\d+)", lines, re.MULTILINE)
        size = sum(map(len, said))
        expected = Counters(size, size, 0, 0, None, marked=len(told))
        lives = [(what, b"%d" % epoch) for epoch in range(1, 5) for what in (b"starting", b"exited")]
        return counters == expected and {*said} == {b"I was here\n"} and told == lives[:-1]

    wait_until(settled, 30, what=lambda: f"every line, once: {seen()}")


def test_the_name_service_hangs(relctld: Fleet, tmp_path: Path) -> None:
    need_root()
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    table = {"web": fake(tmp_path / "web", user="nobody"), "api": fake(tmp_path / "api")}
    daemon = relctld(table, wrap=("unshare", "--mount", "--propagation", "private"))

    def operators_are_served() -> None:
        assert daemon.relctl("restart", "api", "--timeout", "5s").returncode == 0

    hold_out(daemon, name_service(daemon, tmp_path), operators_are_served)
    now = daemon.wait_for("web", state="running")
    status = Path(f"/proc/{now['pid']}/status").read_text()
    assert f"\nUid:\t{pwd.getpwnam('nobody').pw_uid}\t" in status


@contextlib.contextmanager
def history_that_hangs(daemon: Relctld, questions: int) -> Iterator[None]:
    """To open a FIFO waits for a writer; what the store's own thread has open goes on."""
    path = daemon.state_dir / "state.db"
    path.rename(path.with_name("away"))
    os.mkfifo(path)
    try:
        with Asker(daemon.socket) as asker:
            for _ in range(questions):
                asker.request("events")
            yield
    finally:
        path.rename(path.with_name("fifo"))
        path.with_name("away").rename(path)
        os.close(os.open(path.with_name("fifo"), os.O_RDWR))


def test_questions_that_hang_keep_no_release_from_being_started(relctld: Fleet, tmp_path: Path) -> None:
    """More of them than there are threads for what operators ask."""
    daemon = relctld(releases(tmp_path))
    daemon.wait_for("web", state="running")
    with history_that_hangs(daemon, 200):
        kill(daemon, "web")
        assert_in_time(seconds_of_answers(daemon, lambda: True))
        assert daemon.relctl("restart", "api").returncode == 0
    wait_until(lambda: exits(daemon, "web") == 1, what="the history")


def test_it_starts_while_the_name_service_hangs(relctld: Fleet, tmp_path: Path) -> None:
    """The access table needs groups; what needs no names goes on, and the rest is found out later."""
    need_root()
    group = tmp_path / "group"
    os.mkfifo(group)
    wrap = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f'mount --bind {group} /etc/group; exec "$@"')
    daemon = relctld({"web": fake(tmp_path / "web")}, wrap=(*wrap, "sh"), start=False)
    daemon.configure({"web": fake(tmp_path / "web")}, {"access": {"operate": ["@no-such-group"]}})
    try:
        daemon.start()
        daemon.wait_for("web", state="running")
        kill(daemon, "web")
        assert "no-such-group" not in daemon.said()
    finally:
        os.close(os.open(group, os.O_RDWR))  # who waits finds an empty file
    wait_until(lambda: "group no-such-group does not exist" in daemon.said(), what="the names")
