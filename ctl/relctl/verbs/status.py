"""`relctl status`: what each release is doing, once or watched."""

import time
from typing import Any, Final

from relctl.client import Client, Follower
from relctl.output import Output, terminal_size
from relctl.render import clean, duration
from relctl.table import counts, is_good, table, warnings
from relctl.verb import EXIT_DONE, EXIT_NOT_GOOD, Call, Parser, Verb, add_names

INTERVAL: Final = 1.0
"""Seconds between two pictures of --watch."""


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases to show, in this order; all where none is named")
    parser.add_argument("--watch", action="store_true", help="show it again every second until Ctrl-C")


def _status(call: Call) -> int:
    with Client(call.address()) as client:
        if call.options.watch:
            return _watch(call, client)
        result = client.ask("status", {"names": call.names})
    _show(call.out, result)
    return _code(result, asked=bool(call.names))


def _code(result: dict[str, Any], asked: bool) -> int:
    looked_at = [r for r in result.get("releases", ()) if asked or r.get("want") == "up"]
    return EXIT_DONE if all(is_good(release) for release in looked_at) else EXIT_NOT_GOOD


def _show(out: Output, result: dict[str, Any]) -> None:
    if out.json:
        out.object(result)
        return
    for warning in warnings(result.get("daemon", {})):
        out.note(f"warning: {warning}")
    out.lines(table(result.get("releases", []), out.width(), out.paint))


def _watch(call: Call, client: Client) -> int:
    drawn = call.out.tty and not call.out.json
    follower = Follower(client, _in_picture if drawn else call.out.note)
    picture, height = _Picture(), 0
    try:
        while True:
            began = time.monotonic()
            result = follower.ask("status", {"names": call.names})
            if drawn:
                height = _redraw(call.out, picture.lines(call.out, result, follower.away), height)
            elif result is not None:
                _show(call.out, result)
            if not call.out.pause(INTERVAL - (time.monotonic() - began)):
                return EXIT_DONE
    except KeyboardInterrupt:
        return EXIT_DONE


def _in_picture(_: str) -> None:
    """A drawn picture says itself that the daemon is away."""


class _Picture:
    """The lines on the screen: the latest table, and whether it is still true."""

    def __init__(self) -> None:
        self._result: dict[str, Any] = {}
        self._heard = time.monotonic()

    def lines(self, out: Output, result: dict[str, Any] | None, away: str) -> list[str]:
        if result is not None:
            self._result, self._heard = result, time.monotonic()
        daemon, releases = self._result.get("daemon", {}), self._result.get("releases", [])
        head = f"relctld {clean(daemon.get('version', '?'))}, pid {daemon.get('pid', '?')}: {counts(releases)}"
        said = [out.paint(f"! {warning}", "yellow") for warning in warnings(daemon)]
        if away:
            silence = duration(time.monotonic() - self._heard)
            said = [
                out.paint(f"! {clean(away)}", "red"),
                out.paint(f"! what stands below is {silence} old", "red"),
            ]
        return [head, *said, "", *table(releases, out.width(), out.paint)]


def _redraw(out: Output, lines: list[str], height: int) -> int:
    """Draw over the picture before, which took `height` lines; the height of the new one.

    Wrapping is off while it is drawn: one line stays one row, whatever the terminal's width has become.
    """
    rows = terminal_size()[1]
    if len(lines) >= rows:
        lines = [*lines[: max(1, rows - 2)], f"… {len(lines) - rows + 2} more lines"]
    up = f"\x1b[{height}A" if height else ""
    out.raw(("\x1b[?7l\r" + up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J\x1b[?7h").encode())
    return len(lines)


_DESCRIPTION = """\
One row a release. RESTARTS counts the automatic ones since the release was first
seen, in brackets those within the period of its restart limit. Notes say what the
columns cannot: when a restart is due, why a release is not running, what waits for
a restart, what a restart would boot.

Exit code 3 says that a release asked about is not running, or not well (degraded
counts as well, and so does a health that nobody asked to probe). With no names it
looks at the releases that are wanted up."""

VERBS = {
    "status": Verb(
        "status",
        "Show what each release is doing",
        "[RELEASE...] [--watch]",
        _DESCRIPTION,
        _arguments,
        _status,
    )
}
