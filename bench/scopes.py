"""Under a real systemd: SIGKILL of a child until the first instruction of the next one, beside a service of its own.

relctl is installed in a container with a systemd of its own (`tests/systemd/bed.py`), where each of its VMs is in a
scope; beside it a service with `Restart=always` and `RestartSec=0`. Both run the child of the other benches, and take
turns in random order. What is measured is measured inside, by one program that kills and listens; it ends after
`WITHIN` seconds, however busy the machine.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.systemd.bed import why_not
from tests.systemd.installed import Host, lay_out

from bench.driver import BenchError
from bench.measure import row, summary, table
from bench.restart import HEAD
from bench.rig import Rig

LIVED = 1.0
"""Seconds that a child has lived when it is killed: it runs by then, systemd has come to rest, and a gate stands by."""

WITHIN = 45.0
ANSWERED_WITHIN = 240.0
"""For the start, on a machine that is very busy, and all kills."""

CONFIG = """
[release.relctl]
root = "/opt/bench"
command = ["beat", "/run/beats", "relctl"]
intensity = 1000000
period = "100ms"
backoff = { base = "1ms", max = "1ms" }
"""
SERVICE = """
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/opt/bench/beat /run/beats systemd
Restart=always
RestartSec=0
"""
INSIDE = """
import json, os, random, select, signal, subprocess, sys, time
kills, lived, within = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
names = ["relctl", "systemd"]
os.mkfifo("/run/beats")
fd = os.open("/run/beats", os.O_RDWR | os.O_NONBLOCK)
latest, figures, rest = {}, {name: [] for name in names}, b""
def until(name, pid):
    global rest
    while latest.get(name, (0, pid))[1] == pid:
        assert select.select([fd], [], [], 60)[0], f"{name} did not come back"
        *lines, rest = (rest + os.read(fd, 65536)).split(b"\\n")
        for at, pid_, name_ in (line.decode().split() for line in lines):
            latest[name_] = int(at), int(pid_)
subprocess.run(["systemctl", "start", "relctld", "beat"], check=True)
for name in names:
    until(name, None)
end = time.monotonic() + within
for _ in range(kills):
    if time.monotonic() > end:
        break
    for name in random.sample(names, 2):
        at, pid = latest[name]
        time.sleep(max(0, lived - (time.monotonic() - at / 1e9)) + random.uniform(0, 0.1))
        begun = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        until(name, pid)
        figures[name].append((latest[name][0] - begun) / 1e6)
print(json.dumps(figures))
"""


def run(rig: Rig) -> dict[str, Any]:
    """Target: median at most 20 ms."""
    if (missing := why_not()) is not None:
        raise BenchError(missing)
    kills = 15 if rig.quick else 40
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as folder:
        tree = lay_out(Path(folder) / "tree")
        (tree / "opt/bench").mkdir()
        shutil.copy(rig.program, tree / "opt/bench/beat")
        host = Host(tree, CONFIG, {"/etc/systemd/system/beat.service": SERVICE}, enabled=False)
        with host.bed:
            words = (str(kills), str(LIVED), str(WITHIN))
            said = host.run("/usr/bin/python3", "-c", INSIDE, *words, timeout=ANSWERED_WITHIN)
            contained = host.daemon()["containment"]
    names = {"relctl": f"relctl ({contained})", "systemd": "systemd, RestartSec=0"}
    figures = {names[name]: summary(values) for name, values in json.loads(said.splitlines()[-1]).items()}
    print("under systemd, SIGKILL to first instruction:")
    print(table(HEAD, [row(name, figure) for name, figure in figures.items()]), "\n")
    return figures
