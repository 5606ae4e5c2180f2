"""A hot upgrade: what `relctl upgrade` takes beside release_handler's own work, and what clients notice of it.

A release of ten applications, all of which change, by rebar3 and by mix. Each round begins with a tree that has the
first version alone: `relctl upgrade` of the tarball, soak off; then release_handler's own installs in the same node,
timed inside it. relx's `bin/NAME upgrade` does the same work beside, on a tree and a node of its own.

Then a TCP service, 50 connections with a question each 50 ms, through an upgrade and a downgrade.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests import epmds
from tests.load import Load
from tests.releases import build, many, package
from tests.running import Relctld
from tests.waiting import wait_until

from bench.driver import BenchError
from bench.measure import row, summary, table
from bench.rig import Rig

HEAD = ("ms", "median", "p90", "p99", "min-max", "rounds")
CONNECTIONS = 50
EVERY = 0.05
OWN = 'element(1, timer:tc(release_handler, install_release, ["{version}", [{{update_paths, true}}]])).'
READY = {"rapp": "rapp_srv", "mapp": "Elixir.Mapp.Server"}


def run(rig: Rig) -> dict[str, Any]:
    """Targets: less than 1 s beyond release_handler's own work; no connection dropped, no request failed."""
    rounds = 2 if rig.quick else 5
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rb-") as name, epmds.private_port() as epmd:
        folder = Path(name)
        folder.chmod(0o755)
        stage = _Stage(folder, epmd)
        for sample in many.LIKE:
            results[sample] = {key: summary(values) for key, values in stage.times(sample, rounds).items()}
            print(f"{sample}: ten applications changed, soak off, load {os.getloadavg()[0]:.1f}:")
            print(table(HEAD, [row(name, figure) for name, figure in results[sample].items()]), "\n")
        loads = {sample: stage.load(sample, rounds) for sample in READY}
        results["load"] = loads
        print(f"{CONNECTIONS} connections, a question each {EVERY * 1000:.0f} ms; the longest wait for an answer, ms:")
        head = ("median (max)", "nothing", "upgrade", "downgrade", "answered", "failed", "dropped", "state kept")
        print(table(head, [_load_row(*item) for item in loads.items()]), "\n")
    return results


class _Stage:
    """A relctld, and the trees of what it runs."""

    def __init__(self, folder: Path, epmd: int) -> None:
        self.folder, self.epmd = folder, epmd
        self.env = {"ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def times(self, sample: str, rounds: int) -> dict[str, list[float]]:
        """Milliseconds by what took them."""
        found: dict[str, list[float]] = {"relctl upgrade": [], "release_handler": [], "beyond": [], "relctl's word": []}
        for _ in range(rounds):
            self._round(sample, found)
            if many.LIKE[sample] == "rapp":
                found.setdefault(f"bin/{sample} upgrade", []).append(self._by_relx(sample))
        return found

    def _round(self, sample: str, found: dict[str, list[float]]) -> None:
        root, tarball = self._tree(sample), many.package(sample)
        with self._relctld(sample, root, {"upgrade": {"soak": "0s"}}) as daemon:
            began = time.monotonic()
            said = json.loads(daemon.relctl("upgrade", sample, str(tarball), "--json").stdout)
            took = (time.monotonic() - began) * 1000
            own = [_own(daemon, sample, version) for version in ("1.0.0", "1.1.0")][1]
            daemon.relctl("stop", sample)
        for name, value in zip(found, (took, own, took - own, said["seconds"] * 1000), strict=False):
            found[name].append(value)

    def _by_relx(self, sample: str) -> float:
        """relx's own upgrade; its node is started and stopped with its own script."""
        root, script = self._tree(sample), f"bin/{sample}"
        shutil.copy(many.package(sample), root / "releases")
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.env}

        def call(*words: str, wanted: str = "") -> bool:
            done = subprocess.run(
                [script, *words], cwd=root, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=False
            )  # fmt: skip
            return done.returncode == 0 and wanted in done.stdout

        with subprocess.Popen(
            [root / script, "foreground"], cwd=root, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL
        ) as node:  # fmt: skip
            try:
                # Each command of the script makes sys.config anew: not while a node that boots may be reading it.
                wait_until(lambda: epmds.knows(self.epmd, sample), 60, what="the name of relx's node")
                wait_until(lambda: call("ping"), 60, what="relx's node")
                began = time.monotonic()
                if not call("upgrade", "1.1.0", wanted="permanent"):
                    raise BenchError(f"relx could not upgrade {sample}")
                return (time.monotonic() - began) * 1000
            finally:
                node.kill()

    def load(self, sample: str, rounds: int) -> dict[str, Any]:
        """The longest waits of each round, milliseconds, and what clients missed."""
        waits: dict[str, list[float]] = {"nothing": [], "upgrade": [], "downgrade": []}
        port, root = epmds.free_port(), build.place(build.build(sample), self.folder / sample)
        tarball, env = package.package(sample, "1.1.0"), {"DEMO_TCP_PORT": str(port)}
        keys = {"upgrade": {"soak": "2s"}, "ready": f"mfa:{READY[sample]}:ready"}
        with self._relctld(sample, root, keys, env) as daemon, Load(port, CONNECTIONS, EVERY) as load:
            time.sleep(1.0)
            for number in range(rounds):
                load.since()
                time.sleep(3.0)
                waits["nothing"].append(load.since() * 1000)
                daemon.relctl("upgrade", sample, "1.1.0" if number else str(tarball))
                waits["upgrade"].append(load.since() * 1000)
                daemon.relctl("downgrade", sample)
                waits["downgrade"].append(load.since() * 1000)
        return {
            **{name: summary(values) for name, values in waits.items()},
            "answered": load.answered,
            "failed": load.failed,
            "dropped": load.dropped,
            "whole": load.is_whole(),
        }

    def _tree(self, sample: str) -> Path:
        root = self.folder / sample
        shutil.rmtree(root, ignore_errors=True)
        return build.place(many.build(sample), root)

    @contextlib.contextmanager
    def _relctld(
        self, sample: str, root: Path, keys: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> Iterator[Relctld]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        daemon = Relctld(folder, {sample: {"root": root, "env": {**self.env, **(env or {})}, **keys}})
        daemon.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with daemon:
            daemon.wait_for(sample, 60, state="running", health="well")
            yield daemon


def _own(daemon: Relctld, sample: str, version: str) -> float:
    """Milliseconds of release_handler alone, to a version that it has."""
    return int(daemon.relctl("eval", sample, OWN.format(version=version)).stdout) / 1000


def _load_row(sample: str, found: Mapping[str, Any]) -> list[str]:
    waits = [f"{found[key]['median']:.0f} ({found[key]['max']:.0f})" for key in ("nothing", "upgrade", "downgrade")]
    counts = [str(found[key]) for key in ("answered", "failed", "dropped")]
    return [sample, *waits, *counts, "yes" if found["whole"] else "NO"]
