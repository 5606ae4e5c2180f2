"""The frames of a distribution connection after the handshake. Bytes in, messages out, no I/O.

    length:32                                   0: a tick, to be answered in kind
    length:32 112 131 Control [131 Message]     a message passed through, whole and without an atom cache

Source: ERTS User's Guide, "Distribution Protocol", "Protocol between Connected Nodes".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from relctld.beam.term.etf import decode_prefix, encode
from relctld.beam.term.terms import Term

MAX_FRAME = 16 << 20  # bytes
MAX_TERMS = 1 << 14  # of a message: to decode them takes up to 15 ms, and all the while the loop waits
TICK = bytes(4)

_PASS_THROUGH = 112
_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """What the peer sent is not a frame that we take; EtfError, another ValueError, is a term that is none."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The peer wants a sign of life."""


@dataclass(frozen=True, slots=True)
class Message:
    """A control message and the term it carries to a process, None where it carries none."""

    control: tuple[Term, ...]
    payload: Term | None


class Receiver:
    """Makes messages of a stream. After an error it must not be used again: the stream is lost."""

    __slots__ = ("_max_frame", "_rest")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._rest: bytearray | None = None  # of a frame that came in part

    def receive(self, data: bytes) -> list[Tick | Message]:
        """What these bytes complete. Raises ValueError (FrameError, EtfError)."""
        if self._rest is not None:
            self._rest += data
        stream = data if self._rest is None else self._rest
        found: list[Tick | Message] = []
        start, have = 0, len(stream)
        while have - start >= 4:
            (size,) = _LENGTH.unpack_from(stream, start)
            if size > self._max_frame:
                raise FrameError(f"a message of {size} bytes, more than {self._max_frame}")
            if have - start - 4 < size:
                break
            start += 4 + size
            found.append(self._message(bytes(memoryview(stream)[start - size : start])) if size else Tick())
        if start == have:
            self._rest = None
        elif self._rest is None:
            self._rest = bytearray(memoryview(data)[start:])
        else:
            del self._rest[:start]
        return found

    def _message(self, data: bytes) -> Message:
        if data[0] != _PASS_THROUGH:
            raise FrameError(f"a message of type {data[0]}, not {_PASS_THROUGH}")
        control, end = self._term(data, 1)
        if not (isinstance(control, tuple) and control and isinstance(control[0], int)):
            raise FrameError("a message without a control message")
        if end == len(data):
            return Message(control, None)
        payload, end = self._term(data, end)
        if end != len(data):
            raise FrameError(f"a message with {len(data) - end} bytes too many")
        return Message(control, payload)

    def _term(self, data: bytes, pos: int) -> tuple[Term, int]:
        return decode_prefix(data, pos, max_inflated=self._max_frame, max_terms=MAX_TERMS)


def frame(control: bytes, payload: bytes = b"") -> bytes:
    """The frame of a control message and the term it carries, both encoded."""
    return b"".join((_LENGTH.pack(1 + len(control) + len(payload)), b"\x70", control, payload))


def message(control: tuple[Term, ...], payload: Term | None = None) -> bytes:
    """The same of terms."""
    return frame(encode(control), b"" if payload is None else encode(payload))
