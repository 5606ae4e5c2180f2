"""The endpoints' files."""

import os
import stat
from pathlib import Path

import pytest

from relctld.control import sockets

pytestmark = pytest.mark.host


@pytest.mark.parametrize("mode", [0o666, 0o660])
def test_a_socket_gets_its_mode_without_the_umask_that_other_threads_make_files_with(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that was launched meanwhile found its scratch directory without the right to enter it."""

    def changed(_: int) -> int:
        raise AssertionError("the umask of the whole process was changed")

    monkeypatch.setattr(os, "umask", changed)
    with sockets.listen(tmp_path / "control.sock", mode):
        assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == mode
