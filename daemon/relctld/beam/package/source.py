"""The files that a version has: those of its tarball, and those that lie in the tree already."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from relctld.beam.layout import DamagedRelease, entries
from relctld.beam.package.beamfile import Beam, read_beam
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.tarball import MAX_BEAM, Contents, What
from relctld.beam.package.tree import read_file


class Source:
    """Paths are below the root. What the tarball holds comes first: where both have it, `placing` compares them."""

    def __init__(self, root: Path, contents: Contents | None) -> None:
        self._root = root
        self._contents = contents
        members = contents.members if contents else ()
        self._packed = {member.path for member in members if member.what is What.FILE}
        self._known: dict[str, dict[str, Beam]] = {}
        self._modules: dict[str, set[str]] = {}
        for path in filter(lambda path: path.endswith(".beam"), self._packed):
            self._modules.setdefault(os.path.dirname(path), set()).add(path)

    @property
    def is_installed(self) -> bool:
        """Whether there is nothing but the tree."""
        return self._contents is None

    def small(self, path: str) -> bytes | None:
        """The bytes of a small file: below releases/VERSION, or an .app."""
        packed = self._contents.small.get(path) if self._contents else None
        return read_file(self._root / path) if packed is None else packed

    def has(self, path: str) -> bool:
        """Whether a file is there, or a link to one."""
        return path in self._packed or _is_file(self._root / path)

    def beam(self, path: str) -> Beam | None:
        """A module; None where there is no such file. Raises PackageError where it is not whole."""
        if self._contents and (why := self._contents.broken.get(path)):
            raise PackageError(Kind.BAD_BEAM, f"{path} cannot be loaded: {why}", "build the release again")
        if self._contents and (found := self._contents.beams.get(path)):
            return found
        data = read_file(self._root / path, MAX_BEAM)
        if data is None:
            return None
        try:
            return read_beam(data)
        except PackageError as error:
            raise PackageError(error.kind, f"{path} cannot be loaded: {error}") from error

    def beams(self, folder: str) -> dict[str, Beam]:
        """The modules in a directory by name. Raises PackageError where one is not whole, or has another's name."""
        if folder in self._known:
            return self._known[folder]
        found = {}
        for path in sorted(self._names(folder)):
            beam = self.beam(path)
            name = path.removeprefix(f"{folder}/").removesuffix(".beam")
            if beam and beam.module != name:
                raise PackageError(Kind.BAD_BEAM, f"{path} cannot be loaded: it is the module {beam.module}")
            if beam:
                found[name] = beam
        self._known[folder] = found
        return found

    def _names(self, folder: str) -> set[str]:
        try:
            installed = {f"{folder}/{name}" for name in entries(self._root / folder) if name.endswith(".beam")}
        except DamagedRelease as error:
            raise PackageError(Kind.DAMAGED, str(error)) from error
        return installed | self._modules.get(folder, set())


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
