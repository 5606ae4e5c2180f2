"""`relctl logs` of a real relctld and logger: by root from the files, by another user through relctld."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relctld.logfiles.names import listing
from tests.fakes import fake
from tests.running import Fleet, Relctld, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

NOBODY = 65534


class Printing:
    """A daemon whose one release says what a test says."""

    def __init__(self, daemon: Relctld) -> None:
        self.daemon = daemon
        self.folder = daemon.log_dir / "web"
        daemon.wait_for("web", state="running")
        self._out = os.open(daemon.run_dir / "releases/web/out", os.O_RDWR)

    def say(self, *numbers: int) -> None:
        """Lines, and wait until they are in the log."""
        text = b"".join(b"%d\n" % number for number in numbers)
        os.write(self._out, text)
        wait_until(lambda: self._end().endswith(text), what=lambda: f"{text!r} at the end of the log: {self._end()!r}")

    def _end(self) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "current").read_bytes()
        return b""

    def rotate(self) -> None:
        before = len(listing(str(self.folder)))
        self.daemon.relctl("logs", "web", "--rotate")
        wait_until(lambda: len(listing(str(self.folder))) > before, what="a rotated file")

    def logs(self, *words: str) -> str:
        """What root sees, and it is what others see through relctld."""
        seen = self.daemon.relctl("logs", "web", *words).stdout
        with self.other(*words) as process:
            assert process.communicate(timeout=60)[0].decode() == seen
        return seen

    def other(self, *words: str) -> subprocess.Popen[bytes]:
        """Another user's relctl."""
        who = [str(NOBODY), str(NOBODY), ""]
        command = [sys.executable, "-m", "tests.acting", *who, "relctl", "--socket", str(self.daemon.socket), "logs"]
        pipe = subprocess.PIPE
        return subprocess.Popen([*command, "web", *words], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def own(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "relctl", "--socket", str(self.daemon.socket), "logs", "web", *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


@pytest.fixture
def printing(relctld: Fleet, tmp_path: Path) -> Iterator[Printing]:
    need_root()
    web = fake(tmp_path / "web", log={"compress": "gzip", "markers": False})
    printing = Printing(relctld({"web": web}, {"access": {"operate": ["nobody"]}}))
    yield printing
    os.close(printing._out)


def pass_time(interval: timedelta) -> None:
    until = datetime.now(UTC) + interval
    wait_until(lambda: datetime.now(UTC) > until, what="time to pass")


def lines(numbers: range) -> str:
    return "".join(f"{number}\n" for number in numbers)


def test_following_both_ways_misses_nothing(printing: Printing) -> None:
    daemon = printing.daemon
    printing.say(0, 1)
    with printing.own("-f", "-n", "1") as own, printing.other("-f", "-n", "1") as other:
        assert own.stdout
        assert other.stdout
        assert own.stdout.readline() == other.stdout.readline() == b"1\n"
        printing.rotate()
        printing.say(2)
        printing.rotate()
        printing.say(3)
        for number in (b"2\n", b"3\n"):
            assert own.stdout.readline() == other.stdout.readline() == number
        daemon.kill()
        printing.say(4)
        assert own.stdout.readline() == b"4\n"  # needs no daemon
        assert daemon.relctl("logs", "web").stdout == lines(range(5))
        daemon.start()
        assert other.stdout.readline() == b"4\n"
        printing.say(5)
        assert own.stdout.readline() == other.stdout.readline() == b"5\n"
        for process in (own, other):
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == b""
            assert process.returncode == 0
    wait_until(lambda: len(list(printing.folder.glob("*.gz"))) == 2, what="compression")
    assert printing.logs() == lines(range(6))
    assert printing.logs("-n", "4") == lines(range(2, 6))


def test_a_time_tells_what_is_shown(printing: Printing) -> None:
    moments = []
    for number in range(3):
        moments.append(datetime.now(UTC))
        printing.say(number)
        if number == 1:
            printing.rotate()
            wait_until(lambda: list(printing.folder.glob("*.gz")), what="compression")
        pass_time(timedelta(seconds=1.5))
    since = [moment.isoformat() for moment in moments]
    assert printing.logs("--since", since[0]) == lines(range(3))
    assert printing.logs("--since", since[1]) == lines(range(1, 3))
    assert printing.logs("--since", since[2]) == lines(range(2, 3))
    assert printing.logs("--since", since[1], "--until", since[2]) == "1\n"
    assert printing.logs("--until", since[1]) == "0\n"
    assert printing.logs("--since", "now") == ""
    assert printing.logs("--grep", "[02]") == "0\n2\n"
    assert printing.logs("--grep", "[02]", "-n", "1") == "2\n"


def crashing(relctld: Fleet, root: Path, **keys: Any) -> Relctld:
    """Its release printed, crashed and runs again."""
    died = root.parent / "died"
    orders = ["say", "boot", "unless", died, "say", "panic", "once", died, "exit", 3]
    daemon = relctld({"web": fake(root, *orders, **keys)})
    daemon.wait_for("web", state="running", epoch=2)
    wait_until(lambda: daemon.relctl("logs", "web").stdout.count("boot\n") == 2, what="the second boot")
    return daemon


def test_the_last_lines_before_an_exit(relctld: Fleet, tmp_path: Path) -> None:
    daemon = crashing(relctld, tmp_path / "web", log={"timestamps": True})
    for _ in ("with relctld", "without"):
        *before, last = daemon.relctl("logs", "web", "--crash").stdout.splitlines()
        assert "Z relctl: exited (epoch 1, pid " in last
        said = [line.split()[1] for line in before if "relctl:" not in line]
        assert said[:2] == ["boot", "panic"]  # the next VM may have spoken before the exit was marked
        if daemon.process:
            daemon.kill()


def test_the_last_lines_before_an_exit_that_is_not_marked(relctld: Fleet, tmp_path: Path) -> None:
    backoff = {"first": "3500ms", "jitter": 0.0}
    daemon = crashing(relctld, tmp_path / "web", backoff=backoff, log={"markers": False})
    assert daemon.relctl("logs", "web", "--crash").stdout == "boot\npanic\n"
    assert daemon.relctl("logs", "web", "--crash", "-n", "1").stdout == "panic\n"
    daemon.kill()
    done = daemon.relctl("logs", "web", "--crash", check=False)
    assert done.returncode == 5
    assert done.stderr == "relctl: cannot logs web: no VM of it exited, as far as its log and its last exit tell\n"
