"""NAME.rel: a version, its ERTS and its applications.

{release, {Name, Vsn}, {erts, ErtsVsn}, [{App, AppVsn} | {App, AppVsn, Type} | …]}.

Source: SASL reference manual, rel(4). Names and versions become parts of paths, of commands and of shell scripts:
what could be more than a name there is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.term.consult import ConsultError, consult_file_bytes
from relctld.beam.term.terms import Atom, Term

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~@-]{0,127}")


@dataclass(frozen=True, slots=True)
class Rel:
    """A version of a release; `applications` by name, in the order of the file, with their versions.

    `types`: how those are started that are not permanent.
    """

    name: str
    version: str
    erts: str
    applications: Mapping[str, str]
    types: Mapping[str, str] = field(default_factory=dict, compare=False)

    def folder(self, application: str) -> str:
        """Where an application lies, below the root."""
        return f"lib/{application}-{self.applications[application]}"


def read_rel(data: bytes) -> Rel:
    """The one release of a .rel file. Raises PackageError."""
    match terms(data, "the .rel"):
        case [("release", (name, version), ("erts", erts), [_, *_] as applications)]:
            listed = [_application(item) for item in applications]
            found = Rel(
                safe(string(name), "release name"),
                safe(string(version), "version"),
                safe(string(erts), "ERTS version"),
                dict(listed),
                dict(_types(applications)),
            )
            if len(found.applications) != len(listed):
                raise PackageError(Kind.DAMAGED, "the .rel is damaged: it lists an application twice")
            return found
    raise PackageError(Kind.DAMAGED, "the .rel is damaged: it is no {release, …}")


def terms(data: bytes, what: str) -> list[Term]:
    """The terms of a file; PackageError names it as `what`."""
    try:
        return consult_file_bytes(data)
    except ConsultError as error:
        raise PackageError(Kind.DAMAGED, f"{what} is damaged: {error}") from error


def string(term: Term) -> str | None:
    """An Erlang string; None for anything else, and for the empty one."""
    if not isinstance(term, list) or not term:
        return None
    codes = [item for item in term if type(item) is int and 0 < item < 0x110000 and not 0xD800 <= item <= 0xDFFF]
    return "".join(map(chr, codes)) if len(codes) == len(term) else None


def safe(name: str | None, what: str) -> str:
    """`name`, where it is one that can be part of a path and of a command."""
    if name is None or not _NAME.fullmatch(name) or ".." in name:
        shown = "no text" if name is None else quoted(name)
        hint = "a version has letters, digits and the characters . _ + ~ -" if what == "version" else ""
        raise PackageError(Kind.BAD_VERSION, f"the {what} is {shown}, which cannot be part of a file's name", hint)
    return name


def _types(items: Iterable[Term]) -> Iterator[tuple[str, str]]:
    for item in items:
        match item:
            case (name, _, ("transient" | "temporary" | "load" | "none") as kind, *_):
                yield str(name), str(kind)


def _application(item: Term) -> tuple[str, str]:
    match item:
        case (Atom() as name, version, *_):
            return safe(str(name), "name of an application"), safe(string(version), f"version of {name}")
    raise PackageError(Kind.DAMAGED, "the .rel is damaged: an application is no {Name, Version}")
