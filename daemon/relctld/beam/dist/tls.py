"""TLS as the release's own nodes do it among themselves: -proto_dist inet_tls with its options.

The options are those of -ssl_dist_opt and those of the `client` section of the file that -ssl_dist_optfile names;
the former go first (inet_tls_dist.erl, get_ssl_options/1):

    -ssl_dist_opt client_certfile … client_keyfile … client_cacertfile … client_verify verify_peer

    [{server, […]},
     {client, [{certfile, "…"}, {keyfile, "…"}, {password, "…"}, {cacertfile, "…"}, {verify, verify_peer}]}].

Rule 1: what decides who is trusted is obeyed or refused, never skipped; what only tunes is skipped.
Rule 2: where nothing is said of `verify`, a cacertfile is used: OTP 26 does so, OTP 25 would verify nothing.

Blocks on files: call it from a worker thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from relctld.beam.dist.arguments import values_of
from relctld.beam.term.consult import consult
from relctld.beam.layout import ReleaseError, is_file, read_text
from relctld.beam.dist.refusals import LinkRefused, Refusal
from relctld.beam.term.terms import Term

_REFUSED = ("cert", "key", "cacerts", "certs_keys", "verify_fun", "partial_chain", "crl_check")


def context(flags: Sequence[str], cwd: Path) -> ssl.SSLContext | None:
    """What to connect with; None where these flags of a VM do not ask for TLS. Raises LinkRefused (tls).

    Paths are relative to `cwd`, the VM's working directory.
    """
    if not any(words[:1] in (["inet_tls"], ["inet6_tls"]) for words in values_of(flags, "-proto_dist")):
        return None
    try:
        return _context(_options(flags, cwd), cwd)
    except (ReleaseError, ValueError) as error:
        raise LinkRefused(Refusal.TLS, f"cannot prepare TLS: {error}") from error


def _options(flags: Sequence[str], cwd: Path) -> dict[str, str]:
    """The client's options by name; of several with one name the first counts, as in a property list."""
    words = [word for group in values_of(flags, "-ssl_dist_opt") for word in group]
    found: dict[str, str] = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        if name.startswith("client_"):
            found.setdefault(name.removeprefix("client_"), value)
    for group in values_of(flags, "-ssl_dist_optfile")[:1]:
        for name, option in _client_section(cwd / "".join(group)):
            found.setdefault(name, option)
    return found


def _client_section(path: Path) -> list[tuple[str, str]]:
    text = _needed(path)
    try:
        match consult(text):
            case [list() as sections]:
                return [
                    (str(option[0]), _text(option[1]))
                    for section in sections
                    if isinstance(section, tuple) and section[0] == "client" and isinstance(section[1], list)
                    for option in section[1]
                    if isinstance(option, tuple) and len(option) == 2
                ]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(f"{path} is not one list of sections")


def _needed(path: Path) -> str:
    text = read_text(path)
    if text is None:
        raise ValueError(f"{path} is missing")
    return text


def _text(value: Term) -> str:
    """A file's name or an atom; a term that is neither, which only tunes, is nothing."""
    match value:
        case str():
            return value
        case bytes():
            return value.decode(errors="surrogateescape")
        case list() as codes if all(isinstance(code, int) and 0 < code < 0x110000 for code in codes):
            return "".join(chr(code) for code in codes if isinstance(code, int))
        case _:
            return ""


def _context(options: dict[str, str], cwd: Path) -> ssl.SSLContext:
    for name in _REFUSED:
        if options.get(name, "false") != "false":
            raise ValueError(f"the client option {name} is not supported")
    wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = options.get("cacertfile")
    if options.get("verify", "verify_peer" if authorities else "verify_none") != "verify_peer":
        wanted.check_hostname = False
        wanted.verify_mode = ssl.CERT_NONE
    elif not authorities:
        raise ValueError("the client option verify_peer needs a cacertfile")
    if authorities:
        path = cwd / authorities
        try:
            wanted.load_verify_locations(cadata=_needed(path))
        except OSError as error:
            raise ValueError(f"{path} holds no certificates") from error
    if "certfile" in options:
        _load_own(wanted, options, cwd)
    return wanted


def _load_own(wanted: ssl.SSLContext, options: dict[str, str], cwd: Path) -> None:
    """Our certificate. Its key may be in the same file, as in Erlang; no password is ever asked on a terminal."""
    certificate = cwd / options["certfile"]
    key = cwd / options.get("keyfile", options["certfile"])
    for path in (certificate, key):
        if not is_file(path):
            raise ValueError(f"{path} is missing")
    try:
        wanted.load_cert_chain(certificate, key, options.get("password", ""))
    except OSError as error:
        why = error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or error
        raise ValueError(f"{certificate} with {key}: {str(why).lower().replace('_', ' ')}") from error
