"""A sample release to be upgraded under a real relctld: what the tests of hot upgrades share.

with standing("rapp") as stand:              at 1.0.0, running, well
    stand.upgrade("1.1.0")                   the real client; `.code` and what it said
    stand.is_at("1.1.0")                     node, status, versions and tree agree on it, and nothing else is left
    stand.after_deaths("1.1.0")              the same again after kill -9 of relctld and the VM (`each`: one by one)
    stand.restore()                          as it was at first

What a daemon should die of is a `Death`: it kills itself at that step of its work, so no test waits for the moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from relctld.beam.package.releases import read_releases
from tests import epmds
from tests.asked import LONG
from tests.beam.by_hand import Client
from tests.beam.supervised import Host
from tests.releases.build import build, place
from tests.releases.package import package
from tests.running import Relctld, alive
from tests.waiting import wait_until

WITHIN = 60.0
"""Seconds for anything that a node does: a patience, not a measure."""

READY = {"rapp": "mfa:rapp_srv:ready", "mapp": "mfa:Elixir.Mapp.Server:ready"}
COUNTER = {"rapp": "rapp_srv", "mapp": "'Elixir.Mapp.Server'"}
KEPT = {"last.json", "installed.json"}
"""What stays of an upgrade in the state directory."""
_DYING = Path(__file__).parent / "dying"


@dataclass(frozen=True)
class Death:
    """When a relctld kills itself, fills the disk of `fill` or waits for `hold`; see dying/sitecustomize.py."""

    when: str
    name: str
    phase: str = ""
    count: int = 1
    event: str = "os.rename"
    fill: str = ""
    hold: str = ""

    def __str__(self) -> str:
        times = f" {self.count}" if self.count > 1 else ""
        return f"{self.when} {self.name}{times} {self.phase}".strip()


def entering(phase: str) -> tuple[Death, Death]:
    """Before and after the journal says so."""
    return Death("before", "journal.json", phase), Death("after", "journal.json", phase)


def more(*deaths: Death) -> tuple[Death, ...]:
    """These in the long run too: each is right before, or right after, one that is died in any run."""
    return deaths if LONG else ()


@dataclass(frozen=True)
class Ended:
    """How a `relctl upgrade` ended."""

    code: int
    out: str
    err: str

    @property
    def reply(self) -> dict[str, Any]:
        """What it printed with --json."""
        return dict(json.loads(self.out.splitlines()[-1]))

    def failed(self, *words: str) -> None:
        """Exit 1, and each of these is in its error."""
        assert self.code == 1, f"exit {self.code}\n{self.out}{self.err}"
        self.says(*words)

    def refused(self, *words: str) -> None:
        """Exit 5, and each of these is in its error."""
        assert self.code == 5, f"exit {self.code}\n{self.out}{self.err}"
        self.says(*words)

    def done(self) -> None:
        """Exit 0."""
        assert self.code == 0, f"exit {self.code}\n{self.out}{self.err}"

    def says(self, *words: str) -> None:
        """Each of these is in its error."""
        assert not (missing := [word for word in words if word not in self.err]), f"{missing} not said:\n{self.err}"


@dataclass
class Stand:
    """The release `web`, of the sample `name`; `keys` stand in its table."""

    name: str
    host: Host
    root: Path
    port: int
    keys: Mapping[str, Any] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def daemon(self) -> Relctld:
        return self.host.daemon

    def start(self) -> None:
        """Begin at 1.0.0."""
        env = {
            "DEMO_NODE": f"{self.name}{self.host.epmd_port}@127.0.0.1",
            "DEMO_TCP_PORT": str(self.port),
            "DEMO_SOAK_MS": "1",
            **self.keys.get("env", {}),
        }
        often = {"intensity": 1000, "backoff": {"base": "100ms", "max": "100ms"}}  # deaths are many here
        keys = {"ready": READY[self.name], "upgrade": {"soak": "0s"}, **often, **self.keys, "env": env}
        self.host.run(web=self.host.release(self.root, env, **{k: v for k, v in keys.items() if k != "env"}))
        self.well()
        self.first = self.tree()

    def restore(self) -> None:
        """As it was at first, whatever a test did."""
        self.daemon.environ.pop("DEATH", None)
        if self.daemon.process is None or self.daemon.process.poll() is not None:
            self.daemon.process = None
            self.daemon.start()
        self.ended()
        status = self.daemon.status("web")
        if self.tree() == self.first and (status["state"], status["version"]) == ("running", "1.0.0"):
            return
        self.daemon.relctl("stop", "web")
        shutil.rmtree(self.root)
        place(build(self.name), self.root)
        self.daemon.relctl("start", "web")
        self.well()
        assert self.tree() == self.first

    # -- operators ---------------------------------------------------------------------------------

    def upgrade(self, what: str | Path, *options: str, verb: str = "upgrade") -> Ended:
        """To a version's tarball; to an installed version where it says "=VSN"; to a file."""
        done = self.daemon.relctl(verb, "web", *self._words(what), *options, check=False, timeout=WITHIN)
        return Ended(done.returncode, done.stdout, done.stderr)

    def downgrade(self, *words: str) -> Ended:
        done = self.daemon.relctl("downgrade", "web", *words, check=False, timeout=WITHIN)
        return Ended(done.returncode, done.stdout, done.stderr)

    def begin(self, what: str | Path, *options: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return self.daemon.spawn_relctl("upgrade", "web", *self._words(what), *options)

    def _words(self, what: str | Path) -> list[str]:
        if isinstance(what, Path):
            return [str(what)]
        return [what[1:]] if what.startswith("=") else [str(package(self.name, what))]

    # -- looking -----------------------------------------------------------------------------------

    def well(self, **wanted: object) -> dict[str, Any]:
        """Wait until it runs; its status."""
        return self.daemon.wait_for("web", WITHIN, state="running", health="well", **wanted)

    def phase(self, *phases: str) -> dict[str, Any]:
        """Wait until the upgrade is in one of these; its status."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.daemon.status("web")["upgrade"] or {"phase": None})
            return seen["phase"] in phases

        wait_until(reached, WITHIN, what=lambda: f"{phases}; it is {seen}; {self.daemon.said()[-2000:]}")
        return seen

    def ended(self) -> None:
        """Wait until no upgrade is under way."""
        self.daemon.wait_for("web", WITHIN, upgrade=None)

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A connection to its service, kept."""
        with socket.create_connection(("127.0.0.1", self.port), WITHIN) as sock, sock.makefile("rw") as lines:
            yield Client(lines)

    def said(self, *commands: str) -> list[str]:
        """What its service answers, on a connection of its own."""
        with self.client() as said:
            return [said(command) for command in commands]

    def rpc(self, module: str, function: str, args: str = "[]") -> str:
        """What the node answers to an operator, as text."""
        asked = {"release": "web", "module": module, "function": function, "args": args}
        return str(self.daemon.ask("rpc", asked, WITHIN)["value"])

    def tree(self) -> dict[str, str]:
        """All of the release's tree: type, mode, owner, and content of each path."""
        return {str(path.relative_to(self.root)): _print_of(path) for path in self.root.rglob("*")}

    def changed(self, before: Mapping[str, str]) -> dict[str, str]:
        """What became of the tree since: path to "new", "gone" or "other"."""
        now = self.tree()
        word = {path: "new" if path not in before else "gone" for path in before.keys() ^ now.keys()}
        return word | {path: "other" for path in before.keys() & now.keys() if before[path] != now[path]}

    def untouched(self) -> None:
        """Nothing in the tree is different from the beginning."""
        changed = self.changed(self.first)
        assert not changed, f"what became of the tree: {changed}"

    def is_at(self, vsn: str, *, config: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Node, status, versions and tree agree that this version runs, and that a boot brings it; its status."""
        self.ended()
        status = self.well(version=vsn, boot_version=vsn)  # a new relctld asks the node and looks at the disk first
        answers = self.said("version", "config limit", "config added", "config legacy", "config greeting")
        text = '"{}"' if self.name == "rapp" else '<<"{}">>'
        old = vsn == "1.0.0"
        wanted = {"limit": "10" if old else "20", "added": "undefined" if old else text.format("new")}
        wanted |= {"legacy": "true" if old else "undefined", "greeting": text.format("hello")} | (config or {})
        assert answers == [vsn, *wanted.values()], f"{answers}, not {wanted}"
        assert self.said("state")[0].startswith("v1 " if old else "v2 ")
        shown = self.daemon.ask("versions", {"release": "web"})
        marks = {v["version"]: (v["status"] == "permanent", v["running"], v["boots"]) for v in shown["versions"]}
        assert marks == {v: (v == vsn,) * 3 for v in marks}, shown
        assert vsn in marks
        assert shown["releases_error"] is None
        self.selects(vsn)
        return status

    def selects(self, vsn: str) -> None:
        """Every file that chooses a version names this one, and nothing of an upgrade is left."""
        releases = self.root / "releases"
        assert (releases / "start_erl.data").read_text().split()[1] == vsn
        if (releases / "RELEASES").exists():
            permanent = [line for line in _releases(releases / "RELEASES") if line[1] == "permanent"]
            assert permanent == [(vsn, "permanent")]
        if self.name == "rapp":
            assert f'REL_VSN="{vsn}"' in (self.root / "bin" / "rapp").read_text().replace("'", '"')
        left = [path for path in self.tree() if ".relctl" in path]
        assert not left, f"left in the tree: {left}"
        kept = sorted(path.name for path in self.ledger.iterdir()) if self.ledger.exists() else []
        assert set(kept) <= KEPT, "something of an upgrade is left in the state directory"

    @property
    def ledger(self) -> Path:
        return self.daemon.state_dir / "upgrades" / "web"

    @property
    def journal(self) -> dict[str, Any]:
        """What the journal on disk says; {} where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self.ledger / "journal.json").read_bytes())["journal"])
        return {}

    def last(self) -> dict[str, Any]:
        """How the latest upgrade ended, as it was written down."""
        return dict(json.loads((self.ledger / "last.json").read_bytes()))

    # -- deaths ------------------------------------------------------------------------------------

    def kill_vm(self) -> None:
        """kill -9, and wait until it is gone: whoever watches it learns of it afterwards."""
        vm = psutil.Process(int(self.vm_pid()))
        os.kill(vm.pid, signal.SIGKILL)
        wait_until(lambda: not (vm.is_running() and alive(vm.pid)), WITHIN, what="the VM's end")

    def vm_pid(self) -> int:
        """Of the VM that runs; found in /proc, for relctld may be dead."""
        [pid] = [process.pid for process in self.host.processes() if process.name() == "beam.smp"]
        return pid

    def after_deaths(self, vsn: str, *, each: bool = LONG, **wanted: Any) -> None:
        """What relctl says is what a boot brings: after kill -9 of relctld and the VM, as when the power is cut.

        `each`: after kill -9 of the VM alone, and after a cold boot, which costs three times as much.
        """
        epoch = self.daemon.status("web")["epoch"]
        if not each:
            self.daemon.kill()
        self.kill_vm()
        if not each:
            self.daemon.start()
        self.daemon.wait_for("web", WITHIN, epoch=epoch + 1)
        self.is_at(vsn, **wanted)
        if each:
            self.cold_boot()
            self.is_at(vsn, **wanted)

    def cold_boot(self) -> None:
        """relctld is stopped, and its node with it, and started."""
        assert self.daemon.stop() == 0
        assert self.host.processes() == []
        self.daemon.start()

    def reborn(self, death: Death | None = None) -> None:
        """Kill relctld if it lives; another begins, which is to die then."""
        if self.daemon.process is not None:
            self.daemon.kill()
        self.daemon.environ.pop("DEATH", None)
        if death is not None:
            told = json.dumps(asdict(death))
            self.daemon.environ |= {"DEATH": told, "PYTHONPATH": str(_DYING)}
        self.daemon.start(wait=death is None)

    def dies(self, death: Death | None = None) -> None:
        """Wait until relctld has killed itself."""
        assert self.daemon.process is not None
        wait_until(
            lambda: self.daemon.process is None or self.daemon.process.poll() is not None,
            WITHIN,
            what=lambda: f"the death {death}; the journal says {self.journal}; {self.daemon.said()[-3000:]}",
        )
        assert self.daemon.process.returncode == -signal.SIGKILL, self.daemon.said()[-3000:]
        self.daemon.process = None


@contextlib.contextmanager
def standing(
    name: str, *, prepared: Callable[[str, Path], None] | None = None, disk: str | None = None, **keys: Any
) -> Iterator[Stand]:
    """A sample at 1.0.0 that runs, with a relctld and an epmd of its own; nothing is left of them after.

    `prepared` gets its name and its tree before the first start; `disk`: the tree is all that lies on one of that size.
    """
    folder = Path(tempfile.mkdtemp(prefix="relctl-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        epmd_port = stack.enter_context(epmds.private_port())
        (folder / "relctl").mkdir()
        host = Host(Relctld(folder / "relctl", {}), folder, epmd_port)
        where = folder / "disk" if disk else folder
        if disk:
            where.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk},mode=0755", "none", where], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", where], check=True)
        stand = Stand(name, host, place(build(name), where / name), epmds.free_port(), keys)
        if prepared:
            prepared(name, stand.root)
        stack.callback(end, host)
        stand.start()
        yield stand


def end(host: Host) -> None:
    """relctld, and whatever its releases left."""
    host.daemon.close()
    for process in host.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _print_of(path: Path) -> str:
    found = path.lstat()
    what = f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"
    if path.is_symlink():
        return f"{what} {path.readlink()}"
    return f"{what} {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else what


def _releases(path: Path) -> list[tuple[str, str]]:
    """Version and status of each release in RELEASES."""
    return [(entry.version, entry.status) for entry in read_releases(path.read_bytes())]
