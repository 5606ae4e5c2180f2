"""What a log's owner tells its time index."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relctld.logfiles import times
from relctld.logfiles.names import listing
from relctld.logger import logfile
from relctld.logger.logfile import LogFile


class Written:
    """A log that is written at the times a test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.now = folder, 1000.0
        monkeypatch.setattr(logfile, "wall", lambda: self.now)
        self.log = LogFile("web")
        self.log.ensure(str(folder))

    def write(self, at: float, size: int) -> None:
        self.now = at
        self.log.stamp()
        self.log.size += os.write(self.log.fd, b"x" * (size - 1) + b"\n")

    def index(self, name: str = "current") -> list[tuple[float, int]]:
        inode = os.stat(self.folder / name).st_ino if name == "current" else None
        records = times.read(times.path_of(str(self.folder), name), inode)
        return [(record.micros / 1e6, record.offset) for record in records]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(tmp_path, monkeypatch)


def test_once_a_second_and_when_the_clock_is_set_back(written: Written) -> None:
    for at in (1000.0, 1000.9, 1001.0, 1001.5, 900.0, 900.5):
        written.write(at, 10)
    assert written.index() == [(1000.0, 0), (1001.0, 20), (900.0, 40)]


def test_it_is_rotated_with_its_log(written: Written) -> None:
    written.write(1000.0, 10)
    assert written.log.rotate()
    written.write(1000.1, 10)
    (rotated,) = listing(str(written.folder))
    assert written.index(rotated.stem) == [(1000.0, 0)]
    assert written.index() == [(1000.1, 0)]


def test_a_successor_goes_on_with_it(written: Written) -> None:
    written.write(1000.0, 10)
    os.utime(written.log.path, (1000.0, 1000.0))
    written.log.close()
    written.log = LogFile("web")
    written.log.ensure(str(written.folder))
    written.write(1000.1, 10)
    assert written.index() == [(1000.0, 0), (1000.1, 10)]


def test_a_kill_between_the_two_renames_costs_the_index_only(written: Written) -> None:
    written.write(1000.0, 10)
    os.rename(written.folder / "current", written.folder / "2026-11-22T00-37-49.123456Z.log")
    written.log.close()
    written.log = LogFile("web")
    written.log.ensure(str(written.folder))
    written.write(2000.0, 10)
    assert written.index() == [(2000.0, 0)]
