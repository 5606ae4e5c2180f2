"""Commands of the operator's: bounded in time and memory, and nothing of them is left when nobody waits any more."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from relctld.core.state import ExitStatus
from relctld.host import underway
from relctld.host.command import Commands, Outcome
from relctld.host.reaper import Reaper
from tests.host.seam import NOBODY, children, gone, need_root, open_fds, public_folder, script, until, with_reaper
from tests.waiting import wait_until

pytestmark = pytest.mark.host

T = TypeVar("T")
ENV = {"PATH": "/usr/bin:/bin"}


class Bench:
    """Runs commands of one folder; afterwards no child, no descriptor and no mark is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pool = ThreadPoolExecutor(4)

    async def sh(self, commands: Commands, text: str, timeout: float = 10.0, **more: Any) -> Outcome:
        return await self.run(commands, "/bin/sh", "-c", text, timeout=timeout, **more)

    async def run(self, commands: Commands, *argv: str, timeout: float = 10.0, **more: Any) -> Outcome:
        given: dict[str, Any] = {
            "env": ENV, "cwd": self.folder, "folder": self.folder, "identity": None, "timeout": timeout, **more
        }  # fmt: skip
        return await commands.run(argv, **given)

    def __call__(self, work: Callable[[Commands], Awaitable[T]]) -> T:
        async def whole(reaper: Reaper) -> T:
            try:
                return await work(Commands(reaper, self.pool, 1024))
            finally:
                await until(lambda: not children(), what="the end of all children")

        before = open_fds()
        result = with_reaper(whole)
        assert open_fds() == before
        assert underway.left(self.folder) == ()
        return result

    def pid(self, name: str) -> int:
        wait_until(lambda: (self.folder / name).exists() and (self.folder / name).read_text(), what=name)
        return int((self.folder / name).read_text())


@pytest.fixture
def bench() -> Iterator[Bench]:
    with public_folder() as folder:
        bench = Bench(folder)
        yield bench
        bench.pool.shutdown()


def test_what_ends_well_has_no_error(bench: Bench) -> None:
    done = bench(lambda c: bench.sh(c, "echo fine; exit 0"))
    assert done == Outcome(ExitStatus(code=0), "fine\n", late=False)
    assert done.error(10) is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("exit 3", "exit code 3"),
        ("echo first; echo no such table >&2; exit 1", "exit code 1: no such table"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("printf '\\377\\n\\n'; exit 1", "exit code 1: \ufffd"),
        ("head -c 300 /dev/zero | tr '\\0' x; exit 1", "exit code 1: " + "x" * 200),
    ],
)
def test_the_error_says_how_and_what_was_said_last(bench: Bench, text: str, error: str) -> None:
    assert bench(lambda c: bench.sh(c, text)).error(10) == error


def test_it_is_found_by_its_own_path_and_runs_where_it_should(bench: Bench) -> None:
    script(bench.folder / "hook", '#!/bin/sh\npwd; umask; echo "$A"; env | grep RELCTL | cut -d= -f1; cat\n')
    env = {"PATH": f"{bench.folder}:/usr/bin:/bin", "A": "ü\nb"}
    done = bench(lambda c: bench.run(c, "hook", env=env, umask=0o077))
    assert done.tail == f"{bench.folder}\n0077\nü\nb\nRELCTL_INSTANCE\n"


def test_it_may_be_another_user(bench: Bench) -> None:
    need_root("another user")
    assert bench(lambda c: bench.sh(c, "id -u; id -g; id -G", identity=NOBODY)).tail == "65534\n65534\n65534 4 24\n"


def test_at_the_timeout_the_whole_group_is_killed(bench: Bench) -> None:
    text = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >inner; sleep 60' & echo begun; sleep 60"
    done = bench(lambda c: bench.sh(c, text, timeout=0.5))
    assert done == Outcome(ExitStatus(signal="SIGKILL"), "begun\n", late=True)
    assert done.error(0.5) == "not done within 0.5 s: begun"
    wait_until(lambda: gone(bench.pid("inner")), what="the inner one")


def test_a_stopped_command_is_killed_too(bench: Bench) -> None:
    assert bench(lambda c: bench.sh(c, "kill -STOP $$", timeout=0.3)).late


def test_a_flood_is_bounded_and_does_not_hold_the_loop(bench: Bench) -> None:
    async def work(commands: Commands) -> tuple[Outcome, float]:
        loop = asyncio.get_running_loop()
        flood = loop.create_task(bench.sh(commands, "exec cat /dev/zero", timeout=0.7))
        worst, last = 0.0, loop.time()
        while not flood.done():
            await asyncio.sleep(0.01)
            worst, last = max(worst, loop.time() - last), loop.time()
        return await flood, worst

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done, worst = bench(work)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024
    assert (done.late, len(done.tail)) == (True, 4096)
    assert worst < 0.5


def test_what_it_leaves_in_the_background_does_not_hold_us(bench: Bench) -> None:
    """It is deliberate, as a rule; it is no part of the command any more."""

    async def work(commands: Commands) -> Outcome:
        done = await bench.sh(commands, "sleep 60 & echo $! >left; echo done")
        os.kill(bench.pid("left"), 9)
        return done

    assert bench(work) == Outcome(ExitStatus(code=0), "done\n", late=False)


def test_a_command_that_closes_its_output_is_waited_for(bench: Bench) -> None:
    assert bench(lambda c: bench.sh(c, "exec >&- 2>&-; sleep 0.1; exit 4")).status == ExitStatus(code=4)


@pytest.mark.parametrize(
    ("name", "mode", "content", "error"),
    [
        ("none", None, "", FileNotFoundError),
        ("plain", 0o644, "#!/bin/sh\n", PermissionError),
        ("lost", 0o755, "#!/nonexistent/sh\n", FileNotFoundError),
        ("text", 0o755, "hello\n", OSError),
    ],
)
def test_what_cannot_be_executed_raises(
    bench: Bench, name: str, mode: int | None, content: str, error: type[OSError]
) -> None:
    if mode is not None:
        (bench.folder / name).write_text(content)
        (bench.folder / name).chmod(mode)

    async def work(commands: Commands) -> None:
        with pytest.raises(error):
            await bench.run(commands, f"./{name}")
        with pytest.raises(FileNotFoundError):
            await bench.run(commands, "/bin/true", cwd=bench.folder / "nowhere")

    bench(work)


def test_while_it_runs_its_mark_is_written_down_for_another_daemon(bench: Bench) -> None:
    async def work(commands: Commands) -> None:
        task = asyncio.create_task(bench.sh(commands, "echo $$ >pid; sleep 60"))
        await asyncio.to_thread(bench.pid, "pid")
        [mark] = underway.left(bench.folder)
        assert commands.former(bench.folder) == ()
        await asyncio.to_thread(underway.end_left, bench.folder, [mark])
        assert (await task).status.signal == "SIGKILL"

    bench(work)


def test_cancelled_while_it_runs_it_is_killed(bench: Bench) -> None:
    async def work(commands: Commands) -> None:
        task = asyncio.create_task(bench.sh(commands, "sh -c 'echo $$ >inner; sleep 60' & sleep 60"))
        inner = await asyncio.to_thread(bench.pid, "inner")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: gone(inner), what="the end of the inner one")

    bench(work)


def test_cancelled_before_it_is_spawned_it_is_killed_and_writes_to_nobody_else(bench: Bench) -> None:
    """The numbers of its pipe are another file's by the time that it is spawned."""

    async def work(commands: Commands) -> None:
        hold = threading.Event()
        blocked = [bench.pool.submit(hold.wait) for _ in range(4)]
        task = asyncio.create_task(bench.sh(commands, "echo stray; sleep 60"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        others = [os.open(bench.folder / f"other{n}", os.O_RDWR | os.O_CREAT) for n in range(8)]
        hold.set()
        await asyncio.gather(*map(asyncio.wrap_future, blocked))
        await asyncio.get_running_loop().run_in_executor(bench.pool, lambda: None)
        await until(lambda: not children(), what="the end of what nobody waits for")
        assert [os.fstat(fd).st_size for fd in others] == [0] * 8
        for fd in others:
            os.close(fd)

    bench(work)


def test_a_child_that_cannot_be_watched_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is left for its pidfd."""

    def none_left(pid: int) -> int:
        raise OSError(24, "Too many open files")

    async def work(commands: Commands) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pidfd_open", none_left)
            with pytest.raises(OSError, match="Too many"):
                await bench.sh(commands, "sleep 60")

    bench(work)


def test_two_hundred_leave_no_descriptor(bench: Bench) -> None:
    async def work(commands: Commands) -> None:
        for _ in range(20):
            cases = [bench.sh(commands, "echo x; exit 1") for _ in range(8)]
            cases += [bench.sh(commands, "sleep 60", timeout=0.05), bench.run(commands, "/nonexistent")]
            results = await asyncio.gather(*cases, return_exceptions=True)
            assert [type(result) for result in results] == [Outcome] * 9 + [FileNotFoundError]

    bench(work)
