"""The door is opened: the two endpoints, the server. And it is shut in the face of who floods it.

ZeroMQ bounds each part of a message, but not the parts of one that never ends: whoever may connect could make us hold
any amount of memory. So ours is looked at, and when it has grown beyond reason both endpoints are closed, which frees
what they hold, and opened anew. Honest clients repeat what they asked.
"""

import asyncio
import os
import socket
from concurrent.futures import Executor
from pathlib import Path

import structlog
import zmq

from relctld.config import Access
from relctld.config.paths import SOCKETS
from relctld.control import sockets
from relctld.control.doorkeeper import Doorkeeper
from relctld.control.server import Handle, Server
from relctld.host.reexec import Kept

log = structlog.get_logger()

_LOOK_EVERY = 1.0
_BEYOND_REASON = 256 << 20
"""Bytes that the daemon may grow by; a reply has 1 MiB at most, and few are under way at a time."""

_SENT_WITHIN = 0.5
"""Seconds that replies on their way have at a re-exec: ZeroMQ's own limit (LINGER) is less."""

Endpoints = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]


class Door:
    """Open from the beginning."""

    def __init__(self, run_dir: Path, access: Access, kept: Kept, handle: Handle, doorkeeper: Doorkeeper) -> None:
        """Raises OSError."""
        mode = sockets.mode_for(access)
        self._listeners: dict[str, socket.socket] = {
            name: sockets.listen_again(run_dir / name, mode, kept.listener(name)) for name in SOCKETS
        }
        self._run_dir = run_dir
        self._loop = asyncio.get_running_loop()
        self.server = Server(*self._endpoints(), handle, doorkeeper)
        self._guard(_memory())

    async def close(self) -> None:
        """Wait shortly for replies on their way, then listen no more."""
        await self.server.close()
        for listener in self._listeners.values():
            listener.close()

    async def hand_over(self, errands: Executor) -> dict[str, int]:
        """Close the endpoints alone, with what is still to be sent; who connects from now on is the successor's.

        The listening sockets by the names of their files; they are the caller's now, and stay open.
        """
        await self.server.close(patience=0)
        await asyncio.wait((self._loop.run_in_executor(errands, self._context.term),), timeout=_SENT_WITHIN)
        return {name: listener.detach() for name, listener in self._listeners.items()}

    def _endpoints(self) -> Endpoints:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        paths = {name: self._run_dir / name for name in SOCKETS}
        control, events = (
            sockets.endpoint(self._context, kind, paths[name], self._listeners[name])
            for kind, name in ((zmq.ROUTER, "control.sock"), (zmq.XPUB, "events.sock"))
        )
        events.setsockopt(zmq.XPUB_MANUAL, 1)
        return control, events

    def _guard(self, least: int) -> None:
        if self.server.closed:
            return
        now = _memory()
        if now - least > _BEYOND_REASON:
            log.error("control.flooded", grown_bytes=now - least)
            self.server.shut()
            self.server.serve(*self._endpoints())
            now = least = _memory()
        self._loop.call_later(_LOOK_EVERY, self._guard, min(least, now))


def _memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
