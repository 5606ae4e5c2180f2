"""start.boot: what init does at a boot, as a term. Judged before a node is touched: release_handler reads it too.

{script, {Name, Vsn}, [Instruction]}; of the instructions those that tell application_controller of an application.

Source: SASL reference manual, script(4); systools_make.erl.
"""

from __future__ import annotations

from collections.abc import Iterator

from relctld.beam.package.refusals import Kind, PackageError, quoted
from relctld.beam.package.relfile import Rel, string
from relctld.beam.term.etf import EtfError, decode
from relctld.beam.term.terms import Term

_AGAIN = "build the release again"


def check_boot(data: bytes, rel: Rel) -> None:
    """That it boots this version, with the applications of its .rel. Raises PackageError."""
    path = f"releases/{rel.version}/start.boot"
    try:
        term = decode(data)
    except EtfError as error:
        raise PackageError(Kind.DAMAGED, f"{path} is damaged: {error}", _AGAIN) from error
    match term:
        case ("script", (_, version), list(instructions)):
            booted = string(version) or ""
        case _:
            raise PackageError(Kind.DAMAGED, f"{path} is damaged: it is no {{script, …}}", _AGAIN)
    if booted != rel.version:
        raise PackageError(Kind.INCOMPLETE, f"{path} is of version {quoted(booted)}", _AGAIN)
    for name, told in _told(instructions):
        if (wanted := rel.applications.get(name)) != told:
            of = f"not {wanted}" if wanted else "which its .rel has not"
            raise PackageError(Kind.INCOMPLETE, f"{path} boots {quoted(name)} {quoted(told)}, {of}", _AGAIN)


def _told(instructions: list[Term]) -> Iterator[tuple[str, str]]:
    """The applications that it tells application_controller of, with their versions."""
    for each in instructions:
        match each:
            case ("kernelProcess", "application_controller", (_, _, [("application", name, list(keys))])) | (
                "apply",
                ("application", "load", [("application", name, list(keys))]),
            ):
                for key in keys:
                    match key:
                        case ("vsn", version):
                            yield str(name), string(version) or ""
