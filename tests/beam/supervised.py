"""Real releases under a real relctld: what the tests of the two together share.

Each test has a relctld, an epmd port and a directory of its own. What its releases start is known by `TRACE` in the
environment, or, where a program wiped that, by the first argument of `sleep`: both are this test's alone.
"""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from relctld.host.gate import COMM
from tests.releases.build import place
from tests.running import Relctld
from tests.waiting import wait_until

OTHER_USER = "nobody"

HELPERS = """\
#!/bin/sh
# A port program of the worst kind; `sleep`'s argument tells whose it is.
setsid -f sleep {mark}.1
(setsid sleep {mark}.2 &)
(exec sleep {mark}.3) &
exec sleep {mark}.4
"""


@dataclass(slots=True)
class Host:
    """A relctld that is not started yet, and where its releases may live."""

    daemon: Relctld
    folder: Path
    epmd_port: int

    def release(self, root: Path, env: Mapping[str, str] | None = None, **keys: Any) -> dict[str, Any]:
        """The table of a release, on this test's own epmd."""
        own = {"ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1", "TRACE": str(self.folder)}
        return {"root": root, "env": {**own, **(env or {})}, **keys}

    def run(self, **releases: Mapping[str, Any]) -> Relctld:
        """Start relctld with these releases."""
        self.daemon.configure(releases)
        return self.daemon.start()

    def copy(self, root: Path, name: str) -> Path:
        """Another copy of a release."""
        return place(root, self.folder / name)

    def helpers(self) -> str:
        """A command line for DEMO_PORT_PROGRAM: four processes in three sessions, three of them orphans."""
        script = self.folder / "helpers"
        script.write_text(HELPERS.format(mark=self.epmd_port))
        script.chmod(0o755)
        return str(script)

    def processes(self) -> list[psutil.Process]:
        """Every living process that a release of this test started, epmd aside."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def names(self) -> list[str]:
        """The names of these processes, sorted."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # gone meanwhile
                found.append(process.name())
        return sorted(found)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.name() in ("epmd", COMM):
                return False
            argv = process.cmdline()
            if argv[:1] == ["sleep"] and argv[1].partition(".")[0] == str(self.epmd_port):
                return True
            environ = process.environ()
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            return False
        return environ.get("TRACE") == str(self.folder) and "RELCTL_INSTANCE" in environ


def http_ready(port: int) -> dict[str, str]:
    """Keys of a release that serves HTTP on this port: it is ready when that answers 200."""
    return {"ready": f"http://127.0.0.1:{port}/health"}


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET from a node; (0, "") where it ended instead of answering."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except OSError:
        return 0, ""


def is_vm(pid: int) -> bool:
    """Whether this very process is the emulator."""
    return Path(os.readlink(f"/proc/{pid}/exe")).name == "beam.smp"


def crashed(daemon: Relctld, name: str, cause: str, timeout: float = 30.0) -> dict[str, Any]:
    """Wait until the release's last exit has this cause; that exit."""
    seen: dict[str, Any] = {}

    def reached() -> bool:
        seen.update(daemon.status(name)["last_exit"] or {})
        return seen.get("cause") == cause

    wait_until(reached, timeout, what=lambda: f"{name} to end by {cause}; last exit {seen}")
    return seen


def notes(daemon: Relctld, name: str) -> list[str]:
    """The names of a release's events, oldest first."""
    return [event["event"] for event in daemon.events(name)]
