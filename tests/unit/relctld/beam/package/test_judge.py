"""What a tarball must be for the running version to become it, each "no" by itself; and the plan of a "yes"."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from relctld.beam.package.judge import Package, judge, judge_installed
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.relup import in_words
from relctld.beam.package.tree import read_tree
from relctld.beam.term.etf import encode
from relctld.core.spec import Flavour
from tests.packages import (
    ERTS,
    MACHINE,
    Version,
    application,
    atoms,
    beam,
    boot,
    contents,
    elf,
    info,
    install,
    listing,
    pack,
    rel,
    text,
)

OLD = Version("1.0.0", since=None)


class Bed:
    """A root with 1.0.0, and a 1.1.0 to judge."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = install(folder / "web", Version("1.0.0", since=None))
        self.new = Version("1.1.0")
        self.running = "1.0.0"

    def judge(self, machine: str = MACHINE, also: Callable[[tarfile.TarFile], None] = lambda _: None) -> Package:
        packed = pack(self.folder / "web.tar.gz", self.new.files, also)
        tree = read_tree(self.root)
        before = listing(self.root)
        try:
            return judge(contents(packed), tree, self.running, tree.name, tree.flavour, machine)
        finally:
            assert listing(self.root) == before, "judging changes nothing"

    def refused(self, kind: Kind, why: str, machine: str = MACHINE) -> None:
        with pytest.raises(PackageError, match=why) as raised:
            self.judge(machine)
        assert raised.value.kind == kind

    def applications(self, **versions: str) -> None:
        """The .rel lists these too, or in other versions."""
        self.new.applications |= versions
        self.new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0", self.new.applications)
        self.new.files["releases/1.1.0/start.boot"] = boot("web", "1.1.0", self.new.applications)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_the_plan(bed: Bed) -> None:
    found = bed.judge()
    assert (found.name, found.version, found.erts) == ("web", "1.1.0", ERTS)
    assert found.applications.changed == {"web": ("1.0.0", "1.1.0")}
    assert not found.applications.added
    assert not found.applications.removed
    assert found.modules.changed == ("web_app", "web_srv")
    assert found.modules.forgotten == found.modules.native == found.modules.added == ()
    assert in_words(found.script.instructions[0]) == "read the new code of web 1.1.0: web_app, web_srv"
    assert found.back
    assert found.back.to == "1.0.0"
    placed = found.placement
    assert placed.units == ("bin/web-1.1.0", "lib/web-1.1.0", "releases/1.1.0")
    assert {member.path for member in placed.new} == {
        path for path in bed.new.files if any(path == unit or path.startswith(f"{unit}/") for unit in placed.units)
    }
    assert set(placed.skipped) == {"bin/web", "releases/start_erl.data"}
    assert "lib/kernel-8.5.3/ebin/kernel.beam" in placed.existing
    assert placed.space > sum(member.size for member in placed.new)


def test_applications_that_come_and_go(bed: Bed) -> None:
    bed.new.files["lib/extra-2/ebin/extra.app"] = application("extra", "2", ["extra"])
    bed.new.files["lib/extra-2/ebin/extra.beam"] = beam("extra", nif=True)
    bed.applications(extra="2")
    found = bed.judge()
    assert found.applications.added == {"extra": "2"}
    assert found.modules.added == found.modules.native == ("extra",)
    install(bed.root, bed.new)
    back = judge_installed(read_tree(bed.root), "1.1.0", "1.0.0")
    assert back.applications.removed == {"extra": "2"}
    assert back.modules.removed == back.modules.forgotten == ("extra",)


def test_modules_that_the_relup_forgets(bed: Bed) -> None:
    bed.new.files[f"{bed.new.ebin}/web_other.beam"] = beam("web_other", b"new")
    (bed.root / "lib/web-1.0.0/ebin/web_other.beam").write_bytes(beam("web_other", b"old"))
    (bed.root / "lib/web-1.0.0/ebin/web_gone.beam").write_bytes(beam("web_gone"))
    found = bed.judge().modules
    assert (found.changed, found.removed) == (("web_app", "web_other", "web_srv"), ("web_gone",))
    assert found.forgotten == ("web_gone", "web_other")


def test_a_version_that_is_installed(bed: Bed) -> None:
    install(bed.root, bed.new)
    tree = read_tree(bed.root)
    found = judge_installed(tree, "1.0.0", "1.1.0")
    assert found.placement.new == ()
    assert found.script.to == "1.1.0"
    down = judge_installed(tree, "1.1.0", "1.0.0")
    assert (down.script.to, down.relup) == ("1.0.0", None)
    assert down.back
    assert down.back.to == "1.1.0"
    for running, version, kind in (("1.1.0", "1.1.0", Kind.SAME_VERSION), ("1.1.0", "7", Kind.UNKNOWN_VERSION)):
        with pytest.raises(PackageError) as raised:
            judge_installed(tree, running, version)
        assert raised.value.kind is kind


def test_a_running_version_that_has_no_way_down(bed: Bed) -> None:
    bed.new.relup(bed.new.script("1.0.0"))
    tree = read_tree(install(bed.root, bed.new))
    assert judge_installed(tree, "1.0.0", "1.1.0").back is None
    why = "the relup of 1.1.0, which runs, has a way up from 1.0.0, but none down to it"
    with pytest.raises(PackageError, match=why) as raised:
        judge_installed(tree, "1.1.0", "1.0.0")
    assert raised.value.kind is Kind.NO_WAY
    assert "restart" in raised.value.hint
    assert "make one" not in raised.value.hint


def test_a_running_version_whose_rel_release_handler_deleted(bed: Bed) -> None:
    (bed.root / "releases/1.0.0/web.rel").unlink()
    bed.refused(Kind.UNKNOWN_VERSION, "nothing is known of the installed version 1.0.0: .* has no web.rel")
    libraries = b",".join(
        b'{%b,"%b","lib/x"}' % (name.encode(), vsn.encode()) for name, vsn in OLD.applications.items()
    )
    entry = b'[{release,"web","1.0.0","%b",[%b],permanent}].' % (ERTS.encode(), libraries)
    (bed.root / "releases/RELEASES").write_bytes(entry)
    assert bed.judge().applications.changed == {"web": ("1.0.0", "1.1.0")}


def test_the_second_try_after_half_an_unpacking(bed: Bed) -> None:
    """What another hand left behind is completed, if it is the same; else refused."""
    whole = bed.judge().placement
    (bed.root / "lib/web-1.1.0/ebin").mkdir(parents=True)
    (bed.root / f"{bed.new.ebin}/web_srv.beam").write_bytes(bed.new.files[f"{bed.new.ebin}/web_srv.beam"])
    half = bed.judge().placement
    assert len(half.new) == len(whole.new) - 1
    assert f"{bed.new.ebin}/web_app.beam" in half.units
    (bed.root / f"{bed.new.ebin}/web_srv.beam").write_bytes(b"")
    bed.refused(Kind.OTHER_CONTENT, r"web_srv.beam is installed already with other content")


def test_what_rides_along_is_left_out(bed: Bed) -> None:
    for path in ("releases/COOKIE", "releases/RELEASES", "releases/web.rel", "releases/0.9.0/sys.config"):
        bed.new.files[path] = b"new"
    (bed.root / "releases/COOKIE").write_bytes(b"old")
    skipped = bed.judge().placement.skipped
    assert {"releases/COOKIE", "releases/RELEASES", "releases/web.rel", "releases/0.9.0/sys.config"} <= set(skipped)


# -- no --------------------------------------------------------------------------------------------


def test_the_same_version(bed: Bed) -> None:
    bed.running = "1.1.0"
    bed.refused(Kind.SAME_VERSION, "1.1.0 runs already")


def test_no_release_in_it(bed: Bed) -> None:
    bed.new.files = {f"web/{path}": data for path, data in bed.new.files.items()}
    bed.refused(Kind.NO_RELEASE, "no releases/VERSION/NAME.rel, but web")
    bed.new.files = {}
    bed.refused(Kind.NO_RELEASE, "but nothing")


def test_several_versions_in_it(bed: Bed) -> None:
    bed.new.files["releases/0.9.0/web.rel"] = rel("web", "0.9.0", {"kernel": "1"})
    assert bed.judge().version == "1.1.0", "that which it would boot"
    del bed.new.files["releases/start_erl.data"]
    bed.refused(Kind.NO_RELEASE, "several versions: 1.1.0, 0.9.0")


def test_another_release(bed: Bed) -> None:
    bed.new = Version("1.1.0", name="shop")
    bed.refused(Kind.OTHER_RELEASE, "it holds release shop, not web")


def test_a_rel_of_another_version(bed: Bed) -> None:
    bed.new.files["releases/1.1.0/web.rel"] = rel("web", "1.2.0", bed.new.applications)
    bed.refused(Kind.DAMAGED, "releases/1.1.0/web.rel is of version 1.2.0")


def test_another_flavour(bed: Bed) -> None:
    del bed.new.files["bin/web-1.1.0"]
    bed.refused(Kind.OTHER_FLAVOUR, "no relx release of web: bin/web-1.1.0 is missing")
    bed.new.files["releases/1.1.0/env.sh"] = b""
    bed.refused(Kind.OTHER_FLAVOUR, "it is a mix release")


def test_another_machine(bed: Bed) -> None:
    bed.refused(Kind.WRONG_MACHINE, "erlexec is for x86_64, this host is aarch64", machine="aarch64")
    bed.judge(machine="unheard-of")
    bed.new.files[f"lib/web-1.1.0/priv/{MACHINE}.so"] = elf()
    bed.new.files["lib/web-1.1.0/priv/arm.so"] = elf(183)
    bed.judge()
    del bed.new.files[f"lib/web-1.1.0/priv/{MACHINE}.so"]
    bed.refused(Kind.WRONG_MACHINE, "priv/arm.so is for aarch64")


def test_another_erts(bed: Bed) -> None:
    bed.new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0", bed.new.applications, erts="14.0")
    bed.new.files["erts-14.0/bin/erlexec"] = elf()
    bed.refused(Kind.OTHER_ERTS, "needs ERTS 14.0, 1.0.0 runs on 13.1.5")
    up = (text("1.0.0"), [], [*atoms("restart_new_emulator"), *bed.new.instructions("1.1.0")])
    bed.new.relup(up)
    assert bed.judge().erts == "14.0"
    del bed.new.files["erts-14.0/bin/erlexec"]
    bed.refused(Kind.INCOMPLETE, "erts-14.0/bin/erlexec is missing")


def test_a_plain_release_has_what_systools_packs_only_if_told(tmp_path: Path) -> None:
    """Without vm.args it would boot under another name; without sys.config release_handler installs none."""
    bed = Bed(tmp_path)
    for path in ("bin/web", "bin/web-1.0.0"):
        (bed.root / path).unlink()
    del bed.new.files["bin/web-1.1.0"], bed.new.files["bin/web"]
    (bed.root / "releases/1.0.0/vm.args").touch()
    bed.refused(Kind.INCOMPLETE, r"releases/1.1.0/vm.args is missing, and 1.0.0 has one")
    (bed.root / "releases/1.1.0").mkdir()
    (bed.root / "releases/1.1.0/vm.args").touch()
    bed.new.files.pop("releases/1.1.0/sys.config", None)
    bed.refused(Kind.INCOMPLETE, r"releases/1.1.0/sys.config is missing")
    (bed.root / "releases/1.1.0/sys.config").touch()
    bed.judge()


@pytest.mark.parametrize(
    "path", ["lib/kernel-8.5.3/ebin/kernel.beam", "lib/web-1.1.0/ebin/web_srv.beam", "releases/1.1.0/sys.config"]
)
def test_other_content(bed: Bed, path: str) -> None:
    (bed.root / path).parent.mkdir(parents=True, exist_ok=True)
    (bed.root / path).write_bytes(bytes(len(bed.new.files[path])))
    bed.refused(Kind.OTHER_CONTENT, f"{path} is installed already with other content")


def test_a_link_where_a_directory_must_be(bed: Bed) -> None:
    (bed.root / "lib").rename(bed.folder / "lib")
    (bed.root / "lib").symlink_to(bed.folder / "lib")
    bed.refused(Kind.OTHER_CONTENT, "lib is installed as a link")


def test_links_are_compared_too(bed: Bed) -> None:
    link = info("lib/web-1.1.0/priv", tarfile.SYMTYPE, target="../web-1.0.0/priv")
    assert "lib/web-1.1.0" in bed.judge(also=lambda archive: archive.addfile(link)).placement.units
    (bed.root / "lib/web-1.1.0").mkdir()
    (bed.root / "lib/web-1.1.0/priv").symlink_to("../web-1.0.0/priv")
    found = bed.judge(also=lambda archive: archive.addfile(link))
    assert "lib/web-1.1.0/priv" in found.placement.existing
    (bed.root / "lib/web-1.1.0/priv").unlink()
    (bed.root / "lib/web-1.1.0/priv").symlink_to("/etc")
    with pytest.raises(PackageError, match="other content"):
        bed.judge(also=lambda archive: archive.addfile(link))


def test_no_relup(bed: Bed) -> None:
    del bed.new.files["releases/1.1.0/relup"]
    bed.refused(Kind.NO_RELUP, "it has no relup, so nothing leads to it from 1.0.0")


def test_a_relup_from_other_versions(bed: Bed) -> None:
    bed.new.relup(bed.new.script("0.8.0"), bed.new.script("0.9.0"))
    bed.refused(Kind.NO_WAY, "its relup leads from 0.8.0, 0.9.0, not from 1.0.0, which runs")
    bed.new.relup()
    bed.refused(Kind.NO_WAY, "leads from no version")


def test_a_relup_that_is_none(bed: Bed) -> None:
    bed.new.files["releases/1.1.0/relup"] = b"oops"
    bed.refused(Kind.DAMAGED, "the relup is damaged: cannot read line 1")
    bed.new.files["releases/1.1.0/relup"] = b'{"1.2.0",[],[]}.'
    bed.refused(Kind.BAD_RELUP, "relup is of version 1.2.0")


def test_a_relup_that_would_fail_in_the_node(bed: Bed) -> None:
    bed.new.relup(bed.new.script("1.0.0", reads="1.0.0"))
    bed.refused(Kind.BAD_RELUP, "cannot be carried out: it reads web 1.0.0 from files")
    bed.new.relup((text("1.0.0"), [], [(atoms("update")[0], atoms("web")[0])]))
    bed.refused(Kind.BAD_RELUP, "unknown to release_handler: {update,web}")


def test_a_beam_that_the_relup_loads(bed: Bed) -> None:
    path = f"{bed.new.ebin}/web_srv.beam"
    whole = bed.new.files.pop(path)
    bed.refused(Kind.INCOMPLETE, f"{path} is missing")
    bed.new.files[f"{bed.new.ebin}/web.app"] = application("web", "1.1.0", ["web_app"])
    bed.refused(Kind.BAD_BEAM, f"its relup loads {path}, which is missing")
    for data in (b"", whole[:-4], b"\0" + whole[1:]):
        bed.new.files[path] = data
        bed.refused(Kind.BAD_BEAM, f"{path} cannot be loaded")
    bed.new.files[path] = beam("web_other")
    bed.refused(Kind.BAD_BEAM, f"{path} cannot be loaded: it is the module web_other")


@pytest.mark.parametrize("path", ["releases/1.1.0/start.boot", "lib/web-1.1.0/ebin/web.app"])
def test_what_a_boot_needs(bed: Bed, path: str) -> None:
    del bed.new.files[path]
    bed.refused(Kind.INCOMPLETE, f"{path} is missing")


def test_a_boot_script_that_would_not_boot_it(bed: Bed) -> None:
    path = "releases/1.1.0/start.boot"
    for torn in (b"", bed.new.files[path][:-9], encode([])):
        bed.new.files[path] = torn
        bed.refused(Kind.DAMAGED, f"{path} is damaged")
    bed.new.files[path] = boot("web", "1.0.0", bed.new.applications)
    bed.refused(Kind.INCOMPLETE, f"{path} is of version '1.0.0'")
    bed.new.files[path] = boot("web", "1.1.0", bed.new.applications | {"web": "1.0.0"})
    bed.refused(Kind.INCOMPLETE, f"{path} boots 'web' '1.0.0', not 1.1.0")
    bed.new.files[path] = boot("web", "1.1.0", bed.new.applications | {"more": "1"})
    bed.refused(Kind.INCOMPLETE, f"{path} boots 'more' '1', which its .rel has not")


def test_an_application_that_is_not_in_it(bed: Bed) -> None:
    bed.applications(extra="2")
    bed.refused(Kind.INCOMPLETE, "lib/extra-2/ebin/extra.app is missing")


def test_an_app_that_says_something_else(bed: Bed) -> None:
    bed.new.files[f"{bed.new.ebin}/web.app"] = application("web", "1.0.9", [])
    bed.refused(Kind.INCOMPLETE, "web.app is of version '1.0.9'")
    bed.new.files[f"{bed.new.ebin}/web.app"] = b"{}."
    bed.refused(Kind.DAMAGED, "web.app is damaged")


def test_a_version_that_is_no_name(bed: Bed) -> None:
    bed.new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0;reboot", bed.new.applications)
    bed.refused(Kind.BAD_VERSION, "the version is '1.1.0;reboot'")


def test_a_node_without_release_handler(bed: Bed) -> None:
    listed = {name: vsn for name, vsn in OLD.applications.items() if name != "sasl"}
    (bed.root / "releases/1.0.0/web.rel").write_bytes(rel("web", "1.0.0", listed))
    bed.refused(Kind.NO_WAY, "1.0.0 runs without sasl")


def test_the_tree(bed: Bed) -> None:
    install(bed.root, Version("1.1.0"))
    (bed.root / "releases/RELEASES").write_bytes(b"")
    (bed.root / "releases/0.9.0").mkdir()
    (bed.root / "releases/0.9.0/web.rel").write_bytes(b"torn")
    tree = read_tree(bed.root)
    assert (tree.flavour, tree.name, tree.boot_version, tree.start_erl) == (
        Flavour.RELX,
        "web",
        "1.1.0",
        (ERTS, "1.1.0"),
    )
    assert list(tree.rels) == ["1.0.0", "1.1.0"]
    assert "the .rel is damaged" in tree.damaged["0.9.0"]
    assert tree.releases is None
    assert "RELEASES is damaged" in tree.releases_fault
    (bed.root / "releases/RELEASES").unlink()
    assert (read_tree(bed.root).releases, read_tree(bed.root).releases_fault) == (None, "")
