"""The switch by restart as a transaction: the first install too, and the repair of a broken one (`deploy`).

It is what `core.upgrade` is, by the same rules and with the same journal, for what no relup leads to: the VM ends, and
the next one is started as the target, though no file selects that yet. `launches` says which one is.

    BEGUN ─→ SWITCHING ─→ INSTALLED ─→ SOAKING ─→ COMMITTING ─→ done
      │          └────────────┴───────────┴─→ RESTARTING ─→ CLEANING ─→ failed, nothing changed
      └── nothing is to run ──────────────────────→ COMMITTING

Rule 1: one launch alone is of the target before COMMITTING: that of the epoch after `Journal.epoch`, in this boot of
        the host. Whatever ends that VM, the next launch is of the origin; of nothing, where there was none.
Rule 2: SWITCHING is entered while `Journal.epoch` is the latest. So a later epoch was launched with its journal known.
"""

from dataclasses import replace
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
    Way,
    enter,
    is_late,
    limit,
)

NOTHING = ""
"""As a version: none is installed."""

_WHEN = {
    Phase.SWITCHING: "before it was ready",
    Phase.INSTALLED: "before it was verified",
    Phase.SOAKING: "during the soak",
}
_LATE = {
    Phase.BEGUN: "not prepared",
    Phase.SWITCHING: "not started",
    Phase.INSTALLED: "not verified",
    Phase.SOAKING: "not verified after the soak",
}


def launches(j: Journal, epoch: int, boot: str) -> str | None:
    """The version that the launch of an epoch, in a boot of the host, starts; None: what the files select."""
    if j.way is not Way.RESTART:
        return None
    if j.phase is Phase.COMMITTING or (j.phase is Phase.SWITCHING and is_targets(j, epoch, boot)):
        return j.target
    return None if j.origin else NOTHING


def is_targets(j: Journal, epoch: int, boot: str) -> bool:
    """Whether the VM of an epoch is the one that was started as the target."""
    return epoch == j.epoch + 1 and boot == j.boot


def next_step(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """What brings the switch closer to its end."""
    match j.phase:
        case Phase.BEGUN:
            return _begun(j, disk, node, now)
        case Phase.SWITCHING:
            return _switching(j, node, now)
        case Phase.INSTALLED | Phase.SOAKING:
            return _running(j, disk, node, now)
        case Phase.COMMITTING:
            return _committing(j, disk, node, now)
        case Phase.RESTARTING:
            return _restarting(j, node, now)
        case Phase.CLEANING:
            return _cleaning(j, disk, node)
        case Phase.INSTALLING | Phase.UNDOING | Phase.REINSTALLING:
            raise ValueError(f"a switch by restart is never {j.phase}")
        case _ as never:
            assert_never(never)


def after_failure(j: Journal, act: Act, why: str, now: float) -> Enter | None:
    """What follows where an act cannot be done; None: it is tried again, for there is no other way to a good end."""
    if act in (Act.UNPACK, Act.CONFIGURE, Act.REGISTER):
        return enter(j, Phase.CLEANING, now, why)
    if act in (Act.SWITCH, Act.VERIFY):
        return enter(j, Phase.RESTARTING, now, why)
    return None


def _begun(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if is_late(j, now):
        return enter(j, Phase.CLEANING, now, _out_of_time(j))
    if not disk.in_place:
        return Do(Act.UNPACK)
    if j.target not in disk.configured:
        return Do(Act.CONFIGURE)
    if j.origin and not {j.origin, j.target} <= disk.listed:
        return Do(Act.REGISTER)
    if not j.starts:
        return enter(j, Phase.COMMITTING, now)
    return enter(replace(j, epoch=node.epoch), Phase.SWITCHING, now)


def _switching(j: Journal, node: Node, now: float) -> Step:
    if node.epoch == j.epoch:
        return enter(j, Phase.RESTARTING, now, _out_of_time(j)) if is_late(j, now) else Do(Act.SWITCH)
    if node.epoch > j.epoch + 1 or node.life is Life.GONE:
        return enter(j, Phase.RESTARTING, now, _how_it_ended(j, node))
    if node.life is Life.COMING:
        return enter(j, Phase.RESTARTING, now, _out_of_time(j)) if is_late(j, now) else Wait(j.until)
    if node.current != j.target:
        return enter(j, Phase.RESTARTING, now, "the host went down before it was started")
    return enter(replace(j, incarnation=node.incarnation), Phase.INSTALLED, now)


def _running(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if node.life is Life.GONE or node.epoch != j.epoch + 1 or _restarted_itself(j, node):
        return enter(j, Phase.RESTARTING, now, _how_it_ended(j, node))
    if node.life is Life.COMING:
        late = is_late(j, now)
        return enter(j, Phase.RESTARTING, now, _out_of_time(j)) if late else Wait(limit(j))
    if node.ill:
        return _ill(j, disk, f"in the soak: {node.ill}", now)
    if j.phase is Phase.SOAKING and j.until is not None and now < j.until:
        return Wait(j.until)
    if node.findings is None:
        return enter(j, Phase.RESTARTING, now, _out_of_time(j)) if is_late(j, now) else Do(Act.VERIFY)
    if node.findings:
        return _ill(j, disk, "; ".join(node.findings), now)
    return enter(j, Phase.COMMITTING if j.phase is Phase.SOAKING else Phase.SOAKING, now)


def _ill(j: Journal, disk: Disk, why: str, now: float) -> Step:
    if j.leave and j.origin:
        return Do(Act.TIDY) if disk.swapped else Finish(ok=False, why=why, left=True)
    return enter(j, Phase.RESTARTING, now, why)


def _committing(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if disk.selects != j.target:
        return Do(Act.COMMIT)
    waits = not is_late(j, now)
    if node.life is Life.UP and node.known and node.permanent != j.target and waits:
        return Do(Act.MAKE_PERMANENT)
    if disk.swapped:
        return Do(Act.TIDY)
    if j.starts and node.life is Life.COMING and waits:
        return Wait(j.until)
    return Finish(ok=True)


def _restarting(j: Journal, node: Node, now: float) -> Step:
    ours = node.epoch == j.epoch + 1 and (node.current == j.target or node.life is Life.GONE)
    if ours and (node.life is not Life.GONE or (j.origin and node.wanted and not is_late(j, now))):
        return Do(Act.RESTART)
    waits = node.life is Life.COMING and not is_late(j, now)
    return Wait(j.until) if waits else enter(j, Phase.CLEANING, now)


def _cleaning(j: Journal, disk: Disk, node: Node) -> Step:
    if disk.left or disk.swapped:
        return Do(Act.CLEAN)
    if node.life is Life.UP and j.target != j.origin and j.target in node.known - disk.listed:
        return Do(Act.FORGET)
    return Finish(ok=False, why=j.why)


def _restarted_itself(j: Journal, node: Node) -> bool:
    """Where there is a link, it tells."""
    return bool(j.incarnation and node.incarnation) and node.incarnation != j.incarnation


def _how_it_ended(j: Journal, node: Node) -> str:
    if node.epoch == j.epoch + 1 and node.life is not Life.GONE:
        return f"the node restarted itself {_WHEN[j.phase]}"
    how = f": {node.ended}" if node.ended else ""
    return f"the VM of {j.target} ended {_WHEN[j.phase]}{how}"


def _out_of_time(j: Journal) -> str:
    return f"{_LATE[j.phase]} within {j.timeout:g} s"
