"""Where the files are, for whom."""

from pathlib import Path

from relctld.config import default_config_path, load
from relctld.config.paths import Dirs, default_dirs
from tests.unit.relctld.config.building import Files

XDG = {"XDG_CONFIG_HOME": "/x/config", "XDG_STATE_HOME": "/x/state", "XDG_RUNTIME_DIR": "/run/user/7"}
SYSTEMD = {
    "CONFIGURATION_DIRECTORY": "/etc/mine:/etc/other",
    "STATE_DIRECTORY": "/var/lib/mine",
    "LOGS_DIRECTORY": "/var/log/mine",
    "RUNTIME_DIRECTORY": "/run/mine:/run/other",
}


def test_root_has_the_systems_directories() -> None:
    assert default_config_path(0, XDG) == Path("/etc/relctl/relctld.toml")
    assert default_dirs(0, XDG) == Dirs(Path("/var/lib/relctl"), Path("/var/log/relctl"), Path("/run/relctl"))


def test_a_user_has_the_xdg_directories() -> None:
    assert default_config_path(7, XDG) == Path("/x/config/relctl/relctld.toml")
    assert default_dirs(7, XDG) == Dirs(
        Path("/x/state/relctl"), Path("/x/state/relctl/log"), Path("/run/user/7/relctl")
    )


def test_a_user_without_xdg_has_those_below_home() -> None:
    environ = {"HOME": "/home/op", "XDG_CONFIG_HOME": "relative", "TMPDIR": "/scratch"}
    assert default_config_path(7, environ) == Path("/home/op/.config/relctl/relctld.toml")
    assert default_dirs(7, environ) == Dirs(
        Path("/home/op/.local/state/relctl"), Path("/home/op/.local/state/relctl/log"), Path("/scratch/relctl-7")
    )
    assert default_dirs(7, {"HOME": "/home/op"}).run == Path("/tmp/relctl-7")


def test_a_user_that_nobody_knows_has_the_root_directory_as_home() -> None:
    assert default_config_path(2**31, {}) == Path("/.config/relctl/relctld.toml")


def test_systemds_directories_win_over_the_defaults() -> None:
    mine = Dirs(Path("/var/lib/mine"), Path("/var/log/mine"), Path("/run/mine"))
    assert default_dirs(0, SYSTEMD) == default_dirs(7, XDG | SYSTEMD) == mine
    assert default_config_path(0, SYSTEMD) == Path("/etc/mine/relctld.toml")


def test_keys_of_the_daemon_win_over_systemds(files: Files) -> None:
    files.write('[daemon]\nlog_dir = "/logs"')
    config = load(files.main, uid=0, environ=SYSTEMD)
    assert (config.log_dir, config.state_dir) == (Path("/logs"), Path("/var/lib/mine"))
