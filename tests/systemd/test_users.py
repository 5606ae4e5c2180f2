"""relctld that is not root, under a real systemd: its nodes are in groups below its unit, and outlive it too.

As a user whom an administrator made for it, and in a user's own systemd.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.systemd.installed import CONFIG, TOP, Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow, pytest.mark.timeout(600)]

DROP_IN = "/etc/systemd/system/relctld.service.d/impatient.conf"
RELEASES = """
[release.rapp]
root = "/opt/rapp"
limits = { tasks_max = 300 }
[release.sleeper]
root = "/opt/sleeper"
command = ["run"]
stop_timeout = "12s"
ready = "process"
health = { probe = "process" }
"""
SLEEPER = """#!/bin/sh
trap "" TERM
while :; do sleep 1; done
"""
OWN = """
[release.rapp]
root = "/home/alice/rapp"
[release.stray]
root = "/home/alice/stray"
command = ["run"]
ready = "process"
health = { probe = "process" }
""".replace("\n", "\\n")
STRAY = """#!/bin/sh
setsid sh -c 'trap "" TERM; echo $$ >/home/alice/stray.pid; while :; do sleep 1; done' &
exec sleep 1000
"""
IMPATIENT = "[Service]\nTimeoutStopSec=8s\n"


def test_relctld_as_a_plain_user(installed: Path, tmp_path: Path) -> None:
    """As `install.sh --user relctl` leaves it. One host for all of it: to install it takes seconds."""
    subprocess.run(["cp", "-a", f"{installed}/.", str(tmp_path)], check=True)
    subprocess.run(
        ["sh", str(TOP / "systemd/install.sh"), "--no-venv", "--user", "relctl"],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "DESTDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    files = {"/opt/sleeper/run": SLEEPER, "/opt/stray/run": STRAY, DROP_IN: IMPATIENT}
    host = Host(tmp_path, RELEASES, files, enabled=False)
    with host.bed:
        host.run("systemd-sysusers")
        host.run("chown", "-R", "relctl", "/opt/rapp", "/opt/sleeper")
        host.run("chgrp", "-R", "relctl", "/etc/relctl")
        host.run("systemctl", "start", "relctld")
        nothing_of_it_is_root_and_each_vm_is_in_a_group_of_its_own(host)
        for blow in (restart, kill, reexec):
            no_blow_to_relctld_reaches_a_node(host, blow)
        a_typo_in_the_config_leaves_no_node_unsupervised(host)
        a_stop_that_takes_longer_than_systemd_would_wait_leaves_nothing(host)
        host.run("systemctl", "stop", "relctld")
        alice = User(host, "alice")
        a_user_without_an_administrator_has_the_same(host, alice)
        all_of_a_users_own_ends_with_a_stop(host, alice)


class User:
    """Somebody with a systemd of their own, which lives without a login."""

    def __init__(self, host: Host, name: str) -> None:
        self._run, self._name = host.run, name
        host.run("useradd", "-m", "-s", "/bin/sh", name)
        host.run("loginctl", "enable-linger", name)
        self.home, self._runtime = f"/home/{name}", f"/run/user/{host.run('id', '-u', name)}"
        host.control = f"{self._runtime}/relctl/control.sock"
        wait_until(lambda: self.run("systemctl", "--user", "is-system-running", check=False) == "running", 60, 0.1)

    def run(self, *argv: str, check: bool = True) -> str:
        """As they would type it."""
        env = (f"XDG_RUNTIME_DIR={self._runtime}", f"HOME={self.home}", f"PATH={self.home}/.local/bin:/usr/bin:/bin")
        return self._run("runuser", "-u", self._name, "--", "env", *env, *argv, check=check)

    def main_pid(self) -> str:
        return self.run("systemctl", "--user", "show", "-P", "MainPID", "relctld")


def restart(host: Host) -> None:
    host.run("systemctl", "restart", "relctld")


def kill(host: Host) -> None:
    host.blow("SIGKILL")


def reexec(host: Host) -> None:
    host.run("relctl", "daemon", "reexec")


def owner(host: Host, pid: int) -> str:
    return host.run("stat", "-c", "%U", f"/proc/{pid}")


def group(host: Host, pid: int) -> str:
    return host.run("cat", f"/proc/{pid}/cgroup").splitlines()[-1].partition("::")[2]


def nothing_of_it_is_root_and_each_vm_is_in_a_group_of_its_own(host: Host) -> None:
    pids = host.until_running()
    everything = {*pids.values(), int(host.show("relctld", "MainPID")), int(host.show("relctl-logger", "MainPID"))}
    assert {owner(host, pid) for pid in everything} == {"relctl"}
    assert host.daemon()["containment"] == "cgroup"
    assert len({group(host, pid) for pid in pids.values()}) == len(pids)
    assert all("/relctld.service/" in group(host, pid) for pid in pids.values())
    [warning] = host.daemon()["config"]["warnings"]
    assert warning.startswith("[release.rapp.limits] tasks_max")


def no_blow_to_relctld_reaches_a_node(host: Host, blow: Callable[[Host], None]) -> None:
    before = host.until_running()
    blow(host)
    assert host.until_running() == before
    host.until_shown("relctld", "NFileDescriptorStore", "2")
    host.run("relctl", "restart", "rapp")
    after = host.until_running()
    assert after["sleeper"] == before["sleeper"]
    assert not host.lives(before["rapp"])


def a_typo_in_the_config_leaves_no_node_unsupervised(host: Host) -> None:
    before = host.until_running()
    host.run("cp", "-p", CONFIG, f"{CONFIG}.good")
    host.run("sed", "-i", "s/^root =/rooot =/", CONFIG)
    try:
        host.run("systemctl", "restart", "relctld")
        assert host.until_running() == before
        assert "rooot" in host.daemon()["config"]["error"]
        host.run("kill", "-9", str(before["sleeper"]))
        wait_until(lambda: host.status()["sleeper"]["epoch"] == 2, 30, what="the next one")
    finally:
        host.run("mv", f"{CONFIG}.good", CONFIG)
    host.run("systemctl", "reload", "relctld")
    assert host.daemon()["config"]["error"] is None


def a_stop_that_takes_longer_than_systemd_would_wait_leaves_nothing(host: Host) -> None:
    """relctld asks for more time as long as a node needs it."""
    before = host.until_running()
    groups = [group(host, pid) for pid in before.values()]
    host.run("systemctl", "stop", "relctld")
    assert host.show("relctld", "Result") == "success"
    assert not any(host.lives(pid) for pid in before.values())
    assert all("No such file" in host.run("ls", f"/sys/fs/cgroup{path}", check=False) for path in groups)
    host.run("systemctl", "start", "relctld")
    assert host.until_running().keys() == before.keys()


def a_user_without_an_administrator_has_the_same(host: Host, alice: User) -> None:
    """docs/install.md, *Per user*; the environment is the one that is there."""
    for name in ("rapp", "stray"):
        host.run("cp", "-a", f"/opt/{name}", f"{alice.home}/{name}")
    host.run("chown", "-R", "alice", alice.home)
    said = alice.run("sh", "/opt/relctl/share/relctl/systemd/install.sh", "--prefix", "/opt/relctl")
    assert "next: loginctl enable-linger && systemctl --user enable --now relctld" in said
    alice.run("sh", "-c", f"printf '{OWN}' > ~/.config/relctl/relctld.toml")
    alice.run("systemctl", "--user", "enable", "--now", "relctld")
    before = host.until_running()
    assert alice.run("relctl", "status").count("running") == len(before)
    assert json.loads(alice.run("relctl", "--json", "daemon", "status"))["containment"] == "cgroup"
    pids = {*before.values(), int(alice.main_pid()), int(host.run("cat", f"{alice.home}/stray.pid"))}
    assert {owner(host, pid) for pid in pids} == {"alice"}
    assert len({group(host, pid) for pid in before.values()}) == len(before)
    assert all("/app.slice/relctld.service/relctl-" in group(host, pid) for pid in before.values())
    for blow in (("restart",), ("kill", "--kill-whom=main", "-s", "SIGKILL")):
        daemon = alice.main_pid()
        alice.run("systemctl", "--user", *blow, "relctld")
        wait_until(lambda daemon=daemon: alice.main_pid() not in ("0", daemon), 30, 0.1)  # type: ignore[misc]
        assert host.until_running() == before
    host.run("kill", "-9", str(before["rapp"]))
    wait_until(lambda: host.status().get("rapp", {}).get("epoch") == 2, 30, 0.1, "the next VM")
    assert host.until_running()["stray"] == before["stray"]


def all_of_a_users_own_ends_with_a_stop(host: Host, alice: User) -> None:
    pids = [*host.until_running().values(), int(host.run("cat", f"{alice.home}/stray.pid"))]
    groups = [group(host, pid) for pid in pids]
    alice.run("systemctl", "--user", "stop", "relctld")
    assert not any(host.lives(pid) for pid in pids)
    assert all("No such file" in host.run("ls", f"/sys/fs/cgroup{path}", check=False) for path in groups)
