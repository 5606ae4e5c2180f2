"""relctl as it is installed, in a bed: what to seed it with, and what its operator asks it."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.asking import Asker
from tests.releases import build
from tests.systemd.bed import Bed
from tests.waiting import wait_until

TOP = Path(__file__).resolve().parents[2]
CONFIG = "/etc/relctl/relctld.toml"

RELEASES = """
[release.rapp]
root = "/opt/rapp"
user = "nobody"
env = { DEMO_TICK_MS = "100" }
intensity = 1000
limits = { memory_max = "600MiB", cpu_weight = 50, tasks_max = 300 }
log = { journal = true, timestamps = true }
[release.mapp]
root = "/opt/mapp"
[release.bare]
root = "/opt/bare"
command = ["bin/start"]
ready = "process"
health = { probe = "process" }
[release.my-stray_1]
root = "/opt/stray"
command = ["run"]
intensity = 1000
limits = { tasks_max = 300 }
ready = "process"
health = { probe = "process" }
"""
"""`bare` is of OTP 28, which exits when its stdout loses its reader, and numbers its lines. `rapp`, `mapp`: OTP 25.
`my-stray_1` is a program whose descendant leaves its session and ignores SIGTERM; it starts in no time."""

NAMES = {"rapp", "mapp", "bare", "my-stray_1"}
BARE = """#!/bin/sh
exec {erl} -noinput -boot start_clean -eval '
    Count = fun Count(N) -> io:format("line ~b~n", [N]), timer:sleep(50), Count(N + 1) end,
    spawn(fun() -> Count(1) end).'
"""
STRAY = """#!/bin/sh
setsid sh -c 'trap "" TERM; echo $$ >/run/stray.pid; while :; do sleep 1; done' &
exec sleep 1000
"""


def lay_out(folder: Path) -> Path:
    """The installed program and two releases, in `folder`; it takes seconds, so beds are given copies."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["sh", str(TOP / "systemd/install.sh"), "--python", "/usr/bin/python3"],
        env=os.environ | {"DESTDIR": str(folder)}, stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    for name in ("rapp", "mapp"):
        build.place(build.build(name), folder / "opt" / name)
    return folder


class Host:
    """A bed with relctl installed, and started if `enabled`. `config` is relctld.toml, `files` more of them by path."""

    def __init__(
        self, installed: Path, config: str, files: dict[str, str] | None = None, *, enabled: bool = True
    ) -> None:
        def seed(folder: Path) -> None:
            shutil.copytree(installed, folder, symlinks=True, dirs_exist_ok=True)
            folder.chmod(0o755)
            for path, text in {CONFIG: config, **(files or {})}.items():
                file = folder / path.removeprefix("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                file.chmod(0o755 if text.startswith("#!") else 0o644)
            if enabled:
                wanted = folder / "etc/systemd/system/bed.target.wants"
                wanted.mkdir(exist_ok=True)
                (wanted / "relctld.service").symlink_to("/usr/local/lib/systemd/system/relctld.service")

        self.bed = Bed(seed)
        self.run = self.bed.run
        self.control = "/run/relctl/control.sock"
        """Of the relctld that `status` and `ask` mean."""

    @property
    def _socket(self) -> Path:
        return Path(f"/proc/{self.bed.leader}/root{self.control}")

    def status(self) -> dict[str, dict[str, Any]]:
        """By name; empty while relctld does not answer. Asked from outside: a client's start takes far longer."""
        if self._socket.exists():
            with Asker(self._socket) as asker, contextlib.suppress(AssertionError):
                return {release["name"]: release for release in asker.result("status", timeout=2)["releases"]}
        return {}

    def ask(self, op: str, *names: str) -> None:
        """A client that is there already asks for `op`."""
        with Asker(self._socket) as asker:
            asker.result(op, {"names": names}, timeout=60)

    def daemon(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.run("relctl", "--json", "daemon", "status"))
        return said

    def until_running(self, *names: str) -> dict[str, int]:
        """The pids of these releases, or of all, once they run."""

        def running() -> bool:
            found = self.status()
            return bool(found) and all(found[name]["state"] == "running" for name in names or found)

        wait_until(running, 60, 0.1, lambda: str(self.status()))
        return {name: release["pid"] for name, release in self.status().items()}

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit)

    def until_shown(self, unit: str, name: str, value: str) -> None:
        wait_until(lambda: self.show(unit, name) == value, 30, 0.1, lambda: f"{name}={self.show(unit, name)}")

    def scope_of(self, pid: int) -> str:
        """The last part of the cgroup of a process."""
        lines = self.run("cat", f"/proc/{pid}/cgroup").splitlines()
        return next(line for line in lines if line.startswith("0::")).rpartition("/")[2]

    def scopes(self) -> list[str]:
        """The scopes of nodes that systemd knows, whatever their state."""
        listed = self.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "relctl-node-*")
        return [line.split()[0] for line in listed.splitlines()]

    def stray(self) -> int:
        """The pid of the descendant of `my-stray_1`."""
        return int(self.run("cat", "/run/stray.pid"))

    def lives(self, pid: int) -> bool:
        return not self.run("kill", "-0", str(pid), check=False)

    def blow(self, signal: str) -> None:
        """Signal relctld alone, and wait for its successor where that ends it."""
        daemon = self.show("relctld", "MainPID")
        self.run("systemctl", "kill", "--kill-whom=main", "-s", signal, "relctld")
        wait_until(lambda: self.show("relctld", "MainPID") not in ("0", daemon), 30, what="a new relctld")
