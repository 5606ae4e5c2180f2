"""Three releases under a relctld that may be killed: the test starts it again, as systemd would."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from relctld.host.process import open_vm
from relctld.host.records import read_vm
from tests import epmds
from tests.beam.supervised import Host, http_ready
from tests.releases import build
from tests.running import Relctld, alive
from tests.waiting import wait_until

NAMES = ("web", "api", "jobs")
_OFTEN = {"intensity": 100_000, "backoff": {"base": "0.1s", "max": "0.5s"}}
_TICK_MS = "20"


class World:
    """What there is."""

    def __init__(self, folder: Path, epmd_port: int, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        (folder / "relctl").mkdir()
        self.host = Host(Relctld(folder / "relctl", {}), folder, epmd_port)
        self.roots = {name: self._place(name) for name in NAMES}
        self.ports = {name: epmds.free_port() for name in NAMES}
        self.configured = 0

    @property
    def daemon(self) -> Relctld:
        return self.host.daemon

    def configure(self) -> None:
        """Write the config, each time another one: a key that acts at once."""
        self.configured += 1
        env = {"DEMO_TICK_MS": _TICK_MS}
        log = {"max_size": "20kB", "keep": 10_000}
        health = {"interval": f"{2 + self.configured % 3}s"}
        self.daemon.configure(
            {
                name: self.host.release(
                    self.roots[name],
                    {**env, "DEMO_HTTP_PORT": str(self.ports[name]), "DEMO_NODE": f"{name}@127.0.0.1"},
                    log=log, health=health, stop_timeout="5s", **http_ready(self.ports[name]), **_OFTEN,
                )
                for name in NAMES
            }
        )  # fmt: skip

    def revive(self) -> None:
        """Start relctld again where it is dead; nobody waits until it answers."""
        process = self.daemon.process
        if process is None or process.poll() is not None:
            self.daemon.start(wait=False)

    def kill_daemon(self, number: int) -> None:
        """End relctld, without a core file."""
        process = self.daemon.process
        assert process is not None
        assert process.poll() is None, f"relctld ended by itself with {process.poll()}: {self.daemon.said()[-3000:]}"
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        self.daemon.kill(number)

    def answers(self) -> None:
        """Wait until relctld can be asked."""
        wait_until(self.daemon.answers, 60, what=lambda: f"relctld to answer; it said {self.daemon.said()[-3000:]}")

    def vm(self, name: str) -> int | None:
        """The pid of a release's VM, by its record: nobody is asked."""
        recorded = read_vm(self.daemon.run_dir / "releases" / name)
        pidfd = open_vm(recorded.vm) if recorded is not None else None
        if recorded is None or pidfd is None:
            return None
        os.close(pidfd)
        return recorded.vm.pid

    def epmds(self) -> list[psutil.Process]:
        """The epmds of this world."""
        return epmds.started_for(self.host.epmd_port)

    def status(self) -> dict[str, dict[str, Any]]:
        """All releases by their name."""
        return {release["name"]: release for release in self.daemon.ask("status")["releases"]}

    def _place(self, name: str) -> Path:
        """Plain target systems with names of their own, and one release of relx, which asks for its name."""
        if name == NAMES[-1]:
            return build.place(build.build("rapp"), self.folder / name)
        root = build.place(build.build("papp"), self.folder / name)
        args = root / "releases" / "1.0.0" / "vm.args"
        args.write_text(args.read_text().replace("papp@127.0.0.1", f"{name}@127.0.0.1"))
        return root

    def close(self) -> None:
        """End what is left, by pid."""
        logger = self.daemon.logger_pid
        if logger is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(logger, signal.SIGCONT)
        self.daemon.close()
        for process in self.host.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: logger is None or not alive(logger), what="the logger's end")


@contextlib.contextmanager
def world(chance: random.Random) -> Iterator[World]:
    """A world of one's own; nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="relctl-"))
    folder.chmod(0o755)
    try:
        with epmds.private_port() as port:
            made = World(folder, port, chance)
            made.configure()
            try:
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(folder)
