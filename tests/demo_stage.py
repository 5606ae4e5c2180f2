"""The stage of the demo: releases, config and daemon in a temporary directory, and how a scene is shown."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import epmds
from tests.releases import build, package
from tests.running import Relctld

CONFIG = """\
[daemon]
state_dir = "{folder}/state"
log_dir = "{folder}/log"
run_dir = "{run}"

[release.web]                       # made by mix release
root = "{folder}/web"
ready = "http://127.0.0.1:{web}/health"
health = {{ probe = "http://127.0.0.1:{web}/health", interval = "1s" }}
inherit_env = ["DEMO_FOLDER", "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS"]
env = {{ DEMO_HTTP_PORT = "{web}", DEMO_TICK_MS = "100", DEMO_TCP_PORT = "{web_tcp}" }}
upgrade = {{ soak = "2s" }}

[release.api]                       # made by rebar3
root = "{folder}/api"
health = {{ interval = "500ms", timeout = "500ms" }}
stop_timeout = "3s"
inherit_env = ["DEMO_FOLDER", "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS"]
env = {{ DEMO_PORT_PROGRAM = "{folder}/helpers", DEMO_TCP_PORT = "{api_tcp}" }}
upgrade = {{ soak = "3s" }}

[release.jobs]                      # api's release once more, under another node name, and ill
root = "{folder}/jobs"
enabled = false
intensity = 2
backoff = {{ base = "200ms" }}
ready = "http://127.0.0.1:{jobs}/health"
inherit_env = ["DEMO_FOLDER", "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS"]
env_file = "{folder}/jobs.env"
env = {{ DEMO_NODE = "jobs@127.0.0.1", DEMO_HTTP_PORT = "{jobs}" }}

[release.shop]                      # nothing is installed yet
root = "{folder}/shop"
enabled = false
inherit_env = ["DEMO_FOLDER", "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS"]
env = {{ DEMO_NODE = "shop@127.0.0.1", DEMO_TCP_PORT = "{shop_tcp}" }}
upgrade = {{ soak = "1s" }}
"""

HELPERS = """\
#!/bin/sh
# A port program of the worst kind: two of its children leave its session and its parent.
setsid -f sleep 9001
(setsid sleep 9002 &)
exec sleep 9003
"""

BUILDS = (("web", "mapp", "mix release"), ("api", "rapp", "rebar3 release"), ("jobs", "rapp", "the same"))
TARBALLS = (("web", "mapp", "1.1.0"), ("api", "rapp", "1.1.0"), ("api", "rapp", "1.1.0-crash"))
ILL = "DEMO_CRASH=app\nDEMO_CRASH_AFTER_MS=1000\n"
TTY = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class Scene:
    """A heading, the commands below it, and what must be seen there."""

    def __init__(self, title: str, daemon: Relctld) -> None:
        self.daemon = daemon
        self.seen: list[str] = []
        self.missed: list[str] = []
        print(f"\n{painted(f'== {title}', '1')}", flush=True)

    def shell(self, line: str) -> None:
        """Show a command that the demo carries out itself."""
        print(f"{painted('$', '36')} {line}", flush=True)

    def relctl(self, *words: str, code: int = 0) -> str:
        """Show and run a relctl command that must end with `code`; what it printed."""
        self.shell(f"relctl {' '.join(words)}")
        done = subprocess.run(
            [sys.executable, "-m", "relctl", *words],
            cwd=self.daemon.folder,
            env=self.daemon.environ | {"RELCTL_SOCKET": str(self.daemon.socket)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        print(done.stdout.rstrip("\n"), flush=True)
        if done.returncode or code:
            self.see(f"exit code {code}", done.returncode == code, f"it was {done.returncode}")
        return done.stdout

    def see(self, what: str, true: bool, instead: str = "") -> None:
        """Say whether `what` was seen."""
        (self.seen if true else self.missed).append(what)
        mark = painted("✓", "32") if true else painted("✗ not seen:", "31")
        print(f"  {mark} {what}{f' ({instead})' if instead and not true else ''}", flush=True)


def ours(folder: Path, name: str = "") -> list[psutil.Process]:
    """What runs of a release, or of all: known by an environment that names this demo's directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environ = process.environ()
            of_it = environ.get("RELCTL_RELEASE") == name if name else "RELCTL_RELEASE" in environ
            if of_it and environ.get("DEMO_FOLDER") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def painted(text: str, colour: str) -> str:
    """With ANSI colour, on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if TTY else text


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what takes long, and on a terminal for how long already."""
    began, over = time.monotonic(), threading.Event()

    def tick() -> None:
        while not over.wait(1):
            print(f"\r{what} ... {time.monotonic() - began:.0f} s", end="", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    print(f"{what} ...", end="", flush=True)
    if TTY:
        ticker.start()
    try:
        yield
    finally:
        over.set()
        if TTY:
            ticker.join()
        print(f"{chr(13) + what + ' ...' if TTY else ''} {time.monotonic() - began:.1f} s", flush=True)


@contextlib.contextmanager
def stage() -> Iterator[Relctld]:
    """The directory with releases and config, a daemon that is not started yet; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="relctl-demo-") as name, epmds.private_port() as epmd:
        folder = Path(name)
        for release, sample, tool in BUILDS:
            with progress(f"{release}: {tool}"):
                build.place(build.build(sample), folder / release)
        for release, sample, vsn in TARBALLS:
            with progress(f"{release}-{vsn}.tar.gz, with a relup"):
                shutil.copy(package.package(sample, vsn), folder / f"{release}-{vsn}.tar.gz")
        with progress("shop: two builds of the same, without any relup"):
            shutil.copy(package.package("rapp", "1.0.0"), folder / "shop-1.0.0.tar.gz")
            package.bare("rapp", "1.1.0", folder).rename(folder / "shop-1.1.0.tar.gz")
        (folder / "helpers").write_text(HELPERS)
        (folder / "helpers").chmod(0o755)
        (folder / "jobs.env").write_text(ILL)
        daemon = Relctld(folder, {})
        daemon.environ |= {"DEMO_FOLDER": name, "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        ports = {name: epmds.free_port() for name in ("web", "jobs", "web_tcp", "api_tcp", "shop_tcp")}
        daemon.config.write_text(CONFIG.format(folder=folder, run=daemon.run_dir, **ports))
        try:
            yield daemon
        finally:
            daemon.close()
            for process in ours(folder):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
