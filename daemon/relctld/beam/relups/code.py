"""The instructions of a compiled module, as far as an upgrade must know them.

    Code: HEAD:32 {FORMAT:32 MAX_OP:32 LABELS:32 FUNCTIONS:32, …HEAD bytes} (OP:8 operand…)… int_code_end

An operand is a compact term: three bits of tag, then a number in the same byte, the next one, or several; tag 7 has
lists, literals and typed registers.

Rule: an instruction that is not known ends the reading: `read_code` says so, and its caller must not guess.

Source: OTP's genop.tab, beam_asm, beam_disasm; erts/emulator/beam/beam_file.c.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relctld.beam.term.etf import EtfError, decode
from relctld.beam.term.terms import ImproperList, Map, Term

ARITIES: Final = (
    "1302322324523232110000211244444444444333333322222222222223331212333332110113222555421122555"
    "2101224444312111263512235777532256222213408626545454333330117155233400222343224312111630153"
)
"""How many operands each instruction has, from 1 (label) to 182 (bs_match, OTP 26); one digit each."""

MAX_LITERALS: Final = 64 << 20  # bytes

_LABEL, _FUNC_INFO, _END, _TEST_HEAP, _WAIT, _ON_LOAD, _LINE = 1, 2, 3, 16, 25, 149, 153
_TAGS = "uiaxyfhz"


class UnknownCodeError(Exception):
    """An instruction, or an operand, of a kind that we do not know."""


Operand = tuple[str, Any]
Instruction = tuple[int, list[Operand]]


@dataclass(frozen=True, slots=True)
class Code:
    """What the instructions show.

    `tuples`: those that it makes or matches, (first element, an atom; size). `waits`: it receives, and waits for ever.
    `on_load`: it runs code when it is loaded, which its attributes do not tell.
    `passes`: the functions that do nothing but answer {ok, …} with their arguments from the second on, (name, arity).
    """

    tuples: frozenset[tuple[str, int]]
    waits: bool
    on_load: bool
    passes: frozenset[tuple[str, int]]


def read_code(chunk: bytes, atoms: Sequence[str]) -> Code:
    """Raises UnknownCodeError."""
    tuples: set[tuple[str, int]] = set()
    waits = on_load = False
    passes: set[tuple[str, int]] = set()
    function, body = ("", 0), list[Instruction]()
    try:
        for op, operands in _instructions(chunk):
            waits, on_load = waits or op == _WAIT, on_load or op == _ON_LOAD
            if found := _tuple(op, operands, atoms):
                tuples.add(found)
            if op in (_FUNC_INFO, _END):
                passes |= {function} if _passes(body, function[1], atoms) else set()
                function, body = (_function(operands, atoms) if operands else ("", 0)), []
            else:
                body.append((op, operands))
    except (IndexError, struct.error) as error:
        raise UnknownCodeError from error
    return Code(frozenset(tuples), waits, on_load, frozenset(passes))


def _instructions(chunk: bytes) -> Iterator[Instruction]:
    at = 4 + struct.unpack_from(">I", chunk)[0]
    while True:
        op = chunk[at]
        at += 1
        if not 0 < op <= len(ARITIES):
            raise UnknownCodeError
        operands = []
        for _ in range(int(ARITIES[op - 1])):
            operand, at = _operand(chunk, at)
            operands.append(operand)
        yield op, operands
        if op == _END:
            return


def _operand(chunk: bytes, at: int) -> tuple[Operand, int]:
    first = chunk[at]
    tag = _TAGS[first & 7]
    if tag != "z":
        value, at = _number(chunk, at)
        return (tag, value), at
    kind, at = first >> 4, at + 1
    match kind:
        case 1:
            count, at = _number(chunk, at)
            items = []
            for _ in range(count):
                item, at = _operand(chunk, at)
                items.append(item)
            return ("list", items), at
        case 3:
            count, at = _number(chunk, at)
            for _ in range(2 * count):
                _, at = _number(chunk, at)
            return ("alloc", count), at
        case 2 | 4:
            value, at = _number(chunk, at)
            return ("literal" if kind == 4 else "float", value), at
        case 5:
            operand, at = _operand(chunk, at)
            _, at = _number(chunk, at)
            return operand, at
    raise UnknownCodeError


def _number(chunk: bytes, at: int) -> tuple[int, int]:
    first = chunk[at]
    if not first & 0x08:
        return first >> 4, at + 1
    if not first & 0x10:
        return (first & 0xE0) << 3 | chunk[at + 1], at + 2
    size, at = (first >> 5) + 2, at + 1
    if size == 9:
        more, at = _number(chunk, at)
        size += more
    if at + size > len(chunk):
        raise UnknownCodeError
    return int.from_bytes(chunk[at : at + size], "big"), at + size


def _tuple(op: int, operands: list[Operand], atoms: Sequence[str]) -> tuple[str, int] | None:
    match op, operands:
        case 159, [_, _, (_, int(size)), ("a", int(tag))] if tag:
            return atoms[tag - 1], size
        case 164, [_, ("list", [("a", int(tag)), *rest])] if tag:
            return atoms[tag - 1], 1 + len(rest)
    return None


def _function(operands: list[Operand], atoms: Sequence[str]) -> tuple[str, int]:
    _, (_, name), (_, arity) = operands
    return atoms[name - 1], arity


def _passes(body: list[Instruction], arity: int, atoms: Sequence[str]) -> bool:
    """Whether it is only {ok, Second, Third, …}, without the last argument."""
    does = [each for each in body if each[0] not in (_LABEL, _LINE, _TEST_HEAP)]
    match does:
        case [(164, [_, ("list", [("a", int(tag)), *rest])]), (19, [])] if tag and atoms[tag - 1] == "ok":
            return rest == [("x", place) for place in range(1, arity - 1)]
    return False


def read_literals(chunk: bytes | None) -> list[Term]:
    """LitT: the inflated SIZE:32, or 0 where it is not compressed; then COUNT:32 {SIZE:32 term}…

    Raises UnknownCodeError.
    """
    if not chunk:
        return []
    try:
        (size,) = struct.unpack_from(">I", chunk)
        data = _inflated(chunk[4:]) if size else chunk[4:]
        (count,) = struct.unpack_from(">I", data)
        at, found = 4, []
        for _ in range(count):
            (size,) = struct.unpack_from(">I", data, at)
            found.append(decode(data[at + 4 : at + 4 + size]))
            at += 4 + size
    except (IndexError, struct.error, zlib.error, EtfError) as error:
        raise UnknownCodeError from error
    return found


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(data, MAX_LITERALS)
    if not inflater.eof:
        raise UnknownCodeError  # cut off, or too large
    return inflated


def parts(terms: Iterable[Term]) -> Iterator[Term]:
    """The terms, and all terms inside of them."""
    todo = list(terms)
    while todo:
        term = todo.pop()
        yield term
        match term:
            case tuple() | list():
                todo += term
            case ImproperList():
                todo += [*term.items, term.tail]
            case Map():
                todo += [*term, *term.values()]
