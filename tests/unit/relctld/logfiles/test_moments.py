"""Between two moments: what a reading of everything would find, and hardly more."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.logfiles import contents, moments, names
from relctld.logfiles.places import BEGIN, Cursor
from relctld.logfiles.tail import Reader, window
from relctld.logger import logfile
from relctld.logger.compress import compress
from relctld.logger.logfile import LogFile

BEGAN = 1_700_000_000_000_000
SECOND = 1_000_000
A, B = "2023-11-14T22-13-20.000000Z", "2023-11-14T22-14-20.000000Z"
PLENTY = 1 << 20
NEWLINE = 10


class Line(NamedTuple):
    """Where a line is in all that was written, and when its first byte was (microseconds)."""

    start: int
    end: int
    micros: int


class World:
    """A log written by the logger's own code at the times of a clock that a test sets."""

    def __init__(self, folder: str, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.now, self.data = folder, BEGAN, b""
        self.writes: list[tuple[int, int]] = []  # (offset in all, time)
        patch.setattr(logfile, "wall", lambda: self.now / SECOND)
        self.log = LogFile("web")
        self.log.ensure(folder)

    def write(self, data: bytes) -> None:
        if data:
            self.log.stamp()
            self.log.size += os.write(self.log.fd, data)
            self.writes.append((len(self.data), self.now))
            self.data += data

    def act(self, act: str) -> None:
        match act:
            case "rotate" if self.log.size and self.log.at_line_start():
                assert self.log.rotate()
            case "compress":
                for log in names.listing(self.folder):
                    if log.name.endswith(".log"):
                        compress(self.folder, log, os.getppid())
            case "restart":
                written = 1000 * (self.writes[-1][1] if self.writes else self.now)
                os.utime(self.log.path, ns=(written, written))
                self.log.close()
                self.log = LogFile("web")
                self.log.ensure(self.folder)

    def lines(self) -> list[Line]:
        found, at = [], 0
        for text in self.data.splitlines(keepends=True):
            found.append(Line(at, at + len(text), max(w for w in self.writes if w[0] <= at)[1]))
            at += len(text)
        return found

    def offset(self, cursor: Cursor) -> int:
        """The offset in all that was written."""
        before = [log.name for log in names.listing(self.folder) if log.stem <= cursor["after"]]
        return sum(len(contents.read(f"{self.folder}/{name}", 0, PLENTY)) for name in before) + int(cursor["offset"])

    def shown(self, lines: int | None, since: int | None, until: int | None) -> tuple[int, int]:
        """From where to where `relctl logs` would show it."""
        start, end = window(self.folder, lines, since, until)
        first = self.offset(start)
        behind = len(self.data) if end is None else max(first, self.offset(end))
        with Reader(self.folder, start, end) as reader:
            assert b"".join(iter(lambda: reader.read(7).data, b"")) == self.data[first:behind]
        return first, behind


def played(world: World, acts: Iterable[bytes | str | int]) -> World:
    for act in acts:
        match act:
            case bytes():
                world.write(act)
            case str():
                world.act(act)
            case int():
                world.now += act
    return world


texts = st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\0\xff", b"e\n"]), max_size=6).map(b"".join)
acts = st.one_of(
    texts,
    st.sampled_from(["rotate", "compress", "restart"]),
    st.integers(0, 3 * SECOND),
    st.integers(0, 300 * SECOND),
)
set_back = st.integers(-200 * SECOND, -1)


def draw_window(data: st.DataObject, world: World) -> tuple[int, int]:
    known = [micros for _, micros in world.writes] or [BEGAN]
    near = st.sampled_from(known).flatmap(lambda at: st.integers(at - 2 * SECOND, at + 2 * SECOND))
    return data.draw(near, "since"), data.draw(near, "until")


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(acts, max_size=40), data=st.data())
def test_nothing_is_missing_and_hardly_more_is_shown(steps: list[bytes | str | int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        world = played(World(folder, patch), steps)
        assert world.shown(None, None, None) == (0, len(world.data))
        since, until = draw_window(data, world)
        first, behind = world.shown(None, since, until)
        lines = world.lines()
        shown = [line for line in lines if first <= line.start < behind]
        assert {line for line in lines if since <= line.micros <= until} <= set(shown)
        assert (shown[0].start, shown[-1].end) == (first, behind) if shown else first == behind
        whole = [line for line in shown if world.data[line.end - 1] == NEWLINE]
        assert all(since - SECOND <= line.micros <= until + SECOND for line in whole)
        assert world.shown(2, since, until)[0] == (whole[-2].start if len(whole) > 1 else first)


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.one_of(acts, set_back), max_size=40), lost=st.booleans(), data=st.data())
def test_nothing_is_missing_where_the_clock_jumps_or_an_index_is_lost(
    steps: list[bytes | str | int], lost: bool, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        world = played(World(folder, patch), steps)
        if lost and all(step >= 0 for step in steps if isinstance(step, int)):  # else names mislead
            for index in Path(folder).glob("*.times"):
                index.unlink()
        since, until = draw_window(data, world)
        first, behind = world.shown(None, since, until)
        for line in world.lines():
            shown_later = all(micros > since for offset, micros in world.writes if offset >= line.start)
            if since <= line.micros <= until and shown_later:
                assert first <= line.start
                assert line.end <= behind


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(acts, max_size=20), later=st.lists(acts, max_size=20), size=st.integers(1, 9), data=st.data())
def test_a_window_stays_what_it_is_while_the_log_goes_on(
    steps: list[bytes | str | int], later: list[bytes | str | int], size: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        world = played(World(folder, patch), steps)
        start, end = window(folder, None, *draw_window(data, world))
        first, behind = world.offset(start), None if end is None else world.offset(end)
        got = b""
        with Reader(folder, start, end) as reader:
            for step in later:
                got += reader.read(size).data
                played(world, [step])
            got += b"".join(iter(lambda: reader.read(size).data, b""))
        assert got == world.data[first : first if behind is not None and behind < first else behind]


def test_without_any_index_names_tell(tmp_path: Path) -> None:
    (tmp_path / f"{A}.log").write_text("1\n")
    (tmp_path / f"{B}.log").write_text("2\n")
    (tmp_path / "current").write_text("3\n")
    a, b = names.micros_of(A), names.micros_of(B)
    assert moments.since(str(tmp_path), a - 1) | {"head": 0} == BEGIN | {"head": 0}
    assert moments.since(str(tmp_path), a + 1)["after"] == A
    assert moments.since(str(tmp_path), b + 1)["after"] == B
    assert moments.until(str(tmp_path), b + 1) is None
    assert (moments.until(str(tmp_path), b - 1) or BEGIN)["after"] == B


def test_each_part_knows_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [
        b"1\n",
        2 * SECOND,
        b"2\n",
        "rotate",
        "compress",
        3 * SECOND,
        b"3\n",
        SECOND // 2,
        b"4\n",
        9 * SECOND,
        b"5",
    ]
    played(World(str(tmp_path), monkeypatch), steps)
    with Reader(str(tmp_path), BEGIN) as reader:
        data, stamps = reader.read(PLENTY, stamped=True)
    assert data == b"1\n2\n3\n4\n5"
    assert [(place, (micros - BEGAN) / SECOND) for place, micros in stamps] == [(0, 0), (2, 2), (4, 5), (8, 14.5)]
    with Reader(str(tmp_path), BEGIN) as reader:
        reader.read(3)
        assert reader.read(2, stamped=True) == (b"\n3", [(0, BEGAN + 2 * SECOND), (1, BEGAN + 5 * SECOND)])
