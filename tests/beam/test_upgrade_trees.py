"""Trees that make a hot upgrade hard: lists that are damaged, other owners, planted links, a disk that fills up."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relctld.beam.package.releases import read_releases
from tests.asked import LONG
from tests.beam.supervised import OTHER_USER
from tests.beam.upgrading import WITHIN, Death, Stand, standing
from tests.releases.build import build, place
from tests.running import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

DAMAGE = {
    "missing": None,
    "empty": "",
    "torn": '[{release,"rapp","1.0.0",',
    "garbage": "\x00\x01 what?\n",
    "another's": '[{release,"other","0.1.0","13.1.5",[],permanent}].\n',
}
ONE = ["rapp", "mapp"] if LONG else ["rapp"]
"""The two hardly differ, and each test costs seconds: mapp, which has no RELEASES at first, where that matters."""

KINDS = [(name, kind) for kind in DAMAGE for name in ("rapp", "mapp") if LONG or (name == "mapp") == (kind == "empty")]
"""Which sample's list is damaged in which way."""

FILL = """\
#!/bin/sh
# Fills the disk that the tree lies on, where it is told to.
[ ! -e "$0.now" ] || dd if=/dev/zero of={disk}/fill bs=64k 2>/dev/null || true
"""


@pytest.mark.parametrize(("shared_stand", "kind"), KINDS, indirect=["shared_stand"])
def test_a_list_that_is_damaged_is_mended(stand: Stand, kind: str) -> None:
    path, text = stand.root / "releases" / "RELEASES", DAMAGE[kind]
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    stand.upgrade("1.1.0-unhealthy").failed("not well")
    assert text is None or not path.exists() or path.read_text() != ""
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")
    listed = {entry.version: entry for entry in read_releases(path.read_bytes())}
    assert [listed[version].status for version in ("1.0.0", "1.1.0")] == ["old", "permanent"]
    assert all(listed[version].libraries for version in ("1.0.0", "1.1.0"))
    if LONG or kind == "missing":
        stand.after_deaths("1.1.0")
    stand.downgrade().done()
    stand.is_at("1.0.0")


@pytest.mark.parametrize("shared_stand", ONE, indirect=True)
def test_a_list_that_was_damaged_before_the_boot_is_mended(stand: Stand) -> None:
    path = stand.root / "releases" / "RELEASES"
    path.write_text(DAMAGE["torn"] or "")
    epoch = stand.daemon.status("web")["epoch"]
    stand.kill_vm()
    stand.daemon.wait_for("web", 90, epoch=epoch + 1)
    stand.well()
    assert stand.daemon.ask("versions", {"release": "web"})["releases_error"]
    stand.upgrade("1.1.0").done()
    stand.after_deaths("1.1.0")


@pytest.mark.parametrize("shared_stand", ONE, indirect=True)
@pytest.mark.parametrize("kind", ["another's", "torn"])
def test_what_runs_is_not_what_a_list_says_that_the_node_was_booted_with(stand: Stand, kind: str) -> None:
    """The list is release_handler's word. `torn`: whoever made a version permanent was cut short after it."""
    path, named = stand.root / "releases" / "RELEASES", "0.1.0"
    text = DAMAGE["another's"] or ""
    if kind == "torn":
        stand.upgrade("1.1.0").done()
        stand.downgrade().done()
        named, text = (
            "1.1.0",
            path.read_text().replace("permanent", "…").replace("old", "permanent").replace("…", "old"),
        )
    path.write_text(text)
    epoch = stand.daemon.status("web")["epoch"]
    stand.kill_vm()
    stand.daemon.wait_for("web", 90, epoch=epoch + 1)
    said = stand.well()
    assert said["version"] == said["boot_version"] == "1.0.0"

    def told() -> list[str]:
        beam = stand.daemon.status("web")["beam"] or {}
        return [each["version"] for each in beam.get("releases") or [] if each["status"] == "permanent"]

    wait_until(lambda: told() == [named], 60, what=lambda: f"release_handler's word; it is {told()}")
    assert stand.daemon.status("web")["version"] == "1.0.0"
    marks = {v["version"]: v["running"] for v in stand.daemon.ask("versions", {"release": "web"})["versions"]}
    assert [version for version, runs in marks.items() if runs] == ["1.0.0"]
    stand.upgrade("=1.1.0" if kind == "torn" else "1.1.0").done()
    stand.is_at("1.1.0")
    stand.downgrade().done()
    stand.is_at("1.0.0")


@pytest.mark.parametrize("shared_stand", ["mapp"], indirect=True)
def test_a_first_upgrade_that_fails_leaves_no_list_behind(stand: Stand) -> None:
    assert not (stand.root / "releases" / "RELEASES").exists()
    stand.upgrade("1.1.0-unhealthy").failed("not well")
    assert not (stand.root / "releases" / "RELEASES").exists()
    stand.untouched()


# -- owners ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rapp", "mapp"] if LONG else ["mapp"])
def test_a_tree_of_root_and_a_node_of_another_user(name: str) -> None:
    need_root()
    with standing(name, user=OTHER_USER) as stand:
        stand.upgrade("1.1.0-apply-before").failed("boom")
        stand.is_at("1.0.0")
        stand.untouched()
        stand.upgrade("1.1.0").done()
        stand.is_at("1.1.0")
        assert {path.lstat().st_uid for path in stand.root.rglob("*")} == {0}
        stand.after_deaths("1.1.0")
        stand.downgrade().done()
        stand.after_deaths("1.0.0")


def owned(name: str, root: Path) -> None:
    """The whole tree is the other user's."""
    uid, gid = pwd.getpwnam(OTHER_USER)[2:4]
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)


@pytest.mark.parametrize("name", ONE)
def test_a_tree_of_the_nodes_own_user(name: str) -> None:
    need_root()
    with standing(name, prepared=owned, user=OTHER_USER) as stand:
        stand.upgrade("1.1.0-apply-before").failed("boom")
        stand.is_at("1.0.0")
        stand.untouched()
        stand.upgrade("1.1.0").done()
        assert {path.lstat().st_uid for path in stand.root.rglob("*")} == {pwd.getpwnam(OTHER_USER).pw_uid}
        stand.after_deaths("1.1.0")

        outside = stand.root.with_name("outside")
        for planted in ("releases/RELEASES", "lib"):
            place, kept = stand.root / planted, stand.root.with_name("kept")
            outside.mkdir(mode=0o777)
            outside.chmod(0o777)
            place.rename(kept)
            place.symlink_to(outside if kept.is_dir() else outside / "file")
            ended = stand.upgrade("1.2.0")
            assert ended.code in (1, 5), ended
            assert ended.err
            assert list(outside.iterdir()) == [], planted
            place.unlink()
            kept.rename(place)
            outside.rmdir()
            stand.is_at("1.1.0")
        stand.upgrade("1.2.0").done()
        stand.is_at("1.2.0")


# -- room ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE)
def test_a_disk_that_fills_up_in_unpacking(name: str, tmp_path: Path) -> None:
    need_root()
    hook = tmp_path / "fill"
    with standing(name, disk="400m", hooks={"pre_upgrade": [str(hook)]}) as stand:
        disk = stand.root.parent
        hook.write_text(FILL.format(disk=disk))
        hook.chmod(0o755)
        now = hook.with_name("fill.now")
        now.touch()
        before = stand.daemon.status("web")
        stand.upgrade("1.1.0").failed("no space left", "never stopped")
        stand.untouched()
        stand.upgrade("1.1.0").refused("bytes left", "make room")
        stand.untouched()
        os.truncate(disk / "fill", (disk / "fill").stat().st_size - (4 << 20))  # enough for what is new
        plan = stand.upgrade("1.1.0", "--plan", "--json").reply["plan"]
        assert "no room for a copy" in plan["configuration_unknown"]
        stand.untouched()
        now.unlink()
        (disk / "fill").unlink()
        stand.upgrade("1.1.0").done()
        after = stand.is_at("1.1.0")
        assert (after["pid"], after["restarts_total"]) == (before["pid"], before["restarts_total"])


@contextlib.contextmanager
def full(stand: Stand, file: str, on: Path, count: int = 1) -> Iterator[Callable[[], None]]:
    """A relctld in whose hands the disk `on` is full as it is about to write this file; what makes room again."""
    fill = on / "fill"
    stand.reborn(Death("before", f".{file}", count=count, event="open", fill=str(fill)))
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    yield fill.unlink
    fill.unlink(missing_ok=True)
    stand.reborn()


def waits_for_room(stand: Stand, phase: str, *words: str) -> None:
    """It says what it waits for, and goes on waiting."""
    seen: dict[str, str] = {}

    def told() -> bool:
        seen.update(stand.daemon.status("web")["upgrade"] or {})
        return seen.get("phase") == phase and all(word in seen.get("detail", "") for word in ("no space left", *words))

    wait_until(told, WITHIN, what=lambda: f"the upgrade to wait for room; it is {seen}")


@pytest.mark.parametrize("name", ONE)
def test_a_disk_that_fills_up_at_any_other_step(name: str) -> None:
    need_root()
    with standing(name, disk="400m") as stand:
        tree, before = stand.root.parent, stand.daemon.status("web")
        for file in ("RELEASES.relctl", "sys.config.relctl"):
            with full(stand, file, tree):
                stand.upgrade("1.1.0").failed("no space left", "never stopped")
                stand.untouched()
                stand.is_at("1.0.0")
        assert stand.daemon.status("web")["pid"] == before["pid"]

        with full(stand, "start_erl.data.relctl", tree) as make_room, stand.begin("1.1.0") as asked:
            waits_for_room(stand, "committing")
            assert stand.said("version") == ["1.1.0"]
            make_room()
            assert asked.wait(WITHIN) == 0
        stand.is_at("1.1.0")
        assert stand.daemon.status("web")["pid"] == before["pid"]
        stand.after_deaths("1.1.0")
        stand.downgrade().done()

        with full(stand, "start_erl.data.relctl", tree) as make_room, stand.begin("=1.1.0") as asked:
            waits_for_room(stand, "committing")
            stand.kill_vm()
            waits_for_room(stand, "committing")
            make_room()
            assert asked.wait(WITHIN) == 0
        stand.is_at("1.1.0")


@pytest.mark.parametrize("name", ["rapp", "mapp"] if LONG else ["mapp"])
def test_a_disk_of_journals_that_fills_up(name: str) -> None:
    need_root()
    with standing(name) as stand, small_disk(stand.ledger):
        before = stand.daemon.status("web")
        with full(stand, "journal.json.tmp", stand.ledger):
            stand.upgrade("1.1.0").failed("its journal cannot be written", "make room")
            stand.untouched()
        for count, phase in ((2, "begun"), (5, "soaking")) if LONG else ((5, "soaking"),):
            with full(stand, "journal.json.tmp", stand.ledger, count) as make_room, stand.begin("1.1.0") as asked:
                waits_for_room(stand, phase, "its journal cannot be written")
                assert stand.said("version") == ["1.0.0" if phase == "begun" else "1.1.0"]
                make_room()
                assert asked.wait(WITHIN) == 0
            stand.is_at("1.1.0")
            stand.downgrade().done()
            stand.daemon.relctl("stop", "web")
            shutil.rmtree(stand.root)
            place(build(name), stand.root)
            stand.daemon.relctl("start", "web")
            stand.well()
        with full(stand, "last.json.tmp", stand.ledger) as make_room, stand.begin("1.1.0") as asked:
            waits_for_room(stand, "committing", "its journal cannot be closed")
            make_room()
            assert asked.wait(WITHIN) == 0
        stand.is_at("1.1.0")
        assert stand.daemon.status("web")["restarts_total"] == before["restarts_total"]


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[None]:
    """A disk of its own at this directory."""
    at.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "none", at], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)
