"""FIFOs as a VM holds them."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from relctld.host import fifo
from tests.host.seam import need_root, open_fds

pytestmark = pytest.mark.host


def make(path: Path) -> os.stat_result:
    fifo.make(path, os.geteuid(), os.getegid())
    status = os.lstat(path)
    assert stat.S_ISFIFO(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    return status


def test_it_is_made_and_then_kept(tmp_path: Path) -> None:
    first = make(tmp_path / "out")
    fd = fifo.open_both_ways(tmp_path / "out")
    os.write(fd, b"last words")
    assert make(tmp_path / "out").st_ino == first.st_ino
    assert os.read(fd, 100) == b"last words"
    os.close(fd)


def test_it_is_private_whatever_the_umask_and_whatever_it_was(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path / "new")
        os.mkfifo(tmp_path / "old", 0o666)
    finally:
        os.umask(before)
    make(tmp_path / "old")


def test_what_stands_in_its_place_is_replaced_and_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    os.mkfifo(tmp_path / "elsewhere", 0o644)
    for place, other in (("link", target), ("fifo", tmp_path / "elsewhere"), ("dangling", tmp_path / "none")):
        (tmp_path / place).symlink_to(other)
        make(tmp_path / place)
    (tmp_path / "file").write_text("x")
    make(tmp_path / "file")
    assert target.read_text() == "precious"
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) != 0o600


def test_a_directory_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="out"):
        make(tmp_path / "out")


def test_it_belongs_to_the_nodes_user(tmp_path: Path) -> None:
    need_root("giving a file away")
    fifo.make(tmp_path / "out", 65534, 65533)
    assert fifo.owner(tmp_path / "out") == (65534, 65533)
    assert fifo.owner(tmp_path / "none") == (0, 0)


def test_open_never_blocks_shares_no_flag_and_is_no_childs(tmp_path: Path) -> None:
    make(tmp_path / "out")
    fd = fifo.open_both_ways(tmp_path / "out")
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    assert flags & os.O_ACCMODE == os.O_RDWR
    assert not flags & os.O_NONBLOCK
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_only_a_fifo_is_opened(tmp_path: Path) -> None:
    make(tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    (tmp_path / "file").write_text("x")
    before = open_fds()
    for name in ("link", "file", "none", "."):
        with pytest.raises(OSError, match=r"."):
            fifo.open_both_ways(tmp_path / name)
    assert open_fds() == before
