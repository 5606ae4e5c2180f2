"""The unit files, checked by systemd's own tools, without a running systemd.

`systemd-analyze verify` exits 0 on a key it does not know: its stderr must be empty. It wants the binaries of
ExecStart= to exist, so it sees copies that name /bin/true.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.asked import FULL

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
SYSTEM_UNITS = ("relctld.service", "relctl-logger.service", "relctl-epmd.service")
USER_UNITS = ("relctld.service", "relctl-logger.service")
# systemd-analyze security: 0 is best, 10 is worst; in tenths.
SCORES = {"relctld.service": 34, "relctl-logger.service": 12, "relctl-epmd.service": 12}
DEDICATED_USER_SCORES = {"relctld.service": 21, "relctl-logger.service": 7}

pytestmark = pytest.mark.systemd


@pytest.fixture(autouse=True)
def _tools() -> None:
    tools = ("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing and not FULL:
        pytest.skip(f"not here: {', '.join(missing)}")
    assert not missing


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | (env or {}) | {"LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        check=False,
    )


def staged(unit: Path, directory: Path, drop_in: Path | None = None) -> Path:
    """A copy of `unit` (and its drop-in) below `directory` whose commands exist on any machine."""
    directory.mkdir(parents=True, exist_ok=True)
    copy = directory / unit.name
    copy.write_text(re.sub(r"(?m)^(Exec\w+=)\S+", r"\1/bin/true", unit.read_text()))
    if drop_in:
        (directory / f"{unit.name}.d").mkdir()
        text = drop_in.read_text().replace("=relctl\n", "=daemon\n")  # an account that exists everywhere
        (directory / f"{unit.name}.d" / "10-user.conf").write_text(text)
    return copy


def settings(unit: Path) -> dict[str, list[str]]:
    """{key: values} of a unit file; keys of this project's units are unique across sections."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("mode", ["system", "user", "dedicated-user"])
def test_systemd_understands_every_line(tmp_path: Path, mode: str) -> None:
    folder, names = (SYSTEMD / "user", USER_UNITS) if mode == "user" else (SYSTEMD, SYSTEM_UNITS)
    for name in names:
        drop_in = SYSTEMD / "dedicated-user" / f"{Path(name).stem}.conf"
        staged(folder / name, tmp_path, drop_in if mode == "dedicated-user" and drop_in.exists() else None)
    manager = ["--user"] if mode == "user" else []
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)} if mode == "user" else {}
    for name in names:
        done = run("systemd-analyze", *manager, "--man=no", "verify", tmp_path / name, env=environ)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name


def test_verify_would_notice_a_misspelt_key(tmp_path: Path) -> None:
    unit = staged(SYSTEMD / "relctld.service", tmp_path)
    unit.write_text(unit.read_text().replace("KillMode=", "KillMod="))
    assert "KillMod" in run("systemd-analyze", "--man=no", "verify", unit).stderr


@pytest.mark.parametrize(
    ("name", "dedicated", "score"),
    [(name, False, score) for name, score in SCORES.items()]
    + [(name, True, score) for name, score in DEDICATED_USER_SCORES.items()],
)
def test_security_score(tmp_path: Path, name: str, dedicated: bool, score: int) -> None:
    # Offline analysis sees no drop-ins: later lines win, as they do there.
    unit = staged(SYSTEMD / name, tmp_path)
    if dedicated:
        drop_in = (SYSTEMD / "dedicated-user" / f"{Path(name).stem}.conf").read_text()
        unit.write_text(unit.read_text().replace("[Install]", "") + drop_in)
    done = run("systemd-analyze", "security", "--offline=true", f"--threshold={score}", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


COMMON = {
    "Restart": ["always"],
    "StartLimitIntervalSec": ["0"],
    "OOMPolicy": ["continue"],
    "RuntimeDirectory": ["relctl"],
    "RuntimeDirectoryPreserve": ["yes"],
}
DAEMON = COMMON | {
    "Type": ["notify"],
    "NotifyAccess": ["main"],
    "KillMode": ["process"],
    "Delegate": ["yes"],
    "WatchdogSec": ["30s"],
    "RestartPreventExitStatus": ["2"],
    "FileDescriptorStoreMax": ["1024"],
    "TasksMax": ["infinity"],
}
ROOT_DAEMON = DAEMON | {
    "ExecStart": ["/opt/relctl/bin/relctld"],
    "RuntimeDirectoryMode": ["0755"],
    "StateDirectory": ["relctl"],
    "LogsDirectory": ["relctl"],
    "LogsDirectoryMode": ["0751"],
    "ConfigurationDirectory": ["relctl"],
}
# Each of these would reach the nodes that outlive a restart of the unit, or the nodes that it starts.
HARMFUL = {
    "PrivateTmp": "deletes /tmp under nodes that outlive a restart",
    "PrivateIPC": "parts nodes started before and after a restart",
    "RemoveIPC": "deletes the IPC objects of nodes that outlive a stop",
    "PrivateUsers": "a restarted relctld cannot inspect older nodes",
    "ProtectControlGroups": "no sub-cgroups",
    "MemoryDenyWriteExecute": "breaks port programs with a JIT of their own",
    "ProtectHome": "releases live in /home",
    "PrivateNetwork": "nodes talk to others",
    "DynamicUser": "implies PrivateTmp and RemoveIPC",
    "PartOf": "stops the nodes with another unit",
    "BindsTo": "stops the nodes with another unit",
    "Requires": "stops the nodes with another unit",
    "RuntimeMaxSec": "",
    "MemoryMax": "counts the nodes",
}


@pytest.mark.parametrize(
    ("unit", "promised"),
    [
        ("relctld.service", ROOT_DAEMON),
        ("user/relctld.service", DAEMON),
        ("relctl-logger.service", COMMON | {"RuntimeDirectoryMode": ["0755"], "LogsDirectoryMode": ["0751"]}),
        ("user/relctl-logger.service", COMMON),
    ],
)
def test_what_the_nodes_lives_hang_on_is_in_the_units(unit: str, promised: dict[str, list[str]]) -> None:
    found = settings(SYSTEMD / unit)
    assert {key: found.get(key) for key in promised} == promised


@pytest.mark.parametrize("file", ["relctld.service", "user/relctld.service", "dedicated-user/relctld.conf"])
def test_nothing_in_the_units_reaches_the_nodes(file: str) -> None:
    assert not settings(SYSTEMD / file).keys() & HARMFUL.keys()


def test_the_root_daemon_keeps_what_it_needs_of_root() -> None:
    [capabilities] = settings(SYSTEMD / "relctld.service")["CapabilityBoundingSet"]
    needed = "CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID SYS_PTRACE"
    assert sorted(capabilities.replace("CAP_", "").split()) == needed.split()


def test_releases_may_write_where_releases_live() -> None:
    [writable] = settings(SYSTEMD / "relctld.service")["ReadWritePaths"]
    assert {"-/opt", "-/srv", "-/var", "-/home", "-/run", "-/tmp"} <= set(writable.split())


def test_logger_and_epmd_start_first_and_stop_last() -> None:
    found = settings(SYSTEMD / "relctld.service")
    after, wants = " ".join(found["After"]).split(), " ".join(found["Wants"]).split()
    for unit in ("relctl-logger.service", "epmd.service", "relctl-epmd.service"):
        assert unit in after
        assert unit in wants
    for unit in ("relctl-logger.service", "relctl-epmd.service"):
        assert "relctld.service" not in str(settings(SYSTEMD / unit))  # a restart of relctld leaves it alone


def test_sysusers_makes_the_group_and_the_user(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    group, user = SYSTEMD / "relctl.sysusers.conf", SYSTEMD / "dedicated-user" / "relctl-user.sysusers.conf"
    for files in ([group], [group], [group, user], [group, user]):
        done = run("systemd-sysusers", f"--root={tmp_path}", *files)
        assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^relctl:", (tmp_path / "etc/group").read_text(), re.M)) == 1
    [line] = (tmp_path / "etc/passwd").read_text().splitlines()
    name, _, uid, _, _, home, _ = line.split(":")
    assert (name, home) == ("relctl", "/var/lib/relctl")
    assert 0 < int(uid) < 1000  # logind's RemoveIPC= spares system users


def test_tmpfiles_keeps_away_from_the_fifos_of_users(tmp_path: Path) -> None:
    conf = SYSTEMD / "relctl.tmpfiles.conf"
    kept, aged = tmp_path / "tmp/relctl-1000/web/out", tmp_path / "tmp/other/out"
    for fifo in (kept, aged):
        fifo.parent.mkdir(parents=True)
        os.mkfifo(fifo)
    (tmp_path / "age.conf").write_text("q /tmp 1777 root root 0\n")
    for action in ("--create", "--clean"):
        done = run("systemd-tmpfiles", f"--root={tmp_path}", action, conf, tmp_path / "age.conf")
        assert (done.returncode, done.stderr) == (0, "")
    assert kept.exists()
    assert not aged.exists()
