"""What a VM sees of the world: nothing of the daemon's own."""

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake
from tests.running import Fleet, Relctld, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

OF_THE_C_LIBRARY = 3 << 31
"""Signals 32 and 33: glibc lets no program touch them, so whoever started the tests may have left them ignored."""

CAUGHT_BY_PYTHON = 1 << (2 - 1) | 1 << (13 - 1) | 1 << (25 - 1)  # SIGINT is caught; SIGPIPE, SIGXFSZ ignored by itself


def facts(daemon: Relctld, name: str, path: Path) -> dict[str, Any]:
    wait_until(path.exists, what=lambda: f"{path}; it said {daemon.said()[-1000:]}")
    daemon.wait_for(name, state="running")
    return dict(json.loads(path.read_text()))


def test_a_vm_inherits_nothing_of_the_daemon(relctld: Fleet, tmp_path: Path) -> None:
    env_file = tmp_path / "web.env"
    env_file.write_text("FROM_FILE=file\nBOTH=file\n# comment\nQUOTED='a b'\n")
    table = fake(tmp_path / "web", "facts", tmp_path / "facts", env_file=env_file,
                 env={"PORT": "8080", "BOTH": "env"}, inherit_env=["TZ", "NOT_SET"])  # fmt: skip
    daemon = relctld({"web": table}, start=False)
    daemon.environ |= {
        "TZ": "Europe/Berlin", "SECRET": "of the daemon", "RELEASE_NAME": "mine", "LISTEN_FDS": "0", "BINDIR": "/x",
        "NOTIFY_SOCKET": str(tmp_path / "no-such-socket"), "INVOCATION_ID": "1", "LANG": "C.UTF-8", "ERL_LIBS": "/x",
    }  # fmt: skip
    daemon.start()
    seen = facts(daemon, "web", tmp_path / "facts")
    me = pwd.getpwuid(os.geteuid())
    given = seen["environ"]
    instance, dump = given.pop("RELCTL_INSTANCE"), given.pop("ERL_CRASH_DUMP")
    given.pop("PWD", None)  # dash says where it is
    assert given == {
        "HOME": me.pw_dir, "USER": me.pw_name, "LOGNAME": me.pw_name, "SHELL": me.pw_shell,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
        "TZ": "Europe/Berlin", "FROM_FILE": "file", "QUOTED": "a b", "PORT": "8080", "BOTH": "env",
        "RELCTL_RELEASE": "web", "RELCTL_EPOCH": "1",
        "ERL_CRASH_DUMP_BYTES": "200000000", "ERL_CRASH_DUMP_SECONDS": "30",
    }  # fmt: skip
    assert len(instance) == 32
    assert Path(dump).parent == daemon.log_dir / "web" / "crash"
    out = str(daemon.run_dir / "releases" / "web" / "out")
    assert seen["fds"] == {"0": "/dev/null", "1": out, "2": out}
    assert seen["session"] is True
    assert (seen["cwd"], seen["umask"]) == (str(tmp_path / "web"), 0o027)
    assert seen["oom_score_adj"] == 0


def test_a_vm_begins_with_clean_signals(relctld: Fleet, tmp_path: Path) -> None:
    """Also where the daemon itself was started with some ignored, as `nohup` and shells do."""
    daemon = relctld(
        {"web": fake(tmp_path / "web", "facts", tmp_path / "facts")},
        wrap=("sh", "-c", 'trap "" HUP INT QUIT USR1 USR2 TERM; exec "$@"', "sh"),
    )
    status = facts(daemon, "web", tmp_path / "facts")["status"]
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) & ~(CAUGHT_BY_PYTHON | OF_THE_C_LIBRARY) == 0, status["SigIgn"]
    assert int(status["SigCgt"], 16) & ~CAUGHT_BY_PYTHON == 0, status["SigCgt"]


def test_keys_of_a_release_act(relctld: Fleet, tmp_path: Path) -> None:
    table = fake(tmp_path / "web", "facts", tmp_path / "facts", umask="0077", cwd=tmp_path, env={"HOME": "/nowhere"},
                 directories=[tmp_path / "var" / "data"], limits={"nofile": 512, "core": 0})  # fmt: skip
    seen = facts(relctld({"web": table}), "web", tmp_path / "facts")
    assert (seen["cwd"], seen["umask"], seen["environ"]["HOME"]) == (str(tmp_path), 0o077, "/nowhere")
    assert (tmp_path / "var" / "data").is_dir()
    limits = {line[:25].strip(): line[26:].split()[:2] for line in seen["limits"].splitlines()}
    assert limits["Max open files"] == ["512", "512"]
    assert limits["Max core file size"] == ["0", "0"]


def test_a_vm_of_another_user(relctld: Fleet, tmp_path: Path) -> None:
    need_root()
    user = pwd.getpwnam("nobody")
    open_to_all(tmp_path)
    (tmp_path / "out").mkdir()
    os.chown(tmp_path / "out", user.pw_uid, user.pw_gid)
    table = fake(tmp_path / "web", "facts", tmp_path / "out" / "facts", "say", "hello", user="nobody", group="nogroup",
                 directories=[tmp_path / "data"],
                 hooks={"pre_start": ["sh", "-c", f"id -u > {tmp_path}/out/hook"]})  # fmt: skip
    daemon = relctld({"web": table})
    seen = facts(daemon, "web", tmp_path / "out" / "facts")
    assert seen["status"]["Uid"].split() == [str(user.pw_uid)] * 4
    assert seen["status"]["Gid"].split() == [str(user.pw_gid)] * 4
    assert set(seen["groups"]) <= {user.pw_gid}
    assert seen["environ"] == seen["environ"] | {"USER": "nobody", "HOME": user.pw_dir}
    assert (tmp_path / "out" / "hook").read_text().strip() == str(user.pw_uid)
    out = (daemon.run_dir / "releases" / "web" / "out").stat()
    assert (out.st_uid, out.st_mode & 0o777) == (user.pw_uid, 0o600)
    crash = (daemon.log_dir / "web" / "crash").stat()
    assert (crash.st_uid, crash.st_mode & 0o777) == (user.pw_uid, 0o750)
    assert (tmp_path / "data").stat().st_uid == user.pw_uid
    wait_until(lambda: "hello" in daemon.relctl("logs", "web").stdout)


def test_an_unknown_user_is_a_failed_start_with_its_reason(relctld: Fleet, tmp_path: Path) -> None:
    need_root()
    daemon = relctld({"web": fake(tmp_path / "web", user="no-such-user", enabled=False, intensity=0)})
    done = daemon.relctl("start", "web", check=False)
    assert (done.returncode, "user no-such-user does not exist" in done.stderr) == (1, True)


def open_to_all(folder: Path) -> None:
    """Let every user enter a directory of pytest's."""
    for path in (folder, *folder.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
