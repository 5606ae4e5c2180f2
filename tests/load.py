"""A steady load on the TCP service of a sample release: connections that stay, and a `bump` on each, again and again.

    with Load(port, connections=20, every=0.05) as load:
        …
        load.since()            the longest wait for an answer since the last call
    load.dropped, load.failed   nothing of either, where an upgrade is what it should be

Each bump is answered by the next number: the counter's state is kept where no number is missing and none comes twice.
"""

import asyncio
import socket
import threading
import time
from types import TracebackType
from typing import Self

WITHIN = 30.0


def asked(port: int, line: str) -> str:
    """The answer on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), WITHIN) as connection, connection.makefile("rw") as stream:
        stream.write(f"{line}\n")
        stream.flush()
        return stream.readline().strip()


class Load:
    """Runs on a thread of its own, with a loop of its own, from the beginning of the block to its end.

    `every`: seconds between two questions on a connection, which are due whether the last answer came or not.
    """

    def __init__(self, port: int, connections: int, every: float) -> None:
        self.numbers: list[int] = []
        self.dropped = self.failed = 0
        self._port, self._connections, self._every = port, connections, every
        self._worst = 0.0
        self._waiting: dict[int, float] = {}
        self._over = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WITHIN), "the connections could not be made"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def answered(self) -> int:
        """How many questions were."""
        return len(self.numbers)

    def since(self) -> float:
        """Seconds of the longest wait for an answer since this was asked last, one that still lasts too."""
        now = time.monotonic()
        worst = max([self._worst, *(now - due for due in list(self._waiting.values()))])
        self._worst = 0.0
        return worst

    def is_whole(self) -> bool:
        """Whether the numbers are those of one counter that lost nothing."""
        return sorted(self.numbers) == list(range(min(self.numbers), min(self.numbers) + len(self.numbers)))

    async def _run(self) -> None:
        streams = [await asyncio.open_connection("127.0.0.1", self._port) for _ in range(self._connections)]
        self._ready.set()
        await asyncio.gather(*(self._ask(number, *stream) for number, stream in enumerate(streams)))

    async def _ask(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic() + self._every * number / self._connections
        while not self._over.is_set():
            await asyncio.sleep(due - time.monotonic())
            self._waiting[number] = due
            try:
                writer.write(b"bump\n")
                line = await asyncio.wait_for(reader.readline(), WITHIN)
            except (OSError, TimeoutError):
                line = b""
            self._worst = max(self._worst, time.monotonic() - self._waiting.pop(number))
            if not line:
                self.dropped += 1
                break
            if line.strip().isdigit():
                self.numbers.append(int(line))
            else:
                self.failed += 1
            due = max(due + self._every, time.monotonic())
        writer.close()
