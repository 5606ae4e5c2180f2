"""The external term format against those who define it: OTP 25 and OTP 28."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from relctld.beam.term.etf import decode, encode
from relctld.beam.term.terms import Atom, BitString, Export, Fun, ImproperList, Map, Pid, Port, Reference
from tests import otps
from tests.beam.oracle import Oracle, oracle
from tests.terms import TERMS

pytestmark = pytest.mark.beam


@pytest.fixture(scope="module", params=list(otps.OTPS))
def vm(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    with oracle(request.param) as found:
        yield found


def test_28_is_28() -> None:
    assert otps.run("28", "io:put_chars(erlang:system_info(otp_release))") == "28"


A_TO_Z = Atom(string.ascii_lowercase)
# What Erlang source means, and what we take it for.
MEANS: list[tuple[str, Any]] = [
    ("0", 0), ("255", 255), ("256", 256), ("-1", -1), ("1 bsl 27", 1 << 27), ("-(1 bsl 31)", -(1 << 31)),
    ("1 bsl 31", 1 << 31),
    ("-(1 bsl 31) - 1", -(1 << 31) - 1), ("1 bsl 64", 1 << 64), ("-(1 bsl 2040)", -(1 << 2040)),
    ("1 bsl 9999", 1 << 9999),
    ("0.0", 0.0), ("-0.0", -0.0), ("1.5e300", 1.5e300), ("5.0e-324", 5e-324), ("true", Atom("true")),
    ("undefined", Atom("undefined")),
    ("''", Atom("")), ("'Ünï'", Atom("Ünï")), ("'🙂'", Atom("🙂")),
    ("list_to_atom(lists:duplicate(255, 16#1F642))", Atom("🙂" * 255)),
    ("list_to_atom(lists:duplicate(255, $x))", Atom("x" * 255)),
    ("list_to_atom(lists:duplicate(128, 228))", Atom("ä" * 128)),
    ('""', []), ('"abc"', [97, 98, 99]), ('"ä🙂"', [228, 0x1F642]), ("lists:seq(1, 70000)", list(range(1, 70001))),
    ("lists:duplicate(65535, 1)", [1] * 65535), ("lists:duplicate(65536, 1)", [1] * 65536),
    ("[[], {}, #{}]", [[], (), Map()]),
    ("<<>>", b""), ('<<"abc">>', b"abc"), ("<<1:1>>", BitString(b"\x80", 1)), ("<<258:15>>", BitString(b"\x02\x04", 7)),
    ("[1|2]", ImproperList((1,), 2)), ("[1, 2|<<3>>]", ImproperList((1, 2), b"\x03")),
    ('"ab" ++ c', ImproperList((97, 98), Atom("c"))),
    ("list_to_tuple(lists:seq(1, 256))", tuple(range(1, 257))), ("#{a => 1}", Map([(Atom("a"), 1)])),
    (
        "#{1 => a, 1.0 => b, true => c, [1] => d, #{} => e, [1.0] => f, #{1 => 1} => g, {1} => h}",
        Map(zip([1, 1.0, Atom("true"), [1], Map(), [1.0], Map([(1, 1)]), (1,)], map(Atom, "abcdefgh"), strict=True)),
    ),
    ("maps:from_list([{N, N} || N <- lists:seq(1, 100)])", Map((n, n) for n in range(1, 101))),
    ("fun lists:map/2", Export(Atom("lists"), Atom("map"), 2)),
    ("c:pid(0, 250, 0)", Pid(Atom("nonode@nohost"), 250, 0, 0)),
    ("{abcdefghijklmnopqrstuvwxyz, [a, a]}", (A_TO_Z, [Atom("a")] * 2)),
]  # fmt: skip
# What no two VMs make alike.
KINDS: list[tuple[str, type]] = [
    ("self()", Pid), ("make_ref()", Reference), ("alias()", Reference), ("hd(erlang:ports())", Port),
    ('binary_to_term(<<131, 120, 119, 3, "a@b", 987654321987:64, 7:32>>)', Port), ("fun(X) -> X end", Fun),
    ("fun() -> {self(), make_ref()} end", Fun),
    ("(fun(Y) -> fun(X) -> {X, Y} end end)(make_ref())", Fun), ("erlang:monitor(process, self())", Reference),
    ("monitor(process, spawn(fun() -> ok end), [{alias, demonitor}])", Reference),
]  # fmt: skip


@pytest.mark.parametrize(("source", "term"), MEANS, ids=[source for source, _ in MEANS])
def test_means(vm: Oracle, source: str, term: Any) -> None:
    found = decode(vm.value(source))
    assert found == term
    assert encode(found) == encode(term) or isinstance(found, Map)  # tells 1 from 1.0
    assert vm.same(encode(found))
    assert vm.same(encode(term))
    assert decode(vm.value(source, compressed=True)) == term


@pytest.mark.parametrize(("source", "kind"), KINDS, ids=[source for source, _ in KINDS])
def test_comes_back(vm: Oracle, source: str, kind: type) -> None:
    term = decode(vm.value(source))
    assert type(term) is kind
    assert vm.same(encode(term))


def test_compressed(vm: Oracle) -> None:
    data = vm.value("lists:duplicate(1000, <<0:800>>)", compressed=True)
    assert len(data) < 10_000
    assert decode(data) == [bytes(100)] * 1000


@settings(deadline=None)
@given(term=TERMS)
def test_round_trip(vm: Oracle, term: Any) -> None:
    data = vm.again(encode(term))
    assert decode(data) == term
    assert sorted(encode(decode(data))) == sorted(encode(term))  # a map's order is the VM's; -0.0 stays -0.0
