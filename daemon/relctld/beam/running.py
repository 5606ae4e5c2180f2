"""Which version a node runs, of all that say something of it.

who              says                                          and is wrong
release_handler  the version that is `current`, in memory      never: it was installed in this boot of the node
                 the version that is `permanent`, of RELEASES  where that file is another's, torn, or changed by hand
init             the release that was booted (script_id)       after a hot upgrade
relctld          what it started, or upgraded to since         after an install by somebody else

Rule: pure. What decides between them are the applications that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from relctld.beam.hybrid import shown


class Listed(NamedTuple):
    """A version that release_handler knows; `libraries`: "kernel-8.5" and so on, none where it made the entry up."""

    version: str
    status: str
    libraries: frozenset[str]


def running_version(
    booted: str | None, listed: Iterable[Listed], applications: Mapping[str, str], begun: str | None
) -> str | None:
    """The version that runs; None where nobody says one. `begun`: relctld's own word, `applications`: with versions."""
    entries = list(listed)
    by_status = {entry.status: entry for entry in reversed(entries)}
    if current := by_status.get("current"):
        return current.version
    permanent = by_status.get("permanent")
    if permanent is None:
        return begun or booted
    if permanent.version in (booted, begun):
        return permanent.version
    was = next((entry for entry in entries if entry.version == booted), None)
    if _agrees(permanent, applications) and not (was and _agrees(was, applications)):
        return shown(permanent.version)
    return begun or booted or permanent.version


def _agrees(entry: Listed, applications: Mapping[str, str]) -> bool:
    """Whether each of its applications that runs is of its version; not where it names none of them."""
    versions = dict(library.partition("-")[::2] for library in entry.libraries)
    shared = applications.keys() & versions.keys()
    return bool(shared) and all(applications[name] == versions[name] for name in shared)
