"""What every upgrade works with, put together by `runner`."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from relctld.core.probes import Finding, Probe
from relctld.core.state import Op
from relctld.core.transaction import Journal
from relctld.host.command import Commands
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.recipe import Recipe, Surroundings
from relctld.supervisor.upgrades.course import Course
from relctld.supervisor.upgrades.ledger import Luggage

Prepare = Callable[[Managed, Luggage | None], Recipe]
"""How the release would be launched now, or how what a luggage names would be: the config may have changed since.
Blocking; raises as `read_recipe`."""

Surround = Callable[[Managed], Surroundings]
"""In which the release's commands run, whatever is installed. Blocking; raises as `read_surroundings`."""

Ask = Callable[[Managed, Probe, float], Awaitable[Finding]]
"""What a release says to a probe, within so many seconds."""

Order = Callable[[str, Op, str], asyncio.Future[str]]
"""(release, start or restart, request id): why it came to nothing, when it is over; empty where it did not."""


@dataclass(frozen=True, slots=True)
class Tools:
    """`entered`: told of each phase, `shown`: of what keeps it from going on, `told`: of what else who waits should
    see."""

    nodes: Nodes
    commands: Commands
    pool: Executor
    prepare: Prepare
    surround: Surround
    order: Order
    ask: Ask
    course: Course
    entered: Callable[[Journal], None]
    shown: Callable[[str], None]
    told: Callable[[dict[str, Any]], None]
