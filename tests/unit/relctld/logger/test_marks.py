"""The marks file: each thing is said once, and the latest are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from relctld.logger import marks
from relctld.logger.marks import Mark
from relctld.logger.policy import Counters, write_counters


def test_numbers_go_on_and_nothing_is_said_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "marks.json")
    assert marks.read(path) == []
    assert marks.add(path, "7.start", 1, "starting", breaks=True)
    assert marks.add(path, "7.exit", 2, "exited", breaks=True)
    assert not marks.add(path, "7.start", 3, "starting", breaks=True)
    assert marks.read(path, 1) == [Mark(2, "7.exit", 2, "exited", True)]


def test_the_oldest_that_are_in_the_log_go_and_numbers_stay(tmp_path: Path) -> None:
    path = str(tmp_path / "marks.json")
    write_counters(str(tmp_path / "log.json"), Counters(marked=40))
    for n in range(1, 131):
        marks.add(path, str(n), n, "said", breaks=False)
    assert [mark.number for mark in marks.read(path)] == list(range(31, 131))
    for n in range(131, 151):
        marks.add(path, str(n), n, "said", breaks=False)
    assert [mark.number for mark in marks.read(path)] == list(range(41, 151))
    assert marks.missing(40, marks.read(path, 40)) == []
    assert marks.missing(150, marks.read(path, 150)) == []


def test_where_too_many_wait_it_is_said_how_many_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_MOST", 110)
    path = str(tmp_path / "marks.json")
    write_counters(str(tmp_path / "log.json"), Counters(marked=3))
    for n in range(1, 131):
        marks.add(path, str(n), n, "said", breaks=False)
    new = marks.read(path, 3)
    assert [mark.number for mark in new] == list(range(21, 131))
    [instead] = marks.missing(3, new)
    assert instead.number == 20
    assert instead.line == b"relctl: 17 lines like these are missing here: no logger ran, and there were too many\n"


@pytest.mark.parametrize("what", ["", "{}", "[1]", '[[1, "a"]]'])
def test_what_is_not_ours_says_nothing(tmp_path: Path, what: str) -> None:
    path = tmp_path / "marks.json"
    path.write_text(what)
    assert marks.read(str(path)) == []


def test_a_mark_is_one_printable_line() -> None:
    mark = Mark(1, "k", 0, "exited:\n killed\x1b[31m \udc80é", breaks=True)
    assert mark.line == "relctl: exited: killed?[31m ?é\n".encode()
