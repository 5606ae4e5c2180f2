"""A call that is prepared for all nodes."""

from relctld.beam.dist.spawn import Pattern, prepare
from relctld.beam.telemetry import batch
from relctld.beam.term.terms import Atom


def test_a_pattern_makes_what_each_node_would_be_sent_by_itself() -> None:
    pattern = Pattern(batch)
    for node in ("web@127.0.0.1", "\u00fc" * 200 + "@h"):
        assert pattern.of(node) == prepare(*batch(node))


def test_a_call_without_the_name() -> None:
    assert Pattern(lambda _: ("m", "f", [Atom("a")])).of("web@h") == prepare("m", "f", [Atom("a")])
