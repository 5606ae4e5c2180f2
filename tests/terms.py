"""Erlang terms for hypothesis: of every kind that can be made without a VM."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from relctld.beam.term.terms import Atom, BitString, Export, ImproperList, Map, Pid, Port, Reference

U32 = st.integers(0, (1 << 32) - 1)
ATOMS = st.one_of(
    st.sampled_from(["ok", "true", "undefined", "", "Ünïcode", "a b", "🙂"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
).map(Atom)
INTEGERS = st.one_of(
    st.integers(-300, 300),
    st.integers(-(1 << 34), 1 << 34),
    st.builds(
        lambda sign, bits, off: sign * ((1 << bits) + off),
        st.sampled_from([1, -1]), st.sampled_from([31, 60, 64, 200]), st.integers(-1, 1),
    ),
)  # fmt: skip
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
BITS = st.builds(BitString, st.binary(min_size=1, max_size=9), st.integers(1, 7))
# Of other nodes: a VM checks and rewrites what says it is its own.
NODES = st.sampled_from([Atom("a@127.0.0.1"), Atom("ü@host")])
PIDS = st.builds(Pid, NODES, st.integers(0, (1 << 28) - 1), st.integers(0, 8191), U32)
PORTS = st.builds(Port, NODES, st.one_of(st.integers(0, (1 << 28) - 1), st.integers(0, (1 << 64) - 1)), U32)
# The VM keeps 18 bits of the first word of its own references.
WORDS = st.builds(lambda first, more: (first, *more), st.integers(0, (1 << 18) - 1), st.lists(U32, max_size=4))
REFERENCES = st.builds(Reference, NODES, U32, WORDS)
EXPORTS = st.builds(Export, ATOMS, ATOMS, st.integers(0, 255))
LEAVES = st.one_of(ATOMS, INTEGERS, FLOATS, st.binary(max_size=20), BITS, PIDS, PORTS, REFERENCES, EXPORTS)


# Small: hypothesis warns of values whose repr is long, and pytest makes that an error.
def _nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, max_size=3)
    tails = inner.filter(lambda tail: not isinstance(tail, list | ImproperList))
    return st.one_of(
        some,
        some.map(tuple),
        st.lists(st.tuples(inner, inner), max_size=2).map(Map),
        st.builds(ImproperList, st.lists(inner, min_size=1, max_size=3).map(tuple), tails),
    )


TERMS: st.SearchStrategy[Any] = st.recursive(LEAVES, _nest, max_leaves=12)
