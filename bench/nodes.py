"""100 real nodes, linked: each probed every second and measured every 5 s; beside 100 releases that are no nodes.

Both are relctl's own releases with the same settings, one daemon after the other. Processor: nanoseconds by
the clocks of daemon and logger over 20 s, in percent of one core. Memory: smaps_rollup of the daemon.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import epmds, otps
from tests.running import Relctld, plain_root

from bench.driver import BenchError
from bench.measure import Memory, cpu_ns, memory, table
from bench.rig import Rig

COOKIE = "c00kie"
SLEEP = ["/bin/sleep", "1000000"]
SMALL = ["+S", "1:1", "+SDcpu", "1", "+A", "1", *otps.QUIET, "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
HEALTH = {"interval": "1s", "timeout": "1s", "action": "report"}
BOOT = 300.0
"""Seconds that a hundred may take to boot at once, and to be measured for the first time."""
SETTLE = 15.0


def run(rig: Rig) -> dict[str, Any]:
    """Targets, with 100: < 10 % of a core; < 1 MB more in the daemon than with releases that are no nodes."""
    count, seconds = (20, 5.0) if rig.quick else (100, 20.0)
    results = {}
    with epmds.private_port() as port:
        env = {"ERL_EPMD_PORT": str(port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        nodes = [[otps.erl("25"), *SMALL, "-name", f"bench{n}@127.0.0.1", "-setcookie", COOKIE] for n in range(count)]
        for name, commands in (("sleep", [SLEEP] * count), ("nodes", nodes)):
            with _fleet(commands, env) as daemon:
                _all_up(daemon, linked=name == "nodes")
                time.sleep(SETTLE)
                results[name] = _measured(daemon, seconds)
    _show(results, count)
    return results


@contextmanager
def _fleet(commands: Sequence[Sequence[str]], env: dict[str, str]) -> Iterator[Relctld]:
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        root = plain_root(Path(folder) / "root")
        common = {"root": root, "env": env, "health": HEALTH, "start_timeout": f"{BOOT:.0f}s"}
        daemon = Relctld(Path(folder), {f"n{n:03}": {**common, "command": c} for n, c in enumerate(commands)})
        daemon.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once
        try:
            yield daemon.start()
        finally:
            daemon.close()


def _all_up(daemon: Relctld, *, linked: bool) -> None:
    end = time.monotonic() + BOOT
    while True:
        releases = daemon.ask("status")["releases"]
        missing = [r for r in releases if r["state"] != "running" or (linked and not r.get("beam"))]
        if not missing:
            return
        if time.monotonic() > end:
            raise BenchError(f"{len(missing)} of {len(releases)} are not up, such as {missing[0]}")
        time.sleep(1.0)


def _measured(daemon: Relctld, seconds: float) -> dict[str, Any]:
    assert daemon.logger_pid is not None
    vms = [release["pid"] for release in daemon.ask("status")["releases"]]
    groups = {"daemon": [daemon.pid], "logger": [daemon.logger_pid], "vms": vms}
    before, begun = {name: cpu_ns(pids) for name, pids in groups.items()}, time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    cpu = {name: (cpu_ns(pids) - before[name]) / 1e9 / passed * 100 for name, pids in groups.items()}
    return {"cpu": cpu, **memory([daemon.pid])._asdict()}


def _show(results: dict[str, Any], count: int) -> None:
    rows = []
    for name, r in results.items():
        held = Memory(*(r[field] for field in Memory._fields))
        cpu = [f"{r['cpu'][part]:.2f}" for part in ("daemon", "logger", "vms")]
        rows.append([name, *cpu, *(f"{mb:.1f}" for mb in held)])
    print(f"{count} releases probed every second (memory of the daemon in MB, processor in % of one core):")
    print(table(("", "daemon", "logger", "their own", *Memory._fields), rows))
    more = {key: results["nodes"][key] - results["sleep"][key] for key in Memory._fields}
    print("more with nodes: " + ", ".join(f"{mb:+.2f} MB {key}" for key, mb in more.items()), "\n")
