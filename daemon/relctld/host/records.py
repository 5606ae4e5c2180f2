"""What a daemon leaves for its successor in the run directory (tmpfs: a host crash ends the VMs too).

RUN/releases/NAME/vm.json     {v, boot, epoch, pid, ticks, instance, opened}: the VM, written while it waits at its
                              gate, and again once that is open
RUN/releases/NAME/state.json  {v, boot, state, launched}: what the release was doing, at each change
RUN/releases/NAME/upgrade.json {v, boot, …}: the journal by which a VM was launched while another was being written
RUN/operations.json           {v, boot, …}: what a re-exec'd daemon was asked for; read once and removed

All are written to a temporary file and renamed, without fsync; 0600, for the checksums in `launched` are of secrets
too. One that is damaged, a link, of another boot or of an unknown version counts as absent.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from relctld.core.lifecycle import to_keep
from relctld.core.state import ReleaseState, Vm
from relctld.failpoints import Failpoint, reach
from relctld.host.process import boot_id
from relctld.wire.messages import OPERATIONS

_VERSION = 1
_UPGRADE = "upgrade.json"
_MOST = (1 << 63) - 1  # of an epoch: what the store takes


@dataclass(frozen=True, slots=True)
class Launched:
    """What a VM was launched with: shown in `status`, compared with the config for `restart_pending`."""

    version: str | None = None
    flavour: str | None = None
    node: str | None = None
    fingerprints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The latest VM of this boot. `opened`: it surely passed its gate; else it may have ended there, and never ran."""

    epoch: int
    vm: Vm
    opened: bool = False


def write_vm(folder: Path, recorded: Recorded) -> None:
    """Record a VM. Raises OSError: then its gate must stay shut."""
    body = {"epoch": recorded.epoch, **_fields(recorded.vm), "opened": recorded.opened}
    reach(Failpoint.BEFORE_OPENED if recorded.opened else Failpoint.BEFORE_RECORD)
    _write(folder / "vm.json", {"v": _VERSION, "boot": boot_id(), **body})
    reach(Failpoint.AFTER_OPENED if recorded.opened else Failpoint.AFTER_RECORD)


def read_vm(folder: Path) -> Recorded | None:
    """The latest VM of this boot."""
    body = _read(folder / "vm.json")
    match body:
        case {"epoch": int(epoch), "pid": int(pid), "ticks": int(ticks), "instance": str(instance)} if epoch <= _MOST:
            return Recorded(epoch, Vm(pid, ticks, instance), body.get("opened") is True)
    return None


def write_state(folder: Path, state: ReleaseState, launched: Launched) -> None:
    """Save a state. Raises OSError."""
    body = {"v": _VERSION, "boot": boot_id(), "state": to_keep(state), "launched": launched}
    reach(Failpoint.BEFORE_STATE)
    _write(folder / "state.json", body)
    reach(Failpoint.AFTER_STATE)


def read_state(folder: Path) -> tuple[ReleaseState, Launched] | None:
    """The state that was saved in this boot."""
    body = _read(folder / "state.json")
    try:
        state = _build(ReleaseState, body["state"])
        launched = _build(Launched, body["launched"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return state, launched


def write_upgrade(folder: Path, body: Mapping[str, Any]) -> None:
    """By which journal a VM is launched. Raises OSError: then it must not be."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    _write(folder / _UPGRADE, {"v": _VERSION, "boot": boot_id(), **body})


def read_upgrade(folder: Path) -> dict[str, Any]:
    """What was written in this boot; `{}` where there is nothing."""
    return _read(folder / _UPGRADE)


def forget_upgrade(folder: Path) -> None:
    """The journal on disk says all. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder / _UPGRADE)


def write_operations(run_dir: Path, body: Mapping[str, Any]) -> None:
    """What the successor must know of requests. Raises OSError."""
    reach(Failpoint.BEFORE_OPERATIONS)
    _write(run_dir / OPERATIONS, {"v": _VERSION, "boot": boot_id(), **body})
    reach(Failpoint.AFTER_OPERATIONS)


def take_operations(run_dir: Path) -> dict[str, Any]:
    """What a former self wrote; `{}` where there is nothing of this boot, and at the second call."""
    body = _read(run_dir / OPERATIONS)
    with contextlib.suppress(OSError):
        os.unlink(run_dir / OPERATIONS)
    return body


def is_damaged(folder: Path) -> bool:
    """Whether there is a record of a VM that tells nothing, not even that it is of another boot."""
    path = folder / "vm.json"
    if not os.path.lexists(path) or read_vm(folder) is not None:
        return False
    body = _json(path)
    return not isinstance(body, dict) or body.get("boot") == boot_id() or not isinstance(body.get("boot"), str)


def forget(folder: Path) -> None:
    """Remove the records of a release of which nothing is left."""
    reach(Failpoint.BEFORE_FORGET)
    for name in ("vm.json", "state.json"):
        with contextlib.suppress(OSError):
            os.unlink(folder / name)
    reach(Failpoint.AFTER_FORGET)


def _write(path: Path, body: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        os.fchmod(fd, 0o600)
        file.write(json.dumps(body, default=_fields).encode())
    os.rename(temporary, path)


def _read(path: Path) -> dict[str, Any]:
    body = _json(path)
    known = isinstance(body, dict) and body.get("v") == _VERSION and body.get("boot") == boot_id()
    return dict(body) if known else {}


def _json(path: Path) -> Any:
    with contextlib.suppress(OSError, ValueError, RecursionError), open(path, "rb", opener=_open_itself) as file:
        return json.loads(file.read())
    return None


def _open_itself(path: str, flags: int) -> int:
    """No link; and nothing that would have to be waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a record (all have slots). `dataclasses.asdict` would copy all that lies below, for more."""
    return {name: getattr(record, name) for name in record.__slots__}


def _build(kind: Any, value: Any) -> Any:
    """A value of a record's type from JSON; raises TypeError or ValueError where it does not fit."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        inner = next(arg for arg in get_args(kind) if arg is not type(None))
        return None if value is None else _build(inner, value)
    if origin is tuple:
        args = get_args(kind)
        each = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        return tuple(_build(arg, item) for arg, item in zip(each, value, strict=True))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is no {kind}")
        hints = get_type_hints(kind)
        return kind(**{name: _build(hints[name], item) for name, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is no {kind}")
    return value
