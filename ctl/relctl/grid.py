"""Rows under heads, as wide as the terminal: the layout of every table of releases.

Rule 1: pure, as `render`; the width of the terminal and the colours come in.
Rule 2: every row has all columns there are, and a narrow terminal has fewer of them; a name too long for its column
        stands above its row, uncut, and notes stand beside their rows where all of them fit there, else below,
        indented.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeVar

from relctl.render import Paint

_T = TypeVar("_T")

_SHORTEST_NAME: Final = 12


class Row(NamedTuple):
    """The cells of one release, its name first; a colour (or None) for each; what is said beside the columns."""

    cells: list[str]
    colours: list[str | None]
    notes: list[str]


def grid(
    heads: Sequence[str], right: Collection[str], rows: Sequence[Row], width: int | None, paint: Paint, gap: str = "  "
) -> list[str]:
    """The lines; the columns in `right` end in line; `width` None means that no line is too long."""
    widths = _widths(heads, rows)
    longest_note = max(len("; ".join(row.notes)) for row in rows)
    beside = width is None or sum(widths) + len(gap) * len(widths) + longest_note <= width
    if width is not None:
        widths[0] = min(widths[0], max(_SHORTEST_NAME, width - sum(widths[1:]) - len(gap) * len(widths[1:])))
    pads = [(room, head in right) for room, head in zip(widths, heads, strict=True)]
    has_notes = beside and any(row.notes for row in rows)
    head = _line(heads, heads, pads, gap) + (f"{gap}NOTE" if has_notes else "")
    lines = [paint(head.rstrip(), "bold")]
    for row in rows:
        lines += _row_lines(row, pads, gap, beside, paint)
    return lines


def fitted(
    heads: Sequence[str], rows: Sequence[Row], width: int | None, first_to_go: Sequence[str]
) -> tuple[list[str], list[Row], str]:
    """Heads, rows and gap for `grid`: the columns move together, then those that go are left out, one by one."""
    left, cut = list(heads), list(rows)
    gap = "  " if width is None or room(left, cut) <= width else " "
    for last in first_to_go:
        if width is None or room(left, cut, gap) <= width:
            break
        at = left.index(last)
        left = _without(left, at)
        cut = [Row(_without(row.cells, at), _without(row.colours, at), row.notes) for row in cut]
    return left, cut, gap


def _without(items: list[_T], at: int) -> list[_T]:
    return items[:at] + items[at + 1 :]


def room(heads: Sequence[str], rows: Sequence[Row], gap: str = "  ") -> int:
    """The least width that the columns need."""
    name, *rest = _widths(heads, rows)
    return min(name, _SHORTEST_NAME) + sum(rest) + len(gap) * len(rest)


def _widths(heads: Sequence[str], rows: Sequence[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(heads, *(row.cells for row in rows), strict=True)]


def _row_lines(row: Row, pads: list[tuple[int, bool]], gap: str, beside: bool, paint: Paint) -> list[str]:
    cells, lines = row.cells, []
    if len(cells[0]) > pads[0][0]:
        lines.append(cells[0])
        cells = ["", *cells[1:]]
    painted = [paint(cell, colour) if colour else cell for cell, colour in zip(cells, row.colours, strict=True)]
    line = _line(cells, painted, pads, gap)
    if beside and row.notes:
        line += gap + "; ".join(row.notes)
    lines.append(line.rstrip())
    return lines if beside else lines + [f"  - {note}" for note in row.notes]


def _line(cells: Sequence[str], painted: Sequence[str], pads: list[tuple[int, bool]], gap: str) -> str:
    """The cells side by side; what is `painted` may hold colour codes, which take no room."""
    padded = []
    for cell, shown, (width, right) in zip(cells, painted, pads, strict=True):
        blank = " " * (width - len(cell))
        padded.append(blank + shown if right else shown + blank)
    return gap.join(padded)
