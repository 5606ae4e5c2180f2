"""Nodes with a real heart: it beats beside relctld, and starts nothing that stays.

Its command is the worst there is: it starts the release as a daemon. A file of flags names it, for shells too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attached import Attached
from tests.beam.upgrading import WITHIN, Stand, standing
from tests.releases import build
from tests.releases.emulators import renewed
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

ONE_VM = ["beam.smp", "erl_child_setup", "heart"]

COMMAND = """\
#!/bin/sh
echo "$$" >> {ran}
exec "$RELEASE_ROOT/bin/mapp" daemon
"""


@dataclass
class Heart:
    """A stand whose VM has a heart, and the file that its command writes."""

    stand: Stand
    ran: Path

    def alone(self) -> None:
        """Wait until nothing is left but the VM that relctld knows, and its heart."""
        wait_until(lambda: self.stand.host.names() == ONE_VM, WITHIN, what=lambda: str(self.stand.host.names()))
        assert self.stand.well()["pid"] == self.stand.vm_pid()


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heart]:
    build.build("mapp")
    folder = tmp_path_factory.mktemp("heart")
    command, flags, ran = (folder / name for name in ("command", "vm.args", "ran"))
    command.write_text(COMMAND.format(ran=ran))
    command.chmod(0o755)
    flags.write_text(f'-heart\n-env HEART_COMMAND "{command}"\n')
    env = {"RELEASE_VM_ARGS": str(flags), "RELEASE_REMOTE_VM_ARGS": str(flags), "HEART_BEAT_TIMEOUT": "11"}
    with standing("mapp", env=env) as stand:
        yield Heart(stand, ran)


def test_only_the_vm_of_the_release_has_one_that_is_armed(heart: Heart) -> None:
    """A VM that evaluates a configuration and fails, and a shell whose terminal is gone, end as a node that crashes."""
    stand = heart.stand
    stand.upgrade("1.1.0-bad-config").failed("its configuration cannot be evaluated")
    heart.alone()
    with Attached(stand.daemon, "web") as shell:
        shell.shows(r"\)1> ", WITHIN)
        assert stand.host.names().count("heart") == 2
        shell.process.send_signal(signal.SIGHUP)
        shell.ends()
    heart.alone()
    assert not heart.ran.exists()
    stand.is_at("1.0.0")
    stand.untouched()


def test_doctor_tells_of_it(heart: Heart) -> None:
    found = {each["finding"]: each for each in heart.stand.daemon.ask("doctor", {"names": ["web"]})["findings"]}
    assert (found["heart"]["severity"], found["heart"]["fixable"]) == ("warning", False)
    assert "with a command" in found["heart"]["detail"]


def test_what_it_started_while_relctld_was_dead_is_ended(heart: Heart) -> None:
    stand, daemon = heart.stand, heart.stand.daemon
    epoch = daemon.status("web")["epoch"]
    daemon.kill()
    stand.kill_vm()
    wait_until(lambda: {"run_erl", *ONE_VM} <= set(stand.host.names()), WITHIN, what="a VM that heart has started")
    daemon.start()
    stand.well(epoch=epoch + 1)
    heart.alone()


def test_a_node_that_hangs_is_killed_by_it_and_started_by_relctld(heart: Heart) -> None:
    before = heart.stand.well()
    os.kill(before["pid"], signal.SIGSTOP)
    after = heart.stand.well(epoch=before["epoch"] + 1)
    assert (after["last_exit"]["cause"], after["last_exit"]["signal"]) == ("killed", "SIGKILL")
    heart.alone()


def test_upgrades_and_restarts_from_inside(heart: Heart) -> None:
    stand = heart.stand
    before = stand.well()
    for how in ("restart", "reboot", "stop"):
        stand.rpc("init", how)
        stand.daemon.wait_for("web", WITHIN, restarts_total=before["restarts_total"] + 1)
        before = stand.well()
        heart.alone()
    stand.upgrade(renewed("mapp", "1.1.0", "kernel")).done()
    heart.alone()
    stand.is_at("1.1.0")
    stand.downgrade().done()
    heart.alone()
    stand.is_at("1.0.0")
