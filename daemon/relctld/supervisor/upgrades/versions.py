"""The versions of a release: those that lie in its tree, with what the node says of them where it can be asked."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from relctld.beam.handler.replies import HandlerError
from relctld.beam.layout import NothingInstalled, ReleaseError
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.tree import Tree, read_tree
from relctld.config import EnvFileError
from relctld.control.server import RefusedError
from relctld.host.errors import in_words
from relctld.host.users import UnknownUserError
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.recipe import Recipe
from relctld.supervisor.upgrades.disk import as_owner
from relctld.supervisor.upgrades.node import NodeError, NodeSide


async def versions(
    managed: Managed, nodes: Nodes, prepare: Callable[[Managed], Recipe], pool: Executor
) -> dict[str, Any]:
    """What is installed, what runs, what a boot would bring. Raises RefusedError."""
    try:
        tree = await asyncio.get_running_loop().run_in_executor(pool, _read, managed, prepare)
    except NothingInstalled as error:
        raise RefusedError("impossible", str(error), f"relctl deploy {managed.name} TARBALL installs it") from error
    except (ReleaseError, PackageError, UnknownUserError, EnvFileError) as error:
        raise RefusedError("impossible", str(error)) from error
    except OSError as error:
        raise RefusedError("failed", f"its tree cannot be read: {in_words(error)}") from error
    listed = {entry.version: entry.status for entry in tree.releases or ()}
    current = (nodes.known(managed.name).version or managed.launched.version) if managed.state.vm else None
    with contextlib.suppress(NodeError, HandlerError):
        survey = await NodeSide(managed, nodes).survey()
        listed |= {version: status for version, status in (survey.releases or {}).items() if tree.releases}
    return {
        "release": managed.name,
        "versions": [
            {
                "version": version,
                "status": listed.get(version) or ("permanent" if version == tree.boot_version else "unpacked"),
                "running": version == current,
                "boots": version == tree.boot_version,
                "erts": tree.rels[version].erts if version in tree.rels else None,
                "error": tree.damaged.get(version),
            }
            for version in dict.fromkeys([*tree.rels, *tree.damaged])
        ],
        "releases_error": tree.releases_fault or None,
    }


def _read(managed: Managed, prepare: Callable[[Managed], Recipe]) -> Tree:
    recipe, spec = prepare(managed), managed.spec
    if recipe.release is None:
        raise ReleaseError("what its `command` runs is no release that relctl knows")
    root = recipe.release.root
    with as_owner(root):
        return read_tree(root, spec.flavour, spec.release_name, recipe.env)
