"""The command line itself: what is understood, what is not, and how that is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relctl.cli import VERBS, listed, load, run
from relctl.verb import parser_of
from relctld.wire.messages import KIND_EXIT
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, problem, silence
from tests.unit.relctl.samples import changing, release, status

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sock: Path) -> Say:
    """Runs a command line in this process: its code, stdout and stderr."""
    monkeypatch.setenv("RELCTL_SOCKET", str(sock))

    def say(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return say


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ([], "no verb given", "relctl help lists the verbs"),
        (["-x"], "unknown option -x", "relctl help"),
        (["--socket"], "--socket needs a path", "relctl help"),
        (["stauts"], "cannot stauts: there is no such verb", "did you mean status?"),
        (["frobnicate", "web", "2"], "cannot frobnicate: there is no such verb", "relctl help lists the verbs"),
        (["status", "--wach"], "cannot status: unknown option --wach", "did you mean --watch?"),
        (["restart", "web", "--al"], "cannot restart: unknown option --al", "did you mean --all?"),
        (["logs", "web", "--sinc", "1h"], "cannot logs: unknown option --sinc", "did you mean --since?"),
        (["reload", "web"], "cannot reload: unexpected argument web", "relctl help reload"),
        (["restart"], "cannot restart: no release named", "relctl help restart"),
        (["logs"], "cannot logs: no release named", "relctl help logs"),
        (["crashes"], "cannot crashes: no release named", "relctl help crashes"),
        (["stop", "web", "--all"], "cannot stop web: releases are named, and --all is given too", "relctl help stop"),
        (
            ["stop", "web", "--no-wait", "--timeout", "3s"],
            "cannot stop web: --timeout limits the waiting, and --no-wait does not wait",
            "relctl help stop",
        ),
        (
            ["logs", "web", "--rotate", "-f"],
            "cannot logs web: --rotate shows nothing: it does not go with -f",
            "relctl help logs",
        ),
        (["upgrade"], "cannot upgrade: no release named", "relctl help upgrade"),
        (["downgrade"], "cannot downgrade: no release named", "relctl help downgrade"),
        (["versions"], "cannot versions: no release named", "relctl help versions"),
        (
            ["upgrade", "web"],
            "cannot upgrade web: no version and no tarball named",
            "relctl versions web lists the versions",
        ),
        (
            ["upgrade", "web", "2", "--timeout", "3s"],
            "cannot upgrade: unknown option --timeout",
            "relctl help upgrade",
        ),
        (
            ["downgrade", "web", "1", "--sha256", "0"],
            "cannot downgrade: unknown option --sha256",
            "relctl help downgrade",
        ),
        (["upgrade", "web", "1", "2"], "cannot upgrade: unexpected argument 2", "relctl help upgrade"),
        (["remove", "web"], "cannot remove web: no version named", "relctl versions web lists the versions"),
        (["eval", "web"], "cannot eval web: no expression given", "relctl help eval"),
        (["eval", "web", " "], "cannot eval web: the expression is empty", "relctl help eval"),
        (["rpc", "web", "erlang"], "cannot rpc web: no function named", "relctl help rpc"),
        (
            ["remote", "web"],
            "cannot remote web: it needs a terminal on stdin and stdout",
            "ssh -t gives one; relctl eval needs none",
        ),
        (["status", "a\nb\x1b[2J", "--wach"], "cannot status: unknown option --wach", "did you mean --watch?"),
        (["\x1b[2J"], "cannot \\x1b[2J: there is no such verb", "relctl help lists the verbs"),
        (["relup", "old"], "cannot relup: name two builds: OLD and NEW", "relctl help relup"),
        (["relup", "old", "nowhere"], "cannot relup: there is no nowhere", "relctl help relup"),
        (
            ["relup", "old", "/", "-o", "x"],
            "cannot relup: -o writes a tarball from a tarball, without --dir",
            "relctl help relup",
        ),
        (
            ["relup", "old", "/", "--as", "m=x"],
            "cannot relup: --as m=x: not MODULE=INSTRUCTION",
            "an instruction is add, delete, load, soft, update, supervisor",
        ),
        (["daemon"], "cannot daemon: say what: status, reexec or stop", "relctl help daemon"),
        (["completion"], "cannot completion: say which shell: bash, zsh, fish", "relctl help completion"),
    ],
)
def test_usage_errors(say: Say, words: list[str], error: str, hint: str) -> None:
    assert say(*words) == (2, "", f"relctl: {error}\nrelctl: hint: {hint}\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["upgrade", "web", "2", "--soak", "3"], "argument --soak: '3' is no duration"),
        (["stop", "web", "--timeout", "3"], "argument --timeout: '3' is no duration"),
        (["top", "--interval", "36501d"], "argument --interval: 36501d is more than a century"),
        (["top", "--interval", "9" * 400 + "d"], "argument --interval: 99999999999999999999... is more than a century"),
        (
            ["logs", "web", "-n", "1000000000"],
            "argument -n/--lines: '1000000000' is no number of lines, 0 to 999999999",
        ),
        (["crashes", "web", "9" * 30], f"argument N: '{'9' * 30}' is no number of the list"),
        (["stop", "web", "--timeout"], "argument --timeout: expected one argument"),
        (["logs", "web", "-n", "x"], "argument -n/--lines: 'x' is no number of lines"),
        (["logs", "web", "--grep", "("], "argument --grep: '(' is no regular expression"),
        (["logs", "web", "--until", "soon"], "argument --until: 'soon' is no time"),
        (["events", "--since", "soon"], "argument --since: 'soon' is no time"),
        (["crashes", "web", "0"], "argument N: '0' is no number of the list"),
        (["completion", "tcsh"], "argument shell: invalid choice: 'tcsh'"),
    ],
)
def test_values_that_cannot_be(say: Say, words: list[str], error: str) -> None:
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"relctl: cannot {words[0]}: {error}")
    assert err.splitlines()[1:] == [f"relctl: hint: relctl help {words[0]}"]


def test_usage_errors_are_objects_under_json(say: Say) -> None:
    for words in (["--json", "status", "--wach"], ["status", "--wach", "--json"]):
        code, out, err = say(*words)
        assert (code, err) == (2, "")
        error = {"kind": "usage", "message": "unknown option --wach", "hint": "did you mean --watch?"}
        assert json.loads(out) == {"ok": False, "release": None, "op": "status", "error": error}


@pytest.mark.parametrize(("kind", "code"), KIND_EXIT.items())
def test_each_kind_of_refusal_has_its_exit_code(say: Say, sock: Path, kind: str, code: int) -> None:
    with FakeDaemon(sock, problem(kind, "why not", "what next")):
        for verb in ("status", "restart", "logs", "events", "crashes"):
            words = [verb, "web"]
            assert say(*words) == (code, "", f"relctl: cannot {verb} web: why not\nrelctl: hint: what next\n")
            failed, out, err = say(*words, "--json")
            error = {"kind": kind, "message": "why not", "hint": "what next"}
            assert json.loads(out) == {"ok": False, "release": "web", "op": verb, "error": error}
            assert (failed, err) == (code, "")


def test_options_may_stand_before_and_behind_the_verb(say: Say, sock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELCTL_SOCKET")
    with FakeDaemon(sock, status(release("web"))):
        for words in (
            ["--socket", str(sock), "--json", "status"],
            [f"--socket={sock}", "status", "--json"],
            ["status", "web", "--json", "--socket", str(sock)],
        ):
            assert say(*words)[0] == 0


def test_of_many_names_an_error_lists_the_first(say: Say, sock: Path) -> None:
    with FakeDaemon(sock, problem("denied", "why not")):
        err = say("stop", *(f"r{number}" for number in range(1000)))[2]
    assert err == "relctl: cannot stop r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 and 990 more: why not\n"


def test_names_cannot_drive_the_terminal(say: Say, sock: Path) -> None:
    with FakeDaemon(sock, problem("unknown-release", "why not")):
        assert say("status", "a\nb\x1b[2J")[2] == "relctl: cannot status a\\nb\\x1b[2J: why not\n"
        assert json.loads(say("status", "a\nb\x1b[2J", "--json")[1])["release"] == "a\nb\x1b[2J"


def test_a_request_that_no_relctld_would_read_is_not_sent(say: Say, sock: Path) -> None:
    with FakeDaemon(sock, silence) as daemon:
        code, _, err = say("eval", "web", "x" * (1 << 20))
    assert code == 2
    assert err.startswith("relctl: cannot eval web: too much is asked at once: 1048")
    assert daemon.requests == []


def test_names_and_options_mix(say: Say, sock: Path) -> None:
    with FakeDaemon(sock, changing) as daemon:
        assert say("restart", "web", "--timeout", "5s", "api", "web")[0] == 0
    assert daemon.requests[0].args == {"names": ["web", "api"], "all": False, "wait": True}


def test_help(say: Say) -> None:
    code, out, _ = say("help")
    assert code == 0
    assert all(f"  {verb} " in out for verb in listed())
    assert "__names" not in out
    assert say("-h") == say("--help") == (0, out, "")


@pytest.mark.parametrize("verb", listed())
def test_help_of_each_verb(say: Say, verb: str) -> None:
    code, out, err = say("help", verb)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: relctl {verb}")
    assert load(verb).description in out
    assert say(verb, "-h") == say(verb, "--help") == (0, out, "")


def test_help_fits_the_smallest_usual_terminal(say: Say) -> None:
    for words in (["help"], *(["help", verb] for verb in listed())):
        assert [line for line in say(*words)[1].splitlines() if len(line) > 80] == []


def test_help_for_what_is_no_verb(say: Say) -> None:
    assert say("help", "stauts")[0] == 2


def test_what_is_asked_of_relctl_alone_is_json_under_json_too(say: Say) -> None:
    assert json.loads(say("--json", "--version")[1])["version"] in say("--version")[1]
    assert json.loads(say("help", "--json")[1]) == {"verb": None, "help": say("help")[1].rstrip("\n")}
    assert json.loads(say("stop", "--help", "--json")[1]) == {
        "verb": "stop",
        "help": say("help", "stop")[1].rstrip("\n"),
    }
    shell = json.loads(say("completion", "zsh", "--json")[1])
    assert shell == {"shell": "zsh", "script": say("completion", "zsh")[1].rstrip("\n")}
    code, out, err = say("remote", "web", "--json")
    assert (code, err, json.loads(out)["error"]["message"]) == (2, "", "a shell has no JSON")


@pytest.mark.parametrize("name", VERBS)
def test_the_table_of_verbs_and_the_modules_agree(name: str) -> None:
    verb = load(name)
    assert verb.name == name
    assert all(action.help for action in parser_of(verb)._actions)


# -- as a process ----------------------------------------------------------------------------------


def test_version(relctl: Relctl) -> None:
    done = relctl("--version")
    assert done.code == 0
    assert done.out.startswith("relctl ")


def test_without_a_daemon_the_answer_comes_at_once(relctl: Relctl, sock: Path) -> None:
    done = relctl("restart", "web")
    assert done == (
        4,
        "",
        f"relctl: cannot restart web: relctld is not running (no socket {sock}, RELCTL_SOCKET)\n"
        "relctl: hint: start relctld, or choose another socket: this one is chosen by RELCTL_SOCKET\n",
    )


def test_several_releases_stand_in_one_line(relctl: Relctl, sock: Path) -> None:
    FakeDaemon(sock, silence).stop()
    assert relctl("stop", "web", "api").err.startswith("relctl: cannot stop web, api: relctld is not running")
    assert relctl("stop", "--all").err.startswith("relctl: cannot stop all: relctld is not running")


def test_under_json_each_release_has_its_object(relctl: Relctl) -> None:
    done = relctl("--json", "stop", "web", "api")
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert [(item["ok"], item["release"], item["op"]) for item in objects] == [
        (False, "web", "stop"),
        (False, "api", "stop"),
    ]
    assert {item["error"]["kind"] for item in objects} == {"unreachable"}
    assert (done.code, done.err) == (4, "")


def test_no_permission_says_whose_door_it_is(relctl: Relctl, sock: Path, folder: Path) -> None:
    other: dict[str, object] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    with FakeDaemon(sock, silence):
        sock.chmod(0o600 if other else 0)
        done = relctl("status", **other)
        mode = "0600" if other else "0000"
        assert done.code == 4
        assert done.err.startswith(f"relctl: cannot status: no permission to use {sock} (owner ")
        assert f"mode {mode})" in done.err
        folder.chmod(0o700 if other else 0)
        done = relctl("status", **other)
        folder.chmod(0o755)
        assert f"{sock}: {folder} (owner " in done.err
        assert "is closed" in done.err


@pytest.mark.slow
def test_a_daemon_that_does_not_answer(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, silence) as daemon:
        done = relctl("status")
    assert done.code == 4
    assert done.err.startswith(f"relctl: cannot status: relctld does not answer (nothing for 5 s on {sock})\n")
    assert len(daemon.requests) == 3


def test_what_is_not_needed_is_not_imported(relctl: Relctl, sock: Path) -> None:
    heavy = "asyncio dataclasses inspect logging structlog psutil tomli shutil difflib datetime subprocess tempfile"
    code = (
        "import sys\nfrom relctl.cli import run\ncode = run(['status'])\n"
        "print(code, *sorted(name for name in sys.modules if name.startswith('relctl.verbs.')))\n"
        f"print(*(set({heavy!r}.split()) & set(sys.modules)))\n"
    )
    with FakeDaemon(sock, status(release())):
        done = subprocess.run(
            [sys.executable, "-c", code], env=relctl.environ(), capture_output=True, text=True, timeout=30, check=True
        )
    assert done.stdout.splitlines()[-2:] == ["0 relctl.verbs.status", ""]
