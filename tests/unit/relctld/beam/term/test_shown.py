"""Terms as text: short, bounded, and never an exception."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.term.shown import shown, text
from relctld.beam.term.terms import Atom, BitString, Export, ImproperList, Map, Pid, Reference, Term
from tests.terms import TERMS

A = Atom


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (A("ok"), "ok"),
        (A("Elixir.Foo"), "'Elixir.Foo'"),
        (A(""), "''"),
        (-5, "-5"),
        (1.5, "1.5"),
        (1 << 9999, "#Integer<10000 bits>"),
        (b"abc", '<<"abc">>'),
        (b"\xff\x00", "<<255,0>>"),
        (BitString(b"\x80", 1), "<<128>>"),
        ([], "[]"),
        ([97, 98], '"ab"'),
        ([97, 10], '"a\n"'),
        ([1, 2], "[1,2]"),
        ([0xD800], "[55296]"),
        ((A("disk"), [b"/var", 97]), '{disk,[<<"/var">>,97]}'),
        (ImproperList((1, 2), A("x")), "[1,2|x]"),
        (Map([(A("a"), 1), (2, A("b"))]), "#{a => 1,2 => b}"),
        (Export(A("lists"), A("map"), 2), "fun lists:map/2"),
        (Pid(A("n@h"), 4, 0, 1), "<n@h.4.0>"),
        (Reference(A("n@h"), 1, (1,)), "#Reference<>"),
        (((((((1,),),),),),), "{{{{{{1}}}}}}"),
        ((((((((1,),),),),),),), "{{{{{{...}}}}}}"),
    ],
)
def test_shown(term: Term, said: str) -> None:
    assert shown(term, 100) == said


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (A("ok"), "ok"),
        (b"\xff", "\ufffd"),
        ([50, 53], "25"),
        ([], ""),
        ([1 << 40], None),
        ([-1], None),
        ([A("a")], None),
        ((), None),
        (5, None),
    ],
)
def test_text(term: Term, said: str | None) -> None:
    assert text(term) == said


def test_what_is_long_is_cut() -> None:
    assert text([97] * 1000, 5) == "aaaa…"
    assert text(b"a" * 1000, 5) == "aaaa…"
    assert shown([[1]] * 1000, 10) == "[[1],[1],…"
    assert shown(A("a" * 255), 10) == "aaaaaaaaa…"


def test_the_work_is_in_proportion_to_the_text() -> None:
    wide: Any = [1] * 1_000_000
    for _ in range(6):
        wide = [wide] * 1000
    began = time.process_time()
    assert shown(wide, 200).startswith("[[[[[[...,...,")
    assert time.process_time() - began < 0.5


@given(TERMS, st.integers(2, 300))
def test_any_term_has_a_text_that_can_be_sent(term: Term, most: int) -> None:
    said = shown(term, most)
    assert 0 < len(said) <= most
    said.encode()
    name = text(term, most)
    assert name is None or len(name) <= most
