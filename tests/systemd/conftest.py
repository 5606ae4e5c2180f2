"""What the tests in a bed share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import otps
from tests.asked import FULL, LONG
from tests.releases.build import cached
from tests.systemd.bed import why_not
from tests.systemd.installed import BARE, RELEASES, STRAY, Host, lay_out

collect_ignore = [] if LONG else ["test_machine.py"]
"""A machine without virtualisation takes minutes."""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The tree of an installation, one for all workers; skips, or fails under CI, where no bed can be had."""
    missing = why_not()
    if missing and FULL:
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    return cached(shared / "installed", shared / "installed.lock", lambda scratch: lay_out(scratch / "tree"))


@pytest.fixture(scope="package")
def host(installed: Path) -> Iterator[Host]:
    """relctl installed and started, all releases running. Each test leaves it so."""
    host = Host(installed, RELEASES, {"/opt/bare/bin/start": BARE.format(erl=otps.erl("28")), "/opt/stray/run": STRAY})
    with host.bed:
        host.until_running()
        yield host
