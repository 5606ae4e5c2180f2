"""Whether a version can be started in a root: nothing leads there but the end of a VM and the start of another.

What `judge` asks, but for the relup: it is a version of this release, whole, made for this machine; what of it lies in
the root already is the same, or damaged and to be mended. The root may be missing, empty, or hold nothing that boots.

Rule: what is read of the tree is read by path, links followed: the caller looks with the eyes of its owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relctld.beam.package.changes import Applications, applications
from relctld.beam.package.judge import (
    CLEAN,
    MACHINES,
    check_complete,
    check_flavour,
    check_machine,
    flavour_of,
    rel_in,
    version_in,
)
from relctld.beam.package.placing import Mending, Placement, place
from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.package.relfile import Rel, read_rel
from relctld.beam.package.source import Source
from relctld.beam.package.tarball import Contents
from relctld.beam.package.tree import Tree
from relctld.core.spec import Flavour


@dataclass(frozen=True, slots=True)
class Place:
    """Where a version is to arrive. `tree`: what is installed; None: nothing that could boot.

    `name`, `flavour`: what the config says of the release, where it does; `machine`: that of os.uname().
    """

    root: Path
    tree: Tree | None
    name: str | None
    flavour: Flavour | None
    machine: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A version that can be started. `before`: what a boot brings now; None where nothing does, or nobody knows."""

    name: str
    version: str
    flavour: Flavour
    rel: Rel
    before: Rel | None
    placement: Placement

    @property
    def applications(self) -> Applications:
        """What differs from the version before."""
        return applications(self.before or Rel(self.name, "", "", {}), self.rel)


def judge_arrival(contents: Contents, to: Place, *, at_rest: bool, known: bool) -> Arrival:
    """A tarball against a root. `at_rest`, `known`: as in `placing.Mending`. Raises PackageError."""
    tree = to.tree
    version = version_in(contents, tree.name if tree else to.name)
    name = tree.name if tree else _name_in(contents, version, to.name)
    flavour = tree.flavour if tree else to.flavour or flavour_of(contents, version, name)
    check_flavour(contents, version, flavour, name)
    check_machine(contents, MACHINES.get(to.machine))
    chooser = f"bin/{name}" if flavour is Flavour.RELX else ""
    placement = place(contents, to.root, version, Mending(chooser, at_rest=at_rest, known=known))
    return _judged(Source(to.root, contents), tree, name, version, flavour, placement)


def judge_present(tree: Tree, version: str) -> Arrival:
    """A version that is in the tree already. Raises PackageError."""
    if version not in tree.rels and version not in tree.damaged:
        found = ", ".join(tree.rels) or "none"
        raise PackageError(Kind.UNKNOWN_VERSION, f"{quoted(version)} is not installed (installed: {found})")
    return _judged(Source(tree.root, None), tree, tree.name, version, tree.flavour, Placement())


def _judged(
    source: Source, tree: Tree | None, name: str, version: str, flavour: Flavour, placement: Placement
) -> Arrival:
    after = tree.rel(version) if tree and source.is_installed else rel_in(source, name, version)
    before = _before(tree)
    check_complete(source, flavour, before if before and before.version != version else None, after)
    return Arrival(name, version, flavour, after, before, placement)


def _before(tree: Tree | None) -> Rel | None:
    try:
        return tree.rel(tree.boot_version) if tree else None
    except PackageError:
        return None


def _name_in(contents: Contents, version: str, wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    files = (path for path in contents.small if path.startswith(f"releases/{version}/") and path.endswith(".rel"))
    return next(read_rel(contents.small[path]).name for path in files if not path.endswith(CLEAN))
