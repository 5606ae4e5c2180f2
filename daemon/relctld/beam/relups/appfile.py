"""NAME.app and NAME.appup: what an application says of itself, and how one version of it becomes another.

{application, Name, [{vsn, Vsn}, {modules, […]}, {applications, […]}, {included_applications, […]}, …]}.
{Vsn, [{UpFrom, [Instruction]}, …], [{DownTo, [Instruction]}, …]}.          UpFrom: "1.0.0", or <<"1\\\\.0.*">>

Source: kernel's app(4); SASL reference manual, appup(4); OTP's systools_relup:appup_search_for_version/2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.relfile import string, terms
from relctld.beam.term.terms import Atom, Term
from relctld.beam.term.written import written

MADE = "%% Made by relctl relup"  # in the second line of what may be made again


@dataclass(frozen=True, slots=True)
class App:
    """An application: its modules, and which others it needs, includes, or uses where they are there."""

    name: str
    version: str
    modules: tuple[str, ...]
    uses: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Appup:
    """The scripts of an appup, as they stand there."""

    version: str
    ups: tuple[tuple[Term, list[Term]], ...]
    downs: tuple[tuple[Term, list[Term]], ...]

    def up(self, before: str) -> list[Term] | None:
        """The script that leads here from a version."""
        return _for_version(before, self.ups)

    def down(self, before: str) -> list[Term] | None:
        """The script that leads back to it."""
        return _for_version(before, self.downs)


def read_app(data: bytes, path: str) -> App:
    """An .app. Raises PackageError."""
    match terms(data, path):
        case [("application", Atom() as name, list(keys))]:
            known: dict[str, Any] = {str(key[0]): key[1] for key in keys if isinstance(key, tuple) and len(key) == 2}
            return App(
                str(name),
                string(known.get("vsn", [])) or "",
                _names(known.get("modules")),
                _names(known.get("applications")),
                _names(known.get("included_applications")),
                _names(known.get("optional_applications")),
            )
    raise PackageError(Kind.DAMAGED, f"{path} is damaged: it is no {{application, …}}")


def read_appup(data: bytes, path: str) -> Appup:
    """An .appup. Raises PackageError."""
    match terms(data, path):
        case [(version, list(ups), list(downs))] if own := string(version):
            return Appup(own, _scripts(ups, path), _scripts(downs, path))
    raise PackageError(Kind.DAMAGED, f"{path} is damaged: it is no {{Version, Ups, Downs}}")


def is_ours(data: bytes) -> bool:
    """Whether an .appup or a relup was made by us, and not by hand."""
    return any(line.startswith(MADE.encode()) for line in data.split(b"\n", 2)[:2])


def made_file(version: str, ups: list[Any], downs: list[Any], of: str) -> bytes:
    """An .appup or a relup, an instruction a line: what is made is also what somebody goes on from by hand."""
    scripts = ",\n ".join(_script_text(scripts) for scripts in (ups, downs))
    own = written([ord(char) for char in version])
    return f"%% coding: utf-8\n{MADE}, of {of}.\n{{{own},\n {scripts}}}.\n".encode()


def _script_text(scripts: list[Any]) -> str:
    found = []
    for *head, instructions in scripts:
        lines = ",\n    ".join(map(written, instructions))
        found.append(f"{{{','.join(map(written, head))},\n   [{lines}]}}")
    return f"[{','.join(found)}]"


def _scripts(items: list[Term], path: str) -> tuple[tuple[Term, list[Term]], ...]:
    found = []
    for item in items:
        match item:
            case ((list() | bytes()) as version, list(instructions)):
                found.append((version, instructions))
            case _:
                raise PackageError(Kind.DAMAGED, f"{path} is damaged: a script is no {{Version, […]}}")
    return tuple(found)


def _for_version(wanted: str, scripts: tuple[tuple[Term, list[Term]], ...]) -> list[Term] | None:
    """The first that names it, by its text or by a regular expression that matches all of it."""
    for version, instructions in scripts:
        if isinstance(version, bytes) and _matches(version, wanted):
            return instructions
        if not isinstance(version, bytes) and string(version) == wanted:
            return instructions
    return None


def _matches(pattern: bytes, wanted: str) -> bool:
    try:
        found = re.search(pattern.decode(), wanted)
    except (re.error, UnicodeDecodeError):
        return False
    return found is not None and found[0] == wanted


def _names(items: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in items if isinstance(item, Atom)) if isinstance(items, list) else ()
