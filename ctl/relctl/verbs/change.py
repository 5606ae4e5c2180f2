"""`relctl start`, `stop`, `restart`: ask for it, wait until it is true, say what became of each release."""

import time

from relctl.client import Client
from relctl.errors import CannotError, TimeUpError, UsageError
from relctl.render import Object, duration
from relctl.tally import Tally
from relctl.values import duration as duration_of
from relctl.verb import Call, Parser, Verb, add_names, need_names

LAST_LOOK = 2.0
"""Seconds that the last question may take: what is it doing now that we wait no longer?"""


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases; all names are checked before anything is done")
    parser.add_argument("--all", action="store_true", help="every release there is")
    parser.add_argument("--no-wait", action="store_true", help="return when it is accepted, not when it is true")
    parser.add_argument("--timeout", type=duration_of, metavar="D", help="wait so long at most, such as 30s or 2m")


def _change(call: Call) -> int:
    began, options = time.monotonic(), call.options
    _check(call)
    tally = Tally(call.verb, call.names, call.out)
    args = {"names": call.names, "all": options.all, "wait": not options.no_wait}
    deadline = None if options.timeout is None else began + options.timeout
    try:
        with Client(call.address()) as client:
            try:
                reply = client.ask(call.verb, args, deadline=deadline, on_progress=tally.hear, tick=tally.tick)
                tally.finish(reply.get("results", []))
            except (TimeUpError, KeyboardInterrupt) as end:
                how = "interrupted after" if isinstance(end, KeyboardInterrupt) else "not done in"
                fate = "the operation goes on" if tally.heard else "relctld has not said yet that it heard of it"
                tally.give_up(f"{how} {duration(time.monotonic() - began)}, {fate}", _look(client, call.names))
    except CannotError as error:
        tally.refuse(error)
    return tally.code


def _check(call: Call) -> None:
    if call.options.all and call.names:
        raise UsageError("releases are named, and --all is given too", f"relctl help {call.verb}")
    if not call.options.all:
        need_names(call)
    if call.options.no_wait and call.options.timeout is not None:
        raise UsageError("--timeout limits the waiting, and --no-wait does not wait", f"relctl help {call.verb}")


def _look(client: Client, names: list[str]) -> list[Object]:
    """The releases as they are now; none where even that is not answered."""
    try:
        reply = client.ask("status", {"names": names}, deadline=time.monotonic() + LAST_LOOK)
    except (CannotError, KeyboardInterrupt):
        return []
    releases: list[Object] = reply.get("releases", [])
    return releases


_WAITING = """
Progress is shown on a terminal. --timeout and Ctrl-C end the waiting only: the
operation goes on, and the exit code is 1. With several releases the worst end
gives the exit code: failed (1), then refused (5)."""

_START = """\
Returns when the release runs and is ready, or at its first failed boot, with
the cause; supervision goes on. A release that failed gets a new chance: its
counters are cleared. Starting what runs changes nothing and is no error."""

_STOP = """\
Returns when nothing of the release is left: no VM, no port program. It stays
stopped, across reboots too, until it is started. Stopping what is stopped
changes nothing and is no error."""

_RESTART = """\
Stops the release, then starts it as `start` does; one that is stopped is
started."""


def _verb(name: str, summary: str, description: str) -> Verb:
    usage = "(RELEASE... | --all) [--no-wait | --timeout D]"
    return Verb(name, summary, usage, f"{description}\n{_WAITING}", _arguments, _change)


VERBS = {
    "start": _verb("start", "Start releases, and keep them running", _START),
    "stop": _verb("stop", "Stop releases, and keep them stopped", _STOP),
    "restart": _verb("restart", "Stop and start releases", _RESTART),
}
