"""Prometheus asks a real daemon."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.epmds import free_port
from tests.fakes import fake
from tests.running import Fleet
from tests.waiting import wait_until

pytestmark = pytest.mark.host


def scraped(port: int) -> dict[tuple[str, str], float]:
    """The value of each metric of a release; none where nobody serves them."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            text = reply.read().decode()
    except urllib.error.URLError:
        return {}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, s.labels["release"]): s.value for s in samples if "release" in s.labels}


def test_metrics_are_served_where_the_config_says(relctld: Fleet, tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    releases = {"web": fake(tmp_path / "web"), "down": fake(tmp_path / "down", enabled=False)}
    daemon = relctld(releases, {"metrics": f"127.0.0.1:{first}"})
    daemon.wait_for("web", state="running")
    wait_until(lambda: scraped(first).get(("relctl_release_up", "web")) == 1, 20, what="web to be up")
    assert scraped(first)["relctl_release_up", "down"] == 0
    daemon.configure(releases, {"metrics": f"127.0.0.1:{second}"})
    daemon.relctl("reload")
    wait_until(lambda: ("relctl_release_up", "web") in scraped(second), what="the new address")
    assert scraped(first) == {}


def test_an_address_that_is_taken_is_told_and_harms_nobody(relctld: Fleet, tmp_path: Path) -> None:
    port = free_port()
    other = relctld({"web": fake(tmp_path / "web")}, {"metrics": f"127.0.0.1:{port}"})
    other.wait_for("web", state="running")
    daemon = relctld({"api": fake(tmp_path / "api")}, {"metrics": f"127.0.0.1:{port}"})
    daemon.wait_for("api", state="running")
    wait_until(lambda: "cannot serve metrics" in daemon.said(), what="the reason")
