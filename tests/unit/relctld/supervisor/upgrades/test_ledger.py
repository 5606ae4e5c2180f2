"""The journal of an upgrade on disk: whole or the one before, whenever its writer dies."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relctld.core.spec import Flavour
from relctld.core.transaction import Journal, Phase
from relctld.supervisor.upgrades.ledger import Entry, Ledger, Luggage, as_text, at_rest, under_way
from tests.host.dying import killed_at_each

JOURNAL = Journal("web", "i" * 32, "ann", "2026-01-01T00:00:00Z", "1", "2", 7, "c1", 10.0, 300.0, reversible=True)
LUGGAGE = Luggage("/opt/web", Flavour.MIX, "web", ("lib/web-2", "releases/2"), "ab.tar.gz", "[].\n")
ENTRY = Entry(JOURNAL, LUGGAGE)
NEXT = Entry(replace(JOURNAL, phase=Phase.UNDOING, until=12.5, why="it is ill", repaired=True), LUGGAGE)
OUTCOME: dict[str, Any] = {"id": JOURNAL.id, "ok": True, "seconds": 2.5}
STEPS = ("open", "os.mkdir", "os.rename", "os.remove")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, "web")


def test_what_was_written_is_read(ledger: Ledger, tmp_path: Path) -> None:
    assert (ledger.read(), ledger.last(), under_way(tmp_path)) == (None, {}, [])
    for entry in (ENTRY, NEXT):
        ledger.write(entry)
        assert ledger.read() == Ledger(tmp_path, "web").read() == entry
    assert under_way(tmp_path) == ["web"]
    assert ledger.folder.stat().st_mode & 0o777 == 0o700


def test_the_first_is_not_there_where_it_may_not_last(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its operator hears that it failed: a later relctld must not go on with it."""

    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(folder))

    with monkeypatch.context() as patched:
        patched.setattr("relctld.supervisor.upgrades.ledger._sync", failing)
        with pytest.raises(OSError, match="Input/output error"):
            ledger.begin(ENTRY)
    assert ledger.read() is None
    ledger.begin(ENTRY)
    assert ledger.read() == ENTRY


def test_a_list_in_any_coding_is_kept_byte_for_byte(ledger: Ledger) -> None:
    data = b'%% coding: latin-1\n[{release,"web","1","13",[{kernel,"8","/srv/M\xfcller"}],permanent}].\xff\xfe\n'
    ledger.write(Entry(JOURNAL, replace(LUGGAGE, releases=as_text(data))))
    found = ledger.read()
    assert found is not None
    assert found.luggage.list_before == data


def test_what_a_later_relctld_wrote_more_is_left_aside(ledger: Ledger) -> None:
    ledger.write(ENTRY)
    path = ledger.folder / "journal.json"
    body = json.loads(path.read_text())
    body["journal"]["colour"] = body["luggage"]["weight"] = "unheard of"
    path.write_text(json.dumps(body))
    assert ledger.read() == ENTRY


def test_who_only_looks_for_journals_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    ledger.write(ENTRY)
    idle = Ledger(tmp_path, "idle")
    idle.close(OUTCOME)
    (idle.folder / "ab.tar.gz").write_bytes(b"tarball")
    assert (under_way(tmp_path), at_rest(tmp_path)) == (["web"], ["idle"])
    assert (idle.folder / "ab.tar.gz").exists()


def test_what_is_over_leaves_its_outcome_alone(ledger: Ledger, tmp_path: Path) -> None:
    ledger.write(ENTRY)
    (ledger.folder / "ab.tar.gz").write_bytes(b"tarball")
    ledger.close(OUTCOME)
    assert (ledger.read(), under_way(tmp_path)) == (None, [])
    assert ledger.last() == {"v": 1, **OUTCOME}
    assert [path.name for path in ledger.folder.iterdir()] == ["last.json"]
    ledger.close(OUTCOME)  # again does no harm


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"v": 2}',
        b'{"v": 1, "journal": {}, "luggage": {}}',
        b'{"v": 1, "journal": [], "luggage": 3}',
        json.dumps({"v": 1, "journal": {"phase": "dancing"}, "luggage": {}}).encode(),
    ],
)
def test_a_damaged_journal_counts_as_none(ledger: Ledger, damage: bytes) -> None:
    ledger.write(ENTRY)
    (ledger.folder / "journal.json").write_bytes(damage)
    assert ledger.read() is None
    ledger.write(NEXT)
    assert ledger.read() == NEXT


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"v": 2, "id": "x"}'])
def test_a_damaged_outcome_counts_as_none(ledger: Ledger, damage: bytes) -> None:
    ledger.close(OUTCOME)
    (ledger.folder / "last.json").write_bytes(damage)
    assert ledger.last() == {}


def test_a_journal_that_cannot_be_written_is_said(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "upgrades").write_text("in the way")
    with pytest.raises(OSError, match="upgrades"):
        ledger.write(ENTRY)
    assert ledger.read() is None


def test_whenever_its_writer_dies_it_is_the_one_or_the_other(ledger: Ledger) -> None:
    assert {ledger.read() for _ in killed_at_each(lambda: ledger.write(ENTRY), *STEPS)} <= {None, ENTRY}
    ledger.write(ENTRY)
    seen = []
    for _ in killed_at_each(lambda: ledger.write(NEXT), *STEPS):
        seen.append(ledger.read())
        ledger.write(ENTRY)
    assert {ENTRY, NEXT} == set(seen)


def test_whenever_its_closer_dies_the_upgrade_is_under_way_or_its_outcome_is_known(ledger: Ledger) -> None:
    ledger.write(ENTRY)
    seen = []
    for _ in killed_at_each(lambda: ledger.close(OUTCOME), *STEPS):
        seen.append((ledger.read() == ENTRY, ledger.last().get("id") == JOURNAL.id))
        ledger.write(ENTRY)
        (ledger.folder / "last.json").unlink(missing_ok=True)
    assert (False, False) not in seen
    assert {(True, False), (True, True)} <= set(seen)
