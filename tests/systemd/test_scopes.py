"""Each VM in a scope of its own: its limits, what cannot reach it, and that nothing is left of it."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.systemd.installed import CONFIG, NAMES, Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.beam, pytest.mark.slow]

STRAY = "my-stray_1"
HELD = str(len(NAMES))
BELOW = "ls -d /sys/fs/cgroup/system.slice/relctld.service/relctl-*/*"
IMPATIENT = "[Service]\\nWatchdogSec=3s\\nTimeoutAbortSec=1s\\n"


def kinds(host: Host, name: str) -> list[str]:
    """What of the limits of a release was told."""
    told = [json.loads(line)["event"] for line in host.run("relctl", "--json", "events", name).splitlines()]
    return [kind for kind in told if kind in ("unlimited", "limited")]


def doctor(host: Host, name: str) -> list[str]:
    """Which limits of a release have no effect."""
    told = [json.loads(line) for line in host.run("relctl", "--json", "doctor", name, check=False).splitlines()]
    return [each["detail"] for each in told if each["finding"] == "limit-unenforced"]


def by_hand(host: Host, program: str, *, delegate: str = "yes") -> object:
    """What a Python program prints that runs as a service beside relctld, with relctl's own modules."""
    said = host.run(
        "systemd-run", "--wait", "--pipe", "-q", "-p", f"Delegate={delegate}", "/opt/relctl/bin/python", "-c", program
    )
    return json.loads(said.splitlines()[-1])


def test_each_vm_is_in_a_scope_with_its_limits_and_epmd_is_in_none(host: Host) -> None:
    pids = host.until_running()
    assert host.daemon()["containment"] == "scope"
    for name, pid in pids.items():
        scope, epoch = host.scope_of(pid), host.status()[name]["epoch"]
        assert scope.startswith(f"relctl-node-{name}.e{epoch}.")
        assert host.show(scope, "Slice") == "relctl.slice"
        assert "relctld.service" in host.show(scope, "Before").split()
        assert "relctl-logger.service" in host.show(scope, "After").split()
    shown = {key: host.show(host.scope_of(pids["rapp"]), key) for key in ("MemoryMax", "CPUWeight", "TasksMax")}
    assert shown == {"MemoryMax": str(600 << 20), "CPUWeight": "50", "TasksMax": "300"}
    assert host.show(host.scope_of(pids["mapp"]), "TasksMax") == "infinity"
    tree = host.run("systemd-cgls", "--no-pager", "/relctl.slice")
    assert "beam.smp" in tree
    assert "epmd" not in tree, tree


def test_limits_that_this_host_cannot_enforce_are_said_at_the_start_and_at_a_reload(host: Host) -> None:
    """The kernel's controllers of version 2 are not to be had in a bed."""
    warnings = host.daemon()["config"]["warnings"]
    assert [warning.split(":")[0] for warning in warnings] == [
        *(f"[release.rapp.limits] {key}" for key in ("memory_max", "cpu_weight", "tasks_max")),
        f"[release.{STRAY}.limits] tasks_max",
    ]
    assert "no cgroup controller 'memory'" in warnings[0]
    assert json.loads(host.run("relctl", "--json", "reload"))["warnings"] == warnings
    assert warnings[0] in host.run("journalctl", "--no-pager", "-u", "relctld", "-o", "cat")
    assert doctor(host, STRAY) == ["tasks_max has no effect: this host has no cgroup controller 'pids' (version 2)"]
    host.run("sed", "-i", "s/^limits = { tasks_max = 300 }/#&/", CONFIG)
    host.run("relctl", "reload")
    assert doctor(host, STRAY) == []
    host.run("sed", "-i", "s/^#limits/limits/", CONFIG)
    host.run("relctl", "reload")


def test_a_changed_limit_waits_for_the_next_vm(host: Host) -> None:
    host.until_running()
    host.run("sed", "-i", "/memory_max/s/tasks_max = 300/tasks_max = 400/", CONFIG)
    host.run("relctl", "reload")
    assert host.status()["rapp"]["restart_pending"] == ["limits.tasks_max"]
    host.run("relctl", "restart", "rapp")
    found = host.status()["rapp"]
    assert found["restart_pending"] == []
    assert host.show(host.scope_of(found["pid"]), "TasksMax") == "400"
    host.run("sed", "-i", "/memory_max/s/tasks_max = 400/tasks_max = 300/", CONFIG)
    host.run("relctl", "reload")


def test_sigterm_to_all_of_the_unit_reaches_no_node_that_shall_be_left(host: Host) -> None:
    before, daemon = host.until_running(), host.show("relctld", "MainPID")
    scopes = {name: host.scope_of(pid) for name, pid in before.items()}
    host.run("sed", "-i", '1i [daemon]\\non_stop = "leave"', CONFIG)
    host.run("relctl", "reload")
    try:
        host.run("systemctl", "kill", "-s", "SIGTERM", "relctld")
        wait_until(lambda: host.show("relctld", "MainPID") not in ("0", daemon), 30, 0.1, "a new relctld")
        assert host.until_running() == before
    finally:
        host.run("sed", "-i", "1,2d", CONFIG)
    host.run("relctl", "reload")
    assert {name: host.scope_of(pid) for name, pid in before.items()} == scopes


def test_a_node_starts_in_its_scope_while_the_bus_is_stopped_and_after_it_was_restarted(host: Host) -> None:
    host.until_running()
    host.run("systemctl", "restart", "dbus.service")
    host.run("relctl", "restart", STRAY)
    host.run("systemctl", "stop", "dbus.socket", "dbus.service")
    try:
        for _ in range(2):  # the first takes the gate that stands by
            host.run("relctl", "restart", STRAY)
            assert host.scope_of(host.status()[STRAY]["pid"]).startswith(f"relctl-node-{STRAY}.")
        assert host.daemon()["containment"] == "scope"
    finally:
        host.run("systemctl", "start", "dbus.socket")
    host.run("relctl", "restart", STRAY)
    assert host.scope_of(host.status()[STRAY]["pid"]).startswith(f"relctl-node-{STRAY}.")


@contextmanager
def frozen_systemd(host: Host) -> Iterator[None]:
    """It does not answer meanwhile."""
    os.kill(host.bed.leader, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(host.bed.leader, signal.SIGCONT)


@pytest.mark.parametrize("adopted", [False, True], ids=["", "and adopted"])
def test_a_node_starts_while_systemd_does_not_answer_and_has_its_limits_once_it_does(host: Host, adopted: bool) -> None:
    """It is moved into its scope as it is, with all that it forked; should systemd act late, it is there already."""
    host.until_running()
    names = (STRAY,) if adopted else (STRAY, "rapp")
    with frozen_systemd(host):
        for _ in range(2):  # the first takes the gate that stands by
            host.ask("restart", *names)
        if adopted:
            host.run("relctl", "daemon", "reexec")
        before, stray = host.status(), host.stray()
        for name in names:
            assert "it is in no scope and has no limits" in before[name]["unlimited"]
        outside = [host.scope_of(before[name]["pid"]) for name in names]
        assert all(group.startswith(f"{name}.e") for name, group in zip(names, outside, strict=True))
        assert "without its limits" in host.run("relctl", "status", STRAY)
        assert any(detail.startswith("it is in no scope") for detail in doctor(host, STRAY))
        if not adopted:
            assert host.daemon()["containment"] == "cgroup"
    wait_until(lambda: not any(host.status()[name]["unlimited"] for name in names), 60, 0.1, lambda: str(host.status()))
    now = host.until_running()
    for name in names:
        scope = host.scope_of(now[name])
        assert (now[name], scope.startswith(f"relctl-node-{name}.")) == (before[name]["pid"], True)
        assert host.show(scope, "TasksMax") == "300"
        assert kinds(host, name)[-2:] == ["unlimited", "limited"]
    assert host.scope_of(stray) == host.scope_of(now[STRAY])
    assert "erl_child_setup" in host.run("systemd-cgls", "--no-pager", f"/relctl.slice/{host.scope_of(now['rapp'])}")
    left = host.run("sh", "-c", BELOW)  # gates that were raised meanwhile
    assert not any(group in left for group in outside)
    assert host.daemon()["containment"] == "scope"
    assert not any(detail.startswith("it is in no scope") for detail in doctor(host, STRAY))
    host.run("relctl", "stop", STRAY)
    assert not host.lives(now[STRAY])
    assert not host.lives(stray)
    host.run("relctl", "start", STRAY)


def test_a_relctld_that_died_while_it_moved_a_node_is_succeeded_in_that(host: Host) -> None:
    """Or a systemd that acted late has moved the VM alone, and relctld died before it had looked."""
    pid, stray = host.until_running()[STRAY], host.stray()
    scope = host.scope_of(pid)
    home = host.run("sh", "-c", "ls -d /sys/fs/cgroup/system.slice/relctld.service/relctl-*").strip()
    group = f"{home}/{scope.removeprefix('relctl-node-').removesuffix('.scope')}"
    host.run("sh", "-c", f"mkdir {group} && echo {stray} >{group}/cgroup.procs")
    host.blow("SIGKILL")
    wait_until(lambda: host.scope_of(stray) == scope, 30, 0.1, lambda: host.scope_of(stray))
    assert host.until_running()[STRAY] == pid
    wait_until(lambda: kinds(host, STRAY)[-2:] == ["unlimited", "limited"], 30, 0.1, "it to be told")
    assert "No such file" in host.run("ls", group, check=False)


def test_a_stop_leaves_no_scope_and_no_process(host: Host) -> None:
    pid = host.until_running()[STRAY]
    stray = host.stray()
    assert host.scope_of(stray) == host.scope_of(pid)
    host.run("relctl", "stop", STRAY)
    assert not host.lives(pid)
    assert not host.lives(stray)
    wait_until(lambda: not any(STRAY in scope for scope in host.scopes()), 30, 0.1, lambda: str(host.scopes()))
    host.run("relctl", "start", STRAY)


def test_a_vm_in_a_sub_cgroup_of_a_former_relctld_is_emptied_too(host: Host) -> None:
    """As one that was launched before there were scopes, adopted or found dead."""
    program = """
import json, os, subprocess, sys
from pathlib import Path
from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host import containment, process
held = containment.choose(Path("/run/elsewhere"))
older = held._below
told = [held.kind, older.kind]
for adopted in (True, False):
    program = "read go; setsid sleep 1000 & echo; exec sleep 1000"
    child = subprocess.Popen(["sh", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    vm = Vm(child.pid, process.start_ticks(child.pid), os.urandom(16).hex())
    older.place("web", 3, vm, Limits())
    child.stdin.close()
    child.stdout.readline()
    if adopted:
        held.remember(vm)
    told += [held.is_empty("web", 3, vm.instance), held.empty("web", 3, vm.instance, gentle=False), child.wait()]
    told += [(older._home / f"web.e3.{vm.instance[:8]}").exists()]
print(json.dumps(told))
"""
    assert by_hand(host, program) == ["scope", "cgroup", *[False, [], -9, False] * 2]


def test_without_delegation_too_a_relctld_that_died_while_it_moved_a_node_is_succeeded_in_that(host: Host) -> None:
    """What is left outside is stopped, or found and moved; what the node gave a scope of its own is not moved."""
    program = """
import json, os, secrets, subprocess
from pathlib import Path
from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host import containment, process
from relctld.host.containment.groups import path_of
def choose():
    return containment.choose(Path("/run/elsewhere"))
def is_gone(pid):
    found = process.stat(pid)
    return found is None or found.state in "ZX"
former = choose()
told = [former.kind, former._below.kind]
for moves in (False, True):
    mark = secrets.token_hex(16)
    own = f"own-{mark[:8]}.scope"
    away = f"systemd-run -q --scope --unit {own} sleep 1000 & echo $!"
    program = f"read go; setsid sleep 1000 & echo $!; {away}; exec sleep 1000"
    env = {**os.environ, "RELCTL_INSTANCE": mark}
    vm = subprocess.Popen(["sh", "-c", program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    found = Vm(vm.pid, process.start_ticks(vm.pid), mark)
    vm.stdin.close()
    stray, other = (int(vm.stdout.readline()) for _ in range(2))
    while not path_of(other).endswith(own):
        assert vm.poll() is None and not is_gone(other)
    former._have_made("web", 3, found, Limits())
    held = choose()
    told += [path_of(stray) == path_of("self"), held.remember(found)]
    if moves:
        told += [(held.search("web", 3, found) or "")[:28], held.settle("web", 3, found, Limits())]
        told += [path_of(stray) == path_of(vm.pid), path_of(other).endswith(own)]
        again = choose()
        told += [again.remember(found), again.search("web", 3, found), sorted(again._held) == [mark]]
        held = again
    told += [held.is_empty("web", 3, mark), held.empty("web", 3, mark, gentle=False), vm.wait()]
    told += [is_gone(stray), is_gone(other)]
    subprocess.run(["systemctl", "stop", own], stderr=subprocess.DEVNULL)
print(json.dumps(told))
"""
    swept = [True, None, False, [], -9, True, True]
    part = "what it forked is not all in"
    moved = [True, None, part, None, True, True, None, None, True, False, [], -9, True, False]
    assert by_hand(host, program, delegate="no") == ["scope", "sweep", *swept, *moved]


def test_the_pidfds_with_systemd_are_those_of_living_vms_whatever_happens(host: Host) -> None:
    before = host.until_running()
    host.until_shown("relctld", "NFileDescriptorStore", HELD)
    for _ in range(8):
        host.ask("restart", STRAY)
    host.until_shown("relctld", "NFileDescriptorStore", HELD)
    host.blow("SIGKILL")
    assert host.until_running() == before | {STRAY: host.status()[STRAY]["pid"]}
    host.until_shown("relctld", "NFileDescriptorStore", HELD)
    host.run("relctl", "stop", STRAY)
    host.until_shown("relctld", "NFileDescriptorStore", str(len(NAMES) - 1))
    host.run("relctl", "daemon", "reexec")
    host.run("relctl", "start", STRAY)
    host.until_shown("relctld", "NFileDescriptorStore", HELD)


@pytest.mark.parametrize("how", ["SIGKILL", "init:stop(7)"])
def test_how_a_vm_ended_is_known_though_no_relctld_was_there(host: Host, how: str) -> None:
    name = "rapp" if how == "init:stop(7)" else STRAY
    pid = host.until_running()[name]
    host.until_shown("relctld", "NFileDescriptorStore", HELD)
    epoch = host.status()[name]["epoch"]
    if how == "SIGKILL":
        host.run("systemctl", "kill", "--kill-whom=main", "-s", "SIGSTOP", "relctld")
        host.run("kill", "-9", str(pid))
    else:
        wait_until(lambda: host.status()[name]["beam"], 30, 0.1, "its link")
        host.run("relctl", "eval", name, "spawn(fun() -> timer:sleep(1500), erlang:halt(7) end).")
        host.run("systemctl", "kill", "--kill-whom=main", "-s", "SIGSTOP", "relctld")
        wait_until(lambda: host.run("ps", "-o", "stat=", "-p", str(pid), check=False)[:1] in "Z", 30, 0.1, "its end")
    host.blow("SIGKILL")
    wait_until(lambda: host.status().get(name, {}).get("epoch") == epoch + 1, 30, 0.1, "the next VM")
    last = host.status()[name]["last_exit"]
    code, number, cause = (None, "SIGKILL", "killed") if how == "SIGKILL" else (7, None, "halted")
    assert (last["code"], last["signal"], last["cause"], last["pid"]) == (code, number, cause, pid)
    host.until_running()


def test_a_relctld_whose_loop_is_stuck_is_replaced_by_the_watchdog(host: Host) -> None:
    before = host.until_running()
    drop_in = "/etc/systemd/system/relctld.service.d/watchdog.conf"
    host.run("sh", "-c", f"mkdir -p $(dirname {drop_in}) && printf '{IMPATIENT}' >{drop_in}")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "relctld")
    try:
        host.until_running()
        daemon = host.show("relctld", "MainPID")
        host.run("systemctl", "kill", "--kill-whom=main", "-s", "SIGSTOP", "relctld")
        wait_until(lambda: host.show("relctld", "MainPID") not in ("0", daemon), 60, 0.1, what="a new relctld")
        assert "Watchdog timeout" in host.run("journalctl", "--no-pager", "-u", "relctld", "-o", "cat")
    finally:
        host.run("rm", drop_in)
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", "relctld")
    assert host.until_running() == before


def test_a_stop_that_shall_leave_the_nodes_leaves_them_and_the_next_one_goes_on(host: Host) -> None:
    before = host.until_running()
    host.run("sed", "-i", '1i [daemon]\\non_stop = "leave"', CONFIG)
    host.run("relctl", "reload")
    try:
        host.run("systemctl", "stop", "relctld")
        assert all(host.lives(pid) for pid in before.values())
        wait_until(lambda: len(host.scopes()) == len(NAMES), 30, 0.1, lambda: f"no gate: {host.scopes()}")
    finally:
        host.run("sed", "-i", "1,2d", CONFIG)
        host.run("systemctl", "start", "relctld")
    assert host.until_running() == before
    host.until_shown("relctld", "NFileDescriptorStore", HELD)
