"""What goes wrong by a bug of ours costs one thing of one release, is told, and leaves nobody waiting."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import structlog

from relctld.core.effects import AskProbe, Effect, RecordRequest, RecordWant, RunHook, SpawnVm, Sweep
from relctld.core.events import Event, HookFinished, Probed, Recorded, SpawnFailed, Swept
from relctld.core.probes import Finding, Verdict

log = structlog.get_logger()

_P = ParamSpec("_P")
_T = TypeVar("_T")


def end_of(effect: Effect, why: str, at: str, chance: float) -> Event | None:
    """The end that the core waits for, of an effect that could not be carried out; None where it waits for none."""
    match effect:
        case RunHook(name, epoch, hook):
            return HookFinished(name, epoch, hook, why, at, chance)
        case SpawnVm(name, epoch):
            return SpawnFailed(name, epoch, why, False, at, chance)
        case Sweep(name, epoch):
            return Swept(name, epoch, (f"a sweep that failed: {why}",), chance)
        case AskProbe(name, epoch):
            return Probed(name, epoch, Finding(Verdict.MISSED, why), credible=False)
        case RecordWant(name, request_id) | RecordRequest(name, request_id):
            return Recorded(name, request_id, why)
        case _:
            return None


def tell(context: Mapping[str, Any]) -> None:
    """What went wrong in a callback or a task that nobody waits for; it costs that alone."""
    log.error("surprise", cause=str(context.get("message")), exc_info=context.get("exception"))


class Scribe(ThreadPoolExecutor):
    """One thread for the small files of the run directory, in their order. Nobody asks what became of it."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="scribe")

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """In its turn; a surprise is told."""
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(_tell)
        return future


def _tell(future: Future[_T]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("surprise", cause="scribe", exc_info=error)
