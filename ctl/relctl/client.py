"""The conversation with relctld: one DEALER socket, requests that repeat themselves.

Rule 1: knows frames and time, nothing of verbs or of how things are shown.
Rule 2: a request keeps its id however often it is sent; the daemon joins repeats, also across its own restart.
Rule 3: nothing here waits for ever: `SILENCE` seconds without a word, and the daemon counts as unreachable; one that
        died over a request of ours is given `RETURNS_WITHIN`, one that becomes its successor `RENEWED_WITHIN`.
"""

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import zmq

from relctl.address import Address
from relctl.errors import CannotError, TimeUpError, UnreachableError, UsageError
from relctld.wire.codec import FrameError, decode_answer, encode_request
from relctld.wire.messages import DAEMON_TOPIC, MAX_FRAME, Progress, Reply, Request, release_topic

REPEAT: Final = 2.0
"""Seconds of silence after which a request is sent again."""
SILENCE: Final = 5.0
"""Seconds of silence after which the daemon counts as unreachable."""
RETURNS_WITHIN: Final = 20.0
"""Seconds for which one is waited for that took up the request, and is gone: its successor knows of it."""
RENEWED_WITHIN: Final = 60.0
"""Seconds of silence after which that is true of one that is just being renewed, with all of its releases."""
TICK: Final = 0.25
"""Seconds between two calls of `tick`."""

_DEAF_HINT: Final = "it may be frozen or overloaded: systemctl status relctld"


class Client:
    """A door to the daemon; raises UnreachableError where nobody listens."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.daemon_pid = address.check()
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(f"ipc://{address.path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._context.destroy(linger=0)

    @property
    def socket(self) -> "zmq.Socket[bytes]":
        """For a `channel.Channel`, which listens to terminals as well."""
        return self._socket

    def ask(
        self,
        op: str,
        args: dict[str, Any],
        *,
        deadline: float | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        tick: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """The result of an operation.

        `deadline`: monotonic time at which the waiting ends. `on_progress` is told each word before the reply,
        `tick` is called four times a second. Raises CannotError for what the daemon refuses, TimeUpError,
        UnreachableError.
        """
        wait = _Wait(Request(os.urandom(16).hex(), op, args), deadline, TICK if tick else None)
        frame = encode_request(wait.request)
        if len(frame) > MAX_FRAME:
            raise UsageError(f"too much is asked at once: {len(frame)} bytes, at most {MAX_FRAME} are possible")
        while True:
            if wait.must_send():
                self._socket.send(frame)
            answer = self._receive(wait)
            if isinstance(answer, Reply):
                if answer.problem is not None:
                    raise CannotError(*answer.problem)
                return answer.result or {}
            if answer is not None and on_progress is not None:
                on_progress(answer.body)
            if wait.is_over():
                raise TimeUpError(accepted=wait.accepted)
            if wait.is_silent():
                self._bear(wait)
            if tick is not None:
                tick()

    def subscribe(self, names: list[str]) -> "Notices":
        """Notices of these releases; of all and of the daemon where there are none."""
        topics = [release_topic(name) for name in names] or [release_topic("")[:-1], DAEMON_TOPIC]
        return Notices(self._context, self.address.events, topics)

    def _receive(self, wait: "_Wait") -> Reply | Progress | None:
        """The next answer to this request, if it comes before something else is due."""
        if not wait.poll(self._socket):
            return None
        frames = self._socket.recv_multipart()
        try:
            answer = decode_answer(frames[-1])
        except FrameError as error:
            wait.garbage = str(error)
            return None
        if answer.id != wait.request.id:
            return None  # the late end of an earlier question
        wait.hear()
        return answer

    def _bear(self, wait: "_Wait") -> None:
        """Be patient for longer, once, where there is reason to; else raise UnreachableError, which says why."""
        try:
            error = self._why_silent(wait)
            patience = RENEWED_WITHIN if self.address.is_renewed() else 0.0
        except UnreachableError as gone:
            error, patience = gone, RETURNS_WITHIN if wait.accepted else 0.0
        if patience <= wait.patience:
            raise error
        wait.patience = patience

    def _why_silent(self, wait: "_Wait") -> UnreachableError:
        self.address.check()  # it may be gone altogether: that is the better answer, and raises
        if wait.garbage:
            why = f"what answers on {self.address.path} is no relctld that is known here ({wait.garbage})"
            return UnreachableError(why, f"the socket was chosen by {self.address.origin}")
        heard = "nothing more" if wait.accepted else "nothing"
        return UnreachableError(
            f"relctld does not answer ({heard} for {wait.patience:g} s on {self.address.path})", _DEAF_HINT
        )


class _Wait:
    """The times of one request: when to send, when to give up. `patience`: seconds of silence that are borne."""

    def __init__(self, request: Request, deadline: float | None, tick: float | None) -> None:
        self.request = request
        self.accepted = False
        self.garbage = ""
        self._deadline, self._tick = deadline, tick
        self.patience = SILENCE
        self._heard = self._now = time.monotonic()
        self._sent: float | None = None

    def must_send(self) -> bool:
        """Is it time to send the request, at first or again?"""
        if self._sent is not None and self._now < max(self._sent, self._heard) + REPEAT:
            return False
        self._sent = self._now
        return True

    def poll(self, socket: "zmq.Socket[bytes]") -> bool:
        """Wait until there is something to read or to do; whether there is something to read."""
        due = [max(self._sent or self._now, self._heard) + REPEAT, self._heard + self.patience]
        due += [self._deadline] if self._deadline is not None else []
        due += [self._now + self._tick] if self._tick else []
        patience = max(0.0, min(due) - self._now)
        readable = bool(socket.poll(int(patience * 1000) + 1))
        before, self._now = self._now, time.monotonic()
        if self._now - before > patience + 1:
            self._heard = self._now  # it was us who slept (Ctrl-Z, a suspended host), not the daemon
        return readable

    def hear(self) -> None:
        """The daemon said something about this request."""
        self.accepted = True
        self._heard, self.patience = self._now, SILENCE

    def is_over(self) -> bool:
        """Is the deadline past?"""
        return self._deadline is not None and self._now >= self._deadline

    def is_silent(self) -> bool:
        """Has nothing been heard for too long?"""
        return self._now - self._heard >= self.patience


class Notices:
    """The daemon's notices, as wake-ups: they say that something happened, the `events` operation says what.

    So a notice that is lost, before the subscription stands or while the daemon restarts, costs a delay, never an
    event.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", path: str, topics: list[bytes]) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.linger = 0
        for topic in topics:
            self._socket.subscribe(topic)
        self._socket.connect(f"ipc://{path}")

    def wait(self, seconds: float) -> None:
        """Return at the next notice, or after so many seconds."""
        self._socket.poll(int(seconds * 1000))
        try:
            while True:
                self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


class Follower:
    """Asks again and again for as long as the operator looks; a daemon that goes away is waited for.

    `note` is told once when it goes and once when it is back. Who cannot be reached at the first question is not
    waited for; `reached` says that there was one before.
    """

    def __init__(self, client: Client, note: Callable[[str], None], reached: bool = False) -> None:
        self.client = client
        self.away = ""
        self._note = note
        self._heard = time.monotonic() if reached else None

    def ask(self, op: str, args: dict[str, Any]) -> dict[str, Any] | None:
        """The result; None while the daemon is away, and `away` says why."""
        try:
            if self._heard is None or self.away or time.monotonic() - self._heard > 0.9:
                self.client.address.check()
            result = self.client.ask(op, args)
        except UnreachableError as error:
            if self._heard is None:
                raise
            if not self.away:
                self._note(f"{error.problem.message}; waiting for it")
            self.away = error.problem.message
            return None
        if self.away:
            self._note("relctld is back")
        self.away, self._heard = "", time.monotonic()
        return result
