"""A build of a release, as a tree or as a tarball: which version it holds, and what its files are.

    with opened(path) as build:          "" lets the build itself say which of its versions is meant
        build.rel                        what the version is made of
        build.small("releases/…/relup")  None where there is no such file
        build.modules("lib/web-1.0.0/ebin")

Rule 1: what the files of a tarball hold is read when it is asked for, in one more pass for all of a directory: most
        applications are the same in both builds, and of those only the digests matter.
Rule 2: nothing is unpacked; a tarball is judged safe as the one of an upgrade is (`package.tarball`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from relctld.beam.layout import DamagedRelease, open_regular, start_erl
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.relfile import Rel, read_rel
from relctld.beam.package.tarball import LIMITS, MAX_BEAM, read_tarball
from relctld.beam.package.tarstream import FILES, TarStream
from relctld.beam.package.tree import read_file

_CLEAN = ("start_clean.rel", "no_dot_erlang.rel")


class Build(Protocol):
    """`paths` of its files are below its root."""

    @property
    def path(self) -> Path: ...

    @property
    def is_tarball(self) -> bool: ...

    @property
    def rel(self) -> Rel: ...

    def names(self, folder: str) -> list[str]:
        """The paths of the files below a directory."""
        ...

    def digest(self, path: str) -> str:
        """The SHA-256 of a file that is there."""
        ...

    def small(self, path: str) -> bytes | None:
        """What a file holds; None where there is none."""
        ...

    def ebin(self, application: str) -> Mapping[str, bytes]:
        """The .beam files of an application by module."""
        ...


@contextlib.contextmanager
def opened(path: Path, version: str = "") -> Iterator[Build]:
    """The build at `path`, until the end of the block. Raises PackageError."""
    if path.is_dir():
        yield _Tree(path, version)
        return
    try:
        file = open(open_regular(path), "rb")  # noqa: SIM115 -- closed by the next line
    except OSError as error:
        raise PackageError(Kind.DAMAGED, f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    with file:
        yield _Tarball(path, file, version)


class _Tree:
    is_tarball = False

    def __init__(self, path: Path, version: str) -> None:
        self.path = path
        found = {}
        for rel in sorted(path.glob("releases/*/*.rel")):
            if rel.name not in _CLEAN:
                found[f"releases/{rel.parent.name}/{rel.name}"] = read_file(rel) or b""
        boots = ""
        with contextlib.suppress(DamagedRelease):
            boots = start_erl(path / "releases/start_erl.data")[1]
        self.rel = _chosen(found, version, boots, path)

    def names(self, folder: str) -> list[str]:
        below = [
            os.path.relpath(os.path.join(at, name), self.path)
            for at, _, names in os.walk(self.path / folder)
            for name in names
        ]
        return sorted(below)

    def digest(self, path: str) -> str:
        with open(self.path / path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def small(self, path: str) -> bytes | None:
        return read_file(self.path / path)

    def ebin(self, application: str) -> Mapping[str, bytes]:
        folder = f"{self.rel.folder(application)}/ebin"
        listed = [path for path in self.names(folder) if path.endswith(".beam")]
        return {_module(path): read_file(self.path / path, MAX_BEAM) or b"" for path in listed}


class _Tarball:
    is_tarball = True

    def __init__(self, path: Path, file: BinaryIO, version: str) -> None:
        self.path = path
        self._file = file
        self._contents = read_tarball(file)
        self._digests = {member.path: member.sha256 for member in self._contents.members if member.sha256}
        self._held: dict[str, dict[str, bytes]] = {}
        rels = {
            path: data
            for path, data in self._contents.small.items()
            if path.endswith(".rel") and path.count("/") == 2 and posixpath.basename(path) not in _CLEAN
        }
        boots = self._contents.small.get("releases/start_erl.data", b"").decode(errors="replace").split()[1:2]
        self.rel = _chosen(rels, version, boots[0] if boots else "", path)

    def names(self, folder: str) -> list[str]:
        return sorted(path for path in self._digests if path.startswith(f"{folder}/"))

    def digest(self, path: str) -> str:
        return self._digests[path]

    def small(self, path: str) -> bytes | None:
        if path not in self._digests:
            return None
        known = self._contents.small.get(path)
        return self._below(posixpath.dirname(path)).get(path) if known is None else known

    def ebin(self, application: str) -> Mapping[str, bytes]:
        found = self._below(f"{self.rel.folder(application)}/ebin")
        return {_module(path): data for path, data in found.items() if path.endswith(".beam")}

    def _below(self, folder: str) -> Mapping[str, bytes]:
        """What the files right in a directory hold."""
        if folder not in self._held:
            found = {}
            self._file.seek(0)
            stream = TarStream(self._file, LIMITS)
            for header in stream.members():
                path = posixpath.normpath(header.name)
                if header.type in FILES and posixpath.dirname(path) == folder and header.size <= MAX_BEAM:
                    found[path] = b"".join(stream.content())
            self._held[folder] = found
        return self._held[folder]


def _chosen(rels: Mapping[str, bytes], version: str, boots: str, path: Path) -> Rel:
    """The .rel of the one version meant: that asked for, else the only one, else the one that a boot takes."""
    found: dict[str, Rel] = {}
    for at, data in rels.items():
        rel = read_rel(data)
        if rel.version != at.split("/")[1]:
            raise PackageError(Kind.DAMAGED, f"{at} is of version {rel.version}")
        found.setdefault(rel.version, rel)
    wanted = version or (next(iter(found)) if len(found) == 1 else boots)
    if wanted in found:
        return found[wanted]
    listed = ", ".join(found) or "none"
    if found and not version:
        hint = "name one with --from or --to"
        raise PackageError(Kind.NO_RELEASE, f"{path} holds several versions: {listed}", hint)
    raise PackageError(Kind.NO_RELEASE, f"{path} holds no releases/{version or 'VERSION'}/NAME.rel (found: {listed})")


def _module(path: str) -> str:
    return posixpath.basename(path).removesuffix(".beam")
