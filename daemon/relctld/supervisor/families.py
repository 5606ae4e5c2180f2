"""What Prometheus is told: objects of `status --json` in, metric families out.

`python -m relctld.supervisor.families > docs/metrics.md` writes the page; a test fails when they differ.

Rule 1: pure, but for the snapshot it is given; a value that is missing or no number is left out, never an error.
Rule 2: imported by `metrics` alone, where metrics are configured: it needs prometheus_client.
Rule 3: base units, and names as in https://prometheus.io/docs/practices/naming; a name never changes its meaning.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, NamedTuple

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import MetricsHandler
from prometheus_client.registry import Collector

from relctld import __version__
from relctld.core.state import Health, State, Want
from relctld.core.thresholds import NAMES
from relctld.supervisor.metrics import Snapshot

Object = dict[str, Any]
Rows = Iterable[tuple[tuple[str, ...], float]]


class _Family(NamedTuple):
    """`labels` stand behind `release`; `rows`: their values and the number, for one release."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Callable[[Object], Rows]
    counter: bool = False


def _at(release: Object, *path: str) -> Any:
    value: Any = release
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _known(value: object, scale: float = 1.0) -> Rows:
    return [((), float(value * scale))] if isinstance(value, int | float) else []


def _number(name: str, help: str, *path: str, scale: float = 1.0, counter: bool = False) -> _Family:
    """The number that stands there in the object."""
    return _Family(name, help, (), lambda release: _known(_at(release, *path), scale), counter)


def _is(name: str, help: str, key: str, value: StrEnum) -> _Family:
    return _Family(name, help, (), lambda release: [((), float(release.get(key) == value))])


def _one_of(name: str, help: str, key: str, values: type[StrEnum]) -> _Family:
    return _Family(
        name, help, (key,), lambda release: [((str(value),), float(release.get(key) == value)) for value in values]
    )


_INFO: Final = ("version", "boot_version", "flavour", "node")


def _info(release: Object) -> Rows:
    return [(tuple(str(release.get(key) or "") for key in _INFO), 1.0)]


def _exit_time(release: Object) -> Rows:
    try:
        return _known(datetime.fromisoformat(_at(release, "last_exit", "at")).timestamp())
    except (TypeError, ValueError, OverflowError):
        return []


def _exit_info(release: Object) -> Rows:
    last = release.get("last_exit")
    if not isinstance(last, dict):
        return []
    code = last.get("code")
    return [((str(last.get("cause")), "" if code is None else str(code), str(last.get("signal") or "")), 1.0)]


def _memory(release: Object) -> Rows:
    kinds = _at(release, "beam", "memory")
    if not isinstance(kinds, dict):
        return []
    return [((kind,), float(size)) for kind, size in kinds.items() if isinstance(size, int | float)]


def _how_many(*path: str) -> Callable[[Object], Rows]:
    def rows(release: Object) -> Rows:
        items = _at(release, *path)
        return [((), float(len(items)))] if isinstance(items, list) else []

    return rows


def _thresholds(release: Object) -> Rows:
    crossed = _at(release, "beam", "thresholds")
    return [((name,), float(name in crossed)) for name in NAMES] if isinstance(crossed, list) else []


_USE: Final = "Processor time by elapsed time by schedulers online; their busy waiting is in it."

_FAMILIES: Final = (
    _is("relctl_release_up", "1 where the release runs.", "state", State.RUNNING),
    _is("relctl_release_wanted", "1 where it is wanted up.", "want", Want.UP),
    _one_of("relctl_release_state", "1 for the state that it is in.", "state", State),
    _one_of("relctl_release_health", "1 for the health that it is in.", "health", Health),
    _Family("relctl_release_info", "What runs, and what would boot; 1.", _INFO, _info),
    _number("relctl_release_uptime_seconds", "Time since its VM was started.", "uptime_s"),
    _number("relctl_release_starts", "VMs that were ever started.", "epoch", counter=True),
    _number("relctl_release_restarts", "Automatic restarts.", "restarts_total", counter=True),
    _Family("relctl_release_last_exit_timestamp_seconds", "When the latest VM ended.", (), _exit_time),
    _Family("relctl_release_last_exit_info", "How the latest VM ended; 1.", ("cause", "code", "signal"), _exit_info),
    _number("relctl_log_dropped_bytes", "Output that was not logged.", "log", "bytes_dropped", counter=True),
    _number("relctl_log_dropped_lines", "Lines that were not logged.", "log", "lines_dropped", counter=True),
    _number("relctl_vm_rss_bytes", "Resident memory of the process.", "os", "rss_bytes"),
    _number("relctl_vm_cpu_ratio", "Processor time used; 1 is one core.", "os", "cpu_percent", scale=0.01),
    _number("relctl_vm_threads", "Threads of the process.", "os", "threads"),
    _number("relctl_vm_open_fds", "Open files of the process.", "os", "fds"),
    _Family("relctl_beam_memory_bytes", "Memory that the VM knows of; total has the others in it.", ("kind",), _memory),
    _number("relctl_beam_run_queue", "Processes ready to run.", "beam", "run_queue"),
    _number("relctl_beam_schedulers", "Schedulers online.", "beam", "schedulers"),
    _number("relctl_beam_scheduler_use_ratio", _USE, "beam", "scheduler_use"),
    _number("relctl_beam_reductions", "Work done since the VM began.", "beam", "reductions", counter=True),
    _number("relctl_beam_processes", "Erlang processes.", "beam", "processes", "count"),
    _number("relctl_beam_processes_limit", "How many there may be.", "beam", "processes", "limit"),
    _number("relctl_beam_ports", "Ports.", "beam", "ports", "count"),
    _number("relctl_beam_ports_limit", "How many there may be.", "beam", "ports", "limit"),
    _number("relctl_beam_atoms", "Atoms, which are never freed.", "beam", "atoms", "count"),
    _number("relctl_beam_atoms_limit", "How many there may be.", "beam", "atoms", "limit"),
    _number("relctl_beam_ets_tables", "ETS tables.", "beam", "ets", "count"),
    _number("relctl_beam_ets_tables_limit", "How many there may be; a soft limit.", "beam", "ets", "limit"),
    _number("relctl_beam_read_bytes", "Read through ports since the VM began.", "beam", "io", "in", counter=True),
    _number("relctl_beam_written_bytes", "Written through ports since then.", "beam", "io", "out", counter=True),
    _Family("relctl_beam_nodes", "Visible nodes that it is connected to.", (), _how_many("beam", "nodes")),
    _Family("relctl_beam_alarms", "Alarms that are set.", (), _how_many("beam", "alarms")),
    _Family("relctl_beam_threshold", "1 for a threshold that is crossed.", ("threshold",), _thresholds),
    _number("relctl_beam_age_seconds", "Age of these numbers of the node.", "beam", "age_s"),
)


class _Collector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        return families(self._snapshot())

    def describe(self) -> Iterable[Metric]:
        """The names, so that a part can be asked for."""
        return families([])


def handler(snapshot: Snapshot, idle: float) -> type[BaseHTTPRequestHandler]:
    """What answers a GET with the metrics of `snapshot()`; `idle`: seconds of silence that it bears."""
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot))
    settings = {"registry": registry, "timeout": idle, "server_version": "relctld", "sys_version": ""}
    return type("Handler", (MetricsHandler,), settings)


def families(releases: Iterable[Object]) -> Iterator[Metric]:
    """All families, those of which nothing is known too."""
    daemon = GaugeMetricFamily("relctld_info", "The daemon; 1.", labels=["version"])
    daemon.add_metric([__version__], 1)
    yield daemon
    named = [(release["name"], release) for release in releases]
    for name, help, labels, rows, counter in _FAMILIES:
        family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, help, labels=["release", *labels])
        for release_name, release in named:
            for values, number in rows(release):
                family.add_metric([release_name, *values], number)
        yield family


_HEAD: Final = """\
# Metrics

Written by `python -m relctld.supervisor.families > docs/metrics.md`; a test fails when page and program differ.

With `[daemon] metrics = "127.0.0.1:9568"` relctld answers a GET for any path, in the format of Prometheus. Every
metric but `relctld_info{{version}}` has the label `release`. Those of `relctl_beam_*` come from the node itself, every
five seconds, and are missing where there is no link to it; counters of a node begin anew with each VM.

| metric | labels | kind | meaning |
|---|---|---|---|
{rows}
"""


def reference() -> str:
    """docs/metrics.md."""
    rows = []
    for name, help, labels, _, counter in _FAMILIES:
        shown, kind = (f"{name}_total", "counter") if counter else (name, "gauge")
        rows.append(f"| `{shown}` | {', '.join(labels)} | {kind} | {help} |")
    return _HEAD.format(rows="\n".join(rows))


if __name__ == "__main__":
    print(reference(), end="")
