"""The five minutes of README.md, typed as they stand there, on a real release."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from relctld.host import containment
from relctld.host.process import open_vm
from relctld.host.records import read_vm
from tests.releases.package import package

pytestmark = [pytest.mark.beam, pytest.mark.slow]

TOP = Path(__file__).parent.parent.parent
MAY_FAIL = {"relctl status": 3}  # a release that is still starting


def five_minutes() -> list[str]:
    """The shell blocks of the section, in order."""
    section = (TOP / "README.md").read_text().split("## Five minutes")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_readme_do_what_it_says(rapp_root: Path, public_path: Path, epmd_port: int) -> None:
    env = f'env = {{ ERL_EPMD_PORT = "{epmd_port}", ERL_EPMD_ADDRESS = "127.0.0.1" }}'
    typed = "\n".join(five_minutes()).replace('root = "/opt/web"', f'root = "{rapp_root}"\n{env}')
    typed = typed.replace("/opt/web-1.1.0.tar.gz", str(package("rapp", "1.1.0")))
    assert str(rapp_root) in typed, "README names another root"
    script = [
        "set -eu",
        "answers() { until relctl daemon status >/dev/null 2>&1; do read -rt 0.1 <> <(:) || :; done; }",
    ]
    for line in typed.splitlines():
        script.append(f"{line} || [ $? = {MAY_FAIL[line]} ]" if line in MAY_FAIL else line)
        if line.endswith("&"):
            script.append("answers")
    home = public_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home / "run"), "LANG": "C.UTF-8"}
    environ |= {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    environ["RELCTL_SOCKET"] = str(home / "run/relctl/control.sock")
    (home / "run").mkdir(mode=0o700)
    config = "" if os.geteuid() else f"--config {home}/.config/relctl/relctld.toml"
    text = "\n".join(script).replace("python3 -m venv", f"{sys.executable} -m venv")
    text = text.replace("relctld --check", f"relctld {config} --check").replace("relctld 2>", f"relctld {config} 2>")
    if config:  # as root the directories are the system's; these commands are a user's
        text = text.replace("[release.web]", f"[daemon]\n{_places(home)}\n[release.web]")
    try:
        done = subprocess.run(
            ["bash", "-c", text], cwd=TOP, env=environ, capture_output=True, text=True, timeout=300, check=False
        )
    finally:
        _end(home / "run/relctl")
    said = f"{done.stdout}\n{done.stderr}\n{(home / 'relctld.log').read_text() if done.returncode else ''}"
    assert done.returncode == 0, said
    assert "web: restarted" in done.stdout, said
    assert "web: stopped" in done.stdout, said
    assert "web: upgraded 1.0.0 to 1.1.0" in done.stdout, said
    assert "web: downgraded 1.1.0 to 1.0.0" in done.stdout, said
    assert f"Root: {rapp_root}" in done.stdout, said
    assert "relctld: stopped" in done.stdout, said


def _end(run_dir: Path) -> None:
    """What a script that broke off has left: the daemon (it holds its lock), the logger, the VM."""
    for name in ("lock", "logger.lock"):
        with contextlib.suppress(OSError, ValueError), (run_dir / name).open() as lock:
            if _held(lock):
                os.kill(int(lock.readline()), signal.SIGKILL)
    recorded = read_vm(run_dir / "releases/web")
    pidfd = open_vm(recorded.vm) if recorded else None
    if pidfd is not None:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
    containment.choose(run_dir).close()


def _held(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _places(home: Path) -> str:
    places = {"state_dir": "state", "log_dir": "log", "run_dir": "run/relctl"}
    return "\n".join(f'{key} = "{home / place}"' for key, place in places.items())
