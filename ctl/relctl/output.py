"""Where words go: lines, objects and bytes on stdout; notes, errors and progress on stderr.

Rule 1: knows terminals and pipes, nothing of verbs or of the daemon.
Rule 2: colour and progress only on a terminal, no colour under NO_COLOR, and neither under TERM=dumb.
Rule 3: a reader who went away is no error: what comes after is dropped, `gone` says so, and the verb's exit code
        stays what it is. Any other trouble with stdout is one.
Rule 4: text of others is made harmless by `render.clean` before it comes here; bytes of a log pass unchanged.
"""

import json
import os
import select
import sys
from collections.abc import Iterable
from typing import Any, Final

from relctl.errors import CannotError
from relctl.render import clean
from relctld.wire.messages import Problem

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "dim": 2, "bold": 1}

LONGEST_PAUSE: Final = 86400.0
_MOST_LISTED: Final = 10


class Output:
    """stdout and stderr of one run. `json`: --json was given; `draws`: what was written can be written over."""

    def __init__(self, json: bool) -> None:
        self.json = json
        self.gone = False
        self.tty = sys.stdout.isatty()
        dumb = os.environ.get("TERM") == "dumb"
        self.draws = self.tty and not dumb and not json
        self._plain = bool(os.environ.get("NO_COLOR")) or dumb
        self._shows_progress = sys.stderr.isatty() and not dumb and not json
        self._progress_shown = False

    def width(self) -> int | None:
        """Columns of the terminal; None on a pipe, where lines may be as long as they are."""
        return terminal_size()[0] if self.tty else None

    def paint(self, text: str, *colours: str) -> str:
        """`text` in colour, on a terminal that wants it."""
        if self._plain or not self.tty or not colours:
            return text
        return f"\x1b[{';'.join(str(COLOURS[colour]) for colour in colours)}m{text}\x1b[0m"

    def lines(self, lines: Iterable[str]) -> None:
        """Lines on stdout, in one write."""
        self.raw("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def line(self, text: str) -> None:
        """One line on stdout."""
        self.lines((text,))

    def object(self, value: dict[str, Any]) -> None:
        """One JSON object, one line, on stdout."""
        self.raw(json_line(value))

    def raw(self, data: bytes) -> None:
        """Bytes on stdout, unchanged, at once."""
        if not data or self.gone:
            return
        self.progress("")
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._drop()
        except OSError as error:
            self._drop()
            raise CannotError("failed", f"cannot write the output: {error.strerror}") from None

    def note(self, text: str) -> None:
        """A word to the operator on stderr."""
        self.progress("")
        try:
            print(f"relctl: {text}", file=sys.stderr, flush=True)
        except OSError:
            return  # stderr is gone: nobody is left to tell

    def problem(self, verb: str, names: Iterable[str], problem: Problem, **more: Any) -> None:
        """An error: an object on stdout under --json, else `relctl: cannot VERB RELEASE: why` and the hint."""
        names = list(names)
        if self.json and not self.gone:
            release = names[0] if len(names) == 1 else None
            op = verb.replace(" ", "-")
            try:
                self.object({"ok": False, "release": release, "op": op, "error": problem._asdict(), **more})
            except CannotError as error:
                self.note(str(error))
            return
        subject = clean(" ".join(part for part in (verb, _listed(names)) if part))
        self.note(f"cannot {subject}: {problem.message}" if subject else problem.message)
        if problem.hint:
            self.note(f"hint: {problem.hint}")

    def progress(self, text: str) -> None:
        """Replace the line of progress on a terminal; an empty one takes it away."""
        if not self._shows_progress or not (text or self._progress_shown):
            return
        self._progress_shown = bool(text)
        try:
            print(f"\r\x1b[K{text[: terminal_size()[0] - 1]}", end="", file=sys.stderr, flush=True)
        except OSError:
            self._shows_progress = False  # the terminal is gone; what was asked for goes on

    def pause(self, seconds: float) -> bool:
        """Wait, LONGEST_PAUSE at most, and end early when the reader of stdout goes away; whether it is still there."""
        if self.gone:
            return False
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
        wait = max(0, int(min(seconds, LONGEST_PAUSE) * 1000))
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(wait)):
            self._drop()
        return not self.gone

    def _drop(self) -> None:
        """Send the rest nowhere, so that the interpreter's own flush at exit does not complain either."""
        self.gone = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def json_line(value: dict[str, Any]) -> bytes:
    """An object as a line of JSON."""
    return _encode(value).encode("utf-8", "backslashreplace") + b"\n"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def terminal_size() -> tuple[int, int]:
    """Columns and rows; COLUMNS wins. (shutil's costs a fifth of our start-up.)"""
    columns, rows = 80, 24
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                columns, rows = os.get_terminal_size(stream.fileno())
                break
        except (OSError, ValueError):
            continue
    wanted = os.environ.get("COLUMNS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else columns or 80, rows or 24
