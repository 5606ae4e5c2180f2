"""Where the node of a VM is to be found, and what it takes to be let in. Blocks on /proc and files.

Rule 1: the living VM's own arguments and sockets come first: they are the truth, and they are proven to be ours. So an
        epmd that is dead blinds nobody, and nobody else's listener is given our digest.
Rule 2: files that the VM names are opened as its user would: nobody lends it root's eyes.
Rule 3: what is not there is told with the verdict that a probe should give: nothing to ask (NO_LINK), not yet (BUSY),
        or something that an operator must mend (REFUSED).
"""

import contextlib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from sys import intern

from relctld.beam.dist import tls
from relctld.beam.dist.arguments import living, values_of
from relctld.beam.dist.cookies import CookieError, Places, find
from relctld.beam.dist.handshake import Cookie
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.vmargs import full_name
from relctld.core.probes import Finding, Verdict
from relctld.core.spec import Flavour, ReleaseSpec
from relctld.core.state import Vm
from relctld.host.epmd import DEFAULT_PORT
from relctld.host.fsuser import FsUserError, as_process
from relctld.host.listening import Listener, listeners
from relctld.host.records import Launched

_LONGEST_NAME = 255
_LOCAL = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_ANY = ("0.0.0.0", "::")  # noqa: S104 what a VM may listen on; we never do


class Nowhere(Exception):  # noqa: N818  # reads as the sentence it is
    """There is no node to dial; `finding` is what a probe should say. `beside`: a script runs in the VM's place."""

    def __init__(self, verdict: Verdict, text: str, *, beside: bool = False) -> None:
        super().__init__(text)
        self.beside = beside
        self.finding = Finding(verdict, text)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`doors`: (host, port) where the VM listens, the likeliest first; `certain`: the first one is the node's.

    `epmd_port` is None where the node does without epmd.
    """

    node: str
    own: str
    doors: tuple[tuple[str, int], ...]
    certain: bool
    epmd_port: int | None
    cookie: Cookie
    origin: str
    tls: SSLContext | None


def locate(vm: Vm, spec: ReleaseSpec, launched: Launched) -> Whereabouts:
    """Where the node of this VM is. Raises Nowhere."""
    flags, env = living(vm.pid)
    node = _name(flags, spec, launched)
    doors, certain = _doors(vm.pid, flags)
    own = intern(f"relctld@{node.partition('@')[2]}")  # of all nodes of one host the same
    places = Places(
        root=spec.root,
        flavour=Flavour(launched.flavour or Flavour.PLAIN),
        own=own,
        flags=flags,
        env=env,
        cookie_file=spec.node.cookie_file,
    )
    try:
        with as_process(vm.pid) if spec.node.cookie_file is None else contextlib.nullcontext():
            found = find(node, places)
        with as_process(vm.pid):
            context = tls.context(flags, Path(f"/proc/{vm.pid}/cwd"))
    except (CookieError, LinkRefused) as error:
        raise Nowhere(Verdict.REFUSED, str(error)) from error
    except FsUserError as error:
        raise Nowhere(Verdict.REFUSED, f"cannot look for its cookie as its user would: {error}") from error
    except OSError as error:  # it is gone
        raise Nowhere(Verdict.BUSY, f"it cannot be looked at: {error.strerror or error}".lower()) from error
    return Whereabouts(node, own, doors, certain, _epmd_port(flags, env), found.cookie, found.origin, context)


def _name(flags: Sequence[str], spec: ReleaseSpec, launched: Launched) -> str:
    if not values_of(flags, "-root"):  # erlexec gives it to each VM, and no shell has it
        if launched.flavour is None:
            raise Nowhere(Verdict.NO_LINK, "no Erlang VM: the process is alive")
        raise Nowhere(Verdict.BUSY, "booting: its start script is at work", beside=True)
    if ["false"] in values_of(flags, "-dist_listen"):
        raise Nowhere(Verdict.NO_LINK, "the node does not listen (-dist_listen false): the process is alive")
    given = [(words[0], flag == "-sname") for flag in ("-name", "-sname") for words in values_of(flags, flag) if words]
    if not given and spec.node.name is None:
        raise Nowhere(Verdict.NO_LINK, "distribution is off: the process is alive")
    name = spec.node.name or (full_name(*given[0]) if given else None) or launched.node
    if name is None or not re.fullmatch(r"[!-?A-~]{1,250}@[!-?A-~]{1,250}", name) or len(name) > _LONGEST_NAME:
        raise Nowhere(Verdict.REFUSED, f"no name of a node can be made of {given[0][0]!r:.80}: set node.name")
    return name


def _doors(pid: int, flags: Sequence[str]) -> tuple[tuple[tuple[str, int], ...], bool]:
    """Where the VM listens; the port that its flags fix goes first."""
    try:
        found = listeners(pid)
    except PermissionError as error:
        raise Nowhere(Verdict.REFUSED, f"its sockets cannot be seen: {error.strerror or error}".lower()) from error
    fixed = {words[0] for words in values_of(flags, "-erl_epmd_port") if words}
    doors = sorted(dict.fromkeys(map(_door, found)), key=lambda door: str(door[1]) not in fixed)
    if not doors:
        raise Nowhere(Verdict.BUSY, "it listens on no port")
    return tuple(doors), len(doors) == 1 or str(doors[0][1]) in fixed


def _door(listener: Listener) -> tuple[str, int]:
    host = _LOCAL[listener.family] if listener.address in _ANY else intern(listener.address)
    return host, listener.port


def _epmd_port(flags: Sequence[str], env: Mapping[str, str]) -> int | None:
    """The port of the epmd that knows it, None where it registers with none."""
    if ["false"] in values_of(flags, "-start_epmd") or values_of(flags, "-epmd_module") or "-no_epmd" in flags:
        return None
    port = env.get("ERL_EPMD_PORT", "")
    return int(port) if re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 1 << 16 else DEFAULT_PORT


def is_dumping(pid: int) -> bool:
    """Whether this VM has the file open that its crash dump goes to. Blocks on /proc."""
    told = living(pid)[1].get("ERL_CRASH_DUMP", "")
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            path = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if path == told or "erl_crash" in os.path.basename(path):
            return True
    return False
