"""A sample release upgraded by hand: release_handler and nothing of ours but the link that carries the calls.

ROOT/releases/VSN/NAME.tar.gz     put there, then taken away by unpack_release
                  sys.config      made for the version before it is installed: release_handler reads this one
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from relctld.beam.dist import epmd
from relctld.beam.dist.channel import LinkLost, Target
from relctld.beam.dist.handshake import Cookie
from relctld.beam.dist.link import CallFailed, Kind, connect
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.flavour import inspect
from relctld.beam.term.shown import shown
from relctld.beam.term.terms import Atom, Term
from tests import otps
from tests.beam.launching import Running, clean_env, launched
from tests.releases.package import package
from tests.waiting import wait_until

CALL_S = 60.0
LOST = "lost"
"""What a call came to that the node did not live to answer."""

# Config providers run when a release's script starts a VM; this is what they made of it.
MATERIALISE = """
{:ok, [config]} = :file.consult("ROOT/releases/VSN/sys.config")
config = Keyword.put(config, :mapp, Application.get_all_env(:mapp))
File.write!("ROOT/releases/VSN/sys.config", :io_lib.format("~p.~n", [config]))
"""


@dataclass(frozen=True)
class ByHand:
    """A node that runs, and how to order it about."""

    name: str
    root: Path
    vm: Running
    env: dict[str, str]

    def call(self, module: str, function: str, *args: Term) -> str:
        """What a call comes to, as text; LOST if the node, or its present life, ended over it."""
        return asyncio.run(self._call(module, function, list(args)))

    def unpack(self, vsn: str, from_vsns: tuple[str, ...] | None = None) -> str:
        """Unpack the tarball of a version, and make that version's configuration."""
        place = self.root / "releases" / vsn
        place.mkdir()
        shutil.copy(package(self.name, vsn, from_vsns), place / f"{self.name}.tar.gz")
        return self.call("release_handler", "unpack_release", chars(f"{vsn}/{self.name}"))

    def configure(self, vsn: str) -> None:
        """Make a version's sys.config, as a boot of it would; CalledProcessError where that cannot be."""
        place = self.root / "releases" / vsn
        source = place / "sys.config.src"
        if source.exists():
            (place / "sys.config").write_text(rendered(source.read_text(), self.env))
        else:
            code = MATERIALISE.replace("ROOT", str(self.root)).replace("VSN", vsn)
            command = [str(self.root / "bin" / self.name), "eval", code]
            env = {**self.env, "RELEASE_VSN": vsn}
            subprocess.run(command, env=env, capture_output=True, timeout=CALL_S, check=True, stdin=subprocess.DEVNULL)

    def install(self, vsn: str) -> str:
        """Install a version that is unpacked and configured."""
        return self.call("release_handler", "install_release", chars(vsn), [(Atom("update_paths"), Atom("true"))])

    def upgrade(self, vsn: str) -> str:
        """All of it."""
        assert self.unpack(vsn).startswith("{ok,")
        self.configure(vsn)
        return self.install(vsn)

    def consolidate(self, vsn: str) -> None:
        """Load mapp's protocol as a version's build consolidated it: no relup does."""
        module, place = Atom("Elixir.Mapp.Shown"), self.root / "releases" / vsn / "consolidated"
        self.call("code", "add_patha", chars(str(place)))
        self.call("code", "purge", module)
        assert self.call("code", "load_file", module) == f"{{module,'{module}'}}"

    def creation(self) -> str:
        """Another one: the VM has restarted inside its process."""
        return self.call("erlang", "system_info", Atom("creation"))

    def up(self) -> bool:
        """Whether the boot is done."""
        try:
            return self.call("init", "get_status") == "{started,started}"
        except LinkRefused:
            return False

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection to the service."""
        said = [line for line in self.vm.lines() if " serving on " in line]
        with (
            socket.create_connection(("127.0.0.1", int(said[-1].rpartition(" ")[2])), CALL_S) as sock,
            sock.makefile("rw") as lines,
        ):
            yield Client(lines)

    async def _call(self, module: str, function: str, args: list[Term]) -> str:
        port = await epmd.port_of(self.name, "127.0.0.1", int(self.env["ERL_EPMD_PORT"]), 5.0)
        cookie, own = Cookie("relctl-demo"), "relctld@127.0.0.1"
        link = await connect(Target(f"{self.name}@127.0.0.1", "127.0.0.1", port, cookie, own, evict=True), 5.0)
        try:
            return shown(await link.call(module, function, args, timeout=CALL_S), 1000)
        except LinkLost:
            return LOST
        except CallFailed as failed:
            if failed.kind is Kind.EXIT:  # the one that was to answer ended
                return LOST
            raise
        finally:
            link.close()
            await link.lost


class Client:
    """A connection to the service of a sample: a line out, a line back."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    def __call__(self, command: str) -> str:
        self._lines.write(f"{command}\n")
        self._lines.flush()
        return self._lines.readline().rstrip("\n")


@contextmanager
def running(name: str, root: Path, folder: Path, epmd_port: int, **env: str) -> Iterator[ByHand]:
    """A node of the release at `root`, booted, its service on a port of its own."""
    if name == "mapp":
        _make_releases(root)
    environ = {**clean_env(folder, epmd_port), "DEMO_TCP_PORT": "0", "ERL_EPMD_ADDRESS": "127.0.0.1", **env}
    with launched(inspect(root), environ, folder) as vm:
        vm.wait_for("serving on")
        found = ByHand(name, root, vm, environ)
        wait_until(found.up, CALL_S, what="the end of the boot")
        yield found


def chars(text: str) -> list[Term]:
    """A string of Erlang's."""
    return [ord(char) for char in text]


def rendered(text: str, env: Mapping[str, str]) -> str:
    """What relx's scripts make of a .src file."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: env.get(found[1]) or found[2] or "", text)


def _make_releases(root: Path) -> None:
    """The file that mix does not ship and release_handler reads when it starts."""
    releases = root / "releases"
    rel = next(releases.glob("*/mapp.rel"))
    otps.run("25", f'ok = release_handler:create_RELEASES("{root}", "{releases}", "{rel}", [])')
