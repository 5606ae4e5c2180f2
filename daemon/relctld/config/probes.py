"""How a probe is written: text ↔ `relctld.core.probes.Probe`.

    auto                    the node where a link is possible, else the process
    process                 the OS process is alive
    tcp:HOST:PORT           an IPv6 address stands in brackets
    http://HOST[:PORT]/…    a GET; no https, no user in it
    exec:COMMAND LINE       split like shlex, no shell
    node                    the node answers, and is started
    mfa:M:F                 M:F() returns true or ok in the node; an Elixir module may be written as in Elixir

Rule: a probe is judged by its text; no name is looked up here.
"""

import ipaddress
import re
import shlex
from typing import Any, assert_never
from urllib.parse import urlsplit

from relctld.config.notes import found, suggest
from relctld.config.values import Kind, KindError, string, toml
from relctld.core.probes import AutoProbe, ExecProbe, HttpProbe, MfaProbe, NodeProbe, Probe, ProcessProbe, TcpProbe

_EXPECTED = "auto | node | process | tcp:HOST:PORT | http://… | exec:COMMAND LINE"
_READY = f"{_EXPECTED} | mfa:M:F"
_WORDS = ("auto", "process", "node", "tcp:HOST:PORT", "http://HOST/", "exec:COMMAND", "mfa:M:F")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_URL = re.compile(r"[!-~]+")
_MFA = re.compile(r"([A-Za-z][\w@.]{0,254}):([a-z]\w{0,253}[?!]?)", re.ASCII)


def ready() -> Kind:
    """The probe of `ready`."""
    return Kind(_READY, lambda raw: _read(raw, _READY), _show)


def health() -> Kind:
    """The probe of `health.probe`: "off" asks no question, like process."""

    def read(raw: Any) -> Probe:
        if raw == "off":
            return ProcessProbe()
        if isinstance(raw, str) and raw.startswith("mfa:"):
            raise KindError(f"{found(raw)} is for ready only")
        return _read(raw)

    return Kind(f'{_EXPECTED}, or "off"', read, _show)


def endpoint() -> Kind:
    """ "HOST:PORT", kept as text."""

    def read(raw: Any) -> str:
        host_port(string(raw))
        return str(raw)

    return Kind('"HOST:PORT"', read)


def host_port(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT", the host without brackets; raises KindError."""
    host, _, digits = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
        raise KindError(f"expected HOST:PORT with a port from 1 to 65535, found {found(text)}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise KindError(f"expected an IPv6 address in the brackets, found {found(text)}") from None
    elif ":" in host:
        raise KindError(f"expected HOST:PORT with an IPv6 address in brackets, found {found(text)}")
    elif not _HOST.fullmatch(host):
        raise KindError(f"expected HOST:PORT, found {found(text)}")
    return host, int(digits)


def _read(raw: Any, expected: str = _EXPECTED) -> Probe:
    text = string(raw)
    scheme, colon, rest = text.partition(":")
    match scheme, colon:
        case "auto", "":
            return AutoProbe()
        case "process", "":
            return ProcessProbe()
        case "node", "":
            return NodeProbe()
        case "mfa", ":":
            return _function(text, rest)
        case "tcp", ":":
            return TcpProbe(*host_port(rest))
        case "http", ":":
            return HttpProbe(_url(text))
        case "https", ":":
            raise KindError(f"https is not supported, use http:// or exec: with curl, found {found(text)}")
        case "exec", ":":
            return ExecProbe(_command_line(rest))
    hint = suggest(text, _WORDS)
    raise KindError(f"expected {expected}, found {found(text)}{hint}")


def _url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        port = 0
    if port == 0 or not _URL.fullmatch(text) or not text.startswith("http://") or not url.hostname:
        raise KindError(f"expected a URL such as http://127.0.0.1:8080/health, found {found(text)}")
    if "@" in url.netloc:
        raise KindError("expected a URL without user and password")
    return text


def _function(text: str, rest: str) -> MfaProbe:
    named = _MFA.fullmatch(rest)
    if named is None:
        raise KindError(f"expected a function without arguments such as mfa:web:ready, found {found(text)}")
    elixir = named[1][0].isupper() and not named[1].startswith("Elixir.")
    return MfaProbe(f"Elixir.{named[1]}" if elixir else named[1], named[2])


def _command_line(text: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        raise KindError(f"expected a command line after exec:, found one with {str(error).lower()}") from None
    if not argv or not argv[0]:
        raise KindError("expected a command line after exec:, found none")
    return argv


def _show(probe: Probe) -> str:
    match probe:
        case AutoProbe():
            return '"auto"'
        case NodeProbe():
            return '"node"'
        case MfaProbe(module, function):
            return toml(f"mfa:{module.removeprefix('Elixir.')}:{function}")
        case ProcessProbe():
            return '"process"'
        case TcpProbe(host, port):
            return toml(f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}")
        case HttpProbe(url):
            return toml(url)
        case ExecProbe(argv):
            return toml("exec:" + shlex.join(argv))
    assert_never(probe)
