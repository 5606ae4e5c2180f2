"""What a TOML value of the config means: one Kind for each sort of value.

Rule 1: `read` takes whatever TOML can hold and gives the value, or raises KindError; nothing else.
Rule 2: `show` is its inverse: `read(loads(show(value)))` is the value. The reference's defaults are made by it.
Rule 3: units are seconds and bytes. A boolean is never a number, a number never a string.

    duration   <number><ms|s|m|h|d>                        a fraction is allowed, no sum, no sign
    size       <number><B|kB|MB|GB|KiB|MiB|GiB>            likewise; rounded down to whole bytes
    off        switches off an optional key (None)
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from sys import intern
from typing import Any

from relctld.config.notes import found, suggest

DURATION_UNITS: Mapping[str, Fraction] = {
    "d": Fraction(86400),
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
}
SIZE_UNITS: Mapping[str, int] = {
    "GiB": 1 << 30,
    "GB": 10**9,
    "MiB": 1 << 20,
    "MB": 10**6,
    "KiB": 1 << 10,
    "kB": 10**3,
    "B": 1,
}
_NUMBER = r"([0-9]{1,40}(?:\.[0-9]{1,40})?)"
_DURATION = re.compile(_NUMBER + f"({'|'.join(DURATION_UNITS)})")
_SIZE = re.compile(_NUMBER + f"({'|'.join(SIZE_UNITS)})")
_CENTURY = 36_500 * 86_400.0
_PATH_BYTES = 4095


class KindError(Exception):
    """A value is not what the key expects; its text says why; without one, `Kind.expected` does."""


def toml(value: Any) -> str:
    """A string, a number or a boolean as TOML writes it. JSON's escapes are not TOML's beyond the BMP."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(plain)}"'


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of value: what a message calls it, how it is read and shown. A secret is never quoted."""

    expected: str
    read: Callable[[Any], Any]
    show: Callable[[Any], str] = toml
    secret: bool = False

    def explain(self, raw: Any, wrong: KindError) -> str:
        """Why `raw` was refused."""
        return str(wrong) or f"expected {self.expected}, found {found(raw, secret=self.secret)}"


def string(raw: Any) -> str:
    """`raw`, if it is a string that the kernel can take as one."""
    if not isinstance(raw, str) or "\0" in raw:
        raise KindError
    return raw


# -- numbers ---------------------------------------------------------------------------------------


def duration(least: float = 0.001, most: float = _CENTURY) -> Kind:
    """Seconds, written with a unit."""

    def read(raw: Any) -> float:
        match = _DURATION.fullmatch(string(raw))
        if match is None:
            raise KindError
        seconds = float(Fraction(match[1]) * DURATION_UNITS[match[2]])
        if not least <= seconds <= most:
            limits = f"of at least {_seconds(least)}" if seconds < least else f"of at most {_seconds(most)}"
            raise KindError(f"expected a duration {limits}, found {found(raw)}")
        return seconds

    return Kind('a duration such as "30s"', read, lambda value: f'"{_seconds(value)}"')


def size(least: int = 0, *, bare: bool = False) -> Kind:
    """Bytes, written with a unit; `bare`: an integer is a number of bytes."""

    def read(raw: Any) -> int:
        if bare and type(raw) is int:
            count = raw
        else:
            match = _SIZE.fullmatch(string(raw))
            if match is None:
                raise KindError
            count = int(Fraction(match[1]) * SIZE_UNITS[match[2]])
        if not least <= count < 1 << 62:
            limits = f"of at least {_bytes(least)}" if count < least else "below 4 EiB"
            raise KindError(f"expected a size {limits}, found {found(raw)}")
        return count

    expected = 'a size such as "50MB"' + (" or a number of bytes" if bare else "")
    return Kind(expected, read, lambda value: f'"{_bytes(value)}"')


def integer(least: int, most: int) -> Kind:
    """An integer from `least` to `most`."""

    def read(raw: Any) -> int:
        if type(raw) is not int or not least <= raw <= most:
            raise KindError
        return raw

    return Kind(f"an integer from {least} to {most}", read)


def number(least: float, most: float) -> Kind:
    """A number from `least` to `most`, with or without a fraction."""

    def read(raw: Any) -> float:
        if type(raw) not in (int, float) or not least <= raw <= most:  # not so for nan
            raise KindError
        return float(raw)

    return Kind(f"a number from {least:g} to {most:g}", read)


def umask() -> Kind:
    """A file mode mask, as octal digits in a string."""

    def read(raw: Any) -> int:
        if not re.fullmatch("0?[0-7]{3}", string(raw)):
            raise KindError
        return int(raw, 8)

    return Kind('octal digits such as "0027"', read, lambda value: f'"{value:04o}"')


def _seconds(value: float) -> str:
    exact = Fraction(Decimal(repr(value)))
    for unit, seconds in DURATION_UNITS.items():
        count = exact / seconds
        if count.denominator == 1 and (count >= 2 or (unit in ("s", "ms") and count)):
            return f"{count}{unit}"
    return f"{Decimal(repr(value)).normalize():f}s"


def _bytes(value: int) -> str:
    return next((f"{value // n}{unit}" for unit, n in SIZE_UNITS.items() if value and value % n == 0), f"{value}B")


# -- words -----------------------------------------------------------------------------------------


def flag() -> Kind:
    """True or false."""

    def read(raw: Any) -> bool:
        if not isinstance(raw, bool):
            raise KindError
        return raw

    return Kind("true or false", read)


def choice(words: Mapping[str, Any]) -> Kind:
    """One of `words`; the value is what the word stands for."""
    expected = " | ".join(words)

    def read(raw: Any) -> Any:
        if isinstance(raw, str) and raw in words:
            return words[raw]
        hint = suggest(raw, words) if isinstance(raw, str) else ""
        raise KindError(f"expected {expected}, found {found(raw)}{hint}")

    def show(value: Any) -> str:
        return toml(next(word for word, meaning in words.items() if meaning == value))

    return Kind(expected, read, show)


def matching(pattern: str, expected: str) -> Kind:
    """A string that matches `pattern` as a whole."""
    regex = re.compile(pattern)

    def read(raw: Any) -> str:
        if not regex.fullmatch(string(raw)):
            raise KindError
        return str(raw)

    return Kind(expected, read)


def secret() -> Kind:
    """Any string; it is never quoted."""
    return Kind("a string", string, secret=True)


def path() -> Kind:
    """An absolute path."""

    def read(raw: Any) -> Path:
        if not string(raw).startswith("/") or len(os.fsencode(raw)) > _PATH_BYTES:
            raise KindError
        return Path(raw)

    return Kind('an absolute path such as "/opt/web"', read, lambda value: toml(str(value)))


# -- made of others --------------------------------------------------------------------------------


def optional(kind: Kind) -> Kind:
    """`kind`, or "off" for None."""

    def read(raw: Any) -> Any:
        return None if raw == "off" else kind.read(raw)

    def show(value: Any) -> str:
        return '"off"' if value is None else kind.show(value)

    return Kind(f'{kind.expected}, or "off"', read, show, kind.secret)


def many(kind: Kind, expected: str) -> Kind:
    """A list of `kind`."""

    def read(raw: Any) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise KindError
        return tuple(item(index, value) for index, value in enumerate(raw, 1))

    def item(index: int, value: Any) -> Any:
        try:
            return kind.read(value)
        except KindError as wrong:
            raise KindError(f"item {index}: {kind.explain(value, wrong)}") from None

    return Kind(expected, read, lambda value: f"[{', '.join(map(kind.show, value))}]")


def argv() -> Kind:
    """A command and its arguments."""
    words = many(secret(), 'a command and its arguments such as ["bin/web", "foreground"]')

    def read(raw: Any) -> tuple[str, ...]:
        command = tuple(map(intern, words.read(raw)))  # many releases are started alike
        if not command or not command[0]:
            raise KindError("expected a command and its arguments, found none")
        return command

    return Kind(words.expected, read, words.show)
