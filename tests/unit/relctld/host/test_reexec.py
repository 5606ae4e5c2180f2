"""What travels over a re-exec is looked at again before it is used."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.host.reexec import Kept, vm_name


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield fd
    try:
        os.close(fd)
    except OSError:
        assert fd >= 0  # closed by who was given it


def kept(fds: dict[str, object], pid: int | None = None, stored: dict[str, list[int]] | None = None) -> Kept:
    environ = {"RELCTLD_KEEP": json.dumps({"pid": os.getpid() if pid is None else pid, "fds": fds}), "PATH": "/bin"}
    found = Kept.of(environ, stored or {})
    assert environ == {"PATH": "/bin"}
    return found


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_the_lock_is_taken_once_and_is_close_on_exec_again(tmp_path: Path, lock: int) -> None:
    os.set_inheritable(lock, True)
    found = kept({"lock": lock})
    assert found.is_successor
    assert not os.get_inheritable(lock)
    assert found.lock(str(tmp_path / "lock")) == lock
    assert found.lock(str(tmp_path / "lock")) is None


def test_a_lock_of_another_file_is_let_go(tmp_path: Path, lock: int) -> None:
    (tmp_path / "other").touch()
    assert kept({"lock": lock}).lock(str(tmp_path / "other")) is None
    assert not is_open(lock)


def test_what_is_no_socket_and_no_pidfd_is_let_go(lock: int) -> None:
    second = os.dup(lock)
    found = kept({"control.sock": lock, vm_name("web", 7): second})
    assert found.listener("control.sock") is None
    assert found.vm("web", 7) is None
    assert not is_open(lock)
    assert not is_open(second)


def test_a_pidfd_is_of_this_process_or_nobodys() -> None:
    pidfd = os.pidfd_open(os.getpid())
    found = kept({vm_name("web", os.getpid()): pidfd, vm_name("api", 1): os.dup(pidfd)})
    assert found.vm("api", 1) is None
    assert found.vm("web", os.getpid()) == pidfd
    os.close(pidfd)


def test_what_nobody_takes_is_closed() -> None:
    left, right = socket.socketpair()
    found = kept({"control.sock": os.dup(left.fileno()), "from a newer one": (fd := os.dup(right.fileno()))})
    found.close()
    assert not is_open(fd)
    left.close()
    right.close()


def test_what_systemd_kept_is_taken_by_name_and_the_rest_is_told() -> None:
    pid = os.getpid()
    fds = [os.pidfd_open(pid), os.pidfd_open(pid), os.pidfd_open(pid), os.dup(2)]
    found = kept({}, stored={vm_name("web", pid): fds[:2], vm_name("api", 7): [fds[2]], vm_name("old", 1): [fds[3]]})
    assert not found.is_successor
    assert found.vm("web", pid) == fds[0]
    assert found.vm("web", pid) is None
    assert found.vm("api", 7) is None  # another process than its name says
    assert sorted(found.close()) == [vm_name("api", 7), vm_name("old", 1)]
    assert [is_open(fd) for fd in fds] == [True, False, False, False]
    os.close(fds[0])


def test_what_came_with_the_re_exec_goes_before_what_systemd_kept() -> None:
    pid = os.getpid()
    ours, theirs = os.pidfd_open(pid), os.pidfd_open(pid)
    found = kept({vm_name("web", pid): ours}, stored={vm_name("web", pid): [theirs]})
    assert found.vm("web", pid) == ours
    assert not is_open(theirs)
    os.close(ours)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1, "fds": {"lock": 3}}', '{"pid": "x", "fds": 3}'])
def test_what_is_not_meant_for_us_is_nothing(text: str) -> None:
    environ = {"RELCTLD_KEEP": text}
    assert not Kept.of(environ, {}).is_successor
    assert environ == {}


def test_numbers_that_are_not_open_are_nothing() -> None:
    assert not kept({"lock": 999_999, "control.sock": "4", "events.sock": True}).is_successor
