"""`relctl daemon reexec`: the daemon becomes the installed code in place, and nobody notices but by its version."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from relctl.client import SILENCE
from tests.asked import LONG
from tests.asking import Asker
from tests.builds import build
from tests.fakes import fake
from tests.running import Fleet, Relctld, alive
from tests.waiting import wait_until

pytestmark = pytest.mark.host


def started(daemon: Relctld) -> str:
    """Which self of the daemon it is: when it came up. A question that met the old one's end is asked again."""

    def asked() -> str:
        with contextlib.suppress(AssertionError):
            return str(daemon.ask("daemon-status", timeout=1.0)["started_at"])
        return ""

    return str(wait_until(asked, 30))


def by_signal(daemon: Relctld) -> None:
    """SIGUSR2, and until the new self answers."""
    before = started(daemon)
    os.kill(daemon.pid, signal.SIGUSR2)
    wait_until(lambda: started(daemon) != before, 30, what=lambda: f"a new self; it said {daemon.said()[-2000:]}")


def kinds(daemon: Relctld) -> list[str]:
    return [event["event"] for event in daemon.events()]


class Hammer:
    """Asks for `status` all the time, each time on a new connection as well as on an old one."""

    def __init__(self, daemon: Relctld) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._connect, self._ask)]
        self.refused: list[str] = []
        self.connected = self.answered = 0

    def _connect(self) -> None:
        while not self._over.is_set():
            for name in ("control.sock", "events.sock"):
                with socket.socket(socket.AF_UNIX) as door:
                    door.settimeout(10)
                    try:
                        door.connect(str(self._daemon.run_dir / name))
                        self.connected += 1
                    except OSError as error:
                        self.refused.append(f"{name}: {error}")
            self._over.wait(0.01)

    def _ask(self) -> None:
        with Asker(self._daemon.socket) as asker:
            while not self._over.is_set():
                end = time.monotonic() + 15
                id = asker.request("status")
                while True:
                    answer = asker.receive(1.0)
                    if answer is not None and answer["id"] == id and "progress" not in answer:
                        break
                    if time.monotonic() > end:
                        self.refused.append("no answer")
                        return
                    if answer is None:
                        asker.request("status", id=id)
                if not answer["ok"]:
                    self.refused.append(str(answer))
                self.answered += 1

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_the_daemon_is_renewed_and_its_nodes_do_not_notice(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web"), "api": fake(tmp_path / "api")})
    before = {name: daemon.wait_for(name, state="running") for name in ("web", "api")}
    first, inodes = started(daemon), [os.stat(daemon.run_dir / name).st_ino for name in ("control.sock", "events.sock")]
    with Hammer(daemon) as hammer:
        done = daemon.relctl("daemon", "reexec", "--json")
        reply = json.loads(done.stdout)
        wait_until(lambda n=hammer.answered: hammer.answered > n + 20)  # type: ignore[misc]
    assert hammer.refused == []
    assert hammer.connected > 100
    version = daemon.ask("daemon-status")["version"]
    assert reply == reply | {"ok": True, "op": "daemon-reexec", "pid": daemon.pid, "version": version}
    assert started(daemon) != first
    assert [os.stat(daemon.run_dir / name).st_ino for name in ("control.sock", "events.sock")] == inodes
    for name, was in before.items():
        now = daemon.wait_for(name, state="running", pid=was["pid"], epoch=1)
        assert psutil.Process(int(was["pid"])).ppid() == daemon.pid
        assert now["restarts_total"] == 0
    assert (daemon.run_dir / "lock").read_text().strip() == str(daemon.pid)
    assert not (daemon.run_dir / "operations.json").exists()
    daemon.relctl("restart", "web")
    assert daemon.relctl("stop", "api").returncode == 0
    assert daemon.status("api")["last_exit"]["code"] is not None or daemon.status("api")["last_exit"]["signal"]
    assert "daemon-reexec" in kinds(daemon)
    assert kinds(daemon).count("daemon-started") == 2


def test_a_signal_does_it_too_and_the_environment_stays(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")}, start=False)
    daemon.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    daemon.start()
    daemon.wait_for("web", state="running")
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    by_signal(daemon)
    environ = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert f"NOTIFY_SOCKET={tmp_path / 'notify'}".encode() in environ.split(b"\0")
    assert Path(f"/proc/{daemon.pid}/limits").read_text() == limits
    pid = daemon.relctl("restart", "web", "--json").stdout
    vm = json.loads(pid.splitlines()[-1])["pid"]
    words = Path(f"/proc/{vm}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in words
    assert b"RELCTLD_KEEP" not in words
    status = Path(f"/proc/{vm}/status").read_text()
    assert re.search(r"SigBlk:\s*0+\n", status)
    assert daemon.stop() == 0
    assert not alive(vm)


# -- requests under way ----------------------------------------------------------------------------


def test_a_restart_under_way_is_carried_out_once(relctld: Fleet, tmp_path: Path) -> None:
    """One of its releases is done before the re-exec, the other goes on beyond it; the client repeats its request."""
    go = tmp_path / "go"
    releases = {
        "quick": fake(tmp_path / "quick", "alone", tmp_path / "a"),
        "slow": fake(
            tmp_path / "slow", "alone", tmp_path / "b", "until", go, "touch", tmp_path / "deaf", stop_timeout="60s"
        ),
    }
    daemon = relctld(releases)
    for name in releases:
        daemon.wait_for(name, state="running")
    wait_until((tmp_path / "deaf").exists)
    with Asker(daemon.socket) as asker:
        id = asker.request("restart", {"names": ["quick", "slow"]})
        daemon.wait_for("quick", state="running", epoch=2)
        daemon.wait_for("slow", state="stopping")
        by_signal(daemon)
        daemon.wait_for("slow", state="stopping")
        asker.request("restart", {"names": ["quick", "slow"]}, id=id)
        wait_until(lambda: (asker.receive() or {}).get("id") == id)
        go.touch()
        reply = asker.reply(id)
        assert reply["ok"], reply
        assert [(r["release"], r["ok"], r["changed"]) for r in reply["result"]["results"]] == [
            ("quick", True, True),
            ("slow", True, True),
        ]
        by_signal(daemon)
        assert asker.ask("restart", {"names": ["quick", "slow"]}, id=id) == reply
    for name in releases:
        now = daemon.status(name)
        assert now == now | {"state": "running", "epoch": 2}
        assert len(daemon.noted(name, "starting")) == 2
    assert not list(tmp_path.glob("*.twice"))


def test_a_stop_is_overtaken_by_nothing(relctld: Fleet, tmp_path: Path) -> None:
    go = tmp_path / "go"
    deaf = tmp_path / "deaf"
    daemon = relctld({"web": fake(tmp_path / "web", "until", go, "touch", deaf, stop_timeout="60s")})
    daemon.wait_for("web", state="running")
    wait_until(deaf.exists)
    stop = daemon.spawn_relctl("stop", "web")
    daemon.wait_for("web", state="stopping")
    by_signal(daemon)
    go.touch()
    said, trouble = stop.communicate(timeout=30)
    assert stop.returncode == 0, (said, trouble)
    assert daemon.status("web")["state"] == "stopped"
    assert daemon.status("web")["last_exit"]["cause"] == "stopped"


def test_a_start_under_way_goes_on(relctld: Fleet, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    hook = {"pre_start": ["/bin/sh", "-c", f"echo >> {tmp_path}/hooked; until [ -e {ready} ]; do sleep 0.05; done"]}
    daemon = relctld({"web": fake(tmp_path / "web", "alone", tmp_path / "lock", hooks=hook)})
    wait_until((tmp_path / "hooked").exists)
    start = daemon.spawn_relctl("start", "web")
    wait_until(lambda: daemon.noted("web", "requested", at_least=0))
    by_signal(daemon)
    ready.touch()
    said, trouble = start.communicate(timeout=30)
    assert start.returncode == 0, (said, trouble)
    daemon.wait_for("web", state="running")
    assert not (tmp_path / "lock.twice").exists()


# -- in the midst of it ----------------------------------------------------------------------------


class Held:
    """A daemon whose successor waits before its first step."""

    def __init__(self, relctld: Fleet, tmp_path: Path, releases: dict[str, Any]) -> None:
        self.hold = tmp_path / "hold"
        self.daemon = relctld(releases, start=False)
        build(tmp_path / "site", "0.9", hold=self.hold)
        self.daemon.environ["PYTHONPATH"] = str(tmp_path / "site")
        self.daemon.start()
        for name in releases:
            self.daemon.wait_for(name, state="running")

    def reach(self) -> None:
        self.hold.touch()
        os.kill(self.daemon.pid, signal.SIGUSR2)
        wait_until(Path(f"{self.hold}.reached").exists, 30, what=lambda: f"the successor; {self.daemon.said()[-2000:]}")


def test_how_a_vm_ended_meanwhile_is_known(relctld: Fleet, tmp_path: Path) -> None:
    names = {"web": signal.SIGSEGV, "api": signal.SIGKILL}
    held = Held(relctld, tmp_path, {name: fake(tmp_path / name) for name in names})
    pids = {name: int(held.daemon.status(name)["pid"]) for name in names}
    held.reach()
    for name, number in names.items():
        os.kill(pids[name], number)
        wait_until(lambda pid=pids[name]: not alive(pid))  # type: ignore[misc]
    held.hold.unlink()
    for name, number in names.items():
        now = held.daemon.wait_for(name, state="running", epoch=2)
        assert now["last_exit"] == now["last_exit"] | {"pid": pids[name], "signal": number.name, "cause": "killed"}


def test_who_asks_meanwhile_waits_for_the_successor_however_long_it_takes_to_come_up(
    relctld: Fleet, tmp_path: Path
) -> None:
    held = Held(relctld, tmp_path, {"web": fake(tmp_path / "web")})
    held.hold.touch()
    asked = [held.daemon.spawn_relctl("daemon", "reexec")]
    wait_until(Path(f"{held.hold}.reached").exists, 30, what="the successor")
    asked += [held.daemon.spawn_relctl(*words) for words in (["daemon", "status"], ["restart", "web"])]
    end = time.monotonic() + SILENCE + 1.0
    wait_until(lambda: time.monotonic() > end)
    held.hold.unlink()
    for client in asked:
        said, trouble = client.communicate(timeout=30)
        assert client.returncode == 0, (said, trouble)
    assert held.daemon.status("web")["epoch"] == 2


def test_told_to_stop_meanwhile_it_stops_with_its_nodes(relctld: Fleet, tmp_path: Path) -> None:
    held = Held(relctld, tmp_path, {"web": fake(tmp_path / "web")})
    pid = int(held.daemon.status("web")["pid"])
    held.reach()
    held.daemon.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
    held.hold.unlink()
    assert held.daemon.process is not None
    assert held.daemon.process.wait(30) == 0
    held.daemon.process = None
    assert not alive(pid)


def test_killed_meanwhile_it_is_a_plain_crash(relctld: Fleet, tmp_path: Path) -> None:
    held = Held(relctld, tmp_path, {"web": fake(tmp_path / "web", "alone", tmp_path / "lock")})
    pid = held.daemon.status("web")["pid"]
    with Asker(held.daemon.socket) as asker:
        id = asker.request("restart", {"names": ["web"]})
        reply = asker.reply(id)
        held.reach()
        held.daemon.kill()
        held.hold.unlink()
        held.daemon.start()
        now = held.daemon.wait_for("web", state="running")
        assert now["pid"] != pid
        assert now["epoch"] == 2
        assert asker.ask("restart", {"names": ["web"]}, id=id) == reply
    assert held.daemon.status("web")["epoch"] == 2
    assert not (tmp_path / "lock.twice").exists()


def test_what_was_answered_is_answered_alike_and_not_done_again(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    daemon.wait_for("web", state="running")
    with Asker(daemon.socket) as asker:
        reply = asker.ask("restart", {"names": ["web"]})
        by_signal(daemon)
        assert asker.ask("restart", {"names": ["web"]}, id=reply["id"]) == reply
    assert daemon.status("web")["epoch"] == 2


# -- what is not fit -------------------------------------------------------------------------------


def refused(daemon: Relctld, *, saying: str) -> None:
    """A re-exec is refused, the reason told, and nothing happened."""
    before, fds = started(daemon), len(os.listdir(f"/proc/{daemon.pid}/fd"))
    done = daemon.relctl("daemon", "reexec", check=False)
    assert done.returncode == 1, done
    assert saying in done.stderr
    assert "goes on as it was" in done.stderr
    wait_until(lambda: any(saying in event.get("error", "") for event in daemon.events()))
    assert started(daemon) == before
    wait_until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= fds + 2)


def test_code_that_is_broken_is_not_taken_up(relctld: Fleet, tmp_path: Path) -> None:
    site = tmp_path / "site"
    daemon = relctld({"web": fake(tmp_path / "web")}, start=False)
    build(site, "0.1")
    daemon.environ["PYTHONPATH"] = str(site)
    daemon.start()
    pid = daemon.wait_for("web", state="running")["pid"]
    build(site, "0.2")
    for module, text, saying in (
        ("supervisor/families.py", "import nothing_like_it\n", "nothing_like_it"),
        ("cli.py", "def main(:\n", "SyntaxError"),
        ("cli.py", "import time\ndef main(): return 3\n", "it ended with 3 and said nothing"),
    ):
        (site / "relctld" / module).write_text(text)
        refused(daemon, saying=saying)
    build(site, "0.2")
    assert "0.2 instead of 0.1" in daemon.relctl("daemon", "reexec").stdout
    assert daemon.status("web")["pid"] == pid


def test_a_store_that_it_cannot_use_keeps_it_away(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    daemon.wait_for("web", state="running")
    with sqlite3.connect(daemon.state_dir / "state.db") as store:
        store.execute("PRAGMA user_version=99")
    store.close()
    refused(daemon, saying="schema 99, newer than")
    with sqlite3.connect(daemon.state_dir / "state.db") as store:
        store.execute("PRAGMA user_version=1")
    store.close()
    by_signal(daemon)


def test_a_broken_config_is_passed_over_for_the_last_good_one(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"web": fake(tmp_path / "web")})
    pid = daemon.wait_for("web", state="running")["pid"]
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("[release.web]", "[release.web]\nnonsense = 1"))
    by_signal(daemon)
    assert "nonsense" in daemon.ask("daemon-status")["config"]["error"]
    assert daemon.status("web")["pid"] == pid
    daemon.config.write_text(text.replace(str(daemon.run_dir), str(tmp_path / "elsewhere")))
    refused(daemon, saying="that takes a restart of relctld")


# -- versions, and many of them --------------------------------------------------------------------


def test_an_upgrade_and_the_way_back(relctld: Fleet, tmp_path: Path) -> None:
    """As pip does it: the files are replaced under the daemon that runs. The logger is renewed with it."""
    site = tmp_path / "site"
    daemon = relctld({"web": fake(tmp_path / "web", "wait", tmp_path / "go", "flood", 50_000)}, start=False)
    build(site, "0.1.0")
    daemon.environ["PYTHONPATH"] = str(site)
    daemon.start()
    pid = daemon.wait_for("web", state="running")["pid"]
    (tmp_path / "go").touch()
    before = "0.1.0"
    for version in ("0.2.0", "0.1.0"):
        logger = wait_until(lambda: daemon.logger_pid, what="a logger")
        build(site, version)
        assert daemon.ask("daemon-status")["version"] == before
        assert f"{version} instead of {before} (pid {daemon.pid}" in daemon.relctl("daemon", "reexec").stdout
        assert daemon.ask("daemon-status")["version"] == version
        assert version in daemon.relctl("daemon", "status").stdout
        wait_until(lambda old=logger: daemon.logger_pid not in (None, old), 20, what="another logger")  # type: ignore[misc]
        assert (daemon.run_dir / "logger.lock").read_text().split()[1] == version
        before = version
    current = daemon.log_dir / "web" / "current"
    wait_until(lambda: current.exists() and current.stat().st_size >= 5_000_000, 30, what="all lines")
    lines = [line for line in current.read_text().splitlines() if not line.startswith("relctl: ")]
    assert [int(line[:9]) for line in lines] == [*range(50_000)]
    assert daemon.status("web")["pid"] == pid


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 20] if LONG else [20])
def test_many_in_a_row_leak_nothing(relctld: Fleet, tmp_path: Path, count: int) -> None:
    names = [f"web{number}" for number in range(count)]
    daemon = relctld({name: fake(tmp_path / name) for name in names})
    before = {name: daemon.wait_for(name, state="running")["pid"] for name in names}

    def measure() -> tuple[int, int]:
        by_signal(daemon)
        wait_until(lambda: _standing_by(daemon) == count, 20, what=lambda: f"{count} gates: {_standing_by(daemon)}")
        return psutil.Process(daemon.pid).num_fds(), psutil.Process(daemon.pid).memory_info().rss

    for name in names:
        daemon.relctl("restart", name)
        before[name] = daemon.status(name)["pid"]
    first = measure()
    for _ in range(18 if LONG else 4):
        by_signal(daemon)
    fds, rss = measure()
    assert fds <= first[0] + 2
    assert rss <= first[1] * 1.1 + (2 << 20)
    assert {name: daemon.status(name)["pid"] for name in names} == before
    assert {psutil.Process(int(pid)).ppid() for pid in before.values()} == {daemon.pid}
    zombies = [c for c in psutil.Process(daemon.pid).children() if c.status() == psutil.STATUS_ZOMBIE]
    assert len(zombies) <= 1


def _standing_by(daemon: Relctld) -> int:
    return sum(1 for child in psutil.Process(daemon.pid).children() if child.name() == "relctl-gate")


def test_all_of_its_code_is_imported_at_the_start(relctld: Fleet, tmp_path: Path) -> None:
    """pip replaces the files under it: whatever it needed later would be another version's."""
    site = tmp_path / "site"
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    daemon = relctld({"web": fake(tmp_path / "web")}, {"metrics": metrics}, start=False)
    build(site, "0.1")
    daemon.environ["PYTHONPATH"] = str(site)
    daemon.start()
    for path in (site / "relctld").rglob("*.py"):
        if not {"logger", "logfiles"} & set(path.parts) and path.parent.name != "relctld":  # a logger is a process
            path.write_text("raise SystemExit('imported too late')\n")
    daemon.wait_for("web", state="running")
    for op, args in (
        ("status", {}), ("restart", {"names": ["web"]}), ("events", {}), ("crashes", {"release": "web"}),
        ("logs", {"release": "web"}), ("reload", {}), ("reload", {"plan": True}), ("daemon-status", {}),
        ("eval", {"release": "web", "text": "1."}),
        ("rpc", {"release": "web", "module": "m", "function": "f", "args": "[]"}),
        ("remote", {"release": "web", "term": "xterm", "rows": 24, "cols": 80}), ("stop", {"names": ["web"]}),
    ):  # fmt: skip
        with Asker(daemon.socket) as asker:
            reply = asker.ask(op, args)
            assert reply["ok"] or "surprise" not in reply["error"]["message"], reply
    assert "imported too late" not in daemon.said()
    assert daemon.stop() == 0
