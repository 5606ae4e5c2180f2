"""The time index: what is added is found, whatever a kill, a full disk or an operator made of the file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.logfiles import times
from relctld.logfiles.times import Record

INODE = 4711


def index(folder: Path, *records: tuple[int, int]) -> str:
    path = times.path_of(str(folder), "current")
    for record in records:
        times.add(path, INODE, Record(*record))
    return path


def test_what_is_added_is_found(tmp_path: Path) -> None:
    path = index(tmp_path, (1_000_000, 0), (2_000_000, 500), (1_500_000, 700))
    assert times.read(path) == [(1_000_000, 0), (2_000_000, 500), (1_500_000, 700)]
    assert times.read(path, INODE) == times.read(path)
    assert times.read(path, INODE + 1) == []
    assert Path(path).stat().st_mode & 0o777 == 0o640 & ~os.umask(os.umask(0))


def test_a_record_behind_a_later_one_is_void(tmp_path: Path) -> None:
    path = index(tmp_path, (1, 0), (2, 500), (3, 900), (4, 300), (5, 300), (6, 400))
    assert times.read(path) == [(1, 0), (5, 300), (6, 400)]


def test_half_a_record_is_overwritten(tmp_path: Path) -> None:
    path = index(tmp_path, (1, 0), (2, 500))
    os.truncate(path, 16 + 16 + 5)
    assert times.read(path) == [(1, 0)]
    index(tmp_path, (3, 700))
    assert times.read(path) == [(1, 0), (3, 700)]


def test_begin_keeps_only_what_is_of_this_log(tmp_path: Path) -> None:
    path = index(tmp_path, (1, 0))
    times.begin(path, INODE, 10)
    assert times.read(path) == [(1, 0)]
    times.begin(path, INODE, 0)  # an inode is soon used again
    assert not Path(path).exists()
    index(tmp_path, (1, 0))
    times.begin(path, INODE + 1, 10)
    assert not Path(path).exists()


def test_follows_no_link_and_minds_no_directory(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("cookie")
    path = Path(times.path_of(str(tmp_path), "current"))
    path.symlink_to(target)
    index(tmp_path, (1, 0))
    assert times.read(str(path)) == []
    assert target.read_text() == "cookie"
    path.unlink()
    path.mkdir()
    index(tmp_path, (1, 0))
    times.begin(str(path), INODE, 10)
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
