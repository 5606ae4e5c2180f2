"""The programs themselves (CONTRACT, *Programs*): options, exit codes, the ways to start and to end them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import relctld as package
from tests.fakes import fake
from tests.host.seam import NOBODY, as_nobody, public_folder
from tests.running import Fleet, alive, need_root, toml
from tests.waiting import wait_until

pytestmark = pytest.mark.host

BIN = Path(sys.executable).parent


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RELCTL_")}
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
        env=environ,
    )


@pytest.mark.parametrize("program", ["relctl", "relctld"])
def test_both_ways_to_start_a_program(program: str) -> None:
    for command in ([sys.executable, "-m", program], [BIN / program]):
        done = run(*command, "--version")
        assert (done.returncode, done.stdout) == (0, f"{program} {package.__version__}\n")
        assert "usage" in run(*command, "--help").stdout
        wrong = run(*command, "--no-such-option")
        assert (wrong.returncode, "no-such-option" in wrong.stderr) == (2, True)


def test_check_judges_the_config(tmp_path: Path) -> None:
    config = tmp_path / "relctld.toml"
    places = "".join(f"{key} = {toml(tmp_path / key)}\n" for key in ("state_dir", "log_dir", "run_dir"))
    config.write_text(f"[daemon]\n{places}[release.web]\nroot = {toml(tmp_path)}\n")
    done = run(BIN / "relctld", "--config", config, "--check")
    assert (done.returncode, done.stdout) == (0, f"{config}: good, 1 release\n")
    config.write_text(config.read_text() + "intensity = -1\n")
    for options in (["--check"], []):
        done = run(BIN / "relctld", "--config", config, *options)
        assert done.returncode == 2
        assert "[release.web] intensity" in done.stderr
    assert run(BIN / "relctld", "--config", tmp_path / "missing.toml").returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relctld.toml"]


def test_a_config_without_releases_runs(relctld: Fleet) -> None:
    daemon = relctld({})
    assert daemon.relctl("status").stdout == "no releases are configured\n"
    assert json.loads(daemon.relctl("--json", "status").stdout)["releases"] == []
    assert daemon.relctl("start", "--all").returncode == 0
    assert daemon.stop() == 0
    gone = daemon.relctl("status", check=False)
    assert (gone.returncode, "relctld is not running" in gone.stderr) == (4, True)


def test_a_run_directory_that_cannot_be_made(relctld: Fleet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    daemon = relctld({}, {"run_dir": tmp_path / "file" / "run"}, start=False)
    daemon.start(wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(20) == 1
    assert daemon.said().startswith("relctld: ")
    assert "Traceback" not in daemon.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_end_it_end_the_nodes_first(relctld: Fleet, tmp_path: Path, number: signal.Signals) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "slow", 0.5)})
    daemon.wait_for("web", state="running")
    assert daemon.process is not None
    daemon.process.send_signal(number)
    assert daemon.process.wait(20) == 0
    daemon.start()
    events = [event["event"] for event in daemon.events()]  # what the first one said was written when it ended
    first = events.index("daemon-stopping")
    assert events[first : first + 4] == ["daemon-stopping", "stopping", "exited", "stopped"]
    assert events[first + 4 :][:1] in ([], ["daemon-started"])
    stopping = next(event for event in daemon.events() if event["event"] == "daemon-stopping")
    assert stopping == stopping | {"by": number.name, "on_stop": "stop"}


def test_told_to_stop_while_it_comes_up_it_leaves_nothing(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", "touch", tmp_path / "ran")}, start=False)
    daemon.start(wait=False)
    assert daemon.process is not None
    wait_until((daemon.run_dir / "releases" / "web" / "vm.json").exists, what="a VM")
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0, daemon.said()
    recorded = json.loads((daemon.run_dir / "releases" / "web" / "vm.json").read_text())
    assert not alive(recorded["pid"])


def test_who_waits_is_told_that_the_daemon_stops(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web", ready="exec:false", enabled=False)})
    waiting = daemon.spawn_relctl("start", "web")
    daemon.wait_for("web", state="starting")
    assert daemon.relctl("daemon", "stop").returncode == 0
    _, said = waiting.communicate(timeout=30)
    assert (waiting.returncode, "relctld is stopping" in said) == (5, True)
    assert daemon.process is not None
    assert daemon.process.wait(10) == 0


def test_the_log_is_json_lines_and_says_who_asked(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    daemon.relctl("restart", "web")
    wait_until(lambda: '"requested"' in daemon.said(), what="the line")
    lines = [json.loads(line) for line in daemon.said().splitlines()]
    [asked] = [line for line in lines if line["event"] == "requested"]
    assert asked == asked | {"release": "web", "op": "restart", "level": "info"}
    assert asked["by"]


def test_a_daemon_of_an_ordinary_user() -> None:
    """Without cgroups of its own: what a VM leaves is found by its mark."""
    need_root()
    with public_folder() as folder, Fleet(folder) as relctld:
        daemon = relctld({"web": fake(folder / "web", "child", "double")}, wrap=as_nobody(), start=False)
        for path in (daemon.run_dir, daemon.folder):
            os.chown(path, NOBODY.uid, NOBODY.gid)
        daemon.start()
        pid = daemon.wait_for("web", state="running")["pid"]
        os.kill(pid, signal.SIGKILL)
        now = daemon.wait_for("web", state="running", epoch=2)
        assert Path(f"/proc/{now['pid']}").stat().st_uid == NOBODY.uid
        daemon.kill()
        daemon.start()
        assert daemon.status("web")["pid"] == now["pid"]
        assert daemon.stop() == 0
        wait_until(lambda: not Path(f"/proc/{now['pid']}").exists(), what="the node's end")


def test_a_stderr_that_breaks_does_not_stop_supervision(relctld: Fleet, tmp_path: Path) -> None:
    """A dead `tee`, a full disk, a lost terminal: the log is lost, the nodes are not."""
    daemon = relctld({"web": fake(tmp_path / "web")}, start=False)
    read, write = os.pipe()
    daemon.start(stderr=write)
    os.close(write)
    pid = daemon.wait_for("web", state="running")["pid"]
    os.close(read)
    os.kill(pid, signal.SIGKILL)
    assert daemon.wait_for("web", state="running", epoch=2)["pid"] != pid
    wait_until(lambda: any(event["event"] == "exited" for event in daemon.events("web")), what="the event")
