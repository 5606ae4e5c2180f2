"""A systemd that does not answer. What it says when it does is tested in a bed (`tests/systemd/test_scopes.py`)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from relctld.host.manager import Manager, ManagerError

pytestmark = pytest.mark.host


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket on which connections queue."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def why(manager: Manager) -> str:
    with pytest.raises(ManagerError) as caught:
        manager.start_scope("relctl-node-web.e1.01234567.scope", [("PIDs", ("au", [1]))])
    return str(caught.value)


def test_without_any_systemd_it_says_where_it_looked(tmp_path: Path) -> None:
    manager = Manager(f"{tmp_path}/bus", f"{tmp_path}/own")
    said = why(manager)
    assert said.startswith("systemd makes no scope: ")
    assert f"{tmp_path}/bus: [errno 2] no such file or directory" in said
    assert f"{tmp_path}/own: [errno 2] no such file or directory" in said


def test_who_is_silent_is_asked_once_and_the_other_way_is_tried_again_and_again(tmp_path: Path) -> None:
    manager = Manager(f"{tmp_path}/bus", f"{tmp_path}/own")
    with listening(tmp_path / "bus") as bus:
        assert f"{tmp_path}/bus: no answer within 1 s, {tmp_path}/own: [errno 2]" in why(manager)
        assert f"{tmp_path}/bus: was silent a moment ago, {tmp_path}/own: [errno 2]" in why(manager)
        bus.setblocking(False)
        bus.accept()[0].close()
        with pytest.raises(BlockingIOError):  # nobody came a second time
            bus.accept()


def test_what_is_no_bus_is_not_believed(tmp_path: Path) -> None:
    manager = Manager(f"{tmp_path}/bus", f"{tmp_path}/own")
    with listening(tmp_path / "own") as own:

        def answer() -> None:
            connection, _ = own.accept()
            with connection:
                asked = b""
                while b"\r\n" not in asked:
                    asked += connection.recv(1024)
                connection.sendall(b"REJECTED EXTERNAL\r\n")

        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(answer)
            assert f"{tmp_path}/own: authentication failed" in why(manager)
            answered.result()
    manager.close()
