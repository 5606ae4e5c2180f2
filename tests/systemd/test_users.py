"""relctld that is not root, under a real systemd: its nodes are in groups below its unit, and outlive it too."""

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
IMPATIENT = "[Service]\nTimeoutStopSec=8s\n"


def test_relctld_as_a_plain_user(installed: Path, tmp_path: Path) -> None:
    """As `install.sh --user relctl` leaves it. One host for all of it: to install it takes seconds."""
    subprocess.run(["cp", "-a", f"{installed}/.", str(tmp_path)], check=True)
    subprocess.run(
        ["sh", str(TOP / "systemd/install.sh"), "--no-venv", "--user", "relctl"],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "DESTDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    host = Host(tmp_path, RELEASES, {"/opt/sleeper/run": SLEEPER, DROP_IN: IMPATIENT}, enabled=False)
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
