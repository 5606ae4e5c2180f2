"""The order in which systools takes a release's applications: that of the .rel, each behind what it needs.

Source: OTP's systools_make:sort_appls/1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.relups.appfile import App


def sorted_applications(listed: Sequence[str], apps: Mapping[str, App]) -> list[str]:
    """The names in that order. Raises PackageError where an application needs one that is not there, or itself."""
    found: list[str] = []

    def take(name: str, above: tuple[str, ...], of: str) -> None:
        if name in found:
            return
        if name in above:
            raise PackageError(Kind.INCOMPLETE, f"the applications {', '.join(above)} need each other")
        if name not in apps:
            raise PackageError(Kind.INCOMPLETE, f"{of} needs the application {name}, which the release lacks")
        app = apps[name]
        for other in [*_in_order(app.uses, listed), *_in_order(app.includes, listed)]:
            needed = other in apps or other not in app.optional
            if needed and not (other in apps and name in apps[other].includes):
                take(other, (*above, name), name)
        found.append(name)

    for name in listed:
        take(name, (), name)
    return found


def _in_order(names: Sequence[str], listed: Sequence[str]) -> list[str]:
    place = {name: at for at, name in enumerate(listed)}
    return sorted(names, key=lambda name: place.get(name, len(place)))
