"""relctl itself, as the harness of the tests runs it: private directories, the real daemon, the real client."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.running import Relctld, plain_root

from bench.driver import STOP_WITHIN, Child, Driver
from bench.measure import descendants
from relctld.host import containment
from relctld.host.gate import COMM
from relctld.host.records import read_vm


class Relctl(Driver):
    """A daemon, its logger, and releases whose command is the child. A first restart is at once, again and again."""

    name = "relctl"

    def __init__(self, program: Path) -> None:
        super().__init__(program)
        self._daemon: Relctld | None = None
        self._run_dir: Path | None = None

    def start(self, children: Sequence[Child]) -> None:
        root = plain_root(self.folder / "root")
        common: dict[str, Any] = {
            "root": root,
            "intensity": 1_000_000,
            "period": "100ms",
            "stop_timeout": f"{STOP_WITHIN}s",
            "backoff": {"first": "0s"},
        }
        releases = {c.name: {**common, "command": self.beats.argv(c.name, *c.words)} for c in children}
        self._daemon = Relctld(self.folder, {})
        self._daemon.run_dir = self._run_dir = Path(tempfile.mkdtemp(prefix="rb-", dir=_tmpfs()))
        self._daemon.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once
        self._daemon.configure(releases)
        self._daemon.start()

    def status(self) -> list[str]:
        return [*self._client(), "status"]

    def stop(self, name: str) -> list[str]:
        return [*self._client(), "stop", name]

    def own(self) -> list[int]:
        """The daemon and its logger."""
        assert self._daemon is not None
        told = json.loads(self._daemon.relctl("--json", "daemon", "status").stdout)
        return [told["pid"], *([told["logger_pid"]] if told.get("logger_pid") else [])]

    def gates(self) -> list[int]:
        """The gates of the next epochs; a child that is a VM by now has another name."""
        assert self._daemon is not None
        below = descendants(self._daemon.pid)
        return [pid for pid in below if Path(f"/proc/{pid}/comm").read_text().strip() == COMM]

    def close(self) -> None:
        if self._daemon is not None:
            self._empty(self._daemon)
            self._daemon.close()
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
        super().close()

    @staticmethod
    def _empty(daemon: Relctld) -> None:
        """End the daemon, then every child with the cgroup that it was in."""
        if daemon.process is not None:
            daemon.kill()
        held = containment.choose(daemon.run_dir)
        for folder in (daemon.run_dir / "releases").glob("*"):
            recorded = read_vm(folder)
            if recorded is not None:
                held.empty(folder.name, recorded.epoch, recorded.vm.instance, gentle=False)

    def _client(self) -> list[str]:
        """The command as it is installed: `relctl`, not `python -m relctl`."""
        assert self._daemon is not None
        installed = Path(sys.executable).parent / "relctl"
        program = [str(installed)] if installed.exists() else [sys.executable, "-m", "relctl"]
        return [*program, "--socket", str(self._daemon.socket)]


def _tmpfs() -> str:
    """Where a run directory belongs: in memory."""
    return next(
        (folder for folder in ("/run", "/dev/shm") if os.path.ismount(folder) and os.access(folder, os.W_OK)), ""
    )
