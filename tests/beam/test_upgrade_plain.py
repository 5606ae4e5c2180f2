"""A target system made with systools alone, upgraded while it runs: hot, and with another emulator; there and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.beam.supervised import Host
from tests.beam.upgrading import WITHIN
from tests.releases.emulators import renewed
from tests.releases.package import package
from tests.running import Relctld

pytestmark = pytest.mark.beam

HOW = ["hot", "kernel", "last", "both", "28"]
"""`hot`: the emulator stays; the others are those of `emulators`."""
VMS = {"hot": (1, 1), "kernel": (2, 3), "last": (2, 3), "both": (3, 4), "28": (2, 3)}
"""Their epochs, there and back."""


@pytest.fixture
def web(host: Host, papp_root: Path) -> Iterator[Relctld]:
    """1.0.0 as make_tar's tarball leaves it where it is unpacked: with no file that chooses a version."""
    for chooser in ("start_erl.data", "RELEASES"):
        (papp_root / "releases" / chooser).unlink()
    daemon = host.run(web=host.release(papp_root, upgrade={"soak": "0s"}))
    daemon.wait_for("web", WITHIN, state="running", health="well")
    yield daemon
    daemon.relctl("stop", "web")
    assert host.processes() == []


def asked(daemon: Relctld, module: str, function: str, args: str = "[]") -> str:
    """What the node answers."""
    given = {"release": "web", "module": module, "function": function, "args": args}
    return str(daemon.ask("rpc", given, WITHIN)["value"])


def runs(daemon: Relctld, vsn: str, epoch: int) -> None:
    """Node, status, versions and files agree on it, and nothing is left of how it came there."""
    status = daemon.wait_for("web", WITHIN, state="running", health="well", version=vsn, boot_version=vsn, upgrade=None)
    assert (status["epoch"], status["flavour"], status["restarts_total"]) == (epoch, "plain", 0)
    assert asked(daemon, "application", "get_key", "[papp, vsn]") == f'{{ok,"{vsn}"}}'
    found = daemon.ask("versions", {"release": "web"})
    marks = {v["version"]: (v["status"] == "permanent", v["running"], v["boots"]) for v in found["versions"]}
    assert marks == {v: (v == vsn,) * 3 for v in ("1.0.0", "1.1.0")}
    assert [asked(daemon, "os", "getenv", f'["{name}"]') for name in ("RELDIR", "ERL_AFLAGS")] == ["false"] * 2
    assert not (daemon.run_dir / "releases" / "web" / "candidate").exists()


@pytest.mark.parametrize("how", HOW if LONG else HOW[:2])
def test_there_and_back(how: str, web: Relctld, papp_root: Path) -> None:
    """What the counter held is lost with its VM; code_change sees what there is, each way."""
    there, back = VMS[how]
    assert asked(web, "papp_srv", "bump") == "1"
    tarball = package("papp", "1.1.0") if how == "hot" else renewed("papp", "1.1.0", how)
    web.relctl("upgrade", "web", str(tarball))
    runs(web, "1.1.0", there)
    assert asked(web, "papp_srv", "get") == ("{v2,1}" if how == "hot" else "{v2,0}")
    assert asked(web, "erlang", "system_info", "[otp_release]") == ('"28"' if how == "28" else '"25"')
    web.relctl("downgrade", "web")
    runs(web, "1.0.0", back)
    assert asked(web, "papp_srv", "get") == ("{v1,1}" if how == "hot" else "{v1,0}")
    assert (papp_root / "releases" / "start_erl.data").read_text().split()[1] == "1.0.0"
    left = [path for path in papp_root.rglob("*") if ".relctl" in path.name or "__new_emulator__" in path.name]
    assert not left
