"""How the config complains: every problem is one line that names file, table and key.

    cannot use /etc/relctl/releases.d/web.toml: [release.web] helth: unknown key, did you mean "health"?
               |--------- file -----------|  |- table -| |key|  |------------- text -------------|

Rule: what is quoted from a file is cut short and made printable; a line stays one line.
"""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUGGESTIONS = 100  # a file full of junk is refused as fast as one with a slip of the pen


class ConfigError(Exception):
    """The config cannot be used. `problems`: all of them, one line each; of unreadable files first."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Place:
    """A table of a file: `table` is its heading, () the top of the file."""

    file: Path
    table: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> "Place":
        return Place(self.file, (*self.table, name))

    def __str__(self) -> str:
        return f"[{'.'.join(map(bare, self.table))}]" if self.table else ""


@dataclass(slots=True)
class Notes:
    """Collects what is wrong (`problems`) and what is odd (`warnings`) while files are read."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, place: Place, key: str, text: str) -> None:
        self.problems.append(_line("cannot use ", place, key, text))

    def unknown(self, place: Place, key: str, known: Iterable[str], what: str = "key") -> None:
        """Notes that `key` is not among `known`, and which it may have been meant to be."""
        hint = suggest(key, known) if len(self.problems) < _SUGGESTIONS else ""
        self.problem(place, key, f"unknown {what}{hint}")

    def warn(self, place: Place, key: str, text: str) -> None:
        self.warnings.append(_line("", place, key, text))

    def check(self) -> None:
        """Raises ConfigError if there was any problem."""
        if self.problems:
            raise ConfigError(self.problems)


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown `word`. A known word may be dotted: then its last part counts too."""
    names = {part: name for name in known for part in (name.rpartition(".")[2], name)}
    start = word[:64].lower()
    if near := difflib.get_close_matches(start, names, 1, 0.6):
        return f", did you mean {quoted(names[near[0]])}?"
    near = difflib.get_close_matches(start, [name for name in names.values() if "." not in name], 1, 0.0)
    return f", the nearest known one is {quoted(near[0])}" if near else ""


def found(raw: Any, *, secret: bool = False) -> str:
    """A TOML value as a message shows it; a secret one by its type only."""
    match raw:
        case bool():
            return "a boolean" if secret else str(raw).lower()
        case int() if secret or raw.bit_length() > 64:  # a hex literal may be too long for str()
            return "an integer"
        case float() if secret:
            return "a number"
        case int() | float():
            return str(raw)
        case str():
            return "a string" if secret else quoted(raw)
        case list():
            return "a list"
        case dict():
            return "a table"
    return "a date or time"


def quoted(text: str) -> str:
    """`text` in quotes, on one line and at most about 60 characters long."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


def bare(key: str) -> str:
    """A key as TOML writes it: quoted only where it must be."""
    return key if _BARE.fullmatch(key) else quoted(key)


def _line(start: str, place: Place, key: str, text: str) -> str:
    where = " ".join(part for part in (str(place), bare(key) if key else "") if part)
    line = f"{start}{place.file}: {where}: {text}" if where else f"{start}{place.file}: {text}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
