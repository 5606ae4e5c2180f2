"""`make bench`, or `.venv/bin/python bench/run.py [NAME…] [--quick] [--only TOOL…] [--save]`.

Prints what it measured and asserts nothing. Exit codes: 0 · 1 a bench could not run · 2 usage.
"""

import argparse
import compileall
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, whose relctl.py would hide the package of that name
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import beats, comeback, floods, head, idle, link, logs, nodes, peers, restart, scopes, status, upgrade
from bench.driver import BenchError, Driver
from bench.relctl import Relctl
from bench.rig import Rig
from relctld.host.reaper import become_subreaper

RESULTS = Path(__file__).parent / "results"
BENCHES = {
    "restart": restart.run,
    "scopes": scopes.run,
    "comeback": comeback.run,
    "head": head.run,
    "idle": idle.run,
    "status": status.run,
    "link": link.run,
    "logs": logs.lines,
    "logs-4k": logs.blocks,
    "logs-many": logs.many,
    "logs-status": floods.status,
    "logs-frozen": floods.frozen,
    "logs-slow": floods.slow,
    "nodes": nodes.run,
    "upgrade": upgrade.run,
}


def main() -> int:
    """Run the benches asked for."""
    arguments = _arguments()
    for package in ("daemon", "ctl"):
        compileall.compile_dir(RESULTS.parents[1] / package, quiet=2)  # as an installation does
    become_subreaper()  # what a killed tool leaves comes to us, and is reaped
    known, absent = peers.ready()
    drivers: list[type[Driver]] = [Relctl, *known]
    if arguments.only:
        drivers = [driver for driver in drivers if driver.name in arguments.only]
    print(_machine())
    for word in absent:
        print(f"absent: {word}")
    results: dict[str, Any] = {}
    code = 0
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as folder:
        program, note = beats.build(Path(folder))
        if note:
            print(f"note: {note}")
        print()
        for name in arguments.benches or BENCHES:
            print(f"-- {name}, load {os.getloadavg()[0]:.1f}")
            try:
                results[name] = BENCHES[name](Rig(drivers, program, arguments.quick))
            except (BenchError, OSError, AssertionError) as error:
                print(f"{name}: could not run: {error}", file=sys.stderr)
                code = 1
    if arguments.save:
        print(f"saved: {_save(results)}")
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What relctl costs, beside its peers.")
    parser.add_argument("benches", nargs="*", metavar="NAME", choices=[[], *BENCHES], help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a look")
    parser.add_argument("--only", action="append", metavar="TOOL", help="only this tool; may be repeated")
    parser.add_argument("--save", action="store_true", help="write the figures to bench/results/")
    return parser.parse_args()


def _machine() -> str:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Linux {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}, load {load}"


def _save(results: dict[str, Any]) -> Path:
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"at": now.isoformat(), "machine": _machine(), **results}, indent=1) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
