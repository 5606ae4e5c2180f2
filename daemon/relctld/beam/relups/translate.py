"""The instructions of appups into those that release_handler carries out, in one script.

    appups, one list each ─ expanded ─ merged ─ applications into modules ─ modules, with what they need, into
    load_object_code … point_of_no_return, suspend, load, code_change, resume, remove, purge

The result is systools' own, but for the order among modules that may be loaded in any: that is the appup's here, and
that of a hash table there.

Source: OTP's systools_rc (sasl 4.2); SASL reference manual, appup(4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any, NoReturn

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.relups.graph import component, sorted_by_need
from relctld.beam.relups.syntax import check_syntax, expanded
from relctld.beam.term.shown import shown
from relctld.beam.term.terms import Atom, Term

_BRUTAL = Atom("brutal_purge")
_NO_RETURN = Atom("point_of_no_return")
_NEW_EMULATOR, _EMULATOR = Atom("restart_new_emulator"), Atom("restart_emulator")
_OF_MODULES = ("update", "load_module", "delete_module")


@unique
class Way(StrEnum):
    """Which way a script leads: `code_change` comes after the load upwards, before it downwards."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Library:
    """An application as the scripts name it; `type` as in the .rel. `version` is a string as in Erlang."""

    name: str
    version: str
    modules: tuple[str, ...]
    type: str = "permanent"


@dataclass
class _Halves:
    """A script, before its point of no return and behind it."""

    before: list[Any] = field(default_factory=list)
    after: list[Any] = field(default_factory=list)


def translate(way: Way, scripts: Sequence[list[Term]], there: Sequence[Library], here: Sequence[Library]) -> list[Term]:
    """One low-level script of high-level ones; `there` are the applications that it leads to, `here` those that run.

    Raises PackageError where systools would refuse.
    """
    merged = _Halves()
    for script in scripts:
        halves = _split([expanded(instruction) for instruction in script])
        merged.before += halves.before
        merged.after += halves.after
    check_syntax([*merged.before, *merged.after])
    _check(merged)
    after = [_normal(each) for each in _of_applications(merged.after, there, here)]
    before, after = _of_modules(way, after, there)
    before = _merged_reads(merged.before + before)
    if _NEW_EMULATOR in after:
        after = [each for each in after if each != _NEW_EMULATOR]
        before, after = ([_NEW_EMULATOR, *before], after) if way is Way.UP else (before, [*after, _EMULATOR])
    if _EMULATOR in after:
        after = [*(each for each in after if each != _EMULATOR), _EMULATOR]
    return [*before, _NO_RETURN, *after]


def _fail(why: str) -> NoReturn:
    raise PackageError(Kind.BAD_RELUP, f"no relup can be made of the appups: {why}")


# -- halves ----------------------------------------------------------------------------------------


def _split(script: list[Term]) -> _Halves:
    """At the point of no return; what reads object code belongs before it, wherever it stands."""
    if script.count(_NO_RETURN) > 1:
        _fail("several points of no return")
    here = script.index(_NO_RETURN) if _NO_RETURN in script else -1
    before, after = script[: max(here, 0)], script[here + 1 :]
    for each in before:
        if not (_is(each, "load_object_code") or _is(each, "apply")):
            _fail(f"before a point of no return: {shown(each, 200)}")
    reads = [each for each in after if _is(each, "load_object_code")]
    return _Halves(before + reads, [each for each in after if not _is(each, "load_object_code")])


def _check(script: _Halves) -> None:
    """What hand-written low-level instructions must have beside them."""
    read = {module for each in script.before if _is(each, "load_object_code") for module in each[1][2]}
    unread = [each[1][0] for each in script.after if _is(each, "load") and each[1][0] not in read]
    if unread:
        _fail(f"no load_object_code for {unread[0]}")
    for first, then in (("suspend", "resume"), ("stop", "start")):
        held, freed = _named(script.after, first), _named(script.after, then)
        if odd := sorted(held ^ freed):
            _fail(f"only one of {first} and {then} for {odd[0]}")


def _named(script: list[Any], kind: str) -> set[str]:
    items = [item for each in script if _is(each, kind) for item in each[1]]
    return {item[0] if isinstance(item, tuple) else item for item in items}


# -- applications ----------------------------------------------------------------------------------


def _of_applications(script: list[Any], there: Sequence[Library], here: Sequence[Library]) -> list[Any]:
    found: list[Any] = []
    for each in script:
        match each:
            case ("add_application", name, kind):
                found += _started(_library(name, there), kind)
            case ("remove_application", name):
                if any(library.name == name for library in there):
                    _fail(f"{name} is removed and there")
                found += [
                    *_stopped(_library(name, here)),
                    (Atom("apply"), (Atom("application"), Atom("unload"), [name])),
                ]
            case ("restart_application", name):
                library = _library(name, there)
                found += [*_stopped(_library(name, here)), *_started(library, library.type)]
            case _:
                found.append(each)
    return found


def _library(name: str, libraries: Sequence[Library]) -> Library:
    for library in libraries:
        if library.name == name:
            return library
    _fail(f"no application {name}")


def _started(library: Library, kind: str) -> list[Any]:
    name = Atom(library.name)
    loads: list[Any] = [(Atom("add_module"), Atom(module), []) for module in library.modules]
    if kind == "none":
        return loads
    function, more = ("load", []) if kind == "load" else ("start", [Atom(kind)])
    return [*loads, (Atom("apply"), (Atom("application"), Atom(function), [name, *more]))]


def _stopped(library: Library) -> list[Any]:
    modules = [Atom(module) for module in library.modules]
    stop = (Atom("apply"), (Atom("application"), Atom("stop"), [Atom(library.name)]))
    return [stop, *((Atom("remove"), (module, _BRUTAL, _BRUTAL)) for module in modules), (Atom("purge"), modules)]


# -- modules ---------------------------------------------------------------------------------------


def _normal(each: Any) -> Any:
    """One form for each of those that are about a module."""
    match each:
        case ("update", module, change, before, behind, needs):
            return (Atom("update"), module, Atom("dynamic"), Atom("default"), change, before, behind, needs)
        case ("update", module, timeout, change, before, behind, needs):
            return (Atom("update"), module, Atom("dynamic"), timeout, change, before, behind, needs)
        case ("add_module", module, *needs):
            return (Atom("load_module"), module, _BRUTAL, _BRUTAL, needs[0] if needs else [])
        case ("delete_module", module):
            return (Atom("delete_module"), module, [])
    return each


def _of_modules(way: Way, script: list[Any], there: Sequence[Library]) -> tuple[list[Any], list[Any]]:
    """What hangs together is done together, where the first of it stands."""
    listed = {str(each[1]): each for each in script if _is_of_module(each)}
    if len(listed) != sum(map(_is_of_module, script)):
        names = [str(each[1]) for each in script if _is_of_module(each)]
        _fail(f"several instructions for {next(name for name in names if names.count(name) > 1)}")
    needs = {module: [str(need) for need in each[-1]] for module, each in listed.items()}
    for module, needed in needs.items():
        if unknown := [need for need in needed if need not in listed]:
            _fail(f"{module} needs {unknown[0]}, for which there is no instruction")
    before: list[Any] = []
    after: list[Any] = []
    done: set[str] = set()
    for each in script:
        if not _is_of_module(each):
            after.append(each)
        elif str(each[1]) not in done:
            together = component(str(each[1]), needs)
            done |= together
            ordered = sorted_by_need([module for module in listed if module in together], needs)
            reads, moves = _low(way, [listed[module] for module in ordered], there)
            before += reads
            after += moves
    return before, after


def _low(way: Way, group: list[Any], there: Sequence[Library]) -> tuple[list[Any], list[Any]]:
    """Modules that hang together, each before what it needs: what is read, and what is done."""
    updates = [each for each in group if each[0] == "update"]
    held = [each[1] if each[3] == "default" else (each[1], each[3]) for each in updates]
    suspend = [(Atom("suspend"), held)] if updates else []
    resume = [(Atom("resume"), [each[1] for each in reversed(updates)])] if updates else []
    moves = [move for each in (reversed(group) if way is Way.UP else group) for move in _moves(each)]
    reads = [_read(each[1], there) for each in group if each[0] != "delete_module"]
    if way is Way.UP:
        return reads, [*suspend, *moves, *_change(way, updates), *resume]
    dynamic = [each for each in updates if each[2] == "dynamic"]
    static = [each for each in updates if each[2] == "static"]
    return reads, [*suspend, *_change(way, dynamic), *moves, *_change(way, static), *resume]


def _moves(each: Any) -> list[Any]:
    module = each[1]
    if each[0] == "delete_module":
        return [(Atom("remove"), (module, _BRUTAL, _BRUTAL)), (Atom("purge"), [module])]
    return [(Atom("load"), (module, each[-3], each[-2]))]


def _change(way: Way, updates: list[Any]) -> list[Any]:
    states = [(each[1], each[4][1]) for each in updates if isinstance(each[4], tuple)]
    return [(Atom("code_change"), Atom(way.value), states)] if states else []


def _read(module: Atom, there: Sequence[Library]) -> Any:
    for library in there:
        if module in library.modules:
            version = [ord(char) for char in library.version]
            return (Atom("load_object_code"), (Atom(library.name), version, [module]))
    _fail(f"no application has the module {module}")


def _merged_reads(before: list[Any]) -> list[Any]:
    """One load_object_code for each application."""
    found: dict[str, tuple[Any, list[Any]]] = {}
    for each in before:
        if _is(each, "load_object_code"):
            name, version, modules = each[1]
            known = found.setdefault(str(name), (version, []))
            if known[0] != version:
                _fail(f"two versions of {name}")
            found[str(name)] = (version, _union(known[1], modules))
    reads = [(Atom("load_object_code"), (Atom(name), version, modules)) for name, (version, modules) in found.items()]
    return [*reads, *(each for each in before if not _is(each, "load_object_code"))]


def _union(first: list[Any], second: Iterable[Any]) -> list[Any]:
    return [*first, *(item for item in dict.fromkeys(second) if item not in first)]


def _is(each: Any, kind: str) -> bool:
    return isinstance(each, tuple) and bool(each) and each[0] == kind


def _is_of_module(each: Any) -> bool:
    return isinstance(each, tuple) and len(each) > 1 and each[0] in _OF_MODULES
