"""Writing into a tree whose owner plays with it: nothing is read or written elsewhere, and all is its owner's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relctld.host import tree
from tests.host.dying import killed_at_each
from tests.host.seam import NOBODY, ROOT, need_root, open_fds, public_folder
from tests.packages import listing

pytestmark = pytest.mark.host


@pytest.fixture
def root() -> Iterator[Path]:
    """A tree; nobody's, where we may give it away. Beside it `outside`, with a file that only root reads."""
    with public_folder() as folder:
        (folder / "outside").mkdir()
        (folder / "outside/secret").write_text("secret")
        (folder / "outside/secret").chmod(0o600)
        made = folder / "web"
        for path in ("releases/1.0.0", "lib/web-1.0.0/ebin"):
            (made / path).mkdir(parents=True)
        (made / "releases/start_erl.data").write_text("13.1.5 1.0.0")
        if ROOT:
            for path in (made, *made.rglob("*")):
                os.chown(path, NOBODY.uid, NOBODY.gid)
        yield made


def test_write_replaces_whole(root: Path) -> None:
    before = open_fds()
    tree.write(root, "releases/start_erl.data", b"13.1.5 1.1.0", 0o640)
    tree.write(root, "releases/RELEASES", b"[].")
    found = listing(root / "releases")
    assert found == {"1.0.0": "directory", "start_erl.data": b"13.1.5 1.1.0", "RELEASES": b"[]."}
    status = (root / "releases/start_erl.data").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert (root / "releases/RELEASES").stat().st_uid == tree.owner(root).uid == root.stat().st_uid
    assert open_fds() == before


def test_write_is_all_or_nothing(root: Path) -> None:
    path, new = root / "releases/start_erl.data", b"13.1.5 1.1.0"
    seen = set()
    for _ in killed_at_each(lambda: tree.write(root, "releases/start_erl.data", new), "open", "os.rename", "os.remove"):
        seen.add(path.read_bytes())
    assert seen == {b"13.1.5 1.0.0"}
    assert path.read_bytes() == new
    assert set(listing(root / "releases")) == {"1.0.0", "start_erl.data"}, "a later write takes what one left behind"


@pytest.mark.parametrize("done", ["removed", "replaced"])
def test_what_an_interrupted_write_left_goes_with_the_file(root: Path, done: str) -> None:
    path = "releases/start_erl.data"
    for _ in killed_at_each(lambda: tree.write(root, path, b"13.1.5 1.1.0"), "os.rename"):
        assert ".start_erl.data.relctl" in listing(root / "releases")
        if done == "removed":
            tree.remove(root, path)
        else:
            tree.write(root, "releases/other", b"other")
            tree.rename(root, "releases/other", path)
        assert set(listing(root / "releases")) <= {"1.0.0", "start_erl.data"}


def test_a_file_is_kept_under_another_name(root: Path) -> None:
    path, kept = "releases/start_erl.data", "releases/kept"
    (root / path).chmod(0o604)
    before = (root / path).stat()
    tree.link(root, path, kept)
    assert tree.is_same(root, path, kept)
    tree.write(root, path, b"13.1.5 1.1.0")
    assert not tree.is_same(root, path, kept)
    tree.rename(root, kept, path)
    after = (root / path).stat()
    assert (root / path).read_bytes() == b"13.1.5 1.0.0"
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    (root / "link").symlink_to("../outside/secret")
    for name in ("link", "lib"):
        with pytest.raises(OSError, match="other than a file"):
            tree.link(root, name, "releases/kept")


def test_a_file_with_both_names_moves_all_the_same(root: Path) -> None:
    """rename(2) leaves two names of one file as they are: who died behind `link` must get rid of the other name."""
    tree.link(root, "releases/start_erl.data", "releases/kept")
    tree.rename(root, "releases/kept", "releases/start_erl.data")
    assert sorted(os.listdir(root / "releases")) == ["1.0.0", "start_erl.data"]
    assert (root / "releases/start_erl.data").read_text() == "13.1.5 1.0.0"
    tree.rename(root, "releases/start_erl.data", "releases/start_erl.data")
    assert (root / "releases/start_erl.data").read_text() == "13.1.5 1.0.0"


def test_read(root: Path) -> None:
    assert tree.read(root, "releases/start_erl.data", 100) == b"13.1.5 1.0.0"
    assert tree.read(root, "releases/none", 100) is None
    assert tree.read(root, "none/none", 100) is None
    with pytest.raises(OSError, match="larger than 5 bytes"):
        tree.read(root, "releases/start_erl.data", 5)
    os.mkfifo(root / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        tree.read(root, "fifo", 5)
    with pytest.raises(OSError, match="not a regular file"):
        tree.read(root, "lib", 5)


def test_directories(root: Path) -> None:
    for _ in range(2):
        with tree.opened(root) as fd, tree.parent(fd, "lib/new/ebin/x", make=True):
            pass
    assert (root / "lib/new/ebin").is_dir()
    assert stat.S_IMODE((root / "lib/new").stat().st_mode) == 0o755
    assert (root / "lib/new").stat().st_uid == root.stat().st_uid
    assert tree.exists(root, "lib/new/ebin")
    tree.rename(root, "lib/new", "lib/old")
    assert not tree.exists(root, "lib/new/ebin")
    (root / "lib/old/link").symlink_to("../../../outside")
    tree.remove(root, "lib/old")
    tree.remove(root, "lib/old")
    assert listing(root / "lib") == {"web-1.0.0": "directory", "web-1.0.0/ebin": "directory"}
    assert (root.parent / "outside/secret").exists()
    assert tree.free_bytes(root) > 0


@pytest.mark.parametrize("path", ["", "/etc/x", "../outside/x", "lib/../../outside/x", "lib//x", "lib/./x", "a\0b"])
def test_paths_that_lead_out(root: Path, path: str) -> None:
    for work in (
        lambda: tree.write(root, path, b""),
        lambda: tree.read(root, path, 9),
        lambda: tree.remove(root, path),
    ):
        with pytest.raises(OSError, match="not a path below the root"):
            work()


WORK: dict[str, Callable[[Path], object]] = {
    "write": lambda root: tree.write(root, "lib/x", b"evil"),
    "read": lambda root: tree.read(root, "lib/secret", 100),
    "remove": lambda root: tree.remove(root, "lib/secret"),
    "rename": lambda root: tree.rename(root, "releases/start_erl.data", "lib/x"),
    "exists": lambda root: tree.exists(root, "lib/secret"),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("target", ["../outside", "/etc", "nowhere"])
def test_a_link_on_the_way(root: Path, work: str, target: str) -> None:
    (root / "lib").rename(root / "moved")
    (root / "lib").symlink_to(target)
    before, fds = listing(root.parent), open_fds()
    with pytest.raises(OSError, match="lib is a link or a file, not a directory"):
        WORK[work](root)
    assert listing(root.parent) == before
    assert open_fds() == fds


def test_a_link_at_the_end(root: Path) -> None:
    (root / "releases/start_erl.data").unlink()
    (root / "releases/start_erl.data").symlink_to("../../outside/secret")
    before = listing(root.parent)
    with pytest.raises(OSError, match="something other than a file is in its place"):
        tree.write(root, "releases/start_erl.data", b"x")
    with pytest.raises(OSError, match="a link"):
        tree.read(root, "releases/start_erl.data", 100)
    with pytest.raises(OSError, match="something other than a file"):
        tree.rename(root, "lib", "releases/start_erl.data")
    assert listing(root.parent) == before
    tree.remove(root, "releases/start_erl.data")
    assert (root.parent / "outside/secret").exists()


def test_a_hard_link_to_anothers_file_stays_as_it_is(root: Path) -> None:
    os.link(root.parent / "outside/secret", root / "releases/RELEASES")
    if ROOT:
        with pytest.raises(PermissionError):
            tree.read(root, "releases/RELEASES", 100)
    tree.write(root, "releases/RELEASES", b"[].")
    assert (root.parent / "outside/secret").read_text() == "secret"


def test_what_its_owner_may_not_root_does_not_for_it(root: Path) -> None:
    need_root("another user")
    (root / "lib").rename(root.parent / "lib")
    (root / "lib").mkdir()  # root's
    with pytest.raises(PermissionError):
        tree.write(root, "lib/x", b"")
    (root / "secret").write_text("secret")
    (root / "secret").chmod(0o600)
    with pytest.raises(PermissionError):
        tree.read(root, "secret", 100)
    assert listing(root / "lib") == {}


def test_the_root_itself_may_be_reached_by_a_link(root: Path) -> None:
    (root.parent / "current").symlink_to("web")
    tree.write(root.parent / "current", "releases/RELEASES", b"[].")
    assert (root / "releases/RELEASES").read_bytes() == b"[]."


def test_more_directories_than_python_can_follow(root: Path) -> None:
    at = os.open(root, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("x", dir_fd=at)
        deeper = os.open("x", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    before = open_fds()
    with pytest.raises(OSError, match=r"nested too deeply|Too many open files"):
        tree.remove(root, "x")
    assert open_fds() == before
    os.system(f"rm -rf {root}/x")  # noqa: TID251  # Python cannot
