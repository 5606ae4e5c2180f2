"""The TCP ports that a process listens on: the sockets among its files that the kernel lists as listening.

So the port of a node is found without epmd, and is proven to be that of our own VM, not of whoever took its name.
Blocks a little on /proc, more with many connections on the host: call it from a worker thread.

Source: proc(5), /proc/PID/net/tcp: 32-bit words of the address in the host's byte order, the port in hex.
"""

import os
import re
import socket
import struct
from dataclasses import dataclass
from itertools import islice

_LISTEN = "0A"
_FAMILIES = (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6))


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket; `address` may be 0.0.0.0 or ::."""

    family: socket.AddressFamily
    address: str
    port: int


def listeners(pid: int) -> list[Listener]:
    """Where a process listens, by port; nothing where it is gone. PermissionError where its files are not ours."""
    inodes = _sockets(pid)
    found = [listener for name, family in _FAMILIES for listener in _table(pid, name, family, inodes)]
    return sorted(found, key=lambda listener: (listener.port, listener.family))


def _sockets(pid: int) -> set[str]:
    """The inodes of the sockets among a process's files."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return set()
    found = set()
    for name in names:
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:  # closed meanwhile
            continue
        if match:
            found.add(match[1])
    return found


def _table(pid: int, name: str, family: socket.AddressFamily, inodes: set[str]) -> list[Listener]:
    try:
        with open(f"/proc/{pid}/net/{name}") as file:
            rows = map(str.split, islice(file, 1, None))  # one at a time: a busy host has thousands of them
            return [_listener(row[1], family) for row in rows if row[3] == _LISTEN and row[9] in inodes]
    except OSError:  # gone, or a host without IPv6
        return []


def _listener(local: str, family: socket.AddressFamily) -> Listener:
    address, _, port = local.partition(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    return Listener(family, socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16))
