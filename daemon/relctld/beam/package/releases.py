"""RELEASES: the versions that release_handler knows, and which one it takes for permanent.

%% coding: utf-8
[{release,"web","1.1.0","13.1.5",[{kernel,"8.5.3","/srv/web/lib/kernel-8.5.3"},…],unpacked},
 {release,"web","1.0.0","13.1.5",[…],permanent}].

Source: OTP's release_handler (record release, write_releases). `current` is never on disk: it is written as unpacked.
An entry that release_handler made up, for it found no file, has no ERTS and no libraries: removing a version beside
such an entry deletes what both share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.relfile import Rel, string, terms
from relctld.beam.term.terms import Atom, Term
from relctld.beam.term.written import written

STATUSES = frozenset({"unpacked", "current", "permanent", "old", "tmp_current"})
_DAMAGED = "RELEASES is damaged"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version; `libraries` are (name, version, directory), the directory as release_handler gets it."""

    name: str
    version: str
    erts: str | None
    libraries: tuple[tuple[str, str, str], ...]
    status: str


def read_releases(data: bytes) -> tuple[Entry, ...]:
    """The entries, in the order of the file. Raises PackageError."""
    match terms(data, "RELEASES"):
        case [list(entries)]:
            found = tuple(map(_entry, entries))
        case _:
            raise PackageError(Kind.DAMAGED, f"{_DAMAGED}: it is no list of releases")
    if len({entry.version for entry in found}) != len(found):
        raise PackageError(Kind.DAMAGED, f"{_DAMAGED}: it lists a version twice")
    return found


def render_releases(entries: Iterable[Entry]) -> bytes:
    """The file, as release_handler reads it."""
    return f"%% coding: utf-8\n[{f',{chr(10)} '.join(map(_rendered, entries))}].\n".encode()


def entry_of(rel: Rel, root: str, status: str) -> Entry:
    """The entry of a version whose applications lie in ROOT/lib."""
    libraries = tuple((name, version, f"{root}/{rel.folder(name)}") for name, version in rel.applications.items())
    return Entry(rel.name, rel.version, rel.erts, libraries, status)


def _entry(term: Term) -> Entry:
    match term:
        case ("release", name, version, erts, list(libraries), Atom() as status) if status in STATUSES:
            known = None if erts == "undefined" else _string(erts)
            return Entry(_string(name), _string(version), known, tuple(map(_library, libraries)), str(status))
    raise PackageError(Kind.DAMAGED, f"{_DAMAGED}: an entry is no {{release, …}}")


def _library(term: Term) -> tuple[str, str, str]:
    match term:
        case (Atom() as name, version, folder):
            return str(name), _string(version), _string(folder)
    raise PackageError(Kind.DAMAGED, f"{_DAMAGED}: a library is no {{Name, Version, Directory}}")


def _string(term: Term) -> str:
    found = string(term)
    if found is None:
        raise PackageError(Kind.DAMAGED, f"{_DAMAGED}: an entry has something else where a string must be")
    return found


def _rendered(entry: Entry) -> str:
    libraries = ",\n   ".join(
        f"{{{written(Atom(name))},{_text(version)},{_text(folder)}}}" for name, version, folder in entry.libraries
    )
    erts = "undefined" if entry.erts is None else _text(entry.erts)
    return f"{{release,{_text(entry.name)},{_text(entry.version)},{erts},\n  [{libraries}],\n  {entry.status}}}"


def _text(value: str) -> str:
    return written([ord(char) for char in value])
