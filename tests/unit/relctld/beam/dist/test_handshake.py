"""The handshake, played from the node's side, byte for byte."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.dist.handshake import OURS, Cookie, Handshake, Peer
from relctld.beam.dist.refusals import LinkRefused, Refusal

OWN, NODE, COOKIE = "relctld@h", "web@h", Cookie("monster")
CREATION, CHALLENGE = 0x1234, 0x89ABCDEF
FLAGS_25 = 0xD07DF7FBC
PEER = Peer(FLAGS_25, 7)


def shaking(*, length_size: int = 2, evict: bool = False) -> Handshake:
    return Handshake(OWN, NODE, COOKIE, CREATION, CHALLENGE, length_size=length_size, evict=evict)


def framed(body: bytes, length_size: int = 2) -> bytes:
    return len(body).to_bytes(length_size, "big") + body


def challenge(name: str = NODE, flags: int = FLAGS_25, number: int = 42, more: bytes = b"") -> bytes:
    return struct.pack(">cQIIH", b"N", flags, number, 7, len(name)) + name.encode() + more


ACK = b"a" + COOKIE.digest(CHALLENGE)
GOOD = (b"sok", challenge(), ACK)
REPLY = b"r" + struct.pack(">I", CHALLENGE) + COOKIE.digest(42)


def refusal(handshake: Handshake) -> tuple[Refusal, str]:
    assert isinstance(handshake.outcome, LinkRefused)
    return handshake.outcome.kind, str(handshake.outcome)


def test_the_flags_are_those_that_were_measured() -> None:
    assert OURS == 0x507074FBC


@pytest.mark.parametrize("length_size", [2, 4])
def test_a_node_takes_us(length_size: int) -> None:
    handshake = shaking(length_size=length_size)
    assert handshake.hello() == framed(
        b"N" + bytes.fromhex("0000000507074fbc 00001234 0009") + b"relctld@h", length_size
    )
    assert handshake.receive(framed(b"sok", length_size)) == b""
    assert handshake.receive(framed(challenge(), length_size)) == framed(REPLY, length_size)
    assert handshake.receive(framed(ACK, length_size) + b"\0\0\0\0rest") == b""
    assert (handshake.outcome, handshake.rest) == (PEER, b"\0\0\0\0rest")


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_pieces_of_any_size_make_no_difference(step: int) -> None:
    handshake, sent = shaking(), b""
    stream = b"".join(map(framed, (b"sok_simultaneous", challenge(more=b"\0\x01x"), ACK)))
    for start in range(0, len(stream), step):
        sent += handshake.receive(stream[start : start + step])
    assert (handshake.outcome, sent) == (PEER, framed(REPLY))


@pytest.mark.parametrize(
    ("frames", "kind", "text"),
    [
        ((b"snot_allowed",), Refusal.NOT_ALLOWED, "it does not allow relctld@h to connect"),
        ((b"salive",), Refusal.NAME_CONFLICT, "a node relctld@h is connected to it already"),
        ((b"snok",), Refusal.NAME_CONFLICT, "it is itself connecting to a node relctld@h"),
        ((b"sbusy",), Refusal.PROTOCOL, "its status is none that we know"),
        ((b"",), Refusal.PROTOCOL, "what it sends is not this handshake"),
        ((challenge(),), Refusal.PROTOCOL, "what it sends is not this handshake"),
        ((b"sok", b"sok"), Refusal.PROTOCOL, "what it sends is not this handshake"),
        ((b"sok", b"N"), Refusal.PROTOCOL, "what it sends is not this handshake"),
        ((b"sok", b"n\0\5" + bytes(8)), Refusal.PROTOCOL, "what it sends is not this handshake"),
        ((b"sok", challenge("api@h")), Refusal.WRONG_NODE, "'api@h' listens there"),
        ((b"sok", challenge(NODE + "2")), Refusal.WRONG_NODE, "'web@h2' listens there"),
        ((b"sok", challenge(), b"a" + bytes(16)), Refusal.WRONG_COOKIE, "it does not know our cookie"),
        ((b"sok", challenge(), ACK[:-1]), Refusal.PROTOCOL, "what it sends is not this handshake"),
        ((b"sok", challenge(), b"sok"), Refusal.PROTOCOL, "what it sends is not this handshake"),
    ],
)
def test_each_refusal_has_its_own_words(frames: tuple[bytes, ...], kind: Refusal, text: str) -> None:
    handshake = shaking()
    for frame in frames:
        handshake.receive(framed(frame))
    found, words = refusal(handshake)
    assert found is kind
    assert words.startswith(f"cannot link to web@h: {text}")


def test_the_cookie_is_proven_to_the_wanted_node_only() -> None:
    handshake = shaking()
    assert handshake.receive(framed(b"sok") + framed(challenge("api@h"))) == b""


def test_another_connection_under_our_name_is_left_alone() -> None:
    assert shaking().receive(framed(b"salive")) == framed(b"sfalse")


def test_the_owner_of_the_name_takes_its_place() -> None:
    handshake = shaking(evict=True)
    assert handshake.receive(framed(b"salive")) == framed(b"strue")
    handshake.receive(framed(challenge()) + framed(ACK))
    assert handshake.outcome == PEER


@pytest.mark.parametrize(
    ("heard", "kind", "text"),
    [
        (0, Refusal.CLOSED, "it closed the connection at our first word"),
        (1, Refusal.CLOSED, "it closed the connection within the handshake"),
        (2, Refusal.WRONG_COOKIE, "it does not accept our cookie"),
    ],
)
def test_when_the_node_closes(heard: int, kind: Refusal, text: str) -> None:
    handshake = shaking()
    handshake.receive(b"".join(map(framed, GOOD[:heard])))
    assert (handshake.outcome, handshake.closed().kind) == (None, kind)
    assert text in str(handshake.closed())


@pytest.mark.parametrize(("heard", "text"), [(0, "accepts connections but does not answer"), (1, "answers no more")])
def test_when_the_node_says_nothing(heard: int, text: str) -> None:
    handshake = shaking()
    handshake.receive(b"".join(map(framed, GOOD[:heard])))
    assert handshake.silent(2.5).kind is Refusal.NO_ANSWER
    assert f"{text} (waited 2.5 s)" in str(handshake.silent(2.5))


def test_a_frame_too_long_for_a_handshake_is_not_awaited() -> None:
    handshake = shaking(length_size=4)
    handshake.receive(b"HTTP")
    assert refusal(handshake) == (Refusal.PROTOCOL, "cannot link to web@h: what it sends is not a handshake")


def test_a_node_that_wants_tls_says_so() -> None:
    handshake = shaking()
    handshake.receive(bytes.fromhex("15 03 01 0002 02 0a"))
    assert refusal(handshake) == (Refusal.TLS, "cannot link to web@h: it wants TLS")


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(GOOD).map(framed), st.binary().map(framed))))
def test_no_bytes_surprise(pieces: list[bytes]) -> None:
    handshake = shaking()
    for piece in pieces:
        handshake.receive(piece)
    assert isinstance(handshake.outcome, Peer | LinkRefused | None)


@given(st.binary(max_size=60))
def test_nobody_without_the_cookie_is_taken(garbage: bytes) -> None:
    handshake = shaking()
    handshake.receive(framed(b"sok") + framed(challenge()) + garbage)
    assert not isinstance(handshake.outcome, Peer)


def test_a_cookie_does_not_show() -> None:
    cookie = Cookie("monster")
    assert "monster" not in f"{cookie} {cookie!r} {[cookie]}"
    assert cookie == COOKIE


@pytest.mark.parametrize("secret", ["", "x" * 256, "€"])
def test_what_can_be_no_cookie(secret: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 characters") as caught:
        Cookie(secret)
    assert not secret or secret not in str(caught.value)
