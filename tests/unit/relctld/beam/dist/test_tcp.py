"""The transport of links without TLS, against a socket that a test holds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relctld.beam.dist import beat, tcp


class Protocol(asyncio.BufferedProtocol):
    """Notes what it is told; does `on_bytes` when bytes come."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.over = asyncio.get_running_loop().create_future()
        self.on_bytes: Callable[[], object] = lambda: None
        self._buffer = bytearray(1024)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.told.append(bytes(self._buffer[:nbytes]))
        self.on_bytes()
        self.told.append("dealt with")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.over.set_result(exc)


Scene = Callable[[tcp.Tcp, Protocol, socket.socket], Awaitable[None]]


def play(scene: Scene) -> list[dict[str, Any]]:
    """Connects, plays, and closes; what the loop complained of."""
    trouble: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        with socket.create_server(("127.0.0.1", 0)) as server:
            sock = await tcp.connected(*server.getsockname())
            with server.accept()[0] as peer:
                peer.setblocking(False)
                protocol = Protocol()
                transport = tcp.Tcp(sock, protocol)
                await scene(transport, protocol, peer)
                transport.abort()
                await protocol.over
                assert protocol.told.count("lost") == 1
                assert sock.fileno() == -1

    asyncio.run(asyncio.wait_for(run(), 20))
    return trouble


def test_bytes_go_both_ways_until_the_peer_closes() -> None:
    async def scene(transport: tcp.Tcp, protocol: Protocol, peer: socket.socket) -> None:
        transport.write(b"hello")
        assert await asyncio.get_running_loop().sock_recv(peer, 10) == b"hello"
        peer.send(b"world")
        peer.close()
        assert await protocol.over is None
        assert protocol.told == ["made", b"world", "dealt with", "lost"]
        transport.write(b"into the void")
        assert transport.is_closing()

    assert play(scene) == []


def test_what_the_kernel_does_not_take_waits_and_goes_in_its_order() -> None:
    whole = b"".join(number.to_bytes(4, "big") for number in range(2_000_000))

    async def scene(transport: tcp.Tcp, protocol: Protocol, peer: socket.socket) -> None:
        transport.write(whole[:-8])
        transport.write(whole[-8:])
        assert transport.get_write_buffer_size() > 8
        got = bytearray()
        while len(got) < len(whole):
            got += await asyncio.get_running_loop().sock_recv(peer, 1 << 20)
        assert got == whole
        transport.write(b"!")
        assert transport.get_write_buffer_size() == 0

    assert play(scene) == []


def test_the_end_is_not_told_from_within_a_call() -> None:
    async def scene(transport: tcp.Tcp, protocol: Protocol, peer: socket.socket) -> None:
        protocol.on_bytes = transport.abort
        peer.send(b"x")
        assert await protocol.over is None
        assert protocol.told == ["made", b"x", "dealt with", "lost"]

    assert play(scene) == []


def test_a_surprise_in_the_protocol_ends_the_connection() -> None:
    async def scene(transport: tcp.Tcp, protocol: Protocol, peer: socket.socket) -> None:
        protocol.on_bytes = lambda: 1 // 0
        peer.send(b"x")
        assert isinstance(await protocol.over, ZeroDivisionError)

    (trouble,) = play(scene)
    assert isinstance(trouble["exception"], ZeroDivisionError)


def test_a_peer_that_waits_is_heard_when_its_turn_comes() -> None:
    async def scene(transport: tcp.Tcp, protocol: Protocol, peer: socket.socket) -> None:
        transport.pause_reading()
        peer.send(b"x")
        peer.close()
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        assert protocol.told == ["made"]
        transport.resume_reading()
        await protocol.over
        assert protocol.told == ["made", b"x", "dealt with", "lost"]

    assert play(scene) == []


def test_nobody_listens() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        with pytest.raises(ConnectionRefusedError):
            await tcp.connected(*address)

    asyncio.run(run())


def test_a_beat_lasts_as_long_as_it_has_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "TICK_AFTER", 0.01)

    class Member:
        def __init__(self) -> None:
            self.beaten = asyncio.Event()

        def beat(self) -> None:
            self.beaten.set()

    async def run() -> None:
        mine, (first, second) = beat.of_the_loop(), (Member(), Member())
        assert mine is beat.of_the_loop()
        for member in (first, second):
            mine.join(member)
        await first.beaten.wait()
        await second.beaten.wait()
        mine.leave(first)
        mine.leave(first)
        second.beaten.clear()
        await second.beaten.wait()
        mine.leave(second)
        assert mine._timer is None

    asyncio.run(asyncio.wait_for(run(), 20))
