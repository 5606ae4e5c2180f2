"""Limits that a kernel enforces, and a node that asks for more: in one machine, for each boot takes its time."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.releases import build
from tests.systemd import machine
from tests.systemd.installed import CONFIG, lay_out

WITHIN = 1500.0
MEMORY = 160 << 20

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow, pytest.mark.timeout(WITHIN + 100)]

RELEASE = f"""
[release.papp]
root = "/opt/papp"
start_timeout = "600s"
limits = {{ memory_max = "{MEMORY >> 20}MiB", cpu_weight = 50, tasks_max = 300 }}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """For half a gigabyte, which shall not be kept as pytest keeps its own."""
    if (missing := machine.why_not()) is not None:
        pytest.fail(missing)
    with tempfile.TemporaryDirectory(prefix="relctl-") as name:
        yield Path(name)


def test_a_node_that_asks_for_too_much_memory_is_told_as_oom_and_comes_back(folder: Path) -> None:
    def seed(tree: Path) -> None:
        shutil.copytree(lay_out(folder / "installed"), tree, symlinks=True, dirs_exist_ok=True)
        build.place(build.build("papp"), tree / "opt/papp")
        config = tree / CONFIG.removeprefix("/")
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(RELEASE)

    said = machine.tell(folder, seed, Path(__file__).with_name("memory_inside.py"), WITHIN)
    try:
        told = json.loads(said.splitlines()[-1])
    except ValueError:
        pytest.fail(said)
    assert told["limits"] == [str(MEMORY), "50", "300"]
    assert told["warnings"] == []

    assert told["port program"] == str(128 + 9)
    assert told["killed so far"] == "1"
    assert told["node lives"], "it was a program of the node's"

    before, after = told["pids"]
    assert before != after
    assert told["restarts"] == 1
    last = told["last exit"]
    assert (last["cause"], last["signal"], last["code"], last["pid"]) == ("oom", "SIGKILL", None, before)
    assert [(event["epoch"], event["cause"], event["pid"]) for event in told["events"]] == [(1, "oom", before)]
    assert told["kernel"], "the kernel says that it was the limit of the release"

    was, now, restarts, result = told["relctld"]
    assert (was, restarts, result) == (now, "0", "success")
    assert told["logger"] == "0"
