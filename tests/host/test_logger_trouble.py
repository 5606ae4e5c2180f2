"""The real logger when the disk is not as it should be: full, stalled, gone, in the way."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.logger_rig import Rig, assert_once_in_order, numbered
from tests.waiting import wait_until

pytestmark = pytest.mark.host

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which only root may")
MARKER = re.compile(rb"relctl: dropped (\d+) bytes \((\d+) lines\) from \S+Z to \S+Z: ([^\n]+)\n")
LINE = 100


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[Path]:
    where.mkdir(parents=True)
    subprocess.run(["mount", *options, str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.fixture
def small(rig: Rig) -> Iterator[Path]:
    """A file system of 1 MiB at the log directory of `web`; unmounted after the logger has ended."""
    with mounted(rig.logs / "web", "-t", "tmpfs", "-o", "size=1m,mode=0751", "tmpfs") as where:
        yield where


def enlarge(where: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(where)], check=True)


def full(rig: Rig, name: str = "web") -> Callable[[], bool]:
    return lambda: "No space left on device" in (rig.counters(name).error or "")


def changes(figure: Callable[[], int]) -> Callable[[], bool]:
    before = figure()
    return lambda: figure() != before


def wait_accounted(rig: Rig, written: int) -> None:
    def all_accounted_for() -> bool:
        counters = rig.counters("web")
        return counters.bytes_out + counters.bytes_dropped == written and counters.error is None

    wait_until(all_accounted_for, 20, what="all bytes to be in the log or counted")


def assert_accounted(rig: Rig, lines: int) -> None:
    """Written = in the files + dropped, exactly; whole lines, in order, and each marker where its lines are missing."""
    log, counters = rig.logged("web"), rig.counters("web")
    dropped_bytes = dropped_lines = expected = 0
    for line in log.splitlines(keepends=True):
        if marker := MARKER.fullmatch(line):
            dropped_bytes += int(marker[1])
            dropped_lines += int(marker[2])
            expected += int(marker[2])
        else:
            assert line == numbered(1, LINE, expected)
            expected += 1
    assert expected == lines
    assert (dropped_bytes, dropped_lines) == (counters.bytes_dropped, counters.lines_dropped)
    assert dropped_bytes == dropped_lines * LINE


@needs_root
def test_disk_full_loses_nothing_that_can_be_held(rig: Rig, small: Path) -> None:
    rig.add("web")
    rig.start()
    writer = rig.writer("web", 60_000)  # 6 MB
    wait_until(full(rig), what="the disk to be full")
    assert writer.wait(20) == 0
    assert rig.counters("web").error == f"cannot write {small}/current: No space left on device"
    enlarge(small)
    wait_accounted(rig, 6_000_000)
    assert_once_in_order(rig.logged("web"), 60_000)
    assert rig.counters("web").bytes_dropped == 0


@needs_root
@pytest.mark.parametrize("kills", [0, 5])
def test_disk_full_for_long_drops_and_counts_exactly(rig: Rig, small: Path, kills: int) -> None:
    """Also when the logger is killed meanwhile."""
    rig.add("web", max_size=600_000)  # one rotated file fits beside current, and is never deleted
    rig.start()
    lines = 400_000  # 40 MB
    writer = rig.writer("web", lines, per_write=5)
    for _ in range(kills):
        wait_until(changes(lambda: rig.counters("web").bytes_dropped), what="something to be dropped")
        rig.kill()
        rig.start()
    assert writer.wait(30) == 0  # never blocked
    wait_until(lambda: rig.counters("web").bytes_dropped > 20_000_000, what="drops")
    wait_until(full(rig), what="the disk to be full")
    enlarge(small)
    wait_until(lambda: rig.counters("web").error is None, what="recovery")
    rig.wait_logged("web", numbered(1, first=lines - 1))
    rig.stop()
    assert_accounted(rig, lines)
    assert rig.counters("web").bytes_in > 0
    assert b"No space left on device" in rig.logged("web")


@needs_root
def test_many_releases_share_the_memory_that_may_wait(rig: Rig, small: Path) -> None:
    for number in range(63):
        rig.add(f"idle{number}")
    rig.add("web")
    rig.start()
    for first in (0, 60_000):  # also of a logger that finds the memory in use
        assert rig.writer("web", 60_000, first=first).wait(20) == 0
        wait_until(lambda first=first: rig.counters("web").bytes_in == (first + 60_000) * LINE, what="all to be taken")
        counters = rig.counters("web")
        assert counters.bytes_in - counters.bytes_out - counters.bytes_dropped <= (128 << 20) // 64
        rig.kill()
        rig.start()
    enlarge(small)
    wait_accounted(rig, 12_000_000)
    assert_accounted(rig, 120_000)


@needs_root
def test_disk_full_deletes_the_oldest_rotated_first(rig: Rig, small: Path) -> None:
    rig.add("web", max_size=100_000)
    rig.start()
    assert rig.writer("web", 30_000).wait(20) == 0  # 3 MB through 1 MiB
    wait_until(lambda: rig.counters("web").bytes_out == 3_000_000, what="all bytes")
    rig.stop()
    log = rig.logged("web")
    assert len(log) > 500_000
    assert numbered(30_000).endswith(log)
    assert rig.counters("web").bytes_dropped == 0


@needs_root
def test_block_leaves_the_pipe_full(rig: Rig, small: Path) -> None:
    rig.add("web", on_full="block")
    rig.start()
    lines = 200_000  # 20 MB
    writer = rig.writer("web", lines, per_write=5)
    wait_until(full(rig), what="the disk to be full")
    wait_until(lambda: rig.counters("web").bytes_in >= 8 << 20, what="what can be held to be held")
    wait_until(lambda: not select.select([], [rig.fds["web"]], [], 0)[1], what="the pipe to be full")
    assert writer.poll() is None
    assert rig.counters("web").bytes_dropped == 0
    enlarge(small)
    assert writer.wait(20) == 0
    wait_accounted(rig, lines * LINE)
    assert_once_in_order(rig.logged("web"), lines)


def test_a_logger_that_finds_its_memory_full_drops_what_comes(rig: Rig) -> None:
    """What waits may be in the log already, which only the log can tell; a VM that is stopped cannot wait for that."""
    rig.add("web", on_full="block")
    rig.start()
    rig.write("web", numbered(1))
    rig.wait_logged("web", numbered(1))
    (rig.logs / "web").rename(rig.logs / "away")
    (rig.logs / "web").write_text("in the way")
    written, lines = 1, 300_000  # 30 MB

    def trouble() -> bool:
        nonlocal written
        rig.write("web", numbered(1, first=written))
        written += 1
        return rig.counters("web").error is not None

    wait_until(trouble, interval=0.1, what="the trouble to be noticed")
    writer = rig.writer("web", lines - written, first=written, per_write=5)
    wait_until(lambda: rig.counters("web").bytes_in >= 8 << 20, what="what can be held to be held")
    rig.kill()
    rig.start()
    rig.add("web", on_full="drop")
    assert writer.wait(30) == 0
    (rig.logs / "web").unlink()
    (rig.logs / "away").rename(rig.logs / "web")
    wait_accounted(rig, lines * LINE)
    rig.stop()
    assert_accounted(rig, lines)


@needs_root
def test_stalled_disk_delays_neither_the_node_nor_others(rig: Rig, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(rig.logs / "web", "-o", "loop", str(image)) as disk:
        rig.add("web")
        rig.add("api")
        rig.start()
        rig.write("web", numbered(1))
        rig.wait_logged("web", numbered(1))
        subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
        try:
            writer = rig.writer("web", 39_999, first=1)  # 4 MB: more than the pipe holds
            for n in range(20):
                line = b"%d\n" % n
                rig.write("api", line)
                rig.wait_logged("api", line, 2)
            assert writer.wait(20) == 0
            wait_until(lambda: "the disk stalled" in (rig.counters("web").error or ""), what="it to be said")
            assert rig.counters("api").error is None
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)
        wait_accounted(rig, 4_000_000)
        assert_once_in_order(rig.logged("web"), 40_000)
        rig.stop()


@needs_root
def test_stalled_disk_for_long_drops_and_says_so(rig: Rig, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(rig.logs / "web", "-o", "loop", str(image)) as disk:
        rig.add("web")
        rig.start()
        rig.write("web", numbered(1))
        rig.wait_logged("web", numbered(1))
        subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
        try:
            assert rig.writer("web", 199_999, first=1, per_write=5).wait(20) == 0  # 20 MB
            wait_until(lambda: rig.counters("web").bytes_dropped, what="drops")
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)
        wait_accounted(rig, 20_000_000)
        rig.stop()
        assert_accounted(rig, 200_000)
        assert b": the disk stalled\n" in rig.logged("web")


def test_current_deleted_is_made_anew(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    (rig.logs / "web/current").unlink()

    def appears() -> bool:
        rig.write("web", b"more\n")
        return (rig.logs / "web/current").exists()

    wait_until(appears, interval=0.1, what="a new current")
    rig.write("web", b"last\n")
    rig.wait_logged("web", b"last\n")


def test_current_moved_away_loses_nothing(rig: Rig) -> None:
    rig.add("web", max_size=300_000)
    rig.start()
    writer = rig.writer("web", 200_000)
    moved: list[Path] = []
    current = rig.logs / "web/current"
    while writer.poll() is None and len(moved) < 8:
        wait_until(lambda: writer.poll() is not None or current.exists(), what="current")
        moved.append(rig.logs / f"moved{len(moved)}")
        try:
            current.rename(moved[-1])
        except FileNotFoundError:  # just being rotated
            moved.pop()
    assert writer.wait(30) == 0
    wait_until(lambda: rig.counters("web").bytes_out == 20_000_000, what="all bytes")
    rig.stop()
    everything = b"".join(f.read_bytes() for f in [*rig.files("web"), *moved])
    assert sorted(everything.splitlines()) == numbered(200_000).splitlines()


def test_log_directory_removed_comes_back(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    shutil.rmtree(rig.logs / "web")

    def appears() -> bool:
        rig.write("web", b"more\n")
        return (rig.logs / "web/current").exists()

    wait_until(appears, interval=0.1, what="a new directory")


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_something_else_stands_at_current(rig: Rig, kind: str, tmp_path: Path) -> None:
    current = rig.logs / "web/current"
    current.parent.mkdir(parents=True)
    match kind:
        case "directory":
            current.mkdir()
        case "fifo":
            os.mkfifo(current)
        case _:
            current.symlink_to(tmp_path / "elsewhere")
    rig.add("web")
    rig.start()
    rig.write("web", b"held\n")
    wait_until(lambda: f"cannot write {current}" in (rig.counters("web").error or ""), what="the error")
    current.rename(rig.logs / "obstacle")
    rig.wait_logged("web", b"held\n")
    wait_until(lambda: rig.counters("web").error is None, what="recovery")
    assert not (tmp_path / "elsewhere").exists()


@needs_root
def test_kill_while_it_writes_what_it_held(rig: Rig, small: Path) -> None:
    """The logger is killed again and again while it empties its buffer into a disk that fills up again."""
    rig.add("web")
    rig.start()
    writer = rig.writer("web", 150_000)  # 15 MB: about half is dropped
    wait_until(full(rig), what="the disk to be full")
    assert writer.wait(20) == 0
    for size in range(2, 9):
        grows = changes(lambda: (small / "current").stat().st_size)
        subprocess.run(["mount", "-o", f"remount,size={size}m", str(small)], check=True)
        wait_until(grows, interval=0.0002, what="a write")
        rig.kill()
        rig.start()
    enlarge(small)
    rig.wait_logged("web", numbered(1, first=149_999))
    rig.stop()
    assert_accounted(rig, 150_000)
    assert rig.counters("web").bytes_dropped


def test_one_broken_release_does_not_stop_the_others(rig: Rig) -> None:
    rig.add("web", dir="/proc/nowhere")
    rig.add("api")
    rig.start()
    rig.write("web", b"held\n")
    wait_until(lambda: "cannot write /proc/nowhere/current" in (rig.counters("web").error or ""), what="the error")
    rig.write("api", b"fine\n")
    rig.wait_logged("api", b"fine\n")
    rig.add("web", dir=str(rig.logs / "web"))
    rig.wait_logged("web", b"held\n")


def test_frozen_logger_costs_the_node_nothing(rig: Rig) -> None:
    rig.add("web")
    logger = rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    logger.send_signal(signal.SIGSTOP)
    assert rig.writer("web", 5000).wait(10) == 0  # 500 kB: within the pipe
    logger.send_signal(signal.SIGCONT)
    rig.wait_logged("web", numbered(1, first=4999))
    assert rig.logged("web") == b"one\n" + numbered(5000)
