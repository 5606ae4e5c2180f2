"""Who may ask for what (CONTRACT, *Verbs*, *Wire*): real other users against a real daemon of root's."""

import grp
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relctld.control.access import NEEDS, Level
from relctld.wire.messages import OPS
from tests.fakes import fake
from tests.running import Fleet, Relctld, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

NOBODY, OTHER = 65534, 54321  # the second has no entry anywhere, as in a container
GROUP = grp.getgrgid(max(group.gr_gid for group in grp.getgrall() if group.gr_gid < 1000))

VERBS: dict[Level, list[list[str]]] = {
    Level.VIEW: [["status"], ["events"], ["daemon", "status"]],
    Level.OPERATE: [
        ["start", "web"], ["stop", "idle"], ["restart", "web"], ["logs", "web"], ["logs", "web", "--rotate"],
        ["crashes", "web"],
    ],
    Level.ADMIN: [["reload"], ["reload", "--plan"]],
}  # fmt: skip


def acting(uid: int, *words: str | Path, gid: int | None = None, groups: tuple[int, ...] = ()) -> list[str]:
    ids = [str(uid), str(uid if gid is None else gid), ",".join(map(str, groups))]
    return [sys.executable, "-m", "tests.acting", *ids, *map(str, words)]


def ask(
    daemon: Relctld, uid: int, *words: str, gid: int | None = None, groups: tuple[int, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    command = acting(uid, "relctl", "--socket", daemon.socket, *words, gid=gid, groups=groups)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)


def allowed(daemon: Relctld, uid: int, level: Level, **who: Any) -> set[bool]:
    """What the verbs of this level answer: done, or denied; nothing else."""
    found = set()
    for words in VERBS[level]:
        done = ask(daemon, uid, *words, **who)
        assert done.returncode in (0, 3, 5), f"{words}: {done}"
        if done.returncode == 5:
            assert "may not" in done.stderr, f"{words}: {done}"
            assert "hint: see [daemon.access]" in done.stderr
        found.add(done.returncode != 5)
    return found


@pytest.fixture
def releases(tmp_path: Path) -> dict[str, Any]:
    need_root()
    return {"web": fake(tmp_path / "web"), "idle": fake(tmp_path / "idle", enabled=False)}


def test_every_operation_has_its_level() -> None:
    assert set(NEEDS) == set(OPS)


def test_by_default_everybody_may_look_and_no_more(relctld: Fleet, releases: dict[str, Any]) -> None:
    daemon = relctld(releases)
    daemon.wait_for("web", state="running")
    for socket in ("control.sock", "events.sock"):
        assert stat.S_IMODE((daemon.run_dir / socket).stat().st_mode) == 0o666
    assert allowed(daemon, OTHER, Level.VIEW) == {True}
    assert allowed(daemon, OTHER, Level.OPERATE) == {False}
    assert allowed(daemon, NOBODY, Level.ADMIN) == {False}
    assert ask(daemon, NOBODY, "daemon", "stop").returncode == 5
    denied = json.loads(ask(daemon, NOBODY, "--json", "stop", "web").stdout)
    assert denied["error"] == denied["error"] | {"kind": "denied"}
    assert str(NOBODY) in denied["error"]["message"]
    assert daemon.status("web")["state"] == "running"


def test_levels_by_user_by_group_and_by_supplementary_group(relctld: Fleet, releases: dict[str, Any]) -> None:
    access = {"operate": ["nobody"], "admin": [f"@{GROUP.gr_name}"]}
    daemon = relctld(releases, {"access": access})
    daemon.wait_for("web", state="running")
    assert allowed(daemon, NOBODY, Level.OPERATE) == {True}
    assert allowed(daemon, NOBODY, Level.ADMIN) == {False}
    assert allowed(daemon, OTHER, Level.ADMIN, gid=GROUP.gr_gid) == {True}
    assert allowed(daemon, OTHER, Level.OPERATE, groups=(1, GROUP.gr_gid)) == {True}
    assert allowed(daemon, OTHER, Level.OPERATE, groups=(1,)) == {False}
    asked = daemon.noted("web", "requested", at_least=4)
    assert {event["by"] for event in asked} == {"nobody", str(OTHER)}
    assert ask(daemon, OTHER, "daemon", "stop", gid=GROUP.gr_gid).returncode == 0


def test_without_view_for_all_the_door_is_closed_and_a_reload_opens_it(
    relctld: Fleet, releases: dict[str, Any]
) -> None:
    access = {"view": [], "operate": ["nobody"]}
    daemon = relctld(releases, {"access": access})
    control, events = daemon.run_dir / "control.sock", daemon.run_dir / "events.sock"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (control, events)} == {0o660}
    done = ask(daemon, OTHER, "status")
    assert (done.returncode, "no permission to use" in done.stderr) == (4, True)
    os.chmod(control, 0o666)  # who gets in all the same is judged by the table
    done = ask(daemon, OTHER, "status")
    assert (done.returncode, "may not ask for status" in done.stderr) == (5, True)
    assert ask(daemon, NOBODY, "status", "web").returncode == 0
    daemon.configure(releases, {"access": {"view": ["*"], "operate": []}})
    daemon.relctl("reload")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (control, events)} == {0o666}
    assert ask(daemon, OTHER, "status", "web").returncode == 0
    assert ask(daemon, NOBODY, "restart", "web").returncode == 5
    daemon.configure(releases, {"access": access})
    daemon.relctl("reload")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (control, events)} == {0o660}


def test_names_that_do_not_exist_are_a_warning(relctld: Fleet, releases: dict[str, Any]) -> None:
    daemon = relctld(releases, {"access": {"operate": ["@no-such-group", "no-such-user"]}})
    assert "group no-such-group does not exist" in daemon.said()
    warnings = json.loads(daemon.relctl("--json", "reload").stdout.splitlines()[0])["warnings"]
    assert any("user no-such-user does not exist" in warning for warning in warnings)


def test_events_are_told_to_those_who_may_view(relctld: Fleet, releases: dict[str, Any], tmp_path: Path) -> None:
    daemon = relctld(releases, {"access": {"view": ["nobody"], "operate": []}})
    os.chmod(daemon.run_dir / "events.sock", 0o666)
    heard = {uid: tmp_path / f"heard.{uid}" for uid in (OTHER, NOBODY)}
    listeners = []
    for uid, path in heard.items():
        with path.open("wb") as file:
            command = acting(uid, "subscribe", daemon.run_dir / "events.sock")
            listeners.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file))

    def told() -> bool:
        daemon.relctl("restart", "web")
        return b"release/web/" in heard[NOBODY].read_bytes()

    try:
        wait_until(told, 30, what="a notice")
        daemon.relctl("restart", "web")
    finally:
        for listener in listeners:
            listener.communicate(timeout=20)
    assert heard[OTHER].read_bytes() == b""
