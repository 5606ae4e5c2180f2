"""What a real VM writes when it crashes is what `crashdump` reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relctld.beam.crashdump import dump_name, list_dumps
from relctld.beam.flavour import inspect
from tests.beam.launching import clean_env, launched

pytestmark = pytest.mark.beam


@pytest.mark.parametrize(
    ("how", "slogan"),
    [("dump", "demo crash"), ("app", "Kernel pid terminated (application_controller)")],
)
def test_a_real_dump_is_summarised(how: str, slogan: str, papp_root: Path, public_path: Path, epmd_port: int) -> None:
    now = datetime.now(UTC)
    env = clean_env(public_path, epmd_port) | {"DEMO_CRASH": how, "DEMO_CRASH_AFTER_MS": "1"}
    env |= {"ERL_CRASH_DUMP": str(public_path / dump_name(3, now)), "ERL_CRASH_DUMP_SECONDS": "30"}
    release = inspect(papp_root)
    with launched(release, env, public_path) as vm:
        assert vm.process.wait(30) == 1
    (dump,) = list_dumps(public_path)
    assert dump.slogan
    assert dump.slogan.startswith(slogan)
    assert (dump.epoch, dump.erts) == (3, release.erts_version)
    assert dump.otp
    assert abs(dump.at - now) < timedelta(minutes=5)
