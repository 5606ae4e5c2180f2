"""SIGKILL of the supervisor itself: until it answers again, and what becomes of its children; a re-exec beside it.

relctl is installed in a container with a systemd of its own (`tests/systemd/bed.py`), its unit as shipped: of the time
until `relctl status` succeeds, RestartSec= is one second. The client is started again and again, and what it takes by
itself is measured with a relctld that is up; a re-exec is measured until `relctl status` too. supervisord and circus
are killed and started again as an operator would.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.systemd.bed import why_not
from tests.systemd.installed import Host, lay_out

from bench.driver import BenchError, Driver
from bench.measure import row, summary, table
from bench.peers import Circus, Supervisord
from bench.restart import MANY, children
from bench.rig import Rig

HEAD = ("ms", "median", "p90", "p99", "min-max", "rounds")
CHILDREN = 10
BEGUN_WITHIN = 10.0
RELEASE = """
[release.r{number}]
root = "/opt/relctl"
command = ["/usr/bin/sleep", "100000"]
ready = "process"
health = {{ probe = "process" }}
"""
INSIDE = """
import json, os, signal, subprocess, sys, time
def said(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""
def pids():
    return {each["name"]: each["pid"] for each in json.loads(said("relctl", "--json", "status"))["releases"]}
def until_status():
    begun, end = time.monotonic(), time.monotonic() + 120
    while not said("relctl", "status"):
        assert time.monotonic() < end, "relctld did not come back"
    return (time.monotonic() - begun) * 1e3
subprocess.run(["systemctl", "start", "relctld"], check=True)
until_status()
before, figures = pids(), {"status": [], "SIGKILL": [], "reexec": []}
unanswered = 0
for _ in range(int(sys.argv[1])):
    figures["status"].append(until_status())
    os.kill(int(said("systemctl", "show", "-P", "MainPID", "relctld")), signal.SIGKILL)
    figures["SIGKILL"].append(until_status())
    begun = time.monotonic()
    unanswered += not said("relctl", "daemon", "reexec")
    until_status()
    figures["reexec"].append((time.monotonic() - begun) * 1e3)
after = pids()
same = sum(after[name] == pid for name, pid in before.items())
print(json.dumps({"figures": figures, "same": same, "unanswered": unanswered}))
"""
NAMES = {"status": "relctl status, relctld up", "SIGKILL": "SIGKILL to status", "reexec": "re-exec to status"}


def run(rig: Rig) -> dict[str, Any]:
    """No target but that no child is lost, and none runs twice."""
    if (missing := why_not()) is not None:
        raise BenchError(missing)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as folder:
        tree = lay_out(Path(folder) / "tree")
        for count in (1, MANY):
            results[f"comeback, {count}"] = _comeback(tree, count, 5 if rig.quick else 15)
    for peer in (Supervisord, Circus):
        if peer in rig.drivers:
            with peer(rig.program) as tool:
                results[peer.name] = _killed(tool)
    return results


def _comeback(tree: Path, count: int, rounds: int) -> dict[str, Any]:
    """Under systemd, with so many releases."""
    host = Host(tree, "".join(RELEASE.format(number=number) for number in range(count)), enabled=False)
    with host.bed:
        told = json.loads(host.run("/usr/bin/python3", "-c", INSIDE, str(rounds), timeout=120 + rounds * 20))
    figures = {NAMES[name]: summary(values) for name, values in told["figures"].items()}
    print(f"under systemd, {count} release{'s' if count > 1 else ''}, of which {told['same']} kept their process:")
    print(table(HEAD, [row(name, figure) for name, figure in figures.items()]), "\n")
    if told["unanswered"]:
        print(f"of {rounds} re-execs {told['unanswered']} took so long that relctl gave up waiting\n")
    return {**figures, "kept": told["same"], "unanswered": told["unanswered"]}


def _killed(tool: Driver) -> dict[str, int]:
    """SIGKILL to a peer, and a start of it: of its children how many were left, began again, and live on."""
    tool.begin(children(CHILDREN))
    first = [beat.pid for beat in tool.beats.latest.values()]
    assert tool.main is not None
    tool.main.kill()
    tool.main.wait()
    left = sum(_lives(pid) for pid in first)
    tool.start(children(CHILDREN))
    begun = len(tool.beats.wait(CHILDREN, BEGUN_WITHIN))
    ended = time.monotonic() + 1.0
    while time.monotonic() < ended and any(map(_lives, first)):
        time.sleep(0.05)
    told = {"children": CHILDREN, "left": left, "begun again": begun, "of the first alive": sum(map(_lives, first))}
    print(f"{tool.name}, killed and started again: {told}\n")
    return told


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
