"""The real logger where it adds words of its own: times, splits of long lines, the daemon's marks. Exactly once."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relctld.logger import lines, marks
from relctld.logger.lines import LONGEST_LINE, SPLIT
from tests.host.logger_rig import Rig, assert_once_in_order, numbered
from tests.waiting import wait_until

pytestmark = pytest.mark.host

TIME = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ", re.MULTILINE)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


def mark(rig: Rig, key: str, text: str, *, breaks: bool = True) -> bytes:
    """What the daemon does to say something in the log of `web`; a logger that comes up looks by itself."""
    path = str(rig.run / "releases/web" / marks.NAME)
    assert marks.add(path, key, 1_795_345_200_123_456, text, breaks=breaks)
    if (rig.run / "logger.wake").exists():
        rig.order("mark web")
    return marks.read(path)[-1].line


def kill_in_mid_flood(rig: Rig, writer: subprocess.Popen[bytes], times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        logger = rig.start()
        goal = rig.counters("web").bytes_out + chance.randrange(800_000)

        def far_enough(logger: subprocess.Popen[bytes] = logger, goal: int = goal) -> bool:
            assert logger.poll() is None, rig.said()
            return rig.size("web") >= goal or writer.poll() is not None

        wait_until(far_enough, 20, interval=0.0005, what="some of the flood")
        rig.kill()
    rig.start()


@pytest.mark.parametrize("max_size", [None, 300_000])
def test_kills_with_times_lose_nothing_and_double_nothing(rig: Rig, max_size: int | None) -> None:
    rig.add("web", timestamps=True, max_size=max_size)
    count = 150_000
    writer = rig.writer("web", count, per_write=3)
    kill_in_mid_flood(rig, writer, 8, seed=3)
    assert writer.wait(60) == 0
    rig.wait_logged("web", numbered(1, first=count - 1))
    assert rig.stop() == 0
    log = rig.logged("web")
    stamps = TIME.findall(log)
    assert len(stamps) == count
    assert stamps == sorted(stamps)
    assert_once_in_order(TIME.sub(b"", log), count)
    for file in rig.files("web")[:-1]:
        assert 0 < file.stat().st_size < 300_000 + 128  # a line that was begun goes on to its end
        assert TIME.match(file.read_bytes())


def test_half_a_line_gets_one_time(rig: Rig) -> None:
    rig.add("web", timestamps=True)
    rig.start()
    rig.write("web", b"\0\xff begun, ")
    rig.wait_logged("web", b" begun, ")
    rig.kill()
    rig.start()
    rig.write("web", b"ended\n\nnext\n")
    rig.wait_logged("web", b"next\n")
    assert TIME.sub(b"@", rig.logged("web")) == b"@\0\xff begun, ended\n@\n@next\n"


def test_times_tell_when_it_came_not_when_the_disk_took_it(rig: Rig) -> None:
    rig.logs.mkdir()
    (rig.logs / "web").write_text("in the way")
    rig.add("web", timestamps=True)
    rig.start()
    rig.write("web", b"first\n")
    wait_until(lambda: rig.counters("web").bytes_in == 6, what="it to be claimed")
    rig.write("web", b"second\n")
    wait_until(lambda: rig.counters("web").bytes_in == 13, what="it to be claimed")
    came = (rig.run / "releases/web/log.json").stat().st_mtime_ns
    rig.order("nonsense")
    wait_until(lambda: "nonsense" in rig.said())
    (rig.logs / "web").unlink()
    rig.wait_logged("web", b"second\n")
    stamps = TIME.findall(rig.logged("web"))
    assert len(stamps) == 2
    assert stamps[0] < stamps[1] < lines.stamp(came // 1000)


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_line_over_a_megabyte_is_split_with_marks(rig: Rig, *, timestamps: bool) -> None:
    rig.add("web", max_size=3_000_000, timestamps=timestamps)
    rig.start()
    whole = b"y" * LONGEST_LINE + b"\n"
    long = "ö".encode() * (2 * LONGEST_LINE) + b"\n"
    for data in (b"a\n", whole, long, b"b\n"):
        at = 0
        while at < len(data):
            at += os.write(rig.fds["web"], data[at : at + 65536])
    rig.wait_logged("web", b"b\n")
    assert rig.stop() == 0
    log = TIME.sub(b"", rig.logged("web"))
    assert max(len(line) for line in log.split(b"\n")) <= LONGEST_LINE + len(SPLIT) + 3
    assert log.count(SPLIT) == 3
    assert log.replace(SPLIT, b"") == b"a\n" + whole + long + b"b\n"
    log.decode()


def test_kills_in_lines_that_never_end(rig: Rig) -> None:
    rig.add("web", max_size=2_500_000)
    writer = rig.writer("web", 20, width=4 << 20)
    kill_in_mid_flood(rig, writer, 8, seed=5)
    assert writer.wait(60) == 0
    rig.wait_logged("web", b"x\n")
    wait_until(lambda: rig.counters("web").bytes_out == 20 * (4 << 20), what="all bytes")
    assert rig.stop() == 0
    assert_once_in_order(rig.logged("web").replace(SPLIT, b""), 20, 4 << 20)


def test_marks_stand_behind_what_was_printed_and_end_half_a_line(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", numbered(2000) + b"its last wor")
    exited = mark(rig, "7.exit", "exited (epoch 7): killed, SIGKILL")
    starting = mark(rig, "8.start", "starting (epoch 8)")
    rig.wait_logged("web", starting)
    rig.write("web", b"hello\n")
    rig.wait_logged("web", b"hello\n")
    assert rig.logged("web") == numbered(2000) + b"its last wor\n" + exited + starting + b"hello\n"
    wait_until(lambda: rig.counters("web").marked == 2, what="it to be counted")


def test_a_mark_waits_for_the_line_of_a_vm_that_runs(rig: Rig) -> None:
    rig.add("web", timestamps=True)
    rig.start()
    rig.write("web", b"half a ")
    rig.wait_logged("web", b"half a ")
    upgraded = mark(rig, "u1", "upgraded from 1.0 to 1.1", breaks=False)
    rig.order("rotate nobody")
    wait_until(lambda: "nobody" in rig.said(), what="the orders to be read")
    rig.write("web", b"line\nnext\n")
    rig.wait_logged("web", b"next\n")
    log = rig.logged("web")
    assert b"2026-11-22T11:00:00.123456Z " + upgraded in log
    assert TIME.sub(b"", log) == b"half a line\n" + upgraded + b"next\n"


def test_marks_wait_for_a_logger_and_are_said_once(rig: Rig) -> None:
    rig.add("web")
    rig.write("web", b"before\n")
    said = mark(rig, "1.start", "starting")
    for _ in range(3):
        rig.start()
        rig.wait_logged("web", said)
        wait_until(lambda: rig.counters("web").marked == 1, what="it to be counted")
        rig.order("mark web")
        rig.kill()
    (rig.run / "releases/web/claimed").unlink()  # as a release that left the plan, and came again
    rig.start()
    rig.write("web", b"after\n")
    rig.wait_logged("web", b"after\n")
    assert rig.logged("web") == b"before\n" + said + b"after\n"


def test_more_marks_than_are_remembered_wait_for_a_logger(rig: Rig) -> None:
    rig.add("web")
    said = [mark(rig, f"{number}.start", f"starting (epoch {number})") for number in range(150)]
    rig.start()
    rig.wait_logged("web", said[-1])
    assert rig.logged("web") == b"".join(said)


def test_marks_that_are_switched_off_are_not_said_later(rig: Rig) -> None:
    rig.add("web", markers=False)
    rig.start()
    mark(rig, "1.start", "starting")
    wait_until(lambda: rig.counters("web").marked == 1, what="it to be passed over")
    rig.add("web", markers=True)
    said = mark(rig, "1.exit", "exited")
    rig.wait_logged("web", said)
    assert rig.logged("web") == said


def test_kills_among_marks(rig: Rig) -> None:
    """Marks come at any moment of a flood; each is there once, at a line's start, in their order."""
    rig.add("web", max_size=200_000)
    count = 120_000
    writer = rig.writer("web", count, per_write=3)
    said: list[bytes] = []
    chance = random.Random(11)
    for n in range(10):
        rig.start()
        for m in range(3):
            goal = rig.size("web") + chance.randrange(200_000)

            def far_enough(goal: int = goal) -> bool:
                return rig.size("web") >= goal or writer.poll() is not None

            wait_until(far_enough, 20, interval=0.0005, what="some of the flood")
            said.append(mark(rig, f"{n}.{m}", f"upgraded to {n}.{m}", breaks=False))
        rig.kill()
    rig.start()
    assert writer.wait(60) == 0
    wait_until(lambda: rig.counters("web").marked == len(said), what="all to be said")
    wait_until(lambda: rig.counters("web").bytes_out == rig.counters("web").bytes_in, what="all bytes")
    assert rig.stop() == 0
    log: list[Any] = rig.logged("web").splitlines(keepends=True)
    assert [line for line in log if line.startswith(b"relctl: ")] == said
    assert_once_in_order(b"".join(line for line in log if not line.startswith(b"relctl: ")), count)
