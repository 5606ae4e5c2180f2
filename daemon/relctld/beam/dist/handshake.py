"""The handshake of the Erlang distribution, version 6, as the side that connects. Bytes in, bytes out, no I/O.

Rule 1: whatever arrives, in whatever pieces, ends in an outcome; nothing is raised.
Rule 2: we prove the cookie only to the node that was asked for by name, and take no node that cannot prove it too.
Rule 3: the cookie never leaves `Cookie` but as a digest.

    we   N flags:64 creation:32 length:16 name          each in a frame: a length of 2 bytes, under TLS of 4
    peer s status                                       ok, ok_simultaneous, alive, nok, not_allowed
    we   s true | false                                 only after alive
    peer N flags:64 challenge:32 creation:32 length:16 name
    we   r challenge:32 digest:16                       of the peer's challenge
    peer a digest:16                                    of ours; it closes instead where the cookie differs

We are a hidden node: a published one would be listed by nodes(), joined by global and sent messages to. The
atom cache and fragments are not announced, so that every message comes whole and plain; nor are the flags that
only add forms of messages (EXIT_PAYLOAD, SEND_SENDER, ALIAS). Without DIST_MONITOR and DIST_MONITOR_NAME a node
drops our monitors in silence. V4_NC and UNLINK_ID are mandatory from OTP 26 on, HANDSHAKE_23 is version 6 itself.

Source: ERTS User's Guide, "Distribution Protocol", whose bit of MANDATORY_25_DIGEST is wrong; kernel's dist.hrl.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntFlag
from functools import reduce
from hmac import compare_digest
from operator import or_

from relctld.beam.dist.refusals import LinkRefused, Refusal

MAX_COOKIE = 255  # characters of an atom
MAX_FRAME = 2048  # bytes; a node's name, the longest part, is an atom too

_CHALLENGE = struct.Struct(">cQIIH")
_DIGEST = 16  # bytes
_TLS_ALERT = b"\x15\x03"  # type and major version of its record


class Flag(IntFlag):
    """What a node can do (DFLAG_… in dist.hrl), as far as it matters here."""

    EXTENDED_REFERENCES = 1 << 2
    DIST_MONITOR = 1 << 3
    FUN_TAGS = 1 << 4
    DIST_MONITOR_NAME = 1 << 5
    NEW_FUN_TAGS = 1 << 7
    EXTENDED_PIDS_PORTS = 1 << 8
    EXPORT_PTR_TAG = 1 << 9
    BIT_BINARIES = 1 << 10
    NEW_FLOATS = 1 << 11
    SMALL_ATOM_TAGS = 1 << 14
    UTF8_ATOMS = 1 << 16
    MAP_TAG = 1 << 17
    BIG_CREATION = 1 << 18
    HANDSHAKE_23 = 1 << 24
    UNLINK_ID = 1 << 25
    MANDATORY_25_DIGEST = 1 << 26
    SPAWN = 1 << 32
    V4_NC = 1 << 34


OURS = reduce(or_, Flag)


@dataclass(frozen=True, slots=True, repr=False)
class Cookie:
    """A cookie, that no log shows: 1 to 255 characters of Latin-1, else ValueError."""

    secret: str

    def __post_init__(self) -> None:
        if not 0 < len(self.secret) <= MAX_COOKIE or max(self.secret) > "\xff":
            raise ValueError(f"cannot use the cookie: it must have 1 to {MAX_COOKIE} characters of Latin-1")

    def __repr__(self) -> str:
        return "Cookie(…)"

    def digest(self, challenge: int) -> bytes:
        """What proves the knowledge of the cookie."""
        text = f"{self.secret}{challenge}".encode("latin-1")
        return hashlib.md5(text, usedforsecurity=False).digest()


@dataclass(frozen=True, slots=True)
class Peer:
    """The node that took us: its flags and the creation, which tells this incarnation of it from others."""

    flags: int
    creation: int


class Handshake:
    """One attempt: send `hello`, then what `receive` returns, until there is an `outcome`.

    `creation` (over 3) and `challenge` are random 32-bit numbers, new for each attempt. `evict`: should the node
    have a connection under our name, let ours replace it; only for who owns the name.
    """

    __slots__ = (
        "_buffer", "_challenge", "_cookie", "_creation", "_evict", "_greeted", "_length_size", "_own", "_peer",
        "_wanted", "outcome", "rest",
    )  # fmt: skip

    def __init__(
        self, own: str, wanted: str, cookie: Cookie, creation: int, challenge: int,
        *, length_size: int = 2, evict: bool = False,
    ) -> None:  # fmt: skip
        self.outcome: Peer | LinkRefused | None = None
        self.rest = b""  # what came after the handshake's last frame
        self._own, self._wanted, self._cookie = own, wanted, cookie
        self._creation, self._challenge = creation, challenge
        self._length_size, self._evict = length_size, evict
        self._peer: Peer | None = None  # once it sent its challenge
        self._greeted = False  # it sent its status
        self._buffer = bytearray()

    def hello(self) -> bytes:
        """What opens the conversation."""
        name = self._own.encode()
        return self._frame(struct.pack(">cQIH", b"N", OURS, self._creation, len(name)) + name)

    def receive(self, data: bytes) -> bytes:
        """What to send after these bytes of the peer's; then look at `outcome`."""
        self._buffer += data
        answer = b""
        while self.outcome is None and (frame := self._next_frame()) is not None:
            answer += self._take(frame)
        if isinstance(self.outcome, Peer):
            self.rest += bytes(self._buffer)
            self._buffer.clear()
        return answer

    def closed(self) -> LinkRefused:
        """What it means that the peer closes the connection now."""
        if self._peer:
            return self._refused(Refusal.WRONG_COOKIE, "it does not accept our cookie")
        if self._greeted:
            return self._refused(Refusal.CLOSED, "it closed the connection within the handshake")
        return self._refused(
            Refusal.CLOSED, "it closed the connection at our first word: it is no Erlang node, or wants TLS"
        )

    def silent(self, seconds: float) -> LinkRefused:
        """What it means that the peer said nothing more for so long."""
        done = "answers no more" if self._greeted else "accepts connections but does not answer"
        return self._refused(Refusal.NO_ANSWER, f"it {done} (waited {seconds:g} s)")

    def _frame(self, body: bytes) -> bytes:
        return len(body).to_bytes(self._length_size, "big") + body

    def _next_frame(self) -> bytes | None:
        size, buffer = self._length_size, self._buffer
        if len(buffer) < size:
            return None
        end = size + int.from_bytes(buffer[:size], "big")
        if end - size > MAX_FRAME:
            self.outcome = self._refused(Refusal.PROTOCOL, "what it sends is not a handshake")
            if buffer.startswith(_TLS_ALERT):
                self.outcome = self._refused(Refusal.TLS, "it wants TLS")
            return None
        if len(buffer) < end:
            return None
        frame = bytes(buffer[size:end])
        del buffer[:end]
        return frame

    def _take(self, frame: bytes) -> bytes:
        """One frame of the peer's: what to send, or the outcome, or both."""
        match frame[:1]:
            case b"s" if not self._greeted:
                self._greeted = True
                return self._status(frame[1:])
            case b"N" if self._greeted and not self._peer and len(frame) >= _CHALLENGE.size:
                return self._challenged(frame)
            case b"a" if self._peer and len(frame) == 1 + _DIGEST:
                proved = compare_digest(frame[1:], self._cookie.digest(self._challenge))
                wrong = self._refused(Refusal.WRONG_COOKIE, "it does not know our cookie, though it accepts it")
                self.outcome = self._peer if proved else wrong
            case _:
                self.outcome = self._refused(Refusal.PROTOCOL, "what it sends is not this handshake")
        return b""

    def _status(self, status: bytes) -> bytes:
        match status:
            case b"ok" | b"ok_simultaneous":
                return b""
            case b"alive" if self._evict:
                return self._frame(b"strue")
            case b"alive":
                self.outcome = self._refused(Refusal.NAME_CONFLICT, f"a node {self._own} is connected to it already")
                return self._frame(b"sfalse")
            case b"nok":
                self.outcome = self._refused(Refusal.NAME_CONFLICT, f"it is itself connecting to a node {self._own}")
            case b"not_allowed":
                text = f"it does not allow {self._own} to connect (net_kernel:allow/1, or an OTP that wants more)"
                self.outcome = self._refused(Refusal.NOT_ALLOWED, text)
            case _:
                self.outcome = self._refused(Refusal.PROTOCOL, "its status is none that we know")
        return b""

    def _challenged(self, frame: bytes) -> bytes:
        _, flags, challenge, creation, size = _CHALLENGE.unpack_from(frame)
        name = frame[_CHALLENGE.size : _CHALLENGE.size + size].decode(errors="replace")
        if name != self._wanted:
            self.outcome = self._refused(Refusal.WRONG_NODE, f"{name[:255]!r} listens there")
        else:
            self._peer = Peer(flags, creation)
            return self._frame(struct.pack(">cI", b"r", self._challenge) + self._cookie.digest(challenge))
        return b""

    def _refused(self, kind: Refusal, why: str) -> LinkRefused:
        return LinkRefused(kind, f"cannot link to {self._wanted}: {why}")
