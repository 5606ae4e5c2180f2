"""Lines that can be told whole, in order and once, whatever became of the log that they are in.

    NUMBER CHECKSUM FILLING\\n      the checksum (crc32, hexadecimal) is that of the number and the filling

`python -m tests.host.line_oracle FIRST COUNT` prints such lines. They differ in length, so that a cut, or a file's end,
falls into another place of each.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ")
DROPPED = re.compile(rb"relctl: dropped (\d+) bytes \((\d+) lines\) from \S+Z to \S+Z: [^\n]+")
_MOST = 300


def line(number: int) -> bytes:
    """The line of this number, with its newline."""
    filling = b"%x" % (number * 2654435761 % (1 << 32)) * (number * 7919 % (_MOST // 8))
    return b"%d %08x %s\n" % (number, zlib.crc32(b"%d " % number + filling), filling)


def lines(first: int, count: int) -> bytes:
    """So many of them."""
    return b"".join(map(line, range(first, first + count)))


def numbers(log: bytes, *, timestamps: bool = False) -> Iterator[int | tuple[int, int]]:
    """The number of each line, (bytes, lines) of each marker of what was dropped; AssertionError at anything else."""
    at = 0
    assert log.endswith(b"\n") or not log, log[-200:]
    for text in log.split(b"\n")[:-1]:
        here, body = at, text
        at += len(text) + 1
        if timestamps:
            stamp = STAMP.match(text)
            assert stamp is not None, f"no time at {here}: {text[:200]!r}"
            body = text[stamp.end() :]
        if marker := DROPPED.fullmatch(body):
            yield int(marker[1]), int(marker[2])
            continue
        number, _, rest = body.partition(b" ")
        checksum, _, filling = rest.partition(b" ")
        good = number.isdigit() and checksum == b"%08x" % zlib.crc32(number + b" " + filling)
        assert good, f"not a whole line at {here}: {text[:200]!r}"
        yield int(number)


def assert_all(log: bytes, count: int, *, timestamps: bool = False) -> tuple[int, int]:
    """Each of the first `count` lines is there once and in order, or counted by a marker in its place.

    Returns (bytes, lines) that the markers count.
    """
    expected = dropped_bytes = dropped_lines = 0
    for found in numbers(log, timestamps=timestamps):
        if isinstance(found, tuple):
            dropped_bytes += found[0]
            dropped_lines += found[1]
            assert found[0] == len(lines(expected, found[1])), f"the marker at line {expected} counts other lines"
            expected += found[1]
        else:
            assert found == expected, f"line {found} where {expected} should be"
            expected += 1
    assert expected == count, f"{expected} lines, not {count}"
    return dropped_bytes, dropped_lines


if __name__ == "__main__":
    for start in range(int(sys.argv[1]), int(sys.argv[1]) + int(sys.argv[2])):
        sys.stdout.buffer.write(line(start))
        sys.stdout.buffer.flush()
