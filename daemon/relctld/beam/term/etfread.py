"""Reads a term from the external term format: `etf.decode` without its envelope; the tags and the error of both.

Rule 1: no recursion, and nothing is allocated on a count's word: each element it promises must have its byte in
        what is left. Time is linear in the bytes.
Rule 2: a byte takes up to 64 bytes once decoded (a [] in a list), and a microsecond: who reads from a peer bounds
        the frame and its terms.

Source: ERTS User's Guide, "External Term Format" (erl_ext_dist); the checks are those of erts/emulator/beam/external.c.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

from relctld.beam.term.terms import (
    MAX_ATOM,
    Atom,
    BitString,
    Export,
    Fun,
    ImproperList,
    Map,
    Pid,
    Port,
    Reference,
    Term,
)

MAX_DEPTH = 512  # tuples, lists and maps inside each other; in both directions
MAX_REFERENCE = 5  # words
MIN_FUN = 29  # bytes of its fields of fixed size

SMALL_INTEGER, INTEGER, NEW_FLOAT, FLOAT, SMALL_BIG, LARGE_BIG = 97, 98, 70, 99, 110, 111
ATOM_UTF8, SMALL_ATOM_UTF8, ATOM, SMALL_ATOM = 118, 119, 100, 115
SMALL_TUPLE, LARGE_TUPLE, NIL, STRING, LIST, MAP, BINARY, BIT_BINARY = 104, 105, 106, 107, 108, 116, 109, 77
PID, NEW_PID, PORT, NEW_PORT, V4_PORT = 103, 88, 102, 89, 120
REFERENCE, NEW_REFERENCE, NEWER_REFERENCE, NEW_FUN, EXPORT, COMPRESSED = 101, 114, 90, 112, 113, 80
_IMPROPER, _WHOLE = -1, -2  # what is being read that has no tag of its own


_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_i32 = struct.Struct(">i").unpack_from
_f64 = struct.Struct(">d").unpack_from


class EtfError(ValueError):
    """Bytes that are no term, or a value that is none."""


def read(data: bytes, pos: int, most: int) -> tuple[Term, int]:  # noqa: PLR0915  # a call per element halves its speed
    """One term with at most `most` inside it, without recursion.

    `items` is what the innermost tuple, list or map has, `left` what it lacks. Slices may run over the end: `pos` then
    stands behind it, where nothing more is read, and is checked once, last.
    """
    total = len(data)
    atoms: dict[bytes, Atom] = {}
    outer: list[tuple[int, list[Any], int]] = []
    items: list[Any] = []
    kind, left = _WHOLE, 1
    value: Any
    while True:
        tag = data[pos]
        if tag == SMALL_INTEGER:
            value = data[pos + 1]
            pos += 2
        elif tag == INTEGER:
            (value,) = _i32(data, pos + 1)
            pos += 5
        elif tag == SMALL_ATOM_UTF8:
            start, pos = pos + 2, pos + 2 + data[pos + 1]
            name = data[start:pos]
            value = atoms.get(name)
            if value is None:
                value = atoms[name] = _name(name, "utf-8")
        elif tag == BINARY:
            start, pos = pos + 5, pos + 5 + _u32(data, pos + 1)[0]
            value = data[start:pos]
        elif tag in _OPENS:
            if tag == SMALL_TUPLE:
                count = data[pos + 1]
                pos += 2
            else:
                count = _u32(data, pos + 1)[0] * (2 if tag == MAP else 1)
                pos += 5
            if count:
                outer.append((kind, items, left))
                kind, items, left = tag, [], count
                most -= count
                if count > total - pos or most < 0 or len(outer) > MAX_DEPTH:
                    raise _refused(count, total - pos, most)
                continue
            if tag == LIST:
                continue  # no items, then a tail: the tail is the term
            value = Map() if tag == MAP else ()
        elif reader := _READERS.get(tag):
            value, pos = reader(data, pos)
        else:
            raise EtfError(f"cannot decode a term: unknown tag {tag}")
        items.append(value)
        left -= 1
        while not left:
            if kind == SMALL_TUPLE:
                value = tuple(items)
            elif kind == LIST:
                tag = data[pos]
                if tag == LIST:  # a list for a tail goes on with this one
                    (left,) = _u32(data, pos + 1)
                    pos += 5
                    most -= left
                    if left > total - pos or most < 0:
                        raise _refused(left, total - pos, most)
                    continue
                if tag not in (NIL, STRING):
                    kind, left = _IMPROPER, 1
                    break
                tail, pos = _READERS[tag](data, pos)
                items += tail
                value = items
            elif kind == _WHOLE:
                if pos > total:
                    raise EtfError("cannot decode a term: it is cut off")
                return items[0], pos
            else:
                value = _closed(kind, items)
            kind, items, left = outer.pop()
            items.append(value)
            left -= 1


def _refused(count: int, rest: int, most: int) -> EtfError:
    if count > rest:
        return EtfError(f"cannot decode a term: {count} elements in {rest} bytes")
    if most < 0:
        return EtfError(f"cannot decode a term: {-most} terms too many in it")
    return EtfError(f"cannot decode a term: nested deeper than {MAX_DEPTH}")


def _closed(kind: int, items: list[Any]) -> Term:
    if kind == _IMPROPER:
        return ImproperList(tuple(items[:-1]), items[-1])
    if kind != MAP:
        return tuple(items)
    found = Map.flat(items)
    if len(found) * 2 != len(items):
        raise EtfError("cannot decode a term: a map has a key twice")
    return found


def _name(name: bytes, encoding: str) -> Atom:
    try:
        atom = Atom(name, encoding)
    except UnicodeDecodeError as error:
        raise EtfError(f"cannot decode a term: an atom is not UTF-8: {error.reason}") from error
    if len(atom) > MAX_ATOM:
        raise EtfError(f"cannot decode a term: an atom of {len(atom)} characters")
    return atom


# Each of these reads the term whose tag stands at `pos`.


def _atom(data: bytes, pos: int) -> tuple[Atom, int]:
    tag = data[pos]
    if tag in (SMALL_ATOM_UTF8, SMALL_ATOM):
        start, size = pos + 2, data[pos + 1]
    elif tag in (ATOM_UTF8, ATOM):
        start, size = pos + 3, _u16(data, pos + 1)[0]
    else:
        raise EtfError(f"cannot decode a term: tag {tag} where an atom must be")
    end = start + size
    return _name(data[start:end], "utf-8" if tag in (SMALL_ATOM_UTF8, ATOM_UTF8) else "latin-1"), end


def _identifier(data: bytes, pos: int) -> tuple[Pid | Port, int]:
    make, fields = _IDENTIFIERS[data[pos]]
    node, pos = _atom(data, pos + 1)
    return make(node, *fields.unpack_from(data, pos)), pos + fields.size


def _old_reference(data: bytes, pos: int) -> tuple[Reference, int]:
    node, pos = _atom(data, pos + 1)
    return Reference(node, data[pos + 4], _u32(data, pos)), pos + 5


def _reference(data: bytes, pos: int) -> tuple[Reference, int]:
    (count,) = _u16(data, pos + 1)
    if not 1 <= count <= MAX_REFERENCE:
        raise EtfError(f"cannot decode a term: a reference of {count} words")
    fields = _REFERENCES[data[pos]][count]
    node, pos = _atom(data, pos + 3)
    first, *ids = fields.unpack_from(data, pos)
    return Reference(node, first, tuple(ids)), pos + fields.size


def _fun(data: bytes, pos: int) -> tuple[Fun, int]:
    (size,) = _u32(data, pos + 1)  # of all that follows the tag
    if size < MIN_FUN:
        raise EtfError(f"cannot decode a term: a fun of {size} bytes")
    end = pos + 1 + size
    return Fun(data[pos:end]), end


def _export(data: bytes, pos: int) -> tuple[Export, int]:
    module, pos = _atom(data, pos + 1)
    function, pos = _atom(data, pos)
    if data[pos] != SMALL_INTEGER:
        raise EtfError(f"cannot decode a term: tag {data[pos]} where an arity must be")
    return Export(module, function, data[pos + 1]), pos + 2


def _big(data: bytes, pos: int) -> tuple[int, int]:
    small = data[pos] == SMALL_BIG
    size = data[pos + 1] if small else _u32(data, pos + 1)[0]
    pos += 2 if small else 5
    end = pos + 1 + size
    magnitude = int.from_bytes(data[pos + 1 : end], "little")
    return -magnitude if data[pos] else magnitude, end


def _float(data: bytes, pos: int) -> tuple[float, int]:
    if data[pos] == NEW_FLOAT:
        value, end = _f64(data, pos + 1)[0], pos + 9
    else:
        end = pos + 32
        text = data[pos + 1 : end].rstrip(b"\0")
        value = float(text) if re.fullmatch(rb" ?-?\d\.\d+e[+-]\d+", text) else math.nan
    if not math.isfinite(value):
        raise EtfError("cannot decode a term: a float that is no number")
    return value, end


def _bits(data: bytes, pos: int) -> tuple[bytes | BitString, int]:
    (size,), bits, pos = _u32(data, pos + 1), data[pos + 5], pos + 6
    value = data[pos : pos + size]
    if not value or not 1 <= bits <= 8:
        raise EtfError(f"cannot decode a term: a bitstring of {len(value)} bytes, {bits} bits in the last")
    return value if bits == 8 else BitString(value, bits), pos + size


def _string(data: bytes, pos: int) -> tuple[list[int], int]:
    end = pos + 3 + _u16(data, pos + 1)[0]
    return list(data[pos + 3 : end]), end


def _nil(_data: bytes, pos: int) -> tuple[list[Term], int]:
    return [], pos + 1


_IDENTIFIERS: dict[int, tuple[Callable[..., Pid | Port], struct.Struct]] = {
    PID: (Pid, struct.Struct(">IIB")),
    NEW_PID: (Pid, struct.Struct(">III")),
    PORT: (Port, struct.Struct(">IB")),
    NEW_PORT: (Port, struct.Struct(">II")),
    V4_PORT: (Port, struct.Struct(">QI")),
}
_REFERENCES = {
    tag: [struct.Struct(f">{creation}{count}I") for count in range(MAX_REFERENCE + 1)]
    for tag, creation in ((NEW_REFERENCE, "B"), (NEWER_REFERENCE, "I"))
}
_OPENS = frozenset({SMALL_TUPLE, LARGE_TUPLE, LIST, MAP})
_READERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    NIL: _nil,
    STRING: _string,
    **dict.fromkeys((ATOM_UTF8, ATOM, SMALL_ATOM), _atom),
    **dict.fromkeys(_IDENTIFIERS, _identifier),
    REFERENCE: _old_reference,
    **dict.fromkeys((NEW_REFERENCE, NEWER_REFERENCE), _reference),
    NEW_FUN: _fun,
    EXPORT: _export,
    **dict.fromkeys((SMALL_BIG, LARGE_BIG), _big),
    **dict.fromkeys((NEW_FLOAT, FLOAT), _float),
    BIT_BINARY: _bits,
}
