"""A launch from the spec to the open gate, with real processes; whatever fails leaves nothing behind and says why."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relctld.config import fingerprints
from relctld.core.spec import CrashSpec, Limits, NodeSpec, ReleaseSpec
from relctld.core.state import ExitStatus
from relctld.host import containment, process
from relctld.host.containment import Cgroups
from relctld.host.gate import COMM
from relctld.host.reaper import Reaper
from relctld.host.records import Launched, Recorded, read_vm
from relctld.supervisor import launcher as module
from relctld.supervisor.launcher import Launch, Launcher, LaunchError
from relctld.supervisor.recipe import Place
from tests.host.seam import ROOT, children, gone, need_root, open_fds, public_folder, script, until, with_reaper
from tests.waiting import wait_until

pytestmark = pytest.mark.host

DAEMON = {"LANG": "de_DE.UTF-8", "TZ": "Europe/Berlin", "NOTIFY_SOCKET": "/run/none", "SECRET": "s", "PATH": "/opt/bin"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def own_root(spec: ReleaseSpec) -> list[Path]:
    """No other release is there."""
    return [spec.root]


class NoThread(ThreadPoolExecutor):
    """A pool in which everything hangs."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


class Bench:
    """A release without Erlang, and what a launch of it needs. Afterwards nothing of it is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        script(self.root / "web", "#!/bin/sh\nexec /bin/sleep 60\n")
        self.place = Place(folder / "run/releases/web", folder / "log/web")
        self.spec = ReleaseSpec("web", self.root, command=("web", "foreground"))
        self.held = containment.choose(folder / "run")
        self.pool = ThreadPoolExecutor(2)
        self.environ = dict(DAEMON)

    def __call__(self, check: Callable[[Launch], None], epoch: int = 1, **changes: Any) -> tuple[ExitStatus, str]:
        """Launch, look, kill: the exit status and the last name. LaunchError passes through."""
        spec = replace(self.spec, **changes)

        async def work(reaper: Reaper) -> tuple[ExitStatus, str]:
            launcher = Launcher(reaper, self.held, self.pool, self.environ, 77, own_root)
            try:
                launch = await asyncio.to_thread(launcher.launch, spec, self.place, epoch)
                ended: asyncio.Future[tuple[ExitStatus, str]] = asyncio.get_running_loop().create_future()
                reaper.watch(launch.vm.pid, launch.pidfd, lambda *how: ended.set_result(how))
                try:
                    await asyncio.to_thread(check, launch)
                finally:
                    with suppress(ProcessLookupError):
                        os.kill(launch.vm.pid, signal.SIGKILL)
                    how = await ended
                    assert self.held.empty("web", epoch, launch.vm.instance, gentle=False) == ()
                return how
            finally:
                await until(lambda: not children(), what="the end of all children")

        before = open_fds()
        try:
            return with_reaper(work)
        finally:
            assert open_fds() == before

    def fails(self, **changes: Any) -> LaunchError:
        with pytest.raises(LaunchError) as caught:
            self(lambda _: None, **changes)
        assert self.groups() == []
        return caught.value

    def groups(self) -> list[str]:
        """The cgroups of VMs that are there."""
        held = self.held
        return [each.name for each in held._home.iterdir() if each.is_dir()] if isinstance(held, Cgroups) else []

    def close(self) -> None:
        self.pool.shutdown()
        assert self.groups() == []
        self.held.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with public_folder() as folder:
        bench = Bench(folder)
        yield bench
        bench.close()


def running(launch: Launch) -> None:
    wait_until(lambda: process.comm(launch.vm.pid) == "sleep", what="the program")


def environment(launch: Launch) -> dict[str, str]:
    running(launch)
    data = Path(f"/proc/{launch.vm.pid}/environ").read_bytes()
    return dict(os.fsdecode(entry).split("=", 1) for entry in data.split(b"\0") if entry)


def owner(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


# -- what a VM gets ----------------------------------------------------------------------------


def test_the_environment_is_built_up_and_holds_nothing_else(bench: Bench) -> None:
    me = pwd.getpwuid(os.geteuid())
    seen: dict[str, str] = {}

    def check(launch: Launch) -> None:
        seen.update(environment(launch))
        assert seen.pop("RELCTL_INSTANCE") == launch.vm.instance

    bench(check, epoch=3)
    dump = seen.pop("ERL_CRASH_DUMP")
    assert Path(dump).parent == bench.place.log / "crash"
    seen.pop("PWD", None)  # the script's own shell
    assert seen == {
        "HOME": me.pw_dir,
        "USER": me.pw_name,
        "LOGNAME": me.pw_name,
        "SHELL": me.pw_shell,
        "PATH": PATH,
        "LANG": "de_DE.UTF-8",
        "RELCTL_RELEASE": "web",
        "RELCTL_EPOCH": "3",
        "ERL_CRASH_DUMP_BYTES": "200000000",
        "ERL_CRASH_DUMP_SECONDS": "30",
    }


def test_later_wins(bench: Bench) -> None:
    file = bench.folder / "env"
    file.write_text("A=file\nB=file\nPATH=/file\nTZ=file\nERL_CRASH_DUMP=/mine\n")
    env = {"A": "env", "C": "env", "RELCTL_EPOCH": "99"}
    inherit = ("TZ", "SECRET", "MISSING", "PATH")
    seen: dict[str, str] = {}
    bench(lambda launch: seen.update(environment(launch)), env=env, env_file=file, inherit_env=inherit)
    expected = {
        "A": "env", "B": "file", "C": "env", "TZ": "file", "SECRET": "s", "PATH": "/file",
        "ERL_CRASH_DUMP": "/mine", "RELCTL_EPOCH": "1",
    }  # fmt: skip
    assert seen == seen | expected
    assert not {"MISSING", "NOTIFY_SOCKET"} & seen.keys()


def test_without_a_language_it_is_utf8(bench: Bench) -> None:
    del bench.environ["LANG"]
    seen: dict[str, str] = {}
    bench(lambda launch: seen.update(environment(launch)), crash=CrashSpec(keep=0))
    assert seen["LANG"] == "C.UTF-8"
    assert seen["ERL_CRASH_DUMP_SECONDS"] == "0"
    assert "ERL_CRASH_DUMP" not in seen


def test_it_is_recorded_contained_and_what_it_should_be(bench: Bench) -> None:
    def check(launch: Launch) -> None:
        running(launch)
        pid = launch.vm.pid
        assert read_vm(bench.place.run) == Recorded(7, launch.vm, opened=True)
        assert launch.vm.ticks == process.start_ticks(pid)
        assert bench.groups() == ([f"web.e7.{launch.vm.instance[:8]}"] if isinstance(bench.held, Cgroups) else [])
        assert launch.launched == Launched(None, None, "web@host", fingerprints(spec))
        assert (launch.argv, launch.cwd) == ((str(bench.root / "web"), "foreground"), bench.folder)
        assert os.readlink(f"/proc/{pid}/cwd") == str(bench.folder)
        assert os.readlink(f"/proc/{pid}/fd/1") == str(bench.place.run / "out")
        said = Path(f"/proc/{pid}/status").read_text()
        assert "Umask:\t0077" in said
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (50, 50)

    changes: dict[str, Any] = {"cwd": bench.folder, "umask": 0o077, "limits": Limits(nofile=50)}
    changes["node"] = NodeSpec(name="web@host")
    spec = replace(bench.spec, **changes)
    how, _ = bench(check, epoch=7, **changes)
    assert how == ExitStatus(signal="SIGKILL")


def test_what_cannot_be_executed_ends_as_a_gate(bench: Bench) -> None:
    def ends(launch: Launch) -> None:
        wait_until(lambda: gone(launch.vm.pid), what="the end of the gate")

    assert bench(ends, command=("missing",)) == (ExitStatus(code=127), COMM)


# -- directories -------------------------------------------------------------------------------


def test_each_start_has_an_empty_scratch_directory_of_its_own(bench: Bench) -> None:
    scratch = bench.place.run / "scratch"
    bench(running)
    outside = bench.folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (scratch / "deep/er").mkdir(parents=True)
    (scratch / "link").symlink_to(outside)
    bench(running)
    assert os.listdir(scratch) == []
    assert owner(scratch) == (os.geteuid(), os.getegid(), 0o700)
    assert (outside / "precious").exists()
    assert stat.S_IMODE(bench.place.run.stat().st_mode) == 0o711
    assert stat.S_IMODE(bench.place.log.stat().st_mode) == 0o751


def test_directories_are_made_and_owned_for_the_releases_user(bench: Bench) -> None:
    need_root("another user")
    there = bench.folder / "there"
    there.mkdir(mode=0o701)
    made = bench.folder / "a/b/made"

    def check(launch: Launch) -> None:
        running(launch)
        assert f"Uid:\t{daemon.pw_uid}\t" in Path(f"/proc/{launch.vm.pid}/status").read_text()
        assert environment(launch)["HOME"] == daemon.pw_dir

    daemon = pwd.getpwnam("daemon")
    bench(check, user="daemon", group="adm", directories=(there, made))
    assert owner(there) == (daemon.pw_uid, 4, 0o701)
    assert owner(made) == (daemon.pw_uid, 4, 0o750)
    assert owner(made.parent) == (0, 0, 0o755)
    assert owner(bench.place.log / "crash") == (daemon.pw_uid, 4, 0o750)
    assert owner(bench.place.log) == (0, 0, 0o751)
    assert owner(bench.place.run / "out") == (daemon.pw_uid, 4, 0o600)
    assert owner(bench.place.run / "scratch") == (daemon.pw_uid, 4, 0o700)
    assert owner(bench.place.run / "vm.json") == (0, 0, 0o600)


def test_a_link_in_the_place_of_a_directory_is_refused(bench: Bench) -> None:
    need_root("another user")
    target = bench.folder / "target"
    target.mkdir()
    (bench.folder / "link").symlink_to(target)
    error = bench.fails(user="daemon", directories=(bench.folder / "link",))
    assert str(error) == f"{bench.folder}/link: is a link"
    assert owner(target)[0] == 0


def test_a_nodes_user_cannot_lead_us_elsewhere_with_a_link_on_the_way(bench: Bench) -> None:
    """`directories = ["/var/lib/web/a/b"]`: all below /var/lib/web is the user's to shape."""
    need_root("another user")
    home, target = bench.folder / "home", bench.folder / "target"
    home.mkdir()
    os.chown(home, 1, 1)
    target.mkdir()
    (target / "cron.d").mkdir()
    (home / "a").symlink_to(target)
    error = bench.fails(user="daemon", directories=(home / "a/cron.d",))
    assert str(error) == f"{home}/a/cron.d: a, on the way to it, is a link that cannot be trusted"
    bench.fails(user="daemon", directories=(home / "a/new",))
    assert owner(target / "cron.d")[0] == 0
    assert not (target / "new").exists()


def test_a_link_of_the_administrators_own_is_followed(bench: Bench) -> None:
    need_root("another user")
    (bench.folder / "disk").mkdir()
    (bench.folder / "var").symlink_to(bench.folder / "disk")
    bench(running, user="daemon", directories=(bench.folder / "var/web",))
    assert owner(bench.folder / "disk/web")[0] == 1


def test_a_file_in_the_place_of_a_directory(bench: Bench) -> None:
    (bench.folder / "file").write_text("x")
    error = bench.fails(directories=(bench.folder / "file",))
    assert str(error) == f"{bench.folder}/file: not a directory"


# -- a log disk that hangs ---------------------------------------------------------------------


def test_a_log_disk_that_hangs_costs_one_worker_and_little_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CRASH_DIR_WITHIN", 0.2)
    hangs = NoThread()
    times = []

    async def work(reaper: Reaper) -> None:
        launcher = Launcher(reaper, bench.held, hangs, bench.environ, 77, own_root)
        for epoch in (1, 2, 3):
            begun = time.monotonic()
            launch = await asyncio.to_thread(launcher.launch, bench.spec, bench.place, epoch)
            times.append(time.monotonic() - begun)
            assert environment(launch)["ERL_CRASH_DUMP"].startswith(str(bench.place.log / "crash"))
            os.kill(launch.vm.pid, signal.SIGKILL)
            reaper.watch(launch.vm.pid, launch.pidfd, lambda *_: None)
            await until(lambda: not reaper.pids())
            bench.held.empty("web", epoch, launch.vm.instance, gentle=False)
            if epoch == 2:
                hangs.futures[0].set_result(None)

    with_reaper(work)
    assert times[0] >= 0.2
    assert times[1] < times[0]
    assert len(hangs.futures) == 2  # again only once the first came back


def test_crash_dumps_that_have_no_place_keep_nobody_from_starting(bench: Bench) -> None:
    (bench.folder / "log").write_text("a file")
    bench(running)


# -- what cannot be launched -------------------------------------------------------------------


def test_nothing_installed(bench: Bench) -> None:
    for root in (bench.folder / "none", bench.folder / "empty"):
        error = bench.fails(root=root)
        assert (str(error), error.nothing_installed) == (f"{root} is missing or empty", True)
        (bench.folder / "empty").mkdir(exist_ok=True)


def no_program(bench: Bench) -> dict[str, Any]:
    (bench.root / "web").write_bytes(b"MZ\0\0")
    return {}


def a_file_for_a_run_folder(bench: Bench) -> dict[str, Any]:
    bench.place.run.parent.mkdir(parents=True)
    bench.place.run.write_text("x")
    return {}


def no_record(bench: Bench) -> dict[str, Any]:
    (bench.place.run / ".vm.json.tmp").mkdir(parents=True)
    return {}


FAILURES: list[tuple[Callable[[Bench], dict[str, Any]], str]] = [
    (lambda _: {"user": "no-such-user"}, "user no-such-user does not exist"),
    (lambda _: {"group": "no-such-group"}, "group no-such-group does not exist"),
    (lambda b: {"env_file": b.folder / "none"}, "cannot use DIR/none: no such file or directory"),
    (lambda b: {"cwd": b.folder / "none"}, "DIR/none: no such file or directory"),
    (lambda b: {"cwd": b.root / "web"}, "DIR/root/web: not a directory"),
    (lambda b: {"env": {"A": "x" * 3_000_000}}, "/bin/sh: argument list too long"),
    (no_program, "DIR/root/web: no program for this machine"),
    (a_file_for_a_run_folder, "DIR/run/releases/web: file exists"),
    (no_record, "DIR/run/releases/web/.vm.json.tmp: is a directory"),
]


@pytest.mark.parametrize(("spoil", "why"), FAILURES, ids=[why[:30] for _, why in FAILURES])
def test_a_failure_says_why_and_leaves_nothing(
    bench: Bench, spoil: Callable[[Bench], dict[str, Any]], why: str
) -> None:
    error = bench.fails(**spoil(bench))
    assert str(error).replace(str(bench.folder), "DIR") == why
    assert not error.nothing_installed


def test_a_root_that_is_no_release_needs_a_command(bench: Bench) -> None:
    assert str(bench.root) in str(bench.fails(command=None))


def test_no_place_for_it_among_the_cgroups(bench: Bench) -> None:
    if not isinstance(bench.held, Cgroups):
        assert not ROOT
        pytest.skip("no cgroup2 that is ours to shape")
    bench.held = Cgroups(bench.folder / "none", bench.folder)
    with pytest.raises(LaunchError, match=r"none/web\.e1\.[0-9a-f]{8}: no such file or directory"):
        bench(lambda _: None)
    bench.held = containment.choose(bench.folder / "run")
