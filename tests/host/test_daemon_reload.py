"""A changed config under a real daemon (CONTRACT, *Wants*, *Config*): no reload touches a node."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake
from tests.running import Fleet, Relctld, alive
from tests.waiting import wait_until

pytestmark = pytest.mark.host


def names(daemon: Relctld) -> list[str]:
    return [release["name"] for release in daemon.ask("status")["releases"]]


def reloaded(daemon: Relctld, *options: str) -> dict[str, Any]:
    return dict(json.loads(daemon.relctl("--json", "reload", *options).stdout.splitlines()[0]))


def test_a_reload_adds_removes_and_changes_and_restarts_nothing(relctld: Fleet, tmp_path: Path) -> None:
    web, api, gone = (fake(tmp_path / name) for name in ("web", "api", "gone"))
    daemon = relctld({"web": web, "api": api, "gone": gone})
    before = {name: daemon.wait_for(name, state="running")["pid"] for name in ("web", "api", "gone")}
    changed = {**web, "env": {"PORT": "1"}, "umask": "0077", "stop_timeout": "5s"}
    daemon.configure({"new": fake(tmp_path / "new"), "web": changed, "api": api})

    plan = reloaded(daemon, "--plan")
    assert (plan["applied"], plan["changed"]) == (False, False)
    assert plan["diff"]["added"] == ["new"]
    assert plan["diff"]["removed"] == ["gone"]
    [change] = plan["diff"]["changed"]
    assert change == {"name": "web", "at_once": ["stop_timeout"], "restart": ["umask", "env.PORT"]}
    assert names(daemon) == ["web", "api", "gone"]

    done = reloaded(daemon)
    assert (done["applied"], done["changed"], done["diff"]) == (True, True, plan["diff"])
    assert names(daemon) == ["new", "web", "api", "gone"]
    daemon.wait_for("new", state="running")
    assert {name: daemon.status(name)["pid"] for name in before} == before
    assert set(daemon.status("web")["restart_pending"]) == {"env.PORT", "umask"}
    assert daemon.status("api")["restart_pending"] == []
    assert daemon.status("gone")["unconfigured"] is True
    assert reloaded(daemon)["changed"] is False

    daemon.kill()
    daemon.start()
    assert set(daemon.status("web")["restart_pending"]) == {"env.PORT", "umask"}
    daemon.relctl("restart", "web")
    assert daemon.status("web")["restart_pending"] == []


def test_a_release_that_left_can_come_back(relctld: Fleet, tmp_path: Path) -> None:
    web, api = fake(tmp_path / "web"), fake(tmp_path / "api")
    daemon = relctld({"web": web, "api": api})
    pid = daemon.wait_for("web", state="running")["pid"]
    daemon.configure({"api": api})
    reloaded(daemon)
    assert daemon.status("web")["unconfigured"] is True
    daemon.configure({"web": web, "api": api})
    reloaded(daemon)
    now = daemon.status("web")
    assert now == now | {"unconfigured": False, "pid": pid, "state": "running"}

    daemon.configure({"api": api})
    reloaded(daemon)
    assert alive(pid)
    daemon.configure({"api": api})
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: names(daemon) == ["api"], what="web to be forgotten, for it is not started again")
    daemon.configure({"web": web, "api": api})
    reloaded(daemon)
    now = daemon.wait_for("web", state="running")
    assert now == now | {"want": "up", "epoch": 2}


def test_stop_removed_stops_what_left_the_config(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "api": fake(tmp_path / "api")})
    pid = daemon.wait_for("web", state="running")["pid"]
    daemon.configure({"api": fake(tmp_path / "api")})
    reloaded(daemon, "--stop-removed")
    wait_until(lambda: names(daemon) == ["api"], what="web to be forgotten")
    assert not alive(pid)


def test_stop_removed_stops_what_an_earlier_reload_took_out_and_waits_for_it(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "api": fake(tmp_path / "api")})
    pid = daemon.wait_for("web", state="running")["pid"]
    daemon.configure({"api": fake(tmp_path / "api")})
    reloaded(daemon)
    assert alive(pid)
    reloaded(daemon, "--stop-removed")
    assert not alive(pid)


def test_stop_all_means_what_left_the_config_too(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "api": fake(tmp_path / "api")})
    pids = [daemon.wait_for(name, state="running")["pid"] for name in ("web", "api")]
    daemon.configure({"api": fake(tmp_path / "api")})
    reloaded(daemon)
    assert daemon.relctl("stop", "--all").returncode == 0
    assert not any(alive(pid) for pid in pids)


def test_status_names_the_directories_in_use_not_those_of_the_next_start(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    before = daemon.ask("daemon-status")
    places = {key: tmp_path / f"other-{key}" for key in ("run_dir", "state_dir", "log_dir")}
    daemon.configure({"web": fake(tmp_path / "web")}, places)
    assert {f"[daemon] {key}: acts at the next start of relctld" for key in places} <= {*reloaded(daemon)["warnings"]}
    after = daemon.ask("daemon-status")
    assert {key: after[key] for key in places} == {key: before[key] for key in places}


def test_a_bad_config_changes_nothing_and_is_told(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = daemon.wait_for("web", state="running")["pid"]
    good = daemon.config.read_text()
    daemon.config.write_text(good + 'helth = "x"\n')
    for options in (["--plan"], []):
        done = daemon.relctl("reload", *options, check=False)
        assert done.returncode == 2
        assert 'helth: unknown key, did you mean "health"?' in done.stderr
    shown = daemon.relctl("status")
    assert "helth" in shown.stderr
    assert "helth" in daemon.ask("status")["daemon"]["config"]["error"]
    assert daemon.status("web")["pid"] == pid
    daemon.config.write_text(good)
    reloaded(daemon)
    assert daemon.ask("status")["daemon"]["config"]["error"] is None


def test_the_last_good_config_starts_the_daemon(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    daemon.wait_for("web", state="running")
    daemon.kill()
    daemon.config.write_text(daemon.config.read_text() + "no toml at all [")
    daemon.start()
    assert daemon.status("web")["state"] == "running"
    assert "not TOML" in daemon.ask("status")["daemon"]["config"]["error"]
    wait_until(lambda: "config-refused" in [event["event"] for event in daemon.events()], what="the event")
    assert "not TOML" in daemon.relctl("status").stderr


def test_sighup_reloads(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    daemon.configure({"web": fake(tmp_path / "web"), "new": fake(tmp_path / "new")})
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: names(daemon) == ["web", "new"], what="the new release")
    daemon.wait_for("new", state="running")
    daemon.config.write_text("[")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.ask("status")["daemon"]["config"]["error"], what="the error")
    assert daemon.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_no_stray_signal_ends_it_at_any_moment(relctld: Fleet, tmp_path: Path, number: signal.Signals) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")}, start=False)
    daemon.start(wait=False)
    assert daemon.process is not None
    wait_until((daemon.run_dir / "lock").exists, what="its first sign")

    def answers_though_struck() -> bool:
        assert daemon.process is not None
        daemon.process.send_signal(number)
        return daemon.answers()

    wait_until(answers_though_struck, 60, 0.005, "an answer")  # not as fast as can be: that would only starve it
    assert daemon.process.poll() is None
    daemon.wait_for("web", state="running")


def test_a_changed_probe_acts_at_once(relctld: Fleet, tmp_path: Path) -> None:
    web = fake(tmp_path / "web")
    daemon = relctld({"web": web})
    assert daemon.wait_for("web", state="running")["health"] == "unknown"
    daemon.configure({"web": {**web, "health": {"probe": "exec:true", "interval": "0.1s"}}})
    reloaded(daemon)
    daemon.wait_for("web", health="well", epoch=1)
    daemon.configure({"web": web})
    reloaded(daemon)
    daemon.wait_for("web", health="unknown", epoch=1)


def test_a_changed_log_policy_reaches_the_logger(relctld: Fleet, tmp_path: Path) -> None:
    words = ["wait", tmp_path / "go", "flood", 1000, "touch", tmp_path / "done"]
    daemon = relctld({"web": fake(tmp_path / "web", *words)})
    daemon.wait_for("web", state="running")
    daemon.configure({"web": fake(tmp_path / "web", *words, log={"max_size": "10kB", "compress": "off"})})
    reloaded(daemon)
    (tmp_path / "go").touch()
    wait_until((tmp_path / "done").exists)
    folder = daemon.log_dir / "web"
    wait_until(lambda: len(list(folder.glob("*Z.log*"))) >= 9, what="rotated files")


def test_includes_are_read(relctld: Fleet, tmp_path: Path) -> None:
    more = tmp_path / "relctld0" / "releases.d"
    daemon = relctld({"web": fake(tmp_path / "web")}, {"include": ["releases.d/*.toml"]})
    more.mkdir()
    (more / "api.toml").write_text(f'[release.api]\nroot = "{tmp_path / "web"}"\ncommand = ["/bin/sleep", "1000"]\n')
    reloaded(daemon)
    daemon.wait_for("api", state="running")
    (more / "twice.toml").write_text(f'[release.api]\nroot = "{tmp_path / "web"}"\n')
    done = daemon.relctl("reload", check=False)
    assert done.returncode == 2
    assert str(more / "api.toml") in done.stderr
    assert str(more / "twice.toml") in done.stderr


def test_limits_without_effect_are_warned_of_at_the_start_and_at_a_reload(relctld: Fleet, tmp_path: Path) -> None:
    """Without systemd's scopes there are none of a cgroup; those of a process act."""
    web = fake(tmp_path / "web")
    daemon = relctld({"web": {**web, "limits": {"nofile": 64, "tasks_max": 100}}})
    [warning] = daemon.ask("daemon-status")["config"]["warnings"]
    assert warning.startswith("[release.web.limits] tasks_max: has no effect: it takes ")
    daemon.configure({"web": {**web, "limits": {"tasks_max": 100, "cpu_weight": 5}}})
    told = [line for line in reloaded(daemon)["warnings"] if ".limits]" in line]
    assert [line.split(":")[0] for line in told] == [
        f"[release.web.limits] {key}" for key in ("cpu_weight", "tasks_max")
    ]
    assert daemon.ask("daemon-status")["config"]["warnings"] == told
