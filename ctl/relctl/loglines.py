"""Lines of logs: taken out of the bytes, chosen by --grep, put in order across releases, given their shape.

Rule 1: knows sources and bytes, nothing of relctld or of files.
Rule 2: a line is ended by a newline; what is no whole line yet waits for its end, up to `LONGEST_LINE`.
Rule 3: the time of a line is the one it begins with (`log.timestamps`), else what the time index says of its first
        byte. The lines of one release never change their order.
"""

import base64
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from operator import itemgetter
from typing import Final

from relctl.logsource import Part, Source
from relctl.output import Output, json_line
from relctld.logfiles.names import micros_of

LONGEST_LINE: Final = 1 << 20
"""Bytes kept of a line that does not end; a longer one is shown in pieces."""

Shape = Callable[[int, bytes], bytes]
"""How a line of that time (microseconds; 0 = unknown) is shown."""

_COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")
_STAMP: Final = re.compile(rb"[-0-9]{10}T[:.0-9]{15}Z ")
_SECOND: Final = 1_000_000


class Lines:
    """The lines of one release that match, each in its shape."""

    def __init__(self, source: Source, shape: Shape, grep: "re.Pattern[bytes] | None", *, stamped: bool) -> None:
        self._source, self._shape, self._grep, self._stamped = source, shape, grep, stamped
        self._rest = b""
        self._rest_at = 0  # when its first byte was written
        self._latest = 0

    def new(self) -> Iterator[tuple[int, bytes]]:
        """(time, line) of all that is there and was not shown yet; the time never goes back."""
        more = True
        while more:
            part = self._source.read(stamped=self._stamped)
            if part is None:
                return
            yield from self._take(part)
            more = part.more

    def end(self) -> Iterator[tuple[int, bytes]]:
        """A last line that has no end."""
        if self._rest:
            yield from self._take(Part(b"\n", [], more=False))

    def _take(self, part: Part) -> Iterator[tuple[int, bytes]]:
        place, before = -len(self._rest), self._rest_at
        *lines, self._rest = (self._rest + part.data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            if self._grep is None or self._grep.search(line):
                self._latest = max(self._latest, self._time_of(line, _moment(part, place, before)))
                yield self._latest, self._shape(self._latest, line)
            place += len(line) + 1
        self._rest_at = _moment(part, place, before)

    def _time_of(self, line: bytes, at: int) -> int:
        if self._stamped and _STAMP.match(line):
            try:
                return micros_of(line[:27].decode().replace(":", "-"))
            except ValueError:
                pass
        return at


def _moment(part: Part, place: int, before: int) -> int:
    """When the byte at this place was written; `before`: when those that came before the part were."""
    found = bisect_right(part.stamps, place, key=itemgetter(0))
    return part.stamps[found - 1][1] if found else before


def shape(out: Output, names: list[str], name: str) -> Shape:
    """How a line of this release is shown beside those of the others."""
    if out.json:
        return partial(_as_json, name)
    if len(names) == 1:
        return partial(_as_is, b"")
    colour = _COLOURS[names.index(name) % len(_COLOURS)]
    return partial(_as_is, f"{out.paint(name.ljust(max(map(len, names))), colour)} | ".encode())


def _as_is(prefix: bytes, _: int, line: bytes) -> bytes:
    return prefix + line + b"\n"


def _as_json(name: str, at: int, line: bytes) -> bytes:
    """`base64` holds the very bytes where `line`, being text, cannot."""
    text = line.decode("utf-8", "replace")
    exact = {} if text.encode() == line else {"base64": base64.b64encode(line).decode("ascii")}
    when = {"at": _utc(at // _SECOND)} if at else {}
    return json_line({"release": name, **when, "line": text, **exact})


@lru_cache(maxsize=1)
def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
