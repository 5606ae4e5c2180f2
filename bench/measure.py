"""/proc, and figures in words."""

import os
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

MS = 1e6
"""Nanoseconds in a millisecond."""

_SCHED = 2
"""Of the clocks of a process, the one that counts its time on a processor (clock_getcpuclockid(3), as Linux has it)."""


class Memory(NamedTuple):
    """Megabytes (10^6 bytes). `pss` shares what is shared, so it is less where other Pythons run; `private` is not.

    `anonymous`: what no file backs, heaps and stacks; other processes have no part in it.
    """

    rss: float
    pss: float
    private: float
    anonymous: float


def cpu_ns(pids: Iterable[int]) -> int:
    """Nanoseconds that these processes have spent on a processor, those of threads that have ended too."""
    return sum(time.clock_gettime_ns((~pid << 3) | _SCHED) for pid in pids)


def memory(pids: Iterable[int]) -> Memory:
    """What these processes hold together."""
    rss = pss = private = anonymous = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            fields = dict(line.split(":", 1) for line in file.read().splitlines()[1:])
        kib = {key: int(value.split()[0]) for key, value in fields.items()}
        rss, pss = rss + kib["Rss"], pss + kib["Pss"]
        private += kib["Private_Clean"] + kib["Private_Dirty"]
        anonymous += kib["Anonymous"]
    return Memory(*(amount * 1024 / 1e6 for amount in (rss, pss, private, anonymous)))


def descendants(pid: int) -> dict[int, int]:
    """All processes below this one, and the parent of each."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parents[int(entry)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    found: dict[int, int] = {}
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown and child not in found}
        found |= {child: parents[child] for child in grown}
    return found


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Count, median, p90, p99, min and max."""
    if not values:
        return {"count": 0}
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]

    return {
        "count": len(ordered),
        "median": statistics.median(ordered),
        "p90": at(0.90),
        "p99": at(0.99),
        "min": ordered[0],
        "max": ordered[-1],
    }


def row(name: str, figures: dict[str, Any]) -> list[str]:
    """A line of a table: median, p90, p99, min-max, count."""
    if not figures.get("count"):
        return [name, "-", "-", "-", "-", "0"]
    low_high = f"{figures['min']:.1f}-{figures['max']:.1f}"
    middle = [f"{figures[key]:.2f}" for key in ("median", "p90", "p99")]
    return [name, *middle, low_high, str(figures["count"])]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under their heads, the first to the left."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(widths[n]) for n, cell in enumerate(line[1:], 1))])
        for line in lines
    )
