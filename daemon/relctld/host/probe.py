"""Ask a release from outside whether it is ready or well: a TCP connect, an HTTP GET, a command.

Every probe is bounded in time and in what it reads, and ends in None (yes) or an error in words.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from relctld.core.probes import ExecProbe, HttpProbe, OutsideProbe, ProcessProbe, TcpProbe

RunCommand = Callable[[tuple[str, ...], float], Awaitable[str | None]]
"""Runs an `exec:` probe as the release's user within seconds; None or what went wrong."""

_STATUS_LINE = 1024


async def ask(probe: OutsideProbe, timeout: float, run: RunCommand) -> str | None:
    """None where the answer is yes, else why not, in words. Raises nothing but CancelledError."""
    try:
        async with asyncio.timeout(timeout):
            match probe:
                case ProcessProbe():
                    return None
                case TcpProbe(host, port):
                    await _tcp(host, port)
                    return None
                case HttpProbe(url):
                    return await _http(url)
                case ExecProbe(argv):
                    return await run(argv, timeout)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except (OSError, ValueError, OverflowError) as error:  # the latter two: a host or a port that cannot be one
        return _why(error)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error) or type(error).__name__).lower()


async def _tcp(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def _http(url: str) -> str | None:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(host, port, limit=_STATUS_LINE)
    try:
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
            "User-Agent: relctld\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode("ascii", "replace")
        )
        try:
            line = (await reader.readuntil(b"\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return "the answer is not HTTP"
    finally:
        with contextlib.suppress(OSError):
            writer.transport.abort()
    words = line.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        return "the answer is not HTTP"
    return None if 200 <= int(words[1]) < 400 else f"HTTP {' '.join(words[1:]).strip()}"
