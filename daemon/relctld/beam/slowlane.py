"""What takes a node longer to tell: its applications, alarms and releases. Each is a call of its own.

Rule 1: as in `telemetry`: pure, total, bounded.
Rule 2: each question asks a process that may be busy or missing, with a timeout in the node, so that nothing waits
        there for ever, and a longer one of ours. release_handler is busy for all of install_release.
Rule 3: no module of sasl is named: where sasl is missing the answer is noproc, and no code path is searched for it.

Source: application(3); the requests that alarm_handler and release_handler (sasl) serve, from OTP 25 to 28.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from sys import intern
from typing import Final, NamedTuple

from relctld.beam.running import Listed, running_version
from relctld.beam.term.shown import shown, text
from relctld.beam.term.terms import Atom, Term

MOST_APPLICATIONS: Final = 500
MOST_RELEASES: Final = 100
MOST_ALARMS: Final = 100
LONGEST_ALARM: Final = 200  # characters


class Question(NamedTuple):
    """One call of the slow lane; `timeout`: seconds that its answer may take."""

    module: str
    function: str
    args: list[Term]
    timeout: float


SLOW: Final[dict[str, Question]] = {
    "applications": Question("application", "which_applications", [2000], 3.0),
    "alarms": Question(
        "gen_event", "call", [Atom("alarm_handler"), Atom("alarm_handler"), Atom("get_alarms"), 2000], 3.0
    ),
    "releases": Question("gen_server", "call", [Atom("release_handler"), Atom("which_releases"), 4000], 5.0),
    "booted": Question("init", "script_id", [], 3.0),
}
"""The questions of the slow lane by the field of `Slow` that answers them."""


class Application(NamedTuple):
    """A running application."""

    name: str
    version: str


class Installed(NamedTuple):
    """A release that release_handler knows; `status`: unpacked, current, permanent or old."""

    name: str | None
    version: str
    status: str


@dataclass(frozen=True, slots=True)
class Slow:
    """The answers of the slow lane; None for what the node could not tell (no sasl, a busy process).

    `booted`: the version of the boot script · `listed`: the releases once more, with their libraries.
    """

    applications: tuple[Application, ...] | None = None
    alarms: tuple[str, ...] | None = None
    releases: tuple[Installed, ...] | None = None
    booted: str | None = None
    listed: tuple[Listed, ...] = ()

    def version(self, begun: str | None) -> str | None:
        """The version that runs; `begun`: the one that relctld knows of."""
        applications = {each.name: each.version for each in self.applications or ()}
        return running_version(self.booted, self.listed, applications, begun)


def decode_slow(answers: Mapping[str, Term], before: Slow | None = None) -> Slow:
    """The answers of the slow lane that came, by their key in SLOW. What was not answered stands as it was `before`."""
    known = before or Slow()
    return Slow(
        _applications(answers["applications"]) if "applications" in answers else known.applications,
        _alarms(answers["alarms"]) if "alarms" in answers else known.alarms,
        _releases(answers["releases"]) if "releases" in answers else known.releases,
        _booted(answers["booted"]) if "booted" in answers else known.booted,
        _listed(answers["releases"]) if "releases" in answers else known.listed,
    )


def _applications(term: object) -> tuple[Application, ...] | None:
    if not isinstance(term, list):
        return None
    told = (item for item in islice(term, MOST_APPLICATIONS) if _is_named(item, 3))
    return tuple(Application(intern(text(name) or ""), intern(text(version) or "")) for name, _, version in told)


def _alarms(term: object) -> tuple[str, ...] | None:
    if not isinstance(term, list):
        return None  # {error, bad_module}: the node has an alarm handler of its own
    return tuple(shown(alarm, LONGEST_ALARM) for alarm in islice(term, MOST_ALARMS))


def _releases(term: object) -> tuple[Installed, ...] | None:
    if not isinstance(term, list):
        return None
    found = []
    for item in islice(term, MOST_RELEASES):
        match item:
            case (name, version, _, Atom() as status) if text(version):
                found.append(Installed(text(name) or None, text(version) or "", text(status) or ""))
    return tuple(found)


def _booted(term: object) -> str | None:
    return text(term[1]) if isinstance(term, tuple) and len(term) == 2 else None


def _listed(term: object) -> tuple[Listed, ...]:
    found = []
    for item in islice(term, MOST_RELEASES) if isinstance(term, list) else ():
        match item:
            case (_, version, list(libraries), Atom() as status) if named := text(version):
                known = (text(library) for library in islice(libraries, MOST_APPLICATIONS))
                found.append(Listed(named, str(status), frozenset(intern(library) for library in known if library)))
    return tuple(found)


def _is_named(item: object, size: int) -> bool:
    return isinstance(item, tuple) and len(item) == size and isinstance(item[0], Atom)
