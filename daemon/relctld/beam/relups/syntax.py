"""What may stand in an appup: the short forms of an instruction, and what each must be made of.

Source: OTP's systools_rc: expand_script/1, check_op/1; SASL reference manual, appup(4).
"""

from __future__ import annotations

from typing import Any, TypeGuard

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.term.shown import shown
from relctld.beam.term.terms import Atom, Term

_BRUTAL = Atom("brutal_purge")
_BOTH = (_BRUTAL, _BRUTAL)
_PLAIN = ("point_of_no_return", "restart_new_emulator", "restart_emulator")
_TYPES = ("none", "load", "temporary", "transient", "permanent")


def expanded(instruction: Term) -> Term:
    """The long form of an instruction; any other as it is."""
    match instruction:
        case (("load_module" | "update") as kind, module):
            change = (Atom("soft"),) if kind == "update" else ()
            return (Atom(kind), module, *change, *_BOTH, [])
        case ("update", module, "supervisor"):
            extra: tuple[Term, ...] = (Atom("advanced"), [])
            return (Atom("update"), module, Atom("static"), Atom("default"), extra, *_BOTH, [])
        case ("load_module", module, list(needs)):
            return (Atom("load_module"), module, *_BOTH, needs)
        case ("update", module, list(needs)):
            return (Atom("update"), module, Atom("soft"), *_BOTH, needs)
        case ("update", module, change) if _is_change(change):
            return (Atom("update"), module, change, *_BOTH, [])
        case ("update", module, change, list(needs)) if _is_change(change):
            return (Atom("update"), module, change, *_BOTH, needs)
        case ("add_application", name):
            return (Atom("add_application"), name, Atom("permanent"))
    return instruction


def check_syntax(script: list[Term]) -> None:
    """Raises PackageError for what is no instruction in its long form."""
    for instruction in script:
        if not _is_known(instruction):
            said = shown(instruction, 200)
            raise PackageError(Kind.BAD_RELUP, f"no relup can be made of the appups: no instruction: {said}")


def _is_known(instruction: Any) -> bool:
    match instruction:
        case Atom():
            return instruction in _PLAIN
        case ("update", Atom(), *kind, change, before, behind, list(needs)) if len(kind) <= 2:
            typed = len(kind) < 2 or kind[0] in ("static", "dynamic")
            timed = not kind or _is_timeout(kind[-1])
            return typed and timed and _is_change(change) and _are_purges(before, behind) and _are_atoms(needs)
        case ("load_module", Atom(), before, behind, list(needs)):
            return _are_purges(before, behind) and _are_atoms(needs)
        case (("add_module" | "delete_module"), Atom()):
            return True
        case (("add_module" | "delete_module"), Atom(), list(needs)):
            return _are_atoms(needs)
        case (("remove_application" | "restart_application"), Atom()):
            return True
        case ("add_application", Atom(), kind):
            return kind in _TYPES
        case ("load_object_code", (Atom(), list(), list(modules))):
            return _are_atoms(modules)
        case (("load" | "remove"), (Atom(), before, behind)):
            return _are_purges(before, behind)
        case (("purge" | "resume" | "stop" | "start"), list(modules)):
            return _are_atoms(modules)
        case ("suspend", list(items)):
            return all(isinstance(item, Atom) or _is_held(item) for item in items)
        case ("code_change", list(changes)) | ("code_change", ("up" | "down"), list(changes)):
            return all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Atom) for item in changes)
        case ("sync_nodes", _, (Atom(), Atom(), list())):
            return True
        case ("sync_nodes", _, list(nodes)):
            return _are_atoms(nodes)
        case ("apply", (Atom(), Atom(), list())):
            return True
    return False


def _is_change(term: Any) -> bool:
    return term == Atom("soft") or (isinstance(term, tuple) and len(term) == 2 and term[0] == "advanced")


def _is_held(term: Any) -> bool:
    return isinstance(term, tuple) and len(term) == 2 and isinstance(term[0], Atom) and _is_timeout(term[1])


def _is_timeout(term: Any) -> bool:
    return term in ("default", "infinity") if isinstance(term, Atom) else type(term) is int and term > 0


def _are_purges(*terms: Any) -> bool:
    return all(term in ("soft_purge", "brutal_purge") for term in terms)


def _are_atoms(terms: list[Any]) -> TypeGuard[list[Atom]]:
    return all(isinstance(term, Atom) for term in terms)
