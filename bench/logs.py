"""What it costs to keep what programs print: relctl's logger beside its peers, `cat > file` as the limit.

Throughput: one program writes numbered lines, a write(2) each, into files rotated at 50 MB; from its first write until
the files hold all of it. Then every line is counted. Processor time is that of the tool, not of the writer.
"""

import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.asking import Asker
from tests.running import Relctld, plain_root

from bench.captures import Capture, Job, build_flood, cpu_ns, peers
from bench.driver import BenchError
from bench.measure import row, summary, table
from bench.rig import Rig

GB, MB = 1e9, 1e6
PATIENCE = 60.0
"""Seconds without one more byte after which the rest counts as lost."""


def run(rig: Rig) -> dict[str, Any]:
    """Targets: within 1.2 of `cat > file` and ahead of every peer at both widths, least processor time per GB."""
    tools, absent = peers()
    for word in absent:
        print(f"absent: {word}")
    wanted = {driver.name for driver in rig.drivers}
    if wanted == {"relctl"}:  # --only relctl
        tools = [tool for tool in tools if tool.name in ("relctl", "cat > file")]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as folder:
        flood = build_flood(Path(folder))
        place = Path(folder) / "kept"
        # No multiple of 50 MB: a tool may rotate a full file at the very end, under the eyes of who counts.
        rounds, size = (3, 120_000_000) if rig.quick else (5, 220_000_000)
        for width in (100, 4096):
            title = f"one writer, lines of {width} B, {size / MB:.0f} MB"
            results[title] = _side_by_side(tools, flood, place, [Job("one", size // width, width)], rounds)
            _show(title, results[title])
        jobs = [Job(f"r{n}", 40_000, 100) for n in range(50)]
        results["fifty"] = _side_by_side(tools, flood, place, jobs, 1 if rig.quick else 3)
        _show("50 writers at once, lines of 100 B, 4 MB each", results["fifty"])
        results["status"] = _status(Path(folder), flood, 200 if rig.quick else 1000)
        if os.geteuid() == 0:
            results["frozen"] = _frozen(tools, flood, Path(folder))
        else:
            print("a disk that stands still: only root may freeze one\n")
    return results


def _side_by_side(
    tools: Sequence[type[Capture]], flood: Path, place: Path, jobs: Sequence[Job], rounds: int
) -> dict[str, Any]:
    """Every tool once a round, in random order; its medians."""
    seen: dict[str, list[dict[str, Any]]] = {tool.name: [] for tool in tools}
    for _ in range(rounds):
        for tool in random.sample(tools, len(tools)):
            with tool(place, flood).begin(jobs) as capture:
                seen[tool.name].append(_once(capture, jobs))
    return {
        name: {
            "rate": statistics.median(r["rate"] for r in runs),
            "rates": [r["rate"] for r in runs],
            "cpu": statistics.median(r["cpu"] for r in runs),
            "lost": max(r["lost"] for r in runs),
        }
        for name, runs in seen.items()
    }


def _once(capture: Capture, jobs: Sequence[Job]) -> dict[str, Any]:
    """One run: MB/s, processor seconds per GB, lines that are not where they should be."""
    size = sum(job.size for job in jobs)
    before = cpu_ns(capture.own())
    capture.open_gate()
    done = capture.done(len(jobs), 300.0)
    if len(done) < len(jobs):
        raise BenchError(f"{capture.name}: {len(jobs) - len(done)} floods did not end")
    ended = _all_kept(capture, jobs)
    took = (ended - min(flood.begun for flood in done)) / 1e9
    spent = (cpu_ns(capture.own()) - before) / 1e9
    lost = sum(abs(job.lines - capture.whole(job)) for job in jobs)
    return {"rate": size / MB / took, "cpu": spent / (size / GB), "lost": lost}


def _all_kept(capture: Capture, jobs: Sequence[Job]) -> int:
    """Wait until the files hold all of it, or nothing more comes; when that was (monotonic ns)."""
    at, moved = time.monotonic_ns(), time.monotonic()
    for job in jobs:
        kept = -1
        while (now := capture.kept(job.name)) < job.size and time.monotonic() - moved < PATIENCE:
            if now != kept:
                kept, moved = now, time.monotonic()
            time.sleep(0.001)
            at = time.monotonic_ns()
    return at


def _show(title: str, results: dict[str, Any]) -> None:
    limit = results["cat > file"]["rate"]
    print(f"{title} (load {os.getloadavg()[0]:.1f}):")
    head = ("", "MB/s", "min-max", "of cat", "cpu s/GB", "lines amiss")
    rows = [
        [
            name,
            f"{r['rate']:.0f}",
            f"{min(r['rates']):.0f}-{max(r['rates']):.0f}",
            f"{r['rate'] / limit:.2f}",
            f"{r['cpu']:.2f}",
            str(r["lost"]),
        ]
        for name, r in results.items()
    ]
    print(table(head, rows), "\n")


# ---- the daemon beside a flood


def _status(folder: Path, flood: Path, rounds: int) -> dict[str, Any]:
    """How long `status` of ten releases takes, ms: with all of them silent, and with one of them that floods."""
    gate, told = folder / "gate", folder / "told"
    for fifo in (gate, told):
        os.mkfifo(fifo)
    hold = os.open(told, os.O_RDWR | os.O_CLOEXEC)  # what it says at its end is not waited for
    root = plain_root(folder / "root")
    releases: dict[str, Any] = {f"r{n}": {"root": root, "command": ["/bin/sleep", "1000"]} for n in range(9)}
    log = {"max_size": "50MB", "keep": 2, "compress": "off"}
    argv = [str(flood), str(gate), str(told), str(1 << 40), "100"]
    releases["flood"] = {"root": root, "command": argv, "log": log, "ready": "process"}
    with Relctld(folder, releases) as daemon:
        for name in releases:
            daemon.wait_for(name, state="running")
        silent = _asked(daemon, rounds)
        opened = os.open(gate, os.O_WRONLY | os.O_CLOEXEC)
        before = daemon.status("flood")["pid"]
        flooded = _asked(daemon, rounds)
        assert daemon.status("flood")["pid"] == before
        os.close(opened)
    os.close(hold)
    results = {"silent": summary(silent), "beside a flood": summary(flooded)}
    print("status of ten, over one connection:")
    print(table(("ms", "median", "p90", "p99", "min-max", "asked"), [row(n, r) for n, r in results.items()]), "\n")
    return results


def _asked(daemon: Relctld, rounds: int) -> list[float]:
    times = []
    with Asker(daemon.socket) as asker:
        for _ in range(rounds):
            begun = time.perf_counter()
            asker.result("status", {})
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.01)
    return times


# ---- a disk that stands still

_FREEZE = 5.0
_FLOOD = Job("one", 1_000_000, 100)


def _frozen(tools: Sequence[type[Capture]], flood: Path, folder: Path) -> dict[str, Any]:
    """Memory of the tool, and the longest wait of the writer, with the disk frozen for 5 s under a flood of 100 MB."""
    results = {}
    for tool in tools:
        with _own_disk(folder) as disk, tool(disk / "kept", flood).begin([_FLOOD]) as capture:
            results[tool.name] = _freeze(capture, disk)
    print(f"The disk stands still for {_FREEZE:g} s under a flood of {_FLOOD.size / MB:.0f} MB:")
    head = ("", "memory before MB", "most MB", "longest write ms", "lines amiss", "said to be dropped")
    rows = [
        [
            name,
            f"{r['before'] / MB:.1f}",
            f"{r['most'] / MB:.1f}",
            f"{r['longest']:.0f}",
            str(r["lost"]),
            str(r["dropped"]),
        ]
        for name, r in results.items()
    ]
    print(table(head, rows), "\n")
    return results


def _freeze(capture: Capture, disk: Path) -> dict[str, Any]:
    before = most = capture.memory()
    capture.open_gate()
    while capture.kept(_FLOOD.name) < _FLOOD.size // 10:
        time.sleep(0.001)
    subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
    try:
        end = time.monotonic() + _FREEZE
        while time.monotonic() < end:
            most = max(most, capture.memory())
            time.sleep(0.01)
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)
    longest = max((done.longest for done in capture.done(1, 120.0)), default=0) / 1e6
    _all_kept_or_dropped(capture)
    return {
        "before": before,
        "most": max(most, capture.memory()),
        "longest": longest,
        "lost": _FLOOD.lines - capture.found(_FLOOD),
        "dropped": capture.dropped(),
    }


def _all_kept_or_dropped(capture: Capture) -> None:
    kept, moved = -1, time.monotonic()
    while (now := capture.kept(_FLOOD.name)) < _FLOOD.size and time.monotonic() - moved < 3.0:
        if now != kept:
            kept, moved = now, time.monotonic()
        time.sleep(0.01)


@contextmanager
def _own_disk(folder: Path) -> Iterator[Path]:
    """A file system of 512 MB in a file, mounted; gone at the end."""
    image, where = folder / "image", folder / "disk"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    where.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)
        where.rmdir()
        image.unlink()
