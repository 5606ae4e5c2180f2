"""A hot upgrade as a transaction: `next_step(journal, disk, node, now) -> step`.

Rule 1: the same function drives normal progress and resumption. It remembers nothing: what was done is read from the
        journal, the disk and the node, so each normal run is a chain of recoveries.
Rule 2: a phase is entered, durably, before what it stands for is ordered.
Rule 3: acts are idempotent; only those that are orders (install, reinstall, restart) need a phase of their own.
Rule 4: until COMMITTING nothing on disk selects the target: whatever dies, a boot brings the origin back.
        From COMMITTING on the target is decided, and is what every boot is made to bring.

    BEGUN ─→ INSTALLING ─→ INSTALLED ─→ SOAKING ─→ COMMITTING ─→ done
      │           └───────────┴──────────┴→ UNDOING ─→ REINSTALLING ─→ RESTARTING
      └──── the node is another ────────────────┴───────────┴──────────────┴──→ CLEANING ─→ failed, nothing changed

Rule 5: a node that ended since the install was ordered is started again, whatever its `restart` says, unless operators
        want it down: but for us it would run.
"""

from typing import assert_never

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

_UNDECIDED = frozenset({Phase.BEGUN, Phase.INSTALLING, Phase.INSTALLED, Phase.SOAKING, Phase.UNDOING})
_BOOTED = {
    Phase.BEGUN: "before anything was installed",
    Phase.INSTALLING: "during the install",
    Phase.INSTALLED: "before it was verified",
    Phase.SOAKING: "during the soak",
    Phase.UNDOING: "while it was taken back",
}

_LATE = {
    Phase.BEGUN: "not prepared",
    Phase.INSTALLING: "not installed",
    Phase.INSTALLED: "not verified",
    Phase.SOAKING: "not verified after the soak",
}


def next_step(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """What brings the upgrade closer to its end."""
    if j.phase in _UNDECIDED and (node.life is Life.GONE or _is_another(j, node)):
        return enter(j, _after_its_end(j, node), now, _how_it_ended(j, node))
    match j.phase:
        case Phase.COMMITTING:
            return _committing(j, disk, node, now)
        case Phase.RESTARTING:
            return _restarting(j, node, now)
        case Phase.CLEANING:
            return _cleaning(j, disk, node)
        case Phase.SWITCHING:
            raise ValueError("no hot upgrade is switching")
    if node.life is Life.COMING:
        return _out_of_time(j, now) if is_late(j, now) else Wait(limit(j))
    match j.phase:
        case Phase.BEGUN:
            return _begun(j, disk, node, now)
        case Phase.INSTALLING:
            return _installing(j, node, now)
        case Phase.INSTALLED:
            return _judged(j, node, now, enter(j, Phase.SOAKING, now))
        case Phase.SOAKING:
            return _soaking(j, node, now)
        case Phase.UNDOING:
            return _undoing(j, disk, node, now)
        case Phase.REINSTALLING:
            return _reinstalling(j, disk, node, now)
        case _ as never:
            assert_never(never)


def after_failure(j: Journal, act: Act, why: str, now: float) -> Enter | None:
    """What follows where an act cannot be done; None: it is tried again, for there is no other way to a good end."""
    match act:
        case Act.UNPACK | Act.CONFIGURE | Act.PREPARE | Act.REGISTER | Act.SWITCH:
            return enter(j, Phase.CLEANING, now, why)
        case Act.INSTALL | Act.VERIFY:
            return enter(j, Phase.UNDOING, now, why)
        case Act.VERIFY_BACK | Act.REPAIR | Act.CONFIGURE_BACK | Act.REINSTALL:
            return enter(j, Phase.RESTARTING, now)
        case Act.COMMIT | Act.MAKE_PERMANENT | Act.TIDY | Act.RESTART | Act.CLEAN | Act.FORGET:
            return None
        case _ as never:
            assert_never(never)


def _begun(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if is_late(j, now):
        return _out_of_time(j, now)
    if not disk.in_place:
        return Do(Act.UNPACK)
    if j.target not in disk.configured:
        return Do(Act.CONFIGURE)
    if not {j.origin, j.target} <= disk.listed & node.known or node.permanent != j.origin:
        return Do(Act.REGISTER)
    return enter(j, Phase.INSTALLING, now)


def _installing(j: Journal, node: Node, now: float) -> Step:
    install = node.installed
    if install is None or not install.done:
        if is_late(j, now):
            return _out_of_time(j, now)  # it cannot be cancelled: it ends with its VM
        return Do(Act.INSTALL) if install is None else Wait(j.until)
    if install.error is not None:
        return enter(j, Phase.UNDOING, now, f"the install failed: {install.error}")
    return enter(j, Phase.INSTALLED, now)


def _soaking(j: Journal, node: Node, now: float) -> Step:
    if node.ill:
        return enter(j, Phase.UNDOING, now, f"in the soak: {node.ill}")
    if j.until is not None and now < j.until:
        return Wait(j.until)
    return _judged(j, node, now, enter(j, Phase.COMMITTING, now))


def _committing(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if disk.selects != j.target:
        return Do(Act.COMMIT)
    if node.life is Life.UP and node.current != j.target:
        return Do(Act.RESTART)  # it restarted itself meanwhile, and that brings back what it was booted with
    if node.life is Life.UP and node.permanent != j.target:
        return Do(Act.RESTART if is_late(j, now) else Act.MAKE_PERMANENT)
    if disk.swapped:
        return Do(Act.TIDY)
    waits = node.life is Life.COMING and not is_late(j, now)
    return Wait(j.until) if waits else Finish(ok=True)


def _undoing(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if node.current == j.target and j.leave:
        return Do(Act.TIDY) if disk.swapped else Finish(ok=False, why=j.why, left=True)
    if node.current == j.target:
        way = Phase.REINSTALLING if j.reversible else Phase.RESTARTING
        return enter(j, way, now)
    if node.findings is None:
        return _out_of_time(j, now) if is_late(j, now) else Do(Act.VERIFY_BACK)
    if not node.findings:
        return enter(j, Phase.CLEANING, now)
    if not j.repaired:
        return Do(Act.REPAIR)
    return enter(j, Phase.RESTARTING, now)


def _reinstalling(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if node.life is Life.GONE or _is_another(j, node):
        return enter(j, _after_its_end(j, node), now)
    back = node.reinstalled
    if (back is None or not back.done or node.findings is None) and is_late(j, now):
        return _out_of_time(j, now)
    if back is None:
        return Do(Act.REINSTALL if j.origin in disk.configured else Act.CONFIGURE_BACK)
    if not back.done:
        return Wait(j.until)
    if back.error is not None:
        return enter(j, Phase.RESTARTING, now)
    if node.findings is None:
        return Do(Act.VERIFY_BACK)
    return enter(j, Phase.RESTARTING if node.findings else Phase.CLEANING, now)


def _restarting(j: Journal, node: Node, now: float) -> Step:
    if node.epoch == j.epoch and not (node.life is Life.GONE and (is_late(j, now) or not node.wanted)):
        return Do(Act.RESTART)
    waits = node.life is Life.COMING and not is_late(j, now)
    return Wait(j.until) if waits else enter(j, Phase.CLEANING, now)


def _cleaning(j: Journal, disk: Disk, node: Node) -> Step:
    if disk.left or disk.swapped or disk.selects != j.origin:
        return Do(Act.CLEAN)
    if node.life is Life.UP and j.target in node.known - disk.listed:
        return Do(Act.FORGET)
    return Finish(ok=False, why=j.why)


def _judged(j: Journal, node: Node, now: float, onwards: Step) -> Step:
    """Onwards, where a look finds nothing wrong."""
    if node.findings is None:
        return _out_of_time(j, now) if is_late(j, now) else Do(Act.VERIFY)
    return enter(j, Phase.UNDOING, now, "; ".join(node.findings)) if node.findings else onwards


def _out_of_time(j: Journal, now: float) -> Enter:
    """Before the install nothing has happened to the node; after it a restart brings the origin back in any case."""
    back = Phase.CLEANING if j.phase is Phase.BEGUN else Phase.RESTARTING
    return enter(j, back, now, f"{_LATE.get(j.phase, 'not taken back')} within {j.timeout:g} s")


def _after_its_end(j: Journal, node: Node) -> Phase:
    """What follows where the node that is upgraded has ended: the next one is there, or nobody else will start it."""
    by_us = node.epoch == j.epoch and j.phase is not Phase.BEGUN
    return Phase.RESTARTING if node.life is Life.GONE and node.wanted and by_us else Phase.CLEANING


def _is_another(j: Journal, node: Node) -> bool:
    """It booted since, from what the disk selects."""
    return node.life is Life.UP and (node.epoch, node.incarnation) != (j.epoch, j.incarnation)


def _how_it_ended(j: Journal, node: Node) -> str:
    when = _BOOTED[j.phase]
    if node.life is Life.GONE:
        return f"the node ended {when}"
    if node.epoch == j.epoch:
        more = ", behind its point of no return" if j.phase is Phase.INSTALLING else ""
        return f"the node restarted itself {when}{more}"
    return f"the VM died {when}"
