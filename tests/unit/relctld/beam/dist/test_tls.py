"""Which TLS a node's flags ask for, and what is said where that cannot be done."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from relctld.beam.dist import tls
from relctld.beam.dist.refusals import LinkRefused, Refusal
from tests import certificates

TLS = ["-proto_dist", "inet_tls"]


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("certs"))


def optfile(folder: Path, client: str) -> list[str]:
    (folder / "ssl.conf").write_text(f'%% nodes\n[{{server, [{{certfile, "no"}}]}}, {{client, [{client}]}}].\n')
    return [*TLS, "-ssl_dist_optfile", str(folder / "ssl.conf")]


def refusal(flags: list[str], cwd: Path) -> str:
    with pytest.raises(LinkRefused) as caught:
        tls.context(flags, cwd)
    assert caught.value.kind is Refusal.TLS
    return str(caught.value)


def test_no_tls() -> None:
    assert tls.context([], Path("/")) is None
    assert tls.context(["-proto_dist", "inet6_tcp", "-ssl_dist_optfile", "/nowhere"], Path("/")) is None


def test_the_options_of_a_file(certs: Path, tmp_path: Path) -> None:
    client = (
        f'{{certfile, "{certs}/cert.pem"}}, {{keyfile, "key.pem"}}, {{cacertfile, "ca.pem"}}, {{verify, verify_peer}}'
    )
    found = tls.context(optfile(tmp_path, client + ", {secure_renegotiate, true}, {versions, ['tlsv1.2']}"), certs)
    assert found
    assert (found.verify_mode, found.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(found.get_ca_certs()) == 1


def test_the_options_of_the_command_line_go_first(certs: Path, tmp_path: Path) -> None:
    flags = optfile(tmp_path, '{verify, verify_peer}, {certfile, "nowhere"}')
    flags += ["-ssl_dist_opt", "server_verify", "verify_peer", "client_verify", "verify_none"]
    flags += ["-ssl_dist_opt", "client_certfile", "cert.pem"]
    assert "cert.pem" in refusal(flags, certs)  # its key is not in the same file
    found = tls.context([*flags, "-ssl_dist_opt", "client_keyfile", "key.pem"], certs)
    assert found
    assert found.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("client", "mode"),
    [("", ssl.CERT_NONE), ('{cacertfile, "ca.pem"}', ssl.CERT_REQUIRED),
     ('{cacertfile, "ca.pem"}, {verify, verify_none}', ssl.CERT_NONE)],
)  # fmt: skip
def test_who_is_verified(client: str, mode: ssl.VerifyMode, certs: Path, tmp_path: Path) -> None:
    found = tls.context(optfile(tmp_path, client), certs)
    assert found
    assert found.verify_mode == mode


def test_a_key_with_a_password(certs: Path, tmp_path: Path) -> None:
    certificates.openssl(certs, f"ec -in key.pem -aes256 -passout pass:geheim -out {tmp_path}/locked.pem")
    client = f'{{certfile, "cert.pem"}}, {{keyfile, "{tmp_path}/locked.pem"}}'
    assert tls.context(optfile(tmp_path, client + ', {password, "geheim"}'), certs)
    assert f"cert.pem with {tmp_path}/locked.pem: " in refusal(optfile(tmp_path, client), certs)


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ('{certfile, "no.pem"}', "cannot prepare TLS: DIR/no.pem is missing"),
        ('{certfile, "cert.pem"}, {keyfile, "no.pem"}', "cannot prepare TLS: DIR/no.pem is missing"),
        ('{certfile, "san"}', "cannot prepare TLS: DIR/san with DIR/san: "),
        ('{cacertfile, "no.pem"}', "cannot prepare TLS: DIR/no.pem is missing"),
        ('{cacertfile, "san"}', "cannot prepare TLS: DIR/san holds no certificates"),
        ("{verify, verify_peer}", "cannot prepare TLS: the client option verify_peer needs a cacertfile"),
        ("{verify_fun, {m, f, []}}", "cannot prepare TLS: the client option verify_fun is not supported"),
        ("{certs_keys, [#{}]}", "cannot prepare TLS: the client option certs_keys is not supported"),
    ],
)
def test_each_error_names_what_to_mend(client: str, text: str, certs: Path, tmp_path: Path) -> None:
    assert refusal(optfile(tmp_path, client), certs).startswith(text.replace("DIR", str(certs)))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    flags = [*TLS, "-ssl_dist_optfile", "ssl.conf"]
    assert refusal(flags, tmp_path) == f"cannot prepare TLS: {tmp_path}/ssl.conf is missing"
    for text in ("[", "", "{client, []}.", "[]. []."):
        (tmp_path / "ssl.conf").write_text(text)
        assert refusal(flags, tmp_path).startswith(f"cannot prepare TLS: {tmp_path}/ssl.conf")
    assert refusal([*TLS, "-ssl_dist_optfile"], tmp_path).startswith("cannot prepare TLS: cannot read")
