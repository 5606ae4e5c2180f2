"""Hot upgrades that fail, each sample version in its own way: the version before runs on, and nothing is left.

Each says which way it came back: in the same life of the node, or after a restart of it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.asked import LONG
from tests.beam.upgrading import KEPT, Stand, standing

SAMPLES = ["rapp", "mapp"] if LONG else ["rapp"]
"""An ill version costs seconds: RELCTL_TESTS=long takes those of mapp too."""

ONE = pytest.mark.parametrize("shared_stand", SAMPLES, indirect=True)
MIX = pytest.mark.parametrize("shared_stand", ["rapp", "mapp"] if LONG else ["mapp"], indirect=True)
pytestmark = pytest.mark.beam

SAME, INSIDE, ANEW = "never stopped", "restarted inside its process", "another process"


def way_back(before: dict[str, Any], after: dict[str, Any]) -> str:
    """How the node came from the one status to the other."""
    if (after["pid"], after["epoch"]) != (before["pid"], before["epoch"]):
        return ANEW
    return SAME if after["restarts_total"] == before["restarts_total"] else INSIDE


@ONE
@pytest.mark.parametrize(
    ("vsn", "way", "words"),
    [
        ("1.1.0-raise", INSIDE, ("the install",)),
        ("1.1.0-apply-before", SAME, ("the install failed", "boom")),
        ("1.1.0-apply-after", INSIDE, ("the install",)),
        ("1.1.0-incomplete", SAME, ("not the one on disk",)),
        ("1.1.0-unhealthy", SAME, ("not well",)),
    ],
)
def test_it_comes_back_and_the_same_node_takes_a_good_one(
    stand: Stand, vsn: str, way: str, words: tuple[str, ...]
) -> None:
    before = stand.daemon.status("web")
    count = stand.said("bump")[0]
    failed = stand.upgrade(vsn)
    failed.failed(f"to {vsn}", "it runs 1.0.0 as before", *words)
    failed.says("never stopped" if way == SAME else "after a restart")
    after = stand.is_at("1.0.0")
    assert way_back(before, after) == way
    stand.untouched()
    if way == SAME:
        assert stand.said("state") == [f"v1 {count}"]
        assert stand.rpc("application", "get_key", f"[{stand.name}, vsn]") == '{ok,"1.0.0"}'
    last = stand.last()
    assert (last["ok"], last["to"], last["runs"], last["restarted"]) == (False, vsn, "1.0.0", way != SAME)
    if LONG or way == SAME:
        stand.upgrade(vsn).failed(*words)  # the same once more, and nothing is in its way
        stand.untouched()
        stand.is_at("1.0.0")


@MIX
@pytest.mark.parametrize("vsn", ["1.1.0-apply-before", "1.1.0-raise"] if LONG else ["1.1.0-raise"])
def test_after_a_failure_a_boot_brings_the_old_and_a_good_one_goes_well(stand: Stand, vsn: str) -> None:
    failed = stand.upgrade(vsn)
    assert (failed.code, "cannot migrate" in failed.err) == (1, False), "a message may quote the state"
    stand.after_deaths("1.0.0")
    stand.untouched()
    assert stand.upgrade(vsn).code == 1
    stand.is_at("1.0.0")
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


@ONE
def test_a_node_that_dies_in_the_soak_is_started_as_the_old(stand: Stand) -> None:
    before = stand.daemon.status("web")
    failed = stand.upgrade("1.1.0-crash", "--soak", "1h")
    failed.failed("it runs 1.0.0 as before, after a restart")
    after = stand.is_at("1.0.0")
    assert way_back(before, after) == ANEW
    assert after["last_exit"]["at"] > (before["last_exit"] or {"at": ""})["at"]
    stand.untouched()
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


@ONE
def test_one_that_is_not_ready_any_more_in_the_soak_comes_back(stand: Stand) -> None:
    before = stand.daemon.status("web")
    with stand.client() as said, stand.begin("1.1.0", "--soak", "1h") as asked:
        assert said("bump")
        stand.phase("soaking")
        ready = {"rapp": "rapp_v2", "mapp": "'Elixir.Mapp.V2'"}[stand.name]
        stand.rpc("code", "delete", f"[{ready}]")
        stand.rpc("file", "delete", f'["{stand.root}/lib/{stand.name}-1.1.0/ebin/{ready.strip(chr(39))}.beam"]')
        _, error = asked.communicate(timeout=90)
        assert asked.returncode == 1, error
        assert "in the soak: it is not well" in error
    stand.is_at("1.0.0")
    stand.untouched()
    assert way_back(before, stand.daemon.status("web")) in (SAME, ANEW)


@ONE
@pytest.mark.parametrize(
    ("vsn", "words"),
    [
        ("1.1.0-no-beam", ("1.1.0-no-beam",)),
        ("1.1.0-no-relup", ("relup",)),
        ("1.1.0-other-name", ("other",)),
        ("1.2.0", ("1.0.0",)),
    ],
)
def test_what_the_judge_finds_is_refused_before_anything_happens(
    stand: Stand, vsn: str, words: tuple[str, ...]
) -> None:
    before = stand.daemon.status("web")
    stand.upgrade(vsn).refused(*words)
    assert not stand.ledger.exists() or {path.name for path in stand.ledger.iterdir()} <= KEPT
    stand.untouched()
    assert way_back(before, stand.is_at("1.0.0")) == SAME


@MIX
def test_a_configuration_that_cannot_be_made_is_told_and_one_that_can_is_put_in_force(stand: Stand) -> None:
    before = stand.daemon.status("web")
    stand.upgrade("1.1.0-bad-config").failed("configuration", "never stopped")
    stand.untouched()
    assert way_back(before, stand.is_at("1.0.0")) == SAME
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


@ONE
def test_a_version_without_a_way_back_is_installed_and_goes_back_by_no_downgrade(stand: Stand) -> None:
    plan = stand.upgrade("1.1.0-up-only", "--plan", "--json").reply["plan"]
    assert plan["way_back"] == "restart"
    stand.upgrade("1.1.0-up-only").done()
    stand.is_at("1.1.0-up-only")
    before = stand.tree()
    stand.downgrade().refused("the relup of 1.1.0-up-only", "none down to it", "only a restart brings 1.0.0 back")
    assert stand.changed(before) == {}
    stand.is_at("1.1.0-up-only")


def test_what_is_ill_is_left_to_be_looked_at_where_that_was_asked_for() -> None:
    with standing("rapp", upgrade={"soak": "0s", "on_failure": "leave"}) as stand:
        ill = stand.upgrade("1.1.0-unhealthy")
        ill.failed(
            "not well", "it runs 1.1.0-unhealthy, and a restart would bring 1.0.0", "relctl restart web takes it"
        )
        assert stand.said("version") == ["1.1.0-unhealthy"]
        assert stand.daemon.status("web")["boot_version"] == "1.0.0"
        stand.upgrade("1.1.0").refused("never made permanent; a boot would bring 1.0.0", "relctl restart web")
        stand.daemon.relctl("restart", "web")
        stand.is_at("1.0.0")
        stand.upgrade("1.1.0").done()
        stand.is_at("1.1.0")


@pytest.mark.parametrize("name", ["rapp", "mapp"])
def test_the_configuration_is_the_one_of_the_nodes_environment(name: str) -> None:
    with standing(name, env={"DEMO_LIMIT": "7", "DEMO_GREETING": "hi", "DEMO_ADDED": "more"}) as stand:
        text = '"{}"' if name == "rapp" else '<<"{}">>'
        hi = {"greeting": text.format("hi")}
        stand.is_at("1.0.0", config=hi)
        stand.upgrade("1.1.0-apply-before").failed("boom")
        stand.is_at("1.0.0", config=hi)
        stand.upgrade("1.1.0-bad-config").done()
        more = {"limit": "7", "added": text.format("more"), **hi}
        stand.is_at("1.1.0-bad-config", config=more)
        stand.after_deaths("1.1.0-bad-config", config=more)
