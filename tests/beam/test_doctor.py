"""Each finding of `doctor` made on purpose on real trees: found, mended where that is safe, and not found again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relctld.beam.package.releases import read_releases
from tests import epmds
from tests.beam.supervised import Host
from tests.releases import build
from tests.running import Relctld

pytestmark = pytest.mark.beam

Spoil = Callable[[Path], object]


class Clinic:
    """A relctld with a relx and a mix release that are not started; `spoilt` gives one a fresh tree, then harms it."""

    def __init__(self, daemon: Relctld, folder: Path) -> None:
        self.daemon = daemon
        self.roots = {"web": folder / "rapp", "api": folder / "mapp"}

    def spoilt(self, name: str, spoil: Spoil) -> Path:
        root = self.roots[name]
        shutil.rmtree(root, ignore_errors=True)
        build.place(build.build(root.name), root)
        if (cookie := root / "releases" / "COOKIE").exists():
            cookie.chmod(0o600)  # mix leaves it readable for all
        spoil(root)
        return root

    def ask(self, *names: str, fix: bool = False) -> dict[str, dict[str, Any]]:
        """The findings by their names."""
        return _by_name(self.daemon.ask("doctor-fix" if fix else "doctor", {"names": list(names)}))


def _by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["finding"]: each for each in result["findings"]}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    with epmds.private_port() as port:
        env = {"ERL_EPMD_PORT": str(port), "HOME": str(folder)}
        tables = {
            name: {"root": folder / tree, "enabled": False, "env": env}
            for name, tree in (("web", "rapp"), ("api", "mapp"))
        }
        daemon = Relctld(folder, tables)
        clinic = Clinic(daemon, folder)
        for name in tables:
            clinic.spoilt(name, lambda _: None)
        with daemon:
            yield clinic


def _write(path: str, text: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return spoil


def _empty_beam(root: Path) -> None:
    beam = next((root / "lib").glob("rapp-1.0.0/ebin/*.beam"))
    os.truncate(beam, 0)


def _without_library(root: Path) -> None:
    shutil.rmtree(next((root / "lib").glob("rapp-1.0.0")))


def _invented(root: Path) -> None:
    (root / "releases" / "RELEASES").write_text('[{release,"rapp","1.0.0",undefined,[],permanent}].\n')


def _swapped(root: Path) -> None:
    config = root / "releases" / "1.0.0" / "sys.config"
    shutil.copy(config, config.with_name("sys.config.relctl"))
    config.write_text("[].\n")


def _cookie(root: Path) -> None:
    (root / "releases" / "COOKIE").chmod(0o644)


def _home_cookie(root: Path) -> None:
    cookie = root.parent / ".erlang.cookie"
    cookie.write_text("SECRET")
    cookie.chmod(0o644)


def _rendered(root: Path) -> None:
    version = root / "releases" / "1.0.0"
    (version / "vm.args").write_text("-sname x\n")
    (version / "vm.args").chmod(0o644)


def _copied_version(root: Path) -> None:
    for version in ("0.1.0", "0.2.0", "0.3.0"):
        shutil.copytree(root / "releases" / "1.0.0", root / "releases" / version)


def _other_start_erl(root: Path) -> None:
    erts = (root / "releases" / "start_erl.data").read_text().split()[0]
    (root / "releases" / "start_erl.data").write_text(f"{erts} 1.1.0\n")


MENDED: list[tuple[str, str, Spoil]] = [
    ("releases-torn", "web", _write("releases/RELEASES", '[{release,"rapp",')),
    ("releases-torn", "web", _write("releases/RELEASES", "")),
    ("releases-invented", "web", _invented),
    ("releases-missing", "web", lambda root: (root / "releases" / "RELEASES").unlink()),
    ("releases-missing", "api", lambda _: None),
    ("boot-disagrees", "web", _other_start_erl),
    ("release-damaged", "api", lambda root: (root / "releases" / "start_erl.data").write_text("13.1")),
    ("release-damaged", "api", lambda root: (root / "releases" / "start_erl.data").unlink()),
    ("leftover-unpacked", "web", _write(".relctl/lib/x", "half")),
    ("leftover-kept", "web", _write(".relctl-before/releases/start_erl.data", "")),
    ("leftover-config", "api", _swapped),
    ("leftover-emulator", "web", _write("releases/__new_emulator__1.1.0/start.boot", "x")),
    ("leftover-emulator", "web", _write("releases/new_start_erl.data", "14 1.1.0\n")),
    ("secrets-readable", "web", _rendered),
    ("secrets-readable", "api", _write("tmp/mapp-1.0.0-x.runtime.config", "[].\n")),
    ("cookie-mode", "api", _cookie),
    ("cookie-mode", "web", _home_cookie),
]


@pytest.mark.parametrize(("finding", "name", "spoil"), MENDED)
def test_what_is_found_is_mended(clinic: Clinic, finding: str, name: str, spoil: Spoil) -> None:
    root = clinic.spoilt(name, spoil)
    found = clinic.ask(name)
    assert found[finding]["fixable"], found
    assert found[finding]["release"] == name
    mended = clinic.ask(name, fix=True)
    assert mended[finding]["fixed"], mended
    assert mended[finding]["did"]
    assert set(clinic.ask(name)) <= {"releases-missing"} - {finding}
    if finding.startswith(("releases", "boot")):
        (entry,) = read_releases((root / "releases" / "RELEASES").read_bytes())
        assert (entry.version, entry.status) == ("1.0.0", "permanent")
        assert entry.libraries
    events = [event for event in clinic.daemon.noted(name, "doctor-fixed") if event["finding"] == finding]
    assert events[-1]["fixed"]
    assert events[-1]["by"]


def _line_ends(root: Path) -> None:
    args = root / "releases" / "1.0.0" / "vm.args.src"
    args.write_bytes(args.read_bytes().replace(b"\n", b"\r\n"))


TOLD: list[tuple[str, str, Spoil]] = [
    ("release-doubtful", "web", _line_ends),
    ("nothing-installed", "web", shutil.rmtree),
    ("release-damaged", "web", lambda root: shutil.rmtree(root / "releases" / "1.0.0")),
    ("version-incomplete", "web", _empty_beam),
    ("version-incomplete", "web", _without_library),
    ("leftover-tarball", "web", _write("releases/rapp-1.1.0.tar.gz", "x")),
    ("leftover-kept", "web", _write(".relctl-before/lib/x", "half")),
    ("versions-removable", "web", _copied_version),
]


@pytest.mark.parametrize(("finding", "name", "spoil"), TOLD)
def test_what_is_not_safe_to_mend_is_told(clinic: Clinic, finding: str, name: str, spoil: Spoil) -> None:
    root = clinic.spoilt(name, spoil)
    before = _snapshot(root)
    found = clinic.ask(name)
    assert not found[finding]["fixable"]
    assert found[finding]["mend"]
    assert "fixed" not in clinic.ask(name, fix=True)[finding]
    assert _snapshot(root) == before


def _snapshot(root: Path) -> set[tuple[str, int, int]]:
    found = ((path, path.lstat()) for path in root.rglob("*")) if root.exists() else ()
    return {(str(path), status.st_mode, status.st_size) for path, status in found}


def test_a_link_in_the_way_leads_nobody_elsewhere(clinic: Clinic, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("[].\n")
    secret.chmod(0o644)

    def spoil(root: Path) -> None:
        (root / "tmp").mkdir(exist_ok=True)
        (root / "tmp" / "x.runtime.config").symlink_to(secret)
        (root / "releases" / "RELEASES").unlink()
        (root / "releases" / "RELEASES").symlink_to(secret)

    clinic.spoilt("web", spoil)
    clinic.ask("web", fix=True)
    assert secret.read_text() == "[].\n"
    assert secret.stat().st_mode & 0o777 == 0o644


def test_the_host(clinic: Clinic) -> None:
    clinic.spoilt("web", lambda _: None)
    clinic.spoilt("api", lambda _: None)
    daemon = clinic.daemon
    good = daemon.config.read_text()
    daemon.config.write_text(good.replace("enabled", "enabld"))
    daemon.relctl("reload", check=False)
    crash = daemon.log_dir / "web" / "crash"
    shutil.rmtree(crash, ignore_errors=True)
    crash.mkdir(parents=True)
    crash.chmod(0)
    found = clinic.ask()
    assert "enabld" in found["config-not-in-force"]["detail"]
    assert found["config-not-in-force"]["release"] is None
    assert found["crash-folder"]["fixable"]
    daemon.config.write_text(good)
    daemon.relctl("reload")
    mended = clinic.ask(fix=True)
    assert mended["crash-folder"]["fixed"]
    left = clinic.ask()
    assert not {"crash-folder", "config-not-in-force"} & set(left), left


def test_what_a_person_sees(clinic: Clinic) -> None:
    clinic.spoilt("web", _write("releases/RELEASES", ""))
    (told,) = map(json.loads, clinic.daemon.relctl("doctor", "web", "--json", check=False).stdout.splitlines())
    assert (told["finding"], told["severity"], told["fixable"]) == ("releases-torn", "error", True)
    seen = clinic.daemon.relctl("doctor", "web", check=False)
    assert seen.returncode == 1
    lines = seen.stdout.splitlines()
    assert lines[0].startswith("error    web releases-torn: ")
    assert lines[1] == "         → relctl doctor --fix web"
    assert lines[-1] == "1 error; --fix would mend 1"
    mended = clinic.daemon.relctl("doctor", "web", "--fix")
    assert "→ mended: wrote " in mended.stdout
    assert mended.stdout.splitlines()[-1] == "1 error; 1 mended"
    assert clinic.daemon.relctl("doctor", "web").stdout == "nothing to find fault with\n"


def test_nodes(host: Host, rapp_root: Path) -> None:
    """One that listens everywhere, another of the same name, an epmd that is dead, a boot that would fail."""
    other, cookie = host.copy(rapp_root, "other"), host.folder / "cookie"
    cookie.write_text("relctl-demo")
    cookie.chmod(0o400)
    web = host.release(rapp_root, node={"cookie_file": str(cookie)})
    daemon = host.run(web=web, twin=host.release(other, enabled=False))
    daemon.wait_for("web", state="running", health="well")

    found = _by_name(daemon.ask("doctor", {"names": []}))
    assert found["listens-everywhere"]["release"] == "web"
    assert found["name-clash"]["release"] == "twin"
    assert not {"epmd-dead", "node-refused", "boots-another"} & set(found)
    cookie.rename(cookie.with_name("away"))
    assert _by_name(daemon.ask("doctor", {"names": ["web"]}))["node-refused"]["release"] == "web"
    cookie.with_name("away").rename(cookie)
    assert "node-refused" not in _by_name(daemon.ask("doctor", {"names": ["web"]}))
    for process in epmds.started_for(host.epmd_port):
        process.terminate()
        process.wait()
    assert _by_name(daemon.ask("doctor", {"names": []}))["epmd-dead"]["fixable"]
    assert _by_name(daemon.ask("doctor-fix", {"names": []}))["epmd-dead"]["fixed"]
    assert "epmd-dead" not in _by_name(daemon.ask("doctor", {"names": []}))
    (rapp_root / "releases" / "1.0.0").rename(rapp_root / "releases" / "1.0.1")
    assert _by_name(daemon.ask("doctor", {"names": ["web"]}))["release-damaged"]["release"] == "web"
