"""What stands in the log for what a VM printed: times before lines, lines that are too long. Pure.

Any bytes are lines. The *column* is how many bytes of a line stand before a place, 0 at a line's start; `CUT` where a
line was split right there. A line longer than `LONGEST_LINE` is split, not within a character of UTF-8:

    … its first MiB [relctl: the line goes on]
    [relctl: the line went on] its next MiB, or its end

Whoever takes `SPLIT`, and with `timestamps` the time in it, out of a log has what the VM printed.
"""

import time

LONGEST_LINE = 1 << 20
CUT = -1
ENDS_HERE, WENT_ON = b" [relctl: the line goes on]\n", b"[relctl: the line went on] "
SPLIT = ENDS_HERE + WENT_ON
_STEP = 1 << 12
_LONGEST_REST = 3  # of a character


def stamp(micros: int) -> bytes:
    """What stands before a line that came at this time (microseconds since the epoch): RFC 3339 in UTC."""
    seconds, fraction = divmod(micros, 1_000_000)
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:06d}Z ").encode()


def first_newline(data: memoryview) -> int:
    """Where the first newline is, -1 without one. As a rule it is near the beginning."""
    for start in range(0, len(data), _STEP):
        at = bytes(data[start : start + _STEP]).find(b"\n")
        if at >= 0:
            return start + at
    return -1


def last_newline(data: memoryview) -> int:
    """Where the last newline is, -1 without one. As a rule it is near the end, so little is looked at."""
    end = len(data)
    while end > 0:
        start = max(0, end - _STEP)
        at = bytes(data[start:end]).rfind(b"\n")
        if at >= 0:
            return start + at
        end = start
    return -1


def column_behind(data: memoryview, column: int) -> int:
    """The column behind these bytes, which begin at `column`."""
    at = last_newline(data)
    return len(data) - at - 1 if at >= 0 else max(column, 0) + len(data)


def compose(data: bytes, column: int, prefix: bytes) -> tuple[int, bytes, int]:
    """(how many of these bytes are taken, what to write for them, the column behind it).

    Fewer than all are taken where a line is to be split; so what is written has a newline for each one taken, and one
    more at its very end where it ends in a split. `data` is shorter than `LONGEST_LINE`.
    """
    first = data.find(b"\n")
    first = len(data) if first < 0 else first
    cut = max(LONGEST_LINE - max(column, 0), 0)
    while cut < first and data[cut] & 0xC0 == 0x80 and cut + max(column, 0) < LONGEST_LINE + _LONGEST_REST:
        cut += 1
    begin = prefix * (column <= 0) + WENT_ON * (column == CUT)
    if cut < first:
        return cut, begin + data[:cut] + ENDS_HERE, CUT
    text = begin + (data.replace(b"\n", b"\n" + prefix) if prefix else data)
    if prefix and data.endswith(b"\n"):
        text = text[: -len(prefix)]
    return len(data), text, column_behind(memoryview(data), column)


def behind_lines(data: bytes, count: int) -> int:
    """The offset behind the first `count` lines, of which there are as many."""
    return len(data) - len(data.split(b"\n", count)[count]) if count else 0
