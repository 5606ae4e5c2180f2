"""The reaper, with real children, orphans, and processes that are not ours."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relctld.core.state import UNKNOWN_STATUS, ExitStatus
from relctld.host import process
from relctld.host.reaper import Reaper
from tests.host.seam import children, kill, need_root, open_fds, subreaper, until, with_reaper

pytestmark = pytest.mark.host


def spawn(reaper: Reaper, *argv: str) -> tuple[int, int]:
    """As the launcher does it, in any thread: the pid is claimed, the pidfd is for `watch`."""
    with reaper.spawning() as claim:
        child = subprocess.Popen(argv)
        child.returncode = 0
        claim(child.pid)
    return child.pid, os.pidfd_open(child.pid)


def sh(reaper: Reaper, text: str) -> tuple[int, int]:
    return spawn(reaper, "/bin/sh", "-c", text)


def stray() -> None:
    """A child that nobody claims."""
    os.posix_spawn("/bin/true", ["true"], {})


async def status_of(reaper: Reaper, child: tuple[int, int]) -> tuple[ExitStatus, str]:
    ended: asyncio.Future[tuple[ExitStatus, str]] = asyncio.get_running_loop().create_future()
    reaper.watch(*child, lambda status, comm: ended.set_result((status, comm)))
    return await ended


def is_zombie(pid: int) -> bool:
    seen = process.stat(pid)
    return seen is not None and seen.state == "Z"


def test_two_hundred_ends_are_each_told_once_and_truly() -> None:
    told: Counter[tuple[int, ExitStatus]] = Counter()
    expected: dict[int, ExitStatus] = {}

    def one(reaper: Reaper, number: int) -> tuple[int, int]:
        text = "kill -9 $$" if number % 7 == 0 else f"exit {number % 256}"
        child = sh(reaper, text)
        expected[child[0]] = ExitStatus(signal="SIGKILL") if number % 7 == 0 else ExitStatus(code=number % 256)
        return child

    async def work(reaper: Reaper) -> None:
        loop = asyncio.get_running_loop()

        async def watched(number: int) -> None:
            pid, pidfd = await loop.run_in_executor(pool, one, reaper, number)
            await asyncio.sleep(random.random() / 50)  # some end before they are watched
            reaper.watch(pid, pidfd, lambda status, _: told.update([(pid, status)]))

        with ThreadPoolExecutor(16) as pool:
            await asyncio.gather(*(watched(number) for number in range(200)))
        await until(lambda: len(told) == 200, what="200 ends")
        assert not reaper.pids()

    before = open_fds()
    with_reaper(work)
    assert told == dict.fromkeys(expected.items(), 1)
    assert open_fds() == before
    assert not children()


def test_the_last_name_is_told() -> None:
    async def work(reaper: Reaper) -> None:
        assert await status_of(reaper, sh(reaper, "printf gone-now >/proc/$$/comm; exit 3")) == (
            ExitStatus(code=3),
            "gone-now",
        )

    with_reaper(work)


def test_orphans_that_came_to_us_are_reaped() -> None:
    async def work(reaper: Reaper) -> None:
        for _ in range(20):
            status, _ = await status_of(reaper, sh(reaper, "(sleep 0.0$$ & sleep 0.02 &) & (exit 9) & exit 4"))
            assert status == ExitStatus(code=4)
        await until(lambda: not children(), what="the end of the orphans")

    with subreaper():
        with_reaper(work)


def test_a_claimed_child_waits_for_its_watcher_whoever_else_ends() -> None:
    async def work(reaper: Reaper) -> None:
        pid, pidfd = sh(reaper, "exit 5")
        await until(lambda: is_zombie(pid), what="the end of the claimed one")
        assert (await status_of(reaper, sh(reaper, "exit 6")))[0] == ExitStatus(code=6)
        stray()
        await asyncio.sleep(0.1)
        assert is_zombie(pid)
        assert (await status_of(reaper, (pid, pidfd)))[0] == ExitStatus(code=5)
        await until(lambda: not children(), what="the stray, which stood behind it")

    with_reaper(work)


def test_a_child_that_somebody_waits_for_is_left_to_him() -> None:
    async def work(reaper: Reaper) -> None:
        def run() -> int:
            with reaper.spawning():
                return subprocess.run(["/bin/sh", "-c", "exit 42"], check=False).returncode

        others = [status_of(reaper, sh(reaper, "exit 7")) for _ in range(5)]
        codes = await asyncio.gather(*(asyncio.to_thread(run) for _ in range(20)))
        assert codes == [42] * 20
        assert [status for status, _ in await asyncio.gather(*others)] == [ExitStatus(code=7)] * 5
        await until(lambda: not children())

    with_reaper(work)


def test_an_abandoned_child_is_reaped_whenever_it_ends() -> None:
    async def work(reaper: Reaper) -> None:
        early, late = sh(reaper, "exit 1"), sh(reaper, "sleep 0.2")
        await until(lambda: is_zombie(early[0]))
        await asyncio.to_thread(reaper.abandon, early[0])  # the launcher does it in its worker's thread
        await asyncio.to_thread(reaper.abandon, late[0])
        await until(lambda: not children(), what="both to be reaped")
        for _, pidfd in (early, late):
            os.close(pidfd)

    with_reaper(work)


def test_nobody_is_told_after_the_close() -> None:
    told: list[ExitStatus] = []

    async def work(reaper: Reaper) -> tuple[int, int]:
        child = spawn(reaper, "/bin/sleep", "60")
        reaper.watch(*child, lambda status, _: told.append(status))
        return child

    before = open_fds()
    pid, _ = with_reaper(work)
    assert open_fds() == before
    kill(pid)
    os.waitpid(pid, 0)
    assert told == []


# -- not our children --------------------------------------------------------------------------

_PARENT = """
import os, sys, time
end, delay = sys.argv[1], float(sys.argv[2])
pid = os.fork()
if pid == 0:
    sys.stdin.readline()
    os.kill(os.getpid(), 9) if end == "SIGKILL" else os._exit(int(end))
print(pid, flush=True)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
time.sleep(delay)
os.waitpid(pid, 0)
print("reaped", flush=True)
sys.stdin.readline()
"""


class Stranger:
    """A process that is another's child: it ends as `end` says when told to, and is reaped `delay` seconds later."""

    def __init__(self, end: str, delay: float) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", _PARENT, end, str(delay)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert self.parent.stdout is not None
        self.pid = int(self.parent.stdout.readline())

    def end(self) -> None:
        assert self.parent.stdin is not None
        self.parent.stdin.write("\n")

    def reaped(self) -> None:
        assert self.parent.stdout is not None
        self.parent.stdout.readline()

    def close(self) -> None:
        for pipe in (self.parent.stdin, self.parent.stdout):
            assert pipe is not None
            pipe.close()
        self.parent.kill()
        self.parent.wait()


@pytest.fixture
def knows() -> bool:
    """Whether this kernel tells how a stranger ended (6.15)."""
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 15)


def watch_stranger(stranger: Stranger) -> ExitStatus:
    async def work(reaper: Reaper) -> ExitStatus:
        with reaper.spawning():  # its parent is a child of ours that we wait for ourselves
            pidfd = os.pidfd_open(stranger.pid)
            stranger.end()
            return (await status_of(reaper, (stranger.pid, pidfd)))[0]

    before = open_fds()
    try:
        return with_reaper(work)
    finally:
        assert open_fds() == before
        stranger.close()


@pytest.mark.parametrize("delay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("end", "status"),
    [("0", ExitStatus(code=0)), ("37", ExitStatus(code=37)), ("SIGKILL", ExitStatus(signal="SIGKILL"))],
)
def test_how_an_adopted_one_ended_is_known_once_its_parent_reaped_it(
    knows: bool, end: str, status: ExitStatus, delay: float
) -> None:
    assert watch_stranger(Stranger(end, delay)) == (status if knows else UNKNOWN_STATUS)


def test_an_adopted_one_that_nobody_reaps_ended_all_the_same() -> None:
    """In a container whose first process reaps nobody."""
    assert watch_stranger(Stranger("0", 30.0)) == UNKNOWN_STATUS


def test_the_pid_of_an_adopted_one_may_be_a_childs_before_we_know(knows: bool) -> None:
    need_root("choosing the next pid")
    stranger = Stranger("37", 0.0)
    told: list[tuple[str, ExitStatus]] = []

    def tell(who: str) -> Callable[[ExitStatus, str], None]:
        return lambda status, _: told.append((who, status))

    async def work(reaper: Reaper) -> None:
        with reaper.spawning():
            reaper.watch(stranger.pid, os.pidfd_open(stranger.pid), tell("adopted"))
            stranger.end()
            stranger.reaped()  # the loop stands still: it has not heard of it
            spawn_as(stranger.pid)
            reaper.watch(stranger.pid, os.pidfd_open(stranger.pid), tell("child"))
            await until(lambda: len(told) == 2, what="both ends")

    before = open_fds()
    try:
        with_reaper(work)
    finally:
        stranger.close()
    assert told == [("adopted", ExitStatus(code=37) if knows else UNKNOWN_STATUS), ("child", ExitStatus(code=9))]
    assert open_fds() <= before


def spawn_as(pid: int) -> None:
    """A child with this pid, which ends with 9. Others fork too, so it may take some tries."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    for _ in range(300):
        last.write_text(str(pid - 1))
        got = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 9"], {})
        if got == pid:
            return
        os.waitpid(got, 0)
    pytest.skip("others took that pid each time")
