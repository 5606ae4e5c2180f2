"""A tarball taken in: our own copy, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from relctld.host import staging
from relctld.host.staging import open_source, receive
from tests.host.dying import killed_at_each
from tests.host.seam import open_fds
from tests.running import need_root

pytestmark = pytest.mark.host

DATA = random.Random(5).randbytes(3_000_000)
LIMIT = 10 << 20
NAME = "web.tar.gz"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "web.tar.gz"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def taken(source: Path, folder: Path, limit: int = LIMIT) -> staging.Received:
    fd = open_source(source)
    try:
        return receive(fd, str(source), folder, limit)
    finally:
        os.close(fd)


def test_a_copy(source: Path, folder: Path, tmp_path: Path) -> None:
    before, told = open_fds(), list[int]()
    (tmp_path / "link").symlink_to(source)
    fd = open_source(tmp_path / "link")
    found = receive(fd, NAME, folder, LIMIT, told.append)
    os.close(fd)
    assert (found.sha256, found.size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert found.path.read_bytes() == DATA
    assert os.listdir(folder) == [found.path.name]
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert told[-1] == len(DATA)
    assert len(told) > 1
    assert open_fds() == before
    assert taken(source, folder) == found, "again"


def test_killed_at_each_step(source: Path, folder: Path) -> None:
    for _ in killed_at_each(lambda: taken(source, folder) and None, "open", "os.rename", "os.remove"):
        assert all(path.read_bytes() == DATA for path in folder.iterdir() if path.suffix == ".gz")
    (path,) = folder.iterdir()
    assert path.read_bytes() == DATA


def test_what_is_no_file(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / "none", tmp_path / "socket"):
        with pytest.raises(OSError, match=r"not a regular file|No such file|No such device"):
            open_source(path)
    listening.close()
    ends = os.pipe()
    with pytest.raises(OSError, match="not a regular file"):
        receive(ends[0], NAME, folder, LIMIT)
    for fd in ends:
        os.close(fd)
    assert os.listdir(folder) == []


def test_too_large(source: Path, folder: Path) -> None:
    with pytest.raises(OSError, match="larger than 2999999 bytes") as raised:
        taken(source, folder, 2_999_999)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(source))
    assert os.listdir(folder) == []


def test_it_grows_while_it_is_read(source: Path, folder: Path) -> None:
    for read in (staging.receive, lambda fd, name, _, limit, progress: staging.digest(fd, name, limit, progress)):
        fd = open_source(source)
        with pytest.raises(OSError, match="grows while it is read"), open(source, "ab", buffering=0) as more:
            read(fd, NAME, folder, LIMIT, lambda _, more=more: more.write(b"x" * 1000) and None)
        os.close(fd)
    assert os.listdir(folder) == []


def test_a_hole_is_not_hashed_for_hours(tmp_path: Path) -> None:
    with open(tmp_path / "web.tar.gz", "wb") as file:
        file.truncate(100 << 30)
    fd = open_source(tmp_path / "web.tar.gz")
    with pytest.raises(OSError, match="larger than"):
        staging.digest(fd, NAME, LIMIT, lambda _: None)
    os.close(fd)


def test_no_room(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_SPARE", 1 << 60)
    with pytest.raises(OSError, match="do not fit"):
        taken(source, folder)
    assert os.listdir(folder) == []


def test_whose_disk_is_full_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    monkeypatch.setattr(staging, "_SPARE", -LIMIT)  # as if another had filled it after we looked
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        with pytest.raises(OSError, match="No space left") as raised:
            taken(source, small)
        assert raised.value.filename == str(small)
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
