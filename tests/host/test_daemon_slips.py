"""Operators who make mistakes: what every verb says to that, in words and as JSON, under one real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relctl.cli import listed, run
from tests.fakes import fake
from tests.running import ROOT, Fleet, Relctld

pytestmark = pytest.mark.host

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relctld]:
    folder = tmp_path_factory.mktemp("slips")
    table = {"web": fake(folder / "web"), "empty": {"root": folder / "nothing"}, "gone": fake(folder / "gone")}
    with Fleet(folder) as fleet:
        daemon = fleet(table)
        daemon.wait_for("web", state="running")
        daemon.wait_for("gone", state="running")
        daemon.configure({name: table[name] for name in ("web", "empty")})
        assert run(["--socket", str(daemon.socket), "reload", "--stop-removed"]) == 0
        yield daemon


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str], daemon: Relctld) -> Say:
    """Runs a command line in this process: its code, stdout and stderr."""

    def say(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["--socket", str(daemon.socket), *words])
        return code, *capfd.readouterr()

    return say


COMPLETE = {
    "status": ["web"],
    "top": ["web"],
    "start": ["web"],
    "stop": ["web"],
    "restart": ["web"],
    "versions": ["web"],
    "upgrade": ["web", "2"],
    "downgrade": ["web"],
    "deploy": ["web", "/nowhere.tgz"],
    "remove": ["web", "2"],
    "relup": ["/nowhere", "/"],
    "logs": ["web", "-n", "3"],
    "events": ["web"],
    "crashes": ["web"],
    "doctor": ["web"],
    "eval": ["web", "1."],
    "rpc": ["web", "erlang", "node"],
    "remote": ["web"],
    "reload": ["--plan"],
    "daemon": ["status"],
    "completion": ["bash"],
}
"""Arguments of each verb that leave the daemon as it was, but for a VM that is restarted."""


@pytest.mark.parametrize("verb", listed())
def test_under_json_every_verb_gives_json(say: Say, verb: str) -> None:
    """With what it takes, with nothing, with too much, with names that nobody has, with an option that is none."""
    once = ["--once"] if verb == "top" else []
    for words in (COMPLETE[verb], [], ["web"] * 5, ["nobody", "x", "y"], ["nobody"], ["--nope"], ["\udcff\x1b"]):
        code, out, err = say("--json", verb, *words, *once)
        assert err == ""
        said = [json.loads(line) for line in out.splitlines()]
        assert said or code == 0, words
        assert code in (0, 1, 2, 3, 5), words
        failed = [each["error"] for each in said if each.get("ok") is False]
        assert all(error["kind"] and error["message"] for error in failed)


def test_names_of_releases_that_never_were(say: Say) -> None:
    for verb in ("status", "stop", "logs", "events", "crashes", "versions", "doctor"):
        code, out, err = say(verb, "wbe")
        assert (code, out) == (5, ""), verb
        assert err == f"relctl: cannot {verb} wbe: no release is named wbe\nrelctl: hint: did you mean web?\n"
    assert say("events", "gone")[0] == 0
    assert " gone " in say("events", "gone")[1]
    assert say("events", "web", "--since", "1ms") == (0, "", "")


def test_nothing_is_installed(say: Say, daemon: Relctld) -> None:
    nothing = f"nothing installed: {daemon.folder.parent / 'nothing'} is missing or empty"
    for verb, *more in (["start"], ["versions"], ["remove", "1"]):
        code, _, err = say(verb, "empty", *more)
        assert code == 5
        assert err.splitlines() == [
            f"relctl: cannot {verb} empty: {nothing}",
            "relctl: hint: relctl deploy empty TARBALL installs it",
        ]
    assert f"wanted up: {nothing}" in say("status", "empty")[1]


def test_a_config_with_several_mistakes_is_refused_in_one_line(say: Say, daemon: Relctld) -> None:
    good = daemon.config.read_text()
    daemon.config.write_text(f"{good}rooot = 1\nuser = 2\n")
    try:
        code, _, err = say("reload")
        assert code == 2
        assert err.count("\n") == 2
        assert '[release.empty] rooot: unknown key, did you mean "root"?; cannot use ' in err
        error = json.loads(say("--json", "daemon", "status")[1])["config"]["error"]
        assert error in err
    finally:
        daemon.config.write_text(good)
        say("reload")


def test_names_in_the_config_that_nobody_has_are_shown_until_they_are_mended(say: Say, daemon: Relctld) -> None:
    good, account = daemon.config.read_text(), 'user = "nobody-at-all"\n' if ROOT else ""
    daemon.config.write_text(f'{good}{account}[daemon.access]\noperate = ["@no-such-group"]\n')
    doubts = ["[daemon.access] operate: group no-such-group does not exist"]
    doubts += ["[release.empty]: user nobody-at-all does not exist"] if ROOT else []
    try:
        assert say("reload")[0] == 0
        warnings = json.loads(say("--json", "daemon", "status")[1])["config"]["warnings"]
        assert sorted(warnings) == doubts
        checked = check(daemon.config)
        assert sorted(checked.stderr.splitlines()) == [f"relctld: warning: {doubt}" for doubt in doubts]
        assert checked.returncode == 0
    finally:
        daemon.config.write_text(good)
        say("reload")
    assert json.loads(say("--json", "daemon", "status")[1])["config"]["warnings"] == []


def check(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relctld", "--config", str(config), "--check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_each_mistake_of_a_config_has_its_line(tmp_path: Path) -> None:
    config = tmp_path / "relctld.toml"
    told = check(config)
    assert (told.returncode, told.stderr.splitlines()) == (
        2,
        [
            f"relctld: cannot use {config}: no such file or directory",
            "relctld: hint: write it, [release.NAME] with a root, or name another with --config",
        ],
    )
    config.write_text("[release.web]\nrooot = 3\n")
    told = check(config)
    assert told.returncode == 2
    assert all(line.startswith(f"relctld: cannot use {config}: [release.web] ") for line in told.stderr.splitlines())
    assert told.stderr.count("\n") == 2


def test_too_long_is_told_in_the_operators_words(say: Say) -> None:
    for words, message in (
        (["eval", "web", "1.", "--timeout", "61m"], "--timeout is more than nothing, and at most 1h00m"),
        (["rpc", "web", "m", "f", "--timeout", "0s"], "--timeout is more than nothing, and at most 1h00m"),
        (["upgrade", "web", "2", "--soak", "8d"], "--soak is at most 7d0h"),
    ):
        code, _, err = say(*words)
        assert code == 2
        assert err.splitlines() == [
            f"relctl: cannot {words[0]} web: {message}",
            f"relctl: hint: relctl help {words[0]}",
        ]


def test_what_a_refusal_takes_is_told(say: Say, daemon: Relctld) -> None:
    if not ROOT:
        pytest.skip("needs another user")
    command = [sys.executable, "-m", "relctl", "--socket", str(daemon.socket), "stop", "web"]
    other: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **other)
    assert done.returncode == 5
    assert done.stderr.splitlines() == [
        "relctl: cannot stop web: uid 65534 may not ask for stop",
        "relctl: hint: see [daemon.access] in relctld.toml: it takes operate; "
        "who is new in a group has it from the next login on",
    ]
