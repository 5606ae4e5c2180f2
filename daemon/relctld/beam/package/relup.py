"""relup: the scripts that lead to a version, and from it back to others.

{Vsn, [{UpFromVsn, Descr, [Instruction]}, …], [{DownToVsn, Descr, [Instruction]}, …]}.

release_handler goes from FROM to TO by the relup of TO, where it leads up from FROM; else by that of FROM, where it
leads down to TO (release_handler:get_rh_script/4).

Source: SASL reference manual, relup(4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relctld.beam.package.instructions import EARLY, EMULATOR, NEW_EMULATOR, NO_RETURN, Step, in_words, read_step
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.relfile import string, terms
from relctld.beam.term.shown import shown, text
from relctld.beam.term.terms import Term

__all__ = ["Relup", "Script", "in_words", "read_relup"]

BASE = ("kernel", "stdlib", "sasl")
"""The applications that a new emulator begins with; all others follow by the relup."""
_LONGEST = 200  # characters of a description


@dataclass(frozen=True, slots=True)
class Script:
    """What release_handler does to bring a node to the version `to`."""

    to: str
    description: str
    instructions: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Relup:
    """The relup of a version: `ups` by the version they come from, `downs` by the one they lead to."""

    version: str
    ups: Mapping[str, Script]
    downs: Mapping[str, Script]


def read_relup(data: bytes) -> Relup:
    """A relup file. Raises PackageError."""
    match terms(data, "the relup"):
        case [(version, list(ups), list(downs))] if own := string(version):
            from_there, to_there = _scripts(ups), _scripts(downs)
            return Relup(
                own,
                {come_from: Script(own, *script) for come_from, script in from_there.items()},
                {to: Script(to, *script) for to, script in to_there.items()},
            )
    raise PackageError(Kind.DAMAGED, "the relup is damaged: it is no {Version, Ups, Downs}")


def _scripts(items: list[Term]) -> dict[str, tuple[str, tuple[Term, ...]]]:
    """By version; of two for the same one release_handler takes the first."""
    found: dict[str, tuple[str, tuple[Term, ...]]] = {}
    for item in items:
        match item:
            case (version, description, list(instructions)) if name := string(version):
                said = text(description, _LONGEST)
                said = shown(description, _LONGEST) if said is None else said
                found.setdefault(name, (said, tuple(instructions)))
            case _:
                raise PackageError(Kind.DAMAGED, "the relup is damaged: a script is no {Version, Description, […]}")
    return found


# -- what a script will do -------------------------------------------------------------------------


def steps(script: Script) -> tuple[Step, ...]:
    """Its instructions, those that release_handler does not know left out."""
    return tuple(step for step in map(read_step, script.instructions) if step)


def modules_loaded(script: Script) -> tuple[str, ...]:
    """The modules whose new code it loads."""
    return _modules(step for step in steps(script) if step.kind == "load")


def modules_removed(script: Script) -> tuple[str, ...]:
    """The modules whose code it takes away."""
    return _modules(step for step in steps(script) if step.kind == "remove")


def modules_killing(script: Script) -> tuple[str, ...]:
    """The modules of which it kills each process that runs old code when it comes."""
    return _modules(step for step in steps(script) if step.kills)


def modules_sparing(script: Script) -> tuple[str, ...]:
    """The modules of which no process may run old code when it comes: it would be refused."""
    return _modules(step for step in steps(script) if step.kind in ("load", "remove") and not step.kills)


def modules_purged(script: Script) -> tuple[str, ...]:
    """The modules whose replaced code is taken away after it, with the processes that stay there."""
    return _modules(step for step in steps(script) if step.purges)


def suspended(script: Script) -> tuple[str, ...]:
    """The modules whose processes it suspends."""
    return _modules(step for step in steps(script) if step.kind == "suspend")


def stopped(script: Script) -> tuple[str, ...]:
    """The modules whose processes it stops."""
    return _modules(step for step in steps(script) if step.kind == "stop")


def objects(script: Script) -> tuple[Step, ...]:
    """What it reads from files before it changes anything: `library` and `modules` of each."""
    return tuple(step for step in steps(script) if step.kind == EARLY)


def called(script: Script, function: str) -> tuple[str, ...]:
    """The applications for which it calls this function of `application`: start, stop."""
    found = []
    for instruction in script.instructions:
        match instruction:
            case ("apply", ("application", name, [application, *_])) if name == function:
                found.append(str(application))
    return tuple(found)


def restarts_emulator(script: Script) -> bool:
    """Whether the VM must end for it."""
    return begins_anew(script) or ends_anew(script)


def begins_anew(script: Script) -> bool:
    """Whether a new emulator carries it out."""
    return NEW_EMULATOR in script.instructions


def ends_anew(script: Script) -> bool:
    """Whether the VM ends once it is carried out."""
    return EMULATOR in script.instructions


def booted(script: Script, applications: Iterable[str]) -> list[str]:
    """Of these, the applications whose code comes with a VM that it starts."""
    return [name for name in applications if ends_anew(script) or (begins_anew(script) and name in BASE)]


def before_restart(script: Script) -> tuple[Term, ...]:
    """What is carried out in the VM that ends then; all, where none ends."""
    here = script.instructions.index(EMULATOR) if ends_anew(script) else None
    return script.instructions[:here]


def faults(script: Script) -> tuple[str, ...]:
    """What release_handler would refuse or stumble over, though it reads the script: words, one per fault."""
    before, after = _halves(script)
    unknown = [in_words(item) for item in script.instructions if read_step(item) is None]
    late = [in_words(item) for item in after if (step := read_step(item)) and step.kind == EARLY]
    read = {module for step in objects(script) for module in step.modules}
    unread = [module for module in modules_loaded(script) if module not in read]
    return (
        *unknown,
        *(f"not before a point of no return: {words}" for words in late),
        *(f"loads {module}, which no load_object_code names" for module in unread),
        *(f"loads {module} twice" for module in _twice(script)),
        *(f"before the point of no return: {words}" for words in _too_early(before)),
        *(f"not at its beginning: {in_words(item)}" for item in script.instructions[1:] if item == NEW_EMULATOR),
        *(f"not at its end: {in_words(item)}" for item in script.instructions[:-1] if item == EMULATOR),
    )


def _halves(script: Script) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """Before the first point of no return, and from there on; without one all comes after it."""
    here = next((place for place, item in enumerate(script.instructions) if item == NO_RETURN), 0)
    return script.instructions[:here], script.instructions[here:]


def _twice(script: Script) -> list[str]:
    """release_handler forgets the code that it loaded."""
    loads = [step.modules[0] for step in steps(script) if step.kind == "load"]
    reads = [module for step in objects(script) for module in step.modules]
    return [module for module in dict.fromkeys(loads) if 0 < reads.count(module) < loads.count(module)]


def _too_early(before: Iterable[Term]) -> list[str]:
    """What changes the node when the version is merely checked."""
    early = (EARLY, "apply", "sync_nodes", NEW_EMULATOR)
    return [step.words for step in map(read_step, before) if step and step.kind not in early]


def _modules(found: Iterable[Step]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(module for step in found for module in step.modules))
