"""What lies in a release's root: the versions, the files that choose one, what upgrades left behind.

Rule 1: all is read with the eyes of the tree's owner, and mended as that user, by descriptors (`upgrades.disk`).
Rule 2: what cannot be told for certain is not mended.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from relctld.beam import hybrid
from relctld.beam.flavour import NothingInstalled
from relctld.beam.layout import ReleaseError, start_erl, versions
from relctld.beam.package.tree import Tree
from relctld.core.spec import Flavour
from relctld.host import tree as files
from relctld.supervisor.doctor.findings import Finding, Kind, Mend, Severity
from relctld.supervisor.doctor.patient import Patient
from relctld.supervisor.upgrades import disk
from relctld.supervisor.upgrades.disk import STAGING, Ground, as_owner
from relctld.supervisor.upgrades.ledger import Luggage
from relctld.supervisor.upgrades.removing import spare
from relctld.supervisor.upgrades.site import KEPT

NEW_EMULATOR = hybrid.PREFIX
START_ERL = "releases/start_erl.data"
_EMPTY_SHOWN = 3


def examine(patient: Patient) -> Iterator[Finding]:
    """What is to be said of the tree. Blocks. Raises OSError, UnknownUserError, EnvFileError."""
    root = patient.spec.root
    try:
        recipe = patient.recipe()
    except NothingInstalled:
        yield patient.found(Kind.NOTHING_INSTALLED, f"{root} is missing or empty")
        return
    except ReleaseError as error:
        yield patient.found(Kind.RELEASE_DAMAGED, str(error), _start_erl_mend(patient, error))
        return
    if recipe.release is None:
        return  # what its `command` runs is no release that we know
    for warning in recipe.release.warnings:
        yield patient.found(Kind.RELEASE_DOUBTFUL, warning)
    release = recipe.release
    luggage = Luggage(str(release.root), release.flavour, release.name)
    ground = Ground(luggage, recipe.env, recipe.switch.gid if recipe.switch else None)
    tree = ground.tree()
    yield from _of_versions(patient, ground, tree)
    yield from _of_releases(patient, ground, tree)
    yield from _of_choice(patient, ground, tree)
    yield from _of_leftovers(patient, ground, tree)


def _of_versions(patient: Patient, ground: Ground, tree: Tree) -> Iterator[Finding]:
    with as_owner(tree.root):
        own_erlang = any(name.startswith("erts-") for name in os.listdir(tree.root))
    for version in dict.fromkeys([*tree.rels, *tree.damaged]):
        if version.startswith(NEW_EMULATOR):
            continue
        lacks = tree.damaged.get(version) or _lacks(tree, version, own_erlang=own_erlang)
        if lacks:
            severity = Severity.ERROR if version == tree.boot_version else None
            yield patient.found(Kind.VERSION_INCOMPLETE, f"version {version}: {lacks}", None, severity)
    kept = patient.spec.upgrade.keep_versions
    if free := spare(ground, tree, {patient.runs or ""}, kept):
        yield patient.found(Kind.VERSIONS_REMOVABLE, f"{', '.join(free)} may go: {kept} versions are to be kept")


def _lacks(tree: Tree, version: str, *, own_erlang: bool) -> str:
    """What of a version is not there, or empty; "" where it is whole. Erlang's own may be the host's."""
    rel = tree.rels[version]
    missing, empty = [], []
    with as_owner(tree.root):
        for application in rel.applications:
            folder = tree.root / rel.folder(application) / "ebin"
            if not folder.is_dir():
                missing.append(rel.folder(application))
                continue
            empty += [f"{rel.folder(application)}/ebin/{name}" for name in _empty(folder)]
    if missing and own_erlang:
        return f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
    if empty:
        more = f" and {len(empty) - _EMPTY_SHOWN} more" if len(empty) > _EMPTY_SHOWN else ""
        return f"{', '.join(empty[:_EMPTY_SHOWN])}{more} {'are' if len(empty) > 1 else 'is'} empty"
    return ""


def _empty(folder: Path) -> list[str]:
    with os.scandir(folder) as found:
        return sorted(e.name for e in found if e.name.endswith((".beam", ".app")) and e.stat().st_size == 0)


def _of_releases(patient: Patient, ground: Ground, tree: Tree) -> Iterator[Finding]:
    def mend() -> str:
        disk.rewrite_releases(ground)
        return f"wrote {ground.root}/{disk.RELEASES} anew"

    where = f"{ground.root}/{disk.RELEASES}"
    if tree.releases_fault:
        yield patient.found(Kind.RELEASES_TORN, f"{where}: {tree.releases_fault}", mend)
    elif tree.releases is None:
        yield patient.found(Kind.RELEASES_MISSING, f"there is no {where}", mend)
    elif invented := [e.version for e in tree.releases if not e.libraries and not e.version.startswith(NEW_EMULATOR)]:
        known = all(version in tree.rels for version in invented)
        yield patient.found(
            Kind.RELEASES_INVENTED, f"{where} has no libraries for {', '.join(invented)}", mend if known else None
        )


def _of_choice(patient: Patient, ground: Ground, tree: Tree) -> Iterator[Finding]:
    if tree.releases_fault:
        return  # told already; what it chose is not known
    chosen = disk.selects(tree)
    if chosen is None:
        says = {"bin" if tree.flavour is Flavour.RELX else "what boots": {tree.boot_version}}
        if tree.start_erl is not None:
            says["start_erl.data"] = {tree.start_erl[1]}
        if tree.releases is not None:
            says["RELEASES"] = {e.version for e in tree.releases if e.status == "permanent"}
        named = set().union(*says.values())
        wanted = patient.runs if patient.runs in named else tree.boot_version

        def mend() -> str:
            if (agreed := disk.selects(ground.tree())) is not None:
                return f"nothing to do: all of them name {agreed} by now"
            disk.select(ground, [wanted], wanted)
            return f"all of them name {wanted} now"

        detail = ", ".join(f"{file}: {' and '.join(sorted(found)) or 'none'}" for file, found in says.items())
        yield patient.found(Kind.BOOT_DISAGREES, detail, mend if wanted in tree.rels else None)
    elif patient.runs not in (None, chosen):
        yield patient.found(Kind.BOOTS_ANOTHER, f"it runs {patient.runs}, and would boot {chosen}")


def _of_leftovers(patient: Patient, ground: Ground, tree: Tree) -> Iterator[Finding]:
    root = ground.root
    if files.exists(root, STAGING):
        yield patient.found(Kind.LEFTOVER_UNPACKED, f"{root}/{STAGING}", partial(_remove, root, [STAGING]))
    if files.exists(root, KEPT):
        missing = _not_replaced(root)
        lacks = f", and nothing took the place of {', '.join(missing[:_EMPTY_SHOWN])}" if missing else ""
        mend = None if missing else partial(_remove, root, [KEPT])
        yield patient.found(Kind.LEFTOVER_KEPT, f"{root}/{KEPT}{lacks}", mend)
    for version in (*tree.rels, *tree.damaged):
        if files.exists(root, disk.kept_config(version)):
            detail = f"{root}/{disk.kept_config(version)}"
            yield patient.found(Kind.LEFTOVER_CONFIG, detail, partial(_put_back, ground, version))
    with as_owner(root):
        there = sorted(os.listdir(root / "releases"))
    remains = [f"releases/{name}" for name in there if name.startswith(NEW_EMULATOR) or name == "new_start_erl.data"]
    listed = frozenset(e.version for e in tree.releases or () if e.version.startswith(NEW_EMULATOR))
    if remains or listed:
        runs = patient.runs or ""
        mend = None if runs.startswith(NEW_EMULATOR) else partial(_remove_emulator, ground, remains, listed)
        yield patient.found(Kind.LEFTOVER_EMULATOR, ", ".join([*remains, *(f"{v} in RELEASES" for v in listed)]), mend)
    for name in there:
        if name.endswith((".tar.gz", ".tgz")):
            yield patient.found(Kind.LEFTOVER_TARBALL, f"{root}/releases/{name}")


def _not_replaced(root: Path) -> list[str]:
    """The damaged files that were set aside and are the only ones of their name."""
    with as_owner(root):
        kept = [Path(folder, name) for folder, _, names in os.walk(root / KEPT) for name in names]
        paths = [path.relative_to(root / KEPT) for path in kept]
        return sorted(str(path) for path in paths if not os.path.lexists(root / path))


def _remove(root: Path, paths: list[str]) -> str:
    for path in paths:
        files.remove(root, path)
    return f"removed {', '.join(paths)}"


def _put_back(ground: Ground, version: str) -> str:
    disk.put_back(ground, version)
    return f"put back releases/{version}/sys.config"


def _remove_emulator(ground: Ground, remains: list[str], listed: frozenset[str]) -> str:
    done = _remove(ground.root, remains) if remains else "nothing to remove"
    if not listed:
        return done
    disk.rewrite_releases(ground, without=listed)
    return f"{done}; RELEASES written without {', '.join(sorted(listed))}"


def _start_erl_mend(patient: Patient, error: ReleaseError) -> Mend | None:
    """Where start_erl.data is all that is amiss, and it is certain which version it named."""
    root = patient.spec.root
    if START_ERL not in str(error):
        return None
    with as_owner(root):
        found = versions(root)
    certain = [version for version in found if version.version == patient.runs] or found
    if len(certain) != 1 or certain[0].erts is None:
        return None
    text = f"{certain[0].erts} {certain[0].version}"

    def mend() -> str:
        with contextlib.suppress(ReleaseError):
            with as_owner(root):
                start_erl(root / START_ERL)
            return "it is whole by now"
        files.write(root, START_ERL, f"{text}\n".encode(), 0o644)
        return f'wrote "{text}" into {root}/{START_ERL}'

    return mend
