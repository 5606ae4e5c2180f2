"""`relctl remote` (CONTRACT, *Verbs*): a real client on a real terminal, a real daemon, and a program for a shell."""

import base64
import contextlib
import hashlib
import json
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from relctld.supervisor.remote import MOST_SESSIONS
from relctld.supervisor.session import ROOM, SILENCE, WINDOW
from tests.asking import Asker
from tests.attached import Attached
from tests.fakes import fake
from tests.fakes.remote import shell_release
from tests.running import Fleet, Relctld, alive, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

NOBODY = 65534


@pytest.fixture
def daemon(relctld: Fleet, tmp_path: Path) -> Relctld:
    daemon = relctld({"web": shell_release(tmp_path / "web"), "idle": fake(tmp_path / "idle")})
    daemon.wait_for("web", state="running")
    return daemon


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that any user may enter, which pytest's tmp_path is not."""
    with tempfile.TemporaryDirectory(prefix="relctl-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def open_shells(daemon: Relctld) -> list[int]:
    """The pids of the shells that live."""
    attached = [event["pid"] for event in daemon.events("web") if event["event"] == "remote-attached"]
    return [pid for pid in attached if alive(pid)]


def folders(daemon: Relctld) -> list[Path]:
    """The directories of sessions."""
    return list((daemon.run_dir / "releases" / "web").glob("remote-*"))


def marked(mark: str) -> list[int]:
    """The living processes of one session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("RELCTL_INSTANCE") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def sees(shell: Attached) -> dict[str, Any]:
    shell.type("see\r")
    return dict(json.loads(shell.shows(r"= (\{.*\})\r\n")[1]))


def detached(daemon: Relctld) -> dict[str, Any]:
    return daemon.noted("web", "remote-detached")[-1]


def test_the_shell_has_a_terminal_and_the_environment_of_the_vm(relctld: Fleet, tmp_path: Path) -> None:
    env = {"PORT": "8080", "ERL_CRASH_DUMP": "/nowhere", "ERL_EPMD_PORT": "14370"}
    daemon = relctld({"web": shell_release(tmp_path / "web", env=env, umask="0022", limits={"nofile": 777})})
    vm = daemon.wait_for("web", state="running")["pid"]
    with Attached(daemon, "web", size=(33, 99)) as shell:
        shell.shows("= ready")
        seen = sees(shell)
        mark = seen["env"].pop("RELCTL_INSTANCE")
        assert folders(daemon) == [Path(seen["env"].pop("RELX_OUT_FILE_PATH")).parent]
        shell.type("exit 0\r")
        assert (shell.ends(), shell.errors) == (0, "")
    assert (seen["tty"], seen["size"], seen["foreground"]) == ([True, True, True], [33, 99], True)
    assert (seen["mode"], seen["umask"], seen["cwd"], seen["fds"]) == (0o600, 0o022, str(tmp_path / "web"), 4)
    environ = psutil.Process(vm).environ()
    ours = {key for key in environ if key.startswith(("RELCTL_", "ERL_CRASH_DUMP"))}
    mine = {"TERM": "xterm-256color", "ERL_CRASH_DUMP_SECONDS": "0", "ERL_ZFLAGS": "-env HEART_COMMAND true"}
    assert seen["env"] == {**{key: environ[key] for key in environ.keys() - ours}, **mine, "PWD": seen["cwd"]}
    assert folders(daemon) == []
    assert marked(mark) == []
    assert daemon.status("web")["pid"] == vm
    told = daemon.noted("web", "remote-attached", "remote-detached", at_least=2)
    who = pwd.getpwuid(os.geteuid()).pw_name
    assert [(event["by"], event["pid"]) for event in told] == [(who, seen["pid"])] * 2
    assert (told[1]["why"], 0 < told[1]["seconds"] < 60) == ("ended", True)


def test_it_is_the_releases_user_with_his_groups_and_his_terminal(public_path: Path) -> None:
    need_root()
    with Fleet(public_path) as fleet, Attached(foreign(fleet, public_path / "web"), "web") as shell:
        shell.shows("= ready")
        seen = sees(shell)
        shell.type("exit 0\r")
        assert shell.ends() == 0
    entry = pwd.getpwnam("nobody")
    assert seen["ids"] == [entry.pw_uid, entry.pw_gid, sorted(os.getgrouplist("nobody", entry.pw_gid))]
    assert (seen["owner"], seen["mode"], seen["env"]["HOME"]) == (entry.pw_uid, 0o600, entry.pw_dir)


def foreign(fleet: Fleet, root: Path) -> Relctld:
    """A release of nobody's, who cannot read where we and our Python lie."""
    table = shell_release(root, user="nobody")
    script = root / "bin" / "web"
    text = script.read_text()
    (root / "shell.py").write_bytes(Path(re.findall(r"-IS (\S*shell.py)", text)[0]).read_bytes())
    text = re.sub(r"exec \S+ -IS \S*shell.py", f"exec /usr/bin/python3 -IS {root}/shell.py", text)
    script.write_text(re.sub(r"exec \S+ -IS \S*vm.py", "exec sleep 1000", text))
    daemon = fleet({"web": table})
    daemon.wait_for("web", state="running")
    return daemon


def test_ctrl_c_and_the_size_of_the_window_are_the_shells(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        shell.type("\x03")
        shell.shows("= interrupted")
        shell.resize(50, 132)
        shell.shows("= size 50 132")
        shell.resize(10, 20)
        shell.shows("= size 10 20")
        shell.type("\x1c")  # Ctrl-\ ends the program, not the client
        assert shell.ends() == 1
    assert shell.errors == "relctl: cannot remote web: the shell ended with SIGQUIT\n"


def test_how_it_ends_is_told(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.type("exit 3\r")
        assert shell.ends() == 1
    assert shell.errors == "relctl: cannot remote web: the shell ended with exit code 3\n"


def test_two_at_once_do_not_see_each_other(daemon: Relctld) -> None:
    with Attached(daemon, "web") as one, Attached(daemon, "web") as two:
        one.shows("= ready")
        two.shows("= ready")
        assert sees(one)["pid"] != sees(two)["pid"]
        one.type("exit 0\r")
        assert one.ends() == 0
        assert b"exit" not in two.said
        sees(two)
        two.type("exit 0\r")
        assert two.ends() == 0
    assert folders(daemon) == []


def test_a_paste_of_a_megabyte_arrives_whole(daemon: Relctld) -> None:
    data = os.urandom(1 << 20).replace(b"~", b"-").replace(b"\n", b"\r")
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        shell.type(f"swallow {len(data)}\r")
        shell.shows("= swallowing")
        shell.type(data)
        shell.shows(f"= {hashlib.sha256(data).hexdigest()}", 60)
        shell.type("exit 0\r")
        assert shell.ends() == 0


def test_a_flood_and_a_slow_reader_cost_the_daemon_nothing(daemon: Relctld) -> None:
    total = 50 << 20
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        sees(shell)
        process = psutil.Process(daemon.pid)
        before = process.memory_info().rss
        shell.type("flood 50\r")
        shell.shows("flood 50\r\n")
        slowest, grown = 0.0, 0
        for _ in range(10):  # not read at all but for a little now and then
            shell.read(0.1)
            begun = time.monotonic()
            daemon.ask("daemon-status")
            slowest = max(slowest, time.monotonic() - begun)
            grown = max(grown, process.memory_info().rss - before)
        count, shown = len(shell.said), shell.said
        end = time.monotonic() + 120
        while b"= flooded" not in shown:
            assert time.monotonic() < end
            shell.said = b""
            count += shell.read(1.0)
            shown = shown[-64:] + shell.said
            if count % 97 == 0:
                grown = max(grown, process.memory_info().rss - before)
        assert count == total + total // 128 + len("= flooded\r\n")  # a terminal makes CR LF of LF
        assert grown < 4 << 20
        assert slowest < 0.5
        shell.type("exit 0\r")
        assert shell.ends() == 0


def test_output_without_end_leaves_the_daemon_to_others_and_can_be_left(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        shell.type("endless\r")
        shell.shows("yyyy")
        waits = []
        end = time.monotonic() + 3
        with Asker(daemon.socket) as asker:
            while time.monotonic() < end:
                shell.said = b""
                while shell.read(0):
                    shell.said = b""
                begun = time.monotonic()
                asker.result("daemon-status")
                waits.append(time.monotonic() - begun)
        assert sorted(waits)[len(waits) // 2] < 0.1, sorted(waits)
        shell.type("\r~.")
        assert shell.ends() == 1
    assert detached(daemon)["why"] == "left"


def test_tilde_dot_leaves_a_shell_that_hangs_and_ends_it_though_it_is_stubborn(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        shell.type("~~ 1~. x\r")  # none of these is the way out, but at the beginning of a line
        shell.shows(r"~ 1~\. x")
        pid = sees(shell)["pid"]
        shell.type("stubborn\r")
        shell.shows("= stubborn")
        shell.type("sleep\r")
        shell.shows("= asleep")
        shell.type("~.")
        assert shell.ends() == 1
    assert shell.errors == "relctl: cannot remote web: left by ~., and the shell was ended\n"
    wait_until(lambda: not alive(pid) and not folders(daemon), 5, what="the end of the shell")
    assert detached(daemon)["why"] == "left"


def test_what_a_shell_leaves_behind_is_ended_with_it(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        mark = sees(shell)["env"]["RELCTL_INSTANCE"]
        shell.type("leave\r")
        shell.shows("= left")
        assert len(marked(mark)) == 3
        shell.type("exit 0\r")
        assert shell.ends() == 0
    assert marked(mark) == []
    assert daemon.status("web")["state"] == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_client_that_is_told_to_end_gives_the_terminal_back(daemon: Relctld, number: signal.Signals) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        assert shell.settings() != shell.before
        shell.process.send_signal(number)
        assert shell.ends() == 1
    assert shell.errors == f"relctl: cannot remote web: ended by {number.name}\n"
    wait_until(lambda: not open_shells(daemon), 5, what="the end of the shell")


@pytest.mark.slow
def test_a_client_that_was_killed_loses_its_shell(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        mark = sees(shell)["env"]["RELCTL_INSTANCE"]
        shell.type("leave\r")
        shell.shows("= left")
        shell.process.kill()
        shell.process.wait()
        assert marked(mark)
        wait_until(lambda: not marked(mark), SILENCE + 8, what="the end of the shell")
    assert detached(daemon)["why"] == "its client is gone"
    wait_until(lambda: not folders(daemon), what="the end of its directory")


@pytest.mark.slow
def test_a_client_with_nothing_to_say_keeps_its_shell(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        pid = sees(shell)["pid"]
        end = time.monotonic() + SILENCE + 6
        while time.monotonic() < end:
            shell.read(0.5)
            assert shell.process.poll() is None, shell.errors
        assert sees(shell)["pid"] == pid


def test_a_daemon_that_stops_ends_all_shells_and_says_so(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        pid = sees(shell)["pid"]
        assert daemon.stop() == 0
        assert not alive(pid)
        assert shell.ends() == 1
    assert shell.errors == "relctl: cannot remote web: relctld is stopping\n"
    assert folders(daemon) == []


def test_a_daemon_that_was_killed_takes_the_shells_along(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        pid = sees(shell)["pid"]
        vm = daemon.status("web")["pid"]
        daemon.kill()
        wait_until(lambda: not alive(pid), 5, what="the end of the shell")
        assert shell.ends() == 4
    assert "relctl: cannot remote web: relctld is not running" in shell.errors
    assert len(folders(daemon)) == 1
    daemon.start()
    wait_until(lambda: not folders(daemon), 5, what="the end of what was left")
    assert daemon.wait_for("web", state="running")["pid"] == vm


def test_a_daemon_that_came_back_knows_no_session(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        daemon.kill()
        daemon.start()
        assert shell.ends() == 1
    assert shell.errors == "relctl: cannot remote web: this session is over\n"
    assert len(daemon.noted("web", "remote-attached")) == 1


def test_a_frozen_daemon_can_be_left(daemon: Relctld) -> None:
    with Attached(daemon, "web") as shell:
        shell.shows("= ready")
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            shell.type("see\r~.")
            assert shell.ends() == 1
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
    wait_until(lambda: not open_shells(daemon), 5, what="the end of the shell")


# -- who may not, and what cannot be ---------------------------------------------------------------


def test_only_admins_may(relctld: Fleet, tmp_path: Path) -> None:
    need_root()
    access = {"operate": ["nobody"], "admin": []}
    daemon = relctld({"web": shell_release(tmp_path / "web")}, {"access": access})
    daemon.wait_for("web", state="running")
    words = ["relctl", "--socket", str(daemon.socket), "remote", "web"]
    with Attached(daemon, "web", command=[sys.executable, "-m", "tests.acting", "65534", "65534", "", *words]) as shell:
        assert shell.ends() == 5
    assert "uid 65534 may not ask for remote" in shell.errors
    assert not [event for event in daemon.events("web") if "remote" in event["event"]]


def test_without_a_terminal_it_is_not_even_asked_for(daemon: Relctld) -> None:
    done = daemon.relctl("remote", "web", check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "relctl: cannot remote web: it needs a terminal on stdin and stdout\n"
        "relctl: hint: ssh -t gives one; relctl eval needs none\n",
    )
    assert not open_shells(daemon)


def refused(daemon: Relctld, name: str) -> tuple[str, str, str]:
    with Asker(daemon.socket) as asker:
        error = asker.ask("remote", {"release": name, "term": "xterm", "rows": 24, "cols": 80})["error"]
    return error["kind"], error["message"], error["hint"]


def test_what_has_no_shell_says_why(relctld: Fleet, tmp_path: Path) -> None:
    simple = shell_release(tmp_path / "simple")
    script = tmp_path / "simple" / "bin" / "web"
    script.write_text(script.read_text().replace("foreground", "console").replace("remote_console", "other") + "\n:\n")
    daemon = relctld(
        {
            "plain": fake(tmp_path / "plain"),
            "down": shell_release(tmp_path / "down", enabled=False),
            "simple": {**simple, "command": ["/bin/sleep", "1000"]},
            "broken": shell_release(tmp_path / "broken"),
        }
    )
    for name in ("plain", "simple", "broken"):
        daemon.wait_for(name, state="running")
    assert refused(daemon, "down") == ("impossible", "it is not running", "relctl start down")
    kind, message, _ = refused(daemon, "plain")
    assert kind == "impossible"
    assert "it runs a command of its own, and no release with a remote shell lies in" in message
    kind, message, hint = refused(daemon, "simple")
    assert (kind, hint) == ("impossible", "build the release with {extended_start_script, true}")
    assert message.endswith("bin/web is relx's simple script, which has no remote shell")
    (tmp_path / "broken" / "bin" / "web").write_text("")
    assert refused(daemon, "broken")[0] == "impossible"
    assert refused(daemon, "nosuch")[0] == "unknown-release"
    assert not list((daemon.run_dir / "releases").glob("*/remote-*"))


# -- the wire --------------------------------------------------------------------------------------


class Session:
    """A session by frames, for what a real client never says."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.request = asker.request("remote", {"release": "web", "term": "xterm", "rows": 24, "cols": 80})
        self.output = b""
        self.id = str(self.progress("session")["session"])

    def receive(self, timeout: float = 10.0) -> dict[str, Any] | None:
        answer = self.asker.receive(timeout)
        if answer is not None and answer["id"] == self.request and "data" in (said := answer.get("progress", {})):
            assert said["at"] == len(self.output)
            self.output += base64.b64decode(said["data"])
        return answer

    def progress(self, key: str) -> dict[str, Any]:
        while True:
            answer = self.receive()
            assert answer is not None, f"no {key}; {self.output[-200:]!r}"
            if answer["id"] != self.request:
                continue
            assert "error" not in answer, answer
            if key in answer.get("progress", {}):
                return dict(answer["progress"])

    def say(self, seq: int, data: bytes, ack: int = 0) -> dict[str, Any]:
        text = base64.b64encode(data).decode()
        args = {"session": self.id, "seq": seq, "data": text, "ack": ack}
        id = self.asker.request("remote-input", args)
        while True:
            answer = self.receive()
            assert answer is not None
            if answer["id"] == id:
                return answer

    def until(self, what: bytes) -> None:
        while what not in self.output:
            self.progress("data")


@pytest.fixture
def session(daemon: Relctld) -> Iterator[Session]:
    with Asker(daemon.socket) as asker:
        yield Session(asker)


def test_a_repeated_request_joins_its_shell(daemon: Relctld, session: Session) -> None:
    session.until(b"= ready")
    with Asker(daemon.socket) as other:
        asked = {"release": "web", "term": "xterm", "rows": 24, "cols": 80}
        for asker in (session.asker, other):
            asker.request("remote", asked, id=session.request)
        assert other.receive() == {"v": 1, "id": session.request, "progress": {"accepted": True}}
        assert len(daemon.noted("web", "remote-attached")) == 1
        session.say(1, b"exit 7\r")
        for asker in (session.asker, other):
            assert asker.reply(session.request)["result"] == {"code": 7, "signal": None}
        assert other.ask("remote", asked, id=session.request)["result"]["code"] == 7
    assert len(daemon.noted("web", "remote-attached")) == 1


def test_input_is_applied_once_and_in_order(session: Session) -> None:
    session.until(b"= ready")
    for seq, data in ((1, b"ab"), (1, b"ab"), (1, b"xx"), (2, b"cd")):
        assert session.say(seq, data)["result"] == {"seq": seq, "room": ROOM}
    for seq in (1, 4, 9):
        assert session.say(seq, b"no")["error"]["kind"] == "usage"
    session.until(b"abcd")
    assert b"x" not in session.output
    assert b"no" not in session.output


def test_what_is_not_acknowledged_is_bounded(session: Session) -> None:
    session.say(1, b"flood 4\r")
    while session.receive(1.0) is not None:
        pass
    assert 1024 < len(session.output) < WINDOW + 20_000
    assert session.say(2, b"", ack=len(session.output) + 1)["error"]["kind"] == "usage"
    before = len(session.output)
    session.say(2, b"", ack=before)
    session.progress("data")
    assert len(session.output) > before


def test_what_the_shell_does_not_take_is_bounded(daemon: Relctld, session: Session) -> None:
    session.until(b"= ready")
    session.say(1, b"swallow 1\r")
    session.until(b"= swallowing")
    stopped = psutil.Process(open_shells(daemon)[0])
    stopped.suspend()
    data, seq = bytes(16384), 2
    while (reply := session.say(seq, data))["ok"]:
        room, seq = reply["result"]["room"], seq + 1
    assert seq < 20
    assert 0 <= room < len(data)
    assert reply["error"]["message"] == f"there is room for {room} bytes"
    assert session.say(seq, bytes(room))["result"] == {"seq": seq, "room": 0}
    stopped.resume()
    assert session.progress("room")["room"] == ROOM


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"session": 1},
        {"session": "../../etc/passwd"},
        {"session": "0" * 32, "seq": 1, "data": "", "ack": 0, "rows": 1, "cols": 1},
        {"session": None, "seq": -1},
    ],
)
@pytest.mark.parametrize("op", ["remote-input", "remote-resize", "remote-close"])
def test_a_session_that_is_none_is_refused(daemon: Relctld, op: str, args: dict[str, Any]) -> None:
    with Asker(daemon.socket) as asker:
        assert asker.ask(op, args)["error"]["kind"] in ("usage", "failed")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("term", ""), ("term", "a b"), ("term", "x" * 33), ("term", "x\n"), ("term", None), ("rows", -1),
        ("rows", True), ("cols", 10**6), ("cols", "80"), ("release", 5), ("release", "nosuch"),
    ],
)  # fmt: skip
def test_bad_arguments_open_no_shell(daemon: Relctld, key: str, value: object) -> None:
    asked = {"release": "web", "term": "xterm", "rows": 24, "cols": 80, key: value}
    with Asker(daemon.socket) as asker:
        assert asker.ask("remote", asked)["error"]["kind"] in ("usage", "unknown-release")


def test_bad_input_is_refused_and_changes_nothing(session: Session) -> None:
    ask, named = session.asker.ask, {"session": session.id, "ack": 0, "seq": 1}
    for data in ("é", "a", 5, base64.b64encode(bytes(ROOM + 1)).decode()):
        assert ask("remote-input", {**named, "data": data})["error"]["kind"] == "usage"
    assert session.say(1, b"exit 0\r")["ok"]


def test_the_session_of_another_user_does_not_exist(relctld: Fleet, tmp_path: Path) -> None:
    need_root()
    daemon = relctld({"web": shell_release(tmp_path / "web")}, {"access": {"admin": ["nobody"]}})
    daemon.wait_for("web", state="running")
    with Asker(daemon.socket) as asker:
        session = Session(asker)
        args = {"session": session.id, "seq": 1, "data": base64.b64encode(b"exit 9\r").decode(), "ack": 0}
        frame = {"v": 1, "id": "0" * 32, "op": "remote-input", "args": args}
        asking = (
            "import os, sys, zmq; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "socket = zmq.Context().socket(zmq.DEALER); socket.connect(sys.argv[1])\n"
            "socket.send(sys.argv[2].encode()); print(socket.recv().decode())"
        )
        command = [sys.executable, "-c", asking, f"ipc://{daemon.socket}", json.dumps(frame)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        assert json.loads(done.stdout)["error"]["message"] == "this session is over"
        assert session.say(1, b"exit 0\r")["ok"]
        assert asker.reply(session.request)["result"]["code"] == 0


def test_there_is_a_limit_to_the_number_of_shells(daemon: Relctld) -> None:
    with Asker(daemon.socket) as asker:
        sessions = [Session(asker) for _ in range(MOST_SESSIONS)]
        assert refused(daemon, "web")[0] == "busy"
        wait_until(lambda: len(open_shells(daemon)) == MOST_SESSIONS, what="their events")
        asker.result("remote-close", {"session": sessions[0].id})
        wait_until(lambda: len(open_shells(daemon)) < MOST_SESSIONS, what="the end of one")
        wait_until(lambda: len(folders(daemon)) < MOST_SESSIONS, what="the end of its directory")
        Session(asker)
    assert daemon.stop() == 0
