from __future__ import annotations

from typing import Any

import pytest

from relctld.beam.term.terms import Atom, BitString, ImproperList, Map, Pid

PID = Pid(Atom("a@b"), 1, 2, 3)
# No two of them are =:= to each other.
KEYS: list[Any] = [
    1, 1.0, True, b"1", Atom("1"), [1], [1.0], (1,),
    (), [], b"", Atom(""), Map(), Map([(1, 1)]), Map([(1.0, 1)]), Map([(1, 1.0)]),
    [[1], 2], [[1, 2]], ImproperList((1,), 2), [1, 2], BitString(b"\x80", 1), b"\x80", 0.0, -0.0, PID, (PID,), 1 << 60,
    1 << 61,
    -(1 << 61), (b"ab",), (b"a", b"b"), (Atom("true"), 1), Atom("🙂"), -1, 255, -256, 256,
]  # fmt: skip


def test_an_atom_is_a_name() -> None:
    assert Atom("ok") == "ok"
    assert repr(Atom("ok")) == "Atom('ok')"
    assert {Atom("ok"): 1}[Atom("ok")] == 1


def test_keys_are_told_apart() -> None:
    found = Map((key, number) for number, key in enumerate(KEYS))
    assert len(found) == len(KEYS)
    assert [found[key] for key in KEYS] == list(range(len(KEYS)))
    assert [found.get(key) for key in found] == list(range(len(KEYS)))
    assert found == Map(reversed(list(found.items())))
    assert hash(found) == hash(Map(reversed(list(found.items()))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, Atom("true")), ([True], [Atom("true")]), ({1: 2}, Map([(1, 2)])),
        (Map([(1, 2), (3, 4)]), Map([(3, 4), (1, 2)])),
    ],
)  # fmt: skip
def test_the_same_key(one: Any, other: Any) -> None:
    assert Map([(one, 1), (other, 2)]) == Map([(other, 2)])
    assert other in Map([(one, 1)])


def test_reading_a_map() -> None:
    found = Map([(Atom("a"), 1), ([b"k"], 2)])
    assert found.get(Atom("b")) is None
    assert found.get([1], 5) == 5
    assert [1] not in found
    assert list(found.items()) == [(Atom("a"), 1), ([b"k"], 2)]
    assert repr(found) == "Map([(Atom('a'), 1), ([b'k'], 2)])"
    assert found != {Atom("a"): 1}
    with pytest.raises(KeyError):
        found[Atom("b")]


@pytest.mark.parametrize("key", ["text", None, ["text"], {1: {2: "text"}}, {1}])
def test_no_key(key: Any) -> None:
    with pytest.raises(ValueError, match="not an Erlang term"):
        Map([(key, 1)])


def test_unused_bits_are_zero() -> None:
    assert BitString(b"\xff\xff", 3) == BitString(b"\xff\xe0", 3)
    for data, bits in [(b"", 1), (b"a", 0), (b"a", 8)]:
        with pytest.raises(ValueError, match="cannot make"):
            BitString(data, bits)


@pytest.mark.parametrize(("items", "tail"), [((), 1), ((1,), [2]), ((1,), []), ((1,), ImproperList((2,), 3))])
def test_what_is_no_improper_list(items: Any, tail: Any) -> None:
    with pytest.raises(ValueError, match="cannot make"):
        ImproperList(items, tail)
