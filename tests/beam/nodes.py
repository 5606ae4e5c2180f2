"""Bare Erlang nodes for tests: up when the block begins, gone when it ends, on loopback addresses only."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from relctld.beam.dist.channel import Target
from relctld.beam.dist.handshake import Cookie
from tests import epmds, otps
from tests.waiting import wait_until

OWN = "relctld@127.0.0.1"
COOKIE = "c00kie"
IPV4 = ("-kernel", "inet_dist_use_interface", "{127,0,0,1}")

_count = itertools.count(1)


@dataclass(frozen=True)
class Node:
    """A running VM. `port` is where it was told to listen, 0 where epmd knows."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def short_name(self) -> str:
        """What epmd knows it by."""
        return self.name.partition("@")[0]

    def target(
        self, port: int = 0, *, host: str = "127.0.0.1", cookie: str = COOKIE, own: str = OWN, evict: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> Target:  # fmt: skip
        """How to link to it. It may not have seen the end of our last link yet, so the new one takes its place."""
        return Target(self.name, host, port or self.port, Cookie(cookie), own, tls, evict)

    def stop(self) -> None:
        """SIGSTOP, which takes a moment to reach all of its threads."""
        self.process.send_signal(signal.SIGSTOP)
        threads = f"/proc/{self.process.pid}/task"
        wait_until(lambda: all(_stopped(f"{threads}/{thread}") for thread in os.listdir(threads)), what="the stop")

    def printed(self, wanted: bytes) -> bytes:
        """The next line of its standard output that holds `wanted`."""
        assert self.process.stdout
        for line in self.process.stdout:
            if wanted in line:
                return line
        raise AssertionError(f"{self.name} ended without printing {wanted!r}")


@contextlib.contextmanager
def node(otp: str, *flags: str, host: str = "127.0.0.1", port: int = 0, epmd_port: int = 0) -> Iterator[Node]:
    """A node of that OTP, named by -name, with further flags. It registers with the epmd at `epmd_port`, if given."""
    name = f"n{next(_count)}-{os.getpid()}@{host}"
    port = port or (0 if epmd_port else epmds.free_port())
    words = ["-name" if "." in host or ":" in host else "-sname", name, *flags]
    words += ["-eval", 'io:put_chars("up\\n")']
    words += [] if "-setcookie" in flags else ["-setcookie", COOKIE]
    words += [] if "inet_dist_use_interface" in flags else IPV4
    words += [] if epmd_port else ["-start_epmd", "false", "-erl_epmd_port", str(port)]
    env = otps.environment(ERL_EPMD_PORT=str(epmd_port or 1), ERL_EPMD_ADDRESS="127.0.0.1")
    with otps.started(otp, *words, env=env) as process:
        found = Node(name, process, port)
        found.printed(b"up")
        yield found


def _stopped(task: str) -> bool:
    with open(f"{task}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"T"
