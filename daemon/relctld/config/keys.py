"""The one table of keys. Parser, messages, reload diff and reference derive from it: here is the place to change.

Rule 1: a default stands in the dataclass of its table (`schema.TABLES`), never here.
Rule 2: `AT_ONCE`: a reload acts on a change. `VM`: the release's next VM does. `DAEMON`: the next relctld does.

In a table that holds free names (`env`) the key is `ANY`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from relctld.config import probes
from relctld.config.values import (
    Kind,
    argv,
    choice,
    duration,
    flag,
    integer,
    many,
    matching,
    number,
    optional,
    path,
    secret,
    size,
    umask,
)
from relctld.core.spec import Flavour, OnFailure, OnFull, OnHung, OnStop, Restart

ANY = "*"


class Acts(Enum):
    """When a changed key acts."""

    AT_ONCE = "at once"
    VM = "restart"
    DAEMON = "restart of relctld"


@dataclass(frozen=True, slots=True)
class Key:
    """A key: what it may hold, when a change acts, what an operator should know.

    `field`: its attribute in the dataclass of its table, where that is not its name.
    """

    name: str
    kind: Kind
    acts: Acts
    doc: str
    field: str = ""
    required: bool = False

    @property
    def attribute(self) -> str:
        return self.field or self.name


def _words(enum: type[StrEnum]) -> Kind:
    return choice({str(member): member for member in enum})


AT_ONCE, VM, DAEMON = Acts.AT_ONCE, Acts.VM, Acts.DAEMON
VARIABLE = matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
_VARIABLES = many(VARIABLE, "a list of names of environment variables")
_NAME = r"[A-Za-z0-9_][^\s:/,\0]{0,255}"
_ACCOUNT = optional(matching(_NAME, 'a name such as "web"'))
_WHO = many(matching(rf"\*|@?{_NAME}", 'a user, "@group" or "*"'), 'a list of users, "@group" or "*"')
_FILE = matching(r"[^\0]+", "a file or a pattern")
_FILES = many(_FILE, 'a list of files or patterns such as "releases.d/*.toml"')
_COUNT = integer(0, 1_000_000)
_POSITIVE = integer(1, 1_000_000)
_FLAVOUR = choice({"auto": None, **{str(flavour): flavour for flavour in Flavour}})
_NODE = optional(matching(r"[A-Za-z0-9_.-]{1,255}@[A-Za-z0-9_.:-]{1,255}", 'a name such as "web@127.0.0.1"'))
_RELEASE = optional(matching(r"[A-Za-z0-9_@.-]{1,255}", 'the name of a release such as "web"'))
_PATH = optional(path())
_PATHS = many(path(), "a list of absolute paths")
_TIME = duration()
_ARGV = optional(argv())
_SIZE = optional(size(1000))
_GZIP = optional(choice({"gzip": "gzip"}))

KEYS: Mapping[str, tuple[Key, ...]] = {
    "daemon": (
        Key("include", _FILES, AT_ONCE, "More files with releases, relative to this file."),
        Key("state_dir", _PATH, DAEMON, "Where `state.db` and the last good config are."),
        Key("log_dir", _PATH, DAEMON, "Where the releases' logs and crash dumps are."),
        Key("run_dir", _PATH, DAEMON, "Where sockets, FIFOs and VM records are."),
        Key("on_stop", _words(OnStop), AT_ONCE, "What becomes of the nodes when relctld is stopped for good."),
        Key("events_keep", _TIME, AT_ONCE, "How long events are kept; at most 100,000 are."),
        Key("metrics", optional(probes.endpoint()), AT_ONCE, "Where Prometheus may ask."),
    ),
    "daemon.access": (
        Key("view", _WHO, AT_ONCE, "Who may look: `status`, `events`, `versions`, `top`."),
        Key("operate", _WHO, AT_ONCE, "Who may also start, stop, restart, upgrade, and read logs."),
        Key("admin", _WHO, AT_ONCE, "Who may do all. Root and the daemon's own user always can."),
    ),
    "release": (
        Key("root", path(), VM, "Where the release is installed. It may be empty so far.", required=True),
        Key("name", _RELEASE, VM, "The release's own name, if not the table's.", field="release_name"),
        Key("flavour", _FLAVOUR, VM, "The kind of release; `auto` looks at its files."),
        Key("enabled", flag(), AT_ONCE, "Whether it starts at boot, unless its want is down."),
        Key("command", _ARGV, VM, "What starts the VM, in place of the flavour's; relative to `root`."),
        Key("user", _ACCOUNT, VM, "The user it runs as; only where relctld runs as root."),
        Key("group", _ACCOUNT, VM, "The group it runs as; only where relctld runs as root."),
        Key("umask", umask(), VM, "The file mode mask of the VM."),
        Key("cwd", _PATH, VM, "The VM's working directory."),
        Key("env_file", _PATH, VM, "A file of environment variables in systemd's syntax."),
        Key("inherit_env", _VARIABLES, VM, "Variables taken over from relctld's own environment."),
        Key("directories", _PATHS, VM, "Directories made and owned before the start."),
        Key("restart", _words(Restart), AT_ONCE, "After which exits it starts again: any, abnormal ones, none."),
        Key("intensity", _COUNT, AT_ONCE, "More automatic restarts than this in `period`: failed."),
        Key("period", _TIME, AT_ONCE, "The time in which `intensity` counts."),
        Key("start_timeout", _TIME, AT_ONCE, "A start that is not ready by then has failed."),
        Key("stop_timeout", _TIME, AT_ONCE, "A VM that is not gone by then is killed."),
        Key("retry_failed", optional(_TIME), AT_ONCE, "After this time a failed release is tried again."),
        Key("dump_on_kill", flag(), AT_ONCE, "Ask for a crash dump before a VM is killed."),
        Key("ready", probes.ready(), AT_ONCE, "What must answer before a start is done."),
    ),
    "release.env": (Key(ANY, secret(), VM, "A variable of the VM's environment. Its value is never shown."),),
    "release.backoff": (
        Key("first", duration(0), AT_ONCE, "The delay of the first automatic restart."),
        Key("base", _TIME, AT_ONCE, "The delay of the second one."),
        Key("factor", number(1, 1000), AT_ONCE, "What each further delay is multiplied by."),
        Key("max", _TIME, AT_ONCE, "The longest delay."),
        Key("jitter", number(0, 1), AT_ONCE, "The part of a delay that is left to chance."),
    ),
    "release.health": (
        Key("probe", probes.health(), AT_ONCE, "What is asked whether it is well."),
        Key("interval", duration(0.01), AT_ONCE, "How often it is asked."),
        Key("timeout", _TIME, AT_ONCE, "A probe that is not answered by then is missed."),
        Key("failures", _POSITIVE, AT_ONCE, "Misses in a row that mean hung."),
        Key("action", _words(OnHung), AT_ONCE, "What is done to a release that hangs."),
    ),
    "release.log": (
        Key("max_size", _SIZE, AT_ONCE, "A log file of this size is rotated."),
        Key("max_age", optional(duration(1)), AT_ONCE, "So old; `1h` and `1d`: at each full hour, each midnight."),
        Key("keep", _COUNT, AT_ONCE, "How many rotated files are kept."),
        Key("max_total", _SIZE, AT_ONCE, "How much the log files of the release may hold together."),
        Key("compress", _GZIP, AT_ONCE, "How rotated files are compressed."),
        Key("timestamps", flag(), AT_ONCE, "Put a time before each line."),
        Key("markers", flag(), AT_ONCE, "Write a line of our own at each start, end and upgrade of a VM."),
        Key("journal", flag(), AT_ONCE, "Send the lines to systemd's journal too."),
        Key("on_full", _words(OnFull), AT_ONCE, "When the log can take no more: drop lines or block the node."),
    ),
    "release.crash": (
        Key("keep", _COUNT, AT_ONCE, "How many crash dumps are kept."),
        Key("max_size", size(), VM, "How large a crash dump may grow."),
        Key("timeout", _TIME, VM, "How long a VM may take to write one."),
    ),
    "release.upgrade": (
        Key("timeout", _TIME, AT_ONCE, "How long a step of a hot upgrade may take; then the VM is restarted."),
        Key("soak", duration(0), AT_ONCE, "How long it must be well to become permanent."),
        Key("on_failure", _words(OnFailure), AT_ONCE, "Go back when it is ill after the install, or leave it so."),
        Key("allow_restart", flag(), AT_ONCE, "Whether it may restart the VM where no relup leads to the target."),
        Key("keep_versions", _POSITIVE, AT_ONCE, "How many versions stay on disk; the way back does."),
    ),
    "release.limits": (
        Key("nofile", optional(integer(1, 1 << 30)), VM, "Open files, soft and hard."),
        Key("core", optional(size(bare=True)), VM, "The size of a core dump, soft and hard."),
        Key("memory_max", optional(size(1 << 20)), VM, "Memory of the release; as root under systemd."),
        Key("cpu_weight", optional(integer(1, 10_000)), VM, "Its share of the processors, likewise."),
        Key("tasks_max", optional(integer(1, 1 << 30)), VM, "Its threads and processes, likewise."),
    ),
    "release.node": (
        Key("name", _NODE, AT_ONCE, "The node's name, where it cannot be found out."),
        Key("cookie_file", _PATH, AT_ONCE, "The file with its cookie, likewise."),
    ),
    "release.hooks": (
        Key("pre_start", _ARGV, AT_ONCE, "Run before a start; its failure aborts the start."),
        Key("post_start", _ARGV, AT_ONCE, "Run once the release is ready."),
        Key("post_stop", _ARGV, AT_ONCE, "Run when a VM is gone."),
        Key("on_crash", _ARGV, AT_ONCE, "Run when a VM ended unasked."),
        Key("pre_upgrade", _ARGV, AT_ONCE, "Run before a hot upgrade; its failure aborts it."),
        Key("post_upgrade", _ARGV, AT_ONCE, "Run after a hot upgrade that is done."),
        Key("timeout", _TIME, AT_ONCE, "How long a hook may take."),
    ),
}
