"""The appup of one application, by its modules in two builds.

    what comes · what changes, each behind what it calls of the others · supervisors, whose init/1 calls any of these ·
    what goes: up and, with what comes and what goes exchanged, down

A module names those that it calls as what it needs: systools then suspends callers first, and loads what they call
first. Only modules of the same application are named, so the appup holds without the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relctld.beam.relups.graph import sorted_by_need
from relctld.beam.relups.module import Module
from relctld.beam.relups.rules import Change
from relctld.beam.term.terms import Atom

_TURNED = {Change.ADD: Change.DELETE, Change.DELETE: Change.ADD}


@dataclass(frozen=True, slots=True)
class Scripts:
    """The instructions of an appup, in its own words; `down` is None where it has no way back."""

    up: list[Any]
    down: list[Any] | None


def scripts(changes: Mapping[str, Change], before: Mapping[str, Module], after: Mapping[str, Module]) -> Scripts:
    """`changes`: what is done upwards with each module that is not the same in both."""
    down = {name: _TURNED.get(change, change) for name, change in changes.items()}
    return Scripts(_script(changes, after), _script(down, before))


def restarted(application: str) -> Scripts:
    """The application is stopped, and started with the other code."""
    return Scripts(*([(Atom("restart_application"), Atom(application))] for _ in range(2)))


def new_emulator() -> Scripts:
    """The VM ends, and a new one goes on: for what no running VM can change."""
    return Scripts([Atom("restart_new_emulator")], [Atom("restart_new_emulator")])


def _script(changes: Mapping[str, Change], code: Mapping[str, Module]) -> list[Any]:
    """`code` are the modules that it leads to."""
    moved = sorted(name for name, change in changes.items() if change not in (Change.DELETE, Change.SUPERVISOR))
    needs = {name: sorted({called for called, _, _ in code[name].calls} & set(moved) - {name}) for name in moved}
    ordered = sorted_by_need(moved[::-1], needs)[::-1]
    ordered.sort(key=lambda name: changes[name] is not Change.ADD)
    moves = [_move(name, changes[name], needs[name]) for name in ordered]
    supervisors = [_supervisor(name) for name in sorted(changes) if changes[name] is Change.SUPERVISOR]
    gone = [(Atom("delete_module"), Atom(name)) for name in sorted(changes) if changes[name] is Change.DELETE]
    return [*moves, *supervisors, *gone]


def _move(name: str, change: Change, needs: list[str]) -> Any:
    more = ([Atom(need) for need in needs],) if needs else ()
    match change:
        case Change.ADD:
            return (Atom("add_module"), Atom(name), *more)
        case Change.SOFT:
            return (Atom("update"), Atom(name), Atom("soft"), *more)
        case Change.UPDATE:
            return (Atom("update"), Atom(name), (Atom("advanced"), []), *more)
    return (Atom("load_module"), Atom(name), *more)


def _supervisor(name: str) -> Any:
    return (Atom("update"), Atom(name), Atom("supervisor"))
