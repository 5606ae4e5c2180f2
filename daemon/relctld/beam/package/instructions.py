"""The instructions of a relup's scripts: what each does, in words, and to which modules.

Only those that release_handler carries out (release_handler_1:eval/2) are known; the others of appup(4) are
translated when a relup is made. One that is unknown fails in the node, some of them after what they can undo.

Source: SASL reference manual, appup(4), "Low-level instructions"; OTP's release_handler_1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from relctld.beam.package.relfile import string
from relctld.beam.term.shown import shown
from relctld.beam.term.terms import Atom, Term

NO_RETURN = "point_of_no_return"
NEW_EMULATOR = "restart_new_emulator"  # the first of all
EMULATOR = "restart_emulator"  # the last of all
EARLY = "load_object_code"  # must come before the point of no return
_LONGEST = 200  # characters of a term that is shown
_KILLING = "killing processes that still run older code of it"
_REFUSED = "refused if a process still runs older code of it"
_PURGES = {
    ("brutal_purge", "brutal_purge"): f"{_KILLING}, or stay in what it replaces",
    ("brutal_purge", "soft_purge"): _KILLING,
    ("soft_purge", "brutal_purge"): f"{_REFUSED}, killing those that stay in what it replaces",
    ("soft_purge", "soft_purge"): _REFUSED,
}


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction. `kills`: processes that run old code of `modules` when it comes are killed; `purges`: those that
    stay in the code that it makes old may be killed too.

    `library`: the (application, version) that load_object_code reads the modules from.
    """

    kind: str
    words: str
    modules: tuple[str, ...] = ()
    kills: bool = False
    purges: bool = False
    library: tuple[str, str] = ("", "")


def read_step(instruction: Term) -> Step | None:
    """What an instruction does; None for one that release_handler does not know."""
    match instruction:
        case Atom():
            return _plain(instruction)
        case (Atom() as kind, (Atom() as module, ("brutal_purge" | "soft_purge") as before, after)) if kind in _MOVES:
            return _move(str(kind), str(module), str(before), str(after))
        case ("load_object_code", (Atom() as name, version, list(modules))):
            return _object_code(str(name), string(version), _modules(modules))
        case ("suspend", list(modules)):
            return _suspend(modules)
        case (Atom() as kind, list(modules)) if kind in _LISTS and (named := _modules(modules)) is not None:
            return Step(str(kind), _LISTS[str(kind)].format(_listed(named)), named, kind == "purge")
        case ("code_change", list(changes)):
            return _code_change("up", changes)
        case ("code_change", ("up" | "down") as way, list(changes)):
            return _code_change(str(way), changes)
        case ("sync_nodes", id, nodes):
            return Step("sync_nodes", f"wait for {shown(nodes, _LONGEST)} to come to {shown(id, _LONGEST)}")
        case ("apply", (Atom() as module, Atom() as function, list(arguments))):
            return Step("apply", f"call {module}:{function}({_inner(shown(arguments, _LONGEST))})")
    return None


_MOVES = frozenset({"load", "remove"})
_LISTS = {
    "purge": "remove the old code of {0}, killing processes that still run it",
    "resume": "resume the processes of {0}",
    "stop": "stop the processes of {0}",
    "start": "start the stopped processes of {0} again",
}
_PLAIN = {
    NO_RETURN: "point of no return: what fails from here on restarts the node",
    NEW_EMULATOR: "restart the VM with the new ERTS, kernel, stdlib and sasl, then go on",
    EMULATOR: "restart the VM",
}


def in_words(instruction: Term) -> str:
    """An instruction for people, also one that is unknown."""
    step = read_step(instruction)
    return step.words if step else f"unknown to release_handler: {shown(instruction, _LONGEST)}"


def _plain(word: Atom) -> Step | None:
    return Step(str(word), _PLAIN[word]) if word in _PLAIN else None


def _move(kind: str, module: str, before: str, after: str) -> Step:
    """A load or a remove; `after` is what becomes of the code that is old by then."""
    known = after if after == "brutal_purge" else "soft_purge"
    return Step(
        kind,
        f"{kind} {module}, {_PURGES[before, known]}",
        (module,),
        kills=before == "brutal_purge",
        purges=after == "brutal_purge",
    )


def _object_code(name: str, version: str | None, modules: tuple[str, ...] | None) -> Step | None:
    if version is None or modules is None:
        return None
    return Step(EARLY, f"read the new code of {name} {version}: {_listed(modules)}", modules, library=(name, version))


def _suspend(items: list[Term]) -> Step | None:
    """Modules, or {Module, Timeout}: ms, infinity or default."""
    words, named = [], []
    for item in items:
        match item:
            case Atom():
                named.append(str(item))
                words.append(str(item))
            case (Atom() as module, ("infinity" | "default" | int()) as patience):
                named.append(str(module))
                limit = f"{patience} ms" if isinstance(patience, int) else patience
                words.append(str(module) if limit == "default" else f"{module} ({limit} at most)")
            case _:
                return None
    return Step("suspend", f"suspend the processes of {_listed(words)}", tuple(named))


def _code_change(way: str, changes: list[Term]) -> Step | None:
    words, named = [], []
    for item in changes:
        match item:
            case (Atom() as module, extra):
                named.append(str(module))
                words.append(str(module) if extra == [] else f"{module} with {shown(extra, _LONGEST)}")
            case _:
                return None
    to = "to the new code" if way == "up" else "back to the older code"
    return Step("code_change", f"bring the state of the processes of {_listed(words)} {to}", tuple(named))


def _modules(items: list[Term]) -> tuple[str, ...] | None:
    found = tuple(str(item) for item in items if isinstance(item, Atom))
    return found if len(found) == len(items) else None


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "nothing"


def _inner(text: str) -> str:
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text
