"""What relctl and relctld say to each other.

Rule 1: standard library only, and of that what a client's start can pay for (no dataclasses, no asyncio).
Rule 2: a name or a number is never reused for something else.
Rule 3: who may ask for what is decided by `relctld.control.access`, never here.

Protocol history
    1  first version: the operations of `OPS`; since then, without a new number: eval, rpc,
       remote and its three, daemon-reexec, versions, upgrade, downgrade, deploy, remove, doctor,
       doctor-fix; since, until, crash, end, stamps of logs

Frames on `control.sock` (ROUTER; one JSON frame each way, at most `MAX_FRAME` bytes):

    {"v": 1, "id": "<32 hex digits>", "op": "restart", "args": {"names": ["web"]}}
    {"v": 1, "id": …, "progress": {…}}                 any number of times, before
    {"v": 1, "id": …, "ok": true, "result": {…}}       or
    {"v": 1, "id": …, "ok": false, "error": {"kind", "message", "hint"}}

A request is answered at once with a progress `{"accepted": true}` where its reply may take long. The daemon keeps
(uid, id) → operation and result for ten minutes, across a re-exec too; a repeat joins it, so a client asks again when
it hears nothing.

Operations, their arguments and their results:

    status          names: [str]                  {"daemon": {…}, "releases": [{…}]}
    start           names: [str], all, wait: bool {"results": [{"ok", "release", "op", "changed", "seconds", …}]}
    stop, restart   as start
    logs            release, lines: int, since,   {"data": base64, "cursor": {…}, "more": bool, "end": {…}}: the last
                    until: RFC 3339, stamps: bool lines of what was written between; 256 KiB at most, `more` tells
                    release, lines, crash: true   the same, before the last exit
                    release, cursor, end: {…}     the same: what came after the cursor, up to that end
    rotate          names: [str]                  {"results": […]}
    events          names, since: RFC 3339,       {"events": [{…}], "last": seq}: oldest first
                    after: seq, limit: int
    crashes         release                       {"crashes": [{"n", "name", "at", "size", "slogan"}]}: newest first
                    release, n: int               {"crash": {…}, "head": str}
    reload          plan, stop_removed: bool      {"added", "removed", "changed", "warnings", "applied": bool}
    eval            release, text, language,      {"ok", "value": str, "output": str, "seconds"}: `ok` false: the
                    timeout_s                     expression failed, `value` says how
    rpc             release, module, function,    as eval; args is a list in Erlang's syntax
                    args, timeout_s
    remote          release, term, rows, cols     {"code", "signal"}: how the shell ended; see *A remote shell*
    remote-input    session, seq: int,            {"seq", "room": int}
                    data: base64, ack: int
    remote-resize   session, rows, cols           {}
    remote-close    session                       {}
    versions        release                       {"versions": [{"version", "status", "running", "boots", …}], …}
    upgrade         release, tarball (a path) or  {"ok", "release", "op", "changed", "from", "to", "seconds", …}; with
                    version, sha256, soak_s,      plan {"changed": false, "plan": {…}}
                    plan, wait,
                    allow_restart: bool
    downgrade       release, version, soak_s,     as upgrade; without a version to the one before
                    plan, wait
    deploy          release, tarball, sha256,     as upgrade; `changed` is false where it was deployed before
                    soak_s, plan, wait
    remove          release, version              {"ok", "release", "op", "changed", "version", "removed": [path]}
    doctor          names: [str]                  {"findings": [{"release", "finding", "severity", "detail", "mend",
                                                  "fixable"}]}: the worst first
    doctor-fix      names                         the same, with "fixed" and "did" or "error" where it was tried
    daemon-status   -                             {"version", "pid", "started_at", "uptime_s", "config", …}
    daemon-stop     -                             {"stopping": true}
    daemon-reexec   -                             {"version", "before", "pid"}: answered by the new code, to a repeat;
                                                  both are versions

`stamps` of logs: a reply has "stamps": [[place, microseconds since the epoch]], from which byte of the data on it was
written when.

Progress of start, stop and restart: {"release", "state", "detail"} at each change of state, {"release", "result"}
when one release is done (the same object stands in the reply).

Progress of upgrade, downgrade and deploy: {"step": "reading", "bytes", "of"}, {"step": "judging"}, {"plan": {…}}, then
{"phase", "why"} at each phase of `relctld.core.transaction`. An upgrade goes on without its client, and without its
daemon: the same request to a successor joins it, or hears how it ended.

A remote shell: progress of `remote` is {"session", "room"} once it runs, then {"data": base64, "at": int}, output
with its place in all output, and {"room": int}, so many bytes of input are welcome now. The client sends its input,
`room` at most, as `remote-input`: `seq` counts these from 1, each is sent once the one before was answered, and a
repeat with the same `seq` is applied once; `ack` is how much output the client has shown in all (some 100 KiB may be
under way, then the shell waits). Without data that is a sign of life, due each few seconds: a client that says nothing
for 15 s loses its shell. All four are for admins, the last three for the user who opened the session.

Notices on `events.sock` (XPUB, two frames): topic, JSON. The topic of a release's event is `release/NAME/`, of the
daemon's own `daemon/`; the JSON is an object of `relctl events --json`.
"""

from typing import Any, Final, NamedTuple

VERSION: Final = 1

OPERATIONS: Final = "operations.json"
"""A file beside the sockets, there while relctld becomes its successor: nobody serves them, and soon somebody will."""
MAX_FRAME: Final = 1 << 20

OPS: Final = (
    "status", "start", "stop", "restart", "logs", "rotate", "events", "crashes",
    "reload", "daemon-status", "daemon-stop", "daemon-reexec",
    "eval", "rpc", "remote", "remote-input", "remote-resize", "remote-close", "versions", "upgrade", "downgrade",
    "deploy", "remove", "doctor", "doctor-fix",
)  # fmt: skip

KIND_EXIT: Final = {
    "usage": 2,
    "config": 2,
    "unknown-release": 5,
    "busy": 5,
    "denied": 5,
    "impossible": 5,
    "timeout": 1,
    "failed": 1,
    "unreachable": 4,
}


MOST_SOAK: Final = 7 * 86400.0
"""Seconds that a version may be asked to be well for before it becomes permanent."""
MOST_PATIENCE: Final = 3600.0
"""Seconds that a node may be given for an eval or an rpc."""


class Request(NamedTuple):
    """One request of a client. `id`: 32 hex digits, 128 random bits."""

    id: str
    op: str
    args: dict[str, Any]


class Problem(NamedTuple):
    """Why a request failed: `kind` is a key of `KIND_EXIT`, `hint` the next step to take, if there is one."""

    kind: str
    message: str
    hint: str = ""


class Progress(NamedTuple):
    """A word on a request under way."""

    id: str
    body: dict[str, Any]


class Reply(NamedTuple):
    """The end of a request: a result, or a problem."""

    id: str
    result: dict[str, Any] | None = None
    problem: Problem | None = None


def release_topic(name: str) -> bytes:
    """The topic of a release's notices; no topic is the prefix of another release's."""
    return f"release/{name}/".encode()


DAEMON_TOPIC: Final = b"daemon/"
