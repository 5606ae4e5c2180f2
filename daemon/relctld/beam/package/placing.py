"""Which members of a tarball are new in a tree, and that those which are not are the same there.

release_handler's own unpacking keeps what is there already, whatever it holds: a version that was built again is
installed half, a file that a full disk cut short stays so. Here both are refused, and what is missing is added.

    lib/APP-VSN/**, erts-VSN/**, releases/VSN/**    new, or the same as on disk, else refused
    releases/{RELEASES,start_erl.data,COOKIE,…}     never: they are of the installed system, not of a version
    releases/OTHER/**                               never
    all else (bin/NAME, …)                          new, or kept as it is on disk

For a restart (`Mending`) more is possible, since nothing runs from the tree while it is changed:

    bin/NAME of relx                                never: it chooses the version
    releases/COOKIE                                 new, or kept as it is on disk
    releases/VSN/{sys.config,vm.args,env.sh,…}      new, or kept as operators changed it
    what differs otherwise                          refused, but replaced where it is known to be damage
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from relctld.beam.layout import open_regular
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.tarball import Contents, Member, What

_BLOCK = 4096
CONFIG = frozenset(
    {"sys.config", "sys.config.src", "vm.args", "vm.args.src", "remote.vm.args", "env.sh", "runtime.exs"}
)
"""Of releases/VSN: what operators change."""
_VERSIONED = re.compile(r"(lib/[^/]+|erts-[^/]+|releases/[^/]+)/.+")


@dataclass(frozen=True, slots=True)
class Placement:
    """`new` is to be unpacked, `existing` is there with the same content, `skipped` is neither unpacked nor compared.

    `units` are the paths to move into place: each covers all that is new below it; releases/VERSION comes last.
    `replaced` are files among the new that take the place of damaged ones, `space` is what all new members take on
    disk, in bytes.
    """

    new: tuple[Member, ...] = ()
    existing: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    space: int = 0


@dataclass(frozen=True, slots=True)
class Mending:
    """What is placed for a restart. `chooser`: the path of a file that chooses the version, which is never placed.

    `at_rest`: nothing runs from the tree, so an empty file is damage; `known`: so is all that differs, for the same
    tarball was installed before.
    """

    chooser: str
    at_rest: bool
    known: bool


def place(contents: Contents, root: Path, version: str, mending: Mending | None = None) -> Placement:
    """What to do with each member. Raises PackageError where an installed file differs."""
    tree = _Installed(root)
    new: list[Member] = []
    existing: list[str] = []
    skipped: list[str] = []
    different: list[str] = []
    replaced: list[str] = []
    units: set[str] = set()
    for member in contents.members:
        if _is_foreign(member, version, mending):
            skipped.append(member.path)
        elif (unit := tree.missing(member.path)) is not None:
            new.append(member)
            units.add(unit)
        elif tree.is_same(member):
            existing.append(member.path)
        elif mending and posixpath.basename(member.path) in CONFIG and member.path.startswith(f"releases/{version}/"):
            skipped.append(member.path)
        elif mending and mending.at_rest and (mending.known or tree.is_empty(member)):
            new.append(member)
            replaced.append(member.path)
        elif _VERSIONED.fullmatch(member.path):
            different.append(member.path)
        else:
            skipped.append(member.path)
    if different:
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        raise PackageError(
            Kind.OTHER_CONTENT,
            f"{different[0]}{more} is installed already with other content",
            "what was built again needs a new version: raise that of the application and of the release",
        )
    ordered = sorted(units, key=lambda unit: (unit.split("/")[0] == "releases", unit))
    space = sum(_BLOCK * (1 + -(-member.size // _BLOCK)) for member in new)
    return Placement(tuple(new), tuple(existing), tuple(skipped), tuple(ordered), tuple(replaced), space)


def _is_foreign(member: Member, version: str, mending: Mending | None) -> bool:
    """Of the installed system, or of another version."""
    if mending and member.path in (mending.chooser, "releases/COOKIE"):
        return member.path == mending.chooser
    top, _, below = member.path.partition("/")
    if top != "releases" or not below:
        return False
    name, _, inside = below.partition("/")
    return name != version or (not inside and member.what is not What.DIRECTORY)


class _Installed:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, bool] = {"": True}  # whether it is there

    def missing(self, path: str) -> str | None:
        """The topmost path on the way to `path`, itself included, that does not exist; None where all do."""
        above = posixpath.dirname(path)
        if above and (missing := self._missing_folder(above)):
            return missing
        return None if os.path.lexists(self._root / path) else path

    def _missing_folder(self, path: str) -> str | None:
        above = posixpath.dirname(path)
        if above and (missing := self._missing_folder(above)):
            return missing
        if path not in self._folders:
            self._folders[path] = self._is_folder(path)
        return None if self._folders[path] else path

    def _is_folder(self, path: str) -> bool:
        try:
            mode = os.lstat(self._root / path).st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            raise PackageError(Kind.DAMAGED, f"cannot read {self._root / path}: {error.strerror}") from error
        if not stat.S_ISDIR(mode):
            raise PackageError(Kind.OTHER_CONTENT, f"{path} is installed as a link or a file, not as a directory")
        return True

    def is_empty(self, member: Member) -> bool:
        """Whether a file is there without its content: a disk was full, or lost it."""
        found = os.lstat(self._root / member.path)
        return member.what is What.FILE and stat.S_ISREG(found.st_mode) and found.st_size == 0

    def is_same(self, member: Member) -> bool:
        """Whether what is installed is what the member holds; modes may differ."""
        path = self._root / member.path
        try:
            found = os.lstat(path)
            match member.what:
                case What.DIRECTORY:
                    return stat.S_ISDIR(found.st_mode)
                case What.LINK:
                    return stat.S_ISLNK(found.st_mode) and os.readlink(path) == member.target
            if not stat.S_ISREG(found.st_mode) or found.st_size != member.size:
                return False
            with open(open_regular(path, os.O_NOFOLLOW), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == member.sha256
        except OSError as error:
            raise PackageError(Kind.DAMAGED, f"cannot read {path}: {error.strerror}") from error
