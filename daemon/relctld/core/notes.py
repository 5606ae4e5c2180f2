"""The events that operators see: names, fields, meanings. `docs/events.md` is made from this file.

Rule: a name is never reused for something else; scripts match on it.
"""

from enum import StrEnum


class Note(StrEnum):
    """The name of an event in `relctl events`, the notices and the daemon's own log."""

    REQUESTED = "requested"
    STARTING = "starting"
    SPAWNED = "spawned"
    RUNNING = "running"
    STOPPING = "stopping"
    KILLING = "killing"
    STUCK = "stuck"
    EXITED = "exited"
    CRASH_DUMP = "crash-dump"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"
    HEALTH = "health"
    VM_RESTARTED = "vm-restarted"
    THRESHOLD = "threshold"
    THRESHOLD_CLEARED = "threshold-cleared"
    EPMD_LOST = "epmd-lost"
    EPMD_BACK = "epmd-back"
    EVALUATED = "evaluated"
    HOOK_FAILED = "hook-failed"
    RESUMED = "resumed"
    UNLIMITED = "unlimited"
    LIMITED = "limited"
    LOG_DROPPED = "log-dropped"
    LOG_TROUBLE = "log-trouble"
    REMOTE_ATTACHED = "remote-attached"
    REMOTE_DETACHED = "remote-detached"
    DAEMON_STARTED = "daemon-started"
    DAEMON_STOPPING = "daemon-stopping"
    DAEMON_REEXEC = "daemon-reexec"
    REEXEC_REFUSED = "reexec-refused"
    CONFIG_RELOADED = "config-reloaded"
    CONFIG_REFUSED = "config-refused"
    STORE_DAMAGED = "store-damaged"
    STORE_FULL = "store-full"
    LOGGER_STARTED = "logger-started"
    UPGRADE_BEGUN = "upgrade-begun"
    UPGRADE_PHASE = "upgrade-phase"
    UPGRADED = "upgraded"
    UPGRADE_FAILED = "upgrade-failed"
    REMOVED = "removed"
    DOCTOR_FIXED = "doctor-fixed"


MEANING: dict[Note, tuple[str, str]] = {
    Note.REQUESTED: ("epoch, op, by", "An operator's start, stop or restart was accepted."),
    Note.STARTING: ("epoch", "A new VM generation begins: pre_start, epmd, then the boot script."),
    Note.SPAWNED: ("epoch, pid", "The VM is recorded and contained, and its boot script runs."),
    Note.RUNNING: ("epoch, pid, seconds", "The release is ready."),
    Note.STOPPING: (
        "epoch, why",
        "SIGTERM is sent until the VM is gone; why: stop, restart, hung, boot-timeout, shutdown.",
    ),
    Note.KILLING: ("epoch, why", "SIGKILL is sent: the VM did not end in time."),
    Note.STUCK: ("epoch, left", "Processes outlive SIGKILL (state D, usually a disk that hangs); it is repeated."),
    Note.EXITED: ("epoch, pid, code, signal, cause, detail, uptime_s", "The VM is gone, and why."),
    Note.CRASH_DUMP: ("epoch, pid, slogan", "The VM left a crash dump; see `relctl crashes`."),
    Note.BACKOFF: ("epoch, delay_s, why", "The next automatic restart waits for so long."),
    Note.FAILED: (
        "epoch, restarts, period_s, why",
        "More restarts than `intensity` within `period`: relctld tries no more until `start` (or `retry_failed`).",
    ),
    Note.STOPPED: ("epoch, why", "Nothing of the release is left."),
    Note.HEALTH: ("epoch, health, before, detail", "What the probes say has changed."),
    Note.VM_RESTARTED: (
        "epoch, pid",
        "The node booted again inside its process (init:restart); same pid, all else new.",
    ),
    Note.THRESHOLD: ("epoch, name, value, limit, detail", "The node comes close to a limit, or grows."),
    Note.THRESHOLD_CLEARED: ("epoch, name, value, limit, detail", "It is well below that again."),
    Note.EPMD_LOST: ("port, detail", "No epmd answers: links stay, but nodes cannot find each other anew."),
    Note.EPMD_BACK: ("port", "epmd answers again."),
    Note.EVALUATED: ("op, by, ok, seconds", "An operator had something evaluated in the node (eval, rpc)."),
    Note.HOOK_FAILED: ("epoch, hook, error", "A hook failed; pre_start and pre_upgrade abort, the others report."),
    Note.RESUMED: ("epoch, pid, state", "A new relctld goes on with a VM of its former self."),
    Note.UNLIMITED: (
        "epoch, why",
        "systemd did not answer: the VM runs outside its scope, without its limits, and is moved once it does.",
    ),
    Note.LIMITED: ("epoch, seconds", "The VM was moved into its scope: its limits hold from now on."),
    Note.LOG_DROPPED: (
        "bytes, lines, why",
        "The log could not be written; output was dropped rather than the node blocked.",
    ),
    Note.LOG_TROUBLE: ("error", "The log cannot be written, rotated, cleared or compressed as it should."),
    Note.REMOTE_ATTACHED: ("by, pid", "An operator opened a remote shell; pid: the shell's."),
    Note.REMOTE_DETACHED: (
        "by, pid, seconds, why",
        "A remote shell is gone; why: ended, left, its client is gone, relctld is stopping.",
    ),
    Note.DAEMON_STARTED: ("version, pid, config", "relctld came up."),
    Note.DAEMON_STOPPING: ("on_stop, by", "relctld is stopping, with the nodes or without them."),
    Note.DAEMON_REEXEC: (
        "by, version, before",
        "relctld is replaced in place by the installed code, which was tried; daemon-started follows.",
    ),
    Note.REEXEC_REFUSED: (
        "by, error",
        "The installed code was tried and is not fit, or a disk hangs; relctld goes on as it was.",
    ),
    Note.CONFIG_RELOADED: ("by, added, removed, changed", "A changed config was applied."),
    Note.CONFIG_REFUSED: ("error", "The config on disk is bad; the last good one stays in force."),
    Note.STORE_DAMAGED: ("path, error", "The state store was damaged and set aside; wants start from the config."),
    Note.STORE_FULL: ("error", "The state store cannot be written: changing verbs are refused, nodes run on."),
    Note.LOGGER_STARTED: ("pid", "relctld started a logger, for none ran."),
    Note.UPGRADE_BEGUN: (
        "id, from, to, by",
        "A hot upgrade or a deployment begins: judged, and written into its journal; `from` may be nothing.",
    ),
    Note.UPGRADE_PHASE: (
        "id, phase, why",
        "It entered a phase: installing or switching, installed, soaking, committing; or, for what `why` says, "
        "undoing, reinstalling, restarting, cleaning.",
    ),
    Note.UPGRADED: (
        "id, from, to, by, seconds, outage_s",
        "It is done, verified and permanent; outage_s: for how long nothing was served, where an emulator restarted.",
    ),
    Note.UPGRADE_FAILED: (
        "id, from, to, by, seconds, outage_s, why, runs",
        "It did not happen: the node runs what it ran, and nothing of the attempt is left.",
    ),
    Note.REMOVED: ("versions, by", "Installed versions were removed, by an operator or for `keep_versions`."),
    Note.DOCTOR_FIXED: (
        "by, finding, detail, fixed, did or error",
        "`doctor --fix` mended something, or tried to.",
    ),
}
