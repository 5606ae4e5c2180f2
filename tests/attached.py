"""`relctl remote` on a terminal of the test's own.

with Attached(daemon, "web") as shell:
    shell.type("see\\r")
    shell.shows("= ")
"""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

_ON_ITS_TERMINAL = 'exec "$@" <>"$0" >&0'


class Door(Protocol):
    """A daemon, real or not."""

    @property
    def socket(self) -> Path: ...
    @property
    def folder(self) -> Path: ...
    @property
    def environ(self) -> dict[str, str]: ...


class Attached:
    """A client and its terminal. `command` stands in place of the client where another one is to be run."""

    def __init__(
        self, daemon: Door, name: str, *, size: tuple[int, int] = (24, 80), command: Sequence[str] = ()
    ) -> None:
        self.master, slave = os.openpty()
        self._set_size(*size)
        self.before = termios.tcgetattr(slave)
        self.said = b""
        self._errors = daemon.folder / f"attached.{self.master}.err"
        words = command or [sys.executable, "-m", "relctl", "--socket", str(daemon.socket), "remote", name]
        os.fchmod(slave, 0o666)
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", _ON_ITS_TERMINAL, os.ttyname(slave), *words],
                stdin=slave,
                stdout=slave,
                stderr=errors,
                env={**daemon.environ, "TERM": "xterm-256color"},
                start_new_session=True,
            )
        self.slave = slave  # held, so that its settings can be looked at when the client is gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)

    @property
    def errors(self) -> str:
        """What the client said on stderr."""
        return Path(self._errors).read_text()

    def type(self, text: str | bytes, timeout: float = 60.0) -> None:
        """Type this; what is shown meanwhile is kept."""
        data = memoryview(text.encode() if isinstance(text, str) else text)
        os.set_blocking(self.master, False)
        end = time.monotonic() + timeout
        while data:
            readable, writable, _ = select.select([self.master], [self.master], [], 1.0)
            if readable:
                self.said += os.read(self.master, 65536)
            if writable:
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self.master, data[:4096]) :]
            assert time.monotonic() < end, f"{len(data)} bytes are not taken"

    def shows(self, pattern: str, timeout: float = 20.0) -> re.Match[bytes]:
        """Wait until it shows this, and forget what was shown until then."""
        end = time.monotonic() + timeout
        while (found := re.search(pattern.encode(), self.said)) is None:
            assert time.monotonic() < end, f"{pattern} in vain; it shows {self.said[-2000:]!r}; {self.errors}"
            self.read(0.1)
        self.said = self.said[found.end() :]
        return found

    def read(self, seconds: float) -> int:
        """Read for so long at most; how much there was."""
        if not select.select([self.master], [], [], seconds)[0]:
            return 0
        data = os.read(self.master, 65536)
        self.said += data
        return len(data)

    def resize(self, rows: int, cols: int) -> None:
        """Another size, as a window manager would."""
        self._set_size(rows, cols)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def ends(self, timeout: float = 20.0) -> int:
        """Wait for the client's end; its exit code. The terminal must be as it was."""
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, f"no end; it shows {self.said[-2000:]!r}; {self.errors}"
            self.read(0.05)
        assert self.settings() == self.before, "the terminal was not given back as it was"
        return self.process.returncode

    def settings(self) -> list[Any]:
        """termios of the terminal."""
        return termios.tcgetattr(self.slave)

    def _set_size(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
