"""Python reads this when it starts: a relctld whose `DEATH` says when kills itself there, as kill -9 would.

DEATH='{"when": "before", "event": "os.rename", "name": "journal.json", "phase": "committing", "count": 1}'

It dies before the `count`-th of those audit events, or at whatever it does next (`after`). `name` is the last part of
the path that is opened, or renamed or linked to; `phase` what the journal that is renamed says, or nothing. With `fill`
it does not die: it fills the disk of that file; with `hold` it waits there, until who wrote into that FIFO closes it.
"""

import json
import os
import signal
import sys
import threading
from typing import Any


def _fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file:
        found = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize)


def _wait(fifo: str) -> None:
    with open(fifo, "rb") as file:
        file.read()


def _arm(told: dict[str, Any]) -> None:
    left, due, busy = told["count"], False, threading.local()

    def die() -> None:
        busy.now = True  # this too is an event
        if told["fill"] or told["hold"]:
            _fill(told["fill"]) if told["fill"] else _wait(told["hold"])
            busy.now = False
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def is_it(args: tuple[Any, ...]) -> bool:
        path = args[1] if told["event"] in ("os.rename", "os.link") else args[0]
        if isinstance(path, int) or os.path.basename(os.fsdecode(path)) != told["name"]:
            return False
        if not told["phase"]:
            return True
        with open(args[0], encoding="utf-8") as file:
            return bool(json.load(file)["journal"]["phase"] == told["phase"])

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left, due
        if getattr(busy, "now", False):
            return
        if due:
            die()
        if event != told["event"]:
            return
        busy.now = True
        try:
            hit = is_it(args)
        finally:
            busy.now = False
        left -= hit
        if hit and left == 0:
            if told["when"] == "before":
                die()
            due = not (told["fill"] or told["hold"])

    sys.addaudithook(hook)


if told := os.environ.pop("DEATH", ""):
    _arm(json.loads(told))
