"""The table of keys covers the specs, and the defaults are those of the contract."""

from dataclasses import fields
from pathlib import Path

import pytest
import tomli

from relctld.config.keys import ANY, KEYS
from relctld.config.schema import TABLES, children, default
from relctld.config.settings import Access
from relctld.core.spec import Hook, OnStop, ReleaseSpec
from tests.unit.relctld.config.building import Files

DEFAULTS = """
[daemon]
include = ["releases.d/*.toml"]      # relative to this file
on_stop = "stop"                     # or "leave": what becomes of the nodes when relctld is stopped for good
events_keep = "30d"                  # and at most 100,000
[daemon.access]                      # unix users, or groups as "@group"; root and the daemon's own user can do all
view = ["*"]
operate = ["@relctl"]                # a group that does not exist is a warning
admin = []
[release.web]
root = "/opt/web"
flavour = "auto"                     # relx | mix | distillery | plain
enabled = true
umask = "0027"
restart = "permanent"                # permanent | transient (only after an abnormal exit) | temporary
intensity = 5                        # more restarts than this in the period: FAILED
period = "60s"
start_timeout = "60s"
stop_timeout = "30s"
dump_on_kill = false
ready = "auto"                       # auto | node | process | tcp:HOST:PORT | http://… | exec:… | mfa:M:F
backoff = { first = "0s", base = "1s", factor = 2.0, max = "60s", jitter = 0.25 }
health = { probe = "auto", interval = "5s", timeout = "2s", failures = 3, action = "restart" }   # or "report"
log = { max_size = "50MB", max_age = "off", keep = 10, max_total = "1GB", compress = "gzip", timestamps = false, \
markers = true, journal = false, on_full = "drop" }
crash = { keep = 5, max_size = "200MB", timeout = "30s" }
upgrade = { timeout = "5m", soak = "10s", on_failure = "rollback", allow_restart = false, keep_versions = 3 }
"""
OPTIONAL = """
[daemon]
state_dir = "/var/lib/relctl"
log_dir = "/var/log/relctl"
run_dir = "/run/relctl"
metrics = "127.0.0.1:9568"           # Prometheus
[release.web]
root = "/opt/web"
name = "web"                         # the release's own name, when it differs from the table's
command = ["bin/web", "foreground"]  # overrides what the flavour does
user = "web"                         # user and group: only for a daemon that runs as root, else an error
group = "web"
cwd = "/opt/web"
env_file = "/etc/web.env"            # systemd's syntax
env = { PORT = "8080" }
inherit_env = ["TZ"]
directories = ["/var/lib/web"]       # made and owned before the start
retry_failed = "10m"                 # try again by itself after FAILED
limits = { nofile = 65536, core = 0, memory_max = "2GiB", cpu_weight = 100, tasks_max = 4096 }
node = { name = "web@127.0.0.1", cookie_file = "/etc/web.cookie" }    # only where they cannot be found out
hooks = { pre_start = ["…"], post_start = ["…"], post_stop = ["…"], on_crash = ["…"], pre_upgrade = ["…"], \
post_upgrade = ["…"], timeout = "30s" }
"""


def test_the_contracts_defaults_are_the_dataclasses_defaults(files: Files) -> None:
    config = files.load(DEFAULTS)
    assert config.releases == (ReleaseSpec("web", Path("/opt/web")),)
    assert (config.on_stop, config.events_keep, config.access) == (OnStop.STOP, 2_592_000.0, Access())
    assert config.warnings == ()


def test_a_config_of_roots_only_is_the_same_as_all_defaults(files: Files) -> None:
    assert files.load('[release.web]\nroot = "/opt/web"') == files.load(DEFAULTS)


def test_the_contracts_optional_keys_are_all_known(files: Files) -> None:
    config = files.load(OPTIONAL)
    (web,) = config.releases
    assert (config.state_dir, config.metrics) == (Path("/var/lib/relctl"), "127.0.0.1:9568")
    assert (web.release_name, web.user, web.group, web.cwd) == ("web", "web", "web", Path("/opt/web"))
    assert web.command == ("/opt/web/bin/web", "foreground")
    assert (dict(web.env), web.inherit_env, web.directories) == (
        {"PORT": "8080"},
        ("TZ",),
        (Path("/var/lib/web"),),
    )
    assert (web.env_file, web.retry_failed) == (Path("/etc/web.env"), 600.0)
    assert (web.limits.nofile, web.limits.core, web.limits.memory_max) == (65536, 0, 2 << 30)
    assert (web.limits.cpu_weight, web.limits.tasks_max) == (100, 4096)
    assert (web.node.name, web.node.cookie_file) == ("web@127.0.0.1", Path("/etc/web.cookie"))
    assert dict(web.hooks.argv) == dict.fromkeys(Hook, ("…",))


@pytest.mark.parametrize("table", [name for name, cls in TABLES.items() if cls is not dict])
def test_the_table_of_keys_covers_every_field(table: str) -> None:
    keys = {key.attribute for key in KEYS[table]} - {str(hook) for hook in Hook if table == "release.hooks"}
    named = {field.name for field in fields(TABLES[table])}
    by_other_means = {"release": {"name"}, "release.hooks": {"argv"}}.get(table, set())
    assert keys | set(children(table)) | by_other_means == named


def test_tables_and_keys_agree() -> None:
    assert list(KEYS) == list(TABLES)
    assert {key.name for key in KEYS["release.hooks"]} == {*map(str, Hook), "timeout"}
    assert all(len({key.name for key in keys}) == len(keys) for keys in KEYS.values())


@pytest.mark.parametrize(
    ("table", "name"),
    [(table, key.name) for table, keys in KEYS.items() for key in keys if not key.required and key.name != ANY],
)
def test_every_default_is_a_value_of_its_key(table: str, name: str) -> None:
    key = next(key for key in KEYS[table] if key.name == name)
    shown = key.kind.show(default(table, key))
    assert key.kind.read(tomli.loads(f"x = {shown}")["x"]) == default(table, key)
