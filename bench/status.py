"""Wall time of the status command with 100 children, beside a bare start of Python with relctl's own imports."""

import os
import subprocess
import sys
import time
from typing import Any

from bench.measure import row, summary, table
from bench.restart import children
from bench.rig import Rig

BARE = "python -c 'import zmq, argparse, json'"
PASS = "python -c pass"


def run(rig: Rig) -> dict[str, Any]:
    """Target: `relctl status` takes less than 1.5 times BARE."""
    rounds = 7 if rig.quick else 40
    with rig.tools(children(100)) as tools:
        time.sleep(2.0)
        commands = {tool.name: tool.status() for tool in tools}
        commands[BARE] = [sys.executable, "-c", "import zmq, argparse, json"]
        commands[PASS] = [sys.executable, "-c", "pass"]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, argv in commands.items():
                times[name].append(_wall(argv))
    results = {name: summary(values) for name, values in times.items()}
    print("Status of 100, wall time:")
    print(table(("ms", "median", "p90", "p99", "min-max", "runs"), [row(n, r) for n, r in results.items()]))
    ratio, least = (results["relctl"][key] / results[BARE][key] for key in ("median", "min"))
    print(f"relctl status / bare start: {ratio:.2f} by the medians, {least:.2f} by the fastest\n")
    return {**results, "ratio": ratio, "ratio of the fastest": least}


def _wall(argv: list[str]) -> float:
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")}
    begun = time.perf_counter()
    subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ, check=False
    )
    return (time.perf_counter() - begun) * 1000
