"""Every flavour lives under relctld as an operator expects: as relctld's user, and as another one."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.asked import LONG
from tests.beam.supervised import OTHER_USER, Host, crashed, get, http_ready, is_vm, notes
from tests.epmds import free_port
from tests.releases.package import package
from tests.running import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

as_root = pytest.mark.skipif(not ROOT, reason="only root can start a release as another user")
FLAVOURS = {"rapp": "relx", "mapp": "mix", "papp": "plain", "dapp": "distillery"}
LIVES = [
    *(pytest.param(name, OTHER_USER, marks=as_root) for name in FLAVOURS),
    *((name, "") for name in FLAVOURS if LONG or name == "rapp" or not ROOT),
]
RESOLVE = """-eval 'inet_gethost_native:gethostbyname("localhost")'"""
LEFT_BEHIND = ["beam.smp", "erl_child_setup", "inet_gethost", "inet_gethost", *["sleep"] * 4]


def files(root: Path) -> dict[Path, int]:
    """Every path below a root, with the time of its last change."""
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize(("name", "user"), LIVES)
def test_the_life_of_a_release(name: str, user: str, request: pytest.FixtureRequest, host: Host) -> None:
    root: Path = request.getfixturevalue(f"{name}_root")
    keys: dict[str, Any] = {"user": user} if user else {}
    port = free_port()
    env = {"DEMO_PORT_PROGRAM": host.helpers(), "ERL_ZFLAGS": RESOLVE, "DEMO_HTTP_PORT": str(port)}
    if name == "dapp":  # its script writes into var, which must not be in a tree that belongs to root
        keys["directories"] = [host.folder / "var"]
        env["RELEASE_MUTABLE_DIR"] = str(host.folder / "var")
    tree = files(root)
    daemon = host.run(web=host.release(root, env, **http_ready(port), **keys))
    daemon.relctl("start", "web")

    first = daemon.status("web")
    assert first["epoch"] == 1, daemon.relctl("logs", "web").stdout + daemon.said()
    assert (first["state"], first["flavour"], first["version"]) == ("running", FLAVOURS[name], "1.0.0")
    assert first["node"] == f"{'papp' if name == 'dapp' else name}@127.0.0.1"
    assert is_vm(first["pid"])
    wait_until(lambda: host.names() == LEFT_BEHIND, what=lambda: f"{LEFT_BEHIND}, there are {host.names()}")
    before = host.processes()
    assert {process.username() for process in before} == {user or before[0].username()}

    os.kill(first["pid"], signal.SIGKILL)
    second = daemon.wait_for("web", state="running", epoch=2)
    assert (second["restarts"], second["last_exit"]["signal"], second["last_exit"]["cause"]) == (1, "SIGKILL", "killed")
    assert second["last_exit"]["pid"] == first["pid"] != second["pid"]
    assert not [process for process in before if process.is_running() and process.status() != "zombie"]
    assert get(port, "/version") == (200, "1.0.0\n")

    daemon.relctl("restart", "web")
    third = daemon.status("web")
    assert (third["restarts"], third["last_exit"]["cause"], third["last_exit"]["code"]) == (0, "stopped", 0)

    wait_until(lambda: host.names() == LEFT_BEHIND, what=lambda: f"{LEFT_BEHIND}, there are {host.names()}")
    daemon.relctl("stop", "web")
    assert host.names() == []
    now = daemon.status("web")
    assert (now["state"], now["pid"], now["version"], now["boot_version"]) == ("stopped", None, None, "1.0.0")
    assert files(root) == tree, "a start wrote into the release"
    spawned = [event["pid"] for event in daemon.events("web") if event["event"] == "spawned"]
    assert spawned == [first["pid"], second["pid"], third["pid"]], "what was launched did not become the VM"


@as_root
def test_what_relx_renders_is_private_to_the_releases_user(rapp_root: Path, host: Host) -> None:
    env = {"DEMO_GREETING": "salut"}
    daemon = host.run(web=host.release(rapp_root, env, user=OTHER_USER))
    daemon.wait_for("web", state="running")
    scratch = daemon.run_dir / "releases" / "web" / "scratch"
    assert {"sys.config", "vm.args"} <= {path.name for path in scratch.iterdir()}
    assert (scratch.stat().st_mode & 0o777, scratch.owner()) == (0o700, OTHER_USER)
    wait_until(lambda: "started greeting=salut" in daemon.relctl("logs", "web").stdout, what="the greeting")


@as_root
def test_mix_with_a_runtime_config_file_boots_twice_in_one_process(mapp_root: Path, host: Host) -> None:
    """What `reboot_system_after_config: true` in mix.exs makes of sys.config."""
    path = mapp_root / "releases" / "1.0.0" / "sys.config"
    text = path.read_text()
    for key in ("RUNTIME_CONFIG=", "reboot_system_after_config => "):
        assert f"{key}false" in text
        text = text.replace(f"{key}false", f"{key}true")
    path.write_text(text)
    env = {"DEMO_GREETING": "salut", "DEMO_HTTP_PORT": str(port := free_port())}
    daemon = host.run(web=host.release(mapp_root, env, user=OTHER_USER, **http_ready(port)))
    now = daemon.wait_for("web", state="running")
    assert (now["epoch"], now["restarts_total"], now["last_exit"]) == (1, 0, None)
    assert is_vm(now["pid"])
    assert "mapp 1.0.0 started greeting=salut" in daemon.relctl("logs", "web").stdout
    assert list((daemon.run_dir / "releases" / "web" / "scratch").glob("mapp-1.0.0-*.runtime.config"))


def test_the_version_that_boots_next_is_shown_beside_the_one_that_runs(mapp_root: Path, host: Host) -> None:
    tarball = package("mapp", "1.1.0")
    subprocess.run(["tar", "-xf", tarball, "-C", mapp_root, "lib", "releases/1.1.0"], check=True, timeout=30)
    daemon = host.run(web=host.release(mapp_root))
    daemon.wait_for("web", state="running", version="1.0.0", boot_version="1.0.0")
    data = mapp_root / "releases" / "start_erl.data"
    data.write_text(data.read_text().replace(" 1.0.0", " 1.1.0"))
    daemon.wait_for("web", state="running", version="1.0.0", boot_version="1.1.0")
    assert "a restart would boot 1.1.0" in daemon.relctl("status").stdout
    daemon.relctl("restart", "web")
    daemon.wait_for("web", state="running", version="1.1.0", boot_version="1.1.0")


def test_a_tree_that_is_none_says_what_was_looked_for(host: Host) -> None:
    (host.folder / "root").mkdir()
    (host.folder / "root" / "README").touch()
    daemon = host.run(web=host.release(host.folder / "root", enabled=False, intensity=0))
    done = daemon.relctl("start", "web", check=False)
    assert done.returncode == 1
    assert "no release that we know: looked for bin/NAME made by relx, mix or Distillery" in done.stderr
    crashed(daemon, "web", "exec-failed")
    wait_until(lambda: notes(daemon, "web")[-1] == "failed", what="its history")
