"""By which journal the launches of a release go, whatever the disk of the journals does.

Rule 1: by the one in memory, the last that was entered. No launch waits for that disk.
Rule 2: a journal is entered when it is durable and still stands, for a VM may have ended, or been launched, meanwhile.
        One that does not stand is written over by the one before it.
Rule 3: while what is on disk may be another one than launches go by, a launch first says in the run directory (tmpfs)
        by which it goes. To whoever comes after us that is the truth: `RUN/releases/NAME/upgrade.json`.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relctld.host import records
from relctld.supervisor.upgrades.ledger import Entry, Ledger, body_of, entry_of


class Course:
    """Of one release. `folder`: its place in the run directory · `lock`: held by who launches it, or decides what a
    launch brings · `is_left`: a former self left an upgrade, and nobody has read it yet.

    Blocking, but for `begin`.
    """

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.lock = threading.Lock()
        self.is_left = False
        self._ledger = ledger
        self._folder = folder
        self._entry: Entry | None = None
        self._is_astray = False
        """Whether what is on disk may be another one than `_entry`."""

    def found(self) -> Entry | None:
        """The upgrade that a former self left under way. Raises OSError."""
        entry, followed = self._ledger.read(), entry_of(records.read_upgrade(self._folder))
        if entry is None or followed is None or entry.journal.id != followed.journal.id:
            return entry
        self._is_astray = True
        return followed

    def begin(self, entry: Entry) -> None:
        """This is under way: it was found, or is durable since just now."""
        self._entry, self.is_left = entry, False

    def followed(self) -> Entry | None:
        """For a launch, under the lock: by what it goes; None where nothing is under way. Raises OSError."""
        if self.is_left:
            self._entry, self.is_left = self.found(), False
        if self._entry is not None and self._is_astray:
            records.write_upgrade(self._folder, body_of(self._entry))
        return self._entry

    def enter(self, entry: Entry, stands: Callable[[], bool]) -> bool:
        """Make it durable, and what launches go by; whether it is. `stands` is asked under the lock. Raises OSError."""
        with self.lock:
            if not stands():
                return False
            before, self._is_astray = self._entry, True
        self._ledger.write(entry)
        with self.lock:
            if has_entered := stands():
                self._settle(entry)
        if not has_entered and before is not None:
            self._ledger.write(before)
            with self.lock:
                self._settle(before)
        return has_entered

    def close(self, outcome: dict[str, Any]) -> None:
        """Nothing is under way any more. Raises OSError."""
        self._ledger.close(outcome)
        with self.lock:
            self._settle(None)

    def _settle(self, entry: Entry | None) -> None:
        """What is on disk is what launches go by from now on."""
        records.forget_upgrade(self._folder)
        self._entry, self._is_astray = entry, False
