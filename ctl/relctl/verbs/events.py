"""`relctl events`: what happened, from the daemon's store, and what happens.

The store is the only source of what is shown; notices only say when to ask it again. So the order is the store's,
and nothing is missed or shown twice around the subscription or a restart of the daemon.
"""

from typing import Any, Final

from relctl.client import Client, Follower, Notices
from relctl.output import Output
from relctl.render import event_line
from relctl.values import moment
from relctl.verb import EXIT_DONE, Call, Parser, Verb, add_names

LATEST: Final = 100
"""Events shown where --since is not given."""
PAGE: Final = 1000
"""Events asked for at once."""
PATIENCE: Final = 1.0
"""Seconds after which the store is asked even though no notice came: one may be lost."""


def _arguments(parser: Parser) -> None:
    add_names(parser, "only events of these releases")
    parser.add_argument("-f", "--follow", action="store_true", help="show what happens, until Ctrl-C")
    parser.add_argument(
        "--since",
        type=moment,
        metavar="T",
        help="from this time on: RFC 3339, or so long ago, such as 10m (the last 100)",
    )


def _events(call: Call) -> int:
    with Client(call.address()) as client:
        notices = client.subscribe(call.names) if call.options.follow else None
        follower = Follower(client, call.out.note)
        reader = Reader(follower, call.names, call.options.since)
        try:
            _show(call.out, reader)
            while notices is not None and _wait(call.out, notices, follower):
                _show(call.out, reader)
        except KeyboardInterrupt:
            if not call.options.follow:
                raise
    return EXIT_DONE


def _show(out: Output, reader: "Reader") -> None:
    while events := reader.next_page():
        if out.json:
            for event in events:
                out.object(event)
        else:
            out.lines(event_line(event, out.paint) for event in events)


def _wait(out: Output, notices: Notices, follower: Follower) -> bool:
    if follower.away:
        return out.pause(PATIENCE)
    notices.wait(PATIENCE)
    return out.pause(0)


class Reader:
    """Reads the store page by page, each event once."""

    def __init__(self, follower: Follower, names: list[str], since: str | None) -> None:
        self._follower = follower
        self._args: dict[str, Any] = {"names": names, "limit": PAGE if since else LATEST}
        if since:
            self._args["since"] = since
        self._last = -1

    def next_page(self) -> list[dict[str, Any]]:
        """The next events, oldest first; none when there are no more now, or the daemon is away."""
        reply = self._follower.ask("events", self._args)
        if reply is None:
            return []
        events = [event for event in reply.get("events", []) if event.get("seq", 0) > self._last]
        full = len(reply.get("events", [])) >= self._args["limit"]
        last = events[-1].get("seq", 0) if events and full else reply.get("last", 0)
        self._last = max(self._last, last, *(event.get("seq", 0) for event in events))
        self._args = {"names": self._args["names"], "limit": PAGE, "after": self._last}
        return events


_DESCRIPTION = """\
Starts, exits with their causes, changes of health, operators' commands and who
gave them: one line an event, oldest first, with its time in UTC. Without
--since the last 100 are shown.

-f shows what happens until Ctrl-C, with exit code 0; when relctld restarts it
waits for it, and shows what happened meanwhile."""

VERBS = {
    "events": Verb(
        "events",
        "Show what happened to releases, and what happens",
        "[RELEASE...] [-f] [--since T]",
        _DESCRIPTION,
        _arguments,
        _events,
    )
}
