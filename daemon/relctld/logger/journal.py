"""What a release prints, sent to systemd's journal too. Knows a log directory and a socket.

It reads the log as `relctl logs -f` does, from a cursor on, in a thread of its own: nothing waits for the journal, and
what it cannot take now is in the file. Who falls too far behind goes on at the end, and counts what it left out; so is
counted what is deleted before it was sent.

RUN/releases/NAME/journal.json     the cursor behind what was sent; a SIGKILL may send a few lines twice

A line is an entry: one datagram to /run/systemd/journal/socket, or, where that is too large, a sealed memory file
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL). RELCTL_JOURNAL_SOCKET is another socket, for tests.
"""

import array
import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from math import inf

from relctld.logfiles.contents import begins, length
from relctld.logfiles.names import CURRENT, Rotated
from relctld.logfiles.places import Cursor, files_of, seek_last, steadily
from relctld.logfiles.tail import Reader

from .policy import LogPolicy, replace
from .report import say

BEHIND = 16 << 20  # bytes of the log
_BATCH = 1 << 16
_LONGEST = 1 << 20
_LINGER = 10.0  # seconds
_PATIENCE = 1.0
_INFO = 6
_F_ADD_SEALS, _SEALED = 1033, 15  # F_SEAL_SEAL | SHRINK | GROW | WRITE
_STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ")  # `lines.stamp`; an entry has a time of its own
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


def entry(policy: LogPolicy, line: bytes) -> bytes:
    """A line without its newline as the journal takes it; any bytes."""
    fields = {
        "PRIORITY": _INFO,
        "SYSLOG_IDENTIFIER": policy.name,
        "RELCTL_RELEASE": policy.name,
        "RELCTL_VERSION": policy.version,
        "RELCTL_EPOCH": policy.epoch,
    }
    words = [f"{name}={value}\n".encode() for name, value in fields.items() if value is not None]
    return b"".join((*words, b"MESSAGE=", line, b"\n"))


class Forwarder:
    """The lines of one release. `dropped` is told how many bytes were left out, `changed` that this or `error` did."""

    def __init__(self, policy: LogPolicy, dropped: Callable[[int], None], changed: Callable[[], None]) -> None:
        """Begin where the last one ended, else at the end of the log. Reads the log: for a worker."""
        self.error: str | None = None  # why nothing can be sent
        self._policy = policy
        self._dropped, self._changed = dropped, changed
        self._directory, self._saved = policy.dir, policy.beside("journal.json")
        self._reader = Reader(policy.dir, self._load() or seek_last(policy.dir, 0))
        self._rest = b""  # a line that is not ended
        self._reading = threading.Lock()  # who holds it reads, or deletes what is read
        self._socket: socket.socket | None = None
        self._due = threading.Condition()
        self._more = self._running = self._left = self._unwanted = False
        self._left_until = inf  # monotonic; who left the journal does not wait for it for longer
        self._save()  # what comes from here on is sent, also by the next logger

    def leave(self, *, wanted: bool) -> None:
        """Another one follows, or, with what is left no more `wanted`, none: send no more then."""
        with self._due:
            self._left, self._unwanted, self._left_until = True, not wanted, time.monotonic() + _LINGER
            with contextlib.suppress(OSError):
                os.unlink(self._saved)

    def poke(self, policy: LogPolicy) -> None:
        """There may be more to send; never waits."""
        with self._due:
            self._policy, self._more = policy, True
            if self._running:
                self._due.notify()
                return
            self._running = True
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError:
            self._running = False  # no more threads: the next poke tries again

    def _run(self) -> None:
        while True:
            with self._due:
                if not self._more and (self._left or not self._due.wait(_LINGER)) and not self._more:
                    self._running = False
                    self._reader.close()
                    return
                self._more = False
                policy = self._policy
            try:
                self._send_all(policy)
            except Exception as err:  # noqa: BLE001  the next line may go better
                self._tell(f"cannot read {os.path.join(policy.dir, CURRENT)} for the journal: {err}")
                with self._due:
                    self._more = time.monotonic() < self._left_until
                    self._due.wait(_PATIENCE)

    def _send_all(self, policy: LogPolicy) -> None:
        while not self._unwanted and not self._at_end(policy):
            with self._reading:
                data = self._reader.read(_BATCH).data
                *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LONGEST:
                lines, self._rest = [*lines, self._rest], b""
            for place, line in enumerate(lines):
                while not self._send(entry(policy, _STAMP.sub(b"", line) if policy.timestamps else line)):
                    if self._gave_up(policy, lines[place:]):
                        return
            self._save()

    def _at_end(self, policy: LogPolicy) -> bool:
        """Is nothing left to be read? (Reading nothing says little: files are rotated meanwhile.)"""
        place, path, ended = self._reader.cursor, os.path.join(policy.dir, CURRENT), True
        with contextlib.suppress(FileNotFoundError):
            ended = os.stat(path, follow_symlinks=False).st_size <= place["offset"] and begins(path, place["head"])
        files = files_of(policy.dir)  # looked at afterwards: a file rotated before is seen now
        return ended and not any(place["after"] < log.stem for log in files[:-1])

    def _send(self, data: bytes) -> bool:
        """False where the journal did not take it within a second."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.settimeout(_PATIENCE)
                self._socket.connect(os.environ.get("RELCTL_JOURNAL_SOCKET", "/run/systemd/journal/socket"))
            try:
                self._socket.send(data)
            except OSError as err:
                if err.errno not in _TOO_LARGE:
                    raise
                self._send_large(self._socket, data)
        except TimeoutError:
            self._tell("the journal takes no more")
            return False
        except OSError as err:
            self._tell(f"cannot send to the journal: {err.strerror or err}")
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            with self._due:
                self._due.wait(_PATIENCE)
            return False
        self._tell(None)
        return True

    @staticmethod
    def _send_large(to: socket.socket, data: bytes) -> None:
        fd = os.memfd_create("relctl-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            fcntl.fcntl(fd, _F_ADD_SEALS, _SEALED)
            to.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        finally:
            os.close(fd)

    def _gave_up(self, policy: LogPolicy, unsent: list[bytes]) -> bool:
        """Leave out all that waits, these lines too, if it is too much.

        True also where none of it is wanted any more.
        """
        if self._unwanted:
            return True
        with self._reading:
            end = seek_last(policy.dir, 0)
            waits = sum(len(line) + 1 for line in unsent) + len(self._rest) + self._size_until(end)
            if waits < BEHIND and time.monotonic() < self._left_until:
                return False
            self._reader.close()
            self._reader, self._rest = Reader(policy.dir, end), b""
        self._leave_out(waits)
        self._save()
        return True

    def _size_until(self, end: Cursor) -> int:
        """Bytes from where it is read up to there."""
        place = self._reader.cursor

        def size(files: list[Rotated]) -> int:
            left = [(log.stem, os.path.join(self._directory, log.name)) for log in files if log.stem > place["after"]]
            begun = int(place["offset"]) if begins(left[0][1], place["head"]) else 0  # else that file is gone
            return sum(length(path) for stem, path in left if stem <= end["after"]) + int(end["offset"]) - begun

        return steadily(self._directory, size, 0)

    @contextlib.contextmanager
    def losing(self, directory: str, log: Rotated) -> Iterator[None]:
        """While this file is deleted: what was not sent of it never will be."""
        with self._reading:
            unsent = self._unsent(log) if directory == self._directory else 0
            yield
        if unsent:
            self._leave_out(unsent)

    def _unsent(self, log: Rotated) -> int:
        """Bytes; where it is the file that is being read, its last line that was begun is not gone on with."""
        place, path = self._reader.cursor, os.path.join(self._directory, log.name)
        left = [file.stem for file in files_of(self._directory) if file.stem > place["after"]]
        with contextlib.suppress(FileNotFoundError):
            if log.stem != left[0] or not begins(path, place["head"]):
                return length(path) if log.stem in left else 0
            unsent = length(path) - int(place["offset"]) + len(self._rest)
            self._rest = b""
            return unsent
        return 0

    def _leave_out(self, count: int) -> None:
        self._dropped(count)
        say("warning", "journal-dropped", self._policy.name, f"{count} bytes were not sent to the journal")

    def _tell(self, error: str | None) -> None:
        if error != self.error:
            self.error = error
            self._changed()

    def _load(self) -> Cursor | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(self._saved, "rb") as file:
            found = json.load(file)
            if found["dir"] != self._policy.dir:
                return None
            return {"after": str(found["after"]), "offset": int(found["offset"]), "head": list(found["head"])}
        return None

    def _save(self) -> None:
        place = self._reader.cursor
        place |= {"dir": self._policy.dir, "offset": max(0, place["offset"] - len(self._rest))}
        with self._due, contextlib.suppress(OSError):
            if not self._left:
                replace(self._saved, json.dumps(place).encode())
