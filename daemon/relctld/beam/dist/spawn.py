"""What asks a node to run a function. It is put together of parts that are encoded once: a probe is sent for ever.

    131 {29, Ref, From, GroupLeader, {erpc, execute_call, 4}, [monitor | Priority]}     SPAWN_REQUEST
    131 [Ref, Module, Function, Arguments]                                              the arguments of execute_call

Source: ERTS User's Guide, "Distribution Protocol" and "External Term Format"; kernel's erpc.erl.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relctld.beam.term.etf import decode, encode
from relctld.beam.dist.frames import frame
from relctld.beam.term.terms import Atom, Pid, Reference, Term

_REQUEST = b"\x83\x68\x06\x61\x1d"  # the version, a tuple of 6, and its first element: 29
_ARGUMENTS = b"\x83\x6c\x00\x00\x00\x04"  # the version, a list of 4
_TERMS = b"\x83\x6c\x00\x00\x00\x03"  # the version, a list of 3
_LIST_HEAD = 6  # bytes of a version and a list's head
_TUPLE_HEAD = 3

_NOBODY = "\0nobody\0"  # a name that no node has, nor any argument

_ERPC = (Atom("erpc"), Atom("execute_call"), 4)
_NORMAL = encode((_ERPC, [Atom("monitor")]))[_TUPLE_HEAD:]
_HIGH = encode((_ERPC, [Atom("monitor"), (Atom("priority"), Atom("high"))]))[_TUPLE_HEAD:]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that is made often; `what` is its name for people. Its terms take ten times what its bytes do."""

    what: str
    encoded: bytes

    def terms(self) -> tuple[str, str, list[Term]]:
        """Module, function and arguments."""
        decoded: Any = decode(_TERMS + self.encoded)
        return tuple(decoded)


def prepare(module: str, function: str, args: Sequence[Term]) -> Prepared:
    """module:function(args), for `Link.run`. EtfError where an argument is no term."""
    whole = encode([Atom(module), Atom(function), list(args)])
    return Prepared(f"{module}:{function}/{len(args)}", whole[_LIST_HEAD:])


class Pattern:
    """A call with the node's own name in it, prepared for all nodes: what is the same for all is kept once."""

    def __init__(self, of: Callable[[str], tuple[str, str, Sequence[Term]]]) -> None:
        call = prepare(*of(_NOBODY))
        self._what = call.what
        self._parts = call.encoded.split(encode(Atom(_NOBODY))[1:])

    def of(self, node: str) -> Prepared:
        """The call for this node."""
        return Prepared(self._what, encode(Atom(node))[1:].join(self._parts))


class Spawner:
    """Makes the requests of one process of ours, `pid`; what they print goes to `group_leader`."""

    __slots__ = ("_who",)

    def __init__(self, pid: Pid, group_leader: Pid) -> None:
        self._who = encode((pid, group_leader))[_TUPLE_HEAD:]

    def request(self, ref: Reference, call: Prepared, high: bool) -> bytes:
        """The frame."""
        encoded_ref = encode(ref)[1:]
        control = _REQUEST + encoded_ref + self._who + (_HIGH if high else _NORMAL)
        return frame(control, _ARGUMENTS + encoded_ref + call.encoded)
