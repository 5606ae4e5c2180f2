"""The root of a release that is switched by a restart: it may be missing, empty, or hold nothing that boots.

As `disk`, whose rules hold here too, with what a hot upgrade never meets:

    ROOT/                  made, as the parents that are missing, for the release's user
         .relctl-before/   damaged files as they were, until it is decided
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from relctld.beam.layout import ReleaseError
from relctld.beam.package.placing import Placement
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.tree import Tree
from relctld.core.transaction import Disk, Journal
from relctld.host import folders
from relctld.host import tree as files
from relctld.host import unpack as pieces
from relctld.host.gate import Identity
from relctld.supervisor.upgrades import disk
from relctld.supervisor.upgrades.disk import STAGING, Ground

KEPT = ".relctl-before"
_MODE = 0o755


def look(ground: Ground, journal: Journal) -> Disk:
    """What the tree says; all is configured, for a boot does that itself. Raises OSError."""
    both = frozenset({journal.origin, journal.target})
    root, luggage = ground.root, ground.luggage
    if not root.exists():
        return Disk(None, False, both, False, frozenset(), left=False)
    tree = _tree(ground)
    there = [files.exists(root, unit) for unit in luggage.units]
    mended = [files.exists(root, f"{KEPT}/{path}") for path in luggage.replaced]
    staged = files.exists(root, STAGING)
    listed = frozenset(entry.version for entry in tree.releases or ()) if tree else frozenset[str]()
    came = journal.target in listed - disk.listed_before(luggage) and journal.target != journal.origin
    return Disk(
        selects=selects(tree),
        in_place=all(there) and all(mended) and not staged,
        configured=both,
        swapped=files.exists(root, KEPT),
        listed=listed,
        left=any(there) or staged or came,
    )


def unpack(ground: Ground, placement: Placement, tarball: Path, identity: Identity) -> None:
    """Make the root if need be, and put what is new in place. Raises OSError."""
    _make_root(ground.root, identity)
    disk.choose_the_only(ground)
    units = [unit for unit in ground.luggage.units if unit not in ground.luggage.replaced]
    pieces.extract(tarball, ground.root, STAGING, placement.new)
    pieces.replace(ground.root, STAGING, KEPT, ground.luggage.replaced)
    pieces.move_in(ground.root, STAGING, units)


def _make_root(root: Path, identity: Identity) -> None:
    """The directories that are missing on the way to the root belong to the release's user, and so does an empty one.

    A root that is a link stays one. Raises OSError.
    """
    missing = [folder for folder in (*reversed(root.parents), root) if not folder.exists()]
    for folder in missing or ([] if any(root.iterdir()) else [root]):
        folders.own(folders.led_to(folder, identity), identity, _MODE)


def commit(ground: Ground, journal: Journal) -> None:
    """Let every file that chooses a version choose the target. Raises OSError, PackageError, ReleaseError."""
    tree = ground.tree(journal.target)
    known = [version for version in (journal.origin, journal.target) if version and disk.is_known(tree, version)]
    disk.select(ground, list(dict.fromkeys(known)), journal.target)


def tidy(ground: Ground) -> None:
    """What was damaged is not needed any more. Raises OSError."""
    files.remove(ground.root, KEPT)


def clean(ground: Ground) -> None:
    """Leave the tree as it was before. Raises OSError, PackageError."""
    if not ground.root.exists():
        return
    pieces.undo(ground.root, STAGING, [unit for unit in ground.luggage.units if unit not in ground.luggage.replaced])
    pieces.put_back(ground.root, KEPT, ground.luggage.replaced)
    disk.restore_releases(ground)


def _tree(ground: Ground) -> Tree | None:
    with contextlib.suppress(ReleaseError, PackageError):
        return ground.tree()
    return None


def selects(tree: Tree | None) -> str | None:
    """The version that every file names which chooses one; None where one of them is torn, or missing.

    A plain release boots its only version without start_erl.data; a second one would take that away.
    """
    return None if tree is None or tree.start_erl is None else disk.selects(tree)
