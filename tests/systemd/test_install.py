"""install.sh, into a DESTDIR: what it lays out, twice, with options, and what an uninstall leaves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
UNITS = "/usr/local/lib/systemd/system"

pytestmark = pytest.mark.systemd


def script(destdir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SYSTEMD / "install.sh"), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"DESTDIR": str(destdir), "LC_ALL": "C"},
        check=False,
    )


def install(destdir: Path, *arguments: str) -> str:
    done = script(destdir, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tree(root: Path) -> dict[str, tuple[str, str]]:
    """{path: (mode, content or target)} of all below `root`."""
    found = {}
    for path in sorted(root.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_text()
        found[f"/{path.relative_to(root)}"] = (f"{path.lstat().st_mode & 0o7777:o}", content)
    return found


def test_install_lays_out_everything(tmp_path: Path) -> None:
    install(tmp_path, "--no-venv")
    found = tree(tmp_path)
    for name in ("relctld.service", "relctl-logger.service", "relctl-epmd.service"):
        assert found[f"{UNITS}/{name}"] == ("644", (SYSTEMD / name).read_text())
    for name in ("relctl", "relctld"):
        assert found[f"/usr/local/bin/{name}"][1] == f"/opt/relctl/bin/{name}"
    assert found["/usr/local/lib/sysusers.d/relctl.conf"][0] == "644"
    assert found["/usr/local/lib/tmpfiles.d/relctl.conf"][0] == "644"
    assert found["/etc/relctl"][0] == found["/etc/relctl/releases.d"][0] == "750"
    assert found["/etc/relctl/relctld.toml"] == ("640", (SYSTEMD / "relctld.example.toml").read_text())


def test_install_again_changes_nothing_and_spares_the_config(tmp_path: Path) -> None:
    install(tmp_path, "--no-venv")
    (tmp_path / "etc/relctl/relctld.toml").write_text("# mine\n")
    before = tree(tmp_path)
    install(tmp_path, "--no-venv")
    assert tree(tmp_path) == before


def test_a_prefix_is_carried_into_the_units(tmp_path: Path) -> None:
    install(tmp_path, "--no-venv", "--prefix", "/usr/lib/relctl-1")
    found = tree(tmp_path)
    for name in ("relctld.service", "relctl-logger.service"):
        assert "/opt/relctl" not in found[f"{UNITS}/{name}"][1]
        assert "ExecStart=/usr/lib/relctl-1/bin/" in found[f"{UNITS}/{name}"][1]
    assert found["/usr/local/bin/relctl"][1] == "/usr/lib/relctl-1/bin/relctl"


def test_a_dedicated_user_stays_until_root_is_asked_for(tmp_path: Path) -> None:
    install(tmp_path, "--no-venv")
    as_root = tree(tmp_path)
    install(tmp_path, "--no-venv", "--user", "relctl")
    as_user = tree(tmp_path)
    for name in ("relctld", "relctl-logger"):
        text = as_user[f"{UNITS}/{name}.service.d/10-user.conf"][1]
        assert "User=relctl\nGroup=relctl\n" in text
    assert "/usr/local/lib/sysusers.d/relctl-user.conf" in as_user
    install(tmp_path, "--no-venv")
    assert tree(tmp_path) == as_user
    install(tmp_path, "--no-venv", "--user", "deploy")
    assert "User=deploy\nGroup=deploy\n" in tree(tmp_path)[f"{UNITS}/relctld.service.d/10-user.conf"][1]
    install(tmp_path, "--no-venv", "--user", "root")
    left = {path: entry for path, entry in tree(tmp_path).items() if not path.endswith(".service.d")}
    assert left == as_root


def test_uninstall_leaves_config_and_data_and_purge_does_not(tmp_path: Path) -> None:
    kept = [tmp_path / path for path in ("var/lib/relctl/state.db", "var/log/relctl/web/current")]
    foreign = tmp_path / "usr/local/bin/relctl"
    install(tmp_path, "--no-venv", "--user", "relctl")
    for file in kept:
        file.parent.mkdir(parents=True)
        file.write_text("x")
    venv = tmp_path / "opt/relctl"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("")
    (venv / "bin/relctld").write_text("")
    foreign.unlink()
    foreign.write_text("another program of this name")

    install(tmp_path, "--uninstall")
    files = {path for path in tree(tmp_path) if not (tmp_path / path[1:]).is_dir()}
    assert files == {
        "/etc/relctl/relctld.toml",
        "/usr/local/bin/relctl",
        *(f"/{path.relative_to(tmp_path)}" for path in kept),
    }
    install(tmp_path, "--uninstall", "--purge")
    assert {path for path in tree(tmp_path) if not (tmp_path / path[1:]).is_dir()} == {"/usr/local/bin/relctl"}


def test_uninstall_removes_no_folder_that_is_not_ours(tmp_path: Path) -> None:
    precious = tmp_path / "srv/precious"
    precious.parent.mkdir()
    precious.write_text("x")
    install(tmp_path, "--uninstall", "--prefix", "/srv")
    assert precious.exists()


@pytest.mark.parametrize("arguments", ["--prefix|opt", "--prefix|/a b", "--user|a/b", "--nonsense"])
def test_install_refuses_what_it_cannot_do_right(tmp_path: Path, arguments: str) -> None:
    done = script(tmp_path, "--no-venv", *arguments.split("|"))
    assert done.returncode in (1, 2)
    assert done.stderr
    assert not tree(tmp_path)


def test_install_needs_no_bash(tmp_path: Path) -> None:
    assert (SYSTEMD / "install.sh").read_text().startswith("#!/bin/sh\n")
    if dash := shutil.which("dash"):
        subprocess.run([dash, "-n", str(SYSTEMD / "install.sh")], check=True)


@pytest.mark.slow
def test_the_whole_of_it_in_a_destdir(installed: Path, tmp_path: Path) -> None:
    """The environment was built below a DESTDIR, and nothing in it points there."""
    environment = tmp_path / "opt/relctl"
    shutil.copytree(installed / "opt/relctl", environment, symlinks=True)
    for name in ("relctl", "relctld"):
        assert (environment / "bin" / name).read_text().startswith("#!/opt/relctl/bin/python")
    assert (environment / "pyvenv.cfg").read_text().rstrip().endswith(" /opt/relctl")
    shipped = environment / "share/relctl/systemd"
    assert (shipped / "relctld.service").read_text() == (SYSTEMD / "relctld.service").read_text()
    install(tmp_path, "--uninstall", "--purge")
    assert not (tmp_path / "opt/relctl").exists()
