"""`[daemon].metrics`: the small HTTP server that tells Prometheus what `families` makes of the releases.

Rule 1: a scrape never meets the loop: it is answered in a thread of its own, from what the loop last noted down.
Rule 2: nobody can take more than MOST_CLIENTS threads, or keep one for more than IDLE seconds of silence; who comes
        when all are taken is hung up on.
Rule 3: an address that cannot be used is told, and is not the daemon's end.
Rule 4: prometheus_client is imported where metrics are configured, and only then; at the start, if they are by then.
"""

import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger()

Snapshot = Callable[[], list[dict[str, Any]]]
"""The releases as `status --json` shows them. It is called in any thread: it hands out a list that nobody changes."""

MOST_CLIENTS: Final = 8
IDLE: Final = 5.0

_FOREVER: Final = 3600.0
"""Seconds that the server sleeps when nobody comes; `stop` wakes it."""

_BREATH: Final = 0.2
"""Seconds until it looks again after a connection that could not be taken (no file descriptors are left)."""


def import_metrics() -> Callable[[Snapshot, float], type[socketserver.BaseRequestHandler]]:
    """What answers a scrape. Rule 4."""
    from relctld.supervisor.families import handler  # noqa: PLC0415

    return handler


class Metrics:
    """Serves the metrics of `snapshot()` on one address, or on none."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._address = ""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int | None:
        """Where it listens: of an address with port 0, the port that the kernel chose."""
        return self._server.server_address[1] if self._server else None

    def start(self, address: str) -> str | None:
        """Listen on "HOST:PORT" and nowhere else; why that cannot be done, or None.

        It imports, and may resolve a name: not for the loop's thread. One call at a time.
        """
        if self._server is not None and address == self._address:
            return None
        self.stop()
        handler = import_metrics()
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            family, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
            self._server = _Server(family, where, handler(self._snapshot, IDLE))
        except OSError as error:
            return f"cannot serve metrics on {address}: {error.strerror or error}"
        self._address = address
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_FOREVER,), name="metrics", daemon=True
        )
        self._thread.start()
        return None

    def stop(self) -> None:
        """Listen no more, at once; answers under way are finished by themselves."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.wake()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """As http.server.HTTPServer, which asks DNS for its own name when it binds."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, family: int, address: Any, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = family
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._stopping = threading.Event()
        super().__init__(address, handler)

    def wake(self) -> None:
        """Let `serve_forever` look up: a listening socket that is shut down has something to say."""
        self._stopping.set()
        self.socket.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            self._stopping.wait(_BREATH)  # the connection still waits: looking again at once would be a hot loop
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's
        """A client that went away is nothing to tell; anything else is a surprise."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.exception("surprise", cause="metrics")
