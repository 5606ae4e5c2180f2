"""`status` asked again and again, and drawn over itself on a terminal: `status --watch` and `top`.

Rule 1: a daemon that goes away is waited for; what stands on the screen meanwhile says how old it is.
"""

import time
from collections.abc import Callable
from typing import Any

from relctl.client import Client, Follower
from relctl.output import Output, terminal_size
from relctl.render import Object, clean, duration
from relctl.table import counts, warnings
from relctl.verb import EXIT_DONE, Call

Show = Callable[[Output, dict[str, Any]], None]
Lines = Callable[[Output, list[Object]], list[str]]


def watch(call: Call, client: Client, interval: float, show: Show, lines: Lines) -> int:
    """Until Ctrl-C, every `interval` seconds: `lines` of the releases in a picture, or, off a terminal, `show`."""
    drawn = call.out.draws
    follower = Follower(client, _in_picture if drawn else call.out.note)
    picture, height = _Picture(lines), 0
    try:
        while True:
            began = time.monotonic()
            result = follower.ask("status", {"names": call.names})
            if drawn:
                height = _redraw(call.out, picture.lines(call.out, result, follower.away), height)
            elif result is not None:
                show(call.out, result)
            if not call.out.pause(interval - (time.monotonic() - began)):
                return EXIT_DONE
    except KeyboardInterrupt:
        return EXIT_DONE


def _head(daemon: Object, releases: list[Object]) -> str:
    """The line above a picture."""
    return f"relctld {clean(daemon.get('version', '?'))}, pid {daemon.get('pid', '?')}: {counts(releases)}"


def _in_picture(_: str) -> None:
    """A drawn picture says itself that the daemon is away."""


class _Picture:
    """The lines on the screen: the latest table, and whether it is still true."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._result: dict[str, Any] = {}
        self._heard = time.monotonic()

    def lines(self, out: Output, result: dict[str, Any] | None, away: str) -> list[str]:
        if result is not None:
            self._result, self._heard = result, time.monotonic()
        daemon, releases = self._result.get("daemon", {}), self._result.get("releases", [])
        said = [out.paint(f"! {warning}", "yellow") for warning in warnings(daemon)]
        if away:
            silence = duration(time.monotonic() - self._heard)
            said = [
                out.paint(f"! {clean(away)}", "red"),
                out.paint(f"! what stands below is {silence} old", "red"),
            ]
        return [_head(daemon, releases), *said, "", *self._lines(out, releases)]


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
