"""What operators ask and hear of hot upgrades: plans, refusals, two at once, hooks."""

from __future__ import annotations

import hashlib
import json
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.beam.supervised import OTHER_USER
from tests.beam.upgrading import COUNTER, WITHIN, Stand, standing
from tests.releases.package import package
from tests.running import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

SECRET = "swordfish"
HOOK = """\
#!/bin/sh
# Says what it was called with; fails where the file beside it says so.
echo "$1 $RELCTL_FROM $RELCTL_TO $(id -un)" >> "$0.said"
[ ! -e "$0.$1.fails" ]
"""


def unheard(stand: Stand) -> bool:
    """Whether the secret of the sample is nowhere where operators look, and in no log of ours."""
    said = stand.daemon.said() + json.dumps(stand.daemon.events("web"))
    return SECRET not in said and SECRET not in (stand.ledger / "last.json").read_text()


# -- plans -----------------------------------------------------------------------------------------


def test_a_plan_tells_all_and_changes_nothing(stand: Stand) -> None:
    name = stand.name
    before, loaded = stand.daemon.status("web"), stand.rpc("application", "loaded_applications")
    code = stand.rpc("code", "all_loaded")
    planned = stand.upgrade("1.1.0", "--plan", "--json")
    planned.done()
    assert planned.reply["changed"] is False
    plan = planned.reply["plan"]
    assert (plan["from"], plan["to"], plan["way_back"], plan["restarts_emulator"]) == (
        "1.0.0", "1.1.0", "reinstall", False,
    )  # fmt: skip
    assert plan["applications"] == {"added": {}, "changed": {name: ["1.0.0", "1.1.0"]}, "removed": {}}
    modules = plan["modules"]
    assert len(modules["added"]) == len(modules["removed"]) == (1 if name == "rapp" else 2)
    assert COUNTER[name].strip("'") in modules["changed"]
    assert bool(modules["protocols"]) == (name == "mapp")
    assert any("point" in each or "return" in each for each in plan["instructions"])
    assert COUNTER[name].strip("'") in " ".join(each["name"] for each in plan["processes"]["named"])
    assert not any(each["busy"] for each in plan["processes"]["named"])
    changes = {(each["application"], each["key"]): each for each in plan["configuration"]}
    assert (changes[name, "limit"]["before"], changes[name, "limit"]["after"]) == ("10", "20")
    assert changes[name, "legacy"]["after"] is None
    assert changes[name, "added"]["before"] is None
    assert plan["disk_bytes"] > 0
    assert plan["files"] > 0
    stand.untouched()
    assert stand.rpc("application", "loaded_applications") == loaded
    assert stand.rpc("code", "all_loaded") == code
    after = stand.is_at("1.0.0")
    assert (after["pid"], after["restarts_total"]) == (before["pid"], before["restarts_total"])
    for_people = stand.upgrade("1.1.0", "--plan")
    assert SECRET not in planned.out + planned.err + for_people.out + for_people.err + stand.daemon.said()


def test_a_plan_names_who_is_busy_and_masks_a_secret_that_changes(stand: Stand) -> None:
    stand.upgrade("1.1.0").done()
    stand.said("sleep 3000")
    plan = stand.upgrade("=1.0.0", "--plan", "--json").reply["plan"]
    assert [
        each["busy"] for each in plan["processes"]["named"] if each["name"].strip("'") == COUNTER[stand.name].strip("'")
    ] == [True]
    assert unheard(stand)


def test_before_the_install_the_configuration_is_shown_key_by_key(stand: Stand) -> None:
    done = stand.upgrade("1.1.0")
    done.done()
    before, _, after = done.out.partition("installed in the node")
    for change in ("limit: 10 to 20", "+ {name} added: ", "- {name} legacy: true"):
        assert change.format(name=stand.name) in before, done.out
    assert "configuration" not in after
    assert SECRET not in done.out + done.err
    back = stand.downgrade()
    assert "limit: 20 to 10" in back.out.partition("installed in the node")[0], back.out


def test_a_secret_is_masked_in_plan_events_and_logs(stand: Stand) -> None:
    added = stand.upgrade("1.1.0", "--json")
    added.done()
    assert SECRET not in added.out + added.err
    assert unheard(stand)


# -- tarballs --------------------------------------------------------------------------------------


def test_a_checksum_must_be_the_right_one(stand: Stand) -> None:
    digest = hashlib.sha256(package(stand.name, "1.1.0").read_bytes()).hexdigest()
    stand.upgrade("1.1.0", "--sha256", "0" * 64).refused("sha256", digest)
    stand.untouched()
    assert list(stand.ledger.glob("*.tar.gz")) == []
    stand.upgrade("1.1.0", "--sha256", digest.upper()).done()
    stand.is_at("1.1.0")


def test_a_tarball_that_is_none(stand: Stand, tmp_path: Path) -> None:
    whole = package(stand.name, "1.1.0").read_bytes()
    (tmp_path / "torn.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.tar.gz").write_text("not one\n")
    for file in ("torn.tar.gz", "text.tar.gz", "missing.tar.gz"):
        ended = stand.upgrade(tmp_path / file)
        assert ended.code in (1, 5), ended
        assert ended.err
        stand.untouched()
        assert not stand.ledger.exists() or list(stand.ledger.glob("*.tar.gz")) == []
    stand.upgrade("=9.9.9").refused("9.9.9")
    stand.is_at("1.0.0")


def test_a_release_handler_that_reads_another_place(stand: Stand) -> None:
    """It would look for the new version there, for as long as an upgrade may take."""
    stand.rpc("os", "putenv", '["RELDIR", "/nowhere"]')
    stand.upgrade("1.1.0").refused("its release_handler reads /nowhere", "--allow-restart")
    stand.rpc("application", "set_env", '[sasl, releases_dir, "/elsewhere"]')
    stand.upgrade("1.1.0").refused("its release_handler reads /elsewhere")
    stand.rpc("application", "unset_env", "[sasl, releases_dir]")
    stand.rpc("os", "putenv", '["RELDIR", "releases"]')
    stand.untouched()
    stand.upgrade("1.1.0").done()
    stand.rpc("os", "unsetenv", '["RELDIR"]')


# -- waiting, and two at once ----------------------------------------------------------------------


def test_who_does_not_wait_hears_that_it_has_begun(stand: Stand) -> None:
    begun = stand.upgrade("1.1.0", "--no-wait", "--json")
    begun.done()
    assert begun.reply == begun.reply | {"changed": True, "accepted": True, "from": "1.0.0", "to": "1.1.0"}
    stand.is_at("1.1.0")


def test_during_the_soak_all_else_is_busy(stand: Stand) -> None:
    with stand.begin("1.1.0", "--soak", "1h", "--no-wait") as asked:
        assert asked.wait(WITHIN) == 0
    stand.phase("soaking")
    second = stand.upgrade("=1.1.0")
    second.refused("1.1.0", "by root", "under way", "soaking")
    for verb in ("start", "stop", "restart"):
        done = stand.daemon.relctl(verb, "web", check=False)
        assert (done.returncode, "upgrade" in done.stderr) == (5, True), (verb, done.stderr)
    assert stand.daemon.status("web")["upgrade"]["phase"] == "soaking"
    stand.kill_vm()
    stand.is_at("1.0.0")
    stand.untouched()


def by_another_user(stand: Stand, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The real client, run by OTHER_USER."""
    found = pwd.getpwnam(OTHER_USER)
    who = [str(found.pw_uid), str(found.pw_gid), ""]
    argv = [sys.executable, "-m", "tests.acting", *who, "relctl", "--socket", stand.daemon.socket, *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=WITHIN)


def test_who_asks_while_another_operator_upgrades_hears_who_that_is_and_how_far(stand: Stand) -> None:
    need_root()
    access = f'[daemon.access]\noperate = ["{OTHER_USER}"]\n'
    stand.daemon.config.write_text(stand.daemon.config.read_text() + access)
    stand.daemon.relctl("reload")
    with stand.begin("1.1.0", "--soak", "1h", "--no-wait") as asked:
        assert asked.wait(WITHIN) == 0
    stand.phase("soaking")
    second = by_another_user(stand, "upgrade", "web", "1.1.0")
    assert (second.returncode, "an upgrade to 1.1.0 by root is under way (soaking)" in second.stderr) == (5, True), (
        second
    )
    assert "relctl status web" in second.stderr
    third = by_another_user(stand, "deploy", "web", str(package(stand.name, "1.0.0")))
    assert (third.returncode, "an upgrade to 1.1.0 by root is under way (soaking)" in third.stderr) == (5, True), third
    stand.kill_vm()
    stand.is_at("1.0.0")
    stand.upgrade("1.1.0").done()
    back = by_another_user(stand, "downgrade", "web")
    assert back.returncode == 0, back.stderr
    assert stand.last()["by"] == OTHER_USER
    begun = [event["by"] for event in stand.daemon.events("web") if event["event"] == "upgrade-begun"]
    assert begun[-3:] == ["root", "root", OTHER_USER]
    secret = stand.root.parent / "secret.tar.gz"
    secret.write_bytes(package(stand.name, "1.1.0").read_bytes())
    secret.chmod(0o600)
    for verb in ("upgrade", "deploy"):
        unread = by_another_user(stand, verb, "web", secret)
        assert (unread.returncode, "ermission denied" in unread.stderr) == (1, True), unread
    secret.unlink()


# -- where it is not possible ----------------------------------------------------------------------


def test_only_a_node_that_runs_can_be_upgraded(stand: Stand) -> None:
    stand.daemon.relctl("stop", "web")
    stand.upgrade("1.1.0").refused("stopped", "relctl start web")
    stand.untouched()
    stand.daemon.relctl("start", "web")
    stand.is_at("1.0.0")
    unknown = stand.daemon.relctl("upgrade", "nothing", "1.1.0", check=False)
    assert (unknown.returncode, "nothing" in unknown.stderr) == (5, True)


def test_one_in_backoff_is_refused() -> None:
    with standing("rapp", backoff={"first": "1h", "max": "1h"}) as stand:
        stand.kill_vm()
        stand.daemon.wait_for("web", WITHIN, state="backoff")
        stand.upgrade("1.1.0").refused("backoff", "relctl status web")
        stand.untouched()
        stand.daemon.relctl("restart", "web")
        stand.is_at("1.0.0")


@pytest.mark.parametrize("name", ["rapp", "mapp"] if LONG else ["rapp"])
def test_one_without_a_link_is_refused_and_takes_it_when_the_link_is_back(name: str) -> None:
    env = {"DEMO_COOKIE": "relctl-demo"}
    with standing(name, ready="process", env=env) as stand:
        stand.rpc("erlang", "set_cookie", "['other']")
        stand.rpc("erlang", "disconnect_node", "['relctld@127.0.0.1']")
        wait_until(lambda: stand.daemon.status("web")["health"] == "unreachable", WITHIN, what="the loss of the link")
        stand.upgrade("1.1.0").refused("web")
        stand.untouched()


# -- hooks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("hooks") / "hook"
    script.write_text(HOOK)
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def hooked(hook: Path) -> Iterator[Stand]:
    hooks = {f"{when}_upgrade": [str(hook), when] for when in ("pre", "post")}
    with standing("rapp", hooks=hooks) as stand:
        yield stand


def test_a_hook_before_can_forbid_it_and_one_after_is_told(hooked: Stand, hook: Path) -> None:
    said = hook.with_name("hook.said")
    hook.with_name("hook.pre.fails").touch()
    hooked.upgrade("1.1.0", "--plan").done()
    assert not said.exists()
    hooked.upgrade("1.1.0").failed("pre_upgrade")
    assert said.read_text() == "pre 1.0.0 1.1.0 root\n"
    hooked.untouched()
    hooked.is_at("1.0.0")
    hook.with_name("hook.pre.fails").unlink()
    hook.with_name("hook.post.fails").touch()
    said.unlink()
    hooked.upgrade("1.1.0-unhealthy").failed("not well")
    assert said.read_text() == "pre 1.0.0 1.1.0-unhealthy root\n"
    said.unlink()
    hooked.upgrade("1.1.0").done()
    assert said.read_text() == "pre 1.0.0 1.1.0 root\npost 1.0.0 1.1.0 root\n"
    [failed] = hooked.daemon.noted("web", "hook-failed")
    assert failed["hook"] == "post_upgrade"
    hooked.is_at("1.1.0")
