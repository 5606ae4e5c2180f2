"""Whose fault a probe is that brings no answer."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from relctld.core.effects import AskProbe
from relctld.core.probes import ExecProbe, TcpProbe, Verdict
from relctld.core.spec import ReleaseSpec
from relctld.core.state import ReleaseState
from relctld.host import containment
from relctld.host.command import Commands
from relctld.host.reaper import Reaper
from relctld.supervisor.asking import Asking
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from tests.epmds import free_port
from tests.host.seam import with_reaper

pytestmark = pytest.mark.host


class Hanging(ThreadPoolExecutor):
    """A pool in which all hangs, as on a disk that does not answer."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return Future()


def test_a_disk_that_hangs_is_not_held_against_a_node(tmp_path: Path) -> None:
    async def work(reaper: Reaper) -> None:
        pool = Hanging(1)
        managed = Managed(ReleaseSpec("web", tmp_path), ReleaseState("web"), tmp_path, tmp_path)
        asking = Asking(
            launcher=Launcher(reaper, containment.choose(tmp_path), pool, {}, 1024, lambda _: ()),
            commands=Commands(reaper, pool, 1024),
            nodes=Nodes(pool, None, lambda _: None),  # type: ignore[arg-type]  # nothing is told here
            pool=pool,
            releases={"web": managed},
        )
        for why in ("no answer within 0.1 s", "true was not run: to look up its env_file or its user takes too long"):
            found = (await asking.probe(managed, AskProbe("web", 1, ExecProbe(("true",)), 0.1))).finding
            assert (found.verdict, found.detail) == (Verdict.REFUSED, why)
        found = (await asking.probe(managed, AskProbe("web", 1, TcpProbe("127.0.0.1", free_port()), 1.0))).finding
        assert found.verdict is Verdict.MISSED

    with_reaper(work)
