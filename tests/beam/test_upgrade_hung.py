"""The disk of the journals hangs in an upgrade: who asked is answered, a VM that dies is followed by another at once,
and relctld can be stopped."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asked import LONG
from tests.beam.upgrading import WITHIN, Death, Stand, standing
from tests.faults.blocked import disk, frozen
from tests.running import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

HOOK = """\
#!/bin/sh
# Tells that it was asked, and waits for an exit code.
touch "$0.asked"
until [ -s "$0.code" ]; do sleep 0.05; done
exit "$(cat "$0.code")"
"""


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    script = tmp_path / "hook"
    script.write_text(HOOK)
    script.chmod(0o755)
    return script


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Path]:
    """A disk that can be frozen."""
    need_root()
    with disk(tmp_path / "journals") as at:
        yield at


@pytest.fixture
def hooked(journals: Path, hook: Path) -> Iterator[Stand]:
    """One whose journals lie there."""
    with standing("rapp", hooks={"pre_upgrade": [str(hook)]}) as stand:
        stand.ledger.parent.symlink_to(journals)
        yield stand


def state_of(task: Path) -> str:
    """Of a thread: a letter of proc(5)."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def hangs(stand: Stand) -> bool:
    """Whether a thread of relctld waits for a disk, beyond signals."""
    states = []
    for task in Path(f"/proc/{stand.daemon.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            states.append(state_of(task))
    return "D" in states


def test_who_asked_is_answered_while_the_disk_of_the_journals_hangs(hooked: Stand, journals: Path, hook: Path) -> None:
    """And a relctld that comes up then is not kept by what an earlier one left there."""
    code = hook.with_name("hook.code")
    with hooked.begin("1.1.0") as asked:
        wait_until(hook.with_name("hook.asked").exists, WITHIN, what="the hook")
        hooked.upgrade("1.1.0").refused("an upgrade by root is being prepared", "ask again")
        with frozen(journals):
            code.write_text("3")
            _, error = asked.communicate(timeout=WITHIN)
            assert (asked.returncode, "pre_upgrade" in error) == (1, True), error
            assert hangs(hooked)
    hooked.untouched()
    code.write_text("0")
    hooked.upgrade("1.1.0").done()
    hooked.daemon.kill()
    left = journals / "gone" / "left.tar.gz"
    left.parent.mkdir()
    left.touch()
    with frozen(journals):
        hooked.daemon.start()
        assert hooked.daemon.status("web")["version"] == "1.1.0"
        wait_until(lambda: hangs(hooked), WITHIN, what="the leftovers to be removed")
    hooked.is_at("1.1.0")
    wait_until(lambda: not left.exists(), WITHIN, what="their end")


@pytest.mark.parametrize("phase", ["begun", "committing"])
def test_a_stop_does_not_wait_for_a_journal(hooked: Stand, journals: Path, hook: Path, phase: str) -> None:
    code = hook.with_name("hook.code")
    if phase == "committing":
        code.write_text("0")
    with hooked.begin("1.1.0", "--soak", "2s") as asked:
        if phase == "committing":
            hooked.phase("soaking")
        else:
            wait_until(hook.with_name("hook.asked").exists, WITHIN, what="the hook")
        process = hooked.daemon.process
        assert process is not None
        with frozen(journals):
            code.write_text("0")
            wait_until(lambda: hangs(hooked), WITHIN, what="the journal to hang")
            if phase == "committing":
                wait_until(
                    lambda: "does not answer" in str(hooked.daemon.status("web")["upgrade"]), WITHIN, what="a word"
                )
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: hooked.host.processes() == [], WITHIN, what="the end of the node")
            _, error = asked.communicate(timeout=WITHIN)
            assert asked.returncode != 0, error
        assert process.wait(WITHIN) == 0
    hooked.daemon.process = None
    hooked.daemon.start()
    hooked.is_at("1.0.0")
    hooked.untouched()


@pytest.fixture
def plain(journals: Path) -> Iterator[Stand]:
    """As `hooked`, without a hook."""
    with standing("rapp") as stand:
        stand.ledger.parent.symlink_to(journals)
        yield stand


@contextlib.contextmanager
def hanging(stand: Stand, journals: Path, fifo: Path, verb: str, phase: str) -> Iterator[None]:
    """An upgrade is under way, and that it enters this phase waits for the disk, right before it can be read there."""
    os.mkfifo(fifo)
    stand.reborn(Death("before", "journal.json", phase, hold=str(fifo)))
    wait_until(stand.daemon.answers, WITHIN, what="relctld to answer")
    stand.well()
    stand.upgrade("1.1.0", "--no-wait", verb=verb).done()
    held: list[int] = []

    def reached() -> bool:
        with contextlib.suppress(OSError):  # nobody reads there yet
            held.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(held)

    wait_until(reached, WITHIN, what=lambda: f"{phase}; {stand.daemon.said()[-3000:]}")
    fifo.unlink()
    with frozen(journals):
        os.close(held[0])
        wait_until(lambda: hangs(stand), WITHIN, what="the journal to hang")
        yield


@pytest.mark.parametrize("dies", [False, True] if LONG else [True], ids=lambda dies: "killed" if dies else "alive")
def test_a_vm_that_dies_while_a_journal_hangs_is_followed_at_once(
    plain: Stand, journals: Path, tmp_path: Path, *, dies: bool
) -> None:
    """By one of the version that was decided; and what the disk says in the end is not what nobody went by."""
    cases = {("upgrade", "committing"): "1.0.0", ("deploy", "committing"): "1.0.0", ("deploy", "switching"): "1.1.0"}
    for (verb, phase), runs in cases.items():
        with hanging(plain, journals, tmp_path / "hold", verb, phase):
            epoch = plain.daemon.status("web")["epoch"]
            plain.kill_vm()
            running = plain.well(epoch=epoch + 1)
            assert running["version"] == "1.0.0"
            assert hangs(plain)
            if dies:
                assert plain.daemon.process is not None
                plain.daemon.process.kill()
        if dies:
            plain.daemon.kill()
            assert plain.journal["phase"] == phase
            plain.reborn()
        plain.is_at(runs)
        ended = plain.last()
        assert (ended["ok"], ended["runs"]) == (runs == "1.1.0", runs)
        assert not (plain.host.daemon.run_dir / "releases" / "web" / "upgrade.json").exists()
        if not ended["ok"]:
            assert "during the soak" in ended["why"]
            plain.untouched()


AT = ("after-sweep", "before-gate", "after-place", "before-record", "after-record", "before-open",
      "after-open", "after-opened", "after-state")  # fmt: skip


def test_whenever_relctld_dies_in_that_launch_the_next_one_goes_by_what_it_went_by(
    plain: Stand, journals: Path, tmp_path: Path
) -> None:
    """As soon as a VM was to be launched by the old word. Before that, what the disk says is as good."""
    armed = tmp_path / "armed"
    for point in AT:
        plain.daemon.environ["RELCTL_FAILPOINT"] = f"{point}:1:{armed}"
        with hanging(plain, journals, tmp_path / "hold", "upgrade", "committing"):
            process, epoch = plain.daemon.process, plain.daemon.status("web")["epoch"]
            assert process is not None
            armed.touch()
            plain.kill_vm()
            leader = Path(f"/proc/{process.pid}")
            wait_until(lambda leader=leader: state_of(leader) == "Z", WITHIN, what=point)
            said = (plain.daemon.run_dir / "releases" / "web" / "upgrade.json").exists()
        plain.daemon.kill()
        armed.unlink()
        del plain.daemon.environ["RELCTL_FAILPOINT"]
        assert plain.journal["phase"] == "committing"
        plain.reborn()
        status = plain.is_at("1.0.0" if said else "1.1.0")
        assert status["epoch"] in (epoch + 1, epoch + 2), point
        assert plain.last()["ok"] is not said
        if not said:
            plain.restore()
        plain.untouched()
