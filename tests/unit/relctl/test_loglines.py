"""Lines out of bytes: however these are cut, the lines and their times are the same."""

from __future__ import annotations

import re
from heapq import merge
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from relctl.loglines import Lines
from relctl.logsource import Part, Window

texts = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\n\n", b"\0\xff"]), max_size=30).map(b"".join)
cuts = st.lists(st.integers(0, 60), max_size=8)


class Pieces:
    """A log in pieces; the byte at place n was written at `times[n]`, a stamp stands where that changes."""

    def __init__(self, text: bytes, times: list[int], cuts: list[int]) -> None:
        ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
        self._parts = []
        start = 0
        for number, end in enumerate(ends, 1):
            stamps = [(at - start, times[at]) for at in range(start, end) if at == start or times[at] != times[at - 1]]
            self._parts.append(Part(text[start:end], stamps, more=number < len(ends)))
            start = end

    def begin(self, window: Window) -> None: ...

    def read(self, *, stamped: bool) -> Part | None:
        return self._parts.pop(0) if self._parts else None


def as_is(_: int, line: bytes) -> bytes:
    return line


@given(text=texts, cuts=cuts, steps=st.lists(st.integers(0, 2), min_size=60, max_size=60))
def test_however_it_is_cut(text: bytes, cuts: list[int], steps: list[int]) -> None:
    times = [1 + sum(steps[: n + 1]) for n in range(len(text))]
    lines = Lines(Pieces(text, times, cuts), as_is, None, stamped=True)
    found = [*lines.new(), *lines.end()]
    begins = [0, *(n + 1 for n, byte in enumerate(text) if byte == 10)]
    want = [(times[at], text[at:].split(b"\n", 1)[0]) for at in begins if at < len(text)]
    assert found == want


@given(text=texts, cuts=cuts)
def test_what_matches_is_shown(text: bytes, cuts: list[int]) -> None:
    lines = Lines(Pieces(text, [1] * len(text), cuts), as_is, re.compile(b"a"), stamped=False)
    assert [line for _, line in [*lines.new(), *lines.end()]] == [line for line in text.split(b"\n") if b"a" in line]


def test_the_lines_of_one_release_never_change_their_order() -> None:
    text = b"2026-01-31T12:00:00.000002Z 2\n2026-01-31T12:00:00.000001Z 1\nno time\n9999-99-99T99:99:99.999999Z x\n"
    logs = [Lines(Pieces(text, [0] * len(text), []), as_is, None, stamped=True) for _ in range(2)]
    merged = [line for _, line in merge(*(log.new() for log in logs), key=itemgetter(0))]
    assert sorted(merged) == sorted(text.splitlines() * 2)
    times, _ = zip(*Lines(Pieces(text, [0] * len(text), []), as_is, None, stamped=True).new(), strict=True)
    assert list(times) == sorted(times)
