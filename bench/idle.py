"""Nothing to do: processor and memory of a tool's own processes with 1, 10 and 100 idle children.

relctl's gates, which stand by for the next start of each release, are counted on a line of their own. What they share
with each other, PSS counts once and private not at all.

Processor: nanoseconds by the clock of the process over 20 s, in percent of one core. Memory: smaps_rollup. The cost of
a release is the slope from 10 to 100.
"""

import time
from typing import Any

from bench.measure import Memory, cpu_ns, memory, table
from bench.restart import children
from bench.rig import Rig

SETTLE = 12.0
"""Seconds after the start: idle threads have ended, first probes are over."""


def run(rig: Rig) -> dict[str, Any]:
    """Targets, with 100: < 0.5 % of a core, < 45 MB PSS."""
    seconds = 5.0 if rig.quick else 20.0
    results: dict[str, Any] = {}
    for count in (1, 10, 100):
        with rig.tools(children(count)) as tools:
            time.sleep(SETTLE)
            own = {tool.name: tool.own() for tool in tools}
            own |= {f"{tool.name}: gates": gates for tool in tools if (gates := tool.gates())}
            before, begun = {name: cpu_ns(pids) for name, pids in own.items()}, time.monotonic()
            time.sleep(seconds)
            passed = time.monotonic() - begun
            for name, pids in own.items():
                percent = (cpu_ns(pids) - before[name]) / 1e9 / passed * 100
                held = memory(pids)
                results.setdefault(name, {})[str(count)] = {"cpu": percent, "processes": len(pids), **held._asdict()}
    _show(results)
    return results


def _show(results: dict[str, Any]) -> None:
    rows = []
    for name, by_count in results.items():
        for count, r in by_count.items():
            held = Memory(*(r[field] for field in Memory._fields))
            rows.append([name, count, str(r["processes"]), f"{r['cpu']:.3f}", *(f"{mb:.1f}" for mb in held)])
    print("Idle children (memory in MB, processor in % of one core):")
    print(table(("", "children", "processes", "cpu %", *Memory._fields), rows))
    for name, by_count in results.items():
        slope = (by_count["100"]["private"] - by_count["10"]["private"]) / 90 * 1000
        print(f"{name}: {slope:.0f} kB private memory a child")
    print()
