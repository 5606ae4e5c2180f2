"""What it costs to keep what programs print: relctl's logger beside its peers, `cat > file` as the limit.

Throughput: one program writes numbered lines, a write(2) each, into files rotated at 50 MB; from its first write until
the files hold all of it. Then every line is counted. Processor time is that of the tool, not of the writer. What a tool
took in the time of `cat > file` is the median of the pairs of each round.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.captures import Capture, Cat, Job, build_flood, cpu_ns, wanted
from bench.driver import BenchError
from bench.measure import table
from bench.rig import Rig

GB, MB = 1e9, 1e6
LONG = 4096
"""Bytes of a long line."""
ENOUGH = 12.0
"""Seconds after which a tool gets no more rounds."""
PATIENCE = 60.0
"""Seconds without one more byte after which the rest counts as lost."""


def lines(rig: Rig) -> dict[str, Any]:
    """One writer of lines of 100 B. Targets: within 1.2 of `cat > file`, ahead of every peer, least time per GB."""
    return _one_writer(rig, 100)


def blocks(rig: Rig) -> dict[str, Any]:
    """The same with lines of 4 kB."""
    return _one_writer(rig, LONG)


def many(rig: Rig) -> dict[str, Any]:
    """Fifty writers at once."""
    jobs = [Job(f"r{n}", 40_000, 100) for n in range(50)]
    return _compare(rig, "50 writers at once, lines of 100 B, 4 MB each", jobs, 1 if rig.quick else 3)


def _one_writer(rig: Rig, width: int) -> dict[str, Any]:
    # No multiple of 50 MB: a tool may rotate a full file at the very end, under the eyes of who counts.
    rounds, size = (3, 120_000_000) if rig.quick else (9, 660_000_000 if width == LONG else 220_000_000)
    return _compare(
        rig, f"one writer, lines of {width} B, {size / MB:.0f} MB", [Job("one", size // width, width)], rounds
    )


def _compare(rig: Rig, title: str, jobs: Sequence[Job], rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as folder:
        flood = build_flood(Path(folder))
        results = _side_by_side(wanted(rig), flood, Path(folder) / "kept", jobs, rounds)
    _show(title, results)
    return results


def _side_by_side(
    tools: Sequence[type[Capture]], flood: Path, place: Path, jobs: Sequence[Job], rounds: int
) -> dict[str, Any]:
    """Every tool once a round, in random order, a slow one in the first rounds only; its medians."""
    seen: dict[str, list[dict[str, Any]]] = {tool.name: [] for tool in tools}
    spent = dict.fromkeys(seen, 0.0)
    for _ in range(rounds):
        for tool in random.sample(tools, len(tools)):
            begun = time.monotonic()
            if spent[tool.name] < ENOUGH:
                with tool(place, flood).begin(jobs) as capture:
                    seen[tool.name].append(_once(capture, jobs))
            spent[tool.name] += time.monotonic() - begun
    limit = [r["rate"] for r in seen[Cat.name]]
    return {
        name: {
            "rate": statistics.median(r["rate"] for r in runs),
            "rates": [r["rate"] for r in runs],
            "times": statistics.median(most / r["rate"] for most, r in zip(limit, runs, strict=False)),
            "cpu": statistics.median(r["cpu"] for r in runs),
            "lost": max(r["lost"] for r in runs),
        }
        for name, runs in seen.items()
    }


def _once(capture: Capture, jobs: Sequence[Job]) -> dict[str, Any]:
    """One run: MB/s, processor seconds per GB, lines that are not where they should be."""
    size = sum(job.size for job in jobs)
    os.sync()  # what others left to write would be written at this one's cost
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
    print(f"{title} (load {os.getloadavg()[0]:.1f}):")
    head = ("", "MB/s", "min-max", "times cat's time", "cpu s/GB", "lines amiss")
    rows = [
        [
            name,
            f"{r['rate']:.0f}",
            f"{min(r['rates']):.0f}-{max(r['rates']):.0f}",
            f"{r['times']:.2f}",
            f"{r['cpu']:.2f}",
            str(r["lost"]),
        ]
        for name, r in results.items()
    ]
    print(table(head, rows), "\n")
