"""A root with nothing in it, under a real relctld: what the tests of deployments share.

with deploying("rapp") as stand:             `web` is configured, wanted up, and nothing is installed
    stand.deploy("1.0.0").done()             the real client
    stand.is_at("1.0.0")                     as in `upgrading`
    stand.is_empty()                         nothing is installed, and nothing of an attempt is left
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import epmds
from tests.beam.supervised import Host
from tests.beam.upgrading import READY, WITHIN, Ended, Stand, end
from tests.running import Relctld


@dataclass
class Site(Stand):
    """The release `web`; its root and the directories above it are not there."""

    def start(self) -> None:
        """Begin with nothing."""
        env = {
            "DEMO_NODE": f"{self.name}{self.host.epmd_port}@127.0.0.1",
            "DEMO_TCP_PORT": str(self.port),
            "DEMO_SOAK_MS": "1",
            **self.keys.get("env", {}),
        }
        often = {"intensity": 1000, "backoff": {"base": "100ms", "max": "100ms"}}
        ready = {"ready": READY[self.name], "start_timeout": "15s"}  # what is ill is never ready
        keys = {**ready, "upgrade": {"soak": "0s"}, **often, **self.keys, "env": env}
        self.host.run(web=self.host.release(self.root, env, **{k: v for k, v in keys.items() if k != "env"}))
        self.daemon.wait_for("web", WITHIN, state="stopped")

    def deploy(self, what: str | Path, *options: str) -> Ended:
        """A version's tarball, or a file."""
        words = ["deploy", "web", *self._words(what), *options]
        done = self.daemon.relctl(*words, check=False, timeout=3 * WITHIN)
        return Ended(done.returncode, done.stdout, done.stderr)

    def unchanged(self, what: str | Path) -> None:
        """It is so already: nothing is done, and that is no error."""
        before, epoch = self.tree(), self.daemon.status("web")["epoch"]
        again = self.deploy(what, "--json")
        again.done()
        assert again.reply["changed"] is False
        assert (self.changed(before), self.daemon.status("web")["epoch"]) == ({}, epoch)

    def is_empty(self) -> None:
        """Nothing is installed, as `start` says too, and what is wanted is as it was."""
        self.ended()
        status = self.daemon.wait_for("web", WITHIN, state="stopped")
        assert (status["want"], status["version"], status["boot_version"]) == ("up", None, None)
        assert not self.root.exists() or list(self.root.iterdir()) == []
        done = self.daemon.relctl("start", "web", check=False)
        assert (done.returncode, "nothing installed" in done.stderr) == (5, True), done.stderr

    def clear(self) -> None:
        """As at first."""
        self.daemon.environ.pop("DEATH", None)
        if self.daemon.process is None or self.daemon.process.poll() is not None:
            self.daemon.process = None
            self.daemon.start()
        self.ended()
        self.daemon.relctl("stop", "web")
        shutil.rmtree(self.root.resolve(), ignore_errors=True)
        if self.root.is_symlink():
            self.root.unlink()
        self.daemon.relctl("start", "web", check=False)


@contextlib.contextmanager
def deploying(name: str, **keys: Any) -> Iterator[Site]:
    """With a relctld and an epmd of its own; nothing is left of them after."""
    folder = Path(tempfile.mkdtemp(prefix="relctl-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        epmd_port = stack.enter_context(epmds.private_port())
        (folder / "relctl").mkdir()
        host = Host(Relctld(folder / "relctl", {}), folder, epmd_port)
        stack.callback(end, host)
        site = Site(name, host, folder / "opt" / "releases" / name, epmds.free_port(), keys)
        site.start()
        yield site
