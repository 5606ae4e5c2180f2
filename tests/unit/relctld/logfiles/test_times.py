"""The time index: what is added is found, whatever a kill, a full disk or an operator made of the file."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.logfiles import moments, times
from relctld.logfiles.moments import Span
from relctld.logfiles.places import files_of
from relctld.logfiles.times import Record

INODE = 4711


def index(folder: Path, *records: tuple[int, int]) -> str:
    path = times.path_of(str(folder), "current")
    for record in records:
        times.add(path, INODE, Record(*record))
    return path


def known(path: str, inode: int | None = None) -> list[tuple[int, int]]:
    return [(record.micros, record.offset) for record in times.read(path, inode)]


def test_what_is_added_is_found(tmp_path: Path) -> None:
    path = index(tmp_path, (1_000_000, 0), (2_000_000, 500), (1_500_000, 700))
    assert known(path) == [(1_000_000, 0), (2_000_000, 500), (1_500_000, 700)]
    assert known(path, INODE) == known(path)
    assert times.read(path, INODE + 1) == []
    assert Path(path).stat().st_mode & 0o777 == 0o640 & ~os.umask(os.umask(0))


def test_a_record_behind_a_later_one_is_void(tmp_path: Path) -> None:
    path = index(tmp_path, (1, 0), (2, 500), (3, 900), (4, 300), (5, 300), (6, 400))
    assert known(path) == [(1, 0), (5, 300), (6, 400)]


def test_half_a_record_is_overwritten(tmp_path: Path) -> None:
    path = index(tmp_path, (1, 0), (2, 500))
    os.truncate(path, 16 + 16 + 5)
    assert known(path) == [(1, 0)]
    index(tmp_path, (3, 700))
    assert known(path) == [(1, 0), (3, 700)]


class Log:
    """A log, and its index."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "current"
        self.path.touch()
        self.index = times.path_of(str(folder), "current")

    def write(self, at: int, data: str = "line\n", *, noted: bool = True) -> None:
        if noted:
            found = self.path.stat()
            times.add(self.index, found.st_ino, Record(at, found.st_size))
        with self.path.open("a") as file:
            file.write(data)
        os.utime(self.path, ns=(at * 1000, at * 1000))

    def begin(self) -> list[Record]:
        times.begin(self.index, self.path.stat())
        return times.read(self.index)


def test_begin_keeps_only_what_is_of_this_log(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(1_000_000)
    log.write(1_900_000, noted=False)
    assert log.begin() == [Record(1_000_000, 0)]
    log.path.rename(tmp_path / "elsewhere")
    log.path.touch()
    assert log.begin() == []


def test_an_inode_is_soon_used_again(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(1_000_000)
    os.truncate(log.path, 0)
    assert log.begin() == []


def test_what_a_crash_of_the_host_left_behind_says_that_it_does_not_know(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(1_000_000)
    log.write(9_000_000, noted=False)
    for _ in range(2):
        assert log.begin() == [Record(1_000_000, 0, vague=True)]
    log.write(20_000_000)
    assert log.begin() == [Record(1_000_000, 0, vague=True), Record(20_000_000, 10)]
    spans = moments.spans_of(str(tmp_path), files_of(str(tmp_path)), 0)
    assert spans == [Span(1_000_000, 20_000_000, 0), Span(20_000_000, 21_000_000, 10)]


def test_an_index_that_cannot_be_written_would_hide_lines(tmp_path: Path) -> None:
    path = index(tmp_path, (1, 0))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, limit[1]))
        index(tmp_path, (2, 500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not Path(path).exists()
    index(tmp_path, (3, 700))
    assert known(path) == [(3, 700)]


def test_follows_no_link_and_minds_no_directory(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("cookie")
    path = Path(times.path_of(str(tmp_path), "current"))
    path.symlink_to(target)
    assert times.read(str(path)) == []
    index(tmp_path, (1, 0))
    assert not path.is_symlink()
    assert target.read_text() == "cookie"
    path.mkdir()
    index(tmp_path, (1, 0))
    times.begin(str(path), os.stat(tmp_path))
    assert times.read(str(path)) == []


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_no_trouble(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = times.path_of(name, "current")
        Path(path).write_bytes(data)
        times.read(path)
        Path(path).write_bytes(times._HEAD.pack(times._MAGIC, INODE) + data)
        offsets = [record.offset for record in times.read(path, INODE)]
        assert offsets == sorted(set(offsets))
