"""docs/install.md in a real systemd, from an environment that pip made to a host without relctl."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.systemd.bed import Bed
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

SCRIPT = "/opt/relctl/share/relctl/systemd/install.sh"
WEB = '[release.web]\\nroot = "/opt/rapp"\\ndirectories = ["/var/lib/web"]\\nuser = "nobody"\\n'
WRITE = 'ok = file:write_file("/var/lib/web/kept", <<"1">>).'


def test_installed_used_and_removed(installed: Path) -> None:
    def seed(folder: Path) -> None:
        shutil.copytree(installed / "opt", folder / "opt", symlinks=True)

    with Bed(seed) as bed:

        def install(*words: str, check: bool = True) -> str:
            return bed.run("sh", SCRIPT, *words, check=check)

        def pid() -> int | None:
            said = bed.run("relctl", "--json", "status", "web", check=False)
            release = json.loads(said)["releases"][0] if said.startswith('{"daemon"') else {}
            return release["pid"] if (release.get("state"), release.get("health")) == ("running", "well") else None

        assert "next: systemctl enable --now relctld" in install()
        assert bed.run("getent", "group", "relctl").startswith("relctl:")
        bed.run("sh", "-c", f"printf '{WEB}' > /etc/relctl/releases.d/web.toml")
        bed.run("systemctl", "enable", "--now", "relctld")
        before = wait_until(pid, 60, 0.1, lambda: bed.run("journalctl", "-n", "50", "-u", "relctld"))

        bed.run("relctl", "eval", "web", WRITE)  # what it may write in the sandbox, and as whom
        assert bed.run("stat", "-c", "%U %s", "/var/lib/web/kept") == "nobody 1"

        assert "systemctl restart relctld (no node is touched)" in install()
        bed.run("systemctl", "restart", "relctld")
        assert wait_until(pid, 60, 0.1) == before
        assert "is running" in install("--uninstall", check=False)
        assert pid() == before

        bed.run("systemctl", "disable", "--now", "relctld")
        bed.run("systemctl", "stop", "relctl-logger")
        assert "No such process" in bed.run("kill", "-0", str(before), check=False)
        assert "removed; kept: /etc/relctl /var/lib/relctl /var/log/relctl" in install("--uninstall")
        gone = ("/opt/relctl", "/usr/local/bin/relctl", "/usr/local/lib/systemd/system/relctld.service")
        kept = ("/etc/relctl/releases.d/web.toml", "/var/log/relctl/web/current", "/var/lib/web/kept")
        assert "No files found" in bed.run("systemctl", "cat", "relctld", check=False)
        for path in gone:
            bed.run("test", "!", "-e", path)
        for path in kept:
            bed.run("test", "-e", path)
