"""Writes Erlang terms as text that file:consult/1 reads as the same terms, and so does `consult`.

Rule: literals only: a pid, a port, a reference or a closure has no such text, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from relctld.beam.term.consult import RESERVED
from relctld.beam.term.terms import Atom, BitString, Export, ImproperList, Map, Term

_PLAIN = re.compile(r"[a-z][a-zA-Z0-9_@]*")
_CODING = "%% coding: utf-8\n"


def written_file(terms: Iterable[Term]) -> bytes:
    """A file of terms, each on its own line and ended by a dot; ValueError where one has no text."""
    return (_CODING + "".join(f"{written(term)}.\n" for term in terms)).encode()


def written(term: Any) -> str:
    """A term as text; ValueError where it has none. What Python cannot nest deeper, it does not write."""
    match term:
        case Atom():
            return term if _PLAIN.fullmatch(term) and term not in RESERVED else _quoted(term, "'")
        case float():
            return _float(term)
        case int():
            return str(term)
        case bytes():
            return f"<<{','.join(map(str, term))}>>"
        case BitString():
            *whole, last = term.data
            return f"<<{','.join([*map(str, whole), f'{last >> (8 - term.bits)}:{term.bits}'])}>>"
        case list() if term and all(type(item) is int and _is_letter(item) for item in term):
            return _quoted("".join(map(chr, term)), '"')
        case list():
            return f"[{_several(term)}]"
        case tuple():
            return f"{{{_several(term)}}}"
        case ImproperList():
            return f"[{_several(term.items)}|{written(term.tail)}]"
        case Map():
            return f"#{{{','.join(f'{written(key)} => {written(term[key])}' for key in term)}}}"
        case Export():
            return f"fun {written(term.module)}:{written(term.function)}/{term.arity}"
        case _:
            raise ValueError(f"a {type(term).__name__.lower()} cannot be written as text")


def _several(items: Iterable[Any]) -> str:
    return ",".join(map(written, items))


def _float(value: float) -> str:
    """Erlang wants digits on both sides of the point."""
    digits, _, exponent = repr(value).partition("e")
    digits = digits if "." in digits else f"{digits}.0"
    return f"{digits}e{int(exponent)}" if exponent else digits


def _quoted(text: str, mark: str) -> str:
    return mark + "".join(_letter(char, mark) for char in text) + mark


def _letter(char: str, mark: str) -> str:
    if char in (mark, "\\"):
        return f"\\{char}"
    return char if char.isprintable() else f"\\x{{{ord(char):x}}}"


def _is_letter(code: int) -> bool:
    """Whether a list of these is better read as a string."""
    return code in (9, 10, 13) or (32 <= code < 0x110000 and not 0xD800 <= code <= 0xDFFF and chr(code).isprintable())
