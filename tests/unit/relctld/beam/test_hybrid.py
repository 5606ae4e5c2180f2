"""What a new emulator boots first, and what release_handler finds beside it."""

from __future__ import annotations

from pathlib import Path

from relctld.beam import hybrid
from relctld.beam.package.releases import read_releases
from relctld.beam.package.relfile import Rel
from relctld.beam.package.relup import Script, read_relup
from relctld.beam.term.terms import Atom
from relctld.core.spec import Flavour

OLD = Rel("web", "1.0.0", "13.1.5", {"kernel": "8.5", "web": "1.0.0", "stdlib": "4.2", "sasl": "4.2", "gone": "1"})
NEW = Rel("web", "1.1.0", "16.4", {"kernel": "10.6", "stdlib": "7.3", "sasl": "4.3", "web": "1.1.0", "added": "1"})
NAME = "__new_emulator__1.0.0"
FOLDER = Path("/run/web/candidate/releases")


def test_the_hybrid_has_the_old_applications_on_the_new_base() -> None:
    found = hybrid.hybrid_rel(OLD, NEW)
    assert (found.version, found.erts) == (NAME, "16.4")
    assert found.applications == {"kernel": "10.6", "stdlib": "7.3", "sasl": "4.3", "web": "1.0.0", "gone": "1"}
    assert (hybrid.shown(NAME), hybrid.shown("1.1.0")) == ("1.0.0", "1.1.0")


def test_releases_name_the_candidate_that_is_booted() -> None:
    for candidate, wanted in (
        (NAME, {"1.0.0": "old", "1.1.0": "unpacked", NAME: "permanent"}),
        ("1.1.0", {"1.0.0": "old", "1.1.0": "permanent"}),
        ("", {"1.0.0": "permanent", "1.1.0": "unpacked"}),
    ):
        found = read_releases(hybrid.releases(Path("/srv/web"), OLD, NEW, candidate))
        assert {entry.version: entry.status for entry in found} == wanted
        libraries = {entry.version: dict(map(_named, entry.libraries)) for entry in found}
        assert libraries["1.0.0"]["kernel"] == "/srv/web/lib/kernel-8.5"
        assert candidate != NAME or libraries[NAME]["kernel"] == "/srv/web/lib/kernel-10.6"


def _named(library: tuple[str, str, str]) -> tuple[str, str]:
    return library[0], library[2]


def test_the_relup_is_one_way_and_ends_before_its_restart() -> None:
    script = Script("1.1.0", "", (Atom("restart_new_emulator"), Atom("point_of_no_return"), Atom("restart_emulator")))
    found = read_relup(hybrid.relup_of(script, "1.0.0"))
    assert (found.version, list(found.ups), dict(found.downs)) == ("1.1.0", ["1.0.0"], {})
    assert found.ups["1.0.0"].instructions == ("restart_new_emulator", "point_of_no_return")


def test_each_flavour_is_told_what_to_boot() -> None:
    relx = hybrid.environment(Flavour.RELX, FOLDER, NAME, {"ERL_AFLAGS": "+S 2"})
    assert relx == {
        "RELDIR": str(FOLDER),
        "ERL_AFLAGS": f"-boot {FOLDER}/{NAME}/start +S 2",
        "RELX_CONFIG_PATH": f"{FOLDER}/{NAME}/sys.config",
    }
    mix = hybrid.environment(Flavour.MIX, FOLDER, NAME, {})
    assert mix["ERL_AFLAGS"] == f"-boot {FOLDER}/{NAME}/start"
    assert mix["RELEASE_SYS_CONFIG"] == f"{FOLDER}/{NAME}/sys"
    for flavour in (Flavour.RELX, Flavour.MIX, Flavour.PLAIN):
        assert hybrid.environment(flavour, FOLDER, "", {"ERL_AFLAGS": "+S 2"}) == {"RELDIR": str(FOLDER)}
    argv = ("/srv/erlexec", "-boot", "/srv/start", "-config", "/srv/sys", "-sname", "web")
    assert hybrid.command(Flavour.PLAIN, FOLDER, "", argv) == hybrid.command(Flavour.RELX, FOLDER, NAME, argv) == argv
    assert hybrid.command(Flavour.PLAIN, FOLDER, NAME, argv) == (
        "/srv/erlexec", "-boot", f"{FOLDER}/{NAME}/start", "-config", f"{FOLDER}/{NAME}/sys", "-sname", "web",
    )  # fmt: skip


def test_what_was_set_for_the_hybrid_alone_is_given_back() -> None:
    assert hybrid.restored(Flavour.RELX, {"ERL_AFLAGS": "+S 2"}) == {"ERL_AFLAGS": "+S 2", "RELX_CONFIG_PATH": None}
    assert hybrid.restored(Flavour.MIX, {}) == {"ERL_AFLAGS": None, "RELEASE_SYS_CONFIG": None}
    assert hybrid.restored(Flavour.PLAIN, {}) == {}
