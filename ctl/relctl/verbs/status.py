"""`relctl status`: what each release is doing, once or watched."""

from typing import Any, Final

from relctl.client import Client
from relctl.output import Output
from relctl.render import Object
from relctl.table import is_good, table, warnings
from relctl.verb import EXIT_DONE, EXIT_NOT_GOOD, Call, Parser, Verb, add_names
from relctl.watch import watch

INTERVAL: Final = 1.0
"""Seconds between two pictures of --watch."""


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases to show, in this order; all where none is named")
    parser.add_argument("--watch", action="store_true", help="show it again every second until Ctrl-C")


def _status(call: Call) -> int:
    with Client(call.address()) as client:
        if call.options.watch:
            return watch(call, client, INTERVAL, _show, _lines)
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
    out.lines(_lines(out, result.get("releases", [])))


def _lines(out: Output, releases: list[Object]) -> list[str]:
    return table(releases, out.width(), out.paint)


_DESCRIPTION = """\
One row a release. RESTARTS counts the automatic ones since the release was
first seen, in brackets those within the period of its restart limit. Notes say
what the columns cannot: when a restart is due, why a release is not running,
what waits for a restart, what a restart would boot.

Exit code 3 says that a release asked about is not running, or not well
(degraded counts as well, and so does a health that nobody asked to probe).
With no names it looks at the releases that are wanted up."""

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
