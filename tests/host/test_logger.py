"""The real logger, in peace: each line is in the log exactly once, in order, over all files."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.logger.policy import Counters
from tests.host.logger_rig import Rig, assert_once_in_order, numbered
from tests.waiting import wait_until

pytestmark = pytest.mark.host


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


def test_a_line_arrives(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"hello\n")
    rig.wait_logged("web", b"hello\n")
    wait_until(lambda: rig.counters("web") == Counters(6, 6), what="counters")
    assert stat.S_IMODE((rig.logs / "web/current").stat().st_mode) == 0o640
    assert stat.S_IMODE((rig.logs / "web").stat().st_mode) == 0o751
    assert stat.S_IMODE((rig.run / "releases/web/claimed").stat().st_mode) == 0o600


def test_logger_may_start_before_the_daemon(rig: Rig) -> None:
    rig.start()
    wait_until((rig.run / "logger.wake").exists, what="the wake FIFO")
    rig.add("web")
    rig.write("web", b"early\n")
    rig.wait_logged("web", b"early\n")


def test_rotation_under_flood_keeps_lines_whole_and_in_order(rig: Rig) -> None:
    rig.add("web", max_size=10_000, compress="gzip")
    rig.start()
    writer = rig.writer("web", 20_000, per_write=7)
    assert writer.wait(30) == 0
    wait_until(lambda: rig.counters("web").bytes_out == 2_000_000, 20, what="all bytes")
    wait_until(lambda: all(f.suffix == ".gz" for f in rig.files("web")[:-1]), 120, what="compression")
    assert rig.stop() == 0
    assert_once_in_order(rig.logged("web"), 20_000)
    files = rig.files("web")
    assert len(files) >= 200
    for file in files[:-1]:
        data = gzip.decompress(file.read_bytes())
        assert data.endswith(b"\n")
        assert 0 < len(data) <= 10_000
    assert not list((rig.logs / "web").glob("*.tmp"))


def test_line_longer_than_max_size_stays_whole(rig: Rig) -> None:
    rig.add("web", max_size=1000)
    rig.start()
    long = b"y" * 300_000 + b"\n"
    for data in (b"a\n", long, b"b\n"):
        rig.write("web", data)
    rig.wait_logged("web", b"b\n")
    assert rig.stop() == 0
    contents = [f.read_bytes() for f in rig.files("web")]
    assert contents == [b"a\n", long, b"b\n"]


def test_30_kills_in_mid_flood_lose_nothing_and_double_nothing(rig: Rig) -> None:
    rig.add("web", max_size=1_000_000)
    chance = random.Random(7)
    lines = 600_000
    writer = rig.writer("web", lines, per_write=3)
    for _ in range(30):
        logger = rig.start()
        goal = rig.counters("web").bytes_out + chance.randrange(1_000_000)

        def far_enough(logger: subprocess.Popen[bytes] = logger, goal: int = goal) -> bool:
            assert logger.poll() is None, rig.said()
            size = rig.size("web")
            return size >= goal or writer.poll() is not None

        wait_until(far_enough, 20, interval=0.0005, what="some of the flood")
        rig.kill()
    rig.start()
    assert writer.wait(60) == 0
    rig.wait_logged("web", numbered(1, first=lines - 1))
    assert rig.stop() == 0
    assert_once_in_order(rig.logged("web"), lines)


def test_kill_with_run_directory_on_a_disk(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    rig = Rig(tmp_path / "logs", run)
    try:
        rig.add("web")
        rig.logs.mkdir()
        (rig.logs / "web").write_text("in the way")
        rig.start()
        rig.write("web", b"held\n")
        wait_until(lambda: rig.counters("web").error, what="an error")
        wait_until(lambda: rig.counters("web").bytes_in == 5, what="it to be claimed")
        rig.kill()
        (rig.logs / "web").unlink()
        rig.start()
        rig.wait_logged("web", b"held\n")
        stand_in = (run / "releases/web/claimed").readlink()
        assert stand_in.is_file()
        rig.kill()
        (run / "releases/web/claimed").unlink()  # as if the run directory had been removed
        rig.start()
        wait_until(lambda: not stand_in.exists(), what="the stand-in that nothing leads to to be removed")
        stand_in = wait_until((run / "releases/web/claimed").readlink)
        assert rig.stop() == 0
        assert not stand_in.exists()
    finally:
        rig.close()


def test_term_moves_what_is_in_the_pipes(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"first\n")
    rig.wait_logged("web", b"first\n")
    assert rig.logger is not None
    rig.logger.send_signal(signal.SIGSTOP)
    rig.write("web", numbered(500))
    rig.logger.send_signal(signal.SIGTERM)
    rig.logger.send_signal(signal.SIGCONT)
    assert rig.logger.wait(5) == 0
    assert rig.logged("web") == b"first\n" + numbered(500)


def test_hangup_and_ctrl_c_do_not_end_it(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    assert rig.logger is not None
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        rig.logger.send_signal(number)
    rig.write("web", b"two\n")
    rig.wait_logged("web", b"one\ntwo\n")
    assert rig.logger.poll() is None


def test_second_logger_says_who_holds_the_run_directory(rig: Rig) -> None:
    first = rig.start()
    wait_until((rig.run / "logger.wake").exists, what="the first logger")
    second = subprocess.run(
        [sys.executable, "-m", "relctld.logger", "--run-dir", str(rig.run)], capture_output=True, text=True, check=False
    )
    assert second.returncode == 75
    assert f"process {first.pid} has {rig.run}" in second.stderr


def test_rotate_on_request_waits_for_the_end_of_the_line(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"begun, ")
    rig.wait_logged("web", b"begun, ")
    rig.order("rotate web")
    rig.order("rotate nobody")
    wait_until(lambda: "nobody" in rig.said(), what="the orders to be read")
    rig.write("web", b"ended\nnext\n")
    wait_until(lambda: len(rig.files("web")) == 2, what="rotation")
    rig.wait_logged("web", b"next\n")
    assert [f.read_bytes() for f in rig.files("web")] == [b"begun, ended\n", b"next\n"]
    rig.order("rotate web")
    wait_until(lambda: len(rig.files("web")) == 3, what="rotation at once")


def test_retention_by_number_and_by_total(rig: Rig) -> None:
    rig.add("web", max_size=1000, keep=3)
    rig.add("api", max_size=1000, max_total=5500)  # with the time indexes
    rig.start()
    for name in ("web", "api"):
        assert rig.writer(name, 200).wait(10) == 0
        rig.wait_logged(name, numbered(1, first=199))
    wait_until(lambda: len(rig.files("web")) == 4, what="keep = 3, and current")
    wait_until(lambda: len(rig.files("api")) == 5, what="max_total, and current as large as it may become")
    assert (
        b"".join(f.read_bytes() for f in rig.files("api"))
        == numbered(200)[-sum(f.stat().st_size for f in rig.files("api")) :]
    )


def test_release_leaves_the_plan_and_comes_back(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    policy = rig.policies.pop("web")
    rig.plan()
    wait_until(lambda: not (rig.run / "releases/web/claimed").exists(), what="the release to be let go")
    rig.write("web", b"two\n")
    rig.policies["web"] = policy._replace(dir=str(rig.logs / "elsewhere"))
    rig.plan()
    rig.wait_logged("web", b"two\n")
    assert (rig.logs / "web/current").read_bytes() == b"one\n"
    wait_until(lambda: rig.counters("web").bytes_out == 8, what="counters that go on")


def test_bad_plan_changes_nothing(rig: Rig) -> None:
    rig.add("web")
    rig.start()
    rig.write("web", b"one\n")
    rig.wait_logged("web", b"one\n")
    (rig.run / "logger.json").write_text('{"v": 1, "releases": [{"name": 7}]}')
    rig.order("plan")
    wait_until(lambda: "bad-plan" in rig.said(), what="the complaint")
    rig.write("web", b"two\n")
    rig.wait_logged("web", b"one\ntwo\n")
    assert all(json.loads(line)["at"] for line in rig.said().splitlines())


def test_what_a_killed_compression_left_is_finished(rig: Rig) -> None:
    folder = rig.logs / "web"
    folder.mkdir(parents=True)
    stem = "2026-11-22T00-37-49.123456Z.log"
    (folder / stem).write_bytes(b"the truth\n")
    (folder / f"{stem}.gz").write_bytes(b"half of")
    (folder / f"{stem}.gz.tmp").write_bytes(b"hal")
    rig.add("web", compress="gzip")
    rig.start()
    wait_until(lambda: not (folder / stem).exists(), what="compression")
    assert gzip.decompress((folder / f"{stem}.gz").read_bytes()) == b"the truth\n"
    assert sorted(os.listdir(folder)) == [f"{stem}.gz", "current"]


def test_tells_systemd_when_it_is_ready(rig: Rig, tmp_path: Path) -> None:
    rig.add("web")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(rig.run / "notify"))
        sock.settimeout(10)
        rig.start(NOTIFY_SOCKET=str(rig.run / "notify"))
        assert sock.recv(100) == b"READY=1"


def test_idle_logger_sleeps(rig: Rig) -> None:
    for n in range(20):
        rig.add(f"r{n}")
    logger = rig.start()
    for n in range(20):
        rig.write(f"r{n}", b"x\n")
        rig.wait_logged(f"r{n}", b"x\n")
    status = Path(f"/proc/{logger.pid}/status")
    wait_until(lambda: "Threads:\t1\n" in status.read_text(), 20, what="the workers to go")
    wait_until(lambda: all(rig.counters(f"r{n}").bytes_out == 2 for n in range(20)), what="counters")

    def switches() -> list[str]:
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    before: list[list[str]] = []

    def unchanged_for_100_looks() -> bool:
        before.append(switches())
        return before[-100:] == [before[-1]] * 100

    wait_until(unchanged_for_100_looks, 10, what="a second without one wake-up")
    for n in range(20):
        assert (rig.run / f"releases/r{n}/claimed").stat().st_blocks * 512 <= 4096
