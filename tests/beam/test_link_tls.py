"""Nodes that speak TLS among themselves: we do so with the same files. OTP 25 only: the other has no ssl here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.beam.dist import tls
from relctld.beam.dist.arguments import living
from relctld.beam.dist.channel import Target
from relctld.beam.dist.link import connect
from relctld.beam.dist.refusals import LinkRefused, Refusal
from relctld.beam.term.terms import Atom
from tests import certificates
from tests.beam.nodes import Node, node

pytestmark = pytest.mark.beam

OPTIONS = """
[{server, [{certfile, "cert.pem"}, {keyfile, "key.pem"}, {cacertfile, "ca.pem"}, {verify, verify_peer},
           {fail_if_no_peer_cert, true}]},
 {client, [{certfile, "cert.pem"}, {keyfile, "key.pem"}, {cacertfile, "ca.pem"}, {verify, verify_peer}]}].
"""


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = certificates.make(tmp_path_factory.mktemp("certs"))
    text = OPTIONS
    for name in ("cert", "key", "ca"):
        text = text.replace(f'"{name}.pem"', f'"{folder}/{name}.pem"')
    (folder / "ssl.conf").write_text(text)
    return folder


@pytest.fixture(scope="module")
def vm(certs: Path) -> Iterator[Node]:
    with node("25", "-proto_dist", "inet_tls", "-ssl_dist_optfile", f"{certs}/ssl.conf") as found:
        yield found


def refused(target: Target, timeout: float = 5) -> LinkRefused:
    with pytest.raises(LinkRefused) as caught:
        asyncio.run(connect(target, timeout))
    return caught.value


def test_a_call_over_tls(vm: Node) -> None:
    flags, _ = living(vm.process.pid)
    context = tls.context(flags, Path("/"))
    assert context

    async def scenario() -> None:
        link = await connect(vm.target(tls=context), 10)
        assert await link.call("erlang", "node", [], timeout=5) == Atom(vm.name)
        large = [link.call("binary", "copy", [b"x", 1 << 20], timeout=10) for _ in range(8)]
        assert [len(answer) for answer in await asyncio.gather(*large) if isinstance(answer, bytes)] == [1 << 20] * 8
        link.close()
        assert await link.lost == "closed by us"

    asyncio.run(scenario())
    assert refused(vm.target(tls=context, cookie="wrong")).kind is Refusal.WRONG_COOKIE


def test_a_node_that_wants_tls_gets_none(vm: Node) -> None:
    plain = refused(vm.target())
    assert (plain.kind, str(plain)) == (Refusal.TLS, f"cannot link to {vm.name}: it wants TLS")


def test_a_node_that_wants_no_tls_gets_it(certs: Path) -> None:
    with node("25") as plain:
        context = tls.context(["-proto_dist", "inet_tls"], certs)
        hung = refused(plain.target(tls=context), timeout=0.5)
        assert (hung.kind, str(hung)) == (
            Refusal.NO_ANSWER,
            f"cannot link to {plain.name} at 127.0.0.1:{plain.port}: no answer, or none in TLS, within 0.5 s",
        )


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("", "alert handshake failure"),  # it demands a certificate of ours
        ("client_certfile cert.pem client_keyfile key.pem client_cacertfile OTHER", "self-signed certificate"),
    ],
)
def test_certificates_that_do_not_match(vm: Node, certs: Path, tmp_path: Path, client: str, text: str) -> None:
    other = certificates.make(tmp_path / "other", name="other")
    words = client.replace("OTHER", f"{other}/ca.pem").split()
    context = tls.context(["-proto_dist", "inet_tls", "-ssl_dist_opt", *words], certs)
    found = refused(vm.target(tls=context), 10)
    assert found.kind is Refusal.TLS
    assert str(found).startswith(f"cannot link to {vm.name} at 127.0.0.1:{vm.port}: TLS: ")
    assert text in str(found)


def test_a_certificate_of_another_host(tmp_path: Path) -> None:
    folder = certificates.make(tmp_path, san="DNS:elsewhere.example")
    server = ("server_certfile", f"{folder}/cert.pem", "server_keyfile", f"{folder}/key.pem")
    client = ("client_cacertfile", f"{folder}/ca.pem")
    with node("25", "-proto_dist", "inet_tls", "-ssl_dist_opt", *server, *client) as vm:
        context = tls.context(living(vm.process.pid)[0], folder)
        found = refused(vm.target(tls=context), 10)
    assert found.kind is Refusal.TLS
    assert "certificate is not valid for '127.0.0.1'" in str(found)
