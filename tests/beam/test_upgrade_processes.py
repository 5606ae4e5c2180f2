"""Processes that are in the way of a hot upgrade: one that is busy is waited for, one in old code is not forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.asked import LONG
from tests.beam.upgrading import COUNTER, WITHIN, Stand, standing
from tests.waiting import wait_until

pytestmark = pytest.mark.beam


@pytest.fixture(scope="module", params=["rapp", "mapp"] if LONG else ["rapp"])
def shared_hasty(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """One whose upgrades may take 3 s. Who sleeps there heeds no SIGTERM."""
    with standing(request.param, upgrade={"soak": "0s", "timeout": "3s"}, stop_timeout="1s") as stand:
        yield stand


@pytest.fixture
def hasty(shared_hasty: Stand) -> Iterator[Stand]:
    """The shared one, given back as it was."""
    yield shared_hasty
    shared_hasty.restore()


def test_a_busy_process_is_waited_for_and_its_state_migrated(stand: Stand) -> None:
    with stand.client() as said:
        assert [said("bump"), said("sleep 3000")] == ["1", "ok"]
        before = stand.daemon.status("web")
        stand.upgrade("1.1.0").done()
        assert [said("state"), said("bump"), said("bumps")] == ["v2 1", "2", "1"]
        said("sleep 3000")
        stand.downgrade().done()
        assert said("state") == "v1 2"
    after = stand.is_at("1.0.0")
    assert (after["pid"], after["restarts_total"]) == (before["pid"], before["restarts_total"])


def test_an_install_that_is_out_of_time_ends_with_its_vm(hasty: Stand) -> None:
    with hasty.client() as said:
        said("sleep 600000")
    failed = hasty.upgrade("1.1.0")
    failed.failed("not installed within 3 s", "it runs 1.0.0 as before, after a restart")
    hasty.is_at("1.0.0")
    hasty.untouched()
    hasty.upgrade("1.1.0").done()
    hasty.after_deaths("1.1.0")


def test_a_process_that_is_busy_for_longer_than_relctld_waits_is_never_given_new_code_with_its_old_state(
    hasty: Stand,
) -> None:
    with hasty.client() as said:
        assert [said("bump"), said("sleep 8000")] == ["1", "ok"]
        with hasty.begin("1.1.0", "--no-wait") as asked:
            assert asked.wait(WITHIN) == 0
        hasty.phase("installing")
        wait_until(lambda: hasty.rpc("erlang", "whereis", "[relctl_upgrade]") != "undefined", WITHIN, what="the order")
        hasty.daemon.kill()  # nobody watches the time now
        assert said("state") in ("v1 1", "v2 1")
    hasty.daemon.start()
    hasty.ended()
    hasty.is_at(hasty.daemon.status("web")["version"])


def test_who_leaves_old_code_soon_is_waited_for(stand: Stand) -> None:
    stand.said("linger 1000")
    stand.upgrade("1.1.0-soft").done()
    stand.is_at("1.1.0-soft")


def test_who_stays_in_replaced_code_is_killed_where_the_relup_lets_it_and_the_plan_says_so(stand: Stand) -> None:
    stand.said("linger 3600000")
    staying = stand.upgrade("1.1.0", "--plan", "--json").reply["plan"]["processes"]["staying"]
    assert [each["module"] for each in staying] == [COUNTER[stand.name].strip("'")], staying
    assert asked(stand, "is_process_alive({pid})", staying[0]["name"]) == "true"
    count = stand.said("bump")[0]
    stand.upgrade("1.1.0").done()
    assert asked(stand, "is_process_alive({pid})", staying[0]["name"]) == "false"
    assert stand.said("state") == [f"v2 {count}"]
    stand.is_at("1.1.0")


def test_who_stays_in_replaced_code_makes_it_fail_where_the_relup_spares_it(stand: Stand) -> None:
    stand.said("linger 3600000")
    assert stand.upgrade("1.1.0-soft", "--plan", "--json").reply["plan"]["processes"]["staying"] == []
    stand.upgrade("1.1.0-soft").failed("still runs the old", "<0.", "it runs 1.0.0 as before")
    stand.is_at("1.0.0")
    stand.untouched()
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


@pytest.mark.parametrize("vsn", ["1.1.0", "1.1.0-soft"])
def test_who_is_in_old_code_before_is_killed_or_in_the_way_as_planned(stand: Stand, vsn: str) -> None:
    before = stand.daemon.status("web")
    stand.said("linger 3600000")
    stand.rpc("code", "load_file", f"[{COUNTER[stand.name]}]")
    plan = stand.upgrade(vsn, "--plan", "--json").reply["plan"]["processes"]
    [named] = plan["killed" if vsn == "1.1.0" else "in_the_way"]
    assert plan["killed" if vsn != "1.1.0" else "in_the_way"] == []
    old = f"check_process_code({{pid}}, {COUNTER[stand.name]})"
    assert asked(stand, old, named["name"]) == "true"
    ended = stand.upgrade(vsn)
    if vsn == "1.1.0":
        ended.done()
    else:
        ended.failed("may not be killed", named["name"], "never stopped")
        stand.untouched()
    assert asked(stand, "is_process_alive({pid})", named["name"]) == ("false" if vsn == "1.1.0" else "true")
    after = stand.is_at("1.1.0" if vsn == "1.1.0" else "1.0.0")
    assert (after["pid"], after["restarts_total"]) == (before["pid"], before["restarts_total"])
    if vsn != "1.1.0":
        stand.daemon.relctl("restart", "web")


def asked(stand: Stand, call: str, name: str) -> str:
    """What `erlang` says of a process that is named by its pid."""
    expression = f"erlang:{call}.".format(pid=f'list_to_pid("{name}")')
    return stand.daemon.relctl("eval", "web", expression).stdout.strip()
