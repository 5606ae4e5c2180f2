"""Metrics as Prometheus sees them: scraped over HTTP, parsed by its own client."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relctld import __version__
from relctld.supervisor import metrics as served
from relctld.supervisor.families import families, reference
from relctld.supervisor.metrics import Metrics
from tests.unit.relctl.samples import HALTED, down, release
from tests.waiting import wait_until

DOCS = Path(__file__).resolve().parents[4] / "docs"

BEAM: dict[str, Any] = {
    "otp": "25", "memory": {"total": 100, "atom": None}, "run_queue": 3, "schedulers": 2, "scheduler_use": 0.25,
    "reductions": 5000, "reductions_per_s": 10.0, "processes": {"count": 50, "limit": 1000},
    "ports": {"count": None, "limit": None}, "io": {"in": 26, "out": 129}, "nodes": ["b@h"], "alarms": None,
    "thresholds": ["atoms"], "age_s": 2.5,
}  # fmt: skip

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Served:
    """Metrics on a port of their own; `releases` is the latest snapshot."""

    def __init__(self) -> None:
        self.releases: list[dict[str, Any]] = []
        self.metrics = Metrics(lambda: self.releases)

    def scrape(self, path: str = "/metrics") -> str:
        url = f"http://127.0.0.1:{self.metrics.port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            return str(answer.read().decode())


@pytest.fixture
def server() -> Iterator[Served]:
    made = Served()
    assert made.metrics.start("127.0.0.1:0") is None
    yield made
    made.metrics.stop()


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_a_scrape(server: Served) -> None:
    server.releases = [release("web", beam=BEAM, last_exit=HALTED), down("old", "failed")]
    samples = parsed(server.scrape())
    assert value(samples, "relctld_info", version=__version__) == 1
    web = {"release": "web"}
    assert value(samples, "relctl_release_up", **web) == 1
    assert value(samples, "relctl_release_up", release="old") == 0
    assert value(samples, "relctl_release_state", state="running", **web) == 1
    assert value(samples, "relctl_release_state", state="failed", **web) == 0
    assert value(samples, "relctl_release_health", health="well", **web) == 1
    assert value(samples, "relctl_release_starts_total", **web) == 7
    assert value(samples, "relctl_release_last_exit_timestamp_seconds", **web) == 1_767_225_600
    assert value(samples, "relctl_release_last_exit_info", cause="halted", code="1", signal="", **web) == 1
    assert value(samples, "relctl_vm_rss_bytes", **web) == 123_000_000
    assert value(samples, "relctl_vm_cpu_ratio", **web) == pytest.approx(0.0031)
    assert value(samples, "relctl_beam_memory_bytes", kind="total", **web) == 100
    assert value(samples, "relctl_beam_processes", **web) == 50
    assert value(samples, "relctl_beam_processes_limit", **web) == 1000
    assert value(samples, "relctl_beam_reductions_total", **web) == 5000
    assert value(samples, "relctl_beam_nodes", **web) == 1
    assert value(samples, "relctl_beam_threshold", threshold="atoms", **web) == 1
    assert value(samples, "relctl_beam_threshold", threshold="memory", **web) == 0
    unknown = {"relctl_beam_ports", "relctl_beam_alarms", "relctl_beam_atoms"}
    assert not [name for name, labels in samples if name in unknown]
    assert not [
        name
        for name, labels in samples
        if ("release", "old") in labels and name.startswith(("relctl_beam", "relctl_vm"))
    ]


def test_a_scrape_shows_the_latest_snapshot_and_a_name_as_it_is(server: Served) -> None:
    assert [name for name, _ in parsed(server.scrape())] == ["relctld_info"]
    server.releases = [release('od"d\\\nname')]
    assert value(parsed(server.scrape()), "relctl_release_up", release='od"d\\\nname') == 1


def test_a_part_can_be_asked_for(server: Served) -> None:
    server.releases = [release()]
    assert [name for name, _ in parsed(server.scrape("/metrics?name[]=relctl_release_up"))] == ["relctl_release_up"]


def test_openmetrics(server: Served) -> None:
    server.releases = [release()]
    connection = http.client.HTTPConnection("127.0.0.1", server.metrics.port, timeout=10)
    connection.request("GET", "/", headers={"Accept": "application/openmetrics-text"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Server"].strip() == "relctld"
    assert answer.read().decode().endswith("# EOF\n")
    connection.close()


def test_what_another_version_says_costs_its_own_metric_only() -> None:
    odd = {"name": "web", "last_exit": {"at": "soon"}, "beam": {"memory": 3, "io": [], "nodes": 1}, "os": "x"}
    names = [sample.name for family in families([odd]) for sample in family.samples]
    assert "relctl_release_up" in names
    assert not [name for name in names if name.startswith(("relctl_beam", "relctl_vm"))]
    assert [sample for family in families([{"name": "web", "last_exit": 3}]) for sample in family.samples]


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        metrics = Metrics(list)
        error = metrics.start(f"127.0.0.1:{port}")
        assert error == f"cannot serve metrics on 127.0.0.1:{port}: Address already in use"
        assert metrics.port is None
        metrics.stop()
    error = metrics.start("no.such.host.invalid:1")
    assert error is not None
    assert error.startswith("cannot serve metrics on no.such.host.invalid:1: ")


def test_starting_anew_moves_and_stopping_frees_the_port(server: Served) -> None:
    first = server.metrics.port
    assert server.metrics.start("127.0.0.1:0") is None
    assert server.metrics.port == first, "the same address is the same server"
    assert server.metrics.start("localhost:0") is None
    assert server.metrics.port != first
    server.metrics.stop()
    server.metrics.stop()
    with socket.create_server(("127.0.0.1", first or 0)):
        pass
    assert server.metrics.start(f"127.0.0.1:{first}") is None
    assert server.scrape()
    assert len([thread for thread in threading.enumerate() if thread.name == "metrics"]) == 1


def test_ipv6(server: Served) -> None:
    assert server.metrics.start("[::1]:0") is None
    with urllib.request.urlopen(f"http://[::1]:{server.metrics.port}/", timeout=10) as answer:
        assert answer.status == 200


def test_silent_clients_are_bounded_and_leave_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "IDLE", 0.3)
    metrics = Metrics(list)
    assert metrics.start("127.0.0.1:0") is None
    port = metrics.port or 0
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(served.MOST_CLIENTS + 1)]
    assert silent[-1].recv(1) == b"", "no place is left for the last one"
    assert [client.recv(1) for client in silent] == [b""] * len(silent)
    wait_until(lambda: _answers(port), what="a place")
    for client in silent:
        client.close()
    metrics.stop()


def _answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(12) == b"HTTP/1.0 200"


@pytest.mark.parametrize("sent", [b"", b"\xff\x00\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n", b"G" * 70_000])
def test_bad_requests_cost_nothing(server: Served, sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.metrics.port or 0), timeout=10) as client:
        client.sendall(sent)
    assert server.scrape()
    assert capfd.readouterr().err == ""


def test_the_client_library_is_imported_for_metrics_only() -> None:
    code = "import sys, relctld.cli, relctld.supervisor.metrics; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_the_page_is_what_the_code_does() -> None:
    written = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert written == reference(), "run `python -m relctld.supervisor.families > docs/metrics.md`"
