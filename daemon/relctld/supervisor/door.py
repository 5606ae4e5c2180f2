"""The door is opened: who may come in, the two endpoints, the server.

Names of users and groups are looked up first. A name service that hangs keeps the door closed for a moment only: then
the part of the access table counts that needs no names, and the rest as soon as it is known.
"""

import asyncio
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


async def open_door(run_dir: Path, access: Access, handle: Handle, errands: Executor) -> Server:
    """Serve on both endpoints from now on. Raises OSError."""
    looking = asyncio.get_running_loop().run_in_executor(errands, look_up, access)
    await asyncio.wait((looking,), timeout=_NAMES_WITHIN)
    partly = without_names(access)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    mode = sockets.mode_for(access)
    control = sockets.endpoint(context, zmq.ROUTER, run_dir / "control.sock", mode)
    events = sockets.endpoint(context, zmq.XPUB, run_dir / "events.sock", mode)
    events.setsockopt(zmq.XPUB_MANUAL, 1)
    server = Server(control, events, handle, looking.result() if looking.done() else partly)

    def found(work: "asyncio.Future[Table]") -> None:
        for warning in work.result().warnings:
            log.warning("config.warning", warning=warning)
        if server.table is partly:  # no reload brought another one meanwhile
            server.table = work.result()

    looking.add_done_callback(found)
    return server
