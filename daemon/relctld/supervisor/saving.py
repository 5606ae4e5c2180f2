"""The state of a release in the run directory, for a successor; its want in the store, for the next boot.

Rule: the scribe writes, in the order in which it is told to; nothing here waits for a disk.
"""

import asyncio
from concurrent.futures import Executor
from pathlib import Path

import structlog

from relctld.core.effects import Record, RecordWant
from relctld.core.events import Recorded
from relctld.core.state import ReleaseState, State, Want
from relctld.host import records
from relctld.host.records import Launched
from relctld.host.store import Store
from relctld.supervisor.managed import Managed
from relctld.supervisor.shell import Shell

log = structlog.get_logger()

_SAVE_WITHIN = 0.01


class Saver:
    """Saves the states of a shell's releases."""

    def __init__(self, shell: Shell, store: Store, scribe: Executor) -> None:
        self._shell = shell
        self._store = store
        self._scribe = scribe
        self._loop = asyncio.get_running_loop()

    def save(self, managed: Managed) -> None:
        """What an operator asked for, what runs and what rests, at once; the steps of a restart by itself together.

        So a restart is not kept by the writing. What must not be lost meanwhile is that a VM lives, or lived; that is
        recorded while it waits at its gate, and when it has passed.
        """
        state = managed.state
        on_its_way = state.state in (State.KILLING, State.STARTING)
        under_way = state.want is Want.UP and state.ending is None and on_its_way
        if managed.save_due is None:
            managed.save_due = self._loop.call_later(_SAVE_WITHIN, self._save_due, managed)
        if not under_way:
            self._save_due(managed)

    def record(self, managed: Managed, effect: Record) -> None:
        """The request before its want: a successor that acts on the want must know who asked."""

        def written(_: int | None, error: str | None) -> None:
            self._shell.post(Recorded(effect.release, effect.request_id, error))

        def known() -> None:
            if isinstance(effect, RecordWant):
                self._store.put_want(effect.release, effect.want, written)
            else:
                written(None, None)

        self._save_due(managed)
        self._scribe.submit(self._loop.call_soon_threadsafe, known)

    def close(self) -> None:
        """Save what is not saved yet."""
        for managed in self._shell.releases.values():
            self._save_due(managed)

    def _save_due(self, managed: Managed) -> None:
        if managed.save_due is not None:
            managed.save_due.cancel()
            managed.save_due = None
            self._scribe.submit(_write_state, managed.folder, managed.state, managed.launched)


def _write_state(folder: Path, state: ReleaseState, launched: Launched) -> None:
    """In the scribe's thread, which takes them in their order."""
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        records.write_state(folder, state, launched)
    except OSError as error:
        log.warning("state.unsaved", release=state.name, error=str(error))
