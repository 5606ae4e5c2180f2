"""Real builds of two versions, as tarballs: judged, unpacked beside the first one, and booted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from relctld.beam.package.judge import judge, judge_installed
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.tree import read_tree
from relctld.core.spec import Flavour
from relctld.host.unpack import extract, move_in, undo
from tests import otps
from tests.packages import MACHINE, contents, listing
from tests.releases import build

pytestmark = [pytest.mark.beam, pytest.mark.slow]

RELUP = '{{"1.1.0",[{{"1.0.0",[],[{{load_object_code,{{{0},"1.1.0",[{1}]}}}},point_of_no_return]}}],[]}}.\n'
SERVER = {"rapp": "rapp_srv", "mapp": "'Elixir.Mapp.Server'"}
STAGING = ".relctl-staging"


class Upgrade:
    """An installed 1.0.0, and a tarball of 1.1.0."""

    def __init__(self, name: str, root: Path, folder: Path) -> None:
        self.name, self.root = name, root
        self.next = build.place(build.build(name, "1.1.0"), folder / "next")
        (self.next / "releases/1.1.0/relup").write_text(RELUP.format(name, SERVER[name]))
        self.packed = folder / "next.tar.gz"

    def pack(self) -> None:
        """As GNU tar does it, with the directories, and each name behind `./`."""
        subprocess.run(["tar", "-czf", self.packed, "-C", self.next, "."], check=True)


@pytest.fixture(params=SERVER)
def upgrade(request: pytest.FixtureRequest, public_path: Path) -> Upgrade:
    root: Path = request.getfixturevalue(f"{request.param}_root")
    return Upgrade(request.param, root, public_path)


def test_judged_and_unpacked(upgrade: Upgrade) -> None:
    upgrade.pack()
    before = listing(upgrade.root)
    installed = read_tree(upgrade.root)
    assert installed.boot_version == "1.0.0"
    found = judge(contents(upgrade.packed), installed, "1.0.0", upgrade.name, installed.flavour, MACHINE)
    assert found.applications.changed == {upgrade.name: ("1.0.0", "1.1.0")}
    assert {"releases/1.1.0", f"lib/{upgrade.name}-1.1.0"} <= set(found.placement.units)
    assert all(path.startswith(("bin/", "releases/")) for path in found.placement.skipped), (
        "what both have is the same, whole ERTS"
    )
    extract(upgrade.packed, upgrade.root, STAGING, found.placement.new)
    move_in(upgrade.root, STAGING, found.placement.units)
    after = listing(upgrade.root)
    assert before.items() <= after.items()
    new = {path: held for path, held in listing(upgrade.next).items() if path not in found.placement.skipped}
    assert new.items() <= after.items()
    assert judge_installed(read_tree(upgrade.root), "1.0.0", "1.1.0").script == found.script
    assert application_version(upgrade, "1.1.0") == "1.1.0"
    undo(upgrade.root, STAGING, found.placement.units)
    assert listing(upgrade.root) == before


def application_version(upgrade: Upgrade, version: str) -> str:
    """What a VM that boots this version's script says of its application, without starting it."""
    boot = upgrade.root / f"releases/{version}/start_clean"
    libraries = upgrade.root / "lib"
    name = upgrade.name
    code = f"ok = application:load({name}), {{ok, V}} = application:get_key({name}, vsn), io:put_chars(V), halt(0)."
    flags = ["-boot", boot, "-boot_var", "RELEASE_LIB", libraries, "-pa", libraries / f"{name}-{version}/ebin"]
    return run(upgrade.root, *flags, "-eval", code)


def run(root: Path, *flags: str | Path) -> str:
    """What a VM of this tree's own writes."""
    erl = root / "erts-13.1.5/bin/erlexec"
    env = otps.environment(ROOTDIR=str(root), BINDIR=str(erl.parent), EMU="beam", PROGNAME="erl")
    command = [erl, "-noinput", *flags]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_build_whose_file_was_cut_short(upgrade: Upgrade) -> None:
    """A disk that was full while it was built, or unpacked by somebody else."""
    (upgrade.next / f"lib/{upgrade.name}-1.1.0/ebin/{SERVER[upgrade.name].strip(chr(39))}.beam").write_bytes(b"")
    upgrade.pack()
    installed = read_tree(upgrade.root)
    with pytest.raises(PackageError) as raised:
        judge(contents(upgrade.packed), installed, "1.0.0", upgrade.name, installed.flavour, MACHINE)
    assert raised.value.kind is Kind.BAD_BEAM


def test_the_other_tools_build(upgrade: Upgrade) -> None:
    upgrade.pack()
    installed = read_tree(upgrade.root)
    other = Flavour.MIX if installed.flavour is Flavour.RELX else Flavour.RELX
    with pytest.raises(PackageError, match=f"it is no {other} release") as raised:
        judge(contents(upgrade.packed), installed, "1.0.0", upgrade.name, other, MACHINE)
    assert raised.value.kind is Kind.OTHER_FLAVOUR
