"""Hot upgrades whose relup restarts the emulator, on real nodes: there and back, failing, and cut short."""

from __future__ import annotations

import pytest

from tests.beam.upgrading import Stand
from tests.releases.emulators import renewed

pytestmark = pytest.mark.beam
RAPP = pytest.mark.parametrize("shared_stand", ["rapp"], indirect=True)


@RAPP
@pytest.mark.parametrize("how", ["kernel", "last", "both"])
def test_there_and_back(stand: Stand, how: str) -> None:
    before = stand.daemon.status("web")
    done = stand.upgrade(renewed(stand.name, "1.1.0", how), "--json")
    done.done()
    after = stand.is_at("1.1.0")
    assert after["epoch"] == before["epoch"] + (2 if how == "both" else 1)
    assert after["restarts_total"] == before["restarts_total"]
    stand.after_deaths("1.1.0")
    stand.downgrade().done()
    stand.is_at("1.0.0")
    stand.after_deaths("1.0.0")
