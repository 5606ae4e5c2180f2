"""Every way a node can be set up to be reached, and every way it can refuse us, on the oldest and the newest OTP."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from relctld.beam.dist import epmd
from relctld.beam.dist.channel import Target
from relctld.beam.dist.link import Link, LinkLost, connect
from relctld.beam.dist.refusals import LinkRefused, Refusal
from relctld.beam.term.terms import Atom
from relctld.host.listening import Listener, listeners
from tests import epmds, otps
from tests.beam.nodes import OWN, Node, node

pytestmark = [pytest.mark.beam, pytest.mark.parametrize("otp", list(otps.OTPS))]

HOST = os.uname().nodename.partition(".")[0]
T = TypeVar("T")


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """A scenario, within the time that any of them should take."""
    return asyncio.run(asyncio.wait_for(scenario, 60))


async def ask_name(target: Target) -> Any:
    """Link, ask the node its name, and close."""
    link = await connect(target, 5)
    try:
        return await link.call("erlang", "node", [], timeout=5)
    finally:
        link.close()
        await link.lost


def refused(target: Target, timeout: float = 5) -> LinkRefused:
    """How connecting fails."""
    with pytest.raises(LinkRefused) as caught:
        run(connect(target, timeout))
    return caught.value


@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
def test_a_node_in_epmd(otp: str, host: str, epmd_port: int) -> None:
    with node(otp, host=host, epmd_port=epmd_port) as vm:
        port = run(epmd.port_of(vm.short_name, "127.0.0.1", epmd_port, 5))
        assert run(epmd.names("127.0.0.1", epmd_port, 5)) == {vm.short_name: port}
        assert run(ask_name(vm.target(port))) == Atom(vm.name)
        with pytest.raises(LinkRefused) as caught:
            run(epmd.port_of("nobody", "127.0.0.1", epmd_port, 5))
        assert caught.value.kind is Refusal.NOT_REGISTERED


def test_a_node_without_epmd_found_by_its_process(otp: str) -> None:
    with node(otp) as vm:
        assert listeners(vm.process.pid) == [Listener(socket.AF_INET, "127.0.0.1", vm.port)]
        assert run(ask_name(vm.target())) == Atom(vm.name)


def test_a_node_on_ipv6(otp: str) -> None:
    use = ("-proto_dist", "inet6_tcp", "-kernel", "inet_dist_use_interface", "{0,0,0,0,0,0,0,1}")
    with node(otp, *use, host="::1") as vm:
        assert listeners(vm.process.pid) == [Listener(socket.AF_INET6, "::1", vm.port)]
        assert run(ask_name(vm.target(host="::1"))) == Atom(vm.name)


def test_a_cookie_of_our_own(otp: str) -> None:
    with node(otp, "-setcookie", "cluster", "-setcookie", OWN, "ours") as vm:
        assert run(ask_name(vm.target(cookie="ours"))) == Atom(vm.name)
        assert refused(vm.target(cookie="cluster")).kind is Refusal.WRONG_COOKIE
        assert run(ask_name(vm.target(cookie="cluster", own="other@127.0.0.1"))) == Atom(vm.name)


def test_we_are_a_hidden_node(otp: str) -> None:
    async def scenario(vm: Node) -> None:
        link = await connect(vm.target(), 5)
        assert await link.call("erlang", "nodes", [], timeout=5) == []
        assert await link.call("erlang", "nodes", [Atom("hidden")], timeout=5) == [Atom(OWN)]
        assert link.creation == await link.call("erts_internal", "get_creation", [], timeout=5)
        link.close()
        assert await link.lost == "closed by us"
        with pytest.raises(LinkLost, match="closed by us"):
            await link.call("erlang", "node", [], timeout=5)

    with node(otp) as vm:
        run(scenario(vm))


def test_each_refusal(otp: str) -> None:
    with node(otp) as vm, node(otp) as other:
        wrong = refused(vm.target(cookie="wrong"))
        assert (wrong.kind, str(wrong)) == (
            Refusal.WRONG_COOKIE, f"cannot link to {vm.name}: it does not accept our cookie"
        )  # fmt: skip
        assert refused(vm.target(other.port)).kind is Refusal.WRONG_NODE
        assert other.name in str(refused(vm.target(other.port)))
        assert refused(vm.target(epmds.free_port())).kind is Refusal.CONNECTION_REFUSED
        assert refused(vm.target(own="nohost")).kind is Refusal.CLOSED

        async def allow() -> None:
            link = await connect(vm.target(), 5)
            await link.call("net_kernel", "allow", [[Atom("friend@127.0.0.1")]], timeout=5)
            link.close()
            await link.lost

        run(allow())
        assert refused(vm.target()).kind is Refusal.NOT_ALLOWED
        assert run(ask_name(vm.target(own="friend@127.0.0.1"))) == Atom(vm.name)


def test_another_under_our_name(otp: str) -> None:
    async def scenario(vm: Node) -> None:
        first = await connect(vm.target(), 5)
        with pytest.raises(LinkRefused, match=f"a node {OWN} is connected to it already") as caught:
            await connect(vm.target(evict=False), 5)
        assert caught.value.kind is Refusal.NAME_CONFLICT
        assert await first.call("erlang", "node", [], timeout=5) == Atom(vm.name)

        with pytest.raises(LinkRefused):
            await connect(vm.target(cookie="wrong"), 5)
        assert await first.call("erlang", "node", [], timeout=5) == Atom(vm.name)

        second = await connect(vm.target(), 5)
        assert await first.lost == "the node closed the connection"
        assert await second.call("erlang", "nodes", [Atom("hidden")], timeout=5) == [Atom(OWN)]
        second.close()

    with node(otp) as vm:
        run(scenario(vm))


def test_a_node_that_hangs(otp: str) -> None:
    with node(otp) as vm:
        vm.stop()
        hung = refused(vm.target(), timeout=0.3)
        assert (hung.kind, str(hung)) == (
            Refusal.NO_ANSWER,
            f"cannot link to {vm.name}: it accepts connections but does not answer (waited 0.3 s)",
        )


@pytest.mark.slow
def test_a_thousand_links_under_one_name_leave_no_atoms(otp: str) -> None:
    async def atoms(link: Link) -> Any:
        return await link.call("erlang", "system_info", [Atom("atom_count")], timeout=5)

    async def scenario(vm: Node) -> None:
        counts = []
        for _ in range(1000):
            link = await connect(vm.target(), 5)
            counts.append(await atoms(link))
            link.close()
            await link.lost
        assert counts[1:] == [counts[1]] * 999

    with node(otp) as vm:
        run(scenario(vm))
