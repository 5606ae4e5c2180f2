"""What the logger says of itself: one line on stderr per event, JSON but on a terminal, and READY=1 to systemd.

Never waits: stderr may be a pipe to a daemon that is frozen. Rate-limited per release and event.
"""

import json
import os
import select
import time

_EVERY = 10.0  # seconds between two lines of the same release and event
_last: dict[tuple[str, str | None], float] = {}


def utc(seconds: float) -> str:
    """RFC 3339, in seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def wall() -> float:
    """The wall clock, for what is shown and for names, never for deadlines (datetime would cost 0.6 MB here)."""
    return time.time_ns() / 1e9


def say(level: str, event: str, release: str | None = None, error: str | None = None) -> None:
    """Write one line to stderr, unless the same was said just now or nobody takes it."""
    now = time.monotonic()
    if level != "info" and now - _last.get((event, release), -_EVERY) < _EVERY:
        return
    _last[event, release] = now
    data = line(os.isatty(2), utc(wall()), level, event, release, error)
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    try:
        if poll.poll(0):  # a pipe that polls writable takes 4096 bytes without waiting
            os.write(2, data.encode("utf-8", "backslashreplace")[:4000] + b"\n")
    except OSError:
        pass  # nobody is left to hear it


def line(terminal: bool, at: str, level: str, event: str, release: str | None, error: str | None) -> str:
    """An event as a line: for people on a terminal, else a JSON object."""
    if not terminal:
        return json.dumps({"at": at, "level": level, "event": event, "release": release, "error": error})
    facts = "".join(f" {key}={value}" for key, value in (("release", release), ("error", error)) if value is not None)
    return f"{at} [{level:<9}] logger: {event}{facts}"


def notify(state: str) -> None:
    """sd_notify(3); does nothing outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    import socket  # noqa: PLC0415  0.7 MB that only systemd's units need

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as err:
            say("warning", "cannot-notify", error=str(err))
