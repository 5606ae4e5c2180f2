"""Hot upgrades whose relup restarts the emulator, on real nodes: there and back, failing, and with relctld killed.

The samples are those of `emulators`: OTP 25 to 28 and back, another kernel and stdlib, a restart at the end, or both.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.asking import Asker
from tests.beam.upgrading import WITHIN, Death, Stand, entering, standing
from tests.releases.emulators import renewed
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

BEFORE = [
    entering("begun")[1],
    Death("after", "candidate", event="os.mkdir"),
    *entering("switching"),
    *entering("installing"),
    *entering("installed"),
    *entering("soaking"),
    entering("committing")[0],
]
"""The steps that decide nothing yet."""
OF_LAST = [*BEFORE[:2], *entering("installing"), *entering("switching"), *BEFORE[6:]]
"""The same, in their turn, where there is but a restart at the end."""

AFTER = [entering("committing")[1], *(Death(when, "last.json") for when in ("before", "after"))]
BACK = [*entering("restarting"), *entering("cleaning"), *(Death(when, "last.json") for when in ("before", "after"))]

WORST = [entering("switching")[1], entering("installing")[1], entering("installed")[1], entering("committing")[1]]
"""Of all these: with the VM about to end, with the rest of the relup to be ordered, ordered, and just decided."""


@pytest.fixture(scope="module", params=["rapp", "mapp"] if LONG else ["rapp"])
def shared_stand(request: pytest.FixtureRequest, built: Callable[[str], Path]) -> Iterator[Stand]:
    """As a user who may not write the tree, where root runs the tests."""
    built(str(request.param))
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with standing(str(request.param), start_timeout="20s", **user) as stand:  # what is ill is never ready
        yield stand


def no_boot(tree: Path) -> None:
    """Its emulator refuses its flags."""
    [args] = (tree / "releases" / "1.1.0").glob("vm.args*")
    args.write_text(args.read_text() + "\n+Zno 1\n")


def order(stand: Stand, tarball: Path) -> str:
    """Ask for an upgrade and do not wait; its id."""
    with Asker(stand.daemon.socket) as asker:
        id = asker.request("upgrade", {"release": "web", "tarball": str(tarball), "wait": False})
        wait_until(lambda: stand.journal or asker.receive(0.01), WITHIN, what="the journal's beginning")
    return id


def die_in_turn(stand: Stand, tarball: Path, deaths: list[Death]) -> str:
    """An upgrade through the hands of as many relctlds as there are deaths, and one that ends it; its id."""
    stand.reborn(deaths[0])
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    id = order(stand, tarball)
    for death, then in itertools.pairwise([*deaths, None]):
        stand.dies(death)
        stand.reborn(then)
    stand.ended()
    return id


def environment_is_its_own(stand: Stand) -> None:
    """Nothing of how it was launched is left for what the node starts."""
    found = [stand.rpc("os", "getenv", f'["{name}"]') for name in ("RELDIR", "ERL_AFLAGS", "RELX_CONFIG_PATH")]
    assert found == ["false"] * 3
    assert not (stand.daemon.run_dir / "releases" / "web" / "candidate").exists()


# -- there and back --------------------------------------------------------------------------------


def test_from_otp_25_to_28_and_back(stand: Stand) -> None:
    """What the counter held is lost with its VM. Debian's Elixir is compiled for OTP 25, and 28 does not load it."""
    if stand.name == "mapp":
        refused = stand.upgrade(renewed(stand.name, "1.1.0", "28"))
        refused.failed("its configuration cannot be evaluated", "it runs 1.0.0 as before, and never stopped")
        stand.is_at("1.0.0")
        stand.untouched()
        return
    stand.said("bump")
    before = stand.daemon.status("web")
    there = stand.upgrade(renewed(stand.name, "1.1.0", "28"))
    there.done()
    for words in ("restarts, from ERTS 13.1.5 to", "the emulator restarted", "nothing was served for"):
        assert words in there.out
    assert "not loaded" not in there.out
    last = stand.last()
    assert (last["way"], last["restarted"], last["outage_s"] > 0) == ("emulator", True, True)
    after = stand.is_at("1.1.0")
    assert stand.said("state") == ["v2 0"], "the new emulator began with the old state, and code_change made it new"
    assert stand.rpc("erlang", "system_info", "[otp_release]") == '"28"'
    environment_is_its_own(stand)
    assert (after["epoch"], after["restarts_total"]) == (before["epoch"] + 1, before["restarts_total"])
    stand.rpc("init", "restart")
    stand.daemon.wait_for("web", WITHIN, restarts_total=before["restarts_total"] + 1)
    stand.is_at("1.1.0")
    stand.downgrade().done()
    stand.is_at("1.0.0")
    assert stand.rpc("erlang", "system_info", "[otp_release]") == '"25"'
    environment_is_its_own(stand)


@pytest.mark.parametrize("how", ["kernel", "last", "both"])
def test_there_and_back(stand: Stand, how: str) -> None:
    before = stand.daemon.status("web")
    stand.upgrade(renewed(stand.name, "1.1.0", how)).done()
    after = stand.is_at("1.1.0")
    assert after["epoch"] == before["epoch"] + (2 if how == "both" else 1)
    environment_is_its_own(stand)
    stand.downgrade().done()
    assert stand.is_at("1.0.0")["restarts_total"] == before["restarts_total"]
    stand.after_deaths("1.0.0")


# -- what fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vsn", "how", "words"),
    [
        ("1.1.0-raise", "kernel", ()),  # the reason, or that the VM ended: whichever is heard first
        ("1.1.0-apply-before", "kernel", ("the install failed", "boom")),
        ("1.1.0-unhealthy", "kernel", ("not well",)),
        ("1.1.0-unhealthy", "both", ("not ready within",)),
    ][slice(None) if LONG else slice(1)],
)
def test_what_fails_comes_back_by_itself(stand: Stand, vsn: str, how: str, words: tuple[str, ...]) -> None:
    before = stand.daemon.status("web")
    failed = stand.upgrade(renewed(stand.name, vsn, how))
    failed.failed(f"to {vsn}", "it runs 1.0.0 as before, after a restart", *words)
    after = stand.is_at("1.0.0")
    assert after["epoch"] >= before["epoch"] + 2
    stand.untouched()
    environment_is_its_own(stand)


def test_a_new_emulator_that_does_not_boot_is_followed_by_the_old_one(stand: Stand) -> None:
    late = "the new emulator ended before it was ready"
    soon = "its configuration cannot be evaluated"  # mix evaluates it by a VM with the same flags, before any restart
    stand.upgrade(renewed(stand.name, "1.1.0", "kernel", no_boot)).failed(late if stand.name == "rapp" else soon)
    stand.is_at("1.0.0")
    stand.untouched()
    environment_is_its_own(stand)


def test_what_fails_before_the_restart_never_stops_the_node(stand: Stand) -> None:
    before = stand.daemon.status("web")
    count = stand.said("bump")[0]
    stand.upgrade(renewed(stand.name, "1.1.0-apply-before", "last")).failed("boom", "and never stopped")
    after = stand.is_at("1.0.0")
    assert (after["pid"], after["restarts_total"]) == (before["pid"], before["restarts_total"])
    assert stand.said("state") == [f"v1 {count}"]
    stand.untouched()
    environment_is_its_own(stand)


def test_what_chooses_the_boot_itself_is_refused(stand: Stand) -> None:
    config = stand.daemon.config.read_text()
    stand.daemon.config.write_text(config.replace("env = {", 'env = {RELDIR = "/nowhere", '))
    stand.daemon.relctl("reload")
    refused = stand.upgrade(renewed(stand.name, "1.1.0", "kernel"))
    stand.daemon.config.write_text(config)
    stand.daemon.relctl("reload")
    refused.refused("its relup restarts the emulator", "RELDIR is set")
    stand.untouched()


# -- relctld killed --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kernel", "last", "both"] if LONG else ["kernel"])
def test_a_good_one_goes_on_through_every_step(stand: Stand, how: str) -> None:
    epoch = stand.daemon.status("web")["epoch"]
    before = OF_LAST if how == "last" else BEFORE
    id = die_in_turn(stand, renewed(stand.name, "1.1.0", how), [*before, *AFTER] if LONG else WORST)
    after = stand.is_at("1.1.0")
    assert after["epoch"] == epoch + (2 if how == "both" else 1), "one VM after the other, and none beside"
    assert (stand.last()["id"], stand.last()["ok"]) == (id, True)
    environment_is_its_own(stand)


def test_a_bad_one_comes_back_through_every_step(stand: Stand) -> None:
    id = die_in_turn(stand, renewed(stand.name, "1.1.0-raise", "kernel"), BACK)
    stand.is_at("1.0.0")
    stand.untouched()
    assert (stand.last()["id"], stand.last()["ok"]) == (id, False)


@pytest.mark.parametrize("how", ["kernel", "last"] if LONG else ["kernel"])
@pytest.mark.parametrize("step", BEFORE if LONG else [entering("installed")[1]], ids=str)
def test_undecided_and_both_dead_the_old_is_booted(stand: Stand, how: str, step: Death) -> None:
    stand.reborn(step)
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    order(stand, renewed(stand.name, "1.1.0", how))
    stand.dies(step)
    stand.kill_vm()
    stand.reborn()
    stand.ended()
    stand.is_at(stand.last()["runs"])
    if step not in BEFORE[:4]:  # those had no candidate yet: that one is started now is as good as any
        assert not stand.last()["ok"]
        stand.untouched()
