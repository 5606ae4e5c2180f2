"""A client without manners: any frame to a daemon's control socket, and whatever comes back, with its time."""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

Answer = dict[str, Any]


class Asker:
    """One connection. Use as a context manager."""

    def __init__(self, socket: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self._socket.connect(f"ipc://{socket}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._context.destroy(linger=0)

    def send(self, *frames: bytes) -> None:
        """Send these frames as one message, whatever they are."""
        self._socket.send_multipart(frames)

    def request(self, op: str, args: Any = None, *, id: str | None = None) -> str:
        """Send a request and return its id, without waiting."""
        id = id or os.urandom(16).hex()
        self.send(json.dumps({"v": 1, "id": id, "op": op, "args": {} if args is None else args}).encode())
        return id

    def receive(self, timeout: float = 10.0) -> Answer | None:
        """The next frame that comes, a progress too; None where none comes in time."""
        if not self._socket.poll(int(timeout * 1000)):
            return None
        return dict(json.loads(self._socket.recv_multipart()[-1]))

    def reply(self, id: str, timeout: float = 30.0) -> Answer:
        """The reply to a request; AssertionError where none comes."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            answer = self.receive(left)
            if answer is not None and answer["id"] == id and "progress" not in answer:
                return answer
        raise AssertionError(f"no reply within {timeout:g} s")

    def ask(self, op: str, args: Any = None, *, id: str | None = None, timeout: float = 30.0) -> Answer:
        """Ask and wait for the reply."""
        return self.reply(self.request(op, args, id=id), timeout)

    def result(self, op: str, args: Any = None, timeout: float = 30.0) -> Answer:
        """The result of a request that is not refused."""
        reply = self.ask(op, args, timeout=timeout)
        assert reply["ok"], reply
        return dict(reply["result"])
