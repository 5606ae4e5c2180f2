"""Two builds made byte by byte, as trees and as tarballs: what is written of them, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path

import pytest

from relctld import relup
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.relup import read_relup
from relctld.beam.relups.builds import opened
from relctld.beam.relups.relup import Made, Wishes, make
from tests.packages import Version, application, beam, consulted, info, install, listing, pack, rel

APPUP, RELUP = "lib/web-1.1.0/ebin/web.appup", "releases/1.1.0/relup"


def versions() -> tuple[Version, Version]:
    return Version("1.0.0", since=None), Version("1.1.0", since=None)


def made(old: Path, new: Path, wishes: Wishes | None = None) -> Made:
    with opened(old) as before, opened(new) as after:
        return make(before, after, wishes or Wishes())


def refused(old: Path, new: Path, kind: Kind, *words: str) -> None:
    with pytest.raises(PackageError) as raised:
        made(old, new)
    assert raised.value.kind is kind, raised.value
    assert all(word in str(raised.value) for word in words), raised.value


def asked(old: Path, new: Path, **more: object) -> dict[str, object]:
    """What `python -m relctld.relup` answers."""
    question = {"old": str(old), "new": str(new), "from": "", "to": "", "out": None, "dir": None}
    return relup.answer({**question, "as": {}, "restart": [], "force": False, "up_only": False, "plan": False, **more})


def test_trees_and_tarballs_are_the_same(tmp_path: Path) -> None:
    old, new = versions()
    trees = install(tmp_path / "old", old), install(tmp_path / "new", new)
    packed = pack(tmp_path / "old.tar.gz", old.files), pack(tmp_path / "new.tar.gz", new.files)
    found = [made(before, after).files for before in (trees[0], packed[0]) for after in (trees[1], packed[1])]
    assert list(found[0]) == [APPUP, RELUP]
    assert all(files == found[0] for files in found)
    way = read_relup(found[0][RELUP])
    assert (way.version, list(way.ups), list(way.downs)) == ("1.1.0", ["1.0.0"], ["1.0.0"])


def test_into_a_tree_once(tmp_path: Path) -> None:
    old, new = (install(tmp_path / version.version, version) for version in versions())
    before = listing(new)
    assert asked(old, new, plan=True)["written"] == []
    assert listing(new) == before
    assert asked(old, new)["written"] == [str(new / APPUP), str(new / RELUP)]
    after = listing(new)
    assert after.keys() - before.keys() == {APPUP, RELUP}
    assert (asked(old, new)["changed"], listing(new)) == (False, after)


def test_into_a_directory(tmp_path: Path) -> None:
    old, new = (install(tmp_path / version.version, version) for version in versions())
    before = listing(new)
    asked(old, new, dir=str(tmp_path / "out"))
    assert {path for path, held in listing(tmp_path / "out").items() if held != "directory"} == {APPUP, RELUP}
    assert listing(new) == before


def test_into_another_tarball(tmp_path: Path) -> None:
    """Each member stays as it was, byte for byte with its header; what is made is the same each time."""
    old, new = versions()
    long = f"lib/web-1.1.0/priv/{'long/' * 30}name"
    new.files[long] = b"x" * 700

    def also(archive: tarfile.TarFile) -> None:
        archive.addfile(info("lib/web-1.1.0/priv/link", tarfile.SYMTYPE, target="app"))

    before, after = install(tmp_path / "old", old), pack(tmp_path / "new.tar.gz", new.files, also)
    one, two = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    for out in (one, two):
        assert asked(before, after, out=str(out))["written"] == [str(out)]
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(after) as was, tarfile.open(one) as now:
        names = was.getnames()
        assert now.getnames() == [*names, APPUP, RELUP]
        end = was.getmembers()[-1].offset_data
    assert gzip.decompress(one.read_bytes())[:end] == gzip.decompress(after.read_bytes())[:end]
    with opened(one) as found:
        assert found.small(RELUP) == made(before, after).files[RELUP]

    digest = hashlib.sha256(one.read_bytes()).hexdigest()
    assert asked(before, one, out=str(one))["ok"]
    assert hashlib.sha256(one.read_bytes()).hexdigest() == digest, "ours is replaced, not added"


def test_what_somebody_wrote_is_not_replaced(tmp_path: Path) -> None:
    old, new = versions()
    new.files[RELUP] = consulted(([49], [], []))
    before, after = install(tmp_path / "old", old), install(tmp_path / "new", new)
    refused(before, after, Kind.BAD_RELUP, "releases/1.1.0/relup is there already")
    assert (after / RELUP).read_bytes() == new.files[RELUP]
    assert asked(before, after, force=True)["written"] == [str(after / APPUP), str(after / RELUP)]


def test_two_builds_that_do_not_go_together(tmp_path: Path) -> None:
    old, new = versions()
    other = Version("1.1.0", since=None, name="other")
    before, after = install(tmp_path / "old", old), install(tmp_path / "new", new)
    refused(before, before, Kind.SAME_VERSION, "both are version 1.0.0")
    refused(before, install(tmp_path / "other", other), Kind.OTHER_RELEASE, "holds release other")
    both = install(tmp_path / "both", old, new)
    refused(both, after, Kind.SAME_VERSION, "1.1.0")  # start_erl.data says that
    with opened(both, "1.0.0") as found:
        assert found.rel.version == "1.0.0"
    (both / "releases/start_erl.data").unlink()
    refused(both, after, Kind.NO_RELEASE, "several versions: 1.0.0, 1.1.0")
    refused(tmp_path / "none.tar.gz", after, Kind.DAMAGED, "no such file")
    refused(tmp_path, after, Kind.NO_RELEASE, "NAME.rel")


def test_what_was_built_again_with_the_same_version(tmp_path: Path) -> None:
    old, new = versions()
    new.files["lib/stdlib-4.2/ebin/stdlib.beam"] = beam("stdlib", b"other")
    before, after = install(tmp_path / "old", old), install(tmp_path / "new", new)
    refused(before, after, Kind.OTHER_CONTENT, "lib/stdlib-4.2/ebin/stdlib.beam differs", "stdlib 4.2")


def test_a_module_that_was_cut_short(tmp_path: Path) -> None:
    old, new = versions()
    new.files[f"{new.ebin}/web_srv.beam"] = beam("web_srv", b"other")[:-9]
    before, after = install(tmp_path / "old", old), pack(tmp_path / "new.tar.gz", new.files)
    refused(before, after, Kind.BAD_BEAM, "lib/web-1.1.0/ebin/web_srv.beam", "new.tar.gz", "no whole module")


def test_an_application_that_is_not_what_it_says(tmp_path: Path) -> None:
    old, new = versions()
    before, app = install(tmp_path / "old", old), f"{new.ebin}/web.app"
    new.files[app] = application("web", "1.0.0", ["web_app", "web_srv"])
    refused(before, pack(tmp_path / "a.tar.gz", new.files), Kind.INCOMPLETE, f"{app} in", "is of version '1.0.0'")
    new.files[app] = application("web", "1.1.0", ["web_app", "web_srv", "web_lost"])
    refused(before, pack(tmp_path / "b.tar.gz", new.files), Kind.INCOMPLETE, f"{new.ebin}/web_lost.beam is missing")


def test_no_sasl(tmp_path: Path) -> None:
    old, new = versions()
    new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0", {"kernel": "8.5.3", "stdlib": "4.2", "web": "1.1.0"})
    refused(install(tmp_path / "old", old), install(tmp_path / "new", new), Kind.NO_WAY, "without sasl")


@pytest.mark.parametrize("what", ["erts", "kernel"])
def test_another_emulator_restarts_it(tmp_path: Path, what: str) -> None:
    old, new = versions()
    apps = new.applications | ({"kernel": "9.0"} if what == "kernel" else {})
    new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0", apps, "14.0" if what == "erts" else "13.1.5")
    new.files["lib/kernel-9.0/ebin/kernel.app"] = application("kernel", "9.0", ["kernel"])
    new.files["lib/kernel-9.0/ebin/kernel.beam"] = beam("kernel", b"other")
    found = made(install(tmp_path / "old", old), install(tmp_path / "new", new))
    assert found.up.instructions[0] == "restart_new_emulator"
    assert found.down
    assert found.down.instructions[-1] == "restart_emulator"
    assert list(found.files) == [APPUP, RELUP]


def test_applications_that_come_and_go(tmp_path: Path) -> None:
    old, new = versions()
    for version, name in ((old, "gone"), (new, "come")):
        version.applications[name] = "1.0"
        version.files[f"releases/{version.version}/web.rel"] = rel("web", version.version, version.applications)
        version.files[f"lib/{name}-1.0/ebin/{name}.app"] = application(name, "1.0", [name])
        version.files[f"lib/{name}-1.0/ebin/{name}.beam"] = beam(name)
    words = asked(install(tmp_path / "old", old), install(tmp_path / "new", new), plan=True)
    there, back = words["instructions"], words["back"]
    assert isinstance(there, list)
    assert isinstance(back, list)
    assert "call application:start(come,permanent)" in there
    assert there[-1] == "call application:unload(gone)"
    assert "call application:start(gone,permanent)" in back
    assert back[-1] == "call application:unload(come)"


def test_an_elixir_module_by_its_own_name(tmp_path: Path) -> None:
    old, new = versions()
    for version, code in ((old, b"old"), (new, b"new")):
        version.files[f"{version.ebin}/Elixir.Web.beam"] = beam("Elixir.Web", code, nif=True)
        version.files[f"{version.ebin}/web.app"] = application(
            "web", version.version, ["web_app", "web_srv", "Elixir.Web"]
        )
    before, after = install(tmp_path / "old", old), install(tmp_path / "new", new)
    assert asked(before, after)["ok"] is False
    assert asked(before, after, **{"as": {"Web": "load"}})["ok"] is True


def test_a_module_that_moved(tmp_path: Path) -> None:
    old, new = versions()
    new.applications["lib"] = "1.0"
    new.files["releases/1.1.0/web.rel"] = rel("web", "1.1.0", new.applications)
    new.files["lib/lib-1.0/ebin/lib.app"] = application("lib", "1.0", ["web_srv"])
    new.files["lib/lib-1.0/ebin/web_srv.beam"] = new.files.pop(f"{new.ebin}/web_srv.beam")
    new.files[f"{new.ebin}/web.app"] = application("web", "1.1.0", ["web_app"])
    found = asked(install(tmp_path / "old", old), install(tmp_path / "new", new))
    assert found["doubts"] == [
        {"application": "lib", "module": "web_srv", "why": "it was a module of web: no appup can say that it moved"}
    ]


def test_a_native_library_that_changed_beneath_its_module(tmp_path: Path) -> None:
    old, new = versions()
    for version, data in ((old, b"old"), (new, b"new")):
        version.files[f"{version.ebin}/web_srv.beam"] = beam("web_srv", nif=True)
        version.files[f"lib/web-{version.version}/priv/web.so"] = data
    with pytest.raises(PackageError, match="web_srv of web: it runs native code"):
        made(install(tmp_path / "old", old), install(tmp_path / "new", new))
