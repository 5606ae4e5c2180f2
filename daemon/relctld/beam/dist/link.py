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
import itertools
from collections.abc import Sequence
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


class Link:
    """A connected node. `lost` gets, once, why the link ended; a call after that fails at once with LinkLost."""

    __slots__ = (
        "_calls", "_channel", "_count", "_our_creation", "_own", "_pid", "_spawner", "_told",
        "creation", "lost", "node", "otp_flags", "__weakref__",
    )  # fmt: skip

    def __init__(self, target: Target, max_frame: int) -> None:
        self.node = target.node
        self.creation = 0
        self.otp_flags = 0
        self._channel = Channel(target, max_frame, self._deliver)
        self.lost = self._channel.lost
        self._own, self._our_creation = Atom(target.own), self._channel.creation
        self._count = itertools.count(1)
        self._pid = self._new_pid()
        self._spawner = Spawner(self._pid, self._pid)  # until `user` is known: we pass on what it is asked
        self._calls: dict[Reference, asyncio.Future[Term]] = {}
        self._told: dict[Pid, _Told] = {}
        self.lost.add_done_callback(self._fail_all)

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
        if not self.otp_flags & Flag.SPAWN:
            return await self.via_rex(*call.terms(), timeout=timeout)
        ref = self._new_ref()
        done = self._await(self._spawner.request(ref, call, high))
        self._calls[ref] = done
        try:
            return _value(call.what, ref, await self._within(timeout, done, call.what))
        finally:
            self._calls.pop(ref, None)

    async def run_all(
        self, calls: Sequence[Prepared], *, timeout: float, high: bool = False
    ) -> list[Term | BaseException]:
        """The same of several at once: of each its value, or what `run` would raise.

        Under one timer and without a task for each: a probe is asked every second for ever. Raises LinkLost, LinkBusy.
        """
        if not self.otp_flags & Flag.SPAWN:
            runs = [self.run(call, timeout=timeout, high=high) for call in calls]
            return await asyncio.gather(*runs, return_exceptions=True)
        asked = [(call, self._new_ref()) for call in calls]
        try:
            for call, ref in asked:
                self._calls[ref] = self._await(self._spawner.request(ref, call, high))
            await asyncio.wait([self._calls[ref] for _, ref in asked], timeout=timeout)
            return [self._outcome(call, ref, timeout) for call, ref in asked]
        finally:
            for _, ref in asked:
                self._calls.pop(ref, None)

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
        told = _Told(self._await(message((_REG_SEND, pid, Atom(""), Atom("rex")), (pid, call))))
        self._told[pid] = told
        what = f"{module}:{function}/{len(args)}"
        try:
            value = await self._within(timeout, told.done, what)
        finally:
            self._told.pop(pid, None)
        match value:
            case ("badrpc", ("EXIT", reason)):
                raise CallFailed(what, Kind.EXIT, reason)
            case ("badrpc", reason):
                raise CallFailed(what, Kind.ERROR, reason)
        return bytes(told.output), value

    def _await(self, request: bytes) -> asyncio.Future[Term]:
        """Sends a request; what its answer is to be put into."""
        if len(self._calls) + len(self._told) >= MAX_CALLS:
            raise LinkBusy(f"cannot call {self.node}: {MAX_CALLS} calls are under way")
        self._channel.send(request)
        return asyncio.get_running_loop().create_future()

    async def _within(self, timeout: float, done: asyncio.Future[Term], what: str) -> Term:
        try:
            async with asyncio.timeout(timeout):
                return await done
        except TimeoutError as error:
            raise self._silent(what, timeout) from error

    def _outcome(self, call: Prepared, ref: Reference, timeout: float) -> Term | BaseException:
        done = self._calls[ref]
        try:
            return _value(call.what, ref, done.result()) if done.done() else self._silent(call.what, timeout)
        except (CallFailed, LinkLost) as error:
            return error

    def _silent(self, what: str, timeout: float) -> CallTimeout:
        return CallTimeout(f"cannot call {what}: no answer from {self.node} within {timeout:g} s")

    def _new_pid(self) -> Pid:
        number = next(self._count)
        return Pid(self._own, number & 0x7FFF, number >> 15, self._our_creation)

    def _new_ref(self) -> Reference:
        number = next(self._count)
        return Reference(self._own, self._our_creation, (number & 0x3FFFF, number >> 18, 0))

    def _deliver(self, got: Message) -> None:
        """One control message, by the table above; what is not in it does not concern us."""
        match got.control:
            case (21, _, _, Reference() as ref, reason):
                _resolve(self._calls.get(ref), reason)
            case (31, Reference() as ref, _, _, Atom() as error):
                _resolve(self._calls.get(ref), error)
            case (2, _, Pid() as to):
                self._told_to(to, got.payload)
            case (19, Pid() as watcher, Pid() | Atom() as watched, Reference() as ref):
                if watched != self._pid and watched not in self._told:
                    self._answer((_MONITOR_P_EXIT, watched, watcher, ref, Atom("noproc")))
            case (35, int() as number, Pid() as theirs, Pid() as ours):
                self._answer((_UNLINK_ID_ACK, number, ours, theirs))

    def _told_to(self, to: Pid, payload: Term | None) -> None:
        told = self._told.get(to)
        match payload:
            case ("rex", value) if told:
                _resolve(told.done, value)
            case ("rex_stdout", bytes() as output) if told:
                told.output += output[: MAX_OUTPUT - len(told.output)]
            case ("io_request", Pid(), _, _) if payload:
                self._answer((_REG_SEND, to, Atom(""), Atom("user")), payload)

    def _answer(self, control: tuple[Term, ...], payload: Term | None = None) -> None:
        """A courtesy: not sent where the node does not read."""
        if not self.lost.done():
            with contextlib.suppress(LinkBusy):
                self._channel.send(message(control, payload))

    def _fail_all(self, lost: asyncio.Future[str]) -> None:
        for done in [*self._calls.values(), *(told.done for told in self._told.values())]:
            if not done.done():
                done.set_exception(LinkLost(f"cannot call {self.node}: {lost.result()}"))


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


def _resolve(done: asyncio.Future[Term] | None, value: Term) -> None:
    if done and not done.done():
        done.set_result(value)


def _value(what: str, ref: Reference, reason: Term) -> Term:
    """What erpc:execute_call/4 means by the reason it exits with."""
    match reason:
        case (Reference() as own, "return", value) if own == ref:
            return value
        case (Reference() as own, "throw" | "exit" | "error" as kind, why, *_) if own == ref:
            raise CallFailed(what, Kind(str(kind)), why)
    raise CallFailed(what, Kind.EXIT, reason)
