"""Signals on a loop that is kept busy: none is lost, whatever floods."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from relctld.host.signals import Signals
from tests.host.seam import open_fds, until

pytestmark = pytest.mark.host


def with_signals(work: Callable[[Signals], Awaitable[None]]) -> None:
    async def run() -> None:
        signals = Signals(asyncio.get_running_loop())
        try:
            await asyncio.wait_for(work(signals), 20)
        finally:
            signals.close()

    before = open_fds()
    asyncio.run(run())
    assert open_fds() == before


def test_the_last_signal_of_a_flood_is_told() -> None:
    told: Counter[str] = Counter()

    async def work(signals: Signals) -> None:
        signals.on(signal.SIGUSR1, lambda: told.update(["flood"]))
        signals.on(signal.SIGUSR2, lambda: told.update(["last"]))
        for _ in range(100_000):  # the loop does not run meanwhile: more than any pipe or socket holds
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(lambda: told["last"], what="the signal behind the flood")

    with_signals(work)
    assert told["last"] == 1
    assert told["flood"] >= 1


def test_a_loop_that_sleeps_is_woken() -> None:
    async def work(signals: Signals) -> None:
        heard = asyncio.Event()
        signals.on(signal.SIGUSR1, heard.set)
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGUSR1)
        await heard.wait()

    with_signals(work)


def test_after_the_close_a_signal_means_what_it_meant() -> None:
    async def work(signals: Signals) -> None:
        signals.on(signal.SIGCHLD, lambda: None)

    with_signals(work)
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
