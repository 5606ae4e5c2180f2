"""`relctl logs`: what releases wrote, and what comes after; bytes as they are."""

import os
from argparse import Namespace
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from heapq import merge
from operator import itemgetter
from typing import Final

from relctl.errors import CannotError, UsageError
from relctl.loglines import Lines, shape
from relctl.logsource import Door, Source, Window, choose
from relctl.output import Output
from relctl.tally import Tally
from relctl.values import count, micros, moment, pattern
from relctl.verb import EXIT_DONE, Call, Parser, Verb, add_names, need_names

LINES: Final = 100
"""Lines shown where neither -n nor a time says how many, and those searched by --grep."""
GREP_LINES: Final = 10_000
ALL_LINES: Final = 1_000_000_000
"""Searched where the last N that match are asked for."""
FASTEST: Final = 0.25
SLOWEST: Final = 1.0
"""Seconds between two looks of -f, while lines come and while none do."""
BATCH: Final = 1 << 16
"""Bytes of lines that are written at once."""

_ALONE: Final = (
    ("--rotate", ("-n", "-f", "--since", "--until", "--grep", "--crash", "--log-dir"), "shows nothing"),
    ("--crash", ("-f", "--since", "--until"), "ends at the last exit"),
    ("--until", ("-f",), "sets an end"),
)


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases; the lines of several begin with their names, and are in the order of time")
    parser.add_argument(
        "-n",
        "--lines",
        type=count,
        metavar="N",
        help="show the last N lines (100; with --since or --until: all), of those that match --grep (else the matches "
        "in the last 10000)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="show what comes, until Ctrl-C")
    parser.add_argument(
        "--since",
        type=moment,
        metavar="T",
        help="what was written from this time on: RFC 3339, local time such as 14:30 or 2026-01-31, or so long ago, "
        "such as 10m",
    )
    parser.add_argument("--until", type=moment, metavar="T", help="what was written up to this time")
    parser.add_argument("--grep", type=pattern, metavar="RE", help="only lines that match this regular expression")
    parser.add_argument("--crash", action="store_true", help="the last lines before the VM's last exit, of any cause")
    parser.add_argument("--log-dir", metavar="DIR", help="read the logs in this directory, without relctld")
    parser.add_argument("--rotate", action="store_true", help="begin a new log file, show nothing")


def _logs(call: Call) -> int:
    need_names(call)
    options = call.options
    _check(options)
    if options.rotate:
        return _rotate(call)
    lines = ALL_LINES if options.grep and options.lines is not None else options.lines
    if lines is None and (options.crash or not (options.since or options.until)):
        lines = GREP_LINES if options.grep else LINES
    window = Window(lines, options.since, options.until, options.crash)
    with Door(call.address(), call.out.note) as door:
        log = _open(call, door, window)
        with suppress(*[KeyboardInterrupt] if options.follow else []):
            log.show()
            if options.follow:
                door.patient = True
                _follow(call.out, log)
        log.end()
    return EXIT_DONE


def _open(call: Call, door: Door, window: Window) -> "AsIs | Merged":
    names, options, out = call.names, call.options, call.out
    sources = [choose(name, options.log_dir, door, os.environ) for name in names]
    for source in sources:
        source.begin(window)
    several = len(names) > 1
    if not (several or options.grep or out.json):
        return AsIs(out, sources[0])
    each = zip(names, sources, strict=True)
    last = options.lines if options.grep else None
    return Merged(
        out, last, [Lines(s, shape(out, names, n), options.grep, stamped=several or out.json) for n, s in each]
    )


def _check(options: Namespace) -> None:
    """Raises UsageError for options that do not go together."""
    chosen = {
        "-n": options.lines is not None,
        "-f": options.follow,
        "--since": options.since,
        "--until": options.until,
        "--grep": options.grep,
        "--crash": options.crash,
        "--log-dir": options.log_dir is not None,
    }
    for option, others, why in _ALONE:
        if getattr(options, option[2:]) and (other := next((o for o in others if chosen[o]), None)):
            raise UsageError(f"{option} {why}: it does not go with {other}", "relctl help logs")
    if options.since and options.until and micros(options.since) > micros(options.until):
        raise UsageError("--until is before --since")


def _rotate(call: Call) -> int:
    from relctl.client import Client  # noqa: PLC0415 -- start-up: files are read without ZeroMQ

    tally = Tally("rotate", call.names, call.out)
    try:
        with Client(call.address()) as client:
            tally.finish(client.ask("rotate", {"names": call.names}).get("results", []))
    except CannotError as error:
        tally.refuse(error)
    return tally.code


def _follow(out: Output, log: "AsIs | Merged") -> None:
    rest = FASTEST
    while out.pause(rest):
        rest = FASTEST if log.show() else min(SLOWEST, rest * 1.5)


class AsIs:
    """The bytes of one log, unchanged."""

    def __init__(self, out: Output, source: Source) -> None:
        self._out, self._source = out, source

    def show(self) -> bool:
        """Show what is there; whether something was."""
        some = False
        while (part := self._source.read(stamped=False)) is not None:
            self._out.raw(part.data)
            some = some or bool(part.data)
            if not part.more or self._out.gone:
                break
        return some

    def end(self) -> None:
        """Nothing comes any more."""


class Merged:
    """The lines of some logs, in the order of their times as far as these are known; at first the `last` of each."""

    def __init__(self, out: Output, last: int | None, logs: list[Lines]) -> None:
        self._out, self._last, self._logs = out, last, logs

    def show(self) -> bool:
        """Show what is there; whether something was."""
        new = [log.new() for log in self._logs]
        if self._last is not None:
            new = [iter(deque(lines, self._last)) for lines in new]
            self._last = None
        return self._show(new)

    def end(self) -> None:
        """Show what has no end yet."""
        self._show([log.end() for log in self._logs])

    def _show(self, logs: list[Iterator[tuple[int, bytes]]]) -> bool:
        some, batch = False, bytearray()
        for _, line in merge(*logs, key=itemgetter(0)):
            some = True
            batch += line
            if len(batch) >= BATCH:
                self._out.raw(bytes(batch))
                batch.clear()
                if self._out.gone:
                    break
        self._out.raw(bytes(batch))
        return some


_DESCRIPTION = """\
What the VM wrote to its stdout and stderr, across rotated and compressed
files, byte for byte. With several releases, or with --grep, whole lines are
shown. --grep takes one of Python's regular expressions; with -n N, the last N
lines that match are shown.

The files are read directly where you may read them, also while relctld is not
running; else relctld is asked. --since and --until go by a time index that
knows seconds: what was written in that time is never left out, up to a second
more is shown. They take RFC 3339, local dates and times (14:30 is of today),
`today`, `yesterday`, `now`, and durations back.

-f goes on across rotations and restarts of relctld, and misses nothing. Ctrl-C
ends it, with exit code 0. Under --json each line is an object {"release",
"at", "line"}, with "base64" where the bytes are no UTF-8; `at` is when it was
written, to the second."""

VERBS = {
    "logs": Verb(
        "logs",
        "Show what releases write, and rotate their logs",
        "RELEASE... [-n N] [-f] [--since T] [--until T] [--grep RE] [--crash] [--log-dir DIR] | RELEASE... --rotate",
        _DESCRIPTION,
        _arguments,
        _logs,
    )
}
