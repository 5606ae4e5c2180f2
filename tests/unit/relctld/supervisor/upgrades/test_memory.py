"""What is remembered of tarballs: enough to see that one is installed, whole; damage is forgetfulness."""

from __future__ import annotations

from pathlib import Path

from relctld.beam.package.tarball import Member, What
from relctld.supervisor.upgrades import memory
from relctld.supervisor.upgrades.ledger import INSTALLED, Ledger
from relctld.supervisor.upgrades.memory import Taken, recall, remember, taken

FILES = {
    "lib/web-1.1.0/ebin/web.beam": 7,
    "releases/1.1.0/start.boot": 3,
    "releases/1.1.0/vm.args": 5,
    "releases/COOKIE": 4,
    "bin/web": 9,
}


def packed() -> Taken:
    return taken("1.1.0", "ab" * 32, [Member(path, What.FILE, 0o644, size) for path, size in FILES.items()])


def test_what_operators_may_change_is_not_looked_at() -> None:
    assert packed().files == {"lib/web-1.1.0/ebin/web.beam": 7, "releases/1.1.0/start.boot": 3}


def test_whole_or_not(tmp_path: Path) -> None:
    for path, size in packed().files.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(bytes(size))
    assert packed().is_whole(tmp_path)
    boot = tmp_path / "releases/1.1.0/start.boot"
    for damage in (b"", b"longer", None):
        boot.unlink() if damage is None else boot.write_bytes(damage)
        assert not packed().is_whole(tmp_path)
    boot.symlink_to(tmp_path / "lib/web-1.1.0/ebin/web.beam")
    assert not packed().is_whole(tmp_path)


def test_remembered_and_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "web")
    assert recall(ledger) == []
    remember(ledger, packed())
    remember(ledger, Taken("1.2.0", "cd" * 32, {}))
    again = Taken("1.1.0", "ef" * 32, {"lib/a": 1})
    remember(ledger, again)
    assert recall(ledger) == [Taken("1.2.0", "cd" * 32, {}), again]
    for number in range(memory.AT_MOST):
        remember(ledger, Taken(f"2.{number}", "00" * 32, {}))
    assert [each.version for each in recall(ledger)] == [f"2.{number}" for number in range(memory.AT_MOST)]
    ledger.drop_tarballs()
    assert len(recall(ledger)) == memory.AT_MOST
    (ledger.folder / INSTALLED).write_text('{"v": 1, "versions": {"1": {"sha256": 3}}}')
    assert recall(ledger) == []
    (ledger.folder / INSTALLED).write_text("torn")
    assert recall(ledger) == []
