"""What was installed from which tarball: so that the same one again changes nothing, at the cost of reading it once.

    STATE/upgrades/NAME/installed.json    {v, versions: {VSN: {sha256, files: {PATH: bytes}}}}

Rule: it is a memory, not a truth. What the tree and the node say goes before it; without it all is judged anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relctld.beam.package.placing import CONFIG
from relctld.beam.package.tarball import Member, What
from relctld.supervisor.upgrades.ledger import INSTALLED, Ledger

AT_MOST = 16
"""Versions that are remembered of a release."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A version as its tarball held it. `files`: those that belong to it alone or to its libraries, with their size."""

    version: str
    sha256: str
    files: Mapping[str, int]

    def is_whole(self, root: Path) -> bool:
        """Whether each file is there, of its size. Blocking; with the eyes of the tree's owner."""
        return all(_size(root / path) == size for path, size in self.files.items())


def taken(version: str, sha256: str, members: Iterable[Member]) -> Taken:
    """What is worth remembering of a tarball: nothing that operators may change."""
    own = ("lib/", "erts-", f"releases/{version}/")
    files = {
        member.path: member.size
        for member in members
        if member.what is What.FILE and member.path.startswith(own) and os.path.basename(member.path) not in CONFIG
    }
    return Taken(version, sha256, files)


def recall(ledger: Ledger) -> list[Taken]:
    """What is remembered. Raises OSError."""
    versions = ledger.read_file(INSTALLED).get("versions")
    found = []
    for version, body in versions.items() if isinstance(versions, dict) else ():
        match body:
            case {"sha256": str(digest), "files": dict(files)}:
                found.append(Taken(version, digest, files))
    return found


def remember(ledger: Ledger, new: Taken) -> None:
    """Add this one, and forget the oldest beyond what anybody keeps. Raises OSError."""
    kept = [each for each in recall(ledger) if each.version != new.version][1 - AT_MOST :]
    body: dict[str, Any] = {each.version: {"sha256": each.sha256, "files": dict(each.files)} for each in [*kept, new]}
    ledger.write_file(INSTALLED, {"versions": body})


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1
