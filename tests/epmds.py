"""epmd for tests: a port of the test's own, and the end of the epmd that appeared there."""

import asyncio
import contextlib
import random
import signal
import socket
from collections.abc import Iterator

import psutil

from relctld.beam.dist import epmd
from relctld.beam.dist.refusals import LinkRefused
from tests.waiting import wait_until


@contextlib.contextmanager
def private_port() -> Iterator[int]:
    """A port below the ephemeral range that nobody listens on; an epmd that was started for it is ended."""
    port = free_port()
    try:
        yield port
    finally:
        for process in started_for(port):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        wait_until(lambda: not started_for(port), what=f"the end of the epmd on port {port}")


def free_port() -> int:
    """A port between 20000 and 30000 that nobody listens on now."""
    return next(port for port in iter(lambda: random.randrange(20000, 30000), 0) if _free(port))


def knows(port: int, name: str) -> bool:
    """Whether a node of this name, without its host, has come so far in its boot that it told the epmd on `port`."""
    try:
        return name in asyncio.run(epmd.names("127.0.0.1", port, 5.0))
    except LinkRefused:
        return False


def started_for(port: int) -> list[psutil.Process]:
    """The epmd processes that were started for `port`; an epmd daemon keeps its starter's environment."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.name() == "epmd" and process.environ().get("ERL_EPMD_PORT") == str(port):
                found.append(process)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
