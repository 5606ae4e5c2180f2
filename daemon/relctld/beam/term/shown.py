"""Terms of a node as text: what is meant as text, and a short picture of anything else.

Rule 1: total and bounded: whatever the term is, the work is in proportion to the text asked for, not to the term.
Rule 2: what comes out can be encoded as UTF-8; what could drive a terminal stays in it, and is the client's to clean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeGuard

from relctld.beam.term.terms import Atom, BitString, Export, Fun, ImproperList, Map, Pid, Port, Reference, Term

LONGEST: Final = 100  # characters of a name or a version

_DEEPEST = 6
_DIGITS = 256  # bits of an integer that is written out
_PLAIN_ATOM = re.compile(r"[a-z][a-zA-Z0-9_@]*")


def text(term: Term, most: int = LONGEST) -> str | None:
    """An atom, a binary or a string as text of at most `most` characters; None for what is none of these."""
    match term:
        case Atom():
            return _clipped(str(term[: most + 1]), most)
        case bytes():
            return _clipped(term[: 4 * most + 4].decode(errors="replace"), most)
        case list():
            letters = [chr(item) for item in term[: most + 1] if _is_letter(item)]
            return _clipped("".join(letters), most) if len(letters) == len(term[: most + 1]) else None
    return None


def shown(term: Term, most: int) -> str:
    """A term roughly as Erlang writes it, in at most `most` characters."""
    pieces, size = [], 0
    for piece in _pieces(term, most, _DEEPEST):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            break
    return _clipped("".join(pieces), most)


def _pieces(term: Any, most: int, depth: int) -> Iterator[str]:
    match term:
        case Atom():
            name = str(term[: most + 1])
            yield name if _PLAIN_ATOM.fullmatch(name) else f"'{name}'"
        case float():
            yield repr(term)
        case int():
            bits = term.bit_length()
            yield str(term) if bits <= _DIGITS else f"#Integer<{bits} bits>"
        case bytes() | BitString():
            yield _binary(term if isinstance(term, bytes) else term.data, most)
        case list() if term and (said := text(term, most)) is not None and _is_prose(said):
            yield f'"{said}"'
        case tuple() | list() | ImproperList() | Map() | dict() if depth == 0:
            yield "..."
        case tuple():
            yield from _several("{", term, "}", most, depth)
        case list():
            yield from _several("[", term, "]", most, depth)
        case ImproperList():
            yield from _several("[", term.items, "|", most, depth)
            yield from _pieces(term.tail, most, depth - 1)
            yield "]"
        case Map() | dict():
            yield from _pairs(term, most, depth)
        case Export():
            yield f"fun {term.module[:most]}:{term.function[:most]}/{term.arity}"
        case Pid():
            yield f"<{term.node[:most]}.{term.id}.{term.serial}>"
        case Port() | Reference() | Fun():
            yield f"#{type(term).__name__}<>"
        case _:
            yield "?"


def _several(left: str, items: Iterable[Any], right: str, most: int, depth: int) -> Iterator[str]:
    yield left
    for index, item in enumerate(items):
        if index:
            yield ","
        yield from _pieces(item, most, depth - 1)
    yield right


def _pairs(pairs: Map | dict[Any, Any], most: int, depth: int) -> Iterator[str]:
    yield "#{"
    for index, key in enumerate(islice(pairs, most)):
        yield "," if index else ""
        yield from _pieces(key, most, depth - 1)
        yield " => "
        yield from _pieces(pairs[key], most, depth - 1)
    yield "}"


def _binary(data: bytes, most: int) -> str:
    try:
        said = data[: most + 1].decode()
    except UnicodeDecodeError:
        said = "\0"
    if _is_prose(said):
        return f'<<"{said}">>'
    return f"<<{','.join(map(str, data[:most]))}>>"


def _is_prose(said: str) -> bool:
    return all(letter.isprintable() or letter in "\t\r\n" for letter in said)


def _is_letter(item: object) -> TypeGuard[int]:
    return type(item) is int and (0 < item < 0xD800 or 0xDFFF < item < 0x110000)


def _clipped(said: str, most: int) -> str:
    said = said.encode("utf-8", "replace").decode()
    return said if len(said) <= most else said[: most - 1] + "…"
