"""TCP, as asyncio's own transport does it, for a third of the memory: a link lives as long as its node.

Rule 1: what the kernel does not take at once waits here, without a bound: who writes looks at how much it is.
Rule 2: the protocol is told of the end once, and never from within a call of its own.
Rule 3: a surprise in the protocol ends the connection, for what it was about to do is lost.
"""

from __future__ import annotations

import asyncio
import socket


async def connected(host: str, port: int) -> socket.socket:
    """A connection, for who closes it. `host` is an address, or a name with one of IPv4. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Tcp(asyncio.Transport):
    """What a protocol with a buffer of its own needs of a transport. It owns the socket."""

    __slots__ = ("_closing", "_loop", "_protocol", "_socket", "_unsent")

    def __init__(self, sock: socket.socket, protocol: asyncio.BufferedProtocol) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket, self._protocol = sock, protocol
        self._unsent: bytearray | None = None
        self._closing = False
        self._loop.add_reader(sock, self._readable)
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, now or when there is room."""
        if self._closing:
            return
        if self._unsent is not None:
            self._unsent += data
        elif (sent := self._send(data)) < len(data):
            self._unsent = bytearray(memoryview(data)[sent:])
            self._loop.add_writer(self._socket, self._writable)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait."""
        return len(self._unsent or b"")

    def is_closing(self) -> bool:
        """Whether it has ended, by whomever."""
        return self._closing

    def pause_reading(self) -> None:
        """Let the peer wait."""
        self._loop.remove_reader(self._socket)

    def resume_reading(self) -> None:
        """Go on."""
        self._loop.add_reader(self._socket, self._readable)

    def abort(self) -> None:
        """End it now; what waits is dropped."""
        self._end(None)

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        """How much the kernel took; all of it, where the connection ended."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._end(error)
            return len(data)

    def _writable(self) -> None:
        assert self._unsent is not None
        del self._unsent[: self._send(self._unsent)]
        if not self._unsent and not self._closing:
            self._unsent = None
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            size = self._socket.recv_into(self._protocol.get_buffer(-1))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if not size:
            self._end(None)
            return
        try:
            self._protocol.buffer_updated(size)
        except Exception as error:
            self._end(error)
            raise

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
