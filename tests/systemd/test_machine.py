"""Under a kernel of its own: limits that are enforced, a node that asks for more, and a kernel that tells less.

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

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow, pytest.mark.timeout(WITHIN + 100)]


def test_under_a_kernel_of_its_own() -> None:
    if (missing := machine.why_not()) is not None:
        pytest.fail(missing)
    with tempfile.TemporaryDirectory(prefix="relctl-") as name:  # half a gigabyte, which pytest would keep
        folder = Path(name)

        def seed(tree: Path) -> None:
            shutil.copytree(lay_out(folder / "installed"), tree, symlinks=True, dirs_exist_ok=True)
            build.place(build.build("papp"), tree / "opt/papp")
            config = tree / CONFIG.removeprefix("/")
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(RELEASE)

        said = machine.tell(folder, seed, Path(__file__).with_name("machine_inside.py"), WITHIN)
    try:
        told = json.loads(said.splitlines()[-1])
    except ValueError:
        pytest.fail(said)
    limits_are_enforced(told["memory"])
    a_port_program_that_asks_for_too_much_memory_ends_alone(told["memory"])
    a_node_that_asks_for_too_much_is_told_as_oom_and_comes_back(told["memory"])
    assert told["linux"].startswith("6.1."), "since 6.15 it is known"
    how_a_vm_ended_that_nobody_watched_is_unknown(told["death unwatched"])


def limits_are_enforced(seen: dict[str, Any]) -> None:
    assert seen["limits"] == [str(MEMORY), "50", "300"]
    assert seen["warnings"] == []


def a_port_program_that_asks_for_too_much_memory_ends_alone(seen: dict[str, Any]) -> None:
    assert (seen["port program"], seen["killed so far"]) == (str(128 + 9), "1")
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
