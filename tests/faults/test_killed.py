"""SIGKILL of our own processes at any moment: no second copy, no lost wish, no lost line, no seq twice."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.asking import Asker
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = [pytest.mark.host, pytest.mark.slow]

ROUNDS = 10 if LONG else 5


class Wishes:
    """What was asked of a release, and of that the last that was answered."""

    def __init__(self, daemon: Relctld, chance: random.Random) -> None:
        self._daemon, self._chance = daemon, chance
        self._last = {"web": ["start"], "api": ["start"]}
        """Those that may hold: the last one answered and all that were asked after it."""

    def ask_until_killed(self, seconds: float) -> None:
        """Start, stop and restart, then kill the daemon in the midst of it."""
        end = time.monotonic() + seconds
        with Asker(self._daemon.socket) as asker:
            waiting: dict[str, tuple[str, int]] = {}
            while (left := end - time.monotonic()) > 0:
                name, op = self._chance.choice(list(self._last)), self._chance.choice(["start", "stop", "restart"])
                self._last[name].append(op)
                waiting[asker.request(op, {"names": [name]})] = name, len(self._last[name]) - 1
                answer = asker.receive(min(left, self._chance.random() * 0.2))
                if answer is not None and answer["id"] in waiting and answer.get("ok"):
                    name, at = waiting.pop(answer["id"])
                    if answer["result"]["results"][0]["ok"]:
                        self._last[name] = self._last[name][at:]
                        waiting = {id: (n, i - at if n == name else i) for id, (n, i) in waiting.items()}
                        waiting = {id: (n, i) for id, (n, i) in waiting.items() if i >= 0}
            self._daemon.kill()

    def wants(self, name: str) -> set[str]:
        """What its want may be now."""
        return {"down" if op == "stop" else "up" for op in self._last[name]}


def test_the_daemon_is_killed_at_random_moments(relctld: Fleet, tmp_path: Path) -> None:
    chance = random.Random()
    locks = {name: tmp_path / f"{name}.lock" for name in ("web", "api", "loop", "calm")}
    often = {"intensity": 100_000, "backoff": {"base": "0.05s", "max": "0.2s"}}
    daemon = relctld(
        {
            "web": fake(tmp_path / "web", "alone", locks["web"], "child", "setsid", stop_timeout="0.3s"),
            "api": fake(tmp_path / "api", "ignore", "alone", locks["api"], stop_timeout="0.1s"),
            "loop": fake(tmp_path / "loop", "alone", locks["loop"], "exit", "1", ready="process", **often),
            "calm": fake(tmp_path / "calm", "alone", locks["calm"]),
        },
        start=False,
    )
    daemon.start()
    calm = daemon.wait_for("calm", state="running")
    wishes = Wishes(daemon, chance)
    seqs: list[int] = []
    restarts = 0
    for _ in range(ROUNDS):
        wishes.ask_until_killed(chance.random())
        daemon.start()
        for name in ("web", "api"):
            assert daemon.status(name)["want"] in wishes.wants(name)
        now = daemon.status("calm")
        assert now == now | {"pid": calm["pid"], "epoch": 1, "state": "running"}
        loop = daemon.status("loop")["restarts_total"]
        assert loop >= restarts
        restarts = loop
        events = [event["seq"] for event in daemon.events()]
        assert events[: len(seqs)] == seqs or len(events) >= 10_000
        assert len(set(events)) == len(events)
        seqs = events
    for name, lock in locks.items():
        assert not Path(f"{lock}.twice").exists(), f"two copies of {name}: {Path(f'{lock}.twice').read_text()}"
    for name in ("web", "api", "loop", "calm"):
        assert daemon.relctl("stop", name).returncode == 0


def test_the_daemon_is_killed_while_it_comes_up(relctld: Fleet, tmp_path: Path) -> None:
    """Before it listens, between the gate and the first save, and so on: the next one makes it good."""
    chance = random.Random()
    lock = tmp_path / "lock"
    daemon = relctld({"web": fake(tmp_path / "web", "alone", lock)}, start=False)
    for _ in range(5):
        daemon.start(wait=False)
        end = time.monotonic() + chance.uniform(0.2, 0.7)
        wait_until(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
        daemon.kill()
    daemon.start()
    daemon.wait_for("web", state="running")
    assert not Path(f"{lock}.twice").exists()


def test_the_logger_is_killed_and_no_line_is_lost(relctld: Fleet, tmp_path: Path) -> None:
    words = []
    for number in range(4):
        words += ["wait", tmp_path / f"go{number}", "flood", 20_000]
    daemon = relctld({"web": fake(tmp_path / "web", *words, log={"max_size": "1MB", "compress": "off", "keep": 100})})
    killed = set()
    for number in range(4):
        logger = wait_until(lambda: daemon.logger_pid, what="a logger") or 0
        (tmp_path / f"go{number}").touch()
        if number < 3:
            os.kill(logger, signal.SIGKILL)
            killed.add(logger)
            wait_until(lambda: daemon.logger_pid not in (None, *killed), 30, what="another logger")
    folder = daemon.log_dir / "web"

    def lines() -> list[str]:
        files = [*sorted(folder.glob("*Z.log*")), folder / "current"]
        return [line for file in files if file.exists() for line in file.read_text().splitlines() if line[:1] == "0"]

    wait_until(lambda: len(lines()) >= 80_000, 30, what=lambda: f"80,000 lines, there are {len(lines())}")
    assert [int(line[:9]) for line in lines()] == [*range(20_000)] * 4
    assert daemon.status("web")["log"]["bytes_dropped"] == 0
    started = [event["pid"] for event in daemon.events() if event["event"] == "logger-started"]
    assert len(set(started)) == 4
