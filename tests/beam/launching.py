"""Starts a sample release as relctld will: `inspect`'s command and environment, nothing else of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relctld.beam.flavour import Release
from tests.waiting import wait_until

BOOT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A launched release and the file that gets its stdout and stderr."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for(self, text: str) -> str:
        """The first line that holds `text`."""

        def found() -> str | None:
            line = next((line for line in self.lines() if text in line), None)
            assert line or self.process.poll() is None, f"ended {self.process.returncode}:\n{self.log.read_text()}"
            return line

        return wait_until(found, BOOT_TIMEOUT_S, what=f"{text!r} in {self.log}") or ""

    def terminate(self) -> int:
        """Asks it to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(BOOT_TIMEOUT_S)


def clean_env(home: Path, epmd_port: int) -> dict[str, str]:
    """What a VM gets beside its release's own variables."""
    return {
        "PATH": os.defpath + ":/usr/sbin:/sbin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_CRASH_DUMP_SECONDS": "0",
    }


@contextmanager
def launched(
    release: Release, env: Mapping[str, str], cwd: Path, user: str | None = None, log: str = "log"
) -> Iterator[Running]:
    """The release, until the end of the block; what still runs then is killed."""
    path = cwd / log
    with open(path, "wb") as out:
        process = subprocess.Popen(
            release.command, env={**env, **release.env}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, user=user, extra_groups=[] if user else None,
        )  # fmt: skip
    try:
        yield Running(process, path)
    finally:
        process.kill()
        process.wait()
