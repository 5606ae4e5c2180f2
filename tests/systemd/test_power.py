"""The host goes down and comes up: relctld first, its nodes well, their last lines in the logs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.installed import Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

RELEASES = """
[release.rapp]
root = "/opt/rapp"
env = { DEMO_TICK_MS = "20", DEMO_STOP_MS = "1500" }
[release.mapp]
root = "/opt/mapp"
env = { DEMO_TICK_MS = "20" }
"""


@pytest.fixture
def host(installed: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """Nodes of which one takes a while to stop."""
    host = Host(installed, f"{request.param}\n{RELEASES}")
    with host.bed:
        host.until_running()
        yield host


def _events(host: Host) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.run("relctl", "--json", "events").splitlines()]


def _lines(host: Host, name: str) -> list[str]:
    return host.run("cat", f"/var/log/relctl/{name}/current").splitlines()


@pytest.mark.parametrize("host", ["[daemon]\n", '[daemon]\non_stop = "leave"\n'], indirect=True, ids=["stop", "leave"])
def test_a_host_that_goes_down_stops_its_nodes_well_and_starts_them_again(
    host: Host, request: pytest.FixtureRequest
) -> None:
    """Where relctld leaves its nodes, systemd stops their scopes next; a node obeys SIGTERM there too."""
    before = host.until_running()
    host.bed.reboot()
    host.until_running()
    assert host.status().keys() == before.keys()
    assert {release["epoch"] for release in host.status().values()} == {2}
    for name in before:
        first, _, second = "\n".join(_lines(host, name)).partition(f"{name} stopped")
        assert f"{name} stopping" in first, first[-500:]
        assert f"{name} tick 1\n" in second
        ticks = [int(number) for number in re.findall(rf"{name} tick (\d+)", first)]
        assert ticks == list(range(1, len(ticks) + 1))
    events = _events(host)
    [stopping] = [event["seq"] for event in events if event["event"] == "daemon-stopping"]
    ends = [event for event in events if event["event"] == "exited"]
    if "leave" in request.node.callspec.id:
        assert ends == []
    else:
        assert {(event["release"], event["cause"], event["code"]) for event in ends} == {
            (name, "stopped", 0) for name in before
        }
        assert all(event["seq"] > stopping for event in ends)
    wait_until(lambda: host.show("relctld", "NFileDescriptorStore") == "2")
