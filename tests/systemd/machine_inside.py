"""What `test_machine.py` has done inside the machine; prints what was seen there, as JSON. Standard library only."""

import json
import os
import subprocess
import time
from typing import Any

WITHIN = 600.0
PRIVATE, AWAY = "/run/systemd/private", "/run/systemd/private.away"
"""systemd's own socket, which relctld asks while there is no bus."""
GREEDY_PORT = """
P = open_port({spawn_executable, "/usr/bin/python3"}, [exit_status, {args, ["-c", "x = b'x' * (1 << 30)"]}]),
receive {P, {exit_status, S}} -> S end.
"""
GREEDY_NODE = """
spawn(fun() -> F = fun(G, L) -> G(G, [binary:copy(<<7>>, 8 bsl 20) | L]) end, F(F, []) end).
"""


def said(*argv: str) -> str:
    """What a command prints, both ways."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def status() -> dict[str, Any]:
    """Of the release; its state is None while relctld does not answer."""
    try:
        found: dict[str, Any] = json.loads(said("relctl", "--json", "status"))["releases"][0]
    except (ValueError, KeyError):
        return {"state": None}
    return found


def running(after: int = 0) -> dict[str, Any]:
    """The status of the release once a VM of it runs, with a later epoch than that, and is linked."""
    end = time.monotonic() + WITHIN
    while True:
        now = status()
        if now["state"] == "running" and now["epoch"] > after and now["beam"]:
            return now
        assert time.monotonic() < end, (now, said("journalctl", "--no-pager", "-o", "cat"))
        time.sleep(0.5)


def late() -> tuple[dict[str, Any], dict[str, Any]]:
    """A VM that was started while systemd could not be asked: its status then, with what doctor finds, and after."""
    epoch = running()["epoch"]
    said("systemctl", "stop", "dbus.socket", "dbus.service")
    os.rename(PRIVATE, AWAY)
    try:
        for _ in range(2):  # the first takes the gate that stands by, in its scope already
            said("relctl", "restart", "papp")
        before = running(epoch + 1)
        found = [json.loads(line) for line in said("relctl", "--json", "doctor", "papp").splitlines()]
    finally:
        os.rename(AWAY, PRIVATE)
        said("systemctl", "start", "dbus.socket")
    before["limits"] = [each["detail"] for each in found if each["finding"] == "limit-unenforced"]
    end = time.monotonic() + WITHIN
    while (now := running())["unlimited"]:
        assert time.monotonic() < end, (now, said("journalctl", "--no-pager", "-o", "cat"))
        time.sleep(0.5)
    return before, now


def shown(unit: str, name: str) -> str:
    """A property of a unit."""
    return said("systemctl", "show", "-P", name, unit)


def group_of(pid: int) -> str:
    """The directory of its cgroup."""
    with open(f"/proc/{pid}/cgroup") as file:
        return "/sys/fs/cgroup" + file.read().strip().rpartition(":")[2]


def read(path: str) -> str:
    """A small file."""
    with open(path) as file:
        return file.read().strip()


def evaluate(text: str) -> str:
    """What the node answers, asked again where relctld was too slow to say that it was asked."""
    while "does not answer" in (answer := said("relctl", "eval", "--timeout", "300s", "papp", text)):
        pass
    return answer


def memory() -> dict[str, Any]:
    """A port program, then the node itself, asks for more than the release may have."""
    before, first = late()
    daemon, group = shown("relctld", "MainPID"), group_of(first["pid"])
    told: dict[str, Any] = {
        "late": [before["unlimited"], before["limits"], before["pid"]],
        "limits": [read(f"{group}/{name}") for name in ("memory.max", "cpu.weight", "pids.max")],
        "warnings": json.loads(said("relctl", "--json", "daemon", "status"))["config"]["warnings"],
        "port program": evaluate(GREEDY_PORT),
        "killed so far": read(f"{group}/memory.events").partition("oom_kill ")[2].split()[0],
        "node lives": running()["pid"] == first["pid"],
    }
    evaluate(GREEDY_NODE)
    second = running(first["epoch"])
    events = [json.loads(line) for line in said("relctl", "--json", "events", "papp").splitlines()]
    return told | {
        "pids": [first["pid"], second["pid"]],
        "last exit": second["last_exit"],
        "restarts": second["restarts_total"] - first["restarts_total"],
        "exited": [event for event in events if event["event"] == "exited" and event["epoch"] == first["epoch"]],
        "relctld": [daemon, shown("relctld", "MainPID"), shown("relctld", "NRestarts"), shown("relctld", "Result")],
        "logger": shown("relctl-logger", "NRestarts"),
        "kernel": f"oom_memcg={group.removeprefix('/sys/fs/cgroup')}," in said("dmesg"),
    }


def death_unwatched() -> dict[str, Any]:
    """A VM is killed while relctld is frozen, and relctld after it."""
    first, daemon = running(), shown("relctld", "MainPID")
    said("systemctl", "kill", "--kill-whom=main", "-s", "SIGSTOP", "relctld")
    said("kill", "-9", str(first["pid"]))
    said("systemctl", "kill", "--kill-whom=main", "-s", "SIGKILL", "relctld")
    second = running(first["epoch"])
    return {
        "pid": first["pid"],
        "last exit": second["last_exit"],
        "another relctld": shown("relctld", "MainPID") != daemon,
    }


def main() -> None:
    """All of it, one after the other."""
    started = said("systemctl", "start", "relctld")
    assert not started, (started, said("journalctl", "--no-pager", "-o", "cat"))
    print(json.dumps({"linux": os.uname().release, "memory": memory(), "death unwatched": death_unwatched()}))


if __name__ == "__main__":
    main()
