"""relctld as it is installed, under a real systemd, with real nodes: what systemd does to it never reaches them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.releases import build
from tests.systemd.bed import Bed, why_not
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

TOP = Path(__file__).resolve().parents[2]
CONFIG = """
[release.rapp]
root = "/opt/rapp"
user = "nobody"
env = { DEMO_TICK_MS = "20" }
[release.mapp]
root = "/opt/mapp"
"""


def _seed(folder: Path) -> None:
    """The installed program, two releases, a config."""
    subprocess.run(
        ["sh", str(TOP / "systemd/install.sh"), "--python", "/usr/bin/python3"],
        env=os.environ | {"DESTDIR": str(folder)}, stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    for name in ("rapp", "mapp"):
        build.place(build.build(name), folder / "opt" / name)
    (folder / "etc/relctl/relctld.toml").write_text(CONFIG)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """A bed with relctl installed and started, both nodes running."""
    missing = why_not()
    if missing and (os.environ.get("CI") == "true" or os.environ.get("RELCTL_TEST_FULL") == "1"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with Bed(_seed) as bed:
        bed.run("systemd-sysusers")
        bed.run("systemctl", "daemon-reload")
        said = bed.run("systemctl", "start", "relctld", check=False)
        assert not said, f"{said}\n{bed.run('journalctl', '--no-pager', '-n', '50')}"
        _until_running(bed)
        yield bed


def _status(bed: Bed) -> dict[str, dict[str, Any]]:
    said = bed.run("relctl", "--json", "status", check=False)
    try:
        return {release["name"]: release for release in json.loads(said)["releases"]}
    except (ValueError, KeyError):
        return {}


def _until_running(bed: Bed) -> dict[str, int]:
    """The pids of both nodes, once they run."""
    wait_until(
        lambda: [r["state"] for r in _status(bed).values()] == ["running"] * 2, 60, 0.1, lambda: str(_status(bed))
    )
    return {name: release["pid"] for name, release in _status(bed).items()}


def _show(bed: Bed, unit: str, name: str) -> str:
    return bed.run("systemctl", "show", "-P", name, unit)


def test_systemd_is_told_what_runs(bed: Bed) -> None:
    assert _show(bed, "relctld", "SubState") == "running"
    wait_until(
        lambda: _show(bed, "relctld", "StatusText") == "2 running", what=lambda: _show(bed, "relctld", "StatusText")
    )


def test_the_first_start_succeeds(bed: Bed) -> None:
    assert {release["epoch"] for release in _status(bed).values()} == {1}, bed.run("relctl", "events")


def test_each_node_has_a_cgroup_of_its_own_and_epmd_is_in_none(bed: Bed) -> None:
    tree = bed.run("systemd-cgls", "--no-pager", "/system.slice/relctld.service")
    above, _, nodes = tree.partition("relctl-")
    assert "epmd" in above, tree
    assert "epmd" not in nodes, tree
    assert {"rapp", "mapp"} <= set(re.findall(r"(\w+)\.e\d", nodes)), tree


def test_the_nodes_are_spoken_to_from_within_the_sandbox(bed: Bed) -> None:
    """Another user's sockets and arguments are read in /proc, a terminal is made and given away."""
    _until_running(bed)
    wait_until(lambda: all(r["health"] == "well" and r["beam"] for r in _status(bed).values()), 30, what="both links")
    assert bed.run("relctl", "eval", "rapp", "node().") == "'rapp@127.0.0.1'"
    typed = "sleep 3; printf '6*7.\\n'; sleep 1; printf '\\n~.'"
    shell = f"({typed}) | TERM=xterm script -qec 'relctl remote rapp' /dev/null"
    assert "42" in bed.run("sh", "-c", shell, check=False)


@pytest.mark.parametrize("blow", ["restart", "SIGKILL", "SIGABRT"])
def test_no_blow_to_relctld_reaches_a_node(bed: Bed, blow: str) -> None:
    before, daemon = _until_running(bed), _show(bed, "relctld", "MainPID")
    if blow == "restart":
        bed.run("systemctl", "restart", "relctld")
    else:
        bed.run("systemctl", "kill", "--kill-whom=main", "-s", blow, "relctld")
    wait_until(lambda: _show(bed, "relctld", "MainPID") not in ("0", daemon), 30, what="a new relctld")
    assert _until_running(bed) == before


def test_a_reexec_is_the_same_service_to_systemd(bed: Bed) -> None:
    before, daemon = _until_running(bed), _show(bed, "relctld", "MainPID")
    told = json.loads(bed.run("relctl", "--json", "daemon", "reexec"))
    assert (told["ok"], str(told["pid"])) == (True, daemon)
    wait_until(lambda: _show(bed, "relctld", "SubState") == "running", what=lambda: _show(bed, "relctld", "SubState"))
    wait_until(lambda: _show(bed, "relctld", "StatusText") == "2 running")
    assert _show(bed, "relctld", "MainPID") == daemon
    assert _show(bed, "relctld", "Result") == "success"
    assert _until_running(bed) == before
    bed.run("relctl", "reload")
    assert _show(bed, "relctld", "SubState") == "running"


def test_a_node_that_is_killed_comes_back(bed: Bed) -> None:
    before = _until_running(bed)
    bed.run("kill", "-9", str(before["rapp"]))
    wait_until(lambda: _status(bed).get("rapp", {}).get("epoch") == 2, 30, what="the next VM")
    after = _until_running(bed)
    assert after["mapp"] == before["mapp"]
    assert _status(bed)["rapp"]["last_exit"]["signal"] == "SIGKILL"


def test_the_logger_is_a_service_of_its_own_and_no_line_is_lost_when_it_is_killed(bed: Bed) -> None:
    before = _until_running(bed)
    bed.run("systemctl", "kill", "-s", "SIGKILL", "relctl-logger")
    wait_until(lambda: _show(bed, "relctl-logger", "SubState") == "running", 30, what="the logger to be restarted")
    said = bed.run("relctl", "logs", "rapp", "-n", "100")
    assert _until_running(bed) == before
    wait_until(lambda: bed.run("relctl", "logs", "rapp", "-n", "100") != said, what="new lines")


def test_reload_is_synchronous_and_a_bad_config_is_refused(bed: Bed) -> None:
    config = "/etc/relctl/relctld.toml"
    before = _until_running(bed)
    bed.run("cp", config, f"{config}.good")
    try:
        bed.run("sh", "-c", f"echo 'rooot = 1' >> {config}")
        assert "Job for relctld.service failed" in bed.run("systemctl", "reload", "relctld", check=False)
    finally:
        bed.run("mv", f"{config}.good", config)
    bed.run("systemctl", "reload", "relctld")
    assert _until_running(bed) == before


def test_stop_takes_the_nodes_down_and_start_brings_them_back(bed: Bed) -> None:
    before = _until_running(bed)
    bed.run("systemctl", "stop", "relctld")
    for pid in before.values():
        assert bed.run("kill", "-0", str(pid), check=False), f"{pid} still lives"
    assert "beam.smp" not in bed.run("systemd-cgls", "--no-pager", "/system.slice/relctld.service", check=False)
    bed.run("systemctl", "start", "relctld")
    assert set(_until_running(bed)) == set(before)
