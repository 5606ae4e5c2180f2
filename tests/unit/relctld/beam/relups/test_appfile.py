"""Which script of an appup leads where, in which order applications are taken, and what a file of ours looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.package.refusals import PackageError
from relctld.beam.relups.appfile import App, is_ours, made_file, read_app, read_appup
from relctld.beam.relups.graph import sorted_by_need
from relctld.beam.relups.order import sorted_applications
from relctld.beam.term.terms import Atom
from tests.packages import atoms, consulted, text

APPUP = rb"""{"2.0",
 [{"1.0", [one]}, {<<"1\\.[0-9]+">>, [two]}, {<<"(">>, [bad]}, {<<"1\\.3\\.1(\\.[0-9]+)*">>, [three]}, {"1.0", [four]}],
 [{<<"1\\..*">>, [{load_module, m}]}]}."""


@pytest.mark.parametrize(
    ("version", "found"),
    [("1.0", ["one"]), ("1.2", ["two"]), ("1.2.3", None), ("1.3.1", ["three"]), ("1.3.1.7", ["three"]), ("9", None)],
)
def test_a_regular_expression_must_match_the_whole_version(version: str, found: list[str] | None) -> None:
    appup = read_appup(APPUP, "web.appup")
    assert (appup.version, appup.up(version)) == ("2.0", found)


def test_down() -> None:
    assert read_appup(APPUP, "web.appup").down("1.7") == [(Atom("load_module"), Atom("m"))]


@pytest.mark.parametrize("data", [b"", b"{", b'{"2",[],x}.', b'{"2",[{a,[]}],[]}.', b'{"2",[{"1",x}],[]}.', b"[]."])
def test_no_appup(data: bytes) -> None:
    with pytest.raises(PackageError, match=r"web\.appup is damaged"):
        read_appup(data, "web.appup")


def test_an_app() -> None:
    keys = [
        (Atom("vsn"), text("1.0")),
        (Atom("modules"), atoms("a", "b")),
        (Atom("applications"), atoms("kernel", "c")),
        (Atom("optional_applications"), atoms("c")),
    ]
    found = read_app(consulted((Atom("application"), Atom("web"), keys)), "web.app")
    assert found == App("web", "1.0", ("a", "b"), ("kernel", "c"), (), ("c",))
    with pytest.raises(PackageError, match=r"web\.app is damaged"):
        read_app(b"[].", "web.app")


def test_ours_is_known_again_and_reads_as_it_was_meant() -> None:
    up, down = [(Atom("add_module"), Atom("Elixir.Web"))], [(Atom("delete_module"), Atom("Elixir.Web"))]
    data = made_file("1.1", [(text("1.0"), up)], [(text("1.0"), down)], "web 1.0 to 1.1")
    assert (is_ours(data), is_ours(APPUP)) == (True, False)
    found = read_appup(data, "web.appup")
    assert (found.version, found.up("1.0"), found.down("1.0")) == ("1.1", up, down)
    assert b"[{add_module,'Elixir.Web'}]" in data


# -- order -----------------------------------------------------------------------------------------


def app(name: str, *uses: str, includes: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> App:
    return App(name, "1", (), uses, includes, optional)


def order(*apps: App) -> list[str]:
    return sorted_applications([app.name for app in apps], {app.name: app for app in apps})


def test_each_behind_what_it_uses_else_as_the_rel_lists_them() -> None:
    assert order(app("kernel"), app("web", "db", "kernel"), app("log"), app("db", "kernel")) == [
        "kernel", "db", "web", "log",
    ]  # fmt: skip
    assert order(app("web", "log", "db"), app("db"), app("log")) == ["db", "log", "web"]
    assert order(app("web", includes=("part",)), app("part", "web")) == ["part", "web"]
    assert order(app("web", "maybe", optional=("maybe",))) == ["web"]


def test_what_is_missing_or_needs_itself() -> None:
    with pytest.raises(PackageError, match="web needs the application db"):
        order(app("web", "db"))
    with pytest.raises(PackageError, match="need each other"):
        order(app("web", "db"), app("db", "web"))


@given(st.integers(1, 7).flatmap(lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))))
def test_each_before_what_it_needs(pairs: list[tuple[int, int]]) -> None:
    nodes = sorted({node for pair in pairs for node in pair})
    edges: dict[int, list[int]] = {node: [b for a, b in pairs if a == node] for node in nodes}
    found = sorted_by_need(nodes, edges)
    assert sorted(found) == nodes
    reach = {node: {node} for node in nodes}
    for _ in nodes:
        reach = {node: seen.union(*(edges[other] for other in seen)) for node, seen in reach.items()}
    for a in nodes:
        assert all(found.index(a) < found.index(b) for b in reach[a] if a not in reach[b])
