"""What goes when a version is removed: what belongs to it alone, by our own computation.

release_handler's remove_release/1 deletes what its list does not show to be shared. A list that it made up shows
nothing, and then it deletes the ERTS and the kernel of the node that it runs in. So it is never asked.

Rule: what is not known to be needed by nobody else stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.package.releases import Entry
from relctld.beam.package.relfile import Rel
from relctld.beam.package.tree import Tree
from relctld.core.spec import Flavour


def belongings(tree: Tree, version: str, running: Iterable[str]) -> tuple[str, ...]:
    """The paths that are this version's alone, its own directory last. `running`: versions that a VM may run.

    Raises PackageError where it may not go.
    """
    others = [*installed(tree)]
    if version not in others:
        found = ", ".join(others) or "none"
        raise PackageError(Kind.UNKNOWN_VERSION, f"{quoted(version)} is not installed (installed: {found})")
    if version in running:
        raise PackageError(Kind.SAME_VERSION, f"{version} runs", "upgrade to another version first")
    if version == tree.boot_version or version in permanent(tree):
        raise PackageError(Kind.SAME_VERSION, f"a boot would bring {version}", "let it boot another version first")
    others.remove(version)
    own = _known(tree, version)
    libraries: set[str] = set()
    if own is not None:
        libraries = _shared(own)
        for other in others:
            known = _known(tree, other)
            if known is None:
                why = f"nothing is known of {other}, which may need the same libraries"
                raise PackageError(Kind.INCOMPLETE, why, f"mend or remove {other} first")
            libraries -= _shared(known)
    scripts = [f"bin/{tree.name}-{version}"] if tree.flavour is Flavour.RELX else []
    return (*scripts, *sorted(libraries), f"releases/{version}")


def installed(tree: Tree) -> tuple[str, ...]:
    """Every version of which something is there, or is said to be."""
    listed = (entry.version for entry in tree.releases or ())
    return tuple(dict.fromkeys([*tree.rels, *tree.damaged, *listed]))


def permanent(tree: Tree) -> frozenset[str]:
    """The versions that some file lets a boot choose."""
    chosen = {entry.version for entry in tree.releases or () if entry.status == "permanent"}
    return frozenset(chosen | ({tree.start_erl[1]} if tree.start_erl else set()))


def way_back(tree: Tree) -> tuple[str, ...]:
    """The version that was permanent before, if there is one: the first of the old ones."""
    return tuple(entry.version for entry in tree.releases or () if entry.status == "old")[:1]


def without(entries: Iterable[Entry], version: str) -> tuple[Entry, ...]:
    """RELEASES when it is gone."""
    return tuple(entry for entry in entries if entry.version != version)


def superfluous(versions: Iterable[str], needed: Iterable[str], keep: int) -> tuple[str, ...]:
    """Of `versions`, the oldest first, those that may go so that `keep` are left; never one that is needed."""
    ordered = list(versions)
    spare = [version for version in ordered if version not in set(needed)]
    return tuple(spare[: max(0, len(ordered) - keep)])


def _known(tree: Tree, version: str) -> Rel | None:
    try:
        return tree.rel(version)
    except PackageError:
        return None


def _shared(rel: Rel) -> set[str]:
    return {rel.folder(name) for name in rel.applications} | {f"erts-{rel.erts}"}
