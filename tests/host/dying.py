"""Work that is killed at each of its steps, and done again.

for step in killed_at_each(lambda: extract(…), "os.mkdir", "os.rename"):
    …                                     # it was killed before its step of that number; what is there is as it was

A child of ours does the work and kills itself, by an audit hook: at the n-th of the named audit events. Where they are
few, events of Python's own (an import, a file of its) may be among them, so all modules must be imported before.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator


def killed_at_each(work: Callable[[], None], *events: str) -> Iterator[int]:
    """Yields after each death; ends when the work came to its end."""
    step = 1
    while not _done(work, step, events):
        yield step
        step += 1


def _done(work: Callable[[], None], step: int, events: tuple[str, ...]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads: the child has one, and execs nothing
        pid = os.fork()
    if pid == 0:
        _die_at(step, events)
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # all that a child can do is to say so
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), f"the work failed: {status}"
    return status == 0


def _die_at(step: int, events: tuple[str, ...]) -> None:
    left = step

    def hook(event: str, _args: object) -> None:
        nonlocal left
        if event in events:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
