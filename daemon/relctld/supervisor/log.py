"""The daemon's own log: structlog to stderr, for people on a terminal, one JSON object a line elsewhere.

stderr may be closed, full or blocked (a dead `tee`, a full disk, a terminal under Ctrl-S); none of that is a reason
to stop supervising. So a thread writes, what it cannot write is lost, and what waits is bounded.
"""

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Mapping
from typing import TextIO, cast

import structlog

_WAITING = 10_000
_STDERR = 2


class Pen:
    """A file that never raises and never blocks, before stderr."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="pen", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Take a line, or lose it where too many wait."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, but no longer than `timeout` seconds."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=timeout)
        self._thread.join(timeout)

    def _work(self) -> None:
        while (text := self._lines.get()) is not None:
            data = text.encode("utf-8", "backslashreplace")
            with contextlib.suppress(OSError):
                while data:
                    data = data[os.write(_STDERR, data) :]


def wants_colour(environ: Mapping[str, str]) -> bool:
    """Whether a terminal is to be shown colours: as `relctl` has it."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def configure(*, verbose: bool = False) -> Pen:
    """Set up structlog once, before anything logs. The pen is to be closed at the end."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if sys.stderr.isatty():
        tail: list[structlog.typing.Processor] = [
            structlog.dev.ConsoleRenderer(
                colors=wants_colour(os.environ), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        tail = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    pen = Pen()
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(10 if verbose else 20),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", pen)),
        cache_logger_on_first_use=True,
    )
    return pen
