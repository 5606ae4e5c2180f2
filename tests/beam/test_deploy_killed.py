"""relctld dies in a deployment, at each of its steps: whoever comes after it brings the deployment to its end.

As in test_upgrade_killed: alone, a deployment goes on as if nothing had been. With the VM dead as well, or the host
down, a boot brings what was there before, until it is decided.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.asking import Asker
from tests.beam.deploying import Site, deploying
from tests.beam.upgrading import WITHIN, Death, entering, more
from tests.releases.package import package
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

BEGINNINGS = ["1.0.0", ""] if LONG else ["1.0.0"]
"""What is installed before, or nothing."""

BEFORE = [
    *more(entering("begun")[1]),
    Death("before", "1.1.0"),
    *more(Death("before", "RELEASES")),
    Death("after", "RELEASES"),
    *more(entering("switching")[0]),
    entering("switching")[1],
    entering("installed")[0],
    *more(entering("installed")[1], entering("soaking")[0]),
    entering("soaking")[1],
    *more(entering("committing")[0]),
]
"""The steps that decide nothing yet; the first six of the long run have no VM of the target."""

AFTER = [
    entering("committing")[1],
    *more(Death("before", "RELEASES")),
    Death("before", "start_erl.data"),
    *more(Death("after", "start_erl.data"), Death("before", "last.json")),
    Death("after", "last.json"),
]
"""The steps when it is decided."""

BACK = [
    *more(entering("restarting")[0]),
    entering("restarting")[1],
    *more(entering("cleaning")[0]),
    entering("cleaning")[1],
    *more(Death("before", "last.json")),
    Death("after", "last.json"),
]
"""The steps of the way back."""


@pytest.fixture(scope="module", params=["rapp", "mapp"] if LONG else ["rapp"])
def shared_site(request: pytest.FixtureRequest, built: Callable[[str], Path]) -> Iterator[Site]:
    """One for all tests of the module."""
    built(str(request.param))
    with deploying(str(request.param)) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The shared one; nothing is installed."""
    yield shared_site
    shared_site.clear()


def order(site: Site, vsn: str) -> str:
    """Ask for a deployment and do not wait; its id."""
    with Asker(site.daemon.socket) as asker:
        args = {"release": "web", "tarball": str(package(site.name, vsn)), "wait": False}
        id = asker.request("deploy", args)
        wait_until(lambda: site.journal or asker.receive(0.01), WITHIN, what="the journal's beginning")
    return id


def die_in_turn(site: Site, vsn: str, deaths: list[Death]) -> str:
    """A deployment through the hands of as many relctlds as there are deaths, and one that ends it; its id."""
    site.reborn(deaths[0])
    wait_until(site.daemon.answers, WITHIN, what="relctld to answer")
    id = order(site, vsn)
    for death, then in itertools.pairwise([*deaths, None]):
        site.dies(death)
        site.reborn(then)
    site.ended()
    return id


@pytest.mark.parametrize("before", BEGINNINGS)
def test_a_good_deployment_goes_on_through_every_step(site: Site, before: str) -> None:
    deaths = [death for death in BEFORE if before or death.name not in ("1.1.0", "RELEASES")]
    if before:
        site.deploy(before).done()
    epoch = site.daemon.status("web")["epoch"]
    id = die_in_turn(site, "1.1.0", [*deaths, *AFTER])
    after = site.is_at("1.1.0")
    assert not before or after["epoch"] == epoch + 1, "one VM after the other, and no third"
    assert (site.last()["id"], site.last()["ok"]) == (id, True)
    site.unchanged("1.1.0")
    site.after_deaths("1.1.0")


@pytest.mark.parametrize("before", BEGINNINGS)
def test_a_bad_deployment_comes_back_through_every_step(site: Site, before: str) -> None:
    if before:
        site.deploy(before).done()
    tree = site.tree()
    id = die_in_turn(site, "1.1.0-unhealthy", BACK)
    assert (site.last()["id"], site.last()["ok"]) == (id, False)
    if before:
        site.is_at(before)
        assert site.changed(tree) == {}
    else:
        site.is_empty()


@pytest.mark.parametrize("step", BEFORE, ids=str)
def test_undecided_and_both_dead_the_old_is_booted(site: Site, step: Death) -> None:
    site.deploy("1.0.0").done()
    before = site.tree()
    site.reborn(step)
    wait_until(site.daemon.answers, WITHIN, what="relctld to answer")
    order(site, "1.1.0")
    site.dies(step)
    site.kill_vm()
    site.reborn()
    site.ended()
    if step in BEFORE[:6]:  # it was not started before: that it is now, is a deployment as good as any
        site.is_at(site.last()["runs"])
    else:
        site.is_at("1.0.0")
        assert site.changed(before) == {}
        assert not site.last()["ok"]


@pytest.mark.parametrize("step", AFTER[:4] if LONG else [AFTER[1]], ids=str)
def test_decided_and_both_dead_the_new_is_booted(site: Site, step: Death) -> None:
    first = AFTER[0]
    site.deploy("1.0.0").done()
    site.reborn(first)
    wait_until(site.daemon.answers, WITHIN, what="relctld to answer")
    order(site, "1.1.0")
    site.dies(first)
    if step != first:
        site.reborn(step)
        site.dies(step)
    site.kill_vm()
    site.reborn()
    site.is_at("1.1.0")
    assert site.last()["ok"]


def test_stopped_in_the_soak_a_cold_boot_brings_the_old(site: Site) -> None:
    site.deploy("1.0.0").done()
    before = site.tree()
    site.deploy("1.1.0", "--soak", "1h", "--no-wait").done()
    site.phase("soaking")
    site.deploy("1.0.0").refused("an upgrade to 1.1.0 by root is under way (soaking)")
    assert site.daemon.status("web")["boot_version"] == "1.0.0"
    site.cold_boot()
    site.is_at("1.0.0")
    assert site.changed(before) == {}
    assert "ended during the soak" in site.last()["why"]


def test_a_removal_that_was_cut_short_is_finished(site: Site) -> None:
    site.deploy("1.0.0").done()
    site.deploy("1.1.0").done()
    death = Death("after", "removal.json")
    site.reborn(death)
    wait_until(site.daemon.answers, WITHIN, what="relctld to answer")
    with Asker(site.daemon.socket) as asker:
        asker.request("remove", {"release": "web", "version": "1.0.0"})
        site.dies(death)
    site.reborn()
    left = ("releases/1.0.0", f"lib/{site.name}-1.0.0", ".relctl")
    wait_until(lambda: not any((site.root / path).exists() for path in left), WITHIN, what="the removal")
    site.is_at("1.1.0")
    site.after_deaths("1.1.0")
