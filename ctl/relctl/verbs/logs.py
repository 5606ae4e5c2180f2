"""`relctl logs`: the last lines of the releases' output, and what comes after; bytes as they are."""

import base64
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from relctl.client import Client, Follower
from relctl.errors import CannotError, UsageError
from relctl.output import Output, json_line
from relctl.tally import Tally
from relctl.values import count, pattern
from relctl.verb import EXIT_DONE, Call, Parser, Verb, add_names, need_names

LINES: Final = 100
"""Lines shown where -n is not given, and those searched by --grep."""
GREP_LINES: Final = 10_000
FASTEST: Final = 0.25
SLOWEST: Final = 1.0
"""Seconds between two questions of -f, while lines come and while none do."""
LONGEST_LINE: Final = 1 << 20
"""Bytes kept of a line that does not end; a longer one is shown in pieces."""

_COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases; the lines of several begin with their names")
    parser.add_argument(
        "-n", "--lines", type=count, metavar="N", help="show the last N lines (100; searched by --grep: 10000)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="show what comes, until Ctrl-C")
    parser.add_argument("--grep", type=pattern, metavar="RE", help="only lines that match this regular expression")
    parser.add_argument("--rotate", action="store_true", help="begin a new log file, show nothing")


def _logs(call: Call) -> int:
    names, options = need_names(call), call.options
    if options.rotate:
        return _rotate(call)
    sinks = {name: _sink(call.out, names, name, options.grep) for name in names}
    lines = options.lines
    if lines is None:
        lines = GREP_LINES if options.grep else LINES
    with Client(call.address()) as client:
        cursors = {name: _first(client, name, lines, sinks[name]) for name in names}
        if options.follow:
            _follow(call.out, Follower(client, call.out.note, reached=True), cursors, sinks)
    for sink in sinks.values():
        sink.end()
    return EXIT_DONE


def _rotate(call: Call) -> int:
    if call.options.follow or call.options.grep or call.options.lines is not None:
        raise UsageError("--rotate shows nothing: it stands alone", "relctl help logs")
    tally = Tally("rotate", call.names, call.out)
    try:
        with Client(call.address()) as client:
            tally.finish(client.ask("rotate", {"names": call.names}).get("results", []))
    except CannotError as error:
        tally.refuse(error)
    return tally.code


def _first(client: Client, name: str, lines: int, sink: "Sink") -> dict[str, Any]:
    """Show the last lines; the cursor behind them."""
    reply = client.ask("logs", {"release": name, "lines": lines})
    while True:
        sink.take(_data(reply))
        cursor: dict[str, Any] = reply.get("cursor") or {}
        if not reply.get("more"):
            return cursor
        reply = client.ask("logs", {"release": name, "cursor": cursor})


def _follow(out: Output, follower: Follower, cursors: dict[str, dict[str, Any]], sinks: dict[str, "Sink"]) -> None:
    rest = FASTEST
    try:
        while out.pause(rest):
            rest = min(SLOWEST, rest * 1.5) if rest else FASTEST
            for name, cursor in cursors.items():
                reply = follower.ask("logs", {"release": name, "cursor": cursor})
                if reply is None:
                    break
                cursors[name] = reply.get("cursor") or cursor
                if reply.get("data"):
                    sinks[name].take(_data(reply))
                    rest = FASTEST if not reply.get("more") else 0.0
    except KeyboardInterrupt:
        return


def _data(reply: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(reply.get("data") or b"")
    except (ValueError, TypeError):
        raise CannotError("failed", "relctld sent log data that cannot be decoded") from None


def _sink(out: Output, names: list[str], name: str, grep: "re.Pattern[bytes] | None") -> "Sink":
    if out.json:
        return LineSink(out.raw, partial(_as_json, name), grep)
    if len(names) == 1:
        return LineSink(out.raw, partial(_as_is, b""), grep) if grep else Sink(out.raw)
    colour = _COLOURS[names.index(name) % len(_COLOURS)]
    prefix = f"{out.paint(name.ljust(max(map(len, names))), colour)} | ".encode()
    return LineSink(out.raw, partial(_as_is, prefix), grep)


def _as_is(prefix: bytes, line: bytes) -> bytes:
    return prefix + line + b"\n"


def _as_json(name: str, line: bytes) -> bytes:
    """`base64` holds the very bytes where `line`, being text, cannot."""
    text = line.decode("utf-8", "replace")
    exact = {} if text.encode() == line else {"base64": base64.b64encode(line).decode("ascii")}
    return json_line({"release": name, "line": text, **exact})


class Sink:
    """Takes the bytes of one release's log and passes them on, unchanged."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def take(self, data: bytes) -> None:
        """What came next."""
        self._write(data)

    def end(self) -> None:
        """Nothing comes any more."""


class LineSink(Sink):
    """Passes on whole lines that match, each in its shape; what is no whole line yet waits for its end."""

    def __init__(
        self, write: Callable[[bytes], None], shape: Callable[[bytes], bytes], grep: "re.Pattern[bytes] | None"
    ) -> None:
        super().__init__(write)
        self._shape, self._grep = shape, grep
        self._rest = b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        self._write(b"".join(self._shape(line) for line in lines if self._grep is None or self._grep.search(line)))

    def end(self) -> None:
        if self._rest:
            self.take(b"\n")


_DESCRIPTION = """\
What the VM wrote to its stdout and stderr, across rotated files, byte for byte. With
several releases, or with --grep, whole lines are shown. --grep is asked of the lines
that -n chooses, and is one of Python's regular expressions.

-f waits for relctld when it restarts: nothing is missed. Ctrl-C ends it, with exit
code 0. Under --json each line is an object {"release", "line"}, with "base64" where
the bytes are no UTF-8."""

VERBS = {
    "logs": Verb(
        "logs",
        "Show what releases write, and rotate their logs",
        "RELEASE... [-n N] [-f] [--grep RE] | RELEASE... --rotate",
        _DESCRIPTION,
        _arguments,
        _logs,
    )
}
