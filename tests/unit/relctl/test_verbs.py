"""crashes, reload, daemon, completion: what is shown, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctl.reference import reference
from relctld.wire.messages import Reply, Request
from tests.asked import FULL
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, problem, result
from tests.unit.relctl.samples import DAEMON, release, status

ROOT = Path(__file__).resolve().parents[3]


# -- crashes, reload, daemon -----------------------------------------------------------------------

CRASH = {
    "n": 1,
    "name": "erl_crash.1.dump",
    "at": "2026-01-01T00:00:00Z",
    "size": 12_345_678,
    "slogan": "eheap \x1b[2J",
}


def test_crashes(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(crashes=[CRASH])) as daemon:
        done = relctl("crashes", "web")
        assert done.out == "N  AT                    SIZE  SLOGAN\n1  2026-01-01T00:00:00Z  12MB  eheap \\x1b[2J\n"
        assert json.loads(relctl("crashes", "web", "--json").out) == {"release": "web", **CRASH}
    assert daemon.requests[0].args == {"release": "web"}


def test_one_crash(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(crash=CRASH, head="=erl_crash_dump:0.5\nSlogan: \x07")) as daemon:
        done = relctl("crashes", "web", "1")
        assert done.out.endswith("slogan: eheap \\x1b[2J\n\n=erl_crash_dump:0.5\nSlogan: \\x07\n")
        assert json.loads(relctl("crashes", "web", "1", "--json").out)["head"].startswith("=erl_crash_dump")
    assert daemon.requests[0].args == {"release": "web", "n": 1}


def test_no_crashes(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(crashes=[])):
        assert relctl("crashes", "web") == (0, "web: no crash dumps are kept\n", "")
        assert relctl("crashes", "web", "--json") == (0, "", "")


def test_reload(relctl: Relctl, sock: Path) -> None:
    changed = [{"release": "web", "restart_pending": ["env"]}]
    answer = result(added=["api"], removed=[], changed=changed, warnings=["no group relctl"], applied=True)
    with FakeDaemon(sock, answer) as daemon:
        done = relctl("reload", "--stop-removed")
        assert done.out == "added    api\nchanged  web: restart_pending env\nconfig applied (2 differences)\n"
        assert done.err == "relctl: warning: no group relctl\n"
        told = json.loads(relctl("reload", "--json").out)
    assert daemon.requests[0].args == {"plan": False, "stop_removed": True}
    assert told["diff"] == {"added": ["api"], "removed": [], "changed": changed}
    assert (told["ok"], told["op"], told["changed"], told["release"]) == (True, "reload", True, None)


def test_reload_tells_of_each_release_it_stopped(relctl: Relctl, sock: Path) -> None:
    stopped = {"ok": True, "release": "old", "op": "stop", "changed": True, "seconds": 1.0}
    kept = {
        "ok": False,
        "release": "api",
        "op": "stop",
        "error": {"kind": "busy", "message": "an upgrade runs", "hint": ""},
    }
    answer = result(added=[], removed=["old", "api"], changed=[], warnings=[], applied=True, results=[stopped, kept])
    with FakeDaemon(sock, answer):
        done = relctl("reload", "--stop-removed")
    assert done.out.endswith("config applied (2 differences)\nold: stopped (1.0 s)\n")
    assert (done.code, done.err) == (5, "relctl: cannot stop api: an upgrade runs\n")


def test_reload_plan(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(added=["api"], removed=[], changed=[], warnings=[], applied=False)):
        assert relctl("reload", "--plan").out == "added    api\nnot applied: this is a plan (1 difference)\n"


def test_reload_of_nothing_new_and_of_a_bad_config(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(added=[], removed=[], changed=[], warnings=[], applied=True)):
        assert relctl("reload") == (0, "nothing changed\n", "")
    with FakeDaemon(sock, problem("config", "relctld.toml: [release.web] rooot: unknown key", "did you mean root?")):
        done = relctl("reload")
    assert done.code == 2
    assert done.err.startswith("relctl: cannot reload: relctld.toml: [release.web] rooot: unknown key\n")


def test_daemon_status(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(**DAEMON)) as daemon:
        assert "version: 0.1.0\npid: 77\n" in relctl("daemon", "status").out
        assert json.loads(relctl("daemon", "status", "--json").out) == DAEMON
    assert daemon.asked == ["daemon-status"] * 2


_STOPPING = """
import sys, threading
from pathlib import Path
from relctld.wire.messages import Reply
from tests.unit.relctl.fake import FakeDaemon
asked = threading.Event()
def script(request):
    yield Reply(request.id, {"stopping": True})
    yield 0.5
    asked.set()
daemon = FakeDaemon(Path(sys.argv[1]), script)
daemon.start()
print("up", flush=True)
asked.wait()
"""


def test_daemon_stop_waits_until_it_is_gone(relctl: Relctl, sock: Path) -> None:
    command = [sys.executable, "-c", _STOPPING, str(sock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"up\n"
        done = relctl("daemon", "stop")
        assert daemon.wait(0.5) == 0
    assert done.code == 0
    assert re.fullmatch(rf"relctld: stopped \(pid {daemon.pid}, [0-9.]+ s\)\n", done.out)


# -- completion and reference ----------------------------------------------------------------------


def test_names_for_shells(relctl: Relctl, sock: Path) -> None:
    assert relctl("__names") == (0, "", "")

    def script(request: Request) -> Iterator[Said]:
        names = ("web", "api-2", "$(reboot)")
        yield Reply(request.id, {"daemon": DAEMON, "releases": [release(name) for name in names]})

    with FakeDaemon(sock, script):
        assert relctl("__names") == (0, "web\napi-2\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(relctl: Relctl, shell: str, folder: Path) -> None:
    script = relctl("completion", shell)
    assert script.code == 0
    assert "__names" in script.out
    assert "--watch" in script.out or "-l watch" in script.out
    if shutil.which(shell) is None:
        (pytest.fail if FULL else pytest.skip)(f"no {shell} here")
    file = folder / "script"
    file.write_text(script.out)
    subprocess.run([shell, "-n", str(file)], check=True, timeout=30)


def test_bash_completes_verbs_flags_and_names(relctl: Relctl, sock: Path, folder: Path) -> None:
    (folder / "script").write_text(relctl("completion", "bash").out)
    stub = folder / "relctl"
    stub.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m relctl "$@"\n')
    stub.chmod(0o755)

    def complete(*words: str) -> list[str]:
        listed = " ".join(f"'{word}'" for word in ("relctl", *words))
        code = f". {folder}/script; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _relctl; echo ${{COMPREPLY[@]}}"
        env = relctl.environ(PATH=f"{folder}:{os.environ['PATH']}")
        done = subprocess.run(["bash", "-c", code], env=env, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.split()

    with FakeDaemon(sock, status(release("web"), release("worker"), release("api"))):
        assert complete("st") == ["status", "start", "stop"]
        assert complete("status", "--w") == ["--watch"]
        assert complete("restart", "w") == ["web", "worker"]
        assert complete("--json", "logs", "a") == ["api"]
        assert complete("completion", "z") == ["zsh"]
        assert complete("help", "cr") == ["crashes"]
        assert complete("deploy", "web", f"{folder}/scr") == [f"{folder}/script"]
        assert complete("stop", f"{folder}/scr") == []


def test_the_reference_page_is_the_programs(relctl: Relctl) -> None:
    page = (ROOT / "docs" / "reference-cli.md").read_text()
    assert page == reference(), "run: python -m relctl.reference > docs/reference-cli.md"
