"""What a release's tree says of an upgrade, and every change that is made to it. Blocking: for worker threads.

Rule 1: all is written as the tree's owner, by directory descriptors, no link followed (`host.tree`).
Rule 2: each change is whole or absent, durable, and may be made again.

    ROOT/.relctl/                        what is being unpacked, on the same file system
         releases/RELEASES               rewritten by us alone: release_handler is told to read it again
                  start_erl.data         mix, Distillery and start_erl boot by it
                  VSN/sys.config         the evaluated configuration, while release_handler has to read it
                      sys.config.relctl  what was there before; empty where nothing was
         bin/NAME                        relx boots by it; bin/NAME-VSN is that of a version
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from relctld.beam.layout import ReleaseError
from relctld.beam.package.judge import Package
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.releases import Entry, entry_of, read_releases, render_releases
from relctld.beam.package.relfile import Rel
from relctld.beam.package.tarball import Contents, read_tarball
from relctld.beam.package.tree import Tree, read_tree
from relctld.core.spec import Flavour
from relctld.core.transaction import Disk, Journal
from relctld.host import tree as files
from relctld.host import unpack as pieces
from relctld.host.fsuser import as_user
from relctld.supervisor.upgrades.ledger import Luggage

STAGING = ".relctl"
RELEASES = "releases/RELEASES"
_START_ERL = "releases/start_erl.data"
_LARGEST = 16 << 20


@contextlib.contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """In this thread, files are read with the eyes of the tree's owner."""
    owner = files.owner(root)
    with as_user(owner.uid, owner.gid, (owner.gid,)):
        yield


def read_package(tarball: Path, root: Path | None) -> Contents:
    """Our copy of a tarball, for a tree that has some of it; without one, all of it. Raises OSError, PackageError."""
    if root is None:
        with open(tarball, "rb") as file:
            return read_tarball(file)
    with open(tarball, "rb") as file, as_owner(root):
        return read_tarball(file, known=lambda path: os.path.lexists(root / path))


@dataclass(frozen=True, slots=True)
class Ground:
    """The tree of one release. `group`: that of the node, which reads what we write."""

    luggage: Luggage
    env: Mapping[str, str]
    group: int | None

    @property
    def root(self) -> Path:
        return Path(self.luggage.root)

    def tree(self, version: str | None = None) -> Tree:
        """What is installed, for a boot by the files or of this version. Raises ReleaseError."""
        with as_owner(self.root):
            return read_tree(self.root, self.luggage.flavour, self.luggage.name, self.env, version)


def look(ground: Ground, journal: Journal, evaluated: Callable[[str], bool]) -> Disk:
    """What the tree says. `evaluated`: whether a version's configuration is. Raises ReleaseError, OSError."""
    tree, root, units = ground.tree(), ground.root, ground.luggage.units
    there = [files.exists(root, unit) for unit in units]
    staged = files.exists(root, STAGING)
    swapped = {version for version in (journal.origin, journal.target) if files.exists(root, kept_config(version))}
    in_place = all(there) and not staged
    listed = frozenset(entry.version for entry in tree.releases or ())
    plain = {v for v in (journal.origin, journal.target) if (in_place or v == journal.origin) and not evaluated(v)}
    return Disk(
        selects=selects(tree),
        in_place=in_place,
        configured=frozenset({version for version in swapped if _is_swapped_in(root, version)} | plain),
        swapped=bool(swapped),
        listed=listed,
        left=any(there) or staged or journal.target in listed - listed_before(ground.luggage),
    )


def selects(tree: Tree) -> str | None:
    """The version that every file names which chooses one. Without RELEASES the others decide."""
    named = {tree.boot_version}
    if tree.start_erl is not None:
        named.add(tree.start_erl[1])
    named |= {entry.version for entry in tree.releases or () if entry.status == "permanent"}
    return named.pop() if len(named) == 1 and not tree.releases_fault else None


def unpack(ground: Ground, package: Package, tarball: Path) -> None:
    """Put what is new in place: first beside it, then moved. Raises OSError, PackageError."""
    choose_the_only(ground)
    pieces.extract(tarball, ground.root, STAGING, package.placement.new)
    pieces.move_in(ground.root, STAGING, ground.luggage.units)


def choose_the_only(ground: Ground) -> None:
    """A plain release boots its only version without start_erl.data: beside a second one it must be named.

    It stays, whatever becomes of that one. Raises OSError.
    """
    if ground.luggage.flavour is not Flavour.PLAIN or files.exists(ground.root, _START_ERL):
        return
    with contextlib.suppress(ReleaseError, PackageError):
        tree = ground.tree()
        _write_start_erl(ground, tree.rel(tree.boot_version))


def register(ground: Ground, journal: Journal) -> None:
    """Write a RELEASES that is whole and has both versions. Raises OSError, PackageError."""
    _write_releases(ground, ground.tree(), [journal.origin, journal.target], permanent=journal.origin)


def swap_in(ground: Ground, version: str, data: bytes) -> None:
    """Put an evaluated configuration where release_handler reads it. Raises OSError."""
    place = f"releases/{version}/sys.config"
    if not files.exists(ground.root, kept_config(version)):
        if files.exists(ground.root, place):
            files.link(ground.root, place, kept_config(version))
        else:
            files.write(ground.root, kept_config(version), b"", 0o640, ground.group)
    files.write(ground.root, place, data, 0o640, ground.group)


def listed_before(luggage: Luggage) -> frozenset[str]:
    if (before := luggage.list_before) is None:
        return frozenset()
    return frozenset(entry.version for entry in read_releases(before))


def _is_swapped_in(root: Path, version: str) -> bool:
    """Whether the evaluated configuration is there too: what was there is kept first."""
    place = f"releases/{version}/sys.config"
    return files.exists(root, place) and not files.is_same(root, place, kept_config(version))


def swap_out(ground: Ground, journal: Journal) -> None:
    """Put back what was there. Raises OSError."""
    for version in (journal.origin, journal.target):
        put_back(ground, version)


def put_back(ground: Ground, version: str) -> None:
    """Of one version. Raises OSError."""
    kept = files.read(ground.root, kept_config(version), _LARGEST)
    if kept:
        files.rename(ground.root, kept_config(version), f"releases/{version}/sys.config")
        return
    if kept is not None:
        files.remove(ground.root, f"releases/{version}/sys.config")
    files.remove(ground.root, kept_config(version))


def commit(ground: Ground, journal: Journal) -> None:
    """Let every file that chooses a version choose the target. Raises OSError, PackageError, ReleaseError."""
    select(ground, [journal.origin, journal.target], journal.target)


def clean(ground: Ground, journal: Journal) -> None:
    """Leave the tree as it was before. Raises OSError, PackageError, ReleaseError."""
    swap_out(ground, journal)
    pieces.undo(ground.root, STAGING, ground.luggage.units)
    restore_releases(ground)
    with contextlib.suppress(ReleaseError):
        if selects(ground.tree()) != journal.origin:
            select(ground, [journal.origin], journal.origin)


def restore_releases(ground: Ground) -> None:
    """Leave RELEASES as it was before. Raises OSError."""
    files.settle(ground.root, RELEASES)
    if (before := ground.luggage.list_before) is None:
        files.remove(ground.root, RELEASES)
    elif files.read(ground.root, RELEASES, _LARGEST) != before:
        files.write(ground.root, RELEASES, before)  # only then: there may be no room for it


def select(ground: Ground, versions: Sequence[str], version: str) -> None:
    """Let a boot bring this version, and RELEASES list these. Raises OSError, PackageError, ReleaseError."""
    tree, root = ground.tree(version), ground.root
    rel = tree.rel(version)
    _write_releases(ground, tree, versions, permanent=version)
    data = _write_start_erl(ground, rel)
    if ground.luggage.flavour is Flavour.DISTILLERY and files.exists(root, "var/start_erl.data"):
        files.write(root, "var/start_erl.data", data, 0o644, ground.group)
    if ground.luggage.flavour is Flavour.RELX:
        script = files.read(root, f"bin/{tree.name}-{version}", _LARGEST)
        if script is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", f"{root}/bin/{tree.name}-{version}")
        files.write(root, f"bin/{tree.name}", script, 0o755, ground.group)


def _write_start_erl(ground: Ground, rel: Rel) -> bytes:
    data = f"{rel.erts} {rel.version}\n".encode()
    files.write(ground.root, _START_ERL, data, 0o644, ground.group)
    return data


def _write_releases(ground: Ground, tree: Tree, versions: Sequence[str], *, permanent: str) -> None:
    """These versions, and what is listed beside them; but not what nothing is known of, neither .rel nor libraries."""
    before = {entry.version: entry for entry in tree.releases or ()}
    beside = [version for version in before if version not in versions and is_known(tree, version)]
    wanted = [*versions, *beside]
    entries = [_entry(tree, before.get(version), version, permanent) for version in wanted]
    files.write(ground.root, RELEASES, render_releases(entries), 0o644, ground.group)


def rewrite_releases(ground: Ground, without: frozenset[str] = frozenset()) -> None:
    """RELEASES anew: all versions of which anything is known, what boots as permanent.

    Raises OSError, PackageError, ReleaseError.
    """
    tree = ground.tree()
    before = {entry.version: entry for entry in tree.releases or ()}
    wanted = dict.fromkeys([tree.boot_version, *tree.rels, *before])
    known = [version for version in wanted if version not in without and is_known(tree, version)]
    entries = [_entry(tree, before.get(version), version, tree.boot_version) for version in known]
    files.write(ground.root, RELEASES, render_releases(entries), 0o644, ground.group)


def is_known(tree: Tree, version: str) -> bool:
    """Whether its applications are."""
    try:
        tree.rel(version)
    except (ReleaseError, PackageError):
        return False
    return True


def _entry(tree: Tree, before: Entry | None, version: str, permanent: str) -> Entry:
    """Its libraries by their absolute paths: the node may be anywhere. One that was permanent is old now."""
    status = before.status if before else "unpacked"
    if version == permanent:
        status = "permanent"
    elif status in ("permanent", "current", "tmp_current"):
        status = "old" if status == "permanent" else "unpacked"
    return entry_of(tree.rel(version), str(tree.root), status)  # from what was listed, where there is no .rel


def kept_config(version: str) -> str:
    """Where the configuration of a version is kept while an evaluated one lies in its place."""
    return f"releases/{version}/sys.config.relctl"
