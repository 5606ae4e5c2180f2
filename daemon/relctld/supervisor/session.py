"""One remote shell and its client: what is said, what was heard, and not more of it under way than is bounded.

Rule 1: output that was not acknowledged is bounded by `WINDOW` bytes and `MOST_FRAMES` frames (fewer than ZeroMQ drops
        at): more is not read, and the shell waits. Input that the shell has not taken is bounded by `ROOM`.
Rule 2: input is applied once and in order: each has a number, and a repeat of the last one is only answered again.
Rule 3: a client that is not heard of for `SILENCE` seconds is gone, and the shell is hung up.
"""

import asyncio
import base64
from collections import deque
from collections.abc import Callable
from typing import Any

from relctld.control.server import RefusedError
from relctld.host.terminal import Terminal

WINDOW = 128 << 10
MOST_FRAMES = 128
ROOM = 64 << 10
SILENCE = 15.0

_LOOKS = 3  # at a client, within SILENCE: a loop that was held up for long does not take it for the client's silence


class Session:
    """One shell and its client. `why` it was hung up; "" where it ended by itself."""

    def __init__(self, uid: int, terminal: Terminal, tell: Callable[[dict[str, Any]], None]) -> None:
        self.uid = uid
        self.terminal = terminal
        self.why = ""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._sent = self._acked = self._seq = 0
        self._frames: deque[int] = deque()  # where those that were not acknowledged end
        self._short_of_room = False
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Relay from now on."""
        self.terminal.on_output = self._output
        self.terminal.on_drained = self._drained
        self.terminal.resume()
        self._look()

    def end(self) -> None:
        """Nothing is looked after any more."""
        if self._timer is not None:
            self._timer.cancel()

    def feed(self, seq: int, data: bytes, ack: int) -> dict[str, Any]:
        """Input, and how much output was shown. Raises RefusedError, and then nothing of it counts."""
        self._looks = 0
        if seq != self._seq:
            self._check(seq, data, ack)
            self._seq = seq
            self._acknowledged(ack)
            self.terminal.write(data)
        room = ROOM - self.terminal.waiting
        self._short_of_room = room < ROOM
        return {"seq": self._seq, "room": room}

    def _check(self, seq: int, data: bytes, ack: int) -> None:
        if seq != self._seq + 1:
            raise RefusedError("usage", f"seq is {self._seq}, or {self._seq + 1} for new input")
        if not self._acked <= ack <= self._sent:
            raise RefusedError("usage", f"ack is a number from {self._acked} to {self._sent}")
        if len(data) > ROOM - self.terminal.waiting:
            raise RefusedError("usage", f"there is room for {ROOM - self.terminal.waiting} bytes")

    def resize(self, rows: int, cols: int) -> None:
        """The client's window has another size."""
        self._looks = 0
        self.terminal.resize(rows, cols)

    def hang_up(self, why: str) -> None:
        """End it, unless it is ending by itself already."""
        if not self.why and not self.terminal.ended.done():
            self.why = why
            self.terminal.hang_up()

    def _output(self, data: bytes) -> None:
        self._tell({"data": base64.b64encode(data).decode("ascii"), "at": self._sent})
        self._sent += len(data)
        self._frames.append(self._sent)
        if self._sent - self._acked >= WINDOW or len(self._frames) >= MOST_FRAMES:
            self.terminal.pause()

    def _acknowledged(self, ack: int) -> None:
        self._acked = ack
        while self._frames and self._frames[0] <= ack:
            self._frames.popleft()
        if self._sent - ack <= WINDOW // 2 and len(self._frames) <= MOST_FRAMES // 2:
            self.terminal.resume()

    def _drained(self) -> None:
        if self._short_of_room:
            self._short_of_room = False
            self._tell({"room": ROOM})

    def _look(self) -> None:
        """Ticks, not times, are counted: see `_LOOKS`."""
        if self._looks >= _LOOKS:
            self.hang_up("its client is gone")
            return
        self._looks += 1
        self._timer = self._loop.call_later(SILENCE / _LOOKS, self._look)
