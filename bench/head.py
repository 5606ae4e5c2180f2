"""Head of line: a release that ignores SIGTERM is being stopped while another's child is killed.

The figure is the restart of the other one, beside the same restart with nothing else going on.
"""

import time
from typing import Any

from bench.driver import STOP_WITHIN, Child, Driver
from bench.measure import table
from bench.rig import Rig

LIVED = 1.3


def run(rig: Rig) -> dict[str, Any]:
    """Target: less than 50 ms are added."""
    results = {}
    with rig.tools([Child("slow", deaf=True), Child("other")]) as tools:
        for tool in tools:
            alone, beside = _one(tool, 2 if rig.quick else 4)
            results[tool.name] = {"alone": alone, "beside": beside, "added": _middle(beside) - _middle(alone)}
    print("One release takes 10 s to stop; restart of another, ms:")
    rows = [
        [
            name,
            f"{_middle(r['alone']):.1f}",
            f"{_middle(r['beside']):.1f}",
            f"{r['added']:+.1f}",
            f"{max(r['beside']):.1f}",
        ]
        for name, r in results.items()
    ]
    print(table(("ms", "alone", "beside", "added", "worst"), rows), "\n")
    return results


def _one(tool: Driver, times: int) -> tuple[list[float], list[float]]:
    alone = [_restart(tool) for _ in range(times)]
    beside: list[float] = []
    stop = tool.run(tool.stop("slow"))
    time.sleep(0.5)
    begun = time.monotonic()
    while len(beside) < times and time.monotonic() - begun < STOP_WITHIN / 2:  # as long as the stop is under way
        beside.append(_restart(tool))
    stop.kill()
    stop.wait()
    return alone, beside


def _restart(tool: Driver) -> float:
    lived = time.monotonic() - tool.beats.latest["other"].at / 1e9
    time.sleep(max(0.0, LIVED - lived))
    took = tool.restart("other", 40.0)
    return float("inf") if took is None else took


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
