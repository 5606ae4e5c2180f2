"""Erlang's external term format: what term_to_binary/1 makes and the distribution carries.

Rule 1: whatever the bytes are, decoding ends with a term or an EtfError, in time linear in their number (`etfread`).
Rule 2: we send what OTP 25 and later send; the older tags are only read. No atom cache: it is not negotiated.

Source: ERTS User's Guide, "External Term Format" (erl_ext_dist).
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from relctld.beam.term import etfread as tags
from relctld.beam.term.etfread import MAX_DEPTH, MAX_REFERENCE, EtfError
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

__all__ = ["MAX_INFLATED", "EtfError", "decode", "decode_prefix", "encode"]

VERSION = 131
MAX_INFLATED = 16 << 20  # bytes of a compressed term

_u32 = struct.Struct(">I").unpack_from


def decode(data: bytes | bytearray | memoryview, *, max_inflated: int = MAX_INFLATED) -> Term:
    """The one term that `data` holds."""
    term, end = decode_prefix(data, max_inflated=max_inflated)
    if end != len(data):
        raise EtfError(f"cannot decode a term: {len(data) - end} bytes follow it")
    return term


def decode_prefix(
    data: bytes | bytearray | memoryview,
    offset: int = 0,
    *,
    max_inflated: int = MAX_INFLATED,
    max_terms: int = sys.maxsize,
) -> tuple[Term, int]:
    """The term whose version byte stands at `offset`, with at most `max_terms` inside, and where it ends."""
    data = bytes(data)  # no copy where it is one
    try:
        if data[offset] != VERSION:
            raise EtfError(f"cannot decode a term: it begins with {data[offset]}, not {VERSION}")
        if data[offset + 1] == tags.COMPRESSED:
            return _inflated(data, offset + 2, max_inflated, max_terms)
        return tags.read(data, offset + 1, max_terms)
    except (IndexError, struct.error) as error:
        raise EtfError("cannot decode a term: it is cut off") from error
    except RecursionError as error:  # maps as keys of maps as keys of maps
        raise EtfError("cannot decode a term: its keys are nested too deeply") from error


def _inflated(data: bytes, pos: int, limit: int, max_terms: int) -> tuple[Term, int]:
    (size,) = _u32(data, pos)
    if size > limit:
        raise EtfError(f"cannot decode a term: it inflates to {size} bytes, more than {limit}")
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(memoryview(data)[pos + 4 :], size + 1)
    except zlib.error as error:
        raise EtfError(f"cannot decode a term: {error}") from error
    if not stream.eof or len(plain) != size:
        raise EtfError(f"cannot decode a term: it does not inflate to the {size} bytes it promises")
    term, end = tags.read(plain, 0, max_terms)
    if end != size:
        raise EtfError(f"cannot decode a term: {size - end} bytes follow it, compressed")
    return term, len(data) - len(stream.unused_data)


# -- encoding --------------------------------------------------------------------------------------


def encode(term: Term) -> bytes:
    """The term with its version byte; a bool becomes an atom, a dict a map; a str is refused: say Atom or bytes."""
    try:
        return _encoded(term)
    except struct.error as error:
        raise EtfError(f"cannot encode a term: {error}") from error


def _encoded(term: Any) -> bytes:
    out = bytearray([VERSION])
    outer: list[Iterator[Any]] = []
    todo: Iterator[Any] = iter((term,))
    while True:
        for item in todo:
            write = _WRITERS.get(type(item))
            if write:
                out += write(item)
                continue
            opened = _opened(out, item)
            if opened:
                if len(outer) >= MAX_DEPTH:
                    raise EtfError(f"cannot encode a term: nested deeper than {MAX_DEPTH}")
                outer.append(todo)
                todo = opened
                break
        else:
            if not outer:
                return bytes(out)
            todo = outer.pop()


def _opened(out: bytearray, item: Any) -> Iterator[Any] | None:
    """Writes the head of a tuple, list or map; what must follow it, None if nothing."""
    if isinstance(item, tuple):
        out += bytes([tags.SMALL_TUPLE, len(item)]) if len(item) <= 255 else _headed(tags.LARGE_TUPLE, len(item))
        return iter(item)
    if isinstance(item, list):
        out += _headed(tags.LIST, len(item)) if item else bytes([tags.NIL])
        return chain(item, ([],)) if item else None
    if isinstance(item, ImproperList):
        out += _headed(tags.LIST, len(item.items))
        return chain(item.items, (item.tail,))
    if isinstance(item, dict):
        try:
            item = Map(item.items())
        except ValueError as error:
            raise EtfError(f"cannot encode a term: {error}") from error
    if isinstance(item, Map):
        out += _headed(tags.MAP, len(item))
        return chain.from_iterable(item.items())
    hint = ": say Atom or bytes" if isinstance(item, str) else ""
    raise EtfError(f"cannot encode a term: a {type(item).__name__} is none{hint}")


def _headed(tag: int, count: int) -> bytes:
    return struct.pack(">BI", tag, count)


def _atom(name: str) -> bytes:
    try:
        data = name.encode()
    except UnicodeEncodeError as error:
        raise EtfError(f"cannot encode atom {name!r}: {error.reason}") from error
    if len(name) > MAX_ATOM:
        raise EtfError(f"cannot encode an atom of {len(name)} characters, more than {MAX_ATOM}")
    if len(data) <= 255:
        return bytes([tags.SMALL_ATOM_UTF8, len(data)]) + data
    return struct.pack(">BH", tags.ATOM_UTF8, len(data)) + data


def _bool(value: bool) -> bytes:
    return _atom("true" if value else "false")


def _int(value: int) -> bytes:
    if 0 <= value <= 255:
        return bytes([tags.SMALL_INTEGER, value])
    if -(1 << 31) <= value < 1 << 31:
        return struct.pack(">Bi", tags.INTEGER, value)
    magnitude = abs(value)
    size = (magnitude.bit_length() + 7) // 8
    head = bytes([tags.SMALL_BIG, size]) if size <= 255 else _headed(tags.LARGE_BIG, size)
    return head + bytes([value < 0]) + magnitude.to_bytes(size, "little")


def _float(value: float) -> bytes:
    if not math.isfinite(value):
        raise EtfError(f"cannot encode {value}: no float of Erlang")
    return struct.pack(">Bd", tags.NEW_FLOAT, value)


def _binary(value: bytes) -> bytes:
    return _headed(tags.BINARY, len(value)) + value


def _bits(value: BitString) -> bytes:
    return struct.pack(">BIB", tags.BIT_BINARY, len(value.data), value.bits) + value.data


def _pid(pid: Pid) -> bytes:
    return bytes([tags.NEW_PID]) + _atom(pid.node) + struct.pack(">III", pid.id, pid.serial, pid.creation)


def _port(port: Port) -> bytes:
    tag, fields = (tags.NEW_PORT, ">II") if port.id < 1 << 28 else (tags.V4_PORT, ">QI")
    return bytes([tag]) + _atom(port.node) + struct.pack(fields, port.id, port.creation)


def _reference(ref: Reference) -> bytes:
    count = len(ref.ids)
    if not 1 <= count <= MAX_REFERENCE:
        raise EtfError(f"cannot encode a reference of {count} words")
    head = struct.pack(">BH", tags.NEWER_REFERENCE, count) + _atom(ref.node)
    return head + struct.pack(f">I{count}I", ref.creation, *ref.ids)


def _export(fun: Export) -> bytes:
    return (
        bytes([tags.EXPORT])
        + _atom(fun.module)
        + _atom(fun.function)
        + struct.pack(">BB", tags.SMALL_INTEGER, fun.arity)
    )


def _fun(fun: Fun) -> bytes:
    return fun.external


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    Atom: _atom, bytes: _binary, int: _int, bool: _bool, float: _float, BitString: _bits,
    Pid: _pid, Port: _port, Reference: _reference, Export: _export, Fun: _fun,
}  # fmt: skip
