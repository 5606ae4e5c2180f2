"""A request that stays open, and small ones beside it, for who waits for a terminal too.

Rule 1: of what is asked, one thing is unanswered at a time: so order is kept, and a repeat can be told.
Rule 2: what is unanswered for `REPEAT` seconds is asked again, under the same id, where the daemon listens at all.
        The open request itself is so only until it is granted: asked of another daemon it would begin anew.
Rule 3: nothing is read that the caller does not take: `hear` gives what is there, `wait` says when to look.
"""

import os
import time
from collections.abc import Iterator
from typing import Any, Final

import zmq

from relctl.client import REPEAT, SILENCE, Client
from relctl.errors import CannotError, UnreachableError
from relctld.wire.codec import FrameError, decode_answer, encode_request
from relctld.wire.messages import Progress, Reply, Request

LONG_SILENCE: Final = 15.0
"""Seconds without a word after which a granted channel is given up: as many as the daemon gives its client."""


class Channel:
    """`result`: the end of the open request, once it came."""

    def __init__(self, client: Client, op: str, args: dict[str, Any]) -> None:
        self.result: dict[str, Any] | None = None
        self._socket, self._address = client.socket, client.address
        self._open = Request(os.urandom(16).hex(), op, args)
        self._asked: Request | None = None
        self._patience = SILENCE
        self._heard = self._sent = self._now = time.monotonic()
        self._ask(self._open)

    @property
    def is_free(self) -> bool:
        """Whether nothing is unanswered."""
        return self._asked is None

    def grant(self) -> None:
        """The open request was carried out as far as the caller waits for."""
        self._patience = LONG_SILENCE
        self._asked = None

    def post(self, op: str, args: dict[str, Any]) -> None:
        """Ask something small. What was unanswered is given up: ask when the channel is free, or for the last time."""
        self._heard = time.monotonic()
        self._ask(Request(os.urandom(16).hex(), op, args))

    def wait(self, files: dict[int, int], seconds: float) -> set[int]:
        """Wait until there is something to hear or to do; those of the files that are ready for their ZeroMQ flags."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        for fd, flags in files.items():
            poller.register(fd, flags)
        due = [self._now + seconds]
        if self._asked is not None:
            due += [max(self._sent, self._heard) + REPEAT, self._heard + self._patience]
        patience = max(0.0, min(due) - self._now)
        ready = {fd for fd, _ in poller.poll(int(patience * 1000) + 1) if isinstance(fd, int)}
        before, self._now = self._now, time.monotonic()
        if self._now - before > patience + 1:
            self._heard = self._now  # it was us who slept, not the daemon
        return ready

    def hear(self) -> Iterator[dict[str, Any]]:
        """What came: progress of the open request, results of the small ones. Raises CannotError, UnreachableError."""
        while self.result is None:
            try:
                frame = self._socket.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                break
            try:
                answer = decode_answer(frame)
            except FrameError:
                continue
            if answer.id == self._open.id or (self._asked is not None and answer.id == self._asked.id):
                self._heard = self._now
                yield self._take(answer)
        self._look_after()

    def _take(self, answer: Reply | Progress) -> dict[str, Any]:
        if isinstance(answer, Progress):
            return answer.body
        self._asked = None
        if answer.problem is not None:
            raise CannotError(*answer.problem)
        if answer.id == self._open.id:
            self.result = answer.result or {}
            return {}
        return answer.result or {}

    def _look_after(self) -> None:
        """Ask again, where somebody listens. Raises UnreachableError."""
        if self._asked is None or self._now < max(self._sent, self._heard) + REPEAT:
            return
        self._address.check()
        if self._now - self._heard >= self._patience:
            why = f"relctld does not answer (nothing for {self._patience:g} s on {self._address.path})"
            raise UnreachableError(why, "it may be frozen or overloaded: systemctl status relctld")
        self._ask(self._asked)

    def _ask(self, request: Request) -> None:
        self._asked = request
        self._socket.send(encode_request(request))
        self._sent = self._now = time.monotonic()
