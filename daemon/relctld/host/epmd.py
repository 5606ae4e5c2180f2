"""epmd: the name service that all nodes of a host share. relctld makes sure that one answers, and never stops it.

It must live outside any release's cgroup, or the end of one release takes the names of all others. So it is
started before a VM would do it: by systemd where it has a unit for it, else by us, from the newest of the roots.
Everything here blocks: call it from a worker thread.
"""

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from relctld.failpoints import Failpoint, reach
from relctld.host.gate import Identity
from relctld.host.reaper import Spawning

DEFAULT_PORT = 4369
UNITS = ("epmd.service", "relctl-epmd.service")

_NAMES_REQ = b"\x00\x01n"  # length, NAMES_REQ (erts, distribution protocol, "EPMD protocol")
_ANSWER_WITHIN = 5.0


class EpmdError(Exception):
    """No epmd answers and none could be started; the text says why."""


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether an epmd answers on this port of the loopback address: it repeats its own port to NAMES_REQ."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(_NAMES_REQ)
        return connection.recv(4) == struct.pack(">I", port)
    return False


def ensure(
    find: Callable[[], Path | None], env: Mapping[str, str], spawning: Spawning, identity: Identity | None = None
) -> None:
    """Make sure that epmd answers on the port that this environment names. Raises EpmdError.

    `find` names the epmd to start, where one must be. `env` is the release's: ERL_EPMD_PORT and ERL_EPMD_ADDRESS
    count, and are given to an epmd that we start. It runs as `identity`, for it lies in that user's tree.
    """
    wanted_port = env.get("ERL_EPMD_PORT", str(DEFAULT_PORT))
    if not (wanted_port.isascii() and wanted_port.isdecimal() and 0 < int(wanted_port) < 65536):
        raise EpmdError(f"ERL_EPMD_PORT is {wanted_port!r}, not a port")
    port = int(wanted_port)
    if answers(port) or (port == DEFAULT_PORT and _by_systemd(spawning) and _wait(port)):
        return
    epmd = find()
    if epmd is None:
        raise EpmdError(f"no epmd answers on port {port}, and the release brings none to start")
    wanted = ("ERL_EPMD_PORT", "ERL_EPMD_ADDRESS", "ERL_EPMD_RELAXED_COMMAND_CHECK", "PATH", "HOME")
    given = {key: env[key] for key in wanted if key in env}
    reach(Failpoint.BEFORE_EPMD)
    _run([str(epmd), "-daemon"], spawning, given, identity)
    reach(Failpoint.AFTER_EPMD)
    if not _wait(port):
        raise EpmdError(f"{epmd} does not answer on port {port}")


def _by_systemd(spawning: Spawning) -> bool:
    if os.geteuid() != 0 or not Path("/run/systemd/system").is_dir():
        return False
    # A unit whose condition is not met is started with success, and does not run.
    return any(
        _run(["systemctl", "start", unit], spawning, dict(os.environ))
        and _run(["systemctl", "--quiet", "is-active", unit], spawning, dict(os.environ))
        for unit in UNITS
    )


def _run(argv: list[str], spawning: Spawning, env: Mapping[str, str], identity: Identity | None = None) -> bool:
    devnull = subprocess.DEVNULL
    try:
        with spawning():
            done = subprocess.run(
                argv, stdin=devnull, stdout=devnull, stderr=devnull, env=dict(env), cwd="/",
                start_new_session=True, timeout=10, check=False,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=list(identity.groups) if identity else None,
            )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _wait(port: int) -> bool:
    end = time.monotonic() + _ANSWER_WITHIN
    while not answers(port):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
