"""What a release was when the daemon came up: from the records of this boot, the store, and the config.

| record of this boot       | event   | state                                             |
|---------------------------|---------|---------------------------------------------------|
| none                      | Booted  | stopped; the want from the store, else the config |
| any, and its VM lives     | Resumed | as it was                                         |
| any, and its VM is gone   | Resumed | as it was; the core finds the VM missing          |
"""

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relctld.core.events import Booted, Event, Resumed
from relctld.core.spec import ReleaseSpec
from relctld.core.state import Cause, ExitStatus, LastExit, Launch, ReleaseState, State, Vm, Want
from relctld.failpoints import Failpoint, reach
from relctld.host import process, records, reexec, unrecorded
from relctld.host.database import Kept
from relctld.host.records import Launched, Recorded
from relctld.host.vmstat import age
from relctld.supervisor.history import timestamp


@dataclass(frozen=True, slots=True)
class Found:
    """A release as it was found. The pidfd is of its living VM, and the taker's."""

    state: ReleaseState
    launched: Launched
    event: Event
    instance: str
    vm: Vm | None
    pidfd: int | None


def find(spec: ReleaseSpec, folder: Path, kept: Kept | None, now: float, fds: reexec.Kept) -> Found:
    """Look for what a former daemon left of this release. A VM whose pidfd was kept lives, or its end is news."""
    saved, recorded = records.read_state(folder), _recorded_vm(folder)
    state, launched = saved or (ReleaseState(spec.name), Launched())
    want = kept.want if kept and kept.want else None
    if want is None:
        want = state.want if saved else (Want.UP if spec.enabled else Want.DOWN)
    state = _with_totals(replace(state, name=spec.name), kept)
    vm, pidfd, instance = None, None, ""
    if recorded is not None:
        vm, instance = recorded.vm, recorded.vm.instance
        if recorded.epoch >= state.epoch:
            pidfd = fds.vm(spec.name, vm.pid) or process.open_vm(vm)
            if recorded.epoch > state.epoch:
                launched = replace(launched, version=None)  # that of the VM before; the node will tell its own
            state = _with_recorded(state, recorded, spec, now, alive=pidfd is not None)
    if pidfd is None and saved is None and state.vm is None:
        fresh = ReleaseState(spec.name, want=want, epoch=state.epoch)
        fresh = replace(fresh, restarts_total=state.restarts_total, last_exit=state.last_exit)
        return Found(fresh, launched, Booted(spec.name), instance, None, None)
    alive = vm if pidfd is not None else None
    return Found(state, launched, Resumed(spec.name, alive, want, timestamp()), instance, alive, pidfd)


def _with_recorded(
    state: ReleaseState, recorded: Recorded, spec: ReleaseSpec, now: float, *, alive: bool
) -> ReleaseState:
    """What a saved state lacks, where the former daemon died before it could save what it had recorded."""
    s, vm, epoch = state, recorded.vm, recorded.epoch
    passed = alive or recorded.opened
    resting = s.state in (State.STOPPED, State.FAILED, State.BACKOFF)
    if passed and (epoch > s.epoch or (resting and alive)):
        deadline, started = now + spec.start_timeout, now - age(vm) if alive else None
        s = replace(s, state=State.STARTING, deadline=deadline, since=now, started=started, ending=None)
        s = replace(s, launch=Launch.NONE, vm=vm)
    elif passed and s.launch is Launch.SPAWN:
        s = replace(s, launch=Launch.NONE, vm=vm)
    return replace(s, epoch=epoch)


def _recorded_vm(folder: Path) -> Recorded | None:
    """The latest VM of this boot: by its own record, else by other traces where that is damaged."""
    recorded = records.read_vm(folder)
    if recorded is None and records.is_damaged(folder):
        saved = records.read_state(folder)
        if saved is not None and saved[0].vm is not None:
            return Recorded(saved[0].epoch, saved[0].vm, opened=True)
        return unrecorded.find(folder / "out")
    return recorded


def left_behind(releases: Path, configured: frozenset[str]) -> list[str]:
    """The releases that left the config and still have a living VM."""
    found = []
    for folder in sorted(releases.iterdir()) if releases.is_dir() else []:
        recorded = None if folder.name in configured else _recorded_vm(folder)
        if recorded is None:
            continue
        pidfd = process.open_vm(recorded.vm)
        if pidfd is not None:
            process.close(pidfd)
            found.append(folder.name)
    return found


def _with_totals(state: ReleaseState, kept: Kept | None) -> ReleaseState:
    if kept is None:
        return state
    return replace(
        state,
        epoch=max(state.epoch, kept.epoch),
        restarts_total=max(state.restarts_total, kept.restarts_total),
        last_exit=state.last_exit or _last_exit(kept.last_exit),
    )


def _last_exit(body: dict[str, Any] | None) -> LastExit | None:
    match body:
        case {"at": str(at), "cause": str(cause), "code": code, "signal": signal, "pid": pid, "detail": str(detail)}:
            with contextlib.suppress(ValueError):
                return LastExit(at, ExitStatus(code, signal), Cause(cause), pid, detail)
    return None


def last_exit_object(last: LastExit | None) -> dict[str, Any] | None:
    """What the store keeps of a last exit; `_last_exit` reads it."""
    if last is None:
        return None
    how = {"code": last.status.code, "signal": last.status.signal}
    return {"at": last.at, **how, "cause": str(last.cause), "pid": last.pid, "detail": last.detail}


def claim_run_dir(state_dir: Path, run_dir: Path) -> str | None:
    """Note where the records are; None, or why a start here would make a second copy of a node.

    STATE/run.json  {boot, run_dir}: a run_dir that was changed while nodes run hides their records from us.
    """
    note = state_dir / "run.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        before = json.loads(note.read_bytes())
        if before["boot"] == process.boot_id() and before["run_dir"] != str(run_dir):
            living = left_behind(Path(before["run_dir"]) / "releases", frozenset())
            if living:
                return (
                    f"nodes of a former relctld run ({', '.join(living)}), and their records are in "
                    f"{before['run_dir']}, not in {run_dir}: set run_dir back, or stop them first"
                )
    reach(Failpoint.BEFORE_RUN_NOTE)
    with contextlib.suppress(OSError):  # a disk that is full or hangs: the store tells
        temporary = note.with_suffix(".tmp")
        temporary.write_text(json.dumps({"boot": process.boot_id(), "run_dir": str(run_dir)}))
        temporary.rename(note)  # whole or not at all: without it a changed run_dir would go unnoticed
    reach(Failpoint.AFTER_RUN_NOTE)
    return None
