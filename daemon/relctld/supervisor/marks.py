"""Which events are said in the release's own log too, and in which words. Pure.

relctl: starting (epoch 7) at 2026-11-22T11:00:00.123Z
relctl: exited (epoch 7, pid 4711) at 2026-11-22T11:20:00.123Z: killed, SIGKILL
relctl: left a crash dump (epoch 7) at 2026-11-22T11:20:00.456Z: no more memory
relctl: restarted inside its process (epoch 7, pid 4711) at 2026-11-22T11:20:00.456Z
relctl: upgrade from 1.0 to 1.1 begins at 2026-11-22T11:30:00.123Z
relctl: upgraded from 1.0 to 1.1 at 2026-11-22T11:30:09.123Z
relctl: upgrade from 1.0 to 1.1 failed at 2026-11-22T11:30:09.123Z: not well within 10 s
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relctld.core.exits import in_words
from relctld.core.notes import Note
from relctld.core.state import Cause, ExitStatus, LastExit, ReleaseState


@dataclass(frozen=True, slots=True)
class Said:
    """A line. `key` is the same for the same thing, whoever tells it; `breaks`: it ends half a line before it."""

    key: str
    text: str
    breaks: bool = False


def said_of(note: Note, fields: Mapping[str, Any], at: str) -> Said | None:
    """What is said of an event; None where it does not belong into the log."""
    epoch, pid = fields.get("epoch"), fields.get("pid")
    way = f"from {fields['from']} to {fields.get('to')}" if fields.get("from") else f"to {fields.get('to')}"
    match note:
        case Note.STARTING:
            return _started(fields["epoch"], at)
        case Note.EXITED:
            status = ExitStatus(fields["code"], fields["signal"])
            return _exited(LastExit(at, status, Cause(fields["cause"]), pid, fields["detail"], fields["epoch"]))
        case Note.CRASH_DUMP:
            return Said(f"{epoch}.dump", f"left a crash dump (epoch {epoch}) at {at}: {fields['slogan']}")
        case Note.VM_RESTARTED:
            return Said(f"{epoch}.again {at}", f"restarted inside its process (epoch {epoch}, pid {pid}) at {at}")
        case Note.UPGRADE_BEGUN:
            return Said(f"{fields['id']}.begun", f"upgrade {way} begins at {at}")
        case Note.UPGRADED:
            return Said(f"{fields['id']}.ended", f"upgraded {way} at {at}")
        case Note.UPGRADE_FAILED:
            return Said(f"{fields['id']}.ended", f"upgrade {way} failed at {at}: {fields['why']}")
    return None


def missed(state: ReleaseState, known: frozenset[str], at: str) -> list[Said]:
    """What a former daemon knew of its latest VM and died before it said so; nothing where it never said anything."""
    last, wanting = state.last_exit, []
    if known and state.vm is not None:
        wanting.append(_started(state.epoch, at))
    if last is not None and f"{last.epoch}.start" in known:
        wanting.append(_exited(last))
    return [said for said in wanting if said.key not in known]


def _started(epoch: int, at: str) -> Said:
    return Said(f"{epoch}.start", f"starting (epoch {epoch}) at {at}", breaks=True)


def _exited(last: LastExit) -> Said:
    who = f"epoch {last.epoch}" + (f", pid {last.pid}" if last.pid is not None else "")
    how = in_words(last.cause, last.status, last.detail)
    return Said(f"{last.epoch}.exit", f"exited ({who}) at {last.at}: {how}", breaks=True)
