from __future__ import annotations

import pytest

from relctld.beam.heart import armed, disarmed, overruled

ENV = {"HOME": "/root", "HEART_COMMAND": "/opt/web/bin/web daemon"}


def test_what_is_not_the_vm_of_the_release_gets_no_command() -> None:
    assert disarmed(ENV) == {"HOME": "/root"}
    assert overruled(ENV) == {"HOME": "/root", "ERL_ZFLAGS": "-env HEART_COMMAND true"}


def test_the_flags_of_the_release_stay() -> None:
    assert overruled({"ERL_ZFLAGS": "-heart"}) == {"ERL_ZFLAGS": "-heart -env HEART_COMMAND true"}


@pytest.mark.parametrize(
    ("flags", "env", "wanted"),
    [
        (["-heart", "-name", "web"], ENV, True),
        (["-name", "web", "-heart"], {"HEART_COMMAND": ""}, False),
        (["-heart"], {}, False),
        (["-name", "web"], ENV, None),
        (["-name", "web", "-extra", "-heart"], ENV, None),
        ([], {}, None),
    ],
)
def test_a_heart_is_known_by_the_arguments(flags: list[str], env: dict[str, str], wanted: bool | None) -> None:
    assert armed(flags, env) is wanted
