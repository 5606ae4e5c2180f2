"""What can be started in a root by a restart, and what goes when a version is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from relctld.beam.package.arrival import Arrival, Place, judge_arrival, judge_present
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.removal import belongings, superfluous
from relctld.beam.package.tree import Tree, read_tree
from relctld.core.spec import Flavour
from tests.packages import MACHINE, Version, application, beam, contents, install, listing, pack, rel


class Bed:
    """A root, with or without 1.0.0 in it, and a version to bring there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "web"
        self.new = Version("1.1.0", since=None)

    def judge(
        self, tree: Tree | None = None, *, at_rest: bool = False, known: bool = False, name: str | None = None
    ) -> Arrival:
        packed = pack(self.folder / "web.tar.gz", self.new.files)
        before = listing(self.root)
        try:
            place = Place(self.root, tree, name, None, MACHINE)
            return judge_arrival(contents(packed), place, at_rest=at_rest, known=known)
        finally:
            assert listing(self.root) == before, "judging changes nothing"


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_into_nothing(bed: Bed, exists: bool) -> None:
    if exists:
        bed.root.mkdir()
    found = bed.judge()
    assert (found.name, found.version, found.flavour, found.before) == ("web", "1.1.0", Flavour.RELX, None)
    paths = {member.path for member in found.placement.new}
    assert "bin/web-1.1.0" in paths
    assert not paths & {"bin/web", "releases/start_erl.data", "releases/RELEASES"}, "these choose a version"
    assert found.placement.units[-1] == "releases"
    assert found.applications.added["web"] == "1.1.0"


def test_over_another_version_without_a_relup(bed: Bed) -> None:
    install(bed.root, Version("1.0.0", since=None))
    found = bed.judge(read_tree(bed.root))
    assert found.applications.changed == {"web": ("1.0.0", "1.1.0")}
    assert found.placement.units == ("bin/web-1.1.0", "lib/web-1.1.0", "releases/1.1.0")
    assert found.placement.replaced == ()


def test_a_cookie_comes_where_there_is_none(bed: Bed) -> None:
    bed.new.files["releases/COOKIE"] = b"secret"
    install(bed.root, Version("1.0.0", since=None))
    tree = read_tree(bed.root)
    assert "releases/COOKIE" in bed.judge(tree).placement.units
    (bed.root / "releases" / "COOKIE").write_text("an operator's")
    assert "releases/COOKIE" in bed.judge(tree).placement.skipped


def test_what_is_there_with_other_content(bed: Bed) -> None:
    install(bed.root, bed.new)
    tree = read_tree(bed.root)
    file = bed.root / bed.new.ebin / "web_srv.beam"
    assert bed.judge(tree).placement.new == ()
    file.write_bytes(beam("web_srv", b"built again"))
    for at_rest in (False, True):
        with pytest.raises(PackageError, match=r"web_srv\.beam is installed already with other content"):
            bed.judge(tree, at_rest=at_rest)
    found = bed.judge(tree, at_rest=True, known=True).placement
    assert found.replaced == (f"{bed.new.ebin}/web_srv.beam",)
    assert found.units == ()
    assert [member.path for member in found.new] == list(found.replaced)
    file.write_bytes(b"")
    assert bed.judge(tree, at_rest=True).placement.replaced == found.replaced
    file.unlink()
    missing = bed.judge(tree).placement
    assert (missing.units, missing.replaced) == ((f"{bed.new.ebin}/web_srv.beam",), ())


def test_what_operators_change_stays(bed: Bed) -> None:
    install(bed.root, bed.new)
    tree = read_tree(bed.root)
    for name in ("sys.config", "vm.args"):
        path = f"releases/1.1.0/{name}"
        bed.new.files.setdefault(path, b"[].\n")
        (bed.root / path).write_text("[{web, []}].\n")
        assert path in bed.judge(tree, at_rest=True, known=True).placement.skipped


def test_refusals(bed: Bed) -> None:
    with pytest.raises(PackageError, match="it holds release web, not other") as raised:
        bed.judge(name="other")
    assert raised.value.kind == Kind.OTHER_RELEASE
    del bed.new.files["releases/1.1.0/start.boot"]
    with pytest.raises(PackageError, match=r"start\.boot is missing"):
        bed.judge()


def test_a_version_that_is_there(bed: Bed) -> None:
    install(bed.root, Version("1.0.0", since=None), bed.new)
    tree = read_tree(bed.root)
    assert judge_present(tree, "1.1.0").placement.new == ()
    with pytest.raises(PackageError, match=r"'2\.0\.0' is not installed"):
        judge_present(tree, "2.0.0")


# -- removal ---------------------------------------------------------------------------------------


def test_what_belongs_to_a_version_alone(bed: Bed) -> None:
    bed.new.files["lib/extra-2/ebin/extra.app"] = application("extra", "2", [])
    bed.new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0", bed.new.applications | {"extra": "2"})
    install(bed.root, bed.new, Version("1.0.0", since=None))
    tree = read_tree(bed.root)
    assert tree.boot_version == "1.0.0"
    assert belongings(tree, "1.1.0", {"1.0.0"}) == (
        "bin/web-1.1.0", "lib/extra-2", "lib/web-1.1.0", "releases/1.1.0",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "running", "why"),
    [("1.1.0", "1.1.0", "1.1.0 runs"), ("1.0.0", "", "a boot would bring 1.0.0"), ("3", "", "'3' is not installed")],
)
def test_what_may_not_go(bed: Bed, version: str, running: str, why: str) -> None:
    install(bed.root, bed.new, Version("1.0.0", since=None))
    with pytest.raises(PackageError, match=why):
        belongings(read_tree(bed.root), version, {running})


def test_beside_a_version_of_which_nothing_is_known_no_library_goes(bed: Bed) -> None:
    install(bed.root, bed.new, Version("1.2.0", since=None), Version("1.0.0", since=None))
    (bed.root / "releases/1.2.0/web.rel").write_text("torn")
    tree = read_tree(bed.root)
    with pytest.raises(PackageError, match=r"nothing is known of 1\.2\.0"):
        belongings(tree, "1.1.0", ())
    assert belongings(tree, "1.2.0", ()) == ("bin/web-1.2.0", "releases/1.2.0")


def test_how_many_are_kept() -> None:
    versions = ("1", "2", "3", "4", "5")
    assert superfluous(versions, {"5", "4"}, 3) == ("1", "2")
    assert superfluous(versions, {"1", "5"}, 3) == ("2", "3")
    assert superfluous(versions, {"1", "2", "3", "4"}, 1) == ("5",)
    assert superfluous(versions[:3], {"3"}, 3) == ()
