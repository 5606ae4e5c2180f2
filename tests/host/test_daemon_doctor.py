"""What `doctor` finds beside the trees: made on purpose, found, mended, and not found again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake
from tests.faults.blocked import run
from tests.faults.test_store import fill
from tests.host.seam import NOBODY, as_nobody, need_root, public_folder
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB for logs, unmounted after the daemons' end."""
    need_root("mount")
    with ExitStack() as ends:
        at = tmp_path / "logs"
        at.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0751", "none", at)
        ends.callback(run, "umount", at)
        yield at


@pytest.fixture
def relctld(logs: Path, tmp_path: Path) -> Iterator[Fleet]:
    assert logs.is_mount()
    with Fleet(tmp_path) as fleet:
        yield fleet


def found(daemon: Relctld) -> set[tuple[str, str | None, str]]:
    """Finding, release, severity."""
    told = daemon.ask("doctor", {"names": []})["findings"]
    return {(each["finding"], each["release"], each["severity"]) for each in told}


def becomes(daemon: Relctld, there: set[tuple[str, str | None, str]], *gone: str) -> None:
    """Wait until these are found, and none of those kinds."""
    seen: list[Any] = []

    def so() -> bool:
        seen[:] = found(daemon)
        return there <= set(seen) and not {each[0] for each in seen} & set(gone)

    wait_until(so, 30, 0.1, what=lambda: f"{there}, without {gone}; it is {seen}")


def test_what_is_found_beside_the_trees_is_gone_when_it_is_mended(relctld: Fleet, logs: Path, tmp_path: Path) -> None:
    flag, said, env_file, filler = tmp_path / "well", tmp_path / "said", tmp_path / "env", logs / "filler"
    flag.touch()
    newer = tmp_path / "newer" / "relctl-9.9.9.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: relctl\nVersion: 9.9.9\n")
    health = {"probe": f"exec:test -e {flag}", "interval": "200ms", "timeout": "5s", "failures": 1, "action": "report"}
    table = {
        "probed": fake(tmp_path / "a", health=health),
        "failed": fake(tmp_path / "b", "exit", 3, intensity=1, backoff={"base": "10ms", "max": "10ms"}),
        "waiting": fake(tmp_path / "c", "exit", 3, backoff={"first": "1h", "max": "1h"}),
        "loud": fake(tmp_path / "d", "wait", said, "flood", 200),
        "odd": fake(tmp_path / "e", enabled=False, env_file=str(env_file), log={"max_total": "1MB"}),
    }
    daemon = relctld(table, {"log_dir": logs}, start=False)
    daemon.environ["PYTHONPATH"] = str(newer.parent)
    daemon.start()
    daemon.wait_for("probed", state="running", health="well")
    daemon.wait_for("loud", state="running")
    daemon.wait_for("failed", state="failed")
    daemon.wait_for("waiting", state="backoff")
    fill(logs)
    said.touch()
    flag.unlink()
    table["probed"] = {**table["probed"], "umask": "0077"}
    daemon.configure(table, {"log_dir": logs})
    daemon.relctl("reload")
    made = {
        ("not-well", "probed", "warning"),
        ("restart-pending", "probed", "note"),
        ("release-failed", "failed", "error"),
        ("release-failed", "waiting", "warning"),
        ("log-trouble", "loud", "error"),
        ("disk-full", None, "error"),
        ("not-looked-at", "odd", "warning"),
        ("config-doubtful", None, "note"),
        ("daemon-outdated", None, "warning"),
    }
    becomes(daemon, made)
    nearly = {("disk-nearly-full", None, "warning")}
    os.truncate(filler, filler.stat().st_size - 168_000)
    becomes(daemon, nearly, "disk-full", "log-trouble")
    filler.unlink()
    flag.touch()
    env_file.touch()
    (newer / "METADATA").unlink()
    newer.rmdir()
    daemon.relctl("stop", "failed", "waiting")
    daemon.relctl("restart", "probed")
    table["odd"] = {**table["odd"], "log": {}}
    daemon.configure(table, {"log_dir": logs})
    daemon.relctl("reload")
    becomes(daemon, set(), *(finding for finding, _, _ in made | nearly))


def test_what_is_mounted_read_only(relctld: Fleet, logs: Path, tmp_path: Path) -> None:
    """By itself, on a file system that is written to elsewhere; the releases run on."""
    root = tmp_path / "a"
    daemon = relctld({"web": fake(root)}, {"log_dir": logs})
    daemon.wait_for("web", state="running")
    for path, severity in ((root, "warning"), (logs, "error")):
        with ExitStack() as ends:
            run("mount", "--bind", path, path)
            ends.callback(run, "umount", "--lazy", path)
            run("mount", "-o", "remount,bind,ro", path)
            becomes(daemon, {("disk-read-only", None, severity)})
            run("mount", "-o", "remount,bind,rw", path)
            becomes(daemon, set(), "disk-read-only")
    assert daemon.status("web")["epoch"] == 1


def test_limits_that_this_host_cannot_enforce() -> None:
    """A relctld of an ordinary user: it has no controllers for its nodes, and no more files to give than it has."""
    need_root("setpriv")
    us = ("prlimit", "--nofile=2048:2048", *as_nobody())
    with public_folder() as folder, Fleet(folder) as relctld:
        wanted = {"memory_max": "1GiB", "nofile": 5000}
        daemon = relctld({"web": fake(folder / "a", limits=wanted)}, wrap=us, start=False)
        for path in (daemon.run_dir, daemon.folder):
            os.chown(path, NOBODY.uid, NOBODY.gid)
        daemon.start()
        daemon.wait_for("web", state="running")
        told = daemon.ask("doctor-fix", {"names": ["web"]})["findings"]
        unenforced = [each for each in told if each["finding"] == "limit-unenforced"]
        assert [each["detail"].split()[0] for each in unenforced] == ["memory_max", "nofile"]
        assert not any(each["fixable"] for each in unenforced)
        daemon.configure({"web": fake(folder / "a", limits={"nofile": 2048})})
        daemon.relctl("reload")
        becomes(daemon, set(), "limit-unenforced")
