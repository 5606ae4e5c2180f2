"""`relctl top`: the vital signs of the nodes, live."""

from functools import partial
from typing import Any, Final

from relctl import values
from relctl.client import Client
from relctl.errors import UsageError
from relctl.output import Output
from relctl.render import Object
from relctl.table import warnings
from relctl.verb import EXIT_DONE, Call, Parser, Verb, add_names
from relctl.vitals import SORTS, arranged, vitals
from relctl.watch import watch

INTERVAL: Final = 2.0
SHORTEST: Final = 0.1
"""Seconds between two pictures."""


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases to show; all where none is named")
    known = ", ".join(SORTS)
    parser.add_argument("--sort", choices=SORTS, metavar="BY", default="cpu", help=f"{known}; cpu if not given")
    parser.add_argument("--once", action="store_true", help="show it once, also where there is no terminal")
    parser.add_argument(
        "--interval", type=values.duration, metavar="D", default=INTERVAL, help="time between two pictures, 2s"
    )


def _top(call: Call) -> int:
    by, interval = call.options.sort, call.options.interval
    if interval < SHORTEST:
        raise UsageError("--interval is too short: at least 100ms", "relctl help top")
    with Client(call.address()) as client:
        if not call.options.once:
            return watch(call, client, interval, partial(_show, by), partial(_lines, by))
        _show(by, call.out, client.ask("status", {"names": call.names}))
    return EXIT_DONE


def _show(by: str, out: Output, result: dict[str, Any]) -> None:
    releases = result.get("releases", [])
    if out.json:
        for release in arranged(releases, by):
            out.object(release)
        return
    for warning in warnings(result.get("daemon", {})):
        out.note(f"warning: {warning}")
    out.lines(_lines(by, out, releases))


def _lines(by: str, out: Output, releases: list[Object]) -> list[str]:
    return vitals(arranged(releases, by), out.width(), out.paint)


_DESCRIPTION = """\
One row a node, the busiest first, drawn anew every two seconds until Ctrl-C.
CPU% (of one core) and RSS are the operating system's; the other numbers are
the node's own: BEAM is all the memory it knows of, RUNQ the processes ready to
run, PROC% and ATOM% the parts of their limits that are used, REDS/s its work
in reductions, NODES the visible nodes that it is connected to. A number behind
a threshold is marked with !, and a note says which; so do notes of alarms, and
of a node without a link, of which only the system's numbers are known. A
narrow terminal leaves out columns.

With --json each release is an object on a line of its own, as in `status
--json`; without --once they come again and again."""

VERBS = {
    "top": Verb(
        "top",
        "Show the vital signs of the nodes, live",
        "[RELEASE...] [--sort BY] [--once] [--interval D]",
        _DESCRIPTION,
        _arguments,
        _top,
    )
}
