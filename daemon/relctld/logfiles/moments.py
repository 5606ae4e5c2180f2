"""From a moment to a place in a log, and from a place to its moment, by the time indexes. Knows a directory.

A *span* says when a stretch of a log was written: not before `begin`, not after `end`. A file without an index is one
span, from the rotation before it to its own (of `current`: to its last change).

What is asked for is never left out, but up to a second more is shown at both ends: the index knows no more. Where the
clock was set back, the last time at which it showed a moment is the one that counts.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from . import contents, times
from .names import CURRENT, Rotated, micros_of
from .places import BEGIN, Cursor, cursor_at, steadily


class Span(NamedTuple):
    """From this offset on, up to the next span's, a file was written between these times (microseconds)."""

    begin: int
    end: int
    offset: int


def spans_of(directory: str, files: list[Rotated], index: int) -> list[Span]:
    """When one of these files was written: at least one span, the first at offset 0."""
    log = files[index]
    before = micros_of(files[index - 1].stem) if index else 0
    inode: int | None
    if log.name == CURRENT:
        try:
            found = os.stat(os.path.join(directory, CURRENT), follow_symlinks=False)
        except FileNotFoundError:
            return [Span(before, before, 0)]
        inode, after = found.st_ino, found.st_mtime_ns // 1000
    else:
        inode, after = None, micros_of(log.stem)
    records = times.read(times.path_of(directory, log.timed_as), inode)
    ends = [*(record.micros for record in records[1:]), after]
    spans = [
        Span(record.micros, max(record.micros, end) if record.vague else record.micros + times.EVERY, record.offset)
        for record, end in zip(records, ends, strict=False)
    ]
    if spans and spans[0].offset == 0:
        return spans
    until = spans[0].begin if spans else after
    return [Span(min(before, until), until, 0), *spans]


def since(directory: str, micros: int) -> Cursor:
    """The cursor at the first line that may have been begun at or after a moment."""

    def look(files: list[Rotated]) -> Cursor:
        place = _line_behind(directory, files, lambda span: span.end <= micros)
        if place is None:  # a line that has no end yet may get it after that moment
            place = len(files) - 1, contents.last_lines(os.path.join(directory, CURRENT), 0)[0]
        return cursor_at(directory, files, *place)

    return steadily(directory, look, BEGIN)


def until(directory: str, micros: int) -> Cursor | None:
    """The cursor behind the last line that may have been begun up to a moment; None where nothing is behind it."""

    def look(files: list[Rotated]) -> Cursor | None:
        place = _line_behind(directory, files, lambda span: span.begin <= micros)
        return place and cursor_at(directory, files, *place)

    return steadily(directory, look, None)


def _line_behind(directory: str, files: list[Rotated], past: Callable[[Span], bool]) -> tuple[int, int] | None:
    """(file, offset) of the first line begun behind the last span that is past; None where no line was."""
    index, offset = _behind(directory, files, past)
    while index < len(files):
        try:
            start = contents.line_start(os.path.join(directory, files[index].name), offset)
        except FileNotFoundError:
            if files[index].name != CURRENT:
                raise
            return None  # it is being rotated, or nothing was ever written
        if start is not None:
            return index, start
        index, offset = index + 1, 0
    return None


def _behind(directory: str, files: list[Rotated], past: Callable[[Span], bool]) -> tuple[int, int]:
    """(file, offset) where the last span that is past ends; a file more than there are, where that is the very last."""
    for index in reversed(range(len(files))):
        behind = index + 1, 0
        for span in reversed(spans_of(directory, files, index)):
            if past(span):
                return behind
            behind = index, span.offset
    return 0, 0
