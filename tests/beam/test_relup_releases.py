"""The relups of real builds: as systools makes them, and good enough for a node that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from relctld.beam.package.relup import Relup, read_relup
from tests import otps
from tests.asked import LONG
from tests.beam.upgrading import Stand
from tests.releases import build
from tests.releases.package import bare, package
from tests.relups import comparable

pytestmark = [pytest.mark.beam, pytest.mark.slow]

SAMPLES = ("rapp", "mapp")
SYSTOOLS = """
    ok = systools:make_relup("~NEW/releases/1.1.0/~NAME", ["~OLD/releases/1.0.0/~NAME"], ["~OLD/releases/1.0.0/~NAME"],
        [{path, ["~NEW/lib/*/ebin", "~OLD/lib/*/ebin"]}, {outdir, "~OUT"}])
"""
CHILD = {"rapp": ("rapp_sup", "rapp_tick"), "mapp": ("Elixir.Mapp.Supervisor", "Elixir.Mapp.Tick")}


def relctl_relup(*words: str | Path) -> dict[str, Any]:
    """What the real client says, from anywhere."""
    command = [sys.executable, "-m", "relctl", "--json", "relup", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 5), done.stderr
    return found


def scripts(relup: Relup) -> list[list[Any]]:
    """All of its scripts, for a comparison."""
    return [comparable(script.instructions) for script in [*relup.ups.values(), *relup.downs.values()]]


@pytest.mark.parametrize(
    ("name", "before", "after"), [("rapp", "1.0.0", "1.1.0"), ("mapp", "1.0.0", "1.1.0"), ("mapp", "1.1.0", "1.2.0")]
)
def test_of_their_own_appups_systools_makes_the_same(name: str, before: str, after: str, tmp_path: Path) -> None:
    """rebar3 and mix asked systools when they built the tarballs; those of rebar3 are without appups."""
    packed = package(name, after)
    new = build.build(name, after) if name == "rapp" else packed
    assert relctl_relup(build.build(name, before), new, "--dir", tmp_path, "--force")["kept"] == [name]
    with tarfile.open(packed) as tar:
        theirs = tar.extractfile(f"releases/{after}/relup")
        assert theirs
        expected = read_relup(theirs.read())
    made = read_relup((tmp_path / f"releases/{after}/relup").read_bytes())
    assert (made.version, *made.ups, *made.downs) == (after, before, before)
    assert scripts(made) == scripts(expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_of_the_appups_that_we_make_systools_makes_the_same(name: str, tmp_path: Path) -> None:
    old, new = build.build(name), build.place(build.build(name, "1.1.0"), tmp_path / "new")
    (new / f"lib/{name}-1.1.0/ebin/{name}.appup").unlink()
    found = relctl_relup(old, new)
    assert (found["made"], found["kept"], found["changed"]) == ([name], [], True)
    asked = SYSTOOLS.replace("~NEW", str(new)).replace("~OLD", str(old)).replace("~OUT", str(tmp_path))
    otps.run("25", asked.replace("~NAME", name))
    ours = read_relup((new / "releases/1.1.0/relup").read_bytes())
    assert scripts(ours) == scripts(read_relup((tmp_path / "relup").read_bytes()))
    assert relctl_relup(old, new)["changed"] is False


def test_of_two_builds_into_a_node_that_runs_and_back(stand: Stand, public_path: Path) -> None:
    made = public_path / f"{stand.name}-1.1.0.tar.gz"
    relctl_relup(build.build(stand.name), bare(stand.name, "1.1.0", public_path), "-o", made)
    with stand.client() as said:
        assert [said("bump"), said("bump"), said("state")] == ["1", "2", "v1 2"]
        stand.upgrade(made).done()
        assert [said("bump"), said("state"), said("bumps")] == ["3", "v2 3", "1"]
        before = stand.is_at("1.1.0")
        stand.downgrade().done()
        assert [said("bump"), said("state"), said("bumps")] == ["4", "v1 4", "what?"]
    after = stand.is_at("1.0.0")
    for key in ("pid", "epoch", "restarts_total"):
        assert before[key] == after[key], key


@pytest.mark.parametrize("name", SAMPLES if LONG else SAMPLES[:1])
def test_a_child_that_comes_is_not_decided(name: str, tmp_path: Path) -> None:
    found = relctl_relup(build.build(name, "1.1.0"), bare(name, "1.2.0", tmp_path), "--plan")
    supervisor, child = CHILD[name]
    assert found["error"]["kind"] == "impossible"
    assert {supervisor} <= {doubt["module"] for doubt in found["doubts"]} <= {supervisor, child}
    assert f"names {child} in one version only" in found["doubts"][0]["why"]
