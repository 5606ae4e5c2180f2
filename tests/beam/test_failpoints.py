"""SIGKILL of relctld right before and right after everything that outlives it, under a real VM (`relctld.failpoints`).

Whatever it was at: the next relctld ends in the state that was asked for, with one VM, and a true answer.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relctld.failpoints import Failpoint
from tests.asked import LONG
from tests.attached import Attached
from tests.beam.supervised import Host, get, http_ready
from tests.epmds import free_port
from tests.fakes import fake
from tests.running import Relctld
from tests.waiting import wait_until
from tests.watching import Watching

pytestmark = [pytest.mark.beam, pytest.mark.slow]

EXIT_UNREACHABLE = 4
STUBBORN = {"DEMO_STOP_MS": "infinity"}


@dataclass
class World:
    """A relctld with one release, and what is under way."""

    host: Host
    root: Path
    port: int
    armed: Path
    client: subprocess.Popen[str] | None = None
    words: tuple[str, ...] = ()

    @property
    def daemon(self) -> Relctld:
        return self.host.daemon

    def configure(self, env: dict[str, str], *, other: bool = True, **keys: Any) -> None:
        """`web`, which answers on its port, and `other`, which is down."""
        own = {**env, "DEMO_HTTP_PORT": str(self.port)}
        web = self.host.release(self.root, own, **http_ready(self.port), **keys)
        more = {"other": fake(self.host.folder / "other", enabled=False)} if other else {}
        self.daemon.configure({"web": web, **more})

    def ask(self, *words: str) -> None:
        """An operator asks, and waits."""
        self.words = words
        self.client = self.daemon.spawn_relctl(*words)

    def answered(self) -> int:
        """The client ends well; how often it gave relctld up before, on a machine too busy to start one in seconds."""
        if self.client is None:
            return 0
        said, trouble = self.client.communicate(timeout=60)
        if self.client.returncode == EXIT_UNREACHABLE:
            self.ask(*self.words)
            return 1 + self.answered()
        assert self.client.returncode == 0, (said, trouble)
        return 0


@dataclass(frozen=True)
class Act:
    """What leads to a failpoint. `first`: the start of the daemon itself, else web runs (or rests) before `act`.

    `ends`: what is wanted of web in the end · `same`: its VM is not touched · `vms`: how many live in all, of
    which `before` before the act.
    """

    act: Callable[[World], object]
    ends: str = "running"
    same: bool = False
    vms: int = 1
    first: bool = False
    adopts: bool = False
    down: bool = False
    env: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)


def crash(world: World) -> None:
    os.kill(int(world.daemon.status("web")["pid"]), signal.SIGKILL)


def leave(world: World) -> None:
    """`other` leaves the config."""
    world.configure({}, other=False)
    world.ask("reload")


@contextmanager
def attached(world: World) -> Iterator[None]:
    with Attached(world.daemon, "web") as shell:
        yield
        shell.ends()


def attach(world: World) -> None:
    """A remote shell, which ends with relctld."""
    with attached(world):
        assert world.daemon.process is not None
        world.daemon.process.wait(60)


def nothing(_: World) -> None:
    """It comes by itself."""


ACTS = {
    "boot": Act(nothing, first=True),
    "boot with a hook": Act(nothing, first=True, keys={"hooks": {"pre_start": ["/bin/true"]}}),
    "adoption": Act(nothing, same=True, adopts=True),
    "crash": Act(crash, vms=2),
    "start": Act(lambda world: world.ask("start", "web"), vms=2, down=True),
    "stop": Act(lambda world: world.ask("stop", "web"), ends="stopped"),
    "stop with a dump": Act(
        lambda world: world.ask("stop", "web"),
        ends="stopped", env=STUBBORN, keys={"stop_timeout": "0.5s", "dump_on_kill": True},
    ),
    "stop by force": Act(
        lambda world: world.ask("stop", "web"), ends="stopped", env=STUBBORN, keys={"stop_timeout": "0.5s"}
    ),
    "restart": Act(lambda world: world.ask("restart", "web"), vms=2),
    "reload": Act(leave, same=True),
    "re-exec": Act(lambda world: world.ask("daemon", "reexec"), same=True),
    "remote shell": Act(attach, same=True),
}  # fmt: skip

REACHED_BY: dict[Failpoint, tuple[str, ...]] = {
    Failpoint.BEFORE_RUN_NOTE: ("boot",),
    Failpoint.AFTER_RUN_NOTE: ("boot",),
    Failpoint.BEFORE_GOOD_CONFIG: ("boot", "reload"),
    Failpoint.AFTER_GOOD_CONFIG: ("reload",),
    Failpoint.BEFORE_LOG_PLAN: ("boot", "reload"),
    Failpoint.AFTER_LOG_PLAN: ("boot",),
    Failpoint.BEFORE_MARK: ("crash", "boot", "restart"),
    Failpoint.AFTER_MARK: ("restart", "boot", "crash"),
    Failpoint.BEFORE_STATE: ("boot", "crash", "restart", "stop"),
    Failpoint.AFTER_STATE: ("boot", "crash", "restart", "stop"),
    Failpoint.BEFORE_WANT: ("start", "stop"),
    Failpoint.AFTER_WANT: ("start", "stop"),
    Failpoint.BEFORE_HISTORY: ("boot", "crash", "restart"),
    Failpoint.AFTER_HISTORY: ("boot", "crash", "restart"),
    Failpoint.BEFORE_OPERATIONS: ("re-exec",),
    Failpoint.AFTER_OPERATIONS: ("re-exec",),
    Failpoint.BEFORE_FORGET: ("reload",),
    Failpoint.AFTER_FORGET: ("reload",),
    Failpoint.BEFORE_GATE: ("boot", "start"),
    Failpoint.AFTER_GATE: ("boot", "start"),
    Failpoint.BEFORE_PLACE: ("boot", "start"),
    Failpoint.AFTER_PLACE: ("boot", "start"),
    Failpoint.BEFORE_RECORD: ("boot", "crash", "restart"),
    Failpoint.AFTER_RECORD: ("boot", "crash", "restart"),
    Failpoint.BEFORE_OPEN: ("boot", "crash", "restart"),
    Failpoint.AFTER_OPEN: ("boot", "crash", "restart"),
    Failpoint.BEFORE_OPENED: ("boot", "crash"),
    Failpoint.AFTER_OPENED: ("boot", "crash"),
    Failpoint.BEFORE_DISMISS: ("stop",),
    Failpoint.AFTER_DISMISS: ("stop",),
    Failpoint.BEFORE_LOGGER: ("boot",),
    Failpoint.AFTER_LOGGER: ("boot",),
    Failpoint.BEFORE_EPMD: ("boot",),
    Failpoint.AFTER_EPMD: ("boot",),
    Failpoint.BEFORE_COMMAND: ("boot with a hook",),
    Failpoint.AFTER_COMMAND: ("boot with a hook",),
    Failpoint.BEFORE_TERMINAL: ("remote shell",),
    Failpoint.AFTER_TERMINAL: ("remote shell",),
    Failpoint.BEFORE_TRIAL: ("re-exec",),
    Failpoint.AFTER_TRIAL: ("re-exec",),
    Failpoint.BEFORE_STOP: ("restart", "stop"),
    Failpoint.AFTER_STOP: ("restart", "stop"),
    Failpoint.BEFORE_DUMP: ("stop with a dump",),
    Failpoint.AFTER_DUMP: ("stop with a dump",),
    Failpoint.BEFORE_KILL: ("stop by force",),
    Failpoint.AFTER_KILL: ("stop by force",),
    Failpoint.AFTER_REAP: ("crash", "restart", "stop"),
    Failpoint.BEFORE_SWEEP: ("crash", "restart", "stop"),
    Failpoint.AFTER_SWEEP: ("crash", "restart", "stop"),
    Failpoint.BEFORE_REPLY: ("start", "restart", "stop", "reload"),
    Failpoint.AFTER_REPLY: ("start", "restart", "stop", "reload"),
    Failpoint.BEFORE_EXEC: ("re-exec",),
    Failpoint.BEFORE_ADOPTION: ("adoption",),
    Failpoint.AFTER_ADOPTION: ("adoption",),
}

CASES = [(point, act) for point in Failpoint for act in (REACHED_BY[point] if LONG else REACHED_BY[point][:1])]
"""Each failpoint by the first act that reaches it; RELCTL_TESTS=long: by all of them."""


@pytest.mark.parametrize(("point", "name"), CASES, ids=[f"{point}, {act}" for point, act in CASES])
def test_killed_there(point: Failpoint, name: str, host: Host, papp_root: Path) -> None:
    act, world = ACTS[name], World(host, papp_root, free_port(), host.folder / "armed")
    daemon = world.daemon
    world.configure(act.env, **act.keys)
    with Watching(host.folder) as vms:
        before = _prepare(world, act, point)
        world.armed.touch()
        act.act(world)
        _dies(daemon)
        daemon.start()
        gave_up = world.answered()
        now = daemon.wait_for("web", 60, state=act.ends, want="down" if act.ends == "stopped" else "up")
        if act.same:
            assert (now["pid"], now["epoch"]) == (before["pid"], before["epoch"])
        assert get(world.port, "/health")[0] == (200 if act.ends == "running" else 0)
        if now["pid"]:
            assert b"RELCTL_FAILPOINT" not in Path(f"/proc/{now['pid']}/environ").read_bytes()
        seqs = [event["seq"] for event in daemon.events()]
        assert seqs == list(range(1, len(seqs) + 1))
        assert daemon.relctl("stop", "web").returncode == 0
        wait_until(lambda: not vms.gates(), what=lambda: f"the end of {vms.gates()}")
        assert host.names() == []
        assert daemon.stop() == 0
    assert vms.twice == []
    again = gave_up if name == "restart" else 0  # a new request is another restart
    assert act.vms <= len(vms.of("web")) <= act.vms + again, vms.lived


def _prepare(world: World, act: Act, point: Failpoint) -> dict[str, Any]:
    """Everything before the act; the daemon that will die has its failpoint set."""
    daemon = world.daemon
    if act.adopts:
        daemon.start()
        before = daemon.wait_for("web", 60, state="running")
        daemon.kill()
    daemon.environ["RELCTL_FAILPOINT"] = f"{point}:1:{world.armed}"
    if act.first or act.adopts:
        world.armed.touch()
        daemon.start(wait=False)
    else:
        daemon.start()
        before = daemon.wait_for("web", 60, state="running", health="well")
        if act.down:
            daemon.relctl("stop", "web")
        daemon.noted("web", "health")  # all is told and written, so what comes now comes of the act
    del daemon.environ["RELCTL_FAILPOINT"]
    return {} if act.first else before


def _dies(daemon: Relctld) -> None:
    """By its own hand, and not otherwise."""
    assert daemon.process is not None
    assert daemon.process.wait(60) == -signal.SIGKILL, daemon.said()[-2000:]
    daemon.process = None
