"""A local user who may connect, and never ends a message."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

import pytest

from tests.fakes import fake
from tests.running import Fleet
from tests.waiting import wait_until

pytestmark = pytest.mark.host

PART = 1 << 20
MANY = 400
MORE, LARGE, COMMAND = 1, 2, 4


def memory(pid: int) -> int:
    """Bytes of it that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connect(path: Path) -> socket.socket:
    """A ZMTP 3.0 connection after its handshake (rfc.zeromq.org/spec/23), as a DEALER."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    peer.connect(str(path))
    peer.sendall(b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    taken(peer, 64)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    peer.sendall(bytes([COMMAND, len(ready)]) + ready)
    taken(peer, taken(peer, 2)[1])
    return peer


def taken(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += peer.recv(size - len(data))
    return data


def test_a_message_that_never_ends_cannot_fill_the_memory(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = daemon.wait_for("web", state="running")["pid"]
    before = memory(daemon.pid)
    peer = connect(daemon.socket)
    with contextlib.suppress(OSError):  # it is hung up on in the midst
        for _ in range(MANY):
            peer.sendall(bytes([MORE | LARGE]) + struct.pack(">Q", PART) + bytes(PART))
    wait_until(lambda: "control.flooded" in daemon.said(), 40, what="that it is noticed")
    wait_until(lambda: memory(daemon.pid) - before < 100 << 20, 40, what="the memory to be given back")
    peer.close()
    assert daemon.status("web")["pid"] == pid
    assert daemon.relctl("status").returncode == 0
