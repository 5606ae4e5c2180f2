"""The literals of a compiled module."""

from __future__ import annotations

import struct
import zlib

import pytest

from relctld.beam.relups import code
from relctld.beam.relups.code import UnknownCodeError, read_literals
from relctld.beam.term.etf import encode
from relctld.beam.term.terms import Atom

LITERALS = [(Atom("state"), 1), b"text" * 100]


def plain() -> bytes:
    terms = [encode(term) for term in LITERALS]
    return struct.pack(">I", len(terms)) + b"".join(struct.pack(">I", len(term)) + term for term in terms)


def packed() -> bytes:
    return struct.pack(">I", len(plain())) + zlib.compress(plain())


def test_packed_and_plain() -> None:
    assert read_literals(packed()) == read_literals(bytes(4) + plain()) == LITERALS
    assert read_literals(None) == []


def test_cut_off_or_inflated_beyond_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    for whole in (packed(), bytes(4) + plain()):
        for size in range(1, len(whole)):
            with pytest.raises(UnknownCodeError):
                read_literals(whole[:size])
    monkeypatch.setattr(code, "MAX_LITERALS", len(plain()) - 1)
    with pytest.raises(UnknownCodeError):
        read_literals(packed())
