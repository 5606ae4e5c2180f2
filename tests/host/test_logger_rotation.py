"""The real logger rotates: by age, with the clock set, and with something in the way of it."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relctld.logfiles.names import listing, micros_of
from tests.host.logger_rig import Rig, assert_once_in_order, numbered
from tests.running import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

STEM = "2026-11-22T00-37-49.123456Z"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


def contents(rig: Rig, name: str = "web") -> list[bytes]:
    return [file.read_bytes() for file in rig.files(name)]


def test_an_idle_log_is_rotated_at_a_full_hour_of_the_local_clock_and_an_empty_one_never(rig: Rig) -> None:
    rig.set_clock(datetime(2026, 11, 22, 10, 10, tzinfo=UTC).timestamp())
    for name in ("web", "empty", "api"):
        rig.add(name, max_age=3600.0)
    rig.start(TZ="Asia/Kathmandu")  # 15:55 there
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    rig.set_clock(datetime(2026, 11, 22, 10, 15, 1, tzinfo=UTC).timestamp())
    rig.write("api", b"wakes the logger, which else would find the clock set within a minute\n")
    wait_until(lambda: contents(rig) == [b"one\n", b""], what="rotation without output")
    (rotated,) = listing(str(rig.logs / "web"))
    assert rotated.stem.startswith("2026-11-22T10-15-")
    assert contents(rig, "empty") == [b""]


def test_a_line_that_was_begun_is_ended_before_its_log_is_rotated_for_its_age(rig: Rig) -> None:
    rig.add("web", max_age=1.0)
    rig.add("api", max_age=1.0)
    rig.start()
    rig.write("web", b"begun, ")
    rig.write("api", b"whole\n")
    wait_until(lambda: contents(rig, "api") == [b"whole\n", b""], what="the other to be rotated")
    rig.write("web", b"ended\nnext\n")
    wait_until(lambda: contents(rig) == [b"begun, ended\n", b"next\n", b""], what="both to be rotated")


def test_a_log_is_as_old_as_its_first_byte_also_for_the_next_logger(rig: Rig) -> None:
    begun = (
        datetime.now(UTC).timestamp() + 86_400.0
    )  # later than what the file system says: an index that seems older is not believed
    rig.set_clock(begun)
    rig.add("web", max_age=10_000.0)
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    assert rig.stop() == 0
    rig.set_clock(begun + 9_000.0)
    rig.start()
    rig.write("web", b"two\n")
    rig.wait_logged("web", b"two\n")
    rig.kill()
    rig.set_clock(begun + 10_001.0)
    rig.start()
    wait_until(lambda: contents(rig) == [b"one\ntwo\n", b""], what="rotation")


def test_logs_stay_in_order_whatever_the_clock_is_set_to(rig: Rig) -> None:
    rig.set_clock(datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp())
    rig.add("web", max_size=10_000, max_age=3600.0)
    rig.start()
    hours = [10, 9, 3, 23, 10, 10, 20, 0]
    for number, hour in enumerate(hours):
        rig.set_clock(datetime(2026, 11, 22, hour, 30, tzinfo=UTC).timestamp())
        assert rig.writer("web", 250, first=250 * number).wait(20) == 0
        rig.wait_logged("web", numbered(1, first=250 * number + 249))
        if number % 3 == 2:
            rig.kill()
            rig.start()
    assert rig.stop() == 0
    assert_once_in_order(rig.logged("web"), 250 * len(hours))
    stems = [log.stem for log in listing(str(rig.logs / "web"))]
    assert len(stems) >= 2 * len(hours)
    assert datetime.fromtimestamp(micros_of(stems[-1]) / 1e6, UTC).hour == 23  # no name is older than one before


def test_other_limits_act_at_once(rig: Rig) -> None:
    rig.add("web", max_size=1000)
    rig.start()
    assert rig.writer("web", 105).wait(10) == 0
    wait_until(lambda: len(rig.files("web")) == 11, what="ten rotated")
    rig.add("web", max_size=1000, keep=3)
    wait_until(lambda: len(rig.files("web")) == 4, what="three of them to be kept")


def test_what_is_in_the_way_of_an_archive_is_told_and_stops_nothing_else(rig: Rig) -> None:
    folder = rig.logs / "web"
    (folder / f"{STEM}.log.gz").mkdir(parents=True)
    (folder / f"{STEM}.log").write_bytes(b"cannot be compressed\n")
    (folder / "2026-11-22T00-37-50.000000Z.log.gz.tmp").mkdir()  # of a log that is not there: in nobody's way
    (folder / "2026-11-22T00-37-51.000000Z.log").mkdir()
    rig.add("web", compress="gzip", max_size=1000, keep=30)
    rig.start()
    error = f"cannot compress {folder}/{STEM}.log: Is a directory"
    wait_until(lambda: rig.counters("web").error == error, what="it to be told")
    assert rig.writer("web", 105).wait(10) == 0
    wait_until(lambda: sum(f.is_file() for f in folder.glob("*.gz")) == 10, what="the others to be compressed")
    assert rig.counters("web").error == error
    (folder / f"{STEM}.log.gz").rmdir()
    rig.order("rotate web")
    wait_until(lambda: rig.counters("web").error is None, what=lambda: f"an end of {rig.counters('web').error}")
    assert gzip.decompress((folder / f"{STEM}.log.gz").read_bytes()) == b"cannot be compressed\n"
    assert rig.stop() == 0


def test_a_directory_that_lets_nothing_be_renamed_keeps_the_lines(rig: Rig, tmp_path: Path) -> None:
    need_root()
    image, disk = tmp_path / "image", rig.logs / "web"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True)
    try:
        rig.add("web", max_size=1000, keep=2)
        rig.start()
        assert rig.writer("web", 55).wait(10) == 0
        rig.wait_logged("web", numbered(1, first=54))
        subprocess.run(["chattr", "+i", str(disk)], check=True)  # root too can neither make nor delete
        assert rig.writer("web", 55, first=55).wait(10) == 0
        rig.wait_logged("web", numbered(1, first=109))
        error = f"cannot rotate {disk}/current: Operation not permitted"
        wait_until(lambda: rig.counters("web").error == error, what="it to be told")
        subprocess.run(["chattr", "+i", str(disk / "current")], check=True)  # nor write
        assert rig.writer("web", 55, first=110).wait(10) == 0
        error = f"cannot write {disk}/current: Operation not permitted"
        wait_until(lambda: rig.counters("web").error == error, what="that to be told")
        subprocess.run(["chattr", "-i", str(disk), str(disk / "current")], check=True)
        rig.wait_logged("web", numbered(1, first=164))
        rig.order("rotate web")
        wait_until(lambda: rig.counters("web").error is None, what=lambda: f"an end of {rig.counters('web').error}")
        assert len(rig.files("web")) == 3
        assert numbered(165).endswith(rig.logged("web"))
        assert rig.stop() == 0
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_log_nobody_may_open_any_more_is_written_on(rig: Rig) -> None:
    rig.add("web", max_size=1000)
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    os.chmod(rig.logs / "web/current", 0)
    assert rig.writer("web", 55).wait(10) == 0
    rig.wait_logged("web", numbered(1, first=54))
    assert rig.stop() == 0
    assert rig.logged("web") == b"one\n" + numbered(55)


def test_a_log_that_was_truncated_goes_on_at_its_new_end(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"gone\n" * 100)
    rig.wait_logged("web", b"gone\n" * 100)
    os.truncate(rig.logs / "web/current", 0)

    def began_anew() -> bool:
        rig.write("web", b"new\n")
        return (rig.logs / "web/current").read_bytes().startswith(b"new\n")

    wait_until(began_anew, interval=0.1, what="lines at the start of the file")
