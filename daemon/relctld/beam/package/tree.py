"""What is installed below a root: the versions, what release_handler knows of them, and which one would boot.

Rule: all is read by path, links followed: the caller looks with the eyes of the tree's owner (`host/fsuser`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from relctld.beam.flavour import inspect
from relctld.beam.layout import DamagedRelease, open_regular, start_erl, versions
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.releases import Entry, read_releases
from relctld.beam.package.relfile import Rel, read_rel
from relctld.core.spec import Flavour

MAX_FILE = 8 << 20  # bytes of a .rel, a relup, RELEASES


@dataclass(frozen=True, slots=True)
class Tree:
    """A root with at least one version.

    `rels` has each version whose .rel can be read; `damaged` says what is wrong with the others.
    `releases` is None where there is no RELEASES, or a torn one: then `releases_fault` says so.
    `boot_version` is what a cold boot takes: relx by bin/NAME, the others by start_erl.data.
    """

    root: Path
    flavour: Flavour
    name: str
    boot_version: str
    rels: Mapping[str, Rel]
    damaged: Mapping[str, str]
    releases: tuple[Entry, ...] | None
    releases_fault: str
    start_erl: tuple[str, str] | None

    def rel(self, version: str) -> Rel:
        """The applications of an installed version; PackageError where nobody knows them any more.

        release_handler deletes the .rel of a version that relx's own script unpacked, but knows its applications.
        """
        if found := self.rels.get(version):
            return found
        for entry in self.releases or ():
            if entry.version == version and entry.erts and entry.libraries:
                return Rel(entry.name, version, entry.erts, {name: vsn for name, vsn, _ in entry.libraries})
        why = self.damaged.get(version, f"releases/{version} has no {self.name}.rel")
        raise PackageError(Kind.UNKNOWN_VERSION, f"nothing is known of the installed version {version}: {why}")


def read_tree(
    root: Path,
    flavour: Flavour | None = None,
    name: str | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
    version: str | None = None,
) -> Tree:
    """The tree at `root`; `env` is that of the release. Raises ReleaseError, as `inspect`, where it cannot boot.

    With a `version` that one is asked for, whatever the files select, and said to be the one that boots.
    """
    release = inspect(root, flavour, name, env=env, version=version)
    rels, damaged = {}, {}
    for each in versions(root):
        file = _rel_file(each.files, release.name)
        data = file and read_file(release.root / "releases" / each.version / file)
        if not data:
            damaged[each.version] = f"releases/{each.version} has no {release.name}.rel"
            continue
        try:
            rels[each.version] = _named(read_rel(data), each.version)
        except PackageError as error:
            damaged[each.version] = str(error)
    releases, fault = _releases(release.root)
    return Tree(
        release.root,
        release.flavour,
        release.name,
        release.boot_version,
        rels,
        damaged,
        releases,
        fault,
        _start_erl(release.root),
    )


def read_file(path: Path, limit: int = MAX_FILE) -> bytes | None:
    """The bytes of a regular file; None where there is none. Raises PackageError."""
    try:
        with open(open_regular(path), "rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PackageError(Kind.DAMAGED, f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > limit:
        raise PackageError(Kind.TOO_LARGE, f"cannot read {path}: larger than {limit} bytes")
    return data


def _rel_file(files: tuple[str, ...], name: str) -> str | None:
    """NAME.rel, else the only one that is not of a clean boot."""
    found = [file for file in files if file.endswith(".rel") and file not in ("start_clean.rel", "no_dot_erlang.rel")]
    return f"{name}.rel" if f"{name}.rel" in found else found[0] if len(found) == 1 else None


def _named(rel: Rel, folder: str) -> Rel:
    if rel.version != folder:
        raise PackageError(Kind.DAMAGED, f"the .rel is damaged: it is of version {rel.version}")
    return rel


def _releases(root: Path) -> tuple[tuple[Entry, ...] | None, str]:
    try:
        data = read_file(root / "releases" / "RELEASES")
        return (None, "") if data is None else (read_releases(data), "")
    except PackageError as error:
        return None, str(error)


def _start_erl(root: Path) -> tuple[str, str] | None:
    try:
        return start_erl(root / "releases" / "start_erl.data")
    except DamagedRelease:
        return None
