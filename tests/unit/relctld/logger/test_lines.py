"""What is composed says what was printed: nothing is added but times and marks of splits, wherever pieces end."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from relctld.logger import lines
from relctld.logger.lines import CUT, SPLIT, behind_lines, column_behind, compose, stamp

TIME = stamp(1_795_345_200_123_456)
PIECES = st.lists(st.binary(min_size=1, max_size=40) | st.text("aé€😀\n", min_size=1).map(str.encode), max_size=12)


@pytest.fixture(autouse=True)
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 50)


def composed(pieces: list[bytes], prefix: bytes) -> bytes:
    """All pieces, as the writer composes them: what is not taken comes again."""
    log, column = b"", 0
    for piece in pieces:
        rest = piece
        while rest:
            taken, text, column = compose(rest, column, prefix)
            assert text.count(b"\n") == rest[:taken].count(b"\n") + (column == CUT)
            log += text
            rest = rest[taken:]
    return log


def test_a_time_as_it_stands_before_a_line() -> None:
    assert TIME == b"2026-11-22T11:00:00.123456Z "


@given(pieces=PIECES)
@example(pieces=[b"x" * 50, b"\n"])
@example(pieces=[b"x" * 30, b"x" * 20, b"x", b"\n"])
def test_without_times_only_long_lines_are_another(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    assume(lines.ENDS_HERE not in raw and lines.WENT_ON not in raw)  # as hypothesis finds them in the module
    log = composed(pieces, b"")
    assert log.replace(SPLIT, b"").replace(lines.ENDS_HERE, b"") == raw
    longest = max(map(len, raw.split(b"\n")))
    assert longest > 50 if log != raw else longest <= 53


@given(pieces=PIECES)
def test_a_time_stands_before_each_line_and_nowhere_else(pieces: list[bytes]) -> None:
    log = composed(pieces, TIME)
    kept = re.findall(rb"[^\n]*\n|[^\n]+", log)
    assert all(line.startswith(TIME) for line in kept)
    assert b"".join(line.removeprefix(TIME) for line in kept) == composed(pieces, b"")


@given(text=st.text("é€😀", min_size=60, max_size=200))
def test_no_character_is_split(text: str) -> None:
    for half in composed([text.encode()], b"").split(SPLIT):
        half.removesuffix(lines.ENDS_HERE).decode()


@given(data=st.binary(max_size=60) | st.text("ab\n").map(str.encode), column=st.integers(0, 100))
def test_column_behind(data: bytes, column: int) -> None:
    want = len(data) - data.rfind(b"\n") - 1 if b"\n" in data else column + len(data)
    assert column_behind(memoryview(data), column) == want


@given(data=st.text("ab\n").map(str.encode))
def test_behind_lines(data: bytes) -> None:
    ends = [0] + [at + 1 for at, byte in enumerate(data) if byte == 10]
    assert [behind_lines(data, count) for count in range(len(ends))] == ends
    assert all(a < b for a, b in pairwise(ends))
