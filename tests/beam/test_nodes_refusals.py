"""Nodes that do not let relctld in, or that are not what it started: told in words, and nobody is restarted for it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relctld.beam.dist.channel import Target
from relctld.beam.dist.handshake import Cookie
from relctld.beam.dist.link import Link, connect
from relctld.host.listening import listeners
from tests import epmds
from tests.beam.nodes import COOKIE, node
from tests.beam.nodes_asked import OWN, QUICK, evaluate_failed, healths, same_vm, told, value
from tests.beam.supervised import Host, crashed, notes
from tests.fakes import relay
from tests.running import Relctld, plain_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

REJECTED = "Invalid challenge reply"
"""What a node writes, as an error, about each knock with a wrong cookie."""


def knocks(daemon: Relctld) -> int:
    """How often the node complained of us."""
    return daemon.relctl("logs", "web", "-n", "1000").stdout.count(REJECTED)


# -- cookies ---------------------------------------------------------------------------------------


def test_a_cookie_that_changed_in_the_node(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = daemon.wait_for("web", state="running", health="well")
    value(daemon, "web", "erlang:set_cookie(oatmeal), spawn(fun() -> timer:sleep(50), "
                         "[erlang:disconnect_node(N) || N <- nodes(hidden)] end).")  # fmt: skip
    refused = told(daemon, "web", "cannot link to rapp@127.0.0.1: it does not accept our cookie")
    assert (refused["health"], same_vm(before, refused)) == ("unreachable", True)
    assert "does not accept our cookie" in evaluate_failed(daemon, "web", "1.")
    wait_until(lambda: knocks(daemon) == 1, what="the node's complaint")
    told_by_then = daemon.status("web")["uptime_s"]
    wait_until(lambda: daemon.status("web")["uptime_s"] > told_by_then + 3, what="ten more probes")
    assert knocks(daemon) == 1
    assert healths(daemon, "web") == ["well", "unreachable"]
    assert same_vm(before, daemon.status("web"))


def test_a_wrong_cookie_file_that_is_mended(rapp_root: Path, host: Host) -> None:
    file = host.folder / "cookie"
    file.write_text("oatmeal\n")
    daemon = host.run(web=host.release(rapp_root, node={"cookie_file": file}, health=QUICK, start_timeout="5s"))
    refused = daemon.wait_for("web", state="running", health="unreachable")
    assert refused["health_detail"] == "cannot link to rapp@127.0.0.1: it does not accept our cookie"
    assert daemon.relctl("status", "web", check=False).returncode == 3
    wait_until(lambda: knocks(daemon) == 1, what="the node's complaint")
    file.unlink()
    told(daemon, "web", f"{file}: no such file or directory")
    file.write_text("relctl-demo\n")
    mended = daemon.wait_for("web", timeout=3, state="running", health="well")
    assert same_vm(refused, mended)
    assert knocks(daemon) == 1
    assert healths(daemon, "web")[-1] == "well"
    assert "oatmeal" not in daemon.said()


def test_a_release_that_must_be_ready_by_its_node_is_not_without_a_cookie(rapp_root: Path, host: Host) -> None:
    file = host.folder / "cookie"
    file.write_text("oatmeal\n")
    keys: dict[str, Any] = {"ready": "node", "start_timeout": "8s", "stop_timeout": "0.5s", "intensity": 0}
    daemon = host.run(web=host.release(rapp_root, health=QUICK, node={"cookie_file": file}, **keys))
    detail = crashed(daemon, "web", "boot-failed")["detail"]
    assert detail.startswith("not ready within 8 s (not ready: cannot link to rapp@127.0.0.1: it does not accept")


def test_a_node_that_allows_others_only(rapp_root: Path, host: Host) -> None:
    env = {"ERL_ZFLAGS": "-eval \"net_kernel:allow(['friend@127.0.0.1'])\""}
    daemon = host.run(web=host.release(rapp_root, env, health=QUICK))
    told(daemon, "web", f"it does not allow {OWN} to connect")
    assert daemon.wait_for("web", state="running", health="unreachable")["epoch"] == 1


# -- names -----------------------------------------------------------------------------------------


@contextmanager
def connected_as_relctld(pid: int, name: str) -> Iterator[None]:
    """Another program took our name in a node, by force."""
    (listener,) = listeners(pid)
    target = Target(name, "127.0.0.1", listener.port, Cookie("relctl-demo"), OWN, evict=True)
    with asyncio.Runner() as runner:
        link = runner.run(connect(target, 5))
        yield
        runner.run(asyncio.wait_for(_closed(link), 5))


async def _closed(link: Link) -> None:
    link.close()
    await link.lost


def test_another_program_under_our_name(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = daemon.wait_for("web", state="running", health="well")
    with connected_as_relctld(before["pid"], before["node"]):
        taken = told(daemon, "web", f"a node {OWN} is connected to it already")
        assert (taken["health"], same_vm(before, taken)) == ("unreachable", True)
        told_by_then = taken["uptime_s"]
        wait_until(lambda: daemon.status("web")["uptime_s"] > told_by_then + 3, what="more probes than are forgiven")
        assert same_vm(before, daemon.status("web"))
    assert same_vm(before, daemon.wait_for("web", health="well"))
    assert set(healths(daemon, "web")) == {"well", "unreachable"}


# -- not what we started ---------------------------------------------------------------------------


def test_a_node_that_is_not_the_process_we_started(host: Host) -> None:
    with node("25") as other:
        command = relay.command(other.port, other.name, COOKIE)
        daemon = host.run(web=host.release(plain_root(host.folder / "root"), command=command, health=QUICK))
        why = f"{other.name} is pid {other.process.pid}, not the process that we started"
        wrong = told(daemon, "web", why)
        status = daemon.wait_for("web", state="running", health="unreachable")
        assert status["health_detail"] == f"{why} (pid {wrong['pid']})"
        assert why in evaluate_failed(daemon, "web", "halt().")
        assert other.process.poll() is None
        assert "vm-restarted" not in notes(daemon, "web")


def test_an_open_door_that_is_not_the_nodes(papp_root: Path, host: Host) -> None:
    """The node's port is the one that epmd names; without epmd, each is tried."""
    daemon = host.run(web=host.release(papp_root, {"DEMO_HTTP_PORT": str(epmds.free_port())}, health=QUICK))
    before = daemon.wait_for("web", state="running", health="well")
    daemon.kill()
    for epmd in epmds.started_for(host.epmd_port):
        epmd.kill()
    daemon.start()
    assert same_vm(before, daemon.wait_for("web", state="running", health="well"))
