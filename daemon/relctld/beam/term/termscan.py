"""The tokens of Erlang terms as text: what `consult` reads from, and its error.

Source: Erlang Reference Manual, "Data Types" and "Character Set"; OTP's erl_scan.
"""

from __future__ import annotations

import re
from typing import NoReturn

_SPACE = r"\x00-\x20\x80-\xa0"
_ESCAPE = r"\\(?:x\{[0-9a-fA-F]++\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)"
# No text makes these go back far: what repeats is a set of characters, possessively, or begins with a backslash.
# Groups are not possessive: Python before 3.11.5 may end them behind what they matched (gh-106052).
_TOKEN = re.compile(
    rf"(?P<space>[{_SPACE}]++|%[^\n]*+)"
    rf"|(?P<dot>\.(?=[{_SPACE}%]|\Z))"
    r"|(?P<float>[0-9][0-9_]*+\.[0-9][0-9_]*+(?:[eE][+-]?[0-9][0-9_]*+)?)"
    r"|(?P<based>[0-9][0-9_]*+\#[0-9a-zA-Z][0-9a-zA-Z_]*+)"
    r"|(?P<integer>[0-9][0-9_]*+)"
    rf"|(?P<char>\$(?:{_ESCAPE}|[^\\]))"
    r"|(?P<atom>[a-z\xdf-\xf6\xf8-\xff][0-9A-Za-z_@\xc0-\xd6\xd8-\xf6\xf8-\xff]*+)"
    r"|(?P<quoted>'[^'\\]*+(?:\\.[^'\\]*+)*')"
    r'|(?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*")'
    r"|(?P<mark><<|>>|=>|\#\{|[{}\[\],|:/+-])",
    re.DOTALL,
)
_ESCAPED = re.compile(_ESCAPE, re.DOTALL)
_LETTERS = {"b": 8, "d": 127, "e": 27, "f": 12, "n": 10, "r": 13, "s": 32, "t": 9, "v": 11}
_NAMES = {"end": "the end", "atom": "this word", "quoted": "this atom", "based": "this integer"}


class ConsultError(ValueError):
    """Text that is no row of terms; says the line and what was expected there."""


class Scanner:
    """The text from one token on: `kind` is a group of _TOKEN, or "end"; `text` what it matched."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.start = self.end = 0
        self.advance()

    def advance(self) -> None:
        """To the next token that is not white space."""
        while True:
            self.start = self.end
            match = _TOKEN.match(self._source, self.start)
            if match is None:
                self.kind, self.text = "mark", self._source[self.start : self.start + 1]
                if self.text:
                    self.fail("a term")
                self.kind = "end"
                return
            self.kind, self.text, self.end = match.lastgroup or "", match[0], match.end()
            if self.kind != "space":
                return

    def fail(self, expected: str) -> NoReturn:
        # Only punctuation is shown: the rest may be a password of a sys.config.
        found = repr(self.text) if self.kind in ("mark", "dot") else _NAMES.get(self.kind, f"this {self.kind}")
        self.refuse(f"{expected} expected, not {found}")

    def refuse(self, why: str) -> NoReturn:
        line = self._source.count("\n", 0, self.start) + 1
        raise ConsultError(f"cannot read line {line}: {why}")

    def is_mark(self, mark: str) -> bool:
        return self.kind == "mark" and self.text == mark

    def take(self, mark: str) -> None:
        if not self.is_mark(mark):
            self.fail(repr(mark))
        self.advance()

    def unescaped(self, text: str) -> str:
        return _ESCAPED.sub(self._character, text) if "\\" in text else text

    def _character(self, match: re.Match[str]) -> str:
        escape = match[0][1:]
        if escape[0] == "x":
            code = int(escape.strip("x{}") or "-1", 16)
        elif escape[0] in "01234567":
            code = int(escape, 8)
        elif escape[0] == "^":
            code = ord(escape[1]) & 31 if len(escape) > 1 else -1
        else:
            code = _LETTERS.get(escape, ord(escape))
        if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            self.refuse("an escape that is no character")
        return chr(code)
