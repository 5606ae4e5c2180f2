"""The Erlang terms that Python has no type for; the others are int, float, bytes (a binary), tuple and list.

Rule 1: everything here is immutable and compares by value; nothing is interned, so no peer can fill a table of ours.
Rule 2: an atom is always an Atom, also true, false and undefined; a bool is only ever something to encode.
Rule 3: the keys of a Map differ where Erlang's =:= tells them apart (OTP 27 and later, for 0.0 and -0.0).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

MAX_ATOM = 255  # characters
PLAIN_INT = 1 << 60  # larger integers may share one hash: a gift to who wants a dict to crawl


class Atom(str):
    """An atom by its name; equal to the str of the same name, which by itself is no term."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


@dataclass(frozen=True, slots=True)
class Pid:
    """A process of a node's incarnation (`creation`)."""

    node: Atom
    id: int
    serial: int
    creation: int


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a node's incarnation."""

    node: Atom
    id: int
    creation: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference or an alias: one to five words."""

    node: Atom
    creation: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """fun Module:Function/Arity."""

    module: Atom
    function: Atom
    arity: int


@dataclass(frozen=True, slots=True)
class Fun:
    """A closure as it came, its tag first: good for nothing but to be sent back."""

    external: bytes


@dataclass(frozen=True, slots=True)
class BitString:
    """A bitstring whose last byte is used in part: its upper `bits` bits, 1 to 7; the rest is zero."""

    data: bytes
    bits: int

    def __post_init__(self) -> None:
        if not self.data or not 1 <= self.bits <= 7:
            raise ValueError(f"cannot make a bitstring: {len(self.data)} bytes, {self.bits} bits in the last")
        unused = self.data[-1] & (0xFF >> self.bits)
        if unused:
            object.__setattr__(self, "data", self.data[:-1] + bytes([self.data[-1] ^ unused]))


@dataclass(frozen=True, slots=True)
class ImproperList:
    """[item, … | tail], where the tail is no list."""

    items: tuple[Term, ...]
    tail: Term

    def __post_init__(self) -> None:
        if not self.items or isinstance(self.tail, list | ImproperList):
            raise ValueError("cannot make an improper list: it needs items, and a tail that is no list")


_QUICK = frozenset({Atom, bytes})  # the kinds of keys that are their own identity
_NONE: dict[Any, Any] = {}  # shared, never written: most maps have no other keys


class Map(Mapping["Term", "Term"]):
    """A map; of several pairs with the same key the last one counts, as in a dict.

    A key is looked up by its identity: an atom, a binary or a machine-sized integer is its own,
    any other term goes by its fingerprint. So no key must be hashable, and none compares deeply.
    """

    __slots__ = ("_fingerprint", "_keys", "_values")

    def __init__(self, pairs: Iterable[tuple[Term, Term]] = ()) -> None:
        self._values: dict[Any, Term] = {}  # by identity
        self._keys: dict[Any, Term] = _NONE  # by identity, where that is a fingerprint
        self._fingerprint = b""
        keys = {}
        for key, value in pairs:
            identity = _identity(key)
            self._values[identity] = value
            if type(identity) is tuple:
                keys[identity] = key
        if keys:
            self._keys = keys

    @classmethod
    def flat(cls, items: list[Any]) -> Map:
        """From [key, value, key, value, …]; quick where all keys are atoms and binaries."""
        keys = items[::2]
        if not _QUICK.issuperset(map(type, keys)):
            return cls(zip(keys, items[1::2], strict=True))
        found = cls.__new__(cls)
        found._values = dict(zip(keys, items[1::2], strict=True))
        found._keys = _NONE
        found._fingerprint = b""
        return found

    def __getitem__(self, key: Term) -> Term:
        identity = _identity(key)
        if identity not in self._values:
            raise KeyError(key)
        return self._values[identity]

    def get(self, key: Term, default: Any = None) -> Any:
        return self._values.get(_identity(key), default)

    def __contains__(self, key: object) -> bool:
        return _identity(key) in self._values

    def __iter__(self) -> Iterator[Term]:
        return (self._keys.get(identity, identity) for identity in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        """The same keys as by =:=, in any order, with values that Python finds equal."""
        return self._values == other._values if isinstance(other, Map) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._values))

    def __repr__(self) -> str:
        return f"Map([{', '.join(f'({key!r}, {self[key]!r})' for key in self)}])"

    def fingerprint(self) -> bytes:
        """What =:= compares, in 20 bytes. Kept: maps in keys of maps in keys cost their bytes only once."""
        if not self._fingerprint:
            pairs = sorted((_fingerprint(identity), _fingerprint(value)) for identity, value in self._values.items())
            self._fingerprint = blake2b(b"".join(key + value for key, value in pairs), digest_size=20).digest()
        return self._fingerprint


Term: TypeAlias = (
    "Atom | int | float | bytes | tuple[Term, ...] | list[Term] | Map | dict[Term, Term]"
    " | Pid | Port | Reference | Export | Fun | BitString | ImproperList"
)


def _identity(key: Any) -> object:
    kind = type(key)
    if kind in _QUICK or (kind is int and -PLAIN_INT < key < PLAIN_INT):
        return key
    if kind is bool:
        return Atom("true" if key else "false")
    return (_fingerprint(key),)


def _fingerprint(term: Any) -> bytes:
    """A digest that two terms share only if =:= holds: each kind begins with its own letter and its size."""
    digest = blake2b(digest_size=20)
    todo = [term]
    while todo:
        term = todo.pop()
        match term:
            case tuple() | list():
                digest.update(b"%c%d;" % (b"tl"[isinstance(term, list)], len(term)))
                todo += term
            case bool() | Atom():
                name = str(term).lower() if isinstance(term, bool) else term
                digest.update(b"a%d;%b" % (len(name), name.encode("utf-8", "surrogatepass")))
            case bytes():
                digest.update(b"b%d;%b" % (len(term), term))
            case int():
                size = term.bit_length() // 8 + 1
                digest.update(b"i%d;%b" % (size, term.to_bytes(size, "big", signed=True)))
            case float():
                digest.update(b"f" + struct.pack(">d", term))
            case Map() | dict():
                digest.update(b"m" + (term if isinstance(term, Map) else Map(term.items())).fingerprint())
            case Pid() | Port() | Reference() | Export() | Fun() | BitString() | ImproperList():
                digest.update(b"%b;" % type(term).__name__.encode())
                todo += (getattr(term, name) for name in term.__slots__)
            case _:
                raise ValueError(f"cannot use {term!r} as a key: a {type(term).__name__} is not an Erlang term")
    return digest.digest()
