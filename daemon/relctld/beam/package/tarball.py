"""What a release's tarball holds: read once, nothing unpacked, all of it judged safe or refused.

    bin/…  lib/APP-VSN/{ebin,priv}/…  releases/VSN/…  erts-ERTS/bin/…           as in an installed tree (`layout`)

Rule 1: refused is what could write or link outside of the root, belong to somebody else, or be two things at once:
        absolute names, `..`, links out, hard links, devices, setuid bits, duplicates, members below a link.
Rule 2: what is kept of it is bounded: the facts of each member, the small files that judging needs, what is new as far
        as it is not much, and of each compiled module and each ELF file what its head says.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import BinaryIO

from relctld.beam.package.beamfile import Beam, read_beam
from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.package.tarstream import DIRECTORY, FILES, SYMLINK, Header, Limits, TarStream

LIMITS = Limits()
MAX_KEPT = 64 << 20  # bytes of small files in all
MAX_SMALL = 8 << 20  # bytes of a small file
MAX_BEAM = 64 << 20  # bytes of a module
MAX_NEW = 16 << 20  # bytes of new files that are kept until they are unpacked
MAX_NAMES = 32 << 20  # bytes of all paths, those of directories on the way too
LONGEST_PATH = 1024  # bytes; a root comes before it
LONGEST_NAME = 255  # bytes of one part
DEEPEST = 64  # parts

_SMALL = re.compile(r"releases/start_erl\.data|releases/[^/]+/[^/]+|lib/[^/]+/ebin/[^/]+\.app")
_FOREIGN = {b"1": "a hard link", b"3": "a device", b"4": "a device", b"6": "a FIFO"}
_ELF = b"\x7fELF"


@unique
class What(StrEnum):
    """What a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Member:
    """Something to unpack: `offset` is where its data begins in the inflated stream, `target` that of a link.

    `data`: its bytes, where they were kept; else they are read again.
    """

    path: str
    what: What
    mode: int
    size: int = 0
    sha256: str = ""
    offset: int = 0
    target: str = ""
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole tarball. `small`: the bytes of small files; `machines`: the ELF machine of each ELF file.

    `beams` has each module that is whole; `broken` says what is wrong with the others. Neither has those that are
    installed already.
    """

    members: tuple[Member, ...]
    small: Mapping[str, bytes]
    beams: Mapping[str, Beam]
    broken: Mapping[str, str]
    machines: Mapping[str, int]


def read_tarball(file: BinaryIO, limits: Limits = LIMITS, known: Callable[[str], bool] = lambda _: False) -> Contents:
    """All of a .tar.gz, from a real file at its beginning. Raises PackageError.

    `known`: whether a path is installed. What is must be the same there (`placing`), so that no such module is looked
    into; what is not will be unpacked, so that some of it is kept.
    """
    reader = _Reader(known)
    stream = TarStream(file, limits)
    for header in stream.members():
        reader.take(header, stream)
    return reader.contents()


class _Reader:
    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._members: dict[str, Member] = {}
        self._folders: set[str] = set()  # named, or on the way to a member
        self._named = 0
        self._small: dict[str, bytes] = {}
        self._kept = 0
        self._new = 0
        self._beams: dict[str, Beam] = {}
        self._broken: dict[str, str] = {}
        self._machines: dict[str, int] = {}

    def take(self, header: Header, stream: TarStream) -> None:
        path = _safe_path(header.name)
        if header.mode & 0o6000:
            raise _unsafe(f"{path} has a setuid or setgid bit")
        if header.type in FILES:
            what = What.FILE
        elif header.type in (DIRECTORY, SYMLINK):
            what = What.DIRECTORY if header.type == DIRECTORY else What.LINK
        else:
            raise _unsafe(f"{path or 'a member'} is {_FOREIGN.get(header.type, 'of a kind that no release has')}")
        if not path:
            if what is not What.DIRECTORY:
                raise _unsafe("a member has no name")
            return
        self._claim(path, what)
        if what is What.FILE:
            self._members[path] = self._file(path, header, stream)
        else:
            self._members[path] = Member(path, what, header.mode & 0o777, target=header.target)

    def contents(self) -> Contents:
        links = {path: member.target for path, member in self._members.items() if member.what is What.LINK}
        for path, target in links.items():
            _check_link(path, target)
        return Contents(tuple(self._members.values()), self._small, self._beams, self._broken, self._machines)

    def _claim(self, path: str, what: What) -> None:
        """A path is one thing, and below a directory only."""
        before = self._members.get(path)
        if path in self._folders and what is not What.DIRECTORY:
            raise _unsafe(f"{path} is a directory and something else too")
        if before and not (before.what is what is What.DIRECTORY):
            raise _unsafe(f"{path} is in it twice")
        self._name(path)
        above = posixpath.dirname(path)
        while above and above not in self._folders:
            blocking = self._members.get(above)
            if blocking and blocking.what is not What.DIRECTORY:
                raise _unsafe(f"{path} lies below {above}, which is a {blocking.what}")
            self._name(above)
            self._folders.add(above)
            above = posixpath.dirname(above)
        if what is What.DIRECTORY:
            self._folders.add(path)

    def _name(self, path: str) -> None:
        self._named += len(path)
        if self._named > MAX_NAMES:
            raise PackageError(Kind.TOO_LARGE, f"the names in it have more than {MAX_NAMES} bytes")

    def _file(self, path: str, header: Header, stream: TarStream) -> Member:
        digest = hashlib.sha256()
        head = bytearray()
        is_new = not self._known(path)
        is_kept = is_new and self._new + header.size <= MAX_NEW
        wanted = header.size if is_kept else self._wanted(path, header.size)
        for chunk in stream.content():
            digest.update(chunk)
            if len(head) < wanted:
                head += chunk[: wanted - len(head)]
        data = bytes(head)
        if is_new or not path.endswith(".beam"):
            self._look(path, data, header.size)
        self._new += header.size if is_kept else 0
        return Member(
            path, What.FILE, header.mode & 0o777, header.size, digest.hexdigest(), header.offset,
            data=data if is_kept else None,
        )  # fmt: skip

    def _wanted(self, path: str, size: int) -> int:
        """How many of its first bytes are looked at."""
        if path.endswith(".beam"):
            return size if size <= MAX_BEAM and not self._known(path) else 0
        return size if _SMALL.fullmatch(path) and size <= MAX_SMALL else 20

    def _look(self, path: str, data: bytes, size: int) -> None:
        if path.endswith(".beam"):
            try:
                self._beams[path] = read_beam(data)
            except PackageError as error:
                self._broken[path] = str(error) if len(data) == size else "it is too large"
        elif _SMALL.fullmatch(path) and len(data) == size <= MAX_SMALL:
            self._kept += size
            if self._kept > MAX_KEPT:
                raise PackageError(Kind.TOO_LARGE, f"its releases/ and .app files have more than {MAX_KEPT} bytes")
            self._small[path] = data
        elif (machine := elf_machine(data)) is not None:
            self._machines[path] = machine


def elf_machine(head: bytes) -> int | None:
    """e_machine of the first 20 bytes of an ELF file; None for what is none."""
    if not head.startswith(_ELF) or len(head) < 20:
        return None
    order = ">" if head[5] == 2 else "<"
    machine: int = struct.unpack_from(f"{order}H", head, 18)[0]
    return machine


def _safe_path(name: str) -> str:
    """The name without `.` and doubled slashes; empty for the root itself."""
    if not name.isprintable():  # surrogates too, so what is not UTF-8
        raise _unsafe(f"the name {quoted(name)} has characters that cannot be shown")
    if name.startswith("/"):
        raise _unsafe(f"the name {quoted(name)} is absolute")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _unsafe(f"the name {quoted(name)} has a `..`")
    path = "/".join(parts)
    if (
        len(path.encode()) > LONGEST_PATH
        or len(parts) > DEEPEST
        or any(len(part.encode()) > LONGEST_NAME for part in parts)
    ):
        raise _unsafe(f"the name {quoted(name)} is too long")
    return path


def _check_link(path: str, target: str) -> None:
    """A target leads inside, whatever other links it passes.

    Its `..` come first: behind the name of another link they would mean that one's target's parent. So each link
    leads to something below a real directory of the root, and so does a chain of them.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = 0
    while up < len(parts) and parts[up] == "..":
        up += 1
    outside = target.startswith("/") or ".." in parts[up:] or up > path.count("/")
    if outside or not target or not target.isprintable() or len(target.encode()) > LONGEST_PATH:
        raise _unsafe(
            f"{path} is a link to {quoted(target)}, which may lead outside", "build it with copies, not links"
        )


def _unsafe(why: str, hint: str = "") -> PackageError:
    return PackageError(Kind.UNSAFE, why, hint)
