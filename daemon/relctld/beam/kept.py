"""A sample as bytes: a sixth of its memory, for who keeps one of each node from one measurement to the next.

Rule: `unpacked(packed(sample)) == sample`, whatever a node told. The bytes are for this process alone.
"""

from __future__ import annotations

import marshal
from typing import Any, Final

from relctld.beam.telemetry import Sample
from relctld.beam.term.terms import Atom, Pid
from relctld.core.thresholds import Use

_USES: Final = ("processes", "ports", "atoms", "ets")


def packed(sample: Sample) -> bytes:
    """The sample, to be kept."""
    return marshal.dumps([_plain(getattr(sample, name)) for name in Sample.__slots__])


def unpacked(kept: bytes) -> Sample:
    """The sample that was packed."""
    fields: dict[str, Any] = dict(zip(Sample.__slots__, marshal.loads(kept), strict=True))  # noqa: S302 our own bytes
    for name in _USES:
        fields[name] = Use(*fields[name])
    if fields["boot"] is not None:
        node, *rest = fields["boot"]
        fields["boot"] = Pid(Atom(node), *rest)
    return Sample(**fields)


def _plain(value: Any) -> Any:
    """What marshal knows: it takes none of our types, nor what is derived from its own."""
    match value:
        case Use():
            return value.count, value.limit
        case Pid():
            return str(value.node), value.id, value.serial, value.creation
    return value
