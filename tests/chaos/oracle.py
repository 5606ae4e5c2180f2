"""What must be true: looked at whenever nothing is under way, and once all is over."""

from __future__ import annotations

import gzip
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from relctld.logger.policy import read_counters
from tests.chaos.operators import Operators
from tests.chaos.world import NAMES, World
from tests.waiting import wait_until
from tests.watching import Watching

_TICK = re.compile(rb"^\w+ tick (\d+)$", re.MULTILINE)
_STARTING = re.compile(rb"^\w+ [0-9.]+ starting$", re.MULTILINE)
_FDS_MORE = 4
_BYTES_MORE = 4 << 20
_PAGE = 10_000
_AT_REST = {"up": "running", "down": "stopped"}


@dataclass
class Size:
    """Of relctld and of its logger, at the times when nothing was under way."""

    fds: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    def look(self, pid: int) -> None:
        self.fds.append(len(os.listdir(f"/proc/{pid}/fd")))
        self.bytes.append(int(psutil.Process(pid).memory_info().rss))

    def grown(self) -> str:
        """By medians of the third after the first look and of the last third; "" where it has not."""
        third = len(self.fds) // 3
        if not third:
            return ""
        fds = median(self.fds[-third:]) - median(self.fds[1 : third + 1])
        bytes = median(self.bytes[-third:]) - median(self.bytes[1 : third + 1])
        return "" if fds <= _FDS_MORE and bytes <= _BYTES_MORE else f"{fds:+} fds, {bytes:+} bytes: {self}"


class Oracle:
    """Knows what was seen before."""

    def __init__(self, world: World, operators: Operators, vms: Watching) -> None:
        self._world, self._operators, self._vms = world, operators, vms
        self._sizes = {"relctld": Size(), "the logger": Size()}
        self._ran: dict[str, set[int]] = {name: set() for name in NAMES}
        self.seq = 0

    def at_rest(self) -> None:
        """All is answered, every release is as it is wanted, and nothing was told twice or left out."""
        world, operators = self._world, self._operators
        world.answers()
        wait_until(self._answered, 90, what=lambda: f"answers to {operators.under_way}; {world.daemon.said()[-3000:]}")
        wait_until(self._as_wanted, 60, what=lambda: f"{operators.wants}; it is {self._states()}")
        wait_until(lambda: world.daemon.logger_pid, 30, what="a logger")
        assert not self._vms.twice, self._vms.twice
        self._history()
        self._sizes["relctld"].look(world.daemon.pid)
        self._sizes["the logger"].look(world.daemon.logger_pid or 0)

    def in_the_end(self) -> dict[str, int]:
        """Everything is stopped and gone; the lines of all VMs, each once. How many there were of each release."""
        world = self._world
        for name in NAMES:
            world.daemon.relctl("stop", name)
        assert world.host.names() == []
        wait_until(lambda: not self._vms.gates(), what=lambda: f"the end of {self._vms.gates()}")
        wait_until(self._written, 60, what="all that was said to be in the logs")
        lines = {name: self._lines(name) for name in NAMES}
        for what, size in self._sizes.items():
            assert not size.grown(), f"{what} grows: {size.grown()}"
        assert world.daemon.stop() == 0
        return lines

    def _answered(self) -> bool:
        self._operators.listen(0.0)
        return not self._operators.under_way

    def _as_wanted(self) -> bool:
        now, wants = self._world.status(), self._operators.wants
        assert {name: each["want"] for name, each in now.items()} == wants
        return all(each["state"] == _AT_REST[wants[name]] for name, each in now.items())

    def _states(self) -> dict[str, Any]:
        return {name: (each["want"], each["state"], each["last_exit"]) for name, each in self._world.status().items()}

    def _history(self) -> None:
        while events := self._world.daemon.ask("events", {"after": self.seq, "limit": _PAGE})["events"]:
            seqs = [event["seq"] for event in events]
            assert seqs == list(range(self.seq + 1, self.seq + 1 + len(seqs))), f"after {self.seq}: {seqs}"
            self.seq = seqs[-1]
            for event in events:
                if event["event"] == "running":
                    self._ran[event["release"]].add(event["epoch"])

    def _written(self) -> bool:
        counters = [read_counters(str(self._world.daemon.run_dir / "releases" / name / "log.json")) for name in NAMES]
        return all(each.bytes_in == each.bytes_out + each.bytes_dropped for each in counters)

    def _lines(self, name: str) -> int:
        """Each VM counts from 1 on: whatever was killed, there is no gap and no repeat."""
        folder = self._world.daemon.log_dir / name
        counters = read_counters(str(self._world.daemon.run_dir / "releases" / name / "log.json"))
        assert counters.lines_dropped == 0, counters
        files = [*sorted(folder.glob("*Z.log*")), folder / "current"]
        text = b"".join(map(_read, files))
        numbers = [int(number) for number in _TICK.findall(text)]
        before = 0
        for number in numbers:
            assert number in (before + 1, 1), f"{name}: line {number} after {before}"
            before = number
        ran, began, wrote, lived = (
            len(self._ran[name]), len(_STARTING.findall(text)), Counter(numbers)[1], len(self._vms.of(name))
        )  # fmt: skip
        assert ran <= began <= lived, f"{name}: {ran} VMs ran, {began} said that they begin, {lived} were seen"
        assert wrote <= began, f"{name}: {wrote} VMs wrote, {began} said that they begin"
        return len(numbers)


def _read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
