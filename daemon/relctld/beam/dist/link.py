"""Calls into a running node, as a hidden node of its own: no cluster, no entry in epmd, no atoms left behind.

Rule 1: a call ends by its own timeout, by the end of the link, or by its answer; each with an exception of its own.
        After a timeout the function runs on in the node, and its late answer is dropped.
Rule 2: at most MAX_CALLS are under way; the write buffer is bounded by the channel, a frame by `max_frame`.
Rule 3: what a called function prints goes to the node's own `user`, that is where its standard output goes.

A call is a process of its own in the node, spawned as erpc does it, which ends with the result as the reason of its
exit: it needs no server there, so it works where `rex` is overloaded. `captured` and `via_rex` do need it.

control message                                       here
{2 SEND, _, Pid} + Term                               an answer of rex; a request for i/o, passed on to `user`
{19 MONITOR_P, Pid, Proc, Ref}                        {21 …, noproc} where Proc is none of ours, else nothing
{21 MONITOR_P_EXIT, Pid, Pid, Ref, Reason}            the end of a call
{31 SPAWN_REPLY, Ref, Pid, Flags, PidOrError}         an error ends the call
{35 UNLINK_ID, Id, Pid, Pid}                          {36 UNLINK_ID_ACK, Id, Pid, Pid}

Source: ERTS User's Guide, "Distribution Protocol"; kernel's erpc.erl and rpc.erl.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from relctld.beam.dist.channel import Channel, LinkBusy, LinkLost, Target, dial
from relctld.beam.dist.frames import MAX_FRAME, Message, message
from relctld.beam.dist.handshake import Flag
from relctld.beam.dist.refusals import LinkRefused, Refusal
from relctld.beam.term.shown import shown
from relctld.beam.dist.spawn import Prepared, Spawner, prepare
from relctld.beam.term.terms import Atom, Pid, Reference, Term

__all__ = [
    "CallFailed",
    "CallTimeout",
    "Kind",
    "Link",
    "LinkBusy",
    "LinkLost",
    "Prepared",
    "Target",
    "connect",
    "prepare",
]

MAX_CALLS = 4096
MAX_OUTPUT = 1 << 20  # bytes that a captured call may print

_REG_SEND, _MONITOR_P_EXIT, _UNLINK_ID_ACK = 6, 21, 36


class Kind(StrEnum):
    """How a function failed, by the class of its exception."""

    THROW = "throw"
    EXIT = "exit"
    ERROR = "error"


class CallFailed(Exception):  # noqa: N818  # reads as the sentence it is
    """The function failed, or (exit) its process was killed: `reason` is Erlang's, the text for people."""

    def __init__(self, what: str, kind: Kind, reason: Term) -> None:
        super().__init__(f"cannot call {what}: {kind} {shown(reason, 500)}")
        self.kind, self.reason = kind, reason


class CallTimeout(Exception):  # noqa: N818
    """No answer in time; the link is as it was."""


@dataclass(slots=True)
class _Told:
    """What a process of ours has been sent by rex."""

    done: asyncio.Future[Term]
    output: bytearray = field(default_factory=bytearray)


class _Asked:
    """Calls that are awaited together: the reasons with which their processes ended; `done` once all did."""

    __slots__ = ("_left", "done", "reasons")

    def __init__(self, refs: Sequence[Reference]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reasons: dict[Reference, Term] = {}
        self._left = len(refs)

    def ended(self, ref: Reference, reason: Term) -> None:
        """A process ended; the first word counts."""
        self.reasons.setdefault(ref, reason)
        if len(self.reasons) == self._left:
            self.give_up()

    def give_up(self) -> None:
        """Wait no more."""
        if not self.done.done():
            self.done.set_result(None)


class Link:
    """A connected node. `lost` gets, once, why the link ended; a call after that fails at once with LinkLost."""

    __slots__ = (
        "_calls", "_channel", "_count", "_lost", "_our_creation", "_own", "_pid", "_spawner", "_told",
        "creation", "node", "otp_flags", "__weakref__",
    )  # fmt: skip

    def __init__(self, target: Target, max_frame: int) -> None:
        self.node = target.node
        self.creation = 0
        self.otp_flags = 0
        self._channel = Channel(target, max_frame, self)
        self._lost: asyncio.Future[str] | None = None
        self._own, self._our_creation = Atom(target.own), self._channel.creation
        self._count = 0
        self._pid = self._new_pid()
        self._spawner = Spawner(self._pid, self._pid)  # until `user` is known: we pass on what it is asked
        self._calls: dict[Reference, _Asked] = {}
        self._told: dict[Pid, _Told] = {}

    @property
    def stands(self) -> bool:
        """Whether it has not ended."""
        return self._channel.lost is None

    @property
    def lost(self) -> asyncio.Future[str]:
        """Why it ended, once it has."""
        if self._lost is None:
            self._lost = asyncio.get_running_loop().create_future()
            if self._channel.lost is not None:
                self._lost.set_result(self._channel.lost)
        return self._lost

    async def call(
        self, module: str, function: str, args: Sequence[Term], *, timeout: float, high: bool = False
    ) -> Term:
        """The value of module:function(args), within `timeout` seconds; else as `run`."""
        return await self.run(prepare(module, function, args), timeout=timeout, high=high)

    async def run(self, call: Prepared, *, timeout: float, high: bool = False) -> Term:
        """The same of a call that was encoded before.

        `high`: at high priority, so that the answer tells of the node's life and not of its load. Raises
        CallFailed, CallTimeout, LinkLost, LinkBusy. A node that takes no request to spawn is asked through `rex`.
        """
        (outcome,) = await self.run_all((call,), timeout=timeout, high=high)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def run_all(
        self, calls: Sequence[Prepared], *, timeout: float, high: bool = False
    ) -> list[Term | BaseException]:
        """The same of several at once, at least one: of each its value, or what `run` would raise.

        In one write, under one timer and without a task for each: a probe is asked every second for ever. Raises
        LinkLost, LinkBusy.
        """
        if not self.otp_flags & Flag.SPAWN:
            through_rex = [self.via_rex(*call.terms(), timeout=timeout) for call in calls]
            return await asyncio.gather(*through_rex, return_exceptions=True)
        refs = [self._new_ref() for _ in calls]
        self._send(b"".join(self._spawner.request(ref, call, high) for ref, call in zip(refs, calls, strict=True)))
        asked = _Asked(refs)
        self._calls.update(dict.fromkeys(refs, asked))
        timer = asyncio.get_running_loop().call_later(timeout, asked.give_up)
        try:
            await asked.done
        finally:
            timer.cancel()
            for ref in refs:
                del self._calls[ref]
        return [self._outcome(call, ref, asked.reasons, timeout) for ref, call in zip(refs, calls, strict=True)]

    async def captured(self, module: str, function: str, args: Sequence[Term], *, timeout: float) -> tuple[bytes, Term]:
        """What module:function(args) prints, cut at MAX_OUTPUT bytes, and its value. Raises as `via_rex` does."""
        return await self._by_rex(module, function, args, "send_stdout_to_caller", timeout)

    async def via_rex(self, module: str, function: str, args: Sequence[Term], *, timeout: float) -> Term:
        """As `call`, through the node's rpc server. What it throws comes as its value: that is how rpc is.

        CallFailed is then any {badrpc, Reason}, which a function may also return.
        """
        return (await self._by_rex(module, function, args, "user", timeout))[1]

    def close(self) -> None:
        """End the link; calls under way fail."""
        self._channel.close("closed by us")

    async def open(self, target: Target, timeout: float) -> None:
        """Connect and learn the node's `user`; for `connect` alone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        peer = await dial(target, self._channel, timeout)
        self.creation, self.otp_flags = peer.creation, peer.flags
        try:
            user = await self.call("erlang", "whereis", [Atom("user")], timeout=deadline - loop.time(), high=True)
        except CallTimeout as error:
            raise self._channel.silent(timeout) from error
        except (LinkLost, CallFailed) as error:
            raise LinkRefused(Refusal.CLOSED, f"cannot link to {self.node}: {error}") from error
        if isinstance(user, Pid):
            self._spawner = Spawner(self._pid, user)

    async def _by_rex(
        self, module: str, function: str, args: Sequence[Term], leader: str, timeout: float
    ) -> tuple[bytes, Term]:
        pid = self._new_pid()
        call = (Atom("call"), Atom(module), Atom(function), list(args), Atom(leader))
        self._send(message((_REG_SEND, pid, Atom(""), Atom("rex")), (pid, call)))
        told = self._told[pid] = _Told(asyncio.get_running_loop().create_future())
        what = f"{module}:{function}/{len(args)}"
        try:
            async with asyncio.timeout(timeout):
                value = await told.done
        except TimeoutError as error:
            raise self._silent(what, timeout) from error
        finally:
            del self._told[pid]
        match value:
            case ("badrpc", ("EXIT", reason)):
                raise CallFailed(what, Kind.EXIT, reason)
            case ("badrpc", reason):
                raise CallFailed(what, Kind.ERROR, reason)
        return bytes(told.output), value

    def _send(self, request: bytes) -> None:
        if len(self._calls) + len(self._told) >= MAX_CALLS:
            raise LinkBusy(f"cannot call {self.node}: {MAX_CALLS} calls are under way")
        self._channel.send(request)

    def _outcome(
        self, call: Prepared, ref: Reference, reasons: Mapping[Reference, Term], timeout: float
    ) -> Term | BaseException:
        if ref in reasons:
            try:
                return _value(call.what, ref, reasons[ref])
            except CallFailed as error:
                return error
        return self._silent(call.what, timeout) if self.stands else self._gone()

    def _gone(self) -> LinkLost:
        return LinkLost(f"cannot call {self.node}: {self._channel.lost}")

    def _silent(self, what: str, timeout: float) -> CallTimeout:
        return CallTimeout(f"cannot call {what}: no answer from {self.node} within {timeout:g} s")

    def _new_pid(self) -> Pid:
        self._count = number = self._count + 1
        return Pid(self._own, number & 0x7FFF, number >> 15, self._our_creation)

    def _new_ref(self) -> Reference:
        self._count = number = self._count + 1
        return Reference(self._own, self._our_creation, (number & 0x3FFFF, number >> 18, 0))

    def delivered(self, got: Message) -> None:
        """The channel's: one control message, by the table above; what is not in it does not concern us."""
        match got.control:
            case (21, _, _, Reference() as ref, reason):
                self._answered(ref, reason)
            case (31, Reference() as ref, _, _, Atom() as error):
                self._answered(ref, error)
            case (2, _, Pid() as to):
                self._told_to(to, got.payload)
            case (19, Pid() as watcher, Pid() | Atom() as watched, Reference() as ref):
                if watched != self._pid and watched not in self._told:
                    self._answer((_MONITOR_P_EXIT, watched, watcher, ref, Atom("noproc")))
            case (35, int() as number, Pid() as theirs, Pid() as ours):
                self._answer((_UNLINK_ID_ACK, number, ours, theirs))

    def ended(self, why: str) -> None:
        """The channel's: what was awaited fails, and who waits for the end is told."""
        for asked in {*self._calls.values()}:
            asked.give_up()
        for told in self._told.values():
            if not told.done.done():
                told.done.set_exception(self._gone())
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    def _answered(self, ref: Reference, reason: Term) -> None:
        if (asked := self._calls.get(ref)) is not None:
            asked.ended(ref, reason)

    def _told_to(self, to: Pid, payload: Term | None) -> None:
        told = self._told.get(to)
        match payload:
            case ("rex", value) if told:
                if not told.done.done():
                    told.done.set_result(value)
            case ("rex_stdout", bytes() as output) if told:
                told.output += output[: MAX_OUTPUT - len(told.output)]
            case ("io_request", Pid(), _, _) if payload:
                self._answer((_REG_SEND, to, Atom(""), Atom("user")), payload)

    def _answer(self, control: tuple[Term, ...], payload: Term | None = None) -> None:
        """A courtesy: not sent where the node does not read."""
        if self.stands:
            with contextlib.suppress(LinkBusy):
                self._channel.send(message(control, payload))


async def connect(target: Target, timeout: float, *, max_frame: int = MAX_FRAME) -> Link:
    """A link to a node, within `timeout` seconds. Raises LinkRefused.

    An answer larger than `max_frame` bytes, or of more than MAX_TERMS terms, ends the link. While one arrives all
    others on the same link wait, so what may answer with much has no place on a link that watches a node's life.
    """
    link = Link(target, max_frame)
    try:
        await link.open(target, timeout)
    except BaseException:
        link.close()
        raise
    return link


def _value(what: str, ref: Reference, reason: Term) -> Term:
    """What erpc:execute_call/4 means by the reason it exits with."""
    match reason:
        case (Reference() as own, "return", value) if own == ref:
            return value
        case (Reference() as own, "throw" | "exit" | "error" as kind, why, *_) if own == ref:
            raise CallFailed(what, Kind(str(kind)), why)
    raise CallFailed(what, Kind.EXIT, reason)
