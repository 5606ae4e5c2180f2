"""relctld as it is installed, under a real systemd, with real nodes: what systemd does to it never reaches them."""

import json
import re
from pathlib import Path

import pytest

from tests.builds import build
from tests.systemd.installed import CONFIG, NAMES, Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

SITE = "opt/relctl/lib/python3.11/site-packages"
ALL = f"{len(NAMES)} running"


def lines(host: Host) -> int:
    """How many lines are in the log of `bare`; they are all that each VM of it wrote, each once."""
    told = host.run("cat", "/var/log/relctl/bare/current")
    for vm in re.split(r"^(?=line 1$)", told, flags=re.MULTILINE):
        found = re.findall(r"^line (\d+)$", vm, re.MULTILINE)
        assert list(map(int, found)) == list(range(1, len(found) + 1))
    return told.count("\nline ")


def until_more_lines(host: Host) -> None:
    before = lines(host)
    wait_until(lambda: lines(host) > before + 10, 30, 0.1, what="more lines")


def test_systemd_is_told_what_runs(host: Host) -> None:
    assert host.show("relctld", "SubState") == "running"
    host.until_shown("relctld", "StatusText", ALL)


def test_the_first_start_succeeds(host: Host) -> None:
    events = [json.loads(line) for line in host.run("relctl", "--json", "events").splitlines()]
    first = {event["release"]: event["epoch"] for event in reversed(events) if event["event"] == "running"}
    assert first == dict.fromkeys(NAMES, 1), events


def test_the_nodes_are_spoken_to_from_within_the_sandbox(host: Host) -> None:
    """Another user's sockets and arguments are read in /proc, a terminal is made and given away."""
    host.until_running()

    def linked() -> bool:
        found = host.status()
        return all(found[name]["health"] == "well" and found[name]["beam"] for name in ("rapp", "mapp"))

    wait_until(linked, 30, what="both links")
    assert host.run("relctl", "eval", "rapp", "node().") == "'rapp@127.0.0.1'"
    typed = "sleep 3; printf '6*7.\\n'; sleep 1; printf '\\n~.'"
    shell = f"({typed}) | TERM=xterm script -qec 'relctl remote rapp' /dev/null"
    assert "42" in host.run("sh", "-c", shell, check=False)


@pytest.mark.parametrize("blow", ["restart", "SIGKILL to all", "SIGABRT"])
def test_no_blow_to_relctld_reaches_a_node(host: Host, blow: str) -> None:
    before, daemon = host.until_running(), host.show("relctld", "MainPID")
    if blow == "restart":
        host.run("systemctl", "restart", "relctld")
    elif blow == "SIGKILL to all":
        host.run("systemctl", "kill", "-s", "SIGKILL", "relctld")
    else:
        host.run("systemctl", "kill", "--kill-whom=main", "-s", blow, "relctld")
    wait_until(lambda: host.show("relctld", "MainPID") not in ("0", daemon), 30, 0.1, "a new relctld")
    assert host.until_running() == before
    until_more_lines(host)


def test_a_reexec_is_the_same_service_to_systemd(host: Host) -> None:
    before, daemon = host.until_running(), host.show("relctld", "MainPID")
    told = json.loads(host.run("relctl", "--json", "daemon", "reexec"))
    assert (told["ok"], str(told["pid"])) == (True, daemon)
    host.until_shown("relctld", "SubState", "running")
    host.until_shown("relctld", "StatusText", ALL)
    assert host.show("relctld", "MainPID") == daemon
    assert host.show("relctld", "Result") == "success"
    assert host.until_running() == before
    host.run("relctl", "reload")
    assert host.show("relctld", "SubState") == "running"


def test_a_reexec_becomes_what_was_installed_and_the_loggers_service_follows(host: Host) -> None:
    before, logger = host.until_running(), host.show("relctl-logger", "MainPID")
    build(Path(f"/proc/{host.bed.leader}/root") / SITE, "99.0")
    assert json.loads(host.run("relctl", "--json", "daemon", "reexec"))["version"] == "99.0"

    def renewed() -> bool:
        pid, *version = host.run("cat", "/run/relctl/logger.lock").split()
        return version == ["99.0"] and pid == host.show("relctl-logger", "MainPID") != logger

    wait_until(renewed, 30, 0.1, what=lambda: host.run("cat", "/run/relctl/logger.lock"))
    assert host.daemon()["logger_pid"] is None, "none of relctld's own beside it"
    assert host.until_running() == before
    until_more_lines(host)


def test_a_node_that_is_killed_comes_back(host: Host) -> None:
    before, epoch = host.until_running(), host.status()["rapp"]["epoch"]
    host.run("kill", "-9", str(before["rapp"]))
    wait_until(lambda: host.status().get("rapp", {}).get("epoch") == epoch + 1, 30, 0.1, "the next VM")
    after = host.until_running()
    assert after["mapp"] == before["mapp"]
    assert host.status()["rapp"]["last_exit"]["signal"] == "SIGKILL"


def test_the_logger_is_a_service_of_its_own_and_no_line_is_lost_when_it_is_killed(host: Host) -> None:
    before = host.until_running()
    host.run("systemctl", "kill", "-s", "SIGKILL", "relctl-logger")
    host.until_shown("relctl-logger", "SubState", "running")
    said = host.run("relctl", "logs", "rapp", "-n", "100")
    assert host.until_running() == before
    until_more_lines(host)
    assert host.run("relctl", "logs", "rapp", "-n", "100") != said


def test_what_a_release_prints_is_in_the_journal_with_its_version_and_epoch(host: Host) -> None:
    host.until_running()
    release = host.status()["rapp"]
    wanted = ["RELCTL_RELEASE=rapp", f"RELCTL_EPOCH={release['epoch']}", "_SYSTEMD_UNIT=relctl-logger.service"]
    seen: list[dict[str, str]] = []

    def printed() -> bool:
        seen[:] = map(json.loads, host.run("journalctl", "-q", "-o", "json", "-n", "100", *wanted).splitlines())
        return len(seen) > 10

    wait_until(printed, 30, 0.2, what="what it prints")
    assert {(entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"]) for entry in seen} == {("rapp", "6")}
    assert {entry["RELCTL_VERSION"] for entry in seen} == {release["version"]}
    ticks = [int(found[1]) for entry in seen if (found := re.fullmatch(r"rapp tick (\d+)", entry["MESSAGE"]))]
    assert len(ticks) > 5
    assert sorted(set(ticks)) == list(range(ticks[0], ticks[0] + len(set(ticks))))
    assert not host.run("journalctl", "-q", "RELCTL_RELEASE=mapp", check=False)


def test_reload_is_synchronous_and_a_bad_config_is_refused(host: Host) -> None:
    before = host.until_running()
    host.run("cp", CONFIG, f"{CONFIG}.good")
    try:
        host.run("sh", "-c", f"echo 'rooot = 1' >> {CONFIG}")
        assert "Job for relctld.service failed" in host.run("systemctl", "reload", "relctld", check=False)
    finally:
        host.run("mv", f"{CONFIG}.good", CONFIG)
    host.run("systemctl", "reload", "relctld")
    assert host.until_running() == before


def test_stop_takes_the_nodes_down_and_start_brings_them_back(host: Host) -> None:
    before = host.until_running()
    until_more_lines(host)
    host.run("systemctl", "stop", "relctld")
    lines(host)
    assert not any(host.lives(pid) for pid in (*before.values(), host.stray()))
    wait_until(lambda: host.scopes() == [], 30, 0.1, lambda: str(host.scopes()))
    host.run("systemctl", "start", "relctld")
    assert set(host.until_running()) == set(before)
