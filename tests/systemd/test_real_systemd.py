"""relctld as it is installed, under a real systemd, with real nodes: what systemd does to it never reaches them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.installed import CONFIG, Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

RELEASES = """
[release.rapp]
root = "/opt/rapp"
user = "nobody"
env = { DEMO_TICK_MS = "20" }
[release.mapp]
root = "/opt/mapp"
"""


@pytest.fixture(scope="module")
def host(installed: Path) -> Iterator[Host]:
    """relctl installed and started, both nodes running."""
    host = Host(installed, RELEASES)
    with host.bed:
        host.until_running()
        yield host


def test_systemd_is_told_what_runs(host: Host) -> None:
    assert host.show("relctld", "SubState") == "running"
    wait_until(
        lambda: host.show("relctld", "StatusText") == "2 running", what=lambda: host.show("relctld", "StatusText")
    )


def test_the_first_start_succeeds(host: Host) -> None:
    assert {release["epoch"] for release in host.status().values()} == {1}, host.run("relctl", "events")


def test_the_nodes_are_spoken_to_from_within_the_sandbox(host: Host) -> None:
    """Another user's sockets and arguments are read in /proc, a terminal is made and given away."""
    host.until_running()
    wait_until(lambda: all(r["health"] == "well" and r["beam"] for r in host.status().values()), 30, what="both links")
    assert host.run("relctl", "eval", "rapp", "node().") == "'rapp@127.0.0.1'"
    typed = "sleep 3; printf '6*7.\\n'; sleep 1; printf '\\n~.'"
    shell = f"({typed}) | TERM=xterm script -qec 'relctl remote rapp' /dev/null"
    assert "42" in host.run("sh", "-c", shell, check=False)


@pytest.mark.parametrize("blow", ["restart", "SIGKILL", "SIGABRT"])
def test_no_blow_to_relctld_reaches_a_node(host: Host, blow: str) -> None:
    before, daemon = host.until_running(), host.show("relctld", "MainPID")
    if blow == "restart":
        host.run("systemctl", "restart", "relctld")
    else:
        host.run("systemctl", "kill", "--kill-whom=main", "-s", blow, "relctld")
    wait_until(lambda: host.show("relctld", "MainPID") not in ("0", daemon), 30, what="a new relctld")
    assert host.until_running() == before


def test_a_reexec_is_the_same_service_to_systemd(host: Host) -> None:
    before, daemon = host.until_running(), host.show("relctld", "MainPID")
    told = json.loads(host.run("relctl", "--json", "daemon", "reexec"))
    assert (told["ok"], str(told["pid"])) == (True, daemon)
    wait_until(lambda: host.show("relctld", "SubState") == "running", what=lambda: host.show("relctld", "SubState"))
    wait_until(lambda: host.show("relctld", "StatusText") == "2 running")
    assert host.show("relctld", "MainPID") == daemon
    assert host.show("relctld", "Result") == "success"
    assert host.until_running() == before
    host.run("relctl", "reload")
    assert host.show("relctld", "SubState") == "running"


def test_a_node_that_is_killed_comes_back(host: Host) -> None:
    before = host.until_running()
    host.run("kill", "-9", str(before["rapp"]))
    wait_until(lambda: host.status().get("rapp", {}).get("epoch") == 2, 30, what="the next VM")
    after = host.until_running()
    assert after["mapp"] == before["mapp"]
    assert host.status()["rapp"]["last_exit"]["signal"] == "SIGKILL"


def test_the_logger_is_a_service_of_its_own_and_no_line_is_lost_when_it_is_killed(host: Host) -> None:
    before = host.until_running()
    host.run("systemctl", "kill", "-s", "SIGKILL", "relctl-logger")
    wait_until(lambda: host.show("relctl-logger", "SubState") == "running", 30, what="the logger to be restarted")
    said = host.run("relctl", "logs", "rapp", "-n", "100")
    assert host.until_running() == before
    wait_until(lambda: host.run("relctl", "logs", "rapp", "-n", "100") != said, what="new lines")


def test_reload_is_synchronous_and_a_bad_config_is_refused(host: Host) -> None:
    before = host.until_running()
    host.run("cp", CONFIG, f"{CONFIG}.good")
    try:
        host.run("sh", "-c", f"echo 'rooot = 1' >> {CONFIG}")
        assert "Job for relctld.service failed" in host.run("systemctl", "reload", "relctld", check=False)
    finally:
        host.run("mv", f"{CONFIG}.good", CONFIG)
    host.run("systemctl", "reload", "relctld")
    assert host.until_running() == before


def test_stop_takes_the_nodes_down_and_start_brings_them_back(host: Host) -> None:
    before = host.until_running()
    host.run("systemctl", "stop", "relctld")
    for pid in before.values():
        assert host.run("kill", "-0", str(pid), check=False), f"{pid} still lives"
    assert host.scopes() == []
    host.run("systemctl", "start", "relctld")
    assert set(host.until_running()) == set(before)
