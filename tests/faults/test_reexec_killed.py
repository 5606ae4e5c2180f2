"""SIGKILL at any moment of a re-exec: a plain crash, and one that comes through is a plain re-exec."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.asking import Asker
from tests.fakes import fake
from tests.running import Fleet
from tests.waiting import wait_until

pytestmark = [pytest.mark.host, pytest.mark.slow]

ROUNDS = 12 if LONG else 5


def test_killed_at_a_random_moment_of_a_reexec(relctld: Fleet, tmp_path: Path) -> None:
    chance = random.Random()
    names = ("calm", "web", "loop")
    locks = {name: tmp_path / f"{name}.lock" for name in names}
    daemon = relctld(
        {
            "calm": fake(tmp_path / "calm", "alone", locks["calm"]),
            "web": fake(tmp_path / "web", "alone", locks["web"], "child", "setsid", stop_timeout="0.3s"),
            "loop": fake(
                tmp_path / "loop", "alone", locks["loop"], "exit", "1",
                ready="process", intensity=100_000, backoff={"base": "0.05s", "max": "0.2s"},
            ),
        }
    )  # fmt: skip
    calm = daemon.wait_for("calm", state="running")
    epoch = int(daemon.wait_for("web", state="running")["epoch"])
    for _ in range(ROUNDS):
        with Asker(daemon.socket) as asker:
            id = asker.request("restart", {"names": ["web"]})
            if chance.random() < 0.5:
                asker.reply(id)
            os.kill(daemon.pid, signal.SIGUSR2)
            end = time.monotonic() + chance.uniform(0.0, 1.5)
            wait_until(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
            daemon.kill()
            daemon.start()
            with contextlib.suppress(AssertionError):
                asker.reply(id, 0.1)
            assert asker.ask("restart", {"names": ["web"]}, id=id)["ok"]
        now = daemon.wait_for("web", state="running")
        assert epoch < now["epoch"] <= epoch + 4  # a crash may cut a start short, or forget that it was asked
        epoch = int(now["epoch"])
        still = daemon.status("calm")
        assert still == still | {"pid": calm["pid"], "epoch": 1, "state": "running"}
        assert not (daemon.run_dir / "operations.json").exists()
    for name, lock in locks.items():
        assert not Path(f"{lock}.twice").exists(), name
        daemon.relctl("stop", name)
