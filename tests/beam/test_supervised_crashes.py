"""Each way in which a VM ends by itself, and the cause that relctl gives for it (CONTRACT, *JSON*)."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from relctld.beam.flavour import inspect
from tests.beam.launching import clean_env, launched
from tests.beam.supervised import Host, crashed, get, http_ready, notes
from tests.epmds import free_port
from tests.running import Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

KILLED = "Kernel pid terminated (application_controller)"

ENDS: dict[str, tuple[str, str, int | None, str | None, str]] = {
    # release: how (/crash/HOW, or a signal) · cause · code · signal · detail begins with
    "halt0": ("halt:0", "halted", 0, None, ""),
    "halt42": ("halt:42", "halted", 42, None, ""),
    "app": ("app", "crash-dump", 1, None, KILLED),
    "dump": ("dump", "crash-dump", 1, None, "demo crash"),
    "usr1": ("SIGUSR1", "crash-dump", 1, None, "Received SIGUSR1"),
    "abort": ("abort", "killed", None, "SIGABRT", ""),
    "kill": ("SIGKILL", "killed", None, "SIGKILL", ""),
    "term": ("SIGTERM", "halted", 0, None, ""),  # somebody's kill, or `bin/NAME stop`: nobody asked us
}


def is_noted(daemon: Relctld, name: str, note: str) -> bool:
    """Whether the history, which is written a little later, has this event of the release."""
    return note in notes(daemon, name)


@pytest.mark.parametrize("names", [list(ENDS)[:4], list(ENDS)[4:]], ids=" ".join)
def test_the_cause_of_each_end(names: list[str], rapp_root: Path, host: Host) -> None:
    ports = {name: free_port() for name in names}
    releases = {
        name: host.release(
            rapp_root,
            {"DEMO_NODE": f"{name}@127.0.0.1", "DEMO_HTTP_PORT": str(port)},
            restart="temporary",
            limits={"core": 0},
            **http_ready(port),
        )
        for name, port in ports.items()
    }
    daemon = host.run(**releases)
    daemon.relctl("start", *names)
    for name in names:
        how = ENDS[name][0]
        if how.startswith("SIG"):
            os.kill(daemon.status(name)["pid"], signal.Signals[how])
        else:
            get(ports[name], f"/crash/{how}")
    for name in names:
        how, cause, code, number, detail = ENDS[name]
        last = crashed(daemon, name, cause)
        assert (last["code"], last["signal"]) == (code, number), how
        assert last["detail"].startswith(detail), how
        daemon.wait_for(name, state="stopped", want="up")
        said = "crash-dump" if cause == "crash-dump" else "stopped"
        wait_until(partial(is_noted, daemon, name, said), what=f"{said} in the history of {name}")
    dumped = {name for name in names if "crash-dump" in notes(daemon, name)}
    assert dumped == {name for name in names if ENDS[name][1] == "crash-dump"}
    assert daemon.relctl("status", check=False).returncode == 3
    assert host.names() == []


@pytest.mark.parametrize(
    ("root", "last_words"),
    [("rapp_root", "application_start_failure,rapp"), ("mapp_root", "application_start_failure,mapp")],
)
def test_a_boot_that_fails_is_told_with_its_last_lines(
    root: str, last_words: str, host: Host, request: pytest.FixtureRequest
) -> None:
    env = {"DEMO_BOOT_FAIL": "no_database", "DEMO_HTTP_PORT": str(port := free_port())}
    table = host.release(request.getfixturevalue(root), env, enabled=False, intensity=0, **http_ready(port))
    daemon = host.run(web=table)
    done = daemon.relctl("--json", "start", "web", check=False)
    assert done.returncode == 1
    reply = json.loads(done.stdout)
    assert (reply["ok"], reply["error"]["kind"]) == (False, "failed")
    assert reply["error"]["message"].startswith("boot failed, exit code 1")
    said = "\n".join(reply["log"])
    assert last_words in said
    assert "no_database" in said
    last = daemon.wait_for("web", state="failed")["last_exit"]
    assert (last["cause"], last["code"]) == ("boot-failed", 1)
    shown = daemon.relctl("start", "web", check=False)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "relctl: cannot start web: boot failed, exit code 1" in shown.stderr
    assert "no_database" in shown.stderr


def test_two_releases_with_one_node_name(rapp_root: Path, host: Host) -> None:
    ports = {"one": free_port(), "two": free_port()}
    releases = {
        name: host.release(rapp_root, {"DEMO_HTTP_PORT": str(port)}, enabled=False, intensity=0, **http_ready(port))
        for name, port in ports.items()
    }
    daemon = host.run(**releases)
    daemon.relctl("start", "one")
    before = daemon.status("one")
    done = daemon.relctl("start", "two", check=False)
    assert done.returncode == 1
    assert "boot failed" in done.stderr
    assert "rapp@127.0.0.1 seems to be in use" in done.stderr
    assert daemon.wait_for("two", state="failed")["last_exit"]["cause"] == "boot-failed"
    after = daemon.status("one")
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    assert get(ports["one"], "/health")[0] == 200


def test_a_vm_that_was_started_by_hand_is_let_alone_and_no_second_one_runs_beside_it(
    papp_root: Path, host: Host
) -> None:
    """From the same root: it holds the node's name, so the second does not boot; and no sweep knows it."""
    ports = {"by hand": free_port(), "web": free_port()}
    env = clean_env(host.folder, host.epmd_port) | {"DEMO_HTTP_PORT": str(ports["by hand"])}
    table = host.release(
        papp_root, {"DEMO_HTTP_PORT": str(ports["web"])}, enabled=False, intensity=0, **http_ready(ports["web"])
    )
    with launched(inspect(papp_root), env, host.folder) as by_hand:
        by_hand.wait_for("listening on")
        daemon = host.run(web=table)
        done = daemon.relctl("start", "web", check=False)
        assert done.returncode == 1
        assert "papp@127.0.0.1 seems to be in use" in done.stderr
        assert daemon.relctl("stop", "web").returncode == 0
        assert get(ports["by hand"], "/health")[0] == 200
        assert by_hand.terminate() == 0
    daemon.relctl("start", "web")
    assert get(ports["web"], "/health")[0] == 200


def test_a_boot_that_hangs_is_ended_and_named(papp_root: Path, host: Host) -> None:
    env = {"DEMO_BOOT_MS": "600000", "DEMO_HTTP_PORT": str(port := free_port())}
    table = host.release(papp_root, env, enabled=False, intensity=0, start_timeout="2s", **http_ready(port))
    daemon = host.run(web=table)
    done = daemon.relctl("start", "web", check=False)
    assert done.returncode == 1
    assert "not ready within 2 s" in done.stderr
    assert crashed(daemon, "web", "boot-failed")["detail"].startswith("not ready within 2 s")
    assert host.names() == []
