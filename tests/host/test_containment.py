"""Nothing of a VM outlives its end, whatever it forked, and nothing else is touched. Both kinds, real processes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host import containment, epmd, process
from relctld.host.containment import Cgroups, Containment, OomKills, Scopes, Sweep, belonging, groups
from relctld.host.gate import raise_gate
from relctld.host.manager import Manager
from tests import epmds
from tests.host.seam import epmd_binary, gone, kill, need_root, subreaper
from tests.waiting import wait_until

pytestmark = pytest.mark.host


class World:
    """Contained VMs, and a folder where their processes say who they are."""

    def __init__(self, folder: Path, held: Containment) -> None:
        self.folder = folder
        self.held = held
        self.vms: dict[str, tuple[int, Vm]] = {}

    def launch(self, name: str, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> Vm:
        """A VM that is a Python program; `say(WORD)` in it writes the pid of the caller into the folder."""
        code = _PROLOGUE.format(folder=str(self.folder)) + program
        instance = secrets.token_hex(8)
        raised = raise_gate(
            (sys.executable, "-S", "-c", code, *arguments),
            env={"PATH": "/usr/bin:/bin", "RELCTL_INSTANCE": instance, **(env or {})},
            cwd=Path("/"), umask=0o022, output=2, identity=None,
        )  # fmt: skip
        vm = Vm(raised.pid, process.start_ticks(raised.pid) or 0, instance)
        self.vms[name] = (len(self.vms) + 1, vm)
        self.held.place(name, self.vms[name][0], vm, Limits())
        raised.open()
        return vm

    def said(self, *words: str, timeout: float = 10.0) -> dict[str, int]:
        """Wait for these words: pids by word."""
        wait_until(lambda: all((self.folder / word).exists() for word in words), timeout, what=f"{words}")
        return {word: int((self.folder / word).read_text()) for word in words}

    def kill_leader(self, name: str) -> None:
        pid = self.vms[name][1].pid
        kill(pid)
        os.waitpid(pid, 0)

    def empty(self, name: str, *, gentle: bool = False) -> tuple[str, ...]:
        epoch, vm = self.vms[name]
        return self.held.empty(name, epoch, vm.instance, gentle=gentle)

    def close(self) -> None:
        for name, (_, vm) in self.vms.items():
            with suppress(ProcessLookupError, ChildProcessError):
                self.kill_leader(name)
            wait_until(lambda name=name: not self.empty(name), what=f"the end of {name}")  # type: ignore[misc]
            assert not belonging(vm.instance, vm)
        self.held.close()


_PROLOGUE = """
import os, signal, sys, time
def say(word):
    with open({folder!r} + "/." + word, "w") as file:
        file.write(str(os.getpid()))
    os.rename({folder!r} + "/." + word, {folder!r} + "/" + word)
def forever():
    time.sleep(60)
    os._exit(0)
def child(word, before=lambda: None, deaf=False):
    if os.fork() == 0:
        if deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        before()
        say(word)
        forever()
"""


@pytest.fixture(params=["cgroup", "sweep"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with subreaper():
        held = containment.choose(tmp_path / "run") if request.param == "cgroup" else Sweep()
        if held.kind != request.param:
            need_root("a cgroup of our own")
            pytest.skip("no cgroup2 that is ours to shape")
        world = World(tmp_path, held)
        yield world
        world.close()
        if isinstance(held, Cgroups):
            assert not held._home.exists()


def test_nothing_is_left_of_what_a_leader_left(world: World) -> None:
    world.launch(
        "web",
        """
def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)
child("plain")
child("group", os.setpgrp)
child("session", os.setsid)
child("daemon", daemon)
child("deaf", os.setsid, deaf=True)
child("stopped", lambda: (os.setsid(), say("almost"), os.kill(os.getpid(), signal.SIGSTOP)))
if os.fork() == 0:  # without its mark, in the session of the VM
    os.execve(sys.executable, [sys.executable, "-S", "-c", "open(%r, 'w').write(%r); import time; time.sleep(60)"
        % (sys.argv[1], str(os.getpid()))], {})
say("leader")
forever()
""",
        str(world.folder / "wiped"),
    )
    words = ("plain", "group", "session", "daemon", "deaf", "almost", "leader", "wiped")
    wait_until(lambda: (world.folder / "wiped").exists() and (world.folder / "wiped").read_text(), what="wiped")
    pids = world.said(*words)
    wait_until(lambda: (seen := process.stat(pids["almost"])) and seen.state == "T", what="the stopped one")
    world.kill_leader("web")
    assert world.empty("web") == ()
    assert {word for word, pid in pids.items() if not gone(pid)} == set()


def test_a_session_of_its_own_without_the_mark_is_found_below_what_has_it(world: World) -> None:
    world.launch(
        "web",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        os.execve("/bin/sleep", ["sleep", "60"], {})
    say("parent")
    forever()
forever()
""",
    )
    (parent,) = world.said("parent").values()
    wait_until(lambda: "sleep" in {process.comm(pid) for pid in below(parent)}, what="its child")
    (child,) = below(parent)
    world.kill_leader("web")
    assert world.empty("web") == ()
    assert gone(parent)
    assert gone(child)


def below(pid: int) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [each for each in pids if (seen := process.stat(each)) and seen.parent == pid]


def test_two_hundred_that_fork_anew_all_the_time(world: World) -> None:
    """Each lives for half a second, deaf to SIGTERM, and leaves a successor; for 20 s at most."""
    world.launch(
        "web",
        """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 20
for number in range(200):
    if os.fork() == 0:
        os.setpgrp() if number % 3 else os.setsid()
        time.sleep(number / 400)
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            time.sleep(0.5)
        os._exit(0)
say("bomb")
forever()
""",
    )
    world.said("bomb", timeout=30.0)
    _, vm = world.vms["web"]
    world.kill_leader("web")
    for _ in range(5):  # as the core does: again, until nothing is left
        if not (left := world.empty("web")):
            break
    assert left == ()
    assert not belonging(vm.instance, vm)


def test_a_gentle_end_asks_first(world: World) -> None:
    world.launch(
        "web",
        """
def polite(word):
    def asked(number, frame):
        say(word + "-asked")
        os._exit(0)
    signal.signal(signal.SIGTERM, asked)
child("one", lambda: polite("one"))
child("two", lambda: (os.setsid(), polite("two")))
child("deaf", deaf=True)
forever()
""",
    )
    pids = world.said("one", "two", "deaf")
    world.kill_leader("web")
    assert world.empty("web", gentle=True) == ()
    assert (world.folder / "one-asked").exists()
    assert (world.folder / "two-asked").exists()
    assert all(map(gone, pids.values()))


def test_without_being_gentle_nobody_is_asked(world: World) -> None:
    world.launch("web", 'child("one", lambda: signal.signal(signal.SIGTERM, lambda *_: say("asked")))\nforever()')
    pids = world.said("one")
    world.kill_leader("web")
    assert world.empty("web") == ()
    assert gone(pids["one"])
    assert not (world.folder / "asked").exists()


def test_other_releases_are_not_touched(world: World) -> None:
    world.launch("web", 'child("web")\nforever()')
    world.launch("api", 'child("api", os.setsid)\nforever()')
    pids = world.said("web", "api")
    world.kill_leader("web")
    assert world.empty("web") == ()
    assert gone(pids["web"])
    assert not gone(pids["api"])
    assert not gone(world.vms["api"][1].pid)


def test_emptying_what_is_empty_or_never_was(world: World) -> None:
    world.launch("web", "pass")
    os.waitpid(world.vms["web"][1].pid, 0)
    assert world.empty("web") == ()
    assert world.empty("web", gentle=True) == ()
    assert world.held.empty("none", 3, "", gentle=True) == ()
    assert world.held.oom_kills("none", 3, "") == OomKills()


def test_an_epmd_of_the_vms_own_is_spared_and_still_answers(world: World) -> None:
    binary = epmd_binary()
    with epmds.private_port() as port:
        env = {"ERL_EPMD_PORT": str(port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        world.launch("web", f'os.system("{binary} -daemon")\nchild("plain")\nforever()', env=env)
        pids = world.said("plain")
        wait_until(lambda: epmd.answers(port), what="epmd")
        world.kill_leader("web")
        assert world.empty("web", gentle=True) == ()
        assert gone(pids["plain"])
        assert epmd.answers(port)
        assert len(epmds.started_for(port)) == 1


def test_what_outlives_sigkill_is_described(world: World) -> None:
    """A frozen cgroup of version 1 stands for an uninterruptible wait; one of version 2 would let it be killed."""
    freezer = Path("/sys/fs/cgroup/freezer")
    need_root("freezing a process")
    if not (freezer / "cgroup.procs").exists():
        pytest.skip("no freezer of cgroup version 1, and nothing else here holds a process against SIGKILL")
    group = freezer / f"relctl-test-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        world.launch("web", 'child("stuck")\nforever()')
        stuck = world.said("stuck")["stuck"]
        (group / "cgroup.procs").write_text(str(stuck))
        (group / "freezer.state").write_text("FROZEN")
        wait_until(lambda: (group / "freezer.state").read_text() == "FROZEN\n", what="the frost")
        world.kill_leader("web")
        assert world.empty("web") == (process.describe(stuck),)
        assert process.describe(stuck).startswith(f"pid {stuck} (python")
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: gone(stuck), what="its end")
        assert world.empty("web") == ()
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: not (group / "cgroup.procs").read_text(), what="an empty freezer")
        group.rmdir()


# -- cgroups -----------------------------------------------------------------------------------


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[World]:
    with subreaper():
        held = containment.choose(tmp_path / "run")
        if not isinstance(held, Cgroups):
            need_root("a cgroup of our own")
            pytest.skip("no cgroup2 that is ours to shape")
        world = World(tmp_path, held)
        yield world
        world.close()
        assert not held._home.exists()


def group_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def test_a_vm_is_in_its_group_before_it_runs_and_takes_all_along(cgroups: World) -> None:
    vm = cgroups.launch("web", 'child("orphan", os.setsid)\nsay("leader")\nforever()')
    pids = cgroups.said("orphan", "leader")
    assert group_of(vm.pid).endswith(f"/web.e1.{vm.instance[:8]}")
    assert group_of(pids["orphan"]) == group_of(vm.pid)
    cgroups.held.close()  # not while a node lives in it
    assert group_of(vm.pid).endswith(f"/web.e1.{vm.instance[:8]}")


def test_a_process_that_made_a_group_below_for_itself_is_no_safer(cgroups: World) -> None:
    cgroups.launch("web", 'child("nested", os.setsid)\nforever()')
    nested = cgroups.said("nested")["nested"]
    assert isinstance(cgroups.held, Cgroups)
    below = cgroups.held._group("web", 1, cgroups.vms["web"][1].instance) / "own" / "deeper"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(nested))
    cgroups.kill_leader("web")
    assert cgroups.empty("web", gentle=True) == ()
    assert gone(nested)
    assert not cgroups.held._group("web", 1, cgroups.vms["web"][1].instance).exists()


def test_without_its_mark_in_its_environment_it_is_no_safer(cgroups: World) -> None:
    program = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    say("wiped")
    os.execve("/bin/sleep", ["sleep", "60"], {})
forever()
"""
    cgroups.launch("web", program)
    wiped = cgroups.said("wiped")["wiped"]
    wait_until(lambda: process.comm(wiped) == "sleep")
    cgroups.kill_leader("web")
    assert cgroups.empty("web") == ()
    assert gone(wiped)


def test_a_user_without_a_cgroup_gets_a_sweep() -> None:
    need_root("another user")
    code = "from pathlib import Path; from relctld.host.containment import choose; print(choose(Path('/x')).kind)"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, user=65534, group=65534, extra_groups=[])
    assert done.stdout == "sweep\n"


# -- memory ------------------------------------------------------------------------------------


def test_a_kill_is_one_more_than_before_in_the_group_or_beside_it_where_that_is_gone() -> None:
    before = OomKills(own=1, together=5)
    assert not OomKills(1, 5).since(before)
    assert not OomKills(1, 6).since(before)  # another release's
    assert OomKills(2, 6).since(before)
    assert OomKills(None, 6).since(before)
    assert not OomKills(None, 5).since(before)
    assert OomKills(1, 0).since(OomKills())
    assert not OomKills().since(OomKills())


def test_how_often_is_read_from_memory_events(tmp_path: Path) -> None:
    """Written as the kernel writes it: no controller of version 2 is to be had here."""
    assert groups.oom_kills(tmp_path) is None
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 812\noom 3\noom_kill 2\noom_group_kill 1\n")
    assert groups.oom_kills(tmp_path) == 2
    events.write_text("low 0\nhigh 0\nmax 0\noom 0\n")
    assert groups.oom_kills(tmp_path) is None


# -- identity ----------------------------------------------------------------------------------


def test_the_session_of_a_stranger_with_the_vms_pid_is_not_ours() -> None:
    stranger = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        ticks = process.start_ticks(stranger.pid) or 0
        assert set(belonging("no-such-mark", Vm(stranger.pid, ticks, ""))) == {stranger.pid}
        assert belonging("no-such-mark", Vm(stranger.pid, ticks - 1, "")) == {}
    finally:
        stranger.kill()
        stranger.wait()


def test_who_got_the_pid_of_a_vm_that_is_gone_is_put_into_no_scope(tmp_path: Path) -> None:
    vm = Vm(os.getpid(), 1, secrets.token_hex(8))
    nobody = Manager(f"{tmp_path}/bus", f"{tmp_path}/own")  # ManagerError, were it asked
    with pytest.raises(ProcessLookupError, match="is gone"):
        Scopes(tmp_path, tmp_path, nobody, Sweep(), None).settle("web", 1, vm, Limits())


def test_whoever_starts_relctld_from_inside_a_node_loses_neither_it_nor_its_nodes() -> None:
    code = """
import subprocess, sys
from relctld.host.containment import belonging
other = subprocess.Popen(["/bin/sleep", "60"], env={}, start_new_session=True)
found = belonging("the-mark")
other.kill()
other.wait()
print(found)
"""
    env = {**os.environ, "RELCTL_INSTANCE": "the-mark"}
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "{}\n"
