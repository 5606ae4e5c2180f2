"""relup: what is asked of two builds, what is shown, and where it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relctld.beam.package.instructions import in_words
from relctld.beam.term.terms import Atom
from tests.packages import Version, beam, install, pack, rel
from tests.unit.relctl.conftest import Relctl

APPUP, RELUP = "lib/web-1.1.0/ebin/web.appup", "releases/1.1.0/relup"
PURGE = Atom("brutal_purge")
LOADS = "\n".join(f"    {in_words((Atom('load'), (Atom(name), PURGE, PURGE)))}" for name in ("web_app", "web_srv"))
SHOWN = f"""\
web: 1.0.0 to 1.1.0
  applications  web 1.0.0 to 1.1.0
  modules       2 changed
  appups        made: web
  instructions
    read the new code of web 1.1.0: web_app, web_srv
    {in_words(Atom("point_of_no_return"))}
{LOADS}
  way back
    read the new code of web 1.0.0: web_app, web_srv
    {in_words(Atom("point_of_no_return"))}
{LOADS}
"""
DOUBT = "web_srv of web: it runs native code when it is loaded (on_load or erlang:load_nif)"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return install(tmp_path / "old", Version("1.0.0", since=None))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return install(tmp_path / "new", Version("1.1.0", since=None))


def test_into_the_tree_and_nothing_twice(relctl: Relctl, old: Path, new: Path) -> None:
    assert relctl("relup", str(old), str(new), "--plan") == (0, SHOWN, "")
    assert not (new / RELUP).exists()
    done = relctl("relup", "old", "new", cwd=old.parent)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{SHOWN}wrote {new / APPUP}\nwrote {new / RELUP}\n"
    assert relctl("relup", str(old), str(new)).out == f"{SHOWN}written already\n"


def test_as_json(relctl: Relctl, old: Path, new: Path) -> None:
    done = relctl("--json", "relup", str(old), str(new))
    said = json.loads(done.out)
    wanted = {"ok": True, "op": "relup", "release": "web", "from": "1.0.0", "to": "1.1.0", "changed": True}
    assert wanted.items() <= said.items()
    assert said["written"] == [str(new / APPUP), str(new / RELUP)]


def test_into_a_tarball(relctl: Relctl, old: Path, tmp_path: Path) -> None:
    packed, out = pack(tmp_path / "web.tar.gz", Version("1.1.0", since=None).files), tmp_path / "out.tar.gz"
    nowhere = relctl("relup", str(old), str(packed))
    assert nowhere.code == 2
    assert nowhere.err.endswith("is a tarball: say where to write\nrelctl: hint: -o web.tar.gz\n")
    assert relctl("relup", str(old), str(packed), "-o", str(out)).out == f"{SHOWN}wrote {out}\n"
    unwritable = relctl("relup", str(old), str(packed), "-o", str(tmp_path / "none" / "out.tar.gz"))
    assert (unwritable.code, unwritable.out) == (1, "")
    assert "no such file or directory" in unwritable.err


def test_what_is_not_decided(relctl: Relctl, old: Path, tmp_path: Path) -> None:
    version = Version("1.1.0", since=None)
    version.files[f"{version.ebin}/web_srv.beam"] = beam("web_srv", b"other", nif=True)
    new = install(tmp_path / "native", version)
    refused = relctl("relup", str(old), str(new))
    hint = "write an appup for web, say --as web_srv=INSTRUCTION, or --restart web"
    assert refused == (5, "", f"relctl: cannot relup: {DOUBT}\nrelctl: hint: {hint}\n")
    said = json.loads(relctl("relup", str(old), str(new), "--json").out)
    assert (said["ok"], said["error"]["kind"], len(said["doubts"])) == (False, "impossible", 1)
    assert not (new / RELUP).exists()
    assert relctl("relup", str(old), str(new), "--as", "web_srv=load").code == 0
    restarted = relctl("relup", str(old), str(new), "--restart", "web", "--plan")
    assert "call application:stop(web)" in restarted.out


def test_several_versions_in_a_tree(relctl: Relctl, old: Path) -> None:
    both = install(old, Version("1.1.0", since=None))
    assert relctl("relup", str(both), str(both)).code == 5
    assert relctl("relup", str(both), str(both), "--from", "1.0.0", "--to", "1.1.0").code == 0


def test_no_release(relctl: Relctl, old: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_text("nothing")
    refused = relctl("relup", str(old), str(tmp_path / "a.tar.gz"), "--plan")
    assert (refused.code, "not compressed with gzip" in refused.err) == (5, True)
    (old / "releases/1.0.0/web.rel").write_bytes(rel("web", "1.0.0", {"web": "1.0.0"}) + b"{")
    assert relctl("relup", str(old), str(old)).code == 5
