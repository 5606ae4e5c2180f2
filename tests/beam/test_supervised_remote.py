"""`relctl remote` into real nodes: the release's own shell, as relctld's user and as another one."""

import os
from pathlib import Path

import psutil
import pytest

from tests.attached import Attached
from tests.beam.supervised import OTHER_USER, Host
from tests.running import Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a release as another user")
USERS = ["", pytest.param(OTHER_USER, marks=as_root)]
ERLANG, ELIXIR = "{node(), 6*7, nodes(hidden) =/= []}.\r", "{node(), 6*7, Node.list(:hidden) != []}\r"


def evaluate(shell: Attached, name: str) -> None:
    """Ask the node who it is."""
    shell.shows(rf"\({name}@127.0.0.1\)1> ", 60)
    shell.type(ELIXIR if name == "mapp" else ERLANG)
    shell.shows(rf"\{{:?'?{name}@127.0.0.1'?, ?42, ?true\}}" if name != "mapp" else r'\{:"mapp@127.0.0.1", 42, true\}')
    shell.shows(rf"\({name}@127.0.0.1\)2> ")


def quit(shell: Attached, name: str) -> int:
    """Leave as one does, the node running."""
    if name == "mapp":
        shell.type("\x03")
        shell.shows("BREAK")
        shell.type("a\r")
    else:
        shell.type("\x07")
        shell.shows("--> ")
        shell.type("q\r")
    return shell.ends()


def written(daemon: Relctld) -> dict[Path, tuple[int, int]]:
    """What the VM's own files are: identity and time of the last change."""
    scratch = daemon.run_dir / "releases" / "web" / "scratch"
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in scratch.rglob("*")}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", ["rapp", "mapp", "papp"])
def test_the_life_of_a_shell(name: str, user: str, request: pytest.FixtureRequest, host: Host) -> None:
    root: Path = request.getfixturevalue(f"{name}_root")
    tree = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    daemon = host.run(web=host.release(root, **({"user": user} if user else {})))
    vm = daemon.wait_for("web", state="running", version="1.0.0")["pid"]
    wait_until(lambda: os.readlink(f"/proc/{vm}/exe").endswith("beam.smp"), what="the VM")
    before, files = {process.pid for process in host.processes()}, written(daemon)
    with Attached(daemon, "web") as shell:
        evaluate(shell, name)
        pid = daemon.noted("web", "remote-attached")[0]["pid"]
        process = psutil.Process(pid)
        assert process.username() == (user or psutil.Process().username())
        if name == "papp":
            assert not [word for word in process.cmdline() if "relctl-demo" in word]
            cookie = next((daemon.run_dir / "releases" / "web").glob("remote-*/scratch/.erlang.cookie"))
            assert (cookie.stat().st_mode & 0o777, cookie.owner()) == (0o400, process.username())
        assert quit(shell, name) == 0
    now = daemon.status("web")
    assert (now["state"], now["pid"], now["restarts_total"]) == ("running", vm, 0)
    assert written(daemon) == files
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == tree
    assert not list((daemon.run_dir / "releases" / "web").glob("remote-*"))
    wait_until(lambda: {process.pid for process in host.processes()} <= before, what="the end of the shell")
    assert daemon.noted("web", "remote-detached")[0]["why"] == "ended"


def test_a_shell_that_is_left_leaves_nothing(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root))
    vm = daemon.wait_for("web", state="running", version="1.0.0")["pid"]
    before = {process.pid for process in host.processes()}
    with Attached(daemon, "web") as shell:
        evaluate(shell, "rapp")
        shell.type("timer:sleep(infinity).\r~.")
        assert shell.ends() == 1
    wait_until(lambda: {process.pid for process in host.processes()} <= before, what="the end of the shell")
    assert daemon.status("web")["pid"] == vm


def test_a_node_without_a_name_has_no_shell(mapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(mapp_root, {"RELEASE_DISTRIBUTION": "none"}, ready="process"))
    vm = daemon.wait_for("web", state="running")["pid"]
    wait_until(lambda: os.readlink(f"/proc/{vm}/exe").endswith("beam.smp"), what="the VM")
    with Attached(daemon, "web") as shell:
        assert shell.ends() == 5
    assert "its node has no name, so no shell can connect to it" in shell.errors
    assert "hint: give it one by -name or -sname in vm.args" in shell.errors
