"""Under a kernel of its own: limits that are enforced, also late, a node that asks for more, a kernel that tells less.

All of it in one machine, for each boot takes its time.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.releases import build
from tests.systemd import machine
from tests.systemd.installed import CONFIG, lay_out

WITHIN = 2400.0
MEMORY = 160 << 20
RELEASE = f"""
[release.papp]
root = "/opt/papp"
start_timeout = "600s"
limits = {{ memory_max = "{MEMORY >> 20}MiB", cpu_weight = 50, tasks_max = 300 }}
"""
DROP_IN = "/etc/systemd/system/relctld.service.d/patient.conf"
PATIENT = "[Service]\nWatchdogSec=0\nTimeoutStartSec=infinity\n"
"""On a host that is busy all of the machine stands still for seconds, and starts take minutes."""

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow, pytest.mark.timeout(WITHIN + 100)]


def test_under_a_kernel_of_its_own() -> None:
    if (missing := machine.why_not()) is not None:
        pytest.fail(missing)
    with tempfile.TemporaryDirectory(prefix="relctl-") as name:  # half a gigabyte, which pytest would keep
        folder = Path(name)

        def seed(tree: Path) -> None:
            shutil.copytree(lay_out(folder / "installed"), tree, symlinks=True, dirs_exist_ok=True)
            build.place(build.build("papp"), tree / "opt/papp")
            for path, text in ((CONFIG, RELEASE), (DROP_IN, PATIENT)):
                file = tree / path.removeprefix("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

        said = machine.tell(folder, seed, Path(__file__).with_name("machine_inside.py"), WITHIN)
    try:
        told = json.loads(said.splitlines()[-1])
    except ValueError:
        pytest.fail(said)
    a_node_that_started_without_its_limits_got_them(told["memory"])
    limits_are_enforced(told["memory"])
    a_port_program_that_asks_for_too_much_memory_ends_alone(told["memory"])
    a_node_that_asks_for_too_much_is_told_as_oom_and_comes_back(told["memory"])
    assert told["linux"].startswith("6.1."), "since 6.15 it is known"
    how_a_vm_ended_that_nobody_watched_is_unknown(told["death unwatched"])


def a_node_that_started_without_its_limits_got_them(seen: dict[str, Any]) -> None:
    unlimited, found, pid = seen["late"]
    assert "it is in no scope and has no limits" in unlimited
    assert [detail.partition(":")[0] for detail in found] == [unlimited.partition(":")[0]]
    assert seen["pids"][0] == pid, "as it is, not by a restart"


def limits_are_enforced(seen: dict[str, Any]) -> None:
    assert seen["limits"] == [str(MEMORY), "50", "300"]
    assert seen["warnings"] == []


def a_port_program_that_asks_for_too_much_memory_ends_alone(seen: dict[str, Any]) -> None:
    assert seen["port program"] == str(128 + 9)
    assert int(seen["killed so far"]) >= 1
    assert seen["node lives"]


def a_node_that_asks_for_too_much_is_told_as_oom_and_comes_back(seen: dict[str, Any]) -> None:
    before, after = seen["pids"]
    assert before != after
    assert seen["restarts"] == 1
    last = seen["last exit"]
    assert (last["cause"], last["signal"], last["code"], last["pid"]) == ("oom", "SIGKILL", None, before)
    assert [(event["cause"], event["pid"]) for event in seen["exited"]] == [("oom", before)]
    assert seen["kernel"], "the kernel names the scope of this VM"
    was, now, restarts, result = seen["relctld"]
    assert (was, restarts, result) == (now, "0", "success")
    assert seen["logger"] == "0"


def how_a_vm_ended_that_nobody_watched_is_unknown(seen: dict[str, Any]) -> None:
    last = seen["last exit"]
    assert (last["cause"], last["signal"], last["code"], last["pid"]) == ("unknown", None, None, seen["pid"])
    assert seen["another relctld"]
