"""Term text against file:consult/1 of OTP 25 and OTP 28: the same tables as the unit test, and Debian's own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relctld.beam.term.consult import consult_file_bytes
from relctld.beam.term.etf import decode
from tests import otps
from tests.beam.oracle import Oracle, oracle
from tests.unit.relctld.beam.term.test_consult import BAD, GOOD

pytestmark = pytest.mark.beam

DEBIAN = Path("/usr/lib/erlang")
LATIN_1 = "%% coding: latin-1\n{'ä', \"ö\"}.\n".encode("latin-1")
CASES = [
    *(text.encode() for text, _ in GOOD),
    LATIN_1,
    b"\n" + LATIN_1,
    b"x.\n\n" + LATIN_1,
    b"coding. %coding:latin-1\n'\xe4'.",
]


@pytest.fixture(scope="module", params=list(otps.OTPS))
def vm(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    with oracle(request.param) as found:
        yield found


def consulted(vm: Oracle, path: Path) -> Any:
    return decode(vm.value(f'file:consult("{path}")'))


@pytest.mark.parametrize("number", range(len(CASES)))
def test_good(vm: Oracle, tmp_path: Path, number: int) -> None:
    file = tmp_path / "terms"
    file.write_bytes(CASES[number])
    result, terms = consulted(vm, file)
    if result == "error":
        with pytest.raises(ValueError, match="cannot read line"):
            consult_file_bytes(CASES[number])
    else:
        assert consult_file_bytes(CASES[number]) == terms


@pytest.mark.parametrize("text", [text for text, _ in BAD], ids=range(len(BAD)))
def test_bad(vm: Oracle, tmp_path: Path, text: str) -> None:
    file = tmp_path / "terms"
    file.write_text(text)
    assert consulted(vm, file)[0] == "error"


def test_debians_files(vm: Oracle) -> None:
    files = [path for kind in ("app", "appup", "rel") for path in sorted(DEBIAN.rglob(f"*.{kind}"))]
    assert len(files) > 20
    for path in files:
        assert consulted(vm, path) == ("ok", consult_file_bytes(path.read_bytes())), path


def test_what_erlang_prints(vm: Oracle, tmp_path: Path) -> None:
    """RELEASES and relup are written with ~p."""
    file = tmp_path / "terms"
    term = (
        """{[a|b], "ä", <<5,3:4>>, <<"abc"/utf8>>, #{[1] => 1.0e-300}, 'A b', -1, lists:seq(1, 200), fun lists:map/2}"""
    )
    text = 'unicode:characters_to_binary(io_lib:format("~tp.~n", [T]))'
    printed = vm.value(f'T = {term}, ok = file:write_file("{file}", {text}), [T]')
    assert consult_file_bytes(file.read_bytes()) == decode(printed)
