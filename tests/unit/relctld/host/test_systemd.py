"""relctld's talk with systemd. The test plays systemd: real datagram sockets, real fds."""

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from relctld.host.systemd import (
    SYSTEMD_VARIABLES,
    Notifier,
    Unit,
    own_job,
    own_unit,
    take_listen_fds,
    without_systemd,
)


@dataclass
class Manager:
    """systemd's end of the notify socket."""

    address: str
    socket: socket.socket

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def receive(self) -> tuple[dict[str, str], list[int]]:
        data, fds, _, _ = socket.recv_fds(self.socket, 4096, 16)
        return dict(line.split("=", 1) for line in data.decode().splitlines()), list(fds)

    def messages(self) -> list[dict[str, str]]:
        """All that has arrived."""
        received: list[dict[str, str]] = []
        while True:
            try:
                message, fds = self.receive()
            except BlockingIOError:
                return received
            for fd in fds:
                os.close(fd)
            received.append(message)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    address = path if request.param == "path" else f"@relctl-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as server:
        server.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        yield Manager(address, server)


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    notifier = Notifier(manager.environ)
    yield notifier
    notifier.close()


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def same_file(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


def test_ready_carries_its_status(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("3 releases")
    assert manager.messages() == [{"READY": "1", "STATUS": "3 releases"}]


def test_ready_without_a_status(manager: Manager, notifier: Notifier) -> None:
    notifier.ready()
    assert manager.messages() == [{"READY": "1"}]


def test_status_is_one_line_whatever_it_is_made_of(manager: Manager, notifier: Notifier) -> None:
    notifier.status("web is\nREADY=1\nMAINPID=1 \u2713")
    assert manager.messages() == [{"STATUS": "web is READY=1 MAINPID=1 \u2713"}]


def test_reloading_carries_the_monotonic_clock(manager: Manager, notifier: Notifier) -> None:
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    [message] = manager.messages()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_stopping_and_the_time_it_takes(manager: Manager, notifier: Notifier) -> None:
    notifier.stopping("web stops")
    notifier.extend_timeout(12.5)
    assert manager.messages() == [
        {"STOPPING": "1", "STATUS": "web stops"},
        {"EXTEND_TIMEOUT_USEC": "12500000"},
    ]


def test_watchdog(manager: Manager, notifier: Notifier) -> None:
    notifier.watchdog()
    assert manager.messages() == [{"WATCHDOG": "1"}]


def test_a_stored_fd_arrives_and_ours_stays_open(manager: Manager, notifier: Notifier) -> None:
    read_end, write_end = os.pipe()
    notifier.store_fd("pid-web", read_end)
    message, [stored] = manager.receive()
    assert message == {"FDSTORE": "1", "FDPOLL": "0", "FDNAME": "pid-web"}
    assert same_file(stored, read_end)
    assert stat.S_ISFIFO(os.fstat(read_end).st_mode)
    for fd in (read_end, write_end, stored):
        os.close(fd)


def test_a_stored_fd_is_removed_by_name(manager: Manager, notifier: Notifier) -> None:
    notifier.remove_fd("pid-web")
    assert manager.messages() == [{"FDSTOREREMOVE": "1", "FDNAME": "pid-web"}]


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "\u00e9", "x" * 256])
def test_a_name_that_systemd_would_change_is_refused(notifier: Notifier, name: str) -> None:
    with pytest.raises(ValueError, match="cannot store fd"):
        notifier.store_fd(name, 0)
    with pytest.raises(ValueError, match="cannot store fd"):
        notifier.remove_fd(name)


def fill(notifier: Notifier) -> int:
    """Status lines until the queue of the other side is full; how many it took."""
    for sent in range(100_000):
        notifier.stopping(str(sent))
        if notifier.waiting:
            return sent
    raise AssertionError("the queue has no end")


def test_a_busy_systemd_loses_no_stored_fd_and_no_ready(manager: Manager, notifier: Notifier) -> None:
    sent = fill(notifier)
    before = open_fds()
    read_end, write_end = os.pipe()
    notifier.store_fd("pid-web", read_end)
    inode = os.fstat(read_end).st_ino
    os.close(read_end)  # the caller may close it at once
    notifier.ready()
    assert notifier.waiting
    first = manager.messages()
    assert [message["STATUS"] for message in first] == [str(n) for n in range(sent)]
    assert notifier.flush()
    assert manager.receive()[0]["STATUS"] == str(sent)
    message, [stored] = manager.receive()
    assert message["FDNAME"] == "pid-web"
    assert os.fstat(stored).st_ino == inode
    assert manager.messages() == [{"READY": "1"}]
    os.close(stored)
    os.close(write_end)
    assert open_fds() == before


def test_a_busy_systemd_gets_only_the_newest_of_what_passes(manager: Manager, notifier: Notifier) -> None:
    fill(notifier)
    notifier.status("old")
    notifier.watchdog()
    notifier.extend_timeout(1)
    manager.messages()
    notifier.watchdog()  # takes along what had to wait
    assert not notifier.waiting
    assert {"STATUS": "old"} not in manager.messages()


def test_close_drops_what_waits(notifier: Notifier) -> None:
    before = open_fds()
    fill(notifier)
    with open("/dev/null", "rb") as file:
        notifier.store_fd("null", file.fileno())
    notifier.close()
    assert not notifier.waiting
    assert open_fds() <= before


def say_all(notifier: Notifier) -> None:
    notifier.ready("up")
    notifier.status("well")
    notifier.reloading()
    notifier.stopping()
    notifier.watchdog()
    notifier.extend_timeout(1)
    notifier.store_fd("null", 0)
    notifier.remove_fd("null")


def test_a_socket_that_went_away_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    server.bind(str(path))
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    server.close()
    say_all(notifier)
    path.unlink()
    say_all(notifier)
    assert not notifier.waiting

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as server:
        server.bind(str(path))
        notifier.ready()
        assert Manager(str(path), server).messages() == [{"READY": "1"}]
    notifier.close()


@pytest.mark.parametrize("value", [None, "", "relative", "vsock:2:1234"])
def test_outside_systemd_nothing_happens(value: str | None) -> None:
    before = open_fds()
    notifier = Notifier({} if value is None else {"NOTIFY_SOCKET": value})
    assert not notifier.active
    say_all(notifier)
    assert notifier.flush()
    assert notifier.watchdog_interval is None
    assert open_fds() == before


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("30000000", None, 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval_is_half_of_what_systemd_waits(
    usec: str | None, pid: str | None, interval: float | None
) -> None:
    given = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": str(os.getpid()) if pid == "ours" else pid}
    notifier = Notifier({key: value for key, value in given.items() if value is not None})
    assert notifier.watchdog_interval == interval


def test_children_get_none_of_our_variables(manager: Manager) -> None:
    environ = {"PATH": "/bin"} | dict.fromkeys(SYSTEMD_VARIABLES, "1") | manager.environ
    kept = dict(environ)
    notifier = Notifier(environ)
    assert environ == kept  # a re-exec needs them
    assert without_systemd(environ) == {"PATH": "/bin"}
    notifier.close()


TAKE = """
import json, os, sys
from relctld.host.systemd import take_listen_fds

pid, *given = sys.argv[1:]
for number, fd in enumerate(given, start=3):
    os.dup2(int(fd), number)
os.environ |= {"LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": str(len(given))}
found = take_listen_fds()
file = lambda fd: os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
print(json.dumps({
    "files": {name: [file(fd) for fd in fds] for name, fds in found.items()},
    "inherited": any(os.get_inheritable(fd) for fds in found.values() for fd in fds),
    "left": [key for key in os.environ if key.startswith("LISTEN")],
    "again": take_listen_fds(),
}))
"""


def take(files: list[Path], names: str | None, pid: str = "") -> dict[str, object]:
    """What `take_listen_fds` makes of `files` as fds 3, 4, … in a process of its own; `pid`: whose they are."""
    environ = os.environ | ({} if names is None else {"LISTEN_FDNAMES": names})
    with ExitStack() as stack:
        fds = [stack.enter_context(file.open("wb")).fileno() for file in files]
        # Out of the way of 3, 4, …
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]
        command = [sys.executable, "-c", TAKE, pid, *map(str, high)]
        done = subprocess.run(command, env=environ, pass_fds=high, check=True, capture_output=True)
        for fd in high:
            os.close(fd)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("names", "pid", "files"),
    [
        ("pid-web:log-web:pid-web", "", {"pid-web": ["a", "c"], "log-web": ["b"]}),
        ("pid-web:log-web", "", {"pid-web": ["a"], "log-web": ["b"], "unknown": ["c"]}),
        (None, "", {"unknown": ["a", "b", "c"]}),
        ("pid-web:log-web:pid-web", "1", {}),
    ],
    ids=["names", "a name short", "no names", "not for us"],
)
def test_stored_fds_come_back_by_name(tmp_path: Path, names: str | None, pid: str, files: dict[str, list[str]]) -> None:
    answer = take([tmp_path / name for name in "abc"], names, pid)
    assert answer == {"files": files, "inherited": False, "left": [], "again": {}}


def test_nothing_was_handed_over() -> None:
    assert take_listen_fds({}) == {}
    assert take_listen_fds({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == {}


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/relctld.service\n", Unit("relctld.service", user=False)),
        ("0::/system.slice/relctld.service/supervisor\n", Unit("relctld.service", user=False)),
        ("0::/system.slice/system-relctld.slice/relctld@a.service\n", Unit("relctld@a.service", user=False)),
        (
            "9:name=systemd:/system.slice/relctld.service\n4:memory:/else.service\n0::/\n",
            Unit("relctld.service", user=False),
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/relctld.service\n",
            Unit("relctld.service", user=True),
        ),
        ("0::/user.slice/user-1000.slice/session-1.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_own_unit_by_cgroup(tmp_path: Path, cgroup: str, unit: Unit | None) -> None:
    file = tmp_path / "cgroup"
    file.write_text(cgroup)
    assert own_unit(str(file)) == unit


def test_own_unit_without_proc(tmp_path: Path) -> None:
    assert own_unit(str(tmp_path / "none")) is None


def systemctl(directory: Path, monkeypatch: pytest.MonkeyPatch, *, state: str, jobs: str, wait: int = 0) -> None:
    """A systemctl that answers as asked; `exec sleep` so that killing it leaves nothing."""
    script = directory / "systemctl"
    script.write_text(
        f'#!/bin/sh\n[ {wait} -eq 0 ] || exec sleep {wait}\necho "$@" >>{directory}/calls\n'
        f"case \"$*\" in *is-system-running*) echo {state}; exit 1;; *list-jobs*) printf '{jobs}';; esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("state", "jobs", "job"),
    [
        ("running", "12 relctld.service restart running\\n", "restart"),
        ("degraded", "12 relctld.service restart running\\n", "restart"),
        ("running", "12 relctld.service try-restart running\\n", "restart"),
        ("running", "12 relctld.service stop running\\n", "stop"),
        ("running", "7 other.service stop waiting\\n12 relctld.service restart running\\n", "restart"),
        ("running", "7 other.service stop waiting\\n", None),
        ("running", "", None),
        ("stopping", "12 relctld.service restart running\\n", "stop"),
        ("stopping", "", "stop"),
        ("offline", "No jobs running.\\n", None),
    ],
)
def test_own_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, jobs: str, job: str | None) -> None:
    systemctl(tmp_path, monkeypatch, state=state, jobs=jobs)
    assert own_job(Unit("relctld.service", user=False)) == job
    assert "--user" not in (tmp_path / "calls").read_text()


def test_own_job_asks_the_manager_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, state="running", jobs="1 relctld.service stop running\\n")
    assert own_job(Unit("relctld.service", user=True)) == "stop"
    assert all(call.startswith("--user ") for call in (tmp_path / "calls").read_text().splitlines())


def test_own_job_does_not_wait_for_a_systemd_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, state="running", jobs="1 relctld.service stop running\\n", wait=60)
    assert own_job(Unit("relctld.service", user=False), timeout=0.2) is None  # else it would be told of the stop


def test_own_job_without_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_job(Unit("relctld.service", user=False)) is None
