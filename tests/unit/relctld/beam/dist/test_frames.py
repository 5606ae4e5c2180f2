"""Frames after the handshake: whole messages or an error, however the bytes arrive."""

from __future__ import annotations

import itertools
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.term.etf import EtfError, encode
from relctld.beam.dist.frames import MAX_TERMS, TICK, FrameError, Message, Receiver, Tick, message
from relctld.beam.term.terms import Atom, ImproperList, Term

SEND = Message((2, Atom(""), 1), [Atom("hello")])
DOWN = Message((21, 1, 2, 3, Atom("normal")), None)
STREAM = TICK + message(SEND.control, SEND.payload) + message(DOWN.control) + TICK


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@given(st.lists(st.integers(0, len(STREAM))))
def test_pieces_of_any_size_make_no_difference(cuts: list[int]) -> None:
    receiver, found = Receiver(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        found += receiver.receive(STREAM[start:end])
    assert found == [Tick(), SEND, DOWN, Tick()]


def test_byte_by_byte() -> None:
    receiver = Receiver()
    found = [item for byte in STREAM for item in receiver.receive(bytes([byte]))]
    assert found == [Tick(), SEND, DOWN, Tick()]


def test_a_frame_is_a_length_and_a_passed_through_message() -> None:
    assert message((2, Atom(""), 1)) == bytes.fromhex("0000000a 70 83 6803 6102 7700 6101")


def test_a_large_message_is_refused_at_its_first_word() -> None:
    with pytest.raises(FrameError, match="a message of 1001 bytes, more than 1000"):
        Receiver(1000).receive(struct.pack(">I", 1001))
    body = b"\x70" + encode((2, Atom(""), 1)) + encode(bytes(1000))
    assert Receiver(len(body)).receive(framed(body)) == [Message((2, Atom(""), 1), bytes(1000))]


@pytest.mark.parametrize("tail", [[], Atom("x")])
def test_a_message_of_many_small_terms_is_refused(tail: Term) -> None:
    """To decode it would hold the loop: 256 kB can be 256 thousand terms."""
    for terms in ([[]] * MAX_TERMS, [[]] * (MAX_TERMS + 1), [[[]] * 9] * (MAX_TERMS // 10 + 1)):
        message = (ImproperList(tuple(terms), tail) if tail else terms, {})
        data = framed(b"\x70" + encode((2, Atom(""), 1)) + encode(message))
        with pytest.raises(EtfError, match="terms too many"):
            Receiver().receive(data)
    assert Receiver().receive(framed(b"\x70" + encode((2, Atom(""), 1)) + encode([[]] * MAX_TERMS)))


def test_a_compressed_message_is_bounded_as_any() -> None:
    plain = encode(bytes(2000))[1:]
    packed = b"\x83\x50" + struct.pack(">I", len(plain)) + zlib.compress(plain)
    data = framed(b"\x70" + encode((2, Atom(""), 1)) + packed)
    assert Receiver(len(plain)).receive(data)
    with pytest.raises(EtfError, match="it inflates to 2005 bytes, more than 2004"):
        Receiver(len(plain) - 1).receive(data)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\x44\x83", "a message of type 68, not 112"),
        (b"\x70" + encode(1), "without a control message"),
        (b"\x70" + encode(()), "without a control message"),
        (b"\x70" + encode((Atom("x"),)), "without a control message"),
        (b"\x70" + encode((1,)) + encode(1) + b"\0", "1 bytes too many"),
    ],
)
def test_what_is_no_message(body: bytes, text: str) -> None:
    with pytest.raises(FrameError, match=text):
        Receiver().receive(framed(body))


@given(st.binary(max_size=80))
def test_garbage_is_a_value_error(garbage: bytes) -> None:
    for data in (garbage, framed(garbage), framed(b"\x70\x83" + garbage), framed(b"\x70" + encode((1,)) + garbage)):
        try:
            Receiver(1 << 16).receive(data)
        except ValueError:
            continue
