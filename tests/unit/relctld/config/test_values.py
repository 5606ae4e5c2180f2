"""Durations, sizes and the other sorts of value."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from relctld.config import values
from relctld.config.values import KindError
from tests.unit.relctld.config.building import UNHURRIED

ANYTHING = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = {
    "duration": values.duration(),
    "size": values.size(bare=True),
    "integer": values.integer(0, 9),
    "number": values.number(0, 1),
    "umask": values.umask(),
    "flag": values.flag(),
    "choice": values.choice({"a": 1, "b": 2}),
    "path": values.path(),
    "argv": values.argv(),
    "off": values.optional(values.duration()),
}


def refusal(kind: values.Kind, raw: Any) -> str:
    with pytest.raises(KindError) as caught:
        kind.read(raw)
    return kind.explain(raw, caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("1ms", 0.001), ("1.5s", 1.5), ("0.1m", 6), ("2h", 7200), ("30d", 2_592_000), ("007s", 7)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert values.duration(0).read(text) == seconds


@pytest.mark.parametrize(
    "raw", ["", "5", "s", "-1s", "+1s", "1 s", "1s ", "1m30s", ".5s", "1.s", "1e3s", "1S", "٣s", "1s\n"]
)
def test_what_is_no_duration(raw: str) -> None:
    assert refusal(values.duration(), raw).startswith('expected a duration such as "30s", found "')


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (5, 'expected a duration such as "30s", found 5'),
        (True, 'expected a duration such as "30s", found true'),
        (["5s"], 'expected a duration such as "30s", found a list'),
        ({}, 'expected a duration such as "30s", found a table'),
        ("0s", 'expected a duration of at least 1ms, found "0s"'),
        ("9" * 40 + "d", 'expected a duration of at most 36500d, found "' + "9" * 40 + 'd"'),
    ],
)
def test_what_a_refused_duration_says(raw: Any, text: str) -> None:
    assert refusal(values.duration(), raw) == text


@UNHURRIED
@given(st.floats(0, 36_500 * 86_400.0))
def test_every_duration_survives_being_shown(seconds: float) -> None:
    kind = values.duration(0)
    if math.isclose(seconds, 0, abs_tol=1e-9):  # more digits than anybody writes
        return
    assert kind.read(tomli.loads(f"x = {kind.show(seconds)}")["x"]) == seconds


@UNHURRIED
@given(st.decimals(0, 9000, places=3), st.sampled_from([("ms", "0.001"), ("s", "1"), ("m", "60"), ("h", "3600")]))
def test_a_duration_is_exact(number: Decimal, unit: tuple[str, str]) -> None:
    assert values.duration(0).read(f"{number:f}{unit[0]}") == float(number * Decimal(unit[1]))


@pytest.mark.parametrize(
    ("text", "count"),
    [("0B", 0), ("1kB", 1000), ("1KiB", 1024), ("1.5GB", 1_500_000_000), ("2GiB", 2 << 30), ("0.3kB", 300)],
)
def test_a_size_is_a_number_and_a_unit(text: str, count: int) -> None:
    assert values.size().read(text) == count


@pytest.mark.parametrize("raw", ["", "5", "B", "-1B", "1 B", "1kb", "1K", "1TB", "1e3B"])
def test_what_is_no_size(raw: str) -> None:
    assert refusal(values.size(), raw).startswith('expected a size such as "50MB", found "')


def test_what_a_refused_size_says() -> None:
    assert refusal(values.size(1000), "5B") == 'expected a size of at least 1kB, found "5B"'
    assert refusal(values.size(), "4294967296GiB") == 'expected a size below 4 EiB, found "4294967296GiB"'
    assert refusal(values.size(), 5) == 'expected a size such as "50MB", found 5'
    assert refusal(values.size(bare=True), -1) == "expected a size of at least 0B, found -1"
    expected = 'expected a size such as "50MB" or a number of bytes'
    assert refusal(values.size(bare=True), True) == f"{expected}, found true"


@UNHURRIED
@given(st.integers(0, (1 << 62) - 1))
def test_every_size_survives_being_shown(count: int) -> None:
    kind = values.size()
    assert kind.read(tomli.loads(f"x = {kind.show(count)}")["x"]) == count


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        (values.integer(1, 9), 0, "expected an integer from 1 to 9, found 0"),
        (values.integer(1, 9), True, "expected an integer from 1 to 9, found true"),
        (values.integer(1, 9), 2.0, "expected an integer from 1 to 9, found 2.0"),
        (values.number(0, 1), 1.01, "expected a number from 0 to 1, found 1.01"),
        (values.number(0, 1), math.nan, "expected a number from 0 to 1, found nan"),
        (values.number(0, 1), False, "expected a number from 0 to 1, found false"),
        (values.umask(), 27, 'expected octal digits such as "0027", found 27'),
        (values.umask(), "0o27", 'expected octal digits such as "0027", found "0o27"'),
        (values.umask(), "888", 'expected octal digits such as "0027", found "888"'),
        (values.flag(), 1, "expected true or false, found 1"),
        (values.flag(), "yes", 'expected true or false, found "yes"'),
        (
            values.choice({"gzip": 1, "zstd": 2}),
            "gzpi",
            'expected gzip | zstd, found "gzpi", did you mean "gzip"?',
        ),
        (values.choice({"gzip": 1, "zstd": 2}), 3, "expected gzip | zstd, found 3"),
        (values.path(), "opt", 'expected an absolute path such as "/opt/web", found "opt"'),
        (values.path(), "/a\0b", 'expected an absolute path such as "/opt/web", found "/a\\u0000b"'),
        (values.path(), "/" * 5000, 'expected an absolute path such as "/opt/web", found "' + "/" * 57 + '..."'),
        (values.optional(values.flag()), "of", 'expected true or false, or "off", found "of"'),
        (values.many(values.flag(), "flags"), [True, 5], "item 2: expected true or false, found 5"),
        (values.many(values.flag(), "flags"), "x", 'expected flags, found "x"'),
        (values.argv(), [], "expected a command and its arguments, found none"),
        (values.argv(), [""], "expected a command and its arguments, found none"),
        (values.argv(), ["a", 7], "item 2: expected a string, found an integer"),
        (values.secret(), "s\0", "expected a string, found a string"),
        (values.secret(), 1.5, "expected a string, found a number"),
    ],
)
def test_what_a_refused_value_says(kind: values.Kind, raw: Any, text: str) -> None:
    assert refusal(kind, raw) == text


def test_an_integer_too_long_to_be_printed_is_refused_too() -> None:
    huge = 1 << 70_000
    assert refusal(values.integer(1, 9), huge) == "expected an integer from 1 to 9, found an integer"
    assert refusal(values.number(0, 1), huge) == "expected a number from 0 to 1, found an integer"
    assert refusal(values.size(bare=True), huge) == "expected a size below 4 EiB, found an integer"


def test_what_is_read() -> None:
    assert values.umask().read("027") == values.umask().read("0027") == 0o027
    assert values.number(0, 1).read(1) == 1.0
    assert values.path().read("/opt/web") == Path("/opt/web")
    assert values.optional(values.flag()).read("off") is None
    assert values.argv().read(["a", "b c"]) == ("a", "b c")


@pytest.mark.parametrize("name", KINDS)
@UNHURRIED
@given(raw=ANYTHING)
def test_whatever_comes_is_read_or_refused_on_one_line(name: str, raw: Any) -> None:
    kind = KINDS[name]
    why = ""
    try:
        kind.read(raw)
    except KindError as error:
        why = kind.explain(raw, error)
    assert "\n" not in why
