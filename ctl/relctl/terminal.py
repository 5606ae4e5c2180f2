"""The operator's own terminal, lent to a program elsewhere.

Rule 1: whatever happens but SIGKILL, it is given back as it was.
Rule 2: nothing is done in a signal handler; signals are read like keys.
Rule 3: a terminal that takes no output for a while (a stalled ssh) holds nobody up: it is written to without waiting,
        through a description of our own, since that flag would be our shell's too.
"""

import contextlib
import os
import signal
import termios
import tty
from types import FrameType, TracebackType
from typing import Any, Final, Self

from relctl.errors import UsageError

_SIGNALS: Final = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_CHUNK: Final = 16384


class Terminal:
    """stdin and stdout, both of them a terminal; raw between enter and exit. `keys`, `screen`, `bell` are fds."""

    keys: Final = 0

    def __init__(self) -> None:
        if not os.isatty(0) or not os.isatty(1):
            raise UsageError("it needs a terminal on stdin and stdout", "ssh -t gives one; relctl eval needs none")
        self.screen = 1

    def __enter__(self) -> Self:
        self._saved: list[Any] = termios.tcgetattr(self.keys)
        self.bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._handlers = {number: signal.signal(number, _nothing) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        with contextlib.suppress(OSError):  # another user's, after su: then it is waited for
            self.screen = os.open(os.ttyname(1), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        tty.setraw(self.keys, termios.TCSANOW)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(termios.error):  # it is gone
            termios.tcsetattr(self.keys, termios.TCSANOW, self._saved)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if error is not None:
            with contextlib.suppress(OSError):
                os.write(self.screen, b"\n")  # what went wrong is told on a line of its own
        for fd in {self.bell, self._ring, self.screen} - {1}:
            os.close(fd)

    def size(self) -> tuple[int, int]:
        """Rows and columns; 0 where they are not known."""
        try:
            columns, rows = os.get_terminal_size(1)
        except OSError:
            return 0, 0
        return rows, columns

    def signals(self) -> set[int]:
        """The signals that came."""
        try:
            return set(os.read(self.bell, _CHUNK))
        except BlockingIOError:
            return set()

    def read(self) -> bytes:
        """What was typed, once `keys` is readable; nothing where the terminal is gone."""
        try:
            return os.read(self.keys, _CHUNK)
        except OSError:
            return b""

    def write(self, data: bytes) -> int:
        """Show what can be shown now; how much that was. Raises OSError where the terminal is gone."""
        try:
            return os.write(self.screen, data)
        except BlockingIOError:
            return 0


def _nothing(number: int, frame: FrameType | None) -> None:
    """The wake-up fd has it already."""


class Keys:
    """What is typed, but for the way out: `~.` after a newline; `~~` there is one `~`."""

    def __init__(self) -> None:
        self._at_line_start = True
        self._tilde = False

    def take(self, typed: bytes) -> tuple[bytes, bool]:
        """What is meant for the other side, and whether to leave."""
        if b"~" not in typed and not self._tilde:
            self._at_line_start = typed[-1:] in (b"\r", b"\n")
            return typed, False
        meant = bytearray()
        for key in typed:
            if self._tilde:
                self._tilde = False
                if key == ord("."):
                    return bytes(meant), True
                meant += b"~" if key == ord("~") else bytes((ord("~"), key))
            elif key == ord("~") and self._at_line_start:
                self._tilde = True
                continue
            else:
                meant.append(key)
            self._at_line_start = key in b"\r\n"
        return bytes(meant), False
