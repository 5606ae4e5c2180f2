"""relctl deploy and remove on real releases: into nothing, over what runs, what rests and what is broken; and twice."""

from __future__ import annotations

import pwd
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relctld.beam.term.etf import encode
from relctld.beam.term.terms import Atom
from tests.asked import LONG
from tests.beam.deploying import Site, deploying
from tests.beam.supervised import OTHER_USER, Host
from tests.beam.upgrading import WITHIN
from tests.packages import text
from tests.releases import distillery
from tests.releases.build import build, place
from tests.releases.package import package
from tests.releases.remade import remade
from tests.running import need_root

ONE = ["rapp", "mapp"] if LONG else ["rapp"]
"""The two hardly differ, and each test costs seconds: mapp is asked the first of them, and the rest in the long run."""

PAPP = "papp"
"""A sample that is no more than a target system, and can be laid out as Distillery does."""

pytestmark = pytest.mark.beam


@pytest.fixture(scope="module", params=ONE)
def shared_site(request: pytest.FixtureRequest, built: Callable[[str], Path]) -> Iterator[Site]:
    """One for all tests of the module."""
    built(str(request.param))
    with deploying(str(request.param)) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The shared one; nothing is installed."""
    yield shared_site
    shared_site.clear()


def test_a_mix_release_too(built: Callable[[str], Path]) -> None:
    built("mapp")
    with deploying("mapp") as site:
        site.deploy("1.0.0").done()
        site.is_at("1.0.0")
        site.unchanged("1.0.0")
        cookie = (site.root / "releases" / "COOKIE").read_text()
        site.deploy("1.1.0").done()
        site.is_at("1.1.0")
        assert (site.root / "releases" / "COOKIE").read_text() == cookie
        site.after_deaths("1.1.0")


def test_into_nothing_over_a_version_and_twice(site: Site) -> None:
    planned = site.deploy("1.0.0", "--plan", "--json")
    planned.done()
    plan = planned.reply["plan"]
    assert (plan["way"], plan["from"], plan["to"], plan["starts"]) == ("install", None, "1.0.0", True)
    assert not site.root.exists()
    first = site.deploy("1.0.0", "--json")
    first.done()
    assert (first.reply["changed"], first.reply["from"], first.reply["to"]) == (True, "", "1.0.0")
    site.is_at("1.0.0")
    site.unchanged("1.0.0")
    before = site.daemon.status("web")
    site.deploy("1.1.0").done()
    after = site.is_at("1.1.0")
    assert after["epoch"] == before["epoch"] + 1
    site.unchanged("1.1.0")
    site.after_deaths("1.1.0", each=True)
    site.deploy("1.0.0").done()
    site.is_at("1.0.0")
    site.upgrade("1.1.0").done()
    site.is_at("1.1.0")
    site.unchanged("1.1.0")
    assert [note["from"] for note in site.daemon.noted("web", "upgraded")][-1] == "1.0.0"


def test_a_first_install_that_is_ill_leaves_nothing(site: Site) -> None:
    ended = site.deploy("1.1.0-unhealthy")
    ended.failed("nothing is installed, as before")
    site.is_empty()
    site.deploy("1.0.0").done()
    site.is_at("1.0.0")


def test_a_version_that_is_ill_is_taken_back(site: Site) -> None:
    site.deploy("1.0.0").done()
    before = site.tree()
    ended = site.deploy("1.1.0-unhealthy")
    ended.failed("it runs 1.0.0 as before, after a restart")
    site.is_at("1.0.0")
    assert site.changed(before) == {}
    refused = site.deploy("1.1.0-bad-config")
    refused.failed("configuration", "never stopped")
    assert site.is_at("1.0.0")
    assert site.changed(before) == {}


def test_what_an_operator_stopped_stays_stopped(site: Site) -> None:
    site.daemon.relctl("stop", "web")
    site.deploy("1.0.0").done()
    assert site.daemon.status("web")["state"] == "stopped"
    assert site.daemon.status("web")["boot_version"] == "1.0.0"
    site.unchanged("1.0.0")
    site.deploy("1.1.0").done()
    assert site.daemon.status("web")["state"] == "stopped"
    site.selects("1.1.0")
    site.daemon.relctl("start", "web")
    site.is_at("1.1.0")


def test_a_damaged_tree_is_mended(site: Site) -> None:
    site.deploy("1.0.0").done()
    whole = site.tree()
    beam = next((site.root / "lib" / f"{site.name}-1.0.0" / "ebin").glob("*.beam"))
    beam.unlink()
    site.deploy("1.0.0").done()
    assert site.is_at("1.0.0")
    assert site.changed(whole) == {}
    site.daemon.relctl("stop", "web")
    beam.write_bytes(beam.read_bytes()[:100])
    (site.root / "releases" / "start_erl.data").write_text("torn")
    (site.root / "releases" / "1.0.0" / "start.boot").unlink()
    config = site.root / "releases" / "1.0.0" / "vm.args"
    if config.exists():
        config.write_text(f"{config.read_text()}\n# an operator's\n")
        whole[str(config.relative_to(site.root))] = site.tree()[str(config.relative_to(site.root))]
    site.deploy("1.0.0").done()
    assert site.changed(whole) == {}
    site.daemon.relctl("start", "web")
    site.is_at("1.0.0")


def test_a_release_that_cannot_boot_is_switched(site: Site) -> None:
    site.deploy("1.0.0").done()
    (site.root / "releases" / "1.0.0" / "start.boot").write_bytes(b"")
    site.kill_vm()
    site.daemon.wait_for("web", WITHIN, state="backoff")
    site.deploy("1.1.0").done()
    site.is_at("1.1.0")


def test_what_operators_keep_in_the_root_stays(site: Site) -> None:
    site.deploy("1.0.0").done()
    own = site.root / "notes.txt"
    own.write_text("mine\n")
    cookie = site.root / "releases" / "COOKIE"
    if cookie.exists():
        cookie.write_text("another")
    site.daemon.relctl("restart", "web")
    kept = cookie.read_text() if cookie.exists() else None
    site.deploy("1.1.0").done()
    site.is_at("1.1.0")
    assert own.read_text() == "mine\n"
    assert kept is None or cookie.read_text() == kept


def test_no_relup_and_a_restart_allowed(site: Site) -> None:
    site.deploy("1.0.0").done()
    site.upgrade("1.1.0-no-relup").refused("no relup", "--allow-restart")
    done = site.upgrade("1.1.0-no-relup", "--allow-restart", "--json")
    done.done()
    assert (done.reply["way"], done.reply["restarted"]) == ("restart", True)
    status = site.well()
    assert (status["version"], status["boot_version"]) == ("1.1.0-no-relup", "1.1.0-no-relup")
    site.upgrade("=1.0.0", "--allow-restart").done()
    site.is_at("1.0.0")


def test_a_version_goes_and_what_it_shares_stays(site: Site) -> None:
    site.deploy("1.0.0").done()
    site.upgrade("1.1.0").done()
    for version, why in (("1.1.0", "runs"), ("9.9.9", "not installed")):
        refused = site.daemon.relctl("remove", "web", version, check=False)
        assert (refused.returncode, why in refused.stderr) == (5, True), refused.stderr
    shared = {path for path in site.tree() if path.startswith(("lib/kernel", "lib/stdlib", "erts-"))}
    done = site.daemon.relctl("remove", "web", "1.0.0")
    assert "removed" in done.stdout
    left = site.tree()
    assert shared <= left.keys()
    assert not [path for path in left if path.startswith((f"lib/{site.name}-1.0.0", "releases/1.0.0"))]
    known = site.rpc("release_handler", "which_releases")
    assert "1.1.0" in known
    assert "1.0.0" not in known.replace("legacy-1.0.0", "").replace('legacy,"1.0.0"', "")
    site.after_deaths("1.1.0")
    site.deploy("1.0.0").done()
    site.is_at("1.0.0")


@pytest.mark.parametrize("name", ONE)
def test_as_another_user_with_few_versions_kept(name: str, built: Callable[[str], Path]) -> None:
    need_root()
    built(name)
    user = pwd.getpwnam(OTHER_USER)
    with deploying(name, user=OTHER_USER, upgrade={"soak": "0s", "keep_versions": 2}) as site:
        site.deploy("1.0.0").done()
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in (site.root, site.root.parent)}
        assert owners == {(user.pw_uid, user.pw_gid)}
        assert {path.lstat().st_uid for path in site.root.rglob("*")} == {user.pw_uid}
        site.is_at("1.0.0")
        for version in ("1.1.0", "1.1.0-up-only"):
            site.deploy(version).done()
            site.unchanged(version)
        shown = site.daemon.ask("versions", {"release": "web"})["versions"]
        assert {each["version"] for each in shown} == {"1.1.0", "1.1.0-up-only"}
        [gone] = site.daemon.noted("web", "removed")
        assert gone["versions"] == ["1.0.0"]


def packed(flavour: str, version: str, folder: Path, *, boots: bool = True) -> Path:
    """A tarball of papp, of this flavour."""
    built = build(PAPP, version)
    laid = place(built, folder / "laid") if flavour == "plain" else distillery.lay_out(built, folder / "laid")
    if not boots:
        halts = (Atom("apply"), (Atom("erlang"), Atom("halt"), [1]))
        script = (Atom("script"), (text(PAPP), text(version)), [halts])
        (laid / "releases" / version / "start.boot").write_bytes(encode(script))
    tarball = folder / f"papp-{version}-{boots}.tar.gz"
    with tarfile.open(tarball, "w:gz", compresslevel=1) as tar:
        for path in sorted(path for path in laid.iterdir() if path.name != "var"):
            tar.add(path, path.name)
    shutil.rmtree(laid)
    return tarball


@pytest.mark.parametrize("flavour", ["plain", "distillery"])
def test_other_flavours_are_deployed_and_switched_and_never_upgraded(
    flavour: str, host: Host, public_path: Path, built: Callable[[str], Path]
) -> None:
    built(PAPP)
    root = public_path / "opt" / "papp"
    daemon = host.run(web=host.release(root, upgrade={"soak": "0s"}, start_timeout="20s"))
    daemon.wait_for("web", WITHIN, state="stopped")

    def asked(verb: str, *words: str | Path, code: int = 0) -> str:
        done = daemon.relctl("--json", verb, "web", *map(str, words), timeout=3 * WITHIN, check=False)
        assert done.returncode == code, done
        return done.stdout + done.stderr

    def runs(version: str) -> None:
        wanted = {"state": "running", "health": "well", "flavour": flavour}
        daemon.wait_for("web", WITHIN, **wanted, version=version, boot_version=version)

    first = packed(flavour, "1.0.0", public_path)
    asked("deploy", first)
    runs("1.0.0")
    assert '"changed":false' in asked("deploy", first)
    assert "it runs 1.0.0 as before" in asked("deploy", packed(flavour, "1.1.0", public_path, boots=False), code=1)
    runs("1.0.0")
    second = packed(flavour, "1.1.0", public_path)
    refused = asked("upgrade", second, code=5)
    assert ("Distillery" if flavour == "distillery" else "no relup") in refused, refused
    assert "--allow-restart" in refused
    asked("upgrade", second, "--allow-restart")
    runs("1.1.0")
    [vm] = [process for process in host.processes() if process.name() == "beam.smp"]
    daemon.kill()
    vm.kill()
    vm.wait(WITHIN)
    daemon.start()
    runs("1.1.0")
    assert daemon.status("web")["epoch"] == 6, "nothing, 1.0.0, the torn one, 1.0.0, 1.1.0, and after its death"


def test_a_root_that_is_a_link_to_an_empty_directory_stays_one(site: Site) -> None:
    elsewhere = site.host.folder / "elsewhere"
    site.root.parent.mkdir(parents=True, exist_ok=True)
    for make in (elsewhere.mkdir, lambda: None):
        make()
        site.root.symlink_to(elsewhere)
        site.deploy("1.0.0").done()
        assert (site.root.is_symlink(), (elsewhere / "releases" / "1.0.0").is_dir()) == (True, True)
        site.is_at("1.0.0")
        site.unchanged("1.0.0")
        site.clear()


def test_a_tarball_of_something_else_is_refused(site: Site, tmp_path: Path) -> None:
    site.root.mkdir(parents=True)
    (site.root / "somebody's").touch()
    site.deploy("1.0.0").refused("no release that we know")
    (site.root / "somebody's").unlink()
    site.root.rmdir()
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(package(site.name, "1.0.0").read_bytes()[:1000])
    site.deploy(torn).refused()
    assert not site.root.exists()
    site.deploy("1.0.0", "--sha256", "0" * 64).refused("sha256")
    assert not site.root.exists()
    site.deploy("1.0.0").done()
    before = site.tree()
    site.deploy("1.1.0-other-name").refused("other")
    assert site.changed(before) == {}


def test_out_of_a_version_that_never_boots(site: Site, tmp_path: Path) -> None:
    """It was upgraded to while it ran, and crashes again and again since it was restarted."""
    site.deploy("1.0.0").done()
    args = {"rapp": "vm.args.src", "mapp": "vm.args"}[site.name]
    broken = remade(site.name, "1.1.0", tmp_path, **{args: lambda text: f"{text}\n+Zzz\n"})
    site.upgrade(broken).done()
    for way_out in (
        ["deploy", "web", str(package(site.name, "1.0.0"))],
        ["upgrade", "web", "1.0.0", "--allow-restart"],
    ):
        site.daemon.relctl("restart", "web", check=False)
        assert site.daemon.status("web")["boot_version"] == "1.1.0"
        done = site.daemon.relctl(*way_out, check=False)
        assert done.returncode == 0, done.stderr
        site.is_at("1.0.0")
        site.upgrade("=1.1.0").done()
