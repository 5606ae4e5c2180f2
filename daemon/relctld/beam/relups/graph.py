"""What depends on what: an order that is the same each time.

Source: OTP's digraph_utils, whose own order among what may stand in any is that of a hash table.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)
Edges = Mapping[Node, Iterable[Node]]


def component(start: Node, edges: Edges[Node]) -> set[Node]:
    """All that hangs together with `start`, whichever way the edges lead."""
    beside: dict[Node, set[Node]] = {}
    for node, targets in edges.items():
        for target in targets:
            beside.setdefault(node, set()).add(target)
            beside.setdefault(target, set()).add(node)
    return _reached(start, beside)


def sorted_by_need(nodes: Sequence[Node], edges: Edges[Node]) -> list[Node]:
    """Each before what it needs; those that need each other side by side, in the order of `nodes`."""
    rank = {node: place for place, node in enumerate(nodes)}
    reach = {node: {rank[other] for other in _reached(node, edges) if other in rank} for node in nodes}
    head = {node: min(at for at in reach[node] if rank[node] in reach[nodes[at]]) for node in nodes}
    groups: dict[int, list[Node]] = {}
    for node in nodes:
        groups.setdefault(head[node], []).append(node)
    below = {at: {head[nodes[other]] for other in reach[nodes[at]]} - {at} for at in groups}
    waiting = {at: sum(at in others for others in below.values()) for at in groups}
    free, found = sorted(at for at, count in waiting.items() if not count), []
    while free:
        at = heappop(free)
        found += groups[at]
        for other in below[at]:
            waiting[other] -= 1
            if not waiting[other]:
                heappush(free, other)
    return found


def _reached(start: Node, edges: Edges[Node]) -> set[Node]:
    """`start`, and all that a way leads to."""
    found, todo = {start}, [start]
    while todo:
        for node in edges.get(todo.pop(), ()):
            if node not in found:
                found.add(node)
                todo.append(node)
    return found
