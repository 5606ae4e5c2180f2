"""Wants, counters and living VMs across the ends and deaths of the daemon (CONTRACT, *Wants*)."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from relctld.core.state import State
from relctld.host.records import read_state
from tests.fakes import fake
from tests.running import Fleet, Relctld, alive
from tests.waiting import wait_until

pytestmark = pytest.mark.host


def record(daemon: Relctld, name: str, file: str) -> Path:
    return daemon.run_dir / "releases" / name / file


def test_a_clean_stop_takes_the_nodes_and_the_start_brings_them_back(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld(
        {name: fake(tmp_path / name) for name in ("web", "down")} | {"off": fake(tmp_path / "off", enabled=False)}
    )
    daemon.relctl("stop", "down")
    pid = int(daemon.wait_for("web", state="running")["pid"])
    assert daemon.stop() == 0
    assert not alive(pid)
    wait_until(lambda: daemon.logger_pid is None, what="the logger's end")
    daemon.start()
    now = daemon.wait_for("web", state="running")
    assert now == now | {"epoch": 2, "want": "up", "restarts": 0, "restarts_total": 0}
    assert now["last_exit"] == now["last_exit"] | {"cause": "stopped", "pid": pid}
    assert [daemon.status(name)["state"] for name in ("down", "off")] == ["stopped", "stopped"]
    assert [daemon.status(name)["want"] for name in ("down", "off")] == ["down", "down"]


def test_a_killed_daemon_is_no_event_for_a_vm(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "alone", tmp_path / "lock")})
    pid = int(daemon.wait_for("web", state="running")["pid"])
    os.kill(pid, signal.SIGKILL)
    before = daemon.wait_for("web", state="running", restarts=1)
    seqs = [event["seq"] for event in daemon.events()]
    daemon.kill()
    assert alive(before["pid"])
    daemon.start()
    now = daemon.status("web")
    same = ("pid", "epoch", "state", "want", "restarts", "restarts_total", "last_exit", "version", "flavour")
    assert {key: now[key] for key in same} == {key: before[key] for key in same}
    assert now["uptime_s"] >= before["uptime_s"]
    assert daemon.noted("web", "resumed")[-1]["pid"] == before["pid"]
    new = [event["seq"] for event in daemon.events()]
    assert new[: len(seqs)] == seqs
    assert len(set(new)) == len(new)
    assert not (tmp_path / "lock.twice").exists()


def test_an_adopted_vm_is_watched_stopped_and_restarted_like_any(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "child", "setsid")})
    daemon.wait_for("web", state="running")
    daemon.kill()
    daemon.start()
    pid = int(daemon.status("web")["pid"])
    os.kill(pid, signal.SIGKILL)
    now = daemon.wait_for("web", state="running", epoch=2)
    assert now["last_exit"]["pid"] == pid
    assert now["last_exit"]["signal"] in ("SIGKILL", None)  # None: a kernel before 6.15 does not tell
    daemon.kill()
    daemon.start()
    daemon.relctl("stop", "web")
    assert daemon.status("web")["state"] == "stopped"
    assert not alive(now["pid"])


def test_a_vm_that_ends_while_nobody_looks_is_started_again(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = int(daemon.wait_for("web", state="running")["pid"])
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    daemon.start()
    now = daemon.wait_for("web", state="running", epoch=2)
    assert now == now | {"restarts": 1, "want": "up"}
    assert now["last_exit"] == now["last_exit"] | {"cause": "unknown", "pid": pid}


def test_killed_during_a_start_it_goes_on(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", ready=f"exec:test -e {tmp_path / 'go'}")})
    before = wait_until(lambda: daemon.status("web")["pid"] and daemon.status("web"))
    daemon.kill()
    daemon.start()
    now = daemon.status("web")
    assert now == now | {"state": "starting", "pid": before["pid"], "epoch": 1}
    (tmp_path / "go").touch()
    assert daemon.wait_for("web", state="running")["pid"] == before["pid"]


def test_killed_during_a_stop_it_goes_on(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "until", tmp_path / "go", stop_timeout="60s")})
    daemon.wait_for("web", state="running")
    daemon.relctl("stop", "web", "--no-wait")
    pid = int(daemon.wait_for("web", state="stopping")["pid"])
    daemon.kill()
    daemon.start()
    assert daemon.status("web")["state"] == "stopping"
    (tmp_path / "go").touch()
    now = daemon.wait_for("web", state="stopped")
    assert now["want"] == "down"
    assert now["last_exit"] == now["last_exit"] | {"cause": "stopped", "pid": pid}


def test_killed_during_backoff_it_waits_on(relctld: Fleet, tmp_path: Path) -> None:
    table = fake(tmp_path / "web", ready="process", backoff={"first": "2s"})
    daemon = relctld({"web": table | {"command": ["/bin/false"]}})
    before = daemon.wait_for("web", state="backoff")
    folder = record(daemon, "web", "state.json").parent
    wait_until(lambda: (saved := read_state(folder)) and saved[0].state is State.BACKOFF)
    daemon.kill()
    daemon.start()
    now = daemon.status("web")
    if (now["state"], now["epoch"]) == ("backoff", 1):  # a slow machine may be one start further already
        assert now["deadline_s"] <= before["deadline_s"]
        assert now["restarts"] == 1
    daemon.wait_for("web", epoch=2)


def test_on_stop_leave_leaves_the_nodes(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")}, {"on_stop": "leave"})
    before = daemon.wait_for("web", state="running")
    assert daemon.relctl("daemon", "stop").returncode == 0
    assert daemon.process is not None
    assert daemon.process.wait(10) == 0
    assert alive(before["pid"])
    daemon.start()
    now = daemon.status("web")
    assert now == now | {"pid": before["pid"], "epoch": 1, "state": "running"}


def test_records_of_another_boot_say_nothing(relctld: Fleet, tmp_path: Path) -> None:
    """The host was restarted: what runs under that pid now is a stranger; totals and wants stay."""
    daemon = relctld({"web": fake(tmp_path / "web"), "down": fake(tmp_path / "down")})
    daemon.relctl("stop", "down")
    before = daemon.wait_for("web", state="running")
    daemon.kill()
    os.kill(before["pid"], signal.SIGKILL)
    for name in ("web", "down"):
        for file in ("vm.json", "state.json"):
            path = record(daemon, name, file)
            path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    daemon.start()
    now = daemon.wait_for("web", state="running")
    assert now == now | {"epoch": 2, "restarts": 0, "restarts_total": 0}
    assert now["pid"] != before["pid"]
    down = daemon.status("down")
    assert (down["state"], down["want"]) == ("stopped", "down")


def test_a_pid_that_another_process_has_now_is_left_alone(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "bystander": fake(tmp_path / "bystander")})
    pid = int(daemon.wait_for("web", state="running")["pid"])
    stranger = int(daemon.wait_for("bystander", state="running")["pid"])
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    for file in ("vm.json", "state.json"):
        path = record(daemon, "web", file)
        body = json.loads(path.read_text())
        vm = body if file == "vm.json" else body["state"]["vm"]
        vm["pid"] = stranger
        path.write_text(json.dumps(body))
    daemon.start()
    now = daemon.wait_for("web", state="running", epoch=2)
    assert now["pid"] != stranger
    other = daemon.status("bystander")
    assert other == other | {"pid": stranger, "epoch": 1, "state": "running"}


def test_a_second_daemon_is_refused_and_says_who_runs(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    before = daemon.wait_for("web", state="running")
    second = relctld({}, {"run_dir": daemon.run_dir}, start=False)
    second.configure({"web": fake(tmp_path / "web")}, {"run_dir": daemon.run_dir, "state_dir": daemon.state_dir})
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(20) == 1
    assert f"another relctld runs on {daemon.run_dir}: pid {daemon.pid}" in second.said()
    assert daemon.status("web")["pid"] == before["pid"]


def test_a_release_that_left_the_config_while_the_daemon_was_away(relctld: Fleet, tmp_path: Path) -> None:
    web = fake(tmp_path / "web")
    daemon = relctld({"web": web, "api": fake(tmp_path / "api")})
    before = daemon.wait_for("web", state="running")
    daemon.kill()
    daemon.configure({"api": fake(tmp_path / "api")})
    daemon.start()
    now = daemon.status("web")
    assert now == now | {"unconfigured": True, "pid": before["pid"], "state": "running"}
    for verb in ("start", "restart"):
        refused = daemon.relctl(verb, "web", check=False)
        assert (refused.returncode, "left the config" in refused.stderr) == (5, True)
    assert daemon.status("web")["pid"] == before["pid"]
    assert daemon.relctl("stop", "web").returncode == 0
    wait_until(lambda: [r["name"] for r in daemon.ask("status")["releases"]] == ["api"], what="web to be forgotten")
    assert not alive(before["pid"])


def test_the_logger_of_a_killed_daemon_ends_with_the_next_one(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "say", "hello")})
    wait_until(lambda: daemon.logger_pid, what="a logger")
    logger = daemon.logger_pid
    daemon.kill()
    daemon.start()
    wait_until(lambda: daemon.ask("daemon-status")["logger_pid"] == logger, what="the logger to be taken back")
    assert daemon.stop() == 0
    assert logger is not None
    wait_until(lambda: not alive(logger), what="the logger's end")


def test_a_run_dir_that_was_changed_under_living_nodes_is_refused(relctld: Fleet, tmp_path: Path) -> None:
    """Their records are in the old one: relctld would start a second copy of each."""
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = daemon.wait_for("web", state="running")["pid"]
    daemon.kill()
    other = relctld({}, start=False)
    other.configure({"web": fake(tmp_path / "web")}, {"state_dir": daemon.state_dir})
    other.start(wait=False)
    assert other.process is not None
    assert other.process.wait(30) == 1
    assert f"records are in {daemon.run_dir}" in other.said()
    assert alive(pid)
    daemon.start()
    assert daemon.status("web")["pid"] == pid


@pytest.mark.parametrize("kind", ["pre_start", "post_start", "probe"])
def test_a_command_ends_with_the_relctld_that_ran_it(relctld: Fleet, tmp_path: Path, kind: str) -> None:
    """After a SIGKILL it runs on, where nobody hears of its end: the next relctld ends it, before it runs a hook."""
    pids, go, spared = tmp_path / "pids", tmp_path / "go", tmp_path / "spared"
    say = f"exec 9>{tmp_path}/lock; flock -n 9 || touch {tmp_path}/twice; echo $$ >>{pids}; test -e {go} || sleep 300"
    keys: dict[str, Any] = {"health": {"probe": "process"}, "hooks": {"timeout": "5m"}}
    if kind == "probe":
        keys["health"] = {"probe": f"exec:sh -c '{say}'", "timeout": "5m"}
    else:
        keys["hooks"][kind] = ["sh", "-c", say]
    left = ["sh", "-c", f"setsid sleep 300 & echo $! >{spared}"]
    other = fake(tmp_path / "other", health={"probe": "process"}, hooks={"pre_start": left})
    daemon = relctld({"web": fake(tmp_path / "web", ready="process", **keys), "other": other})
    daemon.wait_for("other", state="running")
    wait_until(lambda: pids.exists() and pids.read_text(), what=f"the {kind}")
    daemon.kill()
    [first] = map(int, pids.read_text().split())
    assert alive(first)
    go.touch()
    daemon.start()
    daemon.wait_for("web", state="running")
    wait_until(lambda: not alive(first), what=f"the end of the former {kind}")
    if kind == "pre_start":
        assert len(pids.read_text().split()) == 2
        assert not (tmp_path / "twice").exists(), "two of them at once"
    background = int(spared.read_text())
    assert alive(background), "what a hook left behind on purpose is no business of ours"
    os.kill(background, signal.SIGKILL)
