"""systemd's EnvironmentFile syntax."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.config import EnvFileError, parse_env, read_env
from tests.unit.relctld.config.building import UNHURRIED


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n\n  # a comment\n; another\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\nA=3\n", {"A": "3", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("  A =  1 2  \n", {"A": "1 2"}),
        ("A=\nB=", {"A": "", "B": ""}),
        ("A=x # no comment", {"A": "x # no comment"}),
        ('A="x y"  \n', {"A": "x y"}),
        ('A="  x  "  \n', {"A": "  x  "}),
        ('A="x\ny"', {"A": "x\ny"}),
        ("A='x\ny'", {"A": "x\ny"}),
        ("A='a\\b$\"'", {"A": 'a\\b$"'}),
        (r'A="\"\\\`\$\n"', {"A": '"\\`$\\n'}),
        ('A="one \\\ntwo"', {"A": "one two"}),
        ("A=one \\\n   two", {"A": "one    two"}),
        (r"A=a\ b\nc\\", {"A": "a bnc\\"}),
        ("A=x\\ \n", {"A": "x "}),
        ("A='a'\"b\"c", {"A": "abc"}),
        ("A='a'  'b'", {"A": "ab"}),
        ("A='a' b", {"A": "ab"}),
        ("A=a'b'", {"A": "a'b'"}),
        ("A=$HOME ${X}", {"A": "$HOME ${X}"}),
        ("A=x=y", {"A": "x=y"}),
        ("# a comment \\\nA=1", {"A": "1"}),
        ("A=x\\", {"A": "x"}),
    ],
)
def test_what_systemd_takes(text: str, variables: dict[str, str]) -> None:
    assert parse_env(text) == variables


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A=1\nnonsense\n", "line 2: expected NAME=VALUE"),
        ("A", "line 1: expected NAME=VALUE"),
        ("\n\nexport A=1", 'line 3: "export" is not known here, expected NAME=VALUE'),
        ("A='x\ny'\n1A=2", "line 3: the name of a variable is letters, digits and _, and starts with no digit"),
        ("=2", "line 1: the name of a variable is letters, digits and _, and starts with no digit"),
        ("A=1\nB='x\ny", "line 2: the quote that begins here never ends"),
        ('A="x\\', "line 1: the quote that begins here never ends"),
        ("A=1\nB=\0", "line 2: a NUL character"),
    ],
)
def test_what_is_surely_a_slip(text: str, why: str) -> None:
    with pytest.raises(EnvFileError) as caught:
        parse_env(text)
    assert str(caught.value) == why


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "web.env"
    path.write_text("PORT=8080\n")
    assert read_env(path) == {"PORT": "8080"}
    for content, why in ((b"\n\xff", "line 2 is not UTF-8"), (b"x", "line 1: expected NAME=VALUE")):
        path.write_bytes(content)
        with pytest.raises(EnvFileError) as caught:
            read_env(path)
        assert str(caught.value) == f"cannot use {path}: {why}"
    with pytest.raises(EnvFileError, match="no such file or directory"):
        read_env(tmp_path / "gone")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(EnvFileError, match="not a regular file"):
        read_env(tmp_path / "fifo")


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def double(value: str) -> str:
    return '"' + "".join(f"\\{c}" if c in '"\\`$' else c for c in value) + '"'


def single(value: str) -> str:
    return "'" + value.replace("'", "'\"'\"'") + "'"


@UNHURRIED
@given(st.dictionaries(NAMES, VALUES), st.sampled_from([double, single]), st.sampled_from(["", " ", "\t "]))
def test_every_value_survives_quoting(variables: dict[str, str], quote: object, blank: str) -> None:
    assert callable(quote)
    lines = [f"{blank}{name}{blank}={blank}{quote(value)}{blank}\n" for name, value in variables.items()]
    assert parse_env("# head\n".join(lines)) == variables


@UNHURRIED
@given(st.text(st.sampled_from("A=1'\"\\ #;\n\r\t$"), max_size=40))
def test_whatever_is_written_is_read_or_refused_with_its_line(text: str) -> None:
    try:
        result: object = parse_env(text)
    except EnvFileError as error:
        result = str(error)
    assert isinstance(result, dict) or str(result).startswith("line ")
