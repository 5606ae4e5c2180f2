"""How the logger tells of itself, on a terminal and elsewhere."""

import json

from relctld.logger.report import line

AT = "2026-01-01T00:00:00Z"


def test_a_line_is_json_but_on_a_terminal() -> None:
    said = json.loads(line(False, AT, "warning", "cannot-write", "web", "ENOSPC"))
    assert said == {"at": AT, "level": "warning", "event": "cannot-write", "release": "web", "error": "ENOSPC"}
    shown = line(True, AT, "warning", "cannot-write", "web", "ENOSPC")
    assert shown == f"{AT} [warning  ] logger: cannot-write release=web error=ENOSPC"
    assert line(True, AT, "info", "started", None, None) == f"{AT} [info     ] logger: started"
