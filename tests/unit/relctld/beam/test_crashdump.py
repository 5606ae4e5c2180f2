from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.beam.crashdump import HEAD, MAX_SLOGAN, Dump, dump_name, list_dumps, prune, summarise

OTP_25 = """=erl_crash_dump:0.5
Sun Nov 22 00:56:45 2026
Slogan: Kernel pid terminated (application_controller) ({application_terminated,papp,killed})
System version: Erlang/OTP 25 [erts-13.1.5] [source] [64-bit] [smp:2:2] [jit:ns]
Taints: \nAtoms: 9347
"""
AT = datetime(2026, 11, 22, 0, 56, 45, tzinfo=UTC)


def write(folder: Path, epoch: int, content: str | bytes = OTP_25) -> Path:
    """A dump of that epoch; a later epoch is a newer file."""
    path = folder / dump_name(epoch, AT)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (1_000_000 + epoch, 1_000_000 + epoch))
    return path


def test_the_head_says_slogan_and_versions(tmp_path: Path) -> None:
    path = write(tmp_path, 7)
    assert summarise(path) == Dump(
        path=path,
        at=datetime.fromtimestamp(1_000_007, UTC),
        size=len(OTP_25),
        epoch=7,
        slogan="Kernel pid terminated (application_controller) ({application_terminated,papp,killed})",
        otp="25",
        erts="13.1.5",
    )


def test_the_name_tells_epoch_and_start_in_utc() -> None:
    local = AT.astimezone(timezone(timedelta(hours=2)))
    assert dump_name(7, local) == "erl_crash.e7.20261122T005645Z.dump"


def test_a_slogan_of_several_lines_is_one(tmp_path: Path) -> None:
    text = "=erl_crash_dump:0.5\nnow\nSlogan: init terminating ({bad,\n  [{a,b}]})\x1b[2J\nSystem version: x\n"
    assert summarise(write(tmp_path, 1, text)).slogan == "init terminating ({bad, [{a,b}]}) [2J"


@pytest.mark.parametrize("content", ["", "=erl_crash_dump:0.5\n", "\0" * 100_000, b"\xff\xfe" * 50_000])
def test_a_dump_that_says_nothing_is_still_a_dump(tmp_path: Path, content: str | bytes) -> None:
    dump = summarise(write(tmp_path, 1, content))
    assert (dump.slogan, dump.otp, dump.erts) == (None, None, None)
    assert dump.size == len(content)


def test_only_the_head_of_a_huge_dump_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 1, "Slogan: " + "x" * HEAD)
    with open(path, "ab") as file:
        file.truncate(10 << 30)  # sparse
    dump = summarise(path)
    assert dump.size == 10 << 30
    assert dump.slogan == "x" * MAX_SLOGAN


def test_links_devices_fifos_and_strangers_are_not_dumps(tmp_path: Path) -> None:
    kept = write(tmp_path, 1)
    os.symlink("/etc/passwd", tmp_path / dump_name(2, AT))
    os.mkfifo(tmp_path / dump_name(3, AT))
    (tmp_path / dump_name(4, AT)).mkdir()
    (tmp_path / "erl_crash.dump").write_text(OTP_25)
    assert [dump.path for dump in list_dumps(tmp_path)] == [kept]
    assert prune(tmp_path, keep=0) == [kept]
    assert len(os.listdir(tmp_path)) == 4
    for epoch in (2, 3):
        with pytest.raises(OSError, match=r"symbolic|not a regular"):
            summarise(tmp_path / dump_name(epoch, AT))


def test_a_missing_directory_has_no_dumps(tmp_path: Path) -> None:
    assert list_dumps(tmp_path / "none") == []
    assert prune(tmp_path / "none", keep=1) == []


def test_the_newest_come_first_and_the_newest_stay(tmp_path: Path) -> None:
    paths = [write(tmp_path, epoch) for epoch in range(8, 13)]
    assert [dump.epoch for dump in list_dumps(tmp_path)] == [12, 11, 10, 9, 8]
    assert prune(tmp_path, keep=2) == paths[2::-1]
    assert [dump.epoch for dump in list_dumps(tmp_path)] == [12, 11]


def test_an_old_dump_that_is_too_large_goes_but_not_the_newest(tmp_path: Path) -> None:
    large, small, newest = write(tmp_path, 1, "x" * 900), write(tmp_path, 2, "x"), write(tmp_path, 3, "x" * 900)
    assert prune(tmp_path, keep=5, max_size=100) == [large]
    assert [dump.path for dump in list_dumps(tmp_path)] == [newest, small]


def test_a_file_from_the_year_300000_can_be_listed(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    os.utime(path, (1 << 43, 1 << 43))
    assert len(list_dumps(tmp_path)) == 1


@settings(max_examples=200, deadline=None)
@given(
    garbage=st.one_of(
        st.binary(max_size=2000),
        st.lists(
            st.sampled_from(["Slogan: ", "System version: Erlang/OTP ", "[erts-", "]", "\n", "=", "\0", "é", "25"])
        ).map(lambda parts: "".join(parts).encode()),
    )
)
def test_no_garbage_surprises(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), 1, garbage)
    dump = summarise(path)
    assert dump.size == len(garbage)
    assert dump.slogan is None or (dump.slogan.isprintable() and dump.slogan.strip() == dump.slogan != "")
