"""The door is opened: who may come in, the two endpoints, the server. And it is shut in the face of who floods it.

Names of users and groups are looked up first. A name service that hangs keeps the door closed for a moment only: then
the part of the access table counts that needs no names, and the rest as soon as it is known.

ZeroMQ bounds each part of a message, but not the parts of one that never ends: whoever may connect could make us hold
any amount of memory. So ours is looked at, and when it has grown beyond reason both endpoints are closed, which frees
what they hold, and opened anew. Honest clients repeat what they asked.
"""

import asyncio
import os
import stat
from concurrent.futures import Executor
from pathlib import Path

import structlog
import zmq

from relctld.config import Access
from relctld.control import sockets
from relctld.control.access import Table, look_up, without_names
from relctld.control.server import Handle, Server

log = structlog.get_logger()

_NAMES_WITHIN = 2.0
_LOOK_EVERY = 1.0
_BEYOND_REASON = 256 << 20
"""Bytes that the daemon may grow by; a reply has 1 MiB at most, and few are under way at a time."""

Endpoints = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]


async def open_door(run_dir: Path, access: Access, handle: Handle, errands: Executor) -> Server:
    """Serve on both endpoints from now on. Raises OSError."""
    looking = asyncio.get_running_loop().run_in_executor(errands, look_up, access)
    await asyncio.wait((looking,), timeout=_NAMES_WITHIN)
    partly = without_names(access)
    endpoints = _endpoints(run_dir, sockets.mode_for(access))
    server = Server(*endpoints, handle, looking.result() if looking.done() else partly)

    def found(work: "asyncio.Future[Table]") -> None:
        for warning in work.result().warnings:
            log.warning("config.warning", warning=warning)
        if server.table is partly:  # no reload brought another one meanwhile
            server.table = work.result()

    looking.add_done_callback(found)
    _guard(server, run_dir, _memory())
    return server


def _endpoints(run_dir: Path, mode: int) -> Endpoints:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    control = sockets.endpoint(context, zmq.ROUTER, run_dir / "control.sock", mode)
    events = sockets.endpoint(context, zmq.XPUB, run_dir / "events.sock", mode)
    events.setsockopt(zmq.XPUB_MANUAL, 1)
    return control, events


def _guard(server: Server, run_dir: Path, least: int) -> None:
    if server.closed:
        return
    now = _memory()
    if now - least > _BEYOND_REASON:
        log.error("control.flooded", grown_bytes=now - least)
        server.shut()
        server.serve(*_endpoints(run_dir, stat.S_IMODE(os.stat(run_dir / "control.sock").st_mode)))
        now = least = _memory()
    asyncio.get_running_loop().call_later(_LOOK_EVERY, _guard, server, run_dir, min(least, now))


def _memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
