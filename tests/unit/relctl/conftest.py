"""Fixtures: a short place for sockets, relctl as a process, and a terminal for it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    """How a run of relctl ended."""

    code: int
    out: str
    err: str


class Relctl:
    """Runs relctl against one socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def environ(self, **more: str) -> dict[str, str]:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("RELCTL_", "XDG_", "TMPDIR"))}
        return base | {"RELCTL_SOCKET": str(self.socket)} | more

    def popen(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        settings.setdefault("env", self.environ())
        return subprocess.Popen([sys.executable, "-m", "relctl", *words], **settings)  # type: ignore[call-overload,no-any-return]

    def __call__(self, *words: str, **options: object) -> Done:
        with self.popen(*words, **options) as process:
            out, err = process.communicate(timeout=30)
        return Done(process.returncode, (out or b"").decode(), (err or b"").decode())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short name (a socket path holds 107 bytes) that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def sock(folder: Path) -> Path:
    return folder / "control.sock"


@pytest.fixture
def relctl(sock: Path) -> Relctl:
    return Relctl(sock)


class Terminal:
    """A terminal that relctl writes to."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.shown = ""

    def read(self) -> str:
        with contextlib.suppress(BlockingIOError):
            self.shown += os.read(self.master, 65536).decode()
        return self.shown

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()
