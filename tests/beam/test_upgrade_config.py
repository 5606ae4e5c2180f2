"""The config changes under a hot upgrade, and a later relctld knows nothing but the new one.

What was begun goes on with the tree and the release that it was begun with, as soon as somebody can; and where its node
ended meanwhile, it is started again, whatever `restart` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import epmds
from tests.asked import LONG
from tests.beam.upgrading import WITHIN, Stand, standing
from tests.releases.package import package
from tests.releases.remade import remade
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

NOT_RESTARTED = 'restart = "transient"'
"""Who ends orderly is not started again; a line of the config."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Stand]:
    with standing("rapp", restart="transient") as stand:
        yield stand


@pytest.fixture
def one(shared: Stand) -> Iterator[Stand]:
    """The shared one, given back as it was, with its config."""
    config = shared.daemon.config.read_text()
    yield shared
    take_up(shared, config)
    shared.restore()


def take_up(stand: Stand, config: str) -> None:
    """Another config."""
    if stand.daemon.config.read_text() != config:
        stand.daemon.config.write_text(config)
        stand.daemon.relctl("reload")


def changed_in_the_soak(stand: Stand, before: str, after: str) -> str:
    """An upgrade soaks, the config is another, and another relctld has only that; the config before."""
    with stand.begin("1.1.0", "--soak", "1s", "--no-wait") as asked:
        assert asked.wait(WITHIN) == 0
    stand.phase("soaking")
    config = stand.daemon.config.read_text()
    assert before in config
    take_up(stand, config.partition(before)[0] if not after else config.replace(before, after))
    stand.reborn()
    return config


def test_who_left_the_config_is_upgraded_when_it_is_back(one: Stand) -> None:
    config = changed_in_the_soak(one, "[release.web]", "")
    one.well(version="1.1.0", unconfigured=True, upgrade=None)
    take_up(one, config)
    one.is_at("1.1.0")


def test_who_left_the_config_may_be_stopped_and_stays_so(one: Stand) -> None:
    config = changed_in_the_soak(one, "[release.web]", "")
    one.daemon.relctl("stop", "web")
    take_up(one, config)
    one.daemon.wait_for("web", WITHIN, state="stopped", want="down")
    one.ended()
    one.untouched()
    one.daemon.relctl("start", "web")
    one.is_at("1.0.0")


def test_who_left_the_config_and_died_in_the_soak_is_the_old_one(one: Stand) -> None:
    with one.begin("1.1.0", "--soak", "1h") as asked:
        one.phase("soaking")
        config = one.daemon.config.read_text()
        take_up(one, config.partition("[release.web]")[0])
        one.kill_vm()
        _, error = asked.communicate(timeout=WITHIN)
        assert "it runs 1.0.0 as before, after a restart" in error
    one.well(version="1.0.0", unconfigured=True)
    one.untouched()
    take_up(one, config)
    one.is_at("1.0.0")


def test_another_root_is_for_the_next_start(one: Stand, tmp_path: Path) -> None:
    config = changed_in_the_soak(one, str(one.root), str(tmp_path))
    one.ended()
    one.selects("1.1.0")
    take_up(one, config)
    one.is_at("1.1.0")


def test_what_the_config_names_and_is_not_there_is_said(one: Stand, tmp_path: Path) -> None:
    missing = tmp_path / "none.env"
    config = changed_in_the_soak(one, NOT_RESTARTED, f'{NOT_RESTARTED}\nenv_file = "{missing}"')
    said = f"cannot use {missing}: no such file or directory"
    wait_until(lambda: one.daemon.status("web")["upgrade"].get("detail") == said, WITHIN, what="that it is said")
    take_up(one, config)
    one.is_at("1.1.0")
    take_up(one, config.replace(NOT_RESTARTED, f'{NOT_RESTARTED}\nenv_file = "{missing}"'))
    for words in (["upgrade", "web", "1.0.0"], ["downgrade", "web"], ["versions", "web"]):
        done = one.daemon.relctl(*words, check=False)
        assert (done.returncode, said in done.stderr) == (5, True), done.stderr
    assert "surprise" not in one.daemon.said()


def test_two_of_one_root_do_not_change_its_versions_at_once(one: Stand) -> None:
    """Nor is a version removed that one of them runs."""
    config = one.daemon.config.read_text()
    beside = config[config.index("[release.web]") :]
    for its, others in (
        ("release.web", "release.api"),
        (f'"rapp{one.host.epmd_port}@', f'"api{one.host.epmd_port}@'),
        (f'"{one.port}"', f'"{epmds.free_port()}"'),
    ):
        assert its in beside
        beside = beside.replace(its, others)
    take_up(one, config + beside)
    one.daemon.wait_for("api", WITHIN, state="running")
    tarball = str(package("rapp", "1.1.0"))
    with one.begin("1.1.0", "--soak", "1s", "--no-wait") as asked:
        assert asked.wait(WITHIN) == 0
    for words in (["upgrade", "api", tarball], ["deploy", "api", tarball], ["remove", "api", "1.1.0"]):
        done = one.daemon.relctl(*words, check=False)
        assert (done.returncode, "web has the same root" in done.stderr) == (5, True), done.stderr
    one.is_at("1.1.0")
    done = one.daemon.relctl("remove", "web", "1.0.0", check=False)
    assert (done.returncode, "1.0.0 runs" in done.stderr) == (5, True), done.stderr
    one.daemon.relctl("stop", "api")


@pytest.mark.parametrize("place", ["before", "behind"] if LONG else ["behind"])
def test_a_relup_that_ends_its_node_is_one_that_failed(one: Stand, tmp_path: Path, place: str) -> None:
    point, ends = "point_of_no_return,", "{apply,{init,stop,[]}},"
    both = ends + point if place == "before" else point + ends
    path = remade("rapp", "1.1.0", tmp_path, relup=lambda text: text.replace(point, both, 1))
    one.upgrade(path, "--soak", "1h").failed("it runs 1.0.0 as before, after a restart")
    one.is_at("1.0.0")
    one.untouched()
