"""Files seen with a release's user's eyes, in one thread alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relctld.host.fsuser import as_process, as_user
from tests.host.seam import need_root, public_folder

pytestmark = pytest.mark.host


@pytest.fixture
def nobodys() -> Iterator[int]:
    """A process of nobody's, in group games too."""
    need_root("another user")
    with subprocess.Popen(["/bin/sleep", "60"], user=65534, group=65534, extra_groups=[60]) as process:
        yield process.pid
        process.send_signal(signal.SIGKILL)


def readable(path: Path) -> bool:
    try:
        path.read_text()
    except PermissionError:
        return False
    return True


def test_root_sees_what_that_user_sees(nobodys: int) -> None:
    with public_folder() as folder:
        modes = {"other": (0, 0, 0o604), "own": (65534, 0, 0o600), "group": (0, 60, 0o640), "root": (0, 0, 0o640)}
        for name, (uid, gid, mode) in modes.items():
            (folder / name).write_text("x")
            os.chown(folder / name, uid, gid)
            (folder / name).chmod(mode)
        with ThreadPoolExecutor(1) as other:
            other.submit(int).result()  # its thread is there before
            with as_process(nobodys):
                seen = {name for name in modes if readable(folder / name)}
                elsewhere = other.submit(readable, folder / "root").result()
        assert seen == {"other", "own", "group"}
        assert elsewhere, "only one thread is another user"
        assert all(readable(folder / name) for name in modes)


def test_it_ends_with_an_error_too(nobodys: int) -> None:
    groups = os.getgroups()
    with public_folder() as folder, pytest.raises(PermissionError), as_process(nobodys):
        (folder / "new").write_text("x")
    with public_folder() as folder:
        (folder / "new").write_text("x")
    assert os.getgroups() == groups


def test_a_process_that_is_gone(nobodys: int) -> None:
    with pytest.raises(OSError, match="No such file"), as_process(2**22 - 3):
        raise AssertionError("it was entered")


def test_what_is_made_is_that_users() -> None:
    need_root("another user")
    with public_folder() as folder:
        folder.chmod(0o777)
        with as_user(65534, 65533):
            (folder / "theirs").write_text("x")
        (folder / "ours").write_text("x")
        owners = [((folder / name).stat().st_uid, (folder / name).stat().st_gid) for name in ("theirs", "ours")]
    assert owners == [(65534, 65533), (0, 0)]
