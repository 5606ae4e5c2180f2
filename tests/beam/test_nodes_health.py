"""What relctld says of a node that it is linked to: ready, well, hung, overloaded, and that only hung restarts it."""

import json
import os
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import epmds, otps
from tests.beam.nodes_asked import OWN, QUICK, REPORT, evaluate_failed, healths, same_vm, told, value
from tests.beam.supervised import Host, crashed, notes
from tests.beam.test_supervised_epmd import epmd_of
from tests.epmds import free_port
from tests.running import Relctld, plain_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

STARVED = """\
Until = erlang:monotonic_time(second) + 4,
Busy = fun Loop() -> case erlang:monotonic_time(second) < Until of true -> Loop(); false -> ok end end,
[spawn_opt(fun() -> timer:sleep(500), Busy() end, [{priority, high}])
 || _ <- lists:seq(1, 2 * erlang:system_info(schedulers_online))]."""
"""Busy loops at high priority, so many that for three seconds nothing of normal priority runs."""


CROWD = """\
register(crowd, spawn(fun() ->
    [spawn_link(timer, sleep, [infinity]) || _ <- lists:seq(1, 950 - erlang:system_info(process_count))],
    timer:sleep(infinity)
end))."""


def running(daemon: Relctld, name: str = "web", **wanted: Any) -> dict[str, Any]:
    """Wait until it runs well."""
    return daemon.wait_for(name, state="running", health="well", **wanted)


# -- ready -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rapp", "mapp"])
def test_it_runs_only_once_init_has_started_it(name: str, host: Host, request: pytest.FixtureRequest) -> None:
    table = host.release(request.getfixturevalue(f"{name}_root"), {"DEMO_BOOT_MS": "1500"}, health=QUICK)
    daemon = host.run(web=table)
    booting = told(daemon, "web", "not ready: booting: its applications are being started")
    assert booting["state"] == "starting"
    running(daemon)
    (event,) = daemon.noted("web", "running")
    assert event["seconds"] >= 1.5
    assert value(daemon, "web", "init:get_status().") == "{started,started}"
    assert healths(daemon, "web") == ["well"]


@pytest.mark.parametrize(("name", "module"), [("rapp", "demo"), ("mapp", "Mapp.Application")])
def test_ready_by_a_function(name: str, module: str, host: Host, request: pytest.FixtureRequest) -> None:
    file = host.folder / "ready"
    env = {"DEMO_READY_FILE": str(file)}
    table = host.release(request.getfixturevalue(f"{name}_root"), env, ready=f"mfa:{module}:ready", health=QUICK)
    daemon = host.run(web=table)
    assert told(daemon, "web", f"not ready: {module}:ready() says false")["state"] == "starting"
    file.touch()
    running(daemon)


def test_a_function_that_is_not_there_is_not_ready(papp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(papp_root, ready="mfa:demo:reddy", health=QUICK, start_timeout="2s"))
    assert told(daemon, "web", "not ready: demo:reddy() failed: error undef")["state"] == "starting"
    detail = crashed(daemon, "web", "boot-failed")["detail"]
    assert detail.startswith("not ready within 2 s (not ready: demo:reddy() failed: error undef")


def test_a_node_that_does_not_talk_runs_as_a_process(mapp_root: Path, rapp_root: Path, host: Host) -> None:
    deaf = {"ERL_AFLAGS": "-dist_listen false"}
    daemon = host.run(
        web=host.release(mapp_root, {"RELEASE_DISTRIBUTION": "none"}, health=QUICK),
        api=host.release(rapp_root, deaf, health=QUICK),
        must=host.release(rapp_root, deaf, ready="node", start_timeout="2s", stop_timeout="1s", intensity=0),
    )
    for name, why in (("web", "distribution is off"), ("api", "does not listen (-dist_listen false)")):
        told(daemon, name, why)
        status = daemon.wait_for(name, state="running", health="unknown")
        assert (why in status["health_detail"], status["beam"]) == (True, None)
    detail = crashed(daemon, "must", "boot-failed")["detail"]
    assert detail.startswith("not ready within 2 s (not ready: the node does not listen (-dist_listen false)")
    assert daemon.relctl("status", "web", "api").returncode == 0
    done = daemon.relctl("eval", "api", "1.", check=False)
    assert (done.returncode, "does not listen" in done.stderr) == (5, True)


# -- hung, overloaded ------------------------------------------------------------------------------


def test_a_node_that_hangs_is_told_and_comes_back(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=REPORT))
    before = running(daemon)
    os.kill(before["pid"], signal.SIGSTOP)
    hung = daemon.wait_for("web", timeout=5, health="hung")
    assert same_vm(before, hung)
    assert "no answer within 0.5 s" in hung["health_detail"]
    os.kill(before["pid"], signal.SIGCONT)
    assert same_vm(before, running(daemon))
    daemon.noted("web", "health", at_least=3)
    assert healths(daemon, "web") == ["well", "hung", "well"]


def test_a_node_that_hangs_is_restarted(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK, stop_timeout="0.5s"))
    before = running(daemon)
    os.kill(before["pid"], signal.SIGSTOP)
    after = running(daemon, epoch=2)
    assert (after["last_exit"]["cause"], after["last_exit"]["pid"]) == ("hung", before["pid"])
    assert "no answer within 0.5 s" in after["last_exit"]["detail"]
    assert (after["restarts_total"], after["last_exit"]["signal"]) == (1, "SIGKILL")


def test_a_node_that_hangs_while_relctld_is_away_is_restarted(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK, stop_timeout="0.5s"))
    before = running(daemon)
    saved = daemon.run_dir / "releases" / "web" / "state.json"
    wait_until(lambda: json.loads(saved.read_bytes())["state"]["been_well"], what="the state to be saved")
    daemon.kill()
    os.kill(before["pid"], signal.SIGSTOP)
    daemon.start()
    assert crashed(daemon, "web", "hung")["pid"] == before["pid"]


def test_an_overloaded_node_is_told_and_left_alone(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = running(daemon)
    value(daemon, "web", STARVED)
    busy = daemon.wait_for("web", timeout=20, health="degraded")
    assert busy["health_detail"] == "overloaded: its init gives no answer within 0.5 s"
    assert same_vm(before, running(daemon))
    daemon.noted("web", "health", at_least=3)
    assert set(healths(daemon, "web")) == {"well", "degraded"}


# -- what is not the node's fault ------------------------------------------------------------------


def test_an_epmd_that_ends_harms_nobody(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = running(daemon)
    (epmd,) = epmds.started_for(host.epmd_port)
    epmd.kill()
    lost = told(daemon, "web", f"no epmd answers on port {host.epmd_port}: other nodes cannot find it")
    assert (lost["health"], same_vm(before, lost)) == ("well", True)
    (event,) = [event for event in daemon.events() if event["event"] == "epmd-lost"]
    assert (event["port"], event["release"]) == (host.epmd_port, None)
    value(daemon, "web", f"erlang:disconnect_node('{OWN}').")
    linked_again(daemon)
    again = os.environ | {"ERL_EPMD_PORT": str(host.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    subprocess.run([epmd_of(rapp_root), "-daemon"], env=again, check=True, timeout=10)
    wait_until(lambda: "epmd-back" in [event["event"] for event in daemon.events()], 20, 0.1, what="epmd-back")
    assert same_vm(before, running(daemon, health_detail=""))


def test_a_crash_dump_takes_its_time(rapp_root: Path, host: Host) -> None:
    """Into a FIFO, so that it lasts as long as the test wants."""
    fifo = host.folder / "dump"
    os.mkfifo(fifo)
    env = {"ERL_CRASH_DUMP": str(fifo), "ERL_CRASH_DUMP_SECONDS": "-1"}
    crash = {"timeout": "30s"}
    daemon = host.run(web=host.release(rapp_root, env, health=QUICK, crash=crash, restart="temporary"))
    before = running(daemon)
    with open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0) as dump:
        os.kill(before["pid"], signal.SIGUSR1)
        dumping = told(daemon, "web", "writing a crash dump")
        assert dumping["health"] == "unreachable"
        failed = evaluate_failed(daemon, "web", "1.")
        assert "writing a crash dump" in failed or "no port" in failed
        assert same_vm(before, daemon.status("web"))
        wait_until(lambda: dump.read() is None and daemon.status("web")["state"] != "running", what="its end")
    assert "unreachable" in healths(daemon, "web")
    assert "hung" not in healths(daemon, "web")
    exited = daemon.wait_for("web", state="stopped")["last_exit"]
    assert (exited["cause"], exited["pid"]) == ("halted", before["pid"])


def test_a_crash_dump_that_never_ends_is_hung(rapp_root: Path, host: Host) -> None:
    fifo = host.folder / "dump"
    os.mkfifo(fifo)
    env = {"ERL_CRASH_DUMP": str(fifo), "ERL_CRASH_DUMP_SECONDS": "-1"}
    keys = {"health": QUICK, "crash": {"timeout": "1s"}, "stop_timeout": "0.5s"}
    daemon = host.run(web=host.release(rapp_root, env, **keys, restart="temporary"))
    before = running(daemon)
    with open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0):
        os.kill(before["pid"], signal.SIGUSR1)
        told(daemon, "web", "writing a crash dump")
        last = crashed(daemon, "web", "hung")
    assert (last["pid"], last["signal"]) == (before["pid"], "SIGKILL")
    assert last["detail"] == "writing a crash dump, for more than 6 s"


# -- one process, one relctld, many lives ----------------------------------------------------------


@pytest.mark.parametrize("name", ["rapp", "mapp"])
def test_a_node_that_boots_again_inside_its_process(name: str, host: Host, request: pytest.FixtureRequest) -> None:
    daemon = host.run(web=host.release(request.getfixturevalue(f"{name}_root"), health=QUICK))
    before = running(daemon)
    value(daemon, "web", "init:restart().")
    (event,) = daemon.noted("web", "vm-restarted")
    after = running(daemon)
    assert event["pid"] == before["pid"] == after["pid"]
    assert (after["epoch"], after["restarts_total"]) == (before["epoch"], before["restarts_total"] + 1)
    assert (after["last_exit"]["cause"], after["last_exit"]["pid"]) == ("vm-restarted", before["pid"])
    assert "hung" not in healths(daemon, "web")
    assert len(daemon.noted("web", "vm-restarted")) == 1


def test_a_boot_that_reads_its_configuration_at_run_time_counts_once(mapp_root: Path, host: Host) -> None:
    """What `reboot_system_after_config: true` in mix.exs makes of sys.config: init:restart within the boot."""
    path = mapp_root / "releases" / "1.0.0" / "sys.config"
    text = path.read_text()
    for key in ("RUNTIME_CONFIG=", "reboot_system_after_config => "):
        text = text.replace(f"{key}false", f"{key}true")
    path.write_text(text)
    daemon = host.run(web=host.release(mapp_root, {"DEMO_BOOT_MS": "600"}, health=QUICK))
    status = running(daemon)
    assert (status["restarts_total"], status["last_exit"], status["epoch"]) == (0, None, 1)
    assert "vm-restarted" not in notes(daemon, "web")


def test_a_new_relctld_links_again(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = running(daemon)
    daemon.kill()
    daemon.start()
    after = running(daemon)
    (resumed,) = daemon.noted("web", "resumed")
    later = wait_until(
        lambda: [event for event in daemon.noted("web", "health") if event["seq"] > resumed["seq"]],
        what="the new one's word on its health",  # that of the former died with it, where it came a moment before
    )
    well = later[0]
    assert datetime.fromisoformat(well["at"]) - datetime.fromisoformat(resumed["at"]) < timedelta(seconds=1)
    assert same_vm(before, after)
    assert (after["last_exit"], after["node"]) == (None, "rapp@127.0.0.1")
    assert not {"vm-restarted", "exited"} & set(notes(daemon, "web"))
    assert "unreachable" not in healths(daemon, "web")


def test_links_leave_no_atoms_behind(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = running(daemon)
    count = "erlang:system_info(atom_count)."
    drop = f"{{erlang:disconnect_node('{OWN}'), persistent_term:put(link, 0)}}."
    wait_until(lambda: (daemon.status("web")["beam"] or {}).get("applications"), what="all that is asked of it")
    value(daemon, "web", drop)
    linked_again(daemon)
    atoms = value(daemon, "web", count)
    for _ in range(20):
        value(daemon, "web", drop)
        linked_again(daemon)
    assert value(daemon, "web", count) == atoms
    assert same_vm(before, daemon.status("web"))
    assert set(healths(daemon, "web")) == {"well"}


def linked_again(daemon: Relctld) -> None:
    """Wait until relctld's link to the node stands."""
    linked = f"lists:member('{OWN}', nodes(hidden))."
    wait_until(lambda: value(daemon, "web", linked) == "true", 30, what="the link")


# -- every way to a node ---------------------------------------------------------------------------


def test_a_node_without_epmd(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, {"ERL_DIST_PORT": str(free_port())}, health=QUICK))
    running(daemon)
    assert value(daemon, "web", "node().") == "'rapp@127.0.0.1'"
    assert value(daemon, "web", "init:get_argument(start_epmd).") == '{ok,[["false"]]}'


def test_a_node_on_ipv6(rapp_root: Path, host: Host) -> None:
    env = {"ERL_AFLAGS": "-proto_dist inet6_tcp", "DEMO_NODE": "rapp@::1", "ERL_EPMD_ADDRESS": "::1"}
    daemon = host.run(web=host.release(rapp_root, env, health=QUICK))
    assert running(daemon)["node"] == "rapp@::1"
    assert value(daemon, "web", "nodes(hidden).") == "['relctld@::1','relctld-eval@::1']"


def test_the_newest_otp_by_a_command_of_its_own(host: Host) -> None:
    command = [otps.erl("28"), "-noinput", "-name", "otp28@127.0.0.1", "-setcookie", "oatmeal"]
    table = host.release(plain_root(host.folder / "root"), command=command, health=QUICK)
    daemon = host.run(web=table)
    running(daemon)
    wait_until(lambda: daemon.status("web")["beam"], what="its numbers")
    status = daemon.status("web")
    assert (status["beam"]["otp"], status["node"]) == ("28", "otp28@127.0.0.1")
    assert value(daemon, "web", "erlang:system_info(otp_release).") == '"28"'


# -- numbers ---------------------------------------------------------------------------------------


def test_numbers_and_a_threshold(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, {"ERL_AFLAGS": "+P 1024"}, health=QUICK))
    running(daemon)
    wait_until(lambda: daemon.status("web")["beam"], what="its numbers")
    status = daemon.status("web")
    beam = status["beam"]
    assert (beam["otp"], beam["processes"]["limit"], beam["thresholds"]) == ("25", 1024, [])
    assert beam["memory"]["total"] > 1_000_000
    assert 20 < beam["processes"]["count"] < 900
    assert 0 < beam["uptime_s"] < 60
    assert beam["hidden_nodes"] == [OWN]
    assert "sasl" in {application["name"] for application in beam["applications"]}
    value(daemon, "web", CROWD)
    (event,) = daemon.noted("web", "threshold")
    assert (event["name"], event["limit"]) == ("processes", 1024)
    assert 922 <= event["value"] <= 1000
    assert daemon.status("web")["beam"]["thresholds"] == ["processes"]
    assert value(daemon, "web", "exit(whereis(crowd), kill).") == "true"
    (event,) = daemon.noted("web", "threshold-cleared")
    assert event["name"] == "processes"
    assert daemon.status("web")["beam"]["thresholds"] == []
    assert daemon.status("web")["health"] == "well"
