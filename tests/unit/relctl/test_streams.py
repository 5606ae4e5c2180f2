"""relctl as a process in poor circumstances: streams that are closed or full, no directory, Ctrl-C at any time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.wire.messages import Reply, Request
from tests.unit.relctl.conftest import Relctl, Terminal
from tests.unit.relctl.fake import FakeDaemon, Said, problem, silence
from tests.unit.relctl.samples import down, release, status
from tests.waiting import wait_until


def shell(relctl: Relctl, line: str, **more: str) -> tuple[int, str, str]:
    """How `relctl` ended in a line of sh, and what came out."""
    text = f'relctl() {{ "$PYTHON" -m relctl "$@"; }}; {line}'
    environ = relctl.environ(PYTHON=sys.executable, **more)
    done = subprocess.run(["sh", "-c", text], env=environ, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_streams_that_are_closed_are_no_error(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, status(release(), down("api"))):
        assert shell(relctl, "relctl status >&-") == (3, "", "")
        assert shell(relctl, "relctl status web --json 2>&-")[::2] == (0, "")
        assert shell(relctl, "relctl status <&- >&- 2>&-") == (3, "", "")
        assert shell(relctl, "relctl nope >&- 2>&-")[0] == 2
        code, _, err = shell(relctl, "relctl eval web - <&-")
    assert (code, err.splitlines()[0]) == (2, "relctl: cannot eval web: the expression is empty")


def test_a_full_disk_under_stdout_is_told_on_stderr(relctl: Relctl, sock: Path) -> None:
    full = "cannot write the output: No space left on device"
    with FakeDaemon(sock, status(release())):
        assert shell(relctl, "relctl status > /dev/full") == (1, "", f"relctl: cannot status: {full}\n")
        assert shell(relctl, "relctl status --json > /dev/full") == (1, "", f"relctl: cannot status: {full}\n")
    assert shell(relctl, "relctl nope --json > /dev/full") == (2, "", f"relctl: {full}\n")
    assert shell(relctl, "relctl nope 2> /dev/full") == (2, "", "")


@pytest.mark.parametrize("line", ["--socket x status", "upgrade web ./x.tgz", "relup a / --plan"])
def test_a_working_directory_that_is_gone(relctl: Relctl, folder: Path, line: str) -> None:
    gone = folder / "gone"
    code, _, err = shell(relctl, f"mkdir {gone}; cd {gone}; rmdir {gone}; relctl {line}", PYTHONSAFEPATH="1")
    assert code == 2
    assert "the working directory, where " in err
    assert err.splitlines()[1:] == ["relctl: hint: cd, or name the whole path"]


def test_a_dumb_terminal_is_not_drawn_on(relctl: Relctl, sock: Path, terminal: Terminal) -> None:
    with FakeDaemon(sock, status(release())):
        environ = relctl.environ(TERM="dumb")
        with relctl.popen("top", "--interval", "36500d", stdout=terminal.slave, env=environ) as process:
            wait_until(lambda: "web" in terminal.read(), what="a picture")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    assert "\x1b" not in terminal.shown


def test_ctrl_c_says_that_what_was_begun_goes_on(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, silence) as daemon, relctl.popen("remove", "web", "1") as process:
        wait_until(lambda: daemon.requests, what="the request")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, b"relctl: cannot remove web: interrupted; what relctld has begun goes on\n")


def test_ctrl_c_while_it_starts_leaves_no_traceback(relctl: Relctl, folder: Path) -> None:
    (folder / "argparse.py").write_text("import signal\nprint('importing', flush=True)\nsignal.pause()\n")
    with relctl.popen("status", env=relctl.environ(PYTHONPATH=str(folder))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (-signal.SIGINT, b"")


def test_a_failed_expression_has_the_error_of_all_others(relctl: Relctl, sock: Path) -> None:
    def failing(request: Request) -> Iterator[Said]:
        yield Reply(request.id, {"ok": False, "value": "error: badarg", "output": "", "seconds": 0.1})

    with FakeDaemon(sock, failing):
        done = relctl("rpc", "web", "erlang", "memory", "total", "--json")
        told = json.loads(done.out)
        hint = "ARGS is a list in Erlang's syntax: '[total]'"
        assert told["error"] == {"kind": "failed", "message": "error: badarg", "hint": hint}
        assert (done.code, told["op"], told["value"]) == (1, "rpc", "error: badarg")
        assert relctl("eval", "web", "x").err == "relctl: cannot eval web: error: badarg\n"


def test_names_of_operations_are_one_word(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, problem("denied", "why not")):
        assert json.loads(relctl("daemon", "stop", "--json").out)["op"] == "daemon-stop"
        assert relctl("daemon", "stop").err == "relctl: cannot daemon stop: why not\n"
