"""What an epmd is asked and may answer; the server here is a port that says what the test wants."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.dist import epmd
from relctld.beam.dist.refusals import LinkRefused, Refusal

FOUND = bytes.fromhex("7700 a1b2 4d 00 0006 0005 0003") + b"web" + bytes(2)
NAMES = bytes.fromhex("00001111") + b"name web at port 41394\nname api at port 1\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: bytes | None) -> AsyncIterator[int]:
    """An epmd that gives this answer and closes; None: says nothing until the asker goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(answer: bytes | None, timeout: float = 5.0) -> int:
    async with serving(answer) as port:
        return await epmd.port_of("web", "127.0.0.1", port, timeout)


def test_the_requests() -> None:
    assert epmd.port_request("web") == b"\0\4zweb"
    assert epmd.names_request() == b"\0\1n"


def test_a_node_that_is_registered() -> None:
    assert epmd.port_answer(FOUND, "web") == 0xA1B2
    assert asyncio.run(ask(FOUND)) == 0xA1B2


def test_the_names() -> None:
    async def ask_names() -> dict[str, int]:
        async with serving(NAMES) as port:
            return await epmd.names("127.0.0.1", port, 5)

    assert epmd.names_answer(NAMES) == asyncio.run(ask_names()) == {"web": 41394, "api": 1}
    assert epmd.names_answer(NAMES[:4]) == {}


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"w\1", Refusal.NOT_REGISTERED, "cannot find node web: epmd does not know it"),
        (b"", Refusal.PROTOCOL, "what answers is not an epmd"),
        (b"w", Refusal.PROTOCOL, "what answers is not an epmd"),
        (b"HTTP/1.1 400 Bad Request", Refusal.PROTOCOL, "what answers is not an epmd"),
        (FOUND[:-6], Refusal.PROTOCOL, "what answers is not an epmd"),
        (FOUND.replace(b"web", b"api"), Refusal.PROTOCOL, "what answers is not an epmd"),
        (FOUND.replace(b"\xa1\xb2", b"\0\0"), Refusal.PROTOCOL, "what answers is not an epmd"),
        (FOUND.replace(b"\0\6", b"\0\5"), Refusal.PROTOCOL, "its protocol is version 5; OTP 23 and later speak 6"),
        (bytes(epmd.MAX_ANSWER + 1), Refusal.PROTOCOL, "its answer is longer than 262144 bytes"),
    ],
)
def test_each_refusal_has_its_own_words(answer: bytes, kind: Refusal, text: str) -> None:
    with pytest.raises(LinkRefused, match=text) as caught:
        asyncio.run(ask(answer))
    assert caught.value.kind is kind


def test_an_epmd_that_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LinkRefused, match=f"cannot ask epmd at 127.0.0.1:{port}: nobody listens there") as caught:
        asyncio.run(epmd.port_of("web", "127.0.0.1", port, 5))
    assert caught.value.kind is Refusal.EPMD_DOWN


def test_an_epmd_that_hangs() -> None:
    with pytest.raises(LinkRefused, match=r"no answer within 0\.05 s") as caught:
        asyncio.run(ask(None, timeout=0.05))
    assert caught.value.kind is Refusal.NO_ANSWER


@given(st.one_of(st.binary(), st.binary().map(lambda tail: FOUND[:12] + tail), st.binary().map(lambda b: bytes(4) + b)))
def test_garbage_is_refused(garbage: bytes) -> None:
    for read in (lambda: epmd.port_answer(garbage, "web"), lambda: epmd.names_answer(garbage)):
        try:
            read()
        except LinkRefused:
            continue
