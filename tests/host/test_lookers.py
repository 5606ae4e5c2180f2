"""What is looked up in threads, a few at a time."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from relctld.supervisor.nodes.lookers import Lookers

pytestmark = pytest.mark.host


def test_one_that_hangs_is_gone_round() -> None:
    hung = threading.Event()

    async def scenario() -> None:
        with ThreadPoolExecutor(32) as pool:
            lookers = Lookers(pool)
            hanging = [asyncio.create_task(lookers.look(hung.wait)) for _ in range(20)]
            try:
                assert await lookers.look(int, "7") == 7
                assert not any(task.done() for task in hanging)
            finally:
                hung.set()
            assert await asyncio.gather(*hanging) == [True] * 20

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_who_gives_up_leaves_its_turn_to_others() -> None:
    async def scenario() -> None:
        hung, trouble = threading.Event(), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))

        def fails() -> None:
            hung.wait()
            raise OSError("gone")

        with ThreadPoolExecutor(32) as pool:
            lookers = Lookers(pool)
            given_up = [asyncio.create_task(lookers.look(fails)) for _ in range(8)]
            await asyncio.sleep(0)
            for task in given_up:
                task.cancel()
            await asyncio.wait(given_up)
            assert await lookers.look(int, "7") == 7
            hung.set()
        assert trouble == []

    asyncio.run(asyncio.wait_for(scenario(), 20))
