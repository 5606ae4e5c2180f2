"""One module, before and after: the instruction that changes it, and why it may be wrong to give that.

Rule 1: a doubt is not decided here. Whoever knows the code answers it, by an appup or by naming the instruction.
Rule 2: both directions are asked: what is right upwards must be right on the way back, where one is wanted.

`docs/relup.md` has these rules as a table, for operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from relctld.beam.relups.module import Module, Role

_ANSWERS = frozenset({
    "ok", "error", "reply", "noreply", "stop", "continue", "ignore", "next_state", "keep_state", "keep_state_and_data",
    "repeat_state", "repeat_state_and_data", "stop_and_reply", "remove_handler", "swap_handler", "timeout", "local",
    "global", "via", "up", "down", "EXIT", "badmatch", "case_clause", "function_clause", "badkey", "badmap",
    "badrecord", "badarg",
})  # fmt: skip
"""First elements of tuples that are no state: what callbacks answer, names of processes, errors."""
_MODES = frozenset({"state_functions", "handle_event_function", "state_enter"})
_SHOWN = 3

Records = Mapping[str, tuple[str, ...]] | None
"""Fields by the name of the record; None where no debug_info was kept."""
Asked = Callable[[], tuple[Records, Records]]


@unique
class Change(StrEnum):
    """How a module is changed, by the words of `--as`."""

    ADD = "add"
    DELETE = "delete"
    LOAD = "load"  # load_module
    SOFT = "soft"  # update, soft: its processes are suspended meanwhile
    UPDATE = "update"  # update, advanced: and code_change brings their state along
    SUPERVISOR = "supervisor"  # update, supervisor: and init/1 says anew how the children are


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule must know besides: the structs that have other fields now, all modules of both releases, and
    whether there is to be a way back.
    """

    structs: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    back: bool = True


def change_of(before: Module | None, after: Module | None) -> Change:
    """The usual instruction."""
    if before is None:
        return Change.ADD
    if after is None:
        return Change.DELETE
    match after.role:
        case Role.SUPERVISOR:
            return Change.SUPERVISOR
        case Role.PROCESS:
            return Change.UPDATE if after.has_code_change else Change.SOFT
    return Change.LOAD


def doubts(before: Module | None, after: Module | None, around: Surroundings, records: Asked) -> Iterator[str]:
    """Why the usual instruction may be wrong, most serious first; none where it is right."""
    only = before if after is None else after if before is None else None
    if only is not None:
        yield from _one_sided(only, around, comes=before is None)
    elif before is not None and after is not None:
        yield from _changed(before, after, around, records)


def _one_sided(module: Module, around: Surroundings, *, comes: bool) -> Iterator[str]:
    """Taken away by one of the two directions."""
    if module.role is not Role.PLAIN and (around.back or not comes):
        way = "the way back takes it away" if comes else "it is removed"
        yield f"{way}, and what runs it ({module.behaviour}) would be killed"


def _changed(before: Module, after: Module, around: Surroundings, records: Asked) -> Iterator[str]:
    if before.is_native or after.is_native:
        yield "it runs native code when it is loaded (on_load or erlang:load_nif)"
    if (before.role, before.behaviour) != (after.role, after.behaviour):
        yield f"it was {_shown(before)}, and is {_shown(after)}"
    elif after.role is Role.UNKNOWN:
        yield "it exports init/1, and nothing says which behaviour it has"
    elif after.role is Role.PROCESS:
        yield from _state(before, after, around, records)
    if before.starts_children or after.starts_children:
        yield from _children(before, after, around)
    if after.role is Role.PLAIN and (before.loops or after.loops):
        yield "processes that it spawns wait for messages in its own code, where nobody can suspend them"


def _state(before: Module, after: Module, around: Surroundings, records: Asked) -> Iterator[str]:
    """Whether the new code understands the state that the old code left, and the old that of the new."""
    if before.migrates and not after.has_code_change:
        yield "its code_change is gone, so nobody brings the state of its processes along, or back"
    elif after.migrates:
        if around.back and not (after.code and ("down", 2) in after.code.tuples):
            yield "its code_change knows no {down,_}, so it takes the way back for another way up"
    else:
        yield from _shapes(before, after, around, records)


def _shapes(before: Module, after: Module, around: Surroundings, records: Asked) -> Iterator[str]:
    without = f"and no code_change of its own ({after.behaviour}) brings the state along"
    if after.behaviour == "gen_statem" and not after.has_code_change and (before.names ^ after.names) & _MODES:
        yield "its callback_mode is another, which a gen_statem asks for again only where there is a code_change"
    old, new = (found or {} for found in records())
    other = [name for name in old if name in before.names and new.get(name, old[name]) != old[name]]
    if other:
        yield f"the record {_listed(other)} has other fields, {without}"
    elif before.code is None or after.code is None:
        yield f"its code cannot be read, {without}"
    elif apart := _apart(before.code.tuples, after.code.tuples, around):
        yield f"it knows other tuples than before, {_listed(apart)}, {without}"
    if structs := sorted(around.structs & (before.names | after.names)):
        yield f"the struct {_listed(structs)} has other fields, {without}"


def _apart(before: frozenset[tuple[str, int]], after: frozenset[tuple[str, int]], around: Surroundings) -> list[str]:
    """What only the old code knows, and what the new code has made larger or smaller; new tags are new messages."""
    tags = {tag for tag, _ in before}
    lost = {each for each in before - after if each[0] not in _ANSWERS}
    grown = {each for each in after - before if around.back and each[0] in tags and each[0] not in _ANSWERS}
    return [_tuple(tag, size) for tag, size in sorted(lost | grown)]


def _tuple(tag: str, size: int) -> str:
    return f"{{{tag}{',_' * (size - 1)}}}" if size < 8 else f"{{{tag},…}} of {size}"


def _children(before: Module, after: Module, around: Surroundings) -> Iterator[str]:
    """A module more or less that it names is a child more or less, which no supervisor starts or stops by itself."""
    apart = (before.names ^ after.names) & around.released
    gone = sorted(name for name in apart if name != after.name)
    if gone:
        said = f"it starts children, and names {_listed(gone)} in one version only"
        yield f"{said}: no upgrade starts or stops a child by itself"


def _shown(module: Module) -> str:
    return f"a {module.behaviour}" if module.behaviour else "plain code"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
