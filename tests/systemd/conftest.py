"""What the tests in a bed share."""

import os
from pathlib import Path

import pytest

from tests.systemd.bed import why_not
from tests.systemd.installed import lay_out

collect_ignore = [] if os.environ.get("RELCTL_TESTS") == "long" else ["test_machine.py"]
"""A machine without virtualisation takes minutes."""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of an installation; skips, or fails under CI, where no bed can be had."""
    missing = why_not()
    if missing and (os.environ.get("CI") == "true" or os.environ.get("RELCTL_TEST_FULL") == "1"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return lay_out(tmp_path_factory.mktemp("installed"))
