"""Reads Erlang terms as text, each ended by a dot: .rel, .app, .appup, RELEASES, relup, sys.config.

Rule 1: the terms are those of file:consult/1: literals, not expressions. Not read: what OTP 27 added to them
        (sigils, triple-quoted strings), sizes and types of binary segments beyond N:SIZE and "text"/utf8.
Rule 2: a string is a list of code points, as it is in Erlang.
Rule 3: time is linear in the text, nesting is bounded; whatever the text is, the worst is a ConsultError.

Source: Erlang Reference Manual, "Data Types"; OTP's erl_scan, erl_parse (normalise/1) and epp (encoding comments).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from relctld.beam.term.terms import MAX_ATOM, Atom, BitString, Export, ImproperList, Map, Term
from relctld.beam.term.termscan import ConsultError, Scanner

__all__ = ["RESERVED", "ConsultError", "consult", "consult_file_bytes"]

MAX_DEPTH = 100  # tuples, lists and maps inside each other; written by hand or by release tools, both stay below 20
MAX_SEGMENT = 4096  # bits of an N:SIZE

RESERVED = frozenset({
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case", "catch", "cond", "div",
    "end", "fun", "if", "let", "not", "of", "or", "orelse", "receive", "rem", "try", "when", "xor",
})  # fmt: skip
_CODING = re.compile(rb"coding\s*[:=]\s*(latin-1|utf-8)", re.IGNORECASE)


def consult(text: str) -> list[Term]:
    """The terms in `text`."""
    reader = _Reader(text)
    found = []
    while reader.kind != "end":
        found.append(reader.term(0))
        if reader.kind != "dot":
            reader.fail("a dot")
        reader.advance()
    return found


def consult_file_bytes(data: bytes) -> list[Term]:
    """The terms in a file's bytes: UTF-8, unless a comment in its first two lines says `coding: latin-1`."""
    comments = [line.partition(b"%")[2] for line in data.split(b"\n", 2)[:2]]
    said = next(filter(None, map(_CODING.search, comments)), None)
    encoding = "latin-1" if said and said[1].lower() == b"latin-1" else "utf-8"
    try:
        return consult(data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConsultError(f"cannot read line {line}: it is not UTF-8, and no comment says coding: latin-1") from error


class _Reader(Scanner):
    """Each method reads what begins at the current token, and ends at the token behind it."""

    def term(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            self.refuse(f"nested deeper than {MAX_DEPTH}")
        match self.kind, self.text:
            case "string", _:
                return [ord(char) for char in self.string()]
            case "atom", "fun":
                return self.export()
            case (("atom" | "quoted"), _):
                return self.atom()
            case "mark", "{":
                return tuple(self.enclosed("}", lambda: self.term(depth + 1)))
            case "mark", "[":
                return self.bracketed(depth)
            case "mark", "#{":
                return Map(self.enclosed("}", lambda: self.pair(depth + 1)))
            case "mark", "<<":
                return self.binary()
            case "mark", ("+" | "-") as sign:
                self.advance()
                return -self.number() if sign == "-" else self.number()
            case _:
                return self.number()

    def items(self, close: str, read: Callable[[], Any]) -> list[Any]:
        """What stands between commas, nothing where the mark that closes it comes at once."""
        found: list[Any] = []
        if not self.is_mark(close):
            found.append(read())
            while self.is_mark(","):
                self.advance()
                found.append(read())
        return found

    def enclosed(self, close: str, read: Callable[[], Any]) -> list[Any]:
        self.advance()
        found = self.items(close, read)
        self.take(close)
        return found

    def pair(self, depth: int) -> tuple[Any, Any]:
        key = self.term(depth)
        self.take("=>")
        return key, self.term(depth)

    def bracketed(self, depth: int) -> Term:
        self.advance()
        found = self.items("]", lambda: self.term(depth + 1))
        if not found or not self.is_mark("|"):
            self.take("]")
            return found
        self.advance()
        tail = self.term(depth + 1)
        self.take("]")
        if isinstance(tail, list):
            return found + tail
        if isinstance(tail, ImproperList):
            return ImproperList((*found, *tail.items), tail.tail)
        return ImproperList(tuple(found), tail)

    def number(self) -> int | float:
        match self.kind:
            case "integer":
                value: int | float = self.integer(self.text, 10)
            case "based":
                base, _, digits = self.text.partition("#")
                if not 2 <= self.integer(base, 10) <= 36:
                    self.refuse("a base that is not from 2 to 36")
                value = self.integer(digits, int(base))
            case "float":
                value = self.decimal()
            case "char":
                value = ord(self.unescaped(self.text[1:]))
            case _:
                self.fail("a term")
        self.advance()
        return value

    def integer(self, digits: str, base: int) -> int:
        try:
            return int(digits, base)  # which takes underscores between digits as Erlang does
        except ValueError:  # also for thousands of digits, which Python refuses to read
            self.refuse("an integer that is misspelled or too long")

    def decimal(self) -> float:
        try:
            value = float(self.text)
        except ValueError:
            self.refuse("a float that is misspelled")
        if not math.isfinite(value):
            self.refuse("a float that is too large")
        return value

    def atom(self) -> Atom:
        if self.kind == "quoted":
            name = self.unescaped(self.text[1:-1])
        elif self.kind == "atom" and self.text not in RESERVED:
            name = self.text
        else:
            self.fail("an atom")
        if len(name) > MAX_ATOM:
            self.refuse(f"an atom of more than {MAX_ATOM} characters")
        self.advance()
        return Atom(name)

    def export(self) -> Export:
        self.advance()
        module = self.atom()
        self.take(":")
        function = self.atom()
        self.take("/")
        arity = self.number()
        if not isinstance(arity, int) or arity > 255:
            self.refuse("an arity that is not from 0 to 255")
        return Export(module, function, arity)

    def string(self) -> str:
        """One string, or several side by side."""
        parts = []
        while self.kind == "string":
            before = self.end
            parts.append(self.unescaped(self.text[1:-1]))
            self.advance()
            if self.kind == "string" and self.start == before:
                self.refuse("three quotes, which mean different things to OTP 26 and 27")
        return "".join(parts)

    def binary(self) -> bytes | BitString:
        out = bytearray()
        odd = self.enclosed(">>", lambda: self.segment(out))
        if any(odd[:-1]):
            self.refuse("a binary with a broken byte that is not its last")
        return BitString(bytes(out), odd[-1]) if any(odd) else bytes(out)

    def segment(self, out: bytearray) -> int:
        """Appends a part of a binary; how many bits of the last byte it uses, 0 for all."""
        if self.kind == "string":
            text = self.string()
            if not self.is_mark("/"):
                out += bytes(ord(char) & 255 for char in text)
                return 0
            self.advance()
            if (self.kind, self.text) != ("atom", "utf8"):
                self.fail("utf8")
            self.advance()
            out += text.encode("utf-8", "surrogatepass")
            return 0
        value, size = self.signed(), 8
        if self.is_mark(":"):
            self.advance()
            size = self.signed()
            if not 0 <= size <= MAX_SEGMENT:
                self.refuse(f"a size that is not from 0 to {MAX_SEGMENT} bits")
        spare = -size % 8
        out += ((value & ((1 << size) - 1)) << spare).to_bytes((size + spare) // 8, "big")
        return size % 8

    def signed(self) -> int:
        sign = 1
        if self.is_mark("-"):
            self.advance()
            sign = -1
        value = self.number()
        if not isinstance(value, int):
            self.refuse("a binary with a float")
        return sign * value
