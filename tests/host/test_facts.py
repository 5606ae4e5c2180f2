"""What `status` shows of a root that changes while it is looked at."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from relctld.core.spec import ReleaseSpec
from relctld.core.state import ReleaseState
from relctld.supervisor.facts import FactFinder
from relctld.supervisor.managed import Managed
from tests.faults.blocked import unreadable
from tests.running import need_root
from tests.unit.relctld.beam.test_flavour import ERTS, base, tree
from tests.waiting import wait_until

LOOKERS = 2


async def boot_version(facts: FactFinder, managed: Managed) -> str | None:
    installed = (await facts.look([managed]))[managed.name].installed
    return installed.release.boot_version if installed.release else None


def test_what_was_read_before_a_change_is_not_shown_after_it(tmp_path: Path) -> None:
    """Though whoever read it was slow, and nobody can look again."""
    need_root()
    root = tree(tmp_path / "web", base("1.3.0") | base())
    data, new = root / "releases" / "start_erl.data", tmp_path / "new"
    new.write_text(f"{ERTS} 1.3.0\n")
    managed = Managed(ReleaseSpec("web", root), ReleaseState("web"), tmp_path / "run", tmp_path / "log")

    async def change() -> None:
        with ThreadPoolExecutor(LOOKERS) as pool:
            facts = FactFinder(pool)
            with unreadable(data) as somebody_reads:
                assert await boot_version(facts, managed) is None
                wait_until(somebody_reads, what="who looks")
                new.rename(data)
                await facts.look_anew(managed)
                assert await boot_version(facts, managed) == "1.3.0"
            ended, end = threading.Barrier(LOOKERS + 1), threading.Event()
            for _ in range(LOOKERS):
                pool.submit(lambda: (ended.wait(), end.wait()))
            await asyncio.to_thread(ended.wait)  # who read has ended, and nobody can look
            try:
                assert await boot_version(facts, managed) == "1.3.0"
            finally:
                end.set()

    asyncio.run(change())


def test_what_cannot_be_read_after_a_change_is_not_known(tmp_path: Path) -> None:
    """Rather than shown as it was."""
    need_root()
    root = tree(tmp_path / "web", base())
    managed = Managed(ReleaseSpec("web", root), ReleaseState("web"), tmp_path / "run", tmp_path / "log")

    async def change() -> None:
        with ThreadPoolExecutor(LOOKERS) as pool:
            facts = FactFinder(pool)
            await facts.look_anew(managed)
            assert await boot_version(facts, managed) == "1.2.0"
            with unreadable(root / "releases" / "start_erl.data"):
                await facts.look_anew(managed)
                assert await boot_version(facts, managed) is None
            await facts.look_anew(managed)
            assert await boot_version(facts, managed) == "1.2.0"

    asyncio.run(change())
