"""What a flood does to others: to `status` and to probes, and, where the disk is in trouble, to memory and the writer.

A release of ten prints as fast as it can, while the others are probed every 100 ms and `status` is asked over one
connection. A disk in trouble is an ext4 of its own that is frozen (fsfreeze), under a flood of 100 MB.
"""

import os
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.asking import Asker
from tests.running import Relctld, plain_root

from bench.captures import Capture, Job, build_flood, wanted
from bench.measure import row, summary, table
from bench.rig import Rig

MB = 1e6
EVERY = 0.1
"""Seconds between two probes of a release."""


class Probed:
    """Listeners that note when each of them is probed."""

    def __init__(self, count: int) -> None:
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self._at: dict[int, list[float]] = {each.fileno(): [] for each in self._listeners}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def ports(self) -> list[int]:
        """Of all of them."""
        return [each.getsockname()[1] for each in self._listeners]

    def _serve(self) -> None:
        while not self._ended.is_set():
            for listener in select.select(self._listeners, [], [], 0.1)[0]:
                listener.accept()[0].close()
                self._at[listener.fileno()].append(time.monotonic())

    def late(self, begun: float, ended: float) -> list[float]:
        """By how many ms the probes in this time came later than they should, after those before them."""
        moments = [[at for at in each if begun <= at <= ended] for each in self._at.values()]
        return [(b - a - EVERY) * 1000 for each in moments for a, b in pairwise(each)]

    def close(self) -> None:
        """Listen no more."""
        self._ended.set()
        self._thread.join()
        for listener in self._listeners:
            listener.close()


def status(rig: Rig) -> dict[str, Any]:
    """Target: p99 of `status` and of probes beside a flood as it is without."""
    rounds = 200 if rig.quick else 1000
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as name, ExitStack() as ends:
        folder = Path(name)
        gate, told = folder / "gate", folder / "told"
        for fifo in (gate, told):
            os.mkfifo(fifo)
        ends.callback(os.close, os.open(told, os.O_RDWR | os.O_CLOEXEC))  # what it says at its end is not waited for
        probed = Probed(9)
        ends.callback(probed.close)
        argv = [str(build_flood(folder)), str(gate), str(told), str(1 << 40), "100"]
        daemon = ends.enter_context(Relctld(folder, _releases(folder, probed.ports(), argv)))
        for release in [*(f"r{n}" for n in range(9)), "flood"]:
            daemon.wait_for(release, state="running")
        results = _both(daemon, probed, rounds, "silent")
        ends.callback(os.close, os.open(gate, os.O_WRONLY | os.O_CLOEXEC))
        results |= _both(daemon, probed, rounds, "beside a flood")
    print(f"status of ten, over one connection, and how late probes come (load {os.getloadavg()[0]:.1f}):")
    print(table(("ms", "median", "p90", "p99", "min-max", "count"), [row(n, r) for n, r in results.items()]), "\n")
    return results


def _releases(folder: Path, ports: list[int], argv: list[str]) -> dict[str, Any]:
    root = plain_root(folder / "root")
    sleeping = {"root": root, "command": ["/bin/sleep", "1000"], "ready": "process"}
    log = {"max_size": "50MB", "keep": 2, "compress": "off"}
    return {
        f"r{n}": {**sleeping, "health": {"probe": f"tcp:127.0.0.1:{port}", "interval": "100ms"}}
        for n, port in enumerate(ports)
    } | {"flood": {"root": root, "command": argv, "log": log, "ready": "process"}}


def _both(daemon: Relctld, probed: Probed, rounds: int, when: str) -> dict[str, Any]:
    begun = time.monotonic()
    asked = _asked(daemon, rounds)
    late = probed.late(begun, time.monotonic())
    return {f"status, {when}": summary(asked), f"probes, {when}": summary(late)}


def _asked(daemon: Relctld, rounds: int) -> list[float]:
    times = []
    with Asker(daemon.socket) as asker:
        for _ in range(rounds):
            begun = time.perf_counter()
            asker.result("status", {})
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.01)
    return times


# ---- a disk that stands still, or is slow

_FLOOD = Job("one", 1_000_000, 100)


def frozen(rig: Rig) -> dict[str, Any]:
    """Memory of each tool, and the longest wait of the writer, while the disk stands still for 5 s."""
    return _troubled(rig, "stands still for 5 s", turns=1, still=5.0)


def slow(rig: Rig) -> dict[str, Any]:
    """The same with a disk that takes something for a tenth of a second only, once a second, for 8 s."""
    return _troubled(rig, "takes something for 0.1 s of each second, for 8 s", turns=8, still=0.9)


def _troubled(rig: Rig, what: str, *, turns: int, still: float) -> dict[str, Any]:
    if os.geteuid() != 0:
        print("only root may freeze a disk\n")
        return {}
    results = {}
    with tempfile.TemporaryDirectory(prefix="relctl-bench-") as name:
        folder = Path(name)
        flood = build_flood(folder)
        for tool in wanted(rig):
            with _own_disk(folder) as disk, tool(disk / "kept", flood).begin([_FLOOD]) as capture:
                results[tool.name] = _freeze(capture, disk, turns, still)
    print(f"The disk {what}, under a flood of {_FLOOD.size / MB:.0f} MB (load {os.getloadavg()[0]:.1f}):")
    head = ("", "memory before MB", "most MB", "longest write ms", "lines amiss", "said to be dropped")
    rows = [
        [
            name,
            f"{r['before'] / MB:.1f}",
            f"{r['most'] / MB:.1f}",
            f"{r['longest']:.0f}",
            str(r["lost"]),
            str(r["dropped"]),
        ]
        for name, r in results.items()
    ]
    print(table(head, rows), "\n")
    return results


def _freeze(capture: Capture, disk: Path, turns: int, still: float) -> dict[str, Any]:
    before = most = capture.memory()
    capture.open_gate()
    while capture.kept(_FLOOD.name) < _FLOOD.size // 10:
        time.sleep(0.001)
    for _ in range(turns):
        subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
        try:
            most = max(most, _most(capture, still))
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)
        most = max(most, _most(capture, 0.1))
    longest = max((done.longest for done in capture.done(1, 120.0)), default=0) / 1e6
    _all_kept_or_dropped(capture)
    return {
        "before": before,
        "most": max(most, capture.memory()),
        "longest": longest,
        "lost": _FLOOD.lines - capture.found(_FLOOD),
        "dropped": capture.dropped(),
    }


def _most(capture: Capture, seconds: float) -> int:
    """The most memory that it holds within so long."""
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, capture.memory())
        time.sleep(0.01)
    return most


def _all_kept_or_dropped(capture: Capture) -> None:
    kept, moved = -1, time.monotonic()
    while (now := capture.kept(_FLOOD.name)) < _FLOOD.size and time.monotonic() - moved < 3.0:
        if now != kept:
            kept, moved = now, time.monotonic()
        time.sleep(0.01)


@contextmanager
def _own_disk(folder: Path) -> Iterator[Path]:
    """A file system of 512 MB in a file, mounted; gone at the end."""
    image, where = folder / "image", folder / "disk"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    where.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)
        where.rmdir()
        image.unlink()
