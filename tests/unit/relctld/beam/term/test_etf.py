"""Our bytes by the specification's examples, and what hostile bytes do: an EtfError, soon."""

from __future__ import annotations

import contextlib
import math
import struct
import time
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.beam.term.etf import EtfError, decode, decode_prefix, encode
from relctld.beam.term.terms import Atom, BitString, Export, Fun, ImproperList, Map, Pid, Port, Reference
from tests.terms import TERMS

NODE = Atom("a@b")
# A fun's fields of fixed size, module, old index, old uniq, pid, free variables (none).
FUN = b"p\x00\x00\x00\x36\x01" + bytes(24) + b"w\x01ma\x00a\x05Xw\x03a@b" + bytes(12)

# Both ways: what we send, byte for byte.
EXACT: list[tuple[Any, bytes]] = [
    (0, b"a\x00"), (255, b"a\xff"), (256, b"b\x00\x00\x01\x00"), (-1, b"b\xff\xff\xff\xff"),
    (1 << 31, b"n\x04\x00\x00\x00\x00\x80"), (-(1 << 31), b"b\x80\x00\x00\x00"),
    (-(1 << 31) - 1, b"n\x04\x01\x01\x00\x00\x80"),
    (1 << 2040, b"o\x00\x00\x01\x00\x00" + bytes(255) + b"\x01"), ((1 << 2040) - 1, b"n\xff\x00" + b"\xff" * 255),
    (1.5, b"F?\xf8" + bytes(6)), (-0.0, b"F\x80" + bytes(7)),
    (Atom("ok"), b"w\x02ok"), (Atom(""), b"w\x00"), (Atom("ä"), b"w\x02\xc3\xa4"),
    (Atom("ä" * 128), b"v\x01\x00" + b"\xc3\xa4" * 128),
    (b"", b"m\x00\x00\x00\x00"), (b"ab", b"m\x00\x00\x00\x02ab"),
    (BitString(b"a\xe0", 3), b"M\x00\x00\x00\x02\x03a\xe0"),
    ((), b"h\x00"), ((1,), b"h\x01a\x01"), ((1,) * 256, b"i\x00\x00\x01\x00" + b"a\x01" * 256),
    ([], b"j"), ([1], b"l\x00\x00\x00\x01a\x01j"), ([[]], b"l\x00\x00\x00\x01jj"),
    (ImproperList((1,), 2), b"l\x00\x00\x00\x01a\x01a\x02"),
    (Map(), b"t\x00\x00\x00\x00"), (Map([(1, 2)]), b"t\x00\x00\x00\x01a\x01a\x02"),
    (Pid(NODE, 1, 2, 3), b"Xw\x03a@b\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03"),
    (Port(NODE, 1, 3), b"Yw\x03a@b\x00\x00\x00\x01\x00\x00\x00\x03"),
    (Port(NODE, 1 << 28, 3), b"xw\x03a@b\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x03"),
    (Reference(NODE, 3, (1, 2)), b"Z\x00\x02w\x03a@b\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x02"),
    (Export(Atom("m"), Atom("f"), 2), b"qw\x01mw\x01fa\x02"),
    (Fun(FUN), FUN),
]  # fmt: skip

# What only others send.
READ: list[tuple[Any, bytes]] = [
    ([1, 2], b"k\x00\x02\x01\x02"), ([0, 1, 2], b"l\x00\x00\x00\x01a\x00k\x00\x02\x01\x02"),
    ([0, 1], b"l\x00\x00\x00\x01a\x00l\x00\x00\x00\x01a\x01j"), (Atom("é"), b"s\x01\xe9"),
    (Atom("é"), b"d\x00\x01\xe9"),
    (Atom("é"), b"v\x00\x02\xc3\xa9"), (7, b"l\x00\x00\x00\x00a\x07"), (1, b"n\x01\x00\x01"), (0, b"n\x00\x00"),
    (-2.5, b"c-2.50000000000000000000e+00\x00\x00\x00\x00"), (b"ab", b"M\x00\x00\x00\x02\x08ab"),
    (Pid(NODE, 1, 2, 3), b"gs\x03a@b\x00\x00\x00\x01\x00\x00\x00\x02\x03"),
    (Port(NODE, 1, 3), b"fd\x00\x03a@b\x00\x00\x00\x01\x03"),
    (Port(NODE, 1, 3), b"xw\x03a@b" + bytes(7) + b"\x01\x00\x00\x00\x03"),
    (Reference(NODE, 3, (1,)), b"ew\x03a@b\x00\x00\x00\x01\x03"),
    (Reference(NODE, 3, (1, 2)), b"r\x00\x02w\x03a@b\x03\x00\x00\x00\x01\x00\x00\x00\x02"),
    ([b"x"] * 9, b"P\x00\x00\x00\x3c" + zlib.compress(b"l\x00\x00\x00\x09" + b"m\x00\x00\x00\x01x" * 9 + b"j")),
]  # fmt: skip


@pytest.mark.parametrize(("term", "data"), EXACT)
def test_exact(term: Any, data: bytes) -> None:
    assert encode(term) == b"\x83" + data
    assert decode(b"\x83" + data) == term
    assert type(decode(b"\x83" + data)) is type(term)


@pytest.mark.parametrize(("term", "data"), READ)
def test_read(term: Any, data: bytes) -> None:
    found, end = decode_prefix(b"++\x83" + data + b"++", 2)
    assert (found, end) == (term, 3 + len(data))


@settings(deadline=None)  # a noisy machine is no bug
@given(TERMS)
def test_round_trip(term: Any) -> None:
    data = encode(term)
    assert decode(data) == term
    assert encode(decode(data)) == data  # tells 1 from 1.0


def test_python_values() -> None:
    assert decode(encode([True, False, {True: {}}])) == [Atom("true"), Atom("false"), Map([(Atom("true"), Map())])]
    assert type(decode(b"\x83w\x04true")) is Atom
    assert decode(bytearray(b"\x83a\x01")) == decode(memoryview(b"\x83a\x01")) == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("text", "say Atom or bytes"), ([("text",)], "say Atom or bytes"), ({"text": 1}, "not an Erlang term"),
        (None, "NoneType"),
        (math.nan, "nan"), (math.inf, "inf"), (Atom("x" * 256), "256 characters"), (Atom("\ud800"), "surrogates"),
        (Pid(NODE, 1 << 32, 0, 0), "format"), (Reference(NODE, 0, ()), "0 words"),
        (Reference(NODE, 0, (1,) * 6), "6 words"),
        (Export(NODE, NODE, 256), "format"), (bytearray(b"x"), "bytearray"),
    ],
)  # fmt: skip
def test_no_term(value: Any, why: str) -> None:
    with pytest.raises(EtfError, match=why):
        encode(value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"), (b"\x83", "cut off"), (b"\x82a\x01", "begins with 130"), (b"\x83a\x01a", "1 bytes follow"),
        (b"\x83\x00", "unknown tag 0"), (b"\x83Ry", "unknown tag 82"), (b"\x83w\x01\xff", "not UTF-8"),
        (b"\x83w\x03\xed\xa0\x80", "not UTF-8"), (b"\x83v\x01\x00" + b"x" * 256, "256 characters"),
        (b"\x83F\x7f\xf0" + bytes(6), "no number"), (b"\x83F\x7f\xf8" + bytes(6), "no number"),
        (b"\x83c" + b"nan".ljust(31, b"\0"), "no number"), (b"\x83c" + b"1_0.0e+00".ljust(31, b"\0"), "no number"),
        (b"\x83h\x02a\x01", "2 elements in 2 bytes|cut off"),
        (b"\x83l\xff\xff\xff\xffa\x01", "4294967295 elements in 2"),
        (b"\x83i\xff\xff\xff\xffa\x01", "elements"), (b"\x83t\x80\x00\x00\x00a\x01", "elements"),
        (b"\x83l\x00\x00\x00\x01a\x01l\xff\xff\xff\xff", "elements"),
        (b"\x83t\x00\x00\x00\x02" + b"a\x01" * 4, "twice"),
        (b"\x83M\x00\x00\x00\x01\x00a", "bitstring"), (b"\x83M\x00\x00\x00\x01\x09a", "bitstring"),
        (b"\x83M\x00\x00\x00\x00\x03", "bitstring"), (b"\x83Z\x00\x06w\x01a" + bytes(28), "6 words"),
        (b"\x83Xa\x01" + bytes(12), "where an atom must be"), (b"\x83qw\x01mw\x01fb\x00\x00\x00\x01", "where an arity"),
        (b"\x83p\x00\x00\x00\x03", "fun of 3 bytes"), (b"\x83P\x00\x00\x00\x02" + zlib.compress(b"a\x01a"), "promises"),
        (b"\x83P\x00\x00\x00\x02" + zlib.compress(b"a"), "promises"), (b"\x83P\x00\x00\x00\x02xxxx", "cannot decode"),
        (b"\x83P\x00\x00\x00\x03" + zlib.compress(b"a\x01a"), "follow it, compressed"),
        (b"\x83P\xff\xff\xff\xff", "inflates to"),
    ],
)  # fmt: skip
def test_damage(data: bytes, why: str) -> None:
    with pytest.raises(EtfError, match=why):
        decode(data)


@pytest.mark.parametrize("data", [data for _, data in EXACT + READ])
def test_truncated_at_each_byte(data: bytes) -> None:
    whole = b"\x83" + data
    for end in range(len(whole)):
        with pytest.raises(EtfError):
            decode(whole[:end])


@settings(deadline=None)  # a noisy machine is no bug
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(EtfError):
        decode(b"\x83" + data)


@settings(deadline=None)  # a noisy machine is no bug
@given(
    TERMS, st.lists(st.tuples(st.integers(1, 200), st.sampled_from([0, 1, 127, 255, *b"ablhijkmtwXYZPM"])), max_size=3)
)
def test_damaged_bytes(term: Any, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode(term))
    for place, byte in damage:
        data[place % len(data)] = byte
    with contextlib.suppress(EtfError):
        encode(decode(data))


@pytest.mark.parametrize("head", [b"h\x01", b"l\x00\x00\x00\x01", b"t\x00\x00\x00\x01a\x01"])
def test_nesting_is_bounded(head: bytes) -> None:
    tail = b"j" if head[:1] == b"l" else b""
    term = decode(b"\x83" + head * 512 + b"j" + tail * 512)
    assert encode(term) == b"\x83" + head * 512 + b"j" + tail * 512
    for depth in (513, 100_000):
        with pytest.raises(EtfError, match="nested deeper"):
            decode(b"\x83" + head * depth + b"j" + tail * depth)
    with pytest.raises(EtfError, match="nested deeper"):
        encode([term])


def test_a_bomb_is_not_inflated() -> None:
    plain = b"m" + struct.pack(">I", 100 << 20) + bytes(100 << 20)
    bomb = zlib.compress(plain)
    for size in (len(plain), 1000):
        began = time.process_time()
        with pytest.raises(EtfError):
            decode(b"\x83P" + struct.pack(">I", size) + bomb)
        assert time.process_time() - began < 0.5


def _maps_in_keys(depth: int) -> bytes:
    """#{[#{[… => 1}, Big] => 1}: each level's key holds those below."""
    term = b"a\x01"
    for _ in range(depth):
        term = b"t\x00\x00\x00\x01h\x02" + term + b"m\x00\x00\x80\x00" + bytes(0x8000) + b"a\x01"
    return term


def _colliding(number: int) -> bytes:
    """One of many integers for which Python's hash is the same."""
    return (((1 << 61) - 1) * number).to_bytes(12, "little")


@pytest.mark.parametrize(
    "data",
    [
        b"l\x00\x04\x93\xe0" + b"a\x01" * 300_000 + b"j",
        b"o\x00\x07\xa1\x20\x00" + b"\xff" * 500_000,
        b"l\x00\x00\x00\x01a\x01" * 100_000 + b"j",  # each the tail of the one before
        _maps_in_keys(250),
        b"t" + struct.pack(">I", 20_000) + b"".join(b"n\x0c\x00%ba\x01" % _colliding(i) for i in range(20_000)),
    ],
)  # fmt: skip
def test_linear(data: bytes) -> None:
    """Lists, bigs, chains of tails, keys in keys, keys of one hash: seconds where something is quadratic."""
    began = time.process_time()
    decode(b"\x83" + data)
    assert time.process_time() - began < 3
