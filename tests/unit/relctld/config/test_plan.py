"""What a reload would change."""

import pytest

from relctld.config import Change, KeyChange, Plan, changed_keys, diff, fingerprints
from relctld.config.keys import AT_ONCE, KEYS, VM, Key
from tests.unit.relctld.config.building import GOOD, Files

NOW, LATER = True, False


def changes(files: Files, before: str, after: str) -> tuple[KeyChange, ...]:
    old, new = files.release(before).releases[0], files.release(after).releases[0]
    assert changed_keys(new, old) == changed_keys(old, new)
    return changed_keys(old, new)


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ("", "", []),
        ("", 'period = "60s"', []),
        ("", 'umask = "0022"', [("umask", LATER)]),
        ("", 'user = "web"', [("user", LATER)]),
        ("", 'name = "other"', [("name", LATER)]),
        ("", "intensity = 6", [("intensity", NOW)]),
        ("", 'health.interval = "6s"', [("health.interval", NOW)]),
        ("env.A = '1'", "env = { A = '2', B = '' }", [("env.A", LATER), ("env.B", LATER)]),
        ("env.A = '1'", "", [("env.A", LATER)]),
        ("", "hooks.on_crash = ['/x']", [("hooks.on_crash", NOW)]),
        ("", "limits.nofile = 9\nenabled = false", [("enabled", NOW), ("limits.nofile", LATER)]),
    ],
)
def test_the_keys_that_changed(files: Files, before: str, after: str, keys: list[tuple[str, bool]]) -> None:
    assert list(changes(files, before, after)) == keys


def test_another_root_is_another_command_too_if_it_is_relative(files: Files) -> None:
    text = '[release.web]\nroot = "{}"\ncommand = ["bin/web"]'
    old, new = (files.load(text.format(root)).releases[0] for root in ("/a", "/b"))
    assert changed_keys(old, new) == (("root", LATER), ("command", LATER))


def test_a_config_differs_from_itself_in_nothing(files: Files) -> None:
    assert diff(files.load(GOOD), files.load(GOOD)) == Plan()


def test_releases_come_and_go_and_change(files: Files) -> None:
    old = files.load(GOOD)
    new = files.load(GOOD.replace("release.api", "release.new").replace("8080", "80").replace('"/s"', '"/t"'))
    assert diff(old, new) == Plan(
        added=("new",),
        removed=("api",),
        changed=(Change("web", (KeyChange("env.PORT", LATER),)),),
        daemon=(KeyChange("state_dir", LATER),),
    )


def test_keys_of_the_daemon(files: Files) -> None:
    old = files.load("")
    new = files.load('[daemon]\non_stop = "leave"\nlog_dir = "/l"\nrun_dir = "/r"\ninclude = []\naccess.view = []')
    assert diff(old, new).daemon == (
        ("log_dir", LATER),
        ("run_dir", LATER),
        ("on_stop", NOW),
        ("access.view", NOW),
    )
    assert diff(old, files.load('[daemon]\nlog_dir = "/var/log/relctl"')).daemon == ()


def test_fingerprints_tell_which_keys_a_vm_was_started_without(files: Files) -> None:
    old = dict(fingerprints(files.release("env.A = 'hunter2'").releases[0]))
    new = dict(fingerprints(files.release("env.A = '2'\nenv.B = '3'\nintensity = 9\numask = '0022'").releases[0]))
    assert [key for key in new if old.get(key) != new[key]] == ["umask", "env.A", "env.B"]
    assert "hunter2" not in str(old)
    assert dict(fingerprints(files.release("env.A = 'hunter2'").releases[0])) == old


def test_what_a_vm_was_given_at_its_start_waits_for_the_next_one() -> None:
    def acting(table: str) -> dict[str, Key]:
        return {key.name: key for key in KEYS[table]}

    assert all(
        key.acts is AT_ONCE
        for table in ("backoff", "health", "log", "hooks")
        for key in acting(f"release.{table}").values()
    )
    assert all(key.acts is VM for table in ("env", "limits") for key in KEYS[f"release.{table}"])
