"""`relctl daemon reexec`: the daemon becomes the installed code in place, and nobody notices but by its version."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.asking import Asker
from tests.fakes import fake
from tests.running import Fleet, Relctld, alive
from tests.waiting import wait_until

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]


def started(daemon: Relctld) -> str:
    """Which self of the daemon it is: when it came up."""
    return str(daemon.ask("daemon-status")["started_at"])


def by_signal(daemon: Relctld) -> None:
    """SIGUSR2, and until the new self answers."""
    before = started(daemon)
    os.kill(daemon.pid, signal.SIGUSR2)
    wait_until(lambda: started(daemon) != before, 30, what=lambda: f"a new self; it said {daemon.said()[-2000:]}")


def kinds(daemon: Relctld) -> list[str]:
    return [event["event"] for event in daemon.events()]


class Hammer:
    """Asks for `status` all the time, each time on a new connection as well as on an old one."""

    def __init__(self, daemon: Relctld) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._connect, self._ask)]
        self.refused: list[str] = []
        self.connected = self.answered = 0

    def _connect(self) -> None:
        import socket

        while not self._over.is_set():
            for name in ("control.sock", "events.sock"):
                with socket.socket(socket.AF_UNIX) as door:
                    door.settimeout(10)
                    try:
                        door.connect(str(self._daemon.run_dir / name))
                        self.connected += 1
                    except OSError as error:
                        self.refused.append(f"{name}: {error}")
            self._over.wait(0.01)

    def _ask(self) -> None:
        with Asker(self._daemon.socket) as asker:
            while not self._over.is_set():
                end = time.monotonic() + 15
                id = asker.request("status")
                while True:
                    answer = asker.receive(1.0)
                    if answer is not None and answer["id"] == id and "progress" not in answer:
                        break
                    if time.monotonic() > end:
                        self.refused.append("no answer")
                        return
                    if answer is None:
                        asker.request("status", id=id)
                if not answer["ok"]:
                    self.refused.append(str(answer))
                self.answered += 1

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_the_daemon_is_renewed_and_its_nodes_do_not_notice(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "api": fake(tmp_path / "api")})
    before = {name: daemon.wait_for(name, state="running") for name in ("web", "api")}
    first, inodes = started(daemon), [os.stat(daemon.run_dir / name).st_ino for name in ("control.sock", "events.sock")]
    with Hammer(daemon) as hammer:
        done = daemon.relctl("daemon", "reexec", "--json")
        reply = json.loads(done.stdout)
        wait_until(lambda n=hammer.answered: hammer.answered > n + 20)  # type: ignore[misc]
    assert hammer.refused == []
    assert hammer.connected > 100
    version = daemon.ask("daemon-status")["version"]
    assert reply == reply | {"ok": True, "op": "daemon-reexec", "pid": daemon.pid, "version": version}
    assert started(daemon) != first
    assert [os.stat(daemon.run_dir / name).st_ino for name in ("control.sock", "events.sock")] == inodes
    for name, was in before.items():
        now = daemon.wait_for(name, state="running", pid=was["pid"], epoch=1)
        assert psutil.Process(int(was["pid"])).ppid() == daemon.pid
        assert now["restarts_total"] == 0
    assert (daemon.run_dir / "lock").read_text().strip() == str(daemon.pid)
    assert not (daemon.run_dir / "operations.json").exists()
    daemon.relctl("restart", "web")
    assert daemon.relctl("stop", "api").returncode == 0
    assert daemon.status("api")["last_exit"]["code"] is not None or daemon.status("api")["last_exit"]["signal"]
    assert "daemon-reexec" in kinds(daemon)
    assert kinds(daemon).count("daemon-started") == 2


def test_a_signal_does_it_too_and_the_environment_stays(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")}, start=False)
    daemon.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    daemon.start()
    daemon.wait_for("web", state="running")
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    by_signal(daemon)
    environ = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert f"NOTIFY_SOCKET={tmp_path / 'notify'}".encode() in environ.split(b"\0")
    assert Path(f"/proc/{daemon.pid}/limits").read_text() == limits
    pid = daemon.relctl("restart", "web", "--json").stdout
    vm = json.loads(pid.splitlines()[-1])["pid"]
    words = Path(f"/proc/{vm}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in words
    assert b"RELCTLD_KEEP" not in words
    status = Path(f"/proc/{vm}/status").read_text()
    assert re.search(r"SigBlk:\s*0+\n", status)
    assert daemon.stop() == 0
    assert not alive(vm)
