"""What the daemon wants said in a log, beside what the VM prints: its starts, exits, upgrades. Knows one small file.

RUN/releases/NAME/marks.json   the latest marks and those that are not in the log yet, oldest first, each with a number
                               one higher than that before it

The daemon adds, then writes `mark NAME` into RUN/logger.wake; the logger remembers the number of the last one that is
in the log, so each is there once, whoever is killed. A key says what a mark is about: what was said is not said again.
"""

import json
import os
from typing import NamedTuple

from .policy import read_counters, replace

NAME = "marks.json"
_KEPT, _MOST = 100, 1000  # of those that are in the log, so as not to be said again; of all
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


def missing(after: int, marks: list[Mark]) -> list[Mark]:
    """What stands for those between the last that is in the log and the next there are: nothing, or a mark that counts.

    They are missing where more were added than are kept, and no logger ran.
    """
    if not marks or (count := marks[0].number - after - 1) <= 0:
        return []
    text = f"{count} lines like these are missing here: no logger ran, and there were too many"
    return [marks[0]._replace(number=marks[0].number - 1, key="", text=text)]


def add(path: str, key: str, micros: int, text: str, *, breaks: bool) -> bool:
    """Add a mark; False if it was said already. One caller at a time. Raises OSError."""
    marks = read(path)
    if any(mark.key == key for mark in marks):
        return False
    number = marks[-1].number + 1 if marks else 1
    marks.append(Mark(number, key, micros, text, breaks))
    marked = read_counters(os.path.join(os.path.dirname(path), "log.json")).marked
    oldest = max(min(number - _KEPT, marked), number - _MOST)
    replace(path, json.dumps([mark for mark in marks if mark.number > oldest]).encode())
    return True
