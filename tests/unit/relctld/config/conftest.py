"""Fixtures of the config's tests."""

from pathlib import Path

import pytest

from tests.unit.relctld.config.building import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)
