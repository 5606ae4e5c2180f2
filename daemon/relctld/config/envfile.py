"""systemd's EnvironmentFile syntax: `env_file` of a release (systemd.exec(5), *EnvironmentFile=*).

    # comment, also after ;      blank lines and lines without = are skipped by systemd; here the latter are errors
    PORT=8080                    blanks around the name and the value are cut off
    GREETING="hello $USER"       nothing is substituted; in double quotes \\ escapes " \\ ` $ and a line's end only
    PATTERN='a\\b'                in single quotes nothing is special
    LIST=one \\                   outside quotes \\ takes the next character as it is, and joins lines
         two
    MIXED='a'"b"c                pieces are joined; within quotes a line's end is kept

Rule 1: what systemd takes is taken with the same result, unless it is surely a slip: a line without `=`, an open
        quote, a name that is none (`export X`). systemd drops these; here they are errors with their line.
Rule 2: values are secrets: no message holds one.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from relctld.config.files import read_text

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEWLINE = "\n\r"
_BLANK = " \t\n\r"
_ESCAPED_IN_QUOTES = '"\\`$'


class EnvFileError(Exception):
    """An environment file cannot be used: "cannot use FILE: line N: why"."""


def read_env(path: Path) -> dict[str, str]:
    """The variables of the file at `path`; raises EnvFileError. Blocks on disk."""
    try:
        return parse_env(read_text(path))
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
    except (ValueError, EnvFileError) as error:
        why = str(error)
    raise EnvFileError(f"cannot use {os.fspath(path)}: {why}")


def parse_env(text: str) -> dict[str, str]:
    """The variables of `text`, a later one wins; raises EnvFileError ("line N: why")."""
    if "\0" in text:
        raise EnvFileError(f"line {text.count(chr(10), 0, text.index(chr(0))) + 1}: a NUL character")
    return dict(_Reader(text).variables())


class _Reader:
    """Walks through the text once; `at` is where it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def variables(self) -> Iterator[tuple[str, str]]:
        while (char := self._peek()) is not None:
            if char in "#;":
                self._comment()
            elif char in _BLANK:
                self.at += 1
            else:
                yield self._name(), self._value()

    def _peek(self) -> str | None:
        return self.text[self.at] if self.at < len(self.text) else None

    def _take(self) -> str | None:
        char = self._peek()
        self.at += 1
        return char

    def _error(self, at: int, why: str) -> EnvFileError:
        return EnvFileError(f"line {self.text.count(chr(10), 0, at) + 1}: {why}")

    def _comment(self) -> None:
        """A comment ends with its line, even behind a \\ (so since systemd 254)."""
        while (char := self._take()) is not None and char not in _NEWLINE:
            pass

    def _name(self) -> str:
        start = self.at
        while (char := self._take()) != "=":
            if char is None or char in _NEWLINE:
                raise self._error(start, "expected NAME=VALUE")
        name = self.text[start : self.at - 1].strip(_BLANK)
        if re.match(r"export\s", name):
            raise self._error(start, '"export" is not known here, expected NAME=VALUE')
        if not _NAME.fullmatch(name):
            raise self._error(start, "the name of a variable is letters, digits and _, and starts with no digit")
        return name

    def _value(self) -> str:
        """Up to the end of the line. Only blanks typed as such at the end are cut, so `kept` marks what stays."""
        parts: list[str] = []
        kept, between = 0, True  # between: before the first piece, or just behind a quote
        while (char := self._take()) is not None and char not in _NEWLINE:
            if between and char in _BLANK:
                continue
            if between and char in "\"'":
                parts += self._double_quoted() if char == '"' else self._single_quoted()
                kept = len(parts)
                continue
            between = False
            if char == "\\":
                parts += self._escaped()
                kept = len(parts)
            else:
                parts.append(char)
                kept = kept if char in _BLANK else len(parts)
        return "".join(parts[:kept])

    def _escaped(self) -> str:
        char = self._take()
        return "" if char is None or char in _NEWLINE else char

    def _single_quoted(self) -> str:
        start = self.at
        end = self.text.find("'", start)
        if end < 0:
            raise self._error(start, "the quote that begins here never ends")
        self.at = end + 1
        return self.text[start:end]

    def _double_quoted(self) -> Iterator[str]:
        start = self.at
        while (char := self._take()) != '"':
            if char == "\\":
                char = self._take()
                if char is not None and char not in _ESCAPED_IN_QUOTES:
                    char = "" if char == "\n" else f"\\{char}"
            if char is None:
                raise self._error(start, "the quote that begins here never ends")
            yield char
