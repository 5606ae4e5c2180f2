"""Releases that share a root: several nodes of one tree. What is done to its versions is done to all of them.

Rule: one upgrade, deployment or removal at a time for each root, and no version goes that any of them runs.
"""

from collections.abc import Callable, Mapping

from relctld.control.server import RefusedError
from relctld.supervisor.managed import Managed


def check_neighbours(releases: Mapping[str, Managed], managed: Managed, is_busy: Callable[[str], bool]) -> None:
    """That nothing is being done to the tree for another. Raises RefusedError."""
    for each in _neighbours(releases, managed):
        if is_busy(each.name):
            why = f"{each.name} has the same root, and its versions are being changed"
            raise RefusedError("busy", why, f"wait for the end of that: relctl status {each.name} --watch")


def run_beside(releases: Mapping[str, Managed], managed: Managed) -> frozenset[str]:
    """The versions that the others run."""
    beside = [each for each in _neighbours(releases, managed) if each.state.vm is not None]
    return frozenset(each.launched.version for each in beside if each.launched.version is not None)


def _neighbours(releases: Mapping[str, Managed], managed: Managed) -> list[Managed]:
    """The others with the same root, as the config names it."""
    return [each for each in releases.values() if each is not managed and each.spec.root == managed.spec.root]
