"""Probes against real servers on loopback, of the worst kinds. Whatever comes back, `ask` ends in time and in words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relctld.core.probes import ExecProbe, HttpProbe, Probe, ProcessProbe, TcpProbe
from relctld.host.probe import ask
from tests.host.seam import open_fds

pytestmark = pytest.mark.host

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def never_run(argv: tuple[str, ...], timeout: float) -> str | None:
    raise AssertionError("only an exec probe runs a command")


def asked(probe: Probe, timeout: float = 5.0, run: Any = never_run) -> str | None:
    before = open_fds()
    answer = asyncio.run(ask(probe, timeout, run))
    assert open_fds() == before
    return answer


def served(serve: Serve, make: Callable[[int], Probe], timeout: float = 5.0, host: str = "127.0.0.1") -> str | None:
    """The answer of a probe, asked while a server of this kind listens."""

    async def work() -> str | None:
        tasks: set[asyncio.Task[None]] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def one() -> None:
                try:
                    await serve(reader, writer)
                except ConnectionError:
                    pass
                finally:
                    writer.transport.abort()

            tasks.add(asyncio.get_running_loop().create_task(one()))

        server = await asyncio.start_server(accepted, host, 0)
        try:
            return await ask(make(server.sockets[0].getsockname()[1]), timeout, never_run)
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    before = open_fds()
    answer = asyncio.run(work())
    assert open_fds() == before
    return answer


def says(data: bytes, *, then_hang: bool = False) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)  # what is unread at the end would turn it into a reset
        writer.write(data)
        await writer.drain()
        if then_hang:
            await asyncio.sleep(60)

    return serve


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK" * 100:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def http(port: int) -> Probe:
    return HttpProbe(f"http://127.0.0.1:{port}/health?full=1")


def tcp(port: int) -> Probe:
    return TcpProbe("127.0.0.1", port)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_living_process_is_enough_for_a_process_probe() -> None:
    assert asked(ProcessProbe()) is None


# -- tcp ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("serve", [hangs, resets, says(b"\0" * 100_000)])
def test_an_accepted_connection_is_enough_for_tcp(serve: Serve) -> None:
    assert served(serve, tcp) is None


@pytest.mark.parametrize("make", [tcp, http])
def test_nobody_listens(make: Callable[[int], Probe]) -> None:
    assert asked(make(free_port())) == "connection refused"


@pytest.mark.parametrize("make", [tcp, http])
def test_a_full_backlog_is_waited_for_no_longer_than_told(make: Callable[[int], Probe]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        assert asked(make(server.getsockname()[1]), 0.2) == "no answer within 0.2 s"
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize(
    "probe",
    [
        TcpProbe("no-such-host.invalid", 80),
        TcpProbe("a..b", 80),
        TcpProbe("x" * 100, 80),
        TcpProbe("127.0.0.1", 99999),
        TcpProbe("127.0.0.1", -1),
        TcpProbe("", 1),
        TcpProbe("\0", 1),
        HttpProbe("http://127.0.0.1:99999/"),
        HttpProbe("http://127.0.0.1:web/"),
        HttpProbe("http://[::1/"),
        HttpProbe("http://ü..ü/"),
        HttpProbe(""),
    ],
    ids=repr,
)
def test_what_cannot_be_asked_is_told_in_words(probe: Probe) -> None:
    answer = asked(probe)
    assert answer
    assert "traceback" not in answer.lower()
    assert len(answer.splitlines()) == 1


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    assert served(hangs, lambda port: TcpProbe("::1", port), host="::1") is None
    ok = says(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert served(ok, lambda port: HttpProbe(f"http://[::1]:{port}/"), host="::1") is None


# -- http --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.0 204", None),
        (b"HTTP/1.1 301 Moved Permanently", None),
        (b"HTTP/1.1 399 ?", None),
        (b"HTTP/1.1 404 Not Found", "HTTP 404 Not Found"),
        (b"HTTP/1.1 503 Service Unavailable", "HTTP 503 Service Unavailable"),
        (b"HTTP/1.1 500", "HTTP 500"),
        (b"HTTP/1.1 100 Continue", "HTTP 100 Continue"),
    ],
)
def test_the_status_decides(line: bytes, answer: str | None) -> None:
    assert served(says(line + b"\r\nContent-Length: 0\r\n\r\n"), http) == answer


def test_a_huge_header_and_body_are_not_read() -> None:
    data = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000 + b"\r\n\r\n" + b"y" * 2_000_000
    assert served(says(data, then_hang=True), http) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 OK\r\n",
        b"HTTP/1.1 \xb2\xb2 squares\r\n",
        b"HTTP/1.1 -1 less\r\n",
        b"HTTP/1.1\r\n",
        b"\r\n",
        b"\0" * 5000,
        b"HTTP/1.1 " + b"2" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
    ids=repr,
)
def test_what_is_not_http(data: bytes) -> None:
    assert served(says(data), http) == "the answer is not HTTP"


@pytest.mark.parametrize("serve", [hangs, drips, says(b"HTTP/1.1 200", then_hang=True)])
def test_an_answer_that_does_not_come(serve: Serve) -> None:
    assert served(serve, http, 0.2) == "no answer within 0.2 s"


def test_a_reset_connection() -> None:
    assert served(resets, http) in ("connection reset by peer", "the answer is not HTTP")


def test_what_is_asked() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()

    ports: list[int] = []

    def probe(port: int) -> Probe:
        ports.append(port)
        return HttpProbe(f"http://user:secret@127.0.0.1:{port}?a=b")

    assert served(serve, probe) is None
    lines = heard[0].split(b"\r\n")
    assert lines[:2] == [b"GET /?a=b HTTP/1.1", b"Host: 127.0.0.1:%d" % ports[0]]
    assert b"secret" not in heard[0]


# -- exec --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, "exit code 1: no"])
def test_an_exec_probe_is_the_commands_answer(answer: str | None) -> None:
    heard: list[tuple[tuple[str, ...], float]] = []

    async def run(argv: tuple[str, ...], timeout: float) -> str | None:
        heard.append((argv, timeout))
        return answer

    assert asked(ExecProbe(("bin/check", "-x")), 3.0, run) == answer
    assert heard == [(("bin/check", "-x"), 3.0)]


def test_an_exec_probe_that_hangs_or_breaks() -> None:
    async def hang(argv: tuple[str, ...], timeout: float) -> str | None:
        await asyncio.sleep(60)
        return None

    async def fail(argv: tuple[str, ...], timeout: float) -> str | None:
        raise PermissionError(13, "Permission denied", argv[0])

    assert asked(ExecProbe(("x",)), 0.1, hang) == "no answer within 0.1 s"
    assert asked(ExecProbe(("x",)), 1.0, fail) == "permission denied"
