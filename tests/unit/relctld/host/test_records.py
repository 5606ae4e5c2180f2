"""Records in the run directory: what was written is read, and anything else counts as absent."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relctld.config import fingerprints
from relctld.core.lifecycle import to_keep
from relctld.core.spec import ReleaseSpec
from relctld.core.state import (
    Asked,
    Cause,
    Ending,
    ExitStatus,
    Health,
    LastExit,
    Launch,
    Op,
    ReleaseState,
    Request,
    State,
    Vm,
    Waiter,
    Want,
)
from relctld.host.records import Launched, Recorded, read_state, read_vm, write_state, write_vm

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

text = st.text(max_size=30)
number = st.integers(-(2**63), 2**63)
moment = st.floats(allow_nan=False, allow_infinity=False)
maybe_moment = st.none() | moment
vms = st.builds(Vm, number, number, text)
exits = st.builds(
    LastExit,
    at=text,
    status=st.builds(ExitStatus, st.none() | number, st.none() | text),
    cause=st.sampled_from(Cause),
    pid=st.none() | number,
    detail=text,
    epoch=number,
)
requests = st.builds(Request, text, st.sampled_from(Op), text, moment)
states = st.builds(
    ReleaseState,
    name=text,
    state=st.sampled_from(State),
    want=st.sampled_from(Want),
    health=st.sampled_from(Health),
    health_detail=text,
    epoch=number,
    vm=st.none() | vms,
    launch=st.sampled_from(Launch),
    ending=st.none() | st.sampled_from(Ending),
    dumping=st.booleans(),
    sweeping=st.booleans(),
    deadline=maybe_moment,
    poll_at=maybe_moment,
    since=moment,
    started=maybe_moment,
    well_since=maybe_moment,
    been_well=st.booleans(),
    misses=number,
    restarts=st.lists(moment, max_size=5).map(tuple),
    restarts_total=number,
    delays=number,
    last_exit=st.none() | exits,
    waiters=st.lists(st.builds(Waiter, requests, number), max_size=3).map(tuple),
    recording=st.lists(requests, max_size=3).map(tuple),
    asked=st.lists(st.builds(Asked, text, st.sampled_from(Op), number), max_size=3).map(tuple),
    halted=st.booleans(),
    told=st.booleans(),
)
launches = st.builds(
    Launched,
    version=st.none() | text,
    flavour=st.none() | text,
    node=st.none() | text,
    fingerprints=st.lists(st.tuples(text, text), max_size=4).map(tuple),
)

STATE = ReleaseState(
    "web",
    state=State.RUNNING,
    want=Want.UP,
    vm=Vm(12345, 678910, "abc"),
    restarts=(1.5, 2.5),
    last_exit=LastExit("2026-01-01T00:00:00.000Z", ExitStatus(code=1), Cause.HALTED, 9),
)
LAUNCHED = Launched("1.0.0", "relx", "web@host", (("env.SECRET", "cafe"),))


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@given(states, launches)
@example(replace(STATE, since=0, deadline=5), LAUNCHED)  # a float that JSON writes without a fraction
@UNHURRIED
def test_a_state_comes_back_as_it_went(folder: Path, state: ReleaseState, launched: Launched) -> None:
    write_state(folder, state, launched)
    assert read_state(folder) == (to_keep(state), launched)


@given(st.builds(Recorded, st.integers(0, 2**63 - 1), vms, st.booleans()))
@UNHURRIED
def test_a_vm_comes_back_as_it_went(folder: Path, recorded: Recorded) -> None:
    write_vm(folder, recorded)
    assert read_vm(folder) == recorded


def test_a_record_of_a_former_relctld_does_not_say_that_the_vm_ran(folder: Path) -> None:
    write_vm(folder, Recorded(7, Vm(12345, 678910, "abc"), opened=True))
    body = json.loads((folder / "vm.json").read_text())
    del body["opened"]
    (folder / "vm.json").write_text(json.dumps(body))
    assert read_vm(folder) == Recorded(7, Vm(12345, 678910, "abc"), opened=False)


def test_they_are_private_whatever_the_umask_and_whatever_was_left(folder: Path) -> None:
    """The checksums are of secrets too; and of a weak secret a checksum tells enough."""
    for name in ("vm.json", "state.json"):
        (folder / f".{name}.tmp").write_text("left by one that was killed in between")
        (folder / f".{name}.tmp").chmod(0o666)
        (folder / name).write_text("{}")
        (folder / name).chmod(0o666)
    before = os.umask(0)
    try:
        write_vm(folder, Recorded(1, Vm(1, 1, "x")))
        spec = ReleaseSpec("web", Path("/opt/web"), env={"SECRET": "hunter2"})
        write_state(folder, STATE, Launched(fingerprints=fingerprints(spec)))
    finally:
        os.umask(before)
    for name in ("vm.json", "state.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert "hunter2" not in (folder / name).read_text()
    assert sorted(os.listdir(folder)) == ["state.json", "vm.json"]


def written(folder: Path) -> None:
    write_vm(folder, Recorded(7, Vm(12345, 678910, "abc")))
    write_state(folder, STATE, LAUNCHED)


def nothing_is_read(folder: Path) -> bool:
    return read_vm(folder) is None and read_state(folder) is None


def test_cut_at_each_byte_it_is_absent(folder: Path) -> None:
    written(folder)
    for name, read in (("vm.json", read_vm), ("state.json", read_state)):
        whole = (folder / name).read_bytes()
        for length in range(len(whole)):
            (folder / name).write_bytes(whole[:length])
            assert read(folder) is None, whole[:length]


@given(st.binary(max_size=200), st.data())
@UNHURRIED
def test_garbage_is_never_an_exception(folder: Path, garbage: bytes, data: st.DataObject) -> None:
    written(folder)
    for name, read in (("vm.json", read_vm), ("state.json", read_state)):
        whole = (folder / name).read_bytes()
        at = data.draw(st.integers(0, len(whole)))
        (folder / name).write_bytes(whole[:at] + garbage + whole[at + len(garbage) :])
        read(folder)
        (folder / name).write_bytes(garbage)
        assert read(folder) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(value=values, data=st.data())
@UNHURRIED
def test_values_of_other_types_are_never_an_exception(folder: Path, value: Any, data: st.DataObject) -> None:
    """Whatever is read has the types that it says."""
    written(folder)
    for name, read in (("vm.json", read_vm), ("state.json", read_state)):
        body = json.loads((folder / name).read_bytes())
        table = body
        while True:
            key = data.draw(st.sampled_from(sorted(table)))
            if not isinstance(table[key], dict) or not table[key] or data.draw(st.booleans()):
                break
            table = table[key]
        table[key] = value
        (folder / name).write_text(json.dumps(body))
        read(folder)
    found = read_state(folder)
    if found is not None:
        assert found[0] == replace(found[0])
        hash(found)
        write_state(folder, *found)


def change(key: str, value: object) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_bytes()), key: value}))

    return apply


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        change("boot", "another"),
        change("boot", None),
        change("v", 2),
        change("v", None),
        change("v", "1"),
        linked,
        a_fifo,
        a_directory,
        Path.unlink,
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("[]"),
    ],
)
def test_what_is_not_ours_counts_as_absent(folder: Path, spoil: Callable[[Path], object]) -> None:
    written(folder)
    before = sorted(os.listdir("/proc/self/fd"))
    for name in ("vm.json", "state.json"):
        spoil(folder / name)
    assert nothing_is_read(folder)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_without_a_folder_nothing_is_read_and_a_write_raises(folder: Path) -> None:
    assert nothing_is_read(folder / "none")
    with pytest.raises(FileNotFoundError):
        write_vm(folder / "none", Recorded(1, Vm(1, 1, "x")))


def test_no_link_is_written_through(folder: Path) -> None:
    target = folder / "precious"
    target.write_text("precious")
    for name in ("vm.json", "state.json"):
        (folder / name).symlink_to(target)
    written(folder)
    assert target.read_text() == "precious"
    assert read_vm(folder) is not None
    (folder / ".vm.json.tmp").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        write_vm(folder, Recorded(1, Vm(1, 1, "x")))
    assert target.read_text() == "precious"


def test_a_new_field_has_its_default(folder: Path) -> None:
    """What a former relctld did not know it did not write."""
    written(folder)
    body = json.loads((folder / "state.json").read_bytes())
    del body["state"]["told"], body["launched"]["node"]
    (folder / "state.json").write_text(json.dumps(body))
    assert read_state(folder) == (to_keep(STATE), replace(LAUNCHED, node=None))


def test_a_number_that_no_float_holds(folder: Path) -> None:
    written(folder)
    body = json.loads((folder / "state.json").read_bytes())
    body["state"]["since"] = 10**400
    (folder / "state.json").write_text(json.dumps(body))
    assert read_state(folder) is None
