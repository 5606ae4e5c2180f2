"""What the logger says of itself: one JSON line on stderr per event, and READY=1 to systemd.

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
    line = {"at": utc(wall()), "level": level, "event": event, "release": release, "error": error}
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    try:
        if poll.poll(0):  # a pipe that polls writable takes 4096 bytes without waiting
            os.write(2, json.dumps(line).encode()[:4000] + b"\n")
    except OSError:
        pass  # nobody is left to hear it


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
