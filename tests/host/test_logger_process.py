"""The logger's process, as the daemon finds, starts, wakes and ends it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from relctld import __version__
from relctld.host import logger
from relctld.host.reaper import Reaper
from tests.host.seam import open_fds, until, with_reaper

pytestmark = pytest.mark.host


def started_before(run_dir: Path) -> int | None:
    found = logger.started_before(run_dir)
    if found is None:
        return None
    os.close(found[1])
    return found[0]


def test_one_is_started_found_again_and_ended_by_who_is_of_another_version(tmp_path: Path) -> None:
    async def work(reaper: Reaper) -> None:
        assert not logger.runs(tmp_path)
        assert started_before(tmp_path) is None
        pid, pidfd = logger.spawn(tmp_path, reaper)
        ends: list[object] = []
        reaper.watch(pid, pidfd, lambda *end: ends.append(end))
        await until(lambda: started_before(tmp_path) == pid)
        assert logger.runs(tmp_path)
        before = open_fds()
        assert logger.end_other(tmp_path, __version__) is None
        assert logger.end_other(tmp_path, "0.0.0") == (pid, __version__)
        assert open_fds() == before
        await until(lambda: ends)
        assert not logger.runs(tmp_path)
        assert logger.end_other(tmp_path, "0.0.0") is None, "its lock file names it still"

    with_reaper(work)


def test_the_pid_of_something_else_in_the_lock_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "logger.lock").write_text(f"{os.getpid()} 0.0.0\n")
    holder = os.open(tmp_path / "logger.lock", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert logger.runs(tmp_path)
        assert logger.end_other(tmp_path, __version__) is None
        assert started_before(tmp_path) is None
    finally:
        os.close(holder)


def test_who_does_not_listen_is_not_told(tmp_path: Path) -> None:
    assert not logger.wake(tmp_path, "plan")
    listener = os.open(tmp_path / "logger.wake", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert logger.wake(tmp_path, "plan")
        assert logger.wake(tmp_path, "rotate web")
        assert os.read(listener, 100) == b"plan\nrotate web\n"
    finally:
        os.close(listener)
    with pytest.raises(FileNotFoundError):
        logger.wake(tmp_path / "nowhere", "plan")
