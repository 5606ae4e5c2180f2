"""Text that we write is the term that is read; tests/beam/test_package_oracle.py asks file:consult/1."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.term.consult import consult, consult_file_bytes
from relctld.beam.term.etf import encode
from relctld.beam.term.terms import Atom, Fun, Pid, Port, Reference
from relctld.beam.term.written import written, written_file
from tests.terms import TERMS


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (Atom("kernel"), "kernel"),
        (Atom("Elixir.Plug"), "'Elixir.Plug'"),
        (Atom("end"), "'end'"),
        ([ord(char) for char in 'a"\\'], r'"a\"\\"'),
        ([7, 8], "[7,8]"),
        ([], "[]"),
        (1e300, "1.0e300"),
        ((Atom("a"), b"bc"), "{a,<<98,99>>}"),
    ],
)
def test_words(term: Any, text: str) -> None:
    assert written(term) == text


@given(st.lists(TERMS, max_size=3))
def test_round_trip(terms: list[Any]) -> None:
    try:
        data = written_file(terms)
    except ValueError:  # a pid, a port or a reference somewhere
        return
    assert encode(consult_file_bytes(data)) == encode(terms)


@pytest.mark.parametrize("term", [Pid(Atom("a@b"), 1, 2, 3), Port(Atom("a@b"), 1, 2), Fun(b"p")])
def test_what_has_no_text(term: Any) -> None:
    with pytest.raises(ValueError, match="cannot be written as text"):
        written((term, Reference(Atom("a@b"), 1, (1,))))


def test_one_line_of_text() -> None:
    assert consult(written([[1], [Atom("x")]]) + ".") == [[[1], [Atom("x")]]]
