"""SIGKILL of a child until the first instruction of the next one, with 1 and with 100 releases; then all at once.

All tools are alive at once and take turns, so noise hits all. A child has lived for 1.3 s when it is killed: within a
second of its start runit would pause, supervisord would call it a failed start. Slow peers take fewer turns.
"""

import random
import time
from collections.abc import Sequence
from typing import Any

from bench.driver import Child, Driver
from bench.measure import row, summary, table
from bench.rig import Rig

LIVED = 1.3
MANY = 100
HEAD = ("ms", "median", "p90", "p99", "min-max", "kills")


def run(rig: Rig) -> dict[str, Any]:
    """Targets: median < 5 ms, p99 < 20 ms; all 100 back within 500 ms."""
    kills, slow_kills = (20, 3) if rig.quick else (100, 25)
    results: dict[str, Any] = {}
    for count in (1, MANY):
        with rig.tools(children(count)) as tools:
            figures = _turns(tools, count, kills, slow_kills)
            results[f"restart, {count}"] = {name: summary(values) for name, values in figures.items()}
            print(f"SIGKILL to first instruction, {count} release{'s' if count > 1 else ''}:")
            print(table(HEAD, [row(name, figure) for name, figure in results[f"restart, {count}"].items()]), "\n")
            if count == MANY:
                times = {tool.name: _all_at_once(tool, 1 if rig.quick else 5) for tool in tools}
                results["all at once"] = {name: summary(values) for name, values in times.items()}
                print(f"SIGKILL of all {MANY} at once to the last one back:")
                print(table(HEAD, [row(name, figure) for name, figure in results["all at once"].items()]), "\n")
    return results


def children(count: int) -> list[Child]:
    """So many children."""
    return [Child(f"w{n:03}") for n in range(count)]


def _turns(tools: Sequence[Driver], count: int, kills: int, slow_kills: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {tool.name: [] for tool in tools}
    time.sleep(LIVED)
    for turn in range(kills):
        for tool in random.sample(tools, len(tools)):
            slow = bool(figures[tool.name]) and min(figures[tool.name]) > 200
            if slow and len(figures[tool.name]) >= slow_kills:
                continue
            name = f"w{turn % count:03}"
            lived = time.monotonic() - tool.beats.latest[name].at / 1e9
            time.sleep(max(0.0, LIVED - lived) + random.uniform(0, 0.1))
            took = tool.restart(name)
            if took is not None:
                figures[tool.name].append(took)
    return figures


def _all_at_once(tool: Driver, times: int) -> list[float]:
    figures = []
    for _ in range(times):
        newest = max(beat.at for beat in tool.beats.latest.values()) / 1e9
        time.sleep(max(0.0, LIVED + 0.2 - (time.monotonic() - newest)))
        names = list(tool.beats.latest)
        begun = min(tool.kill(name) for name in names)
        back = tool.beats.wait(len(names), 60.0)
        if len(back) == len(names):
            figures.append((max(beat.at for beat in back) - begun) / 1e6)
    return figures
