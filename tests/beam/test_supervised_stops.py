"""A stop ends the node well where that is possible, always ends it, and leaves nothing."""

import os
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.beam.supervised import Host, get, http_ready, is_vm, notes
from tests.epmds import free_port
from tests.running import Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

Moment = Callable[[Relctld, int], bool]


def log(daemon: Relctld) -> str:
    """What the release printed so far."""
    path = daemon.log_dir / "web" / "current"
    return path.read_text() if path.exists() else ""


MOMENTS: dict[str, Moment] = {
    "at once": lambda _, pid: True,
    "when the emulator began": lambda _, pid: is_vm(pid),
    "when its second process began": lambda _, pid: bool(Path(f"/proc/{pid}/task/{pid}/children").read_text()),
    "in start/2": lambda daemon, _: "papp 1.0.0 starting" in log(daemon),
}


def test_stop_while_booting_really_stops(papp_root: Path, host: Host) -> None:
    """A SIGTERM that comes while the emulator boots is lost; the node would be up a second later."""
    port = free_port()
    env = {"DEMO_BOOT_MS": "600", "DEMO_HTTP_PORT": str(port)}
    daemon = host.run(web=host.release(papp_root, env, enabled=False, **http_ready(port)))
    for epoch, (moment, reached) in enumerate(MOMENTS.items(), 1):
        daemon.relctl("start", "--no-wait", "web")
        pid = wait_until(lambda: daemon.status("web")["pid"], what="a pid")
        wait_until(partial(reached, daemon, pid), what=moment)
        daemon.relctl("stop", "web")
        now = daemon.status("web")
        assert (now["state"], now["epoch"], now["last_exit"]["cause"]) == ("stopped", epoch, "stopped"), moment
        assert host.names() == [], moment
        assert get(port, "/health") == (0, ""), moment
    wait_until(lambda: notes(daemon, "web").count("stopped") == len(MOMENTS), what="its history")
    assert not {"running", "killing", "failed"} & set(notes(daemon, "web"))


@pytest.mark.parametrize(
    "trouble", [{"DEMO_STOP_MS": "infinity"}, {"DEMO_IGNORE_STOP": "1"}], ids=lambda env: next(iter(env))
)
def test_a_node_that_does_not_stop_is_killed_with_all_it_started(
    trouble: dict[str, str], papp_root: Path, host: Host
) -> None:
    env = {**trouble, "DEMO_PORT_PROGRAM": host.helpers()}
    daemon = host.run(web=host.release(papp_root, env, stop_timeout="1s"))
    daemon.wait_for("web", state="running")
    wait_until(lambda: host.names().count("sleep") == 4, what="the port programs")
    daemon.relctl("stop", "web")
    assert host.names() == []
    last = daemon.status("web")["last_exit"]
    assert (last["cause"], last["signal"], last["code"]) == ("stopped", "SIGKILL", None)
    wait_until(lambda: "killing" in notes(daemon, "web"), what="its history")


def test_a_slow_stop_within_its_time_is_waited_for(papp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(papp_root, {"DEMO_STOP_MS": "2500"}, stop_timeout="20s"))
    daemon.wait_for("web", state="running")
    wait_until(lambda: "started" in log(daemon), what="its start")
    daemon.relctl("stop", "web")
    wait_until(lambda: "\npapp stopped\n" in log(daemon), what=lambda: log(daemon)[-200:])
    assert daemon.status("web")["last_exit"]["code"] == 0


def test_dump_on_kill_keeps_a_dump_for_each_vm(papp_root: Path, host: Host) -> None:
    table = host.release(
        papp_root, {"DEMO_STOP_MS": "infinity"}, stop_timeout="300ms", dump_on_kill=True, enabled=False
    )
    daemon = host.run(web=table)
    for _ in range(2):
        daemon.relctl("start", "web")
        wait_until(lambda: log(daemon).count("started"), what="its start")
        daemon.relctl("stop", "web")
        assert host.names() == []
    shown = wait_until(
        lambda: (out := daemon.relctl("crashes", "web").stdout).count("\n") == 3 and out, what="two dumps"
    )
    assert isinstance(shown, str)
    assert shown.count("Received SIGUSR1") == 2
    dumps = sorted((daemon.log_dir / "web" / "crash").iterdir())
    assert [re.sub(r"\d{8}T\d{6}Z", "TIME", dump.name) for dump in dumps] == [
        "erl_crash.e1.TIME.dump",
        "erl_crash.e2.TIME.dump",
    ]
    assert "Slogan: Received SIGUSR1" in daemon.relctl("crashes", "web", "1").stdout
    assert daemon.status("web")["last_exit"]["cause"] == "stopped"


def test_heart_neither_stays_nor_starts_anything(papp_root: Path, host: Host) -> None:
    """heart is the VM's child: it lives on for a moment after a SIGKILL, and runs its command."""
    command = f"sleep {host.epmd_port}.9"
    env = {"ERL_ZFLAGS": "-heart", "HEART_COMMAND": command, "DEMO_HTTP_PORT": str(port := free_port())}
    daemon = host.run(web=host.release(papp_root, env, **http_ready(port)))
    first = daemon.wait_for("web", state="running")
    expected = ["beam.smp", "erl_child_setup", "heart"]
    assert host.names() == expected
    before = host.processes()
    os.kill(first["pid"], signal.SIGKILL)
    daemon.wait_for("web", state="running", epoch=2)
    assert host.names() == expected
    assert not [process for process in before if process.is_running() and process.status() != "zombie"]
    daemon.relctl("stop", "web")
    assert host.names() == []


def test_a_program_that_wiped_its_environment_is_found_in_its_cgroup(papp_root: Path, host: Host) -> None:
    env = {"DEMO_PORT_PROGRAM": f"env -i setsid -f sleep {host.epmd_port}.7"}
    daemon = host.run(web=host.release(papp_root, env))
    if '"containment":"cgroup"' not in daemon.relctl("--json", "daemon", "status").stdout.replace(" ", ""):
        pytest.skip("no cgroup of our own here: such a program cannot be told from others")
    daemon.wait_for("web", state="running")
    wait_until(lambda: "sleep" in host.names(), what="the program")
    daemon.relctl("stop", "web")
    assert host.names() == []


def test_stopping_relctld_stops_its_nodes_and_leave_leaves_them(papp_root: Path, host: Host) -> None:
    releases = {"web": host.release(papp_root, {"DEMO_PORT_PROGRAM": host.helpers()})}
    host.daemon.configure(releases, {"on_stop": "leave"})
    daemon = host.daemon.start()
    pid = daemon.wait_for("web", state="running")["pid"]
    wait_until(lambda: host.names().count("sleep") == 4, what="the port programs")
    assert daemon.stop() == 0
    assert is_vm(pid)
    daemon.configure(releases)
    daemon.start()
    assert daemon.wait_for("web", state="running")["pid"] == pid
    daemon.relctl("daemon", "stop")
    assert host.names() == []
