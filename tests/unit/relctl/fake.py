"""A relctld of a few lines: real sockets and real frames, and answers that the test writes.

A `Script` is a function of a request that yields what is sent back: replies, progress, raw bytes, or None for silence.
Between two things it may wait by yielding a number of seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from relctld.wire.codec import decode_request, encode_progress, encode_reply
from relctld.wire.messages import Problem, Progress, Reply, Request

Said = Reply | Progress | bytes | float | None
Script = Callable[[Request], Iterator[Said]]


def result(**fields: Any) -> Script:
    """Answers everything with this result."""

    def script(request: Request) -> Iterator[Said]:
        yield Reply(request.id, fields)

    return script


def problem(kind: str, message: str, hint: str = "") -> Script:
    """Refuses everything."""

    def script(request: Request) -> Iterator[Said]:
        yield Reply(request.id, None, Problem(kind, message, hint))

    return script


def silence(request: Request) -> Iterator[Said]:
    """Hears everything, says nothing."""
    yield None


def garbage(request: Request) -> Iterator[Said]:
    """Answers with what is no reply."""
    yield b"\xff\x00 hello"


class FakeDaemon:
    """Listens on `path` from `start` to `stop`, which may alternate; keeps what it was asked in `requests`."""

    def __init__(self, path: Path, script: Script | dict[str, Script]) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.script = script
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._notices: list[list[bytes]] = []

    def __enter__(self) -> FakeDaemon:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def asked(self) -> list[str]:
        """The operations asked for, in order."""
        return [request.op for request in self.requests]

    def start(self) -> None:
        self._stop.clear()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Be gone, and leave the socket file behind, as kill -9 does."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(10)
        self._thread = None

    def publish(self, topic: bytes, body: bytes = b"{}") -> None:
        """Send a notice to who has subscribed."""
        self._notices.append([topic, body])

    def _run(self, ready: threading.Event) -> None:
        context = zmq.Context()
        control, events = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
        for socket, path in ((control, self.path), (events, self.path.with_name("events.sock"))):
            path.unlink(missing_ok=True)
            socket.bind(f"ipc://{path}")
        ready.set()
        running: list[tuple[bytes, Iterator[Said], float]] = []
        while not self._stop.is_set():
            if control.poll(5):
                peer, frame = control.recv_multipart()
                request = decode_request(frame)
                self.requests.append(request)
                script = self.script[request.op] if isinstance(self.script, dict) else self.script
                running.append((peer, script(request), 0.0))
            running = [turn for turn in (_advance(control, *turn) for turn in running) if turn is not None]
            while self._notices:
                events.send_multipart(self._notices.pop(0))
        # Unbinding takes the socket files away; a killed daemon leaves them: keep them under their names.
        for path in (self.path, self.path.with_name("events.sock")):
            os.link(path, path.with_suffix(".kept"))
        context.destroy(linger=0)
        for path in (self.path, self.path.with_name("events.sock")):
            path.unlink(missing_ok=True)
            path.with_suffix(".kept").rename(path)


def _advance(
    control: zmq.Socket[bytes], peer: bytes, script: Iterator[Said], due: float
) -> tuple[bytes, Iterator[Said], float] | None:
    """Say what is due; the script with its next time, or None at its end."""
    while time.monotonic() >= due:
        try:
            said = next(script)
        except StopIteration:
            return None
        match said:
            case Reply():
                control.send_multipart([peer, encode_reply(said)])
            case Progress():
                control.send_multipart([peer, encode_progress(said)])
            case bytes():
                control.send_multipart([peer, said])
            case float() | int():
                due = time.monotonic() + said
    return peer, script, due
