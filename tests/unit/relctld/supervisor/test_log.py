"""The daemon's own log on a terminal."""

from relctld.supervisor.log import wants_colour


def test_colour_is_for_terminals_that_want_it() -> None:
    assert wants_colour({"TERM": "xterm"})
    assert wants_colour({"TERM": "xterm", "NO_COLOR": ""})
    assert not wants_colour({"TERM": "xterm", "NO_COLOR": "1"})
    assert not wants_colour({"TERM": "dumb"})
