"""What `inspect` says of real releases is what they do when they are launched so."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from relctld.beam.flavour import Flavour, Release, inspect, versions
from tests.beam.launching import clean_env, launched
from tests.waiting import wait_until

pytestmark = pytest.mark.beam
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a release as another user")

OTHER_USER = "nobody"


@pytest.fixture
def scratch(public_path: Path) -> Path:
    path = public_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture(params=["rapp", "mapp", "papp", "dapp"])
def root(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_root")
    return found


def registered(release: Release, epmd_port: int) -> list[str]:
    assert release.epmd
    env = {"ERL_EPMD_PORT": str(epmd_port)}
    done = subprocess.run([release.epmd, "-names"], env=env, capture_output=True, text=True, timeout=10, check=False)
    return re.findall(r"^name (\S+) at port", done.stdout, re.MULTILINE)


def test_the_launched_process_becomes_the_vm_and_stops_on_sigterm(
    root: Path, scratch: Path, public_path: Path, epmd_port: int
) -> None:
    release = inspect(root, scratch=scratch)
    with launched(release, clean_env(public_path, epmd_port), public_path) as vm:
        vm.wait_for(" 1.0.0 started greeting=hello")
        assert Path(os.readlink(f"/proc/{vm.process.pid}/exe")).name == "beam.smp"
        assert release.node
        assert registered(release, epmd_port) == [release.node.partition("@")[0]]
        assert vm.terminate() == 0
        assert any(line.endswith(" stopped") for line in vm.lines()), vm.lines()
    assert release.boot_version == "1.0.0"
    assert [version.version for version in versions(root)] == ["1.0.0"]


@pytest.mark.parametrize(
    ("name", "flavour"),
    [("rapp", Flavour.RELX), ("mapp", Flavour.MIX), ("papp", Flavour.PLAIN), ("dapp", Flavour.DISTILLERY)],
)
def test_each_flavour_is_told_by_its_files(name: str, flavour: Flavour, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(f"{name}_root")
    release = inspect(root)
    assert (release.flavour, release.name) == (flavour, "papp" if name == "dapp" else name)
    assert release == inspect(root, flavour, release.name)
    assert release.erts_version
    assert release.epmd == root / f"erts-{release.erts_version}" / "bin" / "epmd"


@as_root
def test_another_user_starts_a_tree_that_belongs_to_root(
    root: Path, scratch: Path, public_path: Path, epmd_port: int
) -> None:
    if (root / "var").is_dir():
        shutil.chown(root / "var", OTHER_USER)  # Distillery writes there, whoever starts it
    shutil.chown(scratch, OTHER_USER)
    release = inspect(root, scratch=scratch)
    with launched(release, clean_env(scratch, epmd_port), public_path, OTHER_USER) as vm:
        vm.wait_for("started greeting=hello")
        assert vm.terminate() == 0
    assert release.renders_src == (release.flavour is Flavour.RELX)
    rendered = {"sys.config", "vm.args"} if release.renders_src else set()
    assert rendered <= {path.name for path in scratch.iterdir()}


@as_root
def test_without_scratch_relx_cannot_render_as_another_user(rapp_root: Path, public_path: Path, epmd_port: int) -> None:
    release = inspect(rapp_root)
    assert release.env == {}
    with launched(release, clean_env(public_path, epmd_port), public_path, OTHER_USER) as vm:
        assert vm.process.wait(20) == 2
        assert "Permission denied" in vm.log.read_text()


def reboot_after_config(root: Path) -> None:
    """What `reboot_system_after_config: true` in mix.exs makes of sys.config."""
    path = root / "releases" / "1.0.0" / "sys.config"
    text = path.read_text()
    for key in ("RUNTIME_CONFIG=", "reboot_system_after_config => "):
        assert f"{key}false" in text
        text = text.replace(f"{key}false", f"{key}true")
    path.write_text(text)


@as_root
def test_mix_with_a_runtime_config_file_starts_as_another_user(
    mapp_root: Path, scratch: Path, public_path: Path, epmd_port: int
) -> None:
    reboot_after_config(mapp_root)
    shutil.chown(scratch, OTHER_USER)
    env = clean_env(scratch, epmd_port) | {"DEMO_GREETING": "salut"}
    with launched(inspect(mapp_root), env, public_path, OTHER_USER, "without") as vm:
        assert vm.process.wait(20) == 1
        assert "could not write" in vm.log.read_text()
    release = inspect(mapp_root, scratch=scratch)
    assert release.env == {"RELEASE_TMP": str(scratch)}
    with launched(release, env, public_path, OTHER_USER) as vm:
        vm.wait_for("started greeting=salut")
        assert [path.name for path in scratch.glob("mapp-1.0.0-*.runtime.config")]
        assert vm.terminate() == 0


def test_the_environment_names_the_node(root: Path, scratch: Path, public_path: Path, epmd_port: int) -> None:
    own = {"DEMO_NODE": "other@127.0.0.1"}
    release = inspect(root, scratch=scratch, env=own)
    scripted = release.flavour in (Flavour.RELX, Flavour.MIX)
    assert release.node == ("other@127.0.0.1" if scripted else "papp@127.0.0.1")
    with launched(release, clean_env(public_path, epmd_port) | own, public_path) as vm:
        vm.wait_for("started")
        assert registered(release, epmd_port) == ["other" if scripted else "papp"]
        assert vm.terminate() == 0


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("mapp", {"RELEASE_DISTRIBUTION": "none"}),
        ("rapp", {"ERL_DIST_PORT": "PORT"}),
        ("papp", {"ERL_AFLAGS": "-start_epmd false -erl_epmd_port PORT"}),
    ],
)
def test_a_release_that_needs_no_epmd_starts_none(
    name: str,
    own: dict[str, str],
    request: pytest.FixtureRequest,
    public_path: Path,
    epmd_port: int,
) -> None:
    root = request.getfixturevalue(f"{name}_root")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        own = {key: value.replace("PORT", str(unused.getsockname()[1])) for key, value in own.items()}
    release = inspect(root, env=own)
    assert not release.epmd_needed
    with launched(release, clean_env(public_path, epmd_port) | own, public_path) as vm:
        vm.wait_for("started")
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", epmd_port)) != 0
        assert vm.terminate() == 0


def test_crlf_in_vm_args_is_a_warning_for_the_vm_boots(
    rapp_root: Path, scratch: Path, public_path: Path, epmd_port: int
) -> None:
    source = rapp_root / "releases" / "1.0.0" / "vm.args.src"
    source.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    release = inspect(rapp_root, scratch=scratch)
    assert "CRLF" in release.warnings[0]
    assert release.node == "rapp@127.0.0.1"
    with launched(release, clean_env(public_path, epmd_port), public_path) as vm:
        vm.wait_for("started")
        wait_until(lambda: registered(release, epmd_port) == ["rapp"], what="rapp in epmd")
        assert vm.terminate() == 0


def test_a_version_that_the_environment_chooses_is_the_one_that_boots(
    mapp_root: Path, public_path: Path, epmd_port: int
) -> None:
    shutil.copytree(mapp_root / "releases" / "1.0.0", mapp_root / "releases" / "1.0.0-hotfix")
    own = {"RELEASE_VSN": "1.0.0-hotfix"}
    release = inspect(mapp_root, env=own)
    assert release.boot_version == "1.0.0-hotfix"
    with launched(release, clean_env(public_path, epmd_port) | own, public_path) as vm:
        vm.wait_for("started")
        argv = Path(f"/proc/{vm.process.pid}/cmdline").read_bytes().decode().split("\0")
        assert argv[argv.index("-boot") + 1].endswith("/releases/1.0.0-hotfix/start")
        assert vm.terminate() == 0
