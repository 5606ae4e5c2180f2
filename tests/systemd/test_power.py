"""The host goes down and comes up: relctld first, its nodes well, their last lines in the logs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.installed import CONFIG, Host

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

RELEASES = """
[release.rapp]
root = "/opt/rapp"
env = { DEMO_TICK_MS = "20", DEMO_STOP_MS = "1500" }
[release.mapp]
root = "/opt/mapp"
env = { DEMO_TICK_MS = "20" }
"""
NAMES = {"rapp", "mapp"}


def test_a_host_that_goes_down_stops_its_nodes_well_and_starts_them_again(installed: Path) -> None:
    """Nodes of which one takes a while to stop. One host for both: to install it and to boot takes seconds."""
    host = Host(installed, RELEASES)
    with host.bed:
        host.until_running()
        assert _goes_down_and_up(host, 1) == {(name, "stopped", 0) for name in NAMES}
        host.run("sed", "-i", '1i [daemon]\\non_stop = "leave"', CONFIG)
        host.run("relctl", "reload")
        # Where relctld leaves its nodes, systemd stops their scopes next; a node obeys SIGTERM there too.
        assert _goes_down_and_up(host, 2) == set()


def _goes_down_and_up(host: Host, epoch: int) -> set[tuple[str, str, int]]:
    """The nodes of this epoch end well, and the next ones run; what relctld saw of their ends, while it stopped."""
    host.bed.reboot()
    assert host.until_running().keys() == NAMES
    assert {release["epoch"] for release in host.status().values()} == {epoch + 1}
    for name in NAMES:
        *_, ended, now = host.run("cat", f"/var/log/relctl/{name}/current").split(f"{name} stopped")
        assert f"{name} stopping" in ended, ended[-500:]
        assert f"{name} tick 1\n" in now
        ticks = [int(number) for number in re.findall(rf"{name} tick (\d+)", ended)]
        assert ticks == list(range(1, len(ticks) + 1))
    events = _events(host)
    stopping = [event["seq"] for event in events if event["event"] == "daemon-stopping"]
    assert len(stopping) == epoch
    host.until_shown("relctld", "NFileDescriptorStore", "2")
    ends = [event for event in events if event["event"] == "exited" and event["epoch"] == epoch]
    assert all(event["seq"] > stopping[-1] for event in ends)
    return {(event["release"], event["cause"], event["code"]) for event in ends}


def _events(host: Host) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.run("relctl", "--json", "events").splitlines()]
