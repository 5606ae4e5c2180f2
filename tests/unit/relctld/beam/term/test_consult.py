"""What texts mean; tests/beam/test_consult_oracle.py asks file:consult/1 about the same tables."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.beam.term.consult import ConsultError, consult, consult_file_bytes
from relctld.beam.term.etf import encode
from relctld.beam.term.terms import Atom, BitString, Export, ImproperList, Map

A, B, OK = Atom("a"), Atom("b"), Atom("ok")
GOOD: list[tuple[str, list[Any]]] = [
    ("", []), (" \n%% nothing\n", []), ("a.", [A]), ("a.\nb. %x\n{}.", [A, B, ()]), ("a.%x", [A]),
    ("%%%\n a \n.\n", [A]),
    ("aB_1@c. ä.", [Atom("aB_1@c"), Atom("ä")]), ("'a b'.", [Atom("a b")]), ("''. 'Ünï🙂'.", [Atom(""), Atom("Ünï🙂")]),
    (r"'it\'s'. 'a\nb'. '%'. '\x{e4}'.", [Atom("it's"), Atom("a\nb"), Atom("%"), Atom("ä")]),
    ("'end'. endx.", [Atom("end"), Atom("endx")]),
    ("0. 007. -5. - 5. +5. 1_000_000.", [0, 7, -5, -5, 5, 1000000]),
    ("16#fF. 2#1010. 36#zZ. -16#1_0. 3#210.", [255, 10, 1295, -16, 21]),
    ("123456789012345678901234567890.", [123456789012345678901234567890]),
    ("1.5. -1.5e3. 1.0e-3. 2.5E+2. 1_0.2_5.", [1.5, -1500.0, 0.001, 250.0, 10.25]),
    ("$a. $\\n. $ . $\\s. $%. $'. $\". $🙂. -$a.", [97, 10, 32, 32, 37, 39, 34, 0x1F642, -97]),
    (r"$\\. $\x41. $\x{1F642}. $\101. $\^A. $\^a. $\e. $\d. $\0. $\q.", [92, 65, 0x1F642, 65, 1, 1, 27, 127, 0, 113]),
    ('"". "abc". "ä🙂". "a\nb".', [[], [97, 98, 99], [228, 0x1F642], [97, 10, 98]]),
    (r'"a\"b\\". "\t\x{20ac}\101\x41".', [[97, 34, 98, 92], [9, 0x20AC, 65, 65]]),
    ('"a" "b"\n%c\n"d".', [[97, 98, 100]]), ('{"a", "%"}.', [([97], [37])]), ("{}. {a}. { a , {b} } .", [(), (A,),
    (A, (B,))]),
    ("[]. [a]. [a,[b]]. [a|b]. [a,b|[]]. [a|[b]]. [a|[b|a]].", [[], [A], [A, [B]], ImproperList((A,), B), [A, B], [A,
    B], ImproperList((A, B), A)]),
    ("<<>>. <<1,2,255>>. <<256,-1,$a>>. << >>.", [b"", b"\x01\x02\xff", b"\x00\xffa", b""]),
    ('<<"abc">>. <<"ä🙂">>. <<"ä€"/utf8>>. <<"a" "b",0>>.', [b"abc", b"\xe4\x42", b"\xc3\xa4\xe2\x82\xac", b"ab\0"]),
    ("<<1:16>>. <<5,3:4>>. <<-1:3>>. <<1:0>>.", [b"\0\x01", BitString(b"\x05\x30", 4), BitString(b"\xe0", 3), b""]),
    ("#{}. #{a => 1}. #{1 => a, 1.0 => b, [1] => #{}}. #{a => 1, a => 2}.", [Map(), Map([(A, 1)]), Map([(1, A),
    (1.0, B), ([1], Map())]), Map([(A, 2)])]),
    ("fun lists:map/2. {fun 'Elixir.A':'b c'/0}.", [Export(Atom("lists"), Atom("map"), 2),
    (Export(Atom("Elixir.A"), Atom("b c"), 0),)]),
    ('{release,{"x","1.0"},{erts,"13.1.5"},[{kernel,"8.5.3",permanent}]}.', [(Atom("release"), ([120], [49, 46, 48]),
    (Atom("erts"), [49, 51, 46, 49, 46, 53]), [(Atom("kernel"), [56, 46, 53, 46, 51], Atom("permanent"))])]),
    ("a.\x00\x85\xa0b.", [A, B]), ("{a,%}\nb}.", [(A, B)]), ("maybe_. 'maybe'.", [Atom("maybe_"), Atom("maybe")]),
]  # fmt: skip
# With what is said of them.
BAD: list[tuple[str, str]] = [
    ("a", "line 1: a dot expected, not the end"), ("{a", "'}' expected, not the end"),
    ("\n\n{x y}.", "line 3: '}' expected, not this word"),
    ("{a,}.", "a term expected, not '}'"), ("[a,].", "a term expected"), ("[|a].", "a term expected"),
    ("[a|b,c].", "']' expected, not ','"), ("[a}.", "']' expected, not '}'"),
    ("a,b.", "a dot expected, not ','"), ("a.b.", "a term expected, not '.'"), ("a..", "a term expected"),
    (".", "a term expected, not '.'"), ("end.", "an atom expected"),
    ("Var.", "a term expected, not 'V'"), ("_.", "a term expected"), ("foo(1).", "a term expected, not '\\('"),
    ("1+2.", "a dot expected, not '\\+'"), ("-a.", "a term expected"), ('-"a".', "a term expected, not this string"),
    ("'abc", "a term expected, not \"'\""), ('"abc', "a term expected, not '\"'"), ('"a\\', "a term expected"),
    ("$", "a term expected, not '\\$'"), ("1.0e999.", "too large"), ("37#1.", "base that is not"),
    ("1#0.", "base that is not"),
    ("2#3.", "misspelled"), ("1_.", "misspelled"), ("1__0.", "misspelled"), ("1_.0.", "misspelled"),
    ("1.0e.", "a dot expected"),
    ('"\\x{110000}".', "no character"), ('"\\xzz".', "no character"), ("'\\x{d800}'.", "no character"),
    (f"{'x' * 256}.", "more than 255"), ("#{a}.", "'=>' expected"), ("#{a => }.", "a term expected"),
    ("#{a := 1}.", "'=>' expected, not ':'"), ("#a{}.", "a term expected, not '#'"),
    ("<<a>>.", "a term expected, not this word"), ("<<1", "'>>' expected, not the end"),
    ("<<1.5>>.", "with a float"), ("<<1:0,>>.", "a term expected"), ("<<1:a>>.", "a term expected"),
    ('<<"a"/nix>>.', "utf8 expected"),
    ("<<1:-1>>.", "a size"),
    ("fun lists:map.", "'/' expected"), ("fun() -> a end.", "a term expected, not '\\('"),
    ("fun a/1.", "':' expected"), ("fun a:b/256.", "an arity"), ("a. b", "a dot expected"),
    ("<0.1.0>.", "a term expected, not '<'"),
]  # fmt: skip
# We are stricter here than file:consult/1.
REFUSED: list[tuple[str, str]] = [
    ('"""\na\n""".', "three quotes"), ("[" * 102 + "]" * 102 + ".", "nested deeper than 100"),
    ("9" * 5000 + ".", "too long"),
    ("<<1:4,1:4>>.", "not its last"), ("<<1:4097>>.", "a size"), ("<<1/little>>.", "'>>' expected"),
    ("(a).", "a term expected"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "terms"), GOOD)
def test_good(text: str, terms: list[Any]) -> None:
    found = consult(text)
    assert found == terms
    assert encode(found) == encode(terms)  # tells 1 from 1.0


@pytest.mark.parametrize(("text", "why"), BAD + REFUSED, ids=range(len(BAD + REFUSED)))
def test_bad(text: str, why: str) -> None:
    with pytest.raises(ConsultError, match=why):
        consult(text)


def test_secrets_are_not_shown() -> None:
    for text in ('{password "hidden"}.', "{'hidden' hidden}.", '{"hidden', "{pin 16#1dden}."):
        with pytest.raises(ConsultError) as error:
            consult(text)
        assert "dden" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("'ä'.".encode(), "ä"), ("%% coding: latin-1\n'ä'.".encode("latin-1"), "ä"),
        ("%% -*- Coding = LATIN-1 -*-\nä.".encode("latin-1"), "ä"),
        ("\n%% coding: utf-8\n'ä'.".encode(), "ä"), ("%% coding: latin-9\n'ä'.".encode(), "ä"),
    ],
)  # fmt: skip
def test_encodings(data: bytes, name: str) -> None:
    assert consult_file_bytes(data) == [Atom(name)]


@pytest.mark.parametrize("head", [b"a.\n\n%% coding: latin-1\n", b"coding. latin. \n"])
def test_too_late_or_no_comment(head: bytes) -> None:
    with pytest.raises(ConsultError, match="not UTF-8"):
        consult_file_bytes(head + b"'\xe4'.")


def test_neither_encoding() -> None:
    with pytest.raises(ConsultError, match=r"line 3: it is not UTF-8"):
        consult_file_bytes(b"a.\n\n'\xe4'.")


@settings(deadline=None)  # a noisy machine is no bug
@given(st.text(alphabet="ab1.,|{}[]<>#=\"'\\$%:/-+ \nAfunx_", max_size=30))
def test_no_text_surprises(text: str) -> None:
    with contextlib.suppress(ConsultError):
        encode(consult(text))


@pytest.mark.parametrize(
    "text",
    [
        "a", "'", '"', "\\", '"\\', "1_", "%", "[a,", '"a" ', "#", "<<1,", "9", "'a' ", " \n", "$", "[1|[2|", "{",
        "1.", "16#1_", "<<", '"a', "$\\x{",
    ],
)  # fmt: skip
def test_linear(text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(ConsultError):
        consult(text * 100_000)
    assert time.process_time() - began < 3
