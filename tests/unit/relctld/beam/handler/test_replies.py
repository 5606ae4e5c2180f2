"""What a node answered about its upgrade: read where it fits, refused where it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.handler import replies
from relctld.beam.handler.replies import HandlerError, Order, Process, Processes
from relctld.beam.term.terms import Atom, Term
from relctld.core.transaction import Install
from tests.terms import TERMS

READERS: dict[str, Callable[[Term], Any]] = {
    "survey": replies.survey,
    "hybrid": replies.hybrid,
    "outcome": replies.outcome,
    "findings": replies.findings,
    "processes": replies.processes,
    "names": replies.names,
}
A = Atom


def text(value: str) -> list[int]:
    return [ord(char) for char in value]


def test_a_survey() -> None:
    found = replies.survey((A("none"), [(text("1.1.0"), A("current")), (text("1.0.0"), A("permanent"))], []))
    assert (found.order, found.current, found.permanent) == (None, "1.1.0", "1.0.0")
    assert replies.survey((A("none"), [(text("1.0.0"), A("permanent"))], [])).current == "1.0.0"
    assert replies.survey((A("none"), [], [])).current == ""
    assert replies.survey((A("none"), [], text("/run/web"))).elsewhere == "/run/web"


def test_a_busy_release_handler_says_nothing_of_releases() -> None:
    found = replies.survey(((b"tag", text("2"), A("pending")), A("busy"), []))
    assert found.order == Order("tag", "2", Install(done=False))
    assert (found.releases, found.current, found.permanent) == (None, "", "")


@pytest.mark.parametrize(
    ("result", "install"),
    [(A("ok"), Install(done=True)), ((A("error"), b"{bad,x}"), Install(done=True, error="{bad,x}"))],
)
def test_the_end_of_an_install(result: Term, install: Install) -> None:
    found = replies.survey(((b"tag", text("2"), result), [], []))
    assert found.order is not None
    assert found.order.install == install


def test_without_sasl() -> None:
    with pytest.raises(HandlerError, match="add sasl to its applications"):
        replies.survey((A("none"), A("none"), []))


def test_a_hybrid() -> None:
    assert replies.hybrid((b"boot", b"config")) == (b"boot", b"config")
    with pytest.raises(HandlerError, match=r"no boot script of both versions can be made: \{app_not_found,sasl\}"):
        replies.hybrid((A("error"), b"{app_not_found,sasl}"))


def test_outcomes() -> None:
    replies.outcome(A("ok"))
    with pytest.raises(HandlerError, match="another install is under way"):
        replies.outcome(A("busy"))
    with pytest.raises(HandlerError, match="no such thing"):
        replies.outcome((A("error"), b"no such thing"))


def test_findings_and_names() -> None:
    assert replies.findings(([b"web is 1, not 2"], [b"web_srv still runs the old web"])) == (
        ("web is 1, not 2",),
        ("web_srv still runs the old web",),
    )
    assert replies.names([b"Elixir.Shown"]) == ("Elixir.Shown",)


def test_processes() -> None:
    suspended: list[Term] = [(b"web_srv", [b"web_srv"], A("true"))]
    found = replies.processes((3, suspended, [[(b"<0.1.0>", b"web")], [], [(b"<0.2.0>", b"web"), b"odd"]]))
    named = (Process("web_srv", ("web_srv",), busy=True),)
    assert found == Processes(3, named, killed=(("<0.1.0>", "web"),), staying=(("<0.2.0>", "web"),))


@pytest.mark.parametrize("reader", READERS)
@given(term=TERMS)
def test_any_answer_is_read_or_refused(reader: str, term: Term) -> None:
    _read(reader, term)


@pytest.mark.parametrize("reader", READERS)
@given(
    parts=st.lists(
        st.one_of(
            TERMS,
            st.just(3),
            st.lists(TERMS, max_size=2),
            st.lists(st.tuples(TERMS, TERMS, TERMS), max_size=2),
            st.lists(st.lists(st.tuples(TERMS, TERMS), max_size=2), min_size=3, max_size=3),
            st.tuples(st.just(b"tag"), st.just([50]), TERMS),
        ),
        min_size=2,
        max_size=3,
    ).map(tuple)
)
def test_an_answer_of_nearly_the_right_shape_is_read_or_refused(reader: str, parts: Term) -> None:
    _read(reader, parts)


def _read(reader: str, term: Term) -> None:
    with contextlib.suppress(HandlerError):
        READERS[reader](term)
