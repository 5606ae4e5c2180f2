"""What a version changes: applications and modules, compared with the running one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relctld.beam.package.beamfile import Beam
from relctld.beam.package.relfile import Rel
from relctld.beam.package.relup import Script, booted, modules_loaded, modules_removed
from relctld.beam.package.source import Source


@dataclass(frozen=True, slots=True)
class Applications:
    """By name, with their versions; `changed` has (before, after). `unchanged`: the directories of all others."""

    added: Mapping[str, str]
    changed: Mapping[str, tuple[str, str]]
    removed: Mapping[str, str]
    unchanged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Modules:
    """Names of modules, sorted. `changed` are those whose code differs, wherever it was compiled.

    `native`: new or changed, and run native code when they are loaded. `forgotten`: changed or removed, and the script
    neither loads nor removes them, nor does a VM that it starts, so that their old code would run on. `protocols`:
    consolidated by Elixir in another way; they lie in releases/VSN, and no relup names them there.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    native: tuple[str, ...]
    forgotten: tuple[str, ...]
    protocols: tuple[str, ...]


def applications(before: Rel, after: Rel) -> Applications:
    """The difference of two versions' applications."""
    old, new = before.applications, after.applications
    return Applications(
        {name: version for name, version in new.items() if name not in old},
        {name: (old[name], version) for name, version in new.items() if old.get(name, version) != version},
        {name: version for name, version in old.items() if name not in new},
        tuple(f"{name}-{version}" for name, version in new.items() if old.get(name) == version),
    )


def modules(before: Rel, after: Rel, installed: Source, source: Source, script: Script) -> Modules:
    """The difference of their modules; `installed` has those of the running version. Raises PackageError."""
    apart = applications(before, after)
    old = _all(installed, before, [*apart.changed, *apart.removed])
    new = _all(source, after, [*apart.changed, *apart.added])
    changed = [name for name in new.keys() & old.keys() if new[name].md5 != old[name].md5]
    removed = old.keys() - new.keys()
    handled = {*modules_loaded(script), *modules_removed(script)}
    anew = booted(script, apart.changed)
    handled |= _all(installed, before, anew).keys() | _all(source, after, anew).keys()
    return Modules(
        added=_sorted(new.keys() - old.keys()),
        changed=_sorted(changed),
        removed=_sorted(removed),
        native=_sorted(name for name in new if new[name].is_native and (name not in old or name in changed)),
        forgotten=_sorted({*changed, *removed} - handled),
        protocols=_protocols(before, after, installed, source),
    )


def _all(source: Source, rel: Rel, names: Iterable[str]) -> dict[str, Beam]:
    found: dict[str, Beam] = {}
    for name in names:
        found |= source.beams(f"{rel.folder(name)}/ebin")
    return found


def _protocols(before: Rel, after: Rel, installed: Source, source: Source) -> tuple[str, ...]:
    old = installed.beams(f"releases/{before.version}/consolidated")
    new = source.beams(f"releases/{after.version}/consolidated")
    return _sorted(name for name in new if name not in old or old[name].md5 != new[name].md5)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
