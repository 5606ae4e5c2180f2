"""What `doctor` can find: names, severities, meanings, mends. `docs/doctor.md` is made of this file.

Rule: a name is never reused for something else; scripts match on it.
`python -m relctld.supervisor.doctor.findings > docs/doctor.md` writes the page; a test fails when they differ.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Severity(StrEnum):
    """ERROR: something does not work, or will not after a boot. WARNING: it may come to that. NOTE: a mere fact."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Kind(StrEnum):
    """The name of a finding."""

    NOTHING_INSTALLED = "nothing-installed"
    RELEASE_DAMAGED = "release-damaged"
    RELEASE_DOUBTFUL = "release-doubtful"
    VERSION_INCOMPLETE = "version-incomplete"
    RELEASES_MISSING = "releases-missing"
    RELEASES_TORN = "releases-torn"
    RELEASES_INVENTED = "releases-invented"
    BOOT_DISAGREES = "boot-disagrees"
    BOOTS_ANOTHER = "boots-another"
    LEFTOVER_UNPACKED = "leftover-unpacked"
    LEFTOVER_KEPT = "leftover-kept"
    LEFTOVER_CONFIG = "leftover-config"
    LEFTOVER_EMULATOR = "leftover-emulator"
    LEFTOVER_TARBALL = "leftover-tarball"
    VERSIONS_REMOVABLE = "versions-removable"
    SECRETS_READABLE = "secrets-readable"
    COOKIE_MODE = "cookie-mode"
    NODE_REFUSED = "node-refused"
    NOT_WELL = "not-well"
    RELEASE_FAILED = "release-failed"
    RESTART_PENDING = "restart-pending"
    UNCONFIGURED = "unconfigured"
    HEART = "heart"
    LISTENS_EVERYWHERE = "listens-everywhere"
    NAME_CLASH = "name-clash"
    EPMD_DEAD = "epmd-dead"
    EPMD_LISTENS_EVERYWHERE = "epmd-listens-everywhere"
    DISK_FULL = "disk-full"
    DISK_NEARLY_FULL = "disk-nearly-full"
    DISK_READ_ONLY = "disk-read-only"
    LOG_TROUBLE = "log-trouble"
    CRASH_FOLDER = "crash-folder"
    LIMIT_UNENFORCED = "limit-unenforced"
    CONFIG_NOT_IN_FORCE = "config-not-in-force"
    CONFIG_DOUBTFUL = "config-doubtful"
    STATE_TROUBLE = "state-trouble"
    DAEMON_OUTDATED = "daemon-outdated"
    NOT_LOOKED_AT = "not-looked-at"


class Meaning(NamedTuple):
    """`mend`: the next step to take; NAME stands for the release. `by_fix`: what `--fix` does, where it is safe."""

    severity: Severity
    means: str
    mend: str
    by_fix: str = ""


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

MEANING: dict[Kind, Meaning] = {
    Kind.NOTHING_INSTALLED: Meaning(_NOTE, "The root is missing or empty.", "relctl deploy NAME TARBALL"),
    Kind.RELEASE_DAMAGED: Meaning(
        _ERROR,
        "What lies in the root cannot be started: the next boot fails.",
        "mend what it says, or install the version again: relctl deploy NAME TARBALL",
        "A `start_erl.data` that is missing or torn is written anew, where it is certain which version it named: the "
        "one that runs, or the only one there is.",
    ),
    Kind.RELEASE_DOUBTFUL: Meaning(_WARNING, "It starts, but something of it will hurt later.", "mend what it says"),
    Kind.VERSION_INCOMPLETE: Meaning(
        _WARNING,
        "A version lacks files, or has empty ones: it was unpacked halfway, or onto a full disk. An error where it is "
        "the version that boots.",
        "install it again (relctl deploy), or relctl remove NAME VERSION",
    ),
    Kind.RELEASES_MISSING: Meaning(
        _NOTE,
        "There is no `releases/RELEASES`, as mix leaves it. `relctl upgrade` makes one; release_handler alone would "
        "invent one, and then delete what versions share.",
        "nothing, if upgrades are made by relctl; else relctl doctor --fix NAME",
        "Written, with all versions that are whole.",
    ),
    Kind.RELEASES_TORN: Meaning(
        _ERROR,
        "`releases/RELEASES` cannot be read: the node starts without its release_handler's memory.",
        "relctl doctor --fix NAME",
        "Written anew from the `.rel` files, with what boots as permanent.",
    ),
    Kind.RELEASES_INVENTED: Meaning(
        _WARNING,
        "`releases/RELEASES` has an entry without libraries, which release_handler made up for want of the file: "
        "removing a version beside it deletes what both share.",
        "relctl doctor --fix NAME",
        "Written anew, with the libraries that the `.rel` files name.",
    ),
    Kind.BOOT_DISAGREES: Meaning(
        _ERROR,
        "The files that choose the version to boot (`start_erl.data`, `RELEASES`, relx's `bin/NAME`) name different "
        "ones: a commit was torn, or only one of them was changed by hand.",
        "relctl doctor --fix NAME",
        "All are made to name one: that which runs, if one of them names it; else that which a boot takes now.",
    ),
    Kind.BOOTS_ANOTHER: Meaning(
        _WARNING,
        "A boot would bring another version than the one that runs.",
        "relctl restart NAME takes what boots; relctl upgrade NAME VERSION goes there without a restart",
    ),
    Kind.LEFTOVER_UNPACKED: Meaning(
        _WARNING,
        "`.relctl` in the root holds what an upgrade unpacked, and no upgrade is under way.",
        "relctl doctor --fix NAME",
        "Removed.",
    ),
    Kind.LEFTOVER_KEPT: Meaning(
        _WARNING,
        "`.relctl-before` in the root holds damaged files that a deployment replaced, and none is under way.",
        "relctl doctor --fix NAME; where nothing took their place: relctl deploy NAME TARBALL",
        "Removed, where each of them has one in its place.",
    ),
    Kind.LEFTOVER_CONFIG: Meaning(
        _WARNING,
        "A version's `sys.config` is still the one that an upgrade evaluated; the original lies beside it as "
        "`sys.config.relctl`.",
        "relctl doctor --fix NAME",
        "The original is put back.",
    ),
    Kind.LEFTOVER_EMULATOR: Meaning(
        _WARNING,
        "An upgrade of the emulator that did not end left `__new_emulator__` or `new_start_erl.data` behind; "
        "release_handler then refuses other versions.",
        "relctl doctor --fix NAME",
        "Removed, and left out of RELEASES, unless it is what runs.",
    ),
    Kind.LEFTOVER_TARBALL: Meaning(
        _NOTE, "A tarball lies in `releases/`; relctl has no use for it.", "delete it, if nobody else needs it"
    ),
    Kind.VERSIONS_REMOVABLE: Meaning(
        _NOTE,
        "More versions are installed than `upgrade.keep_versions`; those named are needed by nothing.",
        "relctl remove NAME VERSION",
    ),
    Kind.SECRETS_READABLE: Meaning(
        _WARNING,
        "A configuration that was rendered at the start, and may hold secrets, can be read by every user.",
        "relctl doctor --fix NAME",
        "The right to read it is taken from others, where the node's user keeps it.",
    ),
    Kind.COOKIE_MODE: Meaning(
        _WARNING,
        "A cookie file can be read by others. Who has the cookie can do all that the node can. An error for "
        "`.erlang.cookie`: the node does not start with it.",
        "relctl doctor --fix NAME, or chmod it so that only the node's user may read it",
        "The rights of others are taken away, where the node's user keeps his.",
    ),
    Kind.NODE_REFUSED: Meaning(
        _ERROR,
        "relctld cannot speak to the node, for a reason other than hanging.",
        "mend what it says; health and upgrades need the link",
    ),
    Kind.NOT_WELL: Meaning(_WARNING, "It runs, and its probe does not say well.", "relctl logs NAME"),
    Kind.RELEASE_FAILED: Meaning(
        _ERROR,
        "It ended too often, and is not started again by itself; or waits for its next start.",
        "find the cause (relctl crashes NAME, relctl logs NAME --crash), then relctl start NAME",
    ),
    Kind.RESTART_PENDING: Meaning(_NOTE, "Changed keys act only after a restart.", "relctl restart NAME"),
    Kind.UNCONFIGURED: Meaning(
        _WARNING, "It runs, but has left the config.", "put it back, or relctl stop NAME; then relctl reload"
    ),
    Kind.HEART: Meaning(
        _WARNING,
        "OTP's `heart` watches the VM beside relctld. It kills a node that it takes to hang, and runs `HEART_COMMAND` "
        "when the VM has died; relctld ends what that starts, but not what it has somebody else start. A note where it "
        "has no command: then it ends a VM that was paused for longer than `HEART_BEAT_TIMEOUT`.",
        "take -heart out of vm.args and HEART_COMMAND out of the environment, then relctl restart NAME",
    ),
    Kind.LISTENS_EVERYWHERE: Meaning(
        _WARNING,
        "The node's distribution listens on all interfaces: whoever reaches the port and has the cookie owns it.",
        "-kernel inet_dist_use_interface {127,0,0,1} in vm.args, TLS distribution, or a firewall",
    ),
    Kind.NAME_CLASH: Meaning(
        _ERROR,
        "Two releases of this host have the same node name: the second to start fails.",
        "give one of them another name (vm.args, RELEASE_NODE)",
    ),
    Kind.EPMD_DEAD: Meaning(
        _WARNING,
        "No epmd answers: nodes that run keep their links, but cannot be found anew.",
        "relctl doctor --fix, or systemctl start relctl-epmd",
        "One is started, as at the start of a node.",
    ),
    Kind.EPMD_LISTENS_EVERYWHERE: Meaning(
        _NOTE,
        "epmd listens on all interfaces: it tells everybody which nodes there are, and where.",
        "the unit relctl-epmd.service, or ERL_EPMD_ADDRESS=127.0.0.1 where epmd is started",
    ),
    Kind.DISK_FULL: Meaning(_ERROR, "No room is left, in bytes or in files.", "make room, or make it larger"),
    Kind.DISK_NEARLY_FULL: Meaning(_WARNING, "Little room is left.", "make room, or make it larger"),
    Kind.DISK_READ_ONLY: Meaning(
        _ERROR,
        "What must be written to is mounted read-only. A warning where only roots of releases lie there: they run, and "
        "nothing can be installed.",
        "mount it for writing; see the kernel's log for why",
    ),
    Kind.LOG_TROUBLE: Meaning(_ERROR, "What the VM says cannot be written.", "mend what it says; then it goes on"),
    Kind.CRASH_FOLDER: Meaning(
        _WARNING,
        "The node's user cannot write its crash dumps.",
        "relctl doctor --fix NAME",
        "The folder is made, and given to that user.",
    ),
    Kind.LIMIT_UNENFORCED: Meaning(
        _WARNING, "A limit that is set has no effect on this host.", "see docs/install.md, or take the key out"
    ),
    Kind.CONFIG_NOT_IN_FORCE: Meaning(
        _ERROR,
        "The config on disk is bad: the last good one is in force.",
        "mend it (relctld --check), then relctl reload",
    ),
    Kind.CONFIG_DOUBTFUL: Meaning(_NOTE, "The config can be used, but something in it is odd.", "mend what it says"),
    Kind.STATE_TROUBLE: Meaning(
        _ERROR, "The state cannot be written: changing verbs are refused, nodes run on.", "make room in state_dir"
    ),
    Kind.DAEMON_OUTDATED: Meaning(
        _WARNING, "Another version of relctl is installed than the one that runs.", "relctl daemon reexec"
    ),
    Kind.NOT_LOOKED_AT: Meaning(
        _WARNING, "It could not be looked at in time, or at all.", "mend what it says, or its disk; ask again"
    ),
}

Mend = Callable[[], str]
"""Mends what was found, and says what it did. Blocks; for a worker thread. Raises as the tree does."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `release` is None for what concerns the host; `mend` is there where `--fix` would mend it."""

    kind: Kind
    detail: str
    release: str | None = None
    severity: Severity | None = None
    mend: Mend | None = field(default=None, compare=False)

    def shown(self) -> dict[str, Any]:
        """As `doctor --json` shows it."""
        meaning = MEANING[self.kind]
        return {
            "release": self.release,
            "finding": str(self.kind),
            "severity": str(self.severity or meaning.severity),
            "detail": self.detail,
            "mend": meaning.mend.replace("NAME", self.release or "NAME"),
            "fixable": self.mend is not None,
        }


_HEAD = """\
# What `relctl doctor` finds

Written by `python -m relctld.supervisor.doctor.findings > docs/doctor.md`; a test fails when page and program differ.

`relctl doctor` looks at this host and at all releases, or at those named; nothing is changed. `--fix` mends what can be
mended safely, says what it did, and touches nothing else; each mend is an event, `doctor-fixed`, with who asked. While
an upgrade of a release is under way its tree is left alone. Each look has a limit of five seconds: a disk that hangs is
a finding, and delays no other.

An *error* does not work, or will not after the next boot; a *warning* may come to that; a *note* is good to know. The
exit code is 1 where an error or a warning is left, else 0.

| finding | severity | what it means | what to do | what `--fix` does |
|---|---|---|---|---|
"""


def page() -> str:
    """docs/doctor.md."""
    rows = (
        f"| `{kind}` | {m.severity} | {m.means} | {m.mend} | {m.by_fix} |\n".replace("|  |", "| |")
        for kind, m in MEANING.items()
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
