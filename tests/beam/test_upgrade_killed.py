"""relctld dies in a hot upgrade, at each of its steps: whoever comes after it brings the upgrade to its end.

The deaths are relctld's own, by SIGKILL, at named steps (dying/sitecustomize.py). Alone, an upgrade goes on as if
nothing had been. With the VM dead as well, the next boot brings what the journal decided.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.asking import Asker
from tests.beam.upgrading import WITHIN, Death, Stand, entering, more
from tests.releases.package import package
from tests.running import alive
from tests.waiting import wait_until

ONE = pytest.mark.parametrize("shared_stand", ["rapp"], indirect=True)
"""Each step costs seconds: RELCTL_TESTS=long takes mapp through them too."""

pytestmark = [pytest.mark.beam] if LONG else [pytest.mark.beam, ONE]

CONFIG = Death("after", "sys.config")
REGISTERED = Death("after", "RELEASES")
HALF = {
    "rapp": Death("before", "rapp_v2.beam", event="open"),
    "mapp": Death("before", "Elixir.Mapp.V2.beam", event="open"),
}
UNPACKED = {
    "rapp": Death("before", "sys.config.relctl"),  # a mark that there was none
    "mapp": Death("before", "sys.config.relctl", event="os.link"),
}

BEFORE = [
    *more(entering("begun")[1]),
    "half unpacked",
    *more(Death("before", "1.1.0")),
    "unpacked",
    *more(Death("before", "sys.config")),
    CONFIG,
    *more(Death("before", "RELEASES")),
    REGISTERED,
    *more(entering("installing")[0]),
    entering("installing")[1],
    entering("installed")[0],
    *more(entering("installed")[1], entering("soaking")[0]),
    entering("soaking")[1],
    *more(entering("committing")[0]),
]
"""The steps that decide nothing yet."""

AFTER = {
    "rapp": [
        entering("committing")[1],
        *more(Death("before", "RELEASES")),
        Death("before", "start_erl.data"),
        Death("before", "rapp"),
        *more(Death("after", "rapp")),
        Death("before", "sys.config", event="os.remove"),
        *more(Death("before", "last.json")),
        Death("after", "last.json"),
    ],
    "mapp": [
        entering("committing")[1],
        Death("before", "RELEASES"),
        Death("before", "start_erl.data"),
        Death("after", "start_erl.data"),
        Death("before", "sys.config"),
        *(Death(when, "last.json") for when in ("before", "after")),
    ],
}
"""The steps when it is decided."""

BACK = [
    *more(entering("undoing")[0]),
    entering("undoing")[1],
    *more(entering("reinstalling")[0]),
    entering("reinstalling")[1],
    *more(entering("cleaning")[0]),
    entering("cleaning")[1],
    Death("before", "RELEASES"),
    *more(Death("before", "last.json")),
    Death("after", "last.json"),
]
"""The steps of the way back; RELEASES is that of before, where there was one."""


def steps(stand: Stand, deaths: list[Death | str]) -> list[Death]:
    """These deaths, of this sample."""
    named = {"half unpacked": HALF, "unpacked": UNPACKED}
    return [named[death][stand.name] if isinstance(death, str) else death for death in deaths]


def order(stand: Stand, vsn: str, **more: object) -> str:
    """Ask for an upgrade and do not wait; its id."""
    with Asker(stand.daemon.socket) as asker:
        args = {"release": "web", "tarball": str(package(stand.name, vsn)), "wait": False, **more}
        id = asker.request("upgrade", args)
        wait_until(lambda: stand.journal or asker.receive(0.01), WITHIN, what="the journal's beginning")
    return id


def die_in_turn(stand: Stand, vsn: str, deaths: list[Death], **more: object) -> str:
    """An upgrade through the hands of as many relctlds as there are deaths, and one that ends it; its id."""
    stand.reborn(deaths[0])
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    id = order(stand, vsn, **more)
    for death, then in itertools.pairwise([*deaths, None]):
        stand.dies(death)
        stand.reborn(then)
    stand.ended()
    return id


def test_a_good_upgrade_goes_on_through_every_step(stand: Stand) -> None:
    with stand.client() as said:
        assert [said("bump"), said("bump")] == ["1", "2"]
        before = stand.daemon.status("web")
        id = die_in_turn(stand, "1.1.0", steps(stand, [*BEFORE, *AFTER[stand.name]]))
        assert said("state") == "v2 2"
    after = stand.is_at("1.1.0")
    assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"])
    assert (stand.last()["id"], stand.last()["ok"]) == (id, True)
    assert after["restarts_total"] == before["restarts_total"]
    stand.after_deaths("1.1.0")


def test_a_bad_upgrade_comes_back_through_every_step(stand: Stand) -> None:
    deaths = [death for death in BACK if stand.name == "rapp" or death.name != "RELEASES"]
    with stand.client() as said:
        assert [said("bump"), said("bump")] == ["1", "2"]
        before = stand.daemon.status("web")
        id = die_in_turn(stand, "1.1.0-unhealthy", deaths)
        assert said("state") == "v1 2"
    after = stand.is_at("1.0.0")
    assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"])
    stand.untouched()
    assert (stand.last()["id"], stand.last()["ok"]) == (id, False)
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


def test_one_that_failed_early_is_repaired_through_every_step(stand: Stand) -> None:
    before = stand.daemon.status("web")
    die_in_turn(stand, "1.1.0-apply-before", [step for step in BACK if step.phase in ("undoing", "cleaning")])
    after = stand.is_at("1.0.0")
    assert (after["pid"], after["epoch"], after["restarts_total"]) == tuple(
        before[key] for key in ("pid", "epoch", "restarts_total")
    )
    stand.untouched()


def test_before_its_first_word_it_never_was(stand: Stand) -> None:
    death = entering("begun")[0]
    stand.reborn(death)
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    with Asker(stand.daemon.socket) as asker:
        asker.request("upgrade", {"release": "web", "tarball": str(package(stand.name, "1.1.0"))})
        stand.dies(death)
    stand.reborn()
    stand.is_at("1.0.0")
    stand.untouched()
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


# -- the VM dies as well ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", [each for each in BEFORE if LONG or each not in ("unpacked", CONFIG)], ids=str)
def test_undecided_and_both_dead_the_old_is_booted(stand: Stand, step: Death | str) -> None:
    [death] = steps(stand, [step])
    epoch = stand.daemon.status("web")["epoch"]
    stand.reborn(death)
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    order(stand, "1.1.0")
    stand.dies(death)
    stand.kill_vm()
    stand.reborn()
    stand.daemon.wait_for("web", WITHIN, epoch=epoch + 1)
    stand.is_at("1.0.0")
    stand.untouched()
    assert (stand.last()["ok"], stand.last()["runs"]) == (False, "1.0.0")


@pytest.mark.parametrize("number", range(4) if LONG else (0, 1))
def test_decided_and_both_dead_the_new_is_booted(stand: Stand, number: int) -> None:
    first, epoch = entering("committing")[1], stand.daemon.status("web")["epoch"]
    death = AFTER[stand.name][number]
    stand.reborn(first)
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    order(stand, "1.1.0")
    stand.dies(first)
    if death != first:
        stand.reborn(death)
        stand.dies(death)
    stand.kill_vm()
    stand.reborn()
    stand.daemon.wait_for("web", WITHIN, epoch=epoch + 1)
    stand.is_at("1.1.0")
    assert (stand.last()["ok"], stand.last()["runs"]) == (True, "1.1.0")


@pytest.mark.parametrize("step", [*BACK[:6]] if LONG else [BACK[1]], ids=str)
def test_on_the_way_back_and_both_dead_the_old_is_booted(stand: Stand, step: Death) -> None:
    epoch = stand.daemon.status("web")["epoch"]
    stand.reborn(step)
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    order(stand, "1.1.0-unhealthy")
    stand.dies(step)
    stand.kill_vm()
    stand.reborn()
    stand.daemon.wait_for("web", WITHIN, epoch=epoch + 1)
    stand.is_at("1.0.0")
    stand.untouched()
    assert not stand.last()["ok"]


def test_what_evaluates_a_configuration_ends_with_its_relctld(stand: Stand, tmp_path: Path) -> None:
    """Also where it has left its session, and lost its parent: the next relctld knows it by its mark."""
    script = stand.root / "bin" / {"rapp": "rapp-1.0.0", "mapp": "mapp"}[stand.name]
    shebang, rest = script.read_text().split("\n", 1)
    told = tmp_path / "told"
    stray = f"setsid sh -c 'echo $$ >{told}.new; mv {told}.new {told}; exec sleep 1000'"
    hang = f"case $1 in eval|relctl-*) {stray} & wait;; esac"
    script.write_text("\n".join((shebang, hang, rest)))
    with Asker(stand.daemon.socket) as asker:
        asker.request("upgrade", {"release": "web", "tarball": str(package(stand.name, "1.1.0")), "plan": True})
        wait_until(told.exists, WITHIN, what="the evaluation")
    pid = int(told.read_text())
    stand.daemon.kill()
    assert alive(pid)
    script.write_text("\n".join((shebang, rest)))
    stand.reborn()
    wait_until(lambda: not alive(pid), WITHIN, what="its end")
    stand.untouched()
    stand.upgrade("1.1.0").done()
    stand.is_at("1.1.0")


# -- moments that are long -------------------------------------------------------------------------


def test_while_a_busy_process_is_waited_for(stand: Stand) -> None:
    with stand.client() as said:
        said("bump")
        said("sleep 4000")
        with stand.begin("1.1.0", "--no-wait") as asked:
            assert asked.wait(WITHIN) == 0
        stand.phase("installing")
        wait_until(lambda: stand.rpc("erlang", "whereis", "[relctl_upgrade]") != "undefined", WITHIN, what="the order")
        stand.reborn()
        stand.ended()
        assert said("state") == "v2 1"
    stand.is_at("1.1.0")


def test_who_waited_hears_the_true_end(stand: Stand) -> None:
    for vsn, runs, code in (("1.1.0-unhealthy", "1.0.0", 1), ("1.1.0", "1.1.0", 0)):
        with stand.begin(vsn, "--soak", "1s") as asked:
            stand.phase("soaking", "undoing", "reinstalling")
            stand.reborn()
            _, error = asked.communicate(timeout=WITHIN)
        assert asked.returncode == code, error
        stand.is_at(runs)


def test_it_goes_on_when_relctld_becomes_another_in_place(stand: Stand) -> None:
    with stand.begin("1.1.0", "--soak", "2s") as asked:
        stand.phase("soaking")
        stand.daemon.relctl("daemon", "reexec")
        _, error = asked.communicate(timeout=WITHIN)
        assert asked.returncode == 0, error
    stand.is_at("1.1.0")
    begun = [event for event in stand.daemon.events("web") if event["event"] == "upgrade-begun"]
    assert len({event["id"] for event in begun}) == len(begun)
