"""What systools makes of the same appups: the scripts are equivalent, whatever the appups say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relctld.beam.package.refusals import PackageError
from relctld.beam.relups.syntax import expanded
from relctld.beam.relups.translate import Library, Way, translate
from relctld.beam.term.etf import decode
from relctld.beam.term.terms import Atom
from relctld.beam.term.written import written
from tests.asked import LONG
from tests.beam.oracle import Oracle, oracle
from tests.relups import comparable

pytestmark = pytest.mark.beam

KINDS = ("update", "load_module", "add_module", "delete_module")
MODULES = {"web": ["m1", "m2", "m3", "m4", "m5"], "db": ["d1", "d2", "d3"], "new": ["n1", "n2"]}
GONE = {"old": ["o1", "o2"]}
PURGES = st.sampled_from([Atom("brutal_purge"), Atom("soft_purge")])
CHANGES = st.sampled_from([Atom("soft"), (Atom("advanced"), []), (Atom("advanced"), [Atom("x"), 1])])
LOW = st.sampled_from(
    [
        (Atom("apply"), (Atom("io"), Atom("format"), [[ord("x")]])),
        (Atom("restart_application"), Atom("web")),
        (Atom("sync_nodes"), Atom("id"), []),
        (Atom("stop"), [Atom("m1")]),
        (Atom("start"), [Atom("m1")]),
        (Atom("suspend"), [Atom("z1"), (Atom("z2"), 100)]),
        (Atom("resume"), [Atom("z1"), Atom("z2")]),
        (Atom("load_object_code"), (Atom("web"), [ord("2")], [Atom("z1")])),
        (Atom("load"), (Atom("z1"), Atom("brutal_purge"), Atom("brutal_purge"))),
        (Atom("remove_application"), Atom("old")),
        Atom("restart_new_emulator"),
        Atom("restart_emulator"),
        Atom("point_of_no_return"),
        Atom("nonsense"),
        (Atom("update"), Atom("m1"), 1, 2),
    ]
)


@st.composite
def of_module(draw: st.DrawFn, module: str, needed: list[str]) -> Any:
    """An instruction about a module, in one of its forms."""
    name, needs = (
        Atom(module),
        [Atom(need) for need in draw(st.lists(st.sampled_from(needed), max_size=2, unique=True))],
    )
    change, before, behind = draw(CHANGES), draw(PURGES), draw(PURGES)
    timeout = draw(st.sampled_from([Atom("default"), Atom("infinity"), 7000]))
    kind = draw(st.sampled_from([Atom("static"), Atom("dynamic")]))
    return draw(
        st.sampled_from(
            [
                (Atom("load_module"), name),
                (Atom("load_module"), name, needs),
                (Atom("load_module"), name, before, behind, needs),
                (Atom("add_module"), name),
                (Atom("add_module"), name, needs),
                (Atom("delete_module"), name),
                (Atom("delete_module"), name, needs),
                (Atom("update"), name),
                (Atom("update"), name, Atom("supervisor")),
                (Atom("update"), name, change),
                (Atom("update"), name, needs),
                (Atom("update"), name, change, needs),
                (Atom("update"), name, change, before, behind, needs),
                (Atom("update"), name, timeout, change, before, behind, needs),
                (Atom("update"), name, kind, timeout, change, before, behind, needs),
            ]
        )
    )


@st.composite
def appups(draw: st.DrawFn) -> list[list[Any]]:
    """The scripts of two applications, of one that comes and of one that goes."""
    modules = draw(st.lists(st.sampled_from(MODULES["web"] + MODULES["db"]), unique=True))
    odd = draw(st.lists(st.sampled_from(["m1", "nowhere"]), max_size=1)) if draw(st.integers(0, 9)) == 0 else []
    each = [draw(of_module(module, modules)) for module in modules + odd if modules]
    each += draw(st.lists(LOW, max_size=2))
    each = draw(st.permutations(each))
    half = draw(st.integers(0, len(each)))
    kind = draw(st.sampled_from(["permanent", "load", "none", "temporary"]))
    added = [[(Atom("add_application"), Atom("new"), Atom(kind))]] if draw(st.booleans()) else []
    removed = [[(Atom("remove_application"), Atom("old"))]] if draw(st.booleans()) else []
    return [*added, each[:half], each[half:], *removed]


def libraries(found: dict[str, list[str]], version: str) -> list[Library]:
    return [Library(name, version, tuple(modules)) for name, modules in found.items()]


def records(found: list[Library]) -> str:
    """As systools has them: #application{name, type, vsn, id, description, modules, …}."""
    rest = "[],[],[],[],[],infinity,infinity,[],undefined,[]"
    each = (f'{{application,{a.name},permanent,"{a.version}",[],[],[{",".join(a.modules)}],{rest}}}' for a in found)
    return f"[{','.join(each)}]"


@pytest.fixture(scope="module")
def vm() -> Iterator[Oracle]:
    with oracle("25") as found:
        yield found


def systools(vm: Oracle, way: Way, scripts: list[list[Any]], there: list[Library], here: list[Library]) -> Any:
    """{ok, Script}, or {error, …}."""
    mode = "up" if way is Way.UP else "dn"
    asked = f"systools_rc:translate_scripts({mode}, {written(scripts)}, {records(there)}, {records(here)})"
    return decode(vm.value(asked))


def obeys(script: list[Any], scripts: list[list[Any]], way: Way) -> bool:
    """What a module needs is loaded before it upwards, after it downwards, unless they need each other."""
    long = [expanded(each) for part in scripts for each in part]
    needs = {e[1]: set(e[-1]) for e in long if isinstance(e, tuple) and e[0] in KINDS and isinstance(e[-1], list)}
    for _ in needs:
        needs = {module: found.union(*(needs.get(n, set()) for n in found)) for module, found in needs.items()}
    moves = [each for each in script if isinstance(each, tuple) and each[0] in ("load", "remove")]
    place = {each[1][0]: at for at, each in enumerate(moves)}
    pairs = [(m, n) for m in needs for n in needs[m] if m not in needs.get(n, ()) and m in place and n in place]
    return all((place[n] < place[m]) == (way is Way.UP) for m, n in pairs)


@settings(
    deadline=None, max_examples=2000 if LONG else 100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(scripts=appups(), way=st.sampled_from(Way))
def test_whatever_the_appups_say(vm: Oracle, scripts: list[list[Any]], way: Way) -> None:
    there, here = libraries(MODULES, "2"), libraries({"web": ["m1", "w0"], "db": ["d1"], **GONE}, "1")
    said = systools(vm, way, scripts, there, here)
    if said[0] != "ok":
        with pytest.raises(PackageError):
            translate(way, scripts, there, here)
        return
    made = translate(way, scripts, there, here)
    assert comparable(made) == comparable(said[1])
    assert obeys(said[1], scripts, way)
    assert obeys(made, scripts, way)
