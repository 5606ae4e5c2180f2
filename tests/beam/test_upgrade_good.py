"""Hot upgrades that go well: what runs, what lies on disk, and what a boot brings after them."""

from __future__ import annotations

import json

import pytest

from tests.asked import LONG
from tests.beam.upgrading import Stand

ONE = pytest.mark.parametrize("shared_stand", ["rapp", "mapp"] if LONG else ["rapp"], indirect=True)
"""The two hardly differ here, and each test costs seconds."""

pytestmark = pytest.mark.beam

TICK = {"rapp": "rapp_tick", "mapp": "'Elixir.Mapp.Tick'"}
SHOWN = ("shown integer", "shown atom", "shown text")


def chosen(stand: Stand) -> set[str]:
    """The files that choose a version."""
    return {"releases/RELEASES", "releases/start_erl.data"} | ({"bin/rapp"} if stand.name == "rapp" else set())


def applications(stand: Stand) -> tuple[bool, bool]:
    """Whether the one that 1.2.0 adds runs, and the one that it removes."""
    running = stand.rpc("application", "which_applications")
    return f"{{{stand.name}_extra," in running, f"{{{stand.name}_legacy," in running


def ticks(stand: Stand) -> bool:
    """Whether the child that 1.2.0 adds is there."""
    return stand.rpc("erlang", "whereis", f"[{TICK[stand.name]}]") != "undefined"


def test_up_twice_and_back_twice_with_state_and_connection(stand: Stand) -> None:
    before = stand.daemon.status("web")
    with stand.client() as said:
        assert [said("bump"), said("bump")] == ["1", "2"]

        stand.upgrade("1.1.0").done()
        status = stand.daemon.status("web")
        assert (status["version"], status["boot_version"], status["upgrade"]) == ("1.1.0", "1.1.0", None)
        assert [said("bump"), said("state"), said("bumps")] == ["3", "v2 3", "1"]
        if stand.name == "mapp":
            assert [said(what) for what in SHOWN] == ["an integer", "anything", "a text"]
        after = stand.is_at("1.1.0")
        changed = stand.changed(stand.first)
        assert {path for path, what in changed.items() if what != "new"} == chosen(stand) & stand.first.keys()
        new = {path for path in changed if changed[path] == "new"} - chosen(stand)
        own = (f"lib/{stand.name}-1.1.0", "releases/1.1.0", "bin/rapp-1.1.0")
        assert {path for path in new if not path.startswith(own)} == set()

        stand.upgrade("1.2.0").done()
        assert said("state") == "v2 3"
        assert (applications(stand), ticks(stand)) == ((True, False), True)
        stand.is_at("1.2.0")

        stand.downgrade().done()
        assert (applications(stand), ticks(stand)) == ((False, True), False)
        stand.is_at("1.1.0")

        stand.downgrade("1.0.0").done()
        assert [said("bump"), said("state"), said("bumps")] == ["4", "v1 4", "what?"]
        if stand.name == "mapp":
            assert [said(what) for what in SHOWN] == ["an integer", "an atom", "anything"]
        stand.is_at("1.0.0")
        changed = stand.changed(stand.first)
        assert {path for path, what in changed.items() if what != "new"} <= chosen(stand) - {"bin/rapp"}

        stand.upgrade("=1.1.0").done()
        assert [said("state"), said("bumps")] == ["v2 4", "0"]
    now = stand.is_at("1.1.0")
    for key in ("pid", "epoch", "restarts_total"):
        assert before[key] == after[key] == now[key], key
    stand.after_deaths("1.1.0", each=True)


@ONE
def test_after_an_upgrade_and_after_a_downgrade_a_boot_brings_what_runs(stand: Stand) -> None:
    stand.upgrade("1.1.0").done()
    stand.upgrade("1.2.0").done()
    stand.after_deaths("1.2.0")
    assert applications(stand) == (True, False)
    stand.downgrade().done()
    stand.after_deaths("1.1.0")
    assert applications(stand) == (False, True)
    stand.downgrade("1.0.0").done()
    stand.after_deaths("1.0.0")


@ONE
def test_the_version_that_runs_is_no_upgrade(stand: Stand) -> None:
    again = stand.upgrade("=1.0.0", "--json")
    again.done()
    assert (again.reply["ok"], again.reply["changed"]) == (True, False)
    stand.untouched()
    stand.upgrade("1.1.0").done()
    before = stand.tree()
    again = stand.upgrade("=1.1.0", "--json")
    again.done()
    assert again.reply["changed"] is False
    stand.upgrade("1.1.0").refused("1.1.0")
    assert stand.changed(before) == {}
    stand.is_at("1.1.0")


@ONE
def test_a_node_that_restarts_itself_after_an_upgrade_is_what_it_was_upgraded_to(stand: Stand) -> None:
    stand.upgrade("1.1.0").done()
    before = stand.daemon.status("web")
    stand.rpc("init", "restart")
    stand.daemon.wait_for("web", 90, restarts_total=before["restarts_total"] + 1)
    after = stand.is_at("1.1.0")
    assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"])
    stand.downgrade().done()
    stand.is_at("1.0.0")


@ONE
def test_who_asked_and_each_phase_are_events(stand: Stand) -> None:
    done = stand.upgrade("1.1.0", "--json")
    done.done()
    assert (done.reply["from"], done.reply["to"], done.reply["changed"]) == ("1.0.0", "1.1.0", True)
    [upgraded, *_] = stand.daemon.noted("web", "upgraded")[-1:]
    told = [event for event in stand.daemon.events("web") if event.get("id") == upgraded["id"]]
    assert told[0] == told[0] | {"event": "upgrade-begun", "from": "1.0.0", "to": "1.1.0", "by": "root"}
    phases = [event["phase"] for event in told if event["event"] == "upgrade-phase"]
    assert phases == ["installing", "installed", "soaking", "committing"]
    assert json.dumps(told).count("swordfish") == 0


@ONE
def test_it_soaks_and_says_so_and_a_boot_in_the_soak_brings_the_old(stand: Stand) -> None:
    with stand.begin("1.1.0", "--soak", "1h", "--no-wait") as asked:
        assert asked.wait(90) == 0, asked.stderr and asked.stderr.read()
    status = stand.phase("soaking")
    assert (status["from"], status["to"], status["by"]) == ("1.0.0", "1.1.0", "root")
    status = stand.daemon.status("web")
    assert (status["version"], status["boot_version"]) == ("1.1.0", "1.0.0")
    assert stand.said("version") == ["1.1.0"]
    assert "boots-another" in {each["finding"] for each in stand.daemon.ask("doctor", {"names": ["web"]})["findings"]}
    stand.kill_vm()
    stand.is_at("1.0.0")
    stand.untouched()
    assert "died during the soak" in stand.last()["why"]
