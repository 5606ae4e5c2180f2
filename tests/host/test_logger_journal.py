"""The real logger sends lines to a journal that a test plays: a socket that takes datagrams, or does not."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.logger_rig import Rig, numbered
from tests.waiting import wait_until

pytestmark = pytest.mark.host

ODD = [b"", b"\0\xff\xfe=\x1b[1m", "Grüße".encode(), b"x" * 100_000, b"y" * 900_000, b"MESSAGE=not a field"]


class Listener:
    """The journal's end of the native protocol, as systemd.io/JOURNAL_NATIVE_PROTOCOL has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def entry(self) -> dict[str, bytes]:
        """The next one."""
        room = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
        data, control, _, _ = self.socket.recvmsg(1 << 20, room)
        for _, _, raw in control:
            (fd,) = array.array("i", raw)
            with open(fd, "rb") as file:
                assert not data
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, 1)
                file.seek(0)
                data = file.read()
        assert data.endswith(b"\n")
        fields = [field.split(b"=", 1) for field in data[:-1].split(b"\n")]
        assert len({name for name, _ in fields}) == len(fields)
        return {name.decode(): value for name, value in fields}

    def lines(self, count: int) -> list[bytes]:
        return [self.entry()["MESSAGE"] for _ in range(count)]

    def close(self) -> None:
        self.socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


@pytest.fixture
def listener(rig: Rig) -> Iterator[Listener]:
    listener = Listener(rig.run / "journal")
    yield listener
    listener.close()


def begin(rig: Rig, **policy: Any) -> None:
    rig.add("web", journal=True, version="1.2.0", epoch=7, **policy)
    rig.start(RELCTL_JOURNAL_SOCKET=str(rig.run / "journal"))


def test_each_line_is_an_entry_with_the_release_its_version_and_its_epoch(rig: Rig, listener: Listener) -> None:
    rig.add("api")
    begin(rig)
    rig.write("api", b"not asked for\n")
    for line in ODD:
        rig.write("web", line + b"\n")
    assert listener.entry() == {
        "PRIORITY": b"6",
        "SYSLOG_IDENTIFIER": b"web",
        "RELCTL_RELEASE": b"web",
        "RELCTL_VERSION": b"1.2.0",
        "RELCTL_EPOCH": b"7",
        "MESSAGE": ODD[0],
    }
    assert listener.lines(len(ODD) - 1) == ODD[1:]
    rig.write("web", b"begun, ")
    rig.wait_logged("web", b"begun, ")
    rig.add("web", journal=True, version="1.3.0", epoch=8)
    rig.write("web", b"ended\n")
    rig.wait_logged("web", b"ended\n")
    found = listener.entry()
    assert (found["MESSAGE"], found["RELCTL_VERSION"], found["RELCTL_EPOCH"]) == (b"begun, ended", b"1.3.0", b"8")


def test_rotations_and_restarts_of_the_logger_lose_no_entry(rig: Rig, listener: Listener) -> None:
    begin(rig, max_size=1000, compress="gzip")
    assert rig.writer("web", 300).wait(20) == 0
    wanted = numbered(300).splitlines()
    found = listener.lines(100)
    rig.kill()
    rig.start(RELCTL_JOURNAL_SOCKET=str(listener.path))
    while found[-1] != wanted[-1]:
        found += listener.lines(1)
    assert list(dict.fromkeys(found)) == wanted  # some of them twice, none of them missing


def test_a_journal_that_takes_nothing_delays_no_line_and_what_it_missed_is_told(rig: Rig, listener: Listener) -> None:
    begin(rig)
    lines = 250_000  # 25 MB: more than may wait
    assert rig.writer("web", lines, per_write=5).wait(30) == 0
    rig.wait_logged("web", numbered(1, first=lines - 1))
    wait_until(lambda: rig.counters("web").journal_dropped > 16_000_000, what="it to be given up")
    assert rig.counters("web").bytes_dropped == 0
    assert rig.counters("web").error == "the journal takes no more"
    rig.write("web", b"so far\n")
    sent = 0
    while listener.lines(1) != [b"so far"]:
        sent += 1
    assert rig.counters("web").journal_dropped == (lines - sent) * 100
    listener.close()
    wait_until(lambda: "cannot send to the journal" in (rig.counters("web").error or "") or sends(rig), what="that")
    again = Listener(listener.path)
    rig.write("web", b"at last\n")
    while again.lines(1) != [b"at last"]:
        pass
    wait_until(lambda: rig.counters("web").error is None, what="recovery")
    again.close()


def test_what_is_deleted_before_it_was_sent_is_counted(rig: Rig, listener: Listener) -> None:
    """To the byte, while some of the log is sent and some is compressed; a logger that comes up deletes too."""
    begin(rig, max_size=100_000, keep=3, compress="gzip", timestamps=True)
    lines = 30_000
    for first in (0, 10_000, 20_000):
        assert rig.writer("web", 10_000, first=first).wait(30) == 0
        rig.wait_logged("web", numbered(1, first=first + 9_999))
        wait_until(lambda: rig.counters("web").journal_dropped > 0, what="something to be deleted")
        for _ in range(20):
            listener.entry()
    rig.add("web", journal=True, version="1.2.0", epoch=7, max_size=100_000, keep=1, timestamps=True)
    sent = 60
    while listener.entry()["MESSAGE"] != numbered(1, first=lines - 1)[:-1]:
        sent += 1
    wait_until(lambda: rig.counters("web").journal_dropped == (lines - sent - 1) * 128, what=lambda: f"{sent}")
    assert rig.counters("web").error is None


def test_who_leaves_the_plan_does_not_wait_for_a_journal_for_ever(rig: Rig, listener: Listener) -> None:
    rig.add("api")
    begin(rig)
    assert rig.writer("web", 10_000).wait(20) == 0
    wait_until(lambda: rig.counters("web").error == "the journal takes no more", what="the journal to be full")
    del rig.policies["web"]
    rig.plan()
    assert rig.logger is not None
    threads = Path(f"/proc/{rig.logger.pid}/task")
    wait_until(lambda: len(list(threads.iterdir())) == 1, 60, what="its thread to end")


def sends(rig: Rig) -> bool:
    rig.write("web", b"is it there?\n")
    return False


def test_what_comes_while_the_key_is_off_is_never_sent(rig: Rig, listener: Listener) -> None:
    begin(rig)
    rig.write("web", b"wanted\n")
    assert listener.lines(1) == [b"wanted"]
    rig.add("web", journal=False)
    rig.write("web", b"not wanted\n")
    rig.wait_logged("web", b"not wanted\n")
    wait_until(lambda: not (rig.run / "releases/web/journal.json").exists(), what="the cursor to go")
    rig.add("web", journal=True)
    wait_until((rig.run / "releases/web/journal.json").exists, what="the key to be on")
    rig.write("web", b"wanted again\n")
    assert listener.lines(1) == [b"wanted again"]


def test_a_log_that_was_deleted_delays_no_entry(rig: Rig, listener: Listener) -> None:
    begin(rig)
    rig.write("web", b"long " * 1000 + b"\n")
    listener.lines(1)
    current = rig.logs / "web" / "current"
    current.unlink()
    sent = []

    def made_anew() -> bool:
        if not current.exists():
            sent.append(b"line %d" % len(sent))
            rig.write("web", sent[-1] + b"\n")
        return current.exists()

    wait_until(made_anew, interval=0.1, what="a new log")
    rig.write("web", b"short\n")
    while listener.lines(1) != [b"short"]:
        pass
