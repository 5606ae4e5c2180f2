"""Eyes on the VMs of a test, all the time: how many of each release lived, and never two at once.

with Watching(folder) as vms:
    ...
    assert vms.twice == []
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_VM = b"beam.smp"
_GATE = b"relctl-gate"
_KTHREADD = b"2"
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """A process of a release."""

    release: str
    epoch: int
    pid: int


class Watching:
    """Looks at all processes with TRACE=folder and a RELCTL_RELEASE in their environment.

    `lived`: every VM that was ever seen, in order · `twice`: what was wrong.
    """

    def __init__(self, folder: Path) -> None:
        self._mark = b"TRACE=" + os.fsencode(folder)
        self._strangers: dict[int, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.lived: list[Seen] = []
        self.twice: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def of(self, release: str) -> list[Seen]:
        """The VMs of one release that were seen so far."""
        return [seen for seen in self.lived if seen.release == release]

    def gates(self) -> list[Seen]:
        """The processes that wait at a gate now."""
        return self._look(_GATE)

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE):
            alive = self._look(_VM)
            self.lived += [seen for seen in alive if seen not in self.lived]
            for name in {seen.release for seen in alive}:
                same = [seen for seen in alive if seen.release == name]
                if len(same) > 1:
                    self.twice.append(f"two VMs of {name}: {same}")

    def _look(self, name: bytes) -> list[Seen]:
        pids = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}
        self._strangers = {pid: title for pid, title in self._strangers.items() if pid in pids}
        found = {pid: ours for pid in pids if (ours := self._ours(pid, name)) is not None}
        # What a VM forks has its name and environment, until it executes something.
        return [seen for seen, parent in found.values() if parent not in found]

    def _ours(self, pid: int, name: bytes) -> tuple[Seen, int] | None:
        """A stranger is one only as long as it has this name: between fork and exec it has another's environment."""
        try:
            title, _, stat = _read(pid, "stat").partition(b"(")[2].rpartition(b")")
            state, parent, *_ = stat.split()
            if self._strangers.get(pid) == title:
                return None
            environ = _read(pid, "environ").split(b"\0")
        except OSError:
            return None
        if environ == [b""] and parent != _KTHREADD:
            return None  # for a moment of an exec the name is there already, and the environment not yet
        if self._mark not in environ:
            self._strangers[pid] = title
            return None
        if title != name or state in (b"Z", b"X"):
            return None
        known = dict(line.split(b"=", 1) for line in environ if line.startswith(b"RELCTL_"))
        return Seen(known[b"RELCTL_RELEASE"].decode(), int(known[b"RELCTL_EPOCH"]), pid), int(parent)


def _read(pid: int, file: str) -> bytes:
    with open(f"/proc/{pid}/{file}", "rb") as opened:
        return opened.read()
