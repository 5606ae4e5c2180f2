"""Named tasks, kept until they are done."""

from __future__ import annotations

import asyncio

from relctld.supervisor.tasks import Tasks


def test_who_settles_waits_for_tasks_of_that_kind_alone() -> None:
    async def work() -> list[str]:
        tasks, done, end = Tasks(), list[str](), asyncio.Event()

        async def one(name: str, gate: asyncio.Event | None = None) -> None:
            await (gate.wait() if gate else asyncio.sleep(0))
            done.append(name)

        tasks.start("spawn web", one("spawn web"))
        tasks.start("spawning is another word", one("never", end))
        await tasks.settle("spawn", 60.0)
        await tasks.settle("sweep", 60.0)
        return done

    assert asyncio.run(work()) == ["spawn web"]


def test_who_settles_waits_no_longer_than_told() -> None:
    async def work() -> None:
        tasks, end = Tasks(), asyncio.Event()
        task = tasks.make("spawn web", _wait(end))
        await tasks.settle("spawn", 0.0)
        assert not task.done()
        await tasks.close()
        assert task.cancelled()

    asyncio.run(work())


def test_one_that_fails_does_not_keep_the_others_from_being_ended() -> None:
    async def work() -> None:
        tasks, end = Tasks(), asyncio.Event()
        failing, waiting = tasks.make("hook web", _fail()), tasks.make("probe web", _wait(end))
        await asyncio.wait([failing])
        await tasks.close()
        assert str(failing.exception()) == "a bug"
        assert waiting.cancelled()

    asyncio.run(work())


async def _wait(end: asyncio.Event) -> None:
    await end.wait()


async def _fail() -> None:
    raise ValueError("a bug")
