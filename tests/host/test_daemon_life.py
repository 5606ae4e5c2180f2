"""How releases live and end under a real daemon: restarts, backoff, FAILED, policies, causes."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import fake
from tests.running import Fleet, Relctld, alive, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

QUICK = {"base": "0.05s", "jitter": 0}


def last_exit(daemon: Relctld, name: str) -> dict[str, Any]:
    return dict(daemon.status(name)["last_exit"] or {})


def kill_vm(daemon: Relctld, name: str, number: int = signal.SIGKILL) -> int:
    """Kill the VM and wait until its end was seen."""
    pid = int(daemon.wait_for(name, state="running")["pid"])
    os.kill(pid, number)
    wait_until(lambda: last_exit(daemon, name).get("pid") == pid, what=f"the end of pid {pid}")
    return pid


def test_a_killed_vm_is_started_again_at_once(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "api": fake(tmp_path / "api")})
    other = daemon.wait_for("api", state="running")
    pid = kill_vm(daemon, "web")
    now = daemon.wait_for("web", state="running")
    assert now == now | {"epoch": 2, "restarts": 1, "restarts_total": 1, "want": "up"}
    assert now["pid"] != pid
    assert now["last_exit"] == now["last_exit"] | {"cause": "killed", "signal": "SIGKILL", "code": None, "pid": pid}
    assert not daemon.noted("web", "backoff", at_least=0)
    assert daemon.status("api")["pid"] == other["pid"]


def test_a_crash_loop_backs_off_then_fails_and_others_are_untouched(relctld: Fleet, tmp_path: Path) -> None:
    backoff = {"base": "0.1s", "factor": 3.0, "max": "0.2s", "jitter": 0.25}
    daemon = relctld(
        {
            "loop": fake(tmp_path / "loop", "exit", 1, intensity=4, ready="process", backoff=backoff),
            "api": fake(tmp_path / "api"),
        }
    )
    other = daemon.wait_for("api", state="running")
    now = daemon.wait_for("loop", state="failed")
    assert now == now | {"want": "up", "pid": None, "restarts": 4, "epoch": 5, "os": None, "uptime_s": None}
    [failed] = daemon.noted("loop", "failed")
    delays = [event["delay_s"] for event in daemon.noted("loop", "backoff")]
    for delay, plain in zip(delays, (0.1, 0.2, 0.2), strict=True):
        assert 0.75 * plain <= delay <= 1.25 * plain
    assert failed == failed | {"restarts": 4, "period_s": 60.0}
    assert daemon.relctl("status", check=False).returncode == 3
    assert daemon.relctl("status", "api").returncode == 0
    assert daemon.status("api")["pid"] == other["pid"]


@pytest.mark.parametrize(
    ("policy", "code", "restarted"),
    [
        ("permanent", 0, True),
        ("transient", 0, False),
        ("transient", 2, True),
        ("temporary", 2, False),
    ],
)
def test_restart_policies(relctld: Fleet, tmp_path: Path, policy: str, code: int, restarted: bool) -> None:
    table = fake(tmp_path / "web", "wait", tmp_path / "go", "once", tmp_path / "done", "exit", code, restart=policy)
    daemon = relctld({"web": table})
    daemon.wait_for("web", state="running")
    (tmp_path / "go").touch()
    now = daemon.wait_for("web", state="running" if restarted else "stopped", epoch=2 if restarted else 1)
    assert now["last_exit"] == now["last_exit"] | {"cause": "halted", "code": code}
    assert now["want"] == "up"
    if not restarted:
        assert daemon.noted("web", "stopped")[-1]["why"] == f"restart is {policy}"
        assert daemon.relctl("status", check=False).returncode == 3


def test_a_failed_release_is_tried_again_after_retry_failed(relctld: Fleet, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    table = fake(tmp_path / "web", "unless", mended, "exit", 1, intensity=0, ready="process", retry_failed="0.5s")
    daemon = relctld({"web": table})
    daemon.noted("web", "failed")
    mended.touch()
    now = daemon.wait_for("web", state="running")
    assert now["epoch"] >= 2


def test_exits_are_told_apart(relctld: Fleet, tmp_path: Path) -> None:
    never = {"restart": "temporary"}
    script = tmp_path / "no-interpreter"
    script.write_text("#!/no/such/shell\n")
    script.chmod(0o755)
    daemon = relctld(
        {
            "code": fake(tmp_path / "code", "wait", tmp_path / "go", "exit", 7, **never),
            "signal": fake(tmp_path / "signal", "wait", tmp_path / "go", "die", "SIGSEGV", **never),
            "halted": fake(tmp_path / "halted", "wait", tmp_path / "go", "exit", 0, **never),
            "boot": fake(tmp_path / "boot", "exit", 9, ready="process", **never),
            "late": fake(tmp_path / "late", ready="exec:false", start_timeout="0.3s", **never),
            "exec": fake(tmp_path / "exec", ready="process", **never) | {"command": [str(script)]},
            "dumped": fake(tmp_path / "dumped", "wait", tmp_path / "go", "dump", "out of luck", "exit", 1, **never),
        }
    )
    for name in ("code", "signal", "halted", "dumped"):
        daemon.wait_for(name, state="running")
    (tmp_path / "go").touch()
    expected: dict[str, tuple[str, int | None, str | None]] = {
        "code": ("halted", 7, None),
        "signal": ("killed", None, "SIGSEGV"),
        "halted": ("halted", 0, None),
        "boot": ("boot-failed", 9, None),
        "late": ("boot-failed", None, "SIGTERM"),
        "exec": ("exec-failed", 127, None),
        "dumped": ("crash-dump", 1, None),
    }
    for name, (cause, code, number) in expected.items():
        daemon.wait_for(name, state="stopped")
        if cause == "crash-dump":
            daemon.noted("dumped", "crash-dump")
        seen = last_exit(daemon, name)
        assert (seen["cause"], seen["code"], seen["signal"]) == (cause, code, number), name
    assert "not ready within 0.3 s" in last_exit(daemon, "late")["detail"]
    assert "/no/such/shell does not exist" in last_exit(daemon, "exec")["detail"]
    assert last_exit(daemon, "dumped")["detail"] == "out of luck"


def test_what_dies_at_the_gate_is_no_vm(relctld: Fleet, tmp_path: Path) -> None:
    """Killed between fork and exec, by anybody: the boot failed, and a new one follows."""
    table = fake(tmp_path / "web", backoff=QUICK)
    daemon = relctld({"web": {**table, "command": ["/bin/sh", "-c", "kill -9 $$"], "ready": "process", "intensity": 1}})
    now = daemon.wait_for("web", state="failed")
    assert now["last_exit"] == now["last_exit"] | {"cause": "boot-failed", "signal": "SIGKILL"}


WITHOUT_CGROUPS = ("unshare", "--mount", "--propagation", "private", "sh", "-c",
                   'umount -l $(findmnt -nrt cgroup2 -o TARGET) && exec "$@"', "sh")  # fmt: skip


@pytest.mark.parametrize(
    ("world", "kind"),
    [
        *(("as it is", kind) for kind in ("plain", "setsid", "double", "bare")),
        *(("without cgroups", kind) for kind in ("plain", "setsid", "double")),
    ],
)
def test_a_stop_leaves_nothing_behind(relctld: Fleet, tmp_path: Path, world: str, kind: str) -> None:
    """Descendants that ignore SIGTERM, in other sessions, orphaned, or without the mark in their environment."""
    if world != "as it is":
        need_root()
    table = {"web": fake(tmp_path / "web", "child", kind, "touch", tmp_path / "ready")}
    daemon = relctld(table, wrap=() if world == "as it is" else WITHOUT_CGROUPS)
    held_by = daemon.ask("daemon-status")["containment"]
    assert world == "as it is" or held_by == "sweep"
    if kind == "bare" and held_by == "sweep":
        pytest.skip("without cgroups a process that wipes its environment and leaves the tree escapes")
    wait_until((tmp_path / "ready").exists)
    pid = int(daemon.wait_for("web", state="running")["pid"])
    descendants = wait_until(lambda: _descendants(pid, daemon.pid), what="its descendant")
    done = daemon.relctl("stop", "web")
    assert done.returncode == 0
    assert not alive(pid)
    assert not any(alive(descendant) for descendant in descendants)


def _descendants(*pids: int) -> set[int]:
    below = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    return {child.pid for child in below if "descendant" in child.cmdline()}


def test_descendants_of_a_killed_vm_are_gone_before_the_next_starts(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "alone", tmp_path / "lock", "child", "double")})
    for _ in range(3):
        kill_vm(daemon, "web")
        daemon.wait_for("web", state="running")
    assert not (tmp_path / "lock.twice").exists()


def test_what_ignores_sigterm_is_killed_in_time(relctld: Fleet, tmp_path: Path) -> None:
    table = fake(tmp_path / "web", "ignore", "touch", tmp_path / "ready", stop_timeout="0.4s")
    daemon = relctld({"web": table})
    wait_until((tmp_path / "ready").exists)
    daemon.wait_for("web", state="running")
    done = daemon.relctl("stop", "web")
    assert done.returncode == 0
    seen = last_exit(daemon, "web")
    assert seen == seen | {"cause": "stopped", "signal": "SIGKILL"}
    assert [event["why"] for event in daemon.noted("web", "stopping", "killing", at_least=2)] == ["stop", "out of time"]


def test_sigterm_is_sent_again_to_one_that_lost_it(relctld: Fleet, tmp_path: Path) -> None:
    """A booting BEAM loses SIGTERM; here a script whose shell ignores it until its second line."""
    (tmp_path / "boot").write_text(
        f"#!/bin/sh\ntrap '' TERM\ntouch {tmp_path}/deaf\n"
        f"until [ -e {tmp_path}/hear ]; do sleep 0.05; done\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n"
    )
    (tmp_path / "boot").chmod(0o755)
    daemon = relctld({"web": fake(tmp_path / "web") | {"command": [str(tmp_path / "boot")]}})
    wait_until((tmp_path / "deaf").exists)
    daemon.wait_for("web", state="running")
    daemon.relctl("stop", "web", "--no-wait")
    daemon.wait_for("web", state="stopping")
    (tmp_path / "hear").touch()
    daemon.wait_for("web", state="stopped")
    seen = last_exit(daemon, "web")
    assert seen == seen | {"cause": "stopped", "code": 0}


def test_a_slow_stop_delays_nobody_else(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld(
        {"slow": fake(tmp_path / "slow", "until", tmp_path / "go", stop_timeout="60s"), "web": fake(tmp_path / "web")}
    )
    daemon.wait_for("slow", state="running")
    daemon.relctl("stop", "slow", "--no-wait")
    daemon.wait_for("slow", state="stopping")
    for count in (1, 2, 3):
        kill_vm(daemon, "web")
        daemon.wait_for("web", state="running", restarts=count)
    assert daemon.status("slow")["state"] == "stopping"
    (tmp_path / "go").touch()
    daemon.wait_for("slow", state="stopped")


def test_a_flood_of_output_stops_nobody(relctld: Fleet, tmp_path: Path) -> None:
    words = ["flood", 100_000, "touch", tmp_path / "done"]
    daemon = relctld({"web": fake(tmp_path / "web", *words, log={"markers": False})})
    wait_until((tmp_path / "done").exists, 30)
    current = daemon.log_dir / "web" / "current"
    wait_until(lambda: current.stat().st_size == 10_000_000, 30, what="all lines in the log")
    last = daemon.relctl("logs", "web", "-n", "2").stdout.splitlines()
    assert [line[:9] for line in last] == ["000099998", "000099999"]
