"""What nodes print is in their logs, every line, whoever is killed meanwhile."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.beam.supervised import Host, get, http_ready
from tests.epmds import free_port
from tests.running import Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.beam


def text(daemon: Relctld) -> str:
    """The log file as it is."""
    return (daemon.log_dir / "web" / "current").read_text()


def ticks(log: str) -> list[list[int]]:
    """The numbers of all ticks, a list for each VM."""
    runs: list[list[int]] = []
    for number in map(int, re.findall(r"^papp tick (\d+)$", log, re.MULTILINE)):
        if number == 1:
            runs.append([])
        runs[-1].append(number)
    return runs


def ticked_on(daemon: Relctld, more: int) -> None:
    """Wait until the present VM ticked so many times more."""
    wanted = ticks(text(daemon))[-1][-1] + more
    wait_until(lambda: ticks(text(daemon))[-1][-1] >= wanted, 30, what=f"tick {wanted} in the log")


def logger_pid(daemon: Relctld) -> int | None:
    """The logger, where it is this daemon's child."""
    pid: int | None = json.loads(daemon.relctl("--json", "daemon", "status").stdout)["logger_pid"]
    return pid


def test_no_tick_is_missing_after_the_vm_relctld_and_the_logger_were_killed(papp_root: Path, host: Host) -> None:
    port = free_port()
    env = {"DEMO_TICK_MS": "5", "DEMO_HTTP_PORT": str(port)}
    daemon = host.run(web=host.release(papp_root, env, **http_ready(port)))
    first = daemon.wait_for("web", state="running")["pid"]
    ticked_on(daemon, 20)
    os.kill(first, signal.SIGKILL)
    second = daemon.wait_for("web", state="running", epoch=2)["pid"]
    ticked_on(daemon, 20)

    logger = logger_pid(daemon)
    daemon.kill()
    ticked_on(daemon, 20)  # the logger lives on, and so does the VM
    daemon.start()
    assert daemon.wait_for("web", state="running")["pid"] == second
    ticked_on(daemon, 20)

    assert logger is not None
    os.kill(logger, signal.SIGKILL)
    wait_until(lambda: logger_pid(daemon) not in (None, logger), 30, what="another logger")
    ticked_on(daemon, 20)
    daemon.relctl("stop", "web")

    ended = "\npapp stopped\nrelctl: exited (epoch 2, "
    wait_until(lambda: ended in text(daemon), what=lambda: text(daemon)[-200:])
    runs = ticks(text(daemon))
    assert [run[0] for run in runs] == [1, 1]
    for run in runs:
        assert run == list(range(1, len(run) + 1))
    shown = daemon.relctl("logs", "web", "-n", "100000").stdout
    assert shown == text(daemon)
    assert daemon.status("web")["log"]["bytes_dropped"] == 0


def test_a_burst_of_long_lines_is_whole_across_rotations(papp_root: Path, host: Host) -> None:
    port, lines, width = free_port(), 3000, 300
    env = {"DEMO_HTTP_PORT": str(port), "DEMO_LINE_BYTES": str(width)}
    log = {"max_size": "100kB", "keep": 50, "compress": "gzip"}
    daemon = host.run(web=host.release(papp_root, env, log=log, **http_ready(port)))
    daemon.wait_for("web", state="running")
    assert get(port, f"/lines/{lines}") == (200, "printed\n")
    daemon.relctl("stop", "web")
    wait_until(lambda: "papp stopped" in text(daemon), what="its last line")
    shown = [line for line in daemon.relctl("logs", "web", "-n", "100000").stdout.splitlines() if " line " in line]
    assert [line.split()[2] for line in shown] == [str(n) for n in range(1, lines + 1)]
    assert {len(line) for line in shown} == {width}
    assert len(list((daemon.log_dir / "web").glob("*.gz"))) >= 5
