"""Unpacking into a tree: the same end however often it is killed, and never a byte elsewhere."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from relctld.beam.package.judge import judge
from relctld.beam.package.placing import Placement
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.tree import read_tree
from relctld.host import tree
from relctld.host.unpack import extract, move_in, put_back, undo
from relctld.host.unpack import replace as replace_files
from tests.host.dying import killed_at_each
from tests.host.seam import NOBODY, ROOT, need_root, open_fds, public_folder
from tests.packages import MACHINE, Version, contents, info, install, listing, pack
from tests.unit.relctld.beam.package.test_tarball import MEMBERS

pytestmark = pytest.mark.host

STAGING, KEPT = ".relctl-staging", ".relctl-kept"
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink")


class Bed:
    """A tree with 1.0.0, nobody's where we may give it away, and what is to be unpacked of 1.1.0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = install(folder / "web", Version("1.0.0", since=None))
        (folder / "outside").mkdir()
        self.new = Version("1.1.0")
        self.packed = pack(folder / "web.tar.gz", self.new.files, self._more)
        self.packed.chmod(0o600)
        found = read_tree(self.root)
        judged = judge(contents(self.packed), found, "1.0.0", found.name, found.flavour, MACHINE)
        self.placement: Placement = judged.placement
        self.units = judged.placement.units
        self.own()

    def _more(self, archive: tarfile.TarFile) -> None:
        archive.addfile(info("lib/web-1.1.0/priv", tarfile.DIRTYPE, mode=0o777))
        archive.addfile(info("lib/web-1.1.0/priv/run", size=3, mode=0o6755 & 0o777), io.BytesIO(b"run"))
        archive.addfile(info("lib/web-1.1.0/priv/link", tarfile.SYMTYPE, target="../ebin"))
        archive.addfile(info("lib/web-1.1.0/empty/deep", tarfile.DIRTYPE, mode=0))

    def own(self) -> None:
        for path in (self.root, *self.root.rglob("*")):
            if ROOT:
                os.chown(path, NOBODY.uid, NOBODY.gid, follow_symlinks=False)

    def extract(self) -> None:
        """All from our copy of the tarball."""
        extract(self.packed, self.root, STAGING, [replace(piece, data=None) for piece in self.placement.new])

    def move_in(self) -> None:
        move_in(self.root, STAGING, self.units)

    def undo(self) -> None:
        undo(self.root, STAGING, self.units)


@pytest.fixture
def bed() -> Iterator[Bed]:
    with public_folder() as folder:
        yield Bed(folder)


def whole(bed: Bed) -> dict[str, bytes | str]:
    """The tree once 1.1.0 is in."""
    bed.extract()
    bed.move_in()
    return listing(bed.root)


def test_in_place(bed: Bed) -> None:
    before, fds = listing(bed.root), open_fds()
    told: list[int] = []
    extract(bed.packed, bed.root, STAGING, bed.placement.new, told.append)
    assert {path: held for path, held in listing(bed.root).items() if not path.startswith(STAGING)} == before
    assert told == sorted(told)
    assert told[-1] == sum(member.size for member in bed.placement.new)
    bed.move_in()
    after = listing(bed.root)
    assert open_fds() == fds
    assert before.items() <= after.items()
    for path, data in bed.new.files.items():
        assert after[path] == (before[path] if path in bed.placement.skipped else data)
    assert after["lib/web-1.1.0/priv/link"] == "../ebin"
    assert after["lib/web-1.1.0/empty/deep"] == "directory"
    modes = {path: stat.S_IMODE((bed.root / "lib/web-1.1.0" / path).stat().st_mode) for path in ("priv", "priv/run")}
    assert modes == {"priv": 0o755, "priv/run": 0o755}
    owners = {os.lstat(path).st_uid for path in bed.root.rglob("*")}
    assert owners == {bed.root.stat().st_uid}
    found = read_tree(bed.root)
    assert list(found.rels) == ["1.0.0", "1.1.0"]


def test_undone(bed: Bed) -> None:
    before = listing(bed.root)
    whole(bed)
    bed.undo()
    assert listing(bed.root) == before
    bed.undo()
    bed.extract()
    bed.undo()
    assert listing(bed.root) == before
    assert whole(bed).items() > before.items(), "the second try"


def test_killed_while_it_extracts(bed: Bed) -> None:
    before = listing(bed.root)
    for step in killed_at_each(bed.extract, *STEPS):
        left = {path: held for path, held in listing(bed.root).items() if not path.startswith(STAGING)}
        assert left == before, step
    bed.move_in()
    after = listing(bed.root)
    bed.undo()
    assert whole(bed) == after


def test_killed_while_it_moves(bed: Bed) -> None:
    expected = whole(bed)
    bed.undo()
    bed.extract()
    deaths = 0
    for step in killed_at_each(bed.move_in, *STEPS):
        deaths += 1
        seen = listing(bed.root)
        assert not any(path.startswith("releases/1.1.0") for path in seen) or "bin/web-1.1.0" in seen, step
        half = {unit for unit in bed.units if unit in seen}
        assert all(
            expected[path] == seen[path] for path in expected if any(f"{path}/".startswith(f"{u}/") for u in half)
        )
    assert deaths > len(bed.units)
    assert listing(bed.root) == expected
    bed.move_in()
    assert listing(bed.root) == expected


def test_killed_while_it_is_undone(bed: Bed) -> None:
    before = listing(bed.root)
    whole(bed)
    for step in killed_at_each(bed.undo, *STEPS):
        assert before.items() <= listing(bed.root).items(), step
    assert listing(bed.root) == before


def test_damaged_files_are_replaced_and_put_back(bed: Bed) -> None:
    expected = whole(bed)
    damaged = ("lib/web-1.1.0/ebin/web_srv.beam", "bin/web-1.1.0")
    pieces = [replace(piece, data=None) for piece in bed.placement.new if piece.path in damaged]

    def mend() -> None:
        extract(bed.packed, bed.root, STAGING, pieces)
        take_over()

    def take_over() -> None:
        replace_files(bed.root, STAGING, KEPT, damaged)
        move_in(bed.root, STAGING, ())

    for path in damaged:
        (bed.root / path).write_bytes(b"torn")
    before = listing(bed.root)
    mend()
    put_back(bed.root, KEPT, damaged)
    assert listing(bed.root) == before
    extract(bed.packed, bed.root, STAGING, pieces)
    for _ in killed_at_each(take_over, *STEPS):
        seen = listing(bed.root)
        assert all(seen.get(path) in (before[path], expected[path]) or f"{KEPT}/{path}" in seen for path in damaged), (
            "lost"
        )
    after = {path: data for path, data in listing(bed.root).items() if not path.startswith(KEPT)}
    assert after == expected
    for _ in killed_at_each(lambda: put_back(bed.root, KEPT, damaged), *STEPS):
        pass
    assert listing(bed.root) == before


def test_something_in_its_place(bed: Bed) -> None:
    bed.extract()
    (bed.root / bed.units[-1]).mkdir()
    with pytest.raises(FileExistsError, match=bed.units[-1]):
        bed.move_in()


def test_nothing_was_extracted(bed: Bed) -> None:
    with pytest.raises(FileNotFoundError, match="neither unpacked nor in place"):
        bed.move_in()


def test_what_was_kept_in_memory_is_the_same_and_needs_no_copy(bed: Bed) -> None:
    bed.extract()
    from_copy = listing(bed.root)
    assert all(piece.data is not None for piece in bed.placement.new if piece.what == "file")
    bed.packed.write_bytes(b"")
    extract(bed.packed, bed.root, STAGING, bed.placement.new)
    assert listing(bed.root) == from_copy


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda data: data.replace(b"srv 1", b"SRV 1")])
def test_our_copy_is_not_what_was_judged(bed: Bed, change: object) -> None:
    assert callable(change)
    before = listing(bed.root)
    plain = change(gzip.decompress(bed.packed.read_bytes()))
    bed.packed.write_bytes(gzip.compress(plain))
    with pytest.raises(OSError, match="not what was judged"):
        bed.extract()
    bed.packed.write_bytes(gzip.compress(plain)[:300])
    with pytest.raises(OSError, match="not what was judged"):
        bed.extract()
    assert listing(bed.root) == before


def fill(path: Path) -> int:
    """Writes until nothing more fits; the size."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return path.stat().st_size


def extracted(bed: Bed) -> bool:
    """Whether there was room for it."""
    try:
        bed.extract()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def test_a_full_disk(bed: Bed) -> None:
    need_root("mounting a small disk")
    disk = bed.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "none", disk], check=True)
    try:
        root = disk / "web"
        shutil.copytree(bed.root, root)
        bed.root = root
        bed.own()
        before = listing(root)
        size = fill(disk / "filler")
        room = 0
        while not extracted(bed):
            assert listing(root) == before
            room += 8 << 10
            os.truncate(disk / "filler", size - room)
        assert room > 0
        bed.move_in()
        assert list(read_tree(root).rels) == ["1.0.0", "1.1.0"]
    finally:
        subprocess.run(["umount", disk], check=True)


# -- a tree whose owner plays with it --------------------------------------------------------------


@pytest.mark.parametrize("place", ["lib", "releases", "bin", STAGING, f"{STAGING}/lib"])
def test_a_link_in_the_way(bed: Bed, place: str) -> None:
    """Planted after the judging, which would have seen it."""
    (bed.root / STAGING).mkdir()
    if (bed.root / place).is_dir():
        (bed.root / place).rename(bed.folder / "moved")
    (bed.root / place).symlink_to("../outside" if "/" not in place else "../../outside")
    bed.own()
    if place.startswith(STAGING):
        bed.extract()
        bed.move_in()
        assert listing(bed.root).keys() >= bed.new.files.keys()
    else:
        bed.extract()
        with pytest.raises(OSError, match=f"{place} is a link or a file, not a directory"):
            bed.move_in()
    assert listing(bed.folder / "outside") == {}


def test_extract_finds_a_link_planted_meanwhile(bed: Bed) -> None:
    def plant(_done: int) -> None:
        for name in ("lib", "releases", "bin"):
            path = bed.root / STAGING / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
                path.symlink_to("../../outside")

    with pytest.raises(OSError, match="is a link or a file, not a directory"):
        extract(bed.packed, bed.root, STAGING, bed.placement.new, plant)
    assert listing(bed.folder / "outside") == {}
    assert not (bed.root / STAGING).exists()


def test_a_tree_that_its_owner_may_not_write(bed: Bed) -> None:
    need_root("another user")
    os.chown(bed.root / "lib", 0, 0)
    bed.extract()
    with pytest.raises(PermissionError):
        bed.move_in()
    bed.undo()
    assert not (bed.root / STAGING).exists()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MEMBERS)
def test_nothing_is_written_elsewhere(tmp_path: Path, listed: list[tarfile.TarInfo]) -> None:
    """Whatever the tarball, and with what is accepted of it unpacked as it is."""
    shutil.rmtree(tmp_path / "bed", ignore_errors=True)
    root = tmp_path / "bed/root"
    root.mkdir(parents=True)
    (tmp_path / "bed/canary").write_text("alive")
    packed = pack(tmp_path / "any.tar.gz", {}, lambda archive: _add(archive, listed))
    try:
        pieces = contents(packed).members
    except PackageError:
        return
    extract(packed, root, STAGING, pieces)
    inside = listing(root)
    assert all(f"{STAGING}/{piece.path}" in inside for piece in pieces)
    for path in filter(Path.is_symlink, root.rglob("*")):
        assert path.resolve().is_relative_to(root / STAGING)
    tree.remove(root, STAGING)
    assert listing(tmp_path / "bed") == {"canary": b"alive", "root": "directory"}


def _add(archive: tarfile.TarFile, listed: list[tarfile.TarInfo]) -> None:
    for one in listed:
        archive.addfile(one, io.BytesIO(bytes(one.size)))
