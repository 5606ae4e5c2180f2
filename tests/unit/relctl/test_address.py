"""Which socket, who chose it, why nobody answers: each case by its words."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relctl import address
from relctl.errors import UnreachableError, UsageError


def listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def why(path: Path | str, given: bool = True) -> tuple[str, str]:
    with pytest.raises(UnreachableError) as caught:
        address.Address(str(path), "--socket" if given else "the system's default", given).check()
    return caught.value.problem.message, caught.value.problem.hint


def test_the_option_wins_then_the_variable_then_the_users_own_daemon_then_the_systems(folder: Path) -> None:
    own = folder / "xdg" / "relctl" / "control.sock"
    environ = {"RELCTL_SOCKET": "/b", "XDG_RUNTIME_DIR": str(folder / "xdg"), "TMPDIR": str(folder)}
    with listen(own):
        own.parent.chmod(0o700)
        assert address.choose("/a", environ) == ("/a", "--socket", True)
        assert address.choose(None, environ) == ("/b", "RELCTL_SOCKET", True)
        assert address.choose(None, environ | {"RELCTL_SOCKET": ""}).path == str(own)
    own.unlink()
    assert address.choose(None, environ | {"RELCTL_SOCKET": ""}).path == address.SYSTEM_SOCKET


def test_a_private_directory_under_tmp_counts_where_it_is_ours_and_closed(folder: Path) -> None:
    environ = {"TMPDIR": str(folder)}
    own = folder / f"relctl-{os.getuid()}" / "control.sock"
    with listen(own):
        own.parent.chmod(0o700)
        assert address.choose(None, environ).path == str(own)
        own.parent.chmod(0o755)
        assert address.choose(None, environ).path == address.SYSTEM_SOCKET


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_does_not_count(folder: Path) -> None:
    own = folder / f"relctl-{os.getuid()}" / "control.sock"
    with listen(own):
        own.parent.chmod(0o700)
        os.chown(own.parent, 12345, 12345)
        assert address.choose(None, {"TMPDIR": str(folder)}).path == address.SYSTEM_SOCKET


def test_a_plain_file_is_not_our_own_daemons_socket(folder: Path) -> None:
    own = folder / f"relctl-{os.getuid()}" / "control.sock"
    own.parent.mkdir(mode=0o700)
    own.touch()
    assert address.choose(None, {"TMPDIR": str(folder)}).path == address.SYSTEM_SOCKET


def test_relative_paths_become_absolute_and_events_lie_beside() -> None:
    chosen = address.choose("run/control.sock", {})
    assert chosen.path == os.path.abspath("run/control.sock")
    assert chosen.events == os.path.abspath("run/events.sock")


@pytest.mark.parametrize("path", ["", "/" + 107 * "x"])
def test_a_path_that_cannot_be_one_is_a_usage_error(path: str) -> None:
    with pytest.raises(UsageError):
        address.choose(path, {})


def test_who_listens_is_known_by_pid(sock: Path) -> None:
    with listen(sock):
        assert address.Address(str(sock), "--socket", True).check() == os.getpid()


def test_a_socket_file_that_nobody_listens_on(sock: Path) -> None:
    listen(sock).close()
    message, hint = why(sock)
    assert message == f"relctld is not running (no one listens on {sock})"
    assert hint == "start relctld, or choose another socket: this one is chosen by --socket"


def test_no_socket_file(sock: Path) -> None:
    assert why(sock)[0] == f"relctld is not running (no socket {sock}, --socket)"


def test_the_systems_directory_is_missing_while_its_daemon_is_stopped() -> None:
    if Path(address.SYSTEM_SOCKET).exists():
        pytest.skip("a relctld runs here")
    message, hint = why(address.SYSTEM_SOCKET, given=False)
    assert message == "relctld is not running (no socket /run/relctl/control.sock, the system's default)"
    assert hint == "systemctl status relctld" + (", or start a relctld of your own" if os.getuid() else "")


def test_your_own_daemon_was_stopped(sock: Path) -> None:
    listen(sock).close()
    hint = why(sock, given=False)[1]
    system = f"; the system's one is reached by --socket {address.SYSTEM_SOCKET}"
    assert hint == "start your own relctld again" + (system if Path(address.SYSTEM_SOCKET).exists() else "")


def test_a_directory_that_does_not_exist(folder: Path) -> None:
    path = folder / "nowhere" / "control.sock"
    expected = f"wrong path {path}, chosen by --socket: there is no directory {path.parent}"
    assert why(path) == (expected, "relctld keeps control.sock in its run directory")


def test_a_file_that_is_no_socket(sock: Path) -> None:
    sock.touch(mode=0)
    assert why(sock)[0] == f"wrong path {sock}, chosen by --socket: it is not a socket of relctld"


def test_a_socket_of_another_kind(sock: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(sock))
        assert why(sock)[0].startswith(f"wrong path {sock}, chosen by --socket: ")


def test_a_daemon_too_busy_to_take_one_more_is_not_called_dead(sock: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        server.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            client.connect_ex(str(sock))
        assert address.Address(str(sock), "--socket", True).check() == 0
        for client in waiting:
            client.close()
