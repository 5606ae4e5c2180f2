"""Which words an event has in a release's own log."""

from __future__ import annotations

from relctld.core.notes import Note
from relctld.supervisor.marks import said_of

AT = "2026-11-22T11:00:00.123Z"


def test_a_first_deployment_comes_from_nothing() -> None:
    fields = {"id": "7", "from": None, "to": "1.0", "by": "root"}
    begun, done = said_of(Note.UPGRADE_BEGUN, fields, AT), said_of(Note.UPGRADED, fields, AT)
    assert begun
    assert begun.text == f"upgrade to 1.0 begins at {AT}"
    assert done
    assert done.text == f"upgraded to 1.0 at {AT}"
    assert said_of(Note.UPGRADED, {**fields, "from": ""}, AT) == done


def test_an_upgrade_names_both_versions() -> None:
    fields = {"id": "7", "from": "1.0", "to": "1.1", "by": "root", "why": "not well within 10 s"}
    failed = said_of(Note.UPGRADE_FAILED, fields, AT)
    assert failed
    assert failed.text == f"upgrade from 1.0 to 1.1 failed at {AT}: not well within 10 s"
