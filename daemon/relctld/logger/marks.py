"""What the daemon wants said in a log, beside what the VM prints: its starts, exits, upgrades. Knows one small file.

RUN/releases/NAME/marks.json   the latest marks, oldest first, each with a number one higher than that before it

The daemon adds, then writes `mark NAME` into RUN/logger.wake; the logger remembers the number of the last one that is
in the log, so each is there once, whoever is killed. A key says what a mark is about: what was said is not said again.
"""

import json
from typing import NamedTuple

from .policy import replace

NAME = "marks.json"
_KEPT = 100
_LONGEST = 2000  # characters


class Mark(NamedTuple):
    """One line. `breaks`: what printed half a line before it is gone, so it does not wait for that line's end."""

    number: int
    key: str
    micros: int  # wall clock
    text: str
    breaks: bool

    @property
    def line(self) -> bytes:
        """As it stands in the log."""
        words = " ".join(self.text[:_LONGEST].split())
        return b"relctl: " + "".join(c if c.isprintable() else "?" for c in words).encode(errors="replace") + b"\n"


def read(path: str, after: int = 0) -> list[Mark]:
    """The marks with a higher number; none where there is no file, or not ours."""
    try:
        with open(path, "rb") as file:
            marks = [Mark(*entry) for entry in json.load(file)]
            return [mark for mark in marks if mark.number > after]
    except (OSError, ValueError, TypeError):
        return []


def add(path: str, key: str, micros: int, text: str, *, breaks: bool) -> bool:
    """Add a mark; False if it was said already. One caller at a time. Raises OSError."""
    marks = read(path)
    if any(mark.key == key for mark in marks):
        return False
    number = marks[-1].number + 1 if marks else 1
    replace(path, json.dumps([*marks[1 - _KEPT :], Mark(number, key, micros, text, breaks)]).encode())
    return True
