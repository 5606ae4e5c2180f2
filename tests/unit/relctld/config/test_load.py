"""Configs as operators write them, and what they are told when one cannot be used."""

import os
from pathlib import Path

import pytest

from relctld.config import ConfigError, load
from relctld.config.files import LARGEST
from relctld.core.probes import TcpProbe
from relctld.core.spec import Flavour, Hook, OnHung, OnStop, Restart
from tests.unit.relctld.config.building import ENVIRON, GOOD, Files

EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "relctld.toml"


def test_a_config_is_read(files: Files) -> None:
    config = files.load(GOOD)
    web, api = config.releases
    assert (config.path, config.state_dir, config.access.admin) == (files.main, Path("/s"), ("@wheel",))
    assert (web.name, api.name) == ("web", "api")
    assert web.command == ("/opt/web/bin/web", "foreground")
    assert web.ready == TcpProbe("::1", 80)
    assert (web.health.interval, web.health.timeout) == (1.5, 2.0)
    assert web.limits.nofile == 1024


def test_the_example_is_good() -> None:
    config = load(EXAMPLE, uid=0, environ={})
    assert [spec.name for spec in config.releases] == ["billing", "web", "import"]
    assert config.warnings == ()
    imports = config.releases[2]
    assert (imports.flavour, imports.restart, imports.enabled) == (Flavour.RELX, Restart.TRANSIENT, False)


def test_an_empty_file_is_a_config_without_releases(files: Files) -> None:
    config = files.load("")
    assert (config.releases, config.on_stop) == ((), OnStop.STOP)
    assert (config.state_dir, config.log_dir, config.run_dir) == (
        Path("/var/lib/relctl"),
        Path("/var/log/relctl"),
        Path("/run/relctl"),
    )


def test_a_table_and_its_inline_form_are_equal(files: Files) -> None:
    inline = files.release('health = { interval = "9s", action = "report" }')
    table = files.release('[release.web.health]\ninterval = "9s"\naction = "report"')
    assert inline == table
    assert (inline.releases[0].health.action, inline.releases[0].health.failures) == (OnHung.REPORT, 3)


def test_off_switches_off_what_is_optional(files: Files) -> None:
    web = files.release(
        'user = "off"\nretry_failed = "off"\nhealth.probe = "off"\nhooks = { pre_start = "off" }\n'
        'log = { max_size = "off", max_total = "off", compress = "off" }\nlimits = { nofile = "off" }'
    ).releases[0]
    assert (web.user, web.retry_failed, web.limits.nofile, dict(web.hooks.argv)) == (None, None, None, {})
    assert (web.log.max_size, web.log.max_total, web.log.compress) == (None, None, None)


def test_off_is_no_value_of_what_is_not(files: Files) -> None:
    problem = files.problem('period = "off"')
    assert problem == '[release.web] period: expected a duration such as "30s", found "off"'


def test_an_absolute_command_stays(files: Files) -> None:
    assert files.release('command = ["/bin/sleep", "1"]').releases[0].command == ("/bin/sleep", "1")


def test_hooks_are_kept_by_their_moment(files: Files) -> None:
    web = files.release('hooks = { on_crash = ["/bin/mail", "op"], timeout = "5s" }').releases[0]
    assert (dict(web.hooks.argv), web.hooks.timeout) == ({Hook.ON_CRASH: ("/bin/mail", "op")}, 5.0)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("helth = {}", '[release.web] helth: unknown key, did you mean "health"?'),
        ('interval = "5s"', '[release.web] interval: unknown key, did you mean "health.interval"?'),
        ("xyzzy = 1", '[release.web] xyzzy: unknown key, the nearest known one is "ready"'),
        ('"a b\\n" = 1', '[release.web] "a b\\n": unknown key, the nearest known one is "enabled"'),
        ("health.intervall = 1", '[release.web.health] intervall: unknown key, did you mean "interval"?'),
        ('health = "off"', '[release.web.health]: expected a table, found "off"'),
        ("env = []", "[release.web.env]: expected a table, found a list"),
        ("env = { PORT = 8080 }", "[release.web.env] PORT: expected a string, found an integer"),
        ('env = { "1A" = "" }', "[release.web.env] 1A: expected the name of an environment variable"),
        ('env = { A = "\\u0000" }', "[release.web.env] A: expected a string, found a string"),
        ('env = { RELCTL_INSTANCE = "1" }', "[release.web.env] RELCTL_INSTANCE: is reserved for relctl"),
        ('inherit_env = ["RELCTL_INSTANCE"]', "[release.web] inherit_env: RELCTL_INSTANCE is reserved for relctl"),
        ("intensity = -1", "[release.web] intensity: expected an integer from 0 to 1000000, found -1"),
        ("intensity = true", "[release.web] intensity: expected an integer from 0 to 1000000, found true"),
        ("period = 1979-05-27", '[release.web] period: expected a duration such as "30s", found a date or time'),
        ('period = "0s"', '[release.web] period: expected a duration of at least 1ms, found "0s"'),
        ("backoff.factor = 0.5", "[release.web.backoff] factor: expected a number from 1 to 1000, found 0.5"),
        ("backoff.factor = inf", "[release.web.backoff] factor: expected a number from 1 to 1000, found inf"),
        ("backoff.jitter = nan", "[release.web.backoff] jitter: expected a number from 0 to 1, found nan"),
        ("log.keep = -1", "[release.web.log] keep: expected an integer from 0 to 1000000, found -1"),
        (
            "limits.cpu_weight = 10001",
            '[release.web.limits] cpu_weight: expected an integer from 1 to 10000, or "off", found 10001',
        ),
        (
            'restart = "allways"',
            '[release.web] restart: expected permanent | transient | temporary, found "allways", '
            'the nearest known one is "transient"',
        ),
        ('cwd = "x"', '[release.web] cwd: expected an absolute path such as "/opt/web", or "off", found "x"'),
        (
            'directories = ["/a", "b"]',
            '[release.web] directories: item 2: expected an absolute path such as "/opt/web", found "b"',
        ),
        ('command = ["a", 1]', "[release.web] command: item 2: expected a string, found an integer"),
        (
            'ready = "nodes"',
            "[release.web] ready: expected auto | node | process | tcp:HOST:PORT | http://… | exec:COMMAND LINE"
            ' | mfa:M:F, found "nodes", did you mean "node"?',
        ),
        ('health.probe = "mfa:a:b"', '[release.web.health] probe: "mfa:a:b" is for ready only'),
    ],
)
def test_what_a_bad_key_of_a_release_says(files: Files, lines: str, problem: str) -> None:
    assert files.problem(lines) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[release.web]", '[release.web] root: missing, expected an absolute path such as "/opt/web"'),
        (
            '[release.web]\nroot = "o"',
            '[release.web] root: expected an absolute path such as "/opt/web", found "o"',
        ),
        ("[relase.web]", 'relase: unknown table, did you mean "release"?'),
        ("release = 5", "[release]: expected a table, found 5"),
        ("release.web = 5", "[release.web]: expected a table, found 5"),
        ("[[release.web]]", "[release.web]: expected a table, found a list"),
        ("daemon = 5", "[daemon]: expected a table, found 5"),
        ('[daemon]\nlogdir = "/x"', '[daemon] logdir: unknown key, did you mean "log_dir"?'),
        ('[daemon]\nmetrics = "x"', '[daemon] metrics: expected HOST:PORT with a port from 1 to 65535, found "x"'),
        (
            '[daemon]\non_stop = "levae"',
            '[daemon] on_stop: expected stop | leave, found "levae", did you mean "leave"?',
        ),
        (
            "[daemon]\ninclude = 1",
            '[daemon] include: expected a list of files or patterns such as "releases.d/*.toml", found 1',
        ),
        (
            '[daemon.access]\nview = ["a b"]',
            '[daemon.access] view: item 1: expected a user, "@group" or "*", found "a b"',
        ),
        (
            '[release."a/b"]\nroot = "/"',
            '[release."a/b"]: a release\'s name must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}',
        ),
        ("x = ", "not TOML: Invalid value (at end of document)"),
        ("a = 1\n\nb = =", "not TOML: Invalid value (at line 3, column 5)"),
        (f"a = {'[' * 20_000}", "not TOML: nested too deep"),
    ],
)
def test_what_a_bad_file_says(files: Files, text: str, problem: str) -> None:
    assert files.problems(text) == [f"DIR/relctld.toml: {problem}"]


def test_only_root_can_give_a_release_another_user(files: Files) -> None:
    text = "only a daemon that runs as root can change it, this one runs as user id 1000"
    assert files.problem('user = "web"', uid=1000) == f"[release.web] user: {text}"
    assert files.problem('group = "web"', uid=1000) == f"[release.web] group: {text}"
    assert files.release('user = "off"', uid=1000).releases[0].user is None
    assert files.release('user = "web"', uid=0).releases[0].user == "web"


def test_all_problems_of_all_files_are_told_at_once(files: Files) -> None:
    files.write("[release.a]\nrot = 1", "releases.d/a.toml")
    files.write("nonsense", "releases.d/b.toml")
    assert files.problems('[daemon]\nx = 1\n[release.web]\nintensity = "5"') == [
        "DIR/releases.d/b.toml: not TOML: Expected '=' after a key in a key/value pair (at end of document)",
        'DIR/relctld.toml: [daemon] x: unknown key, the nearest known one is "state_dir"',
        'DIR/relctld.toml: [release.web] intensity: expected an integer from 0 to 1000000, found "5"',
        'DIR/relctld.toml: [release.web] root: missing, expected an absolute path such as "/opt/web"',
        'DIR/releases.d/a.toml: [release.a] rot: unknown key, did you mean "root"?',
        'DIR/releases.d/a.toml: [release.a] root: missing, expected an absolute path such as "/opt/web"',
    ]


# -- includes --------------------------------------------------------------------------------------


def test_included_files_come_sorted_after_the_main_file(files: Files) -> None:
    for name in ("b", "a", ".hidden"):
        files.write(f'[release.{name.strip(".")}]\nroot = "/opt"', f"releases.d/{name}.toml")
    config = files.load('[release.z]\nroot = "/opt"')
    assert [spec.name for spec in config.releases] == ["z", "a", "b"]
    assert [source.path.name for source in config.sources] == ["relctld.toml", "a.toml", "b.toml"]


def test_patterns_keep_their_order_and_a_file_counts_once(files: Files) -> None:
    files.write('[release.a]\nroot = "/opt"', "a.toml")
    files.write('[release.b]\nroot = "/opt"', "b.toml")
    config = files.load('[daemon]\ninclude = ["b.toml", "*.toml", "none/*.toml"]')
    assert [spec.name for spec in config.releases] == ["b", "a"]


def test_the_same_release_in_two_files_names_both(files: Files) -> None:
    files.write('[release.web]\nroot = "/opt"', "releases.d/a.toml")
    assert files.problems('[release.web]\nroot = "/opt"') == [
        "DIR/releases.d/a.toml: [release.web]: the release is already in DIR/relctld.toml"
    ]


def test_the_daemons_table_is_for_the_main_file(files: Files) -> None:
    files.write("[daemon]", "releases.d/a.toml")
    assert files.problems("") == [
        "DIR/releases.d/a.toml: [daemon]: only the main file DIR/relctld.toml may have this table"
    ]


def test_files_that_cannot_be_read(files: Files) -> None:
    files.write("x" * (LARGEST + 1), "releases.d/big.toml")
    (files.directory / "releases.d/bytes.toml").write_bytes(b"# fine\n# \xff")
    (files.directory / "releases.d/dir.toml").mkdir()
    os.mkfifo(files.directory / "releases.d/fifo.toml")
    files.write("\ufeff", "releases.d/mark.toml")
    assert files.problems('[daemon]\ninclude = ["releases.d/*.toml", "gone.toml"]') == [
        f"DIR/releases.d/big.toml: longer than {LARGEST} bytes",
        "DIR/releases.d/bytes.toml: line 2 is not UTF-8",
        "DIR/releases.d/dir.toml: is a directory",
        "DIR/releases.d/fifo.toml: not a regular file",
        "DIR/releases.d/mark.toml: begins with a byte order mark: save it as UTF-8 without one",
        "DIR/gone.toml: no such file or directory",
    ]


def test_a_directory_that_cannot_be_listed_is_not_an_empty_one(files: Files) -> None:
    (files.directory / "o").symlink_to("o")
    assert files.problems('[daemon]\ninclude = ["o/*.toml"]') == [
        'DIR/relctld.toml: [daemon] include: cannot list what "o/*.toml" names: too many levels of symbolic links'
    ]


def test_refused_files_are_closed(files: Files) -> None:
    (files.directory / "dir.toml").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    files.problems('[daemon]\ninclude = ["dir.toml"]')
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_main_file(files: Files) -> None:
    assert files.problems() == ["DIR/relctld.toml: no such file or directory"]


def test_a_name_of_a_file_cannot_break_a_line(files: Files) -> None:
    files.write("x", "releases.d/a\n\x1b[0m.toml")
    with pytest.raises(ConfigError) as caught:
        files.load("")
    assert "releases.d/a\\n\\x1b[0m.toml: not TOML" in str(caught.value)
    assert str(caught.value).isprintable()


# -- the whole -------------------------------------------------------------------------------------


def test_a_socket_path_that_is_too_long(files: Files) -> None:
    fits = "/" + "x" * (107 - 1 - len("/control.sock"))
    assert files.load(f'[daemon]\nrun_dir = "{fits}"').run_dir == Path(fits)
    assert files.problems(f'[daemon]\nrun_dir = "{fits}é"') == [
        f"DIR/relctld.toml: [daemon] run_dir: the socket path {fits}é/control.sock has 109 bytes, "
        "at most 107 are possible"
    ]


def test_a_default_run_dir_can_be_too_long_too(files: Files) -> None:
    files.write("")
    with pytest.raises(ConfigError, match=r"\[daemon\] run_dir: the socket path .* has 121 bytes"):
        load(files.main, uid=1000, environ=ENVIRON | {"XDG_RUNTIME_DIR": "/" + "x" * 100})


def test_a_log_that_can_keep_nothing_is_warned_of(files: Files) -> None:
    (warning,) = files.release('log.max_total = "1MB"').warnings
    assert warning.endswith("[release.web.log] max_total: is smaller than max_size: no rotated file will be kept")


def test_a_variable_that_no_kernel_takes(files: Files) -> None:
    assert files.problem(f'env.A = "{"x" * 131_070}"') == (
        "[release.web.env] A: is longer than the 131071 bytes that a variable can have"
    )
    assert len(files.release(f'env.A = "{"x" * 131_069}"').releases[0].env["A"]) == 131_069


def test_secrets_are_not_shown(files: Files) -> None:
    config = files.release('env = { TOKEN = "hunter2" }')
    assert "hunter2" in config.sources[0].text
    assert "sources" not in repr(config)
