"""A version is removed from a tree: what belongs to it alone (`beam.package.removal`), and nothing twice by halves.

    removal.json says what goes   →  RELEASES without it  →  moved aside, its own directory first  →  deleted

Killed anywhere, it is brought to its end by the next relctld: once its directory is gone, nobody could tell what else
was its own. But if another directory has its name by then, somebody put the version back: it stays.
All but `remove_version` blocks: for worker threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from relctld.beam.handler.replies import HandlerError
from relctld.beam.layout import NothingInstalled, ReleaseError
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.releases import read_releases, render_releases
from relctld.beam.package.removal import belongings, installed, permanent, superfluous, way_back, without
from relctld.beam.package.tree import Tree
from relctld.config import EnvFileError
from relctld.control.server import RefusedError
from relctld.host import tree as files
from relctld.host import unpack as pieces
from relctld.host.errors import in_words
from relctld.host.users import UnknownUserError
from relctld.supervisor.managed import Managed
from relctld.supervisor.upgrades.disk import RELEASES, STAGING, Ground
from relctld.supervisor.upgrades.ledger import REMOVAL, Ledger, Luggage
from relctld.supervisor.upgrades.node import NodeError, NodeSide
from relctld.supervisor.upgrades.tools import Tools

_LARGEST = 16 << 20


async def remove_version(
    managed: Managed, ledger: Ledger, tools: Tools, version: str, beside: frozenset[str]
) -> tuple[str, ...]:
    """Remove it, and let the node know; the paths that went. `beside`: what others run. Raises RefusedError."""
    node = NodeSide(managed, tools.nodes)
    running = set(beside)
    if managed.state.vm is not None:
        running.add(managed.launched.version or "")
    with contextlib.suppress(NodeError, HandlerError):
        running.add((await node.survey()).current)

    def work() -> tuple[str, ...]:
        finish(ledger)
        recipe = tools.prepare(managed, None)
        if recipe.release is None:
            raise ReleaseError("what its `command` runs is no release that relctl knows")
        luggage = Luggage(str(recipe.release.root), recipe.release.flavour, recipe.release.name)
        return remove(Ground(luggage, recipe.env, None), ledger, version, running)

    try:
        gone = await asyncio.get_running_loop().run_in_executor(tools.pool, work)
    except PackageError as error:
        raise RefusedError("impossible", str(error), error.hint) from error
    except NothingInstalled as error:
        raise RefusedError("impossible", str(error), f"relctl deploy {managed.name} TARBALL installs it") from error
    except (ReleaseError, UnknownUserError, EnvFileError) as error:
        raise RefusedError("impossible", str(error)) from error
    except OSError as error:
        raise RefusedError("failed", in_words(error)) from error
    with contextlib.suppress(NodeError, HandlerError):  # one without release_handler has nothing to forget
        await node.reread()
    return gone


def remove(ground: Ground, ledger: Ledger, version: str, running: Iterable[str]) -> tuple[str, ...]:
    """Remove it; the paths that went. Raises OSError, ReleaseError, and PackageError where it may not go."""
    units = belongings(ground.tree(), version, running)
    units = tuple(unit for unit in units if files.exists(ground.root, unit))
    own = _own_directory(ground.root, version)
    ledger.write_file(REMOVAL, {"root": str(ground.root), "version": version, "units": list(units), "own": own})
    finish(ledger)
    return units


def finish(ledger: Ledger) -> None:
    """Bring the removal that was begun to its end, if there is one. Raises OSError."""
    match ledger.read_file(REMOVAL):
        case {"root": str(root), "version": str(version), "units": list(units), "own": own}:
            if os.path.lexists(root) and _own_directory(Path(root), version) in (None, own):
                _carry_out(Path(root), version, [unit for unit in units if isinstance(unit, str)])
            ledger.forget_file(REMOVAL)


def _own_directory(root: Path, version: str) -> list[int] | None:
    """By what a version's own directory is known again; None where it is gone."""
    try:
        found = (root / "releases" / version).lstat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_mtime_ns]


def prune(ground: Ground, ledger: Ledger, needed: Iterable[str], keep: int) -> list[str]:
    """Remove the oldest versions beyond `keep`, and none that is needed; those that went. Raises OSError, ReleaseError.

    The oldest are those in whose directory nothing was changed for longest.
    """
    needed, gone = set(needed), []
    for version in spare(ground, ground.tree(), needed, keep):
        try:
            remove(ground, ledger, version, needed)
        except PackageError:
            continue  # it may not go; the next may
        gone.append(version)
    return gone


def spare(ground: Ground, tree: Tree, needed: Iterable[str], keep: int) -> list[str]:
    """The versions beyond `keep` that may go, the oldest first. Raises OSError."""
    there = [version for version in installed(tree) if files.exists(ground.root, f"releases/{version}")]
    ordered = sorted(there, key=lambda version: (ground.root / "releases" / version).lstat().st_mtime_ns)
    needed = {*needed, tree.boot_version, *permanent(tree), *way_back(tree)}
    return [version for version in superfluous(ordered, needed, keep) if _may_go(tree, version)]


def _may_go(tree: Tree, version: str) -> bool:
    try:
        belongings(tree, version, ())
    except PackageError:
        return False
    return True


def _carry_out(root: Path, version: str, units: list[str]) -> None:
    data = files.read(root, RELEASES, _LARGEST)
    with contextlib.suppress(PackageError):  # a damaged one lists nothing
        entries = read_releases(data) if data is not None else ()
        if (left := without(entries, version)) != entries:
            files.write(root, RELEASES, render_releases(left))
    pieces.undo(root, STAGING, units)
