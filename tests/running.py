"""A relctld of the test's own: private directories, real process, real client.

    with Relctld(tmp_path, {"web": {"root": str(root), "command": ["/bin/sleep", "60"]}}) as daemon:
        daemon.wait_for("web", state="running")
        daemon.relctl("stop", "web")

Everything that it starts is ended by pid, its nodes included, whatever the test did.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest

from relctld.host import containment
from relctld.host.process import open_vm
from relctld.host.records import read_vm
from tests.asked import FULL
from tests.asking import Asker
from tests.waiting import wait_until

Releases = Mapping[str, Mapping[str, Any]]

ROOT = os.geteuid() == 0


def need_root() -> None:
    """Skip without root; the full run must not."""
    if not ROOT:
        assert not FULL, "the full run needs root"
        pytest.skip("needs root")


def toml(value: object) -> str:
    """A value as TOML; tables inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(str(value)) if isinstance(value, Path) else json.dumps(value)


def plain_root(folder: Path) -> Path:
    """A root that is no release, for a release whose `command` says what to run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README").write_text("not a release\n")
    return folder


class Relctld:
    """A daemon that can be started, killed and started again on the same directories.

    `wrap` stands before its command, such as `unshare --mount`; it must become the daemon by exec.
    """

    def __init__(
        self, folder: Path, releases: Releases, daemon: Mapping[str, Any] | None = None, *, wrap: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        # A socket path has room for 107 bytes, and pytest's directories are long.
        self._short = tempfile.TemporaryDirectory(prefix="rt-")
        os.chmod(self._short.name, 0o755)
        self.run_dir = Path(self._short.name)
        self.state_dir = folder / "state"
        self.log_dir = folder / "log"
        self.config = folder / "relctld.toml"
        self.output = folder / "relctld.out"
        self.process: subprocess.Popen[bytes] | None = None
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(("RELCTL_", "NOTIFY_"))}
        self.wrap = tuple(wrap)
        self.configure(releases, daemon)

    def configure(self, releases: Releases, daemon: Mapping[str, Any] | None = None) -> None:
        """Write the config."""
        places = {"state_dir": self.state_dir, "log_dir": self.log_dir, "run_dir": self.run_dir, "include": []}
        lines = ["[daemon]", *(f"{key} = {toml(value)}" for key, value in {**places, **(daemon or {})}.items())]
        for name, table in releases.items():
            lines += [f"[release.{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def socket(self) -> Path:
        return self.run_dir / "control.sock"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def logger_pid(self) -> int | None:
        """The logger that holds the run directory, a child of the daemon or of a former one."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.run_dir / "logger.lock").read_text().partition("\n")[0])
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"relctld.logger" in words and os.fsencode(self.run_dir) in words:
                return pid
        return None

    def start(self, *, wait: bool = True, stderr: int | None = None) -> Self:
        """Start it and wait until its socket answers. `stderr`: an fd for its log, in place of `output`."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.wrap, sys.executable, "-m", "relctld", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output if stderr is None else stderr,
                env=self.environ,
                start_new_session=True,
            )
        if wait:
            wait_until(self.answers, 30, what=lambda: f"relctld to answer; it said: {self.said()[-2000:]}")
        return self

    def answers(self) -> bool:
        """Whether this very daemon answers on the control socket."""
        assert self.process is None or self.process.poll() is None, f"relctld ended: {self.said()}"
        if not self.socket.exists():
            return False
        with Asker(self.socket) as asker, contextlib.suppress(AssertionError):
            return bool(asker.result("daemon-status", timeout=0.5)["pid"] == self.pid)
        return False

    def said(self) -> str:
        """What it logged so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def relctl(self, *args: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run the real client against it."""
        done = subprocess.run(
            self._client(args),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            env=self.environ,
            check=False,
        )
        assert not check or done.returncode == 0, f"relctl {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def spawn_relctl(self, *args: str) -> "subprocess.Popen[str]":
        """Start the real client and do not wait for it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._client(args), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=self.environ
        )

    def _client(self, args: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "relctl", "--socket", str(self.socket), *args]

    def ask(self, op: str, args: Any = None, timeout: float = 30.0) -> dict[str, Any]:
        """The result of one operation, asked without the client: quick."""
        with Asker(self.socket) as asker:
            return asker.result(op, args, timeout)

    def status(self, name: str) -> dict[str, Any]:
        """One release of `status --json`."""
        return dict(self.ask("status", {"names": [name]})["releases"][0])

    def wait_for(self, name: str, timeout: float = 45.0, **wanted: object) -> dict[str, Any]:
        """Wait until the release's status has these values; its status then."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.status(name))
            return all(seen.get(key) == value for key, value in wanted.items())

        wait_until(
            reached,
            timeout,
            interval=0.03,
            what=lambda: f"{name} to be {wanted}; it is {seen}; it said: {self.said()[-2000:]}",
        )
        return seen

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The history."""
        return list(self.ask("events", {"names": list(names), "limit": 10_000})["events"])

    def noted(self, name: str, *kinds: str, at_least: int = 1) -> list[dict[str, Any]]:
        """The events of these kinds; the history is written a little after `status` tells."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events(name) if event["event"] in kinds]

        wait_until(lambda: len(found()) >= at_least, interval=0.05, what=lambda: f"{at_least} of {kinds}: {found()}")
        return found()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the daemon alone."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None

    def stop(self) -> int:
        """End it as systemd would: with the nodes, unless the config says leave."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(60)
        self.process = None
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all that is left, by identity, never by name."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()
        held = containment.choose(self.run_dir)
        releases = self.run_dir / "releases"
        for folder in releases.iterdir() if releases.is_dir() else ():
            recorded = read_vm(folder)
            if recorded is None:
                continue
            pidfd = open_vm(recorded.vm)
            if pidfd is not None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
            for kind in (held, containment.Sweep()):
                kind.empty(folder.name, recorded.epoch, recorded.vm.instance, gentle=False)
        _kill(_mentioning(self.run_dir))  # its logger, or one that is just starting
        wait_until(lambda: _taken_away(held), what="the end of what was waiting at its gate")
        self._short.cleanup()


def _taken_away(held: containment.Containment) -> bool:
    held.close()
    return not isinstance(held, containment.Cgroups) or not held._home.exists()


class Fleet:
    """Daemons on directories below `folder`. At its end no process is left that knows of that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: list[Relctld] = []

    def __call__(
        self,
        releases: Releases,
        daemon: Mapping[str, Any] | None = None,
        *,
        wrap: Sequence[str] = (),
        start: bool = True,
    ) -> Relctld:
        """A daemon, started unless told otherwise."""
        folder = self.folder / f"relctld{len(self._daemons)}"
        folder.mkdir()
        made = Relctld(folder, releases, daemon, wrap=wrap)
        self._daemons.append(made)
        return made.start() if start else made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in self._daemons:
            daemon.close()
        try:
            wait_until(lambda: not _mentioning(self.folder), 20, what=lambda: f"the end of {_mentioning(self.folder)}")
        finally:
            _kill(_mentioning(self.folder))


def alive(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _mentioning(folder: Path) -> list[int]:
    """The processes with this folder in their environment or arguments, but for our own ancestors."""
    found, mark = [], os.fsencode(folder)
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            told = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
            if mark in told and pid not in ours:
                found.append(pid)
    return found


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids), what=f"the end of {pids}")
