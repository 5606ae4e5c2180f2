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
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from relctld.host import containment
from relctld.host.process import open_vm
from relctld.host.records import read_vm

from tests.waiting import wait_until

Releases = Mapping[str, Mapping[str, Any]]


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
    """A daemon that can be started, killed and started again on the same directories."""

    def __init__(self, folder: Path, releases: Releases, daemon: Mapping[str, Any] | None = None) -> None:
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
        self._loggers: set[int] = set()
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

    def start(self, *, wait: bool = True) -> Self:
        """Start it and wait until its socket answers."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "relctld", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environ,
                start_new_session=True,
            )
        if wait:
            wait_until(self.answers, what=lambda: f"relctld to answer; it said: {self.said()[-2000:]}")
        return self

    def answers(self) -> bool:
        """Whether the control socket answers."""
        assert self.process is None or self.process.poll() is None, f"relctld ended: {self.said()}"
        done = self.relctl("--json", "daemon", "status", check=False)
        if done.returncode == 0:
            logger = json.loads(done.stdout).get("logger_pid")
            if logger:
                self._loggers.add(logger)
        return done.returncode == 0

    def said(self) -> str:
        """What it logged so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def relctl(self, *args: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run the real client against it."""
        done = subprocess.run(
            [sys.executable, "-m", "relctl", "--socket", str(self.socket), *args],
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

    def status(self, name: str) -> dict[str, Any]:
        """One release of `status --json`."""
        releases = json.loads(self.relctl("--json", "status", name, check=False).stdout)["releases"]
        return dict(releases[0])

    def wait_for(self, name: str, timeout: float = 20.0, **wanted: object) -> dict[str, Any]:
        """Wait until the release's status has these values; its status then."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.status(name))
            return all(seen.get(key) == value for key, value in wanted.items())

        wait_until(
            reached, timeout, what=lambda: f"{name} to be {wanted}; it is {seen}; it said: {self.said()[-2000:]}"
        )
        return seen

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The history."""
        return [json.loads(line) for line in self.relctl("--json", "events", *names).stdout.splitlines()]

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
            self.process.wait()
        releases = self.run_dir / "releases"
        for folder in releases.iterdir() if releases.is_dir() else ():
            recorded = read_vm(folder)
            pidfd = open_vm(recorded[1]) if recorded else None
            if pidfd is not None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
        for pid in self._loggers:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if b"relctld.logger" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        containment.choose(self.run_dir).close()
        self._short.cleanup()
