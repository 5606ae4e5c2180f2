"""epmd belongs to the host: relctld sees to it that one answers before a node starts, and never ends it."""

import re
import subprocess
from pathlib import Path

import psutil
import pytest

from tests import epmds
from tests.beam.supervised import Host
from tests.waiting import wait_until

pytestmark = pytest.mark.beam


def epmd_of(root: Path) -> Path:
    """The release's own."""
    return next(root.glob("erts-*/bin/epmd"))


def registered(root: Path, port: int) -> set[str]:
    """The names that the epmd on this port knows."""
    argv = [str(epmd_of(root)), "-port", str(port), "-names"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return set(re.findall(r"^name (\S+) at port", done.stdout, re.MULTILINE))


def cgroup(pid: int) -> str:
    """Where a process lives."""
    return Path(f"/proc/{pid}/cgroup").read_text()


def test_two_nodes_share_an_epmd_that_outlives_them_and_relctld(rapp_root: Path, mapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(mapp_root), api=host.release(rapp_root))
    vms = [daemon.wait_for(name, state="running")["pid"] for name in ("web", "api")]
    (epmd,) = epmds.started_for(host.epmd_port)
    wait_until(lambda: registered(rapp_root, host.epmd_port) == {"mapp", "rapp"}, what="both names in epmd")

    assert all(epmd.create_time() <= psutil.Process(vm).create_time() for vm in vms)
    sockets = [c for c in psutil.net_connections("tcp") if (c.pid, c.status) == (epmd.pid, "LISTEN")]
    assert {c.laddr.ip for c in sockets if c.laddr} <= {"127.0.0.1", "::1"}
    assert not {"RELCTL_INSTANCE", "TRACE", "RELCTL_RELEASE"} & set(epmd.environ())
    if '"cgroup"' in daemon.relctl("--json", "daemon", "status").stdout:
        assert cgroup(epmd.pid) not in {cgroup(vm) for vm in vms}

    daemon.relctl("restart", "web")
    assert daemon.status("api")["pid"] == vms[1]
    wait_until(lambda: registered(rapp_root, host.epmd_port) == {"mapp", "rapp"}, what="both names again")
    daemon.relctl("stop", "--all")
    assert host.names() == []
    assert registered(rapp_root, host.epmd_port) == set()
    daemon.relctl("daemon", "stop")
    assert epmds.started_for(host.epmd_port) == [epmd]


def test_an_epmd_that_is_there_is_used(papp_root: Path, host: Host) -> None:
    argv = [str(epmd_of(papp_root)), "-daemon"]
    env = {"ERL_EPMD_PORT": str(host.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    subprocess.run(argv, env=env, timeout=10, check=True)
    wait_until(lambda: epmds.started_for(host.epmd_port), what="epmd")
    before = epmds.started_for(host.epmd_port)
    daemon = host.run(web=host.release(papp_root))
    daemon.wait_for("web", state="running")
    wait_until(lambda: registered(papp_root, host.epmd_port) == {"papp"}, what="papp in epmd")
    daemon.relctl("stop", "web")
    assert epmds.started_for(host.epmd_port) == before


def test_an_epmd_that_a_node_started_is_spared(papp_root: Path, host: Host) -> None:
    with epmds.private_port() as port:
        start = f"env ERL_EPMD_PORT={port} ERL_EPMD_ADDRESS=127.0.0.1 {epmd_of(papp_root)} -daemon"
        daemon = host.run(web=host.release(papp_root, {"DEMO_PORT_PROGRAM": start}))
        daemon.wait_for("web", state="running")
        (epmd,) = wait_until(lambda: epmds.started_for(port), what="the node's own epmd")
        assert "RELCTL_INSTANCE" in epmd.environ()
        daemon.relctl("stop", "web")
        assert host.names() == []
        assert epmds.started_for(port) == [epmd]


def test_a_release_without_an_epmd_gets_that_of_another(papp_root: Path, rapp_root: Path, host: Host) -> None:
    epmd_of(papp_root).unlink()
    releases = {"web": host.release(papp_root), "api": host.release(rapp_root, enabled=False)}
    host.run(**releases).wait_for("web", state="running")
    (epmd,) = epmds.started_for(host.epmd_port)
    assert Path(epmd.exe()) == epmd_of(rapp_root)
