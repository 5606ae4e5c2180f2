"""Ready, health, hooks and crash dumps under a real daemon."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.fakes import fake
from tests.running import Fleet
from tests.waiting import wait_until

pytestmark = pytest.mark.host

HEALTH = {"interval": "0.05s", "timeout": "1s", "failures": 2}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ready_by_tcp_comes_late(relctld: Fleet, tmp_path: Path) -> None:
    port, go = free_port(), tmp_path / "go"
    daemon = relctld({"web": fake(tmp_path / "web", "wait", go, "tcp", port, ready=f"tcp:127.0.0.1:{port}")})
    wait_until(lambda: "refused" in daemon.status("web")["health_detail"])
    assert daemon.status("web")["state"] == "starting"
    assert daemon.relctl("status", check=False).returncode == 3
    go.touch()
    daemon.wait_for("web", state="running", health_detail="no Erlang VM: the process is alive")
    assert daemon.relctl("status").returncode == 0


def test_a_release_that_was_well_and_hangs_is_restarted(relctld: Fleet, tmp_path: Path) -> None:
    port, well = free_port(), tmp_path / "well"
    url = f"http://127.0.0.1:{port}/health"
    well.touch()
    daemon = relctld(
        {
            "web": fake(
                tmp_path / "web", "http", port, well, ready=url, health={**HEALTH, "probe": url}, stop_timeout="2s"
            )
        }
    )
    daemon.wait_for("web", state="running", health="well")
    well.unlink()
    [exited] = daemon.noted("web", "exited")
    assert (exited["cause"], exited["detail"]) == ("hung", "HTTP 503 Service Unavailable")
    well.touch()
    now = daemon.wait_for("web", 30, state="running", health="well")
    assert now["restarts"] == 1
    assert [event["health"] for event in daemon.noted("web", "health", at_least=2)][:2] == ["well", "hung"]


def test_a_release_that_never_was_well_is_degraded_not_hung(relctld: Fleet, tmp_path: Path) -> None:
    health = {**HEALTH, "probe": f"exec:test -e {tmp_path / 'well'}"}
    daemon = relctld({"web": fake(tmp_path / "web", health=health)})
    now = daemon.wait_for("web", state="running", health="degraded")
    assert (now["epoch"], now["restarts"]) == (1, 0)
    assert daemon.relctl("status", "web").returncode == 0
    (tmp_path / "well").touch()
    daemon.wait_for("web", health="well", epoch=1)


def test_action_report_only_reports(relctld: Fleet, tmp_path: Path) -> None:
    well = tmp_path / "well"
    well.touch()
    health = {**HEALTH, "probe": f"exec:test -e {well}", "action": "report"}
    daemon = relctld({"web": fake(tmp_path / "web", health=health)})
    daemon.wait_for("web", state="running", health="well")
    well.unlink()
    daemon.wait_for("web", state="running", health="hung", epoch=1)
    assert daemon.relctl("status", "web", check=False).returncode == 3
    well.touch()
    daemon.wait_for("web", state="running", health="well", epoch=1)


def test_a_probe_that_hangs_is_a_miss_and_delays_nobody(relctld: Fleet, tmp_path: Path) -> None:
    """The kernel accepts for a stopped process, which never answers."""
    port, well = free_port(), tmp_path / "well"
    well.touch()
    url = f"http://127.0.0.1:{port}/"
    health = {"probe": url, "interval": "0.05s", "timeout": "0.2s", "failures": 2}
    daemon = relctld(
        {
            "web": fake(tmp_path / "web", "http", port, well, ready=url, health=health, stop_timeout="0.2s"),
            "api": fake(tmp_path / "api"),
        }
    )
    pid = int(daemon.wait_for("web", state="running", health="well")["pid"])
    os.kill(pid, signal.SIGSTOP)
    os.kill(int(daemon.wait_for("api", state="running")["pid"]), signal.SIGKILL)
    daemon.wait_for("api", state="running", epoch=2)
    now = daemon.wait_for("web", state="running", epoch=2)
    assert now["last_exit"] == now["last_exit"] | {
        "cause": "hung",
        "signal": "SIGKILL",
        "detail": "no answer within 0.2 s",
    }


def test_a_failing_pre_start_aborts(relctld: Fleet, tmp_path: Path) -> None:
    hooks = {"pre_start": ["sh", "-c", "echo no migration; exit 4"]}
    daemon = relctld(
        {"web": fake(tmp_path / "web", "touch", tmp_path / "ran", hooks=hooks, enabled=False, intensity=0)}
    )
    done = daemon.relctl("--json", "start", "web", check=False)
    assert done.returncode == 1
    assert "pre_start: exit code 4: no migration" in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "ran").exists()
    now = daemon.wait_for("web", state="failed")
    assert now["last_exit"] == now["last_exit"] | {"cause": "boot-failed", "pid": None, "code": None}
    assert [event["hook"] for event in daemon.noted("web", "hook-failed")] == ["pre_start"]


def test_a_hook_that_hangs_ends_at_its_timeout(relctld: Fleet, tmp_path: Path) -> None:
    hooks = {"post_start": ["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 300 & wait"], "timeout": "0.3s"}
    daemon = relctld({"web": fake(tmp_path / "web", hooks=hooks)})
    daemon.wait_for("web", state="running")
    [failed] = daemon.noted("web", "hook-failed")
    assert failed["error"] == "not done within 0.3 s"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert daemon.status("web")["state"] == "running"


def test_hooks_run_in_their_order_and_know_what_happened(relctld: Fleet, tmp_path: Path) -> None:
    told, names = tmp_path / "told", ("pre_start", "post_start", "on_crash", "post_stop")
    say = "echo $RELCTL_HOOK $RELCTL_RELEASE $RELCTL_EPOCH $RELCTL_CAUSE >> " + str(told)
    daemon = relctld({"web": fake(tmp_path / "web", hooks={name: ["sh", "-c", say] for name in names})})
    os.kill(int(daemon.wait_for("web", state="running")["pid"]), signal.SIGKILL)
    daemon.wait_for("web", state="running", epoch=2)
    wait_until(lambda: told.read_text().count("post_start") == 2, what="the hooks")
    assert set(told.read_text().splitlines()) == {
        "pre_start web 1", "post_start web 1", "on_crash web 1 killed", "post_stop web 1 killed",
        "pre_start web 2", "post_start web 2",
    }  # fmt: skip
    daemon.relctl("stop", "web")
    wait_until(lambda: "post_stop web 2 stopped" in told.read_text(), what="post_stop")
    assert "on_crash web 2" not in told.read_text()


def test_stop_cancels_a_pre_start(relctld: Fleet, tmp_path: Path) -> None:
    hooks = {"pre_start": ["sh", "-c", f"touch {tmp_path}/begun; sleep 300"], "timeout": "5m"}
    daemon = relctld({"web": fake(tmp_path / "web", hooks=hooks)})
    wait_until((tmp_path / "begun").exists)
    daemon.relctl("stop", "web")
    now = daemon.status("web")
    assert now == now | {"state": "stopped", "pid": None}


def test_crash_dumps_are_kept_listed_and_pruned(relctld: Fleet, tmp_path: Path) -> None:
    table = fake(tmp_path / "web", "dump", "eheap_alloc: no more", "exit", 1, intensity=3, ready="process",
                 crash={"keep": 2}, backoff={"base": "0.01s"})  # fmt: skip
    daemon = relctld({"web": table})
    daemon.wait_for("web", state="failed", epoch=4)
    daemon.noted("web", "crash-dump", at_least=4)
    crashes = [json.loads(line) for line in daemon.relctl("--json", "crashes", "web").stdout.splitlines()]
    assert [(crash["release"], crash["epoch"], crash["slogan"]) for crash in crashes] == [
        ("web", 4, "eheap_alloc: no more"),
        ("web", 3, "eheap_alloc: no more"),
    ]
    assert all(crash["size"] > 0 and crash["at"].endswith("Z") for crash in crashes)
    one = daemon.relctl("crashes", "web", "1").stdout
    assert "=erl_crash_dump:0.5" in one
    missing = daemon.relctl("crashes", "web", "7", check=False)
    assert (missing.returncode, "there is no crash dump 7" in missing.stderr) == (5, True)
    now = daemon.status("web")
    assert now["last_exit"] == now["last_exit"] | {"cause": "boot-failed", "detail": "eheap_alloc: no more"}
