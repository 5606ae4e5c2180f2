"""Signals on the loop: each is told, however many others arrive.

asyncio's own way passes every signal through a socket of limited size. While the loop is kept busy, a few hundred
SIGCHLDs fill it, and the SIGTERM behind them is lost. Here a signal is remembered where Python delivers it, in the main
thread between two instructions; the pipe only wakes the loop, and a full one has done so.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType


class Signals:
    """Calls back on the loop for signals; those of one number that arrive together are told once.

    One per process, made and closed in its main thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._struck: set[int] = set()
        self._waking, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = wake
        loop.add_reader(self._waking, self._woken)
        self._before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def on(self, number: int, callback: Callable[[], None]) -> None:
        """From now on this signal means `callback`."""
        self._callbacks[number] = callback
        signal.signal(number, self._strike)
        signal.siginterrupt(number, False)

    def off(self, number: int) -> None:
        """This signal means again what the system takes it for."""
        if self._callbacks.pop(number, None) is not None:
            signal.signal(number, signal.SIG_DFL)

    def close(self) -> None:
        """No signal means anything to us any more."""
        for number in tuple(self._callbacks):
            self.off(number)
        signal.set_wakeup_fd(self._before)
        self._loop.remove_reader(self._waking)
        os.close(self._waking)
        os.close(self._wake)

    def _strike(self, number: int, _frame: FrameType | None) -> None:
        if not self._struck:
            self._loop.call_soon_threadsafe(self._tell)  # threadsafe: it may interrupt the loop in its own queue
        self._struck.add(number)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._waking, 4096):
                pass

    def _tell(self) -> None:
        struck, self._struck = self._struck, set()
        for number in sorted(struck):
            if callback := self._callbacks.get(number):
                callback()
