"""A hot upgrade whose relup restarts the emulator, as a transaction.

It is what `core.upgrade` is, by the same rules and with the same journal. In between the VM ends, and the next one is
started as a candidate, though no file selects that: first as the hybrid, the old applications on the new ERTS, kernel,
stdlib and sasl, which then carries out the rest of the relup (restart_new_emulator); last as the target
(restart_emulator). A relup may say either, or both.

    BEGUN ─→ SWITCHING ─→ INSTALLING ─→ SWITCHING ─→ INSTALLED ─→ SOAKING ─→ COMMITTING ─→ done
      │     (the hybrid)      │        (the target)      │           │
      │          └────────────┴─────────────┴────────────┴───────────┴─→ RESTARTING ─→ CLEANING ─→ failed
      └── what fails before the first switch is taken back as in a hot upgrade ───────────┘

Rule 1: one launch alone is of a candidate: that of the epoch after `Journal.epoch` while SWITCHING, in this boot of the
        host. Whatever ends that VM, the next launch is of the origin.
Rule 2: once a VM of a candidate was launched the way back is a restart into the origin. What ran is lost already, and
        that is always right.
"""

from dataclasses import replace

from relctld.core import upgrade
from relctld.core.switch import is_targets
from relctld.core.transaction import (
    Act,
    Disk,
    Do,
    Enter,
    Finish,
    Journal,
    Life,
    Node,
    Phase,
    Step,
    Wait,
    enter,
    is_late,
    limit,
)

_DARK = (Phase.SWITCHING, Phase.RESTARTING)
_WHEN = {
    Phase.SWITCHING: "before it was ready",
    Phase.INSTALLING: "while the rest was installed",
    Phase.INSTALLED: "before it was verified",
    Phase.SOAKING: "during the soak",
}
_LATE = {
    Phase.SWITCHING: "the new emulator was not ready",
    Phase.INSTALLING: "not installed",
    Phase.INSTALLED: "not verified",
    Phase.SOAKING: "not verified after the soak",
}


def launches(j: Journal, epoch: int, boot: str) -> str | None:
    """As which candidate the launch of an epoch, in a boot of the host, starts; None: what the files select."""
    return j.candidate if j.phase is Phase.SWITCHING and is_targets(j, epoch, boot) else None


def next_step(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """What brings the upgrade closer to its end."""
    if node.boot != j.boot:
        j = replace(j, dark=None)  # by a clock that is gone
    step = _next_step(j, disk, node, now)
    return _timed(step, now) if isinstance(step, Enter) else step


def after_failure(j: Journal, act: Act, why: str, now: float) -> Enter | None:
    """What follows where an act cannot be done; None: it is tried again, for there is no other way to a good end."""
    if act is Act.PREPARE and j.phase is Phase.BEGUN:
        return enter(j, Phase.CLEANING, now, why)
    if act in (Act.PREPARE, Act.SWITCH, Act.VERIFY) or (act is Act.INSTALL and j.candidate):
        return _timed(enter(j, Phase.RESTARTING, now, why), now)
    found = upgrade.after_failure(j, act, why, now)
    return _timed(found, now) if found else None


def _next_step(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if j.phase is Phase.SWITCHING:
        return _switching(j, node, now)
    if j.phase is Phase.RESTARTING:
        return _restarting(j, node, now)
    if j.phase is Phase.CLEANING and node.life is Life.UP and node.astray:
        return Do(Act.FORGET)
    if (
        j.phase is Phase.COMMITTING
        and node.life is Life.UP
        and node.astray
        and disk.selects == node.current == j.target
    ):
        return Do(Act.RESTART if is_late(j, now) else Act.MAKE_PERMANENT)
    if j.candidate and j.phase in (Phase.INSTALLING, Phase.INSTALLED, Phase.SOAKING):
        return _running(j, disk, node, now)
    return _before(j, disk, node, now)


def _before(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """As a hot upgrade, as long as the VM is the one that ran before; and in the end."""
    step = upgrade.next_step(j, disk, node, now)
    match j.phase, step:
        case Phase.BEGUN, Enter(Journal(phase=Phase.INSTALLING)):
            if disk.readied != j.hybrid:
                return Do(Act.PREPARE)
            if j.hybrid:
                return _switch(j, disk, j.hybrid, now)
            return step if node.astray else Do(Act.REGISTER)
        case Phase.INSTALLING, Enter(Journal(phase=Phase.INSTALLED)):
            return _switch(j, disk, j.target, now)
    return step


def _switch(j: Journal, disk: Disk, candidate: str, now: float) -> Step:
    if disk.readied != candidate:
        return Do(Act.PREPARE)
    return enter(replace(j, candidate=candidate), Phase.SWITCHING, now)


def _switching(j: Journal, node: Node, now: float) -> Step:
    if node.boot != j.boot:
        return enter(j, Phase.CLEANING, now, f"the host went down {_WHEN[j.phase]}")
    if node.epoch == j.epoch:
        return _back(j, node, _out_of_time(j), now) if is_late(j, now) else Do(Act.SWITCH)
    if node.epoch > j.epoch + 1 or node.life is Life.GONE:
        return _back(j, node, _how_it_ended(j, node), now)
    if node.life is Life.COMING or not node.current:
        return _back(j, node, _out_of_time(j), now) if is_late(j, now) else Wait(j.until)
    if node.current != j.candidate:
        return _back(j, node, f"{node.current} was started, not {j.candidate}", now)
    there = replace(j, epoch=node.epoch, incarnation=node.incarnation)
    return enter(there, Phase.INSTALLING if j.candidate == j.hybrid else Phase.INSTALLED, now)


def _running(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """In a VM that was launched as a candidate."""
    if node.life is Life.GONE or node.boot != j.boot or node.epoch != j.epoch:
        return _back(j, node, _how_it_ended(j, node), now)
    if node.life is Life.COMING:
        return _back(j, node, _out_of_time(j), now) if is_late(j, now) else Wait(limit(j))
    if node.incarnation != j.incarnation:
        return _back(j, node, _how_it_ended(j, node), now)
    if j.phase is Phase.INSTALLING:
        return _installing(j, disk, node, now)
    if node.ill:
        return _ill(j, disk, node, f"in the soak: {node.ill}", now)
    if j.phase is Phase.SOAKING and j.until is not None and now < j.until:
        return Wait(j.until)
    if node.findings is None:
        return _back(j, node, _out_of_time(j), now) if is_late(j, now) else Do(Act.VERIFY)
    if node.findings:
        return _ill(j, disk, node, "; ".join(node.findings), now)
    return enter(j, Phase.COMMITTING if j.phase is Phase.SOAKING else Phase.SOAKING, now)


def _installing(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """The rest of the relup, in the hybrid."""
    install = node.installed
    if install is None or not install.done:
        if is_late(j, now):
            return _back(j, node, _out_of_time(j), now)
        return Do(Act.INSTALL) if install is None else Wait(j.until)
    if install.error is not None:
        return _back(j, node, f"the install failed: {install.error}", now)
    return _switch(j, disk, j.target, now) if j.ends_anew else enter(j, Phase.INSTALLED, now)


def _restarting(j: Journal, node: Node, now: float) -> Step:
    """A VM that never was a candidate's, nor installed anything, is of the origin already, whatever its epoch."""
    late = is_late(j, now)
    is_origins = node.life is Life.UP and bool(j.candidate) and node.current == j.origin and not node.astray
    gone = node.life is Life.GONE and (late or not node.wanted)
    if node.boot == j.boot and node.epoch <= j.epoch and not is_origins and not gone:
        return Do(Act.RESTART)
    if is_origins and node.incarnation == j.incarnation:
        j = replace(j, dark=None)  # it has served all the time
    return Wait(j.until) if node.life is Life.COMING and not late else enter(j, Phase.CLEANING, now)


def _ill(j: Journal, disk: Disk, node: Node, why: str, now: float) -> Step:
    if j.leave:
        return Do(Act.TIDY) if disk.swapped else Finish(ok=False, why=why, left=True)
    return _back(j, node, why, now)


def _back(j: Journal, node: Node, why: str, now: float) -> Enter:
    """To the origin. A VM up to `epoch` is not of it: while switching, the next one is the candidate's."""
    switching = j.phase is Phase.SWITCHING and node.epoch > j.epoch
    return enter(replace(j, epoch=j.epoch + 1) if switching else j, Phase.RESTARTING, now, why)


def _timed(step: Enter, now: float) -> Enter:
    """From the order to end a VM until the next one is ready nothing is served."""
    after = step.journal
    if after.phase in _DARK:
        return Enter(replace(after, dark=now if after.dark is None else after.dark))
    gone = 0.0 if after.dark is None else max(0.0, now - after.dark)
    return Enter(replace(after, dark=None, outage=after.outage + gone))


def _how_it_ended(j: Journal, node: Node) -> str:
    if node.boot != j.boot:
        return f"the host went down {_WHEN[j.phase]}"
    epoch = j.epoch + 1 if j.phase is Phase.SWITCHING else j.epoch
    if node.epoch == epoch and node.life is not Life.GONE:
        return f"the node restarted itself {_WHEN[j.phase]}"
    how = f": {node.ended}" if node.ended else ""
    return f"the VM of {'the new emulator' if j.candidate == j.hybrid else j.target} ended {_WHEN[j.phase]}{how}"


def _out_of_time(j: Journal) -> str:
    return f"{_LATE[j.phase]} within {j.timeout:g} s"
