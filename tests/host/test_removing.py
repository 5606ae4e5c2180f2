"""A removal that was cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from relctld.supervisor.upgrades.ledger import REMOVAL, Ledger
from relctld.supervisor.upgrades.removing import finish

pytestmark = pytest.mark.host


def begun(ledger: Ledger, root: Path, own: list[int] | None) -> None:
    units = ["releases/1.0.0", "lib/web-1.0.0"]
    ledger.write_file(REMOVAL, {"root": str(root), "version": "1.0.0", "units": units, "own": own})


def known(own: Path) -> list[int]:
    found = own.lstat()
    return [found.st_ino, found.st_mtime_ns]


def test_it_is_brought_to_its_end_once(tmp_path: Path) -> None:
    ledger, own = Ledger(tmp_path / "state", "web"), tmp_path / "web" / "releases" / "1.0.0"
    own.mkdir(parents=True)
    begun(ledger, tmp_path / "web", known(own))
    finish(ledger)
    assert not own.exists()
    own.mkdir()  # installed again
    finish(ledger)
    assert own.exists()


def test_it_goes_on_where_the_directory_was_moved_aside(tmp_path: Path) -> None:
    ledger, library = Ledger(tmp_path / "state", "web"), tmp_path / "web" / "lib" / "web-1.0.0"
    library.mkdir(parents=True)
    begun(ledger, tmp_path / "web", [1, 1])
    finish(ledger)
    assert not library.exists()


def test_a_version_that_somebody_put_back_stays(tmp_path: Path) -> None:
    ledger, own = Ledger(tmp_path / "state", "web"), tmp_path / "web" / "releases" / "1.0.0"
    library = tmp_path / "web" / "lib" / "web-1.0.0"
    for folder in (own, library):
        folder.mkdir(parents=True)
    begun(ledger, tmp_path / "web", [own.lstat().st_ino, 1])
    finish(ledger)
    assert own.exists()
    assert library.exists()
    assert not ledger.read_file(REMOVAL)


def test_a_tree_that_is_gone_has_nothing_to_remove(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state", "web")
    begun(ledger, tmp_path / "web", None)
    finish(ledger)
    assert not ledger.read_file(REMOVAL)
