"""The peers: supervisord and circus from PyPI in a virtual environment of their own, runit and s6 from Debian.

Each with its own defaults and its own capture of output, but for what the method asks of all: the same child, ten
seconds to stop, no limit of restarts. One that is absent is said to be.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.driver import STOP_WITHIN, BenchError, Child, Driver

VENV = Path(__file__).resolve().parents[1] / ".venv" / "bench"
"""Inside .venv, so that `make clean` takes it away."""


class Supervisord(Driver):
    """Its defaults; startsecs stays 1."""

    name = "supervisord"

    def start(self, children: Sequence[Child]) -> None:
        here = self.folder
        lines = [
            "[supervisord]",
            "nodaemon=true",
            f"logfile={here}/supervisord.log",
            f"pidfile={here}/supervisord.pid",
            f"childlogdir={here}",
            "[unix_http_server]",
            f"file={here}/s.sock",
            "[supervisorctl]",
            f"serverurl=unix://{here}/s.sock",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for child in children:
            lines += [
                f"[program:{child.name}]",
                f"command={' '.join(self.beats.argv(child.name, *child.words))}",
                "autorestart=true",
                "startretries=1000000",
                f"stopwaitsecs={STOP_WITHIN}",
                "redirect_stderr=true",
            ]
        (here / "s.conf").write_text("\n".join(lines) + "\n")
        self.main = self.run([str(VENV / "bin/supervisord"), "-c", str(here / "s.conf")], output=here / "out")

    def status(self) -> list[str]:
        return [str(VENV / "bin/supervisorctl"), "-c", str(self.folder / "s.conf"), "status"]

    def stop(self, name: str) -> list[str]:
        return [*self.status()[:-1], "stop", name]


class Circus(Driver):
    """Its defaults; check_delay stays 5 s, and that is its restart latency."""

    name = "circus"

    def start(self, children: Sequence[Child]) -> None:
        here = self.folder
        lines = [
            "[circus]",
            f"endpoint = ipc://{here}/c.sock",
            f"pubsub_endpoint = ipc://{here}/p.sock",
            "warmup_delay = 0",
        ]
        for child in children:
            lines += [
                f"[watcher:{child.name}]",
                f"cmd = {' '.join(self.beats.argv(child.name, *child.words))}",
                "copy_env = True",
                f"graceful_timeout = {STOP_WITHIN}",
                "stdout_stream.class = FileStream",
                f"stdout_stream.filename = {here}/{child.name}.log",
            ]
        (here / "c.ini").write_text("\n".join(lines) + "\n")
        self.main = self.run([str(VENV / "bin/circusd"), str(here / "c.ini")], output=here / "out")

    def status(self) -> list[str]:
        return [str(VENV / "bin/circusctl"), "--endpoint", f"ipc://{self.folder}/c.sock", "status"]

    def stop(self, name: str) -> list[str]:
        return [*self.status()[:-1], "stop", name, "--waiting"]


class _Scanned(Driver):
    """A directory for each service, with a `run` that becomes the child and a logger beside it."""

    needs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    log = ""

    def start(self, children: Sequence[Child]) -> None:
        self._names = [child.name for child in children]
        for child in children:
            service, log = self.folder / "scan" / child.name, self.folder / "log" / child.name
            log.mkdir(parents=True)
            (service / "log").mkdir(parents=True)
            command = " ".join(self.beats.argv(child.name, *child.words, *self.words))
            self._script(service / "run", f"exec {command} 2>&1")
            self._script(service / "log" / "run", self.log.format(log=log))
            self.finish(service)
        self.main = self.run(self.scan(self.folder / "scan"), output=self.folder / "out")

    def finish(self, service: Path) -> None:
        """What else a service directory needs."""

    def scan(self, folder: Path) -> list[str]:
        """The command that keeps all services of a directory running."""
        raise NotImplementedError

    def services(self) -> list[str]:
        """The directories of all services."""
        return [str(self.folder / "scan" / name) for name in self._names]

    def own(self) -> list[int]:
        """The keepers and the loggers."""
        time.sleep(0.2)  # a logger that is still a shell
        return super().own()

    @staticmethod
    def _script(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)


class Runit(_Scanned):
    """runsvdir, a runsv and a svlogd for each service."""

    name = "runit"
    needs = ("runsvdir", "sv")
    log = "exec svlogd {log}"

    def scan(self, folder: Path) -> list[str]:
        return ["runsvdir", str(folder)]

    def status(self) -> list[str]:
        return ["sv", "status", *self.services()]

    def stop(self, name: str) -> list[str]:
        return ["sv", "-w", str(STOP_WITHIN), "force-stop", str(self.folder / "scan" / name)]


class S6(_Scanned):
    """s6-svscan, a s6-supervise and a s6-log for each service; told when a child is up, without which it waits 1 s."""

    name = "s6"
    needs = ("s6-svscan", "s6-svstat", "s6-svc")
    words = ("ready",)
    log = "exec s6-log n10 s1000000 {log}"

    def finish(self, service: Path) -> None:
        (service / "notification-fd").write_text("3\n")

    def scan(self, folder: Path) -> list[str]:
        return ["s6-svscan", "-c", "2000", str(folder)]

    def status(self) -> list[str]:
        return ["sh", "-c", 'for s; do s6-svstat "$s"; done', "sh", *self.services()]

    def stop(self, name: str) -> list[str]:
        return ["s6-svc", "-wD", "-T", str(STOP_WITHIN * 1000), "-d", str(self.folder / "scan" / name)]


def ready() -> tuple[list[type[Driver]], list[str]]:
    """The peers that can run here, and a word on each that cannot. As root, Debian's are installed."""
    present: list[type[Driver]] = []
    absent = []
    try:
        _from_pypi()
        present += [Supervisord, Circus]
    except BenchError as error:
        absent.append(f"supervisord and circus: {error}")
    for peer in (Runit, S6):
        if not _found(peer):
            _from_debian(peer.name)
        if _found(peer):
            present.append(peer)
        else:
            absent.append(f"{peer.name}: not installed (Debian: apt-get install {peer.name})")
    return present, absent


def _found(peer: type[_Scanned]) -> bool:
    return all(shutil.which(program) for program in peer.needs)


def _from_pypi() -> None:
    wanted = [VENV / "bin" / program for program in ("supervisord", "circusd")]
    if all(program.exists() for program in wanted):
        return
    for argv in (
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [
            str(VENV / "bin/python"),
            "-m",
            "pip",
            "install",
            "-q",
            "supervisor==4.3.0",
            "circus==0.19.0",
            "setuptools<81",
        ],
    ):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"not installed: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")


def _from_debian(package: str) -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        argv = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "install", "--no-install-recommends", package]
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=environ, check=False)
