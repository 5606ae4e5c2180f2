"""The real logger keeps every byte: at any size, through SIGKILLs, on disks that fill, with its files taken away.

`RELCTL_TESTS=long` asks for as many as the promise names.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relctld.logfiles.places import BEGIN
from relctld.logfiles.tail import Reader
from tests.asked import LONG
from tests.host.line_oracle import assert_all, line, lines, numbers
from tests.host.logger_rig import Rig
from tests.running import Relctld, need_root, plain_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

stamped = pytest.mark.parametrize("timestamps", [False, True], ids=["as-it-came", "timestamps"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One logger for all examples, each a release of its own."""
    rig = Rig(tmp_path_factory.mktemp("shared") / "logs")
    rig.start()
    yield rig
    rig.close()


def writer(rig: Rig, name: str, number: int, *, first: int = 0) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.host.line_oracle", str(first), str(number)], stdout=rig.fds[name]
    )
    rig.processes.append(process)
    return process


def contents(rig: Rig, name: str) -> list[bytes]:
    return [file.read_bytes() for file in rig.files(name)]


# ---- sizes and bytes

names = (f"r{n}" for n in count())
any_bytes = st.lists(st.binary(max_size=30) | st.sampled_from([b"\n", b"\0", b"\xff\n", b"\xe2\x82", b"x" * 700]))
examples = settings(
    max_examples=500 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@examples
@given(
    limit=st.integers(1, 400),
    widths=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    writes=st.lists(st.integers(1, 600), min_size=1),
)
def test_files_end_with_whole_lines_whatever_their_size(
    shared: Rig, limit: int, widths: list[int], writes: list[int]
) -> None:
    name = next(names)
    shared.add(name, max_size=limit)
    data = b"".join(b"%d" % n * width + b"\n" for n, width in enumerate(widths))
    at = 0
    for size in writes:
        shared.write(name, data[at : at + size])
        at += size
    shared.write(name, data[at:] + b"end\n")
    until_logged(shared, name, data + b"end\n")
    *rotated, current = contents(shared, name)
    for file in rotated:
        assert file.endswith(b"\n")
        assert file.rfind(b"\n", 0, -1) < limit  # a line that was begun within it goes on to its end
    assert current.endswith(b"\n") or not current
    leave(shared, name)


@examples
@given(pieces=any_bytes, limit=st.integers(1, 2000))
def test_any_bytes_arrive_as_they_were_written(shared: Rig, pieces: list[bytes], limit: int) -> None:
    name = next(names)
    shared.add(name, max_size=limit)
    for piece in pieces:
        shared.write(name, piece)
    until_logged(shared, name, b"".join(pieces))
    leave(shared, name)


def until_logged(rig: Rig, name: str, wanted: bytes) -> None:
    def there() -> bool:
        with suppress(FileNotFoundError):  # it is being rotated
            return rig.logged(name) == wanted
        return False

    wait_until(there, what=lambda: f"{wanted!r}: {contents(rig, name)}")


def leave(rig: Rig, name: str) -> None:
    del rig.policies[name]
    rig.plan()
    os.close(rig.fds.pop(name))


# ---- SIGKILL

KILLS = 150 if LONG else 15


@pytest.mark.timeout(1800 if LONG else 240)
@stamped
def test_kills_in_mid_flood_lose_nothing_and_double_nothing(rig: Rig, timestamps: bool) -> None:
    """While it writes, rotates and compresses; the flood waits for a disk that stalls, so nothing may be dropped."""
    chance = random.Random(11)
    rig.add("web", max_size=300_000, compress="gzip", timestamps=timestamps, on_full="block")
    number = 8_000 * KILLS
    flood = writer(rig, "web", number)
    for _ in range(KILLS):
        logger = rig.start()
        goal = kept(rig) + chance.randrange(2_000_000)
        wait_until(lambda goal=goal: kept(rig) >= goal or flood.poll() is not None, interval=0.0005, what="some of it")
        assert logger.poll() is None, rig.said()
        rig.kill()
    rig.start()
    assert flood.wait(300) == 0
    size = len(lines(0, number)) + 28 * number * timestamps
    wait_until(lambda: all_logged(rig), 60, what=lambda: f"all of it: {rig.counters('web')}, {rig.said()[-2000:]}")
    assert rig.stop() == 0
    log = everything(rig.logs / "web")
    assert assert_all(log, number, timestamps=timestamps) == (0, 0)
    assert len(log) == size


def everything(folder: Path) -> bytes:
    """All of a log, also while its last files are compressed."""
    with Reader(str(folder), BEGIN) as reader:
        return b"".join(iter(lambda: reader.read(1 << 20).data, b""))


def all_logged(rig: Rig) -> bool:
    counters = rig.counters("web")
    return counters.bytes_in == counters.bytes_out > 0


def kept(rig: Rig) -> int:
    """Bytes written, about: what is compressed counts less."""
    total = 0
    for file in rig.files("web"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def test_logger_and_daemon_killed_together_lose_no_line(tmp_path: Path) -> None:
    root = plain_root(tmp_path / "root")
    number = 400_000 if LONG else 60_000
    program = f"{sys.executable} -m tests.host.line_oracle 0 {number}; exec sleep 1000"
    release = {
        "root": root,
        "command": ["/bin/sh", "-c", program],
        "cwd": Path(__file__).parents[2],
        "env": {"PYTHONPATH": str(Path(__file__).parents[2] / "daemon")},
        "log": {"max_size": "500kB", "keep": 1000, "markers": False},
    }
    with Relctld(tmp_path, {"web": release}) as daemon:
        pid = daemon.wait_for("web", state="running")["pid"]
        folder = daemon.log_dir / "web"
        for _ in range(10 if LONG else 3):
            before = len(list(folder.iterdir()))
            wait_until(
                lambda before=before: len(list(folder.iterdir())) != before or ended(folder, number), what="more"
            )
            logger = wait_until(lambda: daemon.logger_pid, what="the logger")
            assert logger
            os.kill(logger, signal.SIGKILL)
            daemon.kill()
            daemon.start()
        wait_until(lambda: ended(folder, number), 120, what="the last line")
        assert daemon.wait_for("web", state="running")["pid"] == pid
        assert_all(everything(folder), number)
        assert daemon.status("web")["log"]["bytes_dropped"] == 0


def ended(folder: Path, number: int) -> bool:
    with suppress(FileNotFoundError):
        return (folder / "current").read_bytes().endswith(line(number - 1))
    return False


# ---- disks, files, clocks


@stamped
def test_a_disk_that_fills_up_and_is_enlarged(rig: Rig, timestamps: bool) -> None:
    """With a SIGKILL while it is full, and another while what was held is written."""
    need_root()
    disk = rig.logs / "web"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0751", "tmpfs", str(disk)], check=True)
    try:
        rig.add("web", timestamps=timestamps)
        rig.start()
        number = 400_000 if LONG else 120_000  # 20 MB: more than can be held
        flood = writer(rig, "web", number)
        for _ in range(2):
            before = rig.counters("web").bytes_dropped
            wait_until(lambda before=before: rig.counters("web").bytes_dropped != before, 60, what="drops")
            rig.kill()
            rig.start()
        assert flood.wait(120) == 0
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        rig.kill()
        rig.start()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        wait_until(lambda: accounted(rig), 60, what=lambda: f"all to be kept or counted: {rig.counters('web')}")
        assert rig.stop() == 0
        counters = rig.counters("web")
        dropped = assert_all(rig.logged("web"), number, timestamps=timestamps)
        assert dropped == (counters.bytes_dropped, counters.lines_dropped)
        assert counters.bytes_dropped > 0
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def accounted(rig: Rig) -> bool:
    counters = rig.counters("web")
    return counters.bytes_out + counters.bytes_dropped == counters.bytes_in and counters.error is None


@stamped
def test_files_taken_away_and_a_clock_that_jumps(rig: Rig, timestamps: bool) -> None:
    """What was moved is whole, what was deleted is missing, and all else is there once and in order."""
    chance = random.Random(5)
    current = rig.logs / "web/current"
    rig.set_clock(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
    rig.add("web", max_size=400_000, max_age=3600.0, timestamps=timestamps)
    rig.start()
    number, last = 150_000, 1000
    flood = writer(rig, "web", number)
    moved: list[Path] = []
    deleted = 0
    for turn in range(40 if LONG else 10):
        before = kept(rig)
        wait_until(lambda before=before: kept(rig) != before or flood.poll() is not None, what="more")
        with suppress(FileNotFoundError):  # it is being rotated
            match turn % 4:
                case 0:
                    current.rename(rig.logs / f"moved{turn}")
                    moved.append(rig.logs / f"moved{turn}")
                case 1:
                    current.unlink()
                    deleted += 1
                case 2:
                    current.chmod(0)
                case _:
                    hour = chance.randrange(24)
                    rig.set_clock(datetime(2026, 11, 22, hour, 59, 59, tzinfo=UTC).timestamp())
    assert flood.wait(120) == 0
    wait_until(current.exists, what="a file again, after the last was taken away")
    assert writer(rig, "web", last, first=number).wait(60) == 0
    wait_until(lambda: accounted(rig), 60, what="all of it")
    assert rig.stop() == 0
    found = list(numbers(rig.logged("web"), timestamps=timestamps))
    assert found == sorted(set(found)), "a line twice, or in another's place"
    beside = [list(numbers(file.read_bytes(), timestamps=timestamps)) for file in moved]
    for lot in beside:
        assert lot == list(range(lot[0], lot[-1] + 1)) if lot else True
    everything = sorted(found + [each for lot in beside for each in lot])
    assert len(everything) == len(set(everything))
    assert everything[-last:] == list(range(number, number + last)), "what came after all that is not whole"
    missing = sum(after > before + 1 for before, after in pairwise([-1, *everything]))
    assert missing <= deleted, "lines are gone that were in no deleted file"
