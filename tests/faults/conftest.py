"""`relctld`: daemons of a test's own, all ended with it, and nothing of them left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import Fleet


@pytest.fixture
def relctld(tmp_path: Path) -> Iterator[Fleet]:
    """Starts daemons on private directories: `relctld({"web": fake(tmp_path / "web")})`."""
    with Fleet(tmp_path) as fleet:
        yield fleet
