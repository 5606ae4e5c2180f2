"""A compiled module as an upgrade sees it: which processes run it, and what of theirs it must understand.

Rule 1: what it says of itself (behaviours) comes first; where nothing is said, or it was stripped off, what it exports.
Rule 2: what cannot be read is None, never a guess: `rules` takes it for the worst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from struct import unpack_from
from typing import Any, Final

from relctld.beam.package.beamfile import read_atoms, read_beam, read_chunks
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.relups.code import Code, UnknownCodeError, parts, read_code, read_literals
from relctld.beam.term.etf import EtfError, decode
from relctld.beam.term.terms import Atom, Map, Term

_PROCESSES: Final = {
    "gen_server": (("init", 1), ("handle_call", 3), ("handle_cast", 2)),
    "gen_statem": (("init", 1), ("callback_mode", 0)),
    "gen_event": (("init", 1), ("handle_event", 2), ("handle_call", 2)),
    "gen_fsm": (("init", 1), ("handle_event", 3), ("handle_sync_event", 4)),
}
"""What a module of a behaviour must export."""
_ELIXIR: Final = {
    "Elixir.GenServer": "gen_server",
    "Elixir.GenEvent": "gen_event",
    "Elixir.GenStage": "gen_server",
    "Elixir.Supervisor": "supervisor",
    "Elixir.DynamicSupervisor": "supervisor",
    "Elixir.ConsumerSupervisor": "supervisor",
}
_SPAWNS: Final = frozenset({"erlang", "proc_lib"})
_SUPERVISORS: Final = frozenset({"supervisor", "Elixir.Supervisor", "Elixir.DynamicSupervisor"})
_STRUCT = Atom("__struct__")


@unique
class Role(StrEnum):
    """Who runs a module's code."""

    PLAIN = "plain"  # whoever calls it
    PROCESS = "process"  # processes with a state, which sys can suspend
    SUPERVISOR = "supervisor"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Module:
    """`behaviour` is OTP's word where `role` is not plain. `code` and `structs` are None where they cannot be read.

    `names`: all atoms in it. `struct`: the fields of the Elixir struct that it defines; None where it defines none.
    """

    name: str
    md5: str
    role: Role
    behaviour: str
    is_native: bool
    exports: frozenset[tuple[str, int]]
    calls: frozenset[tuple[str, str, int]]
    names: frozenset[str]
    code: Code | None
    struct: frozenset[str] | None

    @property
    def migrates(self) -> bool:
        """Whether its code_change does more than to pass the state on."""
        found = self.exports & {("code_change", 3), ("code_change", 4), ("system_code_change", 4)}
        return bool(found) and (self.code is None or not found <= self.code.passes)

    @property
    def has_code_change(self) -> bool:
        """Whether a state can be brought to it at all."""
        return bool(self.exports & {("code_change", 3), ("code_change", 4), ("system_code_change", 4)})

    @property
    def starts_children(self) -> bool:
        """Whether it lists children: a supervisor, or what starts one without a module of its own."""
        return self.role is Role.SUPERVISOR or ("Elixir.Supervisor", "start_link", 2) in self.calls

    @property
    def loops(self) -> bool:
        """Whether it spawns processes, and waits in them for messages by itself."""
        spawns = any(m in _SPAWNS and f.startswith(("spawn", "start")) for m, f, _ in self.calls)
        return spawns and (self.code is None or self.code.waits)


def read_module(data: bytes) -> Module:
    """A .beam file. Raises PackageError where it is not whole."""
    beam, chunks = read_beam(data), read_chunks(data)
    atoms = read_atoms(chunks)
    exports = frozenset((atoms[name - 1], arity) for name, arity, _ in _triples(chunks[b"ExpT"], len(atoms)))
    imports = list(_triples(chunks[b"ImpT"], len(atoms)))
    calls = frozenset((atoms[m - 1], atoms[name - 1], arity) for m, name, arity in imports if 0 < name <= len(atoms))
    try:
        literals = list(parts(read_literals(chunks.get(b"LitT"))))
        code: Code | None = _with_literals(read_code(chunks[b"Code"], atoms), literals, {name for name, _ in exports})
    except UnknownCodeError:
        literals, code = [], None
    role, behaviour = _role(beam.behaviours, exports, calls)
    return Module(
        name=beam.module,
        md5=beam.md5,
        role=role,
        behaviour=behaviour,
        is_native=beam.is_native or (code is not None and code.on_load),
        exports=exports,
        calls=calls,
        names=frozenset(atoms).union(str(term) for term in literals if isinstance(term, Atom)),
        code=code,
        struct=_struct(beam.module, literals) if ("__struct__", 0) in exports else None,
    )


def read_records(data: bytes) -> Mapping[str, tuple[str, ...]] | None:
    """The records of a module compiled with debug_info, by name with their fields; None where that was not kept."""
    try:
        chunk = read_chunks(data).get(b"Dbgi")
        debug: Any = decode(chunk) if chunk else None
    except (EtfError, PackageError):
        return None
    match debug:
        case ("debug_info_v1", "erl_abstract_code", (list(forms), _)):
            return {str(form[3][0]): tuple(map(_field, form[3][1])) for form in forms if _is_record(form)}
    return None


def _role(
    behaviours: tuple[str, ...], exports: frozenset[tuple[str, int]], calls: frozenset[tuple[str, str, int]]
) -> tuple[Role, str]:
    said = [_ELIXIR.get(name, name) for name in behaviours]
    for name in said:
        if name in ("supervisor", "supervisor_bridge"):
            return Role.SUPERVISOR, "supervisor"
        if name in _PROCESSES:
            return Role.PROCESS, name
    if ("system_code_change", 4) in exports:
        return Role.PROCESS, "special process"
    for name, wanted in _PROCESSES.items():
        if exports.issuperset(wanted):
            return Role.PROCESS, name
    if behaviours or ("init", 1) not in exports:
        return Role.PLAIN, ""
    if any(module in _SUPERVISORS for module, _, _ in calls):
        return Role.SUPERVISOR, "supervisor"
    return Role.UNKNOWN, "unknown behaviour"


def _triples(chunk: bytes, atoms: int) -> Iterator[tuple[int, int, int]]:
    if len(chunk) < 4:
        raise PackageError(Kind.BAD_BEAM, "a table of its functions is cut off")
    (count,) = unpack_from(">I", chunk)
    for at in range(4, min(4 + 12 * count, len(chunk) - 11), 12):
        first, second, third = unpack_from(">III", chunk, at)
        if 0 < first <= atoms:
            yield first, second, third


def _with_literals(code: Code, literals: list[Term], functions: set[str]) -> Code:
    """Without the {Function, Arity} that Elixir lists in each module."""
    tuples = [term for term in literals if isinstance(term, tuple) and term and isinstance(term[0], Atom)]
    meant = [t for t in tuples if not (len(t) == 2 and t[0] in functions and type(t[1]) is int)]
    return replace(code, tuples=code.tuples.union((str(term[0]), len(term)) for term in meant))


def _struct(module: str, literals: list[Term]) -> frozenset[str]:
    """The fields of the default; those of none where it is made of more than a literal."""
    for term in literals:
        if isinstance(term, Map) and term.get(_STRUCT) == module:
            return frozenset(str(key) for key in term)
    return frozenset()


def _is_record(form: Any) -> bool:
    return isinstance(form, tuple) and len(form) == 4 and form[0] == "attribute" and form[2] == "record"


def _field(field: Any) -> str:
    """{record_field, _, {atom, _, Name}}, with a default or a type around it."""
    match field:
        case ("typed_record_field", inner, _):
            return _field(inner)
        case ("record_field", _, (_, _, name), *_):
            return str(name)
    return ""
