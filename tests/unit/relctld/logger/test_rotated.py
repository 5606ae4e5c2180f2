"""Names of rotated logs, retention, where to cut."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.logfiles.names import Rotated, listing, micros_of, next_stem, stem_at
from relctld.logger import rotated
from relctld.logger.compress import compress, remove_left
from relctld.logger.logfile import find_cut
from relctld.logger.policy import LogPolicy
from relctld.logger.rotated import retain

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(0, 253_000_000_000_000_000).map(lambda micros: EPOCH + timedelta(microseconds=micros))


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(moments)
def test_stem_is_the_utc_time(moment: datetime) -> None:
    stem = stem_at(micros(moment))
    assert stem == moment.strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    assert micros_of(stem) == micros(moment)


@given(st.lists(moments, min_size=1, max_size=20))
def test_stems_increase_whatever_the_clock_does(clock: list[datetime]) -> None:
    stems = [""]
    for moment in clock:
        stems.append(next_stem(stems[-1], micros(moment)))
    assert stems == sorted(set(stems))


@given(st.lists(st.sampled_from([b"a", b"bb", b"\n"]), max_size=40).map(b"".join), st.integers(0, 60), st.booleans())
def test_cut_is_at_a_line_start_and_the_best_one(data: bytes, room: int, fresh: bool) -> None:
    starts = [0] * fresh + [n + 1 for n, byte in enumerate(data) if byte == 10]
    cut = find_cut(memoryview(data), room, fresh)
    if cut < 0:
        assert not starts
    else:
        assert cut in starts
        fitting = [n for n in starts if n <= room]
        assert cut == (max(fitting) if fitting else min(starts))


def make(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).write_bytes(b"x" * 100)
    return str(folder)


A, B, C = (f"2026-11-22T00-37-4{n}.000000Z" for n in range(3))


def test_listing_knows_its_own(tmp_path: Path) -> None:
    directory = make(
        tmp_path, "current", "notes.log", f"{C}.log", f"{A}.log.gz", f"{B}.log", f"{B}.log.gz", f"{C}.log.gz.tmp"
    )
    assert listing(directory) == [
        Rotated(A, f"{A}.log.gz"),
        Rotated(B, f"{B}.log", f"{B}.log.gz"),
        Rotated(C, f"{C}.log"),
    ]


def test_retain_keeps_the_newest(tmp_path: Path) -> None:
    directory = make(tmp_path, f"{A}.log", f"{B}.log", f"{B}.log.gz", f"{C}.log", "current")
    policy = LogPolicy("web", "", "", directory, max_size=100, keep=2, max_total=None)
    retain(directory, policy, 0)
    assert [log.stem for log in listing(directory)] == [B, C]
    retain(directory, policy._replace(keep=None, max_total=250), 0)
    assert [log.stem for log in listing(directory)] == [C]
    retain(directory, policy._replace(keep=0), 0)
    assert [p.name for p in tmp_path.iterdir()] == ["current"]


def test_full_disk_never_takes_the_last_rotated_log(tmp_path: Path) -> None:
    directory = make(tmp_path, f"{A}.log", f"{B}.log")
    assert rotated.delete_oldest(directory)
    assert not rotated.delete_oldest(directory)
    assert [log.stem for log in listing(directory)] == [B]


def test_compress_replaces_the_original(tmp_path: Path) -> None:
    directory = make(tmp_path, f"{A}.log")
    compress(directory, listing(directory)[0], os.getppid())
    assert [p.name for p in tmp_path.iterdir()] == [f"{A}.log.gz"]
    assert gzip.decompress((tmp_path / f"{A}.log.gz").read_bytes()) == b"x" * 100


def test_a_time_index_counts_and_goes_with_its_log(tmp_path: Path) -> None:
    directory = make(tmp_path, f"{A}.log.gz", f"{A}.times", f"{B}.log", f"{B}.times", f"{C}.log", "current.times")
    policy = LogPolicy("web", "", "", directory, max_size=100, keep=None, max_total=450)
    retain(directory, policy, 0)
    assert [log.stem for log in listing(directory)] == [B, C]
    assert not (tmp_path / f"{A}.times").exists()


def test_a_time_index_left_alone_is_removed(tmp_path: Path) -> None:
    directory = make(tmp_path, f"{A}.times", f"{B}.log.gz", f"{B}.times", "current.times", "notes.times")
    rotated.tidy(directory)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{B}.log.gz", f"{B}.times", "current.times", "notes.times"]


def test_compression_ends_with_the_logger_that_asked_for_it_and_leaves_nothing(tmp_path: Path) -> None:
    directory = make(tmp_path, f"{A}.log")
    with pytest.raises(FileNotFoundError):
        compress(directory, listing(directory)[0], os.getpid())
    assert [p.name for p in tmp_path.iterdir()] == [f"{A}.log"]


def test_what_a_kill_left_of_a_compression_is_removed(tmp_path: Path) -> None:
    kept = ["current", "notes.log.gz.1.tmp", f"{A}.log"]
    rotated.tidy(make(tmp_path, *kept, f"{A}.log.gz.4711.tmp", f"{A}.log.gz.tmp"))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_what_a_killed_compression_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    stem = stem_at(0)
    kept = [f"{stem}.log", f"{stem}.log.gz.112.tmp", "notes.12.tmp"]
    folder = make(tmp_path, *kept, f"{stem}.log.gz.12.tmp")
    remove_left(folder, 12)
    assert sorted(os.listdir(folder)) == sorted(kept)
