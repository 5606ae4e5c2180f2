"""Whether the running version can become another, before anything is touched; and if so, how.

`judge` takes a tarball, `judge_installed` a version that lies in the tree. Both ask the same of it: it is a version of
this release, whole, made for this machine and this ERTS, and a relup leads to it from the running version. Each answer
"no" is a PackageError of its own kind.

Rule: what is read of the tree is read by path, links followed: the caller looks with the eyes of its owner, on a
thread that may wait for a disk.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from relctld.beam.package.bootfile import check_boot
from relctld.beam.package.changes import Applications, Modules, applications, modules
from relctld.beam.package.placing import Placement, place
from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.package.relfile import Rel, read_rel, string, terms
from relctld.beam.package.relup import Relup, Script, faults, objects, read_relup, restarts_emulator
from relctld.beam.package.source import Source
from relctld.beam.package.tarball import Contents
from relctld.beam.package.tree import Tree
from relctld.beam.term.shown import shown
from relctld.core.spec import Flavour

# e_machine of ELF, for platform.machine(). Where it is not known, no file is refused for it.
MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "ppc64le": 21, "s390x": 22, "i686": 3, "armv7l": 40}
CLEAN = ("start_clean.rel", "no_dot_erlang.rel")
"""Of boots without the release's own applications."""
STARTS = ("vm.args", "vm.args.src", "env.sh")
"""Of releases/VERSION: what an upgrade does not read, and a start of the VM does: names, cookies, flags."""
_SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True)
class Package:
    """A version that the running one can become.

    `script` leads there from `running`, `back` from there to `running` (None: no hot way back). `relup` is that of
    this version, None where only the running one's leads here, downwards. `placement` is empty for what is installed.
    `next_start`: which of the files that only a start of the VM reads are others than those of `running`.
    """

    name: str
    version: str
    erts: str
    rel: Rel
    running: Rel
    relup: Relup | None
    script: Script
    back: Script | None
    applications: Applications
    modules: Modules
    placement: Placement
    next_start: tuple[str, ...]


def judge(contents: Contents, tree: Tree, running: str, wanted_name: str, flavour: Flavour, machine: str) -> Package:
    """A tarball against the tree; `running` is the version that the node runs, `machine` that of os.uname()."""
    version = version_in(contents, wanted_name)
    if version == running:
        raise PackageError(Kind.SAME_VERSION, f"{version} runs already")
    check_flavour(contents, version, flavour, wanted_name)
    check_machine(contents, MACHINES.get(machine))
    placement = place(contents, tree.root, version)
    return _judged(Source(tree.root, contents), tree, running, version, placement)


def judge_installed(tree: Tree, running: str, version: str) -> Package:
    """A version that is in the tree already."""
    if version == running:
        raise PackageError(Kind.SAME_VERSION, f"{version} runs already")
    if version not in tree.rels and version not in tree.damaged:
        found = ", ".join(tree.rels) or "none"
        raise PackageError(Kind.UNKNOWN_VERSION, f"{quoted(version)} is not installed (installed: {found})")
    return _judged(Source(tree.root, None), tree, running, version, Placement())


def _judged(source: Source, tree: Tree, running: str, version: str, placement: Placement) -> Package:
    before = tree.rel(running)
    after = tree.rel(version) if source.is_installed else rel_in(source, tree.name, version)
    if "sasl" not in before.applications:
        raise PackageError(
            Kind.NO_WAY, f"{running} runs without sasl, whose release_handler upgrades", "add sasl to the release"
        )
    relup, script, back = _ways(source, tree, running, version)
    _check_erts(before, after, script)
    check_complete(source, tree.flavour, before, after)
    if tree.flavour is Flavour.PLAIN and not source.has(f"releases/{version}/sys.config"):
        why = f"releases/{version}/sys.config is missing, and release_handler would take all configuration away"
        raise PackageError(Kind.INCOMPLETE, why, "lay it there, or beside the .rel for make_tar; `[].` will do")
    _check_script(source, after, script)
    installed, here, there = Source(tree.root, None), f"releases/{running}", f"releases/{version}"
    return Package(
        tree.name,
        version,
        after.erts,
        after,
        before,
        relup,
        script,
        back,
        applications(before, after),
        modules(before, after, installed, source, script),
        placement,
        tuple(name for name in STARTS if source.small(f"{there}/{name}") != installed.small(f"{here}/{name}")),
    )


# -- which version ---------------------------------------------------------------------------------


def version_in(contents: Contents, wanted: str | None) -> str:
    """The one version of this release (None: of whichever it is) in a tarball; of several, the one it would boot."""
    found: dict[str, str] = {}
    for path, data in contents.small.items():
        folder, file = posixpath.split(path)
        if file.endswith(".rel") and file not in CLEAN and folder.startswith("releases/"):
            rel = read_rel(data)
            if rel.version != posixpath.basename(folder):
                raise PackageError(Kind.DAMAGED, f"{path} is of version {rel.version}")
            found.setdefault(rel.version, rel.name)
    if not found:
        top = sorted({member.path.split("/")[0] for member in contents.members})[:_SHOWN]
        raise PackageError(
            Kind.NO_RELEASE,
            f"it holds no releases/VERSION/NAME.rel, but {', '.join(top) or 'nothing'}",
            "make it with `rebar3 tar`, or with mix and the release's step :tar",
        )
    own = [version for version, name in found.items() if wanted in (None, name)]
    if not own:
        raise PackageError(Kind.OTHER_RELEASE, f"it holds release {next(iter(found.values()))}, not {wanted}")
    if len(own) == 1:
        return own[0]
    boots = contents.small.get("releases/start_erl.data", b"").decode(errors="replace").split()[1:2]
    if boots and boots[0] in own:
        return boots[0]
    raise PackageError(Kind.NO_RELEASE, f"it holds several versions: {', '.join(own[:_SHOWN])}")


def rel_in(source: Source, name: str, version: str) -> Rel:
    """That of a version in a tarball; `version_in` found it by its name, and that its release is ours."""
    data = source.small(f"releases/{version}/{name}.rel")
    if data is None:
        raise PackageError(Kind.INCOMPLETE, f"releases/{version}/{name}.rel is missing")
    return read_rel(data)


def flavour_of(contents: Contents, version: str, name: str) -> Flavour:
    """Which tool made it, by a file that only that one writes."""
    paths = {member.path for member in contents.members}
    return next((flavour for flavour, file in _marks(version, name).items() if file in paths), Flavour.PLAIN)


def _marks(version: str, name: str) -> dict[Flavour, str]:
    return {
        Flavour.MIX: f"releases/{version}/env.sh",
        Flavour.DISTILLERY: f"releases/{version}/{name}.sh",
        Flavour.RELX: f"bin/{name}-{version}",
    }


def check_flavour(contents: Contents, version: str, flavour: Flavour, name: str) -> None:
    """That it was made by the tool that is expected. Raises PackageError."""
    mark = _marks(version, name).get(flavour)
    if mark and mark not in {member.path for member in contents.members}:
        made = flavour_of(contents, version, name)
        by = f"; it is a {made} release" if made is not Flavour.PLAIN else ""
        raise PackageError(Kind.OTHER_FLAVOUR, f"it is no {flavour} release of {name}: {mark} is missing{by}")


def check_machine(contents: Contents, ours: int | None) -> None:
    """Raises PackageError. Of an ERTS and of each application that has ELF files, at least one is for this machine."""
    units: dict[str, dict[int, str]] = {}
    for path, machine in contents.machines.items():
        depth = 2 if path.startswith("lib/") else 1
        units.setdefault("/".join(path.split("/")[:depth]), {})[machine] = path
    for machines in units.values():
        if ours is not None and ours not in machines:
            machine, path = next(iter(machines.items()))
            known = {number: name for name, number in MACHINES.items()}
            theirs = known.get(machine, f"another machine ({machine})")
            raise PackageError(Kind.WRONG_MACHINE, f"{path} is for {theirs}, this host is {known[ours]}")


# -- the way there ---------------------------------------------------------------------------------


def _ways(source: Source, tree: Tree, running: str, version: str) -> tuple[Relup | None, Script, Script | None]:
    """Its relup, the script that leads to it, the one that leads back; as release_handler looks for them."""
    relup = _relup(source, version)
    try:
        ours = _relup(Source(tree.root, None), running)
    except PackageError:  # of the installed version, which may be as it is while the new one's leads there
        ours = None
    there = _way(relup, running, ours, version)
    if there is not None:
        return relup, there, _way(ours, version, relup, running)
    if ours is not None and version in ours.ups:
        raise PackageError(
            Kind.NO_WAY,
            f"the relup of {running}, which runs, has a way up from {version}, but none down to it",
            f"only a restart brings {version} back; a relup has both ways where it is made for both",
        )
    if relup is None:
        raise PackageError(
            Kind.NO_RELUP,
            f"it has no relup, so nothing leads to it from {running}",
            f"make one from {running}: `relctl relup OLD NEW` writes it for two builds",
        )
    ways = ", ".join(relup.ups) or "no version"
    raise PackageError(
        Kind.NO_WAY, f"its relup leads from {ways}, not from {running}, which runs", f"make one from {running}"
    )


def _way(up: Relup | None, before: str, down: Relup | None, after: str) -> Script | None:
    found = up.ups.get(before) if up else None
    return found or (down.downs.get(after) if down else None)


def _relup(source: Source, version: str) -> Relup | None:
    data = source.small(f"releases/{version}/relup")
    if data is None:
        return None
    found = read_relup(data)
    if found.version != version:
        raise PackageError(Kind.BAD_RELUP, f"releases/{version}/relup is of version {found.version}")
    return found


def _check_script(source: Source, rel: Rel, script: Script) -> None:
    """What would fail in the node: late in the script, or before it but with the environment changed already."""
    wrong = [
        f"it reads {name} {version} from files" for step in objects(script)
        for name, version in [step.library] if rel.applications.get(name) != version
    ]  # fmt: skip
    wrong += faults(script)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise PackageError(Kind.BAD_RELUP, f"its relup cannot be carried out: {wrong[0]}{more}")
    for step in objects(script):
        folder = f"{rel.folder(step.library[0])}/ebin"
        there = source.beams(folder)
        missing = [module for module in step.modules if module not in there]
        if missing:
            raise PackageError(Kind.BAD_BEAM, f"its relup loads {folder}/{missing[0]}.beam, which is missing")


# -- what a boot needs -----------------------------------------------------------------------------


def _check_erts(before: Rel, after: Rel, script: Script) -> None:
    if before.erts != after.erts and not restarts_emulator(script):
        raise PackageError(
            Kind.OTHER_ERTS,
            f"it needs ERTS {after.erts}, {before.version} runs on {before.erts}, and its relup restarts no emulator",
            "build it with the Erlang/OTP of the running version",
        )


def check_complete(source: Source, flavour: Flavour, before: Rel | None, rel: Rel) -> None:
    """A cold boot of the version would find what it needs; what it has in common with `before` is not looked at."""
    needed = [f"releases/{rel.version}/start.boot"]
    if flavour is Flavour.RELX:
        needed.append(f"bin/{rel.name}-{rel.version}")
    if flavour is Flavour.PLAIN or (before and source.has(f"erts-{before.erts}/bin/erlexec")):
        needed.append(f"erts-{rel.erts}/bin/erlexec")
    needed += (f"{rel.folder(name)}/ebin/{name}.app" for name in rel.applications)
    missing = [path for path in needed if not source.has(path)]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise PackageError(Kind.INCOMPLETE, f"{missing[0]} is missing{more}", "build the release again")
    if flavour is Flavour.PLAIN and before and source.has(_vm_args(before)) and not source.has(_vm_args(rel)):
        why = f"{_vm_args(rel)} is missing, and {before.version} has one: its node would have no name, or another"
        raise PackageError(Kind.INCOMPLETE, why, "lay it there, or let systools:make_tar take it: {extra_files, …}")
    check_boot(source.small(needed[0]) or b"", rel)
    for name, version in rel.applications.items():
        if before is None or before.applications.get(name) != version:
            _check_application(source, rel, name)


def _vm_args(rel: Rel) -> str:
    return f"releases/{rel.version}/vm.args"


def _check_application(source: Source, rel: Rel, name: str) -> None:
    folder = f"{rel.folder(name)}/ebin"
    match terms(source.small(f"{folder}/{name}.app") or b"", f"{folder}/{name}.app"):
        case [("application", _, list(keys))]:
            known = {str(key[0]): key[1] for key in keys if isinstance(key, tuple) and len(key) == 2}
        case _:
            raise PackageError(Kind.DAMAGED, f"{folder}/{name}.app is damaged: it is no {{application, …}}")
    if (said := string(known.get("vsn", []))) != rel.applications[name]:
        raise PackageError(Kind.INCOMPLETE, f"{folder}/{name}.app is of version {quoted(said or '')}")
    listed = known.get("modules", [])
    there = source.beams(folder)
    missing = [item for item in listed if item not in there] if isinstance(listed, list) else []
    if missing:
        path = f"{folder}/{shown(missing[0], 100)}.beam"
        raise PackageError(Kind.INCOMPLETE, f"{path} is missing", "build the release again")
