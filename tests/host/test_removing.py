"""A removal that was cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from relctld.supervisor.upgrades.ledger import REMOVAL, Ledger
from relctld.supervisor.upgrades.removing import finish

pytestmark = pytest.mark.host


def test_it_is_brought_to_its_end_once(tmp_path: Path) -> None:
    ledger, own = Ledger(tmp_path / "state", "web"), tmp_path / "web" / "releases" / "1.0.0"
    own.mkdir(parents=True)
    ledger.write_file(REMOVAL, {"root": str(tmp_path / "web"), "version": "1.0.0", "units": ["releases/1.0.0"]})
    finish(ledger)
    assert not own.exists()
    own.mkdir()  # installed again
    finish(ledger)
    assert own.exists()


def test_a_tree_that_is_gone_has_nothing_to_remove(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state", "web")
    ledger.write_file(REMOVAL, {"root": str(tmp_path / "web"), "version": "1.0.0", "units": ["releases/1.0.0"]})
    finish(ledger)
    assert not ledger.read_file(REMOVAL)
