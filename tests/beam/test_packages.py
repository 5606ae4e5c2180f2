"""The packages of the sample releases are what `versions.py` says of them: release_handler alone is asked.

Whatever relctl makes of them, these tests tell whether a sample or relctl is wrong.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import pytest

from relctld.beam.term.consult import ConsultError, consult
from relctld.beam.term.terms import Atom
from tests.beam.by_hand import LOST, ByHand, running
from tests.releases.build import build
from tests.releases.package import package
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

MODULES = {
    "rapp": {"counter": "rapp_srv", "conn": "rapp_conn", "v1": "rapp_v1", "tick": "rapp_tick"},
    "mapp": {"counter": "Elixir.Mapp.Server", "conn": "Elixir.Mapp.Conn", "v1": "Elixir.Mapp.V1",
             "tick": "Elixir.Mapp.Tick"},
}  # fmt: skip
Start = Callable[..., AbstractContextManager[ByHand]]


@pytest.fixture(params=["rapp", "mapp"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(name: str, request: pytest.FixtureRequest, public_path: Path, epmd_port: int) -> Start:
    root: Path = request.getfixturevalue(f"{name}_root")
    return lambda **env: running(name, root, public_path, epmd_port, **env)


@pytest.fixture
def node(start: Start) -> Iterator[ByHand]:
    with start() as found:
        yield found


def members(tarball: Path) -> dict[str, str]:
    """The files of a tarball, each with its digest."""
    with tarfile.open(tarball) as tar:
        files = {m.name: tar.extractfile(m) for m in tar if m.isfile()}
        return {path: sha256(file.read()).hexdigest() for path, file in files.items() if file}


def alive(node: ByHand, module: str) -> bool:
    """Whether the process that is registered by its module's name is there."""
    return node.call("erlang", "whereis", Atom(module)) != "undefined"


def applications(node: ByHand) -> str:
    """Those that run, with their descriptions and versions."""
    return node.call("application", "which_applications")


def releases(node: ByHand) -> str:
    """What release_handler says of the versions."""
    return node.call("release_handler", "which_releases")


# -- what is well ----------------------------------------------------------------------------------


def test_up_twice_and_back_with_state_and_connection(name: str, node: ByHand) -> None:
    creation = node.creation()
    with node.client() as said:
        assert [said("bump"), said("bump"), said("state"), said("version")] == ["1", "2", "v1 2", "1.0.0"]
        assert [said(f"config {key}") for key in ("limit", "added", "legacy")] == ["10", "undefined", "true"]

        assert node.upgrade("1.1.0") == '{ok,"1.0.0",[]}'
        assert [said("bump"), said("state"), said("bumps"), said("version")] == ["3", "v2 3", "1", "1.1.0"]
        assert [said(f"config {key}") for key in ("limit", "legacy")] == ["20", "undefined"]
        assert said("config added") in {'"new"', '<<"new">>'}
        assert node.call("code", "is_loaded", Atom(MODULES[name]["v1"])) == "false"
        if name == "mapp":
            assert said("shown text") == "anything"  # consolidated by 1.0.0, and no relup loads that
            node.consolidate("1.1.0")
            assert [said(f"shown {what}") for what in ("integer", "atom", "text")] == [
                "an integer", "anything", "a text",
            ]  # fmt: skip

        assert node.upgrade("1.2.0") == '{ok,"1.1.0",[]}'
        assert said("state") == "v2 3"
        assert alive(node, MODULES[name]["tick"])
        assert (f"{{{name}_extra," in applications(node), f"{{{name}_legacy," in applications(node)) == (True, False)
        assert node.call("code", "modified_modules") == "[]"

        assert node.install("1.1.0") == '{ok,"1.1.0",[]}'
        assert not alive(node, MODULES[name]["tick"])
        node.configure("1.0.0")
        assert node.install("1.0.0") == '{ok,"1.0.0",[]}'
        assert [said("bump"), said("state"), said("bumps"), said("version")] == ["4", "v1 4", "what?", "1.0.0"]
        assert [said(f"config {key}") for key in ("limit", "added", "legacy")] == ["10", "undefined", "true"]
    assert f"{{{name}_legacy," in applications(node)
    assert node.creation() == creation


def test_a_tarball_is_a_whole_release_and_agrees_with_the_version_before(name: str) -> None:
    before, found = build(name), members(package(name, "1.1.0"))
    on_disk = {str(p.relative_to(before)): p for p in before.rglob("*") if p.is_file()}
    shared = {path for path in found if path in on_disk and not path.startswith(("bin/", "releases/"))}
    assert {path.partition("-")[0].partition("/")[0] for path in shared} == {"lib", "erts"}
    changed = {path for path in shared if sha256(on_disk[path].read_bytes()).hexdigest() != found[path]}
    assert not changed
    here = {f"bin/{name}", "releases/start_erl.data", "releases/1.1.0/start.boot", "releases/1.1.0/relup"}
    here |= {"releases/RELEASES", "bin/rapp-1.1.0", "releases/1.1.0/sys.config.src"} if name == "rapp" else set()
    here |= {"releases/COOKIE", "releases/1.1.0/runtime.exs"} if name == "mapp" else set()
    assert here <= set(found)


# -- what is ill -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vsn", ["1.1.0-raise", "1.1.0-apply-after"])
def test_a_failure_after_the_point_of_no_return_restarts_the_node_in_its_process(
    name: str, vsn: str, node: ByHand
) -> None:
    creation = node.creation()
    with node.client() as said:
        assert said("bump") == "1"
    result = node.upgrade(vsn)
    assert result.startswith("{error,") or result == LOST
    wait_until(lambda: node.up() and node.creation() != creation, 60, what="the restart")
    with node.client() as said:
        assert [said("state"), said("version")] == ["v1 0", "1.0.0"]
    assert f'"{vsn}",[' in releases(node)
    assert node.vm.process.poll() is None


def test_a_failure_before_the_point_of_no_return_leaves_the_environment_of_the_new_version(
    name: str, node: ByHand
) -> None:
    creation = node.creation()
    with node.client() as said:
        assert said("bump") == "1"
        result = node.upgrade("1.1.0-apply-before")
        assert result.startswith("{error,")
        assert "boom" in result
        assert [said("state"), said("version"), said("config limit")] == ["v1 1", "1.1.0-apply-before", "20"]
    assert node.creation() == creation


def test_a_module_that_the_appup_forgot_stays_old(name: str, node: ByHand) -> None:
    with node.client() as said:
        assert node.upgrade("1.1.0-incomplete").startswith("{ok,")
        assert [said("state"), said("bumps")] == ["v2 0", "what?"]
    assert MODULES[name]["conn"] in node.call("code", "modified_modules")


def test_what_lingers_in_old_code_goes_on_and_refuses_the_next_install(name: str, node: ByHand) -> None:
    creation, counter = node.creation(), MODULES[name]["counter"]
    with node.client() as said:
        assert said("linger 600000") == "ok"
        assert node.upgrade("1.1.0-soft").startswith("{ok,")
        assert node.call("erlang", "check_old_code", Atom(counter)) == "true"
        assert node.install("1.0.0").startswith("{error,{old_processes,")
        assert said("state") == "v2 0"
    assert node.creation() == creation


def test_a_missing_beam_is_found_before_the_point_of_no_return(name: str, node: ByHand) -> None:
    creation = node.creation()
    with node.client() as said:
        assert said("bump") == "1"
        assert node.upgrade("1.1.0-no-beam").startswith("{error,")
        assert said("state") == "v1 1"
    assert node.creation() == creation


def test_a_configuration_that_cannot_be_made(name: str, node: ByHand) -> None:
    vsn = "1.1.0-bad-config"
    assert node.unpack(vsn).startswith("{ok,")
    made = node.root / "releases" / vsn / "sys.config"
    if name == "mapp":
        with pytest.raises(subprocess.CalledProcessError):
            node.configure(vsn)
    else:
        node.configure(vsn)
        with pytest.raises(ConsultError):
            consult(made.read_text())
    node.env["DEMO_LIMIT"] = "7"
    node.configure(vsn)
    assert consult(made.read_text())
    assert node.install(vsn).startswith("{ok,")
    with node.client() as said:
        assert said("config limit") == "7"


def test_a_node_that_ends_after_the_upgrade(name: str, start: Start) -> None:
    with start(DEMO_SOAK_MS="1") as node:
        node.upgrade("1.1.0-crash")
        assert node.vm.process.wait(60) == 1
        node.vm.wait_for("crashing app")


def test_a_node_that_is_not_ready_after_the_upgrade(name: str, node: ByHand) -> None:
    counter = MODULES[name]["counter"]
    assert node.call(counter, "ready") == "true"
    assert node.upgrade("1.1.0-unhealthy").startswith("{ok,")
    assert node.call(counter, "ready") == "false"


def test_no_way_back_and_no_way_from_here(name: str, node: ByHand) -> None:
    assert node.upgrade("1.1.0-up-only").startswith("{ok,")
    assert node.install("1.0.0").startswith("{error,{no_matching_relup,")
    assert node.upgrade("1.2.0").startswith("{error,{no_matching_relup,")


def test_no_relup_and_another_name(name: str) -> None:
    found = members(package(name, "1.1.0-no-relup"))
    assert "releases/1.1.0-no-relup/start.boot" in found
    assert "releases/1.1.0-no-relup/relup" not in found
    other = package(name, "1.1.0-other-name")
    assert other.name == "other-1.1.0-other-name.tar.gz"
    assert "releases/1.1.0-other-name/other.rel" in members(other)
