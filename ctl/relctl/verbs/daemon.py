"""`relctl daemon`: relctld itself."""

import os
import select
import time

from relctl.client import Client
from relctl.errors import UsageError
from relctl.render import duration, fields
from relctl.table import warnings
from relctl.verb import EXIT_DONE, Call, Parser, Verb

WHAT = ("status", "reexec", "stop")


def _arguments(parser: Parser) -> None:
    parser.add_argument("what", nargs="?", choices=WHAT, help="show it, renew it, or stop it")


def _daemon(call: Call) -> int:
    what = call.options.what
    if what is None:
        raise UsageError(f"say what: {', '.join(WHAT[:-1])} or {WHAT[-1]}", "relctl help daemon")
    call.verb = f"daemon {what}"
    return {"status": _status, "reexec": _reexec, "stop": _stop}[what](call)


def _status(call: Call) -> int:
    with Client(call.address()) as client:
        result = client.ask("daemon-status", {})
    if call.out.json:
        call.out.object(result)
    else:
        call.out.lines(fields(result))
        for warning in warnings(result):
            call.out.note(f"warning: {warning}")
    return EXIT_DONE


def _reexec(call: Call) -> int:
    """The new relctld answers what the old one was asked."""
    began = time.monotonic()
    with Client(call.address()) as client:
        result = client.ask("daemon-reexec", {}, tick=lambda: _tick(call, began, "renewing itself"))
    version, before = result["version"], result["before"]
    if call.out.json:
        seconds = round(time.monotonic() - began, 3)
        told = {"ok": True, "release": None, "op": "daemon-reexec", "changed": True, "seconds": seconds}
        call.out.object({**told, **result})
    else:
        what = f"renewed, still {version}" if version == before else f"renewed, {version} instead of {before}"
        call.out.line(f"relctld: {what} (pid {result['pid']}, {duration(time.monotonic() - began)})")
    return EXIT_DONE


def _stop(call: Call) -> int:
    began = time.monotonic()
    with Client(call.address()) as client:
        pidfd = _open(client.daemon_pid)
        try:
            client.ask("daemon-stop", {})
            if pidfd is not None:
                _wait(call, pidfd, began)
        finally:
            if pidfd is not None:
                os.close(pidfd)
    seconds = time.monotonic() - began
    if call.out.json:
        call.out.object(
            {"ok": True, "release": None, "op": "daemon-stop", "changed": True, "seconds": round(seconds, 3)}
        )
    elif pidfd is None:
        call.out.line("relctld: stopping")
    else:
        call.out.line(f"relctld: stopped (pid {client.daemon_pid}, {duration(seconds)})")
    return EXIT_DONE


def _open(pid: int) -> int | None:
    """A pidfd, taken before the daemon is asked to go; None where its pid cannot be seen from here."""
    try:
        return os.pidfd_open(pid) if pid > 0 else None
    except OSError:
        return None


def _wait(call: Call, pidfd: int, began: float) -> None:
    """Until the process is gone. Ctrl-C ends the waiting only."""
    watch = select.poll()
    watch.register(pidfd, select.POLLIN)
    while not watch.poll(250):
        _tick(call, began, "stopping")


def _tick(call: Call, began: float, what: str) -> None:
    call.out.progress(f"relctld: {what}, {time.monotonic() - began:.0f} s")


_DESCRIPTION = """\
`status` shows relctld itself: its version, its process, its config.

`reexec` replaces it by the installed version of relctl, in place: the same
process goes on with the new code, no node is touched, and who asks meanwhile
waits a moment. The new code is tried first; where it is not fit, nothing
happens. So an upgrade is pip install -U relctl, then relctl daemon reexec.
SIGUSR2 does the same.

`stop` stops it for good and waits until it is gone; what becomes of the nodes
says `on_stop` in its config. Nothing is left then that would restart a node:
where systemd runs relctld, use systemctl stop relctld, which also keeps it
stopped."""

VERBS = {
    "daemon": Verb(
        "daemon",
        "Show, renew or stop relctld itself",
        "(status | reexec | stop)",
        _DESCRIPTION,
        _arguments,
        _daemon,
    )
}
