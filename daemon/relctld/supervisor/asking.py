"""How a release is asked whether it is well, and how operators' commands for it are run (hooks, `exec:` probes).

Rule: whatever goes wrong in here is an answer, in words; nothing raises but CancelledError.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any

import structlog

from relctld.core import fleet
from relctld.core.effects import AskProbe, RunHook
from relctld.core.events import Probed
from relctld.core.probes import WELL, ExecProbe, Finding, LinkProbe, Probe, Verdict
from relctld.core.spec import Hook
from relctld.host import probe, underway, users
from relctld.host.command import Commands
from relctld.host.gate import Identity
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes

log = structlog.get_logger()

_END_AGAIN = 1.0
"""Seconds until what outlives SIGKILL is looked for again."""

_LATE = 0.5
"""Seconds beyond its timeout after which a probe's answer says more about us than about the node."""


class Asking:
    """Asks. `releases` are all, for the judgement whether most of them miss together."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        commands: Commands,
        nodes: Nodes,
        pool: Executor,
        releases: Mapping[str, Managed],
    ) -> None:
        self._launcher = launcher
        self._commands = commands
        self._nodes = nodes
        self._pool = pool
        self._releases = releases
        self._loop = asyncio.get_running_loop()

    async def ask(self, managed: Managed, probe: Probe, timeout: float) -> Finding:
        """What a release says now to a probe; its state is not touched by that."""
        return (await self.probe(managed, AskProbe(managed.name, managed.state.epoch, probe, timeout))).finding

    async def probe(self, managed: Managed, effect: AskProbe) -> Probed:
        """Ask a release once."""

        async def run(argv: tuple[str, ...], timeout: float) -> str | None:
            if managed.preparing is not None and not managed.preparing.done():
                return f"{argv[0]} was not run: to look up its env_file or its user takes too long"
            return await self._command(managed, argv, timeout, {}, prepared_once=True)

        begun = self._loop.time()
        found = Finding(Verdict.MISSED, "a probe that failed")
        try:
            if isinstance(effect.probe, LinkProbe):
                found = await self._nodes.ask(managed.name, effect.probe, effect.timeout)
            else:
                error = await probe.ask(effect.probe, effect.timeout, run)
                found = WELL if error is None else Finding(_fault(managed, effect), error)
        except Exception:
            log.exception("surprise", release=managed.name)
        credible = self._loop.time() - begun <= effect.timeout + _LATE
        if found.verdict is Verdict.MISSED:  # of the others nothing is said else, and to look at all of them takes time
            credible &= fleet.misses_count((m.state for m in self._releases.values()), managed.name)
        return Probed(managed.name, effect.epoch, found, credible=credible)

    async def hook(self, managed: Managed, effect: RunHook) -> str | None:
        """Run a hook; None or what went wrong."""
        hooks, name = managed.spec.hooks, managed.name
        last = managed.state.last_exit
        more = {"RELCTL_HOOK": str(effect.hook), "RELCTL_RELEASE": name, "RELCTL_EPOCH": str(effect.epoch)}
        if last is not None and effect.hook in (Hook.ON_CRASH, Hook.POST_STOP):
            more |= {"RELCTL_CAUSE": str(last.cause), "RELCTL_PID": str(last.pid or "")}
        return await self._command(managed, hooks.argv[effect.hook], hooks.timeout, more)

    async def upgrade_hook(self, managed: Managed, hook: Hook, more: Mapping[str, str]) -> str | None:
        """Run a hook of an upgrade, where there is one; None or what went wrong."""
        hooks = managed.spec.hooks
        if hook not in hooks.argv:
            return None
        known = {"RELCTL_HOOK": str(hook), "RELCTL_RELEASE": managed.name, "RELCTL_EPOCH": str(managed.state.epoch)}
        return await self._command(managed, hooks.argv[hook], hooks.timeout, {**known, **more})

    def former(self, managed: Managed) -> Coroutine[Any, Any, None] | None:
        """Ends what a former self ran for this release, if anything is left: nobody times it, it may be run anew."""
        marks = self._commands.former(managed.folder)
        return self._end_former(managed, marks) if marks else None

    async def _end_former(self, managed: Managed, marks: tuple[str, ...]) -> None:
        told = False
        try:
            while left := await self._loop.run_in_executor(self._pool, underway.end_left, managed.folder, marks):
                if not told:
                    log.warning("command.stuck", release=managed.name, left=list(left))
                told = True
                await asyncio.sleep(_END_AGAIN)
        except Exception:
            log.exception("surprise", release=managed.name)

    async def _command(
        self,
        managed: Managed,
        argv: tuple[str, ...],
        timeout: float,
        more: dict[str, str],
        *,
        prepared_once: bool = False,
    ) -> str | None:
        """Run a command as the release's user.

        `prepared_once`: it may not take one worker more each time, nor wait for the end of what a former self ran.
        """
        spec = managed.spec

        def prepare() -> tuple[Identity, dict[str, str]]:
            identity = users.look_up(spec.user, spec.group)
            return identity, self._launcher.environment(spec, identity) | more

        try:
            if not prepared_once:
                await managed.alone()
            preparing = self._loop.run_in_executor(self._pool, prepare)
            if prepared_once:
                managed.preparing = preparing
            identity, env = await asyncio.shield(preparing)
            switch = identity if spec.user or spec.group else None
            cwd = spec.cwd or spec.root
            outcome = await self._commands.run(
                argv, env=env, cwd=cwd, folder=managed.folder, identity=switch, timeout=timeout
            )
        except Exception as error:  # noqa: BLE001 an operator's command must not surprise the daemon
            return f"{argv[0]}: {str(error).lower() or type(error).__name__}"
        return outcome.error(timeout)


def _fault(managed: Managed, effect: AskProbe) -> Verdict:
    """Whose fault it is. A command that was not run, for a disk or a name service hangs, says nothing of a node."""
    preparing = managed.preparing if isinstance(effect.probe, ExecProbe) else None
    return Verdict.MISSED if preparing is None or preparing.done() else Verdict.REFUSED
