"""What operators ask at any moment (CONTRACT, *Overlaps*), through the real client."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asking import Asker
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host

Result = tuple[int, list[dict[str, Any]]]


class Scene:
    """A daemon with releases that wait for files which the test makes."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder = folder
        self.daemon: Relctld = fleet(
            {
                "plain": self._fake("plain"),
                "lazy": self._fake("lazy", enabled=False),
                "late": self._fake("late", enabled=False, ready=f"exec:test -e {folder / 'late.go'}"),
                "clingy": self._fake("clingy", "until", folder / "clingy.go", stop_timeout="60s"),
                "broken": self._fake(
                    "broken", "say", "no database", "unless", folder / "broken.go", "exit", 3,
                    enabled=False, ready="process", intensity=2, backoff={"base": "0.05s"},
                ),
                "empty": {"root": folder / "nothing-here", "enabled": False},
            }
        )  # fmt: skip

    def _fake(self, name: str, *words: object, **keys: Any) -> dict[str, Any]:
        return fake(self.folder / name, *words, **keys)

    def go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    def no(self, name: str) -> None:
        (self.folder / f"{name}.go").unlink(missing_ok=True)

    def do(self, *words: str) -> Result:
        return _ended(self.daemon.relctl("--json", *words, check=False))

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """A waiting client; the daemon has accepted its request when this returns."""
        before = self._requests(words[1])
        client = self.daemon.spawn_relctl("--json", *words)
        wait_until(lambda: self._requests(words[1]) > before, 20, what=f"{words} to be accepted")
        return client

    def _requests(self, name: str) -> int:
        return sum(event["event"] == "requested" for event in self.daemon.events(name))

    def state(self, name: str) -> str:
        return str(self.daemon.status(name)["state"])


def _ended(done: "subprocess.CompletedProcess[str]") -> Result:
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def wait(client: "subprocess.Popen[str]") -> Result:
    out, err = client.communicate(timeout=60)
    return _ended(subprocess.CompletedProcess(client.args, client.returncode, out, err))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("overlaps")
    with Fleet(folder) as fleet:
        yield Scene(folder, fleet)


def test_start_of_what_runs_changes_nothing(scene: Scene) -> None:
    before = scene.daemon.wait_for("plain", state="running")
    code, [said] = scene.do("start", "plain")
    assert code == 0
    assert said == said | {"ok": True, "release": "plain", "op": "start", "changed": False}
    assert scene.daemon.status("plain")["pid"] == before["pid"]


def test_stop_of_what_is_stopped_changes_nothing(scene: Scene) -> None:
    scene.do("stop", "lazy")
    code, [said] = scene.do("stop", "lazy")
    assert code == 0
    assert said == said | {"ok": True, "release": "lazy", "op": "stop", "changed": False}


def test_restart_of_what_is_stopped_starts_it(scene: Scene) -> None:
    scene.do("stop", "lazy")
    epoch = scene.daemon.status("lazy")["epoch"]
    code, [said] = scene.do("restart", "lazy")
    assert (code, said["changed"]) == (0, True)
    now = scene.daemon.status("lazy")
    assert now == now | {"state": "running", "want": "up", "epoch": epoch + 1}
    scene.do("stop", "lazy")


def test_restart_answers_when_the_new_vm_is_ready(scene: Scene) -> None:
    before = scene.daemon.wait_for("plain", state="running")
    code, [said] = scene.do("restart", "plain")
    assert (code, said["changed"]) == (0, True)
    now = scene.daemon.status("plain")
    assert now == now | {"state": "running", "epoch": before["epoch"] + 1, "restarts": 0}
    assert now["last_exit"] == now["last_exit"] | {"cause": "stopped", "pid": before["pid"]}


def test_equal_restarts_merge(scene: Scene) -> None:
    scene.no("clingy")
    epoch = scene.daemon.wait_for("clingy", state="running")["epoch"]
    first, second = scene.begin("restart", "clingy"), scene.begin("restart", "clingy")
    scene.go("clingy")
    for client in (first, second):
        code, [said] = wait(client)
        assert (code, said["changed"]) == (0, True)
    assert scene.daemon.status("clingy")["epoch"] == epoch + 1


def test_equal_starts_merge(scene: Scene) -> None:
    scene.no("late")
    epoch = scene.daemon.status("late")["epoch"]
    first, second = scene.begin("start", "late"), scene.begin("start", "late")
    scene.go("late")
    assert [wait(client)[0] for client in (first, second)] == [0, 0]
    assert scene.daemon.status("late")["epoch"] == epoch + 1
    scene.do("stop", "late")


def test_stop_overtakes_a_running_start(scene: Scene) -> None:
    scene.no("late")
    starting = scene.begin("start", "late")
    code, [said] = scene.do("stop", "late")
    assert (code, said["changed"]) == (0, True)
    code, [said] = wait(starting)
    assert code == 1
    assert (said["ok"], said["error"]["kind"], said["error"]["message"]) == (
        False,
        "failed",
        "overtaken by stop of root",
    )
    now = scene.daemon.status("late")
    assert now == now | {"state": "stopped", "want": "down", "pid": None}


def test_restart_of_what_starts_begins_anew_and_answers_both(scene: Scene) -> None:
    scene.no("late")
    starting = scene.begin("start", "late")
    epoch = scene.daemon.wait_for("late", state="starting")["epoch"]
    restarting = scene.begin("restart", "late")
    scene.daemon.wait_for("late", state="starting", epoch=epoch + 1)
    scene.go("late")
    assert [wait(client)[0] for client in (starting, restarting)] == [0, 0]
    assert scene.daemon.status("late")["epoch"] == epoch + 1
    scene.do("stop", "late")


def test_start_while_stopping_waits_then_starts(scene: Scene) -> None:
    scene.no("clingy")
    epoch = scene.daemon.wait_for("clingy", state="running")["epoch"]
    stopping = scene.begin("stop", "clingy")
    starting = scene.begin("start", "clingy")
    assert scene.state("clingy") == "stopping"
    scene.go("clingy")
    assert wait(stopping)[0] == 0
    code, [said] = wait(starting)
    assert (code, said["changed"]) == (0, True)
    now = scene.daemon.status("clingy")
    assert now == now | {"state": "running", "want": "up", "epoch": epoch + 1}


def test_stop_while_restarting_overtakes_it(scene: Scene) -> None:
    scene.no("clingy")
    scene.daemon.wait_for("clingy", state="running")
    restarting = scene.begin("restart", "clingy")
    scene.daemon.wait_for("clingy", state="stopping")
    stopping = scene.begin("stop", "clingy")
    code, [said] = wait(restarting)
    assert (code, said["error"]["message"]) == (1, "overtaken by stop of root")
    scene.go("clingy")
    assert wait(stopping)[0] == 0
    assert scene.state("clingy") == "stopped"
    scene.do("start", "clingy")


def test_start_answers_at_the_first_failed_boot_and_supervision_goes_on(scene: Scene) -> None:
    code, [said] = scene.do("start", "broken")
    assert code == 1
    assert said["error"] == said["error"] | {"kind": "failed", "hint": "relctl logs broken"}
    assert said["error"]["message"] == "boot failed, exit code 3"
    assert "no database" in said["log"]
    now = scene.daemon.wait_for("broken", 60, state="failed")
    assert now == now | {"want": "up", "restarts": 2, "pid": None}
    assert now["last_exit"] == now["last_exit"] | {"cause": "boot-failed", "code": 3, "signal": None}


def test_start_of_what_failed_clears_its_counters(scene: Scene) -> None:
    scene.do("start", "broken")
    scene.daemon.wait_for("broken", 60, state="failed")
    scene.go("broken")
    code, [said] = scene.do("start", "broken")
    assert (code, said["changed"]) == (0, True)
    now = scene.daemon.status("broken")
    assert now == now | {"state": "running", "restarts": 0}
    scene.no("broken")
    scene.do("stop", "broken")


def test_no_wait_returns_when_it_is_accepted(scene: Scene) -> None:
    scene.no("late")
    code, [said] = scene.do("start", "late", "--no-wait")
    assert code == 0
    assert said == said | {"ok": True, "accepted": True, "state": "starting"}
    scene.do("stop", "late")


def test_timeout_ends_only_the_waiting(scene: Scene) -> None:
    scene.no("late")
    code, [said] = scene.do("start", "late", "--timeout", "0.3s")
    assert code == 1
    assert (said["error"]["kind"], said["state"]) == ("timeout", "starting")
    scene.go("late")
    scene.daemon.wait_for("late", state="running")
    scene.do("stop", "late")


def test_ctrl_c_ends_only_the_waiting(scene: Scene) -> None:
    scene.no("late")
    starting = scene.begin("start", "late")
    starting.send_signal(signal.SIGINT)
    code, [said] = wait(starting)
    assert (code, said["error"]["kind"]) == (1, "timeout")
    scene.go("late")
    scene.daemon.wait_for("late", state="running")
    scene.do("stop", "late")


def test_all_names_are_checked_before_anything_is_done(scene: Scene) -> None:
    before = scene.daemon.wait_for("plain", state="running")
    code, said = scene.do("stop", "plain", "plian")
    assert code == 5
    assert {result["error"]["kind"] for result in said} == {"unknown-release"}
    assert "did you mean plain?" in said[-1]["error"]["hint"]
    now = scene.daemon.status("plain")
    assert now == now | {"pid": before["pid"], "want": "up", "state": "running"}


def test_start_with_nothing_installed_is_refused(scene: Scene) -> None:
    code, [said] = scene.do("start", "empty")
    assert (code, said["error"]["kind"]) == (5, "impossible")
    assert "nothing installed" in said["error"]["message"]
    assert scene.state("empty") == "stopped"
    shown = scene.daemon.relctl("start", "empty", check=False)
    assert shown.returncode == 5
    assert shown.stderr.splitlines()[0].startswith("relctl: cannot start empty: nothing installed")


def test_results_come_in_the_order_asked_and_the_worst_is_the_exit_code(scene: Scene) -> None:
    scene.daemon.wait_for("plain", state="running")
    code, said = scene.do("start", "empty", "plain")
    assert (code, [result["release"] for result in said]) == (5, ["empty", "plain"])
    assert [result["ok"] for result in said] == [False, True]


def test_a_repeat_joins_its_request_also_after_the_reply(scene: Scene) -> None:
    epoch = scene.daemon.wait_for("plain", state="running")["epoch"]
    args, id = {"names": ["plain"]}, "0123456789abcdef" * 2
    with Asker(scene.daemon.socket) as one, Asker(scene.daemon.socket) as other:
        one.request("restart", args, id=id)
        other.request("restart", args, id=id)
        first = one.reply(id)
        assert first["ok"]
        assert other.reply(id) == first
        assert other.ask("restart", args, id=id) == first
        assert one.ask("restart", args, id=id) == first
    assert scene.daemon.status("plain")["epoch"] == epoch + 1


def test_all_is_every_release_of_the_config(relctld: Fleet, tmp_path: Path) -> None:
    daemon = relctld({"one": fake(tmp_path / "one"), "two": fake(tmp_path / "two")})
    for verb, state in (("stop", "stopped"), ("start", "running"), ("restart", "running")):
        done = daemon.relctl("--json", verb, "--all")
        assert [json.loads(line)["release"] for line in done.stdout.splitlines()] == ["one", "two"]
        assert [daemon.status(name)["state"] for name in ("one", "two")] == [state, state]
