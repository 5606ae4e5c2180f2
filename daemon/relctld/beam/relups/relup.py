"""From two builds to the files that lead from one to the other.

    NEW/lib/APP-VSN/ebin/APP.appup     of each application that changed and has none
    NEW/releases/VSN/relup             up from OLD, and down to it

An appup that somebody wrote by hand is used as it stands, and never replaced.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from relctld.beam.package.changes import Applications, applications
from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.package.relup import Script
from relctld.beam.relups import appup as appups
from relctld.beam.relups.appfile import App, is_ours, made_file, read_app, read_appup
from relctld.beam.relups.appup import Scripts
from relctld.beam.relups.builds import Build
from relctld.beam.relups.order import sorted_applications
from relctld.beam.relups.pair import Pair
from relctld.beam.relups.rules import Change, Surroundings, change_of, doubts
from relctld.beam.relups.translate import Library, Way, translate
from relctld.beam.term.terms import Atom

_EMULATOR = ("kernel", "stdlib", "sasl")  # what no running VM changes
_CHANGES = {Change.LOAD, Change.SOFT, Change.UPDATE, Change.SUPERVISOR}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A module that nobody should change by rule, and why."""

    application: str
    module: str
    why: str


class UndecidedError(PackageError):
    """There is no safe way by the rules alone; `doubts` has each reason."""

    def __init__(self, found: tuple[Doubt, ...]) -> None:
        first, more = found[0], f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        super().__init__(
            Kind.NO_RELUP,
            f"{first.module} of {first.application}: {first.why}{more}",
            f"write an appup for {first.application}, say --as {first.module}=INSTRUCTION, "
            f"or --restart {first.application}",
        )
        self.doubts = found


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator decides: instructions for modules, applications to restart, that ours replace theirs, and
    that there is no way back.
    """

    changes: Mapping[str, Change] = field(default_factory=dict)
    restarts: frozenset[str] = frozenset()
    force: bool = False
    up_only: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What was made. `files` by path below NEW's root; `made` and `kept` are applications, by where the appup is from.

    `down` is None where there is no way back: none is wanted, or an appup of theirs has none.
    """

    files: Mapping[str, bytes]
    made: tuple[str, ...]
    kept: tuple[str, ...]
    applications: Applications
    changes: Mapping[str, Change]
    up: Script
    down: Script | None


def make(old: Build, new: Build, wishes: Wishes) -> Made:
    """Raises PackageError; UndecidedError where only its rules are in the way."""
    return _Making(old, new, wishes).made()


class _Making:
    def __init__(self, old: Build, new: Build, wishes: Wishes) -> None:
        self._old, self._new, self._wishes = old, new, wishes
        _check_releases(old, new)
        self._apart = applications(old.rel, new.rel)
        self._before = {name: _app(old, name) for name in old.rel.applications}
        self._after = {name: _app(new, name) for name in new.rel.applications}
        self._changes: dict[str, Change] = {}
        self._doubts: list[Doubt] = []

    def made(self) -> Made:
        _check_same(self._old, self._new)
        self._check_relup()
        given = {name: self._given(name) for name in self._apart.changed}
        wanted = [name for name, scripts in given.items() if scripts is None]
        own = [name for name in wanted if name not in _EMULATOR]
        if unknown := sorted(self._wishes.restarts.difference(own)):
            raise PackageError(Kind.BAD_RELUP, f"--restart {unknown[0]}: no appup is to be made for it")
        found = self._scripts(wanted)
        self._check_moved()
        unused = sorted(self._wishes.changes.keys() - self._changes.keys())
        if unused:
            raise PackageError(Kind.BAD_RELUP, f"--as {unused[0]}: no appup that is to be made has that module")
        if self._doubts:
            raise UndecidedError(tuple(self._doubts))
        files = {f"{_ebin(self._new, name)}/{name}.appup": self._appup(name, found[name]) for name in own}
        scripts = {name: found.get(name) or given[name] for name in self._apart.changed}
        up, down = self._relup({name: each for name, each in scripts.items() if each is not None})
        version, before = self._new.rel.version, self._old.rel.version
        downs: list[Any] = [] if down is None else [(_text(before), [], down)]
        of = f"{self._new.rel.name} {before} to {version}"
        files[f"releases/{version}/relup"] = made_file(version, [(_text(before), [], up)], downs, of)
        return Made(
            files,
            tuple(own),
            tuple(name for name, scripts in given.items() if scripts is not None),
            self._apart,
            self._changes,
            Script(version, "", tuple(up)),
            None if down is None else Script(before, "", tuple(down)),
        )

    # -- appups ------------------------------------------------------------------------------------

    def _given(self, name: str) -> Scripts | None:
        """Those of an appup that is there, for this version; None where one is to be made."""
        path = f"{_ebin(self._new, name)}/{name}.appup"
        data = self._new.small(path)
        if data is None or is_ours(data):
            return None
        before, after = self._apart.changed[name]
        found = read_appup(data, path)
        up, down = found.up(before), found.down(before)
        if up is not None:
            return Scripts(up, down)
        if self._wishes.force or name in _EMULATOR:
            return None
        raise PackageError(
            Kind.NO_WAY,
            f"{path} leads to {after}, but not from {before}",
            "add that way to it; --force makes one in its place",
        )

    def _scripts(self, wanted: Iterable[str]) -> dict[str, Scripts]:
        """For each application that has no appup; what may not be decided for it is noted."""
        found = {name: appups.new_emulator() for name in wanted if name in _EMULATOR}
        found |= {name: appups.restarted(name) for name in wanted if name in self._wishes.restarts}
        pairs = {name: Pair(name, self._old, self._new) for name in wanted if name not in found}
        for name, pair in pairs.items():
            _check_whole(self._old, self._before[name], pair.before)
            _check_whole(self._new, self._after[name], pair.after)
        structs = {module for pair in pairs.values() for module in pair.structs()}
        apps = [*self._before.values(), *self._after.values()]
        released = frozenset(module for app in apps for module in app.modules)
        around = Surroundings(frozenset(structs), released, back=not self._wishes.up_only)
        for name, pair in pairs.items():
            changes = {module: self._change(name, module, pair, around) for module in pair.apart()}
            self._changes |= changes
            found[name] = appups.scripts(changes, pair.before, pair.after)
        if self._wishes.up_only:
            return {name: replace(each, down=None) for name, each in found.items()}
        return found

    def _change(self, name: str, module: str, pair: Pair, around: Surroundings) -> Change:
        before, after = pair.before.get(module), pair.after.get(module)
        own, usual = self._wishes.changes.get(module), change_of(before, after)
        if own is None:
            why = doubts(before, after, around, lambda: pair.records(module))
            self._doubts += (Doubt(name, module, each) for each in why)
        elif own is not usual and not {own, usual} <= _CHANGES:
            raise PackageError(Kind.BAD_RELUP, f"--as {module}={own}: it is not in both builds, so {usual} is meant")
        elif own is Change.UPDATE and after and not after.has_code_change:
            raise PackageError(Kind.BAD_RELUP, f"--as {module}={own}: it has no code_change", "soft needs none")
        return own or usual

    def _appup(self, name: str, scripts: Scripts) -> bytes:
        before, after = self._apart.changed[name]
        ups = [(_text(before), scripts.up)]
        downs = [] if scripts.down is None else [(_text(before), scripts.down)]
        return made_file(after, ups, downs, f"{name} {before} to {after}")

    # -- the relup ---------------------------------------------------------------------------------

    def _relup(self, scripts: Mapping[str, Scripts]) -> tuple[list[Any], list[Any] | None]:
        """As systools:make_relup: applications added, then changed, then removed; the emulator before all."""
        order = [name for name in sorted_applications(list(self._after), self._after) if name in scripts]
        emulator = [[Atom("restart_new_emulator")]] if self._old.rel.erts != self._new.rel.erts else []
        added = [_added(name, self._new) for name in self._apart.added]
        removed = [[(Atom("remove_application"), Atom(name))] for name in self._apart.removed]
        ups = [*emulator, *added, *(scripts[name].up for name in order), *removed]
        there, here = _libraries(self._after, self._new), _libraries(self._before, self._old)
        up = translate(Way.UP, ups, there, here)
        ways_back = [scripts[name].down for name in order]
        if self._wishes.up_only or None in ways_back:
            return up, None
        back = [_added(name, self._old) for name in self._apart.removed]
        gone = [[(Atom("remove_application"), Atom(name))] for name in self._apart.added]
        downs = [*emulator, *back, *(script for script in ways_back if script is not None), *gone]
        return up, translate(Way.DOWN, downs, here, there)

    # -- checks ------------------------------------------------------------------------------------

    def _check_relup(self) -> None:
        path = f"releases/{self._new.rel.version}/relup"
        data = self._new.small(path)
        if data is not None and not is_ours(data) and not self._wishes.force:
            raise PackageError(Kind.BAD_RELUP, f"{path} is there already", "--force makes one in its place")

    def _check_moved(self) -> None:
        """A module that goes from one application to another would be removed and added at once."""
        homes = {module: name for name, app in self._before.items() for module in app.modules}
        for name, app in self._after.items():
            for module in app.modules:
                if homes.get(module, name) != name:
                    why = f"it was a module of {homes[module]}: no appup can say that it moved"
                    self._doubts.append(Doubt(name, module, why))


def _check_releases(old: Build, new: Build) -> None:
    before, after = old.rel, new.rel
    if before.name != after.name:
        raise PackageError(Kind.OTHER_RELEASE, f"{new.path} holds release {after.name}, {old.path} holds {before.name}")
    if before.version == after.version:
        raise PackageError(Kind.SAME_VERSION, f"both are version {after.version}", "raise the version of the release")
    for rel in (before, after):
        if "sasl" not in rel.applications:
            raise PackageError(
                Kind.NO_WAY, f"{rel.version} is without sasl, whose release_handler upgrades", "add sasl to the release"
            )


def _check_same(old: Build, new: Build) -> None:
    """What has the same version is the same: release_handler keeps the files that are there."""
    for name, version in new.rel.applications.items():
        folder = new.rel.folder(name)
        if old.rel.applications.get(name) != version:
            continue
        ours, theirs = old.names(folder), frozenset(new.names(folder))
        if not ours or not theirs:  # on the host's own Erlang
            continue
        apart = sorted(path for path in {*ours} ^ {*theirs} if path.endswith((".beam", ".app")))
        apart += [path for path in ours if path in theirs and old.digest(path) != new.digest(path)]
        if apart:
            raise PackageError(
                Kind.OTHER_CONTENT,
                f"{apart[0]} differs, and both builds have {name} {version}",
                f"raise the version of {name}",
            )


def _app(build: Build, name: str) -> App:
    path = f"{_ebin(build, name)}/{name}.app"
    data = build.small(path)
    if data is None:
        raise PackageError(Kind.INCOMPLETE, f"{path} is missing in {build.path}", "build the release again")
    found = read_app(data, path)
    if found.version != (wanted := build.rel.applications[name]):
        why = f"{path} in {build.path} is of version {quoted(found.version)}, and its .rel lists {wanted}"
        raise PackageError(Kind.INCOMPLETE, why, "build the release again")
    return found


def _check_whole(build: Build, app: App, there: Container[str]) -> None:
    """That each module of an application is there that it lists."""
    if missing := [module for module in app.modules if module not in there]:
        why = f"{_ebin(build, app.name)}/{missing[0]}.beam is missing in {build.path}"
        raise PackageError(Kind.INCOMPLETE, why, "build the release again")


def _ebin(build: Build, name: str) -> str:
    return f"{build.rel.folder(name)}/ebin"


def _added(name: str, build: Build) -> list[Any]:
    return [(Atom("add_application"), Atom(name), Atom(build.rel.types.get(name, "permanent")))]


def _libraries(apps: Mapping[str, App], build: Build) -> list[Library]:
    types = build.rel.types
    versions = build.rel.applications
    return [Library(name, versions[name], app.modules, types.get(name, "permanent")) for name, app in apps.items()]


def _text(text: str) -> list[int]:
    return [ord(char) for char in text]
