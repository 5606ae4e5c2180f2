"""Names of log files (the directory is drawn in the package's docstring). Knows a directory.

The part of a rotated file's name before `.log` is its *stem*. Where both .log and .log.gz stand, a kill came between
compression and deletion: the .log is the truth.
"""

import os
import re
import time
from typing import Final, NamedTuple

CURRENT: Final = "current"
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z)\.log(\.gz)?")
_STEM = re.compile(r"(\d+)-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)\.(\d{6})Z")


class Rotated(NamedTuple):
    """One log: `name` is the file that tells the truth, `spare` a .gz that does not."""

    stem: str
    name: str
    spare: str | None = None

    @property
    def timed_as(self) -> str:
        """What its time index is named after."""
        return CURRENT if self.name == CURRENT else self.stem


def is_stem(text: str) -> bool:
    """Could this be the stem of a rotated file?"""
    return _NAME.fullmatch(text + ".log") is not None


def stem_at(micros: int) -> str:
    """The stem for a time in microseconds since the epoch."""
    seconds, fraction = divmod(micros, 1_000_000)
    return time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(seconds)) + f".{fraction:06d}Z"


def micros_of(stem: str) -> int:
    """The inverse of `stem_at`. (time has no timegm, calendar and strptime cost a megabyte.)"""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise ValueError(f"not the name of a rotated log: {stem}")
    year, month, day, hour, minute, second, micros = map(int, match.groups())
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)  # a year that ends with its leap day
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros


def next_stem(newest: str, now_micros: int) -> str:
    """A stem that sorts after `newest` ("" = none yet), also when the clock was set back."""
    return stem_at(max(now_micros, micros_of(newest) + 1) if newest else now_micros)


def listing(directory: str) -> list[Rotated]:
    """The rotated logs of a directory, oldest first. What bears such a name and is no file is not ours."""
    with os.scandir(directory) as entries:
        names = sorted(e.name for e in entries if _NAME.fullmatch(e.name) and e.is_file(follow_symlinks=False))
    found: dict[str, Rotated] = {}
    for name in names:  # …Z.log comes before …Z.log.gz
        if match := _NAME.fullmatch(name):
            stem = match[1]
            found[stem] = found[stem]._replace(spare=name) if stem in found else Rotated(stem, name)
    return list(found.values())
