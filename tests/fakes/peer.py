"""A node that a test plays: it takes one connection, shakes hands as OTP does, then sends and tells what it is told."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from relctld.beam.dist.channel import Target
from relctld.beam.dist.frames import TICK, Message, Receiver, Tick, message
from relctld.beam.dist.handshake import Cookie, Flag
from relctld.beam.term.terms import Atom, Pid, Reference

NAME, OWN, COOKIE = "web@h", "relctld@h", Cookie("monster")
FLAGS, CREATION = 0xD07DF7FBC, 7
USER = Pid(Atom(NAME), 50, 0, CREATION)
CALLED = Pid(Atom(NAME), 60, 0, CREATION)  # a process that a spawn request made


class Peer:
    """The conversation after the handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._receiver, self._heard = Receiver(), list[Tick | Message]()

    async def heard(self) -> Tick | Message:
        """The next frame; EOFError at the end."""
        while not self._heard:
            data = await self._reader.read(1 << 16)
            if not data:
                raise EOFError
            self._heard = self._receiver.receive(data)
        return self._heard.pop(0)

    async def asked(self) -> tuple[Reference, Pid, list[Any]]:
        """The next spawn request: its reference, who asks, and [module, function, arguments]."""
        request = await self.heard()
        assert isinstance(request, Message)
        match request:
            case Message((29, Reference() as ref, Pid() as asker, _, _, _), [echo, *call]) if echo == ref:
                return ref, asker, call
        raise AssertionError(f"no spawn request: {request}")

    async def asked_rex(self) -> tuple[Pid, list[Any]]:
        """The next request to the rpc server: who asks, and [module, function, arguments]."""
        request = await self.heard()
        assert isinstance(request, Message)
        match request:
            case Message((6, Pid() as asker, _, Atom("rex")), (_, (_, *call, Atom("user")))):
                return asker, call
        raise AssertionError(f"no request to rex: {request}")

    def say(self, control: tuple[Any, ...], payload: Any = None) -> None:
        """Send a message."""
        self.say_bytes(message(control, payload))

    def say_bytes(self, data: bytes = TICK) -> None:
        """Send bytes, a tick if none are given."""
        self._writer.write(data)

    def down(self, ref: Reference, asker: Pid, reason: Any) -> None:
        """The end of the process that `ref` made."""
        self.say((21, CALLED, asker, ref, reason))

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


@asynccontextmanager
async def peer(flags: int = FLAGS) -> AsyncIterator[tuple[Target, asyncio.Future[Peer]]]:
    """How to link to it, and the peer as soon as that was done; it has answered whereis(user) by then."""
    taken: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
    end = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _shake(reader, writer, flags)
            found = Peer(reader, writer)
            if flags & Flag.SPAWN:
                ref, asker, call = await found.asked()
                found.down(ref, asker, (ref, Atom("return"), USER))
            else:
                asker, call = await found.asked_rex()
                found.say((2, Atom(""), asker), (Atom("rex"), USER))
            assert call == ["erlang", "whereis", [Atom("user")]]
            taken.set_result(found)
            await end.wait()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield Target(NAME, "127.0.0.1", server.sockets[0].getsockname()[1], COOKIE, OWN), taken
        finally:
            end.set()


async def _shake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flags: int) -> None:
    async def frame() -> bytes:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))

    def send(body: bytes) -> None:
        writer.write(struct.pack(">H", len(body)) + body)

    await frame()
    send(b"sok")
    send(struct.pack(">cQIIH", b"N", flags, 42, CREATION, len(NAME)) + NAME.encode())
    (challenge,) = struct.unpack_from(">I", await frame(), 1)
    send(b"a" + COOKIE.digest(challenge))
