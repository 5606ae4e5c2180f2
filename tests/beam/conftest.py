"""Real releases for tests: each test gets its own copy and its own epmd port.

`rapp_root`, `mapp_root`, `papp_root`: a private copy, readable by every user, gone after the test.
`epmd_port`: give it to a release as ERL_EPMD_PORT; the epmd that appears there is ended after the test.
Without Erlang these tests are skipped, but fail where the full run was asked for (RELCTL_TEST_FULL=1, CI=true).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.releases import build
from tests.waiting import wait_until


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that any user may enter, which pytest's tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="relctl-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def rapp_root(public_path: Path) -> Path:
    """A relx release, version 1.0.0."""
    return _copy("rapp", public_path)


@pytest.fixture
def mapp_root(public_path: Path) -> Path:
    """A mix release, version 1.0.0."""
    return _copy("mapp", public_path)


@pytest.fixture
def papp_root(public_path: Path) -> Path:
    """A target system made with systools alone, version 1.0.0."""
    return _copy("papp", public_path)


@pytest.fixture
def epmd_port() -> Iterator[int]:
    """A port below the ephemeral range that nobody listens on."""
    port = next(port for port in iter(lambda: random.randrange(20000, 30000), 0) if _free(port))
    yield port
    for epmd in _epmds(port):
        epmd.send_signal(signal.SIGTERM)
    wait_until(lambda: not _epmds(port), what=f"the end of the epmd on port {port}")


def _copy(name: str, to: Path) -> Path:
    try:
        return build.place(build.build(name), to / name)
    except build.MissingToolError as error:
        if os.environ.get("RELCTL_TEST_FULL") == "1" or os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _epmds(port: int) -> list[psutil.Process]:
    """The epmd processes that were started for `port`; an epmd daemon keeps its starter's environment."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.name() == "epmd" and process.environ().get("ERL_EPMD_PORT") == str(port):
                found.append(process)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found
