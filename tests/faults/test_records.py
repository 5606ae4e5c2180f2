"""Records in the run directory that are garbage: the daemon comes up, and no second copy does."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import fake
from tests.running import Fleet, alive
from tests.waiting import wait_until

pytestmark = pytest.mark.host

Garble = Callable[[bytes], bytes]

GARBAGE: dict[str, Garble] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "no JSON": lambda data: b"\xff\x00 garbage",
    "a list": lambda data: b"[]",
    "other types": lambda data: json.dumps(
        {k: v if k in ("v", "boot") else [v] for k, v in json.loads(data).items()}
    ).encode(),
    "nested deeply": lambda data: b"[" * 100_000,
    "an older shape": lambda data: json.dumps({**json.loads(data), "v": 0}).encode(),
}


BOTH = ("state.json", "vm.json")


@pytest.mark.parametrize(
    ("files", "kind"),
    [*((BOTH, kind) for kind in GARBAGE), *(((name,), kind) for name in BOTH for kind in ("half", "other types"))],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_garbage_starts_no_second_copy(relctld: Fleet, tmp_path: Path, files: tuple[str, ...], kind: str) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "child", "setsid", "alone", tmp_path / "lock")})
    before = daemon.wait_for("web", state="running")
    wait_until((tmp_path / "lock").exists)
    daemon.kill()
    for name in files:
        path = daemon.run_dir / "releases" / "web" / name
        path.write_bytes(GARBAGE[kind](path.read_bytes()))
    daemon.start()
    now = daemon.wait_for("web", state="running")
    assert now == now | {"pid": before["pid"], "epoch": 1}
    assert now["uptime_s"] >= before["uptime_s"]
    assert daemon.relctl("stop", "web").returncode == 0
    assert not alive(before["pid"])
    assert not (tmp_path / "lock.twice").exists()


def test_records_that_are_no_files(relctld: Fleet, tmp_path: Path) -> None:
    """Directories, FIFOs and links in their places: nothing is waited for or followed."""
    daemon = relctld({name: fake(tmp_path / name) for name in ("web", "api")}, start=False)
    stranger = tmp_path / "stranger"
    stranger.write_text("untouched")
    for name in ("web", "api"):
        folder = daemon.run_dir / "releases" / name
        folder.mkdir(parents=True)
        os.mkfifo(folder / "state.json")
        os.symlink(stranger, folder / "vm.json")
        (folder / "out").mkdir() if name == "api" else (folder / "out").write_text("a file")
        os.symlink(stranger, folder / "log.json")
    (daemon.run_dir / "logger.json").write_text("garbage")
    daemon.start()
    daemon.wait_for("web", state="running")
    assert stranger.read_text() == "untouched"
