"""What a probe's text means."""

import contextlib

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from relctld.config import probes
from relctld.config.values import KindError
from relctld.core.probes import AutoProbe, ExecProbe, HttpProbe, MfaProbe, NodeProbe, Probe, ProcessProbe, TcpProbe
from tests.unit.relctld.config.building import UNHURRIED

EXPECTED = "expected auto | node | process | tcp:HOST:PORT | http://… | exec:COMMAND LINE | mfa:M:F, found "


def refusal(text: object, *, health: bool = False) -> str:
    kind = probes.health() if health else probes.ready()
    with pytest.raises(KindError) as caught:
        kind.read(text)
    return kind.explain(text, caught.value)


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("auto", AutoProbe()),
        ("node", NodeProbe()),
        ("process", ProcessProbe()),
        ("tcp:localhost:80", TcpProbe("localhost", 80)),
        ("tcp:10.0.0.1:65535", TcpProbe("10.0.0.1", 65535)),
        ("tcp:[::1]:4000", TcpProbe("::1", 4000)),
        ("http://127.0.0.1:8080/health?deep=1", HttpProbe("http://127.0.0.1:8080/health?deep=1")),
        ("http://[::1]/", HttpProbe("http://[::1]/")),
        ("exec:/bin/sh -c 'exit 0'", ExecProbe(("/bin/sh", "-c", "exit 0"))),
    ],
)
def test_probes(text: str, probe: Probe) -> None:
    assert probes.ready().read(text) == probes.health().read(text) == probe


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp:host", 'expected HOST:PORT with a port from 1 to 65535, found "host"'),
        ("tcp:host:0", 'expected HOST:PORT with a port from 1 to 65535, found "host:0"'),
        ("tcp:host:65536", 'expected HOST:PORT with a port from 1 to 65535, found "host:65536"'),
        ("tcp:host:²", 'expected HOST:PORT with a port from 1 to 65535, found "host:²"'),
        ("tcp:::1:80", 'expected HOST:PORT with an IPv6 address in brackets, found "::1:80"'),
        ("tcp:[zz]:80", 'expected an IPv6 address in the brackets, found "[zz]:80"'),
        ("tcp::80", 'expected HOST:PORT, found ":80"'),
        ("http:/x", 'expected a URL such as http://127.0.0.1:8080/health, found "http:/x"'),
        ("http://", 'expected a URL such as http://127.0.0.1:8080/health, found "http://"'),
        ("http://h:0/", 'expected a URL such as http://127.0.0.1:8080/health, found "http://h:0/"'),
        ("http://h:99999/", 'expected a URL such as http://127.0.0.1:8080/health, found "http://h:99999/"'),
        ("http://[::1/", 'expected a URL such as http://127.0.0.1:8080/health, found "http://[::1/"'),
        ("http://h/a b", 'expected a URL such as http://127.0.0.1:8080/health, found "http://h/a b"'),
        ("http://me:secret@h/", "expected a URL without user and password"),
        ("https://h/", 'https is not supported, use http:// or exec: with curl, found "https://h/"'),
        ("exec:", "expected a command line after exec:, found none"),
        ("exec:a 'b", "expected a command line after exec:, found one with no closing quotation"),
        ("mfa:web", 'expected a function without arguments such as mfa:web:ready, found "mfa:web"'),
        ("mfa:web:ok/0", 'expected a function without arguments such as mfa:web:ready, found "mfa:web:ok/0"'),
        ("mfa:a b:ok", 'expected a function without arguments such as mfa:web:ready, found "mfa:a b:ok"'),
        ("off", EXPECTED + '"off", the nearest known one is "node"'),
        ("proces", EXPECTED + '"proces", did you mean "process"?'),
        ("autos:", EXPECTED + '"autos:", did you mean "auto"?'),
        (5, EXPECTED + "5"),
    ],
)
def test_what_is_no_probe(text: object, why: str) -> None:
    assert refusal(text) == why


@pytest.mark.parametrize(
    ("text", "module", "shown"),
    [("web:ready", "web", "web:ready"), ("MyApp.Health:ready?", "Elixir.MyApp.Health", "MyApp.Health:ready?")],
)
def test_a_function_of_the_release_tells_ready(text: str, module: str, shown: str) -> None:
    probe = probes.ready().read(f"mfa:{text}")
    assert probe == MfaProbe(module, text.rpartition(":")[2])
    assert probes.ready().show(probe) == f'"mfa:{shown}"'


def test_health_can_ask_nothing_and_never_an_mfa() -> None:
    assert probes.health().read("off") == ProcessProbe()
    assert refusal("mfa:web:ok", health=True) == '"mfa:web:ok" is for ready only'


@pytest.mark.parametrize("text", ["127.0.0.1:9568", "[::]:9568", "localhost:1"])
def test_an_endpoint_is_kept_as_written(text: str) -> None:
    assert probes.endpoint().read(text) == text


WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=9)
PROBE = st.one_of(
    st.sampled_from([AutoProbe(), NodeProbe(), ProcessProbe()]),
    st.builds(MfaProbe, st.sampled_from(["web", "Elixir.Web"]), st.sampled_from(["ok", "ok?"])),
    st.builds(TcpProbe, st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), st.integers(1, 65535)),
    st.builds(TcpProbe, st.ip_addresses(v=6).map(str), st.integers(1, 65535)),
    st.builds(ExecProbe, st.lists(WORD, min_size=1, max_size=4).map(tuple)),
)


@UNHURRIED
@given(PROBE)
def test_every_probe_survives_being_shown(probe: Probe) -> None:
    kind = probes.ready()
    assert kind.read(tomli.loads(f"x = {kind.show(probe)}")["x"]) == probe


@UNHURRIED
@given(st.sampled_from(["tcp:", "http://", "exec:", "http:", "mfa:", ""]), st.text(max_size=30))
def test_whatever_is_written_is_a_probe_or_refused(scheme: str, rest: str) -> None:
    with contextlib.suppress(KindError):
        assert isinstance(probes.health().read(scheme + rest), Probe)
