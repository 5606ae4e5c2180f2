"""The real epmd, on ports of the tests' own and on loopback only."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from relctld.host import epmd
from relctld.host.epmd import EpmdError, answers, ensure
from tests import epmds
from tests.host.seam import NOBODY, epmd_binary, need_root, open_fds, script

pytestmark = pytest.mark.host


@pytest.fixture
def port() -> Iterator[int]:
    with epmds.private_port() as port:
        yield port


def env(port: object) -> dict[str, str]:
    return {
        "ERL_EPMD_PORT": str(port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "PATH": "/usr/bin:/bin",
        "SECRET": "the release's",
    }


def none() -> Path | None:
    return None


def real() -> Path | None:
    return Path(epmd_binary())


def test_it_is_started_once(port: int) -> None:
    assert not answers(port)
    before = open_fds()
    ensure(real, env(port), nullcontext)
    assert answers(port)
    (started,) = epmds.started_for(port)
    ensure(none, env(port), nullcontext)
    assert epmds.started_for(port) == [started]
    assert open_fds() == before


def test_it_lives_for_itself(port: int) -> None:
    ensure(real, env(port), nullcontext)
    (started,) = epmds.started_for(port)
    assert set(started.environ()) <= {"ERL_EPMD_PORT", "ERL_EPMD_ADDRESS", "PATH", "HOME"}
    assert os.getsid(started.pid) != os.getsid(0)
    assert started.cwd() == "/"
    listening = {(c.laddr.ip, c.laddr.port) for c in started.net_connections() if c.status == psutil.CONN_LISTEN}
    assert {address for address, _ in listening} <= {"127.0.0.1", "::1"}
    assert {number for _, number in listening} == {port}


def test_starts_at_once_bring_one(port: int) -> None:
    errors: list[Exception] = []

    def one() -> None:
        try:
            ensure(real, env(port), nullcontext)
        except EpmdError as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(epmds.started_for(port)) == 1


def test_without_a_binary_the_error_says_so(port: int) -> None:
    with pytest.raises(EpmdError, match=f"no epmd answers on port {port}, and the release brings none to start"):
        ensure(none, env(port), nullcontext)


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\n", "#!/nonexistent\n"])
def test_a_binary_that_starts_nothing(port: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epmd, "_ANSWER_WITHIN", 0.1)
    broken = script(tmp_path / "epmd", text)
    with pytest.raises(EpmdError, match=f"{broken} does not answer on port {port}"):
        ensure(lambda: broken, env(port), nullcontext)


@pytest.mark.parametrize("value", ["", "epmd", "0", "-1", "65536", "99999", "1e3", "٣"])
def test_a_port_that_is_none(value: str) -> None:
    with pytest.raises(EpmdError, match="not a port"):
        ensure(none, env(value), nullcontext)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"", struct.pack(">I", 1), b"\0"])
def test_something_else_on_its_port_is_no_epmd(port: int, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epmd, "_ANSWER_WITHIN", 0.1)
    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=_answer_all, args=(server, answer))
        thread.start()
        try:
            assert not answers(port)
            with pytest.raises(EpmdError, match=f"does not answer on port {port}"):
                ensure(real, env(port), nullcontext)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert epmds.started_for(port) == []


def _answer_all(server: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # shut down
            return
        with connection:
            connection.sendall(answer)


def test_something_that_accepts_and_is_silent(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert not answers(port, 0.1)


def test_it_runs_as_the_user_in_whose_tree_it_lies(port: int) -> None:
    """Whoever owns the tree chose what is executed: it must not be executed as root."""
    need_root("it starts an epmd as another user")
    ensure(real, env(port), nullcontext, NOBODY)
    (started,) = epmds.started_for(port)
    assert set(started.uids()) == {NOBODY.uid}
