"""One release as the shell holds it: what the core knows of it, and the handles that the core must not know."""

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relctld.config import changed_keys, fingerprints
from relctld.core.spec import ReleaseSpec
from relctld.core.state import ReleaseState
from relctld.host.containment import OomKills
from relctld.host.records import Launched


@dataclass(slots=True)
class Managed:
    """A release under management.

    `folder`: its place in the run directory · `log_folder`: its logs · `launched`: what its latest VM was launched
    with, `launched_spec` the same in full, known only where this daemon launched it · `instance`: the latest VM's
    mark · `pidfd`: of the living VM, for signals · `hook`: the pre_start under way · `totals`: what of it was last
    given to the store · `save_due`: a save that is about to be made · `output`: our hold on its FIFO, so that its
    last words outlive it while no logger runs · `looking`: held by who looks for its dumps · `preparing`: what the
    latest `exec:` probe had to look up first · `oom_kills`: as many there were when the VM was last known to live ·
    `former`: ends the commands of a former daemon · `unlimited`: why the living VM has not got its limits yet.
    """

    spec: ReleaseSpec
    state: ReleaseState
    folder: Path
    log_folder: Path
    launched: Launched = field(default_factory=Launched)
    launched_spec: ReleaseSpec | None = None
    instance: str = ""
    pidfd: int | None = None
    unconfigured: bool = False
    hook: asyncio.Task[None] | None = None
    totals: object = None
    save_due: asyncio.TimerHandle | None = None
    output: int | None = None
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    preparing: asyncio.Future[Any] | None = None
    former: asyncio.Task[None] | None = None
    oom_kills: OomKills = field(default_factory=OomKills)
    unlimited: str | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    async def alone(self) -> None:
        """Until no command of a former daemon runs for it any more."""
        if self.former is not None:
            await asyncio.wait([self.former])

    def close(self) -> None:
        """Let go of its FIFO, and save it no more."""
        if self.save_due is not None:
            self.save_due.cancel()
            self.save_due = None
        if self.output is not None:
            os.close(self.output)
            self.output = None

    def restart_pending(self) -> list[str]:
        """The keys whose new value waits for the next VM."""
        if self.state.vm is None or self.launched_spec == self.spec:
            return []
        if self.launched_spec is not None:
            return [change.key for change in changed_keys(self.launched_spec, self.spec) if not change.at_once]
        before, now = dict(self.launched.fingerprints), dict(fingerprints(self.spec))
        return [key for key in dict.fromkeys((*before, *now)) if before.get(key) != now.get(key)]
