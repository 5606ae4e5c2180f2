"""Reading a log back: the last lines, and what comes after a cursor."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.logfiles.places import BEGIN, Cursor, cursor_at, files_of, seek_last
from relctld.logfiles.tail import Reader, last_lines
from tests.reading import read_after

A, B, C, D = (f"2026-11-22T00-37-4{n}.000000Z" for n in range(4))
PLENTY = 1 << 20


def log(folder: Path, **files: str) -> str:
    names = {"a": f"{A}.log", "b": f"{B}.log", "c": f"{C}.log", "d": f"{D}.log", "current": "current"}
    for key, text in files.items():
        if key.endswith("z"):
            (folder / (names[key[0]] + ".gz")).write_bytes(gzip.compress(text.encode()))
        else:
            (folder / names[key]).write_text(text)
    return str(folder)


def read_last(directory: str, lines: int) -> tuple[bytes, Cursor]:
    """The last lines and what follows them, and the cursor behind."""
    return read_after(directory, seek_last(directory, lines), 64 * PLENTY)


def test_last_lines_across_current_rotated_and_compressed(tmp_path: Path) -> None:
    directory = log(tmp_path, az="1\n2\n3\n", b="4\n5\n", current="6\n7\n8")
    assert read_last(directory, 1)[0] == b"7\n8"
    assert read_last(directory, 4)[0] == b"4\n5\n6\n7\n8"
    assert read_last(directory, 6)[0] == b"2\n3\n4\n5\n6\n7\n8"
    assert read_last(directory, 99)[0] == b"1\n2\n3\n4\n5\n6\n7\n8"
    assert read_last(directory, 0)[0] == b"8"


def test_last_lines_within_a_limit_are_whole(tmp_path: Path) -> None:
    directory = log(tmp_path, az="aaaa\nbbbb\n", current="cccc\ndddd\neee")
    assert last_lines(directory, 9, 99) == b"aaaa\nbbbb\ncccc\ndddd\n"
    assert last_lines(directory, 9, 12) == b"cccc\ndddd\n"
    assert last_lines(directory, 9, 15) == b"bbbb\ncccc\ndddd\n"
    assert last_lines(directory, 9, 4) == b""


def test_many_lines_need_more_than_one_look(tmp_path: Path) -> None:
    lines = [f"{n:050d}\n" for n in range(30_000)]
    directory = log(tmp_path, current="".join(lines))
    assert read_last(directory, 20_000)[0] == "".join(lines[-20_000:]).encode()


@pytest.mark.parametrize("lines", [0, 1, 2, 4, 5, 6, 7, 8, 99])
def test_the_last_lines_however_long(lines: int, tmp_path: Path) -> None:
    whole = [f"{n}{'x' * n * 40_000}\n" for n in range(8)]
    directory = log(tmp_path, az="".join(whole[:3]), b="".join(whole[3:5]), current="".join(whole[5:]) + "unfinished")
    data, _ = read_after(directory, seek_last(directory, lines), 10 * PLENTY)
    assert data.decode() == "".join(whole[max(0, 8 - lines) :]) + "unfinished"


def test_nothing_there_yet(tmp_path: Path) -> None:
    directory = str(tmp_path / "web")
    data, cursor = read_last(directory, 10)
    assert data == b""
    assert read_after(directory, cursor, PLENTY) == (b"", cursor)
    (tmp_path / "web").mkdir()
    log(tmp_path / "web", current="1\n")
    assert read_after(directory, cursor, PLENTY)[0] == b"1\n"


def test_cursor_outlives_rotation_and_compression(tmp_path: Path) -> None:
    directory = log(tmp_path, a="1\n", current="2\n")
    _, cursor = read_last(directory, 1)
    cursor = json.loads(json.dumps(cursor))
    (tmp_path / "current").rename(tmp_path / f"{B}.log")
    log(tmp_path, current="4\n")
    with (tmp_path / f"{B}.log").open("a") as file:
        file.write("3\n")
    assert read_after(directory, cursor, PLENTY)[0] == b"3\n4\n"
    log(tmp_path, bz="2\n3\n")
    (tmp_path / f"{B}.log").unlink()
    data, later = read_after(directory, cursor, PLENTY)
    assert data == b"3\n4\n"
    assert read_after(directory, later, PLENTY) == (b"", later)


def test_where_both_stand_the_plain_file_is_the_truth(tmp_path: Path) -> None:
    directory = log(tmp_path, a="1\n2\n", current="3\n")
    (tmp_path / f"{A}.log.gz").write_bytes(b"half")
    assert read_last(directory, 9)[0] == b"1\n2\n3\n"


@pytest.mark.parametrize("left", ["bcd", "cd", "d", ""])
def test_retention_overtakes_the_cursor(tmp_path: Path, left: str) -> None:
    directory = log(tmp_path, a="1\n", current="22\n33\n")
    _, cursor = read_last(directory, 1)
    cursor["offset"] = 3
    (tmp_path / f"{A}.log").unlink()
    (tmp_path / "current").unlink()
    texts = {"b": "22\n33\n", "c": "44\n", "d": "55\n"}
    log(tmp_path, **{name: texts[name] for name in left}, current="66\n")
    want = "".join(texts[name] for name in left).removeprefix("22\n") + "66\n"
    assert read_after(directory, cursor, PLENTY)[0].decode() == want


def test_limit_stops_in_mid_file_and_goes_on(tmp_path: Path) -> None:
    directory = log(tmp_path, az="1234\n", b="5678\n", current="90\n")
    got, cursor = b"", BEGIN
    while data := (step := read_after(directory, cursor, 3))[0]:
        assert len(data) <= 3
        got, cursor = got + data, step[1]
    assert got == b"1234\n5678\n90\n"


def test_a_packed_file_is_read_on_in_small_pieces(tmp_path: Path) -> None:
    text = "".join(f"{n:09d}\n" for n in range(50_000))
    with Reader(log(tmp_path, az=text, current="last\n"), BEGIN) as reader:
        assert b"".join(iter(lambda: reader.read(1000).data, b"")).decode() == text + "last\n"


@pytest.mark.parametrize(("after", "offset", "text"), [("", 2, "1\n"), (A, 2, "1\n2\n3\n"), (B, 2, "1\n2\n3\n4\n5\n")])
def test_up_to_a_place_and_no_further(after: str, offset: int, text: str, tmp_path: Path) -> None:
    directory = log(tmp_path, az="1\n2\n", b="3\n4\n", current="5\n6\n")
    end = {"after": after, "offset": offset, "head": [0, 0]}
    assert seek_last(directory, 1, end) == seek_last(directory, 1, end) | {"offset": offset - 2}
    with Reader(directory, BEGIN, end) as reader:
        assert reader.read(PLENTY).data.decode() == text
        (tmp_path / "current").rename(tmp_path / f"{C}.log")
        assert reader.read(PLENTY).data == b""


def test_the_end_was_deleted(tmp_path: Path) -> None:
    directory = log(tmp_path, a="1\n", b="2\n3\n", current="4\n")
    end = cursor_at(directory, files_of(directory), 1, 2)
    (tmp_path / f"{B}.log").unlink()
    with Reader(directory, BEGIN, end) as reader:
        assert reader.read(PLENTY).data == b"1\n"


def test_damaged_gzip_ends_where_the_damage_begins(tmp_path: Path) -> None:
    directory = log(tmp_path, current="9\n")
    (tmp_path / f"{A}.log.gz").write_bytes(gzip.compress(b"1\n2\n")[:-9])
    assert read_after(directory, BEGIN, PLENTY)[0].endswith(b"9\n")


def test_follows_no_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("cookie\n")
    (tmp_path / "web").mkdir()
    (tmp_path / "web/current").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        read_last(str(tmp_path / "web"), 1)
    with pytest.raises(OSError, match="symbolic links"):
        read_after(str(tmp_path / "web"), BEGIN, PLENTY)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.binary(max_size=30).map(lambda data: ("write", data)),
            st.sampled_from([("rotate", b""), ("compress", b""), ("read", b"")]),
        ),
        max_size=40,
    ),
    limit=st.integers(1, 40),
)
def test_follower_reads_exactly_what_is_written(steps: list[tuple[str, bytes]], limit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written, got, stems = b"", b"", 0
        cursor = read_last(name, 0)[1]
        for step, data in [*steps, *[("read", b"")] * 60]:
            match step:
                case "write":
                    with (folder / "current").open("ab") as file:
                        file.write(data)
                    written += data
                case "rotate" if (folder / "current").exists():
                    stems += 1
                    (folder / "current").rename(folder / f"2026-11-22T00-37-{stems:02d}.000000Z.log")
                case "compress":
                    for plain in folder.glob("*.log"):
                        Path(f"{plain}.gz").write_bytes(gzip.compress(plain.read_bytes()))
                        plain.unlink()
                case "read":
                    read, cursor = read_after(name, json.loads(json.dumps(cursor)), limit)
                    got += read
        while (found := read_after(name, cursor, limit))[0]:
            got, cursor = got + found[0], found[1]
        assert got == written
