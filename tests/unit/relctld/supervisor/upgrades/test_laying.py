"""What is laid ready for a candidate, and that it is gone after."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from relctld.host.users import identity_of
from relctld.supervisor.upgrades.laying import clear, laid, lay


def test_laid_ready_in_turn_and_gone(tmp_path: Path) -> None:
    folder, identity = tmp_path / "candidate", identity_of(os.geteuid())
    assert laid(folder) is None
    lay(folder, identity, {"RELEASES": b"1", "1.1.0/relup": b"2"}, "")
    assert laid(folder) == ""
    lay(folder, identity, {"RELEASES": b"3"}, "1.1.0")
    assert laid(folder) == "1.1.0"
    assert ((folder / "releases/RELEASES").read_bytes(), (folder / "releases/1.1.0/relup").read_bytes()) == (b"3", b"2")
    assert stat.S_IMODE((folder / "releases").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "releases/RELEASES").stat().st_mode) == 0o600
    clear(folder)
    clear(folder)
    assert (laid(folder), folder.exists()) == (None, False)


def test_a_link_that_its_user_left_there_leads_nowhere(tmp_path: Path) -> None:
    folder, identity, other = tmp_path / "candidate", identity_of(os.geteuid()), tmp_path / "other"
    other.write_text("mine")
    lay(folder, identity, {"RELEASES": b"1"}, "")
    (folder / "releases/RELEASES").unlink()
    (folder / "releases/RELEASES").symlink_to(other)
    lay(folder, identity, {"RELEASES": b"2"}, "")
    assert (other.read_text(), (folder / "releases/RELEASES").read_bytes()) == ("mine", b"2")


def test_what_is_too_deep_to_be_removed_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "candidate"
    lay(folder, identity_of(os.geteuid()), {}, "")
    fd = os.open(folder / "releases", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=fd)
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        with pytest.raises(OSError, match=r"nested too deeply|Too many open files"):
            clear(folder)
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)
